/*
 * Forwarder: upstream queries under way, their sockets and their retries. See forward.h.
 *
 * Pending queries are a hash by their question and a list by deadline (every try lasts equally
 * long, so a new try goes to the end). A pending query is freed in finish() only, after its waiters
 * were told.
 */
#include "dns/forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/time.h"

#define TRY_NS (1500 * NS_PER_MS)
#define TRIES_MAX 3
#define BAD_NS (10 * NS_PER_S)
#define RESOLV_CHECK_NS (5 * NS_PER_S)
#define RESOLV_BYTES_MAX (64u << 10)

static const struct metric_info forwarded = {
    "coredns_forward_requests_total", METRIC_COUNTER, "Tries to ask an upstream.", {NULL}};
static const struct metric_info failed = {"coredns_forward_healthcheck_failures_total",
    METRIC_COUNTER, "Tries that an upstream did not answer in time.", {NULL}};
static const struct metric_info hits = {
    "coredns_cache_hits_total", METRIC_COUNTER, "Answers from the cache.", {NULL}};
static const struct metric_info misses = {"coredns_cache_misses_total", METRIC_COUNTER,
    "Questions that the cache had no answer to.", {NULL}};

struct upstream {
    struct sockaddr_storage address;
    socklen_t bytes;
    int64_t bad_until_ns;
};

struct waiter {
    forward_done_fn *done;
    void *arg;
    struct waiter *next;
};

struct pending {
    struct forwarder *forwarder;
    struct dns_query query;
    bool tcp;
    uint16_t id;
    unsigned tries;
    size_t first; /* upstream of the first try */
    struct upstream *now;
    int fd;
    struct watch *watch;
    struct strbuf out, in; /* TCP */
    size_t sent;
    int64_t deadline_ns;
    struct waiter *waiters;
    struct pending *previous, *next; /* by deadline */
    UT_hash_handle hh;
    size_t key_bytes;
    uint8_t key[QUERY_KEY_BYTES + 1];
};

struct forwarder {
    struct env *env;
    struct loop *loop;
    struct metrics *metrics;
    struct cache *cache;
    struct upstream upstreams[UPSTREAMS_MAX];
    size_t upstream_count;
    char *resolv_conf; /* NULL: upstreams are given */
    char *self, *cluster_dns;
    int self_port;
    int64_t resolv_checked_ns;
    struct timespec resolv_changed;
    struct pending *pending; /* hash */
    struct pending *first, *last;
};

static void start_try(struct pending *p);

static bool parse_upstream(struct str text, struct upstream *ret)
{
    char host[INET6_ADDRSTRLEN + 1];
    int64_t port = 53;
    ssize_t colon = str_find(text, ':');
    struct error err;

    *ret = (struct upstream){0};
    if (colon >= 0 &&
        str_find(str_range(text.p + colon + 1, text.n - (size_t)colon - 1), ':') < 0) {
        struct str tail = str_range(text.p + colon + 1, text.n - (size_t)colon - 1);
        if (str_parse_int64(tail, &port, &err) < 0 || port < 1 || port > UINT16_MAX)
            return false;
        text.n = (size_t)colon;
    }
    if (text.n >= sizeof(host))
        return false;
    snprintf(host, sizeof(host), "%.*s", STR_FMT(text));
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        ret->bytes = sizeof(*v4);
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    ret->bytes = sizeof(*v6);
    return true;
}

static void add_upstream(struct forwarder *f, struct str text)
{
    struct upstream u;
    bool own_port = f->self_port == 53;

    if (!parse_upstream(text, &u)) {
        log_warning("not a nameserver's address, ignoring", "text", "%.*s",
            (int)(text.n > 64 ? 64 : text.n), text.p, NULL);
        return;
    }
    if ((f->cluster_dns && str_eqc(text, f->cluster_dns)) ||
        (own_port && f->self && str_eqc(text, f->self))) {
        log_warning("this nameserver is the cluster's own, ignoring", "address", "%.*s",
            STR_FMT(text), NULL);
        return;
    }
    if (f->upstream_count < UPSTREAMS_MAX)
        f->upstreams[f->upstream_count++] = u;
}

