/*
 * YAML: one document's text to a tree, by libyaml's events (never its tree, which has no limits).
 *
 * Members of a mapping are collected with their lines and sorted when it ends, so duplicates cost
 * O(n log n) and an error can name the line. An alias copies the anchored node; nothing is freed
 * before the document is done (a node that lost to a duplicate may still be the target of an
 * alias), it goes to a trash list. Copies count towards the limits, so aliases of aliases end
 * early. Upstream: sigs.k8s.io/yaml over go-yaml v2. Tests: tests/cases/yaml.test,
 * tests/fuzz/yaml_fuzz.c
 */
#include "common/yaml_build.h"

#include <yaml.h>

#include "common/base64.h"
#include "common/json_scan.h"
#include "common/limits.h"
#include "common/yaml_scalar.h"

#define TAG_PREFIX "tag:yaml.org,2002:"

struct member {
    cJSON *item;
    int line;
    bool merged; /* came in by <<, so a local key wins */
    size_t order;
};

struct anchor {
    char *name;
    const cJSON *node; /* NULL while it is being built */
};

struct builder {
    yaml_parser_t parser;
    yaml_event_t event;
    enum yaml_mode mode;
    int first_line;
    struct error *err;
    size_t nodes, bytes;
    int depth;
    struct member *members; /* stack of all open mappings' members */
    size_t member_count, member_capacity;
    struct anchor *anchors;
    size_t anchor_count;
    cJSON *trash; /* an array */
};

static int build_node(struct builder *b, cJSON **ret);

static int problem(struct builder *b, int line, const char *text)
{
    return error_set(b->err, ERR_BAD_REQUEST, "yaml: line %d: %s", line, text);
}

static int event_line(const struct builder *b)
{
    return b->first_line + (int)b->event.start_mark.line;
}

static int next_event(struct builder *b)
{
    yaml_event_delete(&b->event);
    if (yaml_parser_parse(&b->parser, &b->event))
        return 0;
    const yaml_parser_t *p = &b->parser;
    memset(&b->event, 0, sizeof(b->event));
    size_t line = p->problem_mark.line || !p->context ? p->problem_mark.line : p->context_mark.line;
    return problem(b, b->first_line + (int)line, p->problem ? p->problem : "unknown problem");
}

static int count(struct builder *b, size_t bytes)
{
    b->bytes += bytes;
    if (++b->nodes > LIMIT_YAML_NODES || b->bytes > LIMIT_BODY_BYTES)
        return error_set(b->err, ERR_TOO_LARGE,
            "yaml: document contains excessive aliasing or more than %d values", LIMIT_YAML_NODES);
    return 0;
}

static int too_deep(struct builder *b)
{
    return error_set(b->err, ERR_TOO_LARGE, "yaml: line %d: nested deeper than %d levels",
        event_line(b), LIMIT_YAML_DEPTH);
}

static void discard(struct builder *b, cJSON *item)
{
    if (item)
        cJSON_AddItemToArray(b->trash, item);
}

/* Anchors */

static size_t note_anchor(struct builder *b, const yaml_char_t *name)
{
    if (!name)
        return SIZE_MAX;
    b->anchors = xrealloc(b->anchors, (b->anchor_count + 1) * sizeof(*b->anchors));
    b->anchors[b->anchor_count] = (struct anchor){.name = xstrdup((const char *)name)};
    return b->anchor_count++;
}

static void set_anchor(struct builder *b, size_t index, const cJSON *node)
{
    if (index != SIZE_MAX)
        b->anchors[index].node = node;
}

static int find_anchor(struct builder *b, const cJSON **ret)
{
    const char *name = (const char *)b->event.data.alias.anchor;
    for (size_t i = b->anchor_count; i-- > 0;) {
        if (strcmp(b->anchors[i].name, name))
            continue;
        if (!b->anchors[i].node)
            return error_set(b->err, ERR_BAD_REQUEST,
                "yaml: line %d: anchor '%s' value contains itself", event_line(b), name);
        *ret = b->anchors[i].node;
        return 0;
    }
    return error_set(b->err, ERR_BAD_REQUEST, "yaml: line %d: unknown anchor '%s' referenced",
        event_line(b), name);
}

