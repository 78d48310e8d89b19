/*
 * Projections: a const field table that decodes an API object into one compact block.
 *
 *     struct pod { struct object_meta meta; const char *node_name; bool host_network; };
 *     static const struct projection_field pod_fields[] = {
 *         PROJECT(struct pod, node_name, "spec.nodeName", P_STRING),
 *         PROJECT(struct pod, host_network, "spec.hostNetwork", P_BOOL),
 *     };
 *     const struct projection pod_projection = PROJECTION(struct pod, pod_fields);
 *
 * The struct starts with a struct object_meta, filled by the decoder. Everything it points to lies
 * in the same allocation, so a projected object is one block, immutable, reference counted. Absent
 * strings are "" (never NULL), absent lists and maps have count 0. A field of the wrong type is
 * read as absent.
 */
#pragma once

#include "common/json.h"

enum projection_type {
    P_STRING,         /* const char *; numbers are printed (IntOrString) */
    P_INT,            /* int64_t; 0 when absent */
    P_OPT_INT,        /* struct opt_int */
    P_BOOL,           /* bool; false when absent */
    P_OPT_BOOL,       /* struct opt_int with value 0 or 1 */
    P_TIME,           /* int64_t ns since the epoch; 0 when absent */
    P_QUANTITY,       /* int64_t whole units, rounded up */
    P_QUANTITY_MILLI, /* int64_t thousandths, rounded up */
    P_MAP,            /* struct string_map, sorted by key; non-string values are left out */
    P_STRINGS,        /* struct string_list */
    P_LIST,           /* struct projected_list of `items` structs */
    P_STRUCT,         /* the embedded struct itself, by `items` (fields relative to path) */
    P_JSON,           /* const char *: compact text; NULL when absent */
    P_PRESENT,        /* bool: the field is there and not null */
};

struct opt_int {
    int64_t value;
    bool set;
};
struct string_pair {
    const char *key, *value;
};
struct string_map {
    const struct string_pair *pairs;
    size_t count;
};
struct string_list {
    const char *const *strings;
    size_t count;
};
struct projected_list {
    const void *items; /* array of the element struct */
    size_t count;
};

struct owner_ref {
    const char *api_version, *kind, *name, *uid;
    bool controller, block_owner_deletion;
};

struct object_meta {
    const char *namespace_, *name, *uid, *resource_version;
    int64_t generation;
    int64_t creation_ns; /* since the epoch */
    int64_t deletion_ns; /* 0: not being deleted */
    struct opt_int deletion_grace_seconds;
    struct string_map labels;
    struct string_map annotations;
    struct string_list finalizers;
    struct projected_list owners; /* struct owner_ref */
};

struct projection_field {
    const char *path; /* dotted, relative to the enclosing object */
    enum projection_type type;
    size_t offset;
    const struct projection *items;
};
struct projection {
    size_t size;
    const struct projection_field *fields;
    size_t field_count;
    bool no_annotations; /* leave meta.annotations empty, to save memory */
};

#define PROJECT(type, member, path, kind)            \
    {                                                \
        (path), (kind), offsetof(type, member), NULL \
    }
#define PROJECT_OF(type, member, path, kind, items)     \
    {                                                   \
        (path), (kind), offsetof(type, member), (items) \
    }
#define PROJECTION(type, table)                                                    \
    {                                                                              \
        .size = sizeof(type), .fields = (table), .field_count = ARRAY_COUNT(table) \
    }

/* A new projected object (reference count 1), starting with a struct object_meta. Never fails. */
void *projected_new(const struct projection *projection, const cJSON *object);
void *projected_ref(const void *object);
void projected_unref(const void *object);
size_t projected_bytes(const void *object);

const char *string_map_get(const struct string_map *map, const char *key); /* NULL when absent */
/* A label_get_fn (common/selector.h) over a struct string_map. */
const char *string_map_label(const void *map, const char *key);
const struct owner_ref *object_controller(
    const struct object_meta *meta); /* NULL when there is none */
