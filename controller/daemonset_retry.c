/* Waits of failed daemon pods: see daemonset_retry.h. */
#include "controller/daemonset_retry.h"

#include "common/hash.h"
#include "common/str.h"
#include "common/time.h"

#define FIRST_NS NS_PER_S
#define LONGEST_NS (900 * NS_PER_S)

struct retry {
    UT_hash_handle hh;
    int64_t delay_ns, noted_ns;
    char key[];
};

struct daemon_retries {
    struct env *env;
    struct lock lock; /* guards all below */
    struct retry *retries;
};

struct daemon_retries *daemon_retries_new(struct env *env)
{
    struct daemon_retries *r = xcalloc(1, sizeof(*r));

    r->env = env;
    env_lock_init(&r->lock);
    return r;
}

static void drop(struct daemon_retries *r, struct retry *one)
{
    HASH_DEL(r->retries, one);
    free(one);
}

void daemon_retries_free(struct daemon_retries *r)
{
    struct retry *one, *next;

    if (!r)
        return;
    HASH_ITER(hh, r->retries, one, next)
    drop(r, one);
    env_lock_done(&r->lock);
    free(r);
}

static char *key_of(const char *set_uid, const char *hash, const char *node)
{
    return str_format("%s/%s/%s", set_uid, hash, node);
}

int64_t daemon_retries_wait(
    struct daemon_retries *r, const char *set_uid, const char *hash, const char *node)
{
    autofree char *key = key_of(set_uid, hash, node);
    struct retry *one;
    int64_t wait = 0;

    env_lock(r->env, &r->lock);
    HASH_FIND_STR(r->retries, key, one);
    if (one)
        wait = one->noted_ns + one->delay_ns - env_now_ns(r->env);
    env_unlock(r->env, &r->lock);
    return wait > 0 ? wait : 0;
}

static void forget_old(struct daemon_retries *r, int64_t now_ns)
{
    struct retry *one, *next;

    HASH_ITER(hh, r->retries, one, next)
    {
        if (now_ns - one->noted_ns > 2 * LONGEST_NS)
            drop(r, one);
    }
}

void daemon_retries_note(
    struct daemon_retries *r, const char *set_uid, const char *hash, const char *node)
{
    autofree char *key = key_of(set_uid, hash, node);
    int64_t now = env_now_ns(r->env);
    struct retry *one;

    env_lock(r->env, &r->lock);
    forget_old(r, now);
    HASH_FIND_STR(r->retries, key, one);
    if (!one) {
        size_t n = strlen(key);
        one = xcalloc(1, sizeof(*one) + n + 1);
        memcpy(one->key, key, n + 1);
        HASH_ADD_KEYPTR(hh, r->retries, one->key, n, one);
    }
    one->delay_ns = one->delay_ns ? 2 * one->delay_ns : FIRST_NS;
    if (one->delay_ns > LONGEST_NS)
        one->delay_ns = LONGEST_NS;
    one->noted_ns = now;
    env_unlock(r->env, &r->lock);
}
