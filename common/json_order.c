/*
 * JSON trees: what needs members in order: equality, sorting, duplicate members.
 *
 * cJSON's members are a linked list, so each of these gathers them into an array; small objects and
 * objects already in the wanted order (nearly all) are handled without sorting.
 * Recursion is as deep as the tree, which the pre-scan bounds.
 * Tests: tests/unit/common/json_test.c
 */
#include "common/json.h"

struct member {
    const cJSON *item;
    size_t index; /* keeps equal names in their order */
};

static int member_cmp(const void *a, const void *b)
{
    const struct member *ma = a, *mb = b;
    int order = strcmp(ma->item->string, mb->item->string);
    return order ? order : (ma->index > mb->index) - (ma->index < mb->index);
}

static size_t count_children(const cJSON *item)
{
    size_t n = 0;
    for (const cJSON *c = item->child; c; c = c->next)
        n++;
    return n;
}

/* Heap array of the members sorted by name. */
static struct member *sorted_members(const cJSON *object, size_t n)
{
    struct member *members = xmalloc(n * sizeof(*members));
    size_t i = 0;
    for (const cJSON *c = object->child; c; c = c->next, i++)
        members[i] = (struct member){c, i};
    qsort(members, n, sizeof(*members), member_cmp);
    return members;
}

/* Equality */

/* A double above 2^53 was written as a fraction or with an exponent and prints as its shortest
 * digits, so only the double can be compared. */
static bool equals_text(double d, const cJSON *raw)
{
    int64_t value;
    if (d >= -0x1p53 && d <= 0x1p53)
        return json_int64(raw, &value) && value == (int64_t)d && d == (double)(int64_t)d;
    return strtod(raw->valuestring, NULL) == d;
}

static bool equal_numbers(const cJSON *a, const cJSON *b)
{
    int64_t ia, ib;
    if (cJSON_IsNumber(a))
        return cJSON_IsNumber(b) ? a->valuedouble == b->valuedouble
                                 : equals_text(a->valuedouble, b);
    if (cJSON_IsNumber(b))
        return equals_text(b->valuedouble, a);
    if (json_int64(a, &ia) && json_int64(b, &ib))
        return ia == ib;
    return !strcmp(a->valuestring, b->valuestring);
}

static bool equal_as_sets(const cJSON *a, const cJSON *b, size_t n)
{
    autofree struct member *ma = sorted_members(a, n);
    autofree struct member *mb = sorted_members(b, n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(ma[i].item->string, mb[i].item->string) || !json_equal(ma[i].item, mb[i].item))
            return false;
    return true;
}

static bool same_names_in_order(const cJSON *a, const cJSON *b)
{
    const cJSON *ca = a->child, *cb = b->child;
    for (; ca && cb; ca = ca->next, cb = cb->next)
        if (strcmp(ca->string, cb->string))
            return false;
    return !ca && !cb;
}

static bool equal_in_order(const cJSON *a, const cJSON *b)
{
    const cJSON *ca = a->child, *cb = b->child;
    for (; ca && cb; ca = ca->next, cb = cb->next)
        if (!json_equal(ca, cb))
            return false;
    return !ca && !cb;
}

bool json_equal(const cJSON *a, const cJSON *b)
{
    if (a == b)
        return true;
    if (!a || !b)
        return false;
    if (json_is_number(a) || json_is_number(b))
        return json_is_number(a) && json_is_number(b) && equal_numbers(a, b);
    if ((a->type & 0xff) != (b->type & 0xff))
        return false;
    switch (a->type & 0xff) {
    case cJSON_String:
    case cJSON_Raw:
        return !strcmp(a->valuestring, b->valuestring);
    case cJSON_Array:
        return equal_in_order(a, b);
    case cJSON_Object:
        if (same_names_in_order(a, b))
            return equal_in_order(a, b);
        size_t n = count_children(a);
        return n == count_children(b) && equal_as_sets(a, b, n);
    default:
        return true; /* true, false and null are their types */
    }
}

/* Sorting */

static bool is_sorted(const cJSON *object)
{
    for (const cJSON *c = object->child; c && c->next; c = c->next)
        if (strcmp(c->string, c->next->string) > 0)
            return false;
    return true;
}

