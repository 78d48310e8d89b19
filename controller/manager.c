/*
 * The controller manager: see manager.h. Which informers run follows from which controllers are on,
 * and which kinds the server offers: a controller one of whose kinds is missing stays off, with a
 * line in the log.
 *
 * Invariants: every queue exists before the first informer starts; workers start after all first
 * lists, so that no reconcile decides on half a picture. Freed in reverse: workers, informers,
 * states.
 */
#include "controller/manager.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "common/log.h"
#include "common/time.h"
#include "controller/controller.h"
#include "controller/discovery.h"

#define LISTENERS_MAX 40
#define WAIT_NS (10 * NS_PER_S)
#define BACKOFF_MS_MAX 60000

struct listener {
    struct controller *controller;
    controller_event_fn *on_event;
    controller_kind_event_fn *on_kind_event; /* in its place */
};

struct kind_cache {
    struct manager *m;
    struct informer *informer; /* NULL: nobody needs it */
    struct listener listeners[LISTENERS_MAX];
    size_t listener_count;
    atomic_int waiters;
    struct cond changed; /* with the manager's lock; signalled when waiters > 0 */
};

struct manager {
    struct env *env;
    struct api_client *client;
    struct manager_config config;
    struct events *events;
    struct lock lock;
    struct kind_cache caches[KIND_COUNT];
    struct controller *controllers;
    size_t controller_count;
    atomic_bool stopping, ready;
};

static informer_handler_fn on_change;

/* Whether --controllers has it: "-name" wins, then "name", then "*". */
static bool is_selected(const struct manager_config *config, const char *name)
{
    bool star = config->controllers_count == 0;

    for (size_t i = 0; i < config->controllers_count; i++) {
        const char *item = config->controllers[i];
        if (item[0] == '-' && !strcmp(item + 1, name))
            return false;
        if (!strcmp(item, name))
            return true;
        star |= !strcmp(item, "*");
    }
    return star;
}

const char *manager_unknown_controller(const struct manager_config *config)
{
    for (size_t i = 0; i < config->controllers_count; i++) {
        const char *item = config->controllers[i], *name = item[0] == '-' ? item + 1 : item;
        bool known = !strcmp(item, "*");
        for (size_t k = 0; k < controller_count && !known; k++)
            known = !strcmp(controllers[k]->name, name);
        if (!known)
            return item;
    }
    return NULL;
}

int manager_new(struct api_client *client, const struct manager_config *config,
    struct manager **ret, struct error *err)
{
    const char *unknown = manager_unknown_controller(config);

    if (unknown)
        return error_set(err, ERR_USAGE, "\"%s\" is not in the list of known controllers", unknown);
    struct manager *m = xcalloc(1, sizeof(*m));
    m->client = client;
    m->env = api_client_env(client);
    m->config = *config;
    env_lock_init(&m->lock);
    for (int k = 0; k < KIND_COUNT; k++) {
        m->caches[k].m = m;
        env_cond_init(&m->caches[k].changed);
    }
    m->events = events_new(client, "controllermanager", NULL);
    *ret = m;
    return 0;
}

/* All tasks end before anything is freed: event functions of one informer read the copies of
 * others. */
static void stop_tasks(struct manager *m)
{
    for (size_t i = 0; i < m->controller_count; i++)
        if (m->controllers[i].queue)
            workqueue_stop(m->controllers[i].queue);
    for (size_t i = 0; i < m->controller_count; i++)
        if (m->controllers[i].info->halt)
            m->controllers[i].info->halt(&m->controllers[i]);
    for (int k = 0; k < KIND_COUNT; k++)
        if (m->caches[k].informer)
            informer_stop(m->caches[k].informer);
}

void manager_free(struct manager *m)
{
    if (!m)
        return;
    manager_stop(m);
    stop_tasks(m);
    for (size_t i = 0; i < m->controller_count; i++) {
        struct controller *c = &m->controllers[i];
        if (c->info->stop)
            c->info->stop(c);
        if (c->queue)
            workqueue_free(c->queue);
    }
    for (int k = 0; k < KIND_COUNT; k++) {
        informer_free(m->caches[k].informer);
        env_cond_done(&m->caches[k].changed);
    }
    events_free(m->events);
    env_lock_done(&m->lock);
    free(m->controllers);
    free(m);
}

