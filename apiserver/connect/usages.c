/*
 * Rounds of asking all kubelets for their usage; see usages.h.
 *
 * One round runs at a time, on a task that is joined when the next one begins. Its workers take one
 * node after the other; a node has a deadline of its own. The requests that wait are in a list from
 * which their hook takes them when they go away.
 */
#include "apiserver/connect/usages.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "apiserver/cache/cache.h"
#include "apiserver/connect/internal.h"
#include "apiserver/server.h"
#include "common/http1.h"
#include "common/log.h"
#include "common/time.h"

#define SHARED_NS (5 * NS_PER_S)
#define BEFORE_MAX_NS (120 * NS_PER_S)
#define FIRST_WINDOW_NS (1 * NS_PER_S)
#define NODE_TIMEOUT_NS (5 * NS_PER_S)
#define WORKERS_MAX 16
#define PAGE_BYTES_MAX (16u << 20)

struct waiter {
    struct usages *usages;
    struct request *q;
    struct waiter *next;
    bool listed;
};

struct asked {
    char *name;
    struct location to;
    struct scrape *before, *now;
};

struct round {
    struct usages *usages;
    struct asked *nodes;
    size_t count;
    size_t next;    /* atomic: of a worker to take */
    bool is_second; /* of those without a page from before */
};

struct usages {
    struct server *server;
    int wake_fd; /* readable: stop */
    struct lock lock;
    /* guarded by lock */
    struct usage_table *table; /* of the last round, or NULL */
    struct waiter *waiters;
    struct task *task; /* of the last round, to be joined */
    bool running, stopping;
};

