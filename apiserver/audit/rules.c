/*
 * Reads a Policy of audit.k8s.io/v1 and judges requests by it.
 *
 * Lists of strings stay as they came in the JSON tree; a policy has some dozen rules of a few
 * strings, which is a microsecond of comparing.
 */
#include "apiserver/audit/rules.h"

#include "common/yaml.h"

const char *const audit_level_names[AUDIT_LEVELS] = {
    "None", "Metadata", "Request", "RequestResponse"};
const char *const audit_moment_names[MOMENT_COUNT] = {
    "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"};

/* Objects that hold credentials, or often do. */
static const struct {
    const char *group, *resource, *subresource;
} sensitive[] = {
    {"", "secrets", ""},
    {"", "configmaps", ""},
    {"", "serviceaccounts", "token"},
    {"authentication.k8s.io", "tokenreviews", ""},
};

struct audit_rule {
    struct audit_verdict verdict;
    const cJSON *users, *groups, *verbs, *resources, *namespaces, *urls; /* NULL: any */
};

struct audit_policy {
    cJSON *tree;
    struct audit_rule *rules;
    size_t count;
};

/* --- reading --- */

static int check_members(const cJSON *object, const char *const *known, struct error *err)
{
    const cJSON *m;

    if (!cJSON_IsObject(object))
        return error_set(err, ERR_USAGE, "must be an object");
    cJSON_ArrayForEach(m, object)
    {
        size_t i = 0;

        while (known[i] && !c_eq(known[i], m->string))
            i++;
        if (!known[i])
            return error_set(err, ERR_USAGE, "unknown field \"%s\"", m->string);
    }
    return 0;
}

/* A list of strings; NULL when it is absent or empty. */
static int read_list(const cJSON *rule, const char *name, const cJSON **ret, struct error *err)
{
    const cJSON *list = json_get(rule, name), *item;

    *ret = NULL;
    if (!list || cJSON_IsNull(list))
        return 0;
    if (!cJSON_IsArray(list))
        return error_set(err, ERR_USAGE, "%s: must be a list of strings", name);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            return error_set(err, ERR_USAGE, "%s: must be a list of strings", name);
        *ret = list;
    }
    return 0;
}

