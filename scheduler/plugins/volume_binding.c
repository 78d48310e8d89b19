/*
 * Filter "VolumeBinding": nodes from which the pod's persistent volumes can be reached.
 *
 *     bound claim              the volume's node affinity, and its zone and region labels
 *     WaitForFirstConsumer     a free volume that suits and that the node can reach, or a
 *                              provisioner whose topologies contain the node
 *     other unbound claims     no node at all: the volume controller has to bind them first
 *
 * Of several volumes that suit the smallest is taken; claims are served in order of size, so that a
 * large volume is not wasted.
 *
 * Cost:     nothing for pods without claims; else a set of nodes for each volume that suits.
 * Threads:  reads node table and storage of this cycle.
 * Upstream: plugins/volumebinding, plugins/volumezone.
 * Tests:    tests/unit/scheduler/storage_test.c
 */
#include "scheduler/plugins/volume_binding.h"

#include "scheduler/plugins/spread.h"

static plugin_narrow_fn volumes_narrow;
static plugin_filter_fn volumes_filter;
static plugin_explain_fn volumes_explain;

const struct plugin plugin_volume_binding = {
    .name = "VolumeBinding",
    .upstream_name = "VolumeBinding",
    .unresolvable = true,
    .looks_around = true,
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_RELABELLED | EVENT_STORAGE,
    .narrow = volumes_narrow,
    .filter = volumes_filter,
    .explain = volumes_explain,
};

#define SELECTED_NODE "volume.kubernetes.io/selected-node"

struct candidate {
    const struct volume *volume;
    struct node_set nodes;
};

/* A claim that is to be bound with the pod. */
struct unbound {
    const struct claim *claim;
    struct candidate *candidates; /* smallest first */
    size_t candidate_count;
    struct node_set provisionable;
};

struct volume_state {
    struct unbound *unbound; /* smallest first */
    size_t unbound_count;
    struct node_set reachable, in_zone, exists, bindable; /* what each rule leaves */
};

static struct node_set all_nodes(const struct cycle *cycle)
{
    struct node_set set = node_set_new_like(cycle->arena, &cycle->nodes->live);

    node_set_copy(&set, &cycle->nodes->live);
    return set;
}

static struct node_set nodes_of_volume(const struct cycle *cycle, const struct volume *v)
{
    struct node_set set = all_nodes(cycle);

    if (v->has_affinity)
        node_terms_keep(cycle, &v->affinity, &set);
    return set;
}

/* Zone labels of a volume bind it to nodes with one of the values, and to those without any. */
static void keep_in_zone(const struct cycle *cycle, const struct volume *v, struct node_set *set)
{
    static const char *const keys[] = {"topology.kubernetes.io/zone",
        "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region"};

    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        const char *values = string_map_get(&v->meta.labels, keys[i]);
        const struct label_key *key = label_index_key(&cycle->nodes->labels, keys[i]);
        if (!values || !key)
            continue;
        struct node_set outside = node_set_new_like(cycle->arena, set);
        column_or(&key->nodes, &outside);
        for (const char *at = values; at;) {
            const char *end = strstr(at, "__");
            size_t n = end ? (size_t)(end - at) : strlen(at);
            const struct label_value *value =
                label_key_value(key, arena_strdup(cycle->arena, str_range(at, n)));
            if (value)
                column_and_not(&value->nodes, &outside);
            at = end ? end + 2 : NULL;
        }
        node_set_and_not(set, &outside);
    }
}

static bool waits_for_consumer(const struct storage *storage, const struct claim *claim)
{
    const struct storage_class *class_ = storage_class_named(storage, claim->class_name);

    return class_ && c_eq(class_->binding_mode, "WaitForFirstConsumer");
}

static bool is_bound(const struct claim *claim)
{
    return claim->volume_name[0] &&
           string_map_get(&claim->meta.annotations, "pv.kubernetes.io/bind-completed");
}

