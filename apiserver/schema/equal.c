/*
 * schema_equal: do two trees mean the same object? Quantities and times by value, no list as an
 * empty one, and a missing member that is no pointer as its zero value.
 *
 * Upstream: apimachinery's equality.Semantic.DeepEqual.
 */
#include "apiserver/schema/model.h"

#include "common/quantity.h"
#include "common/time.h"

static bool equal_value(const struct field *f, const cJSON *a, const cJSON *b);

static bool equal_text(const struct field *f, const cJSON *a, const cJSON *b)
{
    struct error err;
    const char *x = value_string(a), *y = value_string(b);
    if (!strcmp(x, y))
        return true;
    if (f->type == V_QUANTITY) {
        struct quantity p, q;
        return quantity_parse(str_of(*x ? x : "0"), &p, &err) == 0 &&
               quantity_parse(str_of(*y ? y : "0"), &q, &err) == 0 && quantity_cmp(p, q) == 0;
    }
    if (f->type == V_TIME || f->type == V_MICROTIME) {
        int64_t p, q;
        return time_parse(str_of(x), &p, &err) == 0 && time_parse(str_of(y), &q, &err) == 0 &&
               p == q;
    }
    return false;
}

static bool equal_object(const struct schema *s, const cJSON *a, const cJSON *b)
{
    cJSON *x[SCHEMA_FIELDS_MAX], *y[SCHEMA_FIELDS_MAX];
    schema_slots(s, a, x);
    schema_slots(s, b, y);
    for (size_t i = 0; i < s->field_count; i++)
        if ((x[i] || y[i]) && !equal_value(&s->fields[i], x[i], y[i]))
            return false;
    return true;
}

static bool equal_list(const struct field *f, const cJSON *a, const cJSON *b)
{
    const cJSON *x = a ? a->child : NULL, *y = b ? b->child : NULL;
    for (; x && y; x = x->next, y = y->next)
        if (!equal_value(f->items, x, y))
            return false;
    return !x && !y;
}

static bool equal_map(const struct field *f, const cJSON *a, const cJSON *b)
{
    size_t n = 0;
    for (const cJSON *m = a ? a->child : NULL; m; m = m->next, n++)
        ;
    for (const cJSON *m = b ? b->child : NULL; m; m = m->next, n--)
        ;
    if (n != 0)
        return false;
    /* in the same order most of the time; json_equal sorts where they are not */
    const cJSON *x = a ? a->child : NULL, *y = b ? b->child : NULL;
    for (; x && y && !strcmp(x->string, y->string); x = x->next, y = y->next)
        if (!equal_value(f->items, x, y))
            return false;
    if (!x)
        return true;
    if (f->items->type == V_STRING)
        return json_equal(a, b);
    automembers struct members others = members_of((cJSON *)b, 0);
    for (x = a->child; x; x = x->next) {
        y = members_get(&others, x->string);
        if (!y || !equal_value(f->items, x, y))
            return false;
    }
    return true;
}

static bool equal_value(const struct field *f, const cJSON *a, const cJSON *b)
{
    switch ((enum value_type)f->type) {
    case V_LIST:
        return equal_list(f, a, b);
    case V_MAP:
        return equal_map(f, a, b);
    case V_OBJECT:
        if ((f->flags & F_PTR) && (!a || !b))
            return false;
        return equal_object(f->object, a, b);
    case V_ANY:
        return a && b && json_equal(a, b);
    default:
        break;
    }
    if (!a || !b)
        return !(f->flags & F_PTR) && value_is_empty(a) && value_is_empty(b);
    if (cJSON_IsString(a) && cJSON_IsString(b))
        return equal_text(f, a, b);
    return json_equal(a, b);
}

bool schema_equal(const struct schema *s, const cJSON *a, const cJSON *b)
{
    if (s->is_any)
        return json_equal(a, b);
    return equal_object(s, a, b);
}

bool field_equal(const struct field *f, const cJSON *a, const cJSON *b)
{
    return (!a && !b) || equal_value(f, a, b);
}
