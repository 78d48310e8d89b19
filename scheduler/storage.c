/* Storage. See storage.h. */
#include "scheduler/storage.h"

#include <stdio.h>

#include "scheduler/pod_index.h"

static const struct projection_field requirement_fields[] = {
    PROJECT(struct node_requirement, key, "key", P_STRING),
    PROJECT(struct node_requirement, operator_, "operator", P_STRING),
    PROJECT(struct node_requirement, values, "values", P_STRINGS),
};
static const struct projection requirement_projection =
    PROJECTION(struct node_requirement, requirement_fields);

static const struct projection_field term_fields[] = {
    PROJECT_OF(struct node_term, expressions, "matchExpressions", P_LIST, &requirement_projection),
    PROJECT_OF(struct node_term, fields, "matchFields", P_LIST, &requirement_projection),
};
static const struct projection term_projection = PROJECTION(struct node_term, term_fields);

static const struct projection_field volume_fields[] = {
    PROJECT(struct volume, class_name, "spec.storageClassName", P_STRING),
    PROJECT(struct volume, claim_namespace, "spec.claimRef.namespace", P_STRING),
    PROJECT(struct volume, claim_name, "spec.claimRef.name", P_STRING),
    PROJECT(struct volume, claim_uid, "spec.claimRef.uid", P_STRING),
    PROJECT(struct volume, phase, "status.phase", P_STRING),
    PROJECT(struct volume, mode, "spec.volumeMode", P_STRING),
    PROJECT(struct volume, bytes, "spec.capacity.storage", P_QUANTITY),
    PROJECT(struct volume, access_modes, "spec.accessModes", P_STRINGS),
    PROJECT(struct volume, has_affinity, "spec.nodeAffinity.required", P_PRESENT),
    PROJECT_OF(struct volume, affinity, "spec.nodeAffinity.required.nodeSelectorTerms", P_LIST,
        &term_projection),
};
const struct projection volume_projection = PROJECTION(struct volume, volume_fields);

static const struct projection_field claim_fields[] = {
    PROJECT(struct claim, volume_name, "spec.volumeName", P_STRING),
    PROJECT(struct claim, mode, "spec.volumeMode", P_STRING),
    PROJECT(struct claim, class_name, "spec.storageClassName", P_STRING),
    PROJECT(struct claim, bytes, "spec.resources.requests.storage", P_QUANTITY),
    PROJECT(struct claim, access_modes, "spec.accessModes", P_STRINGS),
    PROJECT(struct claim, selector.present, "spec.selector", P_PRESENT),
    PROJECT(struct claim, selector.labels, "spec.selector.matchLabels", P_MAP),
    PROJECT_OF(struct claim, selector.expressions, "spec.selector.matchExpressions", P_LIST,
        &requirement_projection),
};
const struct projection claim_projection = PROJECTION(struct claim, claim_fields);

static const struct projection_field topology_fields[] = {
    PROJECT_OF(struct topology_term, expressions, "matchLabelExpressions", P_LIST,
        &requirement_projection),
};
static const struct projection topology_projection =
    PROJECTION(struct topology_term, topology_fields);

static const struct projection_field class_fields[] = {
    PROJECT(struct storage_class, provisioner, "provisioner", P_STRING),
    PROJECT(struct storage_class, binding_mode, "volumeBindingMode", P_STRING),
    PROJECT_OF(struct storage_class, topologies, "allowedTopologies", P_LIST, &topology_projection),
};
const struct projection storage_class_projection = PROJECTION(struct storage_class, class_fields);

struct storage *storage_new(void)
{
    return xcalloc(1, sizeof(struct storage));
}

static void volume_forget(struct storage *s, struct known_volume *v)
{
    HASH_DEL(s->volumes, v);
    projected_unref(v->object);
    free(v->assumed_for);
    free(v);
}

static void claim_forget(struct storage *s, struct known_claim *c)
{
    HASH_DEL(s->claims, c);
    projected_unref(c->object);
    free(c->key);
    free(c);
}

static void class_forget(struct storage *s, struct known_class *c)
{
    HASH_DEL(s->classes, c);
    projected_unref(c->object);
    free(c);
}

void storage_free(struct storage *s)
{
    if (!s)
        return;
    while (s->volumes)
        volume_forget(s, s->volumes);
    while (s->claims)
        claim_forget(s, s->claims);
    while (s->classes)
        class_forget(s, s->classes);
    free(s);
}

static struct known_volume *find_volume(const struct storage *s, const char *name)
{
    struct known_volume *v;

    HASH_FIND_STR(s->volumes, name, v);
    return v;
}

static struct known_claim *find_claim(const struct storage *s, const char *key)
{
    struct known_claim *c;

    HASH_FIND_STR(s->claims, key, c);
    return c;
}

void storage_set_volume(struct storage *s, const struct volume *old, const struct volume *now)
{
    struct known_volume *v = find_volume(s, (now ? now : old)->meta.name);
    char *assumed_for = v ? steal(&v->assumed_for) : NULL;

    if (v)
        volume_forget(s, v);
    if (now && now->claim_name[0])
        free(steal(&assumed_for)); /* the object says so itself */
    if (!now) {
        free(assumed_for);
        return;
    }
    v = xcalloc(1, sizeof(*v));
    v->object = projected_ref(now);
    v->assumed_for = assumed_for;
    HASH_ADD_KEYPTR(hh, s->volumes, now->meta.name, strlen(now->meta.name), v);
}

