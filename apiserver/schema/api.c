/*
 * The set of all served resources, and how to find one.
 *
 * Finding is one hash of group, version and plural; the table is built once.
 */
#include "apiserver/schema/model.h"

#include "apiserver/registry/registry.h"

static uint32_t find_hash(struct str group, struct str version, struct str plural)
{
    return schema_hash(group.p, group.n) * 31 + schema_hash(version.p, version.n) * 17 +
           schema_hash(plural.p, plural.n);
}

static void build_index(struct api *api)
{
    size_t size = 16;
    while (size < api->resource_count * 2)
        size *= 2;
    api->find_slots = arena_new_array(api->arena, uint16_t, size);
    api->find_mask = size - 1;
    for (size_t i = 0; i < api->resource_count; i++) {
        const struct resource *r = &api->resources[i];
        if (r->internal)
            continue;
        size_t at =
            find_hash(str_of(r->group), str_of(r->version), str_of(r->plural)) & api->find_mask;
        while (api->find_slots[at])
            at = (at + 1) & api->find_mask;
        api->find_slots[at] = (uint16_t)(i + 1);
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
    for (size_t i = 0; i < api_file_count; i++)
        api->fingerprint =
            api->fingerprint * 31 +
            schema_hash(api_files[i].text, (size_t)(api_files[i].end - api_files[i].text));
    *ret = api;
    return 0;
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
    size_t at = find_hash(group, version, plural) & api->find_mask;
    for (; api->find_slots[at]; at = (at + 1) & api->find_mask) {
        const struct resource *r = &api->resources[api->find_slots[at] - 1];
        if (str_eqc(plural, r->plural) && str_eqc(version, r->version) && str_eqc(group, r->group))
            return r;
    }
    return NULL;
}

const struct resource *api_find_kind(
    const struct api *api, const char *group_version, const char *kind)
{
    for (size_t i = 0; i < api->resource_count; i++) {
        const struct resource *r = &api->resources[i];
        if (!strcmp(r->kind, kind) && !strcmp(r->group_version, group_version))
            return r;
    }
    return NULL;
}

const struct resource *api_find_plural(const struct api *api, const char *group, const char *plural)
{
    for (size_t i = 0; i < api->resource_count; i++) {
        const struct resource *r = &api->resources[i];
        if (!strcmp(r->plural, plural) && !strcmp(r->group, group))
            return r;
    }
    return NULL;
}

size_t api_count(const struct api *api)
{
    return api->resource_count;
}

const struct resource *api_at(const struct api *api, size_t index)
{
    return &api->resources[index];
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
