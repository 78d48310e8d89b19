/*
 * Rules of the workload kinds: Deployment, ReplicaSet, StatefulSet, DaemonSet,
 * ReplicationController, and what may not change in them and in a Job.
 *
 * Upstream: pkg/apis/apps/validation, pkg/apis/batch/validation.
 */
#include "apiserver/schema/rules.h"

#include "common/selector.h"

static const char *label_of(const void *labels, const char *key)
{
    return cJSON_GetStringValue(members_get(labels, key));
}

/* {"app":"web"} must be selected by the object's own selector. */
static void check_selected(struct check *c, const struct frame *at, const cJSON *o,
    const cJSON *selector, const char *empty_text)
{
    struct error err;
    struct selector *s = NULL;
    if (!selector)
        return;
    if (value_is_empty(json_get(selector, "matchLabels")) &&
        value_is_empty(json_get(selector, "matchExpressions")))
        check_invalid(c, AT(at, "selector"), selector, empty_text);
    if (selector_from_json(selector, &s, &err) < 0)
        return;
    cJSON *labels = json_path(o, "template.metadata.labels");
    automembers struct members by_name = members_of(labels, 0);
    autojson cJSON *none = cJSON_CreateObject();
    if (!selector_is_everything(s) && !selector_matches(s, label_of, &by_name))
        check_invalid(c, AT(AT(AT(at, "template"), "metadata"), "labels"), labels ? labels : none,
            "`selector` does not match template `labels`");
    selector_free(s);
}

static void check_restarts_always(
    struct check *c, const struct frame *at, const cJSON *o, const char *kind)
{
    static const char *const always[] = {"Always", NULL};
    const cJSON *spec = json_path(o, "template.spec");
    const struct frame *at_spec = AT(AT(at, "template"), "spec");
    const char *policy = text_of(spec, "restartPolicy");
    if (*policy && strcmp(policy, "Always") != 0)
        check_not_supported(c, AT(at_spec, "restartPolicy"), policy, always);
    if (json_get(spec, "activeDeadlineSeconds")) {
        autofree char *text = str_format("activeDeadlineSeconds in %s is not Supported", kind);
        check_forbidden(c, AT(at_spec, "activeDeadlineSeconds"), text);
    }
}

void rule_deployment_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    check_selected(c, at, o, json_get(o, "selector"), "empty selector is invalid for deployment");
    check_restarts_always(c, at, o, "ReplicaSet");
    const cJSON *deadline = json_get(o, "progressDeadlineSeconds");
    if (deadline &&
        json_int64_at(o, "progressDeadlineSeconds", 0) <= json_int64_at(o, "minReadySeconds", 0))
        check_invalid(
            c, AT(at, "progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
}

void rule_replica_set_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    check_selected(c, at, o, json_get(o, "selector"), "empty selector is invalid for deployment");
    check_restarts_always(c, at, o, "ReplicaSet");
}

void rule_daemon_set_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    check_selected(c, at, o, json_get(o, "selector"), "empty selector is invalid for daemonset");
    check_restarts_always(c, at, o, "DaemonSet");
}

void rule_stateful_set_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    check_selected(c, at, o, json_get(o, "selector"), "empty selector is invalid for statefulset");
    check_restarts_always(c, at, o, "StatefulSet");
}

void rule_replication_controller_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *selector = json_get(o, "selector"),
                *labels = json_path(o, "template.metadata.labels");
    check_restarts_always(c, at, o, "ReplicationController");
    automembers struct members by_name = members_of(json_path(o, "template.metadata.labels"), 0);
    for (const cJSON *s = selector ? selector->child : NULL; s; s = s->next) {
        if (json_equal(members_get(&by_name, s->string), s))
            continue;
        autojson cJSON *none = cJSON_CreateObject();
        check_invalid(c, AT(AT(AT(at, "template"), "metadata"), "labels"), labels ? labels : none,
            "`selector` does not match template `labels`");
        return;
    }
}

static void check_not_above_100(struct check *c, const struct frame *at, const cJSON *value)
{
    bool percent;
    if (value && int_or_percent_number(value, &percent) > 100 && percent)
        check_invalid(c, at, value, "must not be greater than 100%");
}

static bool is_zero(const cJSON *value)
{
    bool percent;
    return !value || int_or_percent_number(value, &percent) == 0;
}

