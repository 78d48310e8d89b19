/*
 * Looking at pods, and claiming them: see pods.h.
 *
 * Ownership is by uid. Adopting needs a live look at the owner: the informer's copy may be of an
 * object that was deleted and made again under the same name, and adopting for a dead one would
 * leave the pod to the collector.
 *
 * Upstream: pkg/controller/controller_utils.go, controller_ref_manager.go, api/v1/pod.
 */
#include "controller/pods.h"

#include <math.h>

#include "common/log.h"
#include "common/time.h"

bool pod_is_terminal(const struct pod *pod)
{
    return !strcmp(pod->phase, "Succeeded") || !strcmp(pod->phase, "Failed");
}

bool pod_is_active(const struct pod *pod)
{
    return !pod->meta.deletion_ns && !pod_is_terminal(pod);
}

const struct pod_condition *pod_condition(const struct pod *pod, const char *type)
{
    const struct pod_condition *conditions = pod->conditions.items;

    for (size_t i = 0; i < pod->conditions.count; i++)
        if (!strcmp(conditions[i].type, type))
            return &conditions[i];
    return NULL;
}

bool pod_is_ready(const struct pod *pod)
{
    const struct pod_condition *ready = pod_condition(pod, "Ready");
    return ready && !strcmp(ready->status, "True");
}

int64_t pod_ready_since_ns(const struct pod *pod)
{
    return pod_is_ready(pod) ? pod_condition(pod, "Ready")->transition_ns : 0;
}

bool pod_is_available(
    const struct pod *pod, int64_t min_ready_seconds, int64_t now_ns, int64_t *again_ns)
{
    if (!pod_is_ready(pod))
        return false;
    if (min_ready_seconds <= 0)
        return true;
    int64_t since = pod_ready_since_ns(pod);
    int64_t left = since + min_ready_seconds * NS_PER_S - now_ns;
    if (since && left <= 0)
        return true;
    if (again_ns && (*again_ns <= 0 || left < *again_ns))
        *again_ns = left > 0 ? left : NS_PER_S;
    return false;
}

int64_t pod_restarts(const struct pod *pod)
{
    const struct container_status *statuses = pod->statuses.items;
    int64_t most = 0;

    for (size_t i = 0; i < pod->statuses.count; i++)
        if (statuses[i].restarts > most)
            most = statuses[i].restarts;
    return most;
}

/* --- order of deletion --- */

static int64_t deletion_cost(const struct pod *pod)
{
    const char *text =
        string_map_get(&pod->meta.annotations, "controller.kubernetes.io/pod-deletion-cost");
    int64_t cost = 0;
    struct error err;

    if (!text || str_parse_int64(str_of(text), &cost, &err) < 0 || cost > INT32_MAX ||
        cost < INT32_MIN)
        return 0;
    return cost;
}

static int phase_order(const struct pod *pod)
{
    if (!strcmp(pod->phase, "Running"))
        return 2;
    return !strcmp(pod->phase, "Unknown") ? 1 : 0;
}

