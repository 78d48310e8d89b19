/*
 * JSON patch, RFC 6902. A patch is applied to a copy: all of it or nothing.
 *
 * Bounded against patches that copy themselves, and against many operations on long lists: at most
 * LIMIT_PATCH_OPERATIONS operations, copies may add no more than LIMIT_BODY_BYTES of text in all,
 * and the containers that the operations look through have no more than LIMIT_PATCH_STEPS children
 * together.
 *
 * Upstream: github.com/evanphx/json-patch v4, whose error texts clients see.
 */
#include "apiserver/schema/model.h"
#include "common/limits.h"

struct patcher {
    cJSON *tree;
    size_t copied; /* bytes */
    size_t steps;  /* children of the containers on the way of all operations so far */
    struct error *err;
};

/* One reference token: the next part of a JSON pointer, unescaped. */
static bool next_token(const char **pointer, struct strbuf *token)
{
    const char *p = *pointer;
    if (*p != '/')
        return false;
    strbuf_clear(token);
    for (p++; *p && *p != '/'; p++) {
        if (p[0] == '~' && (p[1] == '0' || p[1] == '1'))
            strbuf_add_char(token, *++p == '0' ? '~' : '/');
        else
            strbuf_add_char(token, *p);
    }
    *pointer = p;
    return true;
}

/* An index as upstream reads it: zeros in front are no matter, and negative ones count from the end
 * (`end`, one behind the last for an insertion). */
static bool parse_index(const char *token, size_t end, size_t *ret)
{
    size_t n = 0;
    bool negative = *token == '-';
    token += *token == '-' || *token == '+';
    if (!*token || strlen(token) > 7)
        return false;
    for (const char *p = token; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        n = n * 10 + (size_t)(*p - '0');
    }
    if (negative && n > end)
        return false;
    *ret = negative && n > 0 ? end - n : n;
    return true;
}

static cJSON *child_of(cJSON *parent, const char *token)
{
    size_t index;
    if (cJSON_IsArray(parent))
        return parse_index(token, (size_t)cJSON_GetArraySize(parent), &index)
                   ? cJSON_GetArrayItem(parent, (int)index)
                   : NULL;
    return json_get(parent, token);
}

/* The container that `pointer` ends in, and the last token; NULL when it does not exist. */
static cJSON *find_parent(struct patcher *p, const char *pointer, struct strbuf *token)
{
    cJSON *at = p->tree;
    if (!next_token(&pointer, token))
        return NULL;
    p->steps += members_count(at);
    while (*pointer) {
        at = child_of(at, token->data);
        if (!at || !next_token(&pointer, token))
            return NULL;
        p->steps += members_count(at);
    }
    return cJSON_IsObject(at) || cJSON_IsArray(at) ? at : NULL;
}

static cJSON *find(struct patcher *p, const char *pointer)
{
    autostrbuf struct strbuf token = STRBUF_EMPTY;
    if (!*pointer)
        return p->tree;
    cJSON *parent = find_parent(p, pointer, &token);
    return parent ? child_of(parent, token.data) : NULL;
}

static int missing_path(struct patcher *p, const char *op, const char *path)
{
    return error_set(p->err, ERR_INVALID,
        "%s operation does not apply: doc is missing path: \"%s\": missing value", op, path);
}

static int missing_key(struct patcher *p, const char *op, const char *path)
{
    return error_set(p->err, ERR_INVALID,
        "%s operation does not apply: doc is missing key: %s: missing value", op, path);
}

static int bad_index(struct patcher *p, const char *op, const char *path)
{
    return error_set(p->err, ERR_INVALID,
        "error in %s for path: '%s': Unable to access invalid index: invalid index referenced", op,
        path);
}

/* cJSON_InsertItemInArray refuses lists whose first element has no prev, as its own functions leave
 * them. */
static void insert(cJSON *list, size_t index, cJSON *value)
{
    cJSON *after = list->child;
    for (size_t i = 0; i < index && after; i++)
        after = after->next;
    if (!after) {
        cJSON_AddItemToArray(list, value);
        return;
    }
    value->next = after;
    value->prev = after->prev;
    after->prev = value;
    if (after == list->child)
        list->child = value;
    else
        value->prev->next = value;
}

/* Takes value in every case. */
static int put(struct patcher *p, const char *path, cJSON *value, const char *op)
{
    autostrbuf struct strbuf token = STRBUF_EMPTY;
    size_t index;
    if (!*path) {
        cJSON_Delete(p->tree);
        p->tree = value;
        return 0;
    }
    cJSON *parent = find_parent(p, path, &token);
    if (!parent) {
        cJSON_Delete(value);
        return missing_path(p, op, path);
    }
    if (cJSON_IsObject(parent)) {
        json_set(parent, token.data, value);
        return 0;
    }
    int size = cJSON_GetArraySize(parent);
    if (!strcmp(token.data, "-")) {
        cJSON_AddItemToArray(parent, value);
    } else if (!parse_index(token.data, (size_t)size + 1, &index) || index > (size_t)size) {
        cJSON_Delete(value);
        return bad_index(p, op, path);
    } else {
        insert(parent, index, value);
    }
    return 0;
}

