/*
 * Controller "namespace": empties a namespace that is being deleted, then lets it go.
 *
 * Pods go first, and nothing else before the last one is gone, since they may need their Secrets
 * and Services to end well. Then every other namespaced kind that discovery names. What has
 * finalizers is waited for. The five conditions tell how far it is. At the end the finalizer
 * "kubernetes" is taken out through /finalize.
 *
 * It looks again when a pod of the namespace goes, and after a tenth of the time it has taken so
 * far.
 *
 * Upstream: pkg/controller/namespace/deletion.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/controller.h"
#include "controller/discovery.h"

#define AGAIN_MIN_NS (100 * NS_PER_MS)
#define AGAIN_MAX_NS (15 * NS_PER_S)

struct finalizer_count {
    char *name;
    int64_t count;
};

/* One look at a namespace's content. */
struct emptying {
    struct controller *c;
    const char *name;
    int64_t remaining;          /* objects */
    struct strbuf remaining_of; /* "pods. has 2 resource instances, ..." */
    struct finalizer_count *finalizers;
    size_t finalizer_count;
    struct strbuf discovery_failure, failure;
};

static void emptying_init(struct emptying *e, struct controller *c, const char *name)
{
    *e = (struct emptying){.c = c, .name = name};
    strbuf_init(&e->remaining_of, 16 << 10);
    strbuf_init(&e->discovery_failure, 4 << 10);
    strbuf_init(&e->failure, 16 << 10);
}

static void emptying_done(struct emptying *e)
{
    for (size_t i = 0; i < e->finalizer_count; i++)
        free(e->finalizers[i].name);
    free(e->finalizers);
    strbuf_done(&e->remaining_of);
    strbuf_done(&e->discovery_failure);
    strbuf_done(&e->failure);
}

static void count_finalizer(struct emptying *e, const char *name)
{
    for (size_t i = 0; i < e->finalizer_count; i++)
        if (!strcmp(e->finalizers[i].name, name)) {
            e->finalizers[i].count++;
            return;
        }
    e->finalizers = xrealloc(e->finalizers, (e->finalizer_count + 1) * sizeof(*e->finalizers));
    e->finalizers[e->finalizer_count++] = (struct finalizer_count){xstrdup(name), 1};
}

static void add_failure(
    struct emptying *e, const struct resource *resource, const struct error *err)
{
    if (e->failure.n)
        strbuf_addc(&e->failure, ", ");
    strbuf_addf(&e->failure, "%s: %s", resource->plural, err->text);
}

/* What is left of a kind, into the counts. */
static int64_t count_rest(struct emptying *e, const struct resource *resource, const cJSON *items)
{
    const char *slash = strchr(resource->group_version, '/');
    const cJSON *item, *finalizer;
    int64_t n = 0;

    cJSON_ArrayForEach(item, items)
    {
        n++;
        cJSON_ArrayForEach(
            finalizer, json_path(item, "metadata.finalizers")) if (cJSON_IsString(finalizer))
            count_finalizer(e, finalizer->valuestring);
    }
    if (n == 0)
        return 0;
    e->remaining += n;
    strbuf_addf(&e->remaining_of, "%s%s.%.*s has %lld resource instances",
        e->remaining_of.n ? ", " : "", resource->plural,
        slash ? (int)(slash - resource->group_version) : 0, resource->group_version, (long long)n);
    return n;
}

static int delete_each(
    struct emptying *e, const struct resource *resource, const cJSON *items, struct error *err)
{
    const cJSON *item;
    int result = 0;

    cJSON_ArrayForEach(item, items)
    {
        struct api_ref ref = {.group_version = resource->group_version,
            .plural = resource->plural,
            .namespace_ = e->name,
            .name = json_string_at(item, "metadata.name")};
        struct api_delete_options options = {.propagation = "Background", .grace_seconds = -1};
        int r = ref.name ? api_delete(manager_client(e->c->m), &ref, &options, NULL, err) : 0;
        if (r < 0 && r != -ERR_NOT_FOUND)
            result = r;
    }
    return result;
}

