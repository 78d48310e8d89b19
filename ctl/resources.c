/*
 * The resource map from aggregated discovery, and the arguments that name objects. See resources.h.
 */
#include "ctl/resources.h"

#define AGGREGATED \
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"

static char **string_array(const cJSON *array)
{
    char **out = xcalloc((size_t)cJSON_GetArraySize(array) + 1, sizeof(*out));
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, array) out[n++] =
        xstrdup(cJSON_IsString(item) ? item->valuestring : "");
    return out;
}

static void free_array(char **array)
{
    for (char **s = array; s && *s; s++)
        free(*s);
    free(array);
}

static bool has_string(char *const *array, struct str name)
{
    for (; array && *array; array++)
        if (str_eqc(name, *array))
            return true;
    return false;
}

static bool has_verb(const cJSON *resource, const char *verb)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(resource, "verbs"))
    {
        if (cJSON_IsString(item) && c_eq(item->valuestring, verb))
            return true;
    }
    return false;
}

static void add_resource(
    struct resource_map *m, const char *group, const char *version, const cJSON *resource)
{
    const char *plural = json_string(resource, "resource"),
               *singular = json_string(resource, "singularResource");
    const char *kind = json_string_at(resource, "responseKind.kind");
    if (!plural || !kind)
        return;
    autofree char *lower = xstrdup(kind);
    for (char *p = lower; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    m->all = xrealloc(m->all, (m->count + 1) * sizeof(*m->all));
    m->all[m->count++] = (struct ctl_resource){
        .group_version = *group ? str_format("%s/%s", group, version) : xstrdup(version),
        .group = xstrdup(group),
        .plural = xstrdup(plural),
        .singular = xstrdup(singular && *singular ? singular : lower),
        .kind = xstrdup(kind),
        .short_names = string_array(json_get(resource, "shortNames")),
        .categories = string_array(json_get(resource, "categories")),
        .namespaced = c_eq(json_string(resource, "scope"), "Namespaced"),
        .listable = has_verb(resource, "list"),
    };
}

static int load_path(
    struct ctl_client *client, const char *path, struct resource_map *m, struct error *err)
{
    struct http_header accept = {"Accept", AGGREGATED};
    struct http_request request = {
        .method = "GET", .path = path, .headers = &accept, .header_count = 1};
    struct http_response answer;
    autojson cJSON *tree = NULL;
    http_response_init(&answer);
    int result = api_raw(client->api, &request, &answer, err);
    if (result == 0 && answer.status >= 400)
        result = api_error_from_response(&answer, err);
    if (result == 0)
        result = json_parse(strbuf_str(&answer.body), &tree, err);
    http_response_done(&answer);
    if (result < 0)
        return error_wrap(err, "%s", client->kubeconfig.server);
    const cJSON *group, *version, *resource;
    cJSON_ArrayForEach(group, json_get(tree, "items"))
    {
        const char *name = json_string_at(group, "metadata.name");
        cJSON_ArrayForEach(version, json_get(group, "versions"))
            cJSON_ArrayForEach(resource, json_get(version, "resources"))
                add_resource(m, name ? name : "", json_string(version, "version"), resource);
    }
    return 0;
}

int resource_map_load(struct ctl_client *client, struct resource_map *ret, struct error *err)
{
    struct resource_map m = {0};
    if (load_path(client, "/api", &m, err) < 0 || load_path(client, "/apis", &m, err) < 0) {
        resource_map_done(&m);
        return -err->code;
    }
    *ret = m;
    return 0;
}

void resource_map_done(struct resource_map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct ctl_resource *r = &m->all[i];
        char *const strings[] = {r->group_version, r->group, r->plural, r->singular, r->kind};
        for (size_t j = 0; j < ARRAY_COUNT(strings); j++)
            free(strings[j]);
        free_array(r->short_names);
        free_array(r->categories);
    }
    free(m->all);
    *m = (struct resource_map){0};
}

static bool is_called(const struct ctl_resource *r, struct str name)
{
    struct str rest = name, base, version;
    if (str_eq_nocase(name, str_of(r->plural)) || str_eq_nocase(name, str_of(r->singular)) ||
        str_eq_nocase(name, str_of(r->kind)) || has_string(r->short_names, name))
        return true;
    if (!str_split(&rest, '.', &base) || rest.n == 0)
        return false;
    if (!str_eqc(base, r->plural) && !str_eqc(base, r->singular) &&
        !has_string(r->short_names, base))
        return false;
    if (str_eqc(rest, r->group))
        return true;
    autofree char *full = str_format(
        "%s", strchr(r->group_version, '/') ? strchr(r->group_version, '/') + 1 : r->group_version);
    return str_split(&rest, '.', &version) && str_eqc(version, full) && str_eqc(rest, r->group);
}

