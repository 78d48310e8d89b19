/*
 * The elements of containers, the comparison of two trees, and the shape of one. See field_tree.h.
 *
 * Cost of a comparison: both trees once; containers whose members come in another order and lists
 * are sorted by name first.
 */
#include "apiserver/schema/field_tree.h"

#include "apiserver/custom/node.h"

static const struct field any_field = {.type = V_ANY};

/* --- elements --- */

bool is_container(const struct field *f, const cJSON *value)
{
    if (f->flags & F_MAP_ATOMIC)
        return false;
    switch ((enum value_type)f->type) {
    case V_LIST:
        return f->list == LIST_SET || f->list == LIST_MAP;
    case V_MAP:
        return true;
    case V_OBJECT:
        return !f->object->is_atomic || (f->flags & F_GRANULAR);
    case V_ANY:
        return cJSON_IsObject(value);
    default:
        return false;
    }
}

static void print_key_value(const char *name, const cJSON *value, bool first, struct strbuf *out)
{
    strbuf_add_char(out, first ? '{' : ',');
    json_print_string(str_of(name), out);
    strbuf_add_char(out, ':');
    json_print(value, out);
}

const cJSON *list_key_default(const struct field *list, const char *key)
{
    const struct schema *s = list->items->object;
    const struct field *f = s ? schema_field(s, key, strlen(key)) : NULL;
    if (f && f->rules)
        return f->rules->otherwise;
    const struct node *n = s && s->node ? node_member(s->node, key) : NULL;
    return n ? n->otherwise : NULL;
}

/* {"containerPort":80,"protocol":"TCP"}: keys by name. */
static struct str list_key(struct arena *a, const struct field *list, const cJSON *item)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    const char *last = "", *next;
    bool first = true;
    for (;; last = next) {
        next = NULL;
        for (const char *const *k = list->keys; *k; k++)
            if (strcmp(*k, last) > 0 && (!next || strcmp(*k, next) < 0))
                next = *k;
        if (!next)
            break;
        const cJSON *value = json_get(item, next);
        if (!value || cJSON_IsNull(value))
            value = list_key_default(list, next);
        if (!value || cJSON_IsNull(value))
            continue;
        print_key_value(next, value, first, &text);
        first = false;
    }
    strbuf_addc(&text, first ? "{}" : "}");
    return arena_str(a, strbuf_str(&text));
}

static struct str list_value(struct arena *a, const cJSON *item)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(item, &text);
    return arena_str(a, strbuf_str(&text));
}

static void element_set(
    struct arena *a, const struct field *f, const struct schema *s, cJSON *item, struct element *e)
{
    *e = (struct element){.item = item, .kind = 'f', .type = &any_field};
    if (f && f->type == V_LIST) {
        e->kind = f->list == LIST_MAP ? 'k' : 'v';
        e->name = e->kind == 'k' ? list_key(a, f, item) : list_value(a, item);
        e->type = f->items;
        return;
    }
    e->name = str_of(item->string);
    if (s) {
        const struct field *member = schema_field(s, e->name.p, e->name.n);
        e->named = member != NULL;
        e->type = member ? member : &any_field;
    } else if (f && f->type == V_MAP) {
        e->type = f->items;
    }
}

static struct elements elements_in(
    struct arena *a, const struct field *f, const struct schema *s, const cJSON *container)
{
    struct elements e = {0};
    size_t n = 0;
    if (cJSON_IsObject(container) || cJSON_IsArray(container))
        for (const cJSON *m = container->child; m; m = m->next)
            n++;
    if (n == 0)
        return e;
    e.p = arena_alloc(a, n * sizeof(*e.p));
    for (cJSON *m = container->child; m; m = m->next)
        element_set(a, f, s, m, &e.p[e.n++]);
    return e;
}

struct elements elements_of(struct arena *a, const struct field *f, const cJSON *container)
{
    bool fits = f->type == V_LIST ? cJSON_IsArray(container) : cJSON_IsObject(container);
    if (!fits)
        return (struct elements){0};
    return elements_in(a, f, f->type == V_OBJECT ? f->object : NULL, container);
}

static int by_name(const void *x, const void *y)
{
    const struct element *a = x, *b = y;
    int order = path_element_compare(a->kind, a->name, b->kind, b->name);
    return order ? order : (a > b) - (a < b);
}

void elements_sort(struct elements *e)
{
    if (e->n > 1)
        qsort(e->p, e->n, sizeof(*e->p), by_name);
}

/* --- comparison --- */

struct level {
    const struct field_set *set[DIFF_KINDS];
};

static unsigned compare_value(
    struct arena *a, const struct field *f, const cJSON *x, const cJSON *y, struct level *out);

static void add(struct arena *a, const struct element *e, unsigned members,
    const struct level *below, struct level *out)
{
    for (int i = 0; i < DIFF_KINDS; i++)
        if ((members >> i & 1) || below->set[i])
            field_set_push(a, &out->set[i], e->kind, e->name, members >> i & 1, below->set[i]);
}

