/*
 * Plugin "InterPodAffinity" (the pod half of AffinityPriority): required pod affinity and
 * anti-affinity as a filter, the preferred ones as a score.
 *
 *     affinity        in the node's domain of every term there is a pod that matches all terms; or
 *                     no such pod exists anywhere and the pod itself matches (the first of a group)
 *     anti-affinity   in no domain of the node is there a pod that matches one of the terms
 *     existing pods   in no domain of the node is there a pod whose own anti-affinity refuses this
 *     score           weights of the pod's preferred terms for each pod that matches in the node's
 *                     domains, of existing pods' preferred terms that match this pod, and
 *                     hardPodAffinityWeight for their required ones; the range is mapped to 0..100
 *
 * Cost:     a term: one pass over the rows with pods it concerns and one over all rows. Terms of
 *           existing pods are found through the matchers that list this pod's class.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/interpodaffinity (filtering.go, scoring.go).
 * Tests:    tests/unit/scheduler/topology_test.c, rules_test.c
 */
#include "scheduler/hot.h"
#include "scheduler/plugins/domains.h"
#include "scheduler/profile.h"

static plugin_filter_fn affinity_filter;
static plugin_explain_fn affinity_explain;
static plugin_applies_fn affinity_applies;
static plugin_without_fn affinity_without;
static plugin_score_fn affinity_score;
static plugin_concerns_fn affinity_concerns;

const struct plugin plugin_inter_pod_affinity = {
    .name = "InterPodAffinity",
    .upstream_name = "InterPodAffinity",
    .looks_around = true,
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_RELABELLED | EVENT_POD_ADDED | EVENT_POD_REMOVED |
                EVENT_NODE_REMOVED | EVENT_NAMESPACE,
    .filter = affinity_filter,
    .explain = affinity_explain,
    .applies = affinity_applies,
    .without = affinity_without,
    .score = affinity_score,
    .concerns = affinity_concerns,
    .weight = 2,
};

/* Anti-affinity, of this pod or of others: domains with a count are refused. */
struct refusal {
    const struct term_group *group;
    bool existing; /* counts the owners of the term, not the pods it matches */
    struct domains domains;
};

struct affinity_state {
    struct domains *wanted; /* a required affinity term each */
    uint32_t wanted_count;
    bool is_first; /* no pod matches the affinity terms; this one does */
    struct refusal *refusals;
    uint32_t refusal_count;
};

static void add_refusal(const struct cycle *cycle, struct affinity_state *s,
    const struct term_group *group, bool existing)
{
    struct refusal *r = &s->refusals[s->refusal_count++];

    *r = (struct refusal){group, existing, domains_new(cycle, group->topology_key)};
    domains_add(&r->domains, existing ? &group->owners : &group->matcher->matched, NULL, 1);
}

static void prepare_wanted(const struct cycle *cycle, struct affinity_state *s)
{
    const struct pod_terms *t = cycle->pod->terms;
    bool any = false;

    if (!t || !t->affinity_count)
        return;
    s->wanted_count = t->affinity_count;
    s->wanted = arena_new_array(cycle->arena, struct domains, s->wanted_count);
    for (uint32_t i = 0; i < s->wanted_count; i++) {
        struct domains *d = &s->wanted[i];
        *d = domains_new(cycle, t->terms[i]->topology_key);
        domains_add(d, &t->affinity_all->matched, NULL, 1);
        for (uint32_t k = 1; k < d->count && !any; k++)
            any = d->sums[k] > 0;
    }
    s->is_first = !any && matcher_has(t->affinity_all, cycle->pod->class_);
}

static struct affinity_state *state_of(const struct cycle *cycle)
{
    const struct pod_info *pod = cycle->pod;
    const struct pod_terms *t = pod->terms;
    struct affinity_state *s = cycle->state->affinity;
    uint32_t refusals = t ? t->anti_count : 0;

    if (s)
        return s;
    s = cycle->state->affinity = arena_new_array(cycle->arena, struct affinity_state, 1);
    for (size_t i = 0; i < pod->class_->matched_count; i++)
        for (const struct term_group *g = pod->class_->matched[i]->groups; g; g = g->next)
            refusals += g->kind == TERM_ANTI_AFFINITY && g->owners.count;
    s->refusals = arena_new_array(cycle->arena, struct refusal, refusals);
    prepare_wanted(cycle, s);
    for (uint32_t i = 0; t && i < t->anti_count; i++)
        add_refusal(cycle, s, t->terms[t->affinity_count + i], false);
    for (size_t i = 0; i < pod->class_->matched_count; i++)
        for (const struct term_group *g = pod->class_->matched[i]->groups; g; g = g->next)
            if (g->kind == TERM_ANTI_AFFINITY && g->owners.count)
                add_refusal(cycle, s, g, true);
    return s;
}

