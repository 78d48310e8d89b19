/*
 * Filter "NoDiskConflict": refuses nodes where another pod uses the same disk in a way that two
 * pods can't.
 *
 *     GCE persistent disk, iSCSI target, Ceph RBD image   unless both mount it read-only
 *     AWS block store                                      never twice
 *
 * Cost:     nothing for pods without such a volume; otherwise a look at every pod that has one.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/volumerestrictions.
 * Tests:    tests/unit/scheduler/topology_test.c
 */
#include "scheduler/plugin.h"

static plugin_filter_fn disk_filter;
static plugin_applies_fn disks_apply;
static plugin_without_fn disk_without;

const struct plugin plugin_no_disk_conflict = {
    .name = "NoDiskConflict",
    .upstream_name = "VolumeRestrictions",
    .reason = "node(s) had no available disk",
    .retry_on = EVENT_NODE_ADDED | EVENT_POD_REMOVED,
    .filter = disk_filter,
    .applies = disks_apply,
    .without = disk_without,
};

static bool share_monitor(const struct string_list *a, const struct string_list *b)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++)
            if (c_eq(a->strings[i], b->strings[k]))
                return true;
    return false;
}

static bool same_text(const char *a, const char *b)
{
    return a[0] && c_eq(a, b);
}

static bool conflict(const struct pod_volume *a, const struct pod_volume *b)
{
    if (same_text(a->gce_name, b->gce_name) && !(a->gce_read_only && b->gce_read_only))
        return true;
    if (same_text(a->aws_id, b->aws_id))
        return true;
    if (same_text(a->iscsi_iqn, b->iscsi_iqn) && !(a->iscsi_read_only && b->iscsi_read_only))
        return true;
    return same_text(a->rbd_image, b->rbd_image) && c_eq(a->rbd_pool, b->rbd_pool) &&
           share_monitor(&a->rbd_monitors, &b->rbd_monitors) &&
           !(a->rbd_read_only && b->rbd_read_only);
}

static bool pods_conflict(const struct pod *a, const struct pod *b)
{
    const struct pod_volume *va = a->volumes.items, *vb = b->volumes.items;

    for (size_t i = 0; i < a->volumes.count; i++)
        for (size_t k = 0; pod_volume_is_disk(&va[i]) && k < b->volumes.count; k++)
            if (conflict(&va[i], &vb[k]))
                return true;
    return false;
}

static void disk_filter(const struct cycle *cycle, struct node_set *fits)
{
    const struct pod *pod = cycle->pod->object;

    for (size_t i = 0; cycle->pod->uses_disks && i < cycle->nodes->disk_pod_count; i++)
        if (pods_conflict(pod, cycle->nodes->disk_pods[i]->object))
            node_set_remove(fits, cycle->nodes->disk_pods[i]->row);
}

static bool disks_apply(const struct cycle *cycle)
{
    return cycle->pod->uses_disks;
}

static bool disk_without(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count)
{
    for (size_t i = 0; cycle->pod->uses_disks && i < cycle->nodes->disk_pod_count; i++) {
        const struct pod_info *p = cycle->nodes->disk_pods[i];
        if (p->row == row && !plugin_is_one_of(p, pods, count) &&
            pods_conflict(cycle->pod->object, p->object))
            return false;
    }
    return true;
}