void usage_table_unref(struct usage_table *t)
{
    if (!t || __atomic_sub_fetch(&t->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < t->count; i++) {
        free(t->nodes[i].name);
        scrape_unref(t->nodes[i].before);
        scrape_unref(t->nodes[i].now);
    }
    free(t->nodes);
    free(t);
}

const struct node_usage *usage_table_node(const struct usage_table *t, struct str name)
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int r = str_cmp(str_of(t->nodes[middle].name), name);
        if (r == 0)
            return &t->nodes[middle];
        if (r < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int64_t usage_rate(const struct container_sample *before, const struct container_sample *now,
    int64_t *ret_window_ns)
{
    bool same = before && before->cpu_ns >= 0 && before->started_ns == now->started_ns &&
                before->cpu_ns <= now->cpu_ns;
    int64_t since_ns = same ? before->time_ns : now->started_ns, cpu_ns = same ? before->cpu_ns : 0;
    int64_t window_ns = now->time_ns - since_ns;

    if (now->cpu_ns < 0 || since_ns <= 0 || window_ns < FIRST_WINDOW_NS / 2)
        return -1;
    *ret_window_ns = window_ns;
    return (int64_t)((double)(now->cpu_ns - cpu_ns) * 1e9 / (double)window_ns);
}

/* --- one node --- */

/* The whole answer in `text`; its body begins at the return value. */
static ssize_t fetch(struct usages *u, const struct location *to, struct strbuf *text,
    struct http1_head *head, struct error *err)
{
    struct nodes *nodes = u->server->nodes;
    int64_t deadline_ns = env_now_ns(u->server->env) + NODE_TIMEOUT_NS;
    autostrbuf struct strbuf request = STRBUF_EMPTY;
    struct wire w = {.fd = -1};
    ssize_t begin = 0, n;
    int status = 0;

    strbuf_addc(&request, "GET /metrics/resource HTTP/1.1\r\nHost: ");
    location_add_host(to, &request);
    strbuf_addc(&request, "\r\nUser-Agent: skiff-apiserver\r\nConnection: close\r\n\r\n");
    if (backend_open(nodes, to, u->wake_fd, deadline_ns, &w, err) < 0)
        return -(ssize_t)err->code;
    n = backend_send(nodes, &w, strbuf_str(&request), u->wake_fd, deadline_ns, err);
    while (n >= 0) {
        n = backend_read(nodes, &w, text, u->wake_fd, deadline_ns, err);
        if (n > 0 && text->n > PAGE_BYTES_MAX)
            n = error_set(err, ERR_TOO_LARGE, "the page is too long");
        if (n <= 0)
            break;
    }
    wire_close(&w);
    if (n < 0)
        return n;
    begin = http1_parse_answer(strbuf_str(text), head, &status, err);
    if (begin == 0)
        return error_set(err, ERR_UNAVAILABLE, "EOF");
    if (begin > 0 && status != 200)
        return error_set(err, ERR_UNAVAILABLE, "the kubelet answered %d", status);
    return begin;
}

static int ask(struct usages *u, struct asked *node, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY, decoded = STRBUF_EMPTY;
    struct http1_chunked chunked = {0};
    struct http1_head head;
    struct scrape *page;

    ssize_t begin = fetch(u, &node->to, &text, &head, err);
    if (begin < 0)
        return -(int)err->code;
    struct str body = str_range(text.data + begin, text.n - (size_t)begin);
    if (head.chunked) {
        if (http1_chunked_decode(&chunked, &body, &decoded, err) <= 0)
            return error_set(err, ERR_UNAVAILABLE, "the answer is not complete");
        body = strbuf_str(&decoded);
    } else if (head.content_length >= 0 && (size_t)head.content_length != body.n) {
        return error_set(err, ERR_UNAVAILABLE, "the answer is not complete");
    }
    if (scrape_parse(body, env_wall_ns(u->server->env), &page, err) < 0)
        return -(int)err->code;
    if (node->before && node->now)
        scrape_unref(node->before);
    if (node->now)
        node->before = node->now;
    node->now = page;
    return 0;
}

static void work(void *arg)
{
    struct round *r = arg;
    struct error err;

    for (;;) {
        size_t i = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED);
        if (i >= r->count)
            return;
        struct asked *node = &r->nodes[i];
        if (r->is_second && (node->before || !node->now))
            continue;
        if (ask(r->usages, node, &err) < 0 && err.code != ERR_CANCELLED)
            log_warning("usage of a node can't be read, leaving it out", "node", "%s", node->name,
                "error", "%s", err.text, NULL);
    }
}

/* --- a round --- */

static bool is_gone(const cJSON *node)
{
    const cJSON *condition;

    cJSON_ArrayForEach(condition, json_path(node, "status.conditions"))
    {
        if (c_eq(json_string(condition, "type"), "Ready"))
            return c_eq(json_string(condition, "status"), "Unknown");
    }
    return false;
}

/* With the last round's pages that are young enough. */
static void list_nodes(struct round *r, const struct usage_table *last)
{
    struct server *server = r->usages->server;
    int64_t now_ns = env_wall_ns(server->env);
    const struct resource *kind = api_find_plural(server->api, "", "nodes");
    struct snapshot *s = snapshot_take(server->cache, kind);
    const struct object *o = NULL;
    struct str name = {0};

    r->nodes = xcalloc(snapshot_count(s, STR("")) + 1, sizeof(r->nodes[0]));
    while ((o = snapshot_next(s, STR(""), STR(""), name))) {
        struct asked *node = &r->nodes[r->count];
        autojson cJSON *tree = object_tree(o);
        name = o->name;
        if (is_gone(tree) || !location_of_node(tree, &node->to))
            continue;
        node->name = str_dup(name);
        const struct node_usage *known = last ? usage_table_node(last, name) : NULL;
        if (known && now_ns - known->now->time_ns <= BEFORE_MAX_NS && known->now->time_ns < now_ns)
            node->before = scrape_ref(known->now);
        r->count++;
    }
    snapshot_free(s);
}

static void run_workers(struct round *r, bool second)
{
    struct env *env = r->usages->server->env;
    struct task *tasks[WORKERS_MAX];
    size_t n = r->count < WORKERS_MAX ? r->count : WORKERS_MAX;

    r->next = 0;
    r->is_second = second;
    for (size_t i = 0; i < n; i++)
        tasks[i] = env_spawn(env, "usage", work, r);
    for (size_t i = 0; i < n; i++)
        env_join(env, tasks[i]);
}

static bool lacks_before(const struct round *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->nodes[i].now && !r->nodes[i].before)
            return true;
    return false;
}

