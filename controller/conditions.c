/* Status conditions: see conditions.h. */
#include "controller/conditions.h"

#include "common/time.h"

static void set_time(cJSON *object, const char *name, int64_t ns)
{
    char text[TIME_TEXT_BYTES];

    if (ns)
        json_set_string(object, name, time_print_s(ns, text));
}

cJSON *conditions_json(const struct projected_list *conditions)
{
    const struct condition *c = conditions->items;
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < conditions->count; i++) {
        cJSON *item = cJSON_CreateObject();
        json_set_string(item, "type", c[i].type);
        json_set_string(item, "status", c[i].status);
        set_time(item, "lastUpdateTime", c[i].update_ns);
        set_time(item, "lastTransitionTime", c[i].transition_ns);
        json_set_string(item, "reason", c[i].reason);
        json_set_string(item, "message", c[i].message);
        cJSON_AddItemToArray(array, item);
    }
    return array;
}

const struct condition *conditions_find(const struct projected_list *conditions, const char *type)
{
    const struct condition *c = conditions->items;

    for (size_t i = 0; i < conditions->count; i++)
        if (!strcmp(c[i].type, type))
            return &c[i];
    return NULL;
}

bool condition_is(const struct projected_list *conditions, const char *type, const char *status)
{
    const struct condition *c = conditions_find(conditions, type);
    return c && !strcmp(c->status, status);
}

cJSON *conditions_get(cJSON *conditions, const char *type)
{
    cJSON *item;

    cJSON_ArrayForEach(item, conditions) if (c_eq(json_string(item, "type"), type)) return item;
    return NULL;
}

bool conditions_set(cJSON *conditions, const char *type, const char *status, const char *reason,
    const char *message, int64_t now_ns, int64_t update_ns)
{
    cJSON *item = conditions_get(conditions, type);

    if (!item) {
        item = cJSON_CreateObject();
        json_set_string(item, "type", type);
        cJSON_AddItemToArray(conditions, item);
    }
    bool same_status = c_eq(json_string(item, "status"), status);
    if (same_status && c_eq(json_string(item, "reason"), reason) &&
        c_eq(json_string(item, "message"), message))
        return false;
    json_set_string(item, "status", status);
    set_time(item, "lastUpdateTime", update_ns);
    if (!same_status)
        set_time(item, "lastTransitionTime", now_ns);
    json_set_string(item, "reason", reason);
    json_set_string(item, "message", message);
    return true;
}

bool conditions_remove(cJSON *conditions, const char *type)
{
    int i = 0;
    cJSON *item;

    cJSON_ArrayForEach(item, conditions)
    {
        if (c_eq(json_string(item, "type"), type)) {
            cJSON_DeleteItemFromArray(conditions, i);
            return true;
        }
        i++;
    }
    return false;
}
