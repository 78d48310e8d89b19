/*
 * skiffctl's commands: one file and one descriptor each, listed in main.c.
 *
 * run() gets the arguments behind the command's name and returns the exit code: 0 done, 1 the
 * request failed, 2 wrong usage. It prints results to stdout and everything else to stderr, in
 * colour and with a live line only where that is a terminal (ui.h).
 */
#pragma once

#include "common/flags.h"

enum { EXIT_DONE = 0, EXIT_REQUEST_FAILED = 1, EXIT_WRONG_USAGE = 2 };

struct command {
    const char *name;
    const char *usage;   /* "[flags]", "TYPE [NAME]" */
    const char *summary; /* one line for the list of commands */
    const char *help;    /* a paragraph and examples, for --help */
    const struct flag *flags;
    size_t flag_count;
    size_t config_size;                              /* of the struct that flags fill */
    int (*run)(void *config, int argc, char **argv); /* argv[0] is the first argument */
};

/* Says "skiffctl COMMAND: text" on stderr and returns code. */
int command_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
