/*
 * Workloads. See workloads.h.
 *
 * A service is found by its namespace and the first pair of its selector, so that a pod looks only
 * at services that share a label with it.
 */
#include "scheduler/workloads.h"

#include "common/selector_build.h"

static const struct projection_field service_fields[] = {
    PROJECT(struct service, selector, "spec.selector", P_MAP),
};
const struct projection owning_service_projection = {
    .size = sizeof(struct service),
    .fields = service_fields,
    .field_count = ARRAY_COUNT(service_fields),
    .no_annotations = true,
};

static const struct projection_field requirement_fields[] = {
    PROJECT(struct node_requirement, key, "key", P_STRING),
    PROJECT(struct node_requirement, operator_, "operator", P_STRING),
    PROJECT(struct node_requirement, values, "values", P_STRINGS),
};
static const struct projection requirement_projection =
    PROJECTION(struct node_requirement, requirement_fields);

static const struct projection_field workload_fields[] = {
    PROJECT(struct workload, selector.present, "spec.selector", P_PRESENT),
    PROJECT(struct workload, selector.labels, "spec.selector.matchLabels", P_MAP),
    PROJECT_OF(struct workload, selector.expressions, "spec.selector.matchExpressions", P_LIST,
        &requirement_projection),
};
const struct projection workload_projection = {
    .size = sizeof(struct workload),
    .fields = workload_fields,
    .field_count = ARRAY_COUNT(workload_fields),
    .no_annotations = true,
};

static const struct projection_field rc_fields[] = {
    PROJECT(struct rc, selector, "spec.selector", P_MAP),
};
const struct projection rc_projection = {
    .size = sizeof(struct rc),
    .fields = rc_fields,
    .field_count = ARRAY_COUNT(rc_fields),
    .no_annotations = true,
};

struct known_service {
    const struct service *object;
    struct known_service *next;
};
struct service_bucket {
    char *key; /* namespace \n label \n value */
    struct known_service *first;
    UT_hash_handle hh;
};
struct known_owner {
    char *key; /* kind / namespace / name */
    const void *object;
    UT_hash_handle hh;
};

struct workloads {
    struct service_bucket *services;
    struct known_owner *owners;
    uint64_t version;
};

struct workloads *workloads_new(void)
{
    return xcalloc(1, sizeof(struct workloads));
}

static void remove_service(struct workloads *w, const struct service *s);

static void owner_free(struct workloads *w, struct known_owner *o)
{
    HASH_DEL(w->owners, o);
    projected_unref(o->object);
    free(o->key);
    free(o);
}

void workloads_free(struct workloads *w)
{
    struct service_bucket *b, *next_b;
    struct known_owner *o, *next_o;

    if (!w)
        return;
    HASH_ITER(hh, w->services, b, next_b)
    {
        while (b->first->next)
            remove_service(w, b->first->next->object);
        remove_service(w, b->first->object);
    }
    HASH_ITER(hh, w->owners, o, next_o)
    owner_free(w, o);
    free(w);
}

static char *bucket_key(const char *namespace_, const struct string_pair *label)
{
    return str_format("%s\n%s\n%s", namespace_, label->key, label->value);
}

static struct service_bucket *find_bucket(const struct workloads *w, const char *key)
{
    struct service_bucket *b;

    HASH_FIND_STR(w->services, key, b);
    return b;
}

static void remove_service(struct workloads *w, const struct service *s)
{
    autofree char *key = bucket_key(s->meta.namespace_, &s->selector.pairs[0]);
    struct service_bucket *b = find_bucket(w, key);
    struct known_service **at = b ? &b->first : NULL;

    while (at && *at && !c_eq((*at)->object->meta.name, s->meta.name))
        at = &(*at)->next;
    if (!at || !*at)
        return;
    struct known_service *gone = *at;
    *at = gone->next;
    if (!b->first) {
        HASH_DEL(w->services, b);
        free(b->key);
        free(b);
    }
    projected_unref(gone->object);
    free(gone);
}

static void add_service(struct workloads *w, const struct service *s)
{
    autofree char *key = bucket_key(s->meta.namespace_, &s->selector.pairs[0]);
    struct service_bucket *b = find_bucket(w, key);
    struct known_service *known = xcalloc(1, sizeof(*known));

    if (!b) {
        b = xcalloc(1, sizeof(*b));
        b->key = steal(&key);
        HASH_ADD_KEYPTR(hh, w->services, b->key, strlen(b->key), b);
    }
    known->object = projected_ref(s);
    known->next = b->first;
    b->first = known;
}

