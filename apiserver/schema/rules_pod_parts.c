/*
 * Rules of the parts of a pod's spec that say where and how it runs: affinity, spreading, name
 * resolution, claims of devices, resources of the whole pod, operating systems.
 *
 * Upstream: pkg/apis/core/validation, ValidatePodSpec and below.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"

#define NAMESERVERS_MAX 3
#define SEARCHES_MAX 32
#define SEARCH_BYTES_MAX 2048

/* Keys of labels that the new pod shares with those it is compared to. */
static void check_label_keys(
    struct check *c, const struct frame *at, const cJSON *o, const char *member)
{
    const cJSON *keys = json_get(o, member);
    size_t i = 0;
    if (value_is_empty(keys))
        return;
    if (!json_get(o, "labelSelector")) {
        check_forbidden(c, AT(at, member), "must not be specified when labelSelector is not set");
        return;
    }
    for (const cJSON *k = keys->child; k; k = k->next, i++)
        check_format(c, AT_INDEX(AT(at, member), i), "label-key", k);
}

void rule_affinity_term(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *key = json_get(o, "topologyKey"), *matched = json_get(o, "matchLabelKeys");
    struct text_set names = text_set_new(c, matched);
    size_t i = 0;
    for (const cJSON *n = first_member(o, "namespaces"); n; n = n->next)
        check_format(c, AT(at, "namespace"), "dns-label", n);
    if (value_is_empty(key))
        check_required(c, AT(at, "topologyKey"), "can not be empty");
    else
        check_format(c, AT(at, "topologyKey"), "label-key", key);
    check_label_keys(c, at, o, "matchLabelKeys");
    check_label_keys(c, at, o, "mismatchLabelKeys");
    for (const cJSON *k = matched ? matched->child : NULL; k; k = k->next)
        text_set_add(&names, value_string(k));
    for (const cJSON *k = first_member(o, "mismatchLabelKeys"); k && matched; k = k->next, i++)
        if (text_set_has(&names, value_string(k)))
            check_invalid(c, AT_INDEX(AT(at, "mismatchLabelKeys"), i), k,
                "exists in both matchLabelKeys and mismatchLabelKeys");
}

void rule_preferred_term(struct check *c, const struct frame *at, const cJSON *o)
{
    if (json_get(o, "weight"))
        return;
    autojson cJSON *zero = cJSON_CreateNumber(0);
    check_invalid(c, AT(at, "weight"), zero, "must be in the range 1-100");
}

void rule_spread(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *skew = json_get(o, "maxSkew"), *domains = json_get(o, "minDomains");
    autojson cJSON *zero = cJSON_CreateNumber(0);
    int64_t n = 0;
    if (!json_int64(skew, &n) || n <= 0)
        check_invalid(c, AT(at, "maxSkew"), skew ? skew : zero, "must be greater than zero");
    check_label_keys(c, at, o, "matchLabelKeys");
    if (!domains)
        return;
    if (json_int64(domains, &n) && n <= 0)
        check_invalid(c, AT(at, "minDomains"), domains, "must be greater than zero");
    if (!text_is(o, "whenUnsatisfiable", "DoNotSchedule"))
        check_error(c, AT(at, "minDomains"), FIELD_INVALID, domains,
            "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not %s",
            text_of(o, "whenUnsatisfiable"));
}

/* No two constraints for the same topology and consequence. */
void check_spread_twice(struct check *c, const struct frame *at, const cJSON *spec)
{
    const cJSON *list = json_get(spec, "topologySpreadConstraints");
    struct text_set seen = text_set_new(c, list);
    size_t i = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, i++) {
        const char *pair = arena_printf(
            c->arena, "{%s, %s}", text_of(e, "topologyKey"), text_of(e, "whenUnsatisfiable"));
        autojson cJSON *value = cJSON_CreateString(pair);
        if (!text_set_add(&seen, pair))
            check_duplicate(c,
                AT(AT_INDEX(AT(at, "topologySpreadConstraints"), i),
                    "{topologyKey, whenUnsatisfiable}"),
                value);
    }
}