static int read_omitted(const cJSON *object, unsigned *omitted, struct error *err)
{
    const cJSON *list, *item;
    int index = 0;

    if (read_list(object, "omitStages", &list, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(item, list)
    {
        int m = 0;

        while (m < MOMENT_COUNT && !c_eq(audit_moment_names[m], item->valuestring))
            m++;
        if (m == MOMENT_COUNT)
            return error_set(err, ERR_USAGE,
                "omitStages[%d]: Unsupported value: \"%s\": supported values: "
                "\"RequestReceived\", \"ResponseStarted\", \"ResponseComplete\", \"Panic\"",
                index, item->valuestring);
        *omitted |= 1u << m;
        index++;
    }
    return 0;
}

static int read_level(const cJSON *rule, enum audit_level *ret, struct error *err)
{
    const char *text = json_string(rule, "level");

    for (int l = 0; text && l < AUDIT_LEVELS; l++)
        if (c_eq(audit_level_names[l], text)) {
            *ret = (enum audit_level)l;
            return 0;
        }
    return error_set(err, ERR_USAGE,
        "level: Unsupported value: \"%s\": supported values: \"None\", \"Metadata\", \"Request\", "
        "\"RequestResponse\"",
        text ? text : "");
}

static int check_resources(const cJSON *list, struct error *err)
{
    static const char *const known[] = {"group", "resources", "resourceNames", NULL};
    const cJSON *item, *names, *resources;
    int index = 0;

    if (list && !cJSON_IsArray(list) && !cJSON_IsNull(list))
        return error_set(err, ERR_USAGE, "resources: must be a list");
    cJSON_ArrayForEach(item, list)
    {
        const char *group = json_string(item, "group");

        if (check_members(item, known, err) < 0 ||
            read_list(item, "resources", &resources, err) < 0 ||
            read_list(item, "resourceNames", &names, err) < 0)
            return error_wrap(err, "resources[%d]", index);
        if (group && strchr(group, '/'))
            return error_set(err, ERR_USAGE,
                "resources[%d].group: Invalid value: \"%s\": a group has no version", index, group);
        if (names && !resources)
            return error_set(err, ERR_USAGE,
                "resources[%d].resourceNames: Invalid value: using resourceNames requires at least "
                "one resource",
                index);
        index++;
    }
    return 0;
}

static int check_urls(const cJSON *list, struct error *err)
{
    const cJSON *item;
    int index = 0;

    cJSON_ArrayForEach(item, list)
    {
        const char *url = item->valuestring, *star = strchr(url, '*');

        if (!c_eq(url, "*") && url[0] != '/')
            return error_set(err, ERR_USAGE,
                "nonResourceURLs[%d]: Invalid value: \"%s\": non-resource URL rules must begin "
                "with a '/' character",
                index, url);
        if (star && star[1])
            return error_set(err, ERR_USAGE,
                "nonResourceURLs[%d]: Invalid value: \"%s\": non-resource URL wildcards '*' must "
                "be the final character of the rule",
                index, url);
        index++;
    }
    return 0;
}

static int read_rule(
    struct audit_rule *r, const cJSON *tree, const struct audit_verdict *all, struct error *err)
{
    static const char *const known[] = {"level", "users", "userGroups", "verbs", "resources",
        "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields", NULL};

    r->verdict = *all;
    if (check_members(tree, known, err) < 0 || read_level(tree, &r->verdict.level, err) < 0 ||
        read_omitted(tree, &r->verdict.omitted, err) < 0 ||
        read_list(tree, "users", &r->users, err) < 0 ||
        read_list(tree, "userGroups", &r->groups, err) < 0 ||
        read_list(tree, "verbs", &r->verbs, err) < 0 ||
        read_list(tree, "namespaces", &r->namespaces, err) < 0 ||
        read_list(tree, "nonResourceURLs", &r->urls, err) < 0 ||
        check_resources(json_get(tree, "resources"), err) < 0 || check_urls(r->urls, err) < 0)
        return -(int)err->code;
    r->verdict.omit_managed = json_bool(tree, "omitManagedFields", all->omit_managed);
    if (cJSON_GetArraySize(json_get(tree, "resources")) > 0)
        r->resources = json_get(tree, "resources");
    if (r->urls && (r->resources || r->namespaces))
        return error_set(err, ERR_USAGE,
            "nonResourceURLs: Invalid value: rules cannot apply to both regular resources and "
            "non-resource URLs");
    return 0;
}

static int read_policy(struct audit_policy *p, struct error *err)
{
    static const char *const known[] = {
        "apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields", NULL};
    const cJSON *rules = json_get(p->tree, "rules"), *item;
    struct audit_verdict all = {0};

    if (!c_eq(json_string(p->tree, "kind"), "Policy") ||
        !c_eq(json_string(p->tree, "apiVersion"), "audit.k8s.io/v1"))
        return error_set(err, ERR_USAGE, "kind: must be Policy of audit.k8s.io/v1");
    if (check_members(p->tree, known, err) < 0 || read_omitted(p->tree, &all.omitted, err) < 0)
        return -(int)err->code;
    all.omit_managed = json_bool(p->tree, "omitManagedFields", false);
    if (cJSON_GetArraySize(rules) == 0 || !cJSON_IsArray(rules))
        return error_set(err, ERR_USAGE, "rules: loaded illegal policy with 0 rules");
    p->rules = xcalloc((size_t)cJSON_GetArraySize(rules), sizeof(*p->rules));
    cJSON_ArrayForEach(item, rules)
    {
        if (read_rule(&p->rules[p->count], item, &all, err) < 0)
            return error_wrap(err, "rules[%zu]", p->count);
        p->count++;
    }
    return 0;
}

int audit_policy_parse(struct str text, struct audit_policy **ret, struct error *err)
{
    struct audit_policy *p = xcalloc(1, sizeof(*p));

    if (yaml_parse(text, YAML_STRICT, &p->tree, err) < 0 || read_policy(p, err) < 0) {
        audit_policy_free(p);
        return -(int)err->code;
    }
    *ret = p;
    return 0;
}

void audit_policy_free(struct audit_policy *p)
{
    if (!p)
        return;
    cJSON_Delete(p->tree);
    free(p->rules);
    free(p);
}

/* --- judging --- */

static bool has(const cJSON *list, const char *text)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (c_eq(item->valuestring, text))
            return true;
    }
    return false;
}