void manager_stop(struct manager *m)
{
    atomic_store(&m->stopping, true);
}

bool manager_stopping(struct manager *m)
{
    return atomic_load(&m->stopping);
}

bool manager_ready(struct manager *m)
{
    return atomic_load(&m->ready);
}

/* --- start --- */

static bool is_served(const struct discovery *d, const struct controller_info *info)
{
    for (size_t i = 0; i < info->watch_count; i++) {
        const struct kind_info *kind = &kinds[info->watches[i].kind];
        if (!discovery_find(d, kind->group_version, kind->plural)) {
            log_warning("the server does not serve a kind, leaving its controller off",
                "controller", "%s", info->name, "kind", "%s/%s", kind->group_version, kind->kind,
                NULL);
            return false;
        }
    }
    return true;
}

static void listen_to(struct controller *c, const struct controller_watch *watch)
{
    struct kind_cache *cache = &c->m->caches[watch->kind];
    const struct kind_info *kind = &kinds[watch->kind];

    if (!cache->informer)
        cache->informer = informer_new(
            c->m->client, &(struct informer_config){.group_version = kind->group_version,
                              .plural = kind->plural,
                              .namespace_ = kind->namespace_,
                              .label_selector = kind->label_selector,
                              .field_selector = kind->field_selector,
                              .projection = kind->projection,
                              .handler = on_change,
                              .arg = cache,
                              .indexes = kind->indexes,
                              .index_count = kind->index_count});
    if (!watch->on_event)
        return;
    assert(cache->listener_count < LISTENERS_MAX);
    cache->listeners[cache->listener_count++] =
        (struct listener){.controller = c, .on_event = watch->on_event};
}

void manager_listen_all(struct controller *c, controller_kind_event_fn *on_event)
{
    for (int k = 0; k < KIND_COUNT; k++) {
        struct kind_cache *cache = &c->m->caches[k];
        if (!cache->informer)
            continue;
        assert(cache->listener_count < LISTENERS_MAX);
        cache->listeners[cache->listener_count++] =
            (struct listener){.controller = c, .on_kind_event = on_event};
    }
}

static int controller_start(
    struct manager *m, const struct controller_info *info, struct error *err)
{
    struct controller *c = &m->controllers[m->controller_count];

    *c = (struct controller){.info = info, .m = m};
    if (info->workers > 0)
        c->queue = workqueue_new(m->env, info->name, BACKOFF_MS_MAX);
    if (info->start && info->start(c, err) < 0) {
        if (c->queue)
            workqueue_free(c->queue);
        return error_wrap(err, "controller %s", info->name);
    }
    m->controller_count++;
    for (size_t i = 0; i < info->watch_count; i++)
        listen_to(c, &info->watches[i]);
    return 0;
}

static void on_change(void *arg, const void *old_object, const void *new_object)
{
    struct kind_cache *cache = arg;

    for (size_t i = 0; i < cache->listener_count; i++) {
        const struct listener *l = &cache->listeners[i];
        if (l->on_event)
            l->on_event(l->controller, old_object, new_object);
        else
            l->on_kind_event(
                l->controller, (enum kind)(cache - cache->m->caches), old_object, new_object);
    }
    if (atomic_load(&cache->waiters) > 0) {
        env_lock(cache->m->env, &cache->m->lock);
        env_broadcast(cache->m->env, &cache->changed);
        env_unlock(cache->m->env, &cache->m->lock);
    }
}

static int reconcile_one(void *arg, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct controller *c = arg;
    int r = c->info->reconcile(c, key, ret_again_ns, err);

    /* A conflict means that the facts moved on: an event is on its way, so this is no failure worth
     * a warning. */
    if (r == -ERR_CONFLICT) {
        log_debug("conflict, looking again", "controller", "%s", c->info->name, "key", "%s", key,
            "err", "%s", err->text, NULL);
        *ret_again_ns = env_jitter_ns(c->m->env, 5 * NS_PER_MS, 1.0);
        return 0;
    }
    return r;
}

