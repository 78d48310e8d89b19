/*
 * The garbage collector's view of the owner graph: see gc_graph.h.
 *
 * `lock` guards the array of kinds and the table of absent owners; it is held while an index is
 * read, never during an API call or a free of an informer (whose task may be waiting for it).
 */
#include "controller/gc_graph.h"

#include "common/log.h"
#include "common/time.h"

#define KINDS_MAX 512
#define ABSENT_SLOTS 2048
#define PATIENCE_NS (10 * NS_PER_S)

struct absent {
    char namespace_[64];
    char uid[40];
};

struct gc_graph {
    struct controller *c;
    struct env *env;
    gc_event_fn *on_event;
    void *arg;
    struct lock lock;
    struct gc_kind *kinds[KINDS_MAX];
    size_t count;
    int64_t started_ns; /* own informers run since; 0: not yet */
    bool complete;      /* gc_graph_synced said yes once */
    struct absent *absent;
};

/* Kinds that own nothing, are owned by nothing, and change all the time. */
static bool is_ignored(const struct resource *r)
{
    return !strcmp(r->plural, "events");
}

static void index_owner(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct object_meta *meta = object;
    const struct owner_ref *owners = meta->owners.items;

    for (size_t i = 0; i < meta->owners.count; i++)
        emit(arg, owners[i].uid);
}

static const struct projection metadata_projection = {
    .size = sizeof(struct object_meta), .no_annotations = true};
static const struct informer_index metadata_indexes[] = {{INDEX_OWNER, index_owner}};

static void on_own_change(void *arg, const void *old_object, const void *new_object)
{
    struct gc_kind *kind = arg;
    kind->graph->on_event(kind->graph->arg, kind, old_object, new_object);
}

/* The shared informer that holds all objects of a resource. */
static struct informer *shared_informer(struct manager *m, const struct resource *r)
{
    for (int k = 0; k < KIND_COUNT; k++) {
        const struct kind_info *info = &kinds[k];
        if (!strcmp(info->plural, r->plural) && !strcmp(info->group_version, r->group_version) &&
            !info->namespace_ && !info->label_selector && !info->field_selector &&
            manager_has(m, k))
            return manager_informer(m, k);
    }
    return NULL;
}

static struct gc_kind *kind_new(struct gc_graph *g, const struct resource *r)
{
    struct gc_kind *kind = xcalloc(1, sizeof(*kind));

    kind->graph = g;
    kind->resource = *r;
    kind->resource.group_version = xstrdup(r->group_version);
    kind->resource.plural = xstrdup(r->plural);
    kind->resource.kind = xstrdup(r->kind);
    kind->informer = shared_informer(g->c->m, r);
    if (!kind->informer) {
        kind->own = true;
        kind->informer = informer_new(
            manager_client(g->c->m), &(struct informer_config){.group_version = r->group_version,
                                         .plural = r->plural,
                                         .metadata_only = true,
                                         .projection = &metadata_projection,
                                         .handler = on_own_change,
                                         .arg = kind,
                                         .indexes = metadata_indexes,
                                         .index_count = ARRAY_COUNT(metadata_indexes)});
    }
    return kind;
}

static void kind_free(struct gc_kind *kind)
{
    if (kind->own)
        informer_free(kind->informer);
    resource_copy_done(&kind->resource);
    free(kind);
}

void resource_copy_done(struct resource *copy)
{
    free(copy->group_version);
    free(copy->plural);
    free(copy->kind);
}

/* Caller holds the lock, or is the only task. */
static ssize_t index_of(struct gc_graph *g, const char *group_version, const char *plural)
{
    for (size_t i = 0; i < g->count; i++)
        if (!strcmp(g->kinds[i]->resource.plural, plural) &&
            !strcmp(g->kinds[i]->resource.group_version, group_version))
            return (ssize_t)i;
    return -1;
}

static bool is_collectable(const struct resource *r)
{
    unsigned need = VERB_LIST | VERB_WATCH | VERB_DELETE;
    return (r->verbs & need) == need && !is_ignored(r);
}

static void add_kind(struct gc_graph *g, const struct resource *r)
{
    env_lock(g->env, &g->lock);
    bool known = index_of(g, r->group_version, r->plural) >= 0, full = g->count == KINDS_MAX;
    env_unlock(g->env, &g->lock);
    if (known || full)
        return;
    struct gc_kind *kind = kind_new(g, r);
    env_lock(g->env, &g->lock);
    g->kinds[g->count++] = kind;
    env_unlock(g->env, &g->lock);
    if (kind->own && g->started_ns)
        informer_start(kind->informer);
}

void gc_graph_start(struct gc_graph *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->kinds[i]->own)
            informer_start(g->kinds[i]->informer);
    g->started_ns = env_now_ns(g->env);
}

static void drop_vanished(struct gc_graph *g, const struct discovery *d)
{
    for (size_t i = 0; i < g->count; i++) {
        struct gc_kind *kind = g->kinds[i];
        if (!kind->own || discovery_find(d, kind->resource.group_version, kind->resource.plural))
            continue;
        env_lock(g->env, &g->lock);
        g->kinds[i--] = g->kinds[--g->count];
        env_unlock(g->env, &g->lock);
        kind_free(kind);
    }
}

