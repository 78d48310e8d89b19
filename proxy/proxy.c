/*
 * Proxy: informers, the set of dirty Services, and the loop. See proxy.h.
 *
 * Lock: p->lock guards the dirty set and flags; the syncer is the loop's own.
 */
#include "proxy/proxy.h"

#include "common/hash.h"
#include "common/informer.h"
#include "common/log.h"
#include "common/time.h"
#include "proxy/syncer.h"

/* How often the table is looked for: somebody may run "nft flush ruleset". */
#define CHECK_NS (10 * NS_PER_S)
#define RETRY_FIRST_NS (100 * NS_PER_MS)
#define RETRY_MAX_NS (30 * NS_PER_S)

static const struct metric_info sync_seconds = {"kubeproxy_sync_proxy_rules_duration_seconds",
    METRIC_HISTOGRAM, "Time to bring a change into effect.", {NULL},
    (const double[]){0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 0}};
static const struct metric_info sync_failures = {
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", METRIC_COUNTER,
    "Changes that the kernel refused.", {NULL}};
static const struct metric_info elements = {"kubeproxy_sync_proxy_rules_elements", METRIC_GAUGE,
    "Elements in the table's maps and sets.", {NULL}};

struct dirty {
    char *key; /* namespace/name of a Service */
    UT_hash_handle hh;
};

struct proxy {
    struct env *env;
    struct metrics *metrics;
    struct informer *services, *slices;
    struct task *task;
    struct lock lock;
    struct cond wake;
    struct dirty *dirty;
    bool services_synced, slices_synced, stop;
    bool in_effect; /* the last apply succeeded */
    struct syncer *syncer;
};

static void mark_dirty(struct proxy *p, const char *namespace_, const char *name)
{
    struct dirty *d;
    char *key = str_format("%s/%s", namespace_, name);

    env_lock(p->env, &p->lock);
    HASH_FIND_STR(p->dirty, key, d);
    if (!d) {
        d = xcalloc(1, sizeof(*d));
        d->key = steal(&key);
        HASH_ADD_KEYPTR(hh, p->dirty, d->key, strlen(d->key), d);
        env_signal(p->env, &p->wake);
    }
    env_unlock(p->env, &p->lock);
    free(key);
}

static void on_service(void *arg, const void *old_object, const void *new_object)
{
    const struct object_meta *meta = new_object ? new_object : old_object;

    mark_dirty(arg, meta->namespace_, meta->name);
}

static void on_slice(void *arg, const void *old_object, const void *new_object)
{
    const struct object_meta *both[] = {old_object, new_object};

    for (size_t i = 0; i < 2; i++) {
        const char *service = both[i] ? string_map_get(&both[i]->labels, SERVICE_NAME_LABEL) : NULL;
        if (service)
            mark_dirty(arg, both[i]->namespace_, service);
    }
}

static void slice_keys(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct object_meta *meta = object;
    const char *service = string_map_get(&meta->labels, SERVICE_NAME_LABEL);

    if (!service)
        return;
    autofree char *key = str_format("%s/%s", meta->namespace_, service);
    emit(arg, key);
}

static void set_flag(struct proxy *p, bool *flag)
{
    env_lock(p->env, &p->lock);
    *flag = true;
    env_signal(p->env, &p->wake);
    env_unlock(p->env, &p->lock);
}

static void on_services_synced(void *arg)
{
    struct proxy *p = arg;

    set_flag(p, &p->services_synced);
}

static void on_slices_synced(void *arg)
{
    struct proxy *p = arg;

    set_flag(p, &p->slices_synced);
}

/* Waits for work until the deadline; takes the dirty set. False: stop. */
static bool take_dirty(struct proxy *p, int64_t deadline_ns, struct dirty **ret)
{
    env_lock(p->env, &p->lock);
    while (!p->stop && (!p->dirty || !p->services_synced || !p->slices_synced))
        if (!env_wait_until(p->env, &p->wake, &p->lock, deadline_ns))
            break;
    bool ready = p->services_synced && p->slices_synced;
    *ret = ready ? steal(&p->dirty) : NULL;
    bool go_on = !p->stop;
    env_unlock(p->env, &p->lock);
    return go_on;
}

static void compile_one(struct proxy *p, const char *key)
{
    const char *slash = strchr(key, '/');
    autofree char *namespace_ = str_dup(str_range(key, (size_t)(slash - key)));
    const struct service *service = informer_get(p->services, namespace_, slash + 1);
    struct projected_array slices = informer_by_index(p->slices, "service", key);

    syncer_set(p->syncer, key, service, (const struct endpoint_slice *const *)slices.objects,
        slices.count);
    projected_array_done(&slices);
    projected_unref(service);
}

