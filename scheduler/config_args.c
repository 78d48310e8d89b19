/*
 * Arguments of plugins in a scheduler's configuration. See config.h.
 *
 * Ranges and messages follow upstream's apis/config/validation.
 */
#include "scheduler/config_field.h"
#include "scheduler/plugin.h"

static void free_resources(struct weighted_resource *list, size_t *count)
{
    while (*count)
        free(list[--*count].name);
}

static int parse_resources(const struct field *f, int64_t most_weight,
    struct weighted_resource *list, size_t *count, struct error *err)
{
    static const char *const names[] = {"name", "weight", NULL};
    const cJSON *item;
    size_t i = 0;
    int r = field_list(f, err);

    if (r < 0 || !cJSON_GetArraySize(f->value))
        return r;
    if (cJSON_GetArraySize(f->value) > PROFILE_RESOURCES_MAX)
        return field_invalid(f, err, "must have at most 16 items");
    free_resources(list, count);
    cJSON_ArrayForEach(item, f->value)
    {
        struct field one = field_item(f, item, i++), name_field = field_member(&one, "name");
        struct field weight_field = field_member(&one, "weight");
        const char *name = "";
        int64_t weight = 1;
        r = field_only(&one, names, err);
        if (r == 0)
            r = field_string(&name_field, &name, err);
        if (r == 0)
            r = field_int(&weight_field, 1, most_weight, &weight, err);
        if (r == 0 && !name[0])
            r = error_set(err, ERR_USAGE, "%s: Required value", name_field.path);
        for (size_t k = 0; r == 0 && k < *count; k++)
            if (c_eq(list[k].name, name))
                r = error_set(err, ERR_USAGE, "%s: Duplicate value: \"%s\"", name_field.path, name);
        if (r < 0)
            return r;
        list[(*count)++] = (struct weighted_resource){xstrdup(name), weight};
    }
    return 0;
}

static int parse_point(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"utilization", "score", NULL};
    struct field at = field_member(f, "utilization"), score = field_member(f, "score");
    struct shape_point *point = &p->shape[p->shape_count];
    int r = field_only(f, names, err);

    *point = (struct shape_point){0, 0};
    if (r == 0)
        r = field_int(&at, 0, 100, &point->utilization, err);
    if (r == 0)
        r = field_int(&score, 0, 10, &point->score, err);
    if (r == 0 && p->shape_count && point[-1].utilization >= point->utilization)
        r = field_invalid(&at, err, "utilization values must be sorted in increasing order");
    point->score *= PLUGIN_SCORE_MAX / 10;
    p->shape_count += r == 0;
    return r;
}

