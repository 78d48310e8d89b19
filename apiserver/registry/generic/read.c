/*
 * Freshness of reads, and GET.
 *
 * resourceVersion unset: the cache must show everything acknowledged before the request came. "0":
 * whatever it shows. N: it must have reached N; when it doesn't within 3 s the client gets 504 with
 * the cause ResourceVersionTooLarge. GET sends the stored bytes; nothing is parsed.
 *
 * Threads: the cache calls back on its own thread, which only sets a flag and wakes; the request is
 * pinned meanwhile.
 */
#include "apiserver/registry/generic/read.h"

#include <stdatomic.h>

#include "apiserver/registry/generic/form.h"
#include "apiserver/request/status.h"
#include "apiserver/server.h"

struct fresh_wait {
    struct request *q;
    atomic_int state; /* enum below */
    struct error err;
};
enum { FRESH_ASKED, FRESH_WAITING, FRESH_DONE };

static void fresh_done(void *arg, const struct error *err)
{
    struct fresh_wait *w = arg;
    struct request *q = w->q;

    w->err = (struct error){0};
    if (err)
        w->err = *err;
    if (atomic_exchange(&w->state, FRESH_DONE) == FRESH_WAITING)
        request_wake(q);
    request_unpin(q);
}

static enum stage_result too_large(struct request *q, int64_t version)
{
    const char *message = arena_printf(q->arena, "Too large resource version: %lld, current: %lld",
        (long long)version, (long long)cache_version(q->server->cache));
    cJSON *status = status_new(ERR_TIMEOUT, arena_printf(q->arena, "Timeout: %s", message));
    cJSON *details =
        json_make("{\"causes\":[{\"reason\":\"ResourceVersionTooLarge\","
                  "\"message\":\"Too large resource version\"}],\"retryAfterSeconds\":1}");

    json_set(status, "details", details);
    cJSON_AddItemToObject(status, "code", cJSON_DetachItemFromObjectCaseSensitive(status, "code"));
    q->retry_after_s = 1;
    return request_fail_status(q, status);
}

static enum stage_result fresh_result(
    struct request *q, const struct fresh_wait *w, int64_t version)
{
    if (w->err.code == ERR_NONE)
        return STAGE_DONE;
    if (w->err.code == ERR_TIMEOUT && version > 0)
        return too_large(q, version);
    return request_fail_error(q, &w->err);
}

/* The version that must be shown: -1 everything acknowledged, 0 anything. */
static enum stage_result wanted_version(struct request *q, int64_t *ret)
{
    struct read_state *r = q->read;
    struct str text;
    struct error err;

    *ret = -1;
    if (r->options) {
        *ret = r->options->version;
        if (*r->options->token)
            *ret = 0; /* the token says which snapshot */
        return STAGE_DONE;
    }
    if (request_query(q, "resourceVersion", &text) && text.n > 0 &&
        (str_parse_int64(text, ret, &err) < 0 || *ret < 0))
        return request_fail(q, ERR_BAD_REQUEST,
            "resourceVersion: Invalid value: \"%.*s\": strconv.ParseUint: parsing \"%.*s\": "
            "invalid syntax",
            STR_FMT(text), STR_FMT(text));
    return STAGE_DONE;
}

enum stage_result read_fresh_stage(struct request *q)
{
    struct read_state *r = q->read;
    int64_t version;

    if (!r) {
        q->read = r = arena_zalloc(q->arena, sizeof(*r));
        if (!c_eq(q->verb, "get") && options_parse_list(q, &r->options) == STAGE_ERROR)
            return STAGE_ERROR;
    }
    if (wanted_version(q, &version) == STAGE_ERROR)
        return STAGE_ERROR;
    if (version == 0)
        return STAGE_DONE;
    if (r->wait) {
        if (atomic_load(&r->wait->state) != FRESH_DONE)
            return STAGE_WAIT;
        return fresh_result(q, r->wait, version);
    }
    r->wait = arena_zalloc(q->arena, sizeof(*r->wait));
    r->wait->q = q;
    request_pin(q);
    if (version < 0)
        cache_fresh(q->server->cache, fresh_done, r->wait);
    else
        cache_reached(q->server->cache, version, fresh_done, r->wait);
    int asked = FRESH_ASKED;
    if (atomic_compare_exchange_strong(&r->wait->state, &asked, FRESH_WAITING))
        return STAGE_WAIT;
    return fresh_result(q, r->wait, version);
}

enum stage_result reply_object(struct request *q, int status, const struct object *o)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    form_object(q, o, true, &out);
    return request_reply_text(q, status, &out);
}

enum stage_result read_get_stage(struct request *q)
{
    const struct resource *r = q->resource->storage;
    struct object *o = cache_get(
        q->server->cache, r, r->namespaced ? str_of(q->namespace_) : STR(""), str_of(q->name));

    if (!o)
        return request_not_found(q, q->resource, q->name);
    enum stage_result result = reply_object(q, 200, o);
    object_unref(o);
    return result;
}
