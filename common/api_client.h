/*
 * API client: typed by strings, trees in and out, over an http_client.
 *
 *     struct api_ref pod = {.group_version = "v1", .plural = "pods", .namespace_ = "default", .name
 * = "web-0"}; autojson cJSON *tree = NULL; if (api_get(client, &pod, &tree, &err) < 0) ...
 *
 * An answer that is a Status becomes the error: err->code from its reason, err->text its message.
 * 429 and 503 with Retry-After, and connections that break before an answer to a GET, are tried
 * again within the deadline (10 s). Nothing else is repeated: a write whose answer was lost returns
 * ERR_CLOSED.
 *
 * Threads: any. Owns the http_client it was given.
 */
#pragma once

#include "common/http_client.h"
#include "common/json.h"

struct api_client;

struct api_ref {
    const char *group_version; /* "v1", "apps/v1" */
    const char *plural;        /* "pods" */
    const char *namespace_;    /* NULL: cluster scoped, or all namespaces for lists */
    const char *name;
    const char *subresource; /* "status", or NULL */
};

enum patch_type { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC };

struct api_client *api_client_new(struct env *env, struct http_client *take_http);
void api_client_free(struct api_client *c);
struct env *api_client_env(struct api_client *c);
struct http_client *api_client_http(
    struct api_client *c); /* borrowed, for logs and other streams */

int api_get(struct api_client *c, const struct api_ref *ref, cJSON **ret, struct error *err);
/* query: "labelSelector=a%3Db" already encoded, or NULL. Follows continue tokens; ret is the whole
 * List. */
int api_list(struct api_client *c, const struct api_ref *ref, const char *query, cJSON **ret,
    struct error *err);
/* ret (may be NULL) gets the object as stored. */
int api_create(struct api_client *c, const struct api_ref *ref, const cJSON *object, cJSON **ret,
    struct error *err);
int api_update(struct api_client *c, const struct api_ref *ref, const cJSON *object, cJSON **ret,
    struct error *err);
int api_patch(struct api_client *c, const struct api_ref *ref, enum patch_type type,
    const cJSON *patch, cJSON **ret, struct error *err);

/* Server-side apply: creates the object when it is not there; ERR_CONFLICT when another manager
 * owns what differs, unless forced. Unknown fields are refused. */
int api_apply(struct api_client *c, const struct api_ref *ref, const char *manager, bool force,
    const cJSON *config, cJSON **ret, struct error *err);

struct api_delete_options {
    const char *uid;              /* precondition, or NULL */
    const char *resource_version; /* precondition, or NULL */
    const char *propagation;      /* "Foreground", "Background", "Orphan", or NULL */
    int64_t grace_seconds;        /* -1: the object's own */
};
int api_delete(struct api_client *c, const struct api_ref *ref,
    const struct api_delete_options *options, cJSON **ret, struct error *err);

/* Any other call; body NULL for none; query as in api_list. *ret may be a Status on success. */
int api_call(struct api_client *c, const char *method, const struct api_ref *ref, const char *query,
    const cJSON *body, cJSON **ret, struct error *err);
/* A raw path ("/version"), any status is a success. */
int api_raw(struct api_client *c, const struct http_request *request,
    struct http_response *response, struct error *err);
void api_path(const struct api_ref *ref,
    struct strbuf *out); /* "/apis/apps/v1/namespaces/x/deployments/y/scale" */
/* Turns an answer with a status of 400 and above into an error. */
int api_error_from_response(const struct http_response *response, struct error *err);
