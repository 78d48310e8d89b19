/*
 * Rules of device claims, classes and slices. Expressions are not looked into.
 *
 * Upstream: pkg/apis/resource/validation.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"

void rule_device_request(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *count = json_get(o, "count");
    int64_t n = json_int64_at(o, "count", 0);
    autojson cJSON *zero = cJSON_CreateNumber(0);
    if (text_is(o, "allocationMode", "All") && n != 0)
        check_invalid(
            c, AT(at, "count"), count, "must not be specified when allocationMode is 'All'");
    else if (text_is(o, "allocationMode", "ExactCount") && n <= 0)
        check_invalid(c, AT(at, "count"), count ? count : zero, "must be greater than zero");
}

void rule_device_choice(struct check *c, const struct frame *at, const cJSON *o)
{
    bool exactly = json_get(o, "exactly"), first = first_member(o, "firstAvailable");
    if (!exactly && !first)
        check_required(c, at, "exactly one of `exactly` or `firstAvailable` is required");
    else if (exactly && first)
        check_invalid(c, at, o,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are "
            "set");
}

void check_of_distinct_names(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct text_set seen = text_set_new(c, value);
    size_t i = 0;
    (void)f;
    for (const cJSON *e = value->child; e; e = e->next, i++)
        if (has_member(e, "name") && !text_set_add(&seen, text_of(e, "name")))
            check_duplicate(c, AT(AT_INDEX(at, i), "name"), json_get(e, "name"));
}

/* Names of requests, plain or REQUEST/CHOICE, must be names of the claim. */
static void check_request_names(
    struct check *c, const struct frame *at, const cJSON *list, const struct text_set *known)
{
    struct text_set seen = text_set_new(c, list);
    size_t i = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, i++) {
        const char *name = value_string(e);
        if (!text_set_add(&seen, name))
            check_duplicate(c, AT_INDEX(at, i), e);
        else if (!text_set_has(known, name))
            check_invalid(c, AT_INDEX(at, i), e,
                "must be the name of a request in the claim or the name of a request and a "
                "subrequest separated by '/'");
    }
}

void rule_device_claim(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const users[] = {"constraints", "config"};
    autojson cJSON *names = cJSON_CreateArray();
    for (const cJSON *r = first_member(o, "requests"); r; r = r->next) {
        cJSON_AddItemToArray(names, cJSON_CreateString(text_of(r, "name")));
        for (const cJSON *s = first_member(r, "firstAvailable"); s; s = s->next) {
            autofree char *name = str_format("%s/%s", text_of(r, "name"), text_of(s, "name"));
            cJSON_AddItemToArray(names, cJSON_CreateString(name));
        }
    }
    struct text_set known = text_set_new(c, names);
    for (const cJSON *n = names->child; n; n = n->next)
        text_set_add(&known, n->valuestring);
    for (size_t k = 0; k < ARRAY_COUNT(users); k++) {
        size_t i = 0;
        for (const cJSON *e = first_member(o, users[k]); e; e = e->next, i++)
            check_request_names(
                c, AT(AT_INDEX(AT(at, users[k]), i), "requests"), json_get(e, "requests"), &known);
    }
}

/* domain/identifier, each within its length. */
static void check_attribute_name(
    struct check *c, const struct frame *at, const char *name, bool needs_domain)
{
    const char *slash = strchr(name, '/'), *id = slash ? slash + 1 : name;
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    if (!slash && needs_domain) {
        check_invalid_text(c, at, name, "must include a domain");
        return;
    }
    if (slash && slash == name)
        check_required(c, at, "the domain must not be empty");
    else if (slash && !name_is_dns1123_subdomain(str_range(name, (size_t)(slash - name)), &why))
        check_invalid_text(c, at, name, why.data);
    strbuf_clear(&why);
    if (!*id)
        check_required(c, at, "the name must not be empty");
    else if (strlen(id) > 32)
        check_too_long(c, at, 32);
    else if (!name_is_c_identifier(str_of(id), &why))
        check_invalid_text(c, at, id, why.data);
}

void rule_device_constraint(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const members[] = {"matchAttribute", "distinctAttribute"};
    if (!json_get(o, "matchAttribute") && !json_get(o, "distinctAttribute"))
        check_required(c, AT(at, "matchAttribute"), "");
    for (size_t i = 0; i < ARRAY_COUNT(members); i++)
        if (json_get(o, members[i]))
            check_attribute_name(c, AT(at, members[i]), text_of(o, members[i]), true);
}

void check_of_device_names(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    (void)f;
    for (const cJSON *m = value->child; m; m = m->next)
        check_attribute_name(c, AT_KEY(at, m->string), m->string, false);
}

void rule_device_attribute(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const values[] = {"int", "bool", "string", "version", NULL};
    size_t n = count_members(o, values, NULL);
    if (n == 0)
        check_required(c, at, "exactly one value must be specified");
    else if (n > 1)
        check_invalid(c, at, o, "exactly one value must be specified");
    if (strlen(text_of(o, "string")) > 64)
        check_too_long(c, AT(at, "string"), 64);
    if (strlen(text_of(o, "version")) > 64)
        check_too_long(c, AT(at, "version"), 64);
}

void rule_device_toleration(struct check *c, const struct frame *at, const cJSON *o)
{
    bool exists = text_is(o, "operator", "Exists");
    if (exists && has_member(o, "value"))
        check_invalid(
            c, AT(at, "value"), json_get(o, "value"), "must be empty for operator `Exists`");
    if (!exists && !has_member(o, "key"))
        check_required(c, AT(at, "key"), "must not be empty unless the operator is `Exists`");
}

void check_of_pool_name(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct str rest = str_of(value_string(value)), part;
    (void)f;
    if (rest.n > 253)
        check_too_long(c, at, 253);
    while (rest.n > 0 && str_split(&rest, '/', &part)) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!name_is_dns1123_subdomain(part, &why))
            check_invalid(c, at, value, why.data);
    }
}

void rule_slice_nodes(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t n = (json_get(o, "nodeName") != NULL) + (json_get(o, "nodeSelector") != NULL) +
               json_bool(o, "allNodes", false) + json_bool(o, "perDeviceNodeSelection", false);
    static const char text[] = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, "
                               "`perDeviceNodeSelection` is required";
    if (n == 0)
        check_required(c, at, text);
    else if (n > 1)
        check_error(c, at, FIELD_INVALID, o, "%s, but multiple fields are set", text);
}
