/*
 * Inside of the YAML modules: what a scalar means.
 */
#pragma once

#include "common/json.h"

enum yaml_kind {
    YAML_STRING,
    YAML_NULL,
    YAML_TRUE,
    YAML_FALSE,
    YAML_INT,       /* fits int64_t or uint64_t */
    YAML_FLOAT,     /* finite */
    YAML_SPECIAL,   /* .inf and .nan, which JSON lacks */
    YAML_TIMESTAMP, /* a string to JSON, but one that must be quoted when printed */
};

struct yaml_value {
    enum yaml_kind kind;
    bool negative; /* of an int: the value is -magnitude */
    uint64_t magnitude;
    double number;
};

/* The meaning of an untagged plain scalar. */
struct yaml_value yaml_resolve(struct str text);
/* The item for it; text is what strings are made of. NULL for YAML_SPECIAL. */
cJSON *yaml_value_item(const struct yaml_value *value, struct str text);