static int order(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Younger first, where ages are compared by their binary logarithm; equal ones by uid. An unknown
 * time is youngest. */
static int cmp_age(
    int64_t a_ns, int64_t b_ns, int64_t now_ns, const struct pod *a, const struct pod *b)
{
    if (!a_ns || !b_ns)
        return order(a_ns != 0, b_ns != 0);
    int64_t age_a = now_ns - a_ns, age_b = now_ns - b_ns;
    int rank_a = age_a > 0 ? (int)log2((double)age_a) : -1;
    int rank_b = age_b > 0 ? (int)log2((double)age_b) : -1;
    return rank_a != rank_b ? order(rank_a, rank_b) : strcmp(a->meta.uid, b->meta.uid);
}

int pod_deletion_cmp(const void *va, const void *vb, void *now_ns)
{
    const struct ranked_pod *ra = va, *rb = vb;
    const struct pod *a = ra->pod, *b = rb->pod;
    int64_t now = *(const int64_t *)now_ns;
    int d;

    if ((d = order(*a->node_name != 0, *b->node_name != 0)))
        return d;
    if ((d = order(phase_order(a), phase_order(b))))
        return d;
    if ((d = order(pod_is_ready(a), pod_is_ready(b))))
        return d;
    if ((d = order(deletion_cost(a), deletion_cost(b))))
        return d;
    if ((d = order(rb->rank, ra->rank)))
        return d;
    int64_t ready_a = pod_ready_since_ns(a), ready_b = pod_ready_since_ns(b);
    if (pod_is_ready(a) && ready_a != ready_b)
        return cmp_age(ready_a, ready_b, now, a, b);
    if ((d = order(pod_restarts(b), pod_restarts(a))))
        return d;
    if (a->meta.creation_ns != b->meta.creation_ns)
        return cmp_age(a->meta.creation_ns, b->meta.creation_ns, now, a, b);
    return strcmp(a->meta.uid, b->meta.uid);
}

/* --- claiming --- */

struct selector *selector_of_json(const char *text)
{
    autojson cJSON *tree = NULL;
    struct selector *s = NULL;
    struct error err;

    if (text && json_parse(str_of(text), &tree, &err) == 0 &&
        selector_from_json(tree, &s, &err) == 0)
        return s;
    selector_from_json(NULL, &s, &err);
    return s;
}

void cleanup_selector(struct selector **s)
{
    selector_free(*s);
}

struct claim_run {
    struct controller *c;
    enum kind owner_kind, kind;
    const struct object_meta *owner;
    const struct selector *selector;
    claim_filter_fn *filter;
    int may_adopt; /* 0: not looked yet, 1: yes, -1: no */
};

static bool matches(const struct claim_run *run, const struct object_meta *meta)
{
    return selector_matches(run->selector, string_map_label, &meta->labels) &&
           (!run->filter || run->filter(run->owner, (const struct pod *)meta));
}

/* A live look at the owner: the same object, and not being deleted. */
static int may_adopt(struct claim_run *run, struct error *err)
{
    struct api_ref ref = object_api_ref(run->owner_kind, run->owner, NULL);
    autojson cJSON *live = NULL;

    if (run->may_adopt)
        return run->may_adopt;
    if (api_get(manager_client(run->c->m), &ref, &live, err) < 0)
        return err->code == ERR_NOT_FOUND ? (run->may_adopt = -1) : -(int)err->code - 1;
    bool same = c_eq(json_string_at(live, "metadata.uid"), run->owner->uid);
    run->may_adopt = same && !json_path(live, "metadata.deletionTimestamp") ? 1 : -1;
    return run->may_adopt;
}

static int patch_refs(
    struct claim_run *run, const struct object_meta *meta, cJSON *take_ref, struct error *err)
{
    autojson cJSON *patch = cJSON_CreateObject(), *result = NULL;
    cJSON *refs = cJSON_CreateArray();
    struct api_ref ref = object_api_ref(run->kind, meta, NULL);

    cJSON_AddItemToArray(refs, take_ref);
    json_set_string_at(patch, "metadata.uid", meta->uid);
    json_set_at(patch, "metadata.ownerReferences", refs);
    int r = api_patch(manager_client(run->c->m), &ref, PATCH_STRATEGIC, patch, &result, err);
    if (r == -ERR_NOT_FOUND || r == -ERR_INVALID || r == -ERR_CONFLICT)
        return 1; /* it is gone, or another owner was faster */
    if (r < 0)
        return r;
    return kind_wait_version(
        run->c->m, run->kind, json_string_at(result, "metadata.resourceVersion"), err);
}

static int adopt(struct claim_run *run, const struct object_meta *meta, struct error *err)
{
    int may = may_adopt(run, err);

    if (may < -1)
        return -(int)err->code;
    if (may < 0)
        return 1;
    return patch_refs(run, meta, controller_ref_json(run->owner_kind, run->owner), err);
}

static int release(struct claim_run *run, const struct object_meta *meta, struct error *err)
{
    cJSON *ref = cJSON_CreateObject();

    json_set_string(ref, "$patch", "delete");
    json_set_string(ref, "uid", run->owner->uid);
    return patch_refs(run, meta, ref, err);
}

/* 1: the object belongs to the owner (now), 0: it does not. */
static int claim_one(struct claim_run *run, const struct object_meta *meta, struct error *err)
{
    const struct owner_ref *controller = object_controller(meta);
    int r;

    if (controller) {
        if (strcmp(controller->uid, run->owner->uid))
            return 0;
        if (matches(run, meta))
            return 1;
        if (run->owner->deletion_ns)
            return 0;
        r = release(run, meta, err);
        return r < 0 ? r : 0;
    }
    if (run->owner->deletion_ns || meta->deletion_ns || !matches(run, meta))
        return 0;
    if (run->kind == KIND_POD && pod_is_terminal((const struct pod *)meta))
        return 0;
    r = adopt(run, meta, err);
    return r < 0 ? r : r == 0;
}

static int claim_all(struct claim_run *run, struct projected_array *ret, struct error *err)
{
    auto_objects struct projected_array owned =
        kind_by(run->c->m, run->kind, INDEX_OWNER, run->owner->uid);
    auto_objects struct projected_array orphans =
        kind_by(run->c->m, run->kind, INDEX_ORPHAN, run->owner->namespace_);
    struct projected_array result = {0};

    result.objects = xcalloc(owned.count + orphans.count + 1, sizeof(*result.objects));
    for (size_t i = 0; i < owned.count + orphans.count; i++) {
        const void *object = i < owned.count ? owned.objects[i] : orphans.objects[i - owned.count];
        /* An orphan may still list the owner without `controller`: it is then in both arrays. */
        if (i < owned.count && !object_controller(object))
            continue;
        int r = claim_one(run, object, err);
        if (r < 0) {
            projected_array_done(&result);
            return r;
        }
        if (r > 0)
            result.objects[result.count++] = projected_ref(object);
    }
    *ret = result;
    return 0;
}

int pods_claim(struct controller *c, enum kind kind, const struct object_meta *owner,
    const struct selector *selector, claim_filter_fn *filter, struct pod_list *ret,
    struct error *err)
{
    struct claim_run run = {c, kind, KIND_POD, owner, selector, filter, 0};
    struct projected_array array;

    if (claim_all(&run, &array, err) < 0)
        return -(int)err->code;
    *ret = (struct pod_list){(const struct pod **)array.objects, array.count};
    return 0;
}

int objects_claim(struct controller *c, enum kind kind, const struct object_meta *owner,
    enum kind of, const struct selector *selector, struct projected_array *ret, struct error *err)
{
    struct claim_run run = {c, kind, of, owner, selector, NULL, 0};
    return claim_all(&run, ret, err);
}

void pod_list_done(struct pod_list *list)
{
    struct projected_array array = {(const void **)list->pods, list->count};
    projected_array_done(&array);
}

static void add_matching(struct controller *c, enum kind kind, selector_of_fn *selector_of,
    const struct object_meta *meta)
{
    auto_objects struct projected_array all = kind_list(c->m, kind, meta->namespace_);

    for (size_t i = 0; i < all.count; i++) {
        auto_selector struct selector *s = selector_of(all.objects[i]);
        if (!selector_is_everything(s) && selector_matches(s, string_map_label, &meta->labels))
            controller_add(c, all.objects[i]);
    }
}

static bool same_labels(const struct string_map *a, const struct string_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->pairs[i].key, b->pairs[i].key) ||
            strcmp(a->pairs[i].value, b->pairs[i].value))
            return false;
    return true;
}

