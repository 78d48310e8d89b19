/* The arithmetic of autoscaling: see hpa.h. Upstream: pkg/controller/podautoscaler (horizontal.go,
 * replica_calculator.go). */
#include <math.h>

#include "common/quantity.h"
#include "common/time.h"
#include "controller/hpa.h"

#define TOLERANCE 0.1

static bool is_within(double ratio, const struct hpa_tolerance *t)
{
    return ratio >= 1.0 - t->down && ratio <= 1.0 + t->up;
}

struct sums {
    double usage, requests;
    size_t measured, missing, unready;
};

static double ratio_of(const struct sums *s, bool utilization, int64_t target)
{
    if (utilization)
        return s->requests > 0 ? s->usage * 100 / s->requests / (double)target : 0;
    return s->measured ? s->usage / (double)s->measured / (double)target : 0;
}

/* With the pods that were left out put in where they hold the change back most. */
static struct sums with_all(const struct hpa_usage *usage, const struct sums *s, double ratio,
    bool utilization, int64_t target)
{
    struct sums all = *s;
    bool up_with_unready = s->unready > 0 && ratio > 1.0;

    for (size_t i = 0; i < usage->count; i++) {
        const struct hpa_pod *p = &usage->pods[i];
        bool missing = p->usage < 0 && !p->unready;
        if (!missing && !(p->unready && up_with_unready))
            continue;
        if (missing && ratio < 1.0)
            all.usage += utilization
                             ? (double)p->request * (target > 100 ? (double)target : 100.0) / 100
                             : (double)target;
        all.requests += (double)p->request;
        all.measured++;
    }
    return all;
}

int hpa_propose_pods(const struct hpa_usage *usage, bool utilization, int64_t target,
    int64_t current, const struct hpa_tolerance *tolerance, struct hpa_proposal *ret,
    struct error *err)
{
    struct sums s = {0};

    for (size_t i = 0; i < usage->count; i++) {
        const struct hpa_pod *p = &usage->pods[i];
        s.unready += p->unready;
        s.missing += !p->unready && p->usage < 0;
        if (p->unready || p->usage < 0)
            continue;
        s.usage += (double)p->usage;
        s.requests += (double)p->request;
        s.measured++;
    }
    if (s.measured == 0 || target <= 0)
        return error_set(err, ERR_NOT_FOUND,
            "did not receive metrics for targeted pods (pods might be unready)");
    if (utilization && s.requests <= 0)
        return error_set(err, ERR_NOT_FOUND, "no metrics returned matched known pods");
    double ratio = ratio_of(&s, utilization, target);
    *ret = (struct hpa_proposal){.replicas = current,
        .utilization = utilization ? (int64_t)(s.usage * 100 / s.requests) : 0,
        .average = (int64_t)(s.usage / (double)s.measured)};
    if (!(s.unready > 0 && ratio > 1.0) && s.missing == 0) {
        if (!is_within(ratio, tolerance))
            ret->replicas = (int64_t)ceil(ratio * (double)s.measured);
        return 0;
    }
    struct sums all = with_all(usage, &s, ratio, utilization, target);
    double again = ratio_of(&all, utilization, target);
    if (is_within(again, tolerance) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0))
        return 0;
    int64_t replicas = (int64_t)ceil(again * (double)all.measured);
    if (!((again < 1.0 && replicas > current) || (again > 1.0 && replicas < current)))
        ret->replicas = replicas;
    return 0;
}

int64_t hpa_propose_value(int64_t value, int64_t target, bool per_pod, int64_t current,
    int64_t ready, const struct hpa_tolerance *tolerance)
{
    if (target <= 0)
        return current;
    if (per_pod) {
        double ratio =
            current > 0 ? (double)value / ((double)target * (double)current) : (double)value;
        return current > 0 && is_within(ratio, tolerance)
                   ? current
                   : (int64_t)ceil((double)value / (double)target);
    }
    double ratio = (double)value / (double)target;
    if (current == 0)
        return (int64_t)ceil(ratio);
    return is_within(ratio, tolerance) ? current : (int64_t)ceil(ratio * (double)ready);
}

/* --- behavior --- */

static void parse_rules(const cJSON *rules, struct hpa_rules *ret)
{
    const cJSON *policies = json_get(rules, "policies"), *item;
    const char *select = json_string(rules, "selectPolicy");
    const char *tolerance = json_string(rules, "tolerance");
    struct quantity q;
    struct error ignored;

    ret->window_ns =
        json_int64_at(rules, "stabilizationWindowSeconds", ret->window_ns / NS_PER_S) * NS_PER_S;
    ret->least = c_eq(select, "Min");
    ret->disabled = c_eq(select, "Disabled");
    if (tolerance && quantity_parse(str_of(tolerance), &q, &ignored) == 0)
        ret->tolerance = (double)quantity_milli_value(q) / 1000;
    if (policies && policies->child)
        ret->count = 0;
    cJSON_ArrayForEach(item, policies)
    {
        if (ret->count < HPA_POLICIES_MAX)
            ret->policies[ret->count++] = (struct hpa_policy){
                c_eq(json_string(item, "type"), "Percent"), json_int64_at(item, "value", 0),
                json_int64_at(item, "periodSeconds", 15) * NS_PER_S};
    }
}

