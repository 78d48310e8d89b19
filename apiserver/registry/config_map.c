/*
 * ConfigMaps: a key is in data or in binaryData, a megabyte in all, and immutable ones keep their
 * content.
 *
 * Upstream: registry/core/configmap, apis/core/validation (ValidateConfigMap).
 */
#include "apiserver/registry/immutable.h"
#include "apiserver/registry/registry.h"

void immutable_validate(
    const struct write_context *w, const char *const *content, struct field_errors *errors)
{
    if (!json_bool(w->old, "immutable", false))
        return;
    if (!json_bool(w->tree, "immutable", false))
        field_error_add(errors, FIELD_FORBIDDEN, "immutable", NULL,
            "field is immutable when `immutable` is set");
    for (; *content; content++) {
        const cJSON *old = json_get(w->old, *content), *now = json_get(w->tree, *content);
        bool same =
            (cJSON_GetArraySize(old) == 0 && cJSON_GetArraySize(now) == 0) || json_equal(old, now);
        if (!same)
            field_error_add(errors, FIELD_FORBIDDEN, *content, NULL,
                "field is immutable when `immutable` is set");
    }
}

static void config_map_validate(const struct write_context *w, struct field_errors *errors)
{
    static const char *const content[] = {"data", "binaryData", NULL};
    const cJSON *data = json_get(w->tree, "data"), *binary = json_get(w->tree, "binaryData"), *item;
    size_t total = 0;
    cJSON_ArrayForEach(item, binary)
    {
        char path[300];
        snprintf(path, sizeof(path), "data[%s]", item->string);
        if (json_get(data, item->string))
            field_error_add(errors, FIELD_INVALID, path,
                arena_printf(w->arena, "\"%s\"", item->string),
                "duplicate of key present in binaryData");
        total += cJSON_IsString(item) ? strlen(item->valuestring) / 4 * 3 : 0;
    }
    cJSON_ArrayForEach(item, data) total += cJSON_IsString(item) ? strlen(item->valuestring) : 0;
    if (total > 1 << 20)
        field_error_add(errors, FIELD_TOO_LONG, "", NULL, "may not be more than %d bytes", 1 << 20);
    if (w->kind == WRITE_UPDATE)
        immutable_validate(w, content, errors);
}

const struct strategy strategy_config_map = {
    .group = "",
    .plural = "configmaps",
    .validate = config_map_validate,
};
