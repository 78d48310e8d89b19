/*
 * Indents JSON as it passes. See pretty.h.
 *
 * What comes is our printer's: no white space outside of strings but the newline at the end, which
 * Go leaves out here. A string is copied as it is; everything else is a matter of one character and
 * of how many brackets are open. Any piece of the text may end anywhere. Upstream: isPrettyPrint in
 * handlers/negotiation, json.MarshalIndent.
 */
#include "apiserver/request/pretty.h"

#define PIECE_BYTES (16u << 10)

struct pretty {
    body_fn *inner; /* NULL: whole */
    void *inner_state;
    struct str whole;
    struct strbuf plain;
    unsigned depth;
    bool in_string, escaped;
    bool opened; /* a bracket, with nothing in it yet */
    bool ended;
};

static void pretty_free(void *arg)
{
    struct pretty *p = arg;

    strbuf_done(&p->plain);
}

static void new_line(const struct pretty *p, struct strbuf *out)
{
    strbuf_add_char(out, '\n');
    for (unsigned i = 0; i < p->depth; i++)
        strbuf_add(out, STR("  "));
}

static void add_string_char(struct pretty *p, char c, struct strbuf *out)
{
    strbuf_add_char(out, c);
    if (p->escaped)
        p->escaped = false;
    else if (c == '\\')
        p->escaped = true;
    else if (c == '"')
        p->in_string = false;
}

static void add_char(struct pretty *p, char c, struct strbuf *out)
{
    bool closes = c == '}' || c == ']';

    if (c == '\n')
        return;
    if (closes)
        p->depth--;
    if (p->opened != closes)
        new_line(p, out);
    p->opened = c == '{' || c == '[';
    strbuf_add_char(out, c);
    if (p->opened)
        p->depth++;
    else if (c == ',')
        new_line(p, out);
    else if (c == ':')
        strbuf_add_char(out, ' ');
    p->in_string = c == '"';
}

static enum body_result plain_next(struct request *q, struct pretty *p)
{
    if (!p->inner) {
        size_t n = p->whole.n < PIECE_BYTES ? p->whole.n : PIECE_BYTES;
        strbuf_add(&p->plain, str_range(p->whole.p, n));
        p->whole = str_range(p->whole.p + n, p->whole.n - n);
        return p->whole.n > 0 ? BODY_CHUNK : BODY_END;
    }
    q->body_state = p->inner_state;
    enum body_result r = p->inner(q, &p->plain);
    p->inner_state = q->body_state;
    q->body_state = p;
    return r;
}

static enum body_result pretty_next(struct request *q, struct strbuf *out)
{
    struct pretty *p = q->body_state;

    if (p->ended)
        return BODY_END;
    enum body_result r = plain_next(q, p);
    for (size_t i = 0; i < p->plain.n; i++)
        (p->in_string ? add_string_char : add_char)(p, p->plain.data[i], out);
    strbuf_clear(&p->plain);
    p->ended = r == BODY_END;
    return r;
}

static bool is_true(struct str s)
{
    static const char *const words[] = {"1", "t", "T", "true", "TRUE", "True"};

    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (str_eqc(s, words[i]))
            return true;
    return false;
}

static bool is_wanted(struct request *q)
{
    struct str agent = request_header(q, "User-Agent"), asked;

    if (request_query(q, "pretty", &asked) && asked.n > 0)
        return is_true(asked);
    return str_starts(agent, STR("curl")) || str_starts(agent, STR("Wget")) ||
           str_starts(agent, STR("Mozilla/5.0"));
}

static bool is_compressed(const struct request *q)
{
    for (size_t i = 0; i < q->response_header_count; i++)
        if (c_eq(q->response_headers[i].name, "Content-Encoding"))
            return true;
    return false;
}

void pretty_response(struct request *q)
{
    if (!c_eq(q->content_type, media_type(MEDIA_JSON)) || q->long_running || q->trusted ||
        is_compressed(q) || !is_wanted(q))
        return;
    struct pretty *p = arena_zalloc(q->arena, sizeof(*p));

    strbuf_init(&p->plain, 0);
    p->inner = q->body_next;
    p->inner_state = q->body_state;
    p->whole = q->response_body;
    request_on_free(q, pretty_free, p);
    if (!p->inner && p->whole.n <= PIECE_BYTES) {
        /* at once, so that the answer keeps its Content-Length */
        struct strbuf out;
        enum media media = q->media;
        strbuf_init(&out, 0);
        q->body_state = p;
        while (pretty_next(q, &out) != BODY_END)
            ;
        q->media = MEDIA_JSON;
        request_reply_text(q, q->status, &out);
        q->media = media;
        return;
    }
    q->response_body = (struct str){0};
    q->body_next = pretty_next;
    q->body_state = p;
}
