/*
 * YAML streams: splitting into documents as kubectl does, by text, and telling JSON from YAML.
 *
 * A line that begins with --- ends a document even inside a block scalar; only a comment may follow
 * on it. What begins with { is tried as a JSON value first; when that fails it may still be a YAML
 * flow mapping, and if it is neither, the error that fits the look of the text is returned.
 */
#include "common/yaml.h"

#include "common/yaml_build.h"

struct yaml_stream yaml_stream_of(struct str text)
{
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_range(text.p + 3, text.n - 3);
    return (struct yaml_stream){.rest = text, .line = 1, .document = 0};
}

static void advance(struct yaml_stream *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->line += s->rest.p[i] == '\n';
    s->rest = str_range(s->rest.p + n, s->rest.n - n);
}

/* Length of the first line, its \n included. */
static size_t line_length(struct str text)
{
    ssize_t end = str_find(text, '\n');
    return end < 0 ? text.n : (size_t)end + 1;
}

static int skip_separator(struct yaml_stream *s, struct error *err)
{
    size_t n = line_length(s->rest);
    struct str after = str_trim(str_range(s->rest.p + 3, n - 3));
    if (after.n > 0 && after.p[0] != '#')
        return error_set(err, ERR_BAD_REQUEST,
            "yaml: line %d: invalid Yaml document separator: %.*s", s->line,
            after.n > 100 ? 100 : (int)after.n, after.p);
    advance(s, n);
    return 0;
}

/* Length of the text up to the next separator line or the end. */
static size_t document_length(struct str text)
{
    size_t at = 0;
    while (at < text.n) {
        struct str rest = str_range(text.p + at, text.n - at);
        if (str_starts(rest, STR("---")))
            break;
        at += line_length(rest);
    }
    return at;
}

static void note_first(void *arg, const char *path)
{
    struct strbuf *first = arg;
    if (first->n == 0)
        strbuf_addc(first, path);
}

/* Drops members that came twice; in strict mode that is an error. */
static int check_duplicates(
    const struct yaml_stream *s, enum yaml_mode mode, cJSON *tree, struct error *err)
{
    autostrbuf struct strbuf first = STRBUF_EMPTY;
    if (json_dedup(tree, note_first, &first) == 0 || mode == YAML_LAX)
        return 0;
    return error_set(
        err, ERR_BAD_REQUEST, "json: line %d: duplicate field \"%s\"", s->line, first.data);
}

/* 1 when the stream goes on with a JSON value, now in *ret; 0 when it does not, and *ret_why is why
 * not. */
static int next_json(struct yaml_stream *s, enum yaml_mode mode, cJSON **ret, struct error *ret_why)
{
    cJSON *tree;
    size_t end;
    ret_why->code = ERR_NONE;
    if (s->rest.n == 0 || s->rest.p[0] != '{' || json_scan(s->rest, &end, ret_why) < 0)
        return 0;
    if (json_parse(str_range(s->rest.p, end), &tree, ret_why) < 0)
        return 0;
    int r = check_duplicates(s, mode, tree, ret_why);
    if (r < 0) {
        cJSON_Delete(tree);
        return r;
    }
    advance(s, end);
    *ret = tree;
    return 1;
}

static bool looks_like_json(struct str text)
{
    struct str inside = str_trim(str_range(text.p + 1, text.n - 1));
    return inside.n == 0 || inside.p[0] == '"' || inside.p[0] == '}';
}

static void skip_blank(struct yaml_stream *s)
{
    for (;;) {
        size_t n = line_length(s->rest);
        if (n == 0 || str_trim(str_range(s->rest.p, n)).n > 0)
            return;
        advance(s, n);
    }
}

/* One document's text at the front of the stream; *ret may stay NULL. */
static int next_yaml(struct yaml_stream *s, enum yaml_mode mode, cJSON **ret, struct error *err)
{
    size_t n = document_length(s->rest);
    int r = yaml_build(str_range(s->rest.p, n), s->line, mode, ret, err);
    if (r < 0)
        return r;
    advance(s, n);
    if (cJSON_IsNull(*ret)) {
        cJSON_Delete(*ret);
        *ret = NULL;
    }
    return 0;
}

int yaml_next(struct yaml_stream *s, enum yaml_mode mode, cJSON **ret, struct error *err)
{
    cJSON *tree = NULL;
    struct error why;

    for (;;) {
        skip_blank(s);
        if (s->rest.n == 0)
            return 0;
        if (str_starts(s->rest, STR("---"))) {
            int r = skip_separator(s, err);
            if (r < 0)
                return r;
            continue;
        }
        struct str trimmed = str_trim(s->rest);
        if (trimmed.p[0] == '{')
            advance(s, (size_t)(trimmed.p - s->rest.p));
        int r = next_json(s, mode, &tree, &why);
        if (r < 0) {
            *err = why;
            return r;
        }
        if (r == 0)
            r = next_yaml(s, mode, &tree, err);
        if (r < 0 && why.code != ERR_NONE && looks_like_json(trimmed))
            *err = why;
        if (r < 0)
            return -(int)err->code;
        if (tree) {
            s->document++;
            *ret = tree;
            return 1;
        }
    }
}

int yaml_parse(struct str text, enum yaml_mode mode, cJSON **ret, struct error *err)
{
    struct yaml_stream s = yaml_stream_of(text);
    cJSON *tree = NULL, *more = NULL;
    int r = yaml_next(&s, mode, &tree, err);

    if (r > 0)
        r = yaml_next(&s, mode, &more, err);
    if (r > 0)
        r = error_set(err, ERR_BAD_REQUEST, "yaml: line %d: expected a single document", s.line);
    cJSON_Delete(more);
    if (r < 0) {
        cJSON_Delete(tree);
        return r;
    }
    *ret = tree ? tree : cJSON_CreateNull();
    return 0;
}
