/*
 * Cells of additional printer columns: a JSONPath into the object, shown as the column's type says.
 *
 * The paths: .name, ['name'], [n], [*], [?(@.path=="text")] (and !=), with one result or the first
 * of several. Anything else finds nothing, which is an empty cell, as upstream.
 *
 * Upstream: apiextensions-apiserver's registry/customresource/tableconvertor.
 */
#include "apiserver/custom/custom.h"
#include "apiserver/schema/cell.h"

static const cJSON *walk(const cJSON *value, const char *path);

static const cJSON *walk_member(const cJSON *value, const char *name, size_t n, const char *rest)
{
    autofree char *key = str_dup(str_range(name, n));
    const cJSON *item = json_get(value, key);
    return item ? walk(item, rest) : NULL;
}

/* "@.type=="Ready"", with the value's end at `end`. */
static bool holds(const cJSON *item, const char *from, const char *end)
{
    const char *operator= from;
    while (operator<end && strncmp(operator, "==", 2) != 0 && strncmp(operator, "!=", 2) != 0)
        operator++;
    if (operator>= end || * from != '@')
        return false;
    struct str path = str_trim(str_range(from + 1, (size_t)(operator- from - 1)));
    struct str wanted = str_trim(str_range(operator+ 2, (size_t)(end - operator- 2)));
    autofree char *text = str_dup(path);
    const cJSON *found = walk(item, text);
    bool quoted = wanted.n >= 2 && (wanted.p[0] == '"' || wanted.p[0] == '\'');
    if (quoted)
        wanted = str_range(wanted.p + 1, wanted.n - 2);
    autostrbuf struct strbuf shown = STRBUF_EMPTY;
    if (cJSON_IsString(found))
        strbuf_addc(&shown, found->valuestring);
    else if (found)
        json_print(found, &shown);
    bool equal = found && str_eq(strbuf_str(&shown), wanted);
    return *operator== '=' ? equal : found && !equal;
}

static const cJSON *walk_filter(
    const cJSON *list, const char *from, const char *end, const char *rest)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next) {
        const cJSON *found = holds(e, from, end) ? walk(e, rest) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

static const cJSON *walk_all(const cJSON *list, const char *rest)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next) {
        const cJSON *found = walk(e, rest);
        if (found)
            return found;
    }
    return NULL;
}

static const cJSON *walk_index(const cJSON *list, const char *from, const char *close)
{
    int64_t index;
    struct error ignored;
    if (!cJSON_IsArray(list) ||
        str_parse_int64(str_range(from, (size_t)(close - from)), &index, &ignored) < 0)
        return NULL;
    if (index < 0)
        index += cJSON_GetArraySize(list);
    const cJSON *item =
        index < 0 || index > INT32_MAX ? NULL : cJSON_GetArrayItem(list, (int)index);
    return item ? walk(item, close + 1) : NULL;
}

static const cJSON *walk_bracket(const cJSON *value, const char *from)
{
    if (!strncmp(from, "?(", 2)) {
        const char *end = strstr(from, ")]");
        return end ? walk_filter(value, from + 2, end, end + 2) : NULL;
    }
    if (*from == '\'' || *from == '"') {
        const char *end = strchr(from + 1, *from);
        return end && end[1] == ']'
                   ? walk_member(value, from + 1, (size_t)(end - from - 1), end + 2)
                   : NULL;
    }
    const char *close = strchr(from, ']');
    if (!close)
        return NULL;
    return *from == '*' ? walk_all(value, close + 1) : walk_index(value, from, close);
}

static const cJSON *walk(const cJSON *value, const char *path)
{
    if (!*path)
        return value;
    if (*path == '[')
        return walk_bracket(value, path + 1);
    if (*path != '.')
        return NULL;
    path++;
    if (*path == '*')
        return walk_all(value, path + 1);
    autostrbuf struct strbuf name = STRBUF_EMPTY;
    while (*path && *path != '.' && *path != '[') {
        if (*path == '\\' && path[1])
            path++;
        strbuf_add_char(&name, *path++);
    }
    if (name.n == 0)
        return walk(value, path);
    return walk_member(value, name.data, name.n, path);
}

static cJSON *date_cell(const cJSON *value, int64_t now_ns)
{
    autostrbuf struct strbuf age = STRBUF_EMPTY;
    if (!cJSON_IsString(value))
        return cJSON_CreateNull();
    print_age(value->valuestring, now_ns, &age);
    return cJSON_CreateString(age.n ? age.data : "<invalid>");
}

static cJSON *number_cell(const cJSON *value, bool whole)
{
    int64_t n;
    if (!json_is_number(value))
        return cJSON_CreateNull();
    if (json_int64(value, &n) || !whole)
        return cJSON_Duplicate(value, false);
    return json_new_int64((int64_t)value->valuedouble);
}

cJSON *custom_cell(const struct column *c, const cJSON *object, int64_t now_ns)
{
    const cJSON *value = walk(object, c->path);
    if (!value || cJSON_IsNull(value))
        return cJSON_CreateNull();
    if (!strcmp(c->type, "date"))
        return date_cell(value, now_ns);
    if (!strcmp(c->type, "integer") || !strcmp(c->type, "number"))
        return number_cell(value, c->type[0] == 'i');
    if (!strcmp(c->type, "boolean"))
        return cJSON_IsBool(value) ? cJSON_Duplicate(value, false) : cJSON_CreateNull();
    if (cJSON_IsString(value))
        return cJSON_CreateString(value->valuestring);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print(value, &text);
    return cJSON_CreateString(text.data);
}
