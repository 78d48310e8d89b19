/*
 * Controller "resourcequota": what a namespace uses of what its quotas allow.
 *
 * reconcile counts live: one list a kind that the quota names, pods whole, most others as metadata.
 * Pods, Services and claims are watched anyway; of further kinds that a quota names the controller
 * watches the metadata, from the first quota that names them on. A namespace's changes are
 * gathered for a moment, the longer the more pods it has. Above the limit nothing is taken away:
 * the API server refuses more.
 *
 * Upstream: pkg/controller/resourcequota.
 */
#include "common/time.h"
#include "controller/discovery.h"
#include "controller/pods.h"
#include "common/quota.h"
#include "controller/status.h"

#define GATHER_NS (50 * NS_PER_MS)
#define GATHER_MAX_NS (5 * NS_PER_S)
#define MONITORS_MAX 64
#define RELOAD_NS (10 * NS_PER_S)

/* A kind that is watched for quotas alone. */
struct monitor {
    struct controller *c;
    char *name; /* "configmaps", "widgets.example.com" */
    struct informer *informer;
};

struct state {
    struct lock lock; /* guards all below */
    struct discovery discovery;
    int64_t loaded_ns; /* 0: never */
    struct monitor *monitors[MONITORS_MAX];
    size_t monitor_count;
    bool stopping;
};

static const struct projection metadata_projection = {
    .size = sizeof(struct object_meta), .no_annotations = true};

/* --- waking up --- */

static void add_namespace(struct controller *c, const char *namespace_)
{
    auto_objects struct projected_array quotas = kind_list(c->m, KIND_QUOTA, namespace_);

    if (quotas.count == 0)
        return;
    int64_t delay =
        GATHER_NS + (int64_t)informer_count(manager_informer(c->m, KIND_POD)) * NS_PER_MS / 4;
    for (size_t i = 0; i < quotas.count; i++)
        controller_add_after(c, quotas.objects[i], delay < GATHER_MAX_NS ? delay : GATHER_MAX_NS);
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *old = old_object, *now = new_object;

    if (!old || !now || pod_is_terminal(old) != pod_is_terminal(now) ||
        old->meta.generation != now->meta.generation)
        add_namespace(c, now ? now->meta.namespace_ : old->meta.namespace_);
}

/* What may change a Service's or a claim's use is in its spec. */
static void on_spec(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *meta = new_object ? new_object : old_object;
    add_namespace(c, meta->namespace_);
}

static void on_monitored(void *arg, const void *old_object, const void *new_object)
{
    struct monitor *monitor = arg;
    const struct object_meta *meta = new_object ? new_object : old_object;

    if (!old_object || !new_object)
        add_namespace(monitor->c, meta->namespace_);
}

/* --- kinds that only quotas are interested in --- */

/* "deployments.apps" by its parts. */
static bool is_named(const struct resource *r, const char *name)
{
    size_t n = strlen(r->plural);
    const char *slash = strchr(r->group_version, '/');
    size_t group = slash ? (size_t)(slash - r->group_version) : 0;

    if (!r->namespaced || strncmp(name, r->plural, n) != 0)
        return false;
    if (!name[n])
        return group == 0;
    return name[n] == '.' && strlen(name + n + 1) == group &&
           !strncmp(name + n + 1, r->group_version, group);
}

static const struct resource *find(struct state *s, const char *name)
{
    for (size_t i = 0; i < s->discovery.count; i++)
        if (is_named(&s->discovery.resources[i], name))
            return &s->discovery.resources[i];
    return NULL;
}

static void reload(struct controller *c)
{
    struct state *s = c->state;
    struct discovery fresh = {0};
    struct error err;
    int64_t now = env_now_ns(manager_env(c->m));

    if ((s->loaded_ns && now - s->loaded_ns < RELOAD_NS) ||
        discovery_load(manager_client(c->m), &fresh, &err) < 0)
        return;
    discovery_done(&s->discovery);
    s->discovery = fresh;
    s->loaded_ns = now;
}

static bool is_monitored(const struct state *s, const char *name)
{
    for (size_t i = 0; i < s->monitor_count; i++)
        if (!strcmp(s->monitors[i]->name, name))
            return true;
    return false;
}

static void monitor(struct controller *c, const struct resource *r, const char *name)
{
    struct state *s = c->state;

    if (s->stopping || is_monitored(s, name) || s->monitor_count == MONITORS_MAX)
        return;
    struct monitor *m = xcalloc(1, sizeof(*m));
    m->c = c;
    m->name = xstrdup(name);
    m->informer = informer_new(
        manager_client(c->m), &(struct informer_config){.group_version = r->group_version,
                                  .plural = r->plural,
                                  .metadata_only = true,
                                  .projection = &metadata_projection,
                                  .handler = on_monitored,
                                  .arg = m});
    s->monitors[s->monitor_count++] = m;
    informer_start(m->informer);
}

/* The resource of a counted name, watched from now on. Its strings are the caller's. */
static bool resource_of(struct controller *c, const char *name, struct resource *ret)
{
    struct state *s = c->state;
    struct env *env = manager_env(c->m);

    env_lock(env, &s->lock);
    const struct resource *r = find(s, name);
    if (!r) {
        reload(c);
        r = find(s, name);
    }
    if (r) {
        monitor(c, r, name);
        *ret = *r;
        ret->group_version = xstrdup(r->group_version);
        ret->plural = xstrdup(r->plural);
        ret->kind = NULL;
    }
    env_unlock(env, &s->lock);
    return r != NULL;
}

