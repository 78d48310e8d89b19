/*
 * ServiceAccounts: the subresource token (TokenRequest).
 *
 * The token is a JWT bound to the account's uid and, when asked, to a pod, secret or node, all of
 * which must exist with that uid. Upstream: registry/core/serviceaccount/storage/token.go,
 * pkg/serviceaccount/claims.go.
 */
#include "apiserver/admission/node_restriction.h"
#include "apiserver/auth/auth.h"
#include "apiserver/registry/generic/generic.h"
#include "apiserver/server.h"
#include "common/time.h"
#include "common/uid.h"

#define SECONDS_MIN 600
#define SECONDS_DEFAULT 3600
#define SECONDS_MAX (1ll << 32)
/* Tokens of pods live longer than asked, for clients that don't read them again; the asked time is
 * a warning mark. */
#define SECONDS_OF_PODS 3607
#define SECONDS_EXTENDED (365ll * 24 * 3600)

static void add_reference(cJSON *claims, const char *member, const struct object *o)
{
    autofree char *name = str_dup(o->name);
    autofree char *uid = str_dup(o->uid);
    json_set(claims, member, json_make("{\"name\":\"%s\",\"uid\":\"%s\"}", name, uid));
}

/* The node of a pod is told in its tokens. */
static void add_node(struct request *q, cJSON *claims, const struct object *pod)
{
    struct str node;
    if (!object_field_get(pod, "spec.nodeName", &node) || node.n == 0)
        return;
    struct object *o = cache_get(
        q->server->cache, api_find_plural(q->server->api, "", "nodes"), (struct str){0}, node);
    if (o)
        add_reference(claims, "node", o);
    object_unref(o);
}

static enum stage_result bind_to(struct request *q, const cJSON *reference, cJSON *claims)
{
    static const struct {
        const char *kind, *plural, *claim;
        bool namespaced;
    } kinds[] = {{"Pod", "pods", "pod", true}, {"Secret", "secrets", "secret", true},
        {"Node", "nodes", "node", false}};
    const char *kind = json_string(reference, "kind"), *name = json_string(reference, "name");
    const char *uid = json_string(reference, "uid");
    struct str account;
    name = name ? name : "";
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (!c_eq(kind, kinds[i].kind))
            continue;
        const struct resource *r = api_find_plural(q->server->api, "", kinds[i].plural);
        struct object *o = cache_get(
            q->server->cache, r, str_of(kinds[i].namespaced ? q->namespace_ : ""), str_of(name));
        if (!o)
            return request_not_found(q, r, name);
        if (uid && *uid && !str_eqc(o->uid, uid)) {
            object_unref(o);
            return request_fail_object(q, ERR_CONFLICT,
                "Operation cannot be fulfilled on %s \"%s\": the UID in the bound object reference "
                "(%s) does not match the "
                "UID in record. The object might have been deleted and then recreated",
                r->plural, name, uid);
        }
        if (c_eq(kind, "Pod") && !(object_field_get(o, "spec.serviceAccountName", &account) &&
                                     str_eqc(account, q->name))) {
            object_unref(o);
            return request_fail(q, ERR_BAD_REQUEST,
                "cannot bind token for serviceaccount \"%s\" to pod running with different "
                "serviceaccount name.",
                q->name);
        }
        add_reference(claims, kinds[i].claim, o);
        if (c_eq(kind, "Pod"))
            add_node(q, claims, o);
        object_unref(o);
        return STAGE_DONE;
    }
    return request_fail(q, ERR_BAD_REQUEST,
        "cannot bind token for serviceaccount \"%s\" to type %s", q->name, kind ? kind : "");
}

static enum stage_result check_seconds(struct request *q, int64_t seconds)
{
    struct field_errors *errors = field_errors_new(q->arena);
    char value[32];
    snprintf(value, sizeof(value), "%lld", (long long)seconds);
    if (seconds < SECONDS_MIN)
        field_error_add(errors, FIELD_INVALID, "spec.expirationSeconds", value,
            "may not specify a duration less than 10 minutes");
    if (seconds > SECONDS_MAX)
        field_error_add(errors, FIELD_INVALID, "spec.expirationSeconds", value,
            "may not specify a duration larger than 2^32 seconds");
    return field_errors_count(errors)
               ? request_fail_fields(
                     q, errors, api_find_plural(q->server->api, "", "serviceaccounts"), q->name)
               : STAGE_DONE;
}