static void read_resolv_conf(struct forwarder *f)
{
    autostrbuf struct strbuf text;
    struct str rest, line;
    struct error err;

    strbuf_init(&text, RESOLV_BYTES_MAX);
    if (file_read(f->resolv_conf, RESOLV_BYTES_MAX, &text, &err) < 0) {
        log_warning("can't read the host's nameservers, keeping what is known", "error", "%s",
            err.text, NULL);
        return;
    }
    f->upstream_count = 0;
    rest = strbuf_str(&text);
    while (str_split(&rest, '\n', &line)) {
        line = str_trim(line);
        if (!str_starts(line, STR("nameserver")) || line.n < 12)
            continue;
        struct str address = str_trim(str_range(line.p + 10, line.n - 10));
        ssize_t end = 0;
        while ((size_t)end < address.n && address.p[end] != ' ' && address.p[end] != '\t' &&
               address.p[end] != '%')
            end++;
        add_upstream(f, str_range(address.p, (size_t)end));
    }
    log_info("nameservers of the host", "count", "%zu", f->upstream_count, NULL);
}

static void check_resolv_conf(struct forwarder *f, int64_t now_ns)
{
    struct stat st;

    if (!f->resolv_conf ||
        (f->resolv_checked_ns && now_ns - f->resolv_checked_ns < RESOLV_CHECK_NS))
        return;
    f->resolv_checked_ns = now_ns;
    if (stat(f->resolv_conf, &st) < 0 || (st.st_mtim.tv_sec == f->resolv_changed.tv_sec &&
                                             st.st_mtim.tv_nsec == f->resolv_changed.tv_nsec))
        return;
    f->resolv_changed = st.st_mtim;
    read_resolv_conf(f);
}

static void unlink_deadline(struct pending *p)
{
    struct forwarder *f = p->forwarder;

    if (p->previous)
        p->previous->next = p->next;
    else if (f->first == p)
        f->first = p->next;
    if (p->next)
        p->next->previous = p->previous;
    else if (f->last == p)
        f->last = p->previous;
    p->previous = p->next = NULL;
}

static void set_deadline(struct pending *p)
{
    struct forwarder *f = p->forwarder;

    unlink_deadline(p);
    p->deadline_ns = env_now_ns(f->env) + TRY_NS;
    p->previous = f->last;
    if (f->last)
        f->last->next = p;
    else
        f->first = p;
    f->last = p;
}

static void end_try(struct pending *p)
{
    if (p->fd < 0)
        return;
    loop_unwatch(p->forwarder->loop, p->watch);
    close(p->fd);
    p->fd = -1;
    strbuf_clear(&p->in);
    p->sent = 0;
}

static void finish(struct pending *p, struct str answer)
{
    struct forwarder *f = p->forwarder;

    end_try(p);
    unlink_deadline(p);
    HASH_DEL(f->pending, p);
    if (answer.n)
        answer_cache_put(f->cache, &p->query, answer, loop_now_ns(f->loop));
    while (p->waiters) {
        struct waiter *w = p->waiters;
        p->waiters = w->next;
        if (w->done)
            w->done(w->arg, answer);
        free(w);
    }
    strbuf_done(&p->out);
    strbuf_done(&p->in);
    free(p);
}

static void try_failed(struct pending *p)
{
    metric_add(p->forwarder->metrics, &failed, 1);
    if (p->now)
        p->now->bad_until_ns = loop_now_ns(p->forwarder->loop) + BAD_NS;
    end_try(p);
    if (p->tries >= TRIES_MAX)
        finish(p, STR(""));
    else
        start_try(p);
}

/* Is it the answer to this try? */
static bool is_answer(const struct pending *p, struct str message)
{
    struct dns_answer a;

    return dns_answer_parse(message, &a) == 0 && a.id == p->id && a.type == p->query.type &&
           a.class_ == p->query.class_ && dns_name_equal(&a.name, &p->query.name);
}

