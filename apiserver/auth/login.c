/*
 * Tokens that turned out wrong, counted by where they came from.
 *
 * A source (an address) may fail BURST times, then RATE times a second; beyond that its tokens are
 * refused unchecked, so that guessing is slow and costs little. Tokens that were verified before
 * and those of the static file are found without a check and stay good, and so do certificates.
 * Sources whose hashes collide share a count. Threads: any.
 */
#include "apiserver/auth/internal.h"
#include "common/hash.h"
#include "common/time.h"

#define SOURCES 4096
#define BURST 500
#define RATE 20

struct source {
    float failures; /* leaks at RATE */
    int64_t at_ns;
};

struct logins {
    struct lock lock;
    struct source sources[SOURCES];
};

struct logins *logins_new(void)
{
    struct logins *l = xcalloc(1, sizeof(*l));
    env_lock_init(&l->lock);
    return l;
}

void logins_free(struct logins *l)
{
    if (l)
        env_lock_done(&l->lock);
    free(l);
}

/* With the lock held: what is left of the failures of an address ("10.0.0.7:51234", "[::1]:443").
 */
static struct source *source_of(struct logins *l, struct env *env, const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : strlen(address);
    struct source *s = &l->sources[hash_bytes(address, n) % SOURCES];
    int64_t now_ns = env_now_ns(env);
    float leaked = (float)((double)(now_ns - s->at_ns) / NS_PER_S * RATE);
    s->failures = s->failures > leaked ? s->failures - leaked : 0;
    s->at_ns = now_ns;
    return s;
}

bool login_may_try(struct auth *auth, const char *address)
{
    struct env *env = auth->config.env;
    env_lock(env, &auth->logins->lock);
    bool may = source_of(auth->logins, env, address)->failures < BURST;
    env_unlock(env, &auth->logins->lock);
    return may;
}

void login_failed(struct auth *auth, const char *address)
{
    struct env *env = auth->config.env;
    env_lock(env, &auth->logins->lock);
    source_of(auth->logins, env, address)->failures += 1;
    env_unlock(env, &auth->logins->lock);
}
