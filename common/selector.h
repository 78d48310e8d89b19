/*
 * Label and field selectors: parsing of the query-string grammar and of LabelSelector objects;
 * matching.
 *
 *     struct selector *s;
 *     if (selector_parse(STR("app in (a,b),!old"), &s, &err) < 0) ...
 *     selector_matches(s, get_label, labels);
 *     selector_free(s);
 *
 * Grammar: key, !key, key=v, key==v, key!=v, key in (..), key notin (..), key>n, key<n; comma means
 * and. `key=v` and `key in (v)` are the same term, and so are != and notin; they print as the short
 * form. An empty selector matches everything. Error texts are upstream's ("unable to parse
 * requirement: ..."). Threads: a selector is immutable after parsing.
 */
#pragma once

#include "common/json.h"

enum selector_op { SEL_IN, SEL_NOT_IN, SEL_EXISTS, SEL_NOT_EXISTS, SEL_GT, SEL_LT };

struct requirement {
    char *key;
    enum selector_op op;
    char **values; /* sorted */
    size_t value_count;
};

struct selector {
    struct requirement *terms; /* sorted by key */
    size_t term_count;
    bool nothing; /* matches nothing (a nil LabelSelector) */
};

/* Returns the value of `key` in `labels`, or NULL when absent. */
typedef const char *label_get_fn(const void *labels, const char *key);

int selector_parse(struct str text, struct selector **ret, struct error *err);
/* {matchLabels, matchExpressions}; NULL or JSON null gives "nothing"; {} gives "everything". */
int selector_from_json(const cJSON *label_selector, struct selector **ret, struct error *err);
void selector_free(struct selector *s);
bool selector_is_everything(const struct selector *s);
bool selector_matches(const struct selector *s, label_get_fn *get, const void *labels);
bool selector_matches_json(const struct selector *s, const cJSON *labels_object); /* may be NULL */
void selector_print(const struct selector *s, struct strbuf *out); /* canonical query-string form */

/* Field selectors: a=b, a==b, a!=b joined by commas, with \ escapes; gives SEL_IN / SEL_NOT_IN
 * terms. */
int field_selector_parse(struct str text, struct selector **ret, struct error *err);
