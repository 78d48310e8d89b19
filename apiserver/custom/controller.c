/*
 * The task that looks after definitions. See controller.h.
 *
 * It keeps a light copy of what names each definition has (entries), filled from the watch, so that
 * one look costs one parse and a walk over strings.
 */
#include "apiserver/custom/controller.h"

#include "apiserver/cache/cache.h"
#include "apiserver/custom/definitions.h"
#include "apiserver/request/request.h"
#include "apiserver/server.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/time.h"

#define BATCH 64
#define POLL_FIRST_NS (50 * NS_PER_MS)
#define POLL_MAX_NS (2 * NS_PER_S)
#define REST_NS (600 * NS_PER_S)
#define COLLECTION "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

struct entry {
    char *name;
    char *group;
    cJSON *accepted; /* status.acceptedNames, or NULL */
    bool conflicting, deleting;
    bool queued;
    struct entry *next_queued;
    UT_hash_handle hh;
};

struct definitions_controller {
    struct server *server;
    const struct resource *resource;
    struct entry *entries;
    struct entry *queue, **queue_end;
    struct watcher *watcher;
    struct task *task;
    struct lock lock;
    struct cond changed;
    bool woken, stopping;
    int64_t
        poll_ns; /* until definitions that wait for their objects are looked at again; 0: none */
};

bool definition_set_condition(cJSON *definition, const char *type, const char *status,
    const char *reason, const char *message, const char *now)
{
    cJSON *state = json_get(definition, "status");
    if (!cJSON_IsObject(state)) {
        json_set(definition, "status", cJSON_CreateObject());
        state = json_get(definition, "status");
    }
    cJSON *list = json_get(state, "conditions"), *item;
    if (!cJSON_IsArray(list)) {
        json_set(state, "conditions", cJSON_CreateArray());
        list = json_get(state, "conditions");
    }
    cJSON_ArrayForEach(item, list) if (c_eq(json_string(item, "type"), type)) break;
    if (!item) {
        item = cJSON_CreateObject();
        json_set_string(item, "type", type);
        cJSON_AddItemToArray(list, item);
    }
    bool same_status = c_eq(json_string(item, "status"), status);
    if (same_status && c_eq(json_string(item, "reason"), reason) &&
        c_eq(json_string(item, "message"), message))
        return false;
    json_set_string(item, "status", status);
    if (!same_status)
        json_set_string(item, "lastTransitionTime", now);
    json_set_string(item, "reason", reason);
    json_set_string(item, "message", message);
    return true;
}

static const cJSON *find_condition(const cJSON *definition, const char *type)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(definition, "status.conditions"))
    {
        if (c_eq(json_string(item, "type"), type))
            return item;
    }
    return NULL;
}

static bool is_true(const cJSON *definition, const char *type)
{
    return c_eq(json_string(find_condition(definition, type), "status"), "True");
}

/* --- entries --- */

static void push(struct definitions_controller *c, struct entry *e)
{
    if (e->queued)
        return;
    e->queued = true;
    e->next_queued = NULL;
    *c->queue_end = e;
    c->queue_end = &e->next_queued;
}

static struct entry *pop(struct definitions_controller *c)
{
    struct entry *e = c->queue;
    if (!e)
        return NULL;
    c->queue = e->next_queued;
    if (!c->queue)
        c->queue_end = &c->queue;
    e->queued = false;
    return e;
}

static void unqueue(struct definitions_controller *c, struct entry *e)
{
    struct entry **at = &c->queue;
    if (!e->queued)
        return;
    while (*at != e)
        at = &(*at)->next_queued;
    *at = e->next_queued;
    if (!*at)
        c->queue_end = at;
}

static void entry_free(struct definitions_controller *c, struct entry *e)
{
    unqueue(c, e);
    HASH_DEL(c->entries, e);
    cJSON_Delete(e->accepted);
    free(e->name);
    free(e->group);
    free(e);
}

/* Names have become free: who had a conflict looks again. */
static void push_conflicting(struct definitions_controller *c, const char *group)
{
    struct entry *e, *next;
    HASH_ITER(hh, c->entries, e, next)
    if (e->conflicting && c_eq(e->group, group))
        push(c, e);
}

static void note(struct definitions_controller *c, const struct object *o)
{
    struct entry *e;
    autojson cJSON *tree = object_tree(o);
    autofree char *name = str_dup(o->name);
    const char *group = json_string_at(tree, "spec.group");
    HASH_FIND_STR(c->entries, name, e);
    if (!e) {
        e = xcalloc(1, sizeof(*e));
        e->name = steal(&name);
        e->group = xstrdup(group ? group : "");
        HASH_ADD_KEYPTR(hh, c->entries, e->name, strlen(e->name), e);
    }
    cJSON *accepted = json_path(tree, "status.acceptedNames");
    bool changed = !e->accepted || !accepted || !json_equal(e->accepted, accepted);
    cJSON_Delete(e->accepted);
    e->accepted = accepted ? cJSON_Duplicate(accepted, true) : NULL;
    e->deleting = o->deleting;
    e->conflicting = !is_true(tree, "NamesAccepted");
    if (changed)
        push_conflicting(c, e->group);
    push(c, e);
}

