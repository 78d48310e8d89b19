/*
 * Continue tokens of lists: where a page ended, and at which version.
 *
 * base64url of {"v":"meta.k8s.io/v1","rv":VERSION,"seen":N,"start":"NAMESPACE/NAME"}; rv -1: go on
 * at the newest version (the inconsistent continuation that a 410 offers). Opaque to clients; any
 * change in it is a 400.
 */
#pragma once

#include "common/arena.h"

struct continue_token {
    int64_t version;             /* -1: newest */
    int64_t seen;                /* objects on the pages before; -1: not known */
    struct str namespace_, name; /* last key of the page before */
};

const char *token_print(struct arena *a, const struct continue_token *t);
int token_parse(struct arena *a, const char *text, struct continue_token *ret, struct error *err);
