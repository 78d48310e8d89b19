/*
 * Nobody may give away what he does not hold: is each of some rules covered by the rules that
 * somebody has?
 *
 * A rule is taken apart into single rights (verb, group, resource, name) or (verb, path), and each
 * must be covered by one rule of the holder; a holder's "*" covers anything, a wanted "*" is
 * covered by "*" only. A rule that one of the holder's covers whole is not taken apart, and one
 * with more than RIGHTS_MAX rights is refused. Threads: none of its own. Upstream:
 * component-helpers/auth/rbac/validation (Covers), registry/rbac/validation (ConfirmNoEscalation).
 */
#include "apiserver/auth/internal.h"

#define RIGHTS_MAX 20000

enum { VERB, GROUP, RESOURCE, NAME, URL, PARTS };
static const char *const members[PARTS] = {
    "verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"};

static bool has_text(const cJSON *array, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item) && c_eq(item->valuestring, text))
            return true;
    }
    return false;
}

static bool covers_resource(const cJSON *held, const char *resource)
{
    const char *slash = strchr(resource, '/');
    if (has_text(held, "*") || has_text(held, resource))
        return true;
    if (!slash)
        return false;
    autofree char *any = str_format("*%s", slash);
    return has_text(held, any);
}

static bool covers_url(const cJSON *held, const char *url)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, held)
    {
        struct str own = str_of(cJSON_IsString(item) ? item->valuestring : "");
        if (str_eqc(own, url) || (own.n && own.p[own.n - 1] == '*' &&
                                     str_starts(str_of(url), str_range(own.p, own.n - 1))))
            return true;
    }
    return false;
}

static bool covers_text(const cJSON *rule, int part, const char *text)
{
    const cJSON *held = json_get(rule, members[part]);
    switch (part) {
    case RESOURCE:
        return covers_resource(held, text);
    case URL:
        return covers_url(held, text);
    case NAME:
        return !cJSON_GetArraySize(held) || has_text(held, text);
    default:
        return has_text(held, "*") || has_text(held, text);
    }
}

/* Does one held rule cover the wanted one whole? */
static bool covers_rule(const cJSON *held, const cJSON *wanted)
{
    for (int part = 0; part < PARTS; part++) {
        const cJSON *list = json_get(wanted, members[part]), *item;
        bool narrower = part == NAME && cJSON_GetArraySize(json_get(held, members[NAME])) > 0;
        if (narrower && cJSON_GetArraySize(list) == 0)
            return false;
        cJSON_ArrayForEach(item, list)
        {
            if (!cJSON_IsString(item) || !covers_text(held, part, item->valuestring))
                return false;
        }
    }
    return true;
}

static bool any_covers(const cJSON *held_rules, const cJSON *wanted)
{
    const cJSON *held;
    cJSON_ArrayForEach(held, held_rules)
    {
        if (covers_rule(held, wanted))
            return true;
    }
    return false;
}

static size_t rights_in(const cJSON *rule)
{
    size_t product = 1;
    for (int part = 0; part < PARTS; part++) {
        size_t n = (size_t)cJSON_GetArraySize(json_get(rule, members[part]));
        product *= n ? n : 1;
        if (product > RIGHTS_MAX)
            break;
    }
    return product;
}

/* Right number `index` of a rule, as a rule of single texts. */
static cJSON *right_at(const cJSON *rule, size_t index)
{
    cJSON *one = cJSON_CreateObject();
    for (int part = 0; part < PARTS; part++) {
        const cJSON *list = json_get(rule, members[part]);
        size_t n = (size_t)cJSON_GetArraySize(list);
        if (n == 0)
            continue;
        cJSON *array = cJSON_CreateArray();
        cJSON_AddItemToArray(
            array, cJSON_Duplicate(cJSON_GetArrayItem(list, (int)(index % n)), true));
        json_set(one, members[part], array);
        index /= n;
    }
    return one;
}

static bool covers_in_parts(const cJSON *held_rules, const cJSON *wanted)
{
    size_t n = rights_in(wanted);
    bool covered = n <= RIGHTS_MAX;
    for (size_t i = 0; i < n && covered; i++) {
        autojson cJSON *right = right_at(wanted, i);
        covered = any_covers(held_rules, right);
    }
    return covered;
}

/* {APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]} */
static void print_rule(const cJSON *rule, struct strbuf *out)
{
    static const struct {
        const char *title;
        int part;
    } order[] = {{"APIGroups", GROUP}, {"Resources", RESOURCE}, {"NonResourceURLs", URL},
        {"ResourceNames", NAME}, {"Verbs", VERB}};
    bool first = true;
    strbuf_addc(out, "\n{");
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        const cJSON *list = json_get(rule, members[order[i].part]), *item;
        if (cJSON_GetArraySize(list) == 0)
            continue;
        strbuf_addf(out, "%s%s:[", first ? "" : ", ", order[i].title);
        cJSON_ArrayForEach(item, list) strbuf_addf(out, "%s\"%s\"", item == list->child ? "" : " ",
            cJSON_IsString(item) ? item->valuestring : "");
        strbuf_add_char(out, ']');
        first = false;
    }
    strbuf_add_char(out, '}');
}

bool auth_holds(struct auth *auth, const struct identity *who, const char *namespace_,
    const cJSON *rules, struct strbuf *missing)
{
    autojson cJSON *own = auth_rules(auth, who, namespace_);
    const cJSON *rule;
    bool all = true;
    cJSON_ArrayForEach(rule, rules)
    {
        const cJSON *held =
            json_get(own, cJSON_GetArraySize(json_get(rule, "nonResourceURLs")) ? "nonResourceRules"
                                                                                : "resourceRules");
        if (any_covers(held, rule) || covers_in_parts(held, rule))
            continue;
        print_rule(rule, missing);
        all = false;
    }
    return all;
}
