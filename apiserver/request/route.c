/*
 * Paths to requests. See route.h.
 *
 * /api/v1/...                                         the core group
 * /apis/GROUP/VERSION/...                             named groups
 *   PLURAL[/NAME[/SUBRESOURCE[/SUBPATH]]]             cluster scoped, or all namespaces
 *   namespaces/NS/PLURAL[/NAME[/SUBRESOURCE[/...]]]   in a namespace
 *   watch/...                                         the old form of ?watch=true
 * Everything else is a non-resource path: its verb is the method in lower case.
 */
#include "apiserver/request/route.h"

#include <ctype.h>

#include "apiserver/custom/definitions.h"
#include "apiserver/registry/warnings.h"
#include "apiserver/schema/schema.h"
#include "apiserver/server.h"
#include "common/http_client.h"

#define PARTS_MAX 12

struct parts {
    const char *at[PARTS_MAX];
    size_t count;
    const char *rest; /* behind the last part that fits */
};

static const struct {
    const char *method, *verb;
} verbs[] = {
    {"GET", "get"},
    {"HEAD", "get"},
    {"POST", "create"},
    {"PUT", "update"},
    {"PATCH", "patch"},
    {"DELETE", "delete"},
};

bool query_bool(struct request *q, const char *name, bool otherwise)
{
    struct str value;

    if (!request_query(q, name, &value))
        return otherwise;
    return !str_eq_nocase(value, STR("false")) && !str_eqc(value, "0");
}

/* Cuts a copy of the path at its slashes; those at both ends do not count. */
static struct parts split(struct request *q, struct str path)
{
    struct parts ret = {.rest = ""};

    while (path.n > 0 && path.p[0] == '/')
        path = str_range(path.p + 1, path.n - 1);
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    struct str rest = path, part;
    while (ret.count < PARTS_MAX && rest.n > 0 && str_split(&rest, '/', &part))
        ret.at[ret.count++] = arena_strdup(q->arena, part);
    if (rest.n > 0)
        ret.rest = arena_strdup(q->arena, rest);
    return ret;
}

