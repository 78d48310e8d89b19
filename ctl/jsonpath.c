/*
 * kubectl's jsonpath templates: text, {.path}, {..name}, [n], [a:b], [*], ['a.b'], [?(@.x=="y")],
 * {"text"}, {range .x}...{end}. Unions and steps of slices are refused.
 *
 * A path is walked over a list of current values; each step replaces it by what it finds. Values
 * print as kubectl prints them: strings bare, the rest as JSON, several of one expression separated
 * by a space.
 */
#include "ctl/output.h"

#define DEPTH_MAX 16

struct values {
    const cJSON **items;
    size_t count;
};

static void push(struct values *v, const cJSON *item)
{
    if (!item)
        return;
    v->items = xrealloc(v->items, (v->count + 1) * sizeof(*v->items));
    v->items[v->count++] = item;
}

static void take_member(struct values *v, struct str name)
{
    struct values out = {0};
    autofree char *key = str_dup(name);
    for (size_t i = 0; i < v->count; i++) {
        const cJSON *item;
        if (!c_eq(key, "*")) {
            push(&out, json_get(v->items[i], key));
            continue;
        }
        cJSON_ArrayForEach(item, v->items[i]) push(&out, item);
    }
    free(v->items);
    *v = out;
}

/* Every value below, itself too: what {..} stands for. */
static void push_deep(struct values *v, const cJSON *item)
{
    const cJSON *child;
    push(v, item);
    cJSON_ArrayForEach(child, item) push_deep(v, child);
}

static void take_deep(struct values *v)
{
    struct values out = {0};
    for (size_t i = 0; i < v->count; i++)
        push_deep(&out, v->items[i]);
    free(v->items);
    *v = out;
}

/* The elements from..until of each array; negative numbers count from its end. */
static void take_slice(struct values *v, int64_t from, int64_t until)
{
    struct values out = {0};
    for (size_t i = 0; i < v->count; i++) {
        const cJSON *item;
        int64_t n = cJSON_IsArray(v->items[i]) ? cJSON_GetArraySize(v->items[i]) : 0, at = 0;
        int64_t first = from < 0 ? n + from : from, end = until < 0 ? n + until : until;
        cJSON_ArrayForEach(item, v->items[i])
        {
            if (n && at >= first && at < end)
                push(&out, item);
            at++;
        }
    }
    free(v->items);
    *v = out;
}

static int walk(const cJSON *from, struct str path, struct values *ret, struct error *err);

static void add_value(const cJSON *v, struct strbuf *out)
{
    if (cJSON_IsString(v)) {
        strbuf_addc(out, v->valuestring);
        return;
    }
    autojson cJSON *sorted = cJSON_Duplicate(v, true);
    json_sort(sorted);
    json_print(sorted, out);
}

/* Where s holds one of the characters outside of quotes (and, for ']', of inner brackets), else
 * NULL. */
static const char *find_unquoted(struct str s, const char *characters)
{
    char quote = 0;
    int depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quote && c == '\\')
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (depth == 0 && strchr(characters, c))
            return s.p + i;
        else
            depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    }
    return NULL;
}

enum compare { EXISTS, EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };

struct filter {
    struct str path;
    enum compare compare;
    struct str wanted;
};

static int parse_filter(struct str text, struct filter *ret, struct error *err)
{
    static const struct {
        struct str sign;
        enum compare compare;
    } signs[] = {{STR("=="), EQUAL}, {STR("!="), UNEQUAL}, {STR("<="), LESS_EQUAL},
        {STR(">="), GREATER_EQUAL}, {STR("<"), LESS}, {STR(">"), GREATER}};
    const char *sign = find_unquoted(text, "=!<>");
    *ret = (struct filter){.path = str_trim(text)};
    struct str rest = sign ? str_range(sign, text.n - (size_t)(sign - text.p)) : (struct str){0};
    for (size_t i = 0; sign && ret->compare == EXISTS && i < ARRAY_COUNT(signs); i++) {
        if (!str_starts(rest, signs[i].sign))
            continue;
        ret->compare = signs[i].compare;
        ret->path = str_trim(str_range(text.p, (size_t)(sign - text.p)));
        ret->wanted = str_trim(str_range(rest.p + signs[i].sign.n, rest.n - signs[i].sign.n));
    }
    if (!str_starts(ret->path, STR("@")) ||
        (sign && (ret->compare == EXISTS || ret->wanted.n == 0)))
        return error_set(err, ERR_BAD_REQUEST,
            "jsonpath: filter \"%.*s\" is not @.PATH or @.PATH==\"TEXT\"", STR_FMT(text));
    char quote = ret->wanted.n >= 2 ? ret->wanted.p[0] : 0;
    if ((quote == '"' || quote == '\'') && ret->wanted.p[ret->wanted.n - 1] == quote)
        ret->wanted = str_range(ret->wanted.p + 1, ret->wanted.n - 2);
    return 0;
}

