/*
 * Deletion: preconditions, finalizers, propagation, grace; mark or remove.
 *
 * An object goes at once when nothing holds it: no finalizers, no grace. Otherwise it is marked
 * (deletionTimestamp, deletionGracePeriodSeconds) and goes with the last finalizer, or with a
 * second delete of grace 0. Upstream: registry/rest/delete.go, registry/generic/registry/store.go.
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/registry/generic/options.h"
#include "apiserver/registry/generic/rules.h"
#include "apiserver/server.h"
#include "common/time.h"

#define ORPHAN "orphan"
#define FOREGROUND "foregroundDeletion"

static bool has_finalizer(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(
        item, list) if (cJSON_IsString(item) && c_eq(item->valuestring, name)) return true;
    return false;
}

static bool has_members(const cJSON *list)
{
    return cJSON_IsArray(list) && list->child;
}

static int check_preconditions(struct object_write *o, struct error *err)
{
    const struct delete_options *d = o->options;
    char version[24];

    snprintf(version, sizeof(version), "%lld", (long long)object_revision(o->base));
    if (d->uid && !str_eqc(o->base->uid, d->uid))
        return conflict_error(o->request, o->resource, o->name, err,
            "Precondition failed: UID in precondition: %s, UID in object meta: %.*s", d->uid,
            STR_FMT(o->base->uid));
    if (d->resource_version && !c_eq(version, d->resource_version))
        return conflict_error(o->request, o->resource, o->name, err,
            "Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object "
            "meta: %s",
            d->resource_version, version);
    return 0;
}

/* Sets or removes the garbage collector's finalizers as the options want. true: they changed. */
static bool set_collector_finalizers(const struct delete_options *d, cJSON *metadata)
{
    cJSON *list = json_get(metadata, "finalizers");
    bool had_orphan = has_finalizer(list, ORPHAN), had_foreground = has_finalizer(list, FOREGROUND);
    bool orphan = had_orphan, foreground = had_foreground;

    if (d->propagation || d->orphan_dependents >= 0) {
        orphan = c_eq(d->propagation, "Orphan") || d->orphan_dependents == 1;
        foreground = c_eq(d->propagation, "Foreground");
    }
    if (orphan == had_orphan && foreground == had_foreground)
        return false;
    cJSON *next = cJSON_CreateArray(), *item;
    cJSON_ArrayForEach(item, list) if (cJSON_IsString(item) && !c_eq(item->valuestring, ORPHAN) &&
                                       !c_eq(item->valuestring, FOREGROUND))
        cJSON_AddItemToArray(next, cJSON_CreateString(item->valuestring));
    if (orphan)
        cJSON_AddItemToArray(next, cJSON_CreateString(ORPHAN));
    if (foreground)
        cJSON_AddItemToArray(next, cJSON_CreateString(FOREGROUND));
    json_set(metadata, "finalizers", next);
    return true;
}

static void bump_generation(cJSON *metadata)
{
    int64_t generation;

    if (json_int64(json_get(metadata, "generation"), &generation) && generation > 0)
        json_set(metadata, "generation", json_new_int64(generation + 1));
}

static void mark(struct object_write *o, cJSON *tree, int64_t at_ns, int64_t grace_s)
{
    cJSON *m = json_get(tree, "metadata");
    char text[TIME_TEXT_BYTES];

    if (!json_get(m, "deletionTimestamp"))
        bump_generation(m);
    json_set_string(m, "deletionTimestamp", time_print_s(at_ns, text));
    json_set(m, "deletionGracePeriodSeconds", json_new_int64(grace_s));
    if (rules_of(o->resource)->spec_finalizers)
        json_set_string_at(tree, "status.phase", "Terminating");
}

enum grace {
    GRACE_NONE /* not graceful: remove or wait for finalizers */,
    GRACE_MARKED,
    GRACE_PENDING
};

/* A second deletion may only shorten the grace of the first. */
static enum grace again(struct object_write *o, cJSON *tree, int64_t left_s)
{
    const char *text = json_string_at(tree, "metadata.deletionTimestamp");
    int64_t asked = o->options->grace_seconds, at_ns;
    struct error err;

    if (left_s <= 0)
        return GRACE_NONE;
    if (asked < 0 || asked >= left_s)
        return GRACE_PENDING;
    if (!text || time_parse(str_of(text), &at_ns, &err) < 0)
        return GRACE_NONE;
    mark(o, tree, at_ns - (left_s - asked) * NS_PER_S, asked);
    return GRACE_MARKED;
}

static enum grace apply_grace(struct object_write *o, cJSON *tree)
{
    const struct strategy *s = o->resource->storage->strategy;
    int64_t grace;

    if (json_string_at(tree, "metadata.deletionTimestamp"))
        return again(o, tree, json_int64_at(tree, "metadata.deletionGracePeriodSeconds", 0));
    if (!s || !s->grace_seconds)
        return GRACE_NONE;
    grace = s->grace_seconds(&o->context, o->options->grace_seconds);
    if (grace < 0)
        return GRACE_NONE;
    mark(o, tree, o->context.now_ns + grace * NS_PER_S, grace);
    return GRACE_MARKED;
}

static bool is_held(const struct object_write *o, const cJSON *tree)
{
    return has_members(json_path(tree, "metadata.finalizers")) ||
           (rules_of(o->resource)->spec_finalizers &&
               has_members(json_path(tree, "spec.finalizers")));
}

int delete_compute(struct object_write *o, struct error *err)
{
    struct write_context *w = &o->context;
    const struct resource *r = o->resource->storage;
    autojson cJSON *tree = NULL;

    if (o->options->resource_version || o->options->uid) {
        if (check_preconditions(o, err) < 0)
            return -(int)err->code;
    }
    tree = w->tree            ? steal(&w->tree)
           : o->resource == r ? cJSON_Duplicate(w->old, 1)
                              : object_tree(o->base);
    enum grace grace = apply_grace(o, tree);
    if (grace == GRACE_PENDING) {
        o->unchanged = true;
        return 0;
    }
    set_collector_finalizers(o->options, json_get(tree, "metadata"));
    if (r->strategy && r->strategy->hold_back)
        r->strategy->hold_back(w, tree);
    bool held = is_held(o, tree);
    int64_t seconds = json_int64_at(tree, "metadata.deletionGracePeriodSeconds", 0);
    if (!held && (grace == GRACE_NONE || seconds == 0)) {
        o->deleted = true;
        return 0;
    }
    if (grace == GRACE_NONE && held && !json_string_at(tree, "metadata.deletionTimestamp"))
        mark(o, tree, w->now_ns, 0);
    schema_normalise(r->schema, tree);
    if (object_new(r, tree, &o->next, err) < 0)
        return -(int)err->code;
    if (object_revision(o->base) > 0 && str_eq(o->next->body, o->base->body))
        o->unchanged = true;
    return 0;
}

bool is_deletion_complete(const struct object_write *o)
{
    const cJSON *tree = o->context.tree;

    if (!json_string_at(tree, "metadata.deletionTimestamp") || is_held(o, tree))
        return false;
    return json_int64_at(tree, "metadata.deletionGracePeriodSeconds", 0) == 0;
}
