/*
 * JSON: strict parsing into cJSON trees, exact integers, Go-like printing, and helpers.
 *
 * json_parse() runs a strict pre-scan first (UTF-8, control characters, \u0000, lone surrogates,
 * depth, count, number syntax, nothing behind the value), because cJSON accepts much that Go
 * refuses. Numbers that a double can't hold exactly (integers of more than 15 digits) become
 * cJSON_Raw items holding their text, so nothing is ever rounded; json_int64() reads both.
 * Duplicate keys are kept as they come (json_get finds the LAST, as Go does); json_dedup() drops
 * the earlier ones and reports them.
 *
 * Ownership: a tree is freed by cJSON_Delete; `autojson` does it at the end of a scope.
 * Cost for 2 KB: pre-scan 1.0 us, parse 5, print 2 (half of cJSON's), dedup 0.4, equal 1.5.
 * Threads: none of its own.
 */
#pragma once

#include <cjson/cJSON.h>

#include "common/str.h"

void cleanup_json(cJSON **tree);
#define autojson __attribute__((cleanup(cleanup_json)))

/* Text of one JSON value, NUL-terminated or not. ERR_BAD_REQUEST says what is wrong and at which
 * byte; ERR_TOO_LARGE for limits. */
int json_parse(struct str text, cJSON **ret, struct error *err);

/* The pre-scan alone; *ret_end (may be NULL) gets the offset behind the value and lets more text
 * follow. */
int json_scan(struct str text, size_t *ret_end, struct error *err);

/* Compact text, object keys in tree order, Go's escapes (<, >, & and U+2028/9 as \u00XX); Raw
 * verbatim. */
void json_print(const cJSON *tree, struct strbuf *out);
void json_print_indented(const cJSON *tree, struct strbuf *out, int spaces);
void json_print_string(struct str s, struct strbuf *out); /* with its quotes */

/* Member by exact name; NULL when absent or when object is not an object. The last of duplicates.
 */
cJSON *json_get(const cJSON *object, const char *name);
/* Member by dotted path: json_path(pod, "spec.nodeName"). No escapes, no array indexes. */
cJSON *json_path(const cJSON *tree, const char *path);
const char *json_string(const cJSON *object, const char *name);  /* NULL when absent or no string */
const char *json_string_at(const cJSON *tree, const char *path); /* by path; NULL as above */
bool json_bool(const cJSON *object, const char *name, bool otherwise);
/* Number or Raw item as an exact integer; false for fractions, other types and overflow. */
bool json_int64(const cJSON *item, int64_t *ret);
int64_t json_int64_at(const cJSON *tree, const char *path, int64_t otherwise);
cJSON *json_new_int64(int64_t value);   /* exact: Raw above 10^15 */
bool json_is_number(const cJSON *item); /* Number, or Raw holding one */

/* Set or replace a member (takes item). Path variants make the objects on the way. */
void json_set(cJSON *object, const char *name, cJSON *item);
void json_set_string(cJSON *object, const char *name, const char *value);
void json_set_at(cJSON *tree, const char *path, cJSON *item);
void json_set_string_at(cJSON *tree, const char *path, const char *value);
void json_remove(cJSON *object, const char *name);
void json_remove_at(cJSON *tree, const char *path);

/* Deep equality; objects compare as sets of members, in O(n log n). 1 and 1.0 are equal. */
bool json_equal(const cJSON *a, const cJSON *b);

/* Sorts the members of every object by name, deep (canonical form for hashing). */
void json_sort(cJSON *tree);

/* Drops all but the last of members with the same name, deep. Calls report (may be NULL) once a
 * name with its path ("spec.containers[0].image"); returns how many members were dropped. */
typedef void json_duplicate_fn(void *arg, const char *path);
size_t json_dedup(cJSON *tree, json_duplicate_fn *report, void *arg);

/* printf to tree, for tests and small literals: aborts when the text is not JSON. */
cJSON *json_make(const char *format, ...) __attribute__((format(printf, 1, 2)));