static const char *lower(struct request *q, struct str s)
{
    char *copy = arena_strdup(q->arena, s);

    for (char *p = copy; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return copy;
}

static const char *verb_of_method(struct str method)
{
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        if (str_eqc(method, verbs[i].method))
            return verbs[i].verb;
    return "";
}

/* What follows a subresource's name, slashes kept: the path behind .../proxy. */
static const char *subpath_of(struct request *q, size_t parts_before)
{
    const char *p = q->path.p, *end = q->path.p + q->path.n;

    while (p < end && *p == '/')
        p++;
    for (size_t i = 0; i < parts_before && p < end; i++) {
        while (p < end && *p != '/')
            p++;
        if (i + 1 < parts_before && p < end)
            p++;
    }
    return p < end && *p == '/' ? arena_strdup(q->arena, str_range(p + 1, (size_t)(end - p - 1)))
                                : "";
}

static bool is_namespace_subresource(const char *part)
{
    return c_eq(part, "status") || c_eq(part, "finalize");
}

/* parts from `i` on are behind the version. */
static void parse_resource(struct request *q, const struct parts *parts, size_t i)
{
    bool old_watch = false;

    if (c_eq(parts->at[i], "watch") && parts->count > i + 1) {
        old_watch = true;
        i++;
    }
    if (c_eq(parts->at[i], "namespaces") && parts->count > i + 1) {
        q->namespace_ = parts->at[i + 1];
        if (parts->count > i + 2 && !is_namespace_subresource(parts->at[i + 2]))
            i += 2;
    }
    q->plural = parts->at[i];
    if (parts->count > i + 1)
        q->name = parts->at[i + 1];
    if (parts->count > i + 2) {
        q->subresource_name = parts->at[i + 2];
        q->subpath = subpath_of(q, i + 3);
    }
    if (c_eq(q->plural, "namespaces"))
        q->namespace_ = q->name;
    if (old_watch)
        q->verb = "watch";
}

static bool is_stream_subresource(const char *name)
{
    return c_eq(name, "exec") || c_eq(name, "attach") || c_eq(name, "portforward");
}

static void refine_verb(struct request *q)
{
    if (!*q->name && c_eq(q->verb, "get"))
        q->verb = query_bool(q, "watch", false) ? "watch" : "list";
    else if (!*q->name && c_eq(q->verb, "delete"))
        q->verb = "deletecollection";
    /* Reaching into a container is a write, whatever the method. */
    if (is_stream_subresource(q->subresource_name))
        q->verb = "create";
}

int route_parse(struct request *q, struct error *err)
{
    ssize_t mark = str_find(q->target, '?');
    struct str raw = mark < 0 ? q->target : str_range(q->target.p, (size_t)mark);
    autostrbuf struct strbuf path = STRBUF_EMPTY;

    q->query =
        mark < 0 ? STR("") : str_range(q->target.p + mark + 1, q->target.n - (size_t)mark - 1);
    if (raw.n == 0 || raw.p[0] != '/')
        return error_set(err, ERR_BAD_REQUEST, "the path must start with '/'");
    if (url_decode(raw, false, &path, err) < 0)
        return -ERR_BAD_REQUEST;
    q->path = arena_str(q->arena, strbuf_str(&path));

    struct parts parts = split(q, q->path);
    size_t behind_version = 0;
    if (parts.count >= 2 && c_eq(parts.at[0], "api")) {
        q->version = parts.at[1];
        behind_version = 2;
    } else if (parts.count >= 3 && c_eq(parts.at[0], "apis")) {
        q->group = parts.at[1];
        q->version = parts.at[2];
        behind_version = 3;
    }
    if (behind_version == 0 || parts.count <= behind_version) {
        q->verb = lower(q, q->method);
        return 0;
    }
    q->verb = verb_of_method(q->method);
    parse_resource(q, &parts, behind_version);
    refine_verb(q);
    return 0;
}

static const struct subresource *find_subresource(const struct resource *r, const char *name)
{
    for (size_t i = 0; i < r->subresource_count; i++)
        if (c_eq(r->subresources[i].name, name))
            return &r->subresources[i];
    return NULL;
}

enum stage_result route_stage(struct request *q)
{
    if (route_parse(q, &q->err) < 0)
        return STAGE_ERROR;
    q->api = definitions_api(q->server->definitions);
    if (!*q->plural)
        return STAGE_DONE;
    q->resource = api_find(q->api, str_of(q->group), str_of(q->version), str_of(q->plural));
    if (q->resource && *q->subresource_name)
        q->subresource = find_subresource(q->resource, q->subresource_name);
    return STAGE_DONE;
}

static unsigned verb_bit(const char *verb)
{
    static const struct {
        const char *name;
        unsigned bit;
    } bits[] = {
        {"get", VERB_GET},
        {"list", VERB_LIST},
        {"watch", VERB_WATCH},
        {"create", VERB_CREATE},
        {"update", VERB_UPDATE},
        {"patch", VERB_PATCH},
        {"delete", VERB_DELETE},
        {"deletecollection", VERB_DELETECOLLECTION},
    };

    for (size_t i = 0; i < ARRAY_COUNT(bits); i++)
        if (c_eq(bits[i].name, verb))
            return bits[i].bit;
    return 0;
}

static enum stage_result no_such_path(struct request *q)
{
    if (!q->status_details)
        q->status_details = cJSON_CreateObject();
    return request_fail(q, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static enum stage_result no_such_method(struct request *q)
{
    if (!q->status_details)
        q->status_details = cJSON_CreateObject();
    return request_fail(
        q, ERR_METHOD_NOT_ALLOWED, "%s", error_default_text(ERR_METHOD_NOT_ALLOWED));
}

/* Does the path have the shape that the resource's scope asks for? */
static bool is_shape_right(const struct request *q)
{
    const struct resource *r = q->resource;

    if (c_eq(r->plural, "namespaces") && !*r->group)
        return true;
    if (!r->namespaced)
        return !*q->namespace_;
    return *q->namespace_ || !*q->name;
}

/* A proxy takes any, a log is read, the others are opened by GET or POST. */
static bool has_connect_method(const struct request *q)
{
    if (c_eq(q->subresource_name, "proxy"))
        return true;
    return str_eqc(q->method, "GET") ||
           (!c_eq(q->subresource_name, "log") && str_eqc(q->method, "POST"));
}

enum stage_result route_check_stage(struct request *q)
{
    const struct resource *r = q->resource;

    if (!*q->plural)
        return STAGE_DONE;
    if (!r || !is_shape_right(q) || (*q->subresource_name && !q->subresource))
        return no_such_path(q);
    if (*q->subpath && !(q->subresource->connect && c_eq(q->subresource_name, "proxy")))
        return no_such_path(q);
    if (q->subresource && q->subresource->connect)
        return has_connect_method(q) ? STAGE_DONE : no_such_method(q);
    if (str_eqc(q->method, "HEAD"))
        return no_such_method(q);
    if (r->deprecation)
        request_warn(q, "%s", r->deprecation);
    warn_of_kind(q);
    if (q->subresource) {
        if (!(q->subresource->verbs & verb_bit(q->verb)))
            return no_such_method(q);
        return STAGE_DONE;
    }
    if (!(r->verbs & verb_bit(q->verb)))
        return no_such_method(q);
    /* A name is chosen in the body of a create, and in the path of every other write. */
    bool named_verb = verb_bit(q->verb) & (VERB_UPDATE | VERB_PATCH);
    if (*q->name ? c_eq(q->verb, "create") : named_verb)
        return no_such_method(q);
    /* Across all namespaces there are lists and watches only. */
    if (r->namespaced && !*q->namespace_ && !(verb_bit(q->verb) & (VERB_LIST | VERB_WATCH)))
        return no_such_method(q);
    return STAGE_DONE;
}
