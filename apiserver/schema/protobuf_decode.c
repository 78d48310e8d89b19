/*
 * Bodies in protobuf: the form that typed Go clients send, read into the tree that the JSON form
 * would give.
 *
 * A body is "k8s\0" and a runtime.Unknown {1: {1: apiVersion, 2: kind}, 2: raw}; raw is the kind's
 * message. Field numbers are the schema's. Go writes every field that is no pointer, empty or not,
 * so an empty one is left out where JSON would omit it; a pointer's zero stays. Unknown fields are
 * passed over, as protobuf wants.
 *
 * Some types have messages of their own: Quantity {1: text}, Time {1: seconds, 2: nanos},
 * IntOrString {1: type, 2: int, 3: text}, RawExtension {1: JSON}, and a list as a map's value {1:
 * elements}.
 */
#include "apiserver/schema/model.h"

#include "common/base64.h"
#include "common/limits.h"
#include "common/time.h"

#define NUMBERS_MAX ARRAY_COUNT(((struct field *)0)->numbers)

struct reader {
    const unsigned char *at, *end;
    size_t *values; /* of the whole body, bounded by LIMIT_JSON_VALUES */
    struct error *err;
};

struct wire {
    uint32_t number;
    unsigned type;    /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
    uint64_t integer; /* types 0, 1, 5 */
    struct str bytes; /* type 2 */
};

static int malformed(struct reader *r, const char *why)
{
    return error_set(r->err, ERR_BAD_REQUEST, "proto: %s", why);
}

static int read_varint(struct reader *r, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->at == r->end)
            return malformed(r, "unexpected end of the message");
        unsigned char c = *r->at++;
        value |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *ret = value;
            return 0;
        }
    }
    return malformed(r, "integer overflow");
}

static int read_fixed(struct reader *r, size_t n, uint64_t *ret)
{
    if ((size_t)(r->end - r->at) < n)
        return malformed(r, "unexpected end of the message");
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint64_t)r->at[i] << (8 * i);
    r->at += n;
    return 0;
}

static int read_bytes(struct reader *r, struct str *ret)
{
    uint64_t n;

    if (read_varint(r, &n) < 0)
        return -ERR_BAD_REQUEST;
    if (n > (uint64_t)(r->end - r->at))
        return malformed(r, "unexpected end of the message");
    *ret = str_range((const char *)r->at, (size_t)n);
    r->at += n;
    return 0;
}

