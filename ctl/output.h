/*
 * Forms of output: aligned columns, YAML, JSON, names, jsonpath.
 */
#pragma once

#include "ctl/session.h"

#define COLUMNS_MAX 64

/* Rows of cells; widths are those of the widest cell (of this and earlier prints), three spaces
 * between. */
struct columns {
    char ***rows; /* each NULL ended */
    size_t count;
    size_t widths[COLUMNS_MAX];
};
void columns_add(struct columns *c, char **take_row);
char *cell_line(const char *text); /* one line of it, fit for a terminal; owned by the caller */
void columns_print(struct columns *c, FILE *out); /* and frees the rows */

/* Adds the rows of a Table to c, with its header first when `header`; wide: all columns;
 * namespaces: one more in front. */
void columns_add_table(struct columns *c, const cJSON *table, bool header, bool wide,
    bool namespaces, const struct ctl_resource *prefix_or_null);

/* "{.items[*].metadata.name}": paths, [n], [a:b], [*], [?(@.a=="b")], {..name}, {"text"}, {range
 * x}...{end}. ERR_BAD_REQUEST says where. */
int jsonpath_print(const char *template_, const cJSON *tree, FILE *out, struct error *err);

/* -o: "yaml", "json", "name", "jsonpath=..."; false: it is a table ("" or "wide"). */
bool output_is_object_form(const char *output);
int output_check(const char *output, struct error *err);
int output_object(const char *output, const cJSON *tree, struct error *err);