static void keep_wanted(const struct affinity_state *s, struct node_set *fits)
{
    for (uint32_t i = 0; i < s->wanted_count; i++) {
        const struct domains *d = &s->wanted[i];
        if (!s->is_first)
            domains_keep(d, fits, true, 0);
        else if (d->key)
            column_and(&d->key->nodes, fits);
        else
            node_set_clear(fits);
    }
}

static void affinity_filter(const struct cycle *cycle, struct node_set *fits)
{
    const struct affinity_state *s = state_of(cycle);

    keep_wanted(s, fits);
    for (uint32_t i = 0; i < s->refusal_count; i++)
        domains_keep(&s->refusals[i].domains, fits, false, 0);
}

static uint32_t domain_of(const struct domains *d, uint32_t row)
{
    return d->key ? d->of[row] : 0;
}

static void affinity_explain(
    const struct cycle *cycle, const struct node_set *refused, struct reasons *reasons)
{
    const struct affinity_state *s = cycle->state->affinity;
    struct node_set rest = node_set_new_like(cycle->arena, refused);
    struct node_set rows = node_set_new_like(cycle->arena, refused);

    node_set_copy(&rest, refused);
    keep_wanted(s, &rest);
    node_set_copy(&rows, refused);
    node_set_and_not(&rows, &rest);
    if (!node_set_is_empty(&rows))
        reasons_add(reasons, &rows, true, "node(s) didn't match pod affinity rules");
    for (uint32_t i = 0; i < s->refusal_count; i++) {
        node_set_copy(&rows, &rest);
        domains_keep(&s->refusals[i].domains, &rows, true, 0);
        node_set_and_not(&rest, &rows);
        if (!node_set_is_empty(&rows))
            reasons_add(reasons, &rows, false, "%s",
                s->refusals[i].existing ? "node(s) didn't satisfy existing pods anti-affinity rules"
                                        : "node(s) didn't match pod anti-affinity rules");
    }
}

static bool affinity_applies(const struct cycle *cycle)
{
    const struct affinity_state *s = state_of(cycle);

    return s->wanted_count || s->refusal_count;
}

static int64_t owned_terms(const struct pod_info *pod, const struct term_group *group)
{
    int64_t n = 0;

    for (uint32_t i = 0; pod->terms && i < pod->terms->term_count; i++)
        n += pod->terms->terms[i] == group;
    return n;
}

static bool wanted_without(const struct cycle *cycle, const struct affinity_state *s, uint32_t row,
    struct pod_info *const *pods, size_t count)
{
    const struct matcher *all = cycle->pod->terms->affinity_all;
    int64_t less = 0, left = 0;
    bool all_there = true;

    for (size_t i = 0; i < count; i++)
        less += matcher_has(all, pods[i]->class_);
    for (uint32_t i = 0; i < s->wanted_count; i++) {
        uint32_t domain = domain_of(&s->wanted[i], row);
        if (!domain)
            return false;
        all_there = all_there && s->wanted[i].sums[domain] - less > 0;
        for (uint32_t d = 1; d < s->wanted[i].count; d++)
            left += s->wanted[i].sums[d];
        left -= less;
    }
    return all_there || (!left && matcher_has(all, cycle->pod->class_));
}

static bool affinity_without(
    const struct cycle *cycle, uint32_t row, struct pod_info *const *pods, size_t count)
{
    const struct affinity_state *s = cycle->state->affinity;

    if (s->wanted_count && !wanted_without(cycle, s, row, pods, count))
        return false;
    for (uint32_t i = 0; i < s->refusal_count; i++) {
        const struct refusal *r = &s->refusals[i];
        int64_t left = r->domains.sums[domain_of(&r->domains, row)];
        for (size_t k = 0; left > 0 && k < count; k++)
            left -= r->existing ? owned_terms(pods[k], r->group)
                                : matcher_has(r->group->matcher, pods[k]->class_);
        if (left > 0)
            return false;
    }
    return true;
}

