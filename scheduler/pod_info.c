/*
 * Pod info: request arithmetic and host ports of a pod.
 *
 * Sums saturate at RESOURCE_AMOUNT_MAX: a pod that asks for the impossible fits nowhere instead of
 * wrapping around. Upstream: component-helpers/resource PodRequests, scheduler/framework/types.go.
 */
#include "scheduler/pod_info.h"

#include "common/arena.h"
#include "common/quantity.h"
#include "scheduler/node_set.h"

static const char *const fixed_names[RESOURCE_FIXED] = {
    [RESOURCE_CPU] = "cpu",
    [RESOURCE_MEMORY] = "memory",
    [RESOURCE_EPHEMERAL] = "ephemeral-storage",
    [RESOURCE_PODS] = "pods",
};

void resource_names_init(struct resource_names *names)
{
    names->names = xcalloc(RESOURCE_FIXED, sizeof(char *));
    for (size_t i = 0; i < RESOURCE_FIXED; i++)
        names->names[i] = xstrdup(fixed_names[i]);
    names->count = RESOURCE_FIXED;
}

void resource_names_done(struct resource_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct resource_names){0};
}

uint32_t resource_names_find(const struct resource_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (c_eq(names->names[i], name))
            return (uint32_t)i;
    return UINT32_MAX;
}

uint32_t resource_id(struct resource_names *names, const char *name)
{
    uint32_t known = resource_names_find(names, name);

    if (known != UINT32_MAX)
        return known;
    names->names = xrealloc(names->names, (names->count + 1) * sizeof(char *));
    names->names[names->count] = xstrdup(name);
    return (uint32_t)names->count++;
}

int64_t resource_amount(uint32_t id, const char *quantity)
{
    struct quantity q;
    struct error err;

    if (quantity_parse(str_of(quantity), &q, &err) < 0)
        return 0;
    int64_t amount = id == RESOURCE_CPU ? quantity_milli_value(q) : quantity_value(q);
    if (amount < 0)
        return 0;
    return amount < RESOURCE_AMOUNT_MAX ? amount : RESOURCE_AMOUNT_MAX;
}

static int64_t add_saturating(int64_t a, int64_t b)
{
    return a + b < RESOURCE_AMOUNT_MAX ? a + b : RESOURCE_AMOUNT_MAX;
}

/* A list of amounts by resource id; small, so searched from the front. */
struct amounts {
    struct arena *arena;
    struct resource_request *items;
    size_t count, capacity;
};

static int64_t *amounts_at(struct amounts *a, uint32_t id)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].id == id)
            return &a->items[i].amount;
    if (a->count == a->capacity) {
        struct resource_request *old = a->items;
        a->capacity = a->capacity ? a->capacity * 2 : 8;
        a->items = arena_new_array(a->arena, struct resource_request, a->capacity);
        if (old)
            memcpy(a->items, old, a->count * sizeof(*old));
    }
    a->items[a->count] = (struct resource_request){.id = id};
    return &a->items[a->count++].amount;
}

static void amounts_add(struct amounts *to, const struct amounts *from)
{
    for (size_t i = 0; i < from->count; i++) {
        int64_t *at = amounts_at(to, from->items[i].id);
        *at = add_saturating(*at, from->items[i].amount);
    }
}

static void amounts_max(struct amounts *to, const struct amounts *from)
{
    for (size_t i = 0; i < from->count; i++) {
        int64_t *at = amounts_at(to, from->items[i].id);
        if (from->items[i].amount > *at)
            *at = from->items[i].amount;
    }
}

static struct amounts amounts_of(
    struct arena *arena, struct resource_names *names, const struct string_map *map)
{
    struct amounts a = {.arena = arena};

    for (size_t i = 0; i < map->count; i++) {
        uint32_t id = resource_id(names, map->pairs[i].key);
        *amounts_at(&a, id) = resource_amount(id, map->pairs[i].value);
    }
    return a;
}

static struct amounts container_amounts(
    struct arena *arena, struct resource_names *names, const struct container *c, bool nonzero)
{
    struct amounts a = amounts_of(arena, names, &c->requests);

    if (nonzero && !string_map_get(&c->requests, "cpu"))
        *amounts_at(&a, RESOURCE_CPU) = NONZERO_MILLI_CPU;
    if (nonzero && !string_map_get(&c->requests, "memory"))
        *amounts_at(&a, RESOURCE_MEMORY) = NONZERO_MEMORY;
    return a;
}

static struct amounts pod_amounts(
    struct arena *arena, struct resource_names *names, const struct pod *pod, bool nonzero)
{
    struct amounts total = {.arena = arena}, sidecars = {.arena = arena}, init = {.arena = arena};
    const struct container *containers = pod->containers.items;
    const struct container *inits = pod->init_containers.items;

