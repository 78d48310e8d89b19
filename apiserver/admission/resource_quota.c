/*
 * ResourceQuota: nothing is created or enlarged beyond what the namespace's quotas allow.
 *
 * What a write adds is charged to status.used of each quota that concerns it, in the same
 * transaction as the write: a quota can't be overrun however many write at once, on however many
 * API servers. Who loses the race computes again. Giving back is the quota controller's, which
 * counts anew. Upstream: apiserver/pkg/admission/plugin/resourcequota.
 */
#include "apiserver/admission/plugin.h"
#include "common/quota.h"

/* Names one quota may have; more can't be told apart by anybody either. */
#define SUMS_MAX 128

struct charge {
    struct write_context *w;
    const cJSON *quota; /* as stored */
    struct quota_sum now[SUMS_MAX], before[SUMS_MAX];
    size_t count;
    cJSON *delta; /* name: what is added */
};

static bool is_plural(const struct write_context *w, const char *plural)
{
    return !*w->resource->group && c_eq(w->resource->plural, plural);
}

/* "deployments.apps", "configmaps": as count/ names them. */
static bool is_counted(const struct write_context *w, const char *name)
{
    const struct resource *r = w->resource;
    const char *what = quota_counted(name);
    size_t n = strlen(r->plural);

    if (!*r->group)
        return c_eq(what, r->plural);
    return strncmp(what, r->plural, n) == 0 && what[n] == '.' && c_eq(what + n + 1, r->group);
}

static void add_use(struct charge *c, struct quota_sum *sums, const cJSON *tree)
{
    const struct write_context *w = c->w;

    if (!tree)
        return;
    if (is_plural(w, "pods"))
        quota_add_pod(sums, c->count, tree, w->now_ns);
    else if (is_plural(w, "services"))
        quota_add_service(sums, c->count, tree);
    else if (is_plural(w, "persistentvolumeclaims"))
        quota_add_claim(sums, c->count, tree);
    for (size_t i = 0; i < c->count; i++)
        if (sums[i].source == QUOTA_OBJECTS && is_counted(w, sums[i].name))
            sums[i].used = quantity_add(sums[i].used, quantity_of_value(1, QUANTITY_DECIMAL_SI));
}

static void set_quantity(cJSON *map, const char *name, struct quantity q)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    quantity_print(q, &text);
    json_set_string(map, name, text.data);
}

/* What the write adds, by the names of the quota's spec.hard; false: nothing. */
static bool compute_delta(struct charge *c)
{
    const struct write_context *w = c->w;
    const cJSON *item, *hard = json_path(c->quota, "spec.hard");
    bool any = false;

    cJSON_ArrayForEach(item, hard)
    {
        if (c->count == SUMS_MAX)
            break;
        c->now[c->count] = c->before[c->count] =
            (struct quota_sum){.name = item->string, .source = quota_source_of(item->string)};
        c->count++;
    }
    add_use(c, c->now, w->tree);
    add_use(c, c->before, w->old);
    for (size_t i = 0; i < c->count; i++) {
        struct quantity more = quantity_sub(c->now[i].used, c->before[i].used);
        if (more.nano <= 0)
            continue;
        set_quantity(c->delta, c->now[i].name, more);
        any = true;
    }
    return any;
}

/* --- refusals --- */

struct missing {
    const char *name; /* of the resource */
    struct strbuf containers;
};

/* Compute resources that a quota limits must be named by every container, or nobody can tell what
 * is used. */
static void find_missing(const cJSON *spec, const char *name, struct strbuf *containers)
{
    static const char *const lists[] = {"containers", "initContainers"};
    bool is_limit = strncmp(name, "limits.", 7) == 0;
    const char *what = is_limit ? name + 7 : strncmp(name, "requests.", 9) == 0 ? name + 9 : name;
    const char *path = is_limit ? "resources.limits" : "resources.requests";
    const cJSON *container;

    if (json_get(json_path(spec, path), what)) /* the pod as a whole says it */
        return;
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        cJSON_ArrayForEach(container, json_get(spec, lists[i]))
        {
            const char *own = json_string(container, "name");
            if (!json_get(json_path(container, path), what))
                strbuf_addf(containers, "%s%s", containers->n ? "," : "", own ? own : "");
        }
    }
}

static int check_named(const struct charge *c, const char *quota, struct error *err)
{
    static const char *const compute[] = {
        "cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"};
    const struct write_context *w = c->w;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (!is_plural(w, "pods") || w->kind != WRITE_CREATE)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(compute); i++) {
        autostrbuf struct strbuf containers = STRBUF_EMPTY;
        if (!json_get(json_path(c->quota, "spec.hard"), compute[i]))
            continue;
        find_missing(json_get(w->tree, "spec"), compute[i], &containers);
        if (containers.n)
            strbuf_addf(&text, "%s%s for: %s", text.n ? "; " : "", compute[i], containers.data);
    }
    if (text.n == 0)
        return 0;
    autofree char *whole = str_format("failed quota: %s: must specify %s", quota, text.data);
    return admission_refuse_text(w, err, whole);
}