void controller_add_pod_owners(struct controller *c, enum kind kind, selector_of_fn *selector_of,
    const void *old_object, const void *new_object)
{
    const struct object_meta *old_meta = old_object, *new_meta = new_object;
    const struct owner_ref *old_ref = old_meta ? object_controller(old_meta) : NULL;
    const struct owner_ref *new_ref = new_meta ? object_controller(new_meta) : NULL;

    if (old_ref && (!new_ref || strcmp(old_ref->uid, new_ref->uid)))
        controller_add_owner(c, kind, old_object);
    if (new_ref) {
        controller_add_owner(c, kind, new_object);
        return;
    }
    if (new_meta && (!old_meta || old_ref || !same_labels(&old_meta->labels, &new_meta->labels)))
        add_matching(c, kind, selector_of, new_meta);
}

int64_t int_or_percent(const char *text, int64_t total, bool round_up)
{
    size_t n = strlen(text);
    int64_t value = 0;
    struct error err;

    if (!n)
        return 0;
    if (text[n - 1] != '%')
        return str_parse_int64(str_range(text, n), &value, &err) < 0 ? 0 : value;
    if (str_parse_int64(str_range(text, n - 1), &value, &err) < 0)
        return 0;
    return (value * total + (round_up ? 99 : 0)) / 100;
}
