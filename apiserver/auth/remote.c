/*
 * Calls to the outside, off the loops; see remote.h.
 *
 * An entry is waiting (in the queue), running (a worker has it) or answered. Workers are started as
 * they are needed and stay. An entry that nobody answered yet is never dropped to make room.
 */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include "common/hash.h"

#include "apiserver/auth/remote.h"
#include "common/time.h"

#define KEEP_LEAST_NS NS_PER_S

struct waiter {
    struct request *q;
    struct waiter *next;
};

struct entry {
    unsigned char key[REMOTE_KEY_BYTES];
    char *question; /* NULL once it was taken up */
    bool answered;
    int64_t until_ns;
    struct remote_answer answer;
    struct waiter *waiters;
    struct entry *next; /* in the queue */
    UT_hash_handle hh;
};

struct worker {
    struct remote *remote;
    struct task *task;
    struct http_canceller canceller;
};

struct remote {
    struct remote_config config;
    struct lock lock;
    struct cond work;
    struct entry *by_key;
    struct entry *queue, **queue_end;
    size_t queued, idle, worker_count;
    struct worker *workers; /* in_flight_max of them */
    bool stopping;
};

void remote_key(const char *question, unsigned char *ret_key)
{
    SHA256((const unsigned char *)question, strlen(question), ret_key);
}

static void entry_free(struct remote *r, struct entry *e)
{
    struct waiter *w;
    HASH_DEL(r->by_key, e);
    while ((w = e->waiters)) {
        e->waiters = w->next;
        request_unpin(w->q);
        free(w);
    }
    if (e->question)
        OPENSSL_cleanse(e->question, strlen(e->question)); /* it may hold a token */
    free(e->question);
    cJSON_Delete(e->answer.tree);
    free(e);
}

struct remote *remote_new(const struct remote_config *config)
{
    struct remote *r = xcalloc(1, sizeof(*r));
    r->config = *config;
    r->workers = xcalloc(config->in_flight_max, sizeof(*r->workers));
    r->queue_end = &r->queue;
    env_lock_init(&r->lock);
    env_cond_init(&r->work);
    return r;
}

void remote_free(struct remote *r)
{
    struct entry *e, *next;
    if (!r)
        return;
    struct env *env = r->config.env;
    env_lock(env, &r->lock);
    r->stopping = true;
    env_broadcast(env, &r->work);
    env_unlock(env, &r->lock);
    for (size_t i = 0; i < r->worker_count; i++) {
        http_cancel(env, &r->workers[i].canceller);
        env_join(env, r->workers[i].task);
        http_canceller_done(&r->workers[i].canceller);
    }
    HASH_ITER(hh, r->by_key, e, next)
    entry_free(r, e);
    env_cond_done(&r->work);
    env_lock_done(&r->lock);
    free(r->workers);
    free(r);
}

/* --- the workers; with the lock held, but for the call itself --- */

static void wake_all(struct entry *e)
{
    struct waiter *w;
    while ((w = e->waiters)) {
        e->waiters = w->next;
        request_wake(w->q);
        request_unpin(w->q);
        free(w);
    }
}

static void answer(struct remote *r, struct worker *w, struct entry *e)
{
    struct env *env = r->config.env;
    char *question = e->question;
    struct remote_answer got = {0};
    e->question = NULL;
    env_unlock(env, &r->lock);
    r->config.call(r->config.arg, question, &w->canceller, &got);
    OPENSSL_cleanse(question, strlen(question));
    free(question);
    env_lock(env, &r->lock);
    e->answer = got;
    e->answered = true;
    e->until_ns = env_now_ns(env) + (got.keep_ns > KEEP_LEAST_NS ? got.keep_ns : KEEP_LEAST_NS);
    wake_all(e);
}

static void run(void *arg)
{
    struct worker *w = arg;
    struct remote *r = w->remote;
    struct env *env = r->config.env;
    env_lock(env, &r->lock);
    while (!r->stopping) {
        struct entry *e = r->queue;
        if (!e) {
            r->idle++;
            env_wait_until(env, &r->work, &r->lock, ENV_FOREVER);
            r->idle--;
            continue;
        }
        r->queue = e->next;
        if (!r->queue)
            r->queue_end = &r->queue;
        r->queued--;
        answer(r, w, e);
    }
    env_unlock(env, &r->lock);
}

static void start_worker(struct remote *r)
{
    struct worker *w = &r->workers[r->worker_count++];
    w->remote = r;
    http_canceller_init(&w->canceller);
    w->task = env_spawn(r->config.env, r->config.name, run, w);
}

/* --- asking; with the lock held --- */

static void make_room(struct remote *r, int64_t now_ns)
{
    struct entry *e, *next;
    size_t looked_at = 0;
    /* in order of age: what is over, or what is oldest when all still counts */
    HASH_ITER(hh, r->by_key, e, next)
    {
        bool full = HASH_COUNT(r->by_key) >= r->config.entries_max;
        if (e->answered && (full || e->until_ns <= now_ns))
            entry_free(r, e);
        if (++looked_at == 16 && HASH_COUNT(r->by_key) < r->config.entries_max)
            break;
    }
}

static void wait_for(struct entry *e, struct request *q)
{
    if (!q)
        return;
    for (struct waiter *w = e->waiters; w; w = w->next)
        if (w->q == q)
            return;
    struct waiter *w = xcalloc(1, sizeof(*w));
    request_pin(q);
    *w = (struct waiter){q, e->waiters};
    e->waiters = w;
}

static struct entry *enqueue(struct remote *r, const unsigned char *key, const char *question)
{
    struct entry *e = xcalloc(1, sizeof(*e));
    memcpy(e->key, key, sizeof(e->key));
    e->question = xstrdup(question);
    HASH_ADD(hh, r->by_key, key, sizeof(e->key), e);
    *r->queue_end = e;
    r->queue_end = &e->next;
    r->queued++;
    if (r->queued > r->idle && r->worker_count < r->config.in_flight_max)
        start_worker(r);
    env_signal(r->config.env, &r->work);
    return e;
}

static int ask(struct remote *r, const unsigned char *key, const char *question,
    struct request *waiter, cJSON **ret, struct error *err)
{
    int64_t now_ns = env_now_ns(r->config.env);
    struct entry *e;
    HASH_FIND(hh, r->by_key, key, REMOTE_KEY_BYTES, e);
    if (e && e->answered && e->until_ns <= now_ns) {
        entry_free(r, e);
        e = NULL;
    }
    if (e && e->answered) {
        *ret = e->answer.tree ? cJSON_Duplicate(e->answer.tree, true) : NULL;
        if (e->answer.result < 0)
            *err = e->answer.err;
        return e->answer.result;
    }
    if (!e) {
        if (r->queued >= 4 * r->config.in_flight_max)
            return error_set(err, ERR_UNAVAILABLE, "too many calls are waiting");
        make_room(r, now_ns);
        e = enqueue(r, key, question);
    }
    wait_for(e, waiter);
    return 1;
}

int remote_ask(struct remote *r, const unsigned char *key, const char *question,
    struct request *waiter, cJSON **ret, struct error *err)
{
    *ret = NULL;
    env_lock(r->config.env, &r->lock);
    int result = ask(r, key, question, waiter, ret, err);
    env_unlock(r->config.env, &r->lock);
    return result;
}
