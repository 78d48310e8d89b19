/*
 * What a namespace's annotations say about where its pods run:
 *
 * PodNodeSelector: scheduler.alpha.kubernetes.io/node-selector is added to every pod's
 * nodeSelector, and a configured list bounds what a pod may ask for. PodTolerationRestriction:
 * .../defaultTolerations for pods without any, .../tolerationsWhitelist bounds them. Upstream:
 * plugin/pkg/admission/{podnodeselector,podtolerationrestriction}.
 */
#include "apiserver/admission/plugin.h"
#include "common/selector.h"

#define SELECTOR "scheduler.alpha.kubernetes.io/node-selector"
#define DEFAULT_TOLERATIONS "scheduler.alpha.kubernetes.io/defaultTolerations"
#define ALLOWED_TOLERATIONS "scheduler.alpha.kubernetes.io/tolerationsWhitelist"

static const char *const pods[] = {"pods", NULL};

/* A namespace's annotation in the arena, or NULL. -ERR_FORBIDDEN when there is no namespace. */
static int annotation(
    const struct write_context *w, const char *key, const char **ret, struct error *err)
{
    struct object *o = admission_namespace(w);

    *ret = NULL;
    if (!o)
        return admission_refuse(w, err, "its namespace is not found");
    autojson cJSON *tree = object_tree(o);
    object_unref(o);
    const char *text = json_string(json_path(tree, "metadata.annotations"), key);
    if (text)
        *ret = arena_strdup(w->arena, str_of(text));
    return 0;
}

/* --- PodNodeSelector --- */

/* "a=b, c=d" as an object; NULL when it is no such list. */
static cJSON *parse_labels(const char *text)
{
    cJSON *ret = cJSON_CreateObject();
    struct str rest = str_of(text), part;

    while (str_split(&rest, ',', &part)) {
        part = str_trim(part);
        if (part.n == 0)
            continue;
        ssize_t equals = str_find(part, '=');
        if (equals <= 0) {
            cJSON_Delete(ret);
            return NULL;
        }
        struct str value = str_trim(str_range(part.p + equals + 1, part.n - (size_t)equals - 1));
        if (value.n && value.p[0] == '=') /* a==b */
            value = str_range(value.p + 1, value.n - 1);
        autofree char *k = str_dup(str_trim(str_range(part.p, (size_t)equals))),
                      *v = str_dup(value);
        json_set_string(ret, k, v);
    }
    return ret;
}

static const cJSON *node_selector_config(const struct write_context *w)
{
    return json_get(
        admission_configuration(w, &admission_pod_node_selector), "podNodeSelectorPluginConfig");
}

/* The namespace's selector, else the configured default; *ret may be NULL. */
static int namespace_selector(const struct write_context *w, cJSON **ret, struct error *err)
{
    const char *text;

    *ret = NULL;
    if (annotation(w, SELECTOR, &text, err) < 0)
        return -(int)err->code;
    if (!text)
        text = json_string(node_selector_config(w), "clusterDefaultNodeSelector");
    if (!text || !*text)
        return 0;
    *ret = parse_labels(text);
    return *ret ? 0
                : admission_refuse(
                      w, err, "the node selector \"%s\" of its namespace can't be read", text);
}

