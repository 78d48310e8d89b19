/*
 * JSON merge patch, RFC 7386: objects merge, null deletes, anything else replaces.
 */
#include "apiserver/schema/model.h"

/* Of a new object: nulls mean "not there". */
static void drop_nulls(cJSON *object)
{
    for (cJSON *m = cJSON_IsObject(object) ? object->child : NULL, *next; m; m = next) {
        next = m->next;
        if (cJSON_IsNull(m))
            cJSON_Delete(cJSON_DetachItemViaPointer(object, m));
        else
            drop_nulls(m);
    }
}

static void merge(cJSON *target, const cJSON *patch)
{
    automembers struct members members = members_of(target, members_count(patch));
    for (const cJSON *p = patch->child; p; p = p->next) {
        cJSON *old = members_get(&members, p->string);
        if (cJSON_IsNull(p)) {
            members_remove(&members, p->string);
        } else if (cJSON_IsObject(p) && cJSON_IsObject(old)) {
            merge(old, p);
        } else {
            cJSON *value = cJSON_Duplicate(p, true);
            drop_nulls(value);
            members_set(&members, p->string, value);
        }
    }
}

int patch_merge(cJSON **tree, const cJSON *patch, struct error *err)
{
    if (!cJSON_IsObject(patch))
        return error_set(err, ERR_BAD_REQUEST,
            "json: cannot unmarshal %s into Go value of type "
            "map[string]interface {}",
            cJSON_IsArray(patch)    ? "array"
            : cJSON_IsString(patch) ? "string"
            : cJSON_IsBool(patch)   ? "bool"
                                    : "number");
    merge(*tree, patch);
    return 0;
}