int resource_map_find(const struct resource_map *m, struct str name,
    const struct ctl_resource **ret, struct error *err)
{
    for (size_t i = 0; i < m->count; i++) {
        if (!is_called(&m->all[i], name))
            continue;
        *ret = &m->all[i];
        return 0;
    }
    return error_set(
        err, ERR_NOT_FOUND, "the server doesn't have a resource type \"%.*s\"", STR_FMT(name));
}

int resource_map_find_kind(const struct resource_map *m, const char *group_version,
    const char *kind, const struct ctl_resource **ret, struct error *err)
{
    for (size_t i = 0; i < m->count; i++) {
        if (!c_eq(m->all[i].group_version, group_version) || !c_eq(m->all[i].kind, kind))
            continue;
        *ret = &m->all[i];
        return 0;
    }
    return error_set(
        err, ERR_NOT_FOUND, "no matches for kind \"%s\" in version \"%s\"", kind, group_version);
}

/* --- targets --- */

static void add_target(struct targets *t, const struct ctl_resource *r, struct str name)
{
    t->all = xrealloc(t->all, (t->count + 1) * sizeof(*t->all));
    t->all[t->count++] = (struct target){r, name.n ? str_dup(name) : NULL};
}

void targets_done(struct targets *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->all[i].name);
    free(t->all);
    *t = (struct targets){0};
}

static bool is_target(const struct targets *t, const struct ctl_resource *r)
{
    for (size_t i = 0; i < t->count; i++)
        if (c_eq(t->all[i].resource->plural, r->plural) &&
            c_eq(t->all[i].resource->group, r->group))
            return true;
    return false;
}

/* A category's members, without names; each once, though a group may have it in several versions.
 */
static bool add_category(const struct resource_map *m, struct targets *t, struct str name)
{
    size_t before = t->count;
    for (size_t i = 0; i < m->count; i++)
        if (has_string(m->all[i].categories, name) && m->all[i].listable &&
            !is_target(t, &m->all[i]))
            add_target(t, &m->all[i], (struct str){0});
    return t->count > before;
}

static int mixed_forms(const char *example, struct error *err)
{
    return error_set(err, ERR_USAGE,
        "there is no need to specify a resource type as a separate argument when passing arguments "
        "in "
        "resource/name form (e.g. '%s')",
        example);
}

static int add_types(const struct resource_map *m, struct str types, int argc, char **argv,
    struct targets *t, struct error *err)
{
    struct str type;
    while (types.n && str_split(&types, ',', &type)) {
        const struct ctl_resource *r;
        if (argc == 0 && add_category(m, t, type))
            continue;
        if (resource_map_find(m, type, &r, err) < 0)
            return -err->code;
        if (argc == 0)
            add_target(t, r, (struct str){0});
        for (int i = 0; i < argc; i++) {
            if (!*argv[i])
                return error_set(err, ERR_USAGE, "resource name may not be empty");
            if (strchr(argv[i], '/'))
                return mixed_forms(argv[i], err);
            add_target(t, r, str_of(argv[i]));
        }
    }
    return 0;
}

int targets_check(int argc, char **argv, struct error *err)
{
    if (argc < 1 || !*argv[0])
        return error_set(err, ERR_USAGE, "name a resource: TYPE, TYPE NAME or TYPE/NAME");
    return 0;
}

int targets_parse(
    const struct resource_map *m, int argc, char **argv, struct targets *ret, struct error *err)
{
    struct targets t = {0};
    bool slashed = argc > 0 && strchr(argv[0], '/');
    int result = targets_check(argc, argv, err);
    if (result == 0 && !slashed)
        result = add_types(m, str_of(argv[0]), argc - 1, argv + 1, &t, err);
    for (int i = 0; result == 0 && slashed && i < argc; i++) {
        struct str name = str_of(argv[i]), type;
        const struct ctl_resource *r;
        if (!strchr(argv[i], '/')) {
            result = mixed_forms(argv[0], err);
            break;
        }
        str_split(&name, '/', &type);
        if (name.n == 0 || str_find(name, '/') >= 0) {
            result = error_set(err, ERR_USAGE,
                "arguments in resource/name form must have a single resource and name, not \"%s\"",
                argv[i]);
            break;
        }
        result = resource_map_find(m, type, &r, err);
        if (result == 0)
            add_target(&t, r, name);
    }
    if (result < 0) {
        targets_done(&t);
        return result;
    }
    *ret = t;
    return 0;
}

char *resource_label(const struct ctl_resource *r, const char *name)
{
    return str_format("%s%s%s/%s", r->singular, *r->group ? "." : "", r->group, name);
}

struct api_ref resource_ref(const struct ctl_resource *r, const char *namespace_, const char *name)
{
    return (struct api_ref){.group_version = r->group_version,
        .plural = r->plural,
        .namespace_ = r->namespaced ? namespace_ : NULL,
        .name = name};
}
