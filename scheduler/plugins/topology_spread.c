/*
 * Plugin "TopologySpread": spec.topologySpreadConstraints, DoNotSchedule as a filter,
 * ScheduleAnyway as a score, and the profile's default constraints for pods that have none
 * (upstream's successor of SelectorSpread).
 *
 *     filter   a domain's matching pods, with this one, exceed the emptiest domain's by at most
 *              maxSkew; the emptiest counts as 0 while there are fewer domains than minDomains
 *     score    sum over constraints of pods * ln(domains + 2) + maxSkew - 1, rounded, reversed so
 *              that the least crowded node gets most
 *
 * Domains are those of nodes that carry all keys of the constraints and, as the policies say, match
 * the pod's node affinity and have no untolerated taint. Pods being deleted do not count.
 *
 * Cost:     a constraint: one pass over the rows with matching pods and one over all rows.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/podtopologyspread (filtering.go, scoring.go, common.go).
 * Tests:    tests/unit/scheduler/topology_test.c, rules_test.c
 */
#include <math.h>

#include "scheduler/hot.h"
#include "scheduler/plugins/domains.h"
#include "scheduler/plugins/spread.h"
#include "scheduler/profile.h"
#include "scheduler/workloads.h"

static plugin_filter_fn spread_filter;
static plugin_explain_fn spread_explain;
static plugin_applies_fn spread_applies;
static plugin_without_fn spread_without;
static plugin_score_fn spread_score;
static plugin_concerns_fn spread_concerns;

const struct plugin plugin_topology_spread = {
    .name = "SelectorSpread",
    .upstream_name = "PodTopologySpread",
    .looks_around = true,
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_RELABELLED | EVENT_NODE_TAINTED | EVENT_NODE_REMOVED |
                EVENT_POD_REMOVED | EVENT_POD_ADDED | EVENT_NAMESPACE,
    .filter = spread_filter,
    .explain = spread_explain,
    .applies = spread_applies,
    .without = spread_without,
    .score = spread_score,
    .concerns = spread_concerns,
    .weight = 2,
};

struct constraint {
    const struct spread_term *term;
    struct domains domains;
    uint8_t *seen; /* by domain */
    struct node_set counted;
    int64_t self, least;
};

struct spread_state {
    const struct spread_term *terms; /* the pod's or the default ones */
    uint32_t term_count;
    bool may_lack_keys; /* system defaults: nodes without a key still count */
    struct constraint *hard;
    uint32_t hard_count;
    bool hard_ready;
};

/* The default constraints with the selector of the pod's services and owner. */
static void use_defaults(const struct cycle *cycle, struct spread_state *s)
{
    const struct profile *profile = cycle->profile;
    struct pod_info *pod = (struct pod_info *)cycle->pod; /* a cache behind a const face */
    uint64_t version = workloads_version(cycle->nodes->workloads) + 1;

    if (!profile->spread_count)
        return;
    if (pod->spread_version != version) {
        matcher_put(cycle->nodes->pods, steal(&pod->spread_default));
        pod->spread_default =
            workloads_matcher(cycle->nodes->workloads, cycle->nodes->pods, pod->object);
        pod->spread_version = version;
    }
    if (!pod->spread_default)
        return;
    struct spread_term *terms =
        arena_new_array(cycle->arena, struct spread_term, profile->spread_count);
    for (size_t i = 0; i < profile->spread_count; i++)
        terms[i] = (struct spread_term){
            .matcher = pod->spread_default,
            .topology_key = profile->spread[i].topology_key,
            .max_skew = profile->spread[i].max_skew,
            .min_domains = 1,
            .hard = profile->spread[i].hard,
        };
    s->terms = terms;
    s->term_count = (uint32_t)profile->spread_count;
    s->may_lack_keys = profile->system_spread;
}

static struct spread_state *state_of(const struct cycle *cycle)
{
    struct spread_state *s = cycle->state->spread;

    if (s)
        return s;
    s = cycle->state->spread = arena_new_array(cycle->arena, struct spread_state, 1);
    if (cycle->pod->object->spread.count) {
        s->terms = cycle->pod->terms->spread;
        s->term_count = cycle->pod->terms->spread_count;
    } else {
        use_defaults(cycle, s);
    }
    for (uint32_t i = 0; i < s->term_count; i++)
        s->hard_count += s->terms[i].hard;
    return s;
}