static bool read_quantity(const cJSON *map, const char *name, struct quantity *ret)
{
    const char *text = json_string(map, name);
    struct error err = {0};

    *ret = (struct quantity){0};
    return text && quantity_parse(str_of(text), ret, &err) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "cpu=1,memory=2Gi" of those names */
static void print_map(struct strbuf *out, const cJSON *map, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = json_string(map, names[i]);
        strbuf_addf(out, "%s%s=%s", i ? "," : "", names[i], value ? value : "0");
    }
}

/* The quota with its use raised, as a tree; NULL and the refusal when it does not fit. */
static cJSON *raise(const struct charge *c, const char *quota, struct error *err)
{
    const cJSON *hard = json_path(c->quota, "status.hard"),
                *used = json_path(c->quota, "status.used"), *item;
    autojson cJSON *next = cJSON_Duplicate(c->quota, true);
    const char *over[SUMS_MAX], *unknown[SUMS_MAX];
    size_t over_count = 0, unknown_count = 0;

    if (!json_path(next, "status.used"))
        json_set_at(next, "status.used", cJSON_CreateObject());
    cJSON_ArrayForEach(item, c->delta)
    {
        struct quantity more, had, limit;
        read_quantity(c->delta, item->string, &more);
        if (!read_quantity(hard, item->string, &limit)) {
            unknown[unknown_count++] = item->string;
            continue;
        }
        read_quantity(used, item->string, &had);
        had = quantity_add(had, more);
        if (quantity_cmp(had, limit) > 0)
            over[over_count++] = item->string;
        set_quantity(json_path(next, "status.used"), item->string, had);
    }
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (unknown_count) {
        qsort(unknown, unknown_count, sizeof(*unknown), by_name);
        strbuf_addf(&text, "status unknown for quota: %s, resources: ", quota);
        for (size_t i = 0; i < unknown_count; i++)
            strbuf_addf(&text, "%s%s", i ? "," : "", unknown[i]);
    } else if (over_count) {
        qsort(over, over_count, sizeof(*over), by_name);
        strbuf_addf(&text, "exceeded quota: %s, requested: ", quota);
        print_map(&text, c->delta, over, over_count);
        strbuf_addc(&text, ", used: ");
        print_map(&text, used, over, over_count);
        strbuf_addc(&text, ", limited: ");
        print_map(&text, hard, over, over_count);
    }
    if (text.n) {
        admission_refuse_text(c->w, err, text.data);
        return NULL;
    }
    return steal(&next);
}

/* --- one quota --- */

static int charge_quota(
    struct write_context *w, struct object *base, struct extra_writes *extra, struct error *err)
{
    autojson cJSON *quota = object_tree(base);
    const struct resource *r = base->resource;
    autojson cJSON *delta = cJSON_CreateObject();
    struct charge c = {.w = w, .quota = quota, .delta = delta};
    autofree char *name = str_dup(base->name);
    struct object *next;

    if (is_plural(w, "pods") && !quota_scope_matches(json_get(quota, "spec"), w->tree))
        return 0;
    if (!is_plural(w, "pods") &&
        (json_path(quota, "spec.scopes") || json_path(quota, "spec.scopeSelector")))
        return 0;
    if (check_named(&c, name, err) < 0)
        return -(int)err->code;
    if (!compute_delta(&c))
        return 0;
    autojson cJSON *tree = raise(&c, name, err);
    if (!tree)
        return -(int)err->code;
    if (extra->count == ARRAY_COUNT(extra->ops))
        return admission_refuse(w, err, "its namespace has too many quotas");
    schema_normalise(r->schema, tree);
    if (object_new(r, tree, &next, err) < 0)
        return -(int)err->code;
    extra->ops[extra->count++] = (struct write_op){.resource = r,
        .namespace_ = arena_str(w->arena, base->namespace_),
        .name = arena_str(w->arena, base->name),
        .base = object_ref(base),
        .next = next};
    return 0;
}

static int resource_quota(struct write_context *w, struct extra_writes *extra, struct error *err)
{
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    const struct resource *r = api_find_plural(w->server->api, "", "resourcequotas");
    const char *subresource = w->request ? w->request->subresource_name : "";
    struct str after = {0}, ns = str_of(namespace_);
    const struct object *o;
    int result = 0;

    if (!w->tree || !namespace_ || w->kind == WRITE_DELETE || w->kind == WRITE_STATUS ||
        (*subresource && !c_eq(subresource, "resize")))
        return 0;
    struct snapshot *s = snapshot_take(w->cache, r);
    while (result == 0 && (o = snapshot_next(s, ns, ns, after))) {
        struct object *newest = cache_newest(w->cache, r, ns, o->name);
        after = o->name;
        if (newest && !newest->deleting &&
            !(is_plural(w, "resourcequotas") && str_eqc(o->name, admission_name(w))))
            result = charge_quota(w, newest, extra, err);
        object_unref(newest);
    }
    snapshot_free(s);
    return result;
}

const struct admission_plugin admission_resource_quota = {
    .name = "ResourceQuota",
    .charge = resource_quota,
};
