/*
 * A node towards the API: registration, status (when it changes, or every five minutes), Lease
 * (every ten seconds).
 *
 * The Lease has a queue of its own, so nothing else a kubelet does can make its node look dead.
 *
 * Upstream: kubelet_node_status.go; component-helpers apimachinery/lease.
 */
#include "kubelet/agent.h"

#include "common/log.h"
#include "common/names.h"
#include "common/time.h"

#define SYNC_NS (10 * NS_PER_S)
#define SETTLE_NS (20 * NS_PER_S)
#define IMAGES_NS (60 * NS_PER_S)
#define LEASE_SECONDS 40
#define LEASE_NS (10 * NS_PER_S)

static struct kubelet *find_node(struct agent *agent, const char *name)
{
    struct kubelet *node = NULL;

    env_lock(agent->env, &agent->lock);
    HASH_FIND_STR(agent->kubelets, name, node);
    env_unlock(agent->env, &agent->lock);
    return node;
}

static void note_answer(struct kubelet *node, const cJSON *answer)
{
    const char *uid = json_string_at(answer, "metadata.uid");
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    strbuf_init(&text, 0);
    if (json_path(answer, "status.conditions"))
        json_print(json_path(answer, "status.conditions"), &text);
    env_lock(node->agent->env, &node->lock);
    if (uid) {
        free(node->uid);
        node->uid = xstrdup(uid);
    }
    if (text.n) {
        free(node->conditions);
        node->conditions = strbuf_steal(&text);
    }
    env_unlock(node->agent->env, &node->lock);
}

/* An object of our name that is there already: our labels are put back, everything else is left
 * alone. */
static int adopt(struct kubelet *node, const cJSON *wanted, struct error *err)
{
    struct api_ref ref = {.group_version = "v1", .plural = "nodes", .name = node->name};
    autojson cJSON *found = NULL, *patch = cJSON_CreateObject();
    const cJSON *label;
    bool differs = false;

    if (api_get(node->agent->api, &ref, &found, err) < 0)
        return -err->code;
    note_answer(node, found);
    node->adopted = true;
    cJSON_ArrayForEach(label, json_path(wanted, "metadata.labels")) differs =
        differs ||
        !c_eq(json_string(json_path(found, "metadata.labels"), label->string), label->valuestring);
    if (!differs)
        return 0;
    json_set_at(
        patch, "metadata.labels", cJSON_Duplicate(json_path(wanted, "metadata.labels"), true));
    return api_patch(node->agent->api, &ref, PATCH_STRATEGIC, patch, NULL, err);
}

static int register_node(struct kubelet *node, struct error *err)
{
    struct api_ref ref = {.group_version = "v1", .plural = "nodes"};
    autojson cJSON *wanted = node_object(node), *answer = NULL;

    int r = api_create(node->agent->api, &ref, wanted, &answer, err);
    if (r == -ERR_ALREADY_EXISTS)
        r = adopt(node, wanted, err);
    else if (r == 0)
        note_answer(node, answer);
    if (r < 0)
        return error_wrap(err, "node %s", node->name);
    node->registered = true;
    log_info("node registered", "node", "%s", node->name, "address", "%s", node->ip, NULL);
    workqueue_add(node->agent->lease_queue, node->name);
    return 0;
}

static uint32_t hash_of(const cJSON *status)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    strbuf_init(&text, 0);
    json_print(status, &text);
    return fnv32a(strbuf_str(&text));
}

static void stamp_heartbeat(struct kubelet *node, cJSON *status)
{
    char now[TIME_TEXT_BYTES];
    cJSON *condition;

    time_print_s(env_wall_ns(node->agent->env), now);
    cJSON_ArrayForEach(condition, json_get(status, "conditions"))
        json_set_string(condition, "lastHeartbeatTime", now);
}

