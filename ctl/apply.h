/*
 * The change that `apply` sends, apart from sending it.
 */
#pragma once

#include "common/json.h"

/* Remembers the manifest in its annotation last-applied-configuration. */
void apply_annotate(cJSON *manifest);
/* What makes `current` what the annotated manifest says: a strategic merge patch, or a plain one
 * for custom kinds. Owned by the caller. */
cJSON *apply_patch(const cJSON *manifest, const cJSON *current, bool strategic);
