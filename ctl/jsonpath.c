/*
 * kubectl's jsonpath templates: text, {.path}, {..name} not, [n], [*], ['a.b'], [?(@.x=="y")], {"text"}, {range .x}...{end}.
 *
 * A path is walked over a list of current values; each step replaces it by what it finds. Values print as kubectl prints
 * them: strings bare, the rest as JSON, several of one expression separated by a space.
 */
#include "ctl/output.h"

#define VALUES_MAX 100000
#define DEPTH_MAX 16

struct values {
    const cJSON **items;
    size_t count;
};

static void push(struct values *v, const cJSON *item)
{
    if (!item || v->count == VALUES_MAX)
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
        cJSON_ArrayForEach(item, v->items[i])
            push(&out, item);
    }
    free(v->items);
    *v = out;
}

static void take_index(struct values *v, int64_t index)
{
    struct values out = {0};
    for (size_t i = 0; i < v->count; i++) {
        int64_t n = cJSON_GetArraySize(v->items[i]);
        push(&out, cJSON_GetArrayItem(v->items[i], (int)(index < 0 ? n + index : index)));
    }
    free(v->items);
    *v = out;
}

/* @.path=="text" (or !=): keeps the elements for which it holds. */
static int take_filter(struct values *v, struct str filter, struct error *err)
{
    struct values out = {0};
    bool negated = false;
    const char *op = memmem(filter.p, filter.n, "==", 2);
    if (!op && (op = memmem(filter.p, filter.n, "!=", 2)))
        negated = true;
    if (!str_starts(filter, STR("@.")) || !op)
        return error_set(err, ERR_BAD_REQUEST, "jsonpath: filter \"%.*s\" is not @.PATH==\"TEXT\"", STR_FMT(filter));
    autofree char *path = str_dup(str_trim(str_range(filter.p + 2, (size_t)(op - filter.p) - 2)));
    struct str wanted = str_trim(str_range(op + 2, filter.n - (size_t)(op - filter.p) - 2));
    if (wanted.n >= 2 && (wanted.p[0] == '"' || wanted.p[0] == '\''))
        wanted = str_range(wanted.p + 1, wanted.n - 2);
    for (size_t i = 0; i < v->count; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, v->items[i])
        {
            const cJSON *found = json_path(item, path);
            struct strbuf text;
            strbuf_init(&text, 0);
            if (cJSON_IsString(found))
                strbuf_addc(&text, found->valuestring);
            else if (found)
                json_print(found, &text);
            if (str_eq(strbuf_str(&text), wanted) != negated)
                push(&out, item);
            strbuf_done(&text);
        }
    }
    free(v->items);
    *v = out;
    return 0;
}

static int take_bracket(struct values *v, struct str inside, struct error *err)
{
    int64_t index;
    if (str_eqc(inside, "*")) {
        take_member(v, inside);
        return 0;
    }
    if (inside.n > 2 && inside.p[0] == '\'') {
        take_member(v, str_range(inside.p + 1, inside.n - 2));
        return 0;
    }
    if (str_starts(inside, STR("?(")) && str_ends(inside, STR(")")))
        return take_filter(v, str_range(inside.p + 2, inside.n - 3), err);
    if (str_parse_int64(inside, &index, err) < 0)
        return error_set(err, ERR_BAD_REQUEST, "jsonpath: [%.*s] is no index, *, 'name' or ?(filter)", STR_FMT(inside));
    take_index(v, index);
    return 0;
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
            const char *end = memchr(path.p, ']', path.n);
            n = end ? (size_t)(end - path.p) + 1 : path.n;
            result = end ? take_bracket(&v, str_range(path.p + 1, n - 2), err) :
                           error_set(err, ERR_BAD_REQUEST, "jsonpath: unterminated array in \"%.*s\"", STR_FMT(path));
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
    struct strbuf text;
    if (cJSON_IsString(v)) {
        fputs(v->valuestring, out);
        return;
    }
    strbuf_init(&text, 0);
    json_print(v, &text);
    fwrite(text.data, 1, text.n, out);
    strbuf_done(&text);
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

static int run(struct str *rest, const cJSON *tree, FILE *out, bool silent, int depth, struct error *err);

static int run_range(struct str *rest, struct str path, const cJSON *tree, FILE *out, bool silent, int depth,
    struct error *err)
{
    struct values v = {0};
    struct str body = *rest;
    if (depth > DEPTH_MAX)
        return error_set(err, ERR_BAD_REQUEST, "jsonpath: ranges nest too deep");
    if (walk(tree, path, &v, err) < 0)
        return -err->code;
    int result = run(rest, tree, out, true, depth + 1, err); /* once to find its end */
    for (size_t i = 0; result == 0 && i < v.count; i++) {
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

/* The '}' that ends an expression, quotes skipped; NULL when there is none. */
static const char *expression_end(struct str s)
{
    char quote = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quote && c == '\\')
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '}')
            return s.p + i;
    }
    return NULL;
}

/* Runs the template up to its end or the {end} of the range it is in. */
static int run(struct str *rest, const cJSON *tree, FILE *out, bool silent, int depth, struct error *err)
{
    while (rest->n) {
        const char *open = memchr(rest->p, '{', rest->n);
        struct str text = str_range(rest->p, open ? (size_t)(open - rest->p) : rest->n);
        if (!silent)
            fwrite(text.p, 1, text.n, out);
        *rest = str_range(rest->p + text.n, rest->n - text.n);
        if (!rest->n)
            break;
        const char *close = expression_end(*rest);
        if (!close)
            return error_set(err, ERR_BAD_REQUEST, "jsonpath: unclosed action in \"%.*s\"", STR_FMT(*rest));
        struct str inside = str_trim(str_range(rest->p + 1, (size_t)(close - rest->p) - 1));
        *rest = str_range(close + 1, rest->n - (size_t)(close + 1 - rest->p));
        int result = 0;
        if (str_eqc(inside, "end"))
            return depth ? 0 : error_set(err, ERR_BAD_REQUEST, "jsonpath: {end} without {range}");
        if (str_starts(inside, STR("range ")))
            result = run_range(rest, str_range(inside.p + 6, inside.n - 6), tree, out, silent, depth, err);
        else if (inside.n >= 2 && (inside.p[0] == '"' || inside.p[0] == '\''))
            silent ? (void)0 : print_literal(str_range(inside.p + 1, inside.n - 2), out);
        else if (!silent)
            result = print_path(inside, tree, out, err);
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
