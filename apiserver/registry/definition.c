/*
 * CustomResourceDefinitions: their rules, their status, and what holds their deletion back.
 *
 * status.storedVersions names every version that objects may be stored as: the storage version of
 * each update is added. Deleting adds the cleanup finalizer; the definitions' controller
 * (apiserver/custom/controller.h) does the rest.
 *
 * Upstream: apiextensions-apiserver's registry/customresourcedefinition.
 */
#include "apiserver/custom/controller.h"
#include "apiserver/custom/custom.h"
#include "apiserver/custom/definitions.h"
#include "apiserver/registry/registry.h"
#include "apiserver/server.h"
#include "common/time.h"

static const char *storage_version(const cJSON *tree)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_path(tree, "spec.versions"))
    {
        if (json_bool(item, "storage", false))
            return json_string(item, "name");
    }
    return NULL;
}

static bool has_text(const cJSON *list, const char *text)
{
    const cJSON *item;

    cJSON_ArrayForEach(
        item, list) if (cJSON_IsString(item) && c_eq(item->valuestring, text)) return true;
    return false;
}

static void add_stored_version(cJSON *tree)
{
    const char *version = storage_version(tree);
    cJSON *list = json_path(tree, "status.storedVersions");

    if (!version || has_text(list, version))
        return;
    if (!cJSON_IsArray(list)) {
        json_set_at(tree, "status.storedVersions", cJSON_CreateArray());
        list = json_path(tree, "status.storedVersions");
    }
    cJSON_AddItemToArray(list, cJSON_CreateString(version));
}

static void prepare(struct write_context *w)
{
    if (w->kind == WRITE_CREATE)
        json_remove(w->tree, "status");
    if (w->kind == WRITE_CREATE || w->kind == WRITE_UPDATE)
        add_stored_version(w->tree);
}

static void validate(const struct write_context *w, struct field_errors *errors)
{
    struct strbuf formats;

    if (w->kind == WRITE_STATUS)
        return;
    strbuf_init(&formats, 0);
    custom_check_definition(w->server->api, w->tree, w->old, errors, &formats);
    struct str rest = strbuf_str(&formats), line;
    while (w->request && str_split(&rest, '\n', &line))
        if (line.n > 0)
            request_warn(w->request, "%.*s", STR_FMT(line));
    strbuf_done(&formats);
}

static void hold_back(const struct write_context *w, cJSON *tree)
{
    char now[TIME_TEXT_BYTES];
    cJSON *list = json_path(tree, "metadata.finalizers");

    if (json_string_at(w->old, "metadata.deletionTimestamp"))
        return;
    if (!cJSON_IsArray(list)) {
        json_set_at(tree, "metadata.finalizers", cJSON_CreateArray());
        list = json_path(tree, "metadata.finalizers");
    }
    if (!has_text(list, CLEANUP_FINALIZER))
        cJSON_AddItemToArray(list, cJSON_CreateString(CLEANUP_FINALIZER));
    definition_set_condition(tree, "Terminating", "True", "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        time_print_s(w->now_ns, now));
}

/* The last moment: an object that slipped in keeps its definition. */
static int begin(struct write_context *w, struct extra_writes *extra, struct error *err)
{
    const char *name = json_string_at(w->old, "metadata.name");
    const struct resource *storage;

    (void)extra;
    if (w->kind != WRITE_DELETE || !name)
        return 0;
    if (!(storage = definitions_storage(w->server->definitions, name)))
        return 0;
    struct snapshot *s = snapshot_take(w->cache, storage);
    size_t count = snapshot_count(s, STR(""));
    snapshot_free(s);
    resource_drop(storage);
    if (count == 0)
        return 0;
    return error_set(err, ERR_CONFLICT,
        "Operation cannot be fulfilled on customresourcedefinitions.apiextensions.k8s.io \"%s\": "
        "there are objects of it",
        name);
}

const struct strategy strategy_custom_resource_definition = {
    .group = "apiextensions.k8s.io",
    .plural = "customresourcedefinitions",
    .prepare = prepare,
    .validate = validate,
    .hold_back = hold_back,
    .begin = begin,
};