/* A deep copy without the name, counted. *ret is set even on failure, for the caller to discard. */
static int copy_node(struct builder *b, const cJSON *node, cJSON **ret)
{
    size_t bytes = node->valuestring ? strlen(node->valuestring) : 0;
    int r = count(b, bytes);
    cJSON *copy = cJSON_Duplicate(node, 0);
    if (r == 0 && node->child && ++b->depth > LIMIT_YAML_DEPTH)
        r = too_deep(b);

    if (copy->string) {
        cJSON_free(copy->string);
        copy->string = NULL;
    }
    *ret = copy;
    for (const cJSON *c = node->child; r == 0 && c; c = c->next) {
        cJSON *child;
        r = copy_node(b, c, &child);
        if (c->string)
            child->string = xstrdup(c->string);
        cJSON_AddItemToArray(copy, child);
    }
    b->depth -= node->child != NULL;
    return r;
}

/* Scalars */

static bool valid_text(struct str text)
{
    for (size_t i = 0; i < text.n;) {
        size_t n = json_utf8_length((const unsigned char *)text.p + i, text.n - i);
        if (n == 0 || !text.p[i])
            return false;
        i += n;
    }
    return true;
}

static int build_binary(struct builder *b, struct str text, cJSON **ret)
{
    autostrbuf struct strbuf bytes = STRBUF_EMPTY;
    struct error ignored;
    if (base64_decode(text, &bytes, &ignored) < 0)
        return problem(b, event_line(b), "!!binary value contains invalid base64 data");
    if (!valid_text(strbuf_str(&bytes)))
        return problem(b, event_line(b), "!!binary value is not text");
    struct yaml_value string = {.kind = YAML_STRING};
    *ret = yaml_value_item(&string, strbuf_str(&bytes));
    return 0;
}

/* What the tag demands; false when the scalar can't be that. */
static bool convert(struct yaml_value *value, const char *tag)
{
    enum yaml_kind kind = value->kind;
    if (!strcmp(tag, "int"))
        return kind == YAML_INT;
    if (!strcmp(tag, "bool"))
        return kind == YAML_TRUE || kind == YAML_FALSE;
    if (!strcmp(tag, "null"))
        return kind == YAML_NULL;
    if (!strcmp(tag, "float")) {
        if (kind == YAML_INT)
            *value = (struct yaml_value){.kind = YAML_FLOAT,
                .number = (value->negative ? -1.0 : 1.0) * (double)value->magnitude};
        return value->kind == YAML_FLOAT || kind == YAML_SPECIAL;
    }
    value->kind = YAML_STRING; /* str, timestamp, and tags that we don't know */
    return true;
}

static int build_scalar(struct builder *b, cJSON **ret)
{
    const char *tag = (const char *)b->event.data.scalar.tag;
    struct str text =
        str_range((const char *)b->event.data.scalar.value, b->event.data.scalar.length);
    struct yaml_value value = {.kind = YAML_STRING};
    bool known = tag && !strncmp(tag, TAG_PREFIX, strlen(TAG_PREFIX));
    const char *name = known ? tag + strlen(TAG_PREFIX) : "str";

    if (str_find(text, '\0') >= 0)
        return problem(b, event_line(b), "NUL characters are not allowed in strings");
    if (known && !strcmp(name, "binary"))
        return build_binary(b, text, ret);
    if (tag) {
        value = yaml_resolve(text);
        if (!convert(&value, name))
            return error_set(b->err, ERR_BAD_REQUEST,
                "yaml: line %d: cannot decode !!str `%.*s` as a !!%s", event_line(b),
                text.n > 60 ? 60 : (int)text.n, text.p, name);
    } else if (b->event.data.scalar.plain_implicit) {
        value = yaml_resolve(text);
    }
    if (value.kind == YAML_SPECIAL)
        return error_set(b->err, ERR_BAD_REQUEST, "yaml: line %d: json: unsupported value: %.*s",
            event_line(b), STR_FMT(text));
    int r = count(b, text.n);
    if (r == 0)
        *ret = yaml_value_item(&value, text);
    return r;
}

/* Mappings */

static void push_member(struct builder *b, cJSON *item, char *name, int line, bool merged)
{
    if (b->member_count == b->member_capacity) {
        b->member_capacity = b->member_capacity ? b->member_capacity * 2 : 64;
        b->members = xrealloc(b->members, b->member_capacity * sizeof(*b->members));
    }
    item->string = name;
    b->members[b->member_count] = (struct member){item, line, merged, b->member_count};
    b->member_count++;
}

