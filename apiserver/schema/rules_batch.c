/*
 * Rules of jobs and cron jobs.
 *
 * Upstream: pkg/apis/batch/validation.
 */
#include "apiserver/schema/rules.h"

#include "common/cron.h"

#define INDEXES_MAX 100000
/* A job's name is the cron job's, a dash and ten digits, and still a label of its pods. */
#define CRON_JOB_NAME_MAX 52

static bool has_container(const cJSON *job_spec, const char *name)
{
    static const char *const lists[] = {"containers", "initContainers"};
    const cJSON *pod = json_path(job_spec, "template.spec");
    for (size_t k = 0; k < ARRAY_COUNT(lists); k++)
        for (const cJSON *e = first_member(pod, lists[k]); e; e = e->next)
            if (text_is(e, "name", name))
                return true;
    return false;
}

static void check_failure_policy(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *policy = json_get(o, "podFailurePolicy");
    const char *restart = value_string(json_path(o, "template.spec.restartPolicy"));
    size_t i = 0;
    if (!policy)
        return;
    if (strcmp(restart, "Never") != 0)
        check_invalid_text(c, AT(AT(AT(at, "template"), "spec"), "restartPolicy"), restart,
            "only \"Never\" is supported when podFailurePolicy is specified");
    for (const cJSON *r = first_member(policy, "rules"); r; r = r->next, i++) {
        const struct frame *rule = AT_INDEX(AT(AT(at, "podFailurePolicy"), "rules"), i);
        const char *name = text_of(json_get(r, "onExitCodes"), "containerName");
        if (text_is(r, "action", "FailIndex") && !json_get(o, "backoffLimitPerIndex"))
            check_invalid_text(
                c, AT(rule, "action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
        if (*name && !has_container(o, name))
            check_invalid_text(c, AT(AT(rule, "onExitCodes"), "containerName"), name,
                "must be one of the container or initContainer names in the pod template");
    }
}

void rule_failure_rule(struct check *c, const struct frame *at, const cJSON *o)
{
    bool codes = json_get(o, "onExitCodes"), conditions = first_member(o, "onPodConditions");
    if (codes && conditions)
        check_error(c, at, FIELD_INVALID, NULL,
            "specifying both OnExitCodes and OnPodConditions is not supported");
    else if (!codes && !conditions)
        check_error(c, at, FIELD_INVALID, NULL,
            "specifying one of OnExitCodes and OnPodConditions is required");
}

void rule_exit_codes(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *values = json_get(o, "values");
    const struct frame *here = AT(at, "values");
    int64_t last = INT64_MIN, n;
    size_t i = 0;
    bool ordered = true;
    autojson cJSON *none = cJSON_CreateArray();
    if (value_is_empty(values))
        check_invalid(c, here, values ? values : none, "at least one value is required");
    for (const cJSON *v = values ? values->child : NULL; v; v = v->next, i++) {
        if (!json_int64(v, &n))
            continue;
        if (n == 0 && text_is(o, "operator", "In"))
            check_invalid(c, AT_INDEX(here, i), v, "must not be 0 for the In operator");
        if (n == last)
            check_duplicate(c, AT_INDEX(here, i), v);
        ordered = ordered && n >= last;
        last = n;
    }
    if (!ordered)
        check_invalid(c, here, values, "must be ordered");
}

void rule_success_rule(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!json_get(o, "succeededCount") && !json_get(o, "succeededIndexes"))
        check_required(
            c, at, "at least one of succeededCount or succeededIndexes must be specified");
}

static void check_success_policy(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *policy = json_get(o, "successPolicy");
    int64_t completions = json_int64_at(o, "completions", 0);
    size_t i = 0;
    if (!policy)
        return;
    if (!text_is(o, "completionMode", "Indexed")) {
        check_invalid(c, AT(at, "successPolicy"), policy, "requires indexed completion mode");
        return;
    }
    for (const cJSON *r = first_member(policy, "rules"); r; r = r->next, i++)
        if (json_int64_at(r, "succeededCount", 0) > completions && completions > 0)
            check_error(c, AT(AT_INDEX(AT(AT(at, "successPolicy"), "rules"), i), "succeededCount"),
                FIELD_INVALID, json_get(r, "succeededCount"),
                "must be less than or equal to %lld (the number of specified completions)",
                (long long)completions);
}

static void check_indexes(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *failed = json_get(o, "maxFailedIndexes"),
                *limit = json_get(o, "backoffLimitPerIndex");
    bool indexed = text_is(o, "completionMode", "Indexed");
    if (indexed) {
        if (!json_get(o, "completions"))
            check_required(c, AT(at, "completions"), "when completion mode is Indexed");
        if (json_int64_at(o, "parallelism", 0) > INDEXES_MAX)
            check_error(c, AT(at, "parallelism"), FIELD_INVALID, json_get(o, "parallelism"),
                "must be less than or equal to %d when completion mode is Indexed", INDEXES_MAX);
    } else if (limit) {
        check_invalid(c, AT(at, "backoffLimitPerIndex"), limit, "requires indexed completion mode");
    }
    if (!failed)
        return;
    if (!limit)
        check_required(c, AT(at, "backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    if (!indexed)
        check_invalid(c, AT(at, "maxFailedIndexes"), failed, "requires indexed completion mode");
    else if (json_get(o, "completions") &&
             json_int64_at(o, "maxFailedIndexes", 0) > json_int64_at(o, "completions", 0))
        check_invalid(
            c, AT(at, "maxFailedIndexes"), failed, "must be less than or equal to completions");
}

void rule_job_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const policies[] = {"OnFailure", "Never", NULL};
    static const char *const failed[] = {"Failed", NULL};
    const char *policy = value_string(json_path(o, "template.spec.restartPolicy"));
    const struct frame *here = AT(AT(AT(at, "template"), "spec"), "restartPolicy");
    if (!strcmp(policy, "Always") || !*policy)
        check_error(c, here, FIELD_REQUIRED, NULL, "valid values: \"OnFailure\", \"Never\"");
    else if (!is_one_of(policy, policies))
        check_not_supported(c, here, policy, policies);
    check_indexes(c, at, o);
    check_failure_policy(c, at, o);
    check_success_policy(c, at, o);
    if (json_get(o, "podFailurePolicy") && has_member(o, "podReplacementPolicy") &&
        !text_is(o, "podReplacementPolicy", "Failed"))
        check_not_supported(
            c, AT(at, "podReplacementPolicy"), text_of(o, "podReplacementPolicy"), failed);
}

void rule_cron_job(struct check *c, const struct frame *at, const cJSON *o)
{
    struct error err;
    struct cron cron;
    struct timezone *known = NULL;
    const char *schedule = text_of(o, "schedule"), *zone = text_of(o, "timeZone");
    if (*schedule && (strstr(schedule, "TZ=") || strstr(schedule, "TZ =")))
        check_invalid_text(c, AT(at, "schedule"), schedule,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    else if (*schedule && cron_parse(schedule, &cron, &err) < 0)
        check_invalid_text(c, AT(at, "schedule"), schedule, err.text);
    if (json_get(o, "timeZone") && !*zone)
        check_invalid_text(c, AT(at, "timeZone"), zone, "timeZone must be nil or non-empty string");
    else if (!strcmp(zone, "Local"))
        check_invalid_text(c, AT(at, "timeZone"), zone,
            "timeZone must be an explicit time zone as defined in "
            "https://www.iana.org/time-zones");
    else if (*zone && timezone_load(zone, &known, &err) < 0)
        check_invalid_text(c, AT(at, "timeZone"), zone, err.text);
    timezone_free(known);
}

void rule_cron_job_name(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *name = json_path(o, "metadata.name");
    if (strlen(value_string(name)) > CRON_JOB_NAME_MAX)
        check_error(c, AT(AT(at, "metadata"), "name"), FIELD_INVALID, name,
            "must be no more than %d characters", CRON_JOB_NAME_MAX);
}