static void on_message(struct pending *p, struct str message)
{
    int rcode = message.p[3] & 15;

    /* Another server may know better, while there is one to ask. */
    if ((rcode == DNS_SERVFAIL || rcode == DNS_REFUSED) && p->forwarder->upstream_count > 1 &&
        p->tries < TRIES_MAX) {
        try_failed(p);
        return;
    }
    finish(p, message);
}

static void on_udp(void *arg, uint32_t events)
{
    struct pending *p = arg;
    char buf[4096];

    for (;;) {
        ssize_t n = recv(p->fd, buf, sizeof(buf), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            try_failed(p); /* refused */
            return;
        }
        struct str message = str_range(buf, (size_t)n);
        if (is_answer(p, message)) {
            on_message(p, message);
            return;
        }
    }
}

static void read_tcp(struct pending *p)
{
    char *room = strbuf_reserve(&p->in, 4096);

    ssize_t n = room ? recv(p->fd, room, 4096, 0) : -1;
    if (n < 0 && room && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        try_failed(p);
        return;
    }
    strbuf_commit(&p->in, (size_t)n);
    if (p->in.n < 2)
        return;
    size_t length = (size_t)((uint8_t)p->in.data[0] << 8 | (uint8_t)p->in.data[1]);
    if (p->in.n < 2 + length)
        return;
    struct str message = str_range(p->in.data + 2, length);
    if (is_answer(p, message)) {
        /* The buffer goes with the pending query; the waiters need it a little longer. */
        struct strbuf keep = p->in;
        strbuf_init(&p->in, 0);
        on_message(p, str_range(keep.data + 2, length));
        strbuf_done(&keep);
    } else {
        try_failed(p);
    }
}

static void on_tcp(void *arg, uint32_t events)
{
    struct pending *p = arg;

    if (p->sent < p->out.n) {
        ssize_t n = send(p->fd, p->out.data + p->sent, p->out.n - p->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            try_failed(p);
            return;
        }
        p->sent += (size_t)n;
        if (p->sent == p->out.n)
            loop_change(p->forwarder->loop, p->watch, EPOLLIN);
        return;
    }
    read_tcp(p);
}

/* The upstream of this try: in turn from the first good one. */
static struct upstream *choose(struct pending *p)
{
    struct forwarder *f = p->forwarder;
    int64_t now_ns = loop_now_ns(f->loop);

    if (!f->upstream_count)
        return NULL;
    if (p->tries == 1)
        for (p->first = 0;
             p->first + 1 < f->upstream_count && f->upstreams[p->first].bad_until_ns > now_ns;
             p->first++)
            ;
    return &f->upstreams[(p->first + p->tries - 1) % f->upstream_count];
}

static bool send_query(struct pending *p)
{
    autostrbuf struct strbuf message;

    strbuf_init(&message, 0);
    dns_query_print(&p->query, p->id, &message);
    if (!p->tcp)
        return send(p->fd, message.data, message.n, 0) == (ssize_t)message.n;
    strbuf_clear(&p->out);
    strbuf_add_char(&p->out, (char)(message.n >> 8));
    strbuf_add_char(&p->out, (char)message.n);
    strbuf_add(&p->out, strbuf_str(&message));
    return true;
}

