/*
 * JSON trees: parsing behind the pre-scan, exact integers, and the helpers that read and change
 * members.
 *
 * cJSON keeps numbers as doubles; the pre-scan tells which integers are too long for that, and
 * after parsing a walk in document order turns exactly those items into cJSON_Raw with their text.
 * Tests: tests/unit/common/json_test.c
 */
#include "common/json.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>

#include "common/json_scan.h"
#include "common/limits.h"

void cleanup_json(cJSON **tree)
{
    cJSON_Delete(*tree);
}

/* Parsing */

struct restore {
    const char *text;
    const struct json_long_numbers *longs;
    size_t done, ordinal;
};

static void restore_numbers(struct restore *r, cJSON *item)
{
    for (; item && r->done < r->longs->count; item = item->next) {
        const struct json_long_number *number = &r->longs->at[r->done];
        if (++r->ordinal == number->ordinal) {
            item->type = cJSON_Raw;
            item->valuestring = str_dup(str_range(r->text + number->offset, number->n));
            r->done++;
        }
        restore_numbers(r, item->child);
    }
}

int json_parse(struct str text, cJSON **ret, struct error *err)
{
    struct json_long_numbers longs = {0};
    int r = json_scan_numbers(text, NULL, &longs, err);
    cJSON *tree = NULL;

    if (r < 0)
        goto out;
    const char *end = NULL;
    tree = cJSON_ParseWithLengthOpts(text.p, text.n, &end, 0);
    if (!tree) {
        r = error_set(err, ERR_BAD_REQUEST, "JSON could not be read (at byte %zu)",
            end ? (size_t)(end - text.p) : 0);
        goto out;
    }
    struct restore restore = {.text = text.p, .longs = &longs};
    restore_numbers(&restore, tree);
    assert(restore.done == longs.count);
    *ret = tree;
out:
    free(longs.at);
    return r;
}

cJSON *json_make(const char *format, ...)
{
    char *text;
    va_list args;
    cJSON *tree = NULL;
    struct error err;

    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        abort();
    if (json_parse(str_range(text, (size_t)n), &tree, &err) < 0) {
        fprintf(stderr, "json_make: %s: %s\n", err.text, text);
        abort();
    }
    free(text);
    return tree;
}

/* Reading members */

cJSON *json_get(const cJSON *object, const char *name)
{
    cJSON *found = NULL;
    if (!cJSON_IsObject(object))
        return NULL;
    for (cJSON *m = object->child; m; m = m->next)
        if (m->string && m->string[0] == name[0] && !strcmp(m->string, name))
            found = m;
    return found;
}

static cJSON *get_view(const cJSON *object, struct str name)
{
    cJSON *found = NULL;
    char first = name.n > 0 ? name.p[0] : '\0';
    if (!cJSON_IsObject(object))
        return NULL;
    for (cJSON *m = object->child; m; m = m->next)
        if (m->string && m->string[0] == first && !strncmp(m->string, name.p, name.n) &&
            !m->string[name.n])
            found = m;
    return found;
}

cJSON *json_path(const cJSON *tree, const char *path)
{
    struct str rest = str_of(path), part;
    const cJSON *item = tree;
    while (item && str_split(&rest, '.', &part))
        item = get_view(item, part);
    return (cJSON *)item;
}

const char *json_string(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(json_get(object, name));
}

const char *json_string_at(const cJSON *tree, const char *path)
{
    return cJSON_GetStringValue(json_path(tree, path));
}

bool json_bool(const cJSON *object, const char *name, bool otherwise)
{
    const cJSON *item = json_get(object, name);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : otherwise;
}

bool json_is_number(const cJSON *item)
{
    if (!item)
        return false;
    if (cJSON_IsRaw(item) && item->valuestring)
        return item->valuestring[0] == '-' || (unsigned)item->valuestring[0] - '0' <= 9u;
    return cJSON_IsNumber(item);
}

bool json_int64(const cJSON *item, int64_t *ret)
{
    struct error err;
    if (!json_is_number(item))
        return false;
    if (cJSON_IsRaw(item))
        return str_parse_int64(str_of(item->valuestring), ret, &err) == 0;
    double d = item->valuedouble;
    if (!(d >= -0x1p63 && d < 0x1p63) || d != floor(d))
        return false;
    *ret = (int64_t)d;
    return true;
}

int64_t json_int64_at(const cJSON *tree, const char *path, int64_t otherwise)
{
    int64_t value;
    return json_int64(json_path(tree, path), &value) ? value : otherwise;
}

cJSON *json_new_int64(int64_t value)
{
    char text[24];
    if (value > -1000000000000000ll && value < 1000000000000000ll)
        return cJSON_CreateNumber((double)value);
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return cJSON_CreateRaw(text);
}

/* Changing members */

static void set_member(cJSON *object, struct str name, cJSON *item)
{
    assert(item && cJSON_IsObject(object));
    cJSON *old = get_view(object, name);
    if (item->string && !(item->type & cJSON_StringIsConst))
        cJSON_free(item->string);
    item->string = str_dup(name);
    item->type &= ~cJSON_StringIsConst;
    if (old)
        cJSON_ReplaceItemViaPointer(object, old, item);
    else
        cJSON_AddItemToArray(object, item); /* links without touching the name */
}

void json_set(cJSON *object, const char *name, cJSON *item)
{
    set_member(object, str_of(name), item);
}

void json_set_string(cJSON *object, const char *name, const char *value)
{
    json_set(object, name, cJSON_CreateString(value));
}

/* Splits off the path's last part and returns the object that holds it, made when `make`. */
static cJSON *holder_at(cJSON *tree, const char *path, bool make, struct str *ret_last)
{
    struct str rest = str_of(path), part;
    while (str_split(&rest, '.', &part)) {
        if (rest.n == 0) {
            *ret_last = part;
            return tree;
        }
        cJSON *next = get_view(tree, part);
        if (!cJSON_IsObject(next)) {
            if (!make)
                return NULL;
            next = cJSON_CreateObject();
            set_member(tree, part, next);
        }
        tree = next;
    }
    return NULL;
}

void json_set_at(cJSON *tree, const char *path, cJSON *item)
{
    struct str last;
    cJSON *holder = holder_at(tree, path, true, &last);
    assert(holder);
    set_member(holder, last, item);
}

void json_set_string_at(cJSON *tree, const char *path, const char *value)
{
    json_set_at(tree, path, cJSON_CreateString(value));
}

static void remove_member(cJSON *object, struct str name)
{
    for (cJSON *m; (m = get_view(object, name));)
        cJSON_Delete(cJSON_DetachItemViaPointer(object, m));
}

void json_remove(cJSON *object, const char *name)
{
    remove_member(object, str_of(name));
}

void json_remove_at(cJSON *tree, const char *path)
{
    struct str last;
    cJSON *holder = holder_at(tree, path, false, &last);
    if (holder)
        remove_member(holder, last);
}
