/*
 * skiffctl get: objects as the server's Tables, or whole as YAML, JSON, names or a jsonpath; with -w as they change.
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
    struct api_ref ref = resource_ref(t->resource, g->f->all_namespaces ? NULL : g->s->namespace_, t->name);
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

static int fetch(const struct get *g, const struct target *t, const char *accept, cJSON **ret, struct error *err)
{
    autofree char *path = path_of(g, t, NULL);
    struct http_header header = {"Accept", accept};
    struct http_request request = {.method = "GET", .path = path, .headers = &header, .header_count = 1};
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

static int print_table(struct get *g, const struct target *t, struct error *err)
{
    autojson cJSON *table = NULL;
    struct columns columns = {0};
    if (fetch(g, t, TABLE, &table, err) < 0)
        return -err->code;
    if (cJSON_GetArraySize(json_get(table, "rows")) == 0)
        return 0;
    if (g->printed)
        printf("\n");
    g->printed = true;
    columns_add_table(&columns, table, !g->f->no_headers, g->wide, g->f->all_namespaces && t->resource->namespaced,
        g->several ? t->resource : NULL);
    columns_print(&columns, stdout);
    return 0;
}

/* Whole objects of all targets, as one object or a List. */
static int collect(struct get *g, const struct targets *targets, cJSON **ret, struct error *err)
{
    bool single = targets->count == 1 && targets->all[0].name;
    autojson cJSON *list = json_make("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"\"},\"items\":[]}");
    for (size_t i = 0; i < targets->count; i++) {
        const struct target *t = &targets->all[i];
        autojson cJSON *tree = NULL;
        if (fetch(g, t, "application/json", &tree, err) < 0)
            return -err->code;
        if (single) {
            *ret = steal(&tree);
            return 0;
        }
        cJSON *items = json_get(tree, "items"), *item;
        if (!items) {
            cJSON_AddItemToArray(json_get(list, "items"), steal(&tree));
            continue;
        }
        while ((item = cJSON_DetachItemFromArray(items, 0))) {
            json_set_string(item, "apiVersion", t->resource->group_version);
            json_set_string(item, "kind", t->resource->kind);
            cJSON_AddItemToArray(json_get(list, "items"), item);
        }
    }
    *ret = steal(&list);
    return 0;
}

/* --- watching --- */

static int print_event(struct get *g, const struct target *t, const cJSON *event, bool *header, struct error *err)
{
    const cJSON *object = json_get(event, "object");
    if (c_eq(json_string(event, "type"), "ERROR"))
        return error_set(err, ERR_EXPIRED, "the watch ended: %s", json_string(object, "message"));
    if (c_eq(json_string(event, "type"), "BOOKMARK"))
        return 0;
    if (output_is_object_form(g->f->output))
        return output_object(g->f->output, object, err);
    struct columns columns = {0};
    columns_add_table(&columns, object, *header, g->wide, g->f->all_namespaces && t->resource->namespaced, NULL);
    *header = false;
    columns_print(&columns, stdout);
    fflush(stdout);
    return 0;
}

static int read_events(struct get *g, const struct target *t, struct http_stream *stream, struct error *err)
{
    autostrbuf struct strbuf data = STRBUF_EMPTY;
    bool header = !g->f->no_headers;
    int more;
    strbuf_init(&data, 0);
    while ((more = http_stream_next(stream, ENV_FOREVER, &data, err)) > 0) {
        const char *end;
        while ((end = memchr(data.data, '\n', data.n))) {
            autojson cJSON *event = NULL;
            size_t n = (size_t)(end - data.data) + 1;
            if (json_parse(str_range(data.data, n - 1), &event, err) < 0 || print_event(g, t, event, &header, err) < 0)
                return -err->code;
            strbuf_remove_front(&data, n);
        }
    }
    return more;
}

