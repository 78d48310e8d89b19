/*
 * The rules of definitions: what check_definition.c and check_schema.c share. Private to this
 * folder.
 */
#pragma once

#include "apiserver/custom/custom.h"
#include "apiserver/schema/check.h"

/* One openAPIV3Schema; meta: of ObjectMeta; status: the version has a status subresource. */
void check_openapi(struct check *c, const struct schema *meta, const cJSON *s, bool status,
    const struct frame *at, struct strbuf *unknown_formats);
