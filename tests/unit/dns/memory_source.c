/* A zone_source in memory: linear searches. */
#include "tests/unit/dns/memory_source.h"

static void add(struct projected_array *a, const void *object)
{
    a->objects = xrealloc(a->objects, (a->count + 1) * sizeof(*a->objects));
    a->objects[a->count++] = object;
}

void memory_source_init(struct memory_source *m, const cJSON *tree)
{
    const cJSON *i;

    *m = (struct memory_source){0};
    cJSON_ArrayForEach(i, json_get(tree, "services"))
        add(&m->services, projected_new(&dns_service_projection, i));
    cJSON_ArrayForEach(i, json_get(tree, "slices"))
        add(&m->slices, projected_new(&dns_slice_projection, i));
}

void memory_source_done(struct memory_source *m)
{
    projected_array_done(&m->services);
    projected_array_done(&m->slices);
}

static const struct dns_service *find_service(void *arg, const char *namespace_, const char *name)
{
    struct memory_source *m = arg;

    for (size_t i = 0; i < m->services.count; i++) {
        const struct object_meta *meta = m->services.objects[i];
        if (c_eq(meta->namespace_, namespace_) && c_eq(meta->name, name))
            return projected_ref(meta);
    }
    return NULL;
}

static bool has_namespace(void *arg, const char *namespace_)
{
    struct memory_source *m = arg;

    for (size_t i = 0; i < m->services.count; i++)
        if (c_eq(((const struct object_meta *)m->services.objects[i])->namespace_, namespace_))
            return true;
    return false;
}

static struct projected_array find_slices(void *arg, const char *key)
{
    struct memory_source *m = arg;
    struct projected_array found = {NULL, 0};

    for (size_t i = 0; i < m->slices.count; i++) {
        const struct object_meta *meta = m->slices.objects[i];
        const char *service = string_map_get(&meta->labels, SERVICE_NAME_LABEL);
        autofree char *its = str_format("%s/%s", meta->namespace_, service ? service : "");
        if (c_eq(its, key))
            add(&found, projected_ref(meta));
    }
    return found;
}

static struct projected_array services_by_ip(void *arg, const char *ip)
{
    struct memory_source *m = arg;
    struct projected_array found = {NULL, 0};

    for (size_t i = 0; i < m->services.count; i++) {
        const struct dns_service *s = m->services.objects[i];
        if (c_eq(s->cluster_ip, ip) ||
            (s->cluster_ips.count > 1 && c_eq(s->cluster_ips.strings[1], ip)))
            add(&found, projected_ref(s));
    }
    return found;
}

static struct projected_array slices_by_ip(void *arg, const char *ip)
{
    struct memory_source *m = arg;
    struct projected_array found = {NULL, 0};

    for (size_t i = 0; i < m->slices.count; i++) {
        const struct dns_slice *s = m->slices.objects[i];
        const struct dns_endpoint *list = s->endpoints.items;
        bool has = false;
        for (size_t k = 0; k < s->endpoints.count; k++)
            has = has || (list[k].addresses.count && c_eq(list[k].addresses.strings[0], ip));
        if (has)
            add(&found, projected_ref(s));
    }
    return found;
}

static uint32_t serial(void *arg)
{
    return 7;
}

struct zone_source memory_source_zone(struct memory_source *m)
{
    return (struct zone_source){
        m, find_service, has_namespace, find_slices, services_by_ip, slices_by_ip, serial};
}
