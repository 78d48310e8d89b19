/*
 * Health pages. See health.h. Upstream: apiserver/pkg/server/healthz.
 *
 * livez asks whether a restart would help, so it leaves out what only time heals: the shutdown
 * under way and the objects that every cluster starts with.
 */
#include "apiserver/request/health.h"

#include "apiserver/cache/cache.h"
#include "apiserver/request/route.h"
#include "apiserver/server.h"
#include "common/http_client.h"

enum { LIVEZ = 1, READYZ = 2, HEALTHZ = 4, EVERY = LIVEZ | READYZ | HEALTHZ };

typedef bool check_fn(struct server *server, struct error *err);

static bool check_ping(struct server *server, struct error *err)
{
    return true;
}

static bool check_store(struct server *server, struct error *err)
{
    return cache_healthy(server->cache, err);
}

static bool check_bootstrap(struct server *server, struct error *err)
{
    if (atomic_load(&server->ready))
        return true;
    error_set(err, ERR_UNAVAILABLE, "not finished");
    return false;
}

static bool check_shutdown(struct server *server, struct error *err)
{
    if (!atomic_load(&server->stopping))
        return true;
    error_set(err, ERR_UNAVAILABLE, "process is shutting down");
    return false;
}

static const struct {
    const char *name;
    check_fn *run;
    unsigned pages;
} checks[] = {
    {"ping", check_ping, EVERY},
    {"log", check_ping, EVERY},
    {"etcd", check_store, EVERY},
    {"informer-sync", check_store, READYZ},
    {"etcd-readiness", check_store, READYZ},
    {"poststarthook/bootstrap-controller", check_bootstrap, READYZ | HEALTHZ},
    {"poststarthook/rbac/bootstrap-roles", check_bootstrap, READYZ | HEALTHZ},
    {"poststarthook/scheduling/bootstrap-system-priority-classes", check_bootstrap,
        READYZ | HEALTHZ},
    {"shutdown", check_shutdown, READYZ},
};

static unsigned page_of(const struct request *q, const char **ret_name)
{
    *ret_name = str_starts(q->path, STR("/livez"))    ? "livez"
                : str_starts(q->path, STR("/readyz")) ? "readyz"
                                                      : "healthz";
    return c_eq(*ret_name, "livez") ? LIVEZ : c_eq(*ret_name, "readyz") ? READYZ : HEALTHZ;
}

static enum stage_result reply_text(struct request *q, int status, struct str text)
{
    request_add_header(q, "Cache-Control", "no-cache, private");
    request_add_header(q, "X-Content-Type-Options", "nosniff");
    return request_reply(q, status, "text/plain; charset=utf-8", arena_str(q->arena, text));
}

static enum stage_result serve_one(struct request *q, unsigned page, const char *name)
{
    struct error err = {0};

    for (size_t i = 0; i < ARRAY_COUNT(checks); i++) {
        if (!(checks[i].pages & page) || !c_eq(checks[i].name, name))
            continue;
        if (checks[i].run(q->server, &err))
            return reply_text(q, 200, STR("ok"));
        return reply_text(
            q, 500, str_of(arena_printf(q->arena, "internal server error: %s\n", err.text)));
    }
    q->status_details = cJSON_CreateObject();
    return request_fail(q, ERR_NOT_FOUND, "the server could not find the requested resource");
}

/* The next of the query's exclude parameters (there may be several, each of names with commas). */
static bool next_excluded(struct request *q, struct str *rest, struct str *names, struct str *ret)
{
    struct str pair;
    struct error ignored;

    while (!str_split(names, ',', ret)) {
        if (!str_split(rest, '&', &pair))
            return false;
        autostrbuf struct strbuf value = STRBUF_EMPTY;
        if (str_starts(pair, STR("exclude=")) &&
            url_decode(str_range(pair.p + 8, pair.n - 8), true, &value, &ignored) == 0)
            *names = arena_str(q->arena, strbuf_str(&value));
    }
    return true;
}

static bool is_excluded(struct request *q, const char *name)
{
    struct str rest = q->query, names = {0}, excluded;

    while (next_excluded(q, &rest, &names, &excluded))
        if (str_eqc(excluded, name))
            return true;
    return false;
}

static bool is_check(unsigned page, struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(checks); i++)
        if (checks[i].pages & page && str_eqc(name, checks[i].name))
            return true;
    return false;
}

static void warn_of_unknown(struct request *q, unsigned page, struct strbuf *out)
{
    struct str rest = q->query, names = {0}, excluded;
    const char *before = "warn: some health checks cannot be excluded: no matches for ";
    size_t start = out->n;

    while (next_excluded(q, &rest, &names, &excluded)) {
        if (excluded.n == 0 || is_check(page, excluded))
            continue;
        strbuf_addf(out, "%s\"%.*s\"", before, STR_FMT(excluded));
        before = ",";
    }
    if (out->n > start)
        strbuf_add_char(out, '\n');
}

enum stage_result health_serve(struct request *q, const char *rest)
{
    const char *page_name;
    unsigned page = page_of(q, &page_name);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    bool failed = false;

    while (*rest == '/')
        rest++;
    if (*rest)
        return serve_one(q, page, rest);
    for (size_t i = 0; i < ARRAY_COUNT(checks); i++) {
        struct error err = {0};
        if (!(checks[i].pages & page))
            continue;
        if (is_excluded(q, checks[i].name)) {
            strbuf_addf(&text, "[+]%s excluded: ok\n", checks[i].name);
        } else if (checks[i].run(q->server, &err)) {
            strbuf_addf(&text, "[+]%s ok\n", checks[i].name);
        } else {
            failed = true;
            strbuf_addf(&text, "[-]%s failed: reason withheld\n", checks[i].name);
        }
    }
    warn_of_unknown(q, page, &text);
    if (failed) {
        strbuf_addf(&text, "%s check failed\n", page_name);
        return reply_text(q, 500, strbuf_str(&text));
    }
    struct str verbose;
    if (!request_query(q, "verbose", &verbose))
        return reply_text(q, 200, STR("ok"));
    strbuf_addf(&text, "%s check passed\n", page_name);
    return reply_text(q, 200, strbuf_str(&text));
}