static void set_in_effect(struct proxy *p, bool in_effect)
{
    env_lock(p->env, &p->lock);
    p->in_effect = in_effect;
    env_unlock(p->env, &p->lock);
}

static bool apply(struct proxy *p)
{
    int64_t start_ns = env_now_ns(p->env);
    size_t changes;
    struct error err;

    if (syncer_apply(p->syncer, &changes, &err) < 0) {
        log_error("can't change the ruleset, retrying", "error", "%s", err.text, NULL);
        metric_add(p->metrics, &sync_failures, 1);
        set_in_effect(p, false);
        return false;
    }
    if (changes) {
        int64_t took_ns = env_now_ns(p->env) - start_ns;
        metric_observe(p->metrics, &sync_seconds, (double)took_ns / 1e9);
        metric_set(p->metrics, &elements, (double)rule_table_count(p->syncer->table));
        log_debug("ruleset changed", "elements", "%zu", changes, "took_us", "%lld",
            (long long)(took_ns / NS_PER_US), NULL);
    }
    set_in_effect(p, true);
    return true;
}

static void compile_all(struct proxy *p, struct dirty *dirty)
{
    struct dirty *d, *next;

    HASH_ITER(hh, dirty, d, next)
    {
        HASH_DEL(dirty, d);
        compile_one(p, d->key);
        free(d->key);
        free(d);
    }
}

static bool both_synced(struct proxy *p)
{
    env_lock(p->env, &p->lock);
    bool synced = p->services_synced && p->slices_synced;
    env_unlock(p->env, &p->lock);
    return synced;
}

static void sync_loop(void *arg)
{
    struct proxy *p = arg;
    struct dirty *dirty;
    int64_t deadline_ns = ENV_FOREVER, retry_ns = RETRY_FIRST_NS;

    while (take_dirty(p, deadline_ns, &dirty)) {
        bool idle = !dirty;
        compile_all(p, dirty);
        if (!both_synced(p))
            continue;
        if (idle && !syncer_check(p->syncer))
            log_warning("the nftables table is gone, making it anew", NULL);
        if (apply(p)) {
            retry_ns = RETRY_FIRST_NS;
            deadline_ns = env_now_ns(p->env) + CHECK_NS;
        } else {
            deadline_ns = env_now_ns(p->env) + retry_ns;
            retry_ns = retry_ns * 2 < RETRY_MAX_NS ? retry_ns * 2 : RETRY_MAX_NS;
        }
    }
    compile_all(p, dirty);
}

struct proxy *proxy_new(struct api_client *client, struct metrics *metrics,
    struct ruleset *take_ruleset, const char *node)
{
    static const struct informer_index by_service = {"service", slice_keys};
    struct proxy *p = xcalloc(1, sizeof(*p));

    p->env = api_client_env(client);
    p->metrics = metrics;
    env_lock_init(&p->lock);
    env_cond_init(&p->wake);
    p->syncer = syncer_new(take_ruleset, node);
    p->services = informer_new(client, &(struct informer_config){
                                           .group_version = "v1",
                                           .plural = "services",
                                           .projection = &service_projection,
                                           .handler = on_service,
                                           .on_synced = on_services_synced,
                                           .arg = p,
                                       });
    p->slices = informer_new(client, &(struct informer_config){
                                         .group_version = "discovery.k8s.io/v1",
                                         .plural = "endpointslices",
                                         .label_selector = "!service.kubernetes.io/headless",
                                         .projection = &endpoint_slice_projection,
                                         .handler = on_slice,
                                         .on_synced = on_slices_synced,
                                         .arg = p,
                                         .indexes = &by_service,
                                         .index_count = 1,
                                     });
    return p;
}

void proxy_start(struct proxy *p)
{
    p->task = env_spawn(p->env, "proxy", sync_loop, p);
    informer_start(p->services);
    informer_start(p->slices);
}

bool proxy_synced(struct proxy *p)
{
    env_lock(p->env, &p->lock);
    bool synced = p->in_effect;
    env_unlock(p->env, &p->lock);
    return synced;
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    informer_free(p->services);
    informer_free(p->slices);
    env_lock(p->env, &p->lock);
    p->stop = true;
    env_signal(p->env, &p->wake);
    env_unlock(p->env, &p->lock);
    if (p->task)
        env_join(p->env, p->task);
    syncer_free(p->syncer);
    struct dirty *d, *next;
    HASH_ITER(hh, p->dirty, d, next)
    {
        HASH_DEL(p->dirty, d);
        free(d->key);
        free(d);
    }
    env_cond_done(&p->wake);
    env_lock_done(&p->lock);
    free(p);
}
