/*
 * skiffctl describe: one object for people: its fields indented and titled, then its Events.
 *
 * One printer for every kind: names of fields become titles, conditions and lists of plain objects
 * become small tables.
 */
#include "ctl/output.h"

#include <ctype.h>

#include "common/time.h"

struct describe_flags {
    struct common_flags common;
    const char *selector;
};

/* "containerPort" -> "Container Port" */
static void print_title(const char *name, int indent)
{
    printf("%*s", indent, "");
    for (const char *p = name; *p; p++) {
        bool starts = p > name && isupper((unsigned char)*p) && !isupper((unsigned char)p[-1]);
        printf("%s%c", starts ? " " : "", p == name ? toupper((unsigned char)*p) : *p);
    }
    printf(":");
}

static bool is_plain(const cJSON *v)
{
    return !cJSON_IsObject(v) && !cJSON_IsArray(v);
}

static bool has_plain_members(const cJSON *object)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, object)
    {
        if (!is_plain(m))
            return false;
    }
    return cJSON_IsObject(object);
}

static void print_plain(const cJSON *v)
{
    struct strbuf text;
    if (cJSON_IsString(v)) {
        printf("%s", v->valuestring);
        return;
    }
    strbuf_init(&text, 0);
    json_print(v, &text);
    printf("%s", text.data);
    strbuf_done(&text);
}

static void print_members(const cJSON *object, int indent, const char *const *skip);

static void print_inline(const cJSON *object)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, object)
    {
        printf("%s%s=", m == object->child ? "" : " ", m->string);
        print_plain(m);
    }
    printf("\n");
}

static void print_list(const cJSON *list, int indent)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        const char *name = json_string(item, "name");
        if (is_plain(item)) {
            printf("%*s", indent, "");
            print_plain(item);
            printf("\n");
        } else if (has_plain_members(item)) {
            printf("%*s", indent, "");
            print_inline(item);
        } else {
            static const char *const skip[] = {"name", NULL};
            printf("%*s%s:\n", indent, "", name ? name : "-");
            print_members(item, indent + 2, name ? skip : NULL);
        }
    }
}

static void print_member(const cJSON *m, int indent)
{
    if ((cJSON_IsObject(m) || cJSON_IsArray(m)) && !m->child)
        return;
    print_title(m->string, indent);
    if (is_plain(m)) {
        printf("  ");
        print_plain(m);
        printf("\n");
        return;
    }
    printf("\n");
    if (cJSON_IsArray(m))
        print_list(m, indent + 2);
    else
        print_members(m, indent + 2, NULL);
}

static void print_members(const cJSON *object, int indent, const char *const *skip)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, object)
    {
        bool skipped = false;
        for (const char *const *s = skip; s && *s; s++)
            skipped = skipped || c_eq(m->string, *s);
        if (!skipped)
            print_member(m, indent);
    }
}

static char *age_of(const cJSON *event, int64_t now_ns)
{
    const char *times[] = {json_string(event, "lastTimestamp"), json_string(event, "eventTime"),
        json_string_at(event, "metadata.creationTimestamp")};
    struct strbuf text;
    int64_t at_ns;
    struct error err;
    strbuf_init(&text, 0);
    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        if (!times[i] || time_parse(str_of(times[i]), &at_ns, &err) < 0)
            continue;
        duration_print_human(now_ns > at_ns ? now_ns - at_ns : 0, &text);
        break;
    }
    return strbuf_steal(&text);
}

static int print_events(struct session *s, const cJSON *object, struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = "events", .namespace_ = session_namespace(s, object)};
    autofree char *query = str_format(
        "fieldSelector=involvedObject.uid%%3D%s", json_string_at(object, "metadata.uid"));
    autojson cJSON *list = NULL;
    if (!json_string_at(object, "metadata.namespace"))
        ref.namespace_ = NULL;
    if (api_list(s->client.api, &ref, query, &list, err) < 0)
        return -err->code;
    if (!json_get(list, "items") || !json_get(list, "items")->child) {
        printf("Events:  <none>\n");
        return 0;
    }
    struct columns columns = {0};
    static const char *const titles[] = {"  Type", "Reason", "Age", "From", "Message"};
    char **row = xcalloc(6, sizeof(*row));
    for (size_t i = 0; i < ARRAY_COUNT(titles); i++)
        row[i] = xstrdup(titles[i]);
    columns_add(&columns, row);
    const cJSON *event;
    cJSON_ArrayForEach(event, json_get(list, "items"))
    {
        const char *type = json_string(event, "type"), *reason = json_string(event, "reason");
        const char *from = json_string_at(event, "source.component"),
                   *message = json_string(event, "message");
        if (!from || !*from)
            from = json_string(event, "reportingComponent");
        row = xcalloc(6, sizeof(*row));
        row[0] = str_format("  %s", type ? type : "");
        row[1] = cell_line(reason ? reason : "");
        row[2] = age_of(event, env_wall_ns(s->client.env));
        row[3] = cell_line(from ? from : "");
        row[4] = cell_line(message ? message : "");
        columns_add(&columns, row);
    }
    printf("Events:\n");
    columns_print(&columns, stdout);
    return 0;
}