static enum stage_result sign(struct request *q, const struct object *account)
{
    cJSON *body = q->write->body, *audiences = json_path(body, "spec.audiences");
    const cJSON *reference = json_path(body, "spec.boundObjectRef");
    const char *issuer = q->server->config->issuer;
    int64_t now_ns = env_wall_ns(q->server->env), now_s = now_ns / NS_PER_S;
    int64_t seconds = json_int64_at(body, "spec.expirationSeconds", SECONDS_DEFAULT),
            lives = seconds;
    char id[UID_BYTES], expires[TIME_TEXT_BYTES];
    enum stage_result result = check_seconds(q, seconds);
    if (result != STAGE_DONE)
        return result;
    autojson cJSON *claims = json_make(
        "{\"iss\":\"%s\",\"sub\":\"system:serviceaccount:%s:%s\"}", issuer, q->namespace_, q->name);
    autojson cJSON *k8s = json_make("{\"namespace\":\"%s\"}", q->namespace_);
    if (cJSON_GetArraySize(audiences) == 0) {
        json_set_at(body, "spec.audiences", json_make("[\"%s\"]", issuer));
        audiences = json_path(body, "spec.audiences");
    }
    add_reference(k8s, "serviceaccount", account);
    if ((result = node_restriction_token(q, reference)) != STAGE_DONE)
        return result;
    if (reference && (result = bind_to(q, reference, k8s)) != STAGE_DONE)
        return result;
    if (json_get(k8s, "pod") && seconds == SECONDS_OF_PODS) {
        lives = SECONDS_EXTENDED;
        json_set(k8s, "warnafter", json_new_int64(now_s + seconds));
    }
    json_set_string(claims, "jti", uid_random(q->server->env, id));
    json_set(claims, "aud", cJSON_Duplicate(audiences, true));
    json_set(claims, "iat", json_new_int64(now_s));
    json_set(claims, "nbf", json_new_int64(now_s));
    json_set(claims, "exp", json_new_int64(now_s + lives));
    json_set(claims, "kubernetes.io", cJSON_Duplicate(k8s, true));
    struct error err;
    char *token;
    if (auth_sign(q->server->auth, claims, &token, &err) < 0)
        return request_fail_error(q, &err);
    json_set_at(body, "spec.expirationSeconds", json_new_int64(seconds));
    json_set_string_at(body, "status.token", token);
    json_set_string_at(
        body, "status.expirationTimestamp", time_print_s(now_ns + lives * NS_PER_S, expires));
    json_set_string_at(body, "metadata.name", q->name);
    json_set_string_at(body, "metadata.namespace", q->namespace_);
    json_set_string_at(body, "metadata.creationTimestamp", time_print_s(now_ns, expires));
    free(token);
    return reply_body_object(q);
}

/* Name and namespace may be left out of the body, but not differ from the path's. */
static enum stage_result check_metadata(struct request *q)
{
    static const struct resource request = {
        .group = "authentication.k8s.io", .kind = "TokenRequest", .plural = "tokenrequests"};
    const char *name = json_string_at(q->write->body, "metadata.name");
    struct field_errors *errors = field_errors_new(q->arena);
    if (name && *name && !c_eq(name, q->name))
        field_error_add(errors, FIELD_INVALID, "metadata.name",
            arena_printf(q->arena, "\"%s\"", name),
            "must match the service account name if specified");
    return field_errors_count(errors) ? request_fail_fields(q, errors, &request, q->name)
                                      : STAGE_DONE;
}

static enum stage_result token_run(struct request *q)
{
    const struct resource *r = api_find_plural(q->server->api, "", "serviceaccounts");
    if (check_metadata(q) == STAGE_ERROR)
        return STAGE_ERROR;
    struct object *account = cache_get(q->server->cache, r, str_of(q->namespace_), str_of(q->name));
    if (!account)
        return request_not_found(q, r, q->name);
    enum stage_result result = sign(q, account);
    object_unref(account);
    return result;
}

static const struct subresource_handler subresources[] = {
    {"token", token_run},
};

const struct strategy strategy_service_account = {
    .group = "",
    .plural = "serviceaccounts",
    .subresources = subresources,
    .subresource_count = ARRAY_COUNT(subresources),
};
