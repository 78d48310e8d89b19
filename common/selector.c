/*
 * Selectors: matching, printing, and building from LabelSelector objects. The query-string grammars
 * are in selector_parse.c.
 *
 * A selector's terms are few and its values are sorted, so matching is a lookup a term and a
 * comparison a value. `key=v` and `key in (v)` are the same term and print alike.
 */
#include "common/selector.h"

#include "common/limits.h"
#include "common/names.h"
#include "common/selector_build.h"

void selector_free(struct selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->term_count; i++) {
        struct requirement *t = &s->terms[i];
        for (size_t j = 0; j < t->value_count; j++)
            free(t->values[j]);
        free(t->values);
        free(t->key);
    }
    free(s->terms);
    free(s);
}

bool selector_is_everything(const struct selector *s)
{
    return !s->nothing && s->term_count == 0;
}

/* Matching */

static bool has_value(const struct requirement *t, const char *value)
{
    for (size_t i = 0; i < t->value_count; i++)
        if (!strcmp(t->values[i], value))
            return true;
    return false;
}

static bool compares(const struct requirement *t, const char *value)
{
    int64_t have, bound;
    struct error err;
    if (str_parse_int64(str_of(value), &have, &err) < 0 || t->value_count != 1 ||
        str_parse_int64(str_of(t->values[0]), &bound, &err) < 0)
        return false;
    return t->op == SEL_GT ? have > bound : have < bound;
}

static bool term_matches(const struct requirement *t, const char *value)
{
    switch (t->op) {
    case SEL_IN:
        return value && has_value(t, value);
    case SEL_NOT_IN:
        return !value || !has_value(t, value);
    case SEL_EXISTS:
        return value;
    case SEL_NOT_EXISTS:
        return !value;
    case SEL_GT:
    case SEL_LT:
        return value && compares(t, value);
    }
    return false;
}

bool selector_matches(const struct selector *s, label_get_fn *get, const void *labels)
{
    if (s->nothing)
        return false;
    for (size_t i = 0; i < s->term_count; i++)
        if (!term_matches(&s->terms[i], get(labels, s->terms[i].key)))
            return false;
    return true;
}

static const char *get_json_label(const void *labels, const char *key)
{
    return json_string(labels, key);
}

bool selector_matches_json(const struct selector *s, const cJSON *labels_object)
{
    return selector_matches(s, get_json_label, labels_object);
}

/* Printing */

static void print_values(const struct requirement *t, const char *op, struct strbuf *out)
{
    strbuf_addf(out, "%s %s (", t->key, op);
    for (size_t i = 0; i < t->value_count; i++)
        strbuf_addf(out, "%s%s", i ? "," : "", t->values[i]);
    strbuf_add_char(out, ')');
}

static void print_term(const struct requirement *t, struct strbuf *out)
{
    const char *first = t->value_count ? t->values[0] : "";
    switch (t->op) {
    case SEL_IN:
        if (t->value_count == 1)
            strbuf_addf(out, "%s=%s", t->key, first);
        else
            print_values(t, "in", out);
        break;
    case SEL_NOT_IN:
        if (t->value_count == 1)
            strbuf_addf(out, "%s!=%s", t->key, first);
        else
            print_values(t, "notin", out);
        break;
    case SEL_EXISTS:
        strbuf_addc(out, t->key);
        break;
    case SEL_NOT_EXISTS:
        strbuf_addf(out, "!%s", t->key);
        break;
    case SEL_GT:
    case SEL_LT:
        strbuf_addf(out, "%s%c%s", t->key, t->op == SEL_GT ? '>' : '<', first);
        break;
    }
}

void selector_print(const struct selector *s, struct strbuf *out)
{
    for (size_t i = 0; i < s->term_count; i++) {
        if (i)
            strbuf_add_char(out, ',');
        print_term(&s->terms[i], out);
    }
}

/* Building */

/* Room for one more: arrays grow when they hold a power of two. */
static void *grown(void *array, size_t n, size_t size)
{
    return n & (n - 1) ? array : xrealloc(array, (n ? 2 * n : 1) * size);
}

struct requirement *selector_add_term(struct selector *s, struct str key, enum selector_op op)
{
    s->terms = grown(s->terms, s->term_count, sizeof(*s->terms));
    struct requirement *t = &s->terms[s->term_count++];
    *t = (struct requirement){.key = str_dup(key), .op = op};
    return t;
}

void requirement_add_value(struct requirement *t, struct str value)
{
    t->values = grown(t->values, t->value_count, sizeof(*t->values));
    t->values[t->value_count++] = str_dup(value);
}

static int string_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_values(struct requirement *t)
{
    size_t kept = 0;
    if (t->value_count > 1)
        qsort(t->values, t->value_count, sizeof(*t->values), string_cmp);
    for (size_t i = 0; i < t->value_count; i++) {
        if (kept && !strcmp(t->values[kept - 1], t->values[i]))
            free(t->values[i]);
        else
            t->values[kept++] = t->values[i];
    }
    t->value_count = kept;
}

static int term_cmp(const void *a, const void *b)
{
    const struct requirement *ta = a, *tb = b;
    int order = strcmp(ta->key, tb->key);
    return order ? order : (ta->op > tb->op) - (ta->op < tb->op);
}

void selector_finish(struct selector *s)
{
    for (size_t i = 0; i < s->term_count; i++)
        sort_values(&s->terms[i]);
    if (s->term_count > 1)
        qsort(s->terms, s->term_count, sizeof(*s->terms), term_cmp);
}

