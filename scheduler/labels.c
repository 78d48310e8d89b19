/*
 * Label index and taints. See labels.h.
 *
 * Invariant: a value is in the index exactly while its column has rows, a key while it has values.
 */
#include "scheduler/labels.h"

static void value_free(struct label_key *key, struct label_value *value)
{
    HASH_DEL(key->values, value);
    column_done(&value->nodes);
    free(value->text);
    free(value);
}

static void key_free(struct label_index *index, struct label_key *key)
{
    struct label_value *value, *next;

    HASH_ITER(hh, key->values, value, next)
    value_free(key, value);
    HASH_DEL(index->keys, key);
    column_done(&key->nodes);
    free(key->name);
    free(key);
}

void label_index_done(struct label_index *index)
{
    struct label_key *key, *next;

    HASH_ITER(hh, index->keys, key, next)
    key_free(index, key);
}

const struct label_key *label_index_key(const struct label_index *index, const char *name)
{
    struct label_key *key;

    HASH_FIND_STR(index->keys, name, key);
    return key;
}

const struct label_value *label_key_value(const struct label_key *key, const char *text)
{
    struct label_value *value;

    HASH_FIND_STR(key->values, text, value);
    return value;
}

struct label_value *label_index_add(
    struct label_index *index, const char *name, const char *text, uint32_t row, uint32_t capacity)
{
    struct label_key *key;
    struct label_value *value;
    struct error err;

    HASH_FIND_STR(index->keys, name, key);
    if (!key) {
        key = xcalloc(1, sizeof(*key));
        key->name = xstrdup(name);
        HASH_ADD_KEYPTR(hh, index->keys, key->name, strlen(key->name), key);
    }
    HASH_FIND_STR(key->values, text, value);
    if (!value) {
        value = xcalloc(1, sizeof(*value));
        value->key = key;
        value->text = xstrdup(text);
        value->is_number = str_parse_int64(str_of(text), &value->number, &err) == 0;
        HASH_ADD_KEYPTR(hh, key->values, value->text, strlen(value->text), value);
    }
    column_add(&key->nodes, row, capacity);
    column_add(&value->nodes, row, capacity);
    return value;
}

void label_index_remove(
    struct label_index *index, struct label_value *value, uint32_t row, uint32_t capacity)
{
    struct label_key *key = value->key;

    column_remove(&key->nodes, row, capacity);
    column_remove(&value->nodes, row, capacity);
    if (!value->nodes.count)
        value_free(key, value);
    if (!key->values)
        key_free(index, key);
}

static const char *const effect_names[] = {
    [TAINT_NO_SCHEDULE] = "NoSchedule",
    [TAINT_PREFER_NO_SCHEDULE] = "PreferNoSchedule",
    [TAINT_NO_EXECUTE] = "NoExecute",
};

const char *taint_effect_name(enum taint_effect effect)
{
    return effect_names[effect];
}

struct taint *taints_add(struct taint **list, const char *key, const char *value,
    const char *effect, uint32_t row, uint32_t capacity)
{
    size_t e = 0;

    while (e < ARRAY_COUNT(effect_names) && !c_eq(effect_names[e], effect))
        e++;
    if (e == ARRAY_COUNT(effect_names))
        return NULL;
    struct taint *t = *list;
    while (t && !(t->effect == e && c_eq(t->key, key) && c_eq(t->value, value)))
        t = t->next;
    if (!t) {
        t = xcalloc(1, sizeof(*t));
        t->key = xstrdup(key);
        t->value = xstrdup(value);
        t->effect = (enum taint_effect)e;
        t->next = *list;
        *list = t;
    }
    column_add(&t->nodes, row, capacity);
    return t;
}

static void taint_free(struct taint *t)
{
    column_done(&t->nodes);
    free(t->key);
    free(t->value);
    free(t);
}

void taints_remove(struct taint **list, struct taint *taint, uint32_t row, uint32_t capacity)
{
    column_remove(&taint->nodes, row, capacity);
    if (taint->nodes.count)
        return;
    struct taint **at = list;
    while (*at != taint)
        at = &(*at)->next;
    *at = taint->next;
    taint_free(taint);
}

void taints_done(struct taint **list)
{
    while (*list) {
        struct taint *t = *list;
        *list = t->next;
        taint_free(t);
    }
}