static bool filter_holds(const struct filter *f, const cJSON *found)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    if (f->compare == EXISTS || !found)
        return found != NULL;
    strbuf_init(&text, 0);
    add_value(found, &text);
    if (f->compare == EQUAL || f->compare == UNEQUAL)
        return str_eq(strbuf_str(&text), f->wanted) == (f->compare == EQUAL);
    autofree char *wanted = str_dup(f->wanted);
    double difference = cJSON_IsNumber(found) ? strtod(text.data, NULL) - strtod(wanted, NULL)
                                              : strcmp(text.data, wanted);
    return f->compare == LESS            ? difference < 0
           : f->compare == LESS_EQUAL    ? difference <= 0
           : f->compare == GREATER_EQUAL ? difference >= 0
                                         : difference > 0;
}

/* Keeps the elements for which the filter holds. */
static int take_filter(struct values *v, struct str text, struct error *err)
{
    struct values out = {0}, nothing;
    struct filter f;
    if (parse_filter(text, &f, err) < 0 ||
        walk(NULL, f.path, &nothing, err) < 0) /* wrong even where it meets nothing */
        return -err->code;
    free(nothing.items);
    for (size_t i = 0; i < v->count; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, v->items[i])
        {
            struct values found;
            if (walk(item, f.path, &found, err) < 0) {
                free(out.items);
                return -err->code;
            }
            if (filter_holds(&f, found.count ? found.items[0] : NULL))
                push(&out, item);
            free(found.items);
        }
    }
    free(v->items);
    *v = out;
    return 0;
}

/* "n", "a:b", ":b", "a:" */
static int take_numbers(struct values *v, struct str inside, struct error *err)
{
    struct str rest = inside, first;
    int64_t from = 0, until = INT64_MAX;
    str_split(&rest, ':', &first);
    bool slice = first.n < inside.n;
    if ((!(slice && first.n == 0) && str_parse_int64(str_trim(first), &from, err) < 0) ||
        (rest.n && str_parse_int64(str_trim(rest), &until, err) < 0))
        return error_set(err, ERR_BAD_REQUEST,
            "jsonpath: [%.*s] is no index, slice, *, 'name' or ?(filter)", STR_FMT(inside));
    if (!slice)
        until = from == -1 || from == INT64_MAX ? INT64_MAX : from + 1;
    take_slice(v, from, until);
    return 0;
}

static int take_bracket(struct values *v, struct str inside, struct error *err)
{
    inside = str_trim(inside);
    char quote = inside.n > 2 ? inside.p[0] : 0;
    if (str_eqc(inside, "*")) {
        take_member(v, inside);
        return 0;
    }
    if ((quote == '\'' || quote == '"') && inside.p[inside.n - 1] == quote &&
        !find_unquoted(inside, ",")) {
        take_member(v, str_range(inside.p + 1, inside.n - 2));
        return 0;
    }
    if (str_starts(inside, STR("?(")) && str_ends(inside, STR(")")))
        return take_filter(v, str_range(inside.p + 2, inside.n - 3), err);
    return take_numbers(v, inside, err);
}

/* The end of a member's name; "\." stands for a dot in it. */
static size_t name_length(struct str path)
{
    size_t n = 0;
    while (n < path.n && path.p[n] != '.' && path.p[n] != '[')
        n += path.p[n] == '\\' && n + 1 < path.n ? 2 : 1;
    return n;
}