static int watch(struct get *g, const struct target *t, struct error *err)
{
    struct target all = *t;
    struct get one = *g;
    autofree char *selector = t->name ? str_format("metadata.name=%s", t->name) : NULL;
    struct get_flags flags = *g->f;
    if (t->name)
        flags.field_selector = selector;
    one.f = &flags;
    all.name = NULL;
    autofree char *path = path_of(&one, &all, "watch=true");
    struct http_header header = {"Accept", output_is_object_form(g->f->output) ? "application/json" : TABLE};
    struct http_request request = {.method = "GET", .path = path, .headers = &header, .header_count = 1};
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

static int get_all(struct get *g, const struct targets *targets, struct error *err)
{
    if (g->f->watch)
        return targets->count == 1 ? watch(g, &targets->all[0], err) :
                                     error_set(err, ERR_USAGE, "you may only specify a single resource type with --watch");
    if (output_is_object_form(g->f->output)) {
        autojson cJSON *tree = NULL;
        int result = collect(g, targets, &tree, err);
        if (result == -ERR_NOT_FOUND && g->f->ignore_not_found)
            return 0;
        return result < 0 ? result : output_object(g->f->output, tree, err);
    }
    for (size_t i = 0; i < targets->count; i++) {
        int result = print_table(g, &targets->all[i], err);
        if (result < 0 && !(result == -ERR_NOT_FOUND && g->f->ignore_not_found))
            return result;
    }
    if (!g->printed && !g->f->ignore_not_found) {
        if (g->f->all_namespaces)
            fprintf(stderr, "No resources found\n");
        else
            fprintf(stderr, "No resources found in %s namespace.\n", g->s->namespace_);
    }
    return 0;
}

static int get_run(void *config, int argc, char **argv)
{
    struct get_flags *f = config;
    struct session s;
    struct targets targets;
    struct error err;
    if (output_check(f->output, &err) < 0 || session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int result = targets_parse(&s.map, argc, argv, &targets, &err);
    if (result == 0) {
        bool several = false;
        for (size_t i = 1; i < targets.count; i++)
            several = several || targets.all[i].resource != targets.all[0].resource;
        struct get g = {.f = f, .s = &s, .wide = c_eq(f->output, "wide"), .several = several};
        if (f->all_namespaces && targets.all[0].name)
            result = error_set(&err, ERR_USAGE, "a resource cannot be retrieved by name across all namespaces");
        else
            result = get_all(&g, &targets, &err);
        targets_done(&targets);
    }
    session_close(&s);
    return result < 0 ? session_fail(&err) : EXIT_DONE;
}

static const struct flag get_flag_table[] = {
    {"output,o", FLAG_STRING, offsetof(struct get_flags, output), NULL, "FORM", "wide, yaml, json, name or jsonpath=TEMPLATE"},
    {"selector,l", FLAG_STRING, offsetof(struct get_flags, selector), NULL, "LABELS", "only objects with these labels: a=b,c!=d,e in (f,g)"},
    {"field-selector", FLAG_STRING, offsetof(struct get_flags, field_selector), NULL, "FIELDS", "only objects with these fields: status.phase=Running"},
    {"all-namespaces,A", FLAG_BOOL, offsetof(struct get_flags, all_namespaces), NULL, NULL, "of every namespace"},
    {"watch,w", FLAG_BOOL, offsetof(struct get_flags, watch), NULL, NULL, "go on printing changes"},
    {"no-headers", FLAG_BOOL, offsetof(struct get_flags, no_headers), NULL, NULL, "rows only"},
    {"ignore-not-found", FLAG_BOOL, offsetof(struct get_flags, ignore_not_found), NULL, NULL, "say nothing when there is none"},
    COMMON_FLAGS(struct get_flags, common),
};

const struct command command_get = {
    .name = "get",
    .usage = "TYPE [NAME]... | TYPE/NAME...",
    .summary = "show objects",
    .help = "Shows objects as tables, or whole with -o yaml or -o json.\n\n"
            "Examples:\n  skiffctl get pods -o wide\n  skiffctl get deployment/web -o yaml\n  skiffctl get pods -A -w\n"
            "  skiffctl get all -l app=guestbook\n  skiffctl get nodes -o 'jsonpath={.items[*].metadata.name}'",
    .flags = get_flag_table,
    .flag_count = ARRAY_COUNT(get_flag_table),
    .config_size = sizeof(struct get_flags),
    .run = get_run,
};
