/*
 * The named rules, checks and update rules that .api files attach: declarations from their lists.
 * Private to this folder.
 */
#pragma once

#include "apiserver/schema/check.h"

#define RULE(name) rule_fn rule_##name;
#define CHECK(name) check_fn check_of_##name;
#define UPDATE(name) update_fn update_##name;
#include "apiserver/schema/rules.def"
#undef RULE
#undef CHECK
#undef UPDATE

/* Shorthands of rule files. */
static inline bool has_member(const cJSON *object, const char *name)
{
    return !value_is_empty(json_get(object, name));
}

static inline const char *text_of(const cJSON *object, const char *name)
{
    return value_string(json_get(object, name));
}

static inline bool text_is(const cJSON *object, const char *name, const char *text)
{
    return !strcmp(text_of(object, name), text);
}

/* names: NULL ended. */
static inline bool is_one_of(const char *text, const char *const *names)
{
    while (*names && strcmp(*names, text) != 0)
        names++;
    return *names;
}

static inline const cJSON *first_member(const cJSON *object, const char *name)
{
    const cJSON *list = json_get(object, name);
    return list ? list->child : NULL;
}

/* The members of `object` among `names` (NULL ended) that are there; the last one found in *ret. */
size_t count_members(const cJSON *object, const char *const *names, const cJSON **ret);

/* Texts seen so far, to find duplicates in one pass; borrowed strings, memory of the check's arena.
 */
struct text_set {
    const char **slots;
    size_t mask;
};
/* Room for the elements of a list. */
struct text_set text_set_new(struct check *c, const cJSON *list);
bool text_set_add(struct text_set *s, const char *text); /* false: it was there */
bool text_set_has(const struct text_set *s, const char *text);

/* Parts of a pod's spec that rule_pod_spec has judged elsewhere. */
void check_spread_twice(struct check *c, const struct frame *at, const cJSON *spec);
void check_operating_system(struct check *c, const struct frame *at, const cJSON *spec);
