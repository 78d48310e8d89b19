/*
 * ServiceAccount tokens: JWTs of our own, found by their hash once they were verified.
 *
 * The first sight of a token checks its signature and compiles its claims into a `struct verified`:
 * the identity, the audiences, and the objects it stands or falls with. Later ones find that by the
 * SHA-256 of the token; no token is stored. Times, audiences and those objects (ServiceAccount,
 * pod, secret, node, by name and uid, in the cache of objects) are looked at every time, so that
 * what is deleted revokes at once. At most CACHE_ENTRIES are kept; the first that came goes first.
 *
 * Threads: any loop; the lock is held for a look-up only, a reference keeps what was found.
 * Upstream: pkg/serviceaccount, token/cache.
 */
#include <openssl/sha.h>
#include <stdatomic.h>
#include "common/hash.h"

#include "apiserver/auth/internal.h"
#include "common/time.h"

#define CACHE_ENTRIES 20000

/* How long the tokens of an object live on behind its deletionTimestamp, as upstream. */
#define DELETED_LEEWAY_NS (60 * NS_PER_S)

struct bound {
    const char *claim; /* "pod" */
    const struct resource *resource;
    const char *namespace_, *name, *uid; /* uid NULL: any */
};

struct verified {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    atomic_int references;
    struct arena *arena; /* of all below, and of this */
    struct identity who;
    const char **audiences; /* NULL ended */
    struct bound bound[4];
    size_t bound_count;
    int64_t expires_s, not_before_s; /* wall clock */
    UT_hash_handle hh;
};

struct token_cache {
    struct lock lock;
    struct verified *by_hash;
};

static void verified_unref(struct verified *v)
{
    if (atomic_fetch_sub(&v->references, 1) == 1)
        arena_free(v->arena);
}

struct token_cache *token_cache_new(void)
{
    struct token_cache *c = xcalloc(1, sizeof(*c));
    env_lock_init(&c->lock);
    return c;
}

static void cache_drop(struct token_cache *c, struct verified *v)
{
    HASH_DEL(c->by_hash, v);
    verified_unref(v);
}

void token_cache_free(struct token_cache *c)
{
    struct verified *v, *next;
    if (!c)
        return;
    HASH_ITER(hh, c->by_hash, v, next)
    cache_drop(c, v);
    env_lock_done(&c->lock);
    free(c);
}

/* --- from claims --- */

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

/* What the claims of a token with a good signature say; one reference for the caller. */
static int compile(struct auth *auth, const cJSON *claims, struct verified **ret, struct error *err)
{
    const cJSON *k8s = json_get(claims, "kubernetes.io");
    const char *namespace_ = json_string(k8s, "namespace");
    const char *name = json_string(json_get(k8s, "serviceaccount"), "name");
    if (!c_eq(json_string(claims, "iss"), auth->config.issuer))
        return error_set(err, ERR_UNAUTHORIZED, "the token is from another issuer");
    if (!namespace_ || !name)
        return error_set(err, ERR_UNAUTHORIZED, "the token names no ServiceAccount");
    struct arena *a = arena_new();
    struct verified *v = arena_zalloc(a, sizeof(*v));
    v->arena = a;
    atomic_init(&v->references, 1);
    v->expires_s = json_int64_at(claims, "exp", 0);
    v->not_before_s = json_int64_at(claims, "nbf", 0);
    v->audiences = audiences_of(a, claims);
    note_bound(auth, v, k8s, namespace_);
    note_identity(v, claims, k8s, namespace_, name);
    *ret = v;
    return 0;
}

/* --- by hash --- */

/* Referenced, or NULL. */
static struct verified *find(struct auth *auth, const unsigned char *hash)
{
    struct verified *v;
    env_lock(auth->config.env, &auth->verified->lock);
    HASH_FIND(hh, auth->verified->by_hash, hash, SHA256_DIGEST_LENGTH, v);
    if (v)
        atomic_fetch_add(&v->references, 1);
    env_unlock(auth->config.env, &auth->verified->lock);
    return v;
}

