/*
 * The set of all served resources, and how to find one.
 *
 * Finding is one hash of group, version and plural; the table is built once. An extended api has a
 * table of its own for what it adds and asks the base first.
 */
#include "apiserver/schema/model.h"

#include "apiserver/registry/registry.h"

static uint32_t find_hash(struct str group, struct str version, struct str plural)
{
    return schema_hash(group.p, group.n) * 31 + schema_hash(version.p, version.n) * 17 +
           schema_hash(plural.p, plural.n);
}

/* The resources of this api itself: all of the built-in one, those that an extended one adds. */
static size_t own_count(const struct api *api)
{
    return api->base ? api->added_count : api->resource_count;
}

static const struct resource *own_at(const struct api *api, size_t i)
{
    return api->base ? api->added[i] : &api->resources[i];
}

static void build_index(struct api *api)
{
    size_t size = 16;
    while (size < own_count(api) * 2)
        size *= 2;
    api->find_slots = arena_new_array(api->arena, uint32_t, size);
    api->find_mask = size - 1;
    for (size_t i = 0; i < own_count(api); i++) {
        const struct resource *r = own_at(api, i);
        if (r->internal)
            continue;
        size_t at =
            find_hash(str_of(r->group), str_of(r->version), str_of(r->plural)) & api->find_mask;
        while (api->find_slots[at])
            at = (at + 1) & api->find_mask;
        api->find_slots[at] = (uint32_t)(i + 1);
    }
}

int api_new(struct api **ret, struct error *err)
{
    struct api *api = xcalloc(1, sizeof(*api));
    api->arena = arena_new();
    if (schema_parse(api, err) < 0) {
        api_free(api);
        return -err->code;
    }
    build_index(api);
    api->serial = 1;
    for (size_t i = 0; i < api_file_count; i++)
        api->fingerprint =
            api->fingerprint * 31 +
            schema_hash(api_files[i].text, (size_t)(api_files[i].end - api_files[i].text));
    *ret = api;
    return 0;
}