static int take(struct patcher *p, const char *path, cJSON **ret, const char *op)
{
    autostrbuf struct strbuf token = STRBUF_EMPTY;
    cJSON *parent = find_parent(p, path, &token);
    if (!parent)
        return missing_path(p, op, path);
    cJSON *item = child_of(parent, token.data);
    if (!item)
        return cJSON_IsArray(parent) ? bad_index(p, op, path) : missing_key(p, op, path);
    *ret = cJSON_DetachItemViaPointer(parent, item);
    return 0;
}

static int op_remove(struct patcher *p, const char *path, const cJSON *op)
{
    cJSON *item = NULL;
    (void)op;
    if (take(p, path, &item, "remove") < 0)
        return -p->err->code;
    cJSON_Delete(item);
    return 0;
}

static int op_add(struct patcher *p, const char *path, const cJSON *op)
{
    const cJSON *value = json_get(op, "value");
    return put(p, path, value ? cJSON_Duplicate(value, true) : cJSON_CreateNull(), "add");
}

static int op_replace(struct patcher *p, const char *path, const cJSON *op)
{
    const cJSON *value = json_get(op, "value");
    cJSON *new = value ? cJSON_Duplicate(value, true) : cJSON_CreateNull();
    if (!*path)
        return put(p, path, new, "replace");
    autostrbuf struct strbuf token = STRBUF_EMPTY;
    cJSON *parent = find_parent(p, path, &token);
    cJSON *old = parent ? child_of(parent, token.data) : NULL;
    if (!old) {
        cJSON_Delete(new);
        return parent ? missing_key(p, "replace", path) : missing_path(p, "replace", path);
    }
    if (cJSON_IsObject(parent))
        json_set(parent, token.data, new);
    else
        cJSON_ReplaceItemViaPointer(parent, old, new);
    return 0;
}

static int op_move(struct patcher *p, const char *path, const cJSON *op)
{
    cJSON *item = NULL;
    const char *from = value_string(json_get(op, "from"));
    size_t n = strlen(from);
    if (!strncmp(path, from, n) && path[n] == '/')
        return error_set(p->err, ERR_INVALID,
            "move operation does not apply: cannot move \"%s\" into itself", from);
    if (take(p, from, &item, "move") < 0)
        return -p->err->code;
    return put(p, path, item, "move");
}

static int op_copy(struct patcher *p, const char *path, const cJSON *op)
{
    const char *from = value_string(json_get(op, "from"));
    cJSON *item = find(p, from);
    if (!item)
        return missing_key(p, "copy", from);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(item, &text);
    p->copied += text.n;
    if (p->copied > LIMIT_BODY_BYTES)
        return error_set(p->err, ERR_TOO_LARGE,
            "Unable to copy, the accumulated size increase of copy is %zu, "
            "exceeding the limit %u",
            p->copied, LIMIT_BODY_BYTES);
    return put(p, path, cJSON_Duplicate(item, true), "copy");
}

static int op_test(struct patcher *p, const char *path, const cJSON *op)
{
    const cJSON *value = json_get(op, "value"), *item = find(p, path);
    bool null = !value || cJSON_IsNull(value);
    if (!item ? null : (null ? cJSON_IsNull(item) : json_equal(item, value)))
        return 0;
    return error_set(p->err, ERR_INVALID, "testing value %s failed: test failed", path);
}

typedef int op_fn(struct patcher *p, const char *path, const cJSON *op);

static const struct {
    const char *name;
    op_fn *fn;
} operations[] = {
    {"add", op_add},
    {"remove", op_remove},
    {"replace", op_replace},
    {"move", op_move},
    {"copy", op_copy},
    {"test", op_test},
};

static int apply(struct patcher *p, const cJSON *op)
{
    const cJSON *path = json_get(op, "path");
    const char *name = value_string(json_get(op, "op"));
    if (!cJSON_IsString(path))
        return error_set(p->err, ERR_INVALID, "%s operation does not apply: missing path", name);
    if (path->valuestring[0] && path->valuestring[0] != '/')
        return missing_path(p, name, path->valuestring);
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++)
        if (!strcmp(operations[i].name, name))
            return operations[i].fn(p, path->valuestring, op);
    return error_set(p->err, ERR_INVALID, "Unexpected kind: %s", *name ? name : "unknown");
}

int patch_json(cJSON **tree, const cJSON *patch, struct error *err)
{
    if (!cJSON_IsArray(patch))
        return error_set(err, ERR_BAD_REQUEST,
            "json: cannot unmarshal %s into Go value of type "
            "jsonpatch.Patch",
            cJSON_IsObject(patch) ? "object" : "value");
    size_t count = 0;
    for (const cJSON *op = patch->child; op; op = op->next)
        count++;
    if (count > LIMIT_PATCH_OPERATIONS)
        return error_set(err, ERR_TOO_LARGE,
            "The allowed maximum operations in a JSON patch is %d, got %zu", LIMIT_PATCH_OPERATIONS,
            count);
    struct patcher p = {.tree = cJSON_Duplicate(*tree, true), .err = err};
    for (const cJSON *op = patch->child; op; op = op->next) {
        int r = apply(&p, op);
        if (r == 0 && p.steps > LIMIT_PATCH_STEPS)
            r = error_set(err, ERR_TOO_LARGE,
                "the operations of the patch look through lists and objects that are too long");
        if (r < 0) {
            cJSON_Delete(p.tree);
            return r;
        }
    }
    cJSON_Delete(*tree);
    *tree = p.tree;
    return 0;
}
