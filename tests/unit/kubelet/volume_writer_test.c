/* Atomic volumes, on a real folder. */
#include <CUnit/CUnit.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/time.h"
#include "kubelet/volume/writer.h"

static void add(struct volume_content *content, const char *path, const char *data)
{
    struct error err;
    CU_ASSERT_EQUAL_FATAL(volume_content_add(content, path, str_of(data), 0640, -1, &err), 0);
}

static bool holds(const char *dir, const char *name, const char *expected)
{
    autofree char *path = str_format("%s/%s", dir, name);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;

    strbuf_init(&text, 0);
    return file_read(path, 1000, &text, &err) == 0 && c_eq(text.data, expected);
}

static char *data_link(const char *dir)
{
    autofree char *path = str_format("%s/..data", dir);
    char target[256] = "";

    CU_ASSERT_FATAL(readlink(path, target, sizeof(target) - 1) > 0);
    return xstrdup(target);
}

static void test_write(void)
{
    char root[] = "/tmp/writer-test-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    autofree char *dir = str_format("%s/v", root);
    struct volume_content content = {0}, next = {0};
    struct error err;
    struct stat st;

    add(&content, "a", "1");
    add(&content, "sub/b", "2");
    add(&content, "gone", "3");
    CU_ASSERT_EQUAL_FATAL(volume_write(dir, &content, -1, 1700000000000000001, &err), 0);
    CU_ASSERT(holds(dir, "a", "1") && holds(dir, "sub/b", "2"));
    autofree char *path = str_format("%s/a", dir);
    CU_ASSERT(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
    autofree char *first = data_link(dir);
    CU_ASSERT_STRING_EQUAL(first, "..2023_11_14_22_13_20.000000001");
    /* The same content again: nothing moves. */
    CU_ASSERT_EQUAL(volume_write(dir, &content, -1, 1700000001000000000, &err), 0);
    autofree char *same = data_link(dir);
    CU_ASSERT_STRING_EQUAL(first, same);
    add(&next, "a", "one");
    add(&next, "sub/b", "2");
    CU_ASSERT_EQUAL_FATAL(volume_write(dir, &next, -1, 1700000002000000000, &err), 0);
    CU_ASSERT(holds(dir, "a", "one") && holds(dir, "sub/b", "2"));
    autofree char *gone = str_format("%s/gone", dir), *old = str_format("%s/%s", dir, first);
    CU_ASSERT(lstat(gone, &st) < 0 && lstat(old, &st) < 0);
    volume_content_done(&content);
    volume_content_done(&next);
    CU_ASSERT_EQUAL(file_remove_tree(root, &err), 0);
}

static void test_paths(void)
{
    static const char *const refused[] = {"", "/abs", "../up", "a/../b", "a//b", "..data", "a/./b"};
    struct volume_content content = {0};
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(refused); i++)
        CU_ASSERT_EQUAL(
            volume_content_add(&content, refused[i], STR("x"), 0644, -1, &err), -ERR_INVALID);
    CU_ASSERT_EQUAL(content.count, 0);
}

extern const CU_TestInfo volume_writer_tests[];
const CU_TestInfo volume_writer_tests[] = {
    {"write, keep, replace", test_write},
    {"paths that leave the volume", test_paths},
    CU_TEST_INFO_NULL,
};