static void relink(cJSON *object, const struct member *members, size_t n)
{
    cJSON *previous = NULL;
    for (size_t i = 0; i < n; i++) {
        cJSON *item = (cJSON *)members[i].item;
        item->prev = previous;
        item->next = NULL;
        if (previous)
            previous->next = item;
        else
            object->child = item;
        previous = item;
    }
    object->child->prev = previous; /* cJSON finds the last one there */
}

void json_sort(cJSON *tree)
{
    if (cJSON_IsObject(tree) && !is_sorted(tree)) {
        size_t n = count_children(tree);
        autofree struct member *members = sorted_members(tree, n);
        relink(tree, members, n);
    }
    for (cJSON *c = tree ? tree->child : NULL; c; c = c->next)
        json_sort(c);
}

/* Duplicate members */

/* The way from the root to an object; a path is only spelled out when something is reported. */
struct step {
    const struct step *outer;
    const char *name; /* NULL: an array's element */
    size_t index;
};

struct dedup {
    json_duplicate_fn *report;
    void *arg;
    size_t found;
};

static void add_path(struct strbuf *path, const struct step *step)
{
    if (!step)
        return;
    add_path(path, step->outer);
    if (step->name)
        strbuf_addf(path, path->n ? ".%s" : "%s", step->name);
    else
        strbuf_addf(path, "[%zu]", step->index);
}

static void drop_duplicate(
    struct dedup *d, const struct step *at, cJSON *object, cJSON *earlier, bool report)
{
    if (report && d->report) {
        autostrbuf struct strbuf path = STRBUF_EMPTY;
        const struct step member = {.outer = at, .name = earlier->string};
        add_path(&path, &member);
        d->report(d->arg, path.data);
    }
    d->found++;
    cJSON_Delete(cJSON_DetachItemViaPointer(object, earlier));
}

/* One pass with a bitmap of name hashes: false means that all names differ (nearly always). */
static bool may_hold_duplicates(const cJSON *object)
{
    uint64_t seen[4] = {0};
    for (const cJSON *c = object->child; c; c = c->next) {
        size_t n = strlen(c->string);
        const unsigned char *name = (const unsigned char *)c->string;
        unsigned last = n ? name[n - 1] : 0;
        unsigned hash = name[0] * 37 + name[n / 2] * 11 + last * 131 + (unsigned)n * 7;
        uint64_t bit = 1ull << (hash & 63), *word = &seen[hash >> 6 & 3];
        if (*word & bit)
            return true;
        *word |= bit;
    }
    return false;
}

static void dedup_small(struct dedup *d, const struct step *at, cJSON *object)
{
    for (cJSON *a = object->child, *next; a; a = next) {
        next = a->next;
        size_t later = 0;
        for (cJSON *b = next; b; b = b->next)
            later += b->string[0] == a->string[0] && !strcmp(a->string, b->string);
        if (later)
            drop_duplicate(d, at, object, a, later == 1);
    }
}

static void dedup_members(struct dedup *d, const struct step *at, cJSON *object)
{
    if (!may_hold_duplicates(object))
        return;
    size_t n = count_children(object);
    if (n <= 12) { /* comparing all pairs beats sorting */
        dedup_small(d, at, object);
        return;
    }
    autofree struct member *members = sorted_members(object, n);
    for (size_t i = 0; i + 1 < n; i++) {
        if (strcmp(members[i].item->string, members[i + 1].item->string))
            continue;
        bool last = i + 2 == n || strcmp(members[i + 1].item->string, members[i + 2].item->string);
        drop_duplicate(d, at, object, (cJSON *)members[i].item, last);
    }
}

static void dedup_tree(struct dedup *d, const struct step *at, cJSON *tree)
{
    bool object = cJSON_IsObject(tree);
    if (object)
        dedup_members(d, at, tree);
    size_t index = 0;
    for (cJSON *c = tree->child; c; c = c->next, index++) {
        const struct step step = {.outer = at, .name = object ? c->string : NULL, .index = index};
        if (c->child)
            dedup_tree(d, &step, c);
    }
}

size_t json_dedup(cJSON *tree, json_duplicate_fn *report, void *arg)
{
    struct dedup d = {.report = report, .arg = arg};
    if (tree)
        dedup_tree(&d, NULL, tree);
    return d.found;
}
