/*
 * Rules of the other kinds: budgets, access, priorities, quotas, limits, certificates,
 * events.
 *
 * Upstream: pkg/apis/{autoscaling,policy,rbac,scheduling,certificates}/validation, and parts of
 * core's.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"
#include "common/quantity.h"

/* The highest priority that users may define; above are the system's own classes. */
#define USER_PRIORITY_MAX 1000000000

void rule_pdb(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const members[] = {"minAvailable", "maxUnavailable"};
    if (json_get(o, "minAvailable") && json_get(o, "maxUnavailable"))
        check_invalid(c, at, o, "minAvailable and maxUnavailable cannot be both set");
    for (size_t i = 0; i < ARRAY_COUNT(members); i++) {
        bool percent;
        const cJSON *v = json_get(o, members[i]);
        if (v && check_int_or_percent(c, AT(at, members[i]), v) &&
            int_or_percent_number(v, &percent) > 100 && percent)
            check_invalid(c, AT(at, members[i]), v, "must not be greater than 100%");
    }
}

void rule_role_ref(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const group[] = {"rbac.authorization.k8s.io", NULL};
    static const char *const kinds[] = {"Role", "ClusterRole", NULL};
    const char *kind = text_of(o, "kind");
    bool cluster = c->resource && !c->resource->namespaced;
    if (!text_is(o, "apiGroup", group[0]))
        check_not_supported(c, AT(at, "apiGroup"), text_of(o, "apiGroup"), group);
    if (strcmp(kind, "ClusterRole") != 0 && (cluster || strcmp(kind, "Role") != 0))
        check_not_supported(c, AT(at, "kind"), kind, cluster ? kinds + 1 : kinds);
}

void rule_subject(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const kinds[] = {"ServiceAccount", "User", "Group", NULL};
    static const char *const core[] = {"", NULL};
    static const char *const rbac[] = {"rbac.authorization.k8s.io", NULL};
    const char *group = text_of(o, "apiGroup");
    if (text_is(o, "kind", "ServiceAccount")) {
        if (has_member(o, "name"))
            check_format(c, AT(at, "name"), "dns-subdomain", json_get(o, "name"));
        if (*group)
            check_not_supported(c, AT(at, "apiGroup"), group, core);
        if (!has_member(o, "namespace"))
            check_required(c, AT(at, "namespace"), "");
    } else if (text_is(o, "kind", "User") || text_is(o, "kind", "Group")) {
        if (strcmp(group, rbac[0]) != 0)
            check_not_supported(c, AT(at, "apiGroup"), group, rbac);
    } else {
        check_not_supported(c, AT(at, "kind"), text_of(o, "kind"), kinds);
    }
}

void rule_policy_rule(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *urls = json_get(o, "nonResourceURLs");
    bool groups = first_member(o, "apiGroups"), resources = first_member(o, "resources");
    if (!value_is_empty(urls)) {
        if (c->resource && c->resource->namespaced)
            check_invalid(c, AT(at, "nonResourceURLs"), urls,
                "namespaced rules cannot apply to non-resource URLs");
        if (groups || resources || first_member(o, "resourceNames"))
            check_invalid(c, AT(at, "nonResourceURLs"), urls,
                "rules cannot apply to both regular resources and non-resource URLs");
        return;
    }
    if (!groups)
        check_required(c, AT(at, "apiGroups"), "resource rules must supply at least one api group");
    if (!resources)
        check_required(c, AT(at, "resources"), "resource rules must supply at least one resource");
}

void rule_priority_class(struct check *c, const struct frame *at, const cJSON *o)
{
    static const struct {
        const char *name;
        int64_t value;
    } system_classes[] = {
        {"system-node-critical", 2000001000}, {"system-cluster-critical", 2000000000}};
    const char *name = value_string(json_path(o, "metadata.name"));
    int64_t value = json_int64_at(o, "value", 0);
    if (strncmp(name, "system-", 7) != 0) {
        if (value > USER_PRIORITY_MAX)
            check_error(c, AT(at, "value"), FIELD_FORBIDDEN, NULL,
                "maximum allowed value of a user defined priority is %d", USER_PRIORITY_MAX);
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(system_classes); i++)
        if (!strcmp(system_classes[i].name, name) && system_classes[i].value == value)
            return;
    check_forbidden(c, AT(AT(at, "metadata"), "name"),
        "priority class names with 'system-' prefix are reserved for system use only");
}

