/*
 * skiffctl get: objects as the server's Tables, or whole as YAML, JSON, names or a jsonpath; with
 * -w as they change.
 */
#include "ctl/output.h"

#include "common/time.h"

#define TABLE "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

struct get_flags {
    struct common_flags common;
    const char *output, *selector, *field_selector;
    bool all_namespaces, watch, no_headers, ignore_not_found;
};

struct get {
    const struct get_flags *f;
    struct session *s;
    bool wide, several; /* several types: names carry theirs */
    bool printed;
};

static char *path_of(const struct get *g, const struct target *t, const char *extra)
{
    struct strbuf path;
    struct api_ref ref =
        resource_ref(t->resource, g->f->all_namespaces ? NULL : g->s->namespace_, t->name);
    char separator = '?';
    strbuf_init(&path, 0);
    api_path(&ref, &path);
    const struct {
        const char *name, *value;
    } query[] = {{"labelSelector", g->f->selector}, {"fieldSelector", g->f->field_selector}};
    for (size_t i = 0; i < ARRAY_COUNT(query); i++) {
        if (!query[i].value)
            continue;
        strbuf_addf(&path, "%c%s=", separator, query[i].name);
        url_encode(str_of(query[i].value), &path);
        separator = '&';
    }
    if (extra)
        strbuf_addf(&path, "%c%s", separator, extra);
    return strbuf_steal(&path);
}

static int fetch(
    const struct get *g, const struct target *t, const char *accept, cJSON **ret, struct error *err)
{
    autofree char *path = path_of(g, t, NULL);
    struct http_header header = {"Accept", accept};
    struct http_request request = {
        .method = "GET", .path = path, .headers = &header, .header_count = 1};
    struct http_response answer;
    http_response_init(&answer);
    int result = api_raw(g->s->client.api, &request, &answer, err);
    if (result == 0 && answer.status >= 400)
        result = api_error_from_response(&answer, err);
    if (result == 0)
        result = json_parse(strbuf_str(&answer.body), ret, err);
    http_response_done(&answer);
    return result;
}

/* Says what is wrong, unless the object is only absent and that is allowed; 1 when it is a failure.
 */
static int get_failed(const struct get *g, const struct error *err)
{
    if (err->code == ERR_NOT_FOUND && g->f->ignore_not_found)
        return 0;
    session_fail(err);
    return 1;
}

/* The rows of targets[from] and of those behind it that are of its type, as one table; returns the
 * index behind them. What can't be had is said and remembered in *failed, and the others are shown.
 */
static size_t print_tables(struct get *g, const struct targets *targets, size_t from, int *failed)
{
    const struct ctl_resource *r = targets->all[from].resource;
    struct columns columns = {0};
    bool namespaces = g->f->all_namespaces && r->namespaced;
    size_t i;
    for (i = from; i < targets->count && targets->all[i].resource == r; i++) {
        autojson cJSON *table = NULL;
        struct error err;
        if (fetch(g, &targets->all[i], TABLE, &table, &err) < 0)
            *failed |= get_failed(g, &err);
        else if (cJSON_GetArraySize(json_get(table, "rows")) > 0)
            columns_add_table(&columns, table, !g->f->no_headers && columns.count == 0, g->wide,
                namespaces, g->several ? r : NULL);
    }
    if (columns.count && g->printed)
        printf("\n");
    g->printed = g->printed || columns.count;
    columns_print(&columns, stdout);
    return i;
}

/* Whole objects of all targets, as one object (NULL when it is absent) or a List. */
static cJSON *collect(struct get *g, const struct targets *targets, int *failed)
{
    bool single = targets->count == 1 && targets->all[0].name;
    cJSON *list = json_make("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{"
                            "\"resourceVersion\":\"\"},\"items\":[]}");
    for (size_t i = 0; i < targets->count; i++) {
        const struct target *t = &targets->all[i];
        autojson cJSON *tree = NULL;
        struct error err;
        bool found = fetch(g, t, "application/json", &tree, &err) == 0;
        if (!found)
            *failed |= get_failed(g, &err);
        if (single) {
            cJSON_Delete(list);
            return steal(&tree);
        }
        cJSON *items = json_get(tree, "items"), *item;
        if (found && !items)
            cJSON_AddItemToArray(json_get(list, "items"), steal(&tree));
        while ((item = cJSON_DetachItemFromArray(items, 0))) {
            json_set_string(item, "apiVersion", t->resource->group_version);
            json_set_string(item, "kind", t->resource->kind);
            cJSON_AddItemToArray(json_get(list, "items"), item);
        }
    }
    return list;
}

