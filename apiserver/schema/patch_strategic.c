/*
 * Strategic merge patch: objects merge, lists merge by the merge key of their schema or are
 * replaced.
 *
 * Directives: $patch (replace, delete, merge), $retainKeys, $setElementOrder/LIST,
 * $deleteFromPrimitiveList/LIST. Both trees are worked on as copies: on an error nothing has
 * changed. Where the schema knows nothing (maps, raw extensions) objects merge and lists are
 * replaced.
 *
 * Cost: linear in both trees (lists are matched through an index).
 * Upstream: apimachinery's util/strategicpatch, mergeMap.
 */
#include "apiserver/schema/patch_list.h"

#define ORDER_PREFIX "$setElementOrder/"
#define DELETE_PREFIX "$deleteFromPrimitiveList/"

struct merger {
    struct arena *arena;
    struct error *err;
};

static int merge_object(struct merger *m, const struct schema *s, cJSON *original, cJSON *patch);

static bool has_prefix(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

static const struct field *find_field(const struct schema *s, const char *name)
{
    return s && !s->is_any ? schema_field(s, name, strlen(name)) : NULL;
}

static const struct schema *object_schema(const struct field *f)
{
    return f && f->type == V_OBJECT ? f->object : NULL;
}

static const struct schema *element_schema(const struct field *f)
{
    return f && f->items ? object_schema(f->items) : NULL;
}

/* A value taken from the patch as it is: without nulls and directives, at every depth. */
static void strip(cJSON *value)
{
    for (cJSON *m = value->child, *next; m; m = next) {
        next = m->next;
        bool directive =
            m->string &&
            (!strcmp(m->string, "$patch") || !strcmp(m->string, "$retainKeys") ||
                has_prefix(m->string, ORDER_PREFIX) || has_prefix(m->string, DELETE_PREFIX));
        const cJSON *inner = cJSON_IsObject(m) ? json_get(m, "$patch") : NULL;
        bool deleted = inner && !strcmp(value_string(inner), "delete");
        if (directive || deleted || (cJSON_IsNull(m) && cJSON_IsObject(value)))
            cJSON_Delete(cJSON_DetachItemViaPointer(value, m));
        else
            strip(m);
    }
}

/* Moves the member out of the patch and into the original. */
static void adopt(struct members *original, const char *name, cJSON *patch, cJSON *member)
{
    autofree char *copy = xstrdup(name);
    cJSON_DetachItemViaPointer(patch, member);
    strip(member);
    members_set(original, copy, member);
}

static void empty(cJSON *object)
{
    cJSON_Delete(object->child);
    object->child = NULL;
}

/* {"$patch": ...} in an object: *ret_done when it decided all. */
static int object_directive(struct merger *m, cJSON *original, cJSON *patch, bool *ret_done)
{
    const cJSON *directive = json_get(patch, "$patch");
    const char *word = value_string(directive);
    *ret_done = directive != NULL;
    if (!directive)
        return 0;
    if (strcmp(word, "replace") != 0 && strcmp(word, "delete") != 0 && strcmp(word, "merge") != 0)
        return error_set(m->err, ERR_BAD_REQUEST, "unknown patch type: %s in map", word);
    bool replace = !strcmp(word, "replace");
    bool merge = !strcmp(word, "merge");
    json_remove(patch, "$patch");
    if (merge) {
        *ret_done = false;
        return 0;
    }
    empty(original);
    if (replace) {
        strip(patch);
        original->child = patch->child;
        patch->child = NULL;
    }
    return 0;
}

static int retain_keys(struct merger *m, cJSON *original, cJSON *patch)
{
    const cJSON *keep = json_get(patch, "$retainKeys");
    if (!keep)
        return 0;
    if (!cJSON_IsArray(keep))
        return error_set(m->err, ERR_BAD_REQUEST, "invalid patch format of retainKeys");
    autojson cJSON *names = cJSON_CreateObject();
    automembers struct members kept = members_of(names, members_count(keep));
    for (const cJSON *k = keep->child; k; k = k->next)
        members_set(&kept, value_string(k), cJSON_CreateTrue());
    for (const cJSON *p = patch->child; p; p = p->next)
        if (p->string[0] != '$' && !cJSON_IsNull(p) && !members_get(&kept, p->string))
            return error_set(
                m->err, ERR_BAD_REQUEST, "patch content doesn't match retainKeys list");
    for (cJSON *o = original->child, *next; o; o = next) {
        next = o->next;
        if (!members_get(&kept, o->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(original, o));
    }
    json_remove(patch, "$retainKeys");
    return 0;
}

/* All elements are objects, or none is. */
static int element_kind(struct merger *m, const cJSON *a, const cJSON *b, bool *ret_objects)
{
    const cJSON *lists[] = {a, b};
    bool objects = false, others = false;
    for (size_t i = 0; i < 2; i++) {
        for (const cJSON *e = lists[i] ? lists[i]->child : NULL; e; e = e->next) {
            if (cJSON_IsArray(e))
                return error_set(m->err, ERR_BAD_REQUEST, "lists of lists are not supported");
            objects = objects || cJSON_IsObject(e);
            others = others || !cJSON_IsObject(e);
        }
    }
    if (objects && others)
        return error_set(m->err, ERR_BAD_REQUEST, "list element types are not identical");
    *ret_objects = objects;
    return 0;
}

static void set_items(cJSON *list, const struct items *items)
{
    list->child = NULL;
    for (size_t i = 0; i < items->n; i++) {
        items->p[i]->next = items->p[i]->prev = NULL;
        cJSON_AddItemToArray(list, items->p[i]);
    }
}

/* Takes the elements that carry $patch out of the patch list and obeys them. */
static int list_directives(struct merger *m, const char *key, cJSON *original, cJSON *patch)
{
    bool replace = false;
    for (cJSON *p = patch->child, *next; p; p = next) {
        next = p->next;
        const cJSON *directive = json_get(p, "$patch");
        const char *word = value_string(directive);
        if (!directive || !strcmp(word, "merge"))
            continue;
        if (!strcmp(word, "replace")) {
            replace = true;
        } else if (strcmp(word, "delete") != 0) {
            return error_set(m->err, ERR_BAD_REQUEST, "unknown patch type: %s in map", word);
        } else {
            const cJSON *value = json_get(p, key);
            if (!value)
                return error_set(m->err, ERR_BAD_REQUEST,
                    "delete patch type with no merge key defined: %s", key);
            for (cJSON *o = original->child, *after; o; o = after) {
                after = o->next;
                if (json_equal(json_get(o, key), value))
                    cJSON_Delete(cJSON_DetachItemViaPointer(original, o));
            }
        }
        /* an element that is a directive and nothing else, or a deletion */
        cJSON_Delete(cJSON_DetachItemViaPointer(patch, p));
    }
    if (replace) {
        empty(original);
        strip(patch);
        original->child = patch->child;
        patch->child = NULL;
    }
    return 0;
}

/* Merges or appends each element of the patch; elements move from patch to original. */
static int merge_elements(
    struct merger *m, const struct schema *s, const char *key, cJSON *original, cJSON *patch)
{
    struct items have = items_of(m->arena, original);
    struct item_index index = index_new(m->arena, &have, key);
    for (cJSON *p = patch->child, *next; p; p = next) {
        next = p->next;
        const cJSON *value = json_get(p, key);
        if (!value) {
            autostrbuf struct strbuf text = STRBUF_EMPTY;
            json_print(p, &text);
            return error_set(m->err, ERR_BAD_REQUEST,
                "map: %s does not contain declared merge key: %s", text.data, key);
        }
        ssize_t at = index_find_value(&index, value);
        if (at >= 0) {
            if (merge_object(m, s, have.p[at], p) < 0)
                return -m->err->code;
        } else {
            cJSON *copy = cJSON_Duplicate(p, true);
            strip(copy);
            cJSON_AddItemToArray(original, copy);
        }
    }
    return 0;
}

static void merge_primitives(struct merger *m, cJSON *original, cJSON *patch)
{
    struct items have = items_of(m->arena, original), add = items_of(m->arena, patch);
    struct items all = items_new(m->arena, have.n + add.n);
    memcpy(all.p, have.p, have.n * sizeof(*all.p));
    memcpy(all.p + have.n, add.p, add.n * sizeof(*all.p));
    all.n = have.n + add.n;
    struct item_index first = index_new(m->arena, &all, NULL);
    for (size_t i = have.n; i < all.n; i++)
        if (index_find_value(&first, all.p[i]) == (ssize_t)i)
            cJSON_AddItemToArray(original, cJSON_Duplicate(all.p[i], true));
}

static void delete_primitives(struct merger *m, cJSON *original, const cJSON *gone)
{
    struct items list = items_of(m->arena, gone);
    struct item_index index = index_new(m->arena, &list, NULL);
    for (cJSON *o = original->child, *next; o; o = next) {
        next = o->next;
        if (index_find_value(&index, o) >= 0)
            cJSON_Delete(cJSON_DetachItemViaPointer(original, o));
    }
}

/* Shells that keep an order while the lists themselves change. */
static struct items order_of(struct merger *m, const cJSON *list, cJSON **ret_copy)
{
    *ret_copy = cJSON_Duplicate(list, true);
    return items_of(m->arena, *ret_copy);
}

static int merge_list(struct merger *m, const struct field *f, cJSON *original, cJSON *patch)
{
    bool objects;
    if (element_kind(m, original, patch, &objects) < 0)
        return -m->err->code;
    const char *key = objects ? f->merge_key : NULL;
    if (objects && !key)
        return error_set(
            m->err, ERR_BAD_REQUEST, "cannot merge lists without merge key for %s", f->name);
    autojson cJSON *server_copy = NULL, *patch_copy = NULL;
    if (objects && list_directives(m, key, original, patch) < 0)
        return -m->err->code;
    struct items server_order = order_of(m, original, &server_copy);
    struct items patch_order = order_of(m, patch, &patch_copy);
    if (!objects)
        merge_primitives(m, original, patch);
    else if (merge_elements(m, element_schema(f), key, original, patch) < 0)
        return -m->err->code;
    struct items merged = items_of(m->arena, original);
    struct items ordered = items_order(m->arena, &merged, &patch_order, &server_order, key);
    set_items(original, &ordered);
    return 0;
}

/* Every element of the patch list must be named by the order list, in that order. */
static int check_order(struct merger *m, const cJSON *order, const cJSON *patch, const char *key)
{
    const cJSON *o = order->child;
    for (const cJSON *p = patch ? patch->child : NULL; p; p = p->next) {
        if (key && json_get(p, "$patch"))
            continue;
        const cJSON *value = key ? json_get(p, key) : p;
        while (o && !json_equal(key ? json_get(o, key) : o, value))
            o = o->next;
        if (!o) {
            autostrbuf struct strbuf got = STRBUF_EMPTY, wanted = STRBUF_EMPTY;
            json_print(patch, &got);
            json_print(order, &wanted);
            return error_set(m->err, ERR_BAD_REQUEST,
                "The order in patch list:\n%.400s\n doesn't match $setElementOrder list:\n%.400s",
                got.data, wanted.data);
        }
        o = o->next;
    }
    return 0;
}

static int apply_order(
    struct merger *m, const struct schema *s, cJSON *original, cJSON *patch, cJSON *order)
{
    const char *name = order->string + strlen(ORDER_PREFIX);
    const struct field *f = find_field(s, name);
    cJSON *have = json_get(original, name), *add = json_get(patch, name);
    if (!cJSON_IsArray(order))
        return error_set(m->err, ERR_BAD_REQUEST, "invalid patch format of setElementOrder list");
    if (!f || (have && !cJSON_IsArray(have)) || (add && !cJSON_IsArray(add)) || (!have && !add))
        return 0;
    bool objects;
    if (element_kind(m, have, add, &objects) < 0)
        return -m->err->code;
    const char *key = objects ? f->merge_key : NULL;
    if (check_order(m, order, add, key) < 0)
        return -m->err->code;
    autojson cJSON *server_copy = NULL;
    struct items server_order = order_of(m, have ? have : order, &server_copy);
    if (!have) {
        struct members members = {.object = original};
        adopt(&members, name, patch, add);
        have = add;
    } else if (add) {
        if (merge_list(m, f, have, add) < 0)
            return -m->err->code;
        json_remove(patch, name);
    }
    struct items merged = items_of(m->arena, have), wanted = items_of(m->arena, order);
    struct items ordered = items_order(m->arena, &merged, &wanted, &server_order, key);
    set_items(have, &ordered);
    return 0;
}

static int apply_orders(struct merger *m, const struct schema *s, cJSON *original, cJSON *patch)
{
    for (;;) {
        cJSON *p = patch->child;
        while (p && !has_prefix(p->string, ORDER_PREFIX))
            p = p->next;
        if (!p)
            return 0;
        cJSON_DetachItemViaPointer(patch, p);
        int result = apply_order(m, s, original, patch, p);
        cJSON_Delete(p);
        if (result < 0)
            return result;
    }
}

static int merge_member(
    struct merger *m, const struct schema *s, struct members *original, cJSON *patch, cJSON *p)
{
    const char *name = p->string;
    bool deleting = has_prefix(name, DELETE_PREFIX);
    if (deleting)
        name += strlen(DELETE_PREFIX);
    cJSON *old = members_get(original, name);
    if (deleting) {
        if (cJSON_IsArray(old) && cJSON_IsArray(p))
            delete_primitives(m, old, p);
        return 0;
    }
    if (cJSON_IsNull(p)) {
        members_remove(original, name);
        return 0;
    }
    const struct field *f = find_field(s, name);
    if (cJSON_IsObject(p) && cJSON_IsObject(old) && !(f && (f->patch & PATCH_REPLACE)))
        return merge_object(m, object_schema(f), old, p);
    if (cJSON_IsArray(p) && cJSON_IsArray(old) && f && (f->patch & PATCH_MERGE))
        return merge_list(m, f, old, p);
    adopt(original, name, patch, p);
    return 0;
}

static int merge_object(struct merger *m, const struct schema *s, cJSON *original, cJSON *patch)
{
    bool done;
    if (object_directive(m, original, patch, &done) < 0)
        return -m->err->code;
    if (done)
        return 0;
    if (retain_keys(m, original, patch) < 0 || apply_orders(m, s, original, patch) < 0)
        return -m->err->code;
    automembers struct members members = members_of(original, members_count(patch));
    for (cJSON *p = patch->child, *next; p; p = next) {
        next = p->next;
        if (merge_member(m, s, &members, patch, p) < 0)
            return -m->err->code;
    }
    return 0;
}

int patch_strategic(const struct schema *s, cJSON **tree, const cJSON *patch, struct error *err)
{
    if (!cJSON_IsObject(patch))
        return error_set(err, ERR_BAD_REQUEST,
            "json: cannot unmarshal %s into Go value of type "
            "map[string]interface {}",
            cJSON_IsArray(patch) ? "array" : "value");
    struct merger m = {.arena = arena_new(), .err = err};
    cJSON *result = cJSON_Duplicate(*tree, true);
    autojson cJSON *work = cJSON_Duplicate(patch, true);
    int status = merge_object(&m, s, result, work);
    arena_free(m.arena);
    if (status < 0) {
        cJSON_Delete(result);
        return status;
    }
    cJSON_Delete(*tree);
    *tree = result;
    return 0;
}
