/* Tables of cases: reading the files, comparing, reporting. */
#include "tests/unit/cases.h"

#include <CUnit/CUnit.h>

#include "common/file.h"

struct reader {
    const char *name;
    case_fn *run;
    struct str rest;
    int line, count;
};

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static void unescape(struct str s, struct strbuf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\\' || i + 1 == s.n) {
            strbuf_add_char(out, s.p[i]);
            continue;
        }
        char c = s.p[++i];
        if (c == 'x' && i + 2 < s.n) {
            strbuf_add_char(out, (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
            i += 2;
        } else {
            strbuf_add_char(out, c == 'n' ? '\n' : c == 't' ? '\t' : c);
        }
    }
}

static void check(struct reader *r, int line, struct str input, struct str expected)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    r->count++;
    r->run(input, &out);
    bool equal = str_eq(strbuf_str(&out), expected);
    if (!equal)
        printf("\n%s.test:%d:\n  input    %.*s\n  expected %.*s\n  got      %s\n", r->name, line,
            STR_FMT(input), STR_FMT(expected), out.data);
    CU_assertImplementation(equal, (unsigned)line, r->name, r->name, "", CU_FALSE);
}

static bool next_line(struct reader *r, struct str *ret)
{
    r->line++;
    return str_split(&r->rest, '\n', ret);
}

static void run_line(struct reader *r, struct str line)
{
    autostrbuf struct strbuf input = STRBUF_EMPTY, expected = STRBUF_EMPTY;
    const char *arrow = memmem(line.p, line.n, " => ", 4);
    if (!arrow) {
        printf("\n%s.test:%d: no => in the line\n", r->name, r->line);
        CU_FAIL("bad case file");
        return;
    }
    size_t n = (size_t)(arrow - line.p);
    unescape(str_range(line.p, n), &input);
    unescape(str_range(arrow + 4, line.n - n - 4), &expected);
    check(r, r->line, strbuf_str(&input), strbuf_str(&expected));
}

/* Reads up to the next "===", which stays unread. */
static void run_block(struct reader *r)
{
    autostrbuf struct strbuf input = STRBUF_EMPTY, expected = STRBUF_EMPTY;
    struct strbuf *into = &input;
    struct str line;
    int from = r->line;

    while (!str_starts(r->rest, STR("===")) && next_line(r, &line)) {
        if (into == &input && str_eq(line, STR(">>>"))) {
            into = &expected;
            continue;
        }
        strbuf_add(into, line);
        strbuf_add_char(into, '\n');
    }
    struct str wanted = strbuf_str(&expected);
    while (wanted.n > 1 && wanted.p[wanted.n - 2] == '\n')
        wanted.n--; /* blank lines before the next block */
    check(r, from, strbuf_str(&input), wanted);
}

void cases_run(const char *name, case_fn *run)
{
    autofree char *path = str_format("%s/%s.test", UNIT_CASES, name);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;
    struct reader r = {.name = name, .run = run};
    struct str line;

    if (file_read(path, 16u << 20, &text, &err) < 0) {
        printf("\n%s\n", err.text);
        CU_FAIL("case file can't be read");
        return;
    }
    r.rest = strbuf_str(&text);
    while (next_line(&r, &line)) {
        if (str_starts(line, STR("===")))
            run_block(&r);
        else if (line.n > 0 && line.p[0] != '#')
            run_line(&r, line);
    }
    CU_ASSERT(r.count > 0);
}
