/*
 * Command-line flags from a table: long options with upstream's names, `--name value` or
 * `--name=value`.
 *
 *     static const struct flag flags[] = {
 *         {"secure-port", FLAG_INT, offsetof(struct config, secure_port), "6443", "N", "port to
 * listen on"},
 *     };
 *     int first_argument = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &config, &err);
 *
 * A letter is `-n value`, `-nvalue` or `-n=value`; letters without a value may be joined: `-wA`.
 * `--help` and `-h` print the table to standard output and are reported as FLAGS_HELP. Unknown
 * flags and bad values are ERR_USAGE and name the flag. Arguments may stand between flags; argv is
 * permuted so that they come last. "--" ends flags.
 */
#pragma once

#include "common/str.h"

enum flag_type { FLAG_BOOL, FLAG_INT, FLAG_STRING, FLAG_DURATION, FLAG_STRINGS };

struct flag {
    const char *name;    /* without dashes; one letter alias as "namespace,n" */
    enum flag_type type; /* bool, int64_t, const char *, int64_t ns, struct flag_strings */
    size_t offset;
    const char *otherwise; /* default as text, or NULL for false, 0, NULL */
    const char *argument;  /* shown in help: "DIR" */
    const char *help;
};

struct flag_strings {
    const char **values;
    size_t count;
};

#define FLAGS_HELP 1000000

/* Index of the first argument that is no flag, FLAGS_HELP, or -ERR_USAGE. Strings point into argv.
 */
int flags_parse(
    const struct flag *flags, size_t count, int argc, char **argv, void *config, struct error *err);
void flags_print_help(const struct flag *flags, size_t count, struct strbuf *out);
