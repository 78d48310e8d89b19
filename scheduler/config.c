/*
 * Config: decoding and checking of a KubeSchedulerConfiguration. See config.h.
 *
 * A struct field is a place in the file: the value and its path, so that each check can name it.
 * Arguments of plugins are in config_args.c. Upstream: pkg/scheduler/apis/config (types,
 * validation).
 */
#include "scheduler/config.h"

#include "common/file.h"
#include "common/limits.h"
#include "common/names.h"
#include "common/time.h"
#include "common/yaml.h"
#include "scheduler/config_field.h"
#include "scheduler/plugin.h"

#define API_VERSION "kubescheduler.config.k8s.io/v1"
#define KIND "KubeSchedulerConfiguration"

struct field field_member(const struct field *parent, const char *name)
{
    struct field f = {.value = json_get(parent->value, name)};

    snprintf(f.path, sizeof(f.path), "%.200s%s%s", parent->path, parent->path[0] ? "." : "", name);
    return f;
}

struct field field_item(const struct field *list, const cJSON *item, size_t index)
{
    struct field f = {.value = item};

    snprintf(f.path, sizeof(f.path), "%.230s[%zu]", list->path, index);
    return f;
}

int field_invalid(const struct field *f, struct error *err, const char *why)
{
    autofree char *text = f->value ? cJSON_PrintUnformatted(f->value) : NULL;

    return error_set(
        err, ERR_USAGE, "%s: Invalid value: %.80s: %s", f->path, text ? text : "null", why);
}

int field_only(const struct field *f, const char *const *names, struct error *err)
{
    const cJSON *member;

    if (!f->value || cJSON_IsNull(f->value))
        return 0;
    if (!cJSON_IsObject(f->value))
        return field_invalid(f, err, "must be an object");
    cJSON_ArrayForEach(member, f->value)
    {
        size_t i = 0;
        while (names[i] && !c_eq(names[i], member->string))
            i++;
        if (!names[i])
            return error_set(err, ERR_USAGE, "strict decoding error: unknown field \"%s%s%.80s\"",
                f->path, f->path[0] ? "." : "", member->string);
    }
    return 0;
}

int field_string(const struct field *f, const char **ret, struct error *err)
{
    if (!f->value || cJSON_IsNull(f->value))
        return 0;
    if (!cJSON_IsString(f->value))
        return field_invalid(f, err, "must be a string");
    *ret = f->value->valuestring;
    return 0;
}

int field_bool(const struct field *f, bool *ret, struct error *err)
{
    if (!f->value || cJSON_IsNull(f->value))
        return 0;
    if (!cJSON_IsBool(f->value))
        return field_invalid(f, err, "must be true or false");
    *ret = cJSON_IsTrue(f->value);
    return 0;
}

int field_int(const struct field *f, int64_t least, int64_t most, int64_t *ret, struct error *err)
{
    char why[96];
    int64_t n;

    if (!f->value || cJSON_IsNull(f->value))
        return 0;
    snprintf(why, sizeof(why), "must be an integer between %lld and %lld", (long long)least,
        (long long)most);
    if (!json_int64(f->value, &n) || n < least || n > most)
        return field_invalid(f, err, why);
    *ret = n;
    return 0;
}

int field_list(const struct field *f, struct error *err)
{
    if (!f->value || cJSON_IsNull(f->value) || cJSON_IsArray(f->value))
        return 0;
    return field_invalid(f, err, "must be a list");
}

/* Plugins of a profile */

enum point { POINT_ALL, POINT_FILTER, POINT_SCORE, POINT_PREEMPT, POINT_OTHER };

static const struct {
    const char *name;
    enum point point;
} points[] = {
    {"multiPoint", POINT_ALL},
    {"preEnqueue", POINT_OTHER},
    {"queueSort", POINT_OTHER},
    {"preFilter", POINT_OTHER},
    {"filter", POINT_FILTER},
    {"postFilter", POINT_PREEMPT},
    {"preScore", POINT_OTHER},
    {"score", POINT_SCORE},
    {"reserve", POINT_OTHER},
    {"permit", POINT_OTHER},
    {"preBind", POINT_OTHER},
    {"bind", POINT_OTHER},
    {"postBind", POINT_OTHER},
};

/* Upstream's plugins that are something other than a row in plugins.c here. */
static const char *const elsewhere[] = {"SchedulingGates", "PrioritySort", "DefaultPreemption",
    "DefaultBinder", "VolumeZone", "NodeVolumeLimits", "DynamicResources"};

static bool is_named(const struct plugin *p, const char *name)
{
    return c_eq(p->upstream_name, name) || c_eq(p->name, name);
}

static bool plugin_exists(const char *name)
{
    for (size_t i = 0; i < plugin_count; i++)
        if (is_named(plugins[i], name))
            return true;
    for (size_t i = 0; i < ARRAY_COUNT(elsewhere); i++)
        if (c_eq(elsewhere[i], name))
            return true;
    return false;
}

