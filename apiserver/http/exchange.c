/*
 * An exchange: one request with its answer, whatever the protocol.
 *
 * It is run when it is new, when its body has come, and when its request wakes. Before the head is
 * sent a run drives the pipeline; afterwards it lets the connection ask the body generator again.
 */
#include "apiserver/http/internal.h"

struct exchange *exchange_new(struct connection *c)
{
    struct exchange *x = xcalloc(1, sizeof(*x));

    x->c = c;
    x->q = request_new(c->loop->http->config.server);
    x->q->connection = x;
    x->q->wake = loop_wake;
    x->q->peer_address = c->peer;
    x->q->peer_common_name = c->peer_common_name;
    x->q->peer_proxy_name = c->peer_proxy_name;
    x->q->peer_organizations = c->peer_organizations;
    x->q->peer_certificate_bad = c->peer_certificate_bad;
    x->progress_ns = x->q->received_ns;
    strbuf_init(&x->body, LIMIT_BODY_BYTES);
    strbuf_init(&x->out, 0);
    x->next = c->exchanges;
    if (x->next)
        x->next->prev = x;
    c->exchanges = x;
    c->exchange_count++;
    return x;
}

void exchange_free(struct exchange *x)
{
    struct connection *c = x->c;

    request_free(x->q);
    loop_forget(c->loop, x);
    if (x->prev)
        x->prev->next = x->next;
    else
        c->exchanges = x->next;
    if (x->next)
        x->next->prev = x->prev;
    c->exchange_count--;
    strbuf_done(&x->body);
    strbuf_done(&x->out);
    free(x);
}

static void send_head(struct exchange *x)
{
    x->head_sent = true;
    x->progress_ns = loop_now(x->c->loop);
    loop_deadline(x->c->loop, x->progress_ns + 2 * LIMIT_BODY_STALL_NS);
    if (x->c->state == CONN_H2)
        h2_send_head(x);
    else
        h1_send_head(x);
}

void exchange_run(struct exchange *x)
{
    struct connection *c = x->c;

    loop_dirty(c);
    if (c->broken)
        return;
    if (x->head_sent) {
        x->dozing = false;
        if (c->state == CONN_H2)
            h2_resume(x);
        return;
    }
    if (x->q->responded || request_run(x->q)) {
        send_head(x);
        return;
    }
    loop_deadline(c->loop, x->body_done ? x->q->deadline_ns : exchange_body_deadline(x));
    if (c->state == CONN_H1)
        h1_input(c); /* it may wait for the body: 100 Continue */
}

/* Bytes must keep coming, faster than a trickle. */
int64_t exchange_body_deadline(const struct exchange *x)
{
    int64_t stall_ns = x->progress_ns + LIMIT_BODY_STALL_NS;
    int64_t slow_ns = x->q->received_ns + LIMIT_BODY_SLOW_NS +
                      (int64_t)x->body.n * (NS_PER_S / LIMIT_BODY_BYTES_PER_S);

    return stall_ns < slow_ns ? stall_ns : slow_ns;
}

void exchange_body_complete(struct exchange *x)
{
    x->body_done = true;
    x->q->body = strbuf_str(&x->body);
    x->q->body_complete = true;
    loop_run_later(x->c->loop, x);
}

void exchange_refuse(struct exchange *x, enum err code, const char *text)
{
    if (x->head_sent)
        return;
    request_refuse(x->q, code, text);
    loop_run_later(x->c->loop, x);
}
