/*
 * The server's own requests: through the same pipeline as anybody's, with no socket and no
 * authentication.
 *
 * The caller's task runs the request and sleeps while it waits. Several may be under way at once:
 * all are started before the first is waited for, so that their writes reach the store as one
 * batch.
 */
#include "apiserver/request/request.h"

#include "apiserver/request/pipeline.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"

/* In flight at once: each holds an arena. */
#define WINDOW 32

struct own_call {
    struct env *env;
    struct request *q;
    struct http1_header content_type;
    struct strbuf text, answer;
    struct lock lock;
    struct cond changed;
    bool woken, responded;
};

static void own_wake(struct request *q)
{
    struct own_call *c = q->connection;

    env_lock(c->env, &c->lock);
    c->woken = true;
    env_broadcast(c->env, &c->changed);
    env_unlock(c->env, &c->lock);
}

static void own_wait(struct own_call *c)
{
    env_lock(c->env, &c->lock);
    while (!c->woken)
        env_wait_until(c->env, &c->changed, &c->lock, ENV_FOREVER);
    c->woken = false;
    env_unlock(c->env, &c->lock);
}

static void own_begin(struct server *server, const struct own_request *own, struct own_call *c)
{
    static const char *groups[] = {"system:masters", "system:authenticated", NULL};
    struct request *q = request_new(server);

    *c = (struct own_call){.env = server->env, .q = q};
    env_lock_init(&c->lock);
    env_cond_init(&c->changed);
    strbuf_init(&c->text, 0);
    strbuf_init(&c->answer, 0);
    if (own->body)
        json_print(own->body, &c->text);
    c->content_type = (struct http1_header){STR("Content-Type"),
        c_eq(own->method, "PATCH") ? STR("application/merge-patch+json") : STR("application/json")};
    q->method = str_of(own->method);
    q->target = str_of(own->target);
    q->headers = &c->content_type;
    q->header_count = 1;
    q->body = strbuf_str(&c->text);
    q->body_complete = true;
    q->trusted = true;
    q->identity = (struct identity){.name = "system:apiserver", .uid = "", .groups = groups};
    q->wake = own_wake;
    q->connection = c;
    c->responded = request_run(q);
}

static void own_collect(struct own_call *c)
{
    struct request *q = c->q;

    while (!c->responded) {
        own_wait(c);
        c->responded = request_run(q);
    }
    if (!q->body_next) {
        strbuf_add(&c->answer, q->response_body);
        return;
    }
    for (;;) {
        enum body_result r = request_body(q, &c->answer);
        if (r == BODY_END || r == BODY_ABORT)
            return;
        if (r == BODY_WAIT)
            own_wait(c);
    }
}

static int own_result(const struct request *q, struct str body, cJSON **ret, struct error *err)
{
    autojson cJSON *tree = NULL;

    if (body.n > 0 && json_parse(body, &tree, err) < 0)
        return error_wrap(err, "answer of %.*s", STR_FMT(q->target));
    if (q->status >= 400) {
        const char *message = tree ? json_string(tree, "message") : NULL;
        const char *reason = tree ? json_string(tree, "reason") : NULL;
        return error_set(
            err, error_from_reason(reason, q->status), "%s", message ? message : "no message");
    }
    if (ret)
        *ret = steal(&tree);
    return 0;
}

static int own_end(struct own_call *c, cJSON **ret, struct error *err)
{
    own_collect(c);
    int result = own_result(c->q, strbuf_str(&c->answer), ret, err);

    request_free(c->q);
    strbuf_done(&c->text);
    strbuf_done(&c->answer);
    env_cond_done(&c->changed);
    env_lock_done(&c->lock);
    return result;
}

int request_call(struct server *server, const char *method, const char *target, const cJSON *body,
    cJSON **ret, struct error *err)
{
    struct own_request own = {.method = method, .target = target, .body = body};
    struct own_call c;

    own_begin(server, &own, &c);
    return own_end(&c, ret, err);
}

void request_call_all(struct server *server, struct own_request *list, size_t count)
{
    struct own_call calls[WINDOW];

    for (size_t from = 0; from < count; from += WINDOW) {
        size_t n = count - from < WINDOW ? count - from : WINDOW;
        for (size_t i = 0; i < n; i++)
            own_begin(server, &list[from + i], &calls[i]);
        for (size_t i = 0; i < n; i++)
            list[from + i].result = own_end(&calls[i], NULL, &list[from + i].err);
    }
}