/* Daemons start together: for the first second look often and say nothing. */
#define FIRST_RETRY_NS (10 * NS_PER_MS)
#define FIRST_WARNING 100

static int load_discovery(struct manager *m, struct discovery *d, struct error *err)
{
    int waited = 0;

    while (discovery_load(m->client, d, err) < 0) {
        if (atomic_load(&m->stopping))
            return error_set(err, ERR_CANCELLED, "stopped");
        if (waited++ == FIRST_WARNING)
            log_warning("API server does not answer yet, retrying", "err", "%s", err->text, NULL);
        env_sleep_ns(m->env, waited > FIRST_WARNING ? 500 * NS_PER_MS : FIRST_RETRY_NS);
    }
    return 0;
}

static int wait_synced(struct manager *m, struct error *err)
{
    for (int k = 0; k < KIND_COUNT; k++) {
        struct informer *informer = m->caches[k].informer;
        while (informer && !informer_wait_synced(informer, env_now_ns(m->env) + 5 * NS_PER_S)) {
            if (atomic_load(&m->stopping))
                return error_set(err, ERR_CANCELLED, "stopped");
            log_warning("first list not complete yet, waiting", "kind", "%s", kinds[k].kind, NULL);
        }
    }
    return 0;
}

int manager_start(struct manager *m, struct error *err)
{
    struct discovery d = {0};

    if (load_discovery(m, &d, err) < 0)
        return -(int)err->code;
    m->controllers = xcalloc(controller_count, sizeof(*m->controllers));
    int r = 0;
    for (size_t i = 0; i < controller_count && r == 0; i++) {
        const struct controller_info *info = controllers[i];
        if (!is_selected(&m->config, info->name) || (info->wanted && !info->wanted(&m->config)) ||
            !is_served(&d, info))
            continue;
        r = controller_start(m, info, err);
    }
    discovery_done(&d);
    if (r < 0)
        return r;
    for (int k = 0; k < KIND_COUNT; k++)
        if (m->caches[k].informer)
            informer_start(m->caches[k].informer);
    if (wait_synced(m, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < m->controller_count; i++) {
        struct controller *c = &m->controllers[i];
        if (c->info->synced)
            c->info->synced(c);
        if (c->queue)
            workqueue_run(c->queue, c->info->workers, reconcile_one, c);
    }
    log_info("controllers run", "count", "%zu", m->controller_count, NULL);
    atomic_store(&m->ready, true);
    return 0;
}

struct env *manager_env(struct manager *m)
{
    return m->env;
}

struct api_client *manager_client(struct manager *m)
{
    return m->client;
}

const struct manager_config *manager_config(struct manager *m)
{
    return &m->config;
}

bool manager_has(struct manager *m, enum kind kind)
{
    return m->caches[kind].informer != NULL;
}

struct informer *manager_informer(struct manager *m, enum kind kind)
{
    return m->caches[kind].informer;
}

/* --- reading --- */

void cleanup_object(const void *object)
{
    const void *const *p = object;
    projected_unref(*p);
}

void cleanup_objects(struct projected_array *array)
{
    projected_array_done(array);
}

const void *kind_get(struct manager *m, enum kind kind, const char *namespace_, const char *name)
{
    return informer_get(m->caches[kind].informer, namespace_, name);
}

const void *kind_get_key(struct manager *m, enum kind kind, const char *key)
{
    struct key k = key_split(key);
    return kind_get(m, kind, k.namespace_, k.name);
}

const void *kind_get_uid(
    struct manager *m, enum kind kind, const char *namespace_, const char *name, const char *uid)
{
    const struct object_meta *meta = kind_get(m, kind, namespace_, name);

    if (meta && strcmp(meta->uid, uid)) {
        projected_unref(meta);
        return NULL;
    }
    return meta;
}

struct projected_array kind_list(struct manager *m, enum kind kind, const char *namespace_or_null)
{
    return informer_list(m->caches[kind].informer, namespace_or_null);
}

struct projected_array kind_by(
    struct manager *m, enum kind kind, const char *index, const char *key)
{
    return informer_by_index(m->caches[kind].informer, index, key);
}

struct projected_array kind_by_path(
    struct manager *m, enum kind kind, const char *index, const char *namespace_, const char *name)
{
    char key[800];

    snprintf(key, sizeof(key), "%s/%s", namespace_, name);
    return kind_by(m, kind, index, key);
}

int kind_wait_version(
    struct manager *m, enum kind kind, const char *resource_version, struct error *err)
{
    if (!resource_version || !*resource_version ||
        informer_wait_version(
            m->caches[kind].informer, resource_version, env_now_ns(m->env) + WAIT_NS))
        return 0;
    return error_set(
        err, ERR_TIMEOUT, "the watch of %s does not show the last write yet", kinds[kind].plural);
}

static bool is_gone(struct manager *m, enum kind kind, const struct object_meta *meta)
{
    auto_object const struct object_meta *now =
        kind_get_uid(m, kind, meta->namespace_, meta->name, meta->uid);
    return !now || now->deletion_ns;
}

int kind_wait_gone(struct manager *m, enum kind kind, const struct object_meta *const *metas,
    size_t count, struct error *err)
{
    struct kind_cache *cache = &m->caches[kind];
    int64_t deadline = env_now_ns(m->env) + WAIT_NS;
    bool in_time = true;
    size_t gone = 0;

    atomic_fetch_add(&cache->waiters, 1);
    while (gone < count && in_time) {
        /* The lock is taken before the look, so that a change after it is not missed. */
        env_lock(m->env, &m->lock);
        while (gone < count && is_gone(m, kind, metas[gone]))
            gone++;
        if (gone < count)
            in_time = env_wait_until(m->env, &cache->changed, &m->lock, deadline);
        env_unlock(m->env, &m->lock);
    }
    atomic_fetch_sub(&cache->waiters, 1);
    if (gone == count)
        return 0;
    return error_set(
        err, ERR_TIMEOUT, "the watch of %s does not show the last delete yet", kinds[kind].plural);
}

/* --- queueing --- */

struct key key_split(const char *key)
{
    struct key k = {"", ""};
    const char *slash = strchr(key, '/');

    if (slash && (size_t)(slash - key) < sizeof(k.namespace_)) {
        memcpy(k.namespace_, key, (size_t)(slash - key));
        key = slash + 1;
    }
    snprintf(k.name, sizeof(k.name), "%s", key);
    return k;
}

void key_print(const struct object_meta *meta, char *buf)
{
    if (*meta->namespace_)
        snprintf(buf, KEY_BYTES, "%s/%s", meta->namespace_, meta->name);
    else
        snprintf(buf, KEY_BYTES, "%s", meta->name);
}

void controller_add(struct controller *c, const struct object_meta *meta)
{
    char key[KEY_BYTES];

    key_print(meta, key);
    workqueue_add(c->queue, key);
}

void controller_add_after(struct controller *c, const struct object_meta *meta, int64_t delay_ns)
{
    char key[KEY_BYTES];

    key_print(meta, key);
    workqueue_add_after(c->queue, key, delay_ns);
}

void controller_add_owner(struct controller *c, enum kind kind, const void *object)
{
    const struct object_meta *meta = object;
    const struct owner_ref *owner = object_controller(meta);

    if (!owner || strcmp(owner->kind, kinds[kind].kind))
        return;
    if (*meta->namespace_)
        workqueue_addf(c->queue, "%s/%s", meta->namespace_, owner->name);
    else
        workqueue_add(c->queue, owner->name);
}

void controller_on_object(struct controller *c, const void *old_object, const void *new_object)
{
    controller_add(c, new_object ? new_object : old_object);
}

/* --- events --- */

void controller_event(struct controller *c, enum kind kind, const struct object_meta *meta,
    const char *type, const char *reason, const char *format, ...)
{
    char message[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    events_emit(c->m->events,
        &(struct event_ref){.api_version = kinds[kind].group_version,
            .kind = kinds[kind].kind,
            .namespace_ = meta->namespace_,
            .name = meta->name,
            .uid = meta->uid,
            .resource_version = meta->resource_version,
            .component = c->info->component},
        type, reason, "%s", message);
}