static bool says_ready(const cJSON *status)
{
    const cJSON *condition;

    cJSON_ArrayForEach(condition, json_get(status, "conditions"))
    {
        if (c_eq(json_string(condition, "type"), "Ready"))
            return c_eq(json_string(condition, "status"), "True");
    }
    return false;
}

/* A kubelet that was restarted has not looked at its runtime yet: what the API says of the node
 * stands until it has, or its Services would lose all pods of the node for a moment. */
static bool is_too_early(struct kubelet *node, const cJSON *status, int64_t now_ns)
{
    return node->adopted && node->last_written_ns == 0 && !says_ready(status) &&
           now_ns < node->agent->started_ns + SETTLE_NS;
}

static int write_status(struct kubelet *node, struct error *err)
{
    struct agent *agent = node->agent;
    struct api_ref ref = {
        .group_version = "v1", .plural = "nodes", .name = node->name, .subresource = "status"};
    autojson cJSON *old = NULL, *answer = NULL, *patch = cJSON_CreateObject();
    struct error ignored;
    int64_t now_ns = env_now_ns(agent->env);

    env_lock(agent->env, &node->lock);
    bool report = node->report;
    node->report = false;
    if (node->conditions && json_parse(str_of(node->conditions), &old, &ignored) < 0)
        old = NULL;
    env_unlock(agent->env, &node->lock);
    cJSON *status = node_status(node, old);
    json_set(patch, "status", status);
    uint32_t hash = hash_of(status);
    if (is_too_early(node, status, now_ns)) {
        env_lock(agent->env, &node->lock);
        node->report = report;
        env_unlock(agent->env, &node->lock);
        return 0;
    }
    if (!report && hash == node->status_hash &&
        now_ns < node->last_written_ns + agent->config->node_status_frequency_ns)
        return 0;
    stamp_heartbeat(node, status);
    /* Addresses have a merge key that an address of ours which changed would survive. */
    cJSON_AddItemToArray(json_get(status, "addresses"), json_make("{\"$patch\":\"replace\"}"));
    int r = api_patch(agent->api, &ref, PATCH_STRATEGIC, patch, &answer, err);
    if (r == -ERR_NOT_FOUND) {
        log_warning("node object is gone, registering again", "node", "%s", node->name, NULL);
        node->registered = false;
        workqueue_add(agent->node_queue, node->name);
        return 0;
    }
    if (r < 0) {
        node->status_hash = 0;
        return error_wrap(err, "status of node %s", node->name);
    }
    note_answer(node, answer);
    node->status_hash = hash;
    node->last_written_ns = now_ns;
    return 0;
}

/* A runtime that does not answer leaves what was known. */
static void list_images(struct agent *agent)
{
    struct runtime *rt = agent->runtime;
    int64_t now_ns = env_now_ns(agent->env);
    cJSON *images = NULL;
    struct error ignored;

    env_lock(agent->env, &agent->lock);
    bool is_time = agent->runtime_ready && rt->ops->image_list &&
                   (agent->images_ns == 0 || now_ns - agent->images_ns >= IMAGES_NS);
    if (is_time)
        agent->images_ns = now_ns;
    env_unlock(agent->env, &agent->lock);
    if (!is_time || rt->ops->image_list(rt, &images, &ignored) < 0)
        return;
    env_lock(agent->env, &agent->lock);
    cJSON_Delete(agent->images);
    agent->images = images;
    env_unlock(agent->env, &agent->lock);
}

int node_sync(void *arg, const char *name, int64_t *ret_again_ns, struct error *err)
{
    struct kubelet *node = find_node(arg, name);

    if (!node)
        return 0;
    if (!node->registered && register_node(node, err) < 0)
        return -err->code;
    if (!node->agent->runtime->pretends)
        node_network_sync(node);
    list_images(node->agent);
    if (write_status(node, err) < 0)
        return -err->code;
    *ret_again_ns = env_jitter_ns(node->agent->env, SYNC_NS, 0.04);
    return 0;
}