    for (size_t i = 0; i < pod->containers.count; i++) {
        struct amounts one = container_amounts(arena, names, &containers[i], nonzero);
        amounts_add(&total, &one);
    }
    for (size_t i = 0; i < pod->init_containers.count; i++) {
        struct amounts one = container_amounts(arena, names, &inits[i], nonzero);
        if (c_eq(inits[i].restart_policy, "Always")) {
            amounts_add(&total, &one);
            amounts_add(&sidecars, &one);
            amounts_max(&init, &sidecars);
        } else {
            amounts_add(&one, &sidecars);
            amounts_max(&init, &one);
        }
    }
    amounts_max(&total, &init);
    struct amounts pod_level = amounts_of(arena, names, &pod->pod_requests);
    for (size_t i = 0; i < pod_level.count; i++)
        *amounts_at(&total, pod_level.items[i].id) = pod_level.items[i].amount;
    struct amounts overhead = amounts_of(arena, names, &pod->overhead);
    amounts_add(&total, &overhead);
    return total;
}

static void set_requests(struct pod_info *info, const struct amounts *a)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->items[i].id < RESOURCE_REQUESTABLE)
            info->request[a->items[i].id] = a->items[i].amount;
        else if (a->items[i].id >= RESOURCE_FIXED && a->items[i].amount > 0)
            info->extended_count++;
    }
    if (!info->extended_count)
        return;
    info->extended = xcalloc(info->extended_count, sizeof(*info->extended));
    for (size_t i = 0, n = 0; i < a->count; i++)
        if (a->items[i].id >= RESOURCE_FIXED && a->items[i].amount > 0)
            info->extended[n++] = a->items[i];
}

static bool is_host_port(const struct container_port *p)
{
    return p->host_port > 0 && p->host_port <= UINT16_MAX;
}

/* Adds the host ports of one container; counts only while info->ports is NULL. */
static void add_ports(struct pod_info *info, const struct container *c)
{
    const struct container_port *ports = c->ports.items;

    for (size_t i = 0; i < c->ports.count; i++) {
        if (!is_host_port(&ports[i]))
            continue;
        if (info->ports)
            info->ports[info->port_count] = (struct host_port){
                .port = (uint16_t)ports[i].host_port,
                .protocol = ports[i].protocol[0] ? ports[i].protocol[0] : 'T',
                .ip = c_eq(ports[i].host_ip, "0.0.0.0") || c_eq(ports[i].host_ip, "::")
                          ? ""
                          : ports[i].host_ip,
            };
        info->port_count++;
    }
}

static void walk_ports(struct pod_info *info, const struct pod *pod)
{
    const struct container *containers = pod->containers.items;
    const struct container *inits = pod->init_containers.items;

    info->port_count = 0;
    for (size_t i = 0; i < pod->containers.count; i++)
        add_ports(info, &containers[i]);
    for (size_t i = 0; i < pod->init_containers.count; i++)
        if (c_eq(inits[i].restart_policy, "Always"))
            add_ports(info, &inits[i]);
}

int64_t pod_info_request(const struct pod_info *info, uint32_t id)
{
    if (id < RESOURCE_REQUESTABLE)
        return info->request[id];
    for (uint32_t i = 0; i < info->extended_count; i++)
        if (info->extended[i].id == id)
            return info->extended[i].amount;
    return 0;
}

bool pod_volume_is_disk(const struct pod_volume *v)
{
    return v->gce_name[0] || v->aws_id[0] || v->iscsi_iqn[0] || v->rbd_image[0];
}

static void look_at_volumes(struct pod_info *info)
{
    const struct pod_volume *v = info->object->volumes.items;

    for (size_t i = 0; i < info->object->volumes.count; i++) {
        info->uses_disks = info->uses_disks || pod_volume_is_disk(&v[i]);
        info->uses_claims = info->uses_claims || v[i].claim[0] || v[i].ephemeral;
    }
}

struct pod_info *pod_info_new(
    struct resource_names *names, struct pod_index *index, const struct pod *pod)
{
    struct pod_info *info = xcalloc(1, sizeof(*info));
    struct arena *arena = arena_new();

    info->object = projected_ref(pod);
    info->row = info->nominated_row = ROW_NONE;
    info->priority = (int32_t)pod->priority;
    info->start_ns = pod->start_ns ? pod->start_ns : pod->meta.creation_ns;
    struct amounts real = pod_amounts(arena, names, pod, false);
    set_requests(info, &real);
    struct amounts nonzero = pod_amounts(arena, names, pod, true);
    info->nonzero[0] = *amounts_at(&nonzero, RESOURCE_CPU);
    info->nonzero[1] = *amounts_at(&nonzero, RESOURCE_MEMORY);
    walk_ports(info, pod);
    if (info->port_count) {
        info->ports = xcalloc(info->port_count, sizeof(*info->ports));
        walk_ports(info, pod);
    }
    arena_free(arena);
    info->class_ = pod_class_get(index, &pod->meta);
    info->terms = pod_terms_new(index, pod);
    look_at_volumes(info);
    return info;
}

void pod_info_free(struct pod_index *index, struct pod_info *info)
{
    if (!info)
        return;
    matcher_put(index, info->spread_default);
    pod_terms_free(index, info->terms);
    pod_class_put(index, info->class_);
    projected_unref(info->object);
    free(info->extended);
    free(info->ports);
    free(info);
}

bool host_port_conflicts(const struct host_port *a, const struct host_port *b)
{
    return a->port == b->port && a->protocol == b->protocol &&
           (!a->ip[0] || !b->ip[0] || c_eq(a->ip, b->ip));
}