static int delete_collection(struct emptying *e, const struct resource *resource, struct error *err)
{
    struct api_ref ref = {.group_version = resource->group_version,
        .plural = resource->plural,
        .namespace_ = e->name};
    autojson cJSON *options = json_make("{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
                                        "\"propagationPolicy\":\"Background\"}");
    autojson cJSON *answer = NULL;

    return api_call(manager_client(e->c->m), "DELETE", &ref, NULL, options, &answer, err);
}

/* Deletes all objects of one kind; the number left right after. A failure is noted. */
static int64_t empty_kind(struct emptying *e, const struct resource *resource)
{
    autojson cJSON *list = NULL, *rest = NULL;
    struct error err;
    int r = discovery_list_metadata(manager_client(e->c->m), resource, e->name, &list, &err);

    if (r == -ERR_NOT_FOUND || r == -ERR_METHOD_NOT_ALLOWED)
        return 0;
    if (r < 0) {
        add_failure(e, resource, &err);
        return 1;
    }
    cJSON *items = json_get(list, "items");
    if (!items || !items->child)
        return 0;
    r = resource->verbs & VERB_DELETE_COLLECTION ? delete_collection(e, resource, &err)
                                                 : delete_each(e, resource, items, &err);
    if (r == -ERR_METHOD_NOT_ALLOWED || r == -ERR_NOT_FOUND)
        r = delete_each(e, resource, items, &err);
    if (r < 0)
        add_failure(e, resource, &err);
    r = discovery_list_metadata(manager_client(e->c->m), resource, e->name, &rest, &err);
    if (r < 0 && r != -ERR_NOT_FOUND)
        add_failure(e, resource, &err);
    return r < 0 ? r != -ERR_NOT_FOUND : count_rest(e, resource, json_get(rest, "items"));
}

static bool is_content(const struct resource *r)
{
    return r->namespaced && (r->verbs & (VERB_DELETE | VERB_DELETE_COLLECTION)) &&
           (r->verbs & VERB_LIST);
}

static void empty(struct emptying *e)
{
    struct discovery d = {0};
    struct error err;

    if (discovery_load(manager_client(e->c->m), &d, &err) < 0) {
        strbuf_addf(
            &e->discovery_failure, "Discovery failed for some groups, 1 failing: %s", err.text);
        return;
    }
    if (d.partial)
        strbuf_addc(&e->discovery_failure, "Discovery failed for some groups");
    const struct resource *pods = discovery_find(&d, "v1", "pods");
    if (!pods || empty_kind(e, pods) == 0)
        for (size_t i = 0; i < d.count; i++)
            if (&d.resources[i] != pods && is_content(&d.resources[i]))
                empty_kind(e, &d.resources[i]);
    discovery_done(&d);
}

/* --- conditions --- */

static bool set(cJSON *conditions, const char *type, bool bad, const char *reason_bad,
    const char *message_bad, const char *reason_good, const char *message_good, int64_t now_ns)
{
    return conditions_set(conditions, type, bad ? "True" : "False", bad ? reason_bad : reason_good,
        bad ? message_bad : message_good, now_ns, 0);
}

static void print_finalizers(const struct emptying *e, struct strbuf *out)
{
    strbuf_addc(out, "Some content in the namespace has finalizers remaining: ");
    for (size_t i = 0; i < e->finalizer_count; i++)
        strbuf_addf(out, "%s%s in %lld resource instances", i ? ", " : "", e->finalizers[i].name,
            (long long)e->finalizers[i].count);
}

static bool fill_conditions(const struct emptying *e, cJSON *conditions)
{
    autostrbuf struct strbuf remain, finalizers;
    int64_t now = env_wall_ns(manager_env(e->c->m));
    bool changed = false;

    strbuf_init(&remain, 0);
    strbuf_init(&finalizers, 0);
    strbuf_addf(&remain, "Some resources are remaining: %s", e->remaining_of.data);
    print_finalizers(e, &finalizers);
    changed |= set(conditions, "NamespaceDeletionDiscoveryFailure", e->discovery_failure.n > 0,
        "DiscoveryFailed", e->discovery_failure.data, "ResourcesDiscovered",
        "All resources successfully discovered", now);
    changed |= set(conditions, "NamespaceDeletionGroupVersionParsingFailure", false, "", "",
        "ParsedGroupVersions", "All legacy kube types successfully parsed", now);
    changed |= set(conditions, "NamespaceDeletionContentFailure", e->failure.n > 0,
        "ContentDeletionFailed", e->failure.data, "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization", now);
    changed |= set(conditions, "NamespaceContentRemaining", e->remaining > 0, "SomeResourcesRemain",
        remain.data, "ContentRemoved", "All content successfully removed", now);
    changed |= set(conditions, "NamespaceFinalizersRemaining", e->finalizer_count > 0,
        "SomeFinalizersRemain", finalizers.data, "ContentHasNoFinalizers",
        "All content-preserving finalizers finished", now);
    return changed;
}

