/*
 * skiffctl: the list of commands, and the way from argv to one of them.
 */
#include "ctl/command.h"

#include <errno.h>

#include "common/daemon.h"

#define COMMAND(name) extern const struct command command_##name;
#include "ctl/commands.def"
#undef COMMAND

static const struct command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "ctl/commands.def"
#undef COMMAND
};

static void print_usage(FILE *out)
{
    fprintf(out, "skiffctl runs and uses a Skiff cluster: Kubernetes in a few megabytes.\n\n"
                 "Usage: skiffctl COMMAND [flags] [arguments]\n\nCommands:\n");
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\n`skiffctl COMMAND --help` explains one. The quickest start:\n\n"
                 "  skiffctl up                          # a cluster on this machine\n"
                 "  skiffctl apply -f manifests/guestbook\n"
                 "  skiffctl get pods -w\n");
}

static void print_command_help(const struct command *c)
{
    autostrbuf struct strbuf flags = STRBUF_EMPTY;
    strbuf_init(&flags, 0);
    flags_print_help(c->flags, c->flag_count, &flags);
    printf("Usage: skiffctl %s %s\n\n%s\n\n%s", c->name, c->usage, c->help,
        c->flag_count ? "Flags:\n" : "");
    fwrite(flags.data, 1, flags.n, stdout);
}

static void free_lists(const struct command *c, void *config)
{
    for (size_t i = 0; i < c->flag_count; i++)
        if (c->flags[i].type == FLAG_STRINGS)
            free(((struct flag_strings *)(void *)((char *)config + c->flags[i].offset))->values);
}

static int run_command(const struct command *c, int argc, char **argv)
{
    struct error err;
    autofree void *config = xcalloc(1, c->config_size + 1);
    for (int i = 1; i < argc && !c_eq(argv[i], "--"); i++) {
        if (c_eq(argv[i], "--help") || c_eq(argv[i], "-h")) {
            print_command_help(c);
            return EXIT_DONE;
        }
    }
    int first = flags_parse(c->flags, c->flag_count, argc, argv, config, &err);
    if (first < 0) {
        fprintf(stderr, "skiffctl %s: %s\nSee 'skiffctl %s --help'.\n", c->name, err.text, c->name);
        return EXIT_WRONG_USAGE;
    }
    int code = c->run(config, argc - first, argv + first);
    free_lists(c, config);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "skiffctl %s: writing the output: %s\n", c->name, strerror(errno));
    return code == EXIT_DONE ? EXIT_REQUEST_FAILED : code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_WRONG_USAGE;
    }
    if (c_eq(argv[1], "--help") || c_eq(argv[1], "-h") || c_eq(argv[1], "help")) {
        print_usage(stdout);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (c_eq(argv[1], commands[i]->name))
            return run_command(commands[i], argc - 1, argv + 1);
    fprintf(stderr, "skiffctl: unknown command \"%s\"\nSee 'skiffctl --help'.\n", argv[1]);
    return EXIT_WRONG_USAGE;
}
