/*
 * HTTP between simulated processes; see network.h.
 *
 * struct wire is shared by the two ends and never freed (a run is a process of its own): the client
 * waits on it, the server's task fills it. Exactly one task runs at a time, so it needs no lock;
 * waiting is by predicates over it.
 */
#include "tests/sim/network.h"

#include "apiserver/request/request.h"
#include "apiserver/server.h"
#include "common/limits.h"
#include "common/time.h"

#define WINDOW_BYTES (256u << 10)

struct wire {
    struct network *net;
    struct sim_process *client_process, *server_process;
    struct http_canceller *canceller;
    const char *common_name, *organizations[2];
    char *method, *target, *body;
    size_t body_bytes;
    struct http1_header headers[32];
    size_t header_count;
    /* the server's side */
    struct request *request;
    bool woken, has_head, ended, broken, closed;
    bool streaming; /* the client reads as it comes: what waits for it is bounded */
    int status;
    struct strbuf head, data;
};

struct sim_client {
    struct http_client base;
    struct network *net;
    const char *common_name, *organization;
};

struct sim_stream {
    struct http_stream base;
    struct wire *wire;
    bool cancelled;
};

/* --- the server's end --- */

static void on_wake(struct request *q)
{
    ((struct wire *)q->connection)->woken = true;
}

static bool server_may_go_on(void *arg)
{
    const struct wire *w = arg;
    return w->woken || w->closed || w->client_process->dead;
}

static bool has_room(void *arg)
{
    const struct wire *w = arg;
    return !w->streaming || w->data.n < WINDOW_BYTES || w->closed || w->client_process->dead;
}

static bool is_abandoned(const struct wire *w)
{
    return w->closed || w->client_process->dead;
}

static void fill_request(struct wire *w, struct request *q)
{
    q->method = str_of(w->method);
    q->target = str_of(w->target);
    q->headers = w->headers;
    q->header_count = w->header_count;
    q->body = str_range(w->body, w->body_bytes);
    q->body_complete = true;
    q->peer_common_name = w->common_name;
    q->peer_organizations = w->organizations;
    q->peer_address = "sim";
    q->wake = on_wake;
    q->connection = w;
}

/* Until the head is there; false when the client has gone. */
static bool run_to_head(struct wire *w)
{
    for (;;) {
        w->woken = false;
        if (request_run(w->request))
            return true;
        if (!w->woken)
            sim_wait(w->net->sim, server_may_go_on, w, sim_now_ns(w->net->sim) + 60 * NS_PER_S);
        if (is_abandoned(w))
            return false;
    }
}

static void send_head(struct wire *w)
{
    struct request *q = w->request;
    w->status = q->status;
    if (q->content_type)
        strbuf_addf(&w->head, "content-type: %s\n", q->content_type);
    for (size_t i = 0; i < q->response_header_count; i++)
        strbuf_addf(
            &w->head, "%s: %s\n", q->response_headers[i].name, q->response_headers[i].value);
    for (size_t i = 0; i < w->head.n;
         i++) /* names in lower case; values here have no capitals that matter */
        if (w->head.data[i] >= 'A' && w->head.data[i] <= 'Z')
            w->head.data[i] = (char)(w->head.data[i] + 32);
    w->has_head = true;
}

static void send_body(struct wire *w)
{
    strbuf_add(&w->data, w->request->response_body);
    while (w->request->body_next) {
        w->woken = false;
        enum body_result result = request_body(w->request, &w->data);
        if (result == BODY_END)
            return;
        if (result == BODY_ABORT) {
            w->broken = true;
            return;
        }
        if (result == BODY_WAIT && !w->woken)
            sim_wait(w->net->sim, server_may_go_on, w, sim_now_ns(w->net->sim) + 60 * NS_PER_S);
        else
            sim_step(w->net->sim);
        while (!has_room(w))
            sim_wait(w->net->sim, has_room, w, ENV_FOREVER);
        if (is_abandoned(w))
            return;
    }
}

static void serve(void *arg)
{
    struct wire *w = arg;
    struct sim *sim = w->net->sim;
    sim_wait(sim, NULL, NULL, sim_now_ns(sim) + (int64_t)(100 + sim_below(sim, 1900)) * NS_PER_US);
    w->request = request_new(w->net->server);
    fill_request(w, w->request);
    if (run_to_head(w)) {
        send_head(w);
        send_body(w);
    }
    request_free(w->request);
    w->ended = true;
}

