/*
 * Pruning, defaulting and normalising of custom objects.
 *
 * A schema says what an object may have; the rest goes, unless x-kubernetes-preserve-unknown-fields
 * keeps it. apiVersion, kind and metadata belong to the object and to every embedded one, whatever
 * the schema says; metadata is decoded as that of built-in kinds.
 *
 * Upstream: apiextensions-apiserver's schema/pruning, schema/defaulting, schema/objectmeta.
 */
#include "apiserver/custom/custom.h"
#include "apiserver/custom/node.h"
#include "common/limits.h"

#define REPORTS_MAX 100

struct cleaner {
    const struct schema *meta;
    struct strbuf lines; /* unknown field "x" */
    size_t count;
    struct error *err;
    size_t room; /* values that defaults may still add */
};

static const struct schema *meta_of(const struct schema *s)
{
    return schema_field(s, "metadata", 8)->object;
}

static bool is_meta_field(const char *name)
{
    return c_eq(name, "apiVersion") || c_eq(name, "kind") || c_eq(name, "metadata");
}

/* --- pruning --- */

static int prune(struct cleaner *c, const struct node *n, cJSON *value, const struct frame *at);

static void report(struct cleaner *c, const char *what, const struct frame *at)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    if (c->count++ >= REPORTS_MAX)
        return;
    frame_print(at, true, &path);
    strbuf_addf(&c->lines, "%s field \"%s\"\n", what, path.data);
}

static void report_duplicate(void *arg, const char *path)
{
    struct cleaner *c = arg;
    if (c->count++ < REPORTS_MAX)
        strbuf_addf(&c->lines, "duplicate field \"%s\"\n", path);
}

/* The reports about metadata name its fields; ours start at the object. */
static void add_below(struct cleaner *c, const struct frame *at, struct str lines)
{
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    struct str line;
    frame_print(at, true, &path);
    while (str_split(&lines, '\n', &line)) {
        ssize_t quote = str_find(line, '"');
        if (quote < 0 || c->count++ >= REPORTS_MAX)
            continue;
        strbuf_addf(&c->lines, "%.*s%s.%.*s\n", (int)quote + 1, line.p, path.data,
            (int)(line.n - (size_t)quote - 1), line.p + quote + 1);
    }
}

static int decode_metadata(struct cleaner *c, cJSON *metadata, const struct frame *at)
{
    autostrbuf struct strbuf lines = STRBUF_EMPTY;
    if (schema_decode(c->meta, metadata, VALIDATION_WARN, &lines, c->err) < 0)
        return -c->err->code;
    add_below(c, at, strbuf_str(&lines));
    return 0;
}

static int prune_member(struct cleaner *c, const struct node *n, cJSON *object, cJSON *m,
    const struct frame *at, bool is_resource)
{
    const struct node *below = n ? node_member(n, m->string) : NULL;
    if (is_resource && is_meta_field(m->string))
        return c_eq(m->string, "metadata") && !cJSON_IsNull(m) ? decode_metadata(c, m, at) : 0;
    if (!below && n)
        below = n->additional;
    if (below)
        return prune(c, below, m, at);
    if (n && n->preserve)
        return 0;
    if (n && n->additional_any)
        return prune(c, NULL, m, at);
    report(c, "unknown", at);
    cJSON_Delete(cJSON_DetachItemViaPointer(object, m));
    return 0;
}

static int prune_object(
    struct cleaner *c, const struct node *n, cJSON *value, const struct frame *at, bool is_resource)
{
    for (cJSON *m = value->child, *next; m; m = next) {
        next = m->next;
        struct frame here = {.up = at, .name = m->string};
        if (prune_member(c, n, value, m, &here, is_resource) < 0)
            return -c->err->code;
    }
    return 0;
}

static int prune(struct cleaner *c, const struct node *n, cJSON *value, const struct frame *at)
{
    if (cJSON_IsObject(value))
        return prune_object(c, n, value, at, n && n->embedded);
    if (!cJSON_IsArray(value) || (n && n->preserve && !n->items))
        return 0;
    struct frame here = {.up = at};
    for (cJSON *e = value->child; e; e = e->next, here.index++)
        if (prune(c, n ? n->items : NULL, e, &here) < 0)
            return -c->err->code;
    return 0;
}

static int strict_error(struct cleaner *c)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str rest = strbuf_str(&c->lines), line;
    while (str_split(&rest, '\n', &line))
        if (line.n > 0)
            strbuf_addf(&text, "%s%.*s", text.n ? ", " : "", STR_FMT(line));
    return error_set(c->err, ERR_BAD_REQUEST, "strict decoding error: %s", text.data);
}

