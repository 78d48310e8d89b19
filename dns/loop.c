/*
 * Loop: epoll, see loop.h.
 *
 * Removed watches stay allocated until the end of the turn, because an event of theirs may already
 * have been fetched.
 */
#include "dns/loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/str.h"
#include "common/time.h"

#define TICKS_MAX 4
#define EVENTS_A_TURN 64

struct watch {
    int fd;
    uint32_t events;
    watch_fn *fn;
    void *arg;
    struct watch *next_dead;
};

struct loop {
    struct env *env;
    int epoll_fd, stop_fd;
    struct watch *stop_watch, *dead;
    struct {
        tick_fn *fn;
        void *arg;
    } ticks[TICKS_MAX];
    size_t tick_count;
    int64_t now_ns;
    bool stop;
};

static void on_stop(void *arg, uint32_t events)
{
    ((struct loop *)arg)->stop = true;
}

int loop_new(struct env *env, struct loop **ret, struct error *err)
{
    struct loop *loop = xcalloc(1, sizeof(*loop));

    loop->env = env;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->stop_fd < 0) {
        int saved = errno;
        loop_free(loop);
        return error_sys(err, saved, "making an epoll loop");
    }
    loop->now_ns = env_now_ns(env);
    loop->stop_watch = loop_watch(loop, loop->stop_fd, EPOLLIN, on_stop, loop);
    *ret = loop;
    return 0;
}

static void free_dead(struct loop *loop)
{
    while (loop->dead) {
        struct watch *w = loop->dead;
        loop->dead = w->next_dead;
        free(w);
    }
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->stop_watch)
        loop_unwatch(loop, loop->stop_watch);
    free_dead(loop);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->stop_fd >= 0)
        close(loop->stop_fd);
    free(loop);
}

struct watch *loop_watch(struct loop *loop, int fd, uint32_t events, watch_fn *fn, void *arg)
{
    struct watch *w = xcalloc(1, sizeof(*w));

    *w = (struct watch){.fd = fd, .events = events, .fn = fn, .arg = arg};
    int r = epoll_ctl(
        loop->epoll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events, .data.ptr = w});
    assert(r == 0);
    return w;
}

void loop_change(struct loop *loop, struct watch *w, uint32_t events)
{
    if (w->events == events)
        return;
    w->events = events;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, w->fd,
        &(struct epoll_event){.events = events, .data.ptr = w});
}

void loop_unwatch(struct loop *loop, struct watch *w)
{
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->fn = NULL;
    w->next_dead = loop->dead;
    loop->dead = w;
}

void loop_add_tick(struct loop *loop, tick_fn *fn, void *arg)
{
    assert(loop->tick_count < TICKS_MAX);
    loop->ticks[loop->tick_count].fn = fn;
    loop->ticks[loop->tick_count++].arg = arg;
}

/* Runs the ticks; returns the milliseconds to sleep at most, -1 for ever. */
static int run_ticks(struct loop *loop)
{
    int64_t next_ns = ENV_FOREVER;

    for (size_t i = 0; i < loop->tick_count; i++) {
        int64_t at_ns = loop->ticks[i].fn(loop->ticks[i].arg, loop->now_ns);
        next_ns = at_ns < next_ns ? at_ns : next_ns;
    }
    if (next_ns == ENV_FOREVER)
        return -1;
    int64_t ms = (next_ns - loop->now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

void loop_run(struct loop *loop)
{
    struct epoll_event events[EVENTS_A_TURN];

    while (!loop->stop) {
        int n = epoll_wait(loop->epoll_fd, events, EVENTS_A_TURN, run_ticks(loop));
        loop->now_ns = env_now_ns(loop->env);
        for (int i = 0; i < n; i++) {
            struct watch *w = events[i].data.ptr;
            if (w->fn)
                w->fn(w->arg, events[i].events);
        }
        free_dead(loop);
    }
}

void dns_loop_stop(struct loop *loop)
{
    uint64_t one = 1;

    if (write(loop->stop_fd, &one, sizeof(one)) < 0)
        loop->stop = true; /* the counter is full: it is set */
}

int64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}
