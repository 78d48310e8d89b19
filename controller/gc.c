/*
 * Controller "garbage-collector": deletes objects whose owners are all gone, and carries out the
 * deletion policies Foreground and Orphan.
 *
 * Keys: "D group/version plural namespace name uid": look at a dependent; "O ...": an owner that is
 * being deleted waits for its dependents; "discover": read discovery again. ("-" stands for no
 * namespace.)
 *
 * A dependent is judged by its ownerReferences: an owner is solid (exists, by uid), waiting
 * (exists, being deleted in the foreground) or dangling (absent, or another uid: looked up live,
 * unless its deletion was seen). With a solid one left only the other references are removed;
 * without, the object is deleted, with uid and resourceVersion as preconditions: what was judged is
 * what goes. It never deletes an owner's object for lack of dependents, and never judges by an
 * owner's absence from a cache alone.
 *
 * Upstream: pkg/controller/garbagecollector.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/gc_graph.h"

#define FOREGROUND "foregroundDeletion"
#define ORPHAN "orphan"
/* An owner may be created just before its dependent, and its watch be a little behind. */
#define DOUBT_NS (500 * NS_PER_MS)
#define DISCOVER_NS (NS_PER_S)
#define AGAIN_NS (100 * NS_PER_MS)

struct item {
    char *text; /* the key, cut into the parts */
    const char *group_version, *plural, *namespace_, *name, *uid;
};

static struct gc_graph *graph(struct controller *c)
{
    return c->state;
}

static bool has_finalizer(const struct object_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->finalizers.count; i++)
        if (!strcmp(meta->finalizers.strings[i], name))
            return true;
    return false;
}

static bool waits_for_dependents(const struct object_meta *meta)
{
    return meta->deletion_ns && has_finalizer(meta, FOREGROUND);
}

static bool orphans_dependents(const struct object_meta *meta)
{
    return meta->deletion_ns && has_finalizer(meta, ORPHAN);
}

/* --- events --- */

static void add_item(struct controller *c, char what, const struct resource *r,
    const struct object_meta *meta, int64_t delay_ns)
{
    autofree char *key = str_format("%c %s %s %s %s %s", what, r->group_version, r->plural,
        *meta->namespace_ ? meta->namespace_ : "-", meta->name, meta->uid);

    if (delay_ns)
        workqueue_add_after(c->queue, key, delay_ns);
    else
        workqueue_add(c->queue, key);
}

static void add_dependent(void *arg, const struct resource *r, const struct object_meta *meta)
{
    add_item(arg, 'D', r, meta, 0);
}

static const struct object_meta *find_owner(struct controller *c, const struct object_meta *meta,
    const struct owner_ref *owner, struct resource *ret_resource)
{
    if (!gc_graph_kind_of(graph(c), owner->api_version, owner->kind, ret_resource))
        return NULL;
    const struct object_meta *found =
        gc_graph_find(graph(c), ret_resource->group_version, ret_resource->plural,
            ret_resource->namespaced ? meta->namespace_ : "", owner->name, owner->uid);
    if (!found)
        resource_copy_done(ret_resource);
    return found;
}

/* Owners that wait for this dependent look again. */
static void wake_owners(struct controller *c, const struct object_meta *meta)
{
    const struct owner_ref *owners = meta->owners.items;

    for (size_t i = 0; i < meta->owners.count; i++) {
        struct resource r;
        auto_object const struct object_meta *owner = find_owner(c, meta, &owners[i], &r);
        if (!owner)
            continue;
        if (waits_for_dependents(owner) || orphans_dependents(owner))
            add_item(c, 'O', &r, owner, 0);
        resource_copy_done(&r);
    }
}

static bool same_owners(const struct object_meta *a, const struct object_meta *b)
{
    const struct owner_ref *x = a->owners.items, *y = b->owners.items;

    if (a->owners.count != b->owners.count)
        return false;
    for (size_t i = 0; i < a->owners.count; i++)
        if (strcmp(x[i].uid, y[i].uid) || x[i].block_owner_deletion != y[i].block_owner_deletion)
            return false;
    return true;
}