void storage_set_claim(struct storage *s, const struct claim *old, const struct claim *now)
{
    const struct object_meta *meta = &(now ? now : old)->meta;
    autofree char *key = str_format("%s/%s", meta->namespace_, meta->name);
    struct known_claim *c = find_claim(s, key);

    if (c)
        claim_forget(s, c);
    if (!now)
        return;
    c = xcalloc(1, sizeof(*c));
    c->key = steal(&key);
    c->object = projected_ref(now);
    HASH_ADD_KEYPTR(hh, s->claims, c->key, strlen(c->key), c);
}

void storage_set_class(
    struct storage *s, const struct storage_class *old, const struct storage_class *now)
{
    struct known_class *c;

    HASH_FIND_STR(s->classes, (now ? now : old)->meta.name, c);
    if (c)
        class_forget(s, c);
    if (!now)
        return;
    c = xcalloc(1, sizeof(*c));
    c->object = projected_ref(now);
    HASH_ADD_KEYPTR(hh, s->classes, now->meta.name, strlen(now->meta.name), c);
}

const struct volume *storage_volume(const struct storage *s, const char *name)
{
    const struct known_volume *v = find_volume(s, name);

    return v ? v->object : NULL;
}

const struct claim *storage_claim(const struct storage *s, const char *namespace_, const char *name)
{
    autofree char *key = str_format("%s/%s", namespace_, name);
    const struct known_claim *c = find_claim(s, key);

    return c ? c->object : NULL;
}

const struct storage_class *storage_class_named(const struct storage *s, const char *name)
{
    struct known_class *c;

    HASH_FIND_STR(s->classes, name, c);
    return c ? c->object : NULL;
}

const char *pod_volume_claim(
    const struct pod *pod, const struct pod_volume *v, char *buffer, size_t size)
{
    if (!v->ephemeral)
        return v->claim;
    snprintf(buffer, size, "%s-%s", pod->meta.name, v->name);
    return buffer;
}

static bool has_mode(const struct string_list *modes, const char *mode)
{
    for (size_t i = 0; i < modes->count; i++)
        if (c_eq(modes->strings[i], mode))
            return true;
    return false;
}

static bool selects(const struct claim *claim, const struct volume *v)
{
    if (!claim->selector.present)
        return true;
    struct selector *s = pod_selector_new(&claim->selector, NULL, NULL, NULL);
    bool yes = selector_matches(s, string_map_label, &v->meta.labels);
    selector_free(s);
    return yes;
}

static const char *mode_of(const char *mode)
{
    return mode[0] ? mode : "Filesystem";
}

bool volume_suits(const struct known_volume *known, const struct claim *claim)
{
    const struct volume *v = known->object;

    if (known->assumed_for || v->meta.deletion_ns || v->bytes < claim->bytes ||
        !c_eq(v->class_name, claim->class_name) || !c_eq(mode_of(v->mode), mode_of(claim->mode)))
        return false;
    if (v->claim_name[0])
        return c_eq(v->claim_name, claim->meta.name) &&
               c_eq(v->claim_namespace, claim->meta.namespace_) &&
               (!v->claim_uid[0] || c_eq(v->claim_uid, claim->meta.uid));
    if (!c_eq(v->phase, "Available"))
        return false;
    for (size_t i = 0; i < claim->access_modes.count; i++)
        if (!has_mode(&v->access_modes, claim->access_modes.strings[i]))
            return false;
    return selects(claim, v);
}

struct volume_choice *volume_choices_copy(const struct volume_choice *choices, size_t count)
{
    struct volume_choice *copy = count ? xcalloc(count, sizeof(*copy)) : NULL;

    for (size_t i = 0; i < count; i++)
        copy[i] = (struct volume_choice){projected_ref(choices[i].claim),
            choices[i].volume ? projected_ref(choices[i].volume) : NULL};
    return copy;
}

void volume_choices_free(struct volume_choice *choices, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        projected_unref(choices[i].claim);
        if (choices[i].volume)
            projected_unref(choices[i].volume);
    }
    free(choices);
}

void storage_assume(struct storage *s, const struct volume_choice *choices, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct known_volume *v =
            choices[i].volume ? find_volume(s, choices[i].volume->meta.name) : NULL;
        if (v && !v->assumed_for)
            v->assumed_for =
                str_format("%s/%s", choices[i].claim->meta.namespace_, choices[i].claim->meta.name);
    }
}

void storage_forget(struct storage *s, const struct volume_choice *choices, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct known_volume *v =
            choices[i].volume ? find_volume(s, choices[i].volume->meta.name) : NULL;
        autofree char *key =
            str_format("%s/%s", choices[i].claim->meta.namespace_, choices[i].claim->meta.name);
        if (v && v->assumed_for && c_eq(v->assumed_for, key))
            free(steal(&v->assumed_for));
    }
}
