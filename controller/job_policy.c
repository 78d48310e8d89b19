/* What a Job's policies say of its pods: see job.h. Upstream: pkg/controller/job
 * (pod_failure_policy, success_policy). */
#include "controller/job.h"
#include "controller/pods.h"

static bool has_number(const cJSON *values, int64_t wanted)
{
    const cJSON *item;
    int64_t value;

    cJSON_ArrayForEach(item, values)
    {
        if (json_int64(item, &value) && value == wanted)
            return true;
    }
    return false;
}

static const struct container_status *find_exit(
    const cJSON *rule, const struct projected_list *statuses)
{
    const struct container_status *s = statuses->items;
    const char *name = json_string(rule, "containerName");
    bool in = c_eq(json_string(rule, "operator"), "In");

    for (size_t i = 0; i < statuses->count; i++)
        if (s[i].exit_code != 0 && (!name || !strcmp(name, s[i].name)) &&
            has_number(json_get(rule, "values"), s[i].exit_code) == in)
            return &s[i];
    return NULL;
}

static const struct pod_condition *find_condition(const cJSON *patterns, const struct pod *pod)
{
    const cJSON *pattern;

    cJSON_ArrayForEach(pattern, patterns)
    {
        const char *type = json_string(pattern, "type"), *status = json_string(pattern, "status");
        const struct pod_condition *c = type ? pod_condition(pod, type) : NULL;
        if (c && !strcmp(c->status, status && *status ? status : "True"))
            return c;
    }
    return NULL;
}

static enum job_action action_of(const char *name)
{
    if (c_eq(name, "FailJob"))
        return JOB_FAIL_JOB;
    if (c_eq(name, "FailIndex"))
        return JOB_FAIL_INDEX;
    return c_eq(name, "Ignore") ? JOB_IGNORE : JOB_COUNT;
}

enum job_action job_failure_action(const cJSON *policy, const struct pod *pod, char **ret_message)
{
    const cJSON *rule;
    int index = 0;

    cJSON_ArrayForEach(rule, json_get(policy, "rules"))
    {
        const char *name = json_string(rule, "action");
        enum job_action action = action_of(name);
        const cJSON *exits = json_get(rule, "onExitCodes");
        const struct container_status *s = exits ? find_exit(exits, &pod->statuses) : NULL;
        const struct pod_condition *c = find_condition(json_get(rule, "onPodConditions"), pod);
        if (exits && !s)
            s = find_exit(exits, &pod->init_statuses);
        if (s && action == JOB_FAIL_JOB)
            *ret_message = str_format(
                "Container %s for pod %s/%s failed with exit code %lld matching %s rule at index "
                "%d",
                s->name, pod->meta.namespace_, pod->meta.name, (long long)s->exit_code, name,
                index);
        else if (c && action == JOB_FAIL_JOB)
            *ret_message = str_format("Pod %s/%s has condition %s matching %s rule at index %d",
                pod->meta.namespace_, pod->meta.name, c->type, name, index);
        if (s || c)
            return action;
        index++;
    }
    return JOB_COUNT;
}

int job_success_rule(const cJSON *policy, const struct index_set *completed)
{
    const cJSON *rule;
    int at = 0;

    cJSON_ArrayForEach(rule, json_get(policy, "rules"))
    {
        const char *text = json_string(rule, "succeededIndexes");
        int64_t listed = 0, met = 0, count = -1;
        struct index_set wanted = {0};
        if (text)
            index_set_parse(text, completed->size, &wanted);
        for (int64_t i = 0; i < completed->size; i++) {
            bool counts = !text || index_set_has(&wanted, i);
            listed += counts;
            met += counts && index_set_has(completed, i);
        }
        index_set_done(&wanted);
        if (json_int64(json_get(rule, "succeededCount"), &count) ? met >= count
                                                                 : listed > 0 && met == listed)
            return at;
        at++;
    }
    return -1;
}
