/*
 * Custom kinds: from a CustomResourceDefinition to the same `struct resource` and `struct schema`
 * that built-in kinds have.
 *
 * custom_new() compiles a definition into a `struct custom` (schema/model.h): a resource for each
 * version, with columns, subresources, selectable fields, and a schema in two forms: fields, which
 * generic code reads (patches, apply), and nodes (node.h), which know all keywords. schema_decode,
 * schema_default, schema_validate and schema_normalise come here when a schema has a node:
 *
 *     custom_decode (prune) -> custom_default -> custom_validate -> custom_normalise
 *
 * Threads: all functions are pure. Limits: limits.h, LIMIT_CUSTOM_*.
 * Upstream: k8s.io/apiextensions-apiserver. Not evaluated yet: x-kubernetes-validations (kept in
 * the nodes); conversion is None for every definition.
 */
#pragma once

#include "apiserver/schema/model.h"

struct strategy;

/* definition: a stored or checked CustomResourceDefinition (copied). The result has one reference.
 */
int custom_new(const struct api *base, const cJSON *definition, int id,
    const struct strategy *strategy, struct custom **ret, struct error *err);

/* Removes what the schema does not know and reports it as schema_decode does; metadata is checked.
 */
int custom_decode(const struct schema *s, cJSON *tree, enum field_validation mode,
    struct strbuf *warnings, struct error *err);
/* Fills in defaults; nulls that are not allowed and have no default go. */
void custom_default(const struct schema *s, cJSON *tree);
/* Members in the order of their names; metadata as of any object. */
void custom_normalise(const struct schema *s, cJSON *tree);
/* Every keyword, upstream's texts. old (or NULL): the stored object; what has not changed since is
 * not judged again. */
void custom_validate(
    const struct schema *s, const cJSON *tree, const cJSON *old, struct field_errors *errors);

/* The rules of a definition itself. old: the stored one, or NULL. Texts of formats that nobody
 * checks go to `unknown_formats`, a line each. */
void custom_check_definition(const struct api *base, const cJSON *definition, const cJSON *old,
    struct field_errors *errors, struct strbuf *unknown_formats);

/* A cell of a printer column: the value at a JSONPath as the column's type shows it. */
cJSON *custom_cell(const struct column *c, const cJSON *object, int64_t now_ns);

/* The JSON schema of one version for the documents, version 2 or 3. */
void custom_openapi(const struct resource *r, int version, struct strbuf *out);