/* An owner that no cache has, or one that waits: this object may have to go. */
static bool is_doubtful(struct controller *c, const struct object_meta *meta)
{
    const struct owner_ref *owners = meta->owners.items;

    for (size_t i = 0; i < meta->owners.count; i++) {
        struct resource r;
        auto_object const struct object_meta *owner = find_owner(c, meta, &owners[i], &r);
        if (!owner)
            return true;
        resource_copy_done(&r);
        if (waits_for_dependents(owner))
            return true;
    }
    return false;
}

static void on_event(
    void *arg, struct gc_kind *kind, const void *old_object, const void *new_object)
{
    struct controller *c = arg;
    const struct object_meta *old = old_object, *now = new_object;

    if (!strcmp(kind->resource.plural, "customresourcedefinitions"))
        workqueue_add_after(c->queue, "discover", DISCOVER_NS);
    if (!now) {
        gc_graph_set_absent(graph(c), old->namespace_, old->uid);
        gc_graph_dependents(graph(c), old->uid, add_dependent, c);
        wake_owners(c, old);
        return;
    }
    if (waits_for_dependents(now) || orphans_dependents(now))
        add_item(c, 'O', &kind->resource, now, 0);
    bool owners_changed = !old || !same_owners(old, now);
    if (old && (owners_changed || (!old->deletion_ns && now->deletion_ns)))
        wake_owners(c, old);
    if (owners_changed && now->owners.count > 0 && is_doubtful(c, now))
        add_item(c, 'D', &kind->resource, now, DOUBT_NS);
}

static void on_shared_event(
    struct controller *c, enum kind kind, const void *old_object, const void *new_object)
{
    gc_graph_shared_event(graph(c), kind, old_object, new_object);
}

/* --- owners --- */

enum owner_state { OWNER_SOLID, OWNER_WAITING, OWNER_DANGLING };

/* One of enum owner_state, or an error. */
static int owner_state(struct controller *c, const struct object_meta *meta,
    const struct owner_ref *owner, struct error *err)
{
    struct resource r;
    const char *namespace_;

    /* It may be known in a moment, and the owner gone by then, unseen: so the dependent is looked
     * at again, at growing intervals. That costs no request. */
    if (!gc_graph_kind_of(graph(c), owner->api_version, owner->kind, &r))
        return error_set(err, ERR_UNAVAILABLE, "owner %s is of an unknown kind, %s %s", owner->name,
            owner->api_version, owner->kind);
    namespace_ = r.namespaced ? meta->namespace_ : "";
    int state = -1;
    autojson cJSON *live = NULL;
    if (r.namespaced && !*meta->namespace_)
        state =
            OWNER_SOLID; /* a cluster-scoped object can't have such an owner: not ours to judge */
    else if (gc_graph_is_absent(graph(c), namespace_, owner->uid))
        state = OWNER_DANGLING;
    auto_object const struct object_meta *cached =
        state < 0 ? gc_graph_find(
                        graph(c), r.group_version, r.plural, namespace_, owner->name, owner->uid)
                  : NULL;
    if (cached)
        state = waits_for_dependents(cached) ? OWNER_WAITING : OWNER_SOLID;
    if (state < 0) {
        int got = discovery_get_metadata(
            manager_client(c->m), &r, *namespace_ ? namespace_ : NULL, owner->name, &live, err);
        if (got == -ERR_NOT_FOUND) {
            gc_graph_set_absent(graph(c), namespace_, owner->uid);
            state = OWNER_DANGLING;
        } else if (got < 0) {
            resource_copy_done(&r);
            return got;
        } else if (!c_eq(json_string_at(live, "metadata.uid"), owner->uid)) {
            state = OWNER_DANGLING;
        } else {
            auto_object const struct object_meta *found =
                projected_new(&(struct projection){.size = sizeof(struct object_meta)}, live);
            state = waits_for_dependents(found) ? OWNER_WAITING : OWNER_SOLID;
        }
    }
    resource_copy_done(&r);
    return state;
}

