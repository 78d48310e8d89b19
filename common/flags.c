/*
 * Command-line flags: one pass over argv by the table, then a stable split into flags and
 * arguments.
 *
 * A value stays a pointer into argv. The arrays of FLAG_STRINGS are the only memory taken; they
 * live as long as the configuration, which is the process's life.
 */
#include "common/flags.h"

#include "common/time.h"

struct parser {
    const struct flag *flags;
    size_t count;
    int argc;
    char **argv;
    void *config;
    struct error *err;
    int at;           /* argv index being read */
    char **arguments; /* what is no flag, in order */
    int argument_count;
};

/* "namespace,n": the long name, and its letter or NUL. */
static struct str long_name(const struct flag *f, char *ret_letter)
{
    struct str name = str_of(f->name);
    ssize_t comma = str_find(name, ',');
    *ret_letter = comma >= 0 ? name.p[comma + 1] : name.n == 1 ? name.p[0] : '\0';
    return comma >= 0 ? str_range(name.p, (size_t)comma) : name;
}

static const struct flag *find_long(const struct parser *p, struct str name)
{
    char letter;
    for (size_t i = 0; i < p->count; i++)
        if (str_eq(long_name(&p->flags[i], &letter), name))
            return &p->flags[i];
    return NULL;
}

static const struct flag *find_letter(const struct parser *p, char wanted)
{
    char letter;
    for (size_t i = 0; i < p->count; i++) {
        long_name(&p->flags[i], &letter);
        if (letter == wanted)
            return &p->flags[i];
    }
    return NULL;
}

static int set_bool(const struct flag *f, const char *value, bool *ret, struct error *err)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {
        {"true", true}, {"1", true}, {"t", true}, {"false", false}, {"0", false}, {"f", false}};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (!strcmp(words[i].text, value)) {
            *ret = words[i].value;
            return 0;
        }
    }
    return error_set(err, ERR_USAGE, "--%s takes true or false, not \"%s\"", f->name, value);
}

static int set_value(const struct flag *f, const char *value, void *config, struct error *err)
{
    void *field = (char *)config + f->offset;
    struct error why;
    char letter;
    struct str name = long_name(f, &letter);

    switch (f->type) {
    case FLAG_BOOL:
        return set_bool(f, value, field, err);
    case FLAG_INT:
        if (str_parse_int64(str_of(value), field, &why) < 0)
            return error_set(err, ERR_USAGE, "--%.*s: %s", STR_FMT(name), why.text);
        return 0;
    case FLAG_DURATION:
        if (duration_parse(str_of(value), field, &why) < 0)
            return error_set(err, ERR_USAGE, "--%.*s: %s", STR_FMT(name), why.text);
        return 0;
    case FLAG_STRING:
        *(const char **)field = value;
        return 0;
    case FLAG_STRINGS:
        break;
    }
    struct flag_strings *list = field;
    list->values = xrealloc(list->values, (list->count + 1) * sizeof(*list->values));
    list->values[list->count++] = value;
    return 0;
}