/* --- counting --- */

static bool has_source(const struct quota_sum *sums, size_t count, enum quota_source source)
{
    for (size_t i = 0; i < count; i++)
        if (sums[i].source == source)
            return true;
    return false;
}

static int count_pods(struct controller *c, const struct quota *quota, const cJSON *spec,
    struct quota_sum *sums, size_t count, struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = "pods", .namespace_ = quota->meta.namespace_};
    int64_t now = env_wall_ns(manager_env(c->m));
    autojson cJSON *list = NULL;
    const cJSON *pod;

    if (api_list(manager_client(c->m), &ref, NULL, &list, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(pod, json_get(list, "items"))
    {
        if (quota_scope_matches(spec, pod))
            quota_add_pod(sums, count, pod, now);
    }
    return 0;
}

static int count_kind(struct controller *c, const struct quota *quota, const char *plural,
    void (*add)(struct quota_sum *, size_t, const cJSON *), struct quota_sum *sums, size_t count,
    struct error *err)
{
    struct api_ref ref = {
        .group_version = "v1", .plural = plural, .namespace_ = quota->meta.namespace_};
    autojson cJSON *list = NULL;
    const cJSON *item;

    if (api_list(manager_client(c->m), &ref, NULL, &list, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(item, json_get(list, "items")) add(sums, count, item);
    return 0;
}

static int count_objects(
    struct controller *c, const struct quota *quota, struct quota_sum *sum, struct error *err)
{
    struct resource r;
    autojson cJSON *list = NULL;

    sum->unknown = !resource_of(c, quota_counted(sum->name), &r);
    if (sum->unknown)
        return 0;
    int result =
        discovery_list_metadata(manager_client(c->m), &r, quota->meta.namespace_, &list, err);
    free(r.group_version);
    free(r.plural);
    if (result == 0)
        sum->used =
            quantity_of_value(cJSON_GetArraySize(json_get(list, "items")), QUANTITY_DECIMAL_SI);
    return result;
}

static int count_all(struct controller *c, const struct quota *quota, const cJSON *spec,
    struct quota_sum *sums, size_t count, struct error *err)
{
    if (has_source(sums, count, QUOTA_PODS) && count_pods(c, quota, spec, sums, count, err) < 0)
        return -(int)err->code;
    if (has_source(sums, count, QUOTA_SERVICES) &&
        count_kind(c, quota, "services", quota_add_service, sums, count, err) < 0)
        return -(int)err->code;
    if (has_source(sums, count, QUOTA_CLAIMS) &&
        count_kind(c, quota, "persistentvolumeclaims", quota_add_claim, sums, count, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < count; i++)
        if (sums[i].source == QUOTA_OBJECTS && count_objects(c, quota, &sums[i], err) < 0)
            return -(int)err->code;
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct quota *quota = kind_get_key(c->m, KIND_QUOTA, key);
    if (!quota || quota->meta.deletion_ns)
        return 0;
    autojson cJSON *spec = json_of_text(quota->spec), *status = cJSON_CreateObject();
    const cJSON *hard = json_get(spec, "hard"), *item;
    size_t count = 0;
    autofree struct quota_sum *sums = xcalloc((size_t)cJSON_GetArraySize(hard) + 1, sizeof(*sums));

    cJSON_ArrayForEach(item, hard)
    {
        sums[count].name = item->string;
        sums[count++].source = quota_source_of(item->string);
    }
    if (count_all(c, quota, spec, sums, count, err) < 0)
        return -(int)err->code;
    if (hard)
        json_set(status, "hard", cJSON_Duplicate(hard, true));
    json_set(status, "used", cJSON_CreateObject());
    for (size_t i = 0; i < count; i++) {
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        if (sums[i].unknown)
            continue;
        quantity_print(sums[i].used, &text);
        json_set_string(json_get(status, "used"), sums[i].name, text.data);
    }
    int r = object_status_write(c->m, KIND_QUOTA, &quota->meta, quota->status, status, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* --- life --- */

static int start(struct controller *c, struct error *err)
{
    struct state *s = xcalloc(1, sizeof(*s));

    env_lock_init(&s->lock);
    c->state = s;
    return 0;
}

static void halt(struct controller *c)
{
    struct state *s = c->state;
    struct env *env = manager_env(c->m);

    env_lock(env, &s->lock);
    s->stopping = true;
    env_unlock(env, &s->lock);
    for (size_t i = 0; i < s->monitor_count; i++)
        informer_stop(s->monitors[i]->informer);
}

static void stop(struct controller *c)
{
    struct state *s = c->state;

    for (size_t i = 0; i < s->monitor_count; i++) {
        informer_free(s->monitors[i]->informer);
        free(s->monitors[i]->name);
        free(s->monitors[i]);
    }
    discovery_done(&s->discovery);
    env_lock_done(&s->lock);
    free(s);
}

const struct controller_info controller_resourcequota = {
    .name = "resourcequota-controller",
    .component = "resourcequota-controller",
    .workers = 2,
    .watch_count = 4,
    .watches = {{KIND_QUOTA, controller_on_object}, {KIND_POD, on_pod}, {KIND_SERVICE, on_spec},
        {KIND_CLAIM, on_spec}},
    .reconcile = reconcile,
    .start = start,
    .halt = halt,
    .stop = stop,
};
