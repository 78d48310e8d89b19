/* Flags: forms, defaults, errors, order of arguments. */
#include "common/flags.h"

#include <CUnit/CUnit.h>
#include <stddef.h>

#include "common/daemon.h"
#include "common/time.h"

struct config {
    bool all, quiet;
    int64_t port, timeout_ns;
    const char *namespace_;
    struct flag_strings labels;
    struct daemon_flags daemon;
};

static const struct flag flags[] = {
    {"all-namespaces,A", FLAG_BOOL, offsetof(struct config, all), NULL, NULL, "every namespace"},
    {"quiet,q", FLAG_BOOL, offsetof(struct config, quiet), "true", NULL, "say less"},
    {"port", FLAG_INT, offsetof(struct config, port), "6443", "N", "port to listen on"},
    {"timeout", FLAG_DURATION, offsetof(struct config, timeout_ns), "10s", "DURATION", "how long"},
    {"namespace,n", FLAG_STRING, offsetof(struct config, namespace_), NULL, "NAME",
        "the namespace"},
    {"label,l", FLAG_STRINGS, offsetof(struct config, labels), "x=y", "K=V", "may be repeated"},
    DAEMON_FLAGS(struct config, daemon),
};

/* Splits a command line at spaces; *ret_argv has room for 32. */
static int split_line(const char *line, char *copy, char **argv)
{
    int argc = 0;
    memcpy(copy, line, strlen(line) + 1);
    for (char *save, *part = strtok_r(copy, " ", &save); part; part = strtok_r(NULL, " ", &save))
        argv[argc++] = part;
    argv[argc] = NULL;
    return argc;
}

static void print(const struct config *c, int first, int argc, char **argv, struct strbuf *out)
{
    strbuf_addf(out, "all=%d quiet=%d port=%d timeout=%dms ns=%s v=%d labels=", c->all, c->quiet,
        (int)c->port, (int)(c->timeout_ns / NS_PER_MS), c->namespace_ ? c->namespace_ : "-",
        (int)c->daemon.v);
    for (size_t i = 0; i < c->labels.count; i++)
        strbuf_addf(out, "%s,", c->labels.values[i]);
    for (int i = first; i < argc; i++)
        strbuf_addf(out, " [%s]", argv[i]);
}

static void command_lines(void)
{
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"p", "all=0 quiet=1 port=6443 timeout=10000ms ns=- v=0 labels=x=y,"},
        {"p --port 1 --port=2 a", "all=0 quiet=1 port=2 timeout=10000ms ns=- v=0 labels=x=y, [a]"},
        {"p a -n x b --all-namespaces c",
            "all=1 quiet=1 port=6443 timeout=10000ms ns=x v=0 labels=x=y, [a] [b] [c]"},
        {"p -nx -qA -l a=1 -l=b=2 --label c",
            "all=1 quiet=1 port=6443 timeout=10000ms ns=x v=0 labels=a=1,b=2,c,"},
        {"p --quiet=false -A=true --timeout 1m30s",
            "all=1 quiet=0 port=6443 timeout=90000ms ns=- v=0 labels=x=y,"},
        {"p -v 4 x -- --port -n",
            "all=0 quiet=1 port=6443 timeout=10000ms ns=- v=4 labels=x=y, [x] [--port] [-n]"},
        {"p -v=3 --v=5 -", "all=0 quiet=1 port=6443 timeout=10000ms ns=- v=5 labels=x=y, [-]"},
        {"p -An x", "all=1 quiet=1 port=6443 timeout=10000ms ns=x v=0 labels=x=y,"},
        {"p --port", "flag needs an argument: --port"},
        {"p a -n", "flag needs an argument: -n"},
        {"p --port x", "--port: \"x\" is not a number"},
        {"p --timeout 5", "--timeout: time: missing unit in duration \"5\""},
        {"p --quiet=maybe", "--quiet,q takes true or false, not \"maybe\""},
        {"p --nothing=1", "unknown flag: --nothing"},
        {"p -x", "unknown shorthand flag: 'x' in -x"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autostrbuf struct strbuf out = STRBUF_EMPTY;
        char copy[200], *argv[32];
        struct config c;
        struct error err;
        int argc = split_line(cases[i].line, copy, argv);
        int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &c, &err);
        if (first < 0)
            strbuf_addc(&out, err.text);
        else
            print(&c, first, argc, argv, &out);
        CU_ASSERT(first >= 0 || first == -ERR_USAGE);
        CU_ASSERT_STRING_EQUAL(out.data, cases[i].expected);
        free(c.labels.values);
    }
}

static void help(void)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    flags_print_help(flags, 5, &out);
    CU_ASSERT_STRING_EQUAL(out.data, "  -A, --all-namespaces    every namespace\n"
                                     "  -q, --quiet             say less (default true)\n"
                                     "      --port N            port to listen on (default 6443)\n"
                                     "      --timeout DURATION  how long (default 10s)\n"
                                     "  -n, --namespace NAME    the namespace\n");
}

const CU_TestInfo flags_tests[] = {
    {"command lines", command_lines},
    {"help", help},
    CU_TEST_INFO_NULL,
};