static void compare_pair(
    struct arena *a, const struct element *x, const struct element *y, struct level *out)
{
    const struct element *e = x ? x : y;
    struct level below = {0};
    unsigned members = compare_value(a, e->type, x ? x->item : NULL, y ? y->item : NULL, &below);
    add(a, e, members, &below, out);
}

static size_t run_length(const struct elements *e, size_t from, const struct element *like)
{
    size_t n = 0;
    while (from + n < e->n && e->p[from + n].kind == like->kind &&
           str_eq(e->p[from + n].name, like->name))
        n++;
    return n;
}

/* An element that is there more than once, before or after: known as a whole only. */
static void compare_runs(struct arena *a, const struct element *x, size_t nx,
    const struct element *y, size_t ny, struct level *out)
{
    static const struct level nothing;
    if (nx <= 1 && ny <= 1) {
        compare_pair(a, nx ? x : NULL, ny ? y : NULL, out);
    } else if (nx > 1 && ny > 1) {
        bool equal = nx == ny;
        for (size_t i = 0; i < nx && equal; i++)
            equal = json_equal(x[i].item, y[i].item);
        if (!equal)
            add(a, x, 1 << DIFF_MODIFIED, &nothing, out);
    } else if (nx > 1) {
        if (ny)
            compare_pair(a, NULL, y, out);
        add(a, x, 1 << DIFF_REMOVED, &nothing, out);
    } else {
        if (nx)
            compare_pair(a, x, NULL, out);
        add(a, y, 1 << DIFF_ADDED, &nothing, out);
    }
}

static bool is_same_order(const struct elements *x, const struct elements *y)
{
    if (x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n; i++)
        if (!str_eq(x->p[i].name, y->p[i].name))
            return false;
    return true;
}

static void compare_elements(
    struct arena *a, bool unique, struct elements x, struct elements y, struct level *out)
{
    if (unique && is_same_order(&x, &y)) {
        for (size_t i = 0; i < x.n; i++)
            compare_pair(a, &x.p[i], &y.p[i], out);
    } else {
        elements_sort(&x);
        elements_sort(&y);
        for (size_t i = 0, j = 0; i < x.n || j < y.n;) {
            int order = i == x.n   ? 1
                        : j == y.n ? -1
                                   : path_element_compare(
                                         x.p[i].kind, x.p[i].name, y.p[j].kind, y.p[j].name);
            const struct element *e = order <= 0 ? &x.p[i] : &y.p[j];
            size_t nx = order <= 0 ? run_length(&x, i, e) : 0;
            size_t ny = order >= 0 ? run_length(&y, j, e) : 0;
            compare_runs(a, nx ? &x.p[i] : NULL, nx, ny ? &y.p[j] : NULL, ny, out);
            i += nx;
            j += ny;
        }
    }
    for (int i = 0; i < DIFF_KINDS; i++)
        field_set_sort(&out->set[i]);
}

static bool is_unique(const struct field *f)
{
    return f->type == V_OBJECT || f->type == V_MAP;
}

/* Custom kinds have no other spelling of a value, and more fields than field_equal() takes. */
static bool is_custom(const struct field *f)
{
    while (f->items)
        f = f->items;
    return f->type == V_ANY || (f->object && f->object->node);
}

static unsigned compare_leaf(const struct field *f, const cJSON *x, const cJSON *y)
{
    if (!x || !y)
        return 1 << (x ? DIFF_REMOVED : DIFF_ADDED);
    return json_equal(x, y) || (!is_custom(f) && field_equal(f, x, y)) ? 0 : 1 << DIFF_MODIFIED;
}

/* The sets that the value itself is a member of, as bits; what is below goes to out. */
static unsigned compare_value(
    struct arena *a, const struct field *f, const cJSON *x, const cJSON *y, struct level *out)
{
    bool in = x && is_container(f, x), out_ = y && is_container(f, y);
    unsigned other = 0;
    if (!in && !out_)
        return compare_leaf(f, x, y);
    if (x && y && in != out_) { /* untyped: a leaf became a map, or the other way round */
        other = 1 << DIFF_MODIFIED;
        x = in ? x : NULL;
        y = out_ ? y : NULL;
    } else if (value_is_empty(x) && value_is_empty(y)) {
        return compare_leaf(f, x, y);
    }
    struct elements ex = x ? elements_of(a, f, x) : (struct elements){0};
    struct elements ey = y ? elements_of(a, f, y) : (struct elements){0};
    compare_elements(a, is_unique(f), ex, ey, out);
    return other ? other : !x ? 1 << DIFF_ADDED : !y ? 1 << DIFF_REMOVED : 0;
}

/* --- creation --- */

static void compare_zero(
    struct arena *a, const struct schema *s, const cJSON *object, struct level *out);

/* Would Go's empty struct print this field, with a zero value, null or an empty struct? */
static bool is_always_there(const struct field *f)
{
    if (!(f->flags & F_OMITEMPTY))
        return !(f->flags & F_TYPEMETA);
    return !(f->flags & F_PTR) && (f->type == V_OBJECT || f->type == V_QUANTITY ||
                                      f->type == V_TIME || f->type == V_MICROTIME);
}

