/*
 * Server-side apply on trees: the fields that a configuration names, merging it into an object,
 * and taking out what its applier gave up.
 *
 * A list merges as upstream orders it: elements keep the configuration's order among each other,
 * those that it does not name stay where they are between them. Pruning is one walk: an element is
 * lost once it, or something above it, was in the applier's last set and nobody's set has it now;
 * of what is lost, the elements that were in the last set go.
 *
 * Cost: linear but for sorting the elements of each container by name.
 * Upstream: structured-merge-diff's typed/merge.go, tofieldset.go, merge/update.go prune().
 */
#include "apiserver/schema/field_tree.h"

#include <stdarg.h>

#include "apiserver/custom/node.h"

/* Errors that one answer shows. */
#define ERRORS_MAX 50

/* --- the set of a configuration --- */

struct reader {
    struct arena *arena;
    struct strbuf path;
    struct strbuf *errors;
    size_t error_count;
};

static void report(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void report(struct reader *r, const char *format, ...)
{
    char text[512];
    va_list args;
    if (r->error_count++ >= ERRORS_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    strbuf_addf(r->errors, "%s: %s\n", r->path.n > 0 ? r->path.data : "", text);
}

/* Go's %T and %v of a value from YAML. */
static const char *go_type(const cJSON *v)
{
    if (cJSON_IsString(v))
        return "string";
    if (cJSON_IsBool(v))
        return "bool";
    if (cJSON_IsArray(v))
        return "[]interface {}";
    if (cJSON_IsObject(v))
        return "map[string]interface {}";
    int64_t integer;
    return json_int64(v, &integer) ? "int64" : "float64";
}

static void print_go(const cJSON *v, struct strbuf *out)
{
    if (cJSON_IsString(v)) {
        strbuf_addc(out, v->valuestring);
    } else if (cJSON_IsObject(v) || cJSON_IsArray(v)) {
        strbuf_addc(out, cJSON_IsObject(v) ? "map[" : "[");
        for (const cJSON *m = v->child; m && out->n < 200; m = m->next) {
            if (m != v->child)
                strbuf_add_char(out, ' ');
            if (m->string)
                strbuf_addf(out, "%s:", m->string);
            print_go(m, out);
        }
        strbuf_add_char(out, ']');
    } else {
        json_print(v, out);
    }
}

static void wrong_type(struct reader *r, const char *expected, const cJSON *v)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (!strcmp(expected, "numeric (int or float)")) {
        strbuf_addc(&text, go_type(v));
    } else if (!strcmp(expected, "string")) {
        strbuf_addc(&text, "&value.valueUnstructured{Value:");
        if (cJSON_IsObject(v) || cJSON_IsArray(v))
            strbuf_addc(&text, go_type(v));
        json_print(v, &text);
        strbuf_add_char(&text, '}');
    } else {
        strbuf_addc(&text, "&{");
        print_go(v, &text);
        strbuf_add_char(&text, '}');
    }
    report(r, "expected %s, got %.300s", expected, text.data);
}

static const char *expected_of(const struct field *f)
{
    switch ((enum value_type)f->type) {
    case V_STRING:
    case V_BYTES:
        return "string";
    case V_BOOL:
        return "boolean";
    case V_INT32:
    case V_INT64:
    case V_DOUBLE:
        return "numeric (int or float)";
    case V_LIST:
        return "list";
    case V_MAP:
    case V_OBJECT:
        return "map";
    case V_ANY:
        return NULL;
    default:
        return "any scalar";
    }
}

static bool fits(const struct field *f, const cJSON *v)
{
    switch ((enum value_type)f->type) {
    case V_STRING:
    case V_BYTES:
        return cJSON_IsString(v);
    case V_BOOL:
        return cJSON_IsBool(v);
    case V_INT32:
    case V_INT64:
    case V_DOUBLE:
        return json_is_number(v);
    case V_LIST:
        return cJSON_IsArray(v);
    case V_MAP:
    case V_OBJECT:
        return cJSON_IsObject(v);
    case V_ANY:
        return true;
    default:
        return !cJSON_IsObject(v) && !cJSON_IsArray(v);
    }
}

static bool has_key(const struct field *list, const cJSON *item, const char **missing)
{
    for (const char *const *k = list->keys; *k; k++) {
        const cJSON *value = json_get(item, *k);
        if ((!value || cJSON_IsNull(value)) && !list_key_default(list, *k)) {
            *missing = *k;
            return false;
        }
    }
    return true;
}

static bool check_items(struct reader *r, const struct field *f, const cJSON *list)
{
    size_t i = 0, before = r->error_count;
    const char *key;
    for (const cJSON *e = list->child; e; e = e->next, i++) {
        const char *what = f->list == LIST_MAP ? "associative list with keys" : "set";
        if (cJSON_IsNull(e))
            report(r, "element %zu: %s may not have a null element", i,
                f->list == LIST_MAP ? what : "associative list without keys");
        else if (f->list == LIST_MAP && !cJSON_IsObject(e))
            report(r, "element %zu: %s may not have non-map elements", i, what);
        else if (f->list == LIST_MAP && !has_key(f, e, &key))
            report(r,
                "element %zu: associative list with keys has an element that omits key field "
                "\"%s\" (and doesn't have default value)",
                i, key);
        else if (f->list == LIST_SET && (cJSON_IsObject(e) || cJSON_IsArray(e)))
            report(r,
                "element %zu: associative list without keys has an element that's an explicit "
                "%s",
                i, cJSON_IsObject(e) ? "map type" : "list type");
    }
    return before == r->error_count;
}

static const struct field_set *set_of(struct reader *r, const struct field *f, const cJSON *v);

static bool set_member(struct reader *r, const struct element *e, const struct field_set **list)
{
    const struct field *f = e->type;
    bool leaf = cJSON_IsNull(e->item) || !is_container(f, e->item);
    const struct field_set *below = leaf ? NULL : set_of(r, f, e->item);
    bool empty_map = cJSON_IsObject(e->item) && !e->item->child;
    bool member = leaf || e->kind != 'f' || empty_map || !e->named;
    if (member || below)
        field_set_push(r->arena, list, e->kind, e->name, member, below);
    return member;
}

/* A custom object that keeps what its schema does not know. */
static bool is_open(const struct field *f)
{
    return f->object->node && f->object->node->preserve;
}

/* Everything in a value has its type, also below leaves. */
static void check_deep(struct reader *r, const struct field *f, const cJSON *v);

static void check_element(struct reader *r, const struct element *e)
{
    if (!cJSON_IsNull(e->item) && !fits(e->type, e->item)) {
        wrong_type(r, expected_of(e->type), e->item);
        return;
    }
    if (!is_container(e->type, e->item))
        check_deep(r, e->type, e->item);
}

static void check_deep(struct reader *r, const struct field *f, const cJSON *v)
{
    size_t n = r->path.n, i = 0;
    if ((f->type != V_LIST && f->type != V_MAP && f->type != V_OBJECT) || cJSON_IsNull(v))
        return;
    for (const cJSON *e = v->child; e; e = e->next, i++) {
        const struct field *type =
            f->type == V_OBJECT ? schema_field(f->object, e->string, strlen(e->string)) : f->items;
        if (!type && is_open(f))
            continue;
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        path_element_print(e->string ? 'f' : 'i', str_of(e->string ? e->string : index), &r->path);
        if (!type)
            report(r, "field not declared in schema");
        else if (!cJSON_IsNull(e) && !fits(type, e))
            wrong_type(r, expected_of(type), e);
        else
            check_deep(r, type, e);
        r->path.n = n;
        if (r->path.capacity > 0)
            r->path.data[n] = '\0';
    }
}

static bool is_repeated(const struct element *a, const struct element *b)
{
    return a->kind == b->kind && str_eq(a->name, b->name);
}

static const struct field_set *set_of(struct reader *r, const struct field *f, const cJSON *v)
{
    const struct field_set *list = NULL;
    size_t n = r->path.n;
    if (f->type == V_LIST && !check_items(r, f, v))
        return NULL;
    struct elements e = elements_of(r->arena, f, v);
    elements_sort(&e);
    for (size_t i = 0; i < e.n; i++) {
        if (i > 0 && is_repeated(&e.p[i - 1], &e.p[i])) {
            if (f->type == V_LIST && (i == 1 || !is_repeated(&e.p[i - 2], &e.p[i]))) {
                autostrbuf struct strbuf name = STRBUF_EMPTY;
                path_element_print(e.p[i].kind, e.p[i].name, &name);
                report(r, "duplicate entries for key %s", name.data);
            }
            continue;
        }
        path_element_print(e.p[i].kind, e.p[i].name, &r->path);
        if (f->type == V_OBJECT && !e.p[i].named && !is_open(f))
            report(r, "field not declared in schema");
        else
            check_element(r, &e.p[i]);
        if (cJSON_IsNull(e.p[i].item) || fits(e.p[i].type, e.p[i].item))
            set_member(r, &e.p[i], &list);
        r->path.n = n;
        if (r->path.capacity > 0)
            r->path.data[n] = '\0';
    }
    field_set_sort(&list);
    return list;
}

const struct field_set *field_set_of_tree(
    struct arena *a, const struct schema *s, const cJSON *tree, struct strbuf *errors)
{
    struct reader r = {.arena = a, .path = STRBUF_EMPTY, .errors = errors};
    struct field root = {.type = s->is_any ? V_ANY : V_OBJECT, .object = s};
    const struct field_set *set = set_of(&r, &root, tree);
    strbuf_done(&r.path);
    return set;
}

/* --- merging --- */

struct merger {
    struct arena *arena;
};

static void merge_list(struct merger *m, const struct field *f, cJSON *live, const cJSON *config);

static bool can_merge(const struct field *f, const cJSON *live, const cJSON *config)
{
    if (!live || !is_container(f, live))
        return false;
    if (cJSON_IsNull(config) && f->type != V_ANY)
        return live->child != NULL;
    return is_container(f, config) && (live->type & 0xff) == (config->type & 0xff);
}

static void merge_object(struct merger *m, const struct field *f, cJSON *live, const cJSON *config)
{
    automembers struct members members = members_of(live, members_count(config));
    struct elements e = elements_of(m->arena, f, config);
    for (size_t i = 0; i < e.n; i++) {
        const char *name = e.p[i].item->string;
        cJSON *old = members_get(&members, name);
        if (!can_merge(e.p[i].type, old, e.p[i].item))
            members_set(&members, name, cJSON_Duplicate(e.p[i].item, true));
        else if (e.p[i].type->type == V_LIST)
            merge_list(m, e.p[i].type, old, e.p[i].item);
        else
            merge_object(m, e.p[i].type, old, e.p[i].item);
    }
}

/* One element of either list; `match`: the same element of the other, or -1. */
struct place {
    struct element e;
    ssize_t match;
    bool repeated, taken;
};

static int place_by_name(const void *x, const void *y)
{
    const struct place *const *a = x, *const *b = y;
    int order = path_element_compare((*a)->e.kind, (*a)->e.name, (*b)->e.kind, (*b)->e.name);
    return order ? order : (*a > *b) - (*a < *b);
}

static struct place *places_of(
    struct merger *m, const struct field *f, const cJSON *list, size_t *ret_n)
{
    struct elements e = elements_of(m->arena, f, list);
    struct place *p = arena_alloc(m->arena, (e.n + 1) * sizeof(*p));
    for (size_t i = 0; i < e.n; i++)
        p[i] = (struct place){.e = e.p[i], .match = -1};
    *ret_n = e.n;
    return p;
}

static void match_places(
    struct merger *m, struct place *left, size_t nl, struct place *right, size_t nr)
{
    struct place **all = arena_alloc(m->arena, (nl + nr + 1) * sizeof(struct place *));
    for (size_t i = 0; i < nl; i++)
        all[i] = &left[i];
    for (size_t i = 0; i < nr; i++)
        all[nl + i] = &right[i];
    qsort(all, nl + nr, sizeof(struct place *), place_by_name);
    for (size_t i = 0, end; i < nl + nr; i = end) {
        struct place *l = NULL, *r = NULL;
        for (end = i; end < nl + nr && is_repeated(&all[i]->e, &all[end]->e); end++) {
            bool is_left = all[end] >= left && all[end] < left + nl;
            struct place **slot = is_left ? &l : &r;
            if (*slot)
                all[end]->repeated = (*slot)->repeated = true;
            else
                *slot = all[end];
        }
        for (size_t k = i; l && r && k < end; k++) {
            bool is_left = all[k] >= left && all[k] < left + nl;
            all[k]->match = is_left ? r - right : l - left;
        }
    }
}

static void list_append(cJSON *list, cJSON *item)
{
    item->next = item->prev = NULL;
    cJSON_AddItemToArray(list, item);
}

/* The configuration's element, merged into the live one when there is exactly one. */
static void emit_right(
    struct merger *m, const struct field *f, cJSON *list, struct place *left, struct place *r)
{
    struct place *l = r->match >= 0 ? &left[r->match] : NULL;
    if (r->taken)
        return;
    r->taken = true;
    if (l && !l->repeated && can_merge(f->items, l->e.item, r->e.item)) {
        merge_object(m, f->items, l->e.item, r->e.item);
        list_append(list, l->e.item);
        l->e.item = NULL;
        return;
    }
    list_append(list, cJSON_Duplicate(r->e.item, true));
}

static void merge_list(struct merger *m, const struct field *f, cJSON *live, const cJSON *config)
{
    size_t nl, nr, l = 0, r = 0, shared = 0;
    struct place *left = places_of(m, f, live, &nl);
    struct place *right = places_of(m, f, cJSON_IsArray(config) ? config : NULL, &nr);
    match_places(m, left, nl, right, nr);
    live->child = NULL;
    while (l < nl || r < nr) {
        /* the next element of the configuration that is there already */
        while (shared < nr && (right[shared].match < 0 || right[shared].taken))
            shared++;
        if (l < nl && left[l].match < 0) {
            list_append(live, left[l].e.item);
            left[l++].e.item = NULL;
        } else if (l < nl && (right[left[l].match].taken || (r < nr && (size_t)left[l].match != r &&
                                                                (size_t)left[l].match != shared))) {
            l++; /* it comes, or came, at its place in the configuration */
        } else if (r < nr) {
            emit_right(m, f, live, left, &right[r++]);
        } else {
            l++;
        }
    }
    for (size_t i = 0; i < nl; i++) {
        if (left[i].e.item) {
            left[i].e.item->next = left[i].e.item->prev = NULL;
            cJSON_Delete(left[i].e.item);
        }
    }
}

void apply_merge(struct arena *a, const struct schema *s, cJSON *tree, const cJSON *config)
{
    struct field root = {.type = V_OBJECT, .object = s};
    struct merger m = {.arena = a};
    merge_object(&m, &root, tree, config);
}

/* --- pruning --- */

static bool holds(const struct field_set *s, bool named)
{
    return s && (s->member || (named && s->child));
}

/* The element's node in a sorted list, going on from where the last search ended. */
static const struct field_set *advance(const struct field_set **at, const struct element *e)
{
    while (*at && path_element_compare((*at)->kind, (*at)->name, e->kind, e->name) < 0)
        *at = (*at)->next;
    return *at && (*at)->kind == e->kind && str_eq((*at)->name, e->name) ? *at : NULL;
}

static bool prune(struct arena *a, const struct field *f, cJSON *container,
    const struct field_set *last, const struct field_set *owned, bool below, bool lost)
{
    struct elements e = elements_of(a, f, container);
    bool changed = false;
    elements_sort(&e);
    for (size_t i = 0; i < e.n; i++) {
        const struct field_set *l = advance(&last, &e.p[i]), *o = advance(&owned, &e.p[i]);
        bool was = holds(l, e.p[i].named);
        bool here = below || was;
        bool gone = lost || (here && !holds(o, e.p[i].named));
        cJSON *item = e.p[i].item;
        if (gone && was) {
            cJSON_Delete(cJSON_DetachItemViaPointer(container, item));
            changed = true;
            continue;
        }
        if (!l || !l->child || !is_container(e.p[i].type, item))
            continue;
        if (prune(a, e.p[i].type, item, l->child, o ? o->child : NULL, here, gone)) {
            changed = true;
            if (!item->child && e.p[i].kind == 'f')
                cJSON_Delete(cJSON_DetachItemViaPointer(container, item));
        }
    }
    return changed;
}

void apply_prune(struct arena *a, const struct schema *s, cJSON *tree, const struct field_set *last,
    const struct field_set *owned)
{
    struct field root = {.type = V_OBJECT, .object = s};
    prune(a, &root, tree, last, owned, false, false);
}
