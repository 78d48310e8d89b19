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

/* A double above 2^53 was written as a fraction or with an exponent and prints as its shortest digits, so only
 * the double can be compared. */
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
        return cJSON_IsNumber(b) ? a->valuedouble == b->valuedouble : equals_text(a->valuedouble, b);
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

struct dedup {
    json_duplicate_fn *report;
    void *arg;
    struct strbuf path;
    size_t found;
};

static void cut_path(struct dedup *d, size_t n)
{
    if (d->path.n == n)
        return;
    d->path.n = n;
    d->path.data[n] = '\0';
}

static void drop_duplicate(struct dedup *d, cJSON *object, cJSON *earlier, bool report)
{
    if (report && d->report) {
        size_t n = d->path.n;
        strbuf_addf(&d->path, n ? ".%s" : "%s", earlier->string);
        d->report(d->arg, d->path.data);
        cut_path(d, n);
    }
    d->found++;
    cJSON_Delete(cJSON_DetachItemViaPointer(object, earlier));
}

static void dedup_members(struct dedup *d, cJSON *object)
{
    size_t n = count_children(object);
    if (n <= 12) { /* comparing all pairs beats sorting */
        for (cJSON *a = object->child, *next; a; a = next) {
            next = a->next;
            size_t later = 0;
            for (cJSON *b = next; b; b = b->next)
                later += b->string[0] == a->string[0] && !strcmp(a->string, b->string);
            if (later)
                drop_duplicate(d, object, a, later == 1);
        }
        return;
    }
    autofree struct member *members = sorted_members(object, n);
    for (size_t i = 0; i + 1 < n; i++) {
        if (strcmp(members[i].item->string, members[i + 1].item->string))
            continue;
        bool last = i + 2 == n || strcmp(members[i + 1].item->string, members[i + 2].item->string);
        drop_duplicate(d, object, (cJSON *)members[i].item, last);
    }
}

static void dedup_tree(struct dedup *d, cJSON *tree)
{
    bool object = cJSON_IsObject(tree);
    if (object)
        dedup_members(d, tree);
    size_t n = d->path.n, index = 0;
    for (cJSON *c = tree->child; c; c = c->next, index++) {
        if (!c->child)
            continue;
        if (!object)
            strbuf_addf(&d->path, "[%zu]", index);
        else
            strbuf_addf(&d->path, n ? ".%s" : "%s", c->string);
        dedup_tree(d, c);
        cut_path(d, n);
    }
}

size_t json_dedup(cJSON *tree, json_duplicate_fn *report, void *arg)
{
    struct dedup d = {.report = report, .arg = arg};
    strbuf_init(&d.path, 0);
    if (tree)
        dedup_tree(&d, tree);
    strbuf_done(&d.path);
    return d.found;
}
