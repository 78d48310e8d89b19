/*
 * schema_decode: checks a body's types against its schema, as Go's decoder would, and cleans it in
 * place.
 *
 * Nulls of optional fields go, null list elements become zero values, unknown members and the
 * earlier of duplicates are removed and reported with their full path. The first wrong type ends it
 * with Go's text; its path has no indexes and names the innermost Go struct. Frames on the stack
 * carry the path, so a good body costs no text.
 *
 * Upstream: encoding/json as forked in sigs.k8s.io/json (strict errors), apimachinery's json
 * serializer.
 */
#include <math.h>

#include "apiserver/custom/custom.h"
#include "apiserver/schema/model.h"
#include "common/base64.h"
#include "common/quantity.h"
#include "common/time.h"

/* Strict errors reported in one answer; upstream's limit. */
#define STRICT_ERRORS_MAX 100

struct decoder {
    struct strbuf strict; /* "unknown field \"spec.x\"" lines */
    size_t strict_count;
    struct error *err;
};

static int decode_value(struct decoder *d, const struct schema *owner, const struct field *f,
    cJSON *item, const struct frame *at);

static void report(struct decoder *d, const char *what, const struct frame *at)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    if (d->strict_count >= STRICT_ERRORS_MAX)
        return;
    frame_print(at, true, &path);
    autofree char *line = str_format("%s field \"%s\"\n", what, path.data);
    size_t n = strlen(line);
    for (const char *p = d->strict.n ? d->strict.data : NULL; p && (p = strstr(p, line)); p++)
        if (p == d->strict.data || p[-1] == '\n')
            return;
    strbuf_add(&d->strict, str_range(line, n));
    d->strict_count++;
}

/* Go's name of a type: "string", "[]v1.Container", "map[string]string". */
static void print_go_type(const struct field *f, struct strbuf *out)
{
    static const char *const names[] = {
        [V_STRING] = "string",
        [V_BOOL] = "bool",
        [V_INT32] = "int32",
        [V_INT64] = "int64",
        [V_DOUBLE] = "float64",
        [V_BYTES] = "[]uint8",
        [V_QUANTITY] = "resource.Quantity",
        [V_INT_OR_STRING] = "intstr.IntOrString",
        [V_TIME] = "v1.Time",
        [V_MICROTIME] = "v1.MicroTime",
        [V_ANY] = "runtime.RawExtension",
    };
    if (f->type == V_LIST) {
        strbuf_addc(out, "[]");
        print_go_type(f->items, out);
    } else if (f->type == V_MAP) {
        strbuf_addc(out, "map[string]");
        print_go_type(f->items, out);
    } else if (f->type == V_OBJECT) {
        const char *dot = strrchr(f->object->package, '.');
        strbuf_addf(out, "%s.%s", dot ? dot + 1 : f->object->package, f->object->name);
    } else {
        strbuf_addc(out, names[f->type]);
    }
}

static void print_go_path(const struct frame *at, struct strbuf *out)
{
    if (!at)
        return;
    print_go_path(at->up, out);
    if (at->name && !at->is_key)
        strbuf_addf(out, "%s%s", out->n > 0 ? "." : "", at->name);
}

static void print_kind_of(const cJSON *item, bool with_number, struct strbuf *out)
{
    if (cJSON_IsString(item))
        strbuf_addc(out, "string");
    else if (cJSON_IsBool(item))
        strbuf_addc(out, "bool");
    else if (cJSON_IsArray(item))
        strbuf_addc(out, "array");
    else if (cJSON_IsObject(item))
        strbuf_addc(out, "object");
    else
        strbuf_addc(out, "number");
    if (with_number && json_is_number(item)) {
        strbuf_add_char(out, ' ');
        json_print(item, out);
    }
}

static int wrong_type(struct decoder *d, const struct schema *owner, const struct field *f,
    const cJSON *item, const struct frame *at, bool with_number)
{
    autostrbuf struct strbuf kind = STRBUF_EMPTY, path = STRBUF_EMPTY, type = STRBUF_EMPTY;
    print_kind_of(item, with_number, &kind);
    print_go_path(at, &path);
    print_go_type(f, &type);
    if (!owner)
        return error_set(d->err, ERR_BAD_REQUEST,
            "json: cannot unmarshal %s into Go value of type %s", kind.data, type.data);
    return error_set(d->err, ERR_BAD_REQUEST,
        "json: cannot unmarshal %s into Go struct field %s.%s of type %s", kind.data, owner->name,
        path.data, type.data);
}

/* Types with a decoder of their own in Go lose the path. */
static int wrong_custom(struct decoder *d, const cJSON *item, const char *type)
{
    autostrbuf struct strbuf kind = STRBUF_EMPTY;
    print_kind_of(item, false, &kind);
    return error_set(d->err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type %s",
        kind.data, type);
}