/* The text that a key item stands for in JSON; NULL when it can't be a key. */
static char *key_text(const cJSON *key)
{
    if (cJSON_IsString(key))
        return xstrdup(key->valuestring);
    if (cJSON_IsBool(key) || json_is_number(key)) {
        struct strbuf text;
        strbuf_init(&text, 0);
        json_print(key, &text);
        return strbuf_steal(&text);
    }
    return NULL;
}

static int merge_object(struct builder *b, const cJSON *object, int line)
{
    if (!cJSON_IsObject(object))
        return problem(b, line, "map merge requires map or sequence of maps as the value");
    for (const cJSON *c = object->child; c; c = c->next) {
        cJSON *copy;
        int r = copy_node(b, c, &copy);
        if (r < 0) {
            discard(b, copy);
            return r;
        }
        push_member(b, copy, xstrdup(c->string), line, true);
    }
    return 0;
}

static int build_merge(struct builder *b, int line)
{
    cJSON *value = NULL;
    int r = next_event(b);
    if (r == 0)
        r = build_node(b, &value);
    if (r < 0)
        return r;
    if (cJSON_IsArray(value)) {
        for (const cJSON *c = value->child; r == 0 && c; c = c->next)
            r = merge_object(b, c, line);
    } else {
        r = merge_object(b, value, line);
    }
    discard(b, value);
    return r;
}

static bool is_merge_key(const yaml_event_t *event)
{
    const char *tag = (const char *)event->data.scalar.tag;
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 2 &&
           !memcmp(event->data.scalar.value, "<<", 2) &&
           (tag ? !strcmp(tag, TAG_PREFIX "merge") : event->data.scalar.plain_implicit);
}

/* The event at hand is a key; reads it and its value. */
static int build_member(struct builder *b)
{
    int line = event_line(b);
    cJSON *key = NULL, *value = NULL;

    if (is_merge_key(&b->event))
        return build_merge(b, line);
    int r = build_node(b, &key);
    if (r < 0)
        return r;
    char *name = key_text(key);
    discard(b, key);
    if (!name)
        return problem(
            b, line, "unsupported map key: only strings, numbers and booleans can be keys");
    r = next_event(b);
    if (r == 0)
        r = build_node(b, &value);
    if (r < 0) {
        free(name);
        return r;
    }
    push_member(b, value, name, line, false);
    return 0;
}

static int member_cmp(const void *a, const void *b)
{
    const struct member *ma = a, *mb = b;
    int order = strcmp(ma->item->string, mb->item->string);
    if (order)
        return order;
    if (ma->merged != mb->merged)
        return ma->merged ? -1 : 1; /* the last one wins: local keys after merged ones */
    return (ma->order > mb->order) == !ma->merged ? 1 : -1; /* and the first of merged ones */
}

static int order_cmp(const void *a, const void *b)
{
    const struct member *ma = a, *mb = b;
    return (ma->order > mb->order) - (ma->order < mb->order);
}

/* Keeps the winner of equal names among members [0, n); *ret_line is a loser's line, or 0. */
static size_t drop_duplicates(
    struct builder *b, struct member *members, size_t n, const char **ret_name, int *ret_line)
{
    size_t kept = 0;
    *ret_line = 0;
    qsort(members, n, sizeof(*members), member_cmp);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && !strcmp(members[i].item->string, members[i + 1].item->string)) {
            *ret_name = members[i].item->string;
            *ret_line =
                members[i].line > members[i + 1].line ? members[i].line : members[i + 1].line;
            discard(b, members[i].item);
        } else {
            members[kept++] = members[i];
        }
    }
    qsort(members, kept, sizeof(*members), order_cmp);
    return kept;
}

