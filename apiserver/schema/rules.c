/*
 * The registry of named rules (rules.def), and the checks that many kinds share: annotations,
 * quantities, label requirements, owner references, keys of ConfigMaps.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"
#include "common/quantity.h"

/* All annotations of one object together; upstream's limit. */
#define ANNOTATIONS_BYTES_MAX (256u << 10)

static const struct named_rule rules[] = {
#define RULE(name) {#name, rule_##name},
#define CHECK(name)
#define UPDATE(name)
#include "apiserver/schema/rules.def"
#undef RULE
#undef CHECK
#undef UPDATE
};

static const struct named_check checks[] = {
#define RULE(name)
#define CHECK(name) {#name, check_of_##name},
#define UPDATE(name)
#include "apiserver/schema/rules.def"
#undef RULE
#undef CHECK
#undef UPDATE
};

static const struct {
    const char *name;
    update_fn *update;
} updates[] = {
#define RULE(name)
#define CHECK(name)
#define UPDATE(name) {#name, update_##name},
#include "apiserver/schema/rules.def"
#undef RULE
#undef CHECK
#undef UPDATE
};

rule_fn *rule_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++)
        if (str_eqc(name, rules[i].name))
            return rules[i].rule;
    return NULL;
}

check_fn *check_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(checks); i++)
        if (str_eqc(name, checks[i].name))
            return checks[i].check;
    return NULL;
}

update_fn *update_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(updates); i++)
        if (str_eqc(name, updates[i].name))
            return updates[i].update;
    return NULL;
}

size_t count_members(const cJSON *object, const char *const *names, const cJSON **ret)
{
    size_t n = 0;
    for (; *names; names++) {
        const cJSON *m = json_get(object, *names);
        if (!m || cJSON_IsNull(m))
            continue;
        n++;
        if (ret)
            *ret = m;
    }
    return n;
}

struct text_set text_set_new(struct check *c, const cJSON *list)
{
    size_t n = 0, size = 8;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        n++;
    while (size < n * 2)
        size *= 2;
    return (struct text_set){arena_new_array(c->arena, const char *, size), size - 1};
}

static size_t text_slot(const struct text_set *s, const char *text)
{
    size_t at = schema_hash(text, strlen(text)) & s->mask;
    while (s->slots[at] && strcmp(s->slots[at], text) != 0)
        at = (at + 1) & s->mask;
    return at;
}

bool text_set_add(struct text_set *s, const char *text)
{
    size_t at = text_slot(s, text);
    bool added = !s->slots[at];
    s->slots[at] = text;
    return added;
}

bool text_set_has(const struct text_set *s, const char *text)
{
    return s->slots[text_slot(s, text)];
}

void check_of_annotations(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    size_t total = 0;
    (void)f;
    for (const cJSON *m = value->child; m; m = m->next) {
        autostrbuf struct strbuf why = STRBUF_EMPTY, lower = STRBUF_EMPTY;
        total += strlen(m->string) + strlen(value_string(m));
        for (const char *p = m->string; *p; p++)
            strbuf_add_char(&lower, *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p);
        if (!name_is_qualified(strbuf_str(&lower), &why))
            check_invalid_text(c, at, m->string, why.data);
    }
    if (total > ANNOTATIONS_BYTES_MAX)
        check_too_long(c, at, ANNOTATIONS_BYTES_MAX);
}

void check_of_config_keys(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    (void)f;
    for (const cJSON *m = value->child; m; m = m->next) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!name_is_config_map_key(str_of(m->string), &why))
            check_invalid_text(c, AT_KEY(at, m->string), m->string, why.data);
    }
}

void check_of_quantities(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    (void)f;
    for (const cJSON *m = value->child; m; m = m->next) {
        struct error err;
        struct quantity q;
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!name_is_qualified(str_of(m->string), &why))
            check_invalid_text(c, AT_KEY(at, m->string), m->string, why.data);
        if (quantity_parse(str_of(value_string(m)), &q, &err) == 0 && q.nano < 0)
            check_invalid(c, AT_KEY(at, m->string), m, "must be greater than or equal to 0");
    }
}

static const char in_needs[] = "must be specified when `operator` is 'In' or 'NotIn'";
static const char exists_forbids[] =
    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";

static void check_operator(struct check *c, const struct frame *at, const cJSON *o, bool of_nodes)
{
    const char *op = text_of(o, "operator");
    const cJSON *values = json_get(o, "values");
    size_t n = 0;
    for (const cJSON *v = values ? values->child : NULL; v; v = v->next)
        n++;
    if (!strcmp(op, "In") || !strcmp(op, "NotIn")) {
        if (n == 0)
            check_required(c, AT(at, "values"), in_needs);
    } else if (!strcmp(op, "Exists") || !strcmp(op, "DoesNotExist")) {
        if (n > 0)
            check_forbidden(c, AT(at, "values"), exists_forbids);
    } else if (of_nodes && (!strcmp(op, "Gt") || !strcmp(op, "Lt"))) {
        if (n != 1)
            check_required(c, AT(at, "values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'");
    } else {
        check_invalid_text(c, AT(at, "operator"), op, "not a valid selector operator");
    }
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    if (!name_is_qualified(str_of(text_of(o, "key")), &why))
        check_invalid_text(c, AT(at, "key"), text_of(o, "key"), why.data);
}

void rule_label_requirement(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    check_operator(c, at, o, false);
    for (const cJSON *v = first_member(o, "values"); v; v = v->next, i++)
        check_format(c, AT_INDEX(AT(at, "values"), i), "label-value", v);
}

void rule_node_requirement(struct check *c, const struct frame *at, const cJSON *o)
{
    check_operator(c, at, o, true);
}

void rule_owner_reference(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *version = text_of(o, "apiVersion"), *slash = strchr(version, '/');
    autofree char *why = str_format("unexpected GroupVersion string: %s", version);
    if (slash && strchr(slash + 1, '/'))
        check_invalid_text(c, AT(at, "apiVersion"), version, why);
    else if (slash && !slash[1])
        check_invalid_text(c, AT(at, "apiVersion"), version, "version must not be empty");
    if (text_is(o, "kind", "Event") && text_is(o, "apiVersion", "v1"))
        check_invalid(c, at, o, "/v1, Kind=Event is disallowed from being an owner");
}

void check_of_owners(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    const cJSON *first = NULL;
    (void)f;
    for (const cJSON *o = value->child; o; o = o->next) {
        if (!json_bool(o, "controller", false))
            continue;
        if (first)
            check_error(c, at, FIELD_INVALID, value,
                "Only one reference can have Controller set to true. Found \"true\" in "
                "references for %s/%s and %s/%s",
                text_of(first, "kind"), text_of(first, "name"), text_of(o, "kind"),
                text_of(o, "name"));
        else
            first = o;
    }
}

void check_label_selector(struct check *c, const struct frame *at, const cJSON *selector)
{
    size_t i = 0;
    check_labels(c, AT(at, "matchLabels"), json_get(selector, "matchLabels"));
    for (const cJSON *e = first_member(selector, "matchExpressions"); e; e = e->next, i++)
        rule_label_requirement(c, AT_INDEX(AT(at, "matchExpressions"), i), e);
}