void workloads_set_service(
    struct workloads *w, const struct service *old, const struct service *now)
{
    if (old && old->selector.count)
        remove_service(w, old);
    if (now && now->selector.count)
        add_service(w, now);
    w->version++;
}

static char *owner_key(const char *kind, const char *namespace_, const char *name)
{
    return str_format("%s/%s/%s", kind, namespace_, name);
}

void workloads_set_owner(struct workloads *w, const char *kind, const void *old, const void *now)
{
    const struct object_meta *meta = now ? now : old;
    autofree char *key = owner_key(kind, meta->namespace_, meta->name);
    struct known_owner *o;

    HASH_FIND_STR(w->owners, key, o);
    if (o)
        owner_free(w, o);
    if (now) {
        o = xcalloc(1, sizeof(*o));
        o->key = steal(&key);
        o->object = projected_ref(now);
        HASH_ADD_KEYPTR(hh, w->owners, o->key, strlen(o->key), o);
    }
    w->version++;
}

static bool selects(const struct string_map *selector, const struct string_map *labels)
{
    for (size_t i = 0; i < selector->count; i++) {
        const char *value = string_map_get(labels, selector->pairs[i].key);
        if (!value || !c_eq(value, selector->pairs[i].value))
            return false;
    }
    return true;
}

static void add_map(struct selector *s, const struct string_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        struct requirement *r = selector_add_term(s, str_of(map->pairs[i].key), SEL_IN);
        requirement_add_value(r, str_of(map->pairs[i].value));
    }
}

static void add_services(const struct workloads *w, const struct pod *pod, struct selector *s)
{
    for (size_t i = 0; w->services && i < pod->meta.labels.count; i++) {
        autofree char *key = bucket_key(pod->meta.namespace_, &pod->meta.labels.pairs[i]);
        const struct service_bucket *b = find_bucket(w, key);
        for (const struct known_service *k = b ? b->first : NULL; k; k = k->next)
            if (selects(&k->object->selector, &pod->meta.labels))
                add_map(s, &k->object->selector);
    }
}

/* Takes over the requirements of another selector. */
static void merge(struct selector *s, struct selector *take)
{
    s->nothing = s->nothing || take->nothing;
    s->terms = xrealloc(s->terms, (s->term_count + take->term_count + 1) * sizeof(*s->terms));
    if (take->term_count)
        memcpy(s->terms + s->term_count, take->terms, take->term_count * sizeof(*s->terms));
    s->term_count += take->term_count;
    free(take->terms);
    free(take);
}

static void add_owner(const struct workloads *w, const struct pod *pod, struct selector *s)
{
    const struct owner_ref *owner = object_controller(&pod->meta);
    struct known_owner *o;

    if (!owner || !w->owners)
        return;
    autofree char *key = owner_key(owner->kind, pod->meta.namespace_, owner->name);
    HASH_FIND_STR(w->owners, key, o);
    if (!o)
        return;
    if (c_eq(owner->kind, "ReplicationController"))
        add_map(s, &((const struct rc *)o->object)->selector);
    else
        merge(
            s, pod_selector_new(&((const struct workload *)o->object)->selector, NULL, NULL, NULL));
}

/* The same requirement from a service and an owner is one. */
static void drop_repeats(struct selector *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->term_count; i++) {
        struct requirement *t = &s->terms[i], *last = kept ? &s->terms[kept - 1] : NULL;
        bool same = last && c_eq(last->key, t->key) && last->op == t->op &&
                    last->value_count == 1 && t->value_count == 1 &&
                    c_eq(last->values[0], t->values[0]);
        if (!same) {
            s->terms[kept++] = *t;
            continue;
        }
        free(t->values[0]);
        free(t->values);
        free(t->key);
    }
    s->term_count = kept;
}

struct matcher *workloads_matcher(
    const struct workloads *w, struct pod_index *index, const struct pod *pod)
{
    struct selector *s = xcalloc(1, sizeof(*s));

    add_services(w, pod, s);
    add_owner(w, pod, s);
    selector_finish(s);
    drop_repeats(s);
    if (!s->term_count && !s->nothing) {
        selector_free(s);
        return NULL;
    }
    struct matcher_plan plan = {xcalloc(1, sizeof(*plan.parts)), 1, true};
    plan.parts[0].namespaces = xcalloc(1, sizeof(char *));
    plan.parts[0].namespaces[plan.parts[0].namespace_count++] = xstrdup(pod->meta.namespace_);
    plan.parts[0].selector = s;
    return matcher_get(index, &plan);
}

uint64_t workloads_version(const struct workloads *w)
{
    return w->version;
}