static int read_field(struct reader *r, struct wire *ret)
{
    uint64_t key;

    if (++*r->values > LIMIT_JSON_VALUES)
        return error_set(r->err, ERR_TOO_LARGE, "proto: more than %d values", LIMIT_JSON_VALUES);
    if (read_varint(r, &key) < 0)
        return -ERR_BAD_REQUEST;
    *ret = (struct wire){.number = (uint32_t)(key >> 3), .type = (unsigned)(key & 7)};
    if (key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return malformed(r, "illegal tag");
    switch (ret->type) {
    case 0:
        return read_varint(r, &ret->integer);
    case 1:
        return read_fixed(r, 8, &ret->integer);
    case 2:
        return read_bytes(r, &ret->bytes);
    case 5:
        return read_fixed(r, 4, &ret->integer);
    default:
        return malformed(r, "illegal wire type");
    }
}

static struct reader reader_of(struct reader *up, struct str bytes)
{
    const unsigned char *p = (const unsigned char *)(bytes.n > 0 ? bytes.p : "");

    return (struct reader){p, p + bytes.n, up->values, up->err};
}

/* --- values --- */

static int read_message(struct reader *r, const struct schema *s, const uint8_t *prefix,
    size_t depth, int nesting, cJSON *object);
static int read_value(
    struct reader *r, const struct field *f, const struct wire *w, int nesting, cJSON **ret);

/* Numbered fields of a small message; missing ones stay as they are. */
static int read_small(struct reader *up, struct str bytes, struct wire *fields, size_t count)
{
    struct reader r = reader_of(up, bytes);
    struct wire w;

    while (r.at < r.end) {
        if (read_field(&r, &w) < 0)
            return -(int)up->err->code;
        if (w.number <= count)
            fields[w.number - 1] = w;
    }
    return 0;
}

static cJSON *new_string(struct str s)
{
    autofree char *copy = str_dup(s);

    return cJSON_CreateString(copy);
}

static int read_time(struct reader *r, struct str bytes, bool micro, cJSON **ret)
{
    struct wire parts[2] = {0};
    char text[TIME_TEXT_BYTES];

    if (read_small(r, bytes, parts, 2) < 0)
        return -(int)r->err->code;
    if (bytes.n == 0)
        return 0;
    int64_t seconds = (int64_t)parts[0].integer;
    if (seconds < -62135596800 || seconds > 9223372000)
        return malformed(r, "time out of range");
    int64_t ns = seconds * NS_PER_S + (micro ? (int32_t)parts[1].integer : 0);
    *ret = cJSON_CreateString(micro ? time_print_us(ns, text) : time_print_s(ns, text));
    return 0;
}

static int read_int_or_string(struct reader *r, struct str bytes, cJSON **ret)
{
    struct wire parts[3] = {0};

    if (read_small(r, bytes, parts, 3) < 0)
        return -(int)r->err->code;
    *ret = parts[0].integer == 1 ? new_string(parts[2].bytes)
                                 : json_new_int64((int32_t)parts[1].integer);
    return 0;
}

/* A schema; or a boolean, schemas, strings. */
static int read_choice(
    struct reader *up, const struct schema *s, struct str bytes, int nesting, cJSON **ret)
{
    static const uint8_t none[1];
    struct reader r = reader_of(up, bytes);
    uint32_t schema_number = s->choice == CHOICE_BOOL ? 2 : 1;
    struct wire w;

    *ret = s->choice == CHOICE_BOOL ? cJSON_CreateFalse() : cJSON_CreateArray();
    while (r.at < r.end) {
        cJSON *item = NULL;
        if (read_field(&r, &w) < 0)
            return -(int)up->err->code;
        if (w.number == 1 && s->choice == CHOICE_BOOL) {
            if (!cJSON_IsObject(*ret)) {
                cJSON_Delete(*ret);
                *ret = cJSON_CreateBool(w.integer != 0);
            }
            continue;
        }
        if ((w.number != 1 && w.number != 2) || w.type != 2)
            continue;
        struct reader inner = reader_of(&r, w.bytes);
        if (w.number == 2 && s->choice == CHOICE_STRINGS)
            item = new_string(w.bytes);
        else if (read_message(
                     &inner, s->choice_of, none, 0, nesting + 1, item = cJSON_CreateObject()) < 0) {
            cJSON_Delete(item);
            return -(int)up->err->code;
        }
        if (w.number == schema_number) {
            cJSON_Delete(*ret);
            *ret = item;
        } else if (cJSON_IsArray(*ret)) {
            cJSON_AddItemToArray(*ret, item);
        } else {
            cJSON_Delete(item);
        }
    }
    return 0;
}

static int read_any(
    struct reader *r, const struct field *f, struct str bytes, int nesting, cJSON **ret)
{
    struct wire raw = {0};

    if (f->object && f->object->choice != CHOICE_NONE)
        return read_choice(r, f->object, bytes, nesting, ret);
    if (read_small(r, bytes, &raw, 1) < 0)
        return -(int)r->err->code;
    return raw.bytes.n > 0 ? json_parse(raw.bytes, ret, r->err) : 0;
}

static int read_list_message(
    struct reader *up, const struct field *items, struct str bytes, int nesting, cJSON **ret)
{
    struct reader r = reader_of(up, bytes);
    cJSON *list = cJSON_CreateArray();
    struct wire w;

    *ret = list;
    while (r.at < r.end) {
        cJSON *item = NULL;
        if (read_field(&r, &w) < 0)
            return -(int)up->err->code;
        if (w.number != 1)
            continue;
        if (read_value(&r, items, &w, nesting, &item) < 0)
            return -(int)up->err->code;
        if (item)
            cJSON_AddItemToArray(list, item);
    }
    return 0;
}

static int read_bytes_value(
    struct reader *r, const struct field *f, struct str bytes, int nesting, cJSON **ret)
{
    static const uint8_t none[1];
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct wire part = {0};

    switch (f->type) {
    case V_STRING:
        *ret = new_string(bytes);
        return 0;
    case V_BYTES:
        base64_encode(bytes, &text);
        *ret = new_string(strbuf_str(&text));
        return 0;
    case V_QUANTITY:
        if (read_small(r, bytes, &part, 1) < 0)
            return -(int)r->err->code;
        *ret = new_string(part.bytes);
        return 0;
    case V_INT_OR_STRING:
        return read_int_or_string(r, bytes, ret);
    case V_TIME:
    case V_MICROTIME:
        return read_time(r, bytes, f->type == V_MICROTIME, ret);
    case V_ANY:
        return read_any(r, f, bytes, nesting, ret);
    case V_LIST:
        return read_list_message(r, f->items, bytes, nesting, ret);
    case V_OBJECT: {
        struct reader inner = reader_of(r, bytes);
        *ret = cJSON_CreateObject();
        return read_message(&inner, f->object, none, 0, nesting, *ret);
    }
    default:
        return malformed(r, "illegal wire type");
    }
}

static int read_value(
    struct reader *r, const struct field *f, const struct wire *w, int nesting, cJSON **ret)
{
    double d;

    if (w->type == 2)
        return read_bytes_value(r, f, w->bytes, nesting, ret);
    switch (f->type) {
    case V_BOOL:
        *ret = cJSON_CreateBool(w->integer != 0);
        return 0;
    case V_INT32:
        *ret = json_new_int64((int32_t)w->integer);
        return 0;
    case V_INT64:
        *ret = json_new_int64((int64_t)w->integer);
        return 0;
    case V_DOUBLE:
        memcpy(&d, &w->integer, sizeof(d));
        *ret = cJSON_CreateNumber(d);
        return 0;
    default:
        return malformed(r, "illegal wire type");
    }
}

static int read_map_entry(
    struct reader *r, const struct field *f, const struct wire *w, int nesting, cJSON *map)
{
    struct wire parts[2] = {0};
    cJSON *value = NULL;

    if (w->type != 2 || read_small(r, w->bytes, parts, 2) < 0)
        return malformed(r, "illegal map entry");
    if (parts[1].number == 0)
        parts[1].type =
            f->items->type == V_BOOL || f->items->type == V_INT32 || f->items->type == V_INT64 ? 0
                                                                                               : 2;
    if (read_value(r, f->items, &parts[1], nesting, &value) < 0) {
        cJSON_Delete(value);
        return -(int)r->err->code;
    }
    autofree char *key = str_dup(parts[0].bytes);
    json_set(map, key, value ? value : cJSON_CreateNull());
    return 0;
}

/* A message may hold any of these fields several times: the last wins, lists and maps grow. */
static int put_field(
    struct reader *r, const struct field *f, const struct wire *w, int nesting, cJSON *object)
{
    cJSON *value = NULL, *there = json_get(object, f->name);

    if (f->type == V_LIST || f->type == V_MAP) {
        if (!there) {
            there = f->type == V_LIST ? cJSON_CreateArray() : cJSON_CreateObject();
            cJSON_AddItemToObject(object, f->name, there);
        }
        if (f->type == V_MAP)
            return read_map_entry(r, f, w, nesting, there);
    }
    if (read_value(r, f->type == V_LIST ? f->items : f, w, nesting, &value) < 0) {
        cJSON_Delete(value);
        return -(int)r->err->code;
    }
    if (f->type == V_LIST) {
        cJSON_AddItemToArray(there, value ? value : cJSON_CreateNull());
        return 0;
    }
    bool scalar = f->type != V_OBJECT && f->type != V_ANY;
    if (!value ||
        (scalar && !(f->flags & F_PTR) && f->flags & F_OMITEMPTY && value_is_empty(value)))
        cJSON_Delete(value);
    else
        json_set(object, f->name, value);
    return 0;
}

/* The field with these numbers, or one inside the embedded message that they name. */
static const struct field *find_field(
    const struct schema *s, const uint8_t *prefix, size_t depth, uint32_t number)
{
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        if (memcmp(f->numbers, prefix, depth) == 0 && f->numbers[depth] == number)
            return f;
    }
    return NULL;
}

