/*
 * The part of common/http_client.h that every implementation shares: the table's front, responses,
 * URLs. Production is common/http_curl.c.
 */
#include "common/http_client.h"

#include <assert.h>

#include "common/limits.h"

void http_client_free(struct http_client *client)
{
    if (client)
        client->ops->free(client);
}

int http_do(struct http_client *client, const struct http_request *request,
    struct http_response *response, struct error *err)
{
    return client->ops->exchange(client, request, response, err);
}

int http_stream_open(struct http_client *client, const struct http_request *request,
    struct http_stream **ret, struct http_response *ret_head, struct error *err)
{
    return client->ops->open(client, request, ret, ret_head, err);
}

int http_stream_next(
    struct http_stream *stream, int64_t deadline_ns, struct strbuf *out, struct error *err)
{
    return stream->client->ops->next(stream, deadline_ns, out, err);
}

void http_stream_cancel(struct http_stream *stream)
{
    stream->client->ops->cancel(stream);
}

void http_stream_close(struct http_stream *stream)
{
    if (stream)
        stream->client->ops->close(stream);
}

void http_canceller_init(struct http_canceller *c)
{
    *c = (struct http_canceller){.cancelled = false};
    env_lock_init(&c->lock);
}

void http_canceller_done(struct http_canceller *c)
{
    assert(!c->wake);
    env_lock_done(&c->lock);
}

void http_cancel(struct env *env, struct http_canceller *c)
{
    env_lock(env, &c->lock);
    c->cancelled = true;
    if (c->wake)
        c->wake(c->arg);
    env_unlock(env, &c->lock);
}

void http_response_init(struct http_response *response)
{
    response->status = 0;
    strbuf_init(&response->body, LIMIT_RESPONSE_BYTES);
    strbuf_init(&response->head, LIMIT_HEADER_BYTES);
}

void http_response_done(struct http_response *response)
{
    strbuf_done(&response->body);
    strbuf_done(&response->head);
}

struct str http_response_header(const struct http_response *response, const char *name)
{
    struct str rest = strbuf_str(&response->head), line, wanted = str_of(name);

    while (str_split(&rest, '\n', &line))
        if (line.n >= wanted.n + 2 && line.p[wanted.n] == ':' && str_starts(line, wanted))
            return (struct str){line.p + wanted.n + 2, line.n - wanted.n - 2};
    return (struct str){NULL, 0};
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void url_encode(struct str s, struct strbuf *out)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (is_unreserved(s.p[i])) {
            strbuf_add_char(out, s.p[i]);
            continue;
        }
        strbuf_add(out, (struct str){(char[]){'%', hex[c >> 4], hex[c & 15]}, 3});
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int url_decode(struct str s, bool plus_is_space, struct strbuf *out, struct error *err)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = s.n - i > 2 ? hex_value(s.p[i + 1]) : -1;
            int low = s.n - i > 2 ? hex_value(s.p[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                size_t shown = s.n - i < 3 ? s.n - i : 3;
                return error_set(
                    err, ERR_BAD_REQUEST, "invalid URL escape \"%.*s\"", (int)shown, s.p + i);
            }
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '\0') {
            return error_set(err, ERR_BAD_REQUEST, "NUL in URL");
        }
        strbuf_add_char(out, c);
    }
    return 0;
}
