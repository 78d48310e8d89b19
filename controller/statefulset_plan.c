/*
 * What a StatefulSet does next: see statefulset.h.
 *
 * Wanted ordinals are [start, start + replicas). In order, from the lowest: a finished pod is
 * deleted (to be made again), a missing one is made. OrderedReady stops at the first that is not
 * running, ready and available. Only then surplus pods go, from the highest, and only then pods of
 * an old revision, from the highest down to the partition, one at a time while all above are
 * healthy. Parallel does all of a kind at once, but updates one at a time.
 *
 * Upstream: stateful_set_control.go.
 */
#include "controller/pods.h"
#include "controller/statefulset.h"

int64_t sts_ordinal(const char *pod_name, const char *set_name)
{
    size_t n = strlen(set_name);
    int64_t ordinal;
    struct error err;

    if (strncmp(pod_name, set_name, n) || pod_name[n] != '-' || pod_name[n + 1] < '0' ||
        pod_name[n + 1] > '9' || str_parse_int64(str_of(pod_name + n + 1), &ordinal, &err) < 0)
        return -1;
    return ordinal;
}

static int64_t ordinal_of(const struct pod *pod)
{
    const char *dash = strrchr(pod->meta.name, '-');
    int64_t ordinal;
    struct error err;

    return dash && str_parse_int64(str_of(dash + 1), &ordinal, &err) == 0 ? ordinal : -1;
}

static bool is_running_and_ready(const struct pod *pod)
{
    return !strcmp(pod->phase, "Running") && pod_is_ready(pod);
}

static bool is_available(const struct sts_view *v, const struct pod *pod, int64_t *again_ns)
{
    return is_running_and_ready(pod) &&
           pod_is_available(pod, v->min_ready_seconds, v->now_ns, again_ns);
}

static bool is_healthy(const struct pod *pod)
{
    return pod && is_running_and_ready(pod) && !pod->meta.deletion_ns;
}

static const char *revision_of(const struct pod *pod)
{
    const char *revision = string_map_get(&pod->meta.labels, REVISION_HASH);
    return revision ? revision : "";
}

static const struct pod *find(const struct sts_view *v, int64_t ordinal)
{
    for (size_t i = 0; i < v->pod_count; i++)
        if (ordinal_of(v->pods[i]) == ordinal)
            return v->pods[i];
    return NULL;
}

static bool needs_current_revision(const struct sts_view *v, int64_t ordinal)
{
    if (v->on_delete || !strcmp(v->current_revision, v->update_revision))
        return false;
    return ordinal < v->start + (v->partition.set ? v->partition.value : v->current_replicas);
}

/* Wanted pods, lowest first. true: nothing further may happen in this round. */
static bool plan_replicas(
    const struct sts_view *v, struct sts_step *steps, size_t *n, int64_t *again_ns)
{
    for (int64_t ordinal = v->start; ordinal < v->start + v->replicas; ordinal++) {
        const struct pod *pod = find(v, ordinal);
        if (!pod) {
            steps[(*n)++] = (struct sts_step){.action = STS_CREATE,
                .ordinal = ordinal,
                .updated = !needs_current_revision(v, ordinal)};
            if (!v->parallel)
                return true;
            continue;
        }
        if (pod_is_terminal(pod)) {
            if (!pod->meta.deletion_ns)
                steps[(*n)++] =
                    (struct sts_step){.action = STS_DELETE, .ordinal = ordinal, .pod = pod};
            if (!v->parallel)
                return true;
            continue;
        }
        if (!v->parallel && (pod->meta.deletion_ns || !is_available(v, pod, again_ns)))
            return true;
    }
    return v->parallel && *n > 0;
}

static bool is_condemned(const struct sts_view *v, const struct pod *pod)
{
    int64_t ordinal = ordinal_of(pod);
    return ordinal < v->start || ordinal >= v->start + v->replicas;
}

/* The unhealthy pod of the lowest ordinal: it may go even if it is not ready. */
static const struct pod *first_unhealthy(const struct sts_view *v)
{
    const struct pod *first = NULL;

    for (size_t i = 0; i < v->pod_count; i++)
        if (!is_healthy(v->pods[i]) && (!first || ordinal_of(v->pods[i]) < ordinal_of(first)))
            first = v->pods[i];
    return first;
}

static const struct pod *highest_condemned(const struct sts_view *v, int64_t below)
{
    const struct pod *highest = NULL;

    for (size_t i = 0; i < v->pod_count; i++) {
        int64_t ordinal = ordinal_of(v->pods[i]);
        if (is_condemned(v, v->pods[i]) && ordinal < below &&
            (!highest || ordinal > ordinal_of(highest)))
            highest = v->pods[i];
    }
    return highest;
}

static bool plan_condemned(
    const struct sts_view *v, struct sts_step *steps, size_t *n, int64_t *again_ns)
{
    const struct pod *unhealthy = first_unhealthy(v), *pod;
    bool any = false;

    for (int64_t below = INT64_MAX; (pod = highest_condemned(v, below)); below = ordinal_of(pod)) {
        any = true;
        if (pod->meta.deletion_ns) {
            if (!v->parallel)
                return true;
            continue;
        }
        if (!v->parallel && pod != unhealthy && !is_available(v, pod, again_ns))
            return true;
        steps[(*n)++] =
            (struct sts_step){.action = STS_DELETE, .ordinal = ordinal_of(pod), .pod = pod};
        if (!v->parallel)
            return true;
    }
    return any && v->parallel && *n > 0;
}

static void plan_update(
    const struct sts_view *v, struct sts_step *steps, size_t *n, int64_t *again_ns)
{
    int64_t lowest = v->start + (v->partition.set ? v->partition.value : 0);

    for (int64_t ordinal = v->start + v->replicas - 1; ordinal >= lowest; ordinal--) {
        const struct pod *pod = find(v, ordinal);
        if (!pod)
            return;
        if (strcmp(revision_of(pod), v->update_revision) && !pod->meta.deletion_ns) {
            steps[(*n)++] = (struct sts_step){.action = STS_DELETE, .ordinal = ordinal, .pod = pod};
            return;
        }
        if (!is_healthy(pod) || !is_available(v, pod, again_ns))
            return;
    }
}

size_t sts_plan(const struct sts_view *v, struct sts_step *steps, int64_t *again_ns)
{
    size_t n = 0;

    if (v->deleting || plan_replicas(v, steps, &n, again_ns) ||
        plan_condemned(v, steps, &n, again_ns) || v->on_delete)
        return n;
    plan_update(v, steps, &n, again_ns);
    return n;
}

struct sts_counts sts_count(const struct sts_view *v, int64_t *again_ns)
{
    struct sts_counts n = {0};

    for (size_t i = 0; i < v->pod_count; i++) {
        const struct pod *pod = v->pods[i];
        n.replicas++;
        n.ready += is_running_and_ready(pod);
        n.available += is_available(v, pod, again_ns);
        if (pod->meta.deletion_ns)
            continue;
        n.current += !strcmp(revision_of(pod), v->current_revision);
        n.updated += !strcmp(revision_of(pod), v->update_revision);
    }
    return n;
}

bool sts_is_complete(const struct sts_view *v, const struct sts_counts *n)
{
    return !v->on_delete && n->updated == v->replicas && n->ready == v->replicas &&
           n->replicas == v->replicas;
}