static bool covers(enum point set, enum point one)
{
    return set == POINT_ALL || set == one;
}

static void switch_plugin(
    struct profile *p, enum point point, const char *name, bool on, int64_t weight)
{
    bool all = c_eq(name, "*");

    for (size_t i = 0; i < plugin_count; i++) {
        if (!all && !is_named(plugins[i], name))
            continue;
        uint64_t bit = 1ull << i;
        if (covers(point, POINT_FILTER) && (plugins[i]->filter || plugins[i]->narrow))
            p->filters = on ? p->filters | bit : p->filters & ~bit;
        if (covers(point, POINT_SCORE) && plugins[i]->score)
            p->scores = on ? p->scores | bit : p->scores & ~bit;
        if (on && weight && plugins[i]->score)
            p->weights[i] = weight;
    }
    if (covers(point, POINT_PREEMPT) && (all || c_eq(name, "DefaultPreemption")))
        p->no_preemption = !on;
}

static int parse_plugin(
    const struct field *f, struct profile *p, enum point point, bool on, struct error *err)
{
    static const char *const names[] = {"name", "weight", NULL};
    struct field name_field = field_member(f, "name"), weight_field = field_member(f, "weight");
    const char *name = "";
    int64_t weight = 0;
    int r = field_only(f, names, err);

    if (r == 0)
        r = field_string(&name_field, &name, err);
    if (r == 0)
        r = field_int(&weight_field, 0, 1000, &weight, err);
    if (r < 0)
        return r;
    if (!name[0])
        return error_set(err, ERR_USAGE, "%s: Required value", name_field.path);
    if (!plugin_exists(name) && (on || !c_eq(name, "*")))
        return field_invalid(&name_field, err, "there is no such plugin");
    switch_plugin(p, point, name, on, weight);
    return 0;
}