/* The live nodes that carry the keys of all constraints of one kind. */
static struct node_set with_all_keys(
    const struct cycle *cycle, const struct spread_state *s, bool hard)
{
    struct node_set set = node_set_new_like(cycle->arena, &cycle->nodes->live);

    node_set_copy(&set, &cycle->nodes->live);
    for (uint32_t i = 0; i < s->term_count; i++) {
        if (s->terms[i].hard != hard)
            continue;
        const struct label_key *key =
            label_index_key(&cycle->nodes->labels, s->terms[i].topology_key);
        if (key)
            column_and(&key->nodes, &set);
        else
            node_set_clear(&set);
    }
    return set;
}

/* The nodes whose pods count for the constraint. */
static struct node_set counted_nodes(
    const struct cycle *cycle, const struct spread_term *term, const struct node_set *base)
{
    const struct pod *pod = cycle->pod->object;
    bool all = (term->any_affinity || (!pod->node_selector.count && !pod->has_required_terms &&
                                          !cycle->profile->added_affinity)) &&
               !term->honor_taints;

    if (all)
        return *base;
    struct node_set set = node_set_new_like(cycle->arena, base);
    node_set_copy(&set, base);
    if (!term->any_affinity)
        node_selector_keep(cycle, &set);
    if (term->honor_taints)
        taints_keep(cycle, &set);
    return set;
}

static void count_pods(struct constraint *c)
{
    if (!c->term->counts_nothing)
        domains_add(&c->domains, &c->term->matcher->matched, &c->counted, 1);
}

static void find_least(struct constraint *c, uint32_t domain_count)
{
    int64_t least = INT64_MAX;

    for (uint32_t d = 1; d < c->domains.count; d++)
        if (c->seen[d] && c->domains.sums[d] < least)
            least = c->domains.sums[d];
    c->least = least;
    if (domain_count < (uint32_t)c->term->min_domains)
        c->least = 0;
    if (c->least == INT64_MAX)
        c->least = INT32_MAX; /* upstream's value for "no domain": everything fits */
}

static void prepare_hard(const struct cycle *cycle, struct spread_state *s)
{
    struct node_set base = with_all_keys(cycle, s, true);
    struct constraint *c = arena_new_array(cycle->arena, struct constraint, s->hard_count);

    s->hard = c;
    s->hard_ready = true;
    for (uint32_t i = 0; i < s->term_count; i++) {
        if (!s->terms[i].hard)
            continue;
        c->term = &s->terms[i];
        c->domains = domains_new(cycle, c->term->topology_key);
        c->counted = counted_nodes(cycle, c->term, &base);
        c->self = c->term->counts_nothing || matcher_has(c->term->matcher, cycle->pod->class_);
        c->seen = arena_zalloc(cycle->arena, c->domains.count);
        uint32_t seen = domains_seen(&c->domains, &c->counted, c->seen);
        count_pods(c);
        find_least(c, seen);
        c++;
    }
}

static int64_t limit_of(const struct constraint *c)
{
    return c->term->max_skew - c->self + c->least;
}

static void spread_filter(const struct cycle *cycle, struct node_set *fits)
{
    struct spread_state *s = state_of(cycle);

    if (!s->hard_count)
        return;
    if (!s->hard_ready)
        prepare_hard(cycle, s);
    for (uint32_t i = 0; i < s->hard_count; i++) {
        const struct constraint *c = &s->hard[i];
        if (!c->domains.key) {
            node_set_clear(fits);
            return;
        }
        column_and(&c->domains.key->nodes, fits);
        domains_keep(&c->domains, fits, false, limit_of(c));
    }
}

