/*
 * Cells of Tables: what the files cell_*.c share. Private to this folder.
 */
#pragma once

#include "apiserver/schema/model.h"

typedef cJSON *cell_fn(const cJSON *object, int64_t now_ns);

struct cell {
    const char *name;
    cell_fn *fn;
};

#define CELL(name) cell_fn cell_##name;
#include "apiserver/schema/cells.def"
#undef CELL

cJSON *cell_text(const char *text);
cJSON *cell_text_or(
    const char *text, const char *otherwise); /* the second when the first is NULL or "" */
cJSON *cell_number(int64_t n);
cJSON *cell_buffer(struct strbuf *b); /* takes the content */
/* "3m12s" since the RFC 3339 time; "<unknown>" when there is none. */
cJSON *cell_age_of(const char *time, int64_t now_ns);
void print_age(const char *time, int64_t now_ns, struct strbuf *out);
const cJSON *first_of(const cJSON *object, const char *path); /* first child of what is at path */
int64_t count_of(const cJSON *object, const char *path);
