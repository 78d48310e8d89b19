/*
 * Rules of autoscalers: metrics, targets, and how fast to go.
 *
 * Upstream: pkg/apis/autoscaling/validation.
 */
#include "apiserver/schema/rules.h"

#include "common/quantity.h"

#define STABILISATION_SECONDS_MAX 3600
#define PERIOD_SECONDS_MAX 1800

void rule_hpa(struct check *c, const struct frame *at, const cJSON *o)
{
    autojson cJSON *zero = cJSON_CreateNumber(0);
    const cJSON *max = json_get(o, "maxReplicas"), *min = json_get(o, "minReplicas");
    int64_t highest = json_int64_at(o, "maxReplicas", 0),
            lowest = json_int64_at(o, "minReplicas", 1);
    if (lowest < 1)
        check_invalid(c, AT(at, "minReplicas"), min, "must be greater than or equal to 1");
    if (highest < 1)
        check_invalid(c, AT(at, "maxReplicas"), max ? max : zero, "must be greater than 0");
    if (highest < lowest)
        check_invalid(c, AT(at, "maxReplicas"), max ? max : zero,
            "must be greater than or equal to `minReplicas`");
    const cJSON *percent = json_get(o, "targetCPUUtilizationPercentage");
    if (percent && json_int64_at(o, "targetCPUUtilizationPercentage", 1) < 1)
        check_invalid(
            c, AT(at, "targetCPUUtilizationPercentage"), percent, "must be greater than 0");
}

void rule_metric_target(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const types[] = {"AverageValue", "Utilization", "Value", NULL};
    static const char *const values[] = {"value", "averageValue"};
    const cJSON *percent = json_get(o, "averageUtilization");
    int64_t n;
    if (has_member(o, "type") && !is_one_of(text_of(o, "type"), types))
        check_invalid(c, AT(at, "type"), json_get(o, "type"),
            "must be either Utilization, Value, or AverageValue");
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        struct error err;
        struct quantity q;
        const cJSON *v = json_get(o, values[i]);
        if (v && quantity_parse(str_of(value_string(v)), &q, &err) == 0 && q.nano <= 0)
            check_invalid(c, AT(at, values[i]), v, "must be positive");
    }
    if (json_int64(percent, &n) && n < 1)
        check_invalid(c, AT(at, "averageUtilization"), percent, "must be greater than 0");
}

static bool targets(const cJSON *source, const char *value)
{
    return json_get(json_get(source, "target"), value);
}

void rule_resource_metric(struct check *c, const struct frame *at, const cJSON *o)
{
    const struct frame *target = AT(at, "target");
    bool percent = targets(o, "averageUtilization"), value = targets(o, "averageValue");
    if (!percent && !value)
        check_required(c, AT(target, "averageUtilization"),
            "must set either a target raw value or a target utilization");
    else if (percent && value)
        check_forbidden(c, AT(target, "averageValue"),
            "may not set both a target raw value and a target utilization");
}

void rule_pods_metric(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!targets(o, "averageValue"))
        check_required(
            c, AT(AT(at, "target"), "averageValue"), "must specify a positive target averageValue");
}

void rule_object_metric(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!targets(o, "value") && !targets(o, "averageValue"))
        check_required(c, AT(AT(at, "target"), "averageValue"),
            "must set either a target value or averageValue");
}

void rule_external_metric(struct check *c, const struct frame *at, const cJSON *o)
{
    const struct frame *target = AT(at, "target");
    bool whole = targets(o, "value"), each = targets(o, "averageValue");
    if (!whole && !each)
        check_required(c, AT(target, "averageValue"),
            "must set either a target value for metric or a per-pod target");
    else if (whole && each)
        check_forbidden(c, AT(target, "value"),
            "may not set both a target value for metric and a per-pod target");
}

void check_of_stabilization(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    int64_t n;
    (void)f;
    if (!json_int64(value, &n))
        return;
    if (n < 0)
        check_invalid(c, at, value, "must be greater than or equal to zero");
    else if (n > STABILISATION_SECONDS_MAX)
        check_error(c, at, FIELD_INVALID, value, "must be less than or equal to %d",
            STABILISATION_SECONDS_MAX);
}

void check_of_policy_period(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    int64_t n;
    (void)f;
    if (!json_int64(value, &n))
        return;
    if (n <= 0)
        check_invalid(c, at, value, "must be greater than zero");
    else if (n > PERIOD_SECONDS_MAX)
        check_error(
            c, at, FIELD_INVALID, value, "must be less than or equal to %d", PERIOD_SECONDS_MAX);
}
