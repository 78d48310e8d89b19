/*
 * schema_normalise: leaves a decoded tree as Go's encoder would print it, so that equal objects are
 * equal bytes.
 *
 * Members in the schema's order, those of maps by their keys; nulls and empty omitempty members
 * dropped; members that Go always writes (no omitempty, structs that are no pointer) made;
 * quantities, times and base64 in their canonical spelling. Where Go would write `null` for a list
 * that its documents call required, an empty list stands instead: every client takes it.
 */
#include "apiserver/custom/custom.h"

#include "common/base64.h"
#include "common/quantity.h"
#include "common/time.h"

static void normalise_object(const struct schema *s, cJSON *object);

static void set_text(cJSON *item, const char *text)
{
    if (!strcmp(item->valuestring, text))
        return;
    cJSON_free(item->valuestring);
    item->valuestring = xstrdup(text);
}

static void canonical_quantity(cJSON *item)
{
    struct error err;
    struct quantity q;
    if (!cJSON_IsString(item) || quantity_parse(str_of(item->valuestring), &q, &err) < 0)
        return;
    struct strbuf text;
    strbuf_init(&text, 0);
    quantity_print(q, &text);
    set_text(item, text.data);
    strbuf_done(&text);
}

static bool is_canonical_time(const char *s, bool micro)
{
    const char *pattern = micro ? "dddd-dd-ddTdd:dd:dd.ddddddZ" : "dddd-dd-ddTdd:dd:ddZ";
    for (; *pattern; pattern++, s++)
        if (*pattern == 'd' ? *s < '0' || *s > '9' : *s != *pattern)
            return false;
    return *s == '\0';
}

static void canonical_time(cJSON *item, bool micro)
{
    struct error err;
    int64_t ns;
    char text[TIME_TEXT_BYTES];
    if (!cJSON_IsString(item) || is_canonical_time(item->valuestring, micro) ||
        time_parse(str_of(item->valuestring), &ns, &err) < 0)
        return;
    set_text(item, micro ? time_print_us(ns, text) : time_print_s(ns, text));
}

/* Line breaks and stray bits in front of the padding are the only freedoms that the decoder leaves.
 */
static void canonical_bytes(cJSON *item)
{
    struct error err;
    if (!cJSON_IsString(item) || !strpbrk(item->valuestring, "\r\n="))
        return;
    autostrbuf struct strbuf bytes = STRBUF_EMPTY, text = STRBUF_EMPTY;
    if (base64_decode(str_of(item->valuestring), &bytes, &err) < 0)
        return;
    base64_encode(strbuf_str(&bytes), &text);
    set_text(item, text.data);
}

static void append(cJSON *object, cJSON *item)
{
    item->next = NULL;
    if (!object->child) {
        object->child = item;
    } else {
        object->child->prev->next = item;
        item->prev = object->child->prev;
    }
    object->child->prev = item;
}

static int compare_members(const void *a, const void *b)
{
    return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

/* Go prints a map by its keys. */
static void sort_members(cJSON *map)
{
    size_t count = 1, n = 0;
    bool sorted = true;
    for (cJSON *m = map->child; m && m->next; m = m->next, count++)
        sorted = sorted && strcmp(m->string, m->next->string) < 0;
    if (sorted)
        return;
    autofree cJSON **members = xmalloc(count * sizeof(*members));
    for (cJSON *m = map->child; m; m = m->next)
        members[n++] = m;
    qsort(members, count, sizeof(*members), compare_members);
    map->child = NULL;
    for (size_t i = 0; i < count; i++)
        append(map, members[i]);
}

/* A schema, or a list of them, or something simple. */
static void normalise_choice(const struct schema *s, cJSON *item)
{
    if (cJSON_IsObject(item))
        normalise_object(s, item);
    for (cJSON *e = cJSON_IsArray(item) ? item->child : NULL; e; e = e->next)
        if (cJSON_IsObject(e))
            normalise_object(s, e);
}

static void normalise_value(const struct field *f, cJSON *item)
{
    switch ((enum value_type)f->type) {
    case V_QUANTITY:
        canonical_quantity(item);
        break;
    case V_TIME:
    case V_MICROTIME:
        canonical_time(item, f->type == V_MICROTIME);
        break;
    case V_BYTES:
        canonical_bytes(item);
        break;
    case V_OBJECT:
        if (cJSON_IsObject(item))
            normalise_object(f->object, item);
        break;
    case V_ANY:
        if (f->object && f->object->choice != CHOICE_NONE)
            normalise_choice(f->object->choice_of, item);
        break;
    case V_LIST:
    case V_MAP:
        if (f->type == V_MAP && cJSON_IsObject(item))
            sort_members(item);
        if (f->items->type != V_STRING)
            for (cJSON *e = item->child; e; e = e->next)
                normalise_value(f->items, e);
        break;
    default:
        break;
    }
}

/* What Go writes for a member that was never set; NULL for nothing. */
static cJSON *always_written(const struct field *f)
{
    if (f->flags & F_PTR)
        return NULL;
    if (f->type == V_OBJECT)
        return cJSON_CreateObject();
    if (f->type == V_QUANTITY)
        return cJSON_CreateString("0"); /* a struct in Go: omitempty does nothing */
    if (f->flags & (F_OMITEMPTY | F_TYPEMETA))
        return NULL;
    switch ((enum value_type)f->type) {
    case V_STRING:
    case V_BYTES:
        return cJSON_CreateString("");
    case V_BOOL:
        return cJSON_CreateFalse();
    case V_INT32:
    case V_INT64:
    case V_DOUBLE:
    case V_INT_OR_STRING:
        return cJSON_CreateNumber(0);
    case V_LIST:
        return f->flags & F_REQUIRED ? cJSON_CreateArray() : NULL;
    default:
        return NULL;
    }
}

static bool is_dropped(const struct field *f, const cJSON *item)
{
    if (f->type == V_TIME || f->type == V_MICROTIME)
        return value_is_empty(item);
    if ((f->flags & F_PTR) || f->type == V_OBJECT || f->type == V_QUANTITY)
        return false;
    if (f->type == V_INT_OR_STRING)
        return (f->flags & F_OMITEMPTY) && cJSON_IsNumber(item) && item->valuedouble == 0;
    return (f->flags & F_OMITEMPTY) && f->type != V_ANY && value_is_empty(item);
}

static void normalise_object(const struct schema *s, cJSON *object)
{
    cJSON *slots[SCHEMA_FIELDS_MAX], *others = NULL;
    memset(slots, 0, s->field_count * sizeof(*slots));
    for (cJSON *m = object->child, *next; m; m = next) {
        next = m->next;
        const struct field *f = schema_field(s, m->string, strlen(m->string));
        if (f && !slots[field_index(s, f)]) {
            slots[field_index(s, f)] = m;
        } else {
            m->next = others;
            others = m;
        }
    }
    object->child = NULL;
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        cJSON *item = slots[i];
        if (item && (cJSON_IsNull(item) || is_dropped(f, item))) {
            item->next = NULL;
            cJSON_Delete(item);
            item = NULL;
        }
        if (!item && (item = always_written(f)))
            item->string = xstrdup(f->name);
        if (!item)
            continue;
        normalise_value(f, item);
        append(object, item);
    }
    for (cJSON *m = others, *next; m; m = next) {
        next = m->next;
        append(object, m);
    }
}

void schema_normalise(const struct schema *s, cJSON *tree)
{
    if (s->node)
        custom_normalise(s, tree);
    else if (cJSON_IsObject(tree) && !s->is_any)
        normalise_object(s, tree);
}
