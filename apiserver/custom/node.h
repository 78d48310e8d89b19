/*
 * A schema of a CustomResourceDefinition, compiled: what pruning, defaulting and validation of
 * custom objects walk. Private to this folder.
 *
 * A node is one schema object of an openAPIV3Schema with all its keywords; a tree of nodes mirrors
 * the document. Below allOf, anyOf, oneOf and not, nodes only judge (structural schemas forbid
 * more), above they also say what exists. Keywords that nothing evaluates yet
 * (x-kubernetes-validations) are kept as JSON: `rules`.
 *
 * Ownership: nodes, names and values borrow from the arena and the source tree of their custom.
 * Threads: immutable once compiled. Limits: LIMIT_CUSTOM_*.
 * Upstream: apiextensions-apiserver/pkg/apiserver/schema, kube-openapi/pkg/validation.
 */
#pragma once

#include "apiserver/schema/model.h"

struct pattern;

enum node_type {
    NODE_ANY, /* no type: anything, or int-or-string */
    NODE_OBJECT,
    NODE_ARRAY,
    NODE_STRING,
    NODE_INTEGER,
    NODE_NUMBER,
    NODE_BOOLEAN,
};

struct node_member {
    const char *name;
    struct node *node;
    uint32_t hash;
};

struct node_list {
    struct node **nodes;
    size_t count;
};

struct node {
    uint8_t type;    /* enum node_type */
    uint8_t list;    /* enum list_kind */
    bool map_atomic; /* x-kubernetes-map-type: atomic */
    bool nullable, preserve, embedded, int_or_string;
    bool has_minimum, has_maximum, exclusive_minimum, exclusive_maximum;
    bool additional_any;                  /* additionalProperties: true */
    bool deep_defaults;                   /* it or a node below has a default */
    double minimum, maximum, multiple_of; /* multiple_of 0: none */
    int64_t min_length, max_length, min_items, max_items, min_members, max_members; /* -1: none */
    const char *format;                                                             /* or NULL */
    const struct pattern *pattern;
    const cJSON *enums, *otherwise, *rules;    /* or NULL */
    const cJSON *source;                       /* the schema's own JSON */
    const char *const *required, *const *keys; /* NULL ended, or NULL */
    size_t required_count;
    struct node_member *members; /* properties, in the document's order */
    size_t member_count;
    uint16_t *slots; /* by name: index + 1 */
    size_t slot_mask;
    struct node *items, *additional, *not_;
    struct node_list all_of, any_of, one_of;
};

/* Compiles one openAPIV3Schema (borrowed for the arena's life). Keywords of wrong types are left
 * out; ERR_INVALID for what can't be bounded: nesting, size, patterns; err says where. */
int node_compile(struct arena *a, const cJSON *schema, struct node **ret, struct error *err);
/* Everything allowed, nothing known: the schema of a version that has none. */
struct node *node_new_open(struct arena *a);
const struct node *node_member(const struct node *n, const char *name);

/* Regular expressions of RE2's syntax. */
int pattern_compile(struct arena *a, const char *text, struct pattern **ret, struct error *err);
/* 1, 0, or -1: too much work. */
int pattern_matches(const struct pattern *p, const char *text);
const char *pattern_text(const struct pattern *p);

/* Is the format one that Kubernetes checks, and the value of it? Unknown formats hold for anything.
 */
bool format_is_known(const char *format);
bool format_holds(const char *format, const cJSON *value);

/* Judges a value (a default) whose place is `at`. */
void node_validate(
    const struct node *n, const cJSON *value, const struct frame *at, struct field_errors *errors);
/* Would pruning leave the value as it is? */
bool node_is_pruned(const struct schema *meta, const struct node *n, const cJSON *value);
