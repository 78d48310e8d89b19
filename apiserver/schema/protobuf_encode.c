/*
 * Messages of the kinds. See protobuf.h.
 *
 * A schema's fields stand in `wire` by their numbers; a run of fields with the same first number is
 * an embedded message. Go writes a field that is no pointer whether it was set or not: strings,
 * numbers and booleans as their zero, messages as what their own fields make of nothing; only
 * bytes, lists and maps may be absent. A pointer is written when the JSON has the member.
 *
 * Some types have messages of their own: Quantity {1: text}, Time {1: seconds, 2: nanos},
 * IntOrString {1: type, 2: int, 3: text}, RawExtension, FieldsV1 and JSON {1: text}, a list as a
 * map's value {1: elements}, and the three of a CustomResourceDefinition's schema that are one
 * thing or another.
 */
#include "apiserver/schema/protobuf_scan.h"

#include "apiserver/schema/model.h"
#include "common/base64.h"
#include "common/time.h"

#define NUMBERS_MAX ARRAY_COUNT(((struct field *)0)->numbers)
#define SORT_ON_STACK 64

typedef struct protobuf_token token;

static void put_object(struct protobuf *p, const struct schema *s, const token *t);
static void put_value(struct protobuf *p, const struct field *f, unsigned number, const token *t);

/* --- scalars --- */

static bool is_null(const token *t)
{
    return t->type == 'n';
}

/* Of a string or number: its text; "" of anything else. */
static void put_text_field(struct protobuf *p, unsigned number, const token *t)
{
    struct str text = {0};
    size_t mark = put_mark(p);

    if (t && !is_null(t))
        text = protobuf_token_text(p, t);
    if (t && t->escaped)
        put_unescaped(p, text);
    else
        put_bytes(p, text);
    put_delimited(p, number, mark);
}

static int64_t integer_of(const struct protobuf *p, const token *t)
{
    struct str s = protobuf_token_text(p, t);
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t value = 0;

    for (size_t i = negative; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(s.p[i] - '0');
    return (int64_t)(negative ? -value : value);
}

static double double_of(const struct protobuf *p, const token *t)
{
    struct str s = protobuf_token_text(p, t);
    char text[40];

    snprintf(text, sizeof(text), "%.*s", STR_FMT(s));
    return strtod(text, NULL);
}

static void put_base64_field(struct protobuf *p, unsigned number, const token *t)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    struct error err;

    base64_decode(protobuf_token_text(p, t), &bytes, &err);
    put_string_field(p, number, strbuf_str(&bytes));
}

static void put_time_field(struct protobuf *p, unsigned number, const token *t, bool micro)
{
    size_t mark = put_mark(p);
    struct error err;
    int64_t ns;

    if (t && t->type == '"' && time_parse(protobuf_token_text(p, t), &ns, &err) == 0) {
        int64_t nanos = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
        put_integer_field(p, 2, micro ? (uint64_t)(nanos / NS_PER_US * NS_PER_US) : 0);
        put_integer_field(p, 1, (uint64_t)((ns - nanos) / NS_PER_S));
    }
    put_delimited(p, number, mark);
}

static void put_int_or_string_field(struct protobuf *p, unsigned number, const token *t)
{
    size_t mark = put_mark(p);
    bool text = t && t->type == '"';

    put_text_field(p, 3, text ? t : NULL);
    put_integer_field(p, 2, t && !text ? (uint64_t)(int64_t)(int32_t)integer_of(p, t) : 0);
    put_integer_field(p, 1, text);
    put_delimited(p, number, mark);
}

static void put_quantity_field(struct protobuf *p, unsigned number, const token *t)
{
    size_t mark = put_mark(p);

    if (t && !is_null(t))
        put_text_field(p, 1, t);
    else
        put_string_field(p, 1, STR("0"));
    put_delimited(p, number, mark);
}

/* --- free-form values --- */

static struct str raw_text(const struct protobuf *p, const token *t)
{
    struct str s = protobuf_token_text(p, t);

    return t->type == '"' ? str_range(s.p - 1, s.n + 2) : s;
}

