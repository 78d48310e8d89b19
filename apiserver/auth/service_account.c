/*
 * ServiceAccount tokens: JWTs of our own. What their claims say, compiled into a `struct verified`:
 * the identity, the audiences, and the objects they are bound to (ServiceAccount, pod, secret,
 * node).
 *
 * Threads: none of its own. Upstream: pkg/serviceaccount.
 */
#include "apiserver/auth/internal.h"

static const char **audiences_of(struct arena *a, const cJSON *claims)
{
    const cJSON *aud = json_get(claims, "aud"), *item;
    const char **out = arena_new_array(a, const char *, (size_t)cJSON_GetArraySize(aud) + 2);
    size_t n = 0;
    if (cJSON_IsString(aud))
        out[n++] = arena_strdup(a, str_of(aud->valuestring));
    cJSON_ArrayForEach(item, aud)
    {
        if (cJSON_IsString(item))
            out[n++] = arena_strdup(a, str_of(item->valuestring));
    }
    return out;
}

static const char *copy_of(struct arena *a, const char *text)
{
    return text ? arena_strdup(a, str_of(text)) : NULL;
}

static void note_bound(
    struct auth *auth, struct verified *v, const cJSON *k8s, const char *namespace_)
{
    static const struct {
        const char *claim, *plural;
        bool namespaced;
    } kinds[ARRAY_COUNT(v->bound)] = {{"serviceaccount", "serviceaccounts", true},
        {"pod", "pods", true}, {"secret", "secrets", true}, {"node", "nodes", false}};

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        const cJSON *reference = json_get(k8s, kinds[i].claim);
        bool only_told = c_eq(kinds[i].claim, "node") && json_get(k8s, "pod");
        if (!reference || only_told)
            continue;
        v->bound[v->bound_count++] = (struct bound){
            .claim = kinds[i].claim,
            .resource = api_find_plural(auth->config.api, "", kinds[i].plural),
            .namespace_ = kinds[i].namespaced ? arena_strdup(v->arena, str_of(namespace_)) : "",
            .name = copy_of(v->arena, json_string(reference, "name")),
            .uid = copy_of(v->arena, json_string(reference, "uid")),
        };
    }
}

static void note_identity(struct verified *v, const cJSON *claims, const cJSON *k8s,
    const char *namespace_, const char *name)
{
    struct arena *a = v->arena;
    const cJSON *pod = json_get(k8s, "pod"), *node = json_get(k8s, "node");
    const char *uid = json_string(json_get(k8s, "serviceaccount"), "uid");
    v->who = (struct identity){
        .name = arena_printf(a, "system:serviceaccount:%s:%s", namespace_, name),
        .uid = arena_strdup(a, str_of(uid ? uid : "")),
    };
    identity_add_group(&v->who, a, "system:serviceaccounts");
    identity_add_group(&v->who, a, arena_printf(a, "system:serviceaccounts:%s", namespace_));
    identity_add_group(&v->who, a, "system:authenticated");
    const char *id = json_string(claims, "jti");
    if (id)
        identity_add_extra(&v->who, a, "authentication.kubernetes.io/credential-id",
            arena_printf(a, "JTI=%s", id));
    const struct {
        const char *key, *value;
    } told[] = {{"node-name", json_string(node, "name")}, {"node-uid", json_string(node, "uid")},
        {"pod-name", json_string(pod, "name")}, {"pod-uid", json_string(pod, "uid")}};
    for (size_t i = 0; i < ARRAY_COUNT(told); i++)
        identity_add_extra(&v->who, a,
            arena_printf(a, "authentication.kubernetes.io/%s", told[i].key), told[i].value);
}

static int compile(struct auth *auth, const cJSON *claims, struct verified **ret, struct error *err)
{
    const cJSON *k8s = json_get(claims, "kubernetes.io");
    const char *namespace_ = json_string(k8s, "namespace");
    const char *name = json_string(json_get(k8s, "serviceaccount"), "name");
    if (!c_eq(json_string(claims, "iss"), auth->config.issuer))
        return error_set(err, ERR_UNAUTHORIZED, "the token is from another issuer");
    if (!namespace_ || !name)
        return error_set(err, ERR_UNAUTHORIZED, "the token names no ServiceAccount");
    struct verified *v = verified_new();
    v->expires_s = json_int64_at(claims, "exp", 0);
    v->not_before_s = json_int64_at(claims, "nbf", 0);
    v->audiences = audiences_of(v->arena, claims);
    note_bound(auth, v, k8s, namespace_);
    note_identity(v, claims, k8s, namespace_, name);
    *ret = v;
    return 0;
}

int service_account_verify(
    struct auth *auth, struct str token, struct verified **ret, struct error *err)
{
    autojson cJSON *claims = NULL;
    if (jwt_verify(auth->keys, token, &claims, err) < 0)
        return -(int)err->code;
    return compile(auth, claims, ret, err);
}
