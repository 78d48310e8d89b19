/*
 * Fields of a configuration file: a value with its path, for errors that name it.
 *
 * The readers leave *ret alone when the field is absent, and fail with -ERR_USAGE naming the path.
 */
#pragma once

#include "common/json.h"

#include "scheduler/profile.h"

struct field {
    const cJSON *value; /* NULL: absent */
    char path[256];
};

struct field field_member(const struct field *parent, const char *name);
struct field field_item(const struct field *list, const cJSON *item, size_t index);
int field_invalid(const struct field *f, struct error *err, const char *why);
/* No member but these. */
int field_only(const struct field *f, const char *const *names, struct error *err);
int field_string(const struct field *f, const char **ret, struct error *err);
int field_bool(const struct field *f, bool *ret, struct error *err);
int field_int(const struct field *f, int64_t least, int64_t most, int64_t *ret, struct error *err);
int field_list(const struct field *f, struct error *err);

/* The arguments of a plugin, into the profile (config_args.c). */
int config_parse_args(
    const char *plugin, const struct field *args, struct profile *p, struct error *err);