/* Adds a message in the form of an aggregate: "a", then "[a, b]" is closed by the caller. */
static void add_problem(struct strbuf *problems, size_t *count, const char *text)
{
    strbuf_addf(problems, "%s%s", *count ? ", " : "", text);
    (*count)++;
}

int requirement_check(const struct requirement *t, struct error *err)
{
    autostrbuf struct strbuf problems = STRBUF_EMPTY, why = STRBUF_EMPTY, text = STRBUF_EMPTY;
    size_t count = 0;
    bool is_set = t->op == SEL_IN || t->op == SEL_NOT_IN,
         is_bound = t->op == SEL_GT || t->op == SEL_LT;
    int64_t bound;
    struct error ignored;

    if (!name_is_qualified(str_of(t->key), &why)) {
        strbuf_addf(&text, "key: Invalid value: \"%s\": %s", t->key, why.data);
        add_problem(&problems, &count, text.data);
    }
    if (is_set && t->value_count == 0)
        add_problem(&problems, &count,
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
    if (!is_set && !is_bound && t->value_count > 0)
        add_problem(&problems, &count,
            "values: Invalid value: values set must be empty for exists and does not exist");
    if (is_bound && t->value_count != 1)
        add_problem(&problems, &count,
            "values: Invalid value: for 'Gt', 'Lt' operators, exactly one value is required");
    for (size_t i = 0; i < t->value_count; i++) {
        strbuf_clear(&text);
        strbuf_clear(&why);
        if (is_bound && str_parse_int64(str_of(t->values[i]), &bound, &ignored) < 0)
            strbuf_addf(&why, "for 'Gt', 'Lt' operators, the value must be an integer");
        else if (name_is_label_value(str_of(t->values[i]), &why))
            continue;
        strbuf_addf(&text, "values[%zu]%s%s%s: Invalid value: \"%s\": %s", i, is_bound ? "" : "[",
            is_bound ? "" : t->key, is_bound ? "" : "]", t->values[i], why.data);
        add_problem(&problems, &count, text.data);
    }
    if (count == 0)
        return 0;
    return error_set(err, ERR_BAD_REQUEST, count > 1 ? "[%s]" : "%s", problems.data);
}

/* LabelSelector objects */

static int too_many(struct error *err)
{
    return error_set(
        err, ERR_TOO_LARGE, "more than %d terms or values in a selector", LIMIT_SELECTOR_TERMS);
}

static int add_match_labels(struct selector *s, const cJSON *labels, struct error *err)
{
    if (!labels || cJSON_IsNull(labels))
        return 0;
    if (!cJSON_IsObject(labels))
        return error_set(err, ERR_BAD_REQUEST, "matchLabels: must be an object of strings");
    for (const cJSON *m = labels->child; m; m = m->next) {
        if (s->term_count >= LIMIT_SELECTOR_TERMS)
            return too_many(err);
        if (!cJSON_IsString(m))
            return error_set(err, ERR_BAD_REQUEST,
                "matchLabels: the value of \"%s\" must be a string", m->string);
        struct requirement *t = selector_add_term(s, str_of(m->string), SEL_IN);
        requirement_add_value(t, str_of(m->valuestring));
        int r = requirement_check(t, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int op_of(const char *name, enum selector_op *ret, struct error *err)
{
    static const struct {
        const char *name;
        enum selector_op op;
    } ops[] = {{"In", SEL_IN}, {"NotIn", SEL_NOT_IN}, {"Exists", SEL_EXISTS},
        {"DoesNotExist", SEL_NOT_EXISTS}};
    for (size_t i = 0; name && i < ARRAY_COUNT(ops); i++) {
        if (!strcmp(ops[i].name, name)) {
            *ret = ops[i].op;
            return 0;
        }
    }
    return error_set(
        err, ERR_BAD_REQUEST, "\"%s\" is not a valid label selector operator", name ? name : "");
}

static int add_expression(struct selector *s, const cJSON *expression, struct error *err)
{
    enum selector_op op = SEL_IN;
    const char *key = json_string(expression, "key");
    const cJSON *value;
    int r = op_of(json_string(expression, "operator"), &op, err);

    if (r < 0)
        return r;
    if (s->term_count >= LIMIT_SELECTOR_TERMS)
        return too_many(err);
    struct requirement *t = selector_add_term(s, str_of(key ? key : ""), op);
    cJSON_ArrayForEach(value, json_get(expression, "values"))
    {
        if (t->value_count >= LIMIT_SELECTOR_TERMS)
            return too_many(err);
        if (!cJSON_IsString(value))
            return error_set(err, ERR_BAD_REQUEST, "matchExpressions: values must be strings");
        requirement_add_value(t, str_of(value->valuestring));
    }
    return requirement_check(t, err);
}

int selector_from_json(const cJSON *label_selector, struct selector **ret, struct error *err)
{
    struct selector *s = xcalloc(1, sizeof(*s));
    const cJSON *expression;
    int r;

    if (!label_selector || cJSON_IsNull(label_selector)) {
        s->nothing = true;
        *ret = s;
        return 0;
    }
    r = add_match_labels(s, json_get(label_selector, "matchLabels"), err);
    cJSON_ArrayForEach(expression, json_get(label_selector, "matchExpressions"))
    {
        if (r == 0)
            r = add_expression(s, expression, err);
    }
    if (r < 0) {
        selector_free(s);
        return r;
    }
    selector_finish(s);
    *ret = s;
    return 0;
}
