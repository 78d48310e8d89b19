/*
 * Plugin "NodeSelector": spec.nodeSelector and required node affinity as a filter, preferred node
 * affinity as a score.
 *
 * Terms are ORed, the requirements of one term ANDed; a term without requirements, or with one that
 * does not parse, matches no node. When every term names nodes by metadata.name (as DaemonSet pods
 * do) only those nodes are looked at, and the others are reported in one sentence.
 *
 * A mismatch is unresolvable: no eviction gives a node a label, so preemption is not tried.
 * Only a new or relabelled node helps; see .retry_on.
 *
 * Cost:     one operation on two bitmaps a value named; Gt and Lt walk the values of their key.
 * Threads:  reads the node table of this cycle only.
 * Upstream: plugins/nodeaffinity, component-helpers/scheduling/corev1/nodeaffinity.
 * Tests:    tests/unit/scheduler/plugins_test.c
 */
#include "scheduler/plugins/spread.h"
#include "scheduler/profile.h"

static plugin_narrow_fn selector_narrow;
static plugin_filter_fn selector_filter;
static plugin_score_fn selector_score;

const struct plugin plugin_node_selector = {
    .name = "NodeSelector",
    .upstream_name = "NodeAffinity",
    .reason = "node(s) didn't match Pod's node affinity/selector",
    .unresolvable = true,
    .retry_on = EVENT_NODE_ADDED | EVENT_NODE_RELABELLED,
    .narrow = selector_narrow,
    .filter = selector_filter,
    .score = selector_score,
    .normalize = NORMALIZE_HIGHEST,
    .weight = 2,
};

/* All nodes whose value of the key is one of the listed. */
static struct node_set with_values(
    const struct cycle *cycle, const struct label_key *key, const struct string_list *values)
{
    struct node_set found = node_set_new_like(cycle->arena, &cycle->nodes->live);

    for (size_t i = 0; key && i < values->count; i++) {
        const struct label_value *value = label_key_value(key, values->strings[i]);
        if (value)
            column_or(&value->nodes, &found);
    }
    return found;
}

static struct node_set with_number(
    const struct cycle *cycle, const struct label_key *key, bool above, int64_t limit)
{
    struct node_set found = node_set_new_like(cycle->arena, &cycle->nodes->live);

    for (const struct label_value *v = key ? key->values : NULL; v; v = v->hh.next)
        if (v->is_number && (above ? v->number > limit : v->number < limit))
            column_or(&v->nodes, &found);
    return found;
}

static bool apply_comparison(const struct cycle *cycle, const struct label_key *key,
    const struct node_requirement *r, struct node_set *set)
{
    struct error err;
    int64_t limit;

    if (r->values.count != 1 || str_parse_int64(str_of(r->values.strings[0]), &limit, &err) < 0)
        return false;
    struct node_set found = with_number(cycle, key, c_eq(r->operator_, "Gt"), limit);
    node_set_and(set, &found);
    return true;
}

/* Keeps the nodes of set that meet the requirement; false when it does not parse. */
static bool apply_label(
    const struct cycle *cycle, const struct node_requirement *r, struct node_set *set)
{
    const struct label_key *key = label_index_key(&cycle->nodes->labels, r->key);

    if (c_eq(r->operator_, "In") || c_eq(r->operator_, "NotIn")) {
        struct node_set found = with_values(cycle, key, &r->values);
        if (!r->values.count)
            return false;
        if (c_eq(r->operator_, "In"))
            node_set_and(set, &found);
        else
            node_set_and_not(set, &found);
        return true;
    }
    if (c_eq(r->operator_, "Exists") || c_eq(r->operator_, "DoesNotExist")) {
        if (r->values.count)
            return false;
        if (c_eq(r->operator_, "DoesNotExist")) {
            if (key)
                column_and_not(&key->nodes, set);
        } else if (key) {
            column_and(&key->nodes, set);
        } else {
            node_set_clear(set);
        }
        return true;
    }
    if (c_eq(r->operator_, "Gt") || c_eq(r->operator_, "Lt"))
        return apply_comparison(cycle, key, r, set);
    return false;
}

static struct node_set with_names(const struct cycle *cycle, const struct string_list *names)
{
    struct node_set found = node_set_new_like(cycle->arena, &cycle->nodes->live);

    for (size_t i = 0; i < names->count; i++) {
        const struct node_row *row = node_table_find(cycle->nodes, names->strings[i]);
        if (row)
            node_set_add(&found, row->row);
    }
    return found;
}

static bool apply_field(
    const struct cycle *cycle, const struct node_requirement *r, struct node_set *set)
{
    if (!c_eq(r->key, "metadata.name") || r->values.count != 1)
        return false;
    struct node_set found = with_names(cycle, &r->values);
    if (c_eq(r->operator_, "In"))
        node_set_and(set, &found);
    else if (c_eq(r->operator_, "NotIn"))
        node_set_and_not(set, &found);
    else
        return false;
    return true;
}