static void forget(struct definitions_controller *c, const struct object *o)
{
    struct entry *e;
    autofree char *name = str_dup(o->name);
    HASH_FIND_STR(c->entries, name, e);
    if (!e)
        return;
    autofree char *group = xstrdup(e->group);
    entry_free(c, e);
    push_conflicting(c, group);
}

/* --- names --- */

static bool list_has(const cJSON *list, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(
        item, list) if (cJSON_IsString(item) && c_eq(item->valuestring, text)) return true;
    return false;
}

static bool names_have(const cJSON *names, const char *text, bool kinds)
{
    if (kinds)
        return c_eq(json_string(names, "kind"), text) || c_eq(json_string(names, "listKind"), text);
    return c_eq(json_string(names, "plural"), text) || c_eq(json_string(names, "singular"), text) ||
           list_has(json_get(names, "shortNames"), text);
}

static bool words_have(const char *const *words, const char *text)
{
    for (; words && *words; words++)
        if (c_eq(*words, text))
            return true;
    return false;
}

static bool resource_has(const struct resource *r, const char *text, bool kinds)
{
    if (kinds)
        return c_eq(r->kind, text) || c_eq(r->list_kind, text);
    return c_eq(r->plural, text) || c_eq(r->singular, text) || words_have(r->short_names, text);
}

/* Does another definition of the group, or a built-in kind, have the name? */
static bool is_taken(
    struct definitions_controller *c, const struct entry *mine, const char *text, bool kinds)
{
    struct entry *e, *next;
    const struct api *api = c->server->api;
    HASH_ITER(hh, c->entries, e, next)
    if (e != mine && e->accepted && c_eq(e->group, mine->group) &&
        names_have(e->accepted, text, kinds))
        return true;
    for (size_t i = 0; i < api_count(api); i++)
        if (c_eq(api_at(api, i)->group, mine->group) && resource_has(api_at(api, i), text, kinds))
            return true;
    return false;
}

struct verdict {
    const char *reason; /* NULL: no conflict yet */
    struct strbuf message;
};

static void object_to(struct verdict *v, const char *reason, const char *name)
{
    if (v->reason && !c_eq(v->reason, reason))
        v->message.n = 0;
    v->reason = reason;
    strbuf_addf(&v->message, "%s\"%s\" is already in use", v->message.n ? ", " : "", name);
}

/* One name: taken over into `accepted` when it is free or was accepted before. */
static void judge_name(struct definitions_controller *c, const struct entry *e, const cJSON *wanted,
    cJSON *accepted, const char *member, bool kinds, const char *reason, struct verdict *v)
{
    const char *name = json_string(wanted, member);
    if (!name || !*name)
        return;
    if (c_eq(json_string(accepted, member), name) || !is_taken(c, e, name, kinds))
        json_set_string(accepted, member, name);
    else
        object_to(v, reason, name);
}

static void judge_short_names(struct definitions_controller *c, const struct entry *e,
    const cJSON *wanted, cJSON *accepted, struct verdict *v)
{
    const cJSON *item, *had = json_get(accepted, "shortNames");
    bool conflict = false;
    cJSON_ArrayForEach(item, json_get(wanted, "shortNames"))
    {
        if (!cJSON_IsString(item) || list_has(had, item->valuestring) ||
            !is_taken(c, e, item->valuestring, false))
            continue;
        object_to(v, "ShortNamesConflict", item->valuestring);
        conflict = true;
    }
    if (conflict)
        return;
    if (json_get(wanted, "shortNames"))
        json_set(accepted, "shortNames", cJSON_Duplicate(json_get(wanted, "shortNames"), true));
    else
        json_remove(accepted, "shortNames");
}

