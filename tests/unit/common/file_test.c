/* Files: whole reads, atomic writes, trees. */
#include "common/file.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <unistd.h>

static char *in_dir(const char *dir, const char *name)
{
    return str_format("%s/%s", dir, name);
}

static char *new_dir(void)
{
    char *dir = xstrdup("/tmp/skiff-unit-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    return dir;
}

static void reads_and_writes(void)
{
    autofree char *dir = new_dir();
    autofree char *path = in_dir(dir, "a/b/c"), *folder = in_dir(dir, "a/b"),
                  *file = in_dir(dir, "a/b/x");
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;
    struct stat st;

    CU_ASSERT_EQUAL(file_make_dirs(path, 0700, &err), 0);
    CU_ASSERT_EQUAL(file_make_dirs(folder, 0700, &err), 0);
    CU_ASSERT_EQUAL(file_write(file, STR("hello"), 0640, &err), 0);
    CU_ASSERT_EQUAL(file_write(file, STR("world"), 0600, &err), 0);
    CU_ASSERT_EQUAL(stat(file, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
    CU_ASSERT_EQUAL(file_read(file, 5, &text, &err), 0);
    CU_ASSERT_STRING_EQUAL(text.data, "world");
    CU_ASSERT_EQUAL(file_read(file, 4, &text, &err), -ERR_TOO_LARGE);
    CU_ASSERT_EQUAL(file_read("/nonexistent/x", 4, &text, &err), -ERR_NOT_FOUND);
    CU_ASSERT_EQUAL(file_read(dir, 4, &text, &err), -ERR_SYSTEM);
    CU_ASSERT_EQUAL(err.sys_errno, EISDIR);
    CU_ASSERT_EQUAL(file_make_dirs(file, 0700, &err), -ERR_SYSTEM);
    CU_ASSERT_EQUAL(file_write("/nonexistent/x", STR(""), 0600, &err), -ERR_SYSTEM);
    CU_ASSERT(file_exists(file));
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
    CU_ASSERT(!file_exists(dir));
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
}

static void a_failed_write_leaves_nothing(void)
{
    autofree char *dir = new_dir();
    autofree char *target = in_dir(dir, "t"), *command = in_dir(dir, "t/inside");
    struct error err;
    CU_ASSERT_EQUAL(file_make_dirs(command, 0700, &err), 0);
    CU_ASSERT_EQUAL(file_write(target, STR("x"), 0600, &err), -ERR_SYSTEM); /* t is a folder */
    CU_ASSERT_EQUAL(file_remove_tree(command, &err), 0);
    CU_ASSERT_EQUAL(rmdir(target), 0);
    CU_ASSERT_EQUAL(rmdir(dir), 0); /* so no temporary file was left */
}

static void links_are_not_followed(void)
{
    autofree char *dir = new_dir(), *other = new_dir();
    autofree char *kept = in_dir(other, "kept"), *link_path = in_dir(dir, "link"),
                  *sub = in_dir(dir, "sub/deep");
    struct error err;
    CU_ASSERT_EQUAL(file_write(kept, STR("x"), 0600, &err), 0);
    CU_ASSERT_EQUAL(file_make_dirs(sub, 0700, &err), 0);
    CU_ASSERT_EQUAL(symlink(other, link_path), 0);
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
    CU_ASSERT(file_exists(kept) && !file_exists(dir));
    CU_ASSERT_EQUAL(file_remove_tree(other, &err), 0);
}

const CU_TestInfo file_tests[] = {
    {"reads and writes", reads_and_writes},
    {"a failed write leaves nothing", a_failed_write_leaves_nothing},
    {"links are not followed", links_are_not_followed},
    CU_TEST_INFO_NULL,
};