/* One task at a time calls this: start, then the worker that has the discovery key. */
int gc_graph_discover(struct gc_graph *g, struct error *err)
{
    struct discovery d = {0};

    if (discovery_load(manager_client(g->c->m), &d, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < d.count; i++)
        if (is_collectable(&d.resources[i]))
            add_kind(g, &d.resources[i]);
    if (!d.partial)
        drop_vanished(g, &d);
    discovery_done(&d);
    return 0;
}

struct gc_graph *gc_graph_new(struct controller *c, gc_event_fn *on_event, void *arg)
{
    struct gc_graph *g = xcalloc(1, sizeof(*g));

    g->c = c;
    g->env = manager_env(c->m);
    g->on_event = on_event;
    g->arg = arg;
    g->absent = xcalloc(ABSENT_SLOTS, sizeof(*g->absent));
    env_lock_init(&g->lock);
    return g;
}

void gc_graph_halt(struct gc_graph *g)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->kinds[i]->own)
            informer_stop(g->kinds[i]->informer);
}

void gc_graph_free(struct gc_graph *g)
{
    if (!g)
        return;
    gc_graph_halt(g);
    for (size_t i = 0; i < g->count; i++)
        kind_free(g->kinds[i]);
    env_lock_done(&g->lock);
    free(g->absent);
    free(g);
}

void gc_graph_shared_event(
    struct gc_graph *g, enum kind kind, const void *old_object, const void *new_object)
{
    const struct kind_info *info = &kinds[kind];

    env_lock(g->env, &g->lock);
    ssize_t i = index_of(g, info->group_version, info->plural);
    struct gc_kind *found = i >= 0 && !g->kinds[i]->own ? g->kinds[i] : NULL;
    env_unlock(g->env, &g->lock);
    /* Shared kinds are never dropped, so the pointer stays good. A filtered informer is not the
     * collector's. */
    if (found && found->informer == manager_informer(g->c->m, kind))
        g->on_event(g->arg, found, old_object, new_object);
}

/* One kind that can't be listed must not keep all others from being collected. */
bool gc_graph_synced(struct gc_graph *g)
{
    bool patient = env_now_ns(g->env) - g->started_ns < PATIENCE_NS, synced = g->started_ns != 0;

    env_lock(g->env, &g->lock);
    for (size_t i = 0; i < g->count && synced && !g->complete; i++) {
        struct gc_kind *kind = g->kinds[i];
        if (informer_synced(kind->informer))
            continue;
        synced = !patient;
        if (!patient && !kind->given_up)
            log_warning("a kind can't be listed, collecting garbage without it", "resource", "%s",
                kind->resource.plural, NULL);
        kind->given_up = !patient;
    }
    g->complete = synced;
    env_unlock(g->env, &g->lock);
    return synced;
}

static size_t group_bytes(const char *api_version)
{
    const char *slash = strchr(api_version, '/');
    return slash ? (size_t)(slash - api_version) : 0;
}

bool gc_graph_kind_of(
    struct gc_graph *g, const char *api_version, const char *kind, struct resource *ret_copy)
{
    size_t n = group_bytes(api_version);
    bool found = false;

    env_lock(g->env, &g->lock);
    for (size_t i = 0; i < g->count && !found; i++) {
        const struct resource *r = &g->kinds[i]->resource;
        if (strcmp(r->kind, kind) || group_bytes(r->group_version) != n ||
            strncmp(r->group_version, api_version, n))
            continue;
        *ret_copy = *r;
        ret_copy->group_version = xstrdup(r->group_version);
        ret_copy->plural = xstrdup(r->plural);
        ret_copy->kind = xstrdup(r->kind);
        found = true;
    }
    env_unlock(g->env, &g->lock);
    return found;
}

const struct object_meta *gc_graph_find(struct gc_graph *g, const char *group_version,
    const char *plural, const char *namespace_, const char *name, const char *uid)
{
    const struct object_meta *meta = NULL;

    env_lock(g->env, &g->lock);
    ssize_t i = index_of(g, group_version, plural);
    if (i >= 0)
        meta = informer_get(g->kinds[i]->informer, namespace_, name);
    env_unlock(g->env, &g->lock);
    if (meta && strcmp(meta->uid, uid)) {
        projected_unref(meta);
        return NULL;
    }
    return meta;
}

size_t gc_graph_dependents(struct gc_graph *g, const char *uid, gc_dependent_fn *fn, void *arg)
{
    size_t n = 0;

    env_lock(g->env, &g->lock);
    for (size_t i = 0; i < g->count; i++) {
        auto_objects struct projected_array found =
            informer_by_index(g->kinds[i]->informer, INDEX_OWNER, uid);
        for (size_t k = 0; k < found.count && fn; k++)
            fn(arg, &g->kinds[i]->resource, found.objects[k]);
        n += found.count;
    }
    env_unlock(g->env, &g->lock);
    return n;
}

/* --- absent owners --- */

static struct absent *slot_of(struct gc_graph *g, const char *uid)
{
    uint64_t h = 14695981039346656037ull;

    for (; *uid; uid++)
        h = (h ^ (unsigned char)*uid) * 1099511628211ull;
    return &g->absent[h % ABSENT_SLOTS];
}

void gc_graph_set_absent(struct gc_graph *g, const char *namespace_, const char *uid)
{
    if (strlen(uid) >= sizeof(g->absent->uid) ||
        strlen(namespace_) >= sizeof(g->absent->namespace_))
        return;
    env_lock(g->env, &g->lock);
    struct absent *slot = slot_of(g, uid);
    snprintf(slot->uid, sizeof(slot->uid), "%s", uid);
    snprintf(slot->namespace_, sizeof(slot->namespace_), "%s", namespace_);
    env_unlock(g->env, &g->lock);
}

bool gc_graph_is_absent(struct gc_graph *g, const char *namespace_, const char *uid)
{
    env_lock(g->env, &g->lock);
    const struct absent *slot = slot_of(g, uid);
    bool absent = !strcmp(slot->uid, uid) && !strcmp(slot->namespace_, namespace_);
    env_unlock(g->env, &g->lock);
    return absent;
}
