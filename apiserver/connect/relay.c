/*
 * A relay: one task that asks a backend on behalf of a request. See internal.h.
 *
 * It connects, sends the request, reads the head of the answer and wakes the request. Then either
 * the body goes through a bounded buffer, from which the request takes when the client has room;
 * or, after 101, the client's connection is taken over and a tunnel runs to the end.
 *
 * The relay pins the request, so both outlive a client that goes away; the request's hook cancels
 * the relay, and the task ends by itself. After a take-over the request is the task's: it frees it
 * at the end. Ended relays are joined by the next one that begins or ends.
 *
 * wake_fd is the only thing a task waits for besides its sockets: it is written once the client is
 * there, the buffer has room, or all is cancelled. Before a take-over it is cleared by the task.
 */
#include "apiserver/connect/internal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "apiserver/connect/usages.h"
#include "apiserver/server.h"
#include "common/http1.h"
#include "common/time.h"

#define BUFFER_BYTES (256u << 10)
#define RELAYS_MAX 1000
#define OPEN_TIMEOUT_NS (30 * NS_PER_S)

int nodes_new(struct server *server, struct nodes **ret, struct error *err)
{
    struct nodes *n = xcalloc(1, sizeof(*n));

    n->server = server;
    if (backend_tls_new(server->config, &n->tls, err) < 0) {
        free(n);
        return error_wrap(err, "client for the kubelets");
    }
    env_lock_init(&n->lock);
    env_cond_init(&n->changed);
    n->usages = usages_new(server);
    *ret = n;
    return 0;
}

/* The task has one reference, the request's hook the other. */
static void relay_unref(struct relay *r)
{
    if (atomic_fetch_sub(&r->references, 1) > 1)
        return;
    env_lock_done(&r->lock);
    strbuf_done(&r->buffer);
    strbuf_done(&r->answer);
    strbuf_done(&r->request);
    close(r->wake_fd);
    free(r);
}

static void reap(struct nodes *n)
{
    env_lock(n->server->env, &n->lock);
    struct relay *r = n->over;
    n->over = NULL;
    env_unlock(n->server->env, &n->lock);
    while (r) {
        struct relay *next = r->next;
        env_join(n->server->env, r->task);
        relay_unref(r);
        r = next;
    }
}

static void cancel(struct relay *r)
{
    struct env *env = r->nodes->server->env;

    env_lock(env, &r->lock);
    r->cancelled = true;
    eventfd_write(r->wake_fd, 1);
    env_unlock(env, &r->lock);
}

static void request_gone(void *arg)
{
    cancel(arg);
    relay_unref(arg);
}

void nodes_free(struct nodes *n)
{
    if (!n)
        return;
    struct env *env = n->server->env;
    usages_free(n->usages);
    env_lock(env, &n->lock);
    for (struct relay *r = n->running; r; r = r->next)
        cancel(r);
    while (n->count > 0)
        env_wait_until(env, &n->changed, &n->lock, ENV_FOREVER);
    env_unlock(env, &n->lock);
    reap(n);
    backend_tls_free(n->tls);
    env_lock_done(&n->lock);
    env_cond_done(&n->changed);
    free(n);
}

/* --- the task --- */

/* Waits until woken, for as long as `wanted` says no; false: cancelled. */
static bool await(struct relay *r, bool (*wanted)(const struct relay *))
{
    struct env *env = r->nodes->server->env;

    for (;;) {
        eventfd_t count;
        struct pollfd p = {.fd = r->wake_fd, .events = POLLIN};
        env_lock(env, &r->lock);
        bool cancelled = r->cancelled, there = wanted(r);
        if (!cancelled)
            eventfd_read(r->wake_fd, &count); /* what it told is seen */
        env_unlock(env, &r->lock);
        if (cancelled || there)
            return !cancelled;
        poll(&p, 1, -1);
    }
}

static bool has_room(const struct relay *r)
{
    return r->buffer.n < BUFFER_BYTES;
}

static bool is_taken(const struct relay *r)
{
    return r->taken;
}

static void publish(struct relay *r)
{
    struct env *env = r->nodes->server->env;

    env_lock(env, &r->lock);
    r->opened = true;
    env_unlock(env, &r->lock);
    request_wake(r->q);
}

