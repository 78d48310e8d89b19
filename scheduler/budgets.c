/* Budgets. See budgets.h. A budget matches pods through a matcher of the pod index. */
#include "scheduler/budgets.h"

static const struct projection_field requirement_fields[] = {
    PROJECT(struct node_requirement, key, "key", P_STRING),
    PROJECT(struct node_requirement, operator_, "operator", P_STRING),
    PROJECT(struct node_requirement, values, "values", P_STRINGS),
};
static const struct projection requirement_projection =
    PROJECTION(struct node_requirement, requirement_fields);

static const struct projection_field budget_fields[] = {
    PROJECT(struct disruption_budget, selector.present, "spec.selector", P_PRESENT),
    PROJECT(struct disruption_budget, selector.labels, "spec.selector.matchLabels", P_MAP),
    PROJECT_OF(struct disruption_budget, selector.expressions, "spec.selector.matchExpressions",
        P_LIST, &requirement_projection),
    PROJECT(struct disruption_budget, allowed, "status.disruptionsAllowed", P_INT),
    PROJECT(struct disruption_budget, disrupted, "status.disruptedPods", P_MAP),
};
const struct projection budget_projection = {
    .size = sizeof(struct disruption_budget),
    .fields = budget_fields,
    .field_count = ARRAY_COUNT(budget_fields),
    .no_annotations = true,
};

struct known_budget {
    char *key; /* namespace/name */
    const struct disruption_budget *object;
    struct matcher *matcher; /* NULL: an empty selector, which protects no pod here */
    int64_t left;            /* while judging */
    UT_hash_handle hh;
};
struct budgets {
    struct known_budget *all;
};

struct budgets *budgets_new(void)
{
    return xcalloc(1, sizeof(struct budgets));
}

static void forget(struct budgets *b, struct pod_index *index, struct known_budget *k)
{
    HASH_DEL(b->all, k);
    matcher_put(index, k->matcher);
    projected_unref(k->object);
    free(k->key);
    free(k);
}

void budgets_free(struct budgets *b, struct pod_index *index)
{
    struct known_budget *k, *next;

    if (!b)
        return;
    HASH_ITER(hh, b->all, k, next)
    forget(b, index, k);
    free(b);
}

static struct matcher *matcher_of(struct pod_index *index, const struct disruption_budget *object)
{
    struct selector *s = pod_selector_new(&object->selector, NULL, NULL, NULL);

    if (selector_is_everything(s)) {
        selector_free(s);
        return NULL;
    }
    struct matcher_plan plan = {xcalloc(1, sizeof(*plan.parts)), 1, false};
    plan.parts[0].namespaces = xcalloc(1, sizeof(char *));
    plan.parts[0].namespaces[plan.parts[0].namespace_count++] = xstrdup(object->meta.namespace_);
    plan.parts[0].selector = s;
    return matcher_get(index, &plan);
}

void budgets_set(struct budgets *b, struct pod_index *index, const struct disruption_budget *old,
    const struct disruption_budget *now)
{
    const struct object_meta *meta = &(now ? now : old)->meta;
    autofree char *key = str_format("%s/%s", meta->namespace_, meta->name);
    struct known_budget *k;

    HASH_FIND_STR(b->all, key, k);
    if (k)
        forget(b, index, k);
    if (!now)
        return;
    k = xcalloc(1, sizeof(*k));
    k->key = steal(&key);
    k->object = projected_ref(now);
    k->matcher = matcher_of(index, now);
    HASH_ADD_KEYPTR(hh, b->all, k->key, strlen(k->key), k);
}

bool budgets_any(const struct budgets *b)
{
    return b->all;
}

void budgets_judge(
    const struct budgets *b, struct pod_info *const *pods, size_t count, bool *violates)
{
    for (struct known_budget *k = b->all; k; k = k->hh.next)
        k->left = k->object->allowed;
    for (size_t i = 0; i < count; i++) {
        violates[i] = false;
        for (struct known_budget *k = b->all; k && pods[i]->class_->label_count; k = k->hh.next) {
            if (!k->matcher || !matcher_has(k->matcher, pods[i]->class_) ||
                string_map_get(&k->object->disrupted, pods[i]->object->meta.name))
                continue;
            if (--k->left < 0)
                violates[i] = true;
        }
    }
}
