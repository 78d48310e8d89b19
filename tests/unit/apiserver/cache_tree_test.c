/* apiserver/cache/tree.c against a sorted array, with old roots held and released at random. */
#include <CUnit/CUnit.h>

#include "apiserver/cache/tree.h"
#include "tests/unit/apiserver/store_support.h"

#define KEYS 600
#define ROOTS 8

struct model {
    int64_t version[KEYS]; /* 0: absent */
};

struct run {
    struct tree *tree;
    struct model now;
    struct object *keys[KEYS]; /* prototypes in key order */
    struct {
        struct root *root;
        struct model model;
    } held[ROOTS];
    int64_t version;
    unsigned seed;
};

static const char *const spaces[] = {"a", "a-b", "b"};

static int compare_keys(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;

    return key_cmp(x->namespace_, x->name, y->namespace_, y->name);
}

static void make_keys(struct run *r)
{
    for (int i = 0; i < KEYS; i++) {
        char name[16];

        snprintf(name, sizeof(name), "n%03d", i / 3);
        r->keys[i] = test_object(&res_config_maps, spaces[i % 3], name, NULL, NULL, i);
    }
    qsort(r->keys, KEYS, sizeof(r->keys[0]), compare_keys);
}

static void check_root(const struct run *r, const struct root *root, const struct model *m)
{
    struct tree_cursor cursor;
    const struct object *o = root_seek(root, STR(""), STR(""), &cursor);
    size_t count = 0, in_ns = 0;

    for (int i = 0; i < KEYS; i++) {
        const struct object *found = root_find(root, r->keys[i]->namespace_, r->keys[i]->name);

        CU_ASSERT_FATAL((found ? found->revision : 0) == m->version[i]);
        if (!m->version[i])
            continue;
        CU_ASSERT_FATAL(o == found);
        o = tree_cursor_next(&cursor);
        count++;
        in_ns += str_eqc(r->keys[i]->namespace_, "a");
    }
    CU_ASSERT_PTR_NULL(o);
    CU_ASSERT_EQUAL_FATAL(root_count(root, STR("")), count);
    CU_ASSERT_EQUAL_FATAL(root_count(root, STR("a")), in_ns);
}

static void check_seek(struct run *r)
{
    int i = rand_r(&r->seed) % KEYS, next = i + 1;
    struct tree_cursor cursor;
    const struct object *o =
        root_seek(tree_current(r->tree), r->keys[i]->namespace_, r->keys[i]->name, &cursor);

    while (next < KEYS && !r->now.version[next])
        next++;
    CU_ASSERT_FATAL((o ? o->revision : 0) == (next < KEYS ? r->now.version[next] : 0));
}

static void edit(struct run *r, int bias)
{
    int i = rand_r(&r->seed) % KEYS;

    if (rand_r(&r->seed) % 100 < bias) {
        struct object *o = object_at_revision(r->keys[i], ++r->version);

        tree_put(r->tree, o);
        r->now.version[i] = r->version;
    } else {
        CU_ASSERT_FATAL(tree_remove(r->tree, r->keys[i]->namespace_, r->keys[i]->name) ==
                        (r->now.version[i] != 0));
        r->now.version[i] = 0;
        r->version++;
    }
}

static void swap_held(struct run *r)
{
    int i = rand_r(&r->seed) % ROOTS;
    struct garbage garbage = {0};

    if (r->held[i].root) {
        check_root(r, r->held[i].root, &r->held[i].model);
        tree_release(r->tree, r->held[i].root, &garbage);
        r->held[i].root = NULL;
    } else {
        r->held[i].root = tree_acquire(r->tree);
        r->held[i].model = r->now;
    }
    garbage_free(&garbage);
}

static void finish(struct run *r)
{
    struct garbage garbage = {0};

    for (int i = 0; i < ROOTS; i++)
        if (r->held[i].root)
            tree_release(r->tree, r->held[i].root, &garbage);
    garbage_free(&garbage);
    CU_ASSERT_EQUAL(tree_dead_bytes(r->tree), 0);
    tree_free(r->tree);
    for (int i = 0; i < KEYS; i++)
        object_unref(r->keys[i]);
}

static void test_random(void)
{
    for (unsigned seed = 1; seed <= 6; seed++) {
        struct run r = {.tree = tree_new(), .seed = seed, .version = 1};

        make_keys(&r);
        for (int step = 0; step < 3000; step++) {
            struct garbage garbage = {0};
            int bias = step / 500 % 2 ? 20 : 80; /* grows, then shrinks */

            for (int n = rand_r(&r.seed) % 4; n >= 0; n--)
                edit(&r, bias);
            tree_publish(r.tree, r.version, &garbage);
            garbage_free(&garbage);
            check_seek(&r);
            if (step % 3 == 0)
                swap_held(&r);
            if (step % 100 == 0)
                check_root(&r, tree_current(r.tree), &r.now);
        }
        finish(&r);
    }
}

static void test_build(void)
{
    static const size_t sizes[] = {0, 1, 27, 28, 29, 100, KEYS};

    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
        struct run r = {.tree = tree_new(), .seed = 7, .version = KEYS};
        struct object *copies[KEYS];
        struct garbage garbage = {0};

        make_keys(&r);
        for (size_t i = 0; i < sizes[s]; i++) {
            copies[i] = object_at_revision(r.keys[i], (int64_t)i + 1);
            r.now.version[i] = (int64_t)i + 1;
        }
        tree_build(r.tree, copies, sizes[s]);
        tree_publish(r.tree, r.version, &garbage);
        check_root(&r, tree_current(r.tree), &r.now);
        r.held[0].root = tree_acquire(r.tree);
        for (int i = 0; i < 500; i++)
            edit(&r, 50);
        tree_publish(r.tree, r.version, &garbage);
        garbage_free(&garbage);
        check_root(&r, tree_current(r.tree), &r.now);
        finish(&r);
    }
}

static void test_order(void)
{
    CU_ASSERT(key_cmp(STR("a-b"), STR("x"), STR("a"), STR("x")) < 0); /* '-' is below '/' */
    CU_ASSERT(key_cmp(STR("a"), STR("x"), STR("a0"), STR("x")) < 0);
    CU_ASSERT(key_cmp(STR(""), STR("x"), STR("a"), STR("x")) < 0);
    CU_ASSERT(key_cmp(STR("a"), STR("x"), STR("a"), STR("xy")) < 0);
    CU_ASSERT(key_cmp(STR("a"), STR("x"), STR("a"), STR("x")) == 0);
}

const CU_TestInfo cache_tree_tests[] = {
    {"random edits with held roots", test_random},
    {"built at once", test_build},
    {"key order", test_order},
    CU_TEST_INFO_NULL,
};
