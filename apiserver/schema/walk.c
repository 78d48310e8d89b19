/*
 * What all walkers share: field lookup, members by field, and paths.
 */
#include "apiserver/schema/model.h"

static uint32_t load(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Of a field's name: its length and both ends tell nearly all names of one type apart. */
uint32_t field_hash(const char *name, size_t n)
{
    if (n < 4)
        return (uint32_t)n +
               (n ? (unsigned char)name[0] * 0x9e3779b1u + (unsigned char)name[n - 1] * 0x85ebca6bu
                  : 0);
    uint32_t h = load(name) * 0x9e3779b1u ^ (load(name + n - 4) + (uint32_t)n) * 0x85ebca6bu;
    return h ^ h >> 15;
}

const struct field *schema_field(const struct schema *s, const char *name, size_t n)
{
    uint32_t hash = field_hash(name, n);
    for (uint32_t at = hash & s->slot_mask; s->slots[at]; at = (at + 1) & s->slot_mask) {
        const struct field *f = &s->fields[s->slots[at] - 1];
        if (f->hash == hash && f->name_length == n && !memcmp(f->name, name, n))
            return f;
    }
    return NULL;
}

void schema_slots(const struct schema *s, const cJSON *object, cJSON **slots)
{
    memset(slots, 0, s->field_count * sizeof(*slots));
    if (!cJSON_IsObject(object))
        return;
    for (cJSON *m = object->child; m; m = m->next) {
        const struct field *f = schema_field(s, m->string, strlen(m->string));
        if (f && !cJSON_IsNull(m))
            slots[field_index(s, f)] = m;
    }
}

void frame_print(const struct frame *f, bool dotted_keys, struct strbuf *out)
{
    if (!f)
        return;
    frame_print(f->up, dotted_keys, out);
    if (!f->name)
        strbuf_addf(out, "[%zu]", f->index);
    else if (f->is_key && !dotted_keys)
        strbuf_addf(out, "[%s]", f->name);
    else
        strbuf_addf(out, "%s%s", out->n > 0 ? "." : "", f->name);
}

bool value_is_empty(const cJSON *item)
{
    if (!item || cJSON_IsNull(item) || cJSON_IsFalse(item))
        return true;
    if (cJSON_IsString(item))
        return item->valuestring[0] == '\0';
    if (cJSON_IsNumber(item))
        return item->valuedouble == 0;
    if (cJSON_IsArray(item) || cJSON_IsObject(item))
        return !item->child;
    return false;
}

const char *value_string(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : "";
}
