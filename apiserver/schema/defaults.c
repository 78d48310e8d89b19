/*
 * schema_default: fills in what a body leaves out, at every depth, pod templates included.
 *
 * For each object: the defaults of its fields (data), then the type's named function
 * (default_rules.c), then the objects below. A field that is no pointer also takes its default in
 * place of a zero value, as in Go. A struct that Go always has (no pointer) is made when something
 * below it has a default: a claim without status gets status.phase.
 *
 * Upstream: pkg/apis/<group>/<version>/defaults.go and zz_generated.defaults.go.
 */
#include "apiserver/custom/custom.h"

static void default_object(const struct schema *s, cJSON *object);

static bool wants_default(const struct field *f, const cJSON *value)
{
    if (!value || cJSON_IsNull(value))
        return true;
    return !(f->flags & F_PTR) && f->type != V_BOOL && value_is_empty(value);
}

static void set_default(cJSON *object, const struct field *f, cJSON *old)
{
    cJSON *value = cJSON_Duplicate(f->rules->otherwise, true);
    if (old)
        cJSON_Delete(cJSON_DetachItemViaPointer(object, old));
    cJSON_AddItemToObject(object, f->name, value);
}

static void default_value(const struct field *f, cJSON *value)
{
    if (f->type == V_OBJECT) {
        if (cJSON_IsObject(value))
            default_object(f->object, value);
    } else if (f->items && f->items->object && f->items->object->deep_defaults) {
        for (cJSON *e = value->child; e; e = e->next)
            default_value(f->items, e);
    }
}

static void default_fields(const struct schema *s, cJSON *object)
{
    cJSON *slots[SCHEMA_FIELDS_MAX];
    schema_slots(s, object, slots);
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        if (f->rules && f->rules->otherwise && wants_default(f, slots[i]))
            set_default(object, f, slots[i]);
        else if (!slots[i] && f->type == V_OBJECT && !(f->flags & F_PTR) &&
                 f->object->deep_defaults)
            cJSON_AddItemToObject(object, f->name, cJSON_CreateObject());
    }
}

static void default_object(const struct schema *s, cJSON *object)
{
    if (!s->deep_defaults)
        return;
    default_fields(s, object);
    if (s->defaults)
        s->defaults(object);
    for (cJSON *m = object->child; m; m = m->next) {
        const struct field *f = schema_field(s, m->string, strlen(m->string));
        if (f && (f->object || f->items))
            default_value(f, m);
    }
}

void schema_default(const struct schema *s, cJSON *tree)
{
    if (s->node)
        custom_default(s, tree);
    else if (cJSON_IsObject(tree))
        default_object(s, tree);
}