static void spread_explain(
    const struct cycle *cycle, const struct node_set *refused, struct reasons *reasons)
{
    const struct spread_state *s = cycle->state->spread;
    struct node_set rest = node_set_new_like(cycle->arena, refused);
    struct node_set rows = node_set_new_like(cycle->arena, refused);

    node_set_copy(&rest, refused);
    for (uint32_t i = 0; i < s->hard_count; i++) {
        const struct constraint *c = &s->hard[i];
        node_set_copy(&rows, &rest);
        if (c->domains.key)
            column_and_not(&c->domains.key->nodes, &rows);
        if (!node_set_is_empty(&rows))
            reasons_add(reasons, &rows, true,
                "node(s) didn't match pod topology spread constraints (missing required label)");
        node_set_and_not(&rest, &rows);
        node_set_copy(&rows, &rest);
        domains_keep(&c->domains, &rows, true, limit_of(c));
        if (!node_set_is_empty(&rows))
            reasons_add(
                reasons, &rows, false, "node(s) didn't match pod topology spread constraints");
        node_set_and_not(&rest, &rows);
    }
}

static bool spread_applies(const struct cycle *cycle)
{
    return state_of(cycle)->hard_count > 0;
}

static bool fits_without(
    const struct constraint *c, uint32_t row, struct pod_info *const *pods, size_t count)
{
    uint32_t domain = c->domains.key ? c->domains.of[row] : 0;
    int64_t less = 0, least = c->least;

    if (!domain)
        return false;
    for (size_t i = 0; i < count; i++)
        less += matcher_has(c->term->matcher, pods[i]->class_);
    if (c->term->counts_nothing || !node_set_has(&c->counted, row))
        less = 0;
    int64_t sum = c->domains.sums[domain] - less;
    if (sum < least && c->seen[domain])
        least = sum;
    return sum + c->self - least <= c->term->max_skew;
}

static bool spread_without(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count)
{
    const struct spread_state *s = cycle->state->spread;

    for (uint32_t i = 0; i < s->hard_count; i++)
        if (!fits_without(&s->hard[i], row, pods, count))
            return false;
    return true;
}

/* A pod that came or went concerns those that count it. */
static bool spread_concerns(const struct pod_info *waiting, const struct pod_info *changed)
{
    const struct pod_terms *t = waiting->terms;

    for (uint32_t i = 0; t && i < t->spread_count; i++)
        if (matcher_has(t->spread[i].matcher, changed->class_))
            return true;
    return waiting->spread_default && matcher_has(waiting->spread_default, changed->class_);
}

/* Score */

static bool is_hostname(const struct spread_term *term)
{
    return c_eq(term->topology_key, "kubernetes.io/hostname");
}

static double weight_of(const struct cycle *cycle, const struct spread_state *s,
    const struct constraint *c, const struct node_set *scored)
{
    uint32_t size;

    if (is_hostname(c->term)) {
        size = (uint32_t)node_set_count(scored);
    } else {
        uint8_t *seen = arena_zalloc(cycle->arena, c->domains.count);
        size = domains_seen(&c->domains, scored, seen);
        if (s->may_lack_keys) {
            struct node_set rest = node_set_new_like(cycle->arena, scored);
            node_set_copy(&rest, scored);
            if (c->domains.key)
                column_and_not(&c->domains.key->nodes, &rest);
            size += !node_set_is_empty(&rest);
        }
    }
    return log((double)(size + 2));
}

HOT static void add_by_domain(
    const uint32_t *of, const double *of_domain, uint32_t rows, double *restrict points)
{
    for (uint32_t row = 0; row < rows; row++)
        points[row] += of_domain[of[row]];
}

HOT static void add_by_row(const uint32_t *of, const int32_t *here, double weight, double base,
    uint32_t rows, double *restrict points)
{
    for (uint32_t row = 0; row < rows; row++) {
        double more = (double)here[row] * weight + base;
        points[row] += of[row] ? more : 0;
    }
}

/* A constraint on host names counts the pods of the node itself, whatever the policies say. */
static void add_own_pods(
    const struct cycle *cycle, const struct constraint *c, double weight, double *points)
{
    const struct row_counts *counts = &c->term->matcher->matched;
    int32_t *here = arena_zalloc(cycle->arena, cycle->nodes->capacity * sizeof(int32_t));
    double base = (double)(c->term->max_skew - 1);

    for (uint32_t i = 0; i < counts->count && !c->term->counts_nothing; i++)
        here[counts->entries[i].row] = counts->entries[i].count;
    add_by_row(c->domains.of, here, weight, base, cycle->nodes->capacity, points);
}