static int decode_integer(struct decoder *d, const struct schema *owner, const struct field *f,
    cJSON *item, const struct frame *at)
{
    int64_t value;
    if (cJSON_IsNumber(item)) {
        double v = item->valuedouble;
        bool fits =
            f->type == V_INT32 ? v >= INT32_MIN && v <= INT32_MAX : fabs(v) <= 9007199254740992.0;
        if (fits && v == floor(v))
            return 0;
    } else if (f->type == V_INT64 && json_int64(item, &value)) {
        return 0;
    }
    return wrong_type(d, owner, f, item, at, json_is_number(item));
}

static int decode_quantity(struct decoder *d, cJSON *item)
{
    struct quantity q;
    if (cJSON_IsString(item))
        return quantity_parse(str_of(item->valuestring), &q, d->err);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(item, &text);
    if (!json_is_number(item))
        return quantity_parse(strbuf_str(&text), &q, d->err) < 0 ? -d->err->code : 0;
    if (quantity_parse(strbuf_str(&text), &q, d->err) < 0)
        return -d->err->code;
    /* keep it as text: from here on a quantity is a string */
    cJSON_free(item->valuestring);
    item->valuestring = strbuf_steal(&text);
    item->type = cJSON_String | (item->type & (cJSON_StringIsConst));
    return 0;
}

static int decode_bytes(struct decoder *d, const struct schema *owner, const struct field *f,
    cJSON *item, const struct frame *at)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    if (!cJSON_IsString(item))
        return wrong_type(d, owner, f, item, at, false);
    return base64_decode(str_of(item->valuestring), &bytes, d->err);
}

static int decode_time(struct decoder *d, cJSON *item)
{
    int64_t ns;
    if (!cJSON_IsString(item))
        return wrong_custom(d, item, "string");
    if (item->valuestring[0] == '\0')
        return 0; /* Go: the zero time; normalising drops it */
    return time_parse(str_of(item->valuestring), &ns, d->err);
}

/* Go's layout of a MicroTime wants all six digits of the fraction. */
static int decode_micro_time(struct decoder *d, cJSON *item)
{
    static const char layout[] = "2006-01-02T15:04:05";
    const char *text = value_string(item);
    size_t n = sizeof(layout) - 1;
    if (decode_time(d, item) < 0) {
        char *at = strstr(d->err->text, layout);
        autofree char *rest = xstrdup(at ? at + n : "");
        if (at)
            snprintf(
                at + n, sizeof(d->err->text) - (size_t)(at + n - d->err->text), ".000000%s", rest);
        return -d->err->code;
    }
    if (!*text || (text[n] == '.' && strspn(text + n + 1, "0123456789") == 6))
        return 0;
    return error_set(d->err, ERR_BAD_REQUEST,
        "parsing time \"%s\" as \"%s.000000Z07:00\": cannot parse \"%s\" as \".000000\"", text,
        layout, strlen(text) > n ? text + n : "");
}

static int decode_int_or_string(struct decoder *d, cJSON *item)
{
    if (cJSON_IsString(item))
        return 0;
    if (cJSON_IsNumber(item) && item->valuedouble == floor(item->valuedouble) &&
        fabs(item->valuedouble) <= INT32_MAX)
        return 0;
    return wrong_custom(d, item, "int32");
}

static cJSON *zero_value(const struct field *f)
{
    switch (f->type) {
    case V_BOOL:
        return cJSON_CreateFalse();
    case V_INT32:
    case V_INT64:
    case V_DOUBLE:
    case V_INT_OR_STRING:
        return cJSON_CreateNumber(0);
    case V_QUANTITY:
        return cJSON_CreateString("0");
    case V_OBJECT:
    case V_MAP:
        return cJSON_CreateObject();
    case V_LIST:
        return cJSON_CreateArray();
    default:
        return cJSON_CreateString("");
    }
}

static int decode_list(struct decoder *d, const struct schema *owner, const struct field *f,
    cJSON *item, const struct frame *at)
{
    if (!cJSON_IsArray(item))
        return wrong_type(d, owner, f, item, at, false);
    struct frame here = {.up = at};
    for (cJSON *e = item->child, *next; e; e = next, here.index++) {
        next = e->next;
        if (cJSON_IsNull(e) && f->items->type != V_ANY) {
            cJSON_ReplaceItemViaPointer(item, e, zero_value(f->items));
            continue;
        }
        if (decode_value(d, owner, f->items, e, &here) < 0)
            return -d->err->code;
    }
    return 0;
}

static void drop_member(cJSON *object, cJSON *member)
{
    cJSON_Delete(cJSON_DetachItemViaPointer(object, member));
}

struct member {
    cJSON *item;
    size_t position;
};

static int by_name(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->item->string, y->item->string);
    return order ? order : (x->position > y->position) - (x->position < y->position);
}

static bool few_are_unique(const cJSON *map)
{
    for (const cJSON *m = map->child; m; m = m->next)
        for (const cJSON *o = m->next; o; o = o->next)
            if (!strcmp(m->string, o->string))
                return false;
    return true;
}