static int parse_shape(const struct field *f, struct profile *p, struct error *err)
{
    const cJSON *item;
    size_t i = 0;
    int r = field_list(f, err);

    if (r < 0)
        return r;
    if (!cJSON_GetArraySize(f->value))
        return error_set(
            err, ERR_USAGE, "%s: Required value: at least one point must be specified", f->path);
    if (cJSON_GetArraySize(f->value) > PROFILE_SHAPE_MAX)
        return field_invalid(f, err, "must have at most 100 items");
    p->shape_count = 0;
    cJSON_ArrayForEach(item, f->value)
    {
        struct field one = field_item(f, item, i++);
        r = parse_point(&one, p, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_strategy(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"type", "resources", "requestedToCapacityRatio", NULL};
    static const char *const types[] = {
        [STRATEGY_LEAST] = "LeastAllocated",
        [STRATEGY_MOST] = "MostAllocated",
        [STRATEGY_RATIO] = "RequestedToCapacityRatio",
    };
    struct field type_field = field_member(f, "type"), resources = field_member(f, "resources");
    struct field ratio = field_member(f, "requestedToCapacityRatio");
    struct field shape = field_member(&ratio, "shape");
    const char *type = types[STRATEGY_LEAST];
    size_t t = 0;
    int r = field_only(f, names, err);

    if (r == 0)
        r = field_string(&type_field, &type, err);
    while (t < ARRAY_COUNT(types) && !c_eq(types[t], type))
        t++;
    if (r == 0 && t == ARRAY_COUNT(types))
        r = error_set(err, ERR_USAGE,
            "%s: Unsupported value: \"%.80s\": supported values: \"LeastAllocated\", "
            "\"MostAllocated\", \"RequestedToCapacityRatio\"",
            type_field.path, type);
    if (r < 0)
        return r;
    p->strategy = (enum scoring_strategy)t;
    r = parse_resources(&resources, 100, p->fit, &p->fit_count, err);
    if (r == 0 && p->strategy == STRATEGY_RATIO)
        r = parse_shape(&shape, p, err);
    return r;
}

/* suffix: "/" makes a group a prefix of names. */
static int add_ignored(
    const struct field *f, const char *suffix, struct profile *p, struct error *err)
{
    const cJSON *item;
    size_t i = 0;
    int r = field_list(f, err);

    if (r < 0)
        return r;
    cJSON_ArrayForEach(item, f->value)
    {
        struct field one = field_item(f, item, i++);
        const char *name = "";
        r = field_string(&one, &name, err);
        if (r == 0 && suffix[0] && strchr(name, '/'))
            r = field_invalid(&one, err, "resource group name can't contain '/'");
        if (r < 0)
            return r;
        p->ignored_resources =
            xrealloc(p->ignored_resources, (p->ignored_count + 1) * sizeof(char *));
        p->ignored_resources[p->ignored_count++] = str_format("%s%s", name, suffix);
    }
    return 0;
}

static int parse_fit(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {
        "apiVersion", "kind", "ignoredResources", "ignoredResourceGroups", "scoringStrategy", NULL};
    struct field strategy = field_member(f, "scoringStrategy");
    struct field ignored = field_member(f, "ignoredResources");
    struct field groups = field_member(f, "ignoredResourceGroups");
    int r = field_only(f, names, err);

    if (r == 0 && strategy.value)
        r = parse_strategy(&strategy, p, err);
    if (r == 0)
        r = add_ignored(&ignored, "", p, err);
    return r < 0 ? r : add_ignored(&groups, "/", p, err);
}

static int parse_balanced(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"apiVersion", "kind", "resources", NULL};
    struct field resources = field_member(f, "resources");
    int r = field_only(f, names, err);

    return r < 0 ? r : parse_resources(&resources, 1, p->balanced, &p->balanced_count, err);
}

static int parse_pod_affinity(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {
        "apiVersion", "kind", "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods", NULL};
    struct field weight = field_member(f, "hardPodAffinityWeight");
    struct field ignore = field_member(f, "ignorePreferredTermsOfExistingPods");
    int r = field_only(f, names, err);

    if (r == 0)
        r = field_int(&weight, 0, 100, &p->hard_affinity_weight, err);
    return r < 0 ? r : field_bool(&ignore, &p->ignore_preferred_of_others, err);
}

static int parse_default_spread(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"maxSkew", "topologyKey", "whenUnsatisfiable", NULL};
    struct field skew_field = field_member(f, "maxSkew"),
                 key_field = field_member(f, "topologyKey");
    struct field when_field = field_member(f, "whenUnsatisfiable");
    const char *key = "", *when = "";
    int64_t skew = 0;
    int r = field_only(f, names, err);

    if (r == 0)
        r = field_int(&skew_field, 1, INT32_MAX, &skew, err);
    if (r == 0)
        r = field_string(&key_field, &key, err);
    if (r == 0)
        r = field_string(&when_field, &when, err);
    if (r == 0 && !skew)
        r = field_invalid(&skew_field, err, "must be greater than zero");
    if (r == 0 && !key[0])
        r = error_set(err, ERR_USAGE, "%s: Required value: can not be empty", key_field.path);
    if (r == 0 && !c_eq(when, "DoNotSchedule") && !c_eq(when, "ScheduleAnyway"))
        r = error_set(err, ERR_USAGE,
            "%s: Unsupported value: \"%.80s\": supported values: \"DoNotSchedule\", "
            "\"ScheduleAnyway\"",
            when_field.path, when);
    if (r < 0)
        return r;
    p->spread[p->spread_count++] =
        (struct default_spread){xstrdup(key), (int32_t)skew, c_eq(when, "DoNotSchedule")};
    return 0;
}

