/*
 * Pod terms: a pod's affinity and spreading rules as matchers of the pod index.
 *
 * A term without namespaces and namespaceSelector means the pod's own namespace. Several required
 * affinity terms also get one matcher for "all of them", since upstream counts for each of them
 * only pods that match every one. Upstream: framework/types.go (getAffinityTerms),
 * plugins/podtopologyspread/common.go.
 */
#include <limits.h>

#include "scheduler/pod_info.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct matcher_part part_of(const struct pod *pod, const struct affinity_term *term)
{
    struct matcher_part part = {0};
    bool own = !term->namespaces.count && !term->namespace_selector.present;

    part.namespace_count = own ? 1 : term->namespaces.count;
    part.namespaces = xcalloc(part.namespace_count + 1, sizeof(char *));
    for (size_t i = 0; i < part.namespace_count; i++)
        part.namespaces[i] = xstrdup(own ? pod->meta.namespace_ : term->namespaces.strings[i]);
    qsort(part.namespaces, part.namespace_count, sizeof(char *), compare_names);
    if (term->namespace_selector.present)
        part.in_namespaces_like = pod_selector_new(&term->namespace_selector, NULL, NULL, NULL);
    part.selector = pod_selector_new(
        &term->selector, &pod->meta.labels, &term->match_label_keys, &term->mismatch_label_keys);
    return part;
}

static struct term_group *group_of(struct pod_index *index, const struct pod *pod,
    const struct affinity_term *term, enum term_kind kind, int64_t weight)
{
    struct matcher_plan plan = {xcalloc(1, sizeof(*plan.parts)), 1, false};

    plan.parts[0] = part_of(pod, term);
    struct matcher *m = matcher_get(index, &plan);

    return term_group_get(m, kind, term->topology_key, weight);
}

/* Pods that match all required affinity terms. */
static struct matcher *match_all(struct pod_index *index, const struct pod *pod)
{
    const struct affinity_term *terms = pod->affinity.items;
    struct matcher_plan plan = {xcalloc(pod->affinity.count, sizeof(*plan.parts)), 0, false};

    for (size_t i = 0; i < pod->affinity.count; i++)
        plan.parts[plan.part_count++] = part_of(pod, &terms[i]);
    return matcher_get(index, &plan);
}

static void add_terms(struct pod_index *index, const struct pod *pod, struct pod_terms *t,
    const struct projected_list *list, enum term_kind kind)
{
    const struct affinity_term *terms = list->items;

    for (size_t i = 0; i < list->count; i++)
        t->terms[t->term_count++] = group_of(index, pod, &terms[i], kind, 0);
}

static void add_preferred(struct pod_index *index, const struct pod *pod, struct pod_terms *t,
    const struct projected_list *list, int sign)
{
    const struct preferred_affinity_term *terms = list->items;

    for (size_t i = 0; i < list->count; i++)
        t->terms[t->term_count++] =
            group_of(index, pod, &terms[i].term, TERM_PREFERRED, sign * terms[i].weight);
}

static int32_t small(int64_t n)
{
    return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

static struct spread_term spread_of(
    struct pod_index *index, const struct pod *pod, const struct spread_constraint *c)
{
    struct matcher_plan plan = {xcalloc(1, sizeof(*plan.parts)), 1, true};
    struct matcher_part *part = plan.parts;

    part->namespaces = xcalloc(2, sizeof(char *));
    part->namespaces[part->namespace_count++] = xstrdup(pod->meta.namespace_);
    part->selector = pod_selector_new(&c->selector, &pod->meta.labels, &c->match_label_keys, NULL);
    bool everything = selector_is_everything(part->selector);
    return (struct spread_term){
        .counts_nothing = everything,
        .matcher = matcher_get(index, &plan),
        .topology_key = c->topology_key,
        .max_skew = small(c->max_skew),
        .min_domains = c->min_domains.set ? small(c->min_domains.value) : 1,
        .hard = !c_eq(c->when_unsatisfiable, "ScheduleAnyway"),
        .any_affinity = c_eq(c->node_affinity_policy, "Ignore"),
        .honor_taints = c_eq(c->node_taints_policy, "Honor"),
    };
}

struct pod_terms *pod_terms_new(struct pod_index *index, const struct pod *pod)
{
    const struct spread_constraint *spread = pod->spread.items;
    size_t count = pod->affinity.count + pod->anti_affinity.count + pod->preferred_affinity.count +
                   pod->preferred_anti_affinity.count;

    if (!count && !pod->spread.count)
        return NULL;
    struct pod_terms *t = xcalloc(1, sizeof(*t));
    t->terms = xcalloc(count ? count : 1, sizeof(*t->terms));
    t->affinity_count = (uint32_t)pod->affinity.count;
    t->anti_count = (uint32_t)pod->anti_affinity.count;
    add_terms(index, pod, t, &pod->affinity, TERM_AFFINITY);
    add_terms(index, pod, t, &pod->anti_affinity, TERM_ANTI_AFFINITY);
    add_preferred(index, pod, t, &pod->preferred_affinity, 1);
    add_preferred(index, pod, t, &pod->preferred_anti_affinity, -1);
    if (t->affinity_count)
        t->affinity_all = match_all(index, pod);
    t->spread_count = (uint32_t)pod->spread.count;
    t->spread = xcalloc(t->spread_count ? t->spread_count : 1, sizeof(*t->spread));
    for (uint32_t i = 0; i < t->spread_count; i++)
        t->spread[i] = spread_of(index, pod, &spread[i]);
    return t;
}

void pod_terms_free(struct pod_index *index, struct pod_terms *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < t->term_count; i++) {
        struct matcher *m = t->terms[i]->matcher;
        term_group_put(t->terms[i]);
        matcher_put(index, m);
    }
    matcher_put(index, t->affinity_all);
    for (uint32_t i = 0; i < t->spread_count; i++)
        matcher_put(index, t->spread[i].matcher);
    free(t->terms);
    free(t->spread);
    free(t);
}
