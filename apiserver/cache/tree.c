/*
 * The copy-on-write B+tree. See tree.h for the idea of roots and dead lists.
 *
 * Invariants: every node but the root has at least one entry; an inner node's first[i] is the
 * smallest object below child i (so it is alive in this version), total[i] the number of objects
 * below it; a node with birth == t->edit belongs to the edit and may be changed in place, others
 * never change.
 */
#include "apiserver/cache/tree.h"

#include <assert.h>

#define FANOUT 32
#define FEW (FANOUT / 4)
#define PACKED (FANOUT * 7 / 8) /* fill of a tree that is built at once */

struct tree_node {
    int64_t birth;
    uint16_t count;
    bool leaf;
};

struct leaf {
    struct tree_node head;
    const struct object *slot[FANOUT];
};

struct inner {
    struct tree_node head;
    uint32_t total[FANOUT];
    struct tree_node *child[FANOUT];
    const struct object *first[FANOUT];
};

struct root {
    struct tree_node *top; /* NULL: empty */
    size_t count;
    int64_t version, edit;
    unsigned refs;
    struct root *older, *newer;
    struct garbage dead; /* in this root, and not in the next newer one */
};

struct tree {
    struct tree_node *top;
    size_t count;
    int64_t edit;
    struct garbage retired; /* by the edit that is not published yet */
    struct root *current;
    size_t dead_bytes;
};

int key_cmp(struct str namespace_a, struct str name_a, struct str namespace_b, struct str name_b)
{
    size_t n = namespace_a.n < namespace_b.n ? namespace_a.n : namespace_b.n;
    int c = n ? memcmp(namespace_a.p, namespace_b.p, n) : 0;

    if (c != 0)
        return c;
    if (namespace_a.n == namespace_b.n)
        return str_cmp(name_a, name_b);
    /* "a/x" against "a-b/x": the slash decides */
    return namespace_a.n < namespace_b.n ? '/' - (unsigned char)namespace_b.p[n]
                                         : (unsigned char)namespace_a.p[n] - '/';
}

static int object_cmp(const struct object *o, struct str namespace_, struct str name)
{
    return key_cmp(o->namespace_, o->name, namespace_, name);
}

/* --- garbage --- */

static size_t item_bytes(const struct dead_item *d)
{
    if (d->is_object)
        return object_bytes((const struct object *)d->item);
    return ((const struct tree_node *)d->item)->leaf ? sizeof(struct leaf) : sizeof(struct inner);
}

static void garbage_add(struct garbage *g, struct dead_item item, size_t bytes)
{
    if (g->count == g->capacity) {
        g->capacity = 2 * g->capacity + 16;
        g->items = (struct dead_item *)xrealloc(g->items, g->capacity * sizeof(*g->items));
    }
    g->items[g->count++] = item;
    g->bytes += bytes;
}

void garbage_free(struct garbage *g)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->items[i].is_object)
            object_unref((struct object *)g->items[i].item);
        else
            free(g->items[i].item);
    }
    free(g->items);
    *g = (struct garbage){0};
}

/* Objects carry no edit number; their revision against the root's version says the same. */
static bool is_in(const struct root *r, const struct dead_item *d)
{
    return d->birth <= (d->is_object ? r->version : r->edit);
}

static void retire_object(struct tree *t, const struct object *o)
{
    garbage_add(&t->retired, (struct dead_item){(void *)o, o->revision, true}, object_bytes(o));
}

static void retire_node(struct tree *t, struct tree_node *n)
{
    if (n->birth == t->edit)
        free(n);
    else
        garbage_add(&t->retired, (struct dead_item){n, n->birth, false},
            n->leaf ? sizeof(struct leaf) : sizeof(struct inner));
}

/* --- nodes --- */

static struct leaf *as_leaf(const struct tree_node *n)
{
    return (struct leaf *)n;
}

static struct inner *as_inner(const struct tree_node *n)
{
    return (struct inner *)n;
}

static struct tree_node *node_new(const struct tree *t, bool leaf)
{
    struct tree_node *n =
        (struct tree_node *)xmalloc(leaf ? sizeof(struct leaf) : sizeof(struct inner));

    *n = (struct tree_node){.birth = t->edit, .leaf = leaf};
    return n;
}

/* The node itself when it belongs to the edit, else a copy that does. */
static struct tree_node *own(struct tree *t, struct tree_node *n)
{
    if (n->birth == t->edit)
        return n;
    struct tree_node *copy =
        (struct tree_node *)xmalloc(n->leaf ? sizeof(struct leaf) : sizeof(struct inner));