static int parse_spread(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {
        "apiVersion", "kind", "defaultConstraints", "defaultingType", NULL};
    struct field list = field_member(f, "defaultConstraints");
    struct field type_field = field_member(f, "defaultingType");
    const char *type = "System";
    const cJSON *item;
    size_t i = 0;
    int r = field_only(f, names, err);

    if (r == 0)
        r = field_string(&type_field, &type, err);
    if (r == 0)
        r = field_list(&list, err);
    if (r == 0 && !c_eq(type, "System") && !c_eq(type, "List"))
        r = error_set(err, ERR_USAGE,
            "%s: Unsupported value: \"%.80s\": supported values: \"System\", \"List\"",
            type_field.path, type);
    if (r == 0 && c_eq(type, "System") && cJSON_GetArraySize(list.value) > 0)
        r = field_invalid(&type_field, err,
            "when .defaultConstraints are specified, defaultingType must be \"List\"");
    if (r == 0 && cJSON_GetArraySize(list.value) > PROFILE_SPREAD_MAX)
        r = field_invalid(&list, err, "must have at most 32 items");
    if (r < 0 || c_eq(type, "System"))
        return r;
    while (p->spread_count)
        free(p->spread[--p->spread_count].topology_key);
    p->system_spread = false;
    cJSON_ArrayForEach(item, list.value)
    {
        struct field one = field_item(&list, item, i++);
        r = parse_default_spread(&one, p, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_node_affinity(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"apiVersion", "kind", "addedAffinity", NULL};
    struct field added = field_member(f, "addedAffinity");
    autojson cJSON *pod = cJSON_CreateObject();
    int r = field_only(f, names, err);

    if (r < 0 || !added.value || cJSON_IsNull(added.value))
        return r;
    if (!cJSON_IsObject(added.value))
        return field_invalid(&added, err, "must be an object");
    json_set_at(pod, "spec.affinity.nodeAffinity", cJSON_Duplicate(added.value, true));
    if (p->added_affinity)
        projected_unref(p->added_affinity);
    p->added_affinity = projected_new(&pod_projection, pod);
    return 0;
}

static int parse_preemption(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {
        "apiVersion", "kind", "minCandidateNodesPercentage", "minCandidateNodesAbsolute", NULL};
    struct field percent = field_member(f, "minCandidateNodesPercentage");
    struct field absolute = field_member(f, "minCandidateNodesAbsolute");
    int64_t ignored; /* all nodes are looked at */
    int r = field_only(f, names, err);

    (void)p;
    if (r == 0)
        r = field_int(&percent, 0, 100, &ignored, err);
    return r < 0 ? r : field_int(&absolute, 0, INT32_MAX, &ignored, err);
}

typedef int parse_args_fn(const struct field *f, struct profile *p, struct error *err);

static const struct {
    const char *plugin;
    parse_args_fn *parse;
} parsers[] = {
    {"NodeResourcesFit", parse_fit},
    {"NodeResourcesBalancedAllocation", parse_balanced},
    {"InterPodAffinity", parse_pod_affinity},
    {"PodTopologySpread", parse_spread},
    {"NodeAffinity", parse_node_affinity},
    {"DefaultPreemption", parse_preemption},
};

int config_parse_args(
    const char *plugin, const struct field *args, struct profile *p, struct error *err)
{
    for (size_t i = 0; i < ARRAY_COUNT(parsers); i++)
        if (c_eq(parsers[i].plugin, plugin))
            return parsers[i].parse(args, p, err);
    return 0;
}
