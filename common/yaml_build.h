/*
 * Inside of the YAML modules: one document, already split off.
 */
#pragma once

#include "common/yaml.h"

/* *ret is NULL when the text holds no node (only comments). first_line counts for error texts. */
int yaml_build(
    struct str text, int first_line, enum yaml_mode mode, cJSON **ret, struct error *err);
