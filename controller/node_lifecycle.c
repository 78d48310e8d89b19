/*
 * Controller "node-lifecycle": notices nodes that fell silent, and turns conditions into taints.
 *
 * A node is alive while its Lease or its Ready heartbeat changes. When neither did for the grace
 * period (40 s; a node that never posted a status has 60 s) its conditions become Unknown and its
 * pods not ready. Taints follow the conditions: NoSchedule for each bad one, and NoExecute
 * not-ready or unreachable, which the taint eviction controller acts on. NoExecute taints of a zone
 * are added one after the other with a pause, longer or not at all while much of the zone is silent
 * (node_zones.h).
 *
 * What it remembers is when it last heard of each node, by its own clock: a restart begins a new
 * grace period. Each node has one timer in the queue; a healthy node costs no API call.
 *
 * Upstream: pkg/controller/nodelifecycle.
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/manager.h"
#include "controller/node_taints.h"
#include "controller/node_zones.h"
#include "controller/pods.h"

#define STARTUP_GRACE_NS (60 * NS_PER_S)
#define CHECK_NS (5 * NS_PER_S)

struct heard {
    char *name;
    int64_t heard_ns; /* monotonic */
};

/* When a zone's last node was given up. */
struct zone {
    char *name;
    int64_t evicted_ns; /* monotonic */
};

/* c->state. The table of nodes is sorted by name; nodes come and go rarely. */
struct lifecycle {
    struct lock lock; /* guards nodes */
    struct heard *nodes;
    size_t count;
    struct zone *zones; /* the one worker's */
    size_t zone_count;
};

