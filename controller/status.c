/* Status writing: see status.h. */
#include "controller/status.h"

cJSON *merge_diff(const cJSON *old, const cJSON *now)
{
    cJSON *diff = cJSON_CreateObject();
    const cJSON *item;

    cJSON_ArrayForEach(item, now)
    {
        const cJSON *was = json_get(old, item->string);
        if (was && json_equal(was, item))
            continue;
        cJSON *sub = cJSON_IsObject(item) && cJSON_IsObject(was) ? merge_diff(was, item)
                                                                 : cJSON_Duplicate(item, true);
        if (sub)
            json_set(diff, item->string, sub);
    }
    cJSON_ArrayForEach(item, old) if (!json_get(now, item->string))
        json_set(diff, item->string, cJSON_CreateNull());
    if (diff->child)
        return diff;
    cJSON_Delete(diff);
    return NULL;
}

void status_set_count(cJSON *status, const char *name, int64_t value)
{
    if (value)
        json_set(status, name, json_new_int64(value));
    else
        json_remove(status, name);
}

cJSON *json_of_text(const char *text)
{
    cJSON *tree = NULL;
    struct error err;

    if (!text || json_parse(str_of(text), &tree, &err) < 0)
        return cJSON_CreateObject();
    return tree;
}

int object_status_write(struct manager *m, enum kind kind, const struct object_meta *meta,
    const char *old, const cJSON *now, struct error *err)
{
    autojson cJSON *was = json_of_text(old);
    cJSON *diff = merge_diff(was, now);

    if (!diff)
        return 0;
    cJSON *patch = cJSON_CreateObject();
    json_set(patch, "status", diff);
    return object_patch(m, kind, meta, "status", patch, err);
}