static int read_message(struct reader *r, const struct schema *s, const uint8_t *prefix,
    size_t depth, int nesting, cJSON *object)
{
    struct wire w;

    if (nesting > LIMIT_JSON_DEPTH)
        return malformed(r, "nested too deep");
    while (r->at < r->end) {
        uint8_t numbers[NUMBERS_MAX] = {0};
        int result = 0;
        if (read_field(r, &w) < 0)
            return -(int)r->err->code;
        const struct field *f = find_field(s, prefix, depth, w.number);
        if (!f)
            continue;
        if (depth + 1 < NUMBERS_MAX && f->numbers[depth + 1] != 0) {
            struct reader inner = reader_of(r, w.bytes);
            memcpy(numbers, prefix, depth);
            numbers[depth] = (uint8_t)w.number;
            result = w.type != 2 ? malformed(r, "illegal wire type")
                                 : read_message(&inner, s, numbers, depth + 1, nesting + 1, object);
        } else {
            result = put_field(r, f, &w, nesting + 1, object);
        }
        if (result < 0)
            return result;
    }
    return 0;
}

int schema_from_protobuf(const struct schema *s, struct str body, cJSON **ret, struct error *err)
{
    static const uint8_t none[1];
    size_t values = 0;
    struct reader outer = {NULL, NULL, &values, err};
    struct wire unknown[4] = {0}, type[2] = {0};

    if (body.n < 4 || memcmp(body.p, "k8s\0", 4) != 0)
        return error_set(err, ERR_BAD_REQUEST,
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 "
            "0]");
    if (read_small(&outer, str_range(body.p + 4, body.n - 4), unknown, 4) < 0 ||
        read_small(&outer, unknown[0].bytes, type, 2) < 0)
        return -(int)err->code;
    autojson cJSON *tree = cJSON_CreateObject();
    struct reader r = reader_of(&outer, unknown[1].bytes);
    if (read_message(&r, s, none, 0, 0, tree) < 0)
        return -(int)err->code;
    if (type[0].bytes.n > 0)
        json_set(tree, "apiVersion", new_string(type[0].bytes));
    if (type[1].bytes.n > 0)
        json_set(tree, "kind", new_string(type[1].bytes));
    *ret = steal(&tree);
    return 0;
}

const struct schema *schema_delete_options(const struct api *api)
{
    return schema_of_definition(api, "meta.v1", "DeleteOptions");
}