/* Values of Secrets are shown as their sizes. */
static void hide_secret(cJSON *object)
{
    cJSON *item;
    if (!c_eq(json_string(object, "kind"), "Secret"))
        return;
    cJSON *data = json_get(object, "data"), *sizes = cJSON_CreateObject();
    cJSON_ArrayForEach(item, data)
    {
        const char *text = cJSON_IsString(item) ? item->valuestring : "",
                   *padding = strchr(text, '=');
        autofree char *size =
            str_format("%zu bytes", strlen(text) / 4 * 3 - (padding ? strlen(padding) : 0));
        json_set_string(sizes, item->string, size);
    }
    json_set(object, "data", sizes);
    json_remove(json_path(object, "metadata.annotations"),
        "kubectl.kubernetes.io/last-applied-configuration");
}

static int describe_object(struct session *s, cJSON *object, struct error *err)
{
    static const char *const hidden[] = {"apiVersion", "kind", "metadata", NULL};
    static const char *const hidden_metadata[] = {"name", "namespace", "labels", "annotations",
        "managedFields", "uid", "resourceVersion", NULL};
    const char *namespace_ = json_string_at(object, "metadata.namespace");
    hide_secret(object);
    printf("Name:  %s\n", json_string_at(object, "metadata.name"));
    if (namespace_)
        printf("Namespace:  %s\n", namespace_);
    printf("Kind:  %s (%s)\n", json_string(object, "kind"), json_string(object, "apiVersion"));
    const cJSON *metadata = json_get(object, "metadata");
    static const char *const maps[] = {"labels", "annotations"};
    for (size_t i = 0; i < ARRAY_COUNT(maps); i++) {
        const cJSON *item;
        cJSON_ArrayForEach(
            item, json_get(metadata,
                      maps[i])) if (cJSON_IsString(item) &&
                                    !c_eq(item->string,
                                        "kubectl.kubernetes.io/last-applied-configuration"))
            printf("%s  %s=%s\n",
                item == json_get(metadata, maps[i])->child ? (i ? "Annotations:" : "Labels:")
                                                           : "           ",
                item->string, item->valuestring);
    }
    print_members(metadata, 0, hidden_metadata);
    print_members(object, 0, hidden);
    return print_events(s, object, err);
}

static int describe_next(struct session *s, cJSON *object, bool *first, struct error *err)
{
    if (!*first)
        printf("\n\n");
    *first = false;
    return describe_object(s, object, err);
}

static int describe_target(const struct describe_flags *f, struct session *s,
    const struct target *t, bool *first, struct error *err)
{
    struct api_ref ref = resource_ref(t->resource, s->namespace_, t->name);
    autostrbuf struct strbuf query = STRBUF_EMPTY;
    autojson cJSON *tree = NULL;
    strbuf_init(&query, 0);
    if (f->selector) {
        strbuf_addc(&query, "labelSelector=");
        url_encode(str_of(f->selector), &query);
    }
    int result = t->name ? api_get(s->client.api, &ref, &tree, err)
                         : api_list(s->client.api, &ref, query.n ? query.data : NULL, &tree, err);
    if (result < 0)
        return result;
    cJSON *items = json_get(tree, "items"), *item;
    if (t->name)
        return describe_next(s, tree, first, err);
    cJSON_ArrayForEach(item, items)
    {
        json_set_string(item, "kind", t->resource->kind);
        json_set_string(item, "apiVersion", t->resource->group_version);
        if (describe_next(s, item, first, err) < 0)
            return -err->code;
    }
    return 0;
}

static int describe_run(void *config, int argc, char **argv)
{
    struct describe_flags *f = config;
    struct session s;
    struct targets targets;
    struct error err;
    bool first = true;
    if (targets_check(argc, argv, &err) < 0 || session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int result = targets_parse(&s.map, argc, argv, &targets, &err);
    if (result == 0) {
        for (size_t i = 0; result == 0 && i < targets.count; i++)
            result = describe_target(f, &s, &targets.all[i], &first, &err);
        targets_done(&targets);
        if (result == 0 && first)
            fprintf(stderr, "No resources found in %s namespace.\n", s.namespace_);
    }
    session_close(&s);
    return result < 0 ? session_fail(&err) : EXIT_DONE;
}

static const struct flag describe_flag_table[] = {
    {"selector,l", FLAG_STRING, offsetof(struct describe_flags, selector), NULL, "LABELS",
        "only objects with these labels"},
    COMMON_FLAGS(struct describe_flags, common),
};

const struct command command_describe = {
    .name = "describe",
    .usage = "TYPE [NAME]... | TYPE/NAME...",
    .summary = "show an object with its events",
    .help = "Shows everything about an object that a person may want to read, and the events about "
            "it.\n\n"
            "Examples:\n  skiffctl describe pod web-0\n  skiffctl describe deployment/web",
    .flags = describe_flag_table,
    .flag_count = ARRAY_COUNT(describe_flag_table),
    .config_size = sizeof(struct describe_flags),
    .run = describe_run,
};