/* Duplicate keys of a map: the last one stays. Sorted, so that a map of many keys costs n log n. */
static void dedup_map(struct decoder *d, cJSON *map, const struct frame *at)
{
    size_t n = 0;
    for (cJSON *m = map->child; m; m = m->next)
        n++;
    if (n < 2 || (n <= 16 && few_are_unique(map)))
        return;
    autofree struct member *all = xcalloc(n, sizeof(*all));
    n = 0;
    for (cJSON *m = map->child; m; m = m->next, n++)
        all[n] = (struct member){m, n};
    qsort(all, n, sizeof(*all), by_name);
    for (size_t i = 0; i + 1 < n; i++) {
        if (strcmp(all[i].item->string, all[i + 1].item->string) != 0)
            continue;
        struct frame here = {.up = at, .name = all[i].item->string, .is_key = true};
        report(d, "duplicate", &here);
        drop_member(map, all[i].item);
    }
}

static int decode_map(struct decoder *d, const struct schema *owner, const struct field *f,
    cJSON *item, const struct frame *at)
{
    if (!cJSON_IsObject(item))
        return wrong_type(d, owner, f, item, at, false);
    dedup_map(d, item, at);
    for (cJSON *m = item->child, *next; m; m = next) {
        next = m->next;
        struct frame here = {.up = at, .name = m->string, .is_key = true};
        if (cJSON_IsNull(m)) {
            cJSON *zero = zero_value(f->items);
            zero->string = xstrdup(m->string);
            cJSON_ReplaceItemViaPointer(item, m, zero);
            continue;
        }
        if (decode_value(d, owner, f->items, m, &here) < 0)
            return -d->err->code;
    }
    return 0;
}

static int decode_object(
    struct decoder *d, const struct schema *s, cJSON *item, const struct frame *at)
{
    cJSON *seen[SCHEMA_FIELDS_MAX];
    memset(seen, 0, s->field_count * sizeof(*seen));
    for (cJSON *m = item->child, *next; m; m = next) {
        next = m->next;
        struct frame here = {.up = at, .name = m->string};
        const struct field *f = schema_field(s, m->string, strlen(m->string));
        if (!f) {
            report(d, "unknown", &here);
            drop_member(item, m);
            continue;
        }
        size_t i = field_index(s, f);
        if (seen[i]) {
            report(d, "duplicate", &here);
            drop_member(item, seen[i]);
        }
        seen[i] = m;
        if (cJSON_IsNull(m)) {
            seen[i] = NULL;
            drop_member(item, m);
            continue;
        }
        if (decode_value(d, s, f, m, &here) < 0)
            return -d->err->code;
    }
    return 0;
}

static int decode_value(struct decoder *d, const struct schema *owner, const struct field *f,
    cJSON *item, const struct frame *at)
{
    switch ((enum value_type)f->type) {
    case V_STRING:
        return cJSON_IsString(item) ? 0 : wrong_type(d, owner, f, item, at, false);
    case V_BOOL:
        return cJSON_IsBool(item) ? 0 : wrong_type(d, owner, f, item, at, false);
    case V_INT32:
    case V_INT64:
        return decode_integer(d, owner, f, item, at);
    case V_DOUBLE:
        return json_is_number(item) ? 0 : wrong_type(d, owner, f, item, at, false);
    case V_BYTES:
        return decode_bytes(d, owner, f, item, at);
    case V_QUANTITY:
        return decode_quantity(d, item);
    case V_TIME:
        return decode_time(d, item);
    case V_MICROTIME:
        return decode_micro_time(d, item);
    case V_INT_OR_STRING:
        return decode_int_or_string(d, item);
    case V_ANY:
        return 0;
    case V_LIST:
        return decode_list(d, owner, f, item, at);
    case V_MAP:
        return decode_map(d, owner, f, item, at);
    case V_OBJECT:
        if (!cJSON_IsObject(item))
            return wrong_type(d, owner, f, item, at, false);
        return decode_object(d, f->object, item, at);
    }
    return 0;
}

static int strict_error(struct decoder *d)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    for (size_t i = 0; i + 1 < d->strict.n; i++) {
        if (d->strict.data[i] == '\n')
            strbuf_addc(&text, ", ");
        else
            strbuf_add_char(&text, d->strict.data[i]);
    }
    return error_set(d->err, ERR_BAD_REQUEST, "strict decoding error: %s", text.data);
}

int schema_decode(const struct schema *s, cJSON *tree, enum field_validation mode,
    struct strbuf *warnings, struct error *err)
{
    if (s->is_any)
        return 0;
    if (s->node)
        return custom_decode(s, tree, mode, warnings, err);
    struct decoder d = {.err = err};
    strbuf_init(&d.strict, 0);
    int result = decode_value(&d, NULL, s->element, tree, NULL);
    if (result == 0 && d.strict.n > 0) {
        if (mode == VALIDATION_STRICT)
            result = strict_error(&d);
        else if (mode == VALIDATION_WARN && warnings)
            strbuf_add(warnings, strbuf_str(&d.strict));
    }
    strbuf_done(&d.strict);
    return result;
}
