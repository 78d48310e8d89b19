/* WebSocket answers: see socket.h. */
#include "apiserver/request/socket.h"

#include "common/websocket.h"

static const struct {
    const char *protocol;
    enum socket_form form;
} forms[] = {
    {"binary.k8s.io", SOCKET_BYTES},
    {"base64.binary.k8s.io", SOCKET_BASE64},
};

static bool is_asked(const struct request *q)
{
    return str_eqc(q->method, "GET") &&
           str_eq_nocase(request_header(q, "Upgrade"), STR("websocket")) &&
           str_eqc(request_header(q, "Sec-WebSocket-Version"), "13");
}

void socket_choose(struct request *q)
{
    static const char *const served[] = {"binary.k8s.io", "base64.binary.k8s.io", NULL};
    autostrbuf struct strbuf accept = STRBUF_EMPTY;
    bool is_watch = c_eq(q->verb, "watch");
    struct str offered = request_header(q, "Sec-WebSocket-Protocol");
    struct error ignored;

    if (!q->body_next || !q->long_running || q->status != 200 || !is_asked(q) ||
        (!is_watch && !c_eq(q->subresource_name, "log")) ||
        websocket_accept(request_header(q, "Sec-WebSocket-Key"), &accept, &ignored) < 0)
        return;
    const char *chosen = websocket_choose(offered, served);
    if (!chosen && offered.n > 0)
        return;
    q->socket = is_watch && q->media == MEDIA_JSON ? SOCKET_LINES : SOCKET_BYTES;
    for (size_t i = 0; !is_watch && i < ARRAY_COUNT(forms); i++)
        if (c_eq(forms[i].protocol, chosen))
            q->socket = forms[i].form;
    q->socket_protocol = chosen;
    q->socket_accept = arena_strdup(q->arena, strbuf_str(&accept));
}
