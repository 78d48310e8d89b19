/*
 * A loop: one thread, one epoll, many connections.
 *
 * A turn: socket events; connections handed over; woken exchanges, in order, until the turn is used
 * up; dirty connections; deadlines. Wakes come from any thread through a list and an eventfd that
 * is written once until the loop has looked. A wake from the loop's own thread needs no write: the
 * list is looked at before sleeping.
 */
#include "apiserver/http/internal.h"

#include <errno.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"

#define EVENTS_A_TURN 64
#define THREAD_STACK_BYTES (1u << 20)
/* Exchanges run this long before sockets are looked at again. */
#define RUN_NS (2 * NS_PER_MS)
#define SPARE_BYTES_MAX (2 * OUTPUT_ENOUGH_BYTES)
/* Fewer are not worth a trim, which takes milliseconds. */
#define TRIM_CONNECTIONS 100

int64_t loop_now(struct loop *loop)
{
    return env_now_ns(loop->env);
}

const char *loop_date(struct loop *loop)
{
    int64_t now_s = env_wall_ns(loop->env) / NS_PER_S;

    if (now_s != loop->date_s) {
        time_t t = (time_t)now_s;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(loop->date, sizeof(loop->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        loop->date_s = now_s;
    }
    return loop->date;
}

void loop_lend(struct strbuf *spare, struct strbuf *to)
{
    if (to->capacity > 0 || spare->capacity == 0)
        return;
    *to = *spare;
    strbuf_init(spare, 0);
}

void loop_take_back(struct strbuf *spare, struct strbuf *from)
{
    if (spare->capacity > 0 || from->capacity > SPARE_BYTES_MAX) {
        strbuf_done(from);
        return;
    }
    strbuf_clear(from);
    *spare = *from;
    strbuf_init(from, 0);
}

static void signal_loop(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->event_fd, &one, sizeof(one));

    (void)n; /* full means signalled already */
}

/* With loop->lock held. */
static void signal_once(struct loop *loop)
{
    if (loop->signalled || pthread_equal(pthread_self(), loop->thread))
        return;
    loop->signalled = true;
    signal_loop(loop);
}

void loop_wake(struct request *q)
{
    struct exchange *x = q->connection;
    struct loop *loop = x->c->loop;

    pthread_mutex_lock(&loop->lock);
    if (x->run_state == RUN_NONE) {
        x->run_state = RUN_WOKEN;
        x->run_prev = NULL;
        x->run_next = loop->woken;
        if (loop->woken)
            loop->woken->run_prev = x;
        loop->woken = x;
        signal_once(loop);
    }
    pthread_mutex_unlock(&loop->lock);
}

static void append_runnable(struct loop *loop, struct exchange *x)
{
    x->run_next = NULL;
    x->run_prev = loop->runnable_last;
    if (loop->runnable_last)
        loop->runnable_last->run_next = x;
    else
        loop->runnable = x;
    loop->runnable_last = x;
}

void loop_run_later(struct loop *loop, struct exchange *x)
{
    pthread_mutex_lock(&loop->lock);
    bool queue = x->run_state == RUN_NONE;
    if (queue)
        x->run_state = RUN_QUEUED;
    pthread_mutex_unlock(&loop->lock);
    if (queue)
        append_runnable(loop, x);
}

static void unlink_from(struct exchange **first, struct exchange **last, struct exchange *x)
{
    if (x->run_prev)
        x->run_prev->run_next = x->run_next;
    else
        *first = x->run_next;
    if (x->run_next)
        x->run_next->run_prev = x->run_prev;
    else if (last)
        *last = x->run_prev;
}

/* The exchange is in no list of the loop afterwards. No wake may come any more: its request is
 * freed. */
void loop_forget(struct loop *loop, struct exchange *x)
{
    pthread_mutex_lock(&loop->lock);
    if (x->run_state == RUN_WOKEN)
        unlink_from(&loop->woken, NULL, x);
    pthread_mutex_unlock(&loop->lock);
    if (x->run_state == RUN_QUEUED)
        unlink_from(&loop->runnable, &loop->runnable_last, x);
    x->run_state = RUN_NONE;
}

void loop_dirty(struct connection *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->dirty_next = c->loop->dirty;
    c->loop->dirty = c;
}

void loop_deadline(struct loop *loop, int64_t at_ns)
{
    if (at_ns < loop->sweep_at_ns)
        loop->sweep_at_ns = at_ns;
}

/* Moves the woken to the runnable, oldest first. */
static void take_woken(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct exchange *x = loop->woken, *next, *reversed = NULL;
    loop->woken = NULL;
    loop->signalled = false;
    for (; x; x = next) {
        next = x->run_next;
        x->run_state = RUN_QUEUED;
        x->run_next = reversed;
        reversed = x;
    }
    pthread_mutex_unlock(&loop->lock);
    for (x = reversed; x; x = next) {
        next = x->run_next;
        append_runnable(loop, x);
    }
}

static void take_incoming(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct connection *c = loop->incoming, *next;
    loop->incoming = NULL;
    pthread_mutex_unlock(&loop->lock);
    for (; c; c = next) {
        next = c->next;
        connection_start(c, loop);
    }
}

static void run_exchanges(struct loop *loop)
{
    int64_t until_ns = loop->runnable ? loop_now(loop) + RUN_NS : 0;

    while (loop->runnable) {
        struct exchange *x = loop->runnable;
        unlink_from(&loop->runnable, &loop->runnable_last, x);
        pthread_mutex_lock(&loop->lock);
        x->run_state = RUN_NONE;
        pthread_mutex_unlock(&loop->lock);
        exchange_run(x);
        if (loop_now(loop) > until_ns)
            return;
    }
}

static void output_dirty(struct loop *loop)
{
    struct connection *c = loop->dirty, *next;

    loop->dirty = NULL;
    for (; c; c = next) {
        next = c->dirty_next;
        c->dirty = false;
        connection_output(c);
    }
}

static void sweep(struct loop *loop)
{
    int64_t now = loop_now(loop), soonest = INT64_MAX;

    if (now < loop->sweep_at_ns)
        return;
    loop->sweep_at_ns = INT64_MAX;
    for (struct connection *c = loop->connections; c; c = c->next) {
        int64_t at = connection_sweep(c, now);
        if (at < soonest)
            soonest = at;
    }
    loop_deadline(loop, soonest);
}

static void start_drain(struct loop *loop)
{
    loop->draining = true;
    for (struct connection *c = loop->connections; c; c = c->next)
        connection_drain(c);
}

static int sleep_ms(struct loop *loop)
{
    if (loop->runnable || loop->dirty)
        return 0;
    if (loop->sweep_at_ns == INT64_MAX)
        return -1;
    int64_t left = loop->sweep_at_ns - loop_now(loop);
    if (left <= 0)
        return 0;
    return left > 3600 * NS_PER_S ? 3600000 : (int)(left / NS_PER_MS) + 1;
}

/* Connections leave holes: after many have gone their memory goes back, once. */
static void give_memory_back(struct loop *loop)
{
    size_t load = __atomic_load_n(&loop->load, __ATOMIC_RELAXED);

    if (load > loop->load_peak)
        loop->load_peak = load;
    if (loop->load_peak < TRIM_CONNECTIONS || load > loop->load_peak / 4)
        return;
    loop->load_peak = load;
    malloc_trim(0);
}

/* false: the loop ends. */
static bool look_at_orders(struct loop *loop, int *ret_sleep_ms)
{
    pthread_mutex_lock(&loop->lock);
    bool stop = loop->stop, drain = loop->drain && !loop->draining;
    bool work = loop->woken || loop->incoming;
    pthread_mutex_unlock(&loop->lock);
    if (drain)
        start_drain(loop);
    *ret_sleep_ms = work || drain ? 0 : sleep_ms(loop);
    return !stop;
}

static void clear_event(struct loop *loop)
{
    uint64_t count;
    ssize_t n = read(loop->event_fd, &count, sizeof(count));

    (void)n;
}

static void *loop_main(void *arg)
{
    struct loop *loop = arg;
    struct epoll_event events[EVENTS_A_TURN];
    int wait_ms;

    while (look_at_orders(loop, &wait_ms)) {
        int n = epoll_wait(loop->epoll_fd, events, EVENTS_A_TURN, wait_ms);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                clear_event(loop);
            else
                connection_event(events[i].data.ptr, events[i].events);
        }
        take_incoming(loop);
        take_woken(loop);
        run_exchanges(loop);
        output_dirty(loop);
        sweep(loop);
        give_memory_back(loop);
    }
    while (loop->connections)
        connection_free(loop->connections);
    strbuf_done(&loop->spare_out);
    strbuf_done(&loop->spare_body);
    return NULL;
}

