/* Blocks of JSON trees come back, go between threads, and none is left. */
#include "common/json_pool.h"

#include <CUnit/CUnit.h>
#include <pthread.h>

#include "common/json.h"

#define TEXT "{\"name\":\"a name that is longer than most of them\",\"list\":[1,2,{\"x\":true}]}"

static void *delete_tree(void *tree)
{
    cJSON_Delete(tree);
    return NULL;
}

static void *use_pool(void *arg)
{
    pthread_t other;
    struct error err;
    cJSON *tree, *again;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    CU_ASSERT_EQUAL_FATAL(json_parse(STR(TEXT), &tree, &err), 0);
    cJSON *node = tree->child->next;
    cJSON_Delete(tree);
    CU_ASSERT_EQUAL_FATAL(json_parse(STR(TEXT), &again, &err), 0);
    bool reused = false;
    for (cJSON *item = again->child; item; item = item->next)
        reused = reused || item == node || item->child == node;
    CU_ASSERT_TRUE(reused);
    json_set_string(again, "more", "text"); /* a name of malloc's in a tree of the pool's */
    json_print(again, &text);
    CU_ASSERT_TRUE(str_eq(strbuf_str(&text),
        STR("{\"name\":\"a name that is longer than most of them\",\"list\":[1,2,{\"x\":true}],"
            "\"more\":\"text\"}")));
    CU_ASSERT_EQUAL_FATAL(pthread_create(&other, NULL, delete_tree, again), 0);
    pthread_join(other, NULL);
    return NULL;
}

/* More than a list takes. */
static void *use_many(void *arg)
{
    cJSON *list = cJSON_CreateArray();

    for (int i = 0; i < 3 * JSON_POOL_BLOCKS; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(i));
    cJSON_Delete(list);
    return NULL;
}

static void test_reuse_across_threads(void)
{
    static void *(*const uses[])(void *) = {use_pool, use_many};
    pthread_t thread;

    json_pool_start();
    for (size_t i = 0; i < ARRAY_COUNT(uses); i++) {
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, uses[i], NULL), 0);
        pthread_join(thread, NULL); /* and the leak checker sees that nothing stays */
    }
    cJSON_InitHooks(NULL);
}

const CU_TestInfo json_pool_tests[] = {
    {"reuse across threads", test_reuse_across_threads},
    CU_TEST_INFO_NULL,
};
