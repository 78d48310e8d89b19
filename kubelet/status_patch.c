/*
 * From the status that is there to the status that should be: the smallest strategic merge patch.
 * See status.h.
 *
 * Lists with merge keys get only what differs; podIPs are replaced as a whole, because a pod that
 * moved to a new sandbox must not keep its old address. Conditions that are not ours are never
 * named.
 */
#include "kubelet/status.h"

/* Members of `to` that differ; conditions and podIPs apart. */
static void diff_members(const cJSON *from, const cJSON *to, cJSON *patch)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, to)
    {
        if (c_eq(item->string, "conditions") || c_eq(item->string, "podIPs") ||
            c_eq(item->string, "hostIPs"))
            continue;
        const cJSON *old = json_get(from, item->string);
        if (!old || !json_equal(old, item))
            json_set(patch, item->string, cJSON_Duplicate(item, true));
    }
    /* Only these are ever taken back. */
    static const char *const ours[] = {"reason", "message", "podIP"};
    for (size_t i = 0; i < ARRAY_COUNT(ours); i++)
        if (json_get(from, ours[i]) && !json_get(to, ours[i]))
            json_set(patch, ours[i], cJSON_CreateNull());
}

static const cJSON *condition_of(const cJSON *status, const char *type)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(status, "conditions"))
    {
        if (c_eq(json_string(item, "type"), type))
            return item;
    }
    return NULL;
}

static bool same_condition(const cJSON *a, const cJSON *b)
{
    static const char *const fields[] = {"status", "reason", "message"};

    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        const char *x = json_string(a, fields[i]), *y = json_string(b, fields[i]);
        if (!c_eq(x ? x : "", y ? y : ""))
            return false;
    }
    return json_int64_at(a, "observedGeneration", 0) == json_int64_at(b, "observedGeneration", 0);
}

/* Ours, and gone when they do not hold. */
static const char *const passing[] = {"PodResizePending", "PodResizeInProgress"};

static void diff_conditions(const cJSON *from, const cJSON *to, cJSON *patch)
{
    cJSON *changed = cJSON_CreateArray();
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(to, "conditions"))
    {
        const cJSON *old = condition_of(from, json_string(item, "type"));
        if (old && same_condition(old, item))
            continue;
        cJSON *copy = cJSON_Duplicate(item, true);
        static const char *const fields[] = {"reason", "message"};
        for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
            if (json_string(old, fields[i]) && !json_string(item, fields[i]))
                json_set(copy, fields[i], cJSON_CreateNull());
        cJSON_AddItemToArray(changed, copy);
    }
    for (size_t i = 0; i < ARRAY_COUNT(passing); i++)
        if (condition_of(from, passing[i]) && !condition_of(to, passing[i]))
            cJSON_AddItemToArray(
                changed, json_make("{\"type\":\"%s\",\"$patch\":\"delete\"}", passing[i]));
    if (cJSON_GetArraySize(changed) > 0)
        json_set(patch, "conditions", changed);
    else
        cJSON_Delete(changed);
}

static void diff_addresses(const cJSON *from, const cJSON *to, const char *name, cJSON *patch)
{
    const cJSON *old = json_get(from, name), *new = json_get(to, name);

    if (!new || (old && json_equal(old, new)))
        return;
    cJSON *list = cJSON_Duplicate(new, true);
    if (cJSON_GetArraySize(old) > 0)
        cJSON_AddItemToArray(list, json_make("{\"$patch\":\"replace\"}"));
    json_set(patch, name, list);
}

cJSON *status_patch(const char *uid, const cJSON *from, const cJSON *to)
{
    cJSON *status = cJSON_CreateObject(), *patch;

    diff_members(from, to, status);
    diff_conditions(from, to, status);
    diff_addresses(from, to, "podIPs", status);
    diff_addresses(from, to, "hostIPs", status);
    if (!status->child) {
        cJSON_Delete(status);
        return NULL;
    }
    patch = json_make("{\"metadata\":{}}");
    json_set_string_at(patch, "metadata.uid", uid);
    json_set(patch, "status", status);
    return patch;
}