/* --- writes --- */

static struct api_ref item_ref(const struct item *item)
{
    return (struct api_ref){.group_version = item->group_version,
        .plural = item->plural,
        .namespace_ = *item->namespace_ ? item->namespace_ : NULL,
        .name = item->name};
}

/* A merge patch of metadata on the version that was judged. Gone is fine; a conflict comes back as
 * such. */
static int patch_metadata(struct controller *c, const struct item *item,
    const struct object_meta *meta, const char *member, cJSON *take_value, struct error *err)
{
    struct api_ref ref = item_ref(item);
    autojson cJSON *patch = cJSON_CreateObject();
    cJSON *metadata = cJSON_CreateObject();

    json_set_string(metadata, "uid", meta->uid);
    json_set_string(metadata, "resourceVersion", meta->resource_version);
    json_set(metadata, member, take_value);
    json_set(patch, "metadata", metadata);
    int r = api_patch(manager_client(c->m), &ref, PATCH_MERGE, patch, NULL, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static cJSON *owner_json(const struct owner_ref *owner, bool block)
{
    cJSON *json = cJSON_CreateObject();

    json_set_string(json, "apiVersion", owner->api_version);
    json_set_string(json, "kind", owner->kind);
    json_set_string(json, "name", owner->name);
    json_set_string(json, "uid", owner->uid);
    if (owner->controller)
        json_set(json, "controller", cJSON_CreateTrue());
    if (block)
        json_set(json, "blockOwnerDeletion", cJSON_CreateTrue());
    return json;
}

static int remove_finalizer(struct controller *c, const struct item *item,
    const struct object_meta *meta, const char *name, struct error *err)
{
    cJSON *rest = cJSON_CreateArray();

    for (size_t i = 0; i < meta->finalizers.count; i++)
        if (strcmp(meta->finalizers.strings[i], name))
            cJSON_AddItemToArray(rest, cJSON_CreateString(meta->finalizers.strings[i]));
    return patch_metadata(c, item, meta, "finalizers", rest, err);
}

static int delete_item(struct controller *c, const struct item *item,
    const struct object_meta *meta, const char *propagation, struct error *err)
{
    struct api_ref ref = item_ref(item);
    struct api_delete_options options = {.uid = meta->uid,
        .resource_version = meta->resource_version,
        .propagation = propagation,
        .grace_seconds = -1};
    int r = api_delete(manager_client(c->m), &ref, &options, NULL, err);

    if (r == 0)
        log_debug("deleted, its owners are gone", "resource", "%s", item->plural, "object", "%s/%s",
            item->namespace_, item->name, NULL);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* --- owners being deleted --- */

struct found {
    struct resource resource; /* borrowed strings are copied into `item` keys */
    const struct object_meta *meta;
};
struct found_list {
    struct found *items;
    size_t count, capacity;
};

static void collect(void *arg, const struct resource *r, const struct object_meta *meta)
{
    struct found_list *list = arg;

    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->items = xrealloc(list->items, list->capacity * sizeof(*list->items));
    }
    struct found *f = &list->items[list->count++];
    f->resource = *r;
    f->resource.group_version = xstrdup(r->group_version);
    f->resource.plural = xstrdup(r->plural);
    f->resource.kind = xstrdup(r->kind);
    f->meta = projected_ref(meta);
}

static void found_done(struct found_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        resource_copy_done(&list->items[i].resource);
        projected_unref(list->items[i].meta);
    }
    free(list->items);
}

static bool blocks(const struct object_meta *dependent, const char *owner_uid)
{
    const struct owner_ref *owners = dependent->owners.items;

    for (size_t i = 0; i < dependent->owners.count; i++)
        if (!strcmp(owners[i].uid, owner_uid) && owners[i].block_owner_deletion)
            return true;
    return false;
}

static int foreground(struct controller *c, const struct item *item, const struct object_meta *meta,
    struct error *err)
{
    struct found_list list = {0};
    size_t blocking = 0;

    gc_graph_dependents(graph(c), meta->uid, collect, &list);
    for (size_t i = 0; i < list.count; i++) {
        if (!blocks(list.items[i].meta, meta->uid))
            continue;
        blocking++;
        if (!list.items[i].meta->deletion_ns)
            add_item(c, 'D', &list.items[i].resource, list.items[i].meta, 0);
    }
    found_done(&list);
    return blocking ? 0 : remove_finalizer(c, item, meta, FOREGROUND, err);
}

static int remove_refs(struct controller *c, const struct item *item,
    const struct object_meta *meta, const bool *drop, struct error *err)
{
    const struct owner_ref *owners = meta->owners.items;
    cJSON *rest = cJSON_CreateArray();

    for (size_t i = 0; i < meta->owners.count; i++)
        if (!drop[i])
            cJSON_AddItemToArray(rest, owner_json(&owners[i], owners[i].block_owner_deletion));
    return patch_metadata(c, item, meta, "ownerReferences", rest, err);
}

static int orphan_one(
    struct controller *c, const struct found *f, const char *owner_uid, struct error *err)
{
    const struct owner_ref *owners = f->meta->owners.items;
    struct item item = {NULL, f->resource.group_version, f->resource.plural, f->meta->namespace_,
        f->meta->name, f->meta->uid};
    autofree bool *drop = xcalloc(f->meta->owners.count + 1, sizeof(*drop));

    for (size_t i = 0; i < f->meta->owners.count; i++)
        drop[i] = !strcmp(owners[i].uid, owner_uid);
    return remove_refs(c, &item, f->meta, drop, err);
}

/* The finalizer stays until every dependent was patched. */
static int orphan(struct controller *c, const struct item *item, const struct object_meta *meta,
    struct error *err)
{
    struct found_list list = {0};
    int result = 0;

    gc_graph_dependents(graph(c), meta->uid, collect, &list);
    for (size_t i = 0; i < list.count; i++) {
        int r = orphan_one(c, &list.items[i], meta->uid, err);
        if (r < 0)
            result = r;
    }
    bool any = list.count > 0;
    found_done(&list);
    if (result < 0)
        return result;
    /* Their events bring the owner back; it is let go when no cache shows a dependent. */
    return any ? 0 : remove_finalizer(c, item, meta, ORPHAN, err);
}

static int process_owner(struct controller *c, const struct item *item,
    const struct object_meta *meta, struct error *err)
{
    if (orphans_dependents(meta))
        return orphan(c, item, meta, err);
    return waits_for_dependents(meta) ? foreground(c, item, meta, err) : 0;
}

/* --- dependents --- */

/* A dependent that is itself waiting in the foreground: a cycle, which this object must not block.
 */
static bool has_waiting_dependent(
    struct controller *c, const struct object_meta *meta, size_t *ret_count)
{
    struct found_list list = {0};
    bool waiting = false;

    gc_graph_dependents(graph(c), meta->uid, collect, &list);
    for (size_t i = 0; i < list.count; i++)
        waiting |= waits_for_dependents(list.items[i].meta);
    *ret_count = list.count;
    found_done(&list);
    return waiting;
}

static int unblock_owners(struct controller *c, const struct item *item,
    const struct object_meta *meta, struct error *err)
{
    const struct owner_ref *owners = meta->owners.items;
    cJSON *refs = cJSON_CreateArray();
    bool any = false;

    for (size_t i = 0; i < meta->owners.count; i++) {
        any |= owners[i].block_owner_deletion;
        cJSON_AddItemToArray(refs, owner_json(&owners[i], false));
    }
    if (any)
        return patch_metadata(c, item, meta, "ownerReferences", refs, err);
    cJSON_Delete(refs);
    return 1; /* nothing to do */
}

static int delete_in_foreground(struct controller *c, const struct item *item,
    const struct object_meta *meta, bool cycle, struct error *err)
{
    if (cycle) {
        int r = unblock_owners(c, item, meta, err);
        if (r <= 0) {
            add_item(c, 'D',
                &(struct resource){
                    (char *)item->group_version, (char *)item->plural, NULL, false, 0},
                meta, AGAIN_NS); /* with the version that the patch made */
            return r;
        }
    }
    return delete_item(c, item, meta, "Foreground", err);
}

static int process_dependent(struct controller *c, const struct item *item,
    const struct object_meta *meta, struct error *err)
{
    const struct owner_ref *owners = meta->owners.items;
    autofree bool *drop = xcalloc(meta->owners.count + 1, sizeof(*drop));
    size_t solid = 0, waiting = 0, dangling = 0, dependents = 0;

    if (meta->deletion_ns)
        return process_owner(c, item, meta, err);
    if (meta->owners.count == 0)
        return 0;
    for (size_t i = 0; i < meta->owners.count; i++) {
        int state = owner_state(c, meta, &owners[i], err);
        if (state < 0)
            return state;
        solid += state == OWNER_SOLID;
        waiting += state == OWNER_WAITING;
        dangling += state == OWNER_DANGLING;
        drop[i] = state != OWNER_SOLID;
    }
    if (solid > 0)
        return waiting + dangling > 0 ? remove_refs(c, item, meta, drop, err) : 0;
    bool cycle = waiting > 0 && has_waiting_dependent(c, meta, &dependents);
    if (waiting > 0 && dependents > 0)
        return delete_in_foreground(c, item, meta, cycle, err);
    const char *policy = has_finalizer(meta, ORPHAN)       ? "Orphan"
                         : has_finalizer(meta, FOREGROUND) ? "Foreground"
                                                           : "Background";
    return delete_item(c, item, meta, policy, err);
}

/* --- the loop --- */

/* "D gv plural ns name uid" */
static bool item_parse(const char *key, struct item *ret)
{
    char *text = xstrdup(key), *parts[6], *rest = text;
    size_t n = 0;

    for (char *part; n < ARRAY_COUNT(parts) && (part = strsep(&rest, " "));)
        parts[n++] = part;
    if (n != ARRAY_COUNT(parts)) {
        free(text);
        return false;
    }
    *ret = (struct item){
        text, parts[1], parts[2], strcmp(parts[3], "-") ? parts[3] : "", parts[4], parts[5]};
    return true;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct item item;

    if (!strcmp(key, "discover"))
        return gc_graph_discover(graph(c), err);
    if (!gc_graph_synced(graph(c))) {
        *ret_again_ns = AGAIN_NS;
        return 0;
    }
    if (!item_parse(key, &item))
        return 0;
    auto_object const struct object_meta *meta = gc_graph_find(
        graph(c), item.group_version, item.plural, item.namespace_, item.name, item.uid);
    int r = 0;
    if (meta)
        r = key[0] == 'O' ? process_owner(c, &item, meta, err)
                          : process_dependent(c, &item, meta, err);
    free(item.text);
    return r;
}

static int start(struct controller *c, struct error *err)
{
    c->state = gc_graph_new(c, on_event, c);
    manager_listen_all(c, on_shared_event);
    if (gc_graph_discover(graph(c), err) == 0)
        return 0;
    gc_graph_free(c->state);
    return -(int)err->code;
}

/* After the shared informers: some fifty watches more would slow their first lists down. */
static void synced(struct controller *c)
{
    gc_graph_start(graph(c));
}

static void halt(struct controller *c)
{
    gc_graph_halt(graph(c));
}

static void stop(struct controller *c)
{
    gc_graph_free(c->state);
}

const struct controller_info controller_gc = {
    .name = "garbage-collector-controller",
    .component = "garbage-collector-controller",
    .workers = 4,
    .reconcile = reconcile,
    .start = start,
    .synced = synced,
    .halt = halt,
    .stop = stop,
};