static int start_thread(struct loop *loop, struct error *err)
{
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
    int r = pthread_create(&loop->thread, &attr, loop_main, loop);
    pthread_attr_destroy(&attr);
    return r == 0 ? 0 : error_sys(err, r, "loop thread");
}

int loop_start(struct loop *loop, struct http *http, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    loop->http = http;
    loop->env = http->env;
    loop->sweep_at_ns = INT64_MAX;
    strbuf_init(&loop->spare_out, 0);
    strbuf_init(&loop->spare_body, 0);
    pthread_mutex_init(&loop->lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->event_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &event) < 0)
        return error_sys(err, errno, "epoll");
    return start_thread(loop, err);
}

void loop_add(struct loop *loop, struct connection *take)
{
    __atomic_add_fetch(&loop->load, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&loop->lock);
    take->next = loop->incoming;
    loop->incoming = take;
    signal_once(loop);
    pthread_mutex_unlock(&loop->lock);
}

void loop_ask_drain(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->drain = true;
    signal_once(loop);
    pthread_mutex_unlock(&loop->lock);
}

void loop_stop(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stop = true;
    signal_once(loop);
    pthread_mutex_unlock(&loop->lock);
    pthread_join(loop->thread, NULL);
    while (loop->incoming) {
        struct connection *c = loop->incoming;
        loop->incoming = c->next;
        c->next = NULL;
        c->loop = NULL;
        connection_free(c);
    }
    close(loop->epoll_fd);
    close(loop->event_fd);
    pthread_mutex_destroy(&loop->lock);
}