static const char *check_claim(const struct cycle *cycle, const struct pod_volume *v)
{
    const struct pod *pod = cycle->pod->object;
    char buffer[512];
    const char *name = pod_volume_claim(pod, v, buffer, sizeof(buffer));

    if (!name[0])
        return NULL;
    const struct claim *claim = storage_claim(cycle->storage, pod->meta.namespace_, name);
    if (!claim && v->ephemeral)
        return arena_printf(cycle->arena,
            "waiting for ephemeral volume controller to create the persistentvolumeclaim \"%s\"",
            name);
    if (!claim)
        return arena_printf(cycle->arena, "persistentvolumeclaim \"%s\" not found", name);
    if (claim->meta.deletion_ns)
        return arena_printf(cycle->arena, "persistentvolumeclaim \"%s\" is being deleted", name);
    if (!is_bound(claim) && !waits_for_consumer(cycle->storage, claim))
        return "pod has unbound immediate PersistentVolumeClaims";
    return NULL;
}

static const char *volumes_narrow(const struct cycle *cycle, struct node_set *fits)
{
    const struct pod_volume *v = cycle->pod->object->volumes.items;
    const char *why = NULL;

    for (size_t i = 0;
         cycle->storage && cycle->pod->uses_claims && !why && i < cycle->pod->object->volumes.count;
         i++)
        why = check_claim(cycle, &v[i]);
    (void)fits;
    return why;
}

/* The nodes for which the class can provision a volume. */
static struct node_set provisionable(const struct cycle *cycle, const struct claim *claim)
{
    const struct storage_class *class_ = storage_class_named(cycle->storage, claim->class_name);
    struct node_set set = node_set_new_like(cycle->arena, &cycle->nodes->live);
    const char *selected = string_map_get(&claim->meta.annotations, SELECTED_NODE);

    if (!class_ || !class_->provisioner[0] ||
        c_eq(class_->provisioner, "kubernetes.io/no-provisioner"))
        return set;
    if (selected) { /* a provisioner is at work for this node */
        const struct node_row *row = node_table_find(cycle->nodes, selected);
        if (row)
            node_set_add(&set, row->row);
        return set;
    }
    const struct topology_term *terms = class_->topologies.items;
    for (size_t i = 0; i < class_->topologies.count; i++) {
        struct node_set one = all_nodes(cycle);
        node_values_keep(cycle, &terms[i].expressions, &one);
        node_set_or(&set, &one);
    }
    return class_->topologies.count ? set : all_nodes(cycle);
}

static int by_size(const void *a, const void *b)
{
    const struct candidate *p = a, *q = b;

    return (p->volume->bytes > q->volume->bytes) - (p->volume->bytes < q->volume->bytes);
}

static int by_claim_size(const void *a, const void *b)
{
    const struct unbound *p = a, *q = b;

    return (p->claim->bytes > q->claim->bytes) - (p->claim->bytes < q->claim->bytes);
}

static void add_unbound(
    const struct cycle *cycle, struct volume_state *s, const struct claim *claim)
{
    struct unbound *u = &s->unbound[s->unbound_count++];
    const struct storage *storage = cycle->storage;

    u->claim = claim;
    u->provisionable = provisionable(cycle, claim);
    u->candidates = arena_new_array(cycle->arena, struct candidate, HASH_COUNT(storage->volumes));
    for (const struct known_volume *v = storage->volumes; v; v = v->hh.next)
        if (volume_suits(v, claim))
            u->candidates[u->candidate_count++] =
                (struct candidate){v->object, nodes_of_volume(cycle, v->object)};
    qsort(u->candidates, u->candidate_count, sizeof(*u->candidates), by_size);
}

static bool is_taken(const struct volume_choice *choices, size_t count, const struct volume *v)
{
    for (size_t i = 0; i < count; i++)
        if (choices[i].volume == v)
            return true;
    return false;
}

/* Serves all unbound claims on the row; false: it can't be done. */
static bool serve(const struct volume_state *s, uint32_t row, struct volume_choice *choices)
{
    for (size_t i = 0; i < s->unbound_count; i++) {
        const struct unbound *u = &s->unbound[i];
        const struct volume *found = NULL;
        for (size_t k = 0; k < u->candidate_count && !found; k++)
            if (node_set_has(&u->candidates[k].nodes, row) &&
                !is_taken(choices, i, u->candidates[k].volume))
                found = u->candidates[k].volume;
        if (!found && !node_set_has(&u->provisionable, row))
            return false;
        choices[i] = (struct volume_choice){u->claim, found};
    }
    return true;
}