static bool open_try(struct pending *p)
{
    struct upstream *u = p->now;
    int type = (p->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;

    p->fd = socket(u->address.ss_family, type, 0);
    if (p->fd < 0)
        return false;
    if ((connect(p->fd, (struct sockaddr *)&u->address, u->bytes) < 0 && errno != EINPROGRESS) ||
        !send_query(p)) {
        close(p->fd);
        p->fd = -1;
        return false;
    }
    p->watch = loop_watch(p->forwarder->loop, p->fd, p->tcp ? EPOLLIN | EPOLLOUT : EPOLLIN,
        p->tcp ? on_tcp : on_udp, p);
    return true;
}

static void start_try(struct pending *p)
{
    while (p->tries < TRIES_MAX) {
        p->tries++;
        p->now = choose(p);
        if (!p->now)
            break;
        env_random_bytes(p->forwarder->env, &p->id, sizeof(p->id));
        metric_add(p->forwarder->metrics, &forwarded, 1);
        if (open_try(p)) {
            set_deadline(p);
            return;
        }
        p->now->bad_until_ns = loop_now_ns(p->forwarder->loop) + BAD_NS;
    }
    finish(p, STR(""));
}

static int64_t tick(void *arg, int64_t now_ns)
{
    struct forwarder *f = arg;

    while (f->first && f->first->deadline_ns <= now_ns)
        try_failed(f->first);
    return f->first ? f->first->deadline_ns : ENV_FOREVER;
}

static void add_waiter(struct pending *p, forward_done_fn *done, void *arg)
{
    struct waiter *w = xmalloc(sizeof(*w));

    *w = (struct waiter){done, arg, p->waiters};
    p->waiters = w;
}

void forwarder_ask(
    struct forwarder *f, const struct dns_query *query, bool tcp, forward_done_fn *done, void *arg)
{
    struct dns_query q = *query;
    uint8_t key[QUERY_KEY_BYTES + 1];
    autostrbuf struct strbuf cached;
    struct pending *p;

    q.flags |= DNS_RD;
    q.udp_bytes = DNS_UDP_BYTES;
    strbuf_init(&cached, 0);
    if (answer_cache_get(f->cache, &q, loop_now_ns(f->loop), &cached)) {
        metric_add(f->metrics, &hits, 1);
        done(arg, strbuf_str(&cached));
        return;
    }
    metric_add(f->metrics, &misses, 1);
    check_resolv_conf(f, loop_now_ns(f->loop));
    size_t n = query_key(&q, key);
    key[n++] = tcp;
    HASH_FIND(hh, f->pending, key, n, p);
    if (p) {
        add_waiter(p, done, arg);
        return;
    }
    if (HASH_COUNT(f->pending) >= FORWARD_PENDING_MAX) {
        done(arg, STR(""));
        return;
    }
    p = xcalloc(1, sizeof(*p));
    p->forwarder = f;
    p->query = q;
    p->tcp = tcp;
    p->fd = -1;
    p->key_bytes = n;
    memcpy(p->key, key, n);
    strbuf_init(&p->out, 0);
    strbuf_init(&p->in, 2 + 65535 + 4096);
    HASH_ADD_KEYPTR(hh, f->pending, p->key, n, p);
    add_waiter(p, done, arg);
    start_try(p);
}

void forwarder_cancel(struct forwarder *f, void *arg)
{
    for (struct pending *p = f->pending; p; p = p->hh.next)
        for (struct waiter *w = p->waiters; w; w = w->next)
            if (w->arg == arg)
                w->done = NULL;
}

int forwarder_new(struct env *env, struct loop *loop, struct metrics *metrics,
    const struct forward_config *config, struct forwarder **ret, struct error *err)
{
    struct forwarder *f = xcalloc(1, sizeof(*f));

    f->env = env;
    f->loop = loop;
    f->metrics = metrics;
    f->cache = answer_cache_new();
    f->self = config->self ? xstrdup(config->self) : NULL;
    f->self_port = config->self_port;
    f->cluster_dns = config->cluster_dns ? xstrdup(config->cluster_dns) : NULL;
    *ret = f;
    if (config->upstreams) {
        struct str rest = str_of(config->upstreams), one;
        while (str_split(&rest, ',', &one)) {
            struct upstream u;
            if (!parse_upstream(str_trim(one), &u)) {
                forwarder_free(f);
                return error_set(err, ERR_USAGE,
                    "--upstream takes addresses such as 192.0.2.1 or 192.0.2.1:5353, not \"%.*s\"",
                    STR_FMT(one));
            }
            add_upstream(f, str_trim(one));
        }
    } else {
        f->resolv_conf = xstrdup(config->resolv_conf);
        check_resolv_conf(f, env_now_ns(env));
    }
    loop_add_tick(loop, tick, f);
    return 0;
}

void forwarder_free(struct forwarder *f)
{
    struct pending *p, *next;

    if (!f)
        return;
    HASH_ITER(hh, f->pending, p, next)
    finish(p, STR(""));
    answer_cache_free(f->cache);
    free(f->resolv_conf);
    free(f->self);
    free(f->cluster_dns);
    free(f);
}
