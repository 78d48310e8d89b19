/* Log lines: form, quoting, levels, and what repeats too fast. */
#include "common/log.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "common/json.h"

/* Runs fn with standard error caught in a pipe. */
static char *caught(void (*fn)(void))
{
    int ends[2], saved = dup(2);
    struct strbuf out;
    CU_ASSERT_FATAL(pipe2(ends, O_CLOEXEC) == 0);
    dup2(ends[1], 2);
    fn();
    dup2(saved, 2);
    close(saved);
    close(ends[1]);
    strbuf_init(&out, 0);
    ssize_t n;
    while ((n = read(ends[0], strbuf_reserve(&out, 4096), 4096)) > 0)
        strbuf_commit(&out, (size_t)n);
    close(ends[0]);
    return strbuf_steal(&out);
}

static void one_line(void)
{
    log_info("pod bound", "pod", "%s/%s", "default", "web-0", "n", "%d", -4, "took", "%" PRIu64,
        (uint64_t)7, "view", "%.*s", 2, "abc", "quoted", "%s", "a b\n", "empty", "%s", "", "x",
        "%zu %x%%", (size_t)9, 255u, NULL);
}

static void the_form_of_a_line(void)
{
    autofree char *text = caught(one_line);
    CU_ASSERT_EQUAL(text[23], 'Z');
    CU_ASSERT_STRING_EQUAL(text + 24,
        " I tests/unit/common/log_test: pod bound pod=default/web-0 n=-4 took=7 view=ab "
        "quoted=\"a b\\n\" empty=\"\" x=\"9 ff%\"\n");
}

static void json_lines_are_json(void)
{
    autojson cJSON *tree = NULL;
    struct error err;
    log_set_json(true);
    autofree char *text = caught(one_line);
    log_set_json(false);
    CU_ASSERT_EQUAL_FATAL(json_parse(str_of(text), &tree, &err), 0);
    CU_ASSERT_STRING_EQUAL(json_string(tree, "message"), "pod bound");
    CU_ASSERT_STRING_EQUAL(json_string(tree, "level"), "info");
    CU_ASSERT_STRING_EQUAL(json_string(tree, "quoted"), "a b\n");
}

static void debug_line(void)
{
    log_debug("hidden", NULL);
    log_set_level(LOG_DEBUG);
    log_debug("shown", NULL);
    log_set_level(LOG_INFO);
}

static void debug_is_off_by_default(void)
{
    autofree char *text = caught(debug_line);
    CU_ASSERT_PTR_NULL(strstr(text, "hidden"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " D tests/unit/common/log_test: shown\n"));
}

static void many_lines(void)
{
    for (int i = 0; i < 100; i++)
        log_warning("again", "i", "%d", i, NULL);
}

static void repeats_are_held_back(void)
{
    autofree char *text = caught(many_lines);
    size_t lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    CU_ASSERT(lines >= 10 && lines <= 20); /* two windows when a second passes meanwhile */
}

static void long_line(void)
{
    static char value[100000];
    memset(value, 'x', sizeof(value) - 1);
    log_error("big", "a", "%s", value, "b", "%s", "seen", NULL);
}

static void long_values_are_cut(void)
{
    autofree char *text = caught(long_line);
    CU_ASSERT(strlen(text) < 4096);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " b=seen\n"));
}

const CU_TestInfo log_tests[] = {
    {"the form of a line", the_form_of_a_line},
    {"JSON lines are JSON", json_lines_are_json},
    {"debug is off by default", debug_is_off_by_default},
    {"repeats are held back", repeats_are_held_back},
    {"long values are cut", long_values_are_cut},
    CU_TEST_INFO_NULL,
};