/* --- watching --- */

/* What a watch keeps from event to event. */
struct watch {
    bool header; /* still to be printed */
    bool printed;
    cJSON *definitions;     /* of the columns: a server may send them with the first Table only */
    struct columns columns; /* the widths */
};

static void print_row_event(struct get *g, const struct target *t, cJSON *table, struct watch *w)
{
    cJSON *definitions = json_get(table, "columnDefinitions");
    if (definitions && definitions->child) {
        cJSON_Delete(w->definitions);
        w->definitions = cJSON_Duplicate(definitions, true);
    } else {
        json_set(table, "columnDefinitions", cJSON_Duplicate(w->definitions, true));
    }
    columns_add_table(&w->columns, table, w->header, g->wide,
        g->f->all_namespaces && t->resource->namespaced, NULL);
    w->header = false;
    columns_print(&w->columns, stdout);
}

static int print_event(
    struct get *g, const struct target *t, const cJSON *event, struct watch *w, struct error *err)
{
    cJSON *object = json_get(event, "object");
    int result = 0;
    if (c_eq(json_string(event, "type"), "ERROR")) {
        const char *message = json_string(object, "message");
        return error_set(err, ERR_EXPIRED, "the watch ended: %s",
            message ? message : "the server does not say why");
    }
    if (c_eq(json_string(event, "type"), "BOOKMARK"))
        return 0;
    if (output_is_object_form(g->f->output)) {
        if (w->printed && c_eq(g->f->output, "yaml"))
            printf("---\n");
        result = output_object(g->f->output, object, err);
    } else {
        print_row_event(g, t, object, w);
    }
    w->printed = true;
    fflush(stdout);
    return result;
}

static int read_events(
    struct get *g, const struct target *t, struct http_stream *stream, struct error *err)
{
    autostrbuf struct strbuf data = STRBUF_EMPTY;
    struct watch w = {.header = !g->f->no_headers};
    int more, result = 0;
    strbuf_init(&data, 0);
    while (result == 0 && (more = http_stream_next(stream, ENV_FOREVER, &data, err)) > 0) {
        const char *end;
        while (result == 0 && (end = memchr(data.data, '\n', data.n))) {
            autojson cJSON *event = NULL;
            size_t n = (size_t)(end - data.data) + 1;
            result = json_parse(str_range(data.data, n - 1), &event, err);
            if (result == 0)
                result = print_event(g, t, event, &w, err);
            strbuf_remove_front(&data, n);
        }
    }
    cJSON_Delete(w.definitions);
    return result < 0 ? result : more;
}

static int watch(struct get *g, const struct target *t, struct error *err)
{
    struct target all = *t;
    struct get one = *g;
    autofree char *selector = t->name ? str_format("metadata.name=%s", t->name) : NULL;
    struct get_flags flags = *g->f;
    if (t->name) { /* which must exist, like without --watch */
        autojson cJSON *now = NULL;
        if (fetch(g, t, "application/json", &now, err) < 0)
            return -err->code;
        flags.field_selector = selector;
    }
    one.f = &flags;
    all.name = NULL;
    autofree char *path = path_of(&one, &all, "watch=true");
    struct http_header header = {
        "Accept", output_is_object_form(g->f->output) ? "application/json" : TABLE};
    struct http_request request = {
        .method = "GET", .path = path, .headers = &header, .header_count = 1};
    struct http_response head;
    struct http_stream *stream;
    http_response_init(&head);
    int result = http_stream_open(api_client_http(g->s->client.api), &request, &stream, &head, err);
    if (result == 0 && !stream)
        result = api_error_from_response(&head, err);
    http_response_done(&head);
    if (result == 0) {
        result = read_events(g, t, stream, err);
        http_stream_close(stream);
    }
    return result;
}

/* --- the command --- */

static void say_nothing_found(const struct get *g, const struct targets *targets)
{
    bool namespaced = false;
    for (size_t i = 0; i < targets->count; i++)
        namespaced = namespaced || targets->all[i].resource->namespaced;
    if (g->f->all_namespaces || !namespaced)
        fprintf(stderr, "No resources found\n");
    else
        fprintf(stderr, "No resources found in %s namespace.\n", g->s->namespace_);
}