    if (n->leaf)
        *as_leaf(copy) = *as_leaf(n);
    else
        *as_inner(copy) = *as_inner(n);
    copy->birth = t->edit;
    retire_node(t, n);
    return copy;
}

static const struct object *first_of(const struct tree_node *n)
{
    return n->leaf ? as_leaf(n)->slot[0] : as_inner(n)->first[0];
}

static size_t total_of(const struct tree_node *n)
{
    size_t total = 0;

    if (n->leaf)
        return n->count;
    for (unsigned i = 0; i < n->count; i++)
        total += as_inner(n)->total[i];
    return total;
}

/* Index of the first entry that is not below the key. */
static unsigned leaf_bound(
    const struct tree_node *n, struct str namespace_, struct str name, bool *ret_equal)
{
    unsigned low = 0, high = n->count;

    *ret_equal = false;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int c = object_cmp(as_leaf(n)->slot[middle], namespace_, name);

        if (c == 0) {
            *ret_equal = true;
            return middle;
        }
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The child where the key is or would be. */
static unsigned child_for(const struct tree_node *n, struct str namespace_, struct str name)
{
    unsigned low = 1, high = n->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (object_cmp(as_inner(n)->first[middle], namespace_, name) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

static void set_child(struct tree_node *n, unsigned i, struct tree_node *child)
{
    as_inner(n)->child[i] = child;
    as_inner(n)->first[i] = first_of(child);
    as_inner(n)->total[i] = (uint32_t)total_of(child);
}

/* Moves the entries from `from` on by `by` places (negative: towards the front). */
static void shift(struct tree_node *n, unsigned from, int by)
{
    unsigned moved = n->count - from;

    if (n->leaf) {
        memmove(&as_leaf(n)->slot[from + by], &as_leaf(n)->slot[from],
            moved * sizeof(as_leaf(n)->slot[0]));
    } else {
        struct inner *x = as_inner(n);

        memmove(&x->child[from + by], &x->child[from], moved * sizeof(x->child[0]));
        memmove(&x->first[from + by], &x->first[from], moved * sizeof(x->first[0]));
        memmove(&x->total[from + by], &x->total[from], moved * sizeof(x->total[0]));
    }
    n->count = (uint16_t)(n->count + by);
}

static void append_entries(
    struct tree_node *to, const struct tree_node *from, unsigned start, unsigned count)
{
    if (to->leaf) {
        memcpy(&as_leaf(to)->slot[to->count], &as_leaf(from)->slot[start],
            count * sizeof(as_leaf(to)->slot[0]));
    } else {
        struct inner *x = as_inner(to);
        const struct inner *y = as_inner(from);

        memcpy(&x->child[to->count], &y->child[start], count * sizeof(x->child[0]));
        memcpy(&x->first[to->count], &y->first[start], count * sizeof(x->first[0]));
        memcpy(&x->total[to->count], &y->total[start], count * sizeof(x->total[0]));
    }
    to->count = (uint16_t)(to->count + count);
}

/* Splits a full, owned node where an entry is to go in at `at`; at its very end nothing moves,
 * since names often ascend. */
static struct tree_node *split(const struct tree *t, struct tree_node *n, unsigned at)
{
    struct tree_node *right = node_new(t, n->leaf);
    unsigned keep = at == FANOUT ? FANOUT : FANOUT / 2;

    append_entries(right, n, keep, FANOUT - keep);
    n->count = (uint16_t)keep;
    return right;
}

/* Makes room at *at of *n, an owned node; *n is the half to write to, and the new right half is
 * returned, if any. */
static struct tree_node *make_room(const struct tree *t, struct tree_node **n, unsigned *at)
{
    struct tree_node *right = NULL;

    if ((*n)->count == FANOUT) {
        unsigned keep;

        right = split(t, *n, *at);
        keep = (*n)->count;
        if (*at > keep || (*at == keep && keep == FANOUT)) {
            *at -= keep;
            *n = right;
        }
    }
    shift(*n, *at, 1);
    return right;
}

/* --- edits --- */

static struct tree_node *put_leaf(
    struct tree *t, struct tree_node *n, struct object *o, struct tree_node **ret_right)
{
    bool equal;
    unsigned at = leaf_bound(n, o->namespace_, o->name, &equal);

    n = own(t, n);
    if (equal) {
        retire_object(t, as_leaf(n)->slot[at]);
        as_leaf(n)->slot[at] = o;
        return n;
    }
    struct tree_node *target = n;

    *ret_right = make_room(t, &target, &at);
    as_leaf(target)->slot[at] = o;
    t->count++;
    return n;
}

static struct tree_node *put_node(
    struct tree *t, struct tree_node *n, struct object *o, struct tree_node **ret_right)
{
    struct tree_node *right = NULL;

    if (n->leaf)
        return put_leaf(t, n, o, ret_right);
    unsigned i = child_for(n, o->namespace_, o->name);
    struct tree_node *child = put_node(t, as_inner(n)->child[i], o, &right);

    n = own(t, n);
    set_child(n, i, child);
    if (right) {
        struct tree_node *target = n;
        unsigned at = i + 1;

        *ret_right = make_room(t, &target, &at);
        set_child(target, at, right);
    }
    return n;
}

void tree_put(struct tree *t, struct object *o)
{
    struct tree_node *right = NULL;

    if (!t->top)
        t->top = node_new(t, true);
    t->top = put_node(t, t->top, o, &right);
    if (right) {
        struct tree_node *top = node_new(t, false);

        top->count = 2;
        set_child(top, 0, t->top);
        set_child(top, 1, right);
        t->top = top;
    }
}

/* Joins child i with its right neighbour when both are small. */
static void join_children(struct tree *t, struct tree_node *n, unsigned i)
{
    if (i + 1 >= n->count)
        return;
    struct tree_node *a = as_inner(n)->child[i], *b = as_inner(n)->child[i + 1];

    if ((a->count > FEW && b->count > FEW) || a->count + b->count > FANOUT - FEW)
        return;
    a = own(t, a);
    append_entries(a, b, 0, b->count);
    retire_node(t, b);
    set_child(n, i, a);
    shift(n, i + 2, -1);
}

/* The key is known to be there. NULL: the node became empty. */
static struct tree_node *remove_node(
    struct tree *t, struct tree_node *n, struct str namespace_, struct str name)
{
    unsigned i;

    if (n->leaf) {
        bool equal;

        i = leaf_bound(n, namespace_, name, &equal);
        assert(equal);
        n = own(t, n);
        retire_object(t, as_leaf(n)->slot[i]);
        shift(n, i + 1, -1);
    } else {
        i = child_for(n, namespace_, name);
        struct tree_node *child = remove_node(t, as_inner(n)->child[i], namespace_, name);

        n = own(t, n);
        if (child) {
            set_child(n, i, child);
            join_children(t, n, i);
            if (i > 0)
                join_children(t, n, i - 1);
        } else {
            shift(n, i + 1, -1);
        }
    }
    if (n->count)
        return n;
    retire_node(t, n);
    return NULL;
}

bool tree_remove(struct tree *t, struct str namespace_, struct str name)
{
    if (!tree_find(t, namespace_, name))
        return false;
    t->top = remove_node(t, t->top, namespace_, name);
    while (t->top && !t->top->leaf && t->top->count == 1) {
        struct tree_node *only = as_inner(t->top)->child[0];

        retire_node(t, t->top);
        t->top = only;
    }
    t->count--;
    return true;
}

void tree_build(struct tree *t, struct object **objects, size_t count)
{
    struct tree_node **level = (struct tree_node **)xcalloc(count / PACKED + 1, sizeof(*level));
    size_t n = 0;

    assert(!t->top);
    for (size_t i = 0; i < count; i++) {
        if (i % PACKED == 0)
            level[n++] = node_new(t, true);
        as_leaf(level[n - 1])->slot[level[n - 1]->count++] = objects[i];
    }
    while (n > 1) {
        size_t parents = 0;

        for (size_t i = 0; i < n; i++) {
            struct tree_node *child = level[i];

            if (i % PACKED == 0)
                level[parents++] = node_new(t, false);
            set_child(level[parents - 1], level[parents - 1]->count++, child);
        }
        n = parents;
    }
    t->top = n ? level[0] : NULL;
    t->count = count;
    free(level);
}

/* --- versions --- */

struct tree *tree_new(void)
{
    struct tree *t = (struct tree *)xcalloc(1, sizeof(*t));

    t->current = (struct root *)xcalloc(1, sizeof(struct root));
    t->edit = 1;
    return t;
}

static void drop_root(struct tree *t, struct root *r, struct garbage *ret)
{
    struct root *older = r->older;

    for (size_t i = 0; i < r->dead.count; i++) {
        struct dead_item *d = &r->dead.items[i];
        size_t bytes = item_bytes(d);

        if (older && is_in(older, d)) {
            garbage_add(&older->dead, *d, bytes);
        } else {
            garbage_add(ret, *d, bytes);
            t->dead_bytes -= bytes;
        }
    }
    if (older)
        older->newer = r->newer;
    if (r->newer)
        r->newer->older = older;
    free(r->dead.items);
    free(r);
}

void tree_publish(struct tree *t, int64_t version, struct garbage *ret)
{
    struct root *before = t->current, *r = (struct root *)xcalloc(1, sizeof(*r));

    *r = (struct root){
        .top = t->top, .count = t->count, .version = version, .edit = t->edit, .older = before};
    before->newer = r;
    before->dead = t->retired;
    t->dead_bytes += t->retired.bytes;
    t->retired = (struct garbage){0};
    t->current = r;
    t->edit++;
    if (!before->refs)
        drop_root(t, before, ret);
}

struct root *tree_acquire(struct tree *t)
{
    t->current->refs++;
    return t->current;
}

void tree_ref_root(struct root *r)
{
    assert(r->refs > 0);
    r->refs++;
}

const struct root *tree_current(const struct tree *t)
{
    return t->current;
}

void tree_release(struct tree *t, struct root *r, struct garbage *ret)
{
    assert(r->refs > 0);
    if (--r->refs == 0 && r != t->current)
        drop_root(t, r, ret);
}

size_t tree_dead_bytes(const struct tree *t)
{
    return t->dead_bytes;
}

static void free_node(struct tree_node *n)
{
    for (unsigned i = 0; n && i < n->count; i++) {
        if (n->leaf)
            object_unref(as_leaf(n)->slot[i]);
        else
            free_node(as_inner(n)->child[i]);
    }
    free(n);
}

void tree_free(struct tree *t)
{
    struct garbage garbage = {0};

    if (!t)
        return;
    tree_publish(t, INT64_MAX, &garbage);
    assert(!t->current->older); /* somebody still reads */
    garbage_free(&garbage);
    free_node(t->current->top);
    free(t->current);
    free(t);
}

/* --- reading --- */

int64_t root_version(const struct root *r)
{
    return r->version;
}

static const struct object *find(const struct tree_node *n, struct str namespace_, struct str name)
{
    bool equal;

    if (!n)
        return NULL;
    while (!n->leaf)
        n = as_inner(n)->child[child_for(n, namespace_, name)];
    unsigned at = leaf_bound(n, namespace_, name, &equal);

    return equal ? as_leaf(n)->slot[at] : NULL;
}

const struct object *tree_find(const struct tree *t, struct str namespace_, struct str name)
{
    return find(t->top, namespace_, name);
}

const struct object *root_find(const struct root *r, struct str namespace_, struct str name)
{
    return find(r->top, namespace_, name);
}

/* Number of objects before (namespace, name). */
static size_t rank(const struct tree_node *n, struct str namespace_, struct str name)
{
    size_t before = 0;
    bool equal;

    while (n && !n->leaf) {
        unsigned i = child_for(n, namespace_, name);

        for (unsigned k = 0; k < i; k++)
            before += as_inner(n)->total[k];
        n = as_inner(n)->child[i];
    }
    return n ? before + leaf_bound(n, namespace_, name, &equal) : 0;
}

size_t root_count(const struct root *r, struct str namespace_)
{
    if (!namespace_.n)
        return r->count;
    /* names hold no byte above 0x7f, so this name is behind all of the namespace */
    return rank(r->top, namespace_, STR("\xff")) - rank(r->top, namespace_, STR(""));
}

const struct object *tree_cursor_next(struct tree_cursor *c)
{
    while (c->depth) {
        const struct tree_node *n = c->path[c->depth - 1].node;
        unsigned i = ++c->path[c->depth - 1].index;

        if (i >= n->count) {
            c->depth--;
            continue;
        }
        while (!n->leaf) {
            n = as_inner(n)->child[i];
            i = 0;
            c->path[c->depth].node = n;
            c->path[c->depth++].index = 0;
        }
        return as_leaf(n)->slot[i];
    }
    return NULL;
}

const struct object *root_seek(
    const struct root *r, struct str namespace_, struct str name, struct tree_cursor *c)
{
    const struct tree_node *n = r->top;
    bool equal;

    c->depth = 0;
    if (!n)
        return NULL;
    for (;;) {
        assert(c->depth < TREE_DEPTH_MAX);
        unsigned i =
            n->leaf ? leaf_bound(n, namespace_, name, &equal) : child_for(n, namespace_, name);

        c->path[c->depth].node = n;
        c->path[c->depth++].index = i;
        if (!n->leaf) {
            n = as_inner(n)->child[i];
            continue;
        }
        if (!equal && i < n->count)
            return as_leaf(n)->slot[i];
        if (!equal) /* behind this leaf's last */
            c->path[c->depth - 1].index = i - 1u;
        return tree_cursor_next(c);
    }
}
