/*
 * A tunnel: the client's connection and the backend's become one, byte for byte.
 *
 * Each direction holds one piece, a TLS record's content at most, and reads the next once that is
 * written: so each side is as fast as the other, and a message that came in a record of its own
 * leaves in one. (Clients that select() on a TLS socket need that: they don't see what TLS holds
 * already.) The end of a side is passed on once its bytes are; the other direction goes
 * on for a minute after its last byte. What breaks ends both.
 */
#include "apiserver/connect/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "apiserver/server.h"
#include "common/time.h"

#define TURN_PIECES 8
#define READ_BYTES (16u << 10)
#define IDLE_NS (4 * 3600 * NS_PER_S)
#define HALF_CLOSED_NS (60 * NS_PER_S)
#define END_NS (2 * NS_PER_S)

/* One direction. */
struct flow {
    struct wire *from, *to;
    struct strbuf bytes;
    size_t start;
    bool ended;  /* nothing more comes */
    bool passed; /* and the other side has been told */
};

static size_t queued(const struct flow *f)
{
    return f->bytes.n - f->start;
}

static bool has_room(const struct flow *f)
{
    return !f->ended && queued(f) == 0;
}

/* false: broken. */
static bool fill(struct flow *f, bool *moved)
{
    if (has_room(f)) {
        ssize_t n = wire_read(f->from, strbuf_reserve(&f->bytes, READ_BYTES), READ_BYTES);
        if (n == WIRE_BROKEN)
            return false;
        if (n == WIRE_WAIT)
            return true;
        if (n == 0)
            f->ended = true;
        else
            strbuf_commit(&f->bytes, (size_t)n);
        *moved = true;
    }
    return true;
}

static bool drain(struct flow *f, bool *moved)
{
    while (queued(f) > 0) {
        ssize_t n = wire_write(f->to, str_range(f->bytes.data + f->start, queued(f)));
        if (n == WIRE_BROKEN)
            return false;
        if (n == WIRE_WAIT)
            return true;
        f->start += (size_t)n;
        *moved = true;
    }
    f->start = 0;
    strbuf_clear(&f->bytes);
    if (f->ended && !f->passed) {
        wire_finish(f->to);
        f->passed = true;
    }
    return true;
}

/* Some pieces, so that the other direction has its turn. */
static bool move(struct flow *f, bool *moved)
{
    for (int i = 0; i < TURN_PIECES; i++) {
        bool again = false;
        if (!fill(f, &again) || !drain(f, &again))
            return false;
        *moved |= again;
        if (!again || f->passed || queued(f) > 0)
            break;
    }
    if (queued(f) == 0)
        strbuf_done(&f->bytes); /* an idle session holds none */
    return true;
}

static short events_of(const struct flow *in, const struct flow *out)
{
    return (short)((has_room(in) ? POLLIN : 0) | (queued(out) > 0 ? POLLOUT : 0));
}

static int64_t patience_ns(const struct flow *up, const struct flow *down)
{
    if (down->passed) /* the backend has ended: the client only has to take it */
        return END_NS;
    return up->ended ? HALF_CLOSED_NS : IDLE_NS;
}

static void copy(struct relay *r, struct flow *up, struct flow *down)
{
    struct env *env = r->nodes->server->env;
    int64_t moved_ns = env_now_ns(env);
    bool fine = true;

    while (fine && !(up->passed && down->passed)) {
        bool moved = false;
        fine = move(up, &moved) && move(down, &moved);
        if (!fine || (up->passed && down->passed))
            break;
        int64_t now = env_now_ns(env);
        if (moved)
            moved_ns = now;
        int64_t left = moved_ns + patience_ns(up, down) - now;
        if (left <= 0)
            break;
        struct pollfd fds[] = {{.fd = up->from->fd, .events = events_of(up, down)},
            {.fd = down->from->fd, .events = events_of(down, up)},
            {.fd = r->wake_fd, .events = POLLIN}};
        bool waiting = (has_room(up) && wire_pending(up->from)) ||
                       (has_room(down) && wire_pending(down->from));
        if (poll(fds, 3, waiting ? 0 : (int)(left / NS_PER_MS) + 1) < 0 && errno != EINTR)
            break;
        /* A wake is a cancellation: nothing else is told to a tunnel. */
        if (fds[2].revents || (fds[0].revents | fds[1].revents) & (POLLERR | POLLNVAL))
            break;
        /* Gone for good, while we had no wish to read: nothing can be delivered. */
        if ((fds[0].revents & POLLHUP && !(fds[0].events & POLLIN)) ||
            (fds[1].revents & POLLHUP && !(fds[1].events & POLLIN) && up->passed))
            break;
    }
}

void tunnel_run(struct relay *r, struct wire *backend, struct str early_backend)
{
    struct wire client = {.fd = r->client.fd, .ssl = r->client.ssl};
    struct flow up = {.from = &client, .to = backend, .bytes = r->client.in};
    struct flow down = {.from = backend, .to = &client};

    strbuf_init(&down.bytes, 0);
    strbuf_add(&down.bytes, early_backend);
    r->client = (struct taken_connection){.fd = -1};
    copy(r, &up, &down);
    wire_close(&client);
    strbuf_done(&up.bytes);
    strbuf_done(&down.bytes);
}
