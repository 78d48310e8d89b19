/*
 * The parser's state, shared by parse.c (types and fields) and parse_resource.c (resource blocks).
 */
#pragma once

#include <assert.h>

#include "apiserver/schema/model.h"

#define PARSER_NAMES_MASK 8191
#define PARSER_TYPES_MASK 2047

struct parser {
    struct api *api;
    struct error *err;
    const struct api_file *file;
    const char *at;
    size_t line_number;
    const char *package, *definitions,
        *group_version;  /* of this file; group_version is NULL for meta/v1 */
    struct schema *type; /* being read, or NULL */
    struct field fields[SCHEMA_FIELDS_MAX];
    size_t field_count;
    struct resource *resource; /* being read, or NULL */
    struct column columns[24];
    struct subresource subresources[16];
    struct field *elements[16]; /* the element of each scalar type */
    const char *names[PARSER_NAMES_MASK + 1];
    size_t name_count;
    struct schema *types[PARSER_TYPES_MASK + 1];
};

/* The same pointer for the same text, NUL-terminated. */
const char *parser_intern(struct parser *p, struct str s);
/* The next word, or the inside of "..."; false at the end. */
bool parser_token(struct str *rest, struct str *ret);
bool parser_value(struct str token, const char *key, struct str *ret);
const char *const *parser_names(struct parser *p, struct str list, char separator);
struct schema *parser_schema(struct parser *p, const char *package, struct str name);

int parse_resource(struct parser *p, struct str line);
int parse_resource_line(struct parser *p, struct str line);
/* After all files: storage versions, kinds of subresources, ids. */
int parse_link_resources(struct parser *p);