static void look_at_claim(
    const struct cycle *cycle, struct volume_state *s, const struct claim *claim)
{
    if (!is_bound(claim)) {
        add_unbound(cycle, s, claim);
        return;
    }
    const struct volume *v = storage_volume(cycle->storage, claim->volume_name);
    if (!v) {
        node_set_clear(&s->exists);
        return;
    }
    struct node_set nodes = nodes_of_volume(cycle, v);
    node_set_and(&s->reachable, &nodes);
    keep_in_zone(cycle, v, &s->in_zone);
}

static struct volume_state *state_of(const struct cycle *cycle)
{
    const struct pod *pod = cycle->pod->object;
    const struct pod_volume *v = pod->volumes.items;
    struct volume_state *s = cycle->state->volumes;
    char buffer[512];

    if (s)
        return s;
    s = cycle->state->volumes = arena_new_array(cycle->arena, struct volume_state, 1);
    s->unbound = arena_new_array(cycle->arena, struct unbound, pod->volumes.count);
    s->reachable = all_nodes(cycle);
    s->in_zone = all_nodes(cycle);
    s->exists = all_nodes(cycle);
    s->bindable = all_nodes(cycle);
    for (size_t i = 0; i < pod->volumes.count; i++) {
        const char *name = pod_volume_claim(pod, &v[i], buffer, sizeof(buffer));
        const struct claim *claim =
            name[0] ? storage_claim(cycle->storage, pod->meta.namespace_, name) : NULL;
        if (claim)
            look_at_claim(cycle, s, claim);
    }
    qsort(s->unbound, s->unbound_count, sizeof(*s->unbound), by_claim_size);
    struct volume_choice *choices =
        arena_new_array(cycle->arena, struct volume_choice, s->unbound_count);
    NODE_SET_FOR_EACH(row, &cycle->nodes->live)
    if (s->unbound_count && !serve(s, row, choices))
        node_set_remove(&s->bindable, row);
    return s;
}

static void volumes_filter(const struct cycle *cycle, struct node_set *fits)
{
    if (!cycle->storage || !cycle->pod->uses_claims)
        return;
    const struct volume_state *s = state_of(cycle);
    node_set_and(fits, &s->exists);
    node_set_and(fits, &s->reachable);
    node_set_and(fits, &s->bindable);
    node_set_and(fits, &s->in_zone);
}

static void explain_rest(const struct cycle *cycle, const struct node_set *left,
    struct node_set *rest, struct reasons *reasons, const char *text)
{
    struct node_set rows = node_set_new_like(cycle->arena, rest);

    node_set_copy(&rows, rest);
    node_set_and_not(&rows, left);
    node_set_and_not(rest, &rows);
    if (!node_set_is_empty(&rows))
        reasons_add(reasons, &rows, true, "%s", text);
}

static void volumes_explain(
    const struct cycle *cycle, const struct node_set *refused, struct reasons *reasons)
{
    const struct volume_state *s = state_of(cycle);
    struct node_set rest = node_set_new_like(cycle->arena, refused);

    node_set_copy(&rest, refused);
    explain_rest(cycle, &s->exists, &rest, reasons,
        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    explain_rest(cycle, &s->reachable, &rest, reasons,
        "node(s) didn't match PersistentVolume's node affinity");
    explain_rest(cycle, &s->bindable, &rest, reasons,
        "node(s) didn't find available persistent volumes to bind");
    explain_rest(cycle, &s->in_zone, &rest, reasons, "node(s) had no available volume zone");
}

size_t volume_choices(const struct cycle *cycle, uint32_t row, struct volume_choice **ret)
{
    if (!cycle->storage || !cycle->pod->uses_claims)
        return 0;
    const struct volume_state *s = state_of(cycle);
    *ret = arena_new_array(cycle->arena, struct volume_choice, s->unbound_count);
    return serve(s, row, *ret) ? s->unbound_count : 0;
}