void check_of_match_fields(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    size_t i = 0;
    (void)f;
    for (const cJSON *e = value->child; e; e = e->next, i++) {
        const struct frame *here = AT_INDEX(at, i);
        const char *op = text_of(e, "operator");
        if (strcmp(op, "In") != 0 && strcmp(op, "NotIn") != 0)
            check_invalid_text(c, AT(here, "operator"), op, "not a valid selector operator");
        else if (cJSON_GetArraySize(json_get(e, "values")) != 1)
            check_required(c, AT(here, "values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field "
                "selector");
        if (!text_is(e, "key", "metadata.name"))
            check_invalid_text(
                c, AT(here, "key"), text_of(e, "key"), "not a valid field selector key");
    }
}

void rule_dns_config(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *searches = json_get(o, "searches");
    size_t count = 0, bytes = 0, i = 0;
    if (cJSON_GetArraySize(json_get(o, "nameservers")) > NAMESERVERS_MAX)
        check_error(c, AT(at, "nameservers"), FIELD_INVALID, json_get(o, "nameservers"),
            "must not have more than %d nameservers", NAMESERVERS_MAX);
    for (const cJSON *s = searches ? searches->child : NULL; s; s = s->next, count++) {
        const char *text = value_string(s);
        size_t n = strlen(text);
        autojson cJSON *bare = cJSON_CreateString(text);
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        bytes += n + 1;
        if (n > 1 && text[n - 1] == '.')
            bare->valuestring[n - 1] = '\0';
        if (strcmp(text, ".") != 0 && !name_is_dns1123_subdomain(str_of(value_string(bare)), &why))
            check_invalid(c, AT_INDEX(AT(at, "searches"), count), s, why.data);
    }
    if (count > SEARCHES_MAX)
        check_error(c, AT(at, "searches"), FIELD_INVALID, searches,
            "must not have more than %d search paths", SEARCHES_MAX);
    if (bytes > SEARCH_BYTES_MAX + 1)
        check_error(c, AT(at, "searches"), FIELD_INVALID, searches,
            "must not have more than %d characters (including spaces) in the search list",
            SEARCH_BYTES_MAX);
    for (const cJSON *e = first_member(o, "options"); e; e = e->next, i++)
        if (!has_member(e, "name"))
            check_required(c, AT_INDEX(AT(at, "options"), i), "must not be empty");
}

void rule_pod_claim(struct check *c, const struct frame *at, const cJSON *o)
{
    bool by_name = json_get(o, "resourceClaimName"),
         made = json_get(o, "resourceClaimTemplateName");
    if (by_name && made)
        check_invalid(c, at, o,
            "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
    else if (!by_name && !made)
        check_invalid(
            c, at, o, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
}

void check_of_pod_resources(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    static const char *const lists[] = {"limits", "requests"};
    static const char *const known[] = {"cpu", "hugepages-", "memory", NULL};
    (void)f;
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        for (const cJSON *m = first_member(value, lists[i]); m; m = m->next)
            if (strcmp(m->string, "cpu") != 0 && strcmp(m->string, "memory") != 0 &&
                strncmp(m->string, "hugepages-", 10) != 0)
                check_not_supported(c, AT_KEY(AT(at, lists[i]), m->string), m->string, known);
    if (first_member(value, "claims"))
        check_forbidden(c, AT(at, "claims"), "claims may not be set for Resources at pod-level");
}

void rule_windows_options(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char empty[] = "cannot be an empty string";
    const cJSON *spec = json_get(o, "gmsaCredentialSpec"), *user = json_get(o, "runAsUserName");
    if (spec && value_is_empty(spec))
        check_invalid_text(
            c, AT(at, "gmsaCredentialSpec"), "", "gmsaCredentialSpec cannot be an empty string");
    else if (strlen(value_string(spec)) > 64u << 10)
        check_error(c, AT(at, "gmsaCredentialSpec"), FIELD_INVALID, spec,
            "gmsaCredentialSpec size must be under %d KiB", 64);
    if (user && value_is_empty(user))
        check_invalid_text(c, AT(at, "runAsUserName"), "", empty);
    else if (strchr(value_string(user), '\n') || strchr(value_string(user), '\t'))
        check_invalid(
            c, AT(at, "runAsUserName"), user, "runAsUserName cannot contain control characters");
}

static void forbid(struct check *c, const struct frame *at, const cJSON *o,
    const char *const *members, const char *text)
{
    for (; o && *members; members++)
        if (json_get(o, *members))
            check_forbidden(c, AT(at, *members), text);
}

/* What a pod may not ask of an operating system that it says it needs. */
void check_operating_system(struct check *c, const struct frame *at, const cJSON *spec)
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};
    static const char *const of_spec[] = {
        "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace", NULL};
    static const char *const of_pod[] = {"appArmorProfile", "seLinuxOptions", "seccompProfile",
        "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser", "runAsGroup",
        "supplementalGroups", "supplementalGroupsPolicy", NULL};
    static const char *const of_container[] = {"appArmorProfile", "seLinuxOptions",
        "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
        "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup", NULL};
    static const char *const of_windows[] = {"windowsOptions", NULL};
    const char *os = text_of(json_get(spec, "os"), "name");
    bool windows = !strcmp(os, "windows");
    if (!windows && strcmp(os, "linux") != 0)
        return;
    const char *text = windows ? "cannot be set for a windows pod"
                               : "windows options cannot be set for a linux pod";
    if (windows)
        forbid(c, at, spec, of_spec, text);
    forbid(c, AT(at, "securityContext"), json_get(spec, "securityContext"),
        windows ? of_pod : of_windows, text);
    for (size_t k = 0; k < ARRAY_COUNT(lists); k++) {
        size_t i = 0;
        for (const cJSON *e = first_member(spec, lists[k]); e; e = e->next, i++)
            forbid(c, AT(AT_INDEX(AT(at, lists[k]), i), "securityContext"),
                json_get(e, "securityContext"), windows ? of_container : of_windows, text);
    }
}
