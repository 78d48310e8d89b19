/*
 * The options of meta/v1 in a query string or a body: CreateOptions, UpdateOptions, PatchOptions,
 * DeleteOptions, ListOptions.
 */
#pragma once

#include "apiserver/registry/generic/generic.h"

struct delete_options {
    const char *uid, *resource_version; /* preconditions, or NULL */
    int64_t grace_seconds;              /* -1: not given (negative ones from clients become 1) */
    const char *propagation;            /* "Orphan", "Background", "Foreground", or NULL */
    int orphan_dependents;              /* -1 not given, 0, 1 */
};

struct list_options {
    struct watch_filter filter; /* selectors are freed with the request */
    bool selective;             /* a selector is there: no remainingItemCount */
    int64_t limit;              /* 0: none */
    const char *token;          /* continue, or "" */
    const char *match;          /* resourceVersionMatch, or "" */
    int64_t version;            /* -1: not given */
    int send_initial_events;    /* -1 not given, 0, 1 */
    bool bookmarks;
    int64_t timeout_s; /* 0: not given */
};

/* dryRun, fieldManager, fieldValidation into o. kind: "CreateOptions". STAGE_DONE or STAGE_ERROR.
 */
enum stage_result options_parse_write(struct request *q, struct object_write *o, const char *kind);
enum stage_result options_parse_delete(struct request *q, struct object_write *o);
/* o->options from a DeleteOptions inside another body (NULL: none was sent). */
enum stage_result options_read_delete(
    struct request *q, struct object_write *o, const cJSON *delete_options);
/* For list, watch and deletecollection. */
enum stage_result options_parse_list(struct request *q, struct list_options **ret);
/* A Status Invalid of options: `KIND.meta.k8s.io "" is invalid: FIELD: DETAIL`. */
enum stage_result options_invalid(
    struct request *q, const char *kind, const char *field, const char *reason, const char *detail);
