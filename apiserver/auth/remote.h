/*
 * Questions to somebody outside (webhooks, issuers), answered on tasks of their own and remembered.
 *
 * A question has a key. The first one starts a call; others with the same key wait for the same
 * one. An answer is kept for as long as the call says (a second at least, so that those who waited
 * find it), up to `entries_max` of them. At most `in_flight_max` calls run at once; beyond four
 * times as many waiting ones, a question fails at once.
 *
 *     switch (remote_ask(r, key, text, q, &tree, &err)) {
 *     case 1: return STAGE_WAIT;      // q will be woken: ask again
 *     case 0: ... tree ...            // may be NULL, when the call gave none
 *     default: ...                    // it failed: err
 *     }
 *
 * Threads: ask from any; calls run on the remote's tasks and may block; remote_free cancels and
 * waits for them.
 */
#pragma once

#include "apiserver/request/request.h"
#include "common/http_client.h"

struct remote;

#define REMOTE_KEY_BYTES 32

struct remote_answer {
    cJSON *tree; /* taken; or NULL */
    int result;  /* 0, or -ERR_X with err */
    struct error err;
    int64_t keep_ns;
};
/* The call. canceller: for http_do. */
typedef void remote_fn(
    void *arg, const char *question, struct http_canceller *canceller, struct remote_answer *ret);

struct remote_config {
    struct env *env;
    const char *name; /* of the tasks */
    remote_fn *call;
    void *arg;
    size_t in_flight_max, entries_max;
};

struct remote *remote_new(const struct remote_config *config);
void remote_free(struct remote *remote); /* NULL is fine */
/* waiter NULL: nobody is woken, but the call is started. *ret is a copy. */
int remote_ask(struct remote *remote, const unsigned char *key, const char *question,
    struct request *waiter, cJSON **ret, struct error *err);
void remote_key(const char *question, unsigned char *ret_key); /* SHA-256 */
