/* Reading -f arguments. */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "ctl/resources.h"

static char dir[] = "/tmp/skiff-manifests.XXXXXX";

static char *put(const char *name, const char *text)
{
    struct error err;
    char *path = str_format("%s/%s", dir, name);
    CU_ASSERT_FATAL(file_write(path, str_of(text), 0600, &err) == 0);
    return path;
}

/* The names of the objects with spaces between, or "error: TEXT" with the folder's name as DIR;
 * heap. */
static char *names_of(const char *path)
{
    const char *values[] = {path};
    struct flag_strings files = {values, 1};
    autojson cJSON *all = NULL;
    struct error err;
    struct strbuf out;
    const cJSON *item;
    strbuf_init(&out, 0);
    if (manifests_read(&files, &all, &err) < 0) {
        const char *at = strstr(err.text, dir);
        strbuf_addf(&out, "error: %.*s%s%s", at ? (int)(at - err.text) : (int)strlen(err.text),
            err.text, at ? "DIR" : "", at ? at + strlen(dir) : "");
        return strbuf_steal(&out);
    }
    cJSON_ArrayForEach(item, all)
        strbuf_addf(&out, "%s%s", out.n ? " " : "", json_string_at(item, "metadata.name"));
    return strbuf_steal(&out);
}

static void check(const char *path, const char *expected)
{
    autofree char *names = names_of(path);
    if (!c_eq(names, expected))
        fprintf(stderr, "%s: %s, expected %s\n", path, names, expected);
    CU_ASSERT_STRING_EQUAL(names, expected);
}

#define OBJECT(name) "{apiVersion: v1, kind: Pod, metadata: {name: " name "}}\n"

static void files(void)
{
    struct error err;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    autofree char *two =
        put("20-two.yaml", "---\n" OBJECT("b") "---\n# nothing\n---\n" OBJECT("c"));
    autofree char *one = put(
        "10-one.json", "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}");
    autofree char *list =
        put("30-list.yml", "apiVersion: v1\nkind: List\nitems:\n- " OBJECT("d") "- " OBJECT("e"));
    free(put("README", "not: a manifest"));
    check(one, "a");
    check(two, "b c");
    check(list, "d e");
    check(dir, "a b c d e");
    int saved = dup(STDIN_FILENO), fd = open(two, O_RDONLY | O_CLOEXEC);
    dup2(fd, STDIN_FILENO);
    check("-", "b c");
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(fd);
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
}

static void errors(void)
{
    struct error err;
    snprintf(dir + strlen(dir) - 6, 7, "XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    autofree char *absent = str_format("%s/absent.yaml", dir);
    check(absent, "error: the path \"DIR/absent.yaml\" does not exist");
    autofree char *sub = str_format("%s/sub", dir);
    CU_ASSERT_EQUAL(file_make_dirs(sub, 0700, &err), 0);
    check(sub, "error: DIR/sub holds no .yaml, .yml or .json file");
    autofree char *kind =
        put("kind.yaml", OBJECT("a") "---\napiVersion: v1\nmetadata: {name: b}\n");
    check(kind, "error: DIR/kind.yaml: document 2: Object 'Kind' is missing");
    autofree char *version = put("version.yaml", "kind: Pod\n");
    check(version, "error: DIR/version.yaml: document 1: apiVersion is missing");
    autofree char *text = put("text.yaml", OBJECT("a") "---\njust text\n");
    check(text, "error: DIR/text.yaml: document 2: it is no object");
    autofree char *item = put("item.yaml", "apiVersion: v1\nkind: List\nitems: [3]\n");
    check(item, "error: DIR/item.yaml: document 1: it is no object");
    autofree char *empty = put("empty.yaml", "---\n# nothing\n");
    check(empty, "error: no objects passed to work on: the files hold none");
    autofree char *broken = put("broken.yaml", OBJECT("a") "---\na: [1\nb: 2\n");
    autofree char *why = names_of(broken);
    CU_ASSERT(str_starts(str_of(why), STR("error: DIR/broken.yaml: ")));
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "line "));
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
}

const CU_TestInfo manifests_tests[] = {
    {"files, folders, standard input and Lists", files},
    {"errors name the file and the document", errors},
    CU_TEST_INFO_NULL,
};
