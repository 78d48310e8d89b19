/*
 * DefaultTolerationSeconds: a pod stays 300 s on a node that is not ready or unreachable, unless it
 * says otherwise. TaintNodesByCondition: a new node takes no pods until it has reported that it is
 * ready.
 */
#include "apiserver/admission/plugin.h"

#define NOT_READY "node.kubernetes.io/not-ready"
#define UNREACHABLE "node.kubernetes.io/unreachable"

static bool tolerates(const cJSON *tolerations, const char *key)
{
    const cJSON *t;
    cJSON_ArrayForEach(t, tolerations)
    {
        const char *own = json_string(t, "key"), *effect = json_string(t, "effect");
        if ((!own || !*own || c_eq(own, key)) && (!effect || !*effect || c_eq(effect, "NoExecute")))
            return true;
    }
    return false;
}

static int default_toleration_seconds(struct write_context *w, struct error *err)
{
    static const char *const keys[] = {NOT_READY, UNREACHABLE};
    cJSON *spec = json_get(w->tree, "spec");
    (void)err;
    if (!spec || w->kind != WRITE_CREATE)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        if (tolerates(json_get(spec, "tolerations"), keys[i]))
            continue;
        if (!json_get(spec, "tolerations"))
            json_set(spec, "tolerations", cJSON_CreateArray());
        cJSON_AddItemToArray(json_get(spec, "tolerations"),
            json_make("{\"key\":\"%s\",\"operator\":\"Exists\",\"effect\":\"NoExecute\","
                      "\"tolerationSeconds\":300}",
                keys[i]));
    }
    return 0;
}

static int taint_new_node(struct write_context *w, struct error *err)
{
    const cJSON *taint;
    (void)err;
    if (w->kind != WRITE_CREATE)
        return 0;
    cJSON_ArrayForEach(taint, json_path(w->tree, "spec.taints"))
    {
        if (c_eq(json_string(taint, "key"), NOT_READY) &&
            c_eq(json_string(taint, "effect"), "NoSchedule"))
            return 0;
    }
    if (!json_path(w->tree, "spec.taints"))
        json_set_at(w->tree, "spec.taints", cJSON_CreateArray());
    cJSON_AddItemToArray(json_path(w->tree, "spec.taints"),
        json_make("{\"key\":\"" NOT_READY "\",\"effect\":\"NoSchedule\"}"));
    return 0;
}

static const char *const pods[] = {"pods", NULL};
static const char *const nodes[] = {"nodes", NULL};

const struct admission_plugin admission_default_toleration_seconds = {
    .name = "DefaultTolerationSeconds",
    .resources = pods,
    .mutate = default_toleration_seconds,
};

const struct admission_plugin admission_taint_nodes_by_condition = {
    .name = "TaintNodesByCondition",
    .resources = nodes,
    .mutate = taint_new_node,
};
