/*
 * Cells that many kinds share: age, counts, replicas, templates, selectors, label lists.
 */
#include "apiserver/schema/cell.h"
#include "common/selector.h"
#include "common/time.h"

cJSON *cell_text(const char *text)
{
    return cJSON_CreateString(text);
}

cJSON *cell_text_or(const char *text, const char *otherwise)
{
    return cJSON_CreateString(text && *text ? text : otherwise);
}

cJSON *cell_number(int64_t n)
{
    return cJSON_CreateNumber((double)n);
}

cJSON *cell_buffer(struct strbuf *b)
{
    cJSON *cell = cJSON_CreateString(b->n ? b->data : "");
    strbuf_done(b);
    return cell;
}

void print_age(const char *time, int64_t now_ns, struct strbuf *out)
{
    struct error err;
    int64_t ns;
    if (!time || !*time || time_parse(str_of(time), &ns, &err) < 0)
        strbuf_addc(out, "<unknown>");
    else
        duration_print_human(now_ns > ns ? now_ns - ns : 0, out);
}

cJSON *cell_age_of(const char *time, int64_t now_ns)
{
    struct strbuf b;
    strbuf_init(&b, 0);
    print_age(time, now_ns, &b);
    return cell_buffer(&b);
}

const cJSON *first_of(const cJSON *object, const char *path)
{
    const cJSON *at = json_path(object, path);
    return at ? at->child : NULL;
}

int64_t count_of(const cJSON *object, const char *path)
{
    int64_t n = 0;
    for (const cJSON *e = first_of(object, path); e; e = e->next)
        n++;
    return n;
}

cJSON *cell_age(const cJSON *o, int64_t now_ns)
{
    return cell_age_of(json_string_at(o, "metadata.creationTimestamp"), now_ns);
}

cJSON *cell_data_count(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(count_of(o, "data") + count_of(o, "binaryData"));
}

cJSON *cell_secret_count(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(count_of(o, "data"));
}

cJSON *cell_secrets_of_account(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(count_of(o, "secrets"));
}

cJSON *cell_spec_replicas(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(json_int64_at(o, "spec.replicas", 0));
}

cJSON *cell_status_replicas(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(json_int64_at(o, "status.replicas", 0));
}

cJSON *cell_ready_replicas(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(json_int64_at(o, "status.readyReplicas", 0));
}

cJSON *cell_ready_of_replicas(const cJSON *o, int64_t now_ns)
{
    char text[48];
    (void)now_ns;
    snprintf(text, sizeof(text), "%lld/%lld",
        (long long)json_int64_at(o, "status.readyReplicas", 0),
        (long long)json_int64_at(o, "spec.replicas", 0));
    return cell_text(text);
}

/* One member of every container, joined by commas. */
static cJSON *containers(const cJSON *o, const char *path, const char *member)
{
    struct strbuf b;
    strbuf_init(&b, 0);
    for (const cJSON *c = first_of(o, path); c; c = c->next)
        strbuf_addf(&b, "%s%s", b.n ? "," : "", value_string(json_get(c, member)));
    return cell_buffer(&b);
}

cJSON *cell_template_containers(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    const char *path =
        json_get(o, "template") ? "template.spec.containers" : "spec.template.spec.containers";
    return containers(o, path, "name");
}

cJSON *cell_template_images(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    const char *path =
        json_get(o, "template") ? "template.spec.containers" : "spec.template.spec.containers";
    return containers(o, path, "image");
}

cJSON *cell_job_template_containers(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return containers(o, "spec.jobTemplate.spec.template.spec.containers", "name");
}

cJSON *cell_job_template_images(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return containers(o, "spec.jobTemplate.spec.template.spec.containers", "image");
}

/* "a=b,c=d" sorted by key; otherwise when there is none. */
static cJSON *labels(const cJSON *map, const char *otherwise)
{
    struct strbuf b;
    if (!map || !map->child)
        return cell_text(otherwise);
    autojson cJSON *sorted = cJSON_Duplicate(map, true);
    json_sort(sorted);
    strbuf_init(&b, 0);
    for (const cJSON *m = sorted->child; m; m = m->next)
        strbuf_addf(&b, "%s%s=%s", b.n ? "," : "", m->string, value_string(m));
    return cell_buffer(&b);
}

cJSON *cell_template_labels(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return labels(json_path(o, "template.metadata.labels"), "<none>");
}

cJSON *cell_template_node_selector(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return labels(json_path(o, "spec.template.spec.nodeSelector"), "<none>");
}

cJSON *cell_map_selector(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return labels(json_path(o, "spec.selector"), "<none>");
}

static cJSON *selector(const cJSON *label_selector)
{
    struct error err;
    struct selector *s;
    struct strbuf b;
    if (!label_selector || selector_from_json(label_selector, &s, &err) < 0)
        return cell_text("<none>");
    strbuf_init(&b, 0);
    selector_print(s, &b);
    selector_free(s);
    if (b.n == 0)
        strbuf_addc(&b, "<none>");
    return cell_buffer(&b);
}

cJSON *cell_label_selector(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return selector(json_path(o, "spec.selector"));
}

cJSON *cell_job_template_selector(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return selector(json_path(o, "spec.jobTemplate.spec.selector"));
}

cJSON *cell_pod_selector(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return selector(json_path(o, "spec.podSelector"));
}

cJSON *cell_controller_of(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    for (const cJSON *r = first_of(o, "metadata.ownerReferences"); r; r = r->next) {
        if (!json_bool(r, "controller", false))
            continue;
        struct strbuf b;
        strbuf_init(&b, 0);
        const char *kind = value_string(json_get(r, "kind")),
                   *api = value_string(json_get(r, "apiVersion"));
        const char *slash = strchr(api, '/');
        for (; *kind; kind++)
            strbuf_add_char(&b, *kind >= 'A' && *kind <= 'Z' ? (char)(*kind - 'A' + 'a') : *kind);
        if (slash)
            strbuf_addf(&b, ".%.*s", (int)(slash - api), api);
        strbuf_addf(&b, "/%s", value_string(json_get(r, "name")));
        return cell_buffer(&b);
    }
    return cell_text("<none>");
}

cJSON *cell_revision(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(json_int64_at(o, "revision", 0));
}
