/*
 * Rules of flow schemas and priority levels.
 *
 * Upstream: pkg/apis/flowcontrol/validation.
 */
#include "apiserver/schema/rules.h"

#define PRECEDENCE_MAX 10000

void rule_flow_schema(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *precedence = json_get(o, "matchingPrecedence");
    const char *name = value_string(json_path(c->root, "metadata.name"));
    const struct frame *here = AT(at, "matchingPrecedence");
    int64_t n;
    if (!json_int64(precedence, &n))
        return;
    if (n <= 0)
        check_invalid(c, here, precedence, "must be a positive value");
    else if (n > PRECEDENCE_MAX)
        check_error(
            c, here, FIELD_INVALID, precedence, "must not be greater than %d", PRECEDENCE_MAX);
    else if (n == 1 && strcmp(name, "exempt") != 0)
        check_invalid(
            c, here, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
}

void rule_flow_rules(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!first_member(o, "resourceRules") && !first_member(o, "nonResourceRules"))
        check_required(
            c, at, "at least one of resourceRules and nonResourceRules has to be non-empty");
}

static void check_alone(
    struct check *c, const struct frame *at, const cJSON *list, const char *what)
{
    bool all = false;
    for (const cJSON *e = list->child; e; e = e->next)
        all = all || !strcmp(value_string(e), "*");
    if (all && list->child->next)
        check_error(
            c, at, FIELD_INVALID, list, "if '*' is present, must not specify other %s", what);
}

void check_of_verbs_or_all(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    static const char *const verbs[] = {"create", "delete", "deletecollection", "get", "list",
        "patch", "proxy", "update", "watch", NULL};
    (void)f;
    for (const cJSON *v = value->child; v; v = v->next)
        if (strcmp(value_string(v), "*") != 0 && !is_one_of(value_string(v), verbs))
            check_not_supported(c, at, value_string(v), verbs);
    if (value->child)
        check_alone(c, at, value, "verbs");
}

void check_of_groups_or_all(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    (void)f;
    if (value->child)
        check_alone(c, at, value, "api groups");
}

void check_of_all_alone(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    (void)f;
    if (value->child)
        check_alone(c, at, value, "resources");
}

void check_of_flow_urls(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    size_t i = 0;
    (void)f;
    if (value->child)
        check_alone(c, at, value, "non-resource URLs");
    for (const cJSON *u = value->child; u; u = u->next, i++) {
        const char *text = value_string(u), *star = strchr(text, '*');
        size_t n = strlen(text);
        const char *why = NULL;
        if (!strcmp(text, "*") || !strcmp(text, "/"))
            continue;
        if (n == 0)
            why = "must not be empty";
        else if (*text != '/')
            why = "must start with slash";
        else if (strchr(text, ' '))
            why = "must not contain white-space";
        else if (strstr(text, "//"))
            why = "must not contain double slash";
        else if (star && (star != text + n - 1 || star[-1] != '/'))
            why = "wildcard can only do suffix matching";
        if (why)
            check_invalid(c, AT_INDEX(at, i), u, why);
    }
}

void rule_flow_resources(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *spaces = json_get(o, "namespaces");
    size_t i = 0;
    if (value_is_empty(spaces) && !json_bool(o, "clusterScope", false))
        check_required(c, AT(at, "namespaces"),
            "resource rules that are not cluster scoped must supply at least one namespace");
    if (value_is_empty(spaces))
        return;
    check_alone(c, AT(at, "namespaces"), spaces, "namespaces");
    for (const cJSON *e = spaces->child; e; e = e->next, i++)
        check_format(c, AT_INDEX(AT(at, "namespaces"), i), "name-or-all", e);
}

void rule_priority_level(struct check *c, const struct frame *at, const cJSON *o)
{
    if (text_is(o, "type", "Limited") && json_get(o, "exempt"))
        check_forbidden(c, AT(at, "exempt"), "must be nil if the type is Limited");
}

void rule_queuing(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const members[] = {"queueLengthLimit", "queues", "handSize"};
    int64_t queues = json_int64_at(o, "queues", 0), hand = json_int64_at(o, "handSize", 0);
    for (size_t i = 0; i < ARRAY_COUNT(members); i++) {
        const cJSON *value = json_get(o, members[i]);
        autojson cJSON *zero = cJSON_CreateNumber(0);
        if (json_int64_at(o, members[i], 0) <= 0)
            check_invalid(c, AT(at, members[i]), value ? value : zero, "must be positive");
    }
    if (queues > 0 && hand > queues)
        check_error(c, AT(at, "handSize"), FIELD_INVALID, json_get(o, "handSize"),
            "should not be greater than queues (%lld)", (long long)queues);
}
