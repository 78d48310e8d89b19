/*
 * The life of a request: memory, wakes from other threads, what stages use to read the question and
 * to answer.
 *
 * A request lies in its own arena. request_free() runs the hooks (a watch leaves the cache, a timer
 * is cancelled) and frees the arena, at once or with the last pin: a commit in flight writes into
 * the arena when it ends. The lock covers only `freed` and `pins`, and makes a wake and a free
 * exclude each other.
 */
#include "apiserver/request/request.h"

#include <stdarg.h>

#include "apiserver/request/pipeline.h"
#include "apiserver/request/status.h"
#include "apiserver/schema/schema.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/server.h"
#include "common/http_client.h"
#include "common/time.h"
#include "common/yaml.h"

#define TURN_NS NS_PER_MS

struct request_hook {
    void (*fn)(void *arg);
    void *arg;
    struct request_hook *older;
};

struct request *request_new(struct server *server)
{
    struct arena *a = arena_new();
    struct request *q = arena_zalloc(a, sizeof(*q));

    q->arena = a;
    q->server = server;
    q->peer_address = "";
    q->namespace_ = q->name = q->group = q->version = q->plural = "";
    q->subresource_name = q->subpath = q->verb = "";
    q->form_version = "v1";
    q->received_ns = env_now_ns(server->env);
    q->deadline_ns = q->received_ns + LIMIT_REQUEST_NS;
    env_lock_init(&q->lock);
    return q;
}

static void destroy(struct request *q)
{
    cJSON_Delete(q->status_details);
    cJSON_Delete(q->error_status);
    env_lock_done(&q->lock);
    struct api *api = q->api;
    arena_free(q->arena); /* its objects and writes name resources of the api */
    api_unref(api);
}

void request_free(struct request *q)
{
    if (!q)
        return;
    pipeline_finished(q);
    while (q->hooks) {
        struct request_hook *h = q->hooks;
        q->hooks = h->older;
        h->fn(h->arg);
    }
    struct env *env = q->server->env;
    env_lock(env, &q->lock);
    q->freed = true;
    bool last = q->pins == 0;
    env_unlock(env, &q->lock);
    if (last)
        destroy(q);
}

void request_on_free(struct request *q, void (*fn)(void *arg), void *arg)
{
    struct request_hook *h = arena_alloc(q->arena, sizeof(*h));

    *h = (struct request_hook){fn, arg, q->hooks};
    q->hooks = h;
}

void request_wake(struct request *q)
{
    struct env *env = q->server->env;

    env_lock(env, &q->lock);
    if (!q->freed && q->wake)
        q->wake(q);
    env_unlock(env, &q->lock);
}

void request_detach(struct request *q)
{
    struct env *env = q->server->env;

    env_lock(env, &q->lock);
    q->wake = NULL;
    q->connection = NULL;
    env_unlock(env, &q->lock);
    q->peer_address = "";
    q->peer_common_name = NULL;
    q->peer_proxy_name = NULL;
    q->peer_organizations = NULL;
}

void request_pin(struct request *q)
{
    struct env *env = q->server->env;

    env_lock(env, &q->lock);
    q->pins++;
    env_unlock(env, &q->lock);
}

void request_unpin(struct request *q)
{
    struct env *env = q->server->env;

    env_lock(env, &q->lock);
    bool last = --q->pins == 0 && q->freed;
    env_unlock(env, &q->lock);
    if (last)
        destroy(q);
}

bool request_turn_over(struct request *q, int64_t turn_start_ns)
{
    return env_now_ns(q->server->env) - turn_start_ns > TURN_NS;
}

/* --- the question --- */

struct str request_header(const struct request *q, const char *name)
{
    struct str wanted = str_of(name);

    for (size_t i = 0; i < q->header_count; i++)
        if (str_eq_nocase(q->headers[i].name, wanted))
            return q->headers[i].value;
    return (struct str){0};
}

bool request_query(struct request *q, const char *name, struct str *ret)
{
    struct str rest = q->query, pair, wanted = str_of(name);
    struct error ignored;

    while (str_split(&rest, '&', &pair)) {
        ssize_t equals = str_find(pair, '=');
        struct str key = equals < 0 ? pair : str_range(pair.p, (size_t)equals);
        struct str value =
            equals < 0 ? STR("") : str_range(pair.p + equals + 1, pair.n - (size_t)equals - 1);
        bool same = str_eq(key, wanted);
        if (!same && key.n > wanted.n && memchr(key.p, '%', key.n)) {
            autostrbuf struct strbuf decoded = STRBUF_EMPTY;
            same = url_decode(key, true, &decoded, &ignored) == 0 &&
                   str_eq(strbuf_str(&decoded), wanted);
        }
        if (!same)
            continue;
        autostrbuf struct strbuf decoded = STRBUF_EMPTY;
        if (url_decode(value, true, &decoded, &ignored) < 0)
            continue; /* Go drops pairs that it can't decode */
        *ret = arena_str(q->arena, strbuf_str(&decoded));
        return true;
    }
    return false;
}

const char *request_qualified(struct request *q, const struct resource *r)
{
    return *r->group ? arena_printf(q->arena, "%s.%s", r->plural, r->group) : r->plural;
}

/* --- the answer --- */

void request_add_header(struct request *q, const char *name, const char *value)
{
    if (q->response_header_count == q->response_header_capacity) {
        size_t more = q->response_header_capacity ? 2 * q->response_header_capacity : 8;
        struct response_header *grown = arena_new_array(q->arena, struct response_header, more);
        if (q->response_header_count > 0)
            memcpy(grown, q->response_headers, q->response_header_count * sizeof(*grown));
        q->response_headers = grown;
        q->response_header_capacity = more;
    }
    q->response_headers[q->response_header_count++] = (struct response_header){name, value};
}