/* The exit code. */
static int get_targets(struct get *g, const struct targets *targets)
{
    struct error err;
    int failed = 0;
    if (g->f->watch)
        return watch(g, &targets->all[0], &err) < 0 ? session_fail(&err) : EXIT_DONE;
    if (output_is_object_form(g->f->output)) {
        autojson cJSON *tree = collect(g, targets, &failed);
        if (tree && output_object(g->f->output, tree, &err) < 0)
            return session_fail(&err);
        return failed ? EXIT_REQUEST_FAILED : EXIT_DONE;
    }
    for (size_t i = 0; i < targets->count;)
        i = print_tables(g, targets, i, &failed);
    if (!g->printed && !failed && !g->f->ignore_not_found)
        say_nothing_found(g, targets);
    return failed ? EXIT_REQUEST_FAILED : EXIT_DONE;
}

static int check_targets(
    const struct get_flags *f, const struct targets *targets, struct error *err)
{
    bool named = targets->count && targets->all[0].name;
    if (f->all_namespaces && named)
        return error_set(
            err, ERR_USAGE, "a resource cannot be retrieved by name across all namespaces");
    if (named && (f->selector || f->field_selector))
        return error_set(err, ERR_USAGE, "name cannot be provided when a selector is specified");
    if (f->watch && targets->count != 1)
        return error_set(
            err, ERR_USAGE, "you may only specify a single resource type with --watch");
    return 0;
}

static int get_run(void *config, int argc, char **argv)
{
    struct get_flags *f = config;
    struct session s;
    struct targets targets;
    struct error err;
    if (targets_check(argc, argv, &err) < 0 || output_check(f->output, &err) < 0 ||
        session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int code = EXIT_DONE;
    if (targets_parse(&s.map, argc, argv, &targets, &err) < 0) {
        code = session_fail(&err);
    } else {
        bool several = false;
        for (size_t i = 1; i < targets.count; i++)
            several = several || targets.all[i].resource != targets.all[0].resource;
        struct get g = {.f = f, .s = &s, .wide = c_eq(f->output, "wide"), .several = several};
        code =
            check_targets(f, &targets, &err) < 0 ? session_fail(&err) : get_targets(&g, &targets);
        targets_done(&targets);
    }
    session_close(&s);
    return code;
}

static const struct flag get_flag_table[] = {
    {"output,o", FLAG_STRING, offsetof(struct get_flags, output), NULL, "FORM",
        "wide, yaml, json, name or jsonpath=TEMPLATE"},
    {"selector,l", FLAG_STRING, offsetof(struct get_flags, selector), NULL, "LABELS",
        "only objects with these labels: a=b,c!=d,e in (f,g)"},
    {"field-selector", FLAG_STRING, offsetof(struct get_flags, field_selector), NULL, "FIELDS",
        "only objects with these fields: status.phase=Running"},
    {"all-namespaces,A", FLAG_BOOL, offsetof(struct get_flags, all_namespaces), NULL, NULL,
        "of every namespace"},
    {"watch,w", FLAG_BOOL, offsetof(struct get_flags, watch), NULL, NULL, "go on printing changes"},
    {"no-headers", FLAG_BOOL, offsetof(struct get_flags, no_headers), NULL, NULL, "rows only"},
    {"ignore-not-found", FLAG_BOOL, offsetof(struct get_flags, ignore_not_found), NULL, NULL,
        "say nothing when there is none"},
    COMMON_FLAGS(struct get_flags, common),
};

const struct command command_get = {
    .name = "get",
    .usage = "TYPE [NAME]... | TYPE/NAME...",
    .summary = "show objects",
    .help = "Shows objects as tables, or whole with -o yaml or -o json.\n\n"
            "Examples:\n  skiffctl get pods -o wide\n  skiffctl get deployment/web -o yaml\n  "
            "skiffctl get pods -A -w\n"
            "  skiffctl get all -l app=guestbook\n  skiffctl get nodes -o "
            "'jsonpath={.items[*].metadata.name}'",
    .flags = get_flag_table,
    .flag_count = ARRAY_COUNT(get_flag_table),
    .config_size = sizeof(struct get_flags),
    .run = get_run,
};