static int write_conditions(struct emptying *e, const struct namespace *ns, struct error *err)
{
    cJSON *conditions = conditions_json(&ns->conditions);

    if (!fill_conditions(e, conditions) && !strcmp(ns->phase, "Terminating")) {
        cJSON_Delete(conditions);
        return 0;
    }
    cJSON *patch = cJSON_CreateObject();
    json_set_at(patch, "status.conditions", conditions);
    json_set_string_at(patch, "status.phase", "Terminating");
    return object_patch(e->c->m, KIND_NAMESPACE, &ns->meta, "status", patch, err);
}

/* --- the end --- */

static int finalize(struct controller *c, const struct namespace *ns, struct error *err)
{
    struct api_ref ref = object_api_ref(KIND_NAMESPACE, &ns->meta, NULL);
    autojson cJSON *live = NULL, *result = NULL;
    cJSON *kept = cJSON_CreateArray(), *item;

    if (api_get(manager_client(c->m), &ref, &live, err) < 0 ||
        !c_eq(json_string_at(live, "metadata.uid"), ns->meta.uid)) {
        cJSON_Delete(kept);
        return live ? 0 : -(int)err->code;
    }
    cJSON_ArrayForEach(
        item, json_path(live, "spec.finalizers")) if (cJSON_IsString(item) &&
                                                      strcmp(item->valuestring, "kubernetes"))
        cJSON_AddItemToArray(kept, cJSON_CreateString(item->valuestring));
    json_set_at(live, "spec.finalizers", kept);
    ref.subresource = "finalize";
    return api_update(manager_client(c->m), &ref, live, &result, err);
}

static bool has_finalizer(const struct namespace *ns)
{
    for (size_t i = 0; i < ns->finalizers.count; i++)
        if (!strcmp(ns->finalizers.strings[i], "kubernetes"))
            return true;
    return false;
}

static int64_t retry_in(struct controller *c, const struct namespace *ns)
{
    int64_t wait = (env_wall_ns(manager_env(c->m)) - ns->meta.deletion_ns) / 10;

    if (wait < AGAIN_MIN_NS)
        return AGAIN_MIN_NS;
    return wait > AGAIN_MAX_NS ? AGAIN_MAX_NS : wait;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct namespace *ns = kind_get(c->m, KIND_NAMESPACE, "", key);
    struct emptying e;
    int r;

    if (!ns || !ns->meta.deletion_ns || !has_finalizer(ns))
        return 0;
    emptying_init(&e, c, key);
    empty(&e);
    bool done = e.remaining == 0 && !e.failure.n && !e.discovery_failure.n;
    r = write_conditions(&e, ns, err);
    emptying_done(&e);
    if (r == 0 && done)
        r = finalize(c, ns, err);
    else if (r == 0)
        *ret_again_ns = retry_in(c, ns);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static void on_namespace(struct controller *c, const void *old_object, const void *new_object)
{
    const struct namespace *ns = new_object;

    if (ns && ns->meta.deletion_ns)
        controller_add(c, &ns->meta);
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *pod = old_object;

    if (new_object)
        return;
    auto_object const struct namespace *ns = kind_get(c->m, KIND_NAMESPACE, "", pod->namespace_);
    auto_objects struct projected_array left = {0};
    if (!ns || !ns->meta.deletion_ns)
        return;
    left = kind_list(c->m, KIND_POD, pod->namespace_);
    if (left.count == 0)
        controller_add(c, &ns->meta);
}

const struct controller_info controller_namespace = {
    .name = "namespace-controller",
    .component = "namespace-controller",
    .workers = 2,
    .watch_count = 2,
    .watches = {{KIND_NAMESPACE, on_namespace}, {KIND_POD, on_pod}},
    .reconcile = reconcile,
};