/* --- the client's end --- */

static bool client_may_go_on(const struct wire *w, bool enough)
{
    return enough || w->ended || w->broken || w->server_process->dead ||
           (w->canceller && w->canceller->cancelled);
}

static bool answer_is_there(void *arg)
{
    const struct wire *w = arg;
    return client_may_go_on(w, w->ended);
}

static bool head_is_there(void *arg)
{
    const struct wire *w = arg;
    return client_may_go_on(w, w->has_head);
}

static struct wire *dial(
    struct http_client *client, const struct http_request *r, struct error *err)
{
    struct sim_client *c = (struct sim_client *)client;
    struct network *net = c->net;
    if (!net->server || net->server_process->dead) {
        sim_wait(net->sim, NULL, NULL, sim_now_ns(net->sim) + NS_PER_MS);
        error_set(err, ERR_SYSTEM, "%s %s: connect: Connection refused", r->method, r->path);
        return NULL;
    }
    struct wire *w = xcalloc(1, sizeof(*w));
    w->net = net;
    w->client_process = sim_self(net->sim);
    w->server_process = net->server_process;
    w->canceller = r->canceller;
    w->common_name = c->common_name;
    w->organizations[0] = c->organization;
    w->method = xstrdup(r->method);
    const char *scheme = strstr(r->path, "://"), *path = scheme ? strchr(scheme + 3, '/') : r->path;
    w->target = xstrdup(path ? path : "/");
    w->body = str_dup(r->body);
    w->body_bytes = r->body.n;
    for (size_t i = 0; i < r->header_count && i < ARRAY_COUNT(w->headers); i++)
        w->headers[w->header_count++] = (struct http1_header){
            str_of(xstrdup(r->headers[i].name)), str_of(xstrdup(r->headers[i].value))};
    strbuf_init(&w->head, 0);
    strbuf_init(&w->data, 0);
    net->server_process->env.ops->spawn(&net->server_process->env, "conn", serve, w);
    return w;
}

static int check_end(
    const struct wire *w, const struct http_request *r, bool complete, struct error *err)
{
    if (w->canceller && w->canceller->cancelled)
        return error_set(err, ERR_CANCELLED, "%s %s: cancelled", r->method, r->path);
    if (!complete)
        return error_set(err, ERR_CLOSED, "%s %s: connection closed", r->method, r->path);
    return 0;
}

/* The fault injector's chance to kill a writer: before its write, or before it hears of it. */
static void maybe_kill(struct http_client *client, const struct http_request *r)
{
    struct sim_client *c = (struct sim_client *)client;
    struct network *net = c->net;
    if (!net->faults.on_write || !strcmp(r->method, "GET") || !c->common_name ||
        strcmp(c->common_name, net->faults.victim) != 0)
        return;
    net->faults.on_write(net->faults.arg);
    sim_step(net->sim);
}

static int sim_exchange(struct http_client *client, const struct http_request *r,
    struct http_response *response, struct error *err)
{
    struct network *net = ((struct sim_client *)client)->net;
    maybe_kill(client, r);
    struct wire *w = dial(client, r, err);
    if (!w)
        return -(int)err->code;
    int64_t timeout_ns = r->timeout_ns ? r->timeout_ns : 30 * NS_PER_S;
    bool in_time = sim_wait(net->sim, answer_is_there, w, sim_now_ns(net->sim) + timeout_ns);
    w->closed = true;
    maybe_kill(client, r);
    if (!in_time)
        return error_set(err, ERR_TIMEOUT, "%s %s: no answer in time", r->method, r->path);
    if (check_end(w, r, w->ended && w->has_head && !w->broken, err) < 0)
        return -(int)err->code;
    response->status = w->status;
    strbuf_add(&response->body, strbuf_str(&w->data));
    strbuf_add(&response->head, strbuf_str(&w->head));
    sim_trace(net->sim, "%s %s %.60s -> %d", w->common_name ? w->common_name : "-", w->method,
        w->target, w->status);
    return 0;
}

