/*
 * Verified tokens; see verified.h.
 */
#include "apiserver/auth/verified.h"

#include "apiserver/auth/internal.h"
#include "common/time.h"

#define CACHE_ENTRIES 20000

/* How long the tokens of an object live on behind its deletionTimestamp, as upstream. */
#define DELETED_LEEWAY_NS (60 * NS_PER_S)

struct token_cache {
    struct lock lock;
    struct verified *by_hash;
};

void verified_unref(struct verified *v)
{
    if (atomic_fetch_sub(&v->references, 1) == 1)
        arena_free(v->arena);
}

struct verified *verified_new(void)
{
    struct arena *a = arena_new();
    struct verified *v = arena_zalloc(a, sizeof(*v));
    v->arena = a;
    atomic_init(&v->references, 1);
    return v;
}

void verified_hash(struct str token, unsigned char *ret)
{
    SHA256((const unsigned char *)token.p, token.n, ret);
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

/* --- by hash --- */

struct verified *verified_find(struct auth *auth, const unsigned char *hash)
{
    struct verified *v;
    env_lock(auth->config.env, &auth->verified->lock);
    HASH_FIND(hh, auth->verified->by_hash, hash, SHA256_DIGEST_LENGTH, v);
    if (v)
        atomic_fetch_add(&v->references, 1);
    env_unlock(auth->config.env, &auth->verified->lock);
    return v;
}

void verified_remember(struct auth *auth, struct verified *v, const unsigned char *hash)
{
    memcpy(v->hash, hash, sizeof(v->hash));
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

int verified_use(struct auth *auth, struct verified *v, struct arena *a,
    const char *const *audiences, struct identity *ret, const char ***ret_audiences,
    struct error *err)
{
    const char *const own[] = {auth->config.issuer, NULL};
    if (check(auth, v, err) < 0) {
        forget(auth, v);
        return -(int)err->code;
    }
    const char **common = tokens_common_audiences(
        a, v->audiences ? (const char *const *)v->audiences : own, audiences);
    if (!*common)
        return error_set(err, ERR_UNAUTHORIZED, "the token is for another audience");
    identity_copy(&v->who, a, ret);
    *ret_audiences = common;
    return 0;
}
