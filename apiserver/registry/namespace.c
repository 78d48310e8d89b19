/*
 * Namespaces: the finalizer "kubernetes", the label with their own name, and the subresource
 * finalize.
 *
 * Deletion marks and waits for spec.finalizers, which the namespace controller empties through
 * finalize when the content is gone; the generic half does the waiting. Upstream:
 * registry/core/namespace.
 */
#include "apiserver/registry/generic/generic.h"

static void namespace_prepare(struct write_context *w)
{
    const char *name = json_string_at(w->tree, "metadata.name");
    if (w->kind == WRITE_CREATE) {
        cJSON *finalizers = json_path(w->tree, "spec.finalizers"), *item;
        bool there = false;
        cJSON_ArrayForEach(item, finalizers) there =
            there || (cJSON_IsString(item) && c_eq(item->valuestring, "kubernetes"));
        if (!finalizers)
            json_set_at(w->tree, "spec.finalizers", finalizers = cJSON_CreateArray());
        if (!there)
            cJSON_AddItemToArray(finalizers, cJSON_CreateString("kubernetes"));
        json_set_at(w->tree, "status", json_make("{\"phase\":\"Active\"}"));
    } else if (w->kind == WRITE_UPDATE && json_path(w->old, "spec.finalizers")) {
        json_set_at(w->tree, "spec.finalizers",
            cJSON_Duplicate(json_path(w->old, "spec.finalizers"), true));
    }
    if (name && w->kind != WRITE_DELETE) { /* not json_set_at: the label's key has dots */
        cJSON *metadata = json_get(w->tree, "metadata");
        if (!json_get(metadata, "labels"))
            json_set(metadata, "labels", cJSON_CreateObject());
        json_set_string(json_get(metadata, "labels"), "kubernetes.io/metadata.name", name);
    }
}

static int set_finalizers(struct write_context *w, void *arg, struct error *err)
{
    const struct object_write *o = arg;
    const cJSON *finalizers = json_path(o->body, "spec.finalizers");
    if (!w->old)
        return error_set(err, ERR_NOT_FOUND, "namespaces \"%s\" not found", o->name);
    json_set_at(w->tree, "spec.finalizers",
        finalizers ? cJSON_Duplicate(finalizers, true) : cJSON_CreateArray());
    return 0;
}

static enum stage_result finalize_run(struct request *q)
{
    q->write->kind = WRITE_SUBRESOURCE;
    q->write->change = set_finalizers;
    q->write->fresh_tree = false;
    q->write->change_arg = q->write;
    return STAGE_DONE;
}

static const struct subresource_handler subresources[] = {
    {"finalize", finalize_run},
};

const struct strategy strategy_namespace = {
    .group = "",
    .plural = "namespaces",
    .prepare = namespace_prepare,
    .subresources = subresources,
    .subresource_count = ARRAY_COUNT(subresources),
};
