/*
 * Sets of fields: the FieldsV1 text and the operations on sets. See field_set.h.
 *
 * The parser takes JSON objects of objects and nothing else. Keys and values inside of path
 * elements (k:{...}, v:...) are JSON again; from outside they are printed anew with their members
 * in order, so that two spellings of a key are one element.
 */
#include "apiserver/schema/field_set.h"

#include <string.h>

#include "common/json_scan.h"
#include "common/limits.h"

/* Deeper than any object that json_parse takes. */
#define DEPTH_MAX 256

/* --- order --- */

static int rank(char kind)
{
    return kind == 'f' ? 0 : kind == 'k' ? 1 : kind == 'v' ? 2 : 3;
}

static size_t digits_at(struct str s, size_t at)
{
    size_t n = 0;
    while (at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9')
        n++;
    return n;
}

/* Bytewise, but numbers behind a colon or at the start by their size: ports come in order. */
static int compare_values(struct str a, struct str b)
{
    size_t i = 0;
    while (i < a.n && i < b.n && a.p[i] == b.p[i])
        i++;
    size_t start = i;
    while (start > 0 && a.p[start - 1] >= '0' && a.p[start - 1] <= '9')
        start--;
    if (start == 0 || a.p[start - 1] == ':') {
        size_t x = digits_at(a, start), y = digits_at(b, start);
        if (x > 0 && y > 0 && x != y)
            return x < y ? -1 : 1;
    }
    return str_cmp(a, b);
}

int path_element_compare(char kind_a, struct str a, char kind_b, struct str b)
{
    if (kind_a != kind_b)
        return rank(kind_a) - rank(kind_b);
    return kind_a == 'f' ? str_cmp(a, b) : compare_values(a, b);
}

static int compare(const struct field_set *a, const struct field_set *b)
{
    return path_element_compare(a->kind, a->name, b->kind, b->name);
}

/* --- building --- */

static struct field_set *node_new(struct arena *a, char kind, struct str name, bool member,
    const struct field_set *child, const struct field_set *next)
{
    struct field_set *n = arena_alloc(a, sizeof(*n));
    *n = (struct field_set){
        .name = name, .child = child, .next = next, .member = member, .kind = kind};
    return n;
}

void field_set_push(struct arena *a, const struct field_set **list, char kind, struct str name,
    bool member, const struct field_set *child)
{
    *list = node_new(a, kind, name, member, child, *list);
}

/* Nodes that were just pushed are still their builder's: only the sort may link them anew. */
static struct field_set *own(const struct field_set *s)
{
    return (struct field_set *)(uintptr_t)s;
}

static struct field_set *merge_sorted(struct field_set *a, struct field_set *b)
{
    struct field_set head = {0}, *last = &head;
    while (a && b) {
        struct field_set **least = compare(a, b) <= 0 ? &a : &b;
        last->next = *least;
        last = *least;
        *least = own((*least)->next);
    }
    last->next = a ? a : b;
    return own(head.next);
}

void field_set_sort(const struct field_set **list)
{
    struct field_set *runs[32] = {0}, *all = NULL;
    bool sorted = true;
    for (const struct field_set *n = *list; n && n->next && sorted; n = n->next)
        sorted = compare(n, n->next) < 0;
    if (sorted)
        return;
    for (struct field_set *n = own(*list), *next; n; n = next) {
        size_t i = 0;
        next = own(n->next);
        n->next = NULL;
        for (; i < ARRAY_COUNT(runs) - 1 && runs[i]; i++) {
            n = merge_sorted(runs[i], n);
            runs[i] = NULL;
        }
        runs[i] = n;
    }
    for (size_t i = 0; i < ARRAY_COUNT(runs); i++)
        all = merge_sorted(runs[i], all);
    *list = all;
}

const struct field_set *field_set_of_path(struct arena *a, const char *path)
{
    struct str rest = str_of(path), part;
    const char *dot = strchr(path, '.');
    if (!dot)
        return node_new(a, 'f', rest, true, NULL, NULL);
    str_split(&rest, '.', &part);
    return node_new(a, 'f', part, false, field_set_of_path(a, dot + 1), NULL);
}

/* --- operations --- */

/* A list under construction, in order. */
struct chain {
    struct arena *arena;
    const struct field_set *first;
    struct field_set *last;
};

static void chain_add(
    struct chain *c, const struct field_set *like, bool member, const struct field_set *child)
{
    if (!member && !child)
        return;
    struct field_set *n = node_new(c->arena, like->kind, like->name, member, child, NULL);
    if (c->last)
        c->last->next = n;
    else
        c->first = n;
    c->last = n;
}

const struct field_set *field_set_union(
    struct arena *a, const struct field_set *x, const struct field_set *y)
{
    struct chain c = {.arena = a};
    if (!x || !y)
        return x ? x : y;
    while (x && y) {
        int order = compare(x, y);
        const struct field_set *least = order <= 0 ? x : y;
        if (order == 0)
            chain_add(&c, x, x->member || y->member, field_set_union(a, x->child, y->child));
        else
            chain_add(&c, least, least->member, least->child);
        x = order <= 0 ? x->next : x;
        y = order >= 0 ? y->next : y;
    }
    const struct field_set *rest = x ? x : y;
    if (c.last)
        c.last->next = rest;
    return c.first;
}

static const struct field_set *without(
    struct arena *a, const struct field_set *x, const struct field_set *y, bool deep)
{
    struct chain c = {.arena = a};
    for (; x; x = x->next) {
        while (y && compare(y, x) < 0)
            y = y->next;
        if (!y || compare(y, x) > 0)
            chain_add(&c, x, x->member, x->child);
        else if (!(deep && y->member))
            chain_add(&c, x, x->member && !y->member, without(a, x->child, y->child, deep));
    }
    return c.first;
}

const struct field_set *field_set_without(
    struct arena *a, const struct field_set *x, const struct field_set *y)
{
    return y ? without(a, x, y, false) : x;
}

const struct field_set *field_set_without_deep(
    struct arena *a, const struct field_set *x, const struct field_set *y)
{
    return y ? without(a, x, y, true) : x;
}

const struct field_set *field_set_common(
    struct arena *a, const struct field_set *x, const struct field_set *y)
{
    struct chain c = {.arena = a};
    while (x && y) {
        int order = compare(x, y);
        if (order == 0)
            chain_add(&c, x, x->member && y->member, field_set_common(a, x->child, y->child));
        const struct field_set *next = x->next;
        y = order >= 0 ? y->next : y;
        x = order <= 0 ? next : x;
    }
    return c.first;
}

const struct field_set *field_set_find(const struct field_set *s, char kind, struct str name)
{
    for (; s; s = s->next)
        if (s->kind == kind && str_eq(s->name, name))
            return s;
    return NULL;
}

/* --- printing --- */

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&')
            return false;
    }
    return true;
}