/* A schema; or a boolean, a list of schemas, a list of strings. */
static void put_choice(struct protobuf *p, const struct schema *s, const token *t)
{
    size_t mark = put_mark(p);
    bool or_bool = s->choice == CHOICE_BOOL;

    if (t->type == '{') {
        put_object(p, s->choice_of, t);
        put_delimited(p, or_bool ? 2 : 1, mark);
    }
    for (uint32_t i = t->type == '[' ? t->last : 0; i; i = p->tokens[i].previous) {
        size_t item = put_mark(p);
        if (s->choice == CHOICE_STRINGS) {
            put_text_field(p, 2, &p->tokens[i]);
        } else {
            put_object(p, s->choice_of, &p->tokens[i]);
            put_delimited(p, 2, item);
        }
    }
    if (or_bool)
        put_integer_field(p, 1, t->type == 't' || t->type == '{');
}

static void put_any_field(
    struct protobuf *p, const struct schema *s, unsigned number, const token *t)
{
    size_t mark = put_mark(p);

    if (t && !is_null(t)) {
        if (s && s->choice != CHOICE_NONE)
            put_choice(p, s, t);
        else
            put_string_field(p, 1, raw_text(p, t));
    }
    put_delimited(p, number, mark);
}

/* --- lists and maps --- */

static void put_list(struct protobuf *p, const struct field *items, unsigned number, const token *t)
{
    for (uint32_t i = t->last; i; i = p->tokens[i].previous)
        put_value(p, items, number, is_null(&p->tokens[i]) ? NULL : &p->tokens[i]);
}

static struct str key_text(const struct protobuf *p, const token *t)
{
    return str_range(p->text + t->key, t->key_end - t->key);
}

static int compare_keys(const void *a, const void *b, void *arg)
{
    const struct protobuf *p = arg;

    return str_cmp(key_text(p, &p->tokens[*(const uint32_t *)a]),
        key_text(p, &p->tokens[*(const uint32_t *)b]));
}

static void put_entry(struct protobuf *p, const struct field *f, unsigned number, const token *t)
{
    size_t mark = put_mark(p), key;

    put_value(p, f->items, 2, is_null(t) ? NULL : t);
    key = put_mark(p);
    if (t->key_escaped)
        put_unescaped(p, key_text(p, t));
    else
        put_bytes(p, key_text(p, t));
    put_delimited(p, 1, key);
    put_delimited(p, number, mark);
}

static void put_map(struct protobuf *p, const struct field *f, unsigned number, const token *t)
{
    uint32_t room[SORT_ON_STACK], *entries = room;
    autofree uint32_t *many = NULL;
    size_t count = 0;
    bool sorted = true;

    for (uint32_t i = t->last; i; i = p->tokens[i].previous)
        count++;
    if (count > SORT_ON_STACK)
        entries = many = xmalloc(count * sizeof(*many));
    size_t at = count;
    for (uint32_t i = t->last; i; i = p->tokens[i].previous) {
        entries[--at] = i;
        if (at + 1 < count && sorted)
            sorted = compare_keys(&entries[at], &entries[at + 1], p) < 0;
    }
    if (!sorted)
        qsort_r(entries, count, sizeof(*entries), compare_keys, p);
    for (size_t i = count; i > 0; i--)
        put_entry(p, f, number, &p->tokens[entries[i - 1]]);
}

/* A list in a place that is no field: a message of its own. */
static void put_wrapped_list(
    struct protobuf *p, const struct field *f, unsigned number, const token *t)
{
    size_t mark = put_mark(p);

    if (t)
        put_list(p, f->items, 1, t);
    put_delimited(p, number, mark);
}

/* --- values and messages --- */

/* t NULL: the zero of the type. Lists here are elements, those of fields are put_field's. */
static void put_value(struct protobuf *p, const struct field *f, unsigned number, const token *t)
{
    size_t mark = put_mark(p);

    switch ((enum value_type)f->type) {
    case V_STRING:
        put_text_field(p, number, t);
        break;
    case V_BOOL:
        put_integer_field(p, number, t && t->type == 't');
        break;
    case V_INT32:
    case V_INT64:
        put_integer_field(p, number, t ? (uint64_t)integer_of(p, t) : 0);
        break;
    case V_DOUBLE:
        put_double_field(p, number, t ? double_of(p, t) : 0);
        break;
    case V_BYTES:
        if (t)
            put_base64_field(p, number, t);
        break;
    case V_QUANTITY:
        put_quantity_field(p, number, t);
        break;
    case V_INT_OR_STRING:
        put_int_or_string_field(p, number, t);
        break;
    case V_TIME:
    case V_MICROTIME:
        put_time_field(p, number, t, f->type == V_MICROTIME);
        break;
    case V_ANY:
        put_any_field(p, f->object, number, t);
        break;
    case V_OBJECT:
        put_object(p, f->object, t);
        put_delimited(p, number, mark);
        break;
    case V_LIST:
        put_wrapped_list(p, f, number, t);
        break;
    case V_MAP: /* no type has one inside another */
        break;
    }
}