/* Adds one constraint's part of the score to each row: 0 for rows without the key. */
static void add_points(const struct cycle *cycle, const struct spread_state *s,
    struct constraint *c, const struct node_set *scored, double *points)
{
    double weight = weight_of(cycle, s, c, scored);

    if (!c->domains.key)
        return;
    if (is_hostname(c->term)) {
        add_own_pods(cycle, c, weight, points);
        return;
    }
    count_pods(c);
    double *of_domain = arena_alloc(cycle->arena, c->domains.count * sizeof(double));
    for (uint32_t d = 0; d < c->domains.count; d++)
        of_domain[d] = (double)c->domains.sums[d] * weight + (double)(c->term->max_skew - 1);
    of_domain[0] = 0;
    add_by_domain(c->domains.of, of_domain, cycle->nodes->capacity, points);
}

/* Rounds the points and gives the range of those of the scored rows. */
HOT static void round_points(const struct node_set *scored, const double *points,
    int32_t *restrict scores, int32_t *ret_lowest, int32_t *ret_highest)
{
    int32_t lowest = INT32_MAX, highest = INT32_MIN;

    for (size_t w = 0; w < scored->word_count; w++) {
        uint64_t bits = scored->words[w];
        size_t at = w * 64;
        if (!bits)
            continue;
        for (unsigned i = 0; i < 64; i++)
            scores[at + i] = (int32_t)(points[at + i] + 0.5);
        for (unsigned i = 0; bits == UINT64_MAX && i < 64; i++) {
            highest = scores[at + i] > highest ? scores[at + i] : highest;
            lowest = scores[at + i] < lowest ? scores[at + i] : lowest;
        }
        for (; bits != UINT64_MAX && bits; bits &= bits - 1) {
            int32_t score = scores[at + (size_t)__builtin_ctzll(bits)];
            highest = score > highest ? score : highest;
            lowest = score < lowest ? score : lowest;
        }
    }
    *ret_lowest = lowest;
    *ret_highest = highest;
}

/* 100 * (highest + lowest - score) / highest, the quotient of two integers cut: at most 200, so
 * that the double's quotient is below the next integer whenever the true one is. */
HOT static void turn_round(
    const struct node_set *fits, int32_t lowest, int32_t highest, int32_t *restrict scores)
{
    double d = (double)highest, both = (double)highest + (double)lowest;

    for (size_t w = 0; w < fits->word_count; w++) {
        int32_t *s = scores + w * 64;
        if (!fits->words[w])
            continue;
        for (unsigned i = 0; i < 64; i++)
            s[i] = (int32_t)(PLUGIN_SCORE_MAX * (both - (double)s[i]) / d);
    }
}

static void normalize(const struct node_set *fits, const struct node_set *scored,
    const double *points, int32_t *scores)
{
    int32_t lowest, highest;

    round_points(scored, points, scores, &lowest, &highest);
    if (highest > 0) {
        turn_round(scored, lowest, highest, scores);
    } else {
        NODE_SET_FOR_EACH(row, scored)
        scores[row] = PLUGIN_SCORE_MAX;
    }
    for (size_t w = 0; w < fits->word_count; w++)
        for (uint64_t rest = fits->words[w] & ~scored->words[w]; rest; rest &= rest - 1)
            scores[w * 64 + (size_t)__builtin_ctzll(rest)] = 0;
}

static bool spread_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    struct spread_state *s = state_of(cycle);

    if (s->hard_count == s->term_count)
        return false;
    struct node_set base = cycle->nodes->live, scored = *fits;
    if (!s->may_lack_keys) {
        base = with_all_keys(cycle, s, false);
        scored = node_set_new_like(cycle->arena, fits);
        node_set_copy(&scored, fits);
        node_set_and(&scored, &base);
    }
    double *points = arena_zalloc(cycle->arena, cycle->nodes->capacity * sizeof(double));
    for (uint32_t i = 0; i < s->term_count; i++) {
        struct constraint c = {.term = &s->terms[i]};
        if (c.term->hard)
            continue;
        c.domains = domains_new(cycle, c.term->topology_key);
        c.counted = counted_nodes(cycle, c.term, &base);
        add_points(cycle, s, &c, &scored, points);
    }
    normalize(fits, &scored, points, scores);
    return true;
}