/* Leaves the head in r->answer and what follows it in `rest`. 1xx but 101 are passed over. */
static int read_head(struct relay *r, struct wire *w, struct http1_head *head, struct strbuf *rest,
    struct error *err)
{
    struct nodes *n = r->nodes;
    int64_t deadline_ns = r->answer_timeout_ns == ENV_FOREVER
                              ? ENV_FOREVER
                              : env_now_ns(n->server->env) + r->answer_timeout_ns;
    int status;

    for (;;) {
        ssize_t bytes = http1_parse_answer(strbuf_str(rest), head, &status, err);
        if (bytes < 0)
            return error_wrap(err, "malformed HTTP response");
        if (bytes > 0 && status < 200 && status != 101) {
            strbuf_remove_front(rest, (size_t)bytes);
            continue;
        }
        if (bytes > 0) {
            strbuf_add(&r->answer, str_range(rest->data, (size_t)bytes));
            strbuf_remove_front(rest, (size_t)bytes);
            r->status = status;
            return 0;
        }
        ssize_t got = backend_read(n, w, rest, r->wake_fd, deadline_ns, err);
        if (got == 0)
            return error_set(err, ERR_UNAVAILABLE, "EOF");
        if (got < 0)
            return (int)got;
    }
}

static int ask(struct relay *r, struct wire *w, struct http1_head *head, struct strbuf *rest,
    struct error *err)
{
    struct nodes *n = r->nodes;
    int64_t deadline_ns = env_now_ns(n->server->env) + OPEN_TIMEOUT_NS;

    if (backend_open(n, &r->to, r->wake_fd, deadline_ns, w, err) < 0) {
        r->unreachable = true;
        return -err->code;
    }
    if (backend_send(n, w, strbuf_str(&r->request), r->wake_fd, deadline_ns, err) < 0 ||
        read_head(r, w, head, rest, err) < 0)
        return -err->code;
    strbuf_done(&r->request);
    r->upgraded = r->status == 101;
    return 0;
}

/* Decodes what has come into the buffer; 1 at the end of the body, <0 when it is malformed. */
static int take_body(struct relay *r, struct strbuf *raw, struct http1_head *head,
    struct http1_chunked *chunked, int64_t *left)
{
    struct env *env = r->nodes->server->env;
    struct str in = strbuf_str(raw);
    struct error ignored;
    int done = 0;

    env_lock(env, &r->lock);
    if (head->chunked) {
        done = http1_chunked_decode(chunked, &in, &r->buffer, &ignored);
    } else if (*left >= 0) {
        size_t n = in.n < (uint64_t)*left ? in.n : (size_t)*left;
        strbuf_add(&r->buffer, str_range(in.p, n));
        *left -= (int64_t)n;
        in = STR("");
        done = *left == 0;
    } else {
        strbuf_add(&r->buffer, in);
        in = STR("");
    }
    strbuf_remove_front(raw, raw->n - in.n);
    env_unlock(env, &r->lock);
    return done;
}

/* true: the body came to its end. */
static bool copy_body(struct relay *r, struct wire *w, struct http1_head *head, struct strbuf *raw)
{
    struct http1_chunked chunked = {0};
    struct error ignored;
    int64_t left = head->chunked ? -1 : head->content_length;
    bool has_none = r->is_head || r->status == 204 || r->status == 304 || left == 0;

    while (!has_none) {
        int done = take_body(r, raw, head, &chunked, &left);
        if (done != 0)
            return done > 0;
        request_wake(r->q);
        if (!await(r, has_room))
            return false;
        ssize_t n = backend_read(r->nodes, w, raw, r->wake_fd, ENV_FOREVER, &ignored);
        if (n == -(ssize_t)ERR_CANCELLED) /* or only room in the buffer */
            continue;
        if (n <= 0)
            return n == 0 && !head->chunked && left < 0;
    }
    return true;
}

static void serve(struct relay *r, struct wire *w)
{
    struct env *env = r->nodes->server->env;
    autostrbuf struct strbuf rest = STRBUF_EMPTY;
    struct http1_head head;
    bool whole = false;

    strbuf_init(&rest, 0);
    if (ask(r, w, &head, &rest, &r->err) < 0) {
        r->status = 0;
        publish(r);
    } else if (r->upgraded) {
        publish(r);
        if (r->wants_upgrade && await(r, is_taken))
            tunnel_run(r, w, strbuf_str(&rest));
        whole = true;
    } else {
        publish(r);
        whole = copy_body(r, w, &head, &rest);
    }
    env_lock(env, &r->lock);
    r->ended = true;
    r->broken = !whole;
    env_unlock(env, &r->lock);
}

