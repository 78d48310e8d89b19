/*
 * Which daemon pods to make and to delete: see daemonset.h.
 *
 * Without surge an old pod is deleted first (unavailable ones at once, available ones within
 * maxUnavailable), and the next round makes the new one. With surge the new pod is made beside the
 * old one (at most maxSurge at a time), and the old one goes when the new one is available.
 *
 * Upstream: pkg/controller/daemon (manage, rollingUpdate).
 */
#include "controller/daemonset.h"

#include "common/time.h"
#include "controller/pods.h"
#include "controller/revisions.h"

/* A pod that its node refuses fails at once: one try in this time. */

static bool is_updated(const struct daemon_update *u, const struct pod *pod)
{
    return c_eq(string_map_get(&pod->meta.labels, REVISION_HASH), u->hash);
}

static bool is_available(const struct daemon_update *u, const struct pod *pod)
{
    return !pod->meta.deletion_ns && pod_is_available(pod, u->min_ready_seconds, u->now_ns, NULL);
}

static void add_remove(struct daemon_plan *plan, const struct pod *pod)
{
    plan->remove[plan->remove_count++] = pod;
}

/* The oldest live old and new pod; false when there are several of one kind. */
static bool find_pair(const struct daemon_node *n, const struct daemon_update *u,
    const struct pod **ret_new, const struct pod **ret_old)
{
    *ret_new = *ret_old = NULL;
    for (size_t i = 0; i < n->count; i++) {
        const struct pod *pod = n->pods[i];
        const struct pod **slot = is_updated(u, pod) ? ret_new : ret_old;
        if (pod->meta.deletion_ns)
            continue;
        if (*slot)
            return false;
        *slot = pod;
    }
    return true;
}

/* Live pods above the allowed one (with surge: one old and one new) go, younger ones first. */
static void trim(
    const struct daemon_node *n, const struct daemon_update *u, struct daemon_plan *plan)
{
    const struct pod *kept_old = NULL, *kept_new = NULL;

    for (size_t i = 0; i < n->count; i++) {
        const struct pod *pod = n->pods[i];
        if (!pod_is_active(pod))
            continue;
        bool fresh = is_updated(u, pod);
        if (u->max_surge == 0 ? kept_old || kept_new : (fresh ? kept_new : kept_old) != NULL) {
            add_remove(plan, pod);
            continue;
        }
        if (fresh)
            kept_new = pod;
        else
            kept_old = pod;
    }
}

static void plan_node(
    const struct daemon_node *n, const struct daemon_update *u, struct daemon_plan *plan)
{
    size_t live = 0;

    for (size_t i = 0; i < n->count; i++) {
        const struct pod *pod = n->pods[i];
        bool stays = n->may_stay && pod_is_active(pod);
        live += stays;
        /* Finished daemon pods are made again, but not in a hot loop; those on a wrong node go. */
        if (stays || pod->meta.deletion_ns)
            continue;
        int64_t wait = n->may_stay ? n->failed_wait_ns : 0;
        if (wait <= 0)
            add_remove(plan, pod);
        else if (!plan->again_ns || wait < plan->again_ns)
            plan->again_ns = wait;
    }
    if (live > 1)
        trim(n, u, plan);
    if (n->should_run && n->count == 0)
        plan->create[plan->create_count++] = n->name;
}

static void update_in_place(const struct daemon_node *nodes, size_t count,
    const struct daemon_update *u, struct daemon_plan *plan)
{
    int64_t unavailable = 0;
    autofree const struct pod **candidates = xcalloc(count + 1, sizeof(*candidates));
    size_t candidate_count = 0;

    for (size_t i = 0; i < count; i++) {
        const struct pod *fresh, *old;
        if (!nodes[i].should_run)
            continue;
        if (!find_pair(&nodes[i], u, &fresh, &old) || !fresh == !old) {
            unavailable++;
        } else if (fresh) {
            unavailable += !is_available(u, fresh);
        } else if (!is_available(u, old)) {
            unavailable++;
            add_remove(plan, old);
        } else {
            candidates[candidate_count++] = old;
        }
    }
    for (size_t i = 0; i < candidate_count && unavailable < u->max_unavailable; i++, unavailable++)
        add_remove(plan, candidates[i]);
}

static void update_by_surge(const struct daemon_node *nodes, size_t count,
    const struct daemon_update *u, struct daemon_plan *plan)
{
    int64_t surge = 0;
    autofree const char **candidates = xcalloc(count + 1, sizeof(*candidates));
    size_t candidate_count = 0;

    for (size_t i = 0; i < count; i++) {
        const struct pod *fresh, *old;
        if (!nodes[i].should_run)
            continue;
        if (!find_pair(&nodes[i], u, &fresh, &old)) {
            surge++;
        } else if (!old) {
            continue;
        } else if (!fresh) {
            if (!is_available(u, old))
                plan->create[plan->create_count++] = nodes[i].name;
            else
                candidates[candidate_count++] = nodes[i].name;
        } else if (!is_available(u, old) || is_available(u, fresh)) {
            add_remove(plan, old);
        } else {
            surge++;
        }
    }
    for (size_t i = 0; i < candidate_count && surge < u->max_surge; i++, surge++)
        plan->create[plan->create_count++] = candidates[i];
}

void daemon_plan(const struct daemon_node *nodes, size_t count, const struct daemon_update *u,
    struct daemon_plan *plan)
{
    for (size_t i = 0; i < count; i++)
        plan_node(&nodes[i], u, plan);
    if (!u->rolling || plan->create_count || plan->remove_count)
        return;
    if (u->max_surge > 0)
        update_by_surge(nodes, count, u, plan);
    else
        update_in_place(nodes, count, u, plan);
}

struct daemon_counts daemon_count(
    const struct daemon_node *nodes, size_t count, const struct daemon_update *u, int64_t *again_ns)
{
    struct daemon_counts n = {0};

    for (size_t i = 0; i < count; i++) {
        const struct pod *pod = nodes[i].count ? nodes[i].pods[0] : NULL;
        if (!nodes[i].should_run) {
            n.misscheduled += pod != NULL;
            continue;
        }
        n.desired++;
        if (!pod)
            continue;
        n.current++;
        n.ready += pod_is_ready(pod);
        n.available += pod_is_available(pod, u->min_ready_seconds, u->now_ns, again_ns);
        for (size_t k = 0; k < nodes[i].count; k++)
            if (is_updated(u, nodes[i].pods[k])) {
                n.updated++;
                break;
            }
    }
    return n;
}