/* Changes the tree's accepted names and conditions; true: something to write. */
static bool judge_names(struct definitions_controller *c, const struct entry *e, cJSON *tree)
{
    char now[TIME_TEXT_BYTES];
    const cJSON *wanted = json_path(tree, "spec.names");
    const cJSON *had = json_path(tree, "status.acceptedNames");
    autojson cJSON *before = had ? cJSON_Duplicate(had, true) : cJSON_CreateObject();
    cJSON *accepted = cJSON_Duplicate(before, true);
    struct verdict v = {0};
    strbuf_init(&v.message, 0);
    judge_name(c, e, wanted, accepted, "plural", false, "PluralConflict", &v);
    judge_name(c, e, wanted, accepted, "singular", false, "SingularConflict", &v);
    judge_short_names(c, e, wanted, accepted, &v);
    judge_name(c, e, wanted, accepted, "kind", true, "KindConflict", &v);
    judge_name(c, e, wanted, accepted, "listKind", true, "ListKindConflict", &v);
    if (json_get(wanted, "categories"))
        json_set(accepted, "categories", cJSON_Duplicate(json_get(wanted, "categories"), true));
    else
        json_remove(accepted, "categories");
    bool changed = !json_equal(before, accepted);
    json_set_at(tree, "status.acceptedNames", accepted);
    time_print_s(env_wall_ns(c->server->env), now);
    changed |= definition_set_condition(tree, "NamesAccepted", v.reason ? "False" : "True",
        v.reason ? v.reason : "NoConflicts", v.reason ? v.message.data : "no conflicts found", now);
    if (!is_true(tree, "Established"))
        changed |= v.reason ? definition_set_condition(tree, "Established", "False", "NotAccepted",
                                  "not all names are accepted", now)
                            : definition_set_condition(tree, "Established", "False", "Installing",
                                  "the initial names have been accepted", now);
    strbuf_done(&v.message);
    return changed;
}

/* --- writing --- */

static void put(struct definitions_controller *c, const struct entry *e, const cJSON *tree,
    const char *subresource)
{
    struct error err;
    autofree char *target = str_format(COLLECTION "/%s%s", e->name, subresource);
    /* A conflict: somebody was faster, and his change brings us here again. */
    if (request_call(c->server, "PUT", target, tree, NULL, &err) < 0 && err.code != ERR_CONFLICT &&
        err.code != ERR_NOT_FOUND)
        log_warning("a definition's state can't be written, trying again at its next change",
            "name", "%s", e->name, "err", "%s", err.text, NULL);
}

static void establish(struct definitions_controller *c, const struct entry *e, cJSON *tree)
{
    char now[TIME_TEXT_BYTES];
    if (is_true(tree, "Established") || !is_true(tree, "NamesAccepted"))
        return;
    time_print_s(env_wall_ns(c->server->env), now);
    definition_set_condition(tree, "Established", "True", "InitialNamesAccepted",
        "the initial names have been accepted", now);
    put(c, e, tree, "/status");
}

/* --- the end --- */

/* The path of objects in a version that is served, or NULL. */
static char *object_path(
    const struct api *api, const struct resource *storage, const struct object *o)
{
    const struct resource *r = api_find_plural(api, storage->group, storage->plural);
    if (!r)
        return NULL;
    if (!o->namespace_.n)
        return str_format("/apis/%s/%s/%.*s", r->group_version, r->plural, STR_FMT(o->name));
    return str_format("/apis/%s/namespaces/%.*s/%s/%.*s", r->group_version, STR_FMT(o->namespace_),
        r->plural, STR_FMT(o->name));
}

/* Deletes objects that are not being deleted yet, some at a time. Returns how many are there. */
static size_t delete_objects(struct definitions_controller *c, const struct resource *storage)
{
    struct api *api = definitions_api(c->server->definitions);
    struct snapshot *s = snapshot_take(c->server->cache, storage);
    const struct object *o = NULL;
    struct own_request batch[BATCH];
    size_t n = 0, count = snapshot_count(s, STR(""));
    for (;;) {
        o = snapshot_next(s, STR(""), o ? o->namespace_ : STR(""), o ? o->name : STR(""));
        char *path = o && !o->deleting ? object_path(api, storage, o) : NULL;
        if (path)
            batch[n++] = (struct own_request){.method = "DELETE", .target = path};
        if (n == BATCH || (!o && n > 0)) {
            request_call_all(c->server, batch, n);
            for (size_t i = 0; i < n; i++)
                free((char *)(uintptr_t)batch[i].target);
            n = 0;
        }
        if (!o)
            break;
    }
    snapshot_free(s);
    api_unref(api);
    return count;
}

static void drop_finalizer(cJSON *tree)
{
    cJSON *list = json_path(tree, "metadata.finalizers");
    for (cJSON *item = list ? list->child : NULL, *next; item; item = next) {
        next = item->next;
        if (cJSON_IsString(item) && c_eq(item->valuestring, CLEANUP_FINALIZER))
            cJSON_Delete(cJSON_DetachItemViaPointer(list, item));
    }
}

static bool has_finalizer(const cJSON *tree)
{
    return list_has(json_path(tree, "metadata.finalizers"), CLEANUP_FINALIZER);
}