static void leave(struct relay *r)
{
    struct nodes *n = r->nodes;
    struct env *env = n->server->env;
    struct relay **at = &n->running;

    env_lock(env, &n->lock);
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->next = n->over;
    n->over = r;
    n->count--;
    env_broadcast(env, &n->changed);
    env_unlock(env, &n->lock);
}

static void run(void *arg)
{
    struct relay *r = arg;
    struct nodes *n = r->nodes;
    struct request *q = r->q;
    struct wire w = {.fd = -1};

    serve(r, &w);
    wire_close(&w);
    if (r->client.fd >= 0) { /* cancelled in between */
        struct wire client = {.fd = r->client.fd, .ssl = r->client.ssl};
        wire_close(&client);
        strbuf_done(&r->client.in);
    }
    if (r->taken) /* nobody else has it */
        request_free(q);
    else
        request_wake(q);
    request_unpin(q);
    reap(n); /* those that ended before: at most one waits to be joined */
    leave(r);
}

/* --- the request's side --- */

enum stage_result relay_start(struct request *q, const struct location *to, struct strbuf *take,
    bool wants_upgrade, int64_t timeout_ns)
{
    struct nodes *n = q->server->nodes;
    struct env *env = q->server->env;

    reap(n);
    env_lock(env, &n->lock);
    bool full = n->count >= RELAYS_MAX;
    env_unlock(env, &n->lock);
    int wake_fd = full ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        strbuf_done(take);
        return request_fail(
            q, ERR_TOO_MANY_REQUESTS, "too many streams are open, please try again later");
    }
    struct relay *r = xcalloc(1, sizeof(*r));
    r->nodes = n;
    atomic_store(&r->references, 2);
    r->q = q;
    r->to = *to;
    r->request = *take;
    r->wants_upgrade = wants_upgrade;
    r->is_head = str_eqc(q->method, "HEAD");
    r->answer_timeout_ns = timeout_ns;
    r->wake_fd = wake_fd;
    r->client.fd = -1;
    env_lock_init(&r->lock);
    strbuf_init(&r->buffer, 0);
    strbuf_init(&r->answer, 0);
    q->stage_state = r;
    request_pin(q);
    request_on_free(q, request_gone, r);
    env_lock(env, &n->lock);
    r->next = n->running;
    n->running = r;
    n->count++;
    env_unlock(env, &n->lock);
    r->task = env_spawn(env, "relay", run, r);
    return STAGE_WAIT;
}

bool relay_opened(struct relay *r)
{
    env_lock(r->nodes->server->env, &r->lock);
    bool is_open = r->opened;
    env_unlock(r->nodes->server->env, &r->lock);
    return is_open;
}

enum body_result relay_next(struct request *q, struct strbuf *out)
{
    struct relay *r = q->body_state;
    struct env *env = q->server->env;

    env_lock(env, &r->lock);
    bool had = r->buffer.n > 0;
    bool was_full = !has_room(r);
    strbuf_add(out, strbuf_str(&r->buffer));
    strbuf_clear(&r->buffer);
    enum body_result result = r->ended ? BODY_END : had ? BODY_CHUNK : BODY_WAIT;
    if (r->ended && r->broken)
        result = BODY_ABORT;
    if (was_full)
        eventfd_write(r->wake_fd, 1);
    env_unlock(env, &r->lock);
    return result;
}

bool relay_whole(struct relay *r, struct str *ret)
{
    struct env *env = r->nodes->server->env;

    env_lock(env, &r->lock);
    bool whole = r->ended || !has_room(r);
    *ret = strbuf_str(&r->buffer);
    env_unlock(env, &r->lock);
    return whole;
}

/* The connection's loop gives the client, and the request with it. */
static void take_over(struct request *q, struct taken_connection *take)
{
    struct relay *r = q->body_state;
    struct env *env = q->server->env;

    env_lock(env, &r->lock);
    r->client = *take;
    r->taken = true;
    eventfd_write(r->wake_fd, 1);
    env_unlock(env, &r->lock);
}

enum stage_result relay_upgrade(struct request *q, struct relay *r)
{
    q->long_running = true;
    q->status = 101;
    q->content_type = NULL;
    q->body_state = r;
    q->upgrade = take_over;
    return STAGE_RESPOND;
}