void rule_deployment_strategy(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *rolling = json_get(o, "rollingUpdate");
    const struct frame *here = AT(at, "rollingUpdate");
    if (text_is(o, "type", "Recreate")) {
        if (rolling)
            check_forbidden(c, here, "may not be specified when strategy `type` is 'Recreate'");
        return;
    }
    const cJSON *unavailable = json_get(rolling, "maxUnavailable"),
                *surge = json_get(rolling, "maxSurge");
    if (!rolling)
        check_required(c, here, "this should be defaulted and never be nil");
    if (!check_int_or_percent(c, AT(here, "maxUnavailable"), unavailable) ||
        !check_int_or_percent(c, AT(here, "maxSurge"), surge))
        return;
    if (rolling && is_zero(unavailable) && is_zero(surge))
        check_invalid(
            c, AT(here, "maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0");
    check_not_above_100(c, AT(here, "maxUnavailable"), unavailable);
}

void rule_daemon_strategy(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *rolling = json_get(o, "rollingUpdate");
    const struct frame *here = AT(at, "rollingUpdate");
    if (text_is(o, "type", "OnDelete"))
        return;
    const cJSON *unavailable = json_get(rolling, "maxUnavailable"),
                *surge = json_get(rolling, "maxSurge");
    if (!check_int_or_percent(c, AT(here, "maxUnavailable"), unavailable) ||
        !check_int_or_percent(c, AT(here, "maxSurge"), surge))
        return;
    check_not_above_100(c, AT(here, "maxUnavailable"), unavailable);
    check_not_above_100(c, AT(here, "maxSurge"), surge);
    if (!is_zero(unavailable) && !is_zero(surge))
        check_invalid(
            c, AT(here, "maxSurge"), surge, "may not be set when maxUnavailable is non-zero");
    if (rolling && is_zero(unavailable) && is_zero(surge))
        check_required(c, AT(here, "maxUnavailable"), "cannot be 0 when maxSurge is 0");
}

void rule_stateful_strategy(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *rolling = json_get(o, "rollingUpdate");
    if (text_is(o, "type", "OnDelete") && rolling)
        check_invalid(
            c, AT(at, "rollingUpdate"), rolling, "only allowed for updateStrategy 'RollingUpdate'");
    if (json_get(rolling, "maxUnavailable"))
        check_int_or_percent(
            c, AT(AT(at, "rollingUpdate"), "maxUnavailable"), json_get(rolling, "maxUnavailable"));
}

void check_of_management_policy(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    static const char *const policies[] = {"OrderedReady", "Parallel", NULL};
    (void)f;
    if (!value_is_empty(value) && !is_one_of(value_string(value), policies))
        check_invalid(c, at, value, "must be 'OrderedReady' or 'Parallel'");
}

void update_stateful_set(struct check *c, const cJSON *tree, const cJSON *old)
{
    static const char *const free_to_change[] = {"replicas", "ordinals", "template",
        "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds", NULL};
    autojson cJSON *x = cJSON_Duplicate(json_get(tree, "spec"), true);
    autojson cJSON *y = cJSON_Duplicate(json_get(old, "spec"), true);
    for (const char *const *name = free_to_change; *name; name++) {
        json_remove(x, *name);
        json_remove(y, *name);
    }
    const struct field *spec = schema_field(c->resource->schema, "spec", 4);
    if (!field_equal(spec, x, y))
        check_forbidden(c, AT(NULL, "spec"),
            "updates to statefulset spec for fields other than 'replicas', "
            "'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
}

static void keep(
    struct check *c, const struct field *spec, const cJSON *x, const cJSON *y, const char *name)
{
    const struct field *f = schema_field(spec->object, name, strlen(name));
    const cJSON *value = json_get(x, name);
    if (field_equal(f, value, json_get(y, name)))
        return;
    autojson cJSON *null = cJSON_CreateNull();
    check_invalid(c, AT(AT(NULL, "spec"), name), value ? value : null, "field is immutable");
}

/* A suspended Job that never started may still get other scheduling constraints; everything else
 * stays. */
void update_job(struct check *c, const cJSON *tree, const cJSON *old)
{
    static const char *const mutable_when_suspended[] = {
        "nodeSelector", "affinity", "tolerations", "schedulingGates", NULL};
    const struct field *spec = schema_field(c->resource->schema, "spec", 4);
    const cJSON *x = json_get(tree, "spec"), *y = json_get(old, "spec");
    static const char *const fixed[] = {"selector", "completionMode", "podFailurePolicy",
        "backoffLimitPerIndex", "managedBy", "successPolicy"};
    if (!text_is(x, "completionMode", "Indexed"))
        keep(c, spec, x, y, "completions");
    for (size_t i = 0; i < ARRAY_COUNT(fixed); i++)
        keep(c, spec, x, y, fixed[i]);
    autojson cJSON *before = cJSON_Duplicate(y, true);
    if (json_bool(y, "suspend", false) && !json_path(old, "status.startTime")) {
        cJSON *pod = json_path(before, "template.spec");
        const cJSON *wanted = json_path(x, "template.spec");
        for (const char *const *name = mutable_when_suspended; pod && *name; name++) {
            json_remove(pod, *name);
            if (json_get(wanted, *name))
                json_set(pod, *name, cJSON_Duplicate(json_get(wanted, *name), true));
        }
    }
    keep(c, spec, x, before, "template");
}