/* Against the zero value of a field that is always there. */
static unsigned compare_with_zero(
    struct arena *a, const struct field *f, const cJSON *y, struct level *out)
{
    if (!is_container(f, y)) {
        bool zero = (f->flags & F_PTR)    ? false
                    : f->type == V_OBJECT ? !is_custom(f) && field_equal(f, NULL, y)
                                          : value_is_empty(y);
        if (f->type == V_QUANTITY)
            zero = !strcmp(value_string(y), "0");
        return zero ? 0 : 1 << DIFF_ADDED;
    }
    if (!y->child)
        return (f->flags & F_PTR) ? 1 << DIFF_ADDED : 0;
    if (f->type == V_OBJECT && !(f->flags & F_PTR))
        compare_zero(a, f->object, y, out);
    else
        compare_elements(a, is_unique(f), (struct elements){0}, elements_of(a, f, y), out);
    return 0;
}

static void compare_zero(
    struct arena *a, const struct schema *s, const cJSON *object, struct level *out)
{
    struct elements e = elements_in(a, NULL, s, object);
    for (size_t i = 0; i < e.n; i++) {
        struct level below = {0};
        unsigned members;
        if (e.p[i].named && is_always_there(e.p[i].type))
            members = compare_with_zero(a, e.p[i].type, e.p[i].item, &below);
        else
            members = compare_value(a, e.p[i].type, NULL, e.p[i].item, &below);
        add(a, &e.p[i], members, &below, out);
    }
    for (int i = 0; i < DIFF_KINDS; i++)
        field_set_sort(&out->set[i]);
}

struct field_diff field_compare(
    struct arena *a, const struct schema *s, const cJSON *from, const cJSON *to)
{
    struct level all = {0};
    struct field_diff d;
    if (from)
        compare_elements(a, true, elements_in(a, NULL, s, from), elements_in(a, NULL, s, to), &all);
    else
        compare_zero(a, s, to, &all);
    memcpy(d.set, all.set, sizeof(d.set));
    return d;
}

/* --- shape --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static uint64_t mix_text(uint64_t h, const char *s)
{
    size_t n = strlen(s);
    for (; n >= 8; s += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, s, 8);
        h = mix(h, word);
    }
    uint64_t rest = n + 1;
    for (size_t i = 0; i < n; i++)
        rest = rest << 8 | (unsigned char)s[i];
    return mix(h, rest);
}

static uint64_t mix_value(uint64_t h, const cJSON *v)
{
    if (cJSON_IsString(v) || cJSON_IsRaw(v))
        return mix_text(mix(h, 3), v->valuestring);
    if (cJSON_IsNumber(v))
        return mix(h, (uint64_t)(int64_t)(v->valuedouble * 1024));
    h = mix(h, (uint64_t)v->type & 0xff);
    for (const cJSON *m = v->child; m; m = m->next)
        h = mix_value(m->string ? mix_text(h, m->string) : h, m);
    return mix(h, 5);
}

enum { SHAPE_END = 1, SHAPE_EMPTY, SHAPE_FULL, SHAPE_UNKNOWN };

/* All of a field that matters here: schemas of custom kinds come and go. */
static uint64_t field_shape(const struct field *f)
{
    return f->hash | (uint64_t)f->type << 32 | (uint64_t)f->list << 40 | (uint64_t)f->flags << 48;
}

static uint64_t hash_value(uint64_t h, const struct field *f, const cJSON *v);

static uint64_t hash_object(uint64_t h, const struct schema *s, const cJSON *object)
{
    for (const cJSON *m = object->child; m; m = m->next) {
        const struct field *f = schema_field(s, m->string, strlen(m->string));
        if (f)
            h = hash_value(mix(h, field_shape(f)), f, m);
        else
            h = mix_value(mix_text(mix(h, SHAPE_UNKNOWN), m->string), m);
    }
    return mix(h, SHAPE_END);
}

static uint64_t hash_value(uint64_t h, const struct field *f, const cJSON *v)
{
    if (!is_container(f, v)) {
        bool empty = f->type == V_QUANTITY ? !strcmp(value_string(v), "0") : value_is_empty(v);
        if (f->type == V_OBJECT && !(f->flags & F_PTR) && !empty)
            return mix_value(h, v); /* zero or not: only its members tell */
        return mix(h, empty ? SHAPE_EMPTY : SHAPE_FULL);
    }
    if (f->type == V_OBJECT)
        return hash_object(h, f->object, v);
    for (const cJSON *e = v->child; e; e = e->next) {
        if (f->type == V_ANY || (f->type == V_LIST && f->list == LIST_SET)) {
            h = mix_value(e->string ? mix_text(h, e->string) : h, e);
            continue;
        }
        if (f->type == V_MAP)
            h = mix_text(h, e->string);
        for (const char *const *k = f->type == V_LIST ? f->keys : NULL; k && *k; k++)
            if (json_get(e, *k))
                h = mix_value(h, json_get(e, *k));
        h = hash_value(h, f->items, e);
    }
    return mix(h, SHAPE_END);
}

uint64_t field_shape_hash(uint64_t seed, const struct schema *s, const cJSON *tree)
{
    return hash_object(seed, s, tree);
}