static void print_name(const struct field_set *s, struct strbuf *out)
{
    if (is_plain(s->name)) {
        char *room = strbuf_reserve(out, s->name.n + 4);
        if (!room)
            return;
        room[0] = '"';
        room[1] = s->kind;
        room[2] = ':';
        if (s->name.n > 0)
            memcpy(room + 3, s->name.p, s->name.n);
        room[3 + s->name.n] = '"';
        strbuf_commit(out, s->name.n + 4);
        return;
    }
    autostrbuf struct strbuf whole = STRBUF_EMPTY;
    strbuf_addf(&whole, "%c:", s->kind);
    strbuf_add(&whole, s->name);
    json_print_string(strbuf_str(&whole), out);
}

static void print_nodes(const struct field_set *s, bool self, struct strbuf *out)
{
    strbuf_add_char(out, '{');
    if (self && s)
        strbuf_add(out, s ? STR("\".\":{},") : STR(""));
    for (; s; s = s->next) {
        print_name(s, out);
        strbuf_add_char(out, ':');
        print_nodes(s->child, s->member, out);
        if (s->next)
            strbuf_add_char(out, ',');
    }
    strbuf_add_char(out, '}');
}

void field_set_print(const struct field_set *s, struct strbuf *out)
{
    print_nodes(s, false, out);
}

/* --- paths --- */

static void print_keys(struct str keys, struct strbuf *out)
{
    autojson cJSON *tree = NULL;
    struct error err;
    if (json_parse(keys, &tree, &err) < 0)
        return;
    for (const cJSON *k = tree->child; k; k = k->next) {
        strbuf_addf(out, "%s%s=", k == tree->child ? "" : ",", k->string);
        json_print(k, out);
    }
}

void path_element_print(char kind, struct str name, struct strbuf *out)
{
    if (kind == 'f') {
        strbuf_add_char(out, '.');
        strbuf_add(out, name);
        return;
    }
    strbuf_addc(out, kind == 'v' ? "[=" : "[");
    if (kind == 'k')
        print_keys(name, out);
    else
        strbuf_add(out, name);
    strbuf_add_char(out, ']');
}

static void each(const struct field_set *s, struct strbuf *path, field_path_fn *fn, void *arg)
{
    size_t n = path->n;
    for (; s; s = s->next) {
        path_element_print(s->kind, s->name, path);
        if (s->member)
            fn(arg, path->data);
        each(s->child, path, fn, arg);
        path->n = n;
        if (path->capacity > 0)
            path->data[n] = '\0';
    }
}

void field_set_each(const struct field_set *s, field_path_fn *fn, void *arg)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    each(s, &path, fn, arg);
}

/* --- parsing --- */

struct reader {
    struct arena *arena;
    const char *p, *end;
    bool trusted;
    struct error *err;
};

static int malformed(struct reader *r)
{
    return error_set(r->err, ERR_BAD_REQUEST, "fieldsV1 is not a set of fields");
}

