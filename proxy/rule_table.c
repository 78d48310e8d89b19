/*
 * Rule table. See rule_table.h.
 *
 * An update takes the owner's new rules in first and lets its old ones go afterwards, so that a
 * rule in both is never removed; changes are worked out per key from its value before and after.
 */
#include "proxy/rule_table.h"

#include "common/hash.h"
#include "common/log.h"
#include "common/str.h"

struct wanted {
    struct rule rule;
    struct rule_value before; /* while an update is under way */
    uint32_t owners;
    bool touched, was_there;
    UT_hash_handle hh; /* by rule.key */
};

struct owner {
    char *name;
    struct rule_key *keys;
    size_t count;
    UT_hash_handle hh;
};

struct rule_table {
    struct wanted *rules;
    struct owner *owners;
};

void rules_add(struct rules *rules, const struct rule *rule)
{
    if (rules->count == rules->capacity) {
        rules->capacity = rules->capacity ? rules->capacity * 2 : 16;
        rules->items = xrealloc(rules->items, rules->capacity * sizeof(*rules->items));
    }
    rules->items[rules->count++] = *rule;
}

void rules_done(struct rules *rules)
{
    free(rules->items);
    *rules = (struct rules){0};
}

void rule_changes_add(struct rule_changes *changes, enum change_kind kind, const struct rule *rule)
{
    if (changes->count == changes->capacity) {
        changes->capacity = changes->capacity ? changes->capacity * 2 : 16;
        changes->items = xrealloc(changes->items, changes->capacity * sizeof(*changes->items));
    }
    changes->items[changes->count++] = (struct rule_change){kind, *rule};
}

void rule_changes_done(struct rule_changes *changes)
{
    free(changes->items);
    *changes = (struct rule_changes){0};
}

struct rule_table *rule_table_new(void)
{
    return xcalloc(1, sizeof(struct rule_table));
}

static void owner_free(struct rule_table *t, struct owner *o)
{
    HASH_DEL(t->owners, o);
    free(o->name);
    free(o->keys);
    free(o);
}

void rule_table_free(struct rule_table *t)
{
    struct owner *o, *next_owner;
    struct wanted *w, *next;

    if (!t)
        return;
    HASH_ITER(hh, t->owners, o, next_owner)
    owner_free(t, o);
    HASH_ITER(hh, t->rules, w, next)
    {
        HASH_DEL(t->rules, w);
        free(w);
    }
    free(t);
}

static struct wanted *find(const struct rule_table *t, const struct rule_key *key)
{
    struct wanted *w;

    HASH_FIND(hh, t->rules, key, sizeof(*key), w);
    return w;
}

static void touch(struct wanted *w)
{
    if (w->touched)
        return;
    w->touched = true;
    w->was_there = w->owners > 0;
    w->before = w->rule.value;
}

static bool same_value(const struct rule_value *a, const struct rule_value *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

static bool owns(const struct owner *o, const struct rule_key *key)
{
    for (size_t i = 0; o && i < o->count; i++)
        if (memcmp(&o->keys[i], key, sizeof(*key)) == 0)
            return true;
    return false;
}

/* old: the owner's rules so far; a key that only this owner holds may change its value. */
static void take(
    struct rule_table *t, const char *name, const struct owner *old, const struct rule *rule)
{
    struct wanted *w = find(t, &rule->key);

    if (!w) {
        w = xcalloc(1, sizeof(*w));
        w->rule.key = rule->key;
        HASH_ADD(hh, t->rules, rule.key, sizeof(w->rule.key), w);
    }
    touch(w);
    if (!w->owners)
        w->rule.value = rule->value;
    else if (same_value(&w->rule.value, &rule->value))
        ;
    else if (w->owners == 1 && owns(old, &rule->key))
        w->rule.value = rule->value;
    else
        log_warning("two Services claim the same address and port, the first keeps it", "service",
            "%s", name, "port", "%u", (unsigned)rule->key.port, NULL);
    w->owners++;
}

static void let_go(struct rule_table *t, const struct rule_key *key)
{
    struct wanted *w = find(t, key);

    touch(w);
    w->owners--;
}

/* Reports a touched rule's change and frees it when nobody wants it any more. */
static void settle(struct rule_table *t, const struct rule_key *key, struct rule_changes *changes)
{
    struct wanted *w = find(t, key);

    if (!w || !w->touched)
        return;
    w->touched = false;
    if (w->owners && !w->was_there)
        rule_changes_add(changes, CHANGE_ADD, &w->rule);
    else if (w->owners && !same_value(&w->before, &w->rule.value))
        rule_changes_add(changes, CHANGE_REPLACE, &w->rule);
    if (w->owners)
        return;
    if (w->was_there) {
        w->rule.value = w->before;
        rule_changes_add(changes, CHANGE_REMOVE, &w->rule);
    }
    HASH_DEL(t->rules, w);
    free(w);
}

void rule_table_set(
    struct rule_table *t, const char *name, const struct rules *rules, struct rule_changes *changes)
{
    struct owner *old, *now = NULL;

    HASH_FIND_STR(t->owners, name, old);
    if (old)
        HASH_DEL(t->owners, old);
    for (size_t i = 0; i < rules->count; i++)
        take(t, name, old, &rules->items[i]);
    for (size_t i = 0; old && i < old->count; i++)
        let_go(t, &old->keys[i]);
    for (size_t i = 0; old && i < old->count; i++)
        settle(t, &old->keys[i], changes);
    for (size_t i = 0; i < rules->count; i++)
        settle(t, &rules->items[i].key, changes);
    if (rules->count) {
        now = xcalloc(1, sizeof(*now));
        now->name = xstrdup(name);
        now->keys = xcalloc(rules->count, sizeof(*now->keys));
        now->count = rules->count;
        for (size_t i = 0; i < rules->count; i++)
            now->keys[i] = rules->items[i].key;
        HASH_ADD_KEYPTR(hh, t->owners, now->name, strlen(now->name), now);
    }
    if (old) {
        free(old->name);
        free(old->keys);
        free(old);
    }
}

void rule_table_diff(
    const struct rule_table *t, const struct rules *present, struct rule_changes *changes)
{
    struct rule_table *there = rule_table_new();
    struct rule_changes unused = {0};

    rule_table_set(there, "present", present, &unused);
    rule_changes_done(&unused);
    for (const struct wanted *w = there->rules; w; w = w->hh.next) {
        const struct wanted *wanted = find(t, &w->rule.key);
        if (!wanted)
            rule_changes_add(changes, CHANGE_REMOVE, &w->rule);
        else if (!same_value(&wanted->rule.value, &w->rule.value))
            rule_changes_add(changes, CHANGE_REPLACE, &wanted->rule);
    }
    for (const struct wanted *w = t->rules; w; w = w->hh.next)
        if (!find(there, &w->rule.key))
            rule_changes_add(changes, CHANGE_ADD, &w->rule);
    rule_table_free(there);
}

const struct rule_value *rule_table_find(const struct rule_table *t, const struct rule_key *key)
{
    const struct wanted *w = find(t, key);

    return w ? &w->rule.value : NULL;
}

size_t rule_table_count(const struct rule_table *t)
{
    return HASH_COUNT(t->rules);
}
