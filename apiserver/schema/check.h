/*
 * Validation from the inside: what formats, checks and rules use. Private to this folder.
 *
 * A *format* judges one string or number, a *check* one field's value of any shape, a *rule* one
 * object of a type. All report through check_*(), which print the path of their frame and
 * upstream's wording.
 *
 * A rule names members with AT(at, "name"): a frame on the stack below the object's own.
 */
#pragma once

#include "apiserver/schema/model.h"

struct check {
    struct field_errors *errors;
    const struct resource *resource;
    struct arena *arena;
    const cJSON *root;     /* the whole object */
    const cJSON *pod_spec; /* the pod spec around what is being looked at, or NULL */
};

#define AT(parent, member) (&(const struct frame){.up = (parent), .name = (member)})
#define AT_INDEX(parent, i) (&(const struct frame){.up = (parent), .index = (i)})
#define AT_KEY(parent, key) (&(const struct frame){.up = (parent), .name = (key), .is_key = true})

void check_error(struct check *c, const struct frame *at, enum field_error_type type,
    const cJSON *value, const char *format, ...) __attribute__((format(printf, 5, 6)));
void check_required(struct check *c, const struct frame *at, const char *detail);
void check_forbidden(struct check *c, const struct frame *at, const char *detail);
void check_invalid(struct check *c, const struct frame *at, const cJSON *value, const char *detail);
void check_invalid_text(
    struct check *c, const struct frame *at, const char *value, const char *detail);
void check_duplicate(struct check *c, const struct frame *at, const cJSON *value);
void check_too_many(struct check *c, const struct frame *at, size_t n, size_t max);
void check_too_long(struct check *c, const struct frame *at, size_t max);
void check_not_found(struct check *c, const struct frame *at, const char *value);
void check_not_supported(
    struct check *c, const struct frame *at, const char *value, const char *const *supported);

/* A format by name on one value: adds "Invalid value". */
void check_format(struct check *c, const struct frame *at, const char *format, const cJSON *value);
/* Label keys and values of a map. */
void check_labels(struct check *c, const struct frame *at, const cJSON *labels);
void check_label_selector(struct check *c, const struct frame *at, const cJSON *selector);
/* *ret is left alone and an error added when it is none. */
bool check_int_or_percent(struct check *c, const struct frame *at, const cJSON *value);
/* The value of an integer or a percentage as a number; 0 when absent. */
int64_t int_or_percent_number(const cJSON *value, bool *ret_percent);

struct format {
    const char *name;
    /* false: invalid, and the message is in *why (which may already hold nothing) */
    bool (*is_valid)(const cJSON *value, struct strbuf *why);
    const char *type; /* "format" of the documents, or NULL */
};

struct named_rule {
    const char *name;
    rule_fn *rule;
};
struct named_check {
    const char *name;
    check_fn *check;
};
