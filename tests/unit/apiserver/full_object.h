/*
 * Objects made from the schema alone: with every field set to a value of its own, or with every
 * pointer set to its zero. For tests of what has to come back unchanged.
 *
 * Deterministic. A type inside itself (JSONSchemaProps) is filled once more and then left out.
 */
#pragma once

#include "apiserver/schema/schema.h"

enum fill {
    FILL_ALL,   /* every field, lists and maps with two elements */
    FILL_ZEROS, /* pointers to "", 0, false and {}; nothing else */
};

/* Normalised, with kind and apiVersion where the type has them. */
cJSON *full_object(
    const struct schema *s, const char *group_version, const char *kind, enum fill fill);