/* A pod that came or went concerns those whose terms match it, and those its own terms refuse. */
static bool affinity_concerns(const struct pod_info *waiting, const struct pod_info *changed)
{
    const struct pod_terms *mine = waiting->terms, *theirs = changed->terms;

    for (uint32_t i = 0; mine && i < mine->affinity_count + mine->anti_count; i++)
        if (matcher_has(mine->terms[i]->matcher, changed->class_))
            return true;
    for (uint32_t i = 0; theirs && i < theirs->anti_count; i++)
        if (matcher_has(theirs->terms[theirs->affinity_count + i]->matcher, waiting->class_))
            return true;
    return false;
}

/* Score */

struct points {
    struct points *next;
    const char *topology_key;
    struct domains domains;
};

/* The sums for one topology key; made at its first use. */
static struct domains *points_of(
    const struct cycle *cycle, struct points **list, const char *topology_key)
{
    struct points *p = *list;

    while (p && !c_eq(p->topology_key, topology_key))
        p = p->next;
    if (!p) {
        p = arena_new_array(cycle->arena, struct points, 1);
        p->topology_key = topology_key;
        p->domains = domains_new(cycle, topology_key);
        p->next = *list;
        *list = p;
    }
    return &p->domains;
}

static struct points *collect(const struct cycle *cycle)
{
    const struct pod_terms *t = cycle->pod->terms;
    const struct pod_class *c = cycle->pod->class_;
    const struct profile *profile = cycle->profile;
    struct points *list = NULL;

    for (uint32_t i = t ? t->affinity_count + t->anti_count : 0; t && i < t->term_count; i++)
        domains_add(points_of(cycle, &list, t->terms[i]->topology_key),
            &t->terms[i]->matcher->matched, NULL, t->terms[i]->weight);
    bool own = list != NULL;
    for (size_t i = 0; i < c->matched_count; i++)
        for (const struct term_group *g = c->matched[i]->groups; g; g = g->next) {
            int64_t weight = g->kind == TERM_AFFINITY ? profile->hard_affinity_weight : g->weight;
            if (g->kind == TERM_ANTI_AFFINITY || !g->owners.count || !weight ||
                (!own && profile->ignore_preferred_of_others))
                continue;
            domains_add(points_of(cycle, &list, g->topology_key), &g->owners, NULL, weight);
        }
    return list;
}

HOT static void add_by_domain(
    const uint32_t *of, const int64_t *of_domain, uint32_t rows, int64_t *restrict sums)
{
    for (uint32_t row = 0; row < rows; row++)
        sums[row] += of_domain[of[row]];
}

HOT static void find_range(
    const struct node_set *fits, const int64_t *sums, int64_t *ret_lowest, int64_t *ret_highest)
{
    int64_t highest = INT64_MIN, lowest = INT64_MAX;

    for (size_t w = 0; w < fits->word_count; w++) {
        const int64_t *s = sums + w * 64;
        uint64_t bits = fits->words[w];
        for (unsigned i = 0; bits == UINT64_MAX && i < 64; i++) {
            highest = s[i] > highest ? s[i] : highest;
            lowest = s[i] < lowest ? s[i] : lowest;
        }
        for (; bits != UINT64_MAX && bits; bits &= bits - 1) {
            int64_t one = s[__builtin_ctzll(bits)];
            highest = one > highest ? one : highest;
            lowest = one < lowest ? one : lowest;
        }
    }
    *ret_lowest = lowest;
    *ret_highest = highest;
}

/* The range becomes 0..100, in upstream's floating point operations. */
HOT static void map_range(const struct node_set *fits, const int64_t *sums, int64_t lowest,
    int64_t highest, int32_t *restrict scores)
{
    double range = highest > lowest ? (double)(highest - lowest) : 1;
    int64_t top = highest > lowest ? highest : lowest;

    for (size_t w = 0; w < fits->word_count; w++) {
        const int64_t *s = sums + w * 64;
        if (!fits->words[w])
            continue;
        for (unsigned i = 0; i < 64; i++) {
            int64_t above = s[i] < lowest || s[i] > top ? 0 : s[i] - lowest; /* rows not in fits */
            scores[w * 64 + i] = (int32_t)(PLUGIN_SCORE_MAX * ((double)above / range));
        }
    }
}

static bool affinity_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    struct points *list = collect(cycle);
    int64_t highest, lowest;

    if (!list)
        return false;
    int64_t *sums = arena_zalloc(cycle->arena, cycle->nodes->capacity * sizeof(int64_t));
    for (const struct points *p = list; p; p = p->next)
        if (p->domains.key)
            add_by_domain(p->domains.of, p->domains.sums, cycle->nodes->capacity, sums);
    find_range(fits, sums, &lowest, &highest);
    map_range(fits, sums, lowest, highest, scores);
    return true;
}