static void finalize(struct definitions_controller *c, struct entry *e, cJSON *tree)
{
    char now[TIME_TEXT_BYTES];
    const struct resource *storage = definitions_storage(c->server->definitions, e->name);
    if (!storage || !has_finalizer(tree)) {
        if (storage)
            resource_drop(storage);
        return;
    }
    size_t left = delete_objects(c, storage);
    resource_drop(storage);
    time_print_s(env_wall_ns(c->server->env), now);
    if (left > 0) {
        c->poll_ns = c->poll_ns ? c->poll_ns : POLL_FIRST_NS;
        if (definition_set_condition(tree, "Terminating", "True", "InstanceDeletionInProgress",
                "CustomResource deletion is in progress", now))
            put(c, e, tree, "/status");
        return;
    }
    drop_finalizer(tree);
    put(c, e, tree, "");
}

static void look(struct definitions_controller *c, struct entry *e)
{
    struct object *o = cache_get(c->server->cache, c->resource, STR(""), str_of(e->name));
    if (!o)
        return;
    autojson cJSON *tree = object_tree(o);
    bool deleting = o->deleting;
    object_unref(o);
    if (deleting)
        finalize(c, e, tree);
    else if (judge_names(c, e, tree))
        put(c, e, tree, "/status");
    else
        establish(c, e, tree);
}

/* --- the task --- */

static void wake(void *arg)
{
    struct definitions_controller *c = arg;
    env_lock(c->server->env, &c->lock);
    c->woken = true;
    env_signal(c->server->env, &c->changed);
    env_unlock(c->server->env, &c->lock);
}

static void list_all(struct definitions_controller *c)
{
    struct entry *e, *next;
    const struct object *o = NULL;
    struct error err;
    HASH_ITER(hh, c->entries, e, next) entry_free(c, e);
    watcher_free(c->watcher);
    c->watcher = NULL;
    struct snapshot *s = snapshot_take(c->server->cache, c->resource);
    while ((o = snapshot_next(s, STR(""), STR(""), o ? o->name : STR(""))))
        note(c, o);
    struct watch_filter all = {0};
    if (watcher_new(c->server->cache, c->resource, snapshot_version(s), &all, wake, c, &c->watcher,
            &err) < 0)
        c->watcher = NULL;
    snapshot_free(s);
}

static void take_events(struct definitions_controller *c)
{
    const struct event *event;
    enum event_type as;
    struct error err;
    int r = 0;
    while (c->watcher && (r = watcher_next(c->watcher, &event, &as, &err)) > 0) {
        if (as == EVENT_DELETED)
            forget(c, event->object);
        else
            note(c, event->object);
    }
    if (!c->watcher || r < 0)
        list_all(c);
}

/* false: the server stops. */
static bool rest(struct definitions_controller *c)
{
    struct env *env = c->server->env;
    env_lock(env, &c->lock);
    int64_t until = env_now_ns(env) + (c->poll_ns ? c->poll_ns : REST_NS);
    bool timed_out = false;
    while (!c->woken && !c->stopping && !timed_out)
        timed_out = !env_wait_until(env, &c->changed, &c->lock, until);
    c->woken = false;
    bool go_on = !c->stopping;
    env_unlock(env, &c->lock);
    return go_on;
}

/* Definitions that wait for their objects: again, ever less often. */
static void poll(struct definitions_controller *c)
{
    struct entry *e, *next;
    int64_t wait_ns = 2 * c->poll_ns < POLL_MAX_NS ? 2 * c->poll_ns : POLL_MAX_NS;
    if (!c->poll_ns)
        return;
    c->poll_ns = 0;
    HASH_ITER(hh, c->entries, e, next)
    if (e->deleting)
        look(c, e);
    if (c->poll_ns)
        c->poll_ns = wait_ns;
}

static bool is_stopping(struct definitions_controller *c)
{
    return atomic_load(&c->server->stopping);
}

static void run(void *arg)
{
    struct definitions_controller *c = arg;
    struct entry *e;
    list_all(c);
    do {
        take_events(c);
        while (!is_stopping(c) && (e = pop(c))) {
            look(c, e);
            take_events(c);
        }
        poll(c);
    } while (rest(c));
}

struct definitions_controller *definitions_controller_new(struct server *server)
{
    struct definitions_controller *c = xcalloc(1, sizeof(*c));
    c->server = server;
    c->queue_end = &c->queue;
    c->resource = api_find_plural(server->api, "apiextensions.k8s.io", "customresourcedefinitions");
    env_lock_init(&c->lock);
    env_cond_init(&c->changed);
    c->task = env_spawn(server->env, "definitions", run, c);
    return c;
}

void definitions_controller_free(struct definitions_controller *c)
{
    struct entry *e, *next;
    if (!c)
        return;
    env_lock(c->server->env, &c->lock);
    c->stopping = true;
    env_signal(c->server->env, &c->changed);
    env_unlock(c->server->env, &c->lock);
    env_join(c->server->env, c->task);
    watcher_free(c->watcher);
    HASH_ITER(hh, c->entries, e, next) entry_free(c, e);
    env_cond_done(&c->changed);
    env_lock_done(&c->lock);
    free(c);
}