static void put_field(struct protobuf *p, const struct field *f, unsigned number, const token *t)
{
    if (f->type == V_LIST || f->type == V_MAP) {
        if (t)
            (f->type == V_LIST ? put_list(p, f->items, number, t) : put_map(p, f, number, t));
    } else if (t || !(f->flags & F_PTR)) {
        put_value(p, f, number, t);
    }
}

struct message {
    const struct schema *schema;
    const token *values[SCHEMA_FIELDS_MAX]; /* by field index */
};

static const struct field *wire_field(const struct schema *s, size_t i)
{
    return &s->fields[s->wire[i]];
}

/* The fields from..to in the order of their numbers, all inside the same message at this depth. */
static void put_fields(
    struct protobuf *p, const struct message *m, size_t from, size_t to, size_t depth)
{
    const struct schema *s = m->schema;

    while (to > from) {
        const struct field *f = wire_field(s, to - 1);
        unsigned number = f->numbers[depth];
        if (depth + 1 == NUMBERS_MAX || f->numbers[depth + 1] == 0) {
            put_field(p, f, number, m->values[field_index(s, f)]);
            to--;
            continue;
        }
        size_t start = to - 1, mark = put_mark(p);
        while (start > from && wire_field(s, start - 1)->numbers[depth] == number)
            start--;
        put_fields(p, m, start, to, depth + 1);
        put_delimited(p, number, mark);
        to = start;
    }
}

static void put_object(struct protobuf *p, const struct schema *s, const token *t)
{
    struct message m;

    m.schema = s;
    memset(m.values, 0, s->field_count * sizeof(m.values[0]));
    for (uint32_t i = t ? t->last : 0; i; i = p->tokens[i].previous) {
        const token *member = &p->tokens[i];
        struct str key = key_text(p, member);
        const struct field *f = is_null(member) ? NULL : schema_field(s, key.p, key.n);
        if (f)
            m.values[field_index(s, f)] = member;
    }
    put_fields(p, &m, 0, s->wire_count, 0);
}

bool schema_has_protobuf(const struct schema *s)
{
    return s->wire_count > 0;
}

void protobuf_message(struct protobuf *p, const struct schema *s, struct str json)
{
    protobuf_scan(p, json);
    put_object(p, s, &p->tokens[1]);
}

/* --- what stands around messages --- */

static void put_type_meta(struct protobuf *p, const char *group_version, const char *kind)
{
    size_t mark = put_mark(p);

    put_string_field(p, 2, str_of(kind));
    put_string_field(p, 1, str_of(group_version));
    put_delimited(p, 1, mark);
    put_bytes(p, STR("k8s\0"));
}

void protobuf_object(struct protobuf *p, const char *group_version, const char *kind,
    const struct schema *s, struct str json)
{
    protobuf_clear(p);
    put_bytes(p, PROTOBUF_TAIL);
    size_t mark = put_mark(p);

    protobuf_message(p, s, json);
    put_delimited(p, 2, mark);
    put_type_meta(p, group_version, kind);
}

void protobuf_event(struct protobuf *p, const char *type)
{
    unsigned char length[4];

    put_delimited(p, 1, 0);
    put_delimited(p, 2, 0);
    put_string_field(p, 1, str_of(type));
    size_t n = put_mark(p);
    for (size_t i = 0; i < sizeof(length); i++)
        length[i] = (unsigned char)(n >> (8 * (3 - i)));
    put_bytes(p, str_range((const char *)length, sizeof(length)));
}

void protobuf_item(struct protobuf *p, const struct schema *s, struct str json)
{
    protobuf_clear(p);
    protobuf_message(p, s, json);
    put_delimited(p, 2, 0);
}

void protobuf_list_head(struct protobuf *p, const struct api *api, const char *group_version,
    const char *list_kind, struct str metadata, size_t items_bytes)
{
    protobuf_clear(p);
    protobuf_message(p, api_meta(api)->list, metadata);
    put_delimited(p, 1, 0);
    put_varint(p, items_bytes + put_mark(p));
    put_varint(p, 2 << 3 | 2);
    put_type_meta(p, group_version, list_kind);
}
