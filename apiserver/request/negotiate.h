/*
 * Content negotiation: which media type and form the answer has, and what a body is.
 */
#pragma once

#include "apiserver/request/request.h"

struct accept_clause {
    struct str type; /* "application/json", or with wildcards */
    struct str as, group, version, profile;
    int q; /* thousandths */
};
#define ACCEPT_CLAUSES_MAX 16

/* The clauses by falling q, wildcards behind what is exact, those with q=0 and malformed ones left
 * out. */
size_t accept_parse(struct str header, struct accept_clause *ret, size_t max);
/* Does the clause's type cover `type` (wildcards)? */
bool accept_covers(const struct accept_clause *c, const char *type);
bool accepts_gzip(const struct request *q);

/* Stage: sets q->media, q->form; 406 when nothing fits. Resource requests only. */
stage_fn negotiate_stage;
/* The encoding of a refusal: what the client likes best, JSON when there is nothing else. */
void negotiate_error(struct request *q);

enum body_type {
    BODY_JSON,
    BODY_YAML,
    BODY_PROTOBUF,
    BODY_JSON_PATCH,
    BODY_MERGE_PATCH,
    BODY_STRATEGIC_PATCH,
    BODY_APPLY_PATCH,
    BODY_OTHER
};
/* Of the Content-Type header; JSON when there is none and otherwise_json. */
enum body_type body_type_of(const struct request *q, bool otherwise_json);
