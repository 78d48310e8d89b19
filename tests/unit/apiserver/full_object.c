/*
 * See full_object.h.
 */
#include "tests/unit/apiserver/full_object.h"

#include "apiserver/schema/model.h"
#include "common/base64.h"

#define NESTING_MAX 64

struct filler {
    enum fill fill;
    unsigned n;                             /* of the value */
    const struct schema *path[NESTING_MAX]; /* the types that are being filled */
    size_t depth;
};

static cJSON *fill_object(struct filler *f, const struct schema *s);

static cJSON *text(const char *format, unsigned n)
{
    autofree char *s = str_format(format, n);

    return cJSON_CreateString(s);
}

static cJSON *zero_of(const struct field *f)
{
    switch ((enum value_type)f->type) {
    case V_STRING:
        return cJSON_CreateString("");
    case V_BOOL:
        return cJSON_CreateFalse();
    case V_INT32:
    case V_INT64:
    case V_DOUBLE:
    case V_INT_OR_STRING:
        return cJSON_CreateNumber(0);
    case V_QUANTITY:
        return cJSON_CreateString("0");
    default:
        return NULL;
    }
}

static cJSON *any_of(struct filler *f, const struct schema *s)
{
    enum choice choice = s ? (enum choice)s->choice : CHOICE_NONE;
    cJSON *value;

    f->n++;
    if (choice == CHOICE_BOOL)
        return f->n % 2 ? cJSON_CreateBool(f->n % 4 == 1) : fill_object(f, s->choice_of);
    if (choice == CHOICE_NONE || choice == CHOICE_STRINGS || f->n % 2) {
        value = cJSON_CreateArray();
        for (int i = 0; i < 2; i++)
            cJSON_AddItemToArray(value,
                choice == CHOICE_SCHEMAS ? fill_object(f, s->choice_of) : text("any-%u", f->n++));
        if (choice != CHOICE_NONE)
            return value;
        cJSON *object = cJSON_CreateObject();
        json_set(object, "list", value);
        json_set(object, "quote\"\\\n", cJSON_CreateNumber(f->n));
        return object;
    }
    return fill_object(f, s->choice_of);
}

static cJSON *scalar_of(struct filler *f, const struct field *field)
{
    const char *const *enums = field->rules ? field->rules->enums : NULL;
    autostrbuf struct strbuf base64 = STRBUF_EMPTY;
    unsigned n = ++f->n;

    switch ((enum value_type)field->type) {
    case V_STRING:
        if (enums)
            return cJSON_CreateString(enums[0]);
        return text(n % 7 ? "text-%u" : "t\xc3\xa9xt\n\"<%u>\xf0\x9f\x98\x80", n);
    case V_BOOL:
        return cJSON_CreateTrue();
    case V_INT32:
        return cJSON_CreateNumber(n % 3 ? (double)n : -(double)n);
    case V_INT64:
        return json_new_int64(n % 3 ? (1ll << 53) + 1 + n : -(int64_t)n);
    case V_DOUBLE:
        return cJSON_CreateNumber(n + 0.25);
    case V_BYTES: {
        autofree char *bytes = str_format("bytes %u", n);
        base64_encode(str_of(bytes), &base64);
        return cJSON_CreateString(base64.data);
    }
    case V_QUANTITY:
        return text("%uMi", n);
    case V_INT_OR_STRING:
        return n % 2 ? cJSON_CreateNumber(n) : text("%u%%", n);
    case V_TIME:
        return text("2026-01-02T03:04:%02uZ", n % 60);
    case V_MICROTIME:
        return text("2026-01-02T03:04:05.%06uZ", n % 1000000);
    default:
        return NULL;
    }
}

static cJSON *fill_value(struct filler *f, const struct field *field)
{
    cJSON *value = NULL, *element;

    switch ((enum value_type)field->type) {
    case V_OBJECT:
        return fill_object(f, field->object);
    case V_ANY:
        return any_of(f, field->object);
    case V_LIST:
        value = cJSON_CreateArray();
        for (int i = 0; i < 2; i++)
            if ((element = fill_value(f, field->items)))
                cJSON_AddItemToArray(value, element);
        return value;
    case V_MAP:
        value = cJSON_CreateObject();
        for (int i = 0; i < 2; i++) { /* not in the order that is sent */
            autofree char *key = str_format(i ? "a.example.com/%u" : "z\"%u", ++f->n);
            if ((element = fill_value(f, field->items)))
                json_set(value, key, element);
        }
        return value;
    default:
        return scalar_of(f, field);
    }
}

static cJSON *fill_field(struct filler *f, const struct field *field)
{
    if (f->fill == FILL_ALL)
        return fill_value(f, field);
    if (field->type == V_OBJECT)
        return fill_object(f, field->object);
    return field->flags & F_PTR ? zero_of(field) : NULL;
}

/* NULL: the type is inside itself for the second time. */
static cJSON *fill_object(struct filler *f, const struct schema *s)
{
    cJSON *object, *value;
    size_t inside = 0;

    for (size_t i = 0; i < f->depth; i++)
        inside += f->path[i] == s;
    if (inside > 1 || f->depth == NESTING_MAX)
        return NULL;
    f->path[f->depth++] = s;
    object = cJSON_CreateObject();
    for (size_t i = 0; i < s->field_count; i++)
        if (s->fields[i].numbers[0] > 0 && (value = fill_field(f, &s->fields[i])))
            json_set(object, s->fields[i].name, value);
    f->depth--;
    return object;
}

cJSON *full_object(
    const struct schema *s, const char *group_version, const char *kind, enum fill fill)
{
    struct filler f = {.fill = fill};
    cJSON *object = fill_object(&f, s);

    const struct field *type = schema_field(s, "kind", 4);
    if (type && type->numbers[0] == 0) {
        json_set_string(object, "kind", kind);
        json_set_string(object, "apiVersion", group_version);
    }
    schema_normalise(s, object);
    return object;
}