/* Takes a reference of its own. */
static void remember(struct auth *auth, struct verified *v)
{
    struct token_cache *c = auth->verified;
    struct verified *there;
    env_lock(auth->config.env, &c->lock);
    HASH_FIND(hh, c->by_hash, v->hash, sizeof(v->hash), there);
    if (!there) {
        if (HASH_COUNT(c->by_hash) >= CACHE_ENTRIES)
            cache_drop(c, c->by_hash); /* the head is the oldest */
        atomic_fetch_add(&v->references, 1);
        HASH_ADD(hh, c->by_hash, hash, sizeof(v->hash), v);
    }
    env_unlock(auth->config.env, &c->lock);
}

static void forget(struct auth *auth, struct verified *v)
{
    struct token_cache *c = auth->verified;
    struct verified *there;
    env_lock(auth->config.env, &c->lock);
    HASH_FIND(hh, c->by_hash, v->hash, sizeof(v->hash), there);
    if (there == v)
        cache_drop(c, v);
    env_unlock(auth->config.env, &c->lock);
}

static int verified_token(
    struct auth *auth, struct str token, struct verified **ret, struct error *err)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)token.p, token.n, hash);
    if ((*ret = find(auth, hash)))
        return 0;
    autojson cJSON *claims = NULL;
    if (jwt_verify(auth->keys, token, &claims, err) < 0 || compile(auth, claims, ret, err) < 0)
        return -(int)err->code;
    memcpy((*ret)->hash, hash, sizeof(hash));
    remember(auth, *ret);
    return 0;
}

/* --- what can change --- */

static bool is_long_deleted(const struct auth *auth, const struct object *o)
{
    int64_t deleted_ns;
    struct error err;
    if (!o->deleting)
        return false;
    autojson cJSON *tree = object_tree(o);
    const char *text = json_string_at(tree, "metadata.deletionTimestamp");
    return text && time_parse(str_of(text), &deleted_ns, &err) == 0 &&
           deleted_ns < env_wall_ns(auth->config.env) - DELETED_LEEWAY_NS;
}

static bool still_exists(struct auth *auth, const struct bound *b)
{
    struct object *o = b->name && b->resource ? cache_get(auth->config.cache, b->resource,
                                                    str_of(b->namespace_), str_of(b->name))
                                              : NULL;
    bool ok = o && (!b->uid || str_eqc(o->uid, b->uid)) && !is_long_deleted(auth, o);
    object_unref(o);
    return ok;
}

static int check(struct auth *auth, const struct verified *v, struct error *err)
{
    int64_t now_s = env_wall_ns(auth->config.env) / NS_PER_S;
    if (v->expires_s <= now_s)
        return error_set(err, ERR_UNAUTHORIZED, "the token has expired");
    if (v->not_before_s > now_s)
        return error_set(err, ERR_UNAUTHORIZED, "the token is not valid yet");
    for (size_t i = 0; i < v->bound_count; i++)
        if (!still_exists(auth, &v->bound[i]))
            return error_set(err, ERR_UNAUTHORIZED, "the token's %s is gone", v->bound[i].claim);
    return 0;
}

static const char **copy_strings(struct arena *a, const char **strings)
{
    size_t n = 0;
    while (strings[n])
        n++;
    const char **out = arena_alloc(a, (n + 1) * sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = arena_strdup(a, str_of(strings[i]));
    out[n] = NULL;
    return out;
}

void identity_copy(const struct identity *who, struct arena *a, struct identity *ret)
{
    *ret = (struct identity){
        .name = arena_strdup(a, str_of(who->name)),
        .uid = arena_strdup(a, str_of(who->uid)),
        .groups = who->groups ? copy_strings(a, who->groups) : NULL,
        .extra_count = who->extra_count,
    };
    for (size_t i = 0; i < who->extra_count; i++) {
        ret->extra[i].key = arena_strdup(a, str_of(who->extra[i].key));
        ret->extra[i].values = copy_strings(a, who->extra[i].values);
    }
}

int service_account_check(struct auth *auth, struct arena *a, struct str token,
    const char *const *audiences, struct identity *ret, const char ***ret_audiences,
    struct error *err)
{
    struct verified *v;
    if (verified_token(auth, token, &v, err) < 0)
        return -(int)err->code;
    const char **common = tokens_common_audiences(a, v->audiences, audiences);
    int result = check(auth, v, err);
    if (result < 0)
        forget(auth, v);
    else if (!*common)
        result = error_set(err, ERR_UNAUTHORIZED, "the token is for another audience");
    else
        identity_copy(&v->who, a, ret);
    verified_unref(v);
    *ret_audiences = common;
    return result;
}
