/* `immutable: true` of Secrets and ConfigMaps: the content stays, the metadata may change. */
#pragma once

#include "apiserver/registry/registry.h"

/* content: NULL-ended names of the members that hold it. */
void immutable_validate(
    const struct write_context *w, const char *const *content, struct field_errors *errors);