void rule_quota(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const scopes[] = {"BestEffort", "CrossNamespacePodAffinity", "NotBestEffort",
        "NotTerminating", "PriorityClass", "Terminating", "VolumeAttributesClass", NULL};
    for (const cJSON *s = first_member(o, "scopes"); s; s = s->next) {
        const char *const *k = scopes;
        while (*k && strcmp(*k, value_string(s)) != 0)
            k++;
        if (!*k)
            check_invalid(c, AT(at, "scopes"), json_get(o, "scopes"), "unsupported scope");
    }
}

static int compare(const cJSON *a, const cJSON *b)
{
    struct error err;
    struct quantity x, y;
    if (!a || !b || quantity_parse(str_of(value_string(a)), &x, &err) < 0 ||
        quantity_parse(str_of(value_string(b)), &y, &err) < 0)
        return 0;
    return quantity_cmp(x, y);
}

/* low[x] may not be above high[x]. */
static void check_limit_order(
    struct check *c, const struct frame *at, const cJSON *o, const char *low, const char *high)
{
    static const struct {
        const char *member, *text;
    } words[] = {{"min", "min"}, {"max", "max"}, {"default", "default"},
        {"defaultRequest", "default request"}};
    const cJSON *lows = json_get(o, low);
    automembers struct members highs = members_of(json_get(o, high), 0);
    const char *a = low, *b = high;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        a = !strcmp(low, words[i].member) ? words[i].text : a;
        b = !strcmp(high, words[i].member) ? words[i].text : b;
    }
    for (const cJSON *l = lows ? lows->child : NULL; l; l = l->next) {
        const cJSON *h = members_get(&highs, l->string);
        if (compare(l, h) > 0)
            check_error(c, AT_KEY(AT(at, low), l->string), FIELD_INVALID, l,
                "%s value %s is greater than %s value %s", a, value_string(l), b, value_string(h));
    }
}

void rule_limit_range_item(struct check *c, const struct frame *at, const cJSON *o)
{
    check_limit_order(c, at, o, "min", "max");
    check_limit_order(c, at, o, "defaultRequest", "max");
    check_limit_order(c, at, o, "default", "max");
    check_limit_order(c, at, o, "defaultRequest", "default");
    check_limit_order(c, at, o, "min", "defaultRequest");
    check_limit_order(c, at, o, "min", "default");
    if (!text_is(o, "type", "Pod"))
        return;
    if (has_member(o, "default"))
        check_forbidden(c, AT(at, "default"), "may not be specified when `type` is 'Pod'");
    if (has_member(o, "defaultRequest"))
        check_forbidden(c, AT(at, "defaultRequest"), "may not be specified when `type` is 'Pod'");
}

void rule_csr(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const usages[] = {"any", "cert sign", "client auth", "code signing",
        "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature",
        "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user",
        "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing",
        "s/mime", "server auth", "signing", "timestamping", NULL};
    const cJSON *list = json_get(o, "usages");
    struct text_set seen = text_set_new(c, list);
    size_t i = 0;
    for (const cJSON *u = list ? list->child : NULL; u; u = u->next, i++) {
        const char *const *k = usages;
        while (*k && strcmp(*k, value_string(u)) != 0)
            k++;
        if (!*k)
            check_not_supported(c, AT_INDEX(AT(at, "usages"), i), value_string(u), usages);
        if (!text_set_add(&seen, value_string(u)))
            check_duplicate(c, AT_INDEX(AT(at, "usages"), i), u);
    }
}

void rule_event(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *ns = value_string(json_path(o, "metadata.namespace"));
    const char *of = value_string(json_path(o, "involvedObject.namespace"));
    const struct frame *here = AT(AT(at, "involvedObject"), "namespace");
    if (!*of) {
        if (strcmp(ns, "default") != 0 && strcmp(ns, "kube-system") != 0)
            check_invalid_text(c, here, of, "does not match event.namespace");
    } else if (strcmp(ns, of) != 0) {
        check_invalid_text(c, here, of, "does not match event.namespace");
    }
}