static int walk(const cJSON *from, struct str path, struct values *ret, struct error *err)
{
    struct values v = {0};
    push(&v, from);
    path = str_trim(path);
    if (path.n && (path.p[0] == '$' || path.p[0] == '@'))
        path = str_range(path.p + 1, path.n - 1);
    while (path.n) {
        int result = 0;
        size_t n;
        if (path.p[0] == '[') {
            const char *end = find_unquoted(str_range(path.p + 1, path.n - 1), "]");
            n = end ? (size_t)(end - path.p) + 1 : path.n;
            result = end ? take_bracket(&v, str_range(path.p + 1, n - 2), err)
                         : error_set(err, ERR_BAD_REQUEST,
                               "jsonpath: unterminated array in \"%.*s\"", STR_FMT(path));
        } else if (str_starts(path, STR(".."))) {
            take_deep(&v);
            n = path.n > 2 && path.p[2] != '[' ? 1 : 2;
        } else {
            size_t dot = path.p[0] == '.';
            n = dot + name_length(str_range(path.p + dot, path.n - dot));
            struct strbuf name;
            strbuf_init(&name, 0);
            for (size_t i = dot; i < n; i++)
                if (path.p[i] != '\\')
                    strbuf_add_char(&name, path.p[i]);
            if (name.n)
                take_member(&v, strbuf_str(&name));
            strbuf_done(&name);
            n = n ? n : 1;
        }
        if (result < 0) {
            free(v.items);
            return result;
        }
        path = str_range(path.p + n, path.n - n);
    }
    *ret = v;
    return 0;
}

static void print_value(const cJSON *v, FILE *out)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 0);
    add_value(v, &text);
    fwrite(text.data, 1, text.n, out);
}

static void print_literal(struct str s, FILE *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\' && i + 1 < s.n) {
            c = s.p[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        fputc(c, out);
    }
}

static int run(
    struct str *rest, const cJSON *tree, FILE *out, bool silent, int depth, struct error *err);

static int run_range(struct str *rest, struct str path, const cJSON *tree, FILE *out, bool silent,
    int depth, struct error *err)
{
    struct values v = {0};
    struct str body = *rest;
    if (depth > DEPTH_MAX)
        return error_set(err, ERR_BAD_REQUEST, "jsonpath: ranges nest too deep");
    if (walk(tree, path, &v, err) < 0)
        return -err->code;
    int result = run(rest, tree, out, true, depth + 1, err); /* once to find its end */
    for (size_t i = 0; result == 0 && !silent && i < v.count; i++) {
        struct str again = body;
        result = run(&again, v.items[i], out, silent, depth + 1, err);
    }
    free(v.items);
    return result;
}

static int print_path(struct str path, const cJSON *tree, FILE *out, struct error *err)
{
    struct values v = {0};
    if (walk(tree, path, &v, err) < 0)
        return -err->code;
    for (size_t i = 0; i < v.count; i++) {
        if (i)
            fputc(' ', out);
        print_value(v.items[i], out);
    }
    free(v.items);
    return 0;
}

/* Runs the template up to its end or the {end} of the range it is in. */
static int run(
    struct str *rest, const cJSON *tree, FILE *out, bool silent, int depth, struct error *err)
{
    while (rest->n) {
        const char *open = memchr(rest->p, '{', rest->n);
        struct str text = str_range(rest->p, open ? (size_t)(open - rest->p) : rest->n);
        if (!silent)
            fwrite(text.p, 1, text.n, out);
        *rest = str_range(rest->p + text.n, rest->n - text.n);
        if (!rest->n)
            break;
        const char *close = find_unquoted(str_range(rest->p + 1, rest->n - 1), "}");
        if (!close)
            return error_set(
                err, ERR_BAD_REQUEST, "jsonpath: unclosed action in \"%.*s\"", STR_FMT(*rest));
        struct str inside = str_trim(str_range(rest->p + 1, (size_t)(close - rest->p) - 1));
        *rest = str_range(close + 1, rest->n - (size_t)(close + 1 - rest->p));
        int result = 0;
        if (str_eqc(inside, "end"))
            return depth ? 0 : error_set(err, ERR_BAD_REQUEST, "jsonpath: {end} without {range}");
        if (str_starts(inside, STR("range ")))
            result = run_range(
                rest, str_range(inside.p + 6, inside.n - 6), tree, out, silent, depth, err);
        else if (inside.n >= 2 && (inside.p[0] == '"' || inside.p[0] == '\''))
            silent ? (void)0 : print_literal(str_range(inside.p + 1, inside.n - 2), out);
        else
            result = print_path(inside, silent ? NULL : tree, out, err);
        if (result < 0)
            return result;
    }
    return depth ? error_set(err, ERR_BAD_REQUEST, "jsonpath: {range} without {end}") : 0;
}

int jsonpath_print(const char *template_, const cJSON *tree, FILE *out, struct error *err)
{
    struct str rest = str_of(template_);
    return run(&rest, tree, out, false, 0, err);
}