int custom_decode(const struct schema *s, cJSON *tree, enum field_validation mode,
    struct strbuf *warnings, struct error *err)
{
    struct cleaner c = {.meta = meta_of(s), .err = err};
    if (!cJSON_IsObject(tree))
        return error_set(err, ERR_BAD_REQUEST,
            "json: cannot unmarshal into Go value of type map[string]interface {}");
    strbuf_init(&c.lines, 0);
    json_dedup(tree, report_duplicate, &c);
    int result = prune_object(&c, s->node, tree, NULL, true);
    if (result == 0 && c.lines.n > 0) {
        if (mode == VALIDATION_STRICT)
            result = strict_error(&c);
        else if (mode == VALIDATION_WARN && warnings)
            strbuf_add(warnings, strbuf_str(&c.lines));
    }
    strbuf_done(&c.lines);
    return result;
}

/* --- defaults --- */

static void fill(struct cleaner *c, const struct node *n, cJSON *value, bool is_resource);

static size_t size_of(const cJSON *tree)
{
    size_t n = 1;
    for (const cJSON *m = tree->child; m; m = m->next)
        n += size_of(m);
    return n;
}

/* A copy of the default, as long as there is room: items of a list could multiply a big one. */
static cJSON *copy_default(struct cleaner *c, const struct node *n)
{
    size_t size = size_of(n->otherwise);
    if (size > c->room)
        return NULL;
    c->room -= size;
    return cJSON_Duplicate(n->otherwise, true);
}

static void fill_members(struct cleaner *c, const struct node *n, cJSON *object, bool is_resource)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n->member_count; i++)
        wanted += n->members[i].node->otherwise != NULL;
    if (!wanted)
        return;
    automembers struct members members = members_of(object, wanted);
    for (size_t i = 0; i < n->member_count; i++) {
        const struct node_member *m = &n->members[i];
        cJSON *copy;
        if (!m->node->otherwise || (is_resource && is_meta_field(m->name)))
            continue;
        const cJSON *there = members_get(&members, m->name);
        if (there && !(cJSON_IsNull(there) && !m->node->nullable))
            continue;
        if ((copy = copy_default(c, m->node)))
            members_set(&members, m->name, copy);
    }
}

static void fill_object(struct cleaner *c, const struct node *n, cJSON *object, bool is_resource)
{
    fill_members(c, n, object, is_resource);
    for (cJSON *m = object->child, *next; m; m = next) {
        next = m->next;
        if (is_resource && is_meta_field(m->string))
            continue;
        const struct node *below = node_member(n, m->string);
        if (!below)
            below = n->additional;
        if (!below)
            continue;
        if (cJSON_IsNull(m) && !below->nullable)
            cJSON_Delete(cJSON_DetachItemViaPointer(object, m));
        else
            fill(c, below, m, below->embedded);
    }
}

static void fill(struct cleaner *c, const struct node *n, cJSON *value, bool is_resource)
{
    if (cJSON_IsObject(value)) {
        fill_object(c, n, value, is_resource);
    } else if (cJSON_IsArray(value) && n->items) {
        for (cJSON *e = value->child, *next; e; e = next) {
            next = e->next;
            cJSON *copy;
            if (cJSON_IsNull(e) && !n->items->nullable && n->items->otherwise &&
                (copy = copy_default(c, n->items)))
                cJSON_ReplaceItemViaPointer(value, e, copy);
            else
                fill(c, n->items, e, n->items->embedded);
        }
    }
}

void custom_default(const struct schema *s, cJSON *tree)
{
    struct cleaner c = {.room = LIMIT_JSON_VALUES};
    if (cJSON_IsObject(tree))
        fill_object(&c, s->node, tree, true);
}

/* --- normalising --- */

void custom_normalise(const struct schema *s, cJSON *tree)
{
    cJSON *metadata = json_get(tree, "metadata");
    json_sort(tree);
    if (cJSON_IsObject(metadata))
        schema_normalise(meta_of(s), metadata);
}

bool node_is_pruned(const struct schema *meta, const struct node *n, const cJSON *value)
{
    struct error ignored;
    struct cleaner c = {.meta = meta, .err = &ignored};
    autojson cJSON *copy = cJSON_Duplicate(value, true);
    strbuf_init(&c.lines, 0);
    bool clean = prune(&c, n, copy, NULL) == 0 && c.count == 0;
    strbuf_done(&c.lines);
    return clean;
}