/* Client's text may be anything: a warning shows its start, all of them stay below so much. */
#define WARNING_BYTES 256
#define WARNINGS_BYTES 4096
#define WARNINGS_MAX 64

/* The end of the last whole character before a limit. */
static size_t cut_at(const char *text, size_t limit)
{
    size_t n = strnlen(text, limit + 1);

    if (n <= limit)
        return n;
    for (n = limit; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80; n--)
        ;
    return n;
}

/* Or is there no room for it? */
static bool is_said(const struct request *q, const char *warning)
{
    size_t bytes = strlen(warning), count = 0;
    bool said = false;

    for (size_t i = 0; i < q->response_header_count; i++) {
        if (!c_eq(q->response_headers[i].name, "Warning"))
            continue;
        said = said || c_eq(q->response_headers[i].value, warning);
        bytes += strlen(q->response_headers[i].value);
        count++;
    }
    return said || bytes > WARNINGS_BYTES || count >= WARNINGS_MAX;
}

void request_warn(struct request *q, const char *format, ...)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    va_list args;

    va_start(args, format);
    autofree char *plain = NULL;
    if (vasprintf(&plain, format, args) < 0)
        abort();
    va_end(args);
    strbuf_addc(&text, "299 - \"");
    plain[cut_at(plain, WARNING_BYTES)] = '\0';
    for (const char *p = plain; *p; p++) {
        if (*p == '"' || *p == '\\')
            strbuf_add_char(&text, '\\');
        strbuf_add_char(&text, (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p);
    }
    strbuf_add_char(&text, '"');
    if (!is_said(q, text.data))
        request_add_header(q, "Warning", arena_strdup(q->arena, strbuf_str(&text)));
}

enum stage_result request_fail(struct request *q, enum err code, const char *format, ...)
{
    va_list args;

    q->err.code = code;
    q->err.sys_errno = 0;
    va_start(args, format);
    vsnprintf(q->err.text, sizeof(q->err.text), format, args);
    va_end(args);
    return STAGE_ERROR;
}

enum stage_result request_fail_object(struct request *q, enum err code, const char *format, ...)
{
    va_list args;

    q->err.code = code;
    q->err.sys_errno = 0;
    va_start(args, format);
    vsnprintf(q->err.text, sizeof(q->err.text), format, args);
    va_end(args);
    if (!q->status_details && q->resource)
        q->status_details = status_details(q->resource, q->name);
    return STAGE_ERROR;
}

enum stage_result request_fail_error(struct request *q, const struct error *err)
{
    if (err != &q->err)
        q->err = *err;
    return STAGE_ERROR;
}

enum stage_result request_fail_status(struct request *q, cJSON *take_status)
{
    cJSON_Delete(q->error_status);
    q->error_status = take_status;
    return STAGE_ERROR;
}

enum stage_result request_not_found(struct request *q, const struct resource *r, const char *name)
{
    cJSON_Delete(q->status_details);
    q->status_details = status_details(r, name);
    return request_fail(q, ERR_NOT_FOUND, "%s \"%s\" not found", request_qualified(q, r), name);
}

enum stage_result request_reply(
    struct request *q, int status, const char *content_type, struct str body)
{
    q->status = status;
    q->content_type = content_type;
    q->response_body = body;
    q->body_next = NULL;
    return STAGE_RESPOND;
}

enum stage_result request_reply_body(
    struct request *q, int status, const char *content_type, body_fn *next, void *state)
{
    q->status = status;
    q->content_type = content_type;
    q->response_body = (struct str){0};
    q->body_next = next;
    q->body_state = state;
    return STAGE_RESPOND;
}

static void free_bytes(void *p)
{
    free(p);
}

const char *media_type(enum media media)
{
    static const char *const types[] = {
        [MEDIA_JSON] = "application/json",
        [MEDIA_YAML] = "application/yaml",
        [MEDIA_PROTOBUF] = "application/vnd.kubernetes.protobuf",
    };

    return types[media];
}

enum stage_result request_reply_text(struct request *q, int status, struct strbuf *take)
{
    struct str body = {.n = take->n};

    body.p = strbuf_steal(take);
    arena_on_free(q->arena, free_bytes, (void *)(uintptr_t)body.p);
    return request_reply(q, status, media_type(q->media), body);
}

/* false: a kind that has no protobuf. */
static bool put_protobuf(struct request *q, const cJSON *tree, struct strbuf *out)
{
    const char *kind = json_string(tree, "kind"), *version = json_string(tree, "apiVersion");
    const struct schema *s =
        kind && version ? api_find_schema(q->server->api, version, kind) : NULL;
    autostrbuf struct strbuf json = STRBUF_EMPTY;
    struct protobuf p;

    if (!s || !schema_has_protobuf(s))
        return false;
    json_print(tree, &json);
    protobuf_init(&p);
    protobuf_object(&p, version, kind, s, strbuf_str(&json));
    strbuf_add(out, protobuf_bytes(&p));
    protobuf_done(&p);
    return true;
}

enum stage_result request_reply_json(struct request *q, int status, const cJSON *tree)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    if (q->media == MEDIA_PROTOBUF && !put_protobuf(q, tree, &out))
        q->media = MEDIA_JSON;
    if (q->media == MEDIA_YAML) {
        yaml_print(tree, &out);
    } else if (q->media == MEDIA_JSON) {
        json_print(tree, &out);
        strbuf_add_char(&out, '\n');
    }
    return request_reply_text(q, status, &out);
}