void node_report(struct agent *agent, const char *name)
{
    struct kubelet *node = find_node(agent, name);

    if (!node)
        return;
    env_lock(agent->env, &node->lock);
    node->report = true;
    env_unlock(agent->env, &node->lock);
    workqueue_add(agent->node_queue, name);
}

static cJSON *lease_object(struct kubelet *node)
{
    cJSON *lease =
        json_make("{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{"
                  "\"namespace\":\"kube-node-lease\"},\"spec\":{\"leaseDurationSeconds\":%d}}",
            LEASE_SECONDS);
    char now[TIME_TEXT_BYTES];

    json_set_string_at(lease, "metadata.name", node->name);
    json_set_string_at(lease, "spec.holderIdentity", node->name);
    json_set_string_at(lease, "spec.renewTime", time_print_us(env_wall_ns(node->agent->env), now));
    env_lock(node->agent->env, &node->lock);
    if (node->uid) {
        cJSON *owners = json_make("[{\"apiVersion\":\"v1\",\"kind\":\"Node\"}]");
        json_set_string(cJSON_GetArrayItem(owners, 0), "name", node->name);
        json_set_string(cJSON_GetArrayItem(owners, 0), "uid", node->uid);
        json_set_at(lease, "metadata.ownerReferences", owners);
    }
    if (node->lease_version)
        json_set_string_at(lease, "metadata.resourceVersion", node->lease_version);
    env_unlock(node->agent->env, &node->lock);
    return lease;
}

static void note_lease(struct kubelet *node, const cJSON *lease)
{
    const char *version = json_string_at(lease, "metadata.resourceVersion");

    env_lock(node->agent->env, &node->lock);
    free(node->lease_version);
    node->lease_version = version ? xstrdup(version) : NULL;
    env_unlock(node->agent->env, &node->lock);
}

static int create_or_find(struct kubelet *node, struct error *err)
{
    struct api_ref ref = {.group_version = "coordination.k8s.io/v1",
        .plural = "leases",
        .namespace_ = "kube-node-lease"};
    autojson cJSON *lease = lease_object(node), *answer = NULL;

    int r = api_create(node->agent->api, &ref, lease, &answer, err);
    if (r == -ERR_ALREADY_EXISTS) {
        ref.name = node->name;
        r = api_get(node->agent->api, &ref, &answer, err);
    }
    if (r == 0)
        note_lease(node, answer);
    return r;
}

int lease_renew(void *arg, const char *name, int64_t *ret_again_ns, struct error *err)
{
    struct kubelet *node = find_node(arg, name);
    struct api_ref ref = {.group_version = "coordination.k8s.io/v1",
        .plural = "leases",
        .namespace_ = "kube-node-lease",
        .name = name};
    autojson cJSON *lease = NULL, *answer = NULL;

    if (!node)
        return 0;
    if (!node->lease_version) {
        if (create_or_find(node, err) < 0)
            return error_wrap(err, "lease of node %s", name);
        *ret_again_ns = env_jitter_ns(node->agent->env, LEASE_NS / 2, 1.0);
        return 0;
    }
    lease = lease_object(node);
    int r = api_update(node->agent->api, &ref, lease, &answer, err);
    if (r == -ERR_CONFLICT || r == -ERR_NOT_FOUND) {
        note_lease(node, NULL); /* read it again, at once */
        *ret_again_ns = NS_PER_MS;
        return 0;
    }
    if (r < 0)
        return error_wrap(err, "lease of node %s", name);
    note_lease(node, answer);
    int64_t now_ns = env_now_ns(node->agent->env);
    /* Late by so much that we may have been given up: everybody should hear from us, not from the
     * Lease alone. */
    if (node->renewed_ns && now_ns > node->renewed_ns + 3 * LEASE_NS)
        node_report(node->agent, name);
    node->renewed_ns = now_ns;
    *ret_again_ns = env_jitter_ns(node->agent->env, LEASE_NS, 0.04);
    return 0;
}