/* Fields that the new API asks of an event, each within its length. */
void rule_new_event(struct check *c, const struct frame *at, const cJSON *o)
{
    static const struct {
        const char *name;
        size_t max;
    } texts[] = {{"reportingInstance", 128}, {"action", 128}, {"reason", 128}, {"note", 1024}};
    const cJSON *controller = json_get(o, "reportingController");
    if (!has_member(o, "eventTime"))
        return; /* of the old kind */
    if (value_is_empty(controller))
        check_required(c, AT(at, "reportingController"), "");
    else
        check_format(c, AT(at, "reportingController"), "qualified-name", controller);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        const cJSON *value = json_get(o, texts[i].name);
        if (value_is_empty(value) && strcmp(texts[i].name, "note") != 0)
            check_required(c, AT(at, texts[i].name), "");
        else if (strlen(value_string(value)) > texts[i].max)
            check_error(c, AT(at, texts[i].name), FIELD_INVALID, NULL,
                "can have at most %zu characters", texts[i].max);
    }
    if (!text_is(o, "type", "Normal") && !text_is(o, "type", "Warning")) {
        autofree char *why = str_format("has invalid value: %s", text_of(o, "type"));
        check_invalid_text(c, AT(at, "type"), "", why);
    }
}

void rule_limit_range(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *limits = json_get(o, "limits");
    struct text_set seen = text_set_new(c, limits);
    size_t i = 0;
    for (const cJSON *l = limits ? limits->child : NULL; l; l = l->next, i++)
        if (has_member(l, "type") && !text_set_add(&seen, text_of(l, "type")))
            check_duplicate(c, AT(AT_INDEX(AT(at, "limits"), i), "type"), json_get(l, "type"));
}

void rule_scope_requirement(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const exists_only[] = {"BestEffort", "NotBestEffort", "Terminating",
        "NotTerminating", "CrossNamespacePodAffinity", NULL};
    static const char *const scopes[] = {"BestEffort", "CrossNamespacePodAffinity", "NotBestEffort",
        "NotTerminating", "PriorityClass", "Terminating", "VolumeAttributesClass", NULL};
    const char *scope = text_of(o, "scopeName"), *op = text_of(o, "operator");
    bool values = first_member(o, "values");
    if (!is_one_of(scope, scopes))
        check_invalid_text(c, AT(at, "scopeName"), scope, "unsupported scope");
    if (is_one_of(scope, exists_only) && strcmp(op, "Exists") != 0)
        check_invalid_text(c, AT(at, "operator"), op,
            "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
            "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
            "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
    if ((!strcmp(op, "In") || !strcmp(op, "NotIn")) && !values)
        check_required(c, AT(at, "values"),
            "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
    if ((!strcmp(op, "Exists") || !strcmp(op, "DoesNotExist")) && values)
        check_invalid(c, AT(at, "values"), json_get(o, "values"),
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
}

void check_of_signer_name(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    const char *text = value_string(value), *slash = strchr(text, '/');
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    (void)f;
    if (!*text)
        return;
    if (!slash || strchr(slash + 1, '/'))
        check_invalid(c, at, value,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    else if (!name_is_dns1123_subdomain(str_range(text, (size_t)(slash - text)), &why))
        check_error(c, at, FIELD_INVALID, value, "validating label \"%.*s\": %s",
            (int)(slash - text), text, why.data);
    else if (!strchr(text, '.') || strchr(text, '.') > slash)
        check_invalid(
            c, at, value, "should be a domain with at least two segments separated by dots");
}

/* Who serves an API must be told apart from us, and trusted. */
void rule_api_service(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *service = json_get(o, "service");
    bool insecure = json_bool(o, "insecureSkipTLSVerify", false);
    if (!service) {
        if (has_member(o, "caBundle"))
            check_invalid(c, AT(at, "caBundle"), json_get(o, "caBundle"),
                "local APIServices may not have a caBundle");
        if (insecure)
            check_invalid(c, AT(at, "insecureSkipTLSVerify"), json_get(o, "insecureSkipTLSVerify"),
                "local APIServices may not have insecureSkipTLSVerify");
        return;
    }
    if (!has_member(service, "namespace"))
        check_required(c, AT(AT(at, "service"), "namespace"), "");
    if (!has_member(service, "name"))
        check_required(c, AT(AT(at, "service"), "name"), "");
    if (insecure && has_member(o, "caBundle"))
        check_invalid(c, AT(at, "insecureSkipTLSVerify"), json_get(o, "insecureSkipTLSVerify"),
            "may not be true if caBundle is present");
}
