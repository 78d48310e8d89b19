/*
 * Namespaces: the finalizer "kubernetes", the label with their own name, and the subresource
 * finalize.
 *
 * Deletion marks and waits for spec.finalizers, which the namespace controller empties through
 * finalize when the content is gone; the generic half does the waiting. Upstream:
 * registry/core/namespace.
 */
#include "apiserver/registry/generic/part.h"

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

static void take_finalizers(cJSON *tree, const cJSON *sent)
{
    const cJSON *finalizers = json_path(sent, "spec.finalizers");
    json_set_at(tree, "spec.finalizers",
        finalizers ? cJSON_Duplicate(finalizers, true) : cJSON_CreateArray());
}

static int change_finalizers(struct write_context *w, void *arg, struct error *err)
{
    return change_part(w, arg, take_finalizers, err);
}

static enum stage_result finalize_run(struct request *q)
{
    return run_part(q, change_finalizers);
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