struct custom *custom_ref(struct custom *c)
{
    if (c)
        __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void custom_unref(struct custom *c)
{
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (c->released)
        c->released(c->released_arg);
    arena_free(c->arena); /* c lies in it */
}

void resource_hold(const struct resource *r)
{
    custom_ref(r->custom);
}

void resource_drop(const struct resource *r)
{
    custom_unref(r->custom);
}

static size_t listed_count(struct custom *const *customs, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += customs[i]->count;
    return n;
}

/* "v1beta2" as {1, beta, 2}; rank 0: no version of Kubernetes' form. */
struct version {
    long major, minor;
    int rank; /* 3 stable, 2 beta, 1 alpha */
};

static struct version version_parse(const char *text)
{
    struct version v = {0};
    char *end;
    if (text[0] != 'v' || text[1] < '1' || text[1] > '9')
        return v;
    v.major = strtol(text + 1, &end, 10);
    if (!*end) {
        v.rank = 3;
        return v;
    }
    int rank = !strncmp(end, "beta", 4) ? 2 : !strncmp(end, "alpha", 5) ? 1 : 0;
    const char *digits = end + (rank == 2 ? 4 : 5);
    if (!rank || *digits < '1' || *digits > '9')
        return v;
    v.minor = strtol(digits, &end, 10);
    v.rank = *end ? 0 : rank;
    return v;
}

int version_compare(const char *a, const char *b)
{
    struct version x = version_parse(a), y = version_parse(b);
    if (x.rank != y.rank)
        return y.rank - x.rank;
    if (x.rank && x.major != y.major)
        return x.major > y.major ? -1 : 1;
    if (x.rank && x.minor != y.minor)
        return x.minor > y.minor ? -1 : 1;
    return strcmp(a, b);
}

/* Groups, versions by preference, plurals. */
static int by_place(const void *a, const void *b)
{
    const struct resource *x = *(const struct resource *const *)a;
    const struct resource *y = *(const struct resource *const *)b;
    int order = strcmp(x->group, y->group);
    if (!order)
        order = version_compare(x->version, y->version);
    return order ? order : strcmp(x->plural, y->plural);
}

struct api *api_extend(
    const struct api *base, struct custom *const *customs, size_t count, uint64_t serial)
{
    struct api *api = xcalloc(1, sizeof(*api));
    api->arena = arena_new();
    api->base = base;
    api->refs = 1;
    api->serial = serial;
    api->schemas = base->schemas;
    api->schema_count = base->schema_count;
    api->stored_count = base->stored_count;
    api->fingerprint = base->fingerprint;
    api->customs = arena_new_array(api->arena, struct custom *, count + 1);
    api->added =
        arena_new_array(api->arena, const struct resource *, listed_count(customs, count) + 1);
    for (size_t i = 0; i < count; i++) {
        struct custom *c = api->customs[api->custom_count++] = custom_ref(customs[i]);
        for (size_t k = 0; k < c->count; k++)
            if (c->served[k])
                api->added[api->added_count++] = &c->resources[k];
    }
    qsort(api->added, api->added_count, sizeof(*api->added), by_place);
    for (size_t i = 0; i < api->added_count; i++)
        api->fingerprint = api->fingerprint * 31 + api->added[i]->fingerprint;
    build_index(api);
    return api;
}

struct api *api_ref(const struct api *api)
{
    struct api *counted = (struct api *)(uintptr_t)api;
    if (api && api->base)
        __atomic_fetch_add(&counted->refs, 1, __ATOMIC_RELAXED);
    return counted;
}

void api_unref(const struct api *api)
{
    struct api *counted = (struct api *)(uintptr_t)api;
    if (!api || !api->base || __atomic_sub_fetch(&counted->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < api->custom_count; i++)
        custom_unref(api->customs[i]);
    api_free(counted);
}

uint64_t api_serial(const struct api *api)
{
    return api->serial;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    arena_free(api->arena);
    free(api);
}

const struct resource *api_find(
    const struct api *api, struct str group, struct str version, struct str plural)
{
    const struct resource *built_in =
        api->base ? api_find(api->base, group, version, plural) : NULL;
    if (built_in)
        return built_in;
    size_t at = find_hash(group, version, plural) & api->find_mask;
    for (; api->find_slots[at]; at = (at + 1) & api->find_mask) {
        const struct resource *r = own_at(api, api->find_slots[at] - 1u);
        if (str_eqc(plural, r->plural) && str_eqc(version, r->version) && str_eqc(group, r->group))
            return r;
    }
    return NULL;
}

const struct resource *api_find_kind(
    const struct api *api, const char *group_version, const char *kind)
{
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (!strcmp(r->kind, kind) && !strcmp(r->group_version, group_version))
            return r;
    }
    return NULL;
}

const struct resource *api_find_plural(const struct api *api, const char *group, const char *plural)
{
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (!strcmp(r->plural, plural) && !strcmp(r->group, group))
            return r;
    }
    return NULL;
}

size_t api_count(const struct api *api)
{
    return api->base ? api->base->resource_count + api->added_count : api->resource_count;
}

const struct resource *api_at(const struct api *api, size_t index)
{
    if (!api->base)
        return &api->resources[index];
    size_t built_in = api->base->resource_count;
    return index < built_in ? &api->base->resources[index] : api->added[index - built_in];
}

size_t api_stored_count(const struct api *api)
{
    return api->stored_count;
}

void api_set_strategies(struct api *api, const struct strategy *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < api->resource_count; k++)
            if (!strcmp(api->resources[k].plural, list[i]->plural) &&
                !strcmp(api->resources[k].group, list[i]->group))
                api->resources[k].strategy = list[i];
}

const struct schema *schema_of_definition(
    const struct api *api, const char *package, const char *name)
{
    for (size_t i = 0; i < api->schema_count; i++) {
        const struct schema *s = &api->schemas[i];
        if (!strcmp(s->name, name) && !strcmp(s->package, package))
            return s;
    }
    return NULL;
}

const struct schema *api_find_schema(
    const struct api *api, const char *group_version, const char *kind)
{
    const struct schema *general = NULL;
    bool is_meta =
        !strcmp(group_version, "v1") || str_starts(str_of(group_version), STR("meta.k8s.io/"));

    for (size_t i = 0; i < api->schema_count; i++) {
        const struct schema *s = &api->schemas[i];
        if (!s->is_kind || strcmp(s->name, kind))
            continue;
        if (s->group_version && !strcmp(s->group_version, group_version))
            return s;
        if (!s->group_version && is_meta)
            general = s;
    }
    return general;
}

const struct api_meta *api_meta(const struct api *api)
{
    return &api->meta;
}