/* Takes the round's pages. */
static struct usage_table *make_table(struct round *r)
{
    struct usage_table *t = xcalloc(1, sizeof(*t));

    t->references = 1;
    t->made_ns = env_now_ns(r->usages->server->env);
    t->nodes = xcalloc(r->count + 1, sizeof(t->nodes[0]));
    for (size_t i = 0; i < r->count; i++) {
        struct asked *node = &r->nodes[i];
        if (node->before && node->now) {
            t->nodes[t->count++] =
                (struct node_usage){.name = node->name, .before = node->before, .now = node->now};
            continue;
        }
        free(node->name);
        scrape_unref(node->before);
        scrape_unref(node->now);
    }
    free(r->nodes);
    return t;
}

static void run_round(void *arg)
{
    struct usages *u = arg;
    struct env *env = u->server->env;
    struct round r = {.usages = u};

    list_nodes(&r, u->table); /* only a round changes it */
    run_workers(&r, false);
    if (lacks_before(&r)) {
        struct pollfd p = {.fd = u->wake_fd, .events = POLLIN};
        poll(&p, 1, (int)(FIRST_WINDOW_NS / NS_PER_MS));
        run_workers(&r, true);
    }
    struct usage_table *table = make_table(&r);
    env_lock(env, &u->lock);
    struct usage_table *old = u->table;
    u->table = table;
    u->running = false;
    for (struct waiter *w = u->waiters; w; w = w->next) {
        w->listed = false;
        request_wake(w->q);
    }
    u->waiters = NULL;
    env_unlock(env, &u->lock);
    usage_table_unref(old);
}

/* --- those who ask --- */

static void waiter_gone(void *arg)
{
    struct waiter *w = arg;
    struct env *env = w->usages->server->env;

    env_lock(env, &w->usages->lock);
    if (w->listed) {
        struct waiter **at = &w->usages->waiters;
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
    }
    env_unlock(env, &w->usages->lock);
    free(w);
}

/* Lock held. */
static void begin_round(struct usages *u)
{
    if (u->task)
        env_join(u->server->env, u->task); /* it has ended but for its last lines */
    u->running = true;
    u->task = env_spawn(u->server->env, "usages", run_round, u);
}

struct usage_table *usages_get(struct usages *u, struct request *q)
{
    struct env *env = u->server->env;
    struct waiter *w = q->stage_state;
    struct usage_table *table = NULL;

    env_lock(env, &u->lock);
    /* A round that was waited for is fresh enough, however long it is over. */
    bool is_fresh = u->table && env_now_ns(env) - u->table->made_ns < SHARED_NS;
    if (u->table && (is_fresh || (w && !w->listed))) {
        __atomic_add_fetch(&u->table->references, 1, __ATOMIC_RELAXED);
        table = u->table;
    } else if (!w) {
        w = xcalloc(1, sizeof(*w));
        *w = (struct waiter){.usages = u, .q = q, .next = u->waiters, .listed = true};
        u->waiters = w;
        if (!u->running && !u->stopping)
            begin_round(u);
    }
    env_unlock(env, &u->lock);
    if (!table && !q->stage_state) {
        q->stage_state = w;
        request_on_free(q, waiter_gone, w);
    }
    return table;
}

struct usages *usages_of(struct server *server)
{
    return backend_reaches_kubelets(server->nodes->tls) ? server->nodes->usages : NULL;
}

struct usages *usages_new(struct server *server)
{
    struct usages *u = xcalloc(1, sizeof(*u));

    u->server = server;
    u->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->wake_fd < 0)
        abort();
    env_lock_init(&u->lock);
    return u;
}

void usages_free(struct usages *u)
{
    if (!u)
        return;
    env_lock(u->server->env, &u->lock);
    u->stopping = true;
    eventfd_write(u->wake_fd, 1);
    env_unlock(u->server->env, &u->lock);
    if (u->task)
        env_join(u->server->env, u->task);
    usage_table_unref(u->table);
    env_lock_done(&u->lock);
    close(u->wake_fd);
    free(u);
}
