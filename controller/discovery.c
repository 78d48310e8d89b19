/*
 * Discovery: see discovery.h. The first version that names a resource wins, since servers list the
 * preferred version first.
 */
#include "controller/discovery.h"

#include "common/http_client.h"

static const char aggregated_accept[] =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

static unsigned verbs_of(const cJSON *list)
{
    static const struct {
        const char *name;
        unsigned bit;
    } verbs[] = {{"create", VERB_CREATE}, {"delete", VERB_DELETE}, {"list", VERB_LIST},
        {"deletecollection", VERB_DELETE_COLLECTION}, {"get", VERB_GET}, {"patch", VERB_PATCH},
        {"update", VERB_UPDATE}, {"watch", VERB_WATCH}};
    unsigned set = 0;
    const cJSON *item;

    cJSON_ArrayForEach(
        item, list) for (size_t i = 0; i < ARRAY_COUNT(verbs);
                         i++) if (cJSON_IsString(item) && !strcmp(item->valuestring, verbs[i].name))
        set |= verbs[i].bit;
    return set;
}

/* The group of "apps/v1" is "apps", of "v1" "". */
static struct str group_of(const char *group_version)
{
    const char *slash = strchr(group_version, '/');
    return slash ? str_range(group_version, (size_t)(slash - group_version)) : STR("");
}

static void add(struct discovery *d, const char *group_version, const char *plural,
    const char *kind, bool namespaced, unsigned verbs)
{
    if (!plural || !kind || strchr(plural, '/'))
        return;
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->resources[i].plural, plural) &&
            str_eq(group_of(d->resources[i].group_version), group_of(group_version)))
            return;
    if (d->count == d->capacity) {
        d->capacity = d->capacity ? 2 * d->capacity : 64;
        d->resources = xrealloc(d->resources, d->capacity * sizeof(*d->resources));
    }
    d->resources[d->count++] = (struct resource){.group_version = xstrdup(group_version),
        .plural = xstrdup(plural),
        .kind = xstrdup(kind),
        .namespaced = namespaced,
        .verbs = verbs};
}

static int get(
    struct api_client *client, const char *path, const char *accept, cJSON **ret, struct error *err)
{
    struct http_response response;
    struct http_header header = {"Accept", accept};

    http_response_init(&response);
    int r = api_raw(client,
        &(struct http_request){
            .method = "GET", .path = path, .headers = &header, .header_count = 1},
        &response, err);
    if (r == 0 && response.status != 200)
        r = api_error_from_response(&response, err);
    if (r == 0)
        r = json_parse(strbuf_str(&response.body), ret, err);
    http_response_done(&response);
    return r;
}

/* APIResourceList of one group version. */
static int add_plain(
    struct api_client *client, const char *group_version, struct discovery *d, struct error *err)
{
    autofree char *path =
        str_format("%s/%s", strchr(group_version, '/') ? "/apis" : "/api", group_version);
    autojson cJSON *tree = NULL;
    const cJSON *item;

    if (get(client, path, "application/json", &tree, err) < 0)
        return error_wrap(err, "discovery of %s", group_version);
    cJSON_ArrayForEach(item, json_get(tree, "resources"))
        add(d, group_version, json_string(item, "name"), json_string(item, "kind"),
            json_bool(item, "namespaced", false), verbs_of(json_get(item, "verbs")));
    return 0;
}

/* APIGroupDiscoveryList. */
static void add_aggregated(const cJSON *tree, struct discovery *d)
{
    const cJSON *group, *version, *item;

    cJSON_ArrayForEach(group, json_get(tree, "items"))
    {
        const char *name = json_string_at(group, "metadata.name");
        cJSON_ArrayForEach(version, json_get(group, "versions"))
        {
            const char *v = json_string(version, "version"), *scope;
            autofree char *gv =
                name && *name ? str_format("%s/%s", name, v ? v : "") : xstrdup(v ? v : "");
            if (c_eq(json_string(version, "freshness"), "Stale"))
                d->partial = true;
            cJSON_ArrayForEach(item, json_get(version, "resources"))
            {
                scope = json_string(item, "scope");
                add(d, gv, json_string(item, "resource"), json_string_at(item, "responseKind.kind"),
                    c_eq(scope, "Namespaced"), verbs_of(json_get(item, "verbs")));
            }
        }
    }
}

static bool is_aggregated(const cJSON *tree)
{
    return c_eq(json_string(tree, "kind"), "APIGroupDiscoveryList");
}

/* APIGroupList: the preferred version of each group, then the others. */
static int add_groups(
    struct api_client *client, const cJSON *tree, struct discovery *d, struct error *err)
{
    const cJSON *group, *version;

    cJSON_ArrayForEach(group, json_get(tree, "groups"))
    {
        const char *preferred = json_string_at(group, "preferredVersion.groupVersion");
        if (preferred && add_plain(client, preferred, d, err) < 0)
            d->partial = true;
        cJSON_ArrayForEach(version, json_get(group, "versions"))
        {
            const char *gv = json_string(version, "groupVersion");
            if (gv && !c_eq(gv, preferred) && add_plain(client, gv, d, err) < 0)
                d->partial = true;
        }
    }
    return 0;
}

int discovery_load(struct api_client *client, struct discovery *ret, struct error *err)
{
    autojson cJSON *core = NULL, *groups = NULL;
    struct discovery d = {0};
    int r = get(client, "/api", aggregated_accept, &core, err);

    if (r == 0)
        r = get(client, "/apis", aggregated_accept, &groups, err);
    if (r == 0) {
        if (is_aggregated(core))
            add_aggregated(core, &d);
        else
            r = add_plain(client, "v1", &d, err);
    }
    if (r == 0) {
        if (is_aggregated(groups))
            add_aggregated(groups, &d);
        else
            r = add_groups(client, groups, &d, err);
    }
    if (r < 0) {
        discovery_done(&d);
        return error_wrap(err, "discovery");
    }
    *ret = d;
    return 0;
}

void discovery_done(struct discovery *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->resources[i].group_version);
        free(d->resources[i].plural);
        free(d->resources[i].kind);
    }
    free(d->resources);
    *d = (struct discovery){0};
}

const struct resource *discovery_find(
    const struct discovery *d, const char *group_version, const char *plural)
{
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->resources[i].group_version, group_version) &&
            !strcmp(d->resources[i].plural, plural))
            return &d->resources[i];
    return NULL;
}

const struct resource *discovery_find_kind(
    const struct discovery *d, const char *group_version, const char *kind)
{
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->resources[i].kind, kind) &&
            !strcmp(d->resources[i].group_version, group_version))
            return &d->resources[i];
    return NULL;
}

static int get_metadata(struct api_client *client, const struct resource *resource,
    const char *namespace_or_null, const char *name, const char *accept, cJSON **ret,
    struct error *err)
{
    autostrbuf struct strbuf path;

    strbuf_init(&path, 0);
    api_path(&(struct api_ref){.group_version = resource->group_version,
                 .plural = resource->plural,
                 .namespace_ = namespace_or_null,
                 .name = name},
        &path);
    return get(client, path.data, accept, ret, err);
}

int discovery_list_metadata(struct api_client *client, const struct resource *resource,
    const char *namespace_or_null, cJSON **ret, struct error *err)
{
    return get_metadata(client, resource, namespace_or_null, NULL,
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json", ret,
        err);
}

int discovery_get_metadata(struct api_client *client, const struct resource *resource,
    const char *namespace_or_null, const char *name, cJSON **ret, struct error *err)
{
    return get_metadata(client, resource, namespace_or_null, name,
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json", ret, err);
}