/* Keeps the nodes of set that match the term: none when the term is empty or does not parse. */
static void apply_term(
    const struct cycle *cycle, const struct node_term *term, struct node_set *set)
{
    const struct node_requirement *labels = term->expressions.items;
    const struct node_requirement *fields = term->fields.items;
    bool valid = term->expressions.count + term->fields.count > 0;

    for (size_t i = 0; valid && i < term->fields.count; i++)
        valid = apply_field(cycle, &fields[i], set);
    for (size_t i = 0; valid && i < term->expressions.count; i++)
        valid = apply_label(cycle, &labels[i], set);
    if (!valid)
        node_set_clear(set);
}

/* The nodes a term names by metadata.name In, or false when it names none that way. Names conflict
 * when two requirements have none in common. */
static bool term_names(const struct cycle *cycle, const struct node_term *term,
    struct node_set *ret, bool *ret_conflict)
{
    const struct node_requirement *fields = term->fields.items;
    const struct string_list *first = NULL;

    *ret_conflict = false;
    for (size_t i = 0; i < term->fields.count; i++) {
        if (!c_eq(fields[i].key, "metadata.name") || !c_eq(fields[i].operator_, "In"))
            continue;
        struct node_set these = with_names(cycle, &fields[i].values);
        if (!first) {
            first = &fields[i].values;
            *ret = these;
            continue;
        }
        node_set_and(ret, &these);
        if (first->count == 1 && fields[i].values.count == 1 &&
            !c_eq(first->strings[0], fields[i].values.strings[0]))
            *ret_conflict = true;
    }
    return first != NULL;
}

static const char *selector_narrow(const struct cycle *cycle, struct node_set *fits)
{
    const struct pod *pod = cycle->pod->object;
    const struct node_term *terms = pod->required.items;
    struct node_set named, one = {0};
    bool all_conflict = true, conflict;

    if (!pod->required.count)
        return NULL;
    named = node_set_new_like(cycle->arena, fits);
    for (size_t i = 0; i < pod->required.count; i++) {
        if (!term_names(cycle, &terms[i], &one, &conflict))
            return NULL;
        all_conflict = all_conflict && conflict;
        node_set_or(&named, &one);
    }
    if (all_conflict)
        return "pod affinity terms conflict";
    node_set_and(fits, &named);
    return NULL;
}

void node_terms_keep(
    const struct cycle *cycle, const struct projected_list *list, struct node_set *set)
{
    const struct node_term *terms = list->items;
    struct node_set any = node_set_new_like(cycle->arena, set);

    for (size_t i = 0; i < list->count; i++) {
        struct node_set one = node_set_new_like(cycle->arena, set);
        node_set_copy(&one, set);
        apply_term(cycle, &terms[i], &one);
        node_set_or(&any, &one);
    }
    node_set_and(set, &any);
}

void node_values_keep(
    const struct cycle *cycle, const struct projected_list *requirements, struct node_set *set)
{
    const struct node_requirement *r = requirements->items;

    for (size_t i = 0; i < requirements->count; i++) {
        const struct label_key *key = label_index_key(&cycle->nodes->labels, r[i].key);
        struct node_set found = with_values(cycle, key, &r[i].values);
        node_set_and(set, &found);
    }
}

/* Required node affinity of the pod, or what the profile adds to every pod. */
static void keep_required(const struct cycle *cycle, const struct pod *pod, struct node_set *fits)
{
    if (pod->has_required_terms)
        node_terms_keep(cycle, &pod->required, fits);
}

void node_selector_keep(const struct cycle *cycle, struct node_set *fits)
{
    const struct pod *pod = cycle->pod->object;

    for (size_t i = 0; i < pod->node_selector.count; i++) {
        const struct string_pair *want = &pod->node_selector.pairs[i];
        const struct label_key *key = label_index_key(&cycle->nodes->labels, want->key);
        const struct label_value *value = key ? label_key_value(key, want->value) : NULL;
        if (!value) {
            node_set_clear(fits);
            return;
        }
        column_and(&value->nodes, fits);
    }
    keep_required(cycle, pod, fits);
}

static void selector_filter(const struct cycle *cycle, struct node_set *fits)
{
    if (cycle->profile->added_affinity)
        keep_required(cycle, cycle->profile->added_affinity, fits);
    node_selector_keep(cycle, fits);
}

static void add_preferred(
    const struct cycle *cycle, const struct pod *pod, const struct node_set *fits, int32_t *scores)
{
    const struct preferred_node_term *terms = pod->preferred.items;

    for (size_t i = 0; i < pod->preferred.count; i++) {
        if (!terms[i].weight)
            continue;
        struct node_set matching = node_set_new_like(cycle->arena, fits);
        node_set_copy(&matching, fits);
        apply_term(cycle, &terms[i].term, &matching);
        NODE_SET_FOR_EACH(row, &matching)
        scores[row] += (int32_t)terms[i].weight;
    }
}

static bool selector_score(const struct cycle *cycle, const struct node_set *fits, int32_t *scores)
{
    const struct pod *pod = cycle->pod->object, *added = cycle->profile->added_affinity;

    if (!pod->preferred.count && !(added && added->preferred.count))
        return false;
    memset(scores, 0, cycle->nodes->capacity * sizeof(*scores));
    add_preferred(cycle, pod, fits, scores);
    if (added)
        add_preferred(cycle, added, fits, scores);
    return true;
}
