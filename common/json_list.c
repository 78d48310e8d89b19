/*
 * Walks the text of a List; see common/json_list.h. Values are found by json_scan and parsed one by
 * one.
 */
#include "common/json_list.h"

static void skip(struct str *s, size_t n)
{
    *s = (struct str){s->p + n, s->n - n};
}

static char peek(struct str *s)
{
    while (s->n > 0 && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        skip(s, 1);
    return s->n > 0 ? *s->p : '\0';
}

static int take_char(struct str *s, char wanted, struct error *err)
{
    if (peek(s) != wanted)
        return error_set(err, ERR_BAD_REQUEST, "malformed list: '%c' expected", wanted);
    skip(s, 1);
    return 0;
}

static int take_value(struct str *s, struct str *ret, struct error *err)
{
    size_t end;

    peek(s);
    if (json_scan(*s, &end, err) < 0)
        return -err->code;
    *ret = (struct str){s->p, end};
    skip(s, end);
    return 0;
}

static int walk_items(struct str *s, json_list_item_fn *fn, void *arg, struct error *err)
{
    if (peek(s) != '[') { /* null: an empty list of some servers */
        struct str ignored;
        return take_value(s, &ignored, err);
    }
    skip(s, 1);
    if (peek(s) == ']') {
        skip(s, 1);
        return 0;
    }
    for (;;) {
        autojson cJSON *item = NULL;
        struct str text;
        if (take_value(s, &text, err) < 0 || json_parse(text, &item, err) < 0 ||
            fn(arg, item, err) < 0)
            return -err->code;
        if (peek(s) == ']') {
            skip(s, 1);
            return 0;
        }
        if (take_char(s, ',', err) < 0)
            return -err->code;
    }
}

static int walk_member(
    struct str *s, json_list_item_fn *fn, void *arg, cJSON **metadata, struct error *err)
{
    struct str name, value;

    if (peek(s) != '"')
        return error_set(err, ERR_BAD_REQUEST, "malformed list: a member's name expected");
    if (take_value(s, &name, err) < 0 || take_char(s, ':', err) < 0)
        return -err->code;
    if (str_eq(name, STR("\"items\"")))
        return walk_items(s, fn, arg, err);
    if (take_value(s, &value, err) < 0)
        return -err->code;
    if (!str_eq(name, STR("\"metadata\"")))
        return 0;
    cJSON_Delete(*metadata);
    *metadata = NULL;
    return json_parse(value, metadata, err);
}

int json_list_walk(
    struct str text, json_list_item_fn *fn, void *arg, cJSON **ret_metadata, struct error *err)
{
    autojson cJSON *metadata = NULL;

    if (take_char(&text, '{', err) < 0)
        return -err->code;
    while (peek(&text) != '}') {
        if (walk_member(&text, fn, arg, &metadata, err) < 0)
            return -err->code;
        if (peek(&text) == '}')
            break;
        if (take_char(&text, ',', err) < 0)
            return -err->code;
    }
    skip(&text, 1);
    if (peek(&text) != '\0' || text.n > 0)
        return error_set(err, ERR_BAD_REQUEST, "malformed list: text behind its end");
    *ret_metadata = steal(&metadata);
    return 0;
}
