/*
 * Discovery: which groups, versions and resources there are, in the three forms that clients ask
 * for. All are made from the resource table on demand and agree by construction.
 *
 * Upstream: apiserver's endpoints/discovery, with the aggregated form of KEP-3352.
 */
#include "apiserver/schema/model.h"

static const struct {
    const char *word;
    unsigned verb;
} verb_words[] = {
    /* sorted, as upstream lists them */
    {"create", VERB_CREATE},
    {"delete", VERB_DELETE},
    {"deletecollection", VERB_DELETECOLLECTION},
    {"get", VERB_GET},
    {"list", VERB_LIST},
    {"patch", VERB_PATCH},
    {"update", VERB_UPDATE},
    {"watch", VERB_WATCH},
};

static void add_string(cJSON *object, const char *name, const char *value)
{
    cJSON_AddItemToObject(object, name, cJSON_CreateString(value));
}

static cJSON *new_kind(const char *kind, const char *version)
{
    cJSON *o = cJSON_CreateObject();
    add_string(o, "kind", kind);
    add_string(o, "apiVersion", version);
    return o;
}

static cJSON *verbs(unsigned set)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < ARRAY_COUNT(verb_words); i++)
        if (set & verb_words[i].verb)
            cJSON_AddItemToArray(list, cJSON_CreateString(verb_words[i].word));
    return list;
}

static cJSON *names(const char *const *list)
{
    cJSON *array = cJSON_CreateArray();
    for (; list && *list; list++)
        cJSON_AddItemToArray(array, cJSON_CreateString(*list));
    return array;
}

static void print(cJSON *tree, struct strbuf *out)
{
    json_print(tree, out);
    cJSON_Delete(tree);
}

/* Built-in resources come first, in any order; custom ones follow sorted, so that a group's stand
 * together and only the neighbour and the built-in ones need a look. */
static bool is_first(
    const struct api *api, size_t i, bool (*same)(size_t, size_t, const struct api *))
{
    size_t built_in = api->base ? api->base->resource_count : api->resource_count;
    for (size_t k = 0; k < i && k < built_in; k++)
        if (same(k, i, api))
            return false;
    return i <= built_in || !same(i - 1, i, api);
}

static bool same_version(size_t a, size_t b, const struct api *api)
{
    return !strcmp(api_at(api, a)->group_version, api_at(api, b)->group_version);
}

static bool same_group(size_t a, size_t b, const struct api *api)
{
    return !strcmp(api_at(api, a)->group, api_at(api, b)->group);
}

/* The group/version stands for the first time at i. */
static bool is_first_of_version(const struct api *api, size_t i)
{
    return is_first(api, i, same_version);
}

static bool is_first_of_group(const struct api *api, size_t i)
{
    return is_first(api, i, same_group);
}

void discovery_legacy_versions(
    const struct api *api, const char *server_address, struct strbuf *out)
{
    (void)api;
    cJSON *o = cJSON_CreateObject();
    add_string(o, "kind", "APIVersions");
    cJSON *list = cJSON_AddArrayToObject(o, "versions");
    cJSON_AddItemToArray(list, cJSON_CreateString("v1"));
    cJSON *cidrs = cJSON_AddArrayToObject(o, "serverAddressByClientCIDRs");
    cJSON *cidr = cJSON_CreateObject();
    add_string(cidr, "clientCIDR", "0.0.0.0/0");
    add_string(cidr, "serverAddress", server_address ? server_address : "");
    cJSON_AddItemToArray(cidrs, cidr);
    print(o, out);
}

static cJSON *group_version(const struct resource *r)
{
    cJSON *v = cJSON_CreateObject();
    add_string(v, "groupVersion", r->group_version);
    add_string(v, "version", r->version);
    return v;
}