static int pod_node_selector(struct write_context *w, struct error *err)
{
    autojson cJSON *wanted = NULL;
    const cJSON *item;
    cJSON *spec = json_get(w->tree, "spec");

    if (w->kind != WRITE_CREATE || !spec)
        return 0;
    if (namespace_selector(w, &wanted, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(item, wanted)
    {
        const char *own = json_string(json_get(spec, "nodeSelector"), item->string);
        if (own && !c_eq(own, item->valuestring))
            return admission_refuse(
                w, err, "pod node label selector conflicts with its namespace node label selector");
        if (!json_get(spec, "nodeSelector"))
            json_set(spec, "nodeSelector", cJSON_CreateObject());
        json_set_string(json_get(spec, "nodeSelector"), item->string, item->valuestring);
    }
    return 0;
}

static int pod_node_selector_validate(const struct write_context *w, struct error *err)
{
    const char *namespace_ = json_string_at(w->tree, "metadata.namespace");
    const char *list = json_string(node_selector_config(w), namespace_ ? namespace_ : "");
    const cJSON *item;

    if (w->kind != WRITE_CREATE || !list)
        return 0;
    autojson cJSON *allowed = parse_labels(list);
    cJSON_ArrayForEach(item, json_path(w->tree, "spec.nodeSelector"))
    {
        if (!c_eq(json_string(allowed, item->string), item->valuestring))
            return admission_refuse(
                w, err, "pod node label selector labels conflict with its namespace whitelist");
    }
    return 0;
}

static int configure_node_selector(const cJSON *config, void **ret_state, struct error *err)
{
    (void)ret_state;
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(config, "podNodeSelectorPluginConfig"))
    {
        cJSON *labels = item->valuestring ? parse_labels(item->valuestring) : NULL;
        if (!labels)
            return error_set(err, ERR_USAGE,
                "podNodeSelectorPluginConfig.%s: must be labels like \"a=b,c=d\"", item->string);
        cJSON_Delete(labels);
    }
    return 0;
}

const struct admission_plugin admission_pod_node_selector = {
    .name = "PodNodeSelector",
    .resources = pods,
    .off = true,
    .mutate = pod_node_selector,
    .validate = pod_node_selector_validate,
    .configure = configure_node_selector,
};

/* --- PodTolerationRestriction --- */

static const char *member(const cJSON *t, const char *name)
{
    const char *text = json_string(t, name);
    return text ? text : "";
}

static bool same_toleration(const cJSON *a, const cJSON *b)
{
    static const char *const names[] = {"key", "value", "effect"};
    const char *left = member(a, "operator"), *right = member(b, "operator");

    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (!c_eq(member(a, names[i]), member(b, names[i])))
            return false;
    return c_eq(*left ? left : "Equal", *right ? right : "Equal");
}

/* Does `wide` tolerate all that `narrow` does? */
static bool covers(const cJSON *wide, const cJSON *narrow)
{
    if (same_toleration(wide, narrow))
        return true;
    if (*member(wide, "key") && !c_eq(member(wide, "key"), member(narrow, "key")))
        return false;
    if (*member(wide, "effect") && !c_eq(member(wide, "effect"), member(narrow, "effect")))
        return false;
    if (json_get(wide, "tolerationSeconds") &&
        json_int64_at(narrow, "tolerationSeconds", INT64_MAX) >
            json_int64_at(wide, "tolerationSeconds", INT64_MAX))
        return false;
    return c_eq(member(wide, "operator"), "Exists") ||
           (!c_eq(member(narrow, "operator"), "Exists") &&
               c_eq(member(wide, "value"), member(narrow, "value")));
}

static int read_tolerations(
    const struct write_context *w, const char *key, cJSON **ret, struct error *err)
{
    const char *text;
    struct error why = {0};

    *ret = NULL;
    if (annotation(w, key, &text, err) < 0)
        return -(int)err->code;
    if (text && (json_parse(str_of(text), ret, &why) < 0 || !cJSON_IsArray(*ret)))
        return admission_refuse(
            w, err, "the annotation %s of its namespace is no JSON list of tolerations", key);
    return 0;
}

static void add_toleration(cJSON *spec, const cJSON *one)
{
    const cJSON *t;

    cJSON_ArrayForEach(t, json_get(spec, "tolerations"))
    {
        if (same_toleration(t, one))
            return;
    }
    if (!json_get(spec, "tolerations"))
        json_set(spec, "tolerations", cJSON_CreateArray());
    cJSON_AddItemToArray(json_get(spec, "tolerations"), cJSON_Duplicate(one, true));
}

static int default_tolerations(struct write_context *w, struct error *err)
{
    autojson cJSON *defaults = NULL;
    cJSON *spec = json_get(w->tree, "spec");
    const cJSON *item, *config = admission_configuration(w, &admission_pod_toleration_restriction);

    if (w->kind != WRITE_CREATE || !spec)
        return 0;
    if (read_tolerations(w, DEFAULT_TOLERATIONS, &defaults, err) < 0)
        return -(int)err->code;
    const cJSON *list = defaults ? defaults : json_get(config, "default");
    cJSON_ArrayForEach(item, list)
    {
        add_toleration(spec, item);
    }
    return 0;
}

static int check_tolerations(const struct write_context *w, struct error *err)
{
    autojson cJSON *allowed = NULL;
    const cJSON *t, *item,
        *config = admission_configuration(w, &admission_pod_toleration_restriction);

    if (!admission_is_main(w))
        return 0;
    if (read_tolerations(w, ALLOWED_TOLERATIONS, &allowed, err) < 0)
        return -(int)err->code;
    const cJSON *list = allowed ? allowed : json_get(config, "whitelist");
    if (!list || !list->child)
        return 0;
    cJSON_ArrayForEach(t, json_path(w->tree, "spec.tolerations"))
    {
        bool good = false;
        cJSON_ArrayForEach(item, list)
        {
            good = good || covers(item, t);
        }
        if (!good)
            return admission_refuse(w, err,
                "pod tolerations (possibly merged with namespace default tolerations) conflict "
                "with its namespace whitelist");
    }
    return 0;
}

static int configure_tolerations(const cJSON *config, void **ret_state, struct error *err)
{
    (void)ret_state;
    static const char *const lists[] = {"default", "whitelist"};

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        if (json_get(config, lists[i]) && !cJSON_IsArray(json_get(config, lists[i])))
            return error_set(err, ERR_USAGE, "%s: must be a list of tolerations", lists[i]);
    return 0;
}

const struct admission_plugin admission_pod_toleration_restriction = {
    .name = "PodTolerationRestriction",
    .resources = pods,
    .off = true,
    .mutate = default_tolerations,
    .validate = check_tolerations,
    .configure = configure_tolerations,
};