static size_t lower_bound(const struct lifecycle *l, const char *name)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        if (strcmp(l->nodes[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Notes a sign of life; also the first look at a node counts as one. */
static void hear(struct controller *c, const char *name, bool only_first)
{
    struct lifecycle *l = c->state;
    struct env *env = manager_env(c->m);

    env_lock(env, &l->lock);
    size_t i = lower_bound(l, name);
    bool known = i < l->count && !strcmp(l->nodes[i].name, name);
    if (!known) {
        l->nodes = xrealloc(l->nodes, (l->count + 1) * sizeof(*l->nodes));
        memmove(&l->nodes[i + 1], &l->nodes[i], (l->count - i) * sizeof(*l->nodes));
        l->nodes[i].name = xstrdup(name);
        l->count++;
    }
    if (!known || !only_first)
        l->nodes[i].heard_ns = env_now_ns(env);
    env_unlock(env, &l->lock);
}

static void forget(struct controller *c, const char *name)
{
    struct lifecycle *l = c->state;
    struct env *env = manager_env(c->m);

    env_lock(env, &l->lock);
    size_t i = lower_bound(l, name);
    if (i < l->count && !strcmp(l->nodes[i].name, name)) {
        free(l->nodes[i].name);
        memmove(&l->nodes[i], &l->nodes[i + 1], (l->count - i - 1) * sizeof(*l->nodes));
        l->count--;
    }
    env_unlock(env, &l->lock);
}

static int64_t silent_for(struct controller *c, const char *name)
{
    struct lifecycle *l = c->state;
    struct env *env = manager_env(c->m);

    env_lock(env, &l->lock);
    size_t i = lower_bound(l, name);
    bool known = i < l->count && !strcmp(l->nodes[i].name, name);
    int64_t silent = known ? env_now_ns(env) - l->nodes[i].heard_ns : 0;
    env_unlock(env, &l->lock);
    return silent;
}

/* --- conditions --- */

const struct node_condition *node_condition(const struct node *node, const char *type)
{
    const struct node_condition *conditions = node->conditions.items;

    for (size_t i = 0; i < node->conditions.count; i++)
        if (!strcmp(conditions[i].type, type))
            return &conditions[i];
    return NULL;
}

static bool condition_is_value(const struct node *node, const char *type, const char *status)
{
    const struct node_condition *c = node_condition(node, type);
    return c && !strcmp(c->status, status);
}

static cJSON *condition_json(const struct node_condition *c, const char *status, const char *reason,
    const char *message, int64_t transition_ns)
{
    char text[TIME_TEXT_BYTES];
    cJSON *json = cJSON_CreateObject();

    json_set_string(json, "type", c->type);
    json_set_string(json, "status", status);
    if (c->heartbeat_ns)
        json_set_string(json, "lastHeartbeatTime", time_print_s(c->heartbeat_ns, text));
    json_set_string(json, "lastTransitionTime", time_print_s(transition_ns, text));
    json_set_string(json, "reason", reason);
    json_set_string(json, "message", message);
    return json;
}

static bool goes_unknown(const char *type)
{
    return !strcmp(type, "Ready") || !strcmp(type, "MemoryPressure") ||
           !strcmp(type, "DiskPressure") || !strcmp(type, "PIDPressure");
}

/* All of the node's conditions, the kubelet's own as Unknown. */
static cJSON *unknown_conditions(struct controller *c, const struct node *node)
{
    static const char *const never[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};
    const struct node_condition *old = node->conditions.items;
    int64_t now = env_wall_ns(manager_env(c->m));
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < node->conditions.count; i++) {
        bool turn = goes_unknown(old[i].type) && strcmp(old[i].status, "Unknown");
        cJSON_AddItemToArray(array, turn ? condition_json(&old[i], "Unknown", "NodeStatusUnknown",
                                               "Kubelet stopped posting node status.", now)
                                         : condition_json(&old[i], old[i].status, old[i].reason,
                                               old[i].message, old[i].transition_ns));
    }
    for (size_t i = 0; i < ARRAY_COUNT(never); i++)
        if (!node_condition(node, never[i]))
            cJSON_AddItemToArray(array,
                condition_json(&(struct node_condition){.type = never[i],
                                   .heartbeat_ns = node->meta.creation_ns},
                    "Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status.", now));
    return array;
}

/* --- pods of a silent node --- */

static int mark_pod(struct controller *c, const struct pod *pod, struct error *err)
{
    char now[TIME_TEXT_BYTES];
    struct api_ref ref = object_api_ref(KIND_POD, &pod->meta, "status");

    time_print_s(env_wall_ns(manager_env(c->m)), now);
    autojson cJSON *patch =
        json_make("{\"metadata\":{\"uid\":\"%s\"},\"status\":{\"conditions\":[{\"type\":"
                  "\"Ready\",\"status\":\"False\",\"lastTransitionTime\":\"%s\"}]}}",
            pod->meta.uid, now);
    int r = api_patch(manager_client(c->m), &ref, PATCH_STRATEGIC, patch, NULL, err);
    if (r == 0)
        controller_event(
            c, KIND_POD, &pod->meta, EVENT_WARNING, "NodeNotReady", "Node is not ready");
    return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? 0 : r;
}

static int mark_pods(struct controller *c, const char *node, struct error *err)
{
    auto_objects struct projected_array pods = kind_by(c->m, KIND_POD, INDEX_NODE, node);

    for (size_t i = 0; i < pods.count; i++)
        if (pod_is_ready(pods.objects[i]) && mark_pod(c, pods.objects[i], err) < 0)
            return -(int)err->code;
    return 0;
}

/* --- taints --- */

static struct zone *find_zone(struct lifecycle *l, const char *name)
{
    for (size_t i = 0; i < l->zone_count; i++)
        if (!strcmp(l->zones[i].name, name))
            return &l->zones[i];
    l->zones = xrealloc(l->zones, (l->zone_count + 1) * sizeof(*l->zones));
    l->zones[l->zone_count] = (struct zone){.name = xstrdup(name)};
    return &l->zones[l->zone_count++];
}

/* Whether a node that isn't ready may be given up now; else after *ret_wait_ns (0: no telling). */
static bool may_evict(struct controller *c, const struct node *node, int64_t *ret_wait_ns)
{
    auto_objects struct projected_array nodes = kind_list(c->m, KIND_NODE, NULL);
    autofree char *name = node_zone(node);
    struct zone_health health = {0};
    bool all_down = true;

    for (size_t i = 0; i < nodes.count; i++) {
        bool ready = condition_is_value(nodes.objects[i], "Ready", "True");
        autofree char *other = node_zone(nodes.objects[i]);
        all_down &= !ready;
        if (!strcmp(name, other)) {
            health.ready += ready;
            health.not_ready += !ready;
        }
    }
    int64_t pause = zone_pause_ns(&health, all_down);
    struct zone *zone = find_zone(c->state, name);
    int64_t now = env_now_ns(manager_env(c->m));
    *ret_wait_ns = 0;
    if (pause < 0)
        return false;
    if (zone->evicted_ns && now < zone->evicted_ns + pause) {
        *ret_wait_ns = zone->evicted_ns + pause - now;
        return false;
    }
    return true;
}

static bool has_no_execute(const cJSON *taints)
{
    const cJSON *taint;

    cJSON_ArrayForEach(taint, taints)
    {
        if (c_eq(json_string(taint, "effect"), "NoExecute"))
            return true;
    }
    return false;
}

static int write_taints(
    struct controller *c, const struct node *node, int64_t *again_ns, struct error *err)
{
    bool ready = condition_is_value(node, "Ready", "True");
    int64_t wait = 0;
    bool may = ready || may_evict(c, node, &wait);
    int64_t now = env_wall_ns(manager_env(c->m));
    cJSON *taints = node_taints_wanted(node, may, now);

    if (wait && (!*again_ns || wait < *again_ns))
        *again_ns = wait;
    if (!taints)
        return 0;
    if (!ready && may && has_no_execute(taints)) {
        autofree char *name = node_zone(node);
        find_zone(c->state, name)->evicted_ns = env_now_ns(manager_env(c->m));
    }
    cJSON *patch = cJSON_CreateObject();
    json_set_at(patch, "spec.taints", taints);
    return object_patch(c->m, KIND_NODE, &node->meta, NULL, patch, err);
}

/* --- the controller --- */

static int64_t grace_ns(struct controller *c, const struct node *node)
{
    int64_t grace = manager_config(c->m)->node_grace_ns;

    if (!node_condition(node, "Ready"))
        return STARTUP_GRACE_NS;
    return grace ? grace : 40 * NS_PER_S;
}

static int turn_unknown(struct controller *c, const struct node *node, struct error *err)
{
    bool was_ready = condition_is_value(node, "Ready", "True");
    cJSON *patch = cJSON_CreateObject();

    json_set_at(patch, "status.conditions", unknown_conditions(c, node));
    if (object_patch(c->m, KIND_NODE, &node->meta, "status", patch, err) < 0)
        return -(int)err->code;
    log_warning(
        "node fell silent, its conditions are Unknown now", "node", "%s", node->meta.name, NULL);
    if (was_ready)
        controller_event(c, KIND_NODE, &node->meta, EVENT_NORMAL, "NodeNotReady",
            "Node %s status is now: NodeNotReady", node->meta.name);
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", key);

    if (!node) {
        forget(c, key);
        return 0;
    }
    hear(c, key, true);
    int64_t left = grace_ns(c, node) - silent_for(c, key);
    bool is_unknown = condition_is_value(node, "Ready", "Unknown");
    int64_t wait = 0;
    int r = 0;
    if (left <= 0 && !is_unknown)
        r = turn_unknown(c, node, err); /* its event comes back here for the taints */
    else
        r = write_taints(c, node, &wait, err);
    if (r == 0 && !condition_is_value(node, "Ready", "True"))
        r = mark_pods(c, key, err);
    *ret_again_ns = left > 0 ? left : is_unknown ? 0 : CHECK_NS;
    if (wait && (!*ret_again_ns || wait < *ret_again_ns))
        *ret_again_ns = wait;
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static bool same_conditions(const struct node *a, const struct node *b)
{
    const struct node_condition *x = a->conditions.items, *y = b->conditions.items;

    if (a->conditions.count != b->conditions.count)
        return false;
    for (size_t i = 0; i < a->conditions.count; i++)
        if (strcmp(x[i].type, y[i].type) || strcmp(x[i].status, y[i].status))
            return false;
    return true;
}

static bool same_taints(const struct node *a, const struct node *b)
{
    const struct node_taint *x = a->taints.items, *y = b->taints.items;

    if (a->taints.count != b->taints.count)
        return false;
    for (size_t i = 0; i < a->taints.count; i++)
        if (strcmp(x[i].key, y[i].key) || strcmp(x[i].effect, y[i].effect))
            return false;
    return true;
}

/* One that is ready again may change what is done about the others. */
static void add_silent(struct controller *c)
{
    auto_objects struct projected_array nodes = kind_list(c->m, KIND_NODE, NULL);

    for (size_t i = 0; i < nodes.count; i++)
        if (!condition_is_value(nodes.objects[i], "Ready", "True"))
            controller_add(c, nodes.objects[i]);
}

static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node *old = old_object, *now = new_object;
    const struct node_condition *before = old ? node_condition(old, "Ready") : NULL;
    const struct node_condition *after = now ? node_condition(now, "Ready") : NULL;

    if (before && after && before->heartbeat_ns != after->heartbeat_ns &&
        strcmp(after->status, "Unknown"))
        hear(c, now->meta.name, false);
    if (!old || !now || old->unschedulable != now->unschedulable || !same_conditions(old, now) ||
        !same_taints(old, now))
        controller_add(c, now ? &now->meta : &old->meta);
    if (old && now && !condition_is_value(old, "Ready", "True") &&
        condition_is_value(now, "Ready", "True"))
        add_silent(c);
}

static void on_lease(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node_lease *old = old_object, *now = new_object;

    if (old && now && old->renew_ns != now->renew_ns)
        hear(c, now->meta.name, false);
}

static int start(struct controller *c, struct error *err)
{
    struct lifecycle *l = xcalloc(1, sizeof(*l));

    env_lock_init(&l->lock);
    c->state = l;
    return 0;
}

static void stop(struct controller *c)
{
    struct lifecycle *l = c->state;

    for (size_t i = 0; i < l->count; i++)
        free(l->nodes[i].name);
    free(l->nodes);
    for (size_t i = 0; i < l->zone_count; i++)
        free(l->zones[i].name);
    free(l->zones);
    env_lock_done(&l->lock);
    free(l);
}

const struct controller_info controller_node_lifecycle = {
    .name = "node-lifecycle-controller",
    .component = "node-controller",
    .workers = 1,
    .watch_count = 3,
    .watches = {{KIND_NODE, on_node}, {KIND_NODE_LEASE, on_lease}, {KIND_POD, NULL}},
    .reconcile = reconcile,
    .start = start,
    .stop = stop,
};
