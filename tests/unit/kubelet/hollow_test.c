/* The pretend runtime keeps the table's promises. */
#include <CUnit/CUnit.h>

#include "kubelet/hollow/hollow.h"

static void test_life(void)
{
    struct env *env = env_new_real();
    struct runtime *rt = hollow_runtime_new(env);
    struct container_spec spec = {
        .name = "n", .uid = "u", .namespace_ = "ns", .pod = "p", .container = SANDBOX_NAME};
    struct container_info *info = NULL;
    struct container_list list = {0};
    struct error err;
    autofree char *id = NULL;

    CU_ASSERT_EQUAL_FATAL(rt->ops->create(rt, &spec, &id, &err), 0);
    CU_ASSERT_EQUAL(rt->ops->inspect(rt, id, &info, &err), 0);
    CU_ASSERT_EQUAL(info->state, CONTAINER_CREATED);
    CU_ASSERT(container_is_sandbox(info));
    container_info_unref(info);
    CU_ASSERT_EQUAL(rt->ops->start(rt, id, &err), 0);
    CU_ASSERT_EQUAL(rt->ops->inspect(rt, id, &info, &err), 0);
    CU_ASSERT_EQUAL(info->state, CONTAINER_RUNNING);
    container_info_unref(info);
    CU_ASSERT_EQUAL(rt->ops->signal(rt, id, "SIGTERM", &err), 0);
    CU_ASSERT_EQUAL(rt->ops->inspect(rt, id, &info, &err), 0);
    CU_ASSERT_EQUAL(info->state, CONTAINER_EXITED);
    CU_ASSERT(info->finished_ns >= info->started_ns);
    container_info_unref(info);
    CU_ASSERT_EQUAL(rt->ops->list(rt, &list, &err), 0);
    CU_ASSERT_EQUAL(list.count, 1);
    container_list_done(&list);
    CU_ASSERT_EQUAL(rt->ops->remove(rt, id, &err), 0);
    CU_ASSERT_EQUAL(rt->ops->inspect(rt, id, &info, &err), -ERR_NOT_FOUND);
    rt->ops->free(rt);
    env_free(env);
}

extern const CU_TestInfo hollow_tests[];
const CU_TestInfo hollow_tests[] = {{"a container's life", test_life}, CU_TEST_INFO_NULL};