static int build_mapping(struct builder *b, cJSON **ret)
{
    cJSON *object = cJSON_CreateObject();
    size_t first = b->member_count;
    const char *name = NULL;
    int line = 0, r = next_event(b);

    while (r == 0 && b->event.type != YAML_MAPPING_END_EVENT) {
        r = build_member(b);
        if (r == 0)
            r = next_event(b);
    }
    size_t n = b->member_count - first;
    if (r == 0 && n > 1)
        n = drop_duplicates(b, b->members + first, n, &name, &line);
    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(object, b->members[first + i].item);
    b->member_count = first;
    if (r == 0 && line && b->mode == YAML_STRICT)
        r = error_set(b->err, ERR_BAD_REQUEST,
            "yaml: unmarshal errors: line %d: key \"%s\" already set in map", line, name);
    if (r < 0) {
        discard(b, object); /* an anchor may still point into it */
        return r;
    }
    *ret = object;
    return 0;
}

static int build_sequence(struct builder *b, cJSON **ret)
{
    cJSON *array = cJSON_CreateArray();
    int r = next_event(b);

    while (r == 0 && b->event.type != YAML_SEQUENCE_END_EVENT) {
        cJSON *item = NULL;
        r = build_node(b, &item);
        if (r == 0) {
            cJSON_AddItemToArray(array, item);
            r = next_event(b);
        }
    }
    if (r < 0) {
        discard(b, array);
        return r;
    }
    *ret = array;
    return 0;
}

static int build_collection(struct builder *b, cJSON **ret)
{
    int r = count(b, 0);
    if (r < 0)
        return r;
    if (++b->depth > LIMIT_YAML_DEPTH)
        return too_deep(b);
    r = b->event.type == YAML_MAPPING_START_EVENT ? build_mapping(b, ret) : build_sequence(b, ret);
    b->depth--;
    return r;
}

static int build_alias(struct builder *b, cJSON **ret)
{
    const cJSON *node = NULL;
    cJSON *copy = NULL;
    int r = find_anchor(b, &node);
    if (r < 0)
        return r;
    r = copy_node(b, node, &copy);
    if (r < 0)
        discard(b, copy);
    else
        *ret = copy;
    return r;
}

/* The node that begins with the event at hand; afterwards the event is its last. */
static int build_node(struct builder *b, cJSON **ret)
{
    size_t anchor;
    int r;

    switch (b->event.type) {
    case YAML_ALIAS_EVENT:
        return build_alias(b, ret);
    case YAML_SCALAR_EVENT:
        anchor = note_anchor(b, b->event.data.scalar.anchor);
        r = build_scalar(b, ret);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = note_anchor(b, b->event.data.mapping_start.anchor);
        r = build_collection(b, ret);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = note_anchor(b, b->event.data.sequence_start.anchor);
        r = build_collection(b, ret);
        break;
    default:
        return problem(b, event_line(b), "unexpected event");
    }
    if (r == 0)
        set_anchor(b, anchor, *ret);
    return r;
}

/* Documents */

static int check_version(struct builder *b)
{
    const yaml_version_directive_t *v = b->event.data.document_start.version_directive;
    if (v && (v->major != 1 || v->minor != 1))
        return problem(b, event_line(b), "found incompatible YAML document");
    return 0;
}

static int build_document(struct builder *b, cJSON **ret)
{
    int r = next_event(b); /* stream start */
    if (r == 0)
        r = next_event(b);
    if (r < 0 || b->event.type == YAML_STREAM_END_EVENT)
        return r;
    r = check_version(b);
    if (r == 0)
        r = next_event(b);
    cJSON *tree = NULL;
    if (r == 0)
        r = build_node(b, &tree);
    if (r == 0)
        r = next_event(b); /* document end */
    if (r == 0)
        r = next_event(b);
    if (r == 0 && b->event.type != YAML_STREAM_END_EVENT)
        r = problem(b, event_line(b), "did not find expected <document start>");
    if (r < 0)
        discard(b, tree);
    else
        *ret = tree;
    return r;
}

int yaml_build(struct str text, int first_line, enum yaml_mode mode, cJSON **ret, struct error *err)
{
    struct builder b = {.mode = mode, .first_line = first_line, .err = err};

    *ret = NULL;
    if (!yaml_parser_initialize(&b.parser))
        abort(); /* out of memory */
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.p, text.n);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    b.trash = cJSON_CreateArray();
    int r = build_document(&b, ret);
    yaml_event_delete(&b.event);
    yaml_parser_delete(&b.parser);
    for (size_t i = 0; i < b.anchor_count; i++)
        free(b.anchors[i].name);
    free(b.anchors);
    free(b.members);
    cJSON_Delete(b.trash);
    return r;
}
