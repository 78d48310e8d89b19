/*
 * Tables: the columns of a kind and the cells of one object, as `kubectl get` shows them.
 *
 * A column is a path or a named function (cells.def). A kind without columns of its own has Name
 * and Age.
 *
 * Upstream: pkg/printers/internalversion, and the default table converter.
 */
#include "apiserver/custom/custom.h"
#include "apiserver/schema/cell.h"
#include "common/time.h"

static const struct cell table[] = {
#define CELL(name) {#name, cell_##name},
#include "apiserver/schema/cells.def"
#undef CELL
};

const struct cell *cell_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        if (str_eqc(name, table[i].name))
            return &table[i];
    return NULL;
}

static const struct column default_columns[] = {
    {.name = "Name", .type = "string", .format = "name", .help = "", .path = "metadata.name"},
    {.name = "Created At",
        .type = "date",
        .format = "",
        .help = "",
        .path = "metadata.creationTimestamp"},
};

static const struct column *columns_of(const struct resource *r, size_t *ret_count)
{
    *ret_count = r->column_count ? r->column_count : ARRAY_COUNT(default_columns);
    return r->column_count ? r->columns : default_columns;
}

static const char *column_help(const struct column *c)
{
    if (!strcmp(c->format, "name"))
        return "Name must be unique within a namespace. Is required when creating resources.";
    if (c->is_json_path && *c->help)
        return c->help;
    if (!strcmp(c->name, "Age") || !strcmp(c->name, "Created At"))
        return "Time since the object was made, by the server's clock.";
    return c->help;
}

cJSON *table_columns(const struct resource *r)
{
    size_t count;
    const struct column *c = columns_of(r, &count);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", c[i].name);
        cJSON_AddStringToObject(o, "type", c[i].type);
        cJSON_AddStringToObject(o, "format", c[i].format);
        cJSON_AddStringToObject(o, "description", column_help(&c[i]));
        cJSON_AddNumberToObject(o, "priority", c[i].priority);
        cJSON_AddItemToArray(list, o);
    }
    return list;
}

static cJSON *path_cell(const struct column *c, const cJSON *object)
{
    const cJSON *item = json_path(object, c->path);
    if (item && !cJSON_IsNull(item) && !cJSON_IsObject(item) && !cJSON_IsArray(item))
        return cJSON_Duplicate(item, false);
    return !strcmp(c->type, "integer") ? cJSON_CreateNumber(0) : cJSON_CreateString("");
}

cJSON *table_cells(const struct resource *r, const cJSON *object, int64_t now_ns)
{
    size_t count;
    const struct column *c = columns_of(r, &count);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        cJSON *cell = c[i].cell           ? c[i].cell->fn(object, now_ns)
                      : c[i].is_json_path ? custom_cell(&c[i], object, now_ns)
                                          : path_cell(&c[i], object);
        cJSON_AddItemToArray(list, cell);
    }
    return list;
}
