/*
 * Label index and taints. See labels.h.
 *
 * Invariant: a value is in the index exactly while its column has rows, a key while it has values.
 */
#include "scheduler/labels.h"

/* Gives the value the number that was given back last, or a new one. */
static void take_domain(struct label_key *key, struct label_value *value)
{
    if (key->free_count) {
        value->domain = key->free_domains[--key->free_count];
    } else {
        value->domain = key->domain_count++;
        if (!(value->domain & (value->domain - 1))) { /* at each power of two */
            size_t room = (size_t)value->domain * 2;
            key->by_domain = xrealloc(key->by_domain, room * sizeof(*key->by_domain));
            key->free_domains = xrealloc(key->free_domains, room * sizeof(*key->free_domains));
        }
    }
    key->by_domain[value->domain] = value;
}

static void value_free(struct label_key *key, struct label_value *value)
{
    key->by_domain[value->domain] = NULL;
    key->free_domains[key->free_count++] = value->domain;
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
    free(key->by_domain);
    free(key->free_domains);
    free(key->domains);
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

static void reserve_domains(struct label_key *key, uint32_t capacity)
{
    if (key->domains_capacity >= capacity)
        return;
    key->domains = xrealloc(key->domains, capacity * sizeof(uint32_t));
    memset(key->domains + key->domains_capacity, 0,
        (capacity - key->domains_capacity) * sizeof(uint32_t));
    key->domains_capacity = capacity;
}

static void set_domain(const struct label_value *value)
{
    const struct column *c = &value->nodes;
    struct node_set set = {c->words, c->word_count};

    for (uint32_t i = 0; !c->words && i < c->count; i++)
        value->key->domains[c->rows[i]] = value->domain;
    if (c->words) {
        NODE_SET_FOR_EACH(row, &set)
        value->key->domains[row] = value->domain;
    }
}

const uint32_t *label_key_domains(const struct label_key *const_key, uint32_t capacity)
{
    struct label_key *key = (struct label_key *)const_key; /* a cache behind a const face */
    bool is_new = !key->domains;

    reserve_domains(key, capacity);
    for (const struct label_value *v = is_new ? key->values : NULL; v; v = v->hh.next)
        set_domain(v);
    return key->domains;
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
        key->domain_count = 1;
        key->by_domain = xcalloc(1, sizeof(*key->by_domain));
        HASH_ADD_KEYPTR(hh, index->keys, key->name, strlen(key->name), key);
    }
    HASH_FIND_STR(key->values, text, value);
    if (!value) {
        value = xcalloc(1, sizeof(*value));
        value->key = key;
        value->text = xstrdup(text);
        value->is_number = str_parse_int64(str_of(text), &value->number, &err) == 0;
        take_domain(key, value);
        HASH_ADD_KEYPTR(hh, key->values, value->text, strlen(value->text), value);
    }
    if (key->domains) {
        reserve_domains(key, capacity);
        key->domains[row] = value->domain;
    }
    column_add(&key->nodes, row, capacity);
    column_add(&value->nodes, row, capacity);
    return value;
}

void label_index_remove(
    struct label_index *index, struct label_value *value, uint32_t row, uint32_t capacity)
{
    struct label_key *key = value->key;

    if (key->domains)
        key->domains[row] = 0;
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
