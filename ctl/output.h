/*
 * Forms of output: aligned columns, YAML, JSON, names, jsonpath.
 */
#pragma once

#include "ctl/session.h"

/* Rows of cells; widths are those of the widest cell, three spaces between. */
struct columns {
    char ***rows; /* each NULL ended */
    size_t count;
};
void columns_add(struct columns *c, char **take_row);
void columns_print(struct columns *c, FILE *out); /* and frees */

/* Adds the rows of a Table to c, with its header first when `header`; wide: all columns; namespaces: one more in front. */
void columns_add_table(struct columns *c, const cJSON *table, bool header, bool wide, bool namespaces,
    const struct ctl_resource *prefix_or_null);

/* "{.items[*].metadata.name}": paths, [n], [*], [?(@.a=="b")], {"text"}, {range x}...{end}. ERR_BAD_REQUEST says where. */
int jsonpath_print(const char *template_, const cJSON *tree, FILE *out, struct error *err);

/* -o: "yaml", "json", "name", "jsonpath=..."; false: it is a table ("" or "wide"). */
bool output_is_object_form(const char *output);
int output_check(const char *output, struct error *err);
int output_object(const char *output, const cJSON *tree, struct error *err);
