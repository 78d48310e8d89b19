/*
 * Jobs: a selector and labels made from the uid, unless manualSelector is set. Upstream:
 * registry/batch/job/strategy.go.
 */
#include "apiserver/registry/registry.h"

static void add_label(cJSON *metadata, const char *key, const char *value)
{
    if (!json_get(metadata, "labels"))
        json_set(metadata, "labels", cJSON_CreateObject());
    json_set_string(json_get(metadata, "labels"), key, value);
}

static void job_prepare(struct write_context *w)
{
    const char *uid = json_string_at(w->tree, "metadata.uid"),
               *name = json_string_at(w->tree, "metadata.name");
    if (w->kind != WRITE_CREATE || json_bool(json_get(w->tree, "spec"), "manualSelector", false) ||
        !uid)
        return;
    cJSON *template = json_path(w->tree, "spec.template");
    if (!json_get(template, "metadata"))
        json_set(template, "metadata", cJSON_CreateObject());
    cJSON *metadata = json_get(template, "metadata");
    add_label(metadata, "controller-uid", uid);
    add_label(metadata, "job-name", name);
    add_label(metadata, "batch.kubernetes.io/controller-uid", uid);
    add_label(metadata, "batch.kubernetes.io/job-name", name);
    json_set_at(w->tree, "spec.selector",
        json_make("{\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"%s\"}}", uid));
}

const struct strategy strategy_job = {
    .group = "batch",
    .plural = "jobs",
    .prepare = job_prepare,
};
