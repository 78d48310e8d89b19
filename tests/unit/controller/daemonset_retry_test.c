/* How long failed daemon pods wait: doubling for each node and template, with an end. */
#include "controller/daemonset_retry.h"

#include <CUnit/CUnit.h>

#include "common/time.h"

/* The wait just after a note, in whole seconds; clocks may move a little between the two. */
static int64_t wait_s(struct daemon_retries *r, const char *hash, const char *node)
{
    return (daemon_retries_wait(r, "set", hash, node) + NS_PER_S - 1) / NS_PER_S;
}

static void test_doubles_to_the_longest(void)
{
    struct env *env = env_new_real();
    struct daemon_retries *r = daemon_retries_new(env);
    int64_t expected = 1;

    CU_ASSERT_EQUAL(wait_s(r, "hash", "node"), 0);
    for (int i = 0; i < 14; i++) {
        daemon_retries_note(r, "set", "hash", "node");
        CU_ASSERT_EQUAL(wait_s(r, "hash", "node"), expected);
        expected = expected < 450 ? 2 * expected : 900;
    }
    CU_ASSERT_EQUAL(expected, 900);
    daemon_retries_free(r);
    env_free(env);
}

static void test_each_node_and_template_apart(void)
{
    struct env *env = env_new_real();
    struct daemon_retries *r = daemon_retries_new(env);

    daemon_retries_note(r, "set", "old", "a");
    daemon_retries_note(r, "set", "old", "a");
    daemon_retries_note(r, "set", "new", "a");
    CU_ASSERT_EQUAL(wait_s(r, "old", "a"), 2);
    CU_ASSERT_EQUAL(wait_s(r, "new", "a"), 1);
    CU_ASSERT_EQUAL(wait_s(r, "old", "b"), 0);
    CU_ASSERT_EQUAL(daemon_retries_wait(r, "other", "old", "a"), 0);
    daemon_retries_free(r);
    env_free(env);
}

const CU_TestInfo daemonset_retry_tests[] = {
    {"doubles to the longest", test_doubles_to_the_longest},
    {"each node and template apart", test_each_node_and_template_apart},
    CU_TEST_INFO_NULL,
};