static int sim_open(struct http_client *client, const struct http_request *r,
    struct http_stream **ret, struct http_response *head, struct error *err)
{
    struct network *net = ((struct sim_client *)client)->net;
    struct wire *w = dial(client, r, err);
    if (!w)
        return -(int)err->code;
    w->streaming = true;
    sim_wait(net->sim, head_is_there, w, sim_now_ns(net->sim) + 30 * NS_PER_S);
    if (check_end(w, r, w->has_head, err) < 0) {
        w->closed = true;
        return -(int)err->code;
    }
    head->status = w->status;
    strbuf_add(&head->head, strbuf_str(&w->head));
    if (w->status / 100 != 2) {
        w->streaming = false;
        sim_wait(net->sim, answer_is_there, w, sim_now_ns(net->sim) + 30 * NS_PER_S);
        strbuf_add(&head->body, strbuf_str(&w->data));
        w->closed = true;
        *ret = NULL;
        return 0;
    }
    struct sim_stream *s = xcalloc(1, sizeof(*s));
    s->base.client = client;
    s->wire = w;
    *ret = &s->base;
    return 0;
}

static bool stream_has_news(void *arg)
{
    const struct sim_stream *s = arg;
    return s->cancelled || client_may_go_on(s->wire, s->wire->data.n > 0);
}

static bool draw(struct network *net, int *left, uint64_t per_mille)
{
    if (*left <= 0 || sim_below(net->sim, 1000) >= per_mille)
        return false;
    (*left)--;
    return true;
}

/* News that come late, or are lost: then the watch says that it expired. */
static bool spoil(struct sim_stream *s, struct strbuf *out)
{
    struct network *net = s->wire->net;
    struct faults *f = &net->faults;
    if (!s->wire->common_name || !f->victim || strcmp(s->wire->common_name, f->victim) != 0 ||
        !strstr(s->wire->target, "watch=1"))
        return false;
    if (draw(net, &f->delays_left, f->per_mille))
        sim_wait(net->sim, NULL, NULL,
            sim_now_ns(net->sim) + (int64_t)sim_below(net->sim, 5000) * NS_PER_MS);
    if (!draw(net, &f->losses_left, f->per_mille))
        return false;
    strbuf_clear(&s->wire->data);
    strbuf_addc(out, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\","
                     "\"status\":\"Failure\",\"reason\":\"Expired\",\"code\":410}}\n");
    s->wire->closed = true;
    return true;
}

static int sim_next(
    struct http_stream *stream, int64_t deadline_ns, struct strbuf *out, struct error *err)
{
    struct sim_stream *s = (struct sim_stream *)stream;
    struct wire *w = s->wire;
    sim_step(w->net->sim);
    if (!stream_has_news(s))
        sim_wait(w->net->sim, stream_has_news, s, deadline_ns);
    if (s->cancelled || (w->canceller && w->canceller->cancelled))
        return error_set(err, ERR_CANCELLED, "stream cancelled");
    if (w->data.n > 0 && spoil(s, out))
        return 1;
    if (w->data.n > 0) {
        strbuf_add(out, strbuf_str(&w->data));
        strbuf_clear(&w->data);
        return 1;
    }
    if (w->ended && !w->broken)
        return 0;
    if (w->broken || w->server_process->dead)
        return error_set(err, ERR_CLOSED, "stream broke");
    return error_set(err, ERR_TIMEOUT, "nothing came in time");
}

static void sim_cancel(struct http_stream *stream)
{
    ((struct sim_stream *)stream)->cancelled = true;
}

static void sim_close(struct http_stream *stream)
{
    struct sim_stream *s = (struct sim_stream *)stream;
    s->wire->closed = true;
    free(s);
}

static void sim_free(struct http_client *client)
{
    (void)client; /* lives as long as the run */
}

static const struct http_client_ops client_ops = {
    .exchange = sim_exchange,
    .open = sim_open,
    .next = sim_next,
    .cancel = sim_cancel,
    .close = sim_close,
    .free = sim_free,
};

struct http_client *network_client(
    struct network *net, struct env *env, const char *common_name, const char *organization)
{
    struct sim_client *c = xcalloc(1, sizeof(*c));
    c->base.ops = &client_ops;
    c->base.env = env;
    c->net = net;
    c->common_name = common_name;
    c->organization = organization;
    return &c->base;
}