void hpa_behavior_parse(const cJSON *behavior, struct hpa_behavior *ret)
{
    *ret = (struct hpa_behavior){
        .set = behavior != NULL,
        .up = {.policies = {{false, 4, 15 * NS_PER_S}, {true, 100, 15 * NS_PER_S}},
            .count = 2,
            .tolerance = TOLERANCE},
        .down = {.policies = {{true, 100, 15 * NS_PER_S}},
            .count = 1,
            .window_ns = 300 * NS_PER_S,
            .tolerance = TOLERANCE},
    };
    parse_rules(json_get(behavior, "scaleUp"), &ret->up);
    parse_rules(json_get(behavior, "scaleDown"), &ret->down);
}

void hpa_history_add(
    struct hpa_record **list, size_t *count, int64_t at_ns, int64_t replicas, int64_t oldest_ns)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++)
        if ((*list)[i].at_ns > oldest_ns)
            (*list)[kept++] = (*list)[i];
    *list = xrealloc(*list, (kept + 1) * sizeof(**list));
    (*list)[kept] = (struct hpa_record){at_ns, replicas};
    *count = kept + 1;
}

/* How many replicas were added (sign 1) or taken away (-1) since a time. */
static int64_t changed_since(const struct hpa_history *h, int64_t since_ns, int sign)
{
    int64_t sum = 0;

    for (size_t i = 0; i < h->change_count; i++)
        if (h->changes[i].at_ns > since_ns && h->changes[i].replicas * sign > 0)
            sum += h->changes[i].replicas * sign;
    return sum;
}

static int64_t policy_limit(const struct hpa_policy *p, const struct hpa_history *h, int64_t now_ns,
    int64_t current, bool up)
{
    int64_t since = now_ns - p->period_ns;
    int64_t start = current - changed_since(h, since, 1) + changed_since(h, since, -1);

    if (up)
        return p->percent ? (int64_t)ceil((double)start * (1 + (double)p->value / 100))
                          : start + p->value;
    return p->percent ? (int64_t)((double)start * (1 - (double)p->value / 100)) : start - p->value;
}

/* How far the policies let it go in one direction. */
static int64_t rate_limit(const struct hpa_rules *rules, const struct hpa_history *h,
    int64_t now_ns, int64_t current, bool up)
{
    int64_t best = up == rules->least ? INT32_MAX : INT32_MIN;

    if (rules->disabled || rules->count == 0)
        return current;
    for (size_t i = 0; i < rules->count; i++) {
        int64_t limit = policy_limit(&rules->policies[i], h, now_ns, current, up);
        bool larger = up != rules->least; /* most change: the highest up, the lowest down */
        best = larger ? (limit > best ? limit : best) : (limit < best ? limit : best);
    }
    return best;
}

static int64_t stabilize(const struct hpa_behavior *b, const struct hpa_history *h, int64_t now_ns,
    int64_t current, int64_t desired, struct hpa_limit *ret)
{
    int64_t up = desired, down = desired, at = current;

    for (size_t i = 0; i < h->recommendation_count; i++) {
        const struct hpa_record *r = &h->recommendations[i];
        if (r->at_ns > now_ns - b->up.window_ns && r->replicas < up)
            up = r->replicas;
        if (r->at_ns > now_ns - b->down.window_ns && r->replicas > down)
            down = r->replicas;
    }
    at = at < up ? up : at;
    at = at > down ? down : at;
    ret->stabilized_reason = "ReadyForNewScale";
    ret->stabilized_message = "recommended size matches current size";
    if (at < desired) {
        ret->stabilized_reason = "ScaleUpStabilized";
        ret->stabilized_message = "recent recommendations were lower than current one, applying "
                                  "the lowest recent recommendation";
    } else if (at > desired) {
        ret->stabilized_reason = "ScaleDownStabilized";
        ret->stabilized_message = "recent recommendations were higher than current one, applying "
                                  "the highest recent recommendation";
    }
    return at;
}

static struct hpa_limit limited(
    struct hpa_limit l, int64_t replicas, const char *reason, const char *message)
{
    l.replicas = replicas;
    l.limited = true;
    l.limit_reason = reason;
    l.limit_message = message;
    return l;
}

struct hpa_limit hpa_limit(const struct hpa_behavior *b, const struct hpa_history *h,
    int64_t now_ns, int64_t current, int64_t desired, int64_t min, int64_t max)
{
    struct hpa_limit l = {.limit_reason = "DesiredWithinRange",
        .limit_message = "the desired count is within the acceptable range"};
    int64_t at = stabilize(b, h, now_ns, current, desired, &l);

    l.replicas = at;
    if (at > current) {
        int64_t rate = b->set ? rate_limit(&b->up, h, now_ns, current, true)
                              : (2 * current > 4 ? 2 * current : 4);
        rate = rate < current ? current : rate;
        if (max > rate && at > rate)
            return limited(l, rate, "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate");
    } else if (at < current && b->set) {
        int64_t rate = rate_limit(&b->down, h, now_ns, current, false);
        rate = rate > current ? current : rate;
        if (min < rate && at < rate)
            return limited(l, rate, "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate");
    }
    if (at > max)
        return limited(l, max, "TooManyReplicas",
            "the desired replica count is more than the maximum replica count");
    if (at < min)
        return limited(l, min, "TooFewReplicas",
            "the desired replica count is less than the minimum replica count");
    return l;
}