static int parse_switches(
    const struct field *f, struct profile *p, enum point point, bool on, struct error *err)
{
    const cJSON *item;
    size_t i = 0;
    int r = field_list(f, err);

    if (r < 0)
        return r;
    cJSON_ArrayForEach(item, f->value)
    {
        struct field one = field_item(f, item, i++);
        r = parse_plugin(&one, p, point, on, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_plugins(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"enabled", "disabled", NULL};
    const char *known[ARRAY_COUNT(points) + 1] = {NULL};
    int r;

    for (size_t i = 0; i < ARRAY_COUNT(points); i++)
        known[i] = points[i].name;
    r = field_only(f, known, err);
    for (size_t i = 0; r == 0 && i < ARRAY_COUNT(points); i++) {
        struct field point = field_member(f, points[i].name);
        struct field off = field_member(&point, "disabled"), on = field_member(&point, "enabled");
        r = field_only(&point, names, err);
        if (r == 0)
            r = parse_switches(&off, p, points[i].point, false, err);
        if (r == 0)
            r = parse_switches(&on, p, points[i].point, true, err);
    }
    return r;
}

static int parse_plugin_config(const struct field *f, struct profile *p, struct error *err)
{
    static const char *const names[] = {"name", "args", NULL};
    const cJSON *item;
    size_t i = 0;
    int r = field_list(f, err);

    if (r < 0)
        return r;
    cJSON_ArrayForEach(item, f->value)
    {
        struct field one = field_item(f, item, i++), args = field_member(&one, "args");
        struct field name_field = field_member(&one, "name");
        const char *name = "";
        r = field_only(&one, names, err);
        if (r == 0)
            r = field_string(&name_field, &name, err);
        if (r == 0 && !plugin_exists(name))
            r = field_invalid(&name_field, err, "there is no such plugin");
        if (r == 0)
            r = config_parse_args(name, &args, p, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_profile(
    const struct field *f, struct config *config, struct profile *p, struct error *err)
{
    static const char *const names[] = {
        "schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig", NULL};
    struct field name_field = field_member(f, "schedulerName");
    struct field plugins_field = field_member(f, "plugins");
    struct field args_field = field_member(f, "pluginConfig");
    struct field percent = field_member(f, "percentageOfNodesToScore");
    const char *name = "default-scheduler";
    int64_t ignored;
    int r = field_only(f, names, err);

    if (r == 0)
        r = field_string(&name_field, &name, err);
    if (r == 0)
        r = field_int(&percent, 0, 100, &ignored, err);
    if (r == 0 && !name[0])
        r = error_set(err, ERR_USAGE, "%s: Required value", name_field.path);
    for (size_t i = 0; r == 0 && i < config->profile_count; i++)
        if (c_eq(config->profiles[i].scheduler_name, name))
            r = error_set(err, ERR_USAGE, "%s: Duplicate value: \"%s\"", name_field.path, name);
    if (r < 0)
        return r;
    profile_init(p, name);
    r = parse_plugins(&plugins_field, p, err);
    if (r == 0)
        r = parse_plugin_config(&args_field, p, err);
    if (r < 0)
        profile_done(p);
    return r;
}

static int parse_profiles(const struct field *f, struct config *config, struct error *err)
{
    const cJSON *item;
    size_t i = 0;
    int r = field_list(f, err);

    if (r < 0 || !cJSON_GetArraySize(f->value))
        return r;
    if (cJSON_GetArraySize(f->value) > CONFIG_PROFILES_MAX)
        return error_set(err, ERR_USAGE, "%s: Too many: must have at most %d items", f->path,
            CONFIG_PROFILES_MAX);
    profile_done(&config->profiles[0]);
    config->profile_count = 0;
    config->profiles = xrealloc(
        config->profiles, (size_t)cJSON_GetArraySize(f->value) * sizeof(*config->profiles));
    cJSON_ArrayForEach(item, f->value)
    {
        struct field one = field_item(f, item, i++);
        r = parse_profile(&one, config, &config->profiles[config->profile_count], err);
        if (r < 0)
            return r;
        config->profile_count++;
    }
    return 0;
}

static int parse_backoff(const struct field *root, struct config *config, struct error *err)
{
    struct field first = field_member(root, "podInitialBackoffSeconds");
    struct field most = field_member(root, "podMaxBackoffSeconds");
    int64_t first_s = config->backoff_first_ns / NS_PER_S;
    int64_t most_s = config->backoff_max_ns / NS_PER_S;
    int r = field_int(&first, 1, 1000000, &first_s, err);

    if (r == 0)
        r = field_int(&most, 1, 1000000, &most_s, err);
    if (r == 0 && most_s < first_s)
        r = field_invalid(&most, err, "must be greater than or equal to podInitialBackoffSeconds");
    config->backoff_first_ns = first_s * NS_PER_S;
    config->backoff_max_ns = most_s * NS_PER_S;
    return r;
}

static int check_kind(const struct field *root, struct error *err)
{
    const char *version = json_string(root->value, "apiVersion");
    const char *kind = json_string(root->value, "kind");

    if (!cJSON_IsObject(root->value) || !c_eq(version, API_VERSION) || !c_eq(kind, KIND))
        return error_set(err, ERR_USAGE,
            "no kind \"%.80s\" is registered for version \"%.80s\"; this needs kind " KIND
            " of " API_VERSION,
            kind ? kind : "", version ? version : "");
    return 0;
}

static int parse_tree(const cJSON *tree, struct config *config, struct error *err)
{
    static const char *const names[] = {"apiVersion", "kind", "parallelism", "leaderElection",
        "clientConnection", "healthzBindAddress", "metricsBindAddress", "enableProfiling",
        "enableContentionProfiling", "percentageOfNodesToScore", "podInitialBackoffSeconds",
        "podMaxBackoffSeconds", "profiles", "delayCacheUntilActive", "extenders", NULL};
    struct field root = {.value = tree};
    struct field profiles = field_member(&root, "profiles");
    struct field election = field_member(&root, "leaderElection");
    struct field elect = field_member(&election, "leaderElect");
    struct field percent = field_member(&root, "percentageOfNodesToScore");
    struct field parallelism = field_member(&root, "parallelism");
    struct field extenders = field_member(&root, "extenders");
    int64_t ignored;
    int r = check_kind(&root, err);

    if (r == 0)
        r = field_only(&root, names, err);
    if (r == 0)
        r = field_bool(&elect, &config->leader_elect, err);
    if (r == 0)
        r = field_int(&percent, 0, 100, &ignored, err);
    if (r == 0)
        r = field_int(&parallelism, 1, INT32_MAX, &ignored, err);
    if (r == 0 && cJSON_GetArraySize(extenders.value) > 0)
        r = field_invalid(&extenders, err, "extenders are not supported");
    if (r == 0)
        r = parse_backoff(&root, config, err);
    return r < 0 ? r : parse_profiles(&profiles, config, err);
}

void config_init(struct config *config)
{
    *config = (struct config){
        .profiles = xcalloc(1, sizeof(struct profile)),
        .profile_count = 1,
        .backoff_first_ns = 1 * NS_PER_S,
        .backoff_max_ns = 10 * NS_PER_S,
    };
    profile_init(&config->profiles[0], "default-scheduler");
}

void config_done(struct config *config)
{
    for (size_t i = 0; i < config->profile_count; i++)
        profile_done(&config->profiles[i]);
    free(config->profiles);
    *config = (struct config){0};
}

int config_parse(struct str text, struct config *config, struct error *err)
{
    autojson cJSON *tree = NULL;
    struct config parsed;
    int r = yaml_parse(text, YAML_STRICT, &tree, err);

    if (r < 0)
        return r;
    config_init(&parsed);
    r = parse_tree(tree, &parsed, err);
    if (r < 0) {
        config_done(&parsed);
        return r;
    }
    config_done(config);
    *config = parsed;
    return 0;
}

int config_read(const char *path, struct config *config, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    int r = file_read(path, 1 << 20, &text, err);

    if (r == 0)
        r = config_parse(strbuf_str(&text), config, err);
    return r < 0 ? error_wrap(err, "--config %s", path) : 0;
}