static void fill_group(const struct api *api, size_t first, cJSON *o)
{
    const struct resource *r = api_at(api, first);
    add_string(o, "name", r->group);
    cJSON *versions = cJSON_AddArrayToObject(o, "versions");
    for (size_t i = first; i < api_count(api); i++)
        if (!strcmp(api_at(api, i)->group, r->group) && is_first_of_version(api, i))
            cJSON_AddItemToArray(versions, group_version(api_at(api, i)));
    cJSON_AddItemToObject(o, "preferredVersion", group_version(r));
}

void discovery_groups(const struct api *api, struct strbuf *out)
{
    cJSON *o = new_kind("APIGroupList", "v1");
    cJSON *groups = cJSON_AddArrayToObject(o, "groups");
    for (size_t i = 0; i < api_count(api); i++) {
        if (!api_at(api, i)->group[0] || !is_first_of_group(api, i))
            continue;
        cJSON *group = cJSON_CreateObject();
        fill_group(api, i, group);
        cJSON_AddItemToArray(groups, group);
    }
    print(o, out);
}

int discovery_group(const struct api *api, const char *group, struct strbuf *out, struct error *err)
{
    for (size_t i = 0; i < api_count(api); i++) {
        if (strcmp(api_at(api, i)->group, group) != 0 || !*group)
            continue;
        cJSON *o = new_kind("APIGroup", "v1");
        fill_group(api, i, o);
        print(o, out);
        return 0;
    }
    return error_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static void add_group_of(cJSON *o, const char *gv)
{
    const char *slash = strchr(gv, '/');
    if (slash) {
        autofree char *group = str_dup(str_range(gv, (size_t)(slash - gv)));
        add_string(o, "group", group);
    }
    add_string(o, "version", slash ? slash + 1 : gv);
}

static cJSON *resource_entry(const struct resource *r)
{
    cJSON *o = cJSON_CreateObject();
    add_string(o, "name", r->plural);
    add_string(o, "singularName", r->singular);
    cJSON_AddBoolToObject(o, "namespaced", r->namespaced);
    add_string(o, "kind", r->kind);
    cJSON_AddItemToObject(o, "verbs", verbs(r->verbs));
    if (r->short_names)
        cJSON_AddItemToObject(o, "shortNames", names(r->short_names));
    if (r->categories)
        cJSON_AddItemToObject(o, "categories", names(r->categories));
    if (r->stored) {
        char hash[16];
        snprintf(hash, sizeof(hash), "%08x",
            schema_hash(r->storage->group_version, strlen(r->storage->group_version)) ^
                schema_hash(r->plural, strlen(r->plural)));
        add_string(o, "storageVersionHash", hash);
    }
    return o;
}

static const char *connect_kind(
    const struct resource *r, const struct subresource *s, char *buf, size_t n)
{
    if (!s->connect || !strcmp(s->name, "log"))
        return s->kind;
    snprintf(buf, n, "%s%c%sOptions", r->kind, s->name[0] - 'a' + 'A', s->name + 1);
    if (!strcmp(s->name, "portforward"))
        snprintf(buf, n, "%sPortForwardOptions", r->kind);
    return buf;
}

static cJSON *subresource_entry(const struct resource *r, const struct subresource *s)
{
    char kind[96];
    cJSON *o = cJSON_CreateObject();
    autofree char *name = str_format("%s/%s", r->plural, s->name);
    add_string(o, "name", name);
    add_string(o, "singularName", "");
    cJSON_AddBoolToObject(o, "namespaced", r->namespaced);
    if (strcmp(s->group_version, r->group_version) != 0)
        add_group_of(o, s->group_version);
    add_string(o, "kind", connect_kind(r, s, kind, sizeof(kind)));
    cJSON_AddItemToObject(o, "verbs", verbs(s->verbs));
    return o;
}

int discovery_resources(
    const struct api *api, const char *gv, struct strbuf *out, struct error *err)
{
    cJSON *o = new_kind("APIResourceList", "v1");
    add_string(o, "groupVersion", gv);
    cJSON *list = cJSON_AddArrayToObject(o, "resources");
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (strcmp(r->group_version, gv) != 0 || !r->verbs || r->internal)
            continue;
        cJSON_AddItemToArray(list, resource_entry(r));
        for (size_t k = 0; k < r->subresource_count; k++)
            cJSON_AddItemToArray(list, subresource_entry(r, &r->subresources[k]));
    }
    bool found = list->child;
    if (found)
        json_print(o, out);
    cJSON_Delete(o);
    return found
               ? 0
               : error_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static cJSON *response_kind(const char *gv, const char *kind)
{
    cJSON *o = cJSON_CreateObject();
    const char *slash = strchr(gv, '/');
    autofree char *group = slash ? str_dup(str_range(gv, (size_t)(slash - gv))) : xstrdup("");
    add_string(o, "group", group);
    add_string(o, "version", slash ? slash + 1 : gv);
    add_string(o, "kind", kind);
    return o;
}

static cJSON *aggregated_resource(const struct resource *r)
{
    char kind[96];
    cJSON *o = cJSON_CreateObject();
    add_string(o, "resource", r->plural);
    cJSON_AddItemToObject(o, "responseKind", response_kind(r->group_version, r->kind));
    add_string(o, "scope", r->namespaced ? "Namespaced" : "Cluster");
    add_string(o, "singularResource", r->singular);
    cJSON_AddItemToObject(o, "verbs", verbs(r->verbs));
    if (r->short_names)
        cJSON_AddItemToObject(o, "shortNames", names(r->short_names));
    if (r->categories)
        cJSON_AddItemToObject(o, "categories", names(r->categories));
    if (r->subresource_count == 0)
        return o;
    cJSON *list = cJSON_AddArrayToObject(o, "subresources");
    for (size_t i = 0; i < r->subresource_count; i++) {
        const struct subresource *s = &r->subresources[i];
        cJSON *sub = cJSON_CreateObject();
        add_string(sub, "subresource", s->name);
        cJSON_AddItemToObject(sub, "responseKind",
            response_kind(s->group_version, connect_kind(r, s, kind, sizeof(kind))));
        cJSON_AddItemToObject(sub, "verbs", verbs(s->verbs));
        cJSON_AddItemToArray(list, sub);
    }
    return o;
}

static cJSON *aggregated_version(const struct api *api, const struct resource *of)
{
    cJSON *o = cJSON_CreateObject();
    add_string(o, "version", of->version);
    cJSON *list = cJSON_AddArrayToObject(o, "resources");
    for (size_t i = 0; i < api_count(api); i++)
        if (!strcmp(api_at(api, i)->group_version, of->group_version) && api_at(api, i)->verbs &&
            !api_at(api, i)->internal)
            cJSON_AddItemToArray(list, aggregated_resource(api_at(api, i)));
    add_string(o, "freshness", "Current");
    return o;
}

void discovery_aggregated(
    const struct api *api, bool legacy, const char *version, struct strbuf *out)
{
    autofree char *api_version = str_format("apidiscovery.k8s.io/%s", version);
    cJSON *o = new_kind("APIGroupDiscoveryList", api_version);
    cJSON_AddItemToObject(o, "metadata", cJSON_CreateObject());
    cJSON *items = cJSON_AddArrayToObject(o, "items");
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (legacy != !r->group[0] || !is_first_of_group(api, i))
            continue;
        cJSON *group = cJSON_CreateObject();
        cJSON *metadata = cJSON_AddObjectToObject(group, "metadata");
        if (!legacy)
            add_string(metadata, "name", r->group);
        cJSON *versions = cJSON_AddArrayToObject(group, "versions");
        for (size_t k = i; k < api_count(api); k++)
            if (!strcmp(api_at(api, k)->group, r->group) && is_first_of_version(api, k))
                cJSON_AddItemToArray(versions, aggregated_version(api, api_at(api, k)));
        cJSON_AddItemToArray(items, group);
    }
    print(o, out);
}
