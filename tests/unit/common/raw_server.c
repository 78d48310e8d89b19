/*
 * The misbehaving server of the unit tests; see raw_server.h.
 */
#include "tests/unit/common/raw_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256

struct script {
    struct raw_server *server;
    struct task *task;
    int fd, index;
    bool closed;
};

struct raw_server {
    struct env *env;
    raw_script_fn *fn;
    void *arg;
    int listen_fd, port;
    struct task *task;
    struct lock lock; /* guards below */
    struct script scripts[CONNECTIONS_MAX];
    int count;
    bool stopping;
};

static void script_run(void *arg)
{
    struct script *s = arg;

    s->server->fn(s->server->arg, s->fd, s->index);
    env_lock(s->server->env, &s->server->lock);
    close(s->fd);
    s->closed = true;
    env_unlock(s->server->env, &s->server->lock);
}

static void accept_run(void *arg)
{
    struct raw_server *server = arg;
    int fd;

    while ((fd = accept(server->listen_fd, NULL, NULL)) >= 0) {
        env_lock(server->env, &server->lock);
        if (server->stopping || server->count == CONNECTIONS_MAX) {
            close(fd);
        } else {
            struct script *s = &server->scripts[server->count];
            *s = (struct script){.server = server, .fd = fd, .index = server->count++};
            s->task = env_spawn(server->env, "script", script_run, s);
        }
        env_unlock(server->env, &server->lock);
    }
}

struct raw_server *raw_server_new(struct env *env, raw_script_fn *script, void *arg)
{
    struct raw_server *s = xcalloc(1, sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(address);

    s->env = env;
    s->fn = script;
    s->arg = arg;
    env_lock_init(&s->lock);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = bind(s->listen_fd, (struct sockaddr *)&address, n) || listen(s->listen_fd, 64) ||
                 getsockname(s->listen_fd, (struct sockaddr *)&address, &n);
    assert(!failed);
    s->port = ntohs(address.sin_port);
    s->task = env_spawn(env, "raw-accept", accept_run, s);
    return s;
}

void raw_server_free(struct raw_server *s)
{
    env_lock(s->env, &s->lock);
    s->stopping = true;
    for (int i = 0; i < s->count; i++)
        if (!s->scripts[i].closed)
            shutdown(s->scripts[i].fd, SHUT_RDWR);
    env_unlock(s->env, &s->lock);
    shutdown(s->listen_fd, SHUT_RDWR);
    env_join(s->env, s->task);
    close(s->listen_fd);
    for (int i = 0; i < s->count; i++)
        env_join(s->env, s->scripts[i].task);
    env_lock_done(&s->lock);
    free(s);
}

int raw_server_port(const struct raw_server *s)
{
    return s->port;
}

int raw_server_connections(struct raw_server *s)
{
    env_lock(s->env, &s->lock);
    int count = s->count;
    env_unlock(s->env, &s->lock);
    return count;
}

bool raw_read_request(int fd, struct strbuf *out)
{
    size_t body = 0, head = 0;

    strbuf_clear(out);
    for (;;) {
        char *end = strstr(out->data, "\r\n\r\n");
        if (end && head == 0) {
            const char *length = strcasestr(out->data, "\r\nContent-Length:");
            head = (size_t)(end - out->data) + 4;
            body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        }
        if (head > 0 && out->n >= head + body)
            return true;
        ssize_t got = read(fd, strbuf_reserve(out, 4096), 4096);
        if (got <= 0)
            return false;
        strbuf_commit(out, (size_t)got);
    }
}

void raw_send(int fd, const char *text)
{
    size_t n = strlen(text);

    while (n > 0) {
        ssize_t put = send(fd, text, n, MSG_NOSIGNAL);
        if (put <= 0)
            return;
        text += put;
        n -= (size_t)put;
    }
}

int raw_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = connect(fd, (struct sockaddr *)&address, sizeof(address));

    assert(!failed);
    return fd;
}

void raw_read_all(int fd, struct strbuf *out)
{
    for (;;) {
        ssize_t got = read(fd, strbuf_reserve(out, 4096), 4096);
        if (got <= 0)
            return;
        strbuf_commit(out, (size_t)got);
    }
}