static bool has_group(const cJSON *list, const struct identity *who)
{
    for (const char **g = who->groups; g && *g; g++)
        if (has(list, *g))
            return true;
    return false;
}

/* "pods", "pods/log", "*", "pods/[*]" and "[*]/log" (without the brackets). */
static bool resource_matches(const char *pattern, const struct request *q)
{
    struct str p = str_of(pattern), plural = str_of(q->plural);
    const char *sub = q->subresource_name;

    if (c_eq(pattern, "*"))
        return true;
    if (str_starts(p, plural) && p.n == plural.n)
        return !*sub;
    if (*sub && str_starts(p, STR("*/")) && c_eq(pattern + 2, sub))
        return true;
    if (!str_starts(p, plural) || pattern[plural.n] != '/')
        return false;
    return c_eq(pattern + plural.n + 1, "*") || (*sub && c_eq(pattern + plural.n + 1, sub));
}

/* named: only where the rule says the resource's own name. */
static bool entry_matches(const cJSON *entry, const struct request *q, bool named)
{
    const char *group = json_string(entry, "group");
    const cJSON *resources = json_get(entry, "resources"), *item;
    const cJSON *names = json_get(entry, "resourceNames");

    if (!c_eq(group ? group : "", q->group))
        return false;
    if (cJSON_GetArraySize(resources) == 0)
        return !named;
    cJSON_ArrayForEach(item, resources)
    {
        if (named && item->valuestring[0] == '*')
            continue;
        if (resource_matches(item->valuestring, q) &&
            (cJSON_GetArraySize(names) == 0 || has(names, q->name)))
            return true;
    }
    return false;
}

static bool any_entry_matches(const cJSON *resources, const struct request *q, bool named)
{
    const cJSON *entry;

    cJSON_ArrayForEach(entry, resources)
    {
        if (entry_matches(entry, q, named))
            return true;
    }
    return false;
}

static bool url_matches(const cJSON *urls, struct str path)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, urls)
    {
        struct str url = str_of(item->valuestring);

        if (str_eq(url, path) ||
            (url.n && url.p[url.n - 1] == '*' && str_starts(path, str_range(url.p, url.n - 1))))
            return true;
    }
    return false;
}

static bool rule_matches(const struct audit_rule *r, const struct request *q)
{
    const char *user = q->identity.name ? q->identity.name : "";

    if ((r->users && !has(r->users, user)) || (r->groups && !has_group(r->groups, &q->identity)) ||
        (r->verbs && !has(r->verbs, q->verb)))
        return false;
    if (r->namespaces || r->resources)
        return *q->plural && (!r->namespaces || has(r->namespaces, q->namespace_)) &&
               (!r->resources || any_entry_matches(r->resources, q, false));
    return !r->urls || (!*q->plural && url_matches(r->urls, q->path));
}

static bool is_sensitive(const struct request *q)
{
    for (size_t i = 0; i < ARRAY_COUNT(sensitive); i++)
        if (c_eq(sensitive[i].group, q->group) && c_eq(sensitive[i].resource, q->plural) &&
            c_eq(sensitive[i].subresource, q->subresource_name))
            return true;
    return false;
}

struct audit_verdict audit_policy_judge(const struct audit_policy *p, const struct request *q)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct audit_rule *r = &p->rules[i];
        struct audit_verdict v = r->verdict;

        if (!rule_matches(r, q))
            continue;
        if (v.level > AUDIT_METADATA && is_sensitive(q) &&
            !any_entry_matches(r->resources, q, true))
            v.level = AUDIT_METADATA;
        return v;
    }
    return (struct audit_verdict){.level = AUDIT_NONE};
}