static int set_defaults(const struct parser *p)
{
    static const size_t bytes[] = {[FLAG_BOOL] = sizeof(bool),
        [FLAG_INT] = sizeof(int64_t),
        [FLAG_STRING] = sizeof(char *),
        [FLAG_DURATION] = sizeof(int64_t),
        [FLAG_STRINGS] = sizeof(struct flag_strings)};
    for (size_t i = 0; i < p->count; i++) {
        const struct flag *f = &p->flags[i];
        memset((char *)p->config + f->offset, 0, bytes[f->type]);
        if (f->otherwise && f->type != FLAG_STRINGS) {
            int r = set_value(f, f->otherwise, p->config, p->err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* A list keeps its default until the flag is given. */
static int set_list_defaults(const struct parser *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct flag *f = &p->flags[i];
        if (f->type != FLAG_STRINGS || !f->otherwise)
            continue;
        const struct flag_strings *list = (const void *)((char *)p->config + f->offset);
        int r = list->count ? 0 : set_value(f, f->otherwise, p->config, p->err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The next argv element as the value of f. */
static int set_from_next(struct parser *p, const struct flag *f, const char *shown)
{
    if (p->at + 1 >= p->argc)
        return error_set(p->err, ERR_USAGE, "flag needs an argument: %s", shown);
    return set_value(f, p->argv[++p->at], p->config, p->err);
}

static int parse_long(struct parser *p, const char *text)
{
    const char *equals = strchr(text, '=');
    struct str name = str_range(text, equals ? (size_t)(equals - text) : strlen(text));
    const struct flag *f = find_long(p, name);

    if (!f && !equals && str_eq(name, STR("help")))
        return FLAGS_HELP;
    if (!f)
        return error_set(p->err, ERR_USAGE, "unknown flag: --%.*s", STR_FMT(name));
    if (equals)
        return set_value(f, equals + 1, p->config, p->err);
    if (f->type == FLAG_BOOL)
        return set_value(f, "true", p->config, p->err);
    char shown[80];
    snprintf(shown, sizeof(shown), "--%.*s", STR_FMT(name));
    return set_from_next(p, f, shown);
}

/* "-n value", "-nvalue", "-n=value", and several letters without value: "-wA". */
static int parse_letters(struct parser *p, const char *text)
{
    for (; *text; text++) {
        const struct flag *f = find_letter(p, *text);
        if (!f && *text == 'h')
            return FLAGS_HELP;
        if (!f)
            return error_set(p->err, ERR_USAGE, "unknown shorthand flag: '%c' in -%s", *text, text);
        if (text[1] == '=')
            return set_value(f, text + 2, p->config, p->err);
        if (f->type != FLAG_BOOL && text[1])
            return set_value(f, text + 1, p->config, p->err);
        if (f->type != FLAG_BOOL)
            return set_from_next(p, f, (const char[]){'-', *text, '\0'});
        int r = set_value(f, "true", p->config, p->err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_all(struct parser *p, char **kept, int *kept_count)
{
    for (p->at = 1; p->at < p->argc; p->at++) {
        char *text = p->argv[p->at];
        int from = p->at, r = 0;
        if (!strcmp(text, "--")) {
            kept[(*kept_count)++] = text;
            while (++p->at < p->argc)
                p->arguments[p->argument_count++] = p->argv[p->at];
            return 0;
        }
        if (text[0] != '-' || !text[1]) {
            p->arguments[p->argument_count++] = text;
            continue;
        }
        r = text[1] == '-' ? parse_long(p, text + 2) : parse_letters(p, text + 1);
        if (r)
            return r;
        for (int i = from; i <= p->at; i++)
            kept[(*kept_count)++] = p->argv[i];
    }
    return 0;
}

int flags_parse(
    const struct flag *flags, size_t count, int argc, char **argv, void *config, struct error *err)
{
    autofree char **kept = xcalloc((size_t)argc + 1, sizeof(char *));
    autofree char **arguments = xcalloc((size_t)argc + 1, sizeof(char *));
    struct parser p = {flags, count, argc, argv, config, err, .arguments = arguments};
    int kept_count = 0;

    int r = set_defaults(&p);
    if (r == 0)
        r = parse_all(&p, kept, &kept_count);
    if (r == FLAGS_HELP) {
        autostrbuf struct strbuf help = STRBUF_EMPTY;
        flags_print_help(flags, count, &help);
        fputs(help.data, stdout);
        return r;
    }
    if (r == 0)
        r = set_list_defaults(&p);
    if (r < 0)
        return r;
    for (int i = 0; i < kept_count; i++)
        argv[1 + i] = kept[i];
    for (int i = 0; i < p.argument_count; i++)
        argv[1 + kept_count + i] = arguments[i];
    return argc > 0 ? 1 + kept_count : 0;
}

/* "  -n, --namespace NAME" */
static void print_left(const struct flag *f, struct strbuf *out)
{
    char letter;
    struct str name = long_name(f, &letter);
    if (letter)
        strbuf_addf(out, "  -%c", letter);
    else
        strbuf_addc(out, "    ");
    if (name.n > 1)
        strbuf_addf(out, "%s --%.*s", letter ? "," : " ", STR_FMT(name));
    if (f->argument && f->type != FLAG_BOOL)
        strbuf_addf(out, " %s", f->argument);
}

void flags_print_help(const struct flag *flags, size_t count, struct strbuf *out)
{
    autostrbuf struct strbuf left = STRBUF_EMPTY;
    size_t width = 0;
    for (size_t i = 0; i < count; i++) {
        strbuf_clear(&left);
        print_left(&flags[i], &left);
        width = left.n > width && left.n <= 36 ? left.n : width;
    }
    for (size_t i = 0; i < count; i++) {
        const struct flag *f = &flags[i];
        strbuf_clear(&left);
        print_left(f, &left);
        strbuf_addf(out, "%-*s  %s", (int)width, left.data, f->help ? f->help : "");
        if (f->otherwise && *f->otherwise &&
            !(f->type == FLAG_BOOL && !strcmp(f->otherwise, "false")))
            strbuf_addf(out, " (default %s)", f->otherwise);
        strbuf_add_char(out, '\n');
    }
}