static bool take(struct reader *r, char c)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* A JSON string, without copying it when it has no escapes. */
static int read_string(struct reader *r, struct str *ret)
{
    if (!take(r, '"'))
        return malformed(r);
    const char *start = r->p;
    bool escaped = false;
    while (r->p < r->end && *r->p != '"') {
        if (*r->p == '\\') {
            escaped = true;
            r->p++;
        }
        if (r->p < r->end)
            r->p++;
    }
    if (r->p == r->end)
        return malformed(r);
    r->p++;
    *ret = str_range(start, (size_t)(r->p - 1 - start));
    if (!escaped && r->trusted)
        return 0;
    autojson cJSON *text = NULL;
    if (json_parse(str_range(start - 1, ret->n + 2), &text, r->err) < 0)
        return malformed(r);
    if (escaped)
        *ret = arena_str(r->arena, str_of(text->valuestring));
    return 0;
}

static bool is_scalar(const cJSON *v)
{
    return cJSON_IsString(v) || cJSON_IsBool(v) || cJSON_IsNull(v) || json_is_number(v);
}

/* The inside of k:, v: and i: in its one spelling. */
static int canonical(struct reader *r, char kind, struct str *name)
{
    autojson cJSON *value = NULL;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (json_parse(*name, &value, r->err) < 0)
        return malformed(r);
    if (kind == 'i') {
        int64_t index;
        if (!json_int64(value, &index))
            return malformed(r);
    } else if (kind == 'k') {
        if (!cJSON_IsObject(value) || !value->child)
            return malformed(r);
        json_dedup(value, NULL, NULL);
        for (const cJSON *k = value->child; k; k = k->next)
            if (!is_scalar(k))
                return malformed(r);
        json_sort(value);
    }
    json_print(value, &text);
    *name = arena_str(r->arena, strbuf_str(&text));
    return 0;
}

static int read_nodes(struct reader *r, size_t depth, bool *ret_self, const struct field_set **ret);

static int read_node(struct reader *r, size_t depth, bool *self, const struct field_set **list)
{
    struct str name;
    const struct field_set *below = NULL;
    bool member = false;
    if (read_string(r, &name) < 0)
        return -r->err->code;
    if (!take(r, ':'))
        return malformed(r);
    if (read_nodes(r, depth + 1, &member, &below) < 0)
        return -r->err->code;
    if (str_eqc(name, ".")) {
        *self = true;
        return below ? malformed(r) : 0;
    }
    if (name.n < 2 || name.p[1] != ':' || !memchr("fkvi", name.p[0], 4))
        return malformed(r);
    char kind = name.p[0];
    name = str_range(name.p + 2, name.n - 2);
    if (kind != 'f' && !r->trusted && canonical(r, kind, &name) < 0)
        return -r->err->code;
    field_set_push(r->arena, list, kind, name, member || !below, below);
    return 0;
}

/* Elements that are there twice (duplicate members, two spellings) become one. */
static const struct field_set *unite(struct arena *a, const struct field_set *sorted)
{
    bool twice = false;
    for (const struct field_set *s = sorted; s && s->next && !twice; s = s->next)
        twice = compare(s, s->next) == 0;
    if (!twice)
        return sorted;
    struct chain c = {.arena = a};
    for (const struct field_set *s = sorted; s; s = s->next) {
        bool member = s->member;
        const struct field_set *child = s->child;
        for (; s->next && compare(s, s->next) == 0; s = s->next) {
            member = member || s->next->member;
            child = field_set_union(a, child, s->next->child);
        }
        chain_add(&c, s, member, child);
    }
    return c.first;
}

static int read_nodes(struct reader *r, size_t depth, bool *ret_self, const struct field_set **ret)
{
    const struct field_set *list = NULL;
    if (depth > DEPTH_MAX || !take(r, '{'))
        return malformed(r);
    *ret_self = false;
    if (!take(r, '}')) {
        do {
            if (read_node(r, depth, ret_self, &list) < 0)
                return -r->err->code;
        } while (take(r, ','));
        if (!take(r, '}'))
            return malformed(r);
    }
    if (r->trusted) { /* in order, but pushed backwards */
        const struct field_set *reversed = NULL;
        for (const struct field_set *n = list, *next; n; n = next) {
            next = n->next;
            own(n)->next = reversed;
            reversed = n;
        }
        *ret = reversed;
        return 0;
    }
    field_set_sort(&list);
    *ret = unite(r->arena, list);
    return 0;
}

int field_set_parse(
    struct arena *a, struct str text, bool trusted, const struct field_set **ret, struct error *err)
{
    struct reader r = {
        .arena = a, .p = text.p, .end = text.p + text.n, .trusted = trusted, .err = err};
    bool self;
    if (text.n == 0)
        return malformed(&r);
    if (read_nodes(&r, 0, &self, ret) < 0)
        return -err->code;
    while (r.p < r.end && (*r.p == ' ' || *r.p == '\n' || *r.p == '\t' || *r.p == '\r'))
        r.p++;
    return r.p == r.end ? 0 : malformed(&r);
}
