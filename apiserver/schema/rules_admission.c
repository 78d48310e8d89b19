/*
 * Rules of webhook configurations and admission policies. Expressions are not looked into.
 *
 * Upstream: pkg/apis/admissionregistration/validation, apiserver's util/webhook/validation.go.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"

static bool list_has(const cJSON *list, const char *text)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        if (!strcmp(value_string(e), text))
            return true;
    return false;
}

static void check_url(struct check *c, const struct frame *at, const char *url)
{
    static const char form[] = "; desired format: https://host[/path]";
    const char *rest = strstr(url, "://");
    autofree char *scheme = str_dup(str_range(url, rest ? (size_t)(rest - url) : 0));
    rest = rest ? rest + 3 : url;
    size_t host = strcspn(rest, "/?#");
    autofree char *authority = str_dup(str_range(rest, host));
    char *at_sign = strchr(authority, '@');
    if (strcmp(scheme, "https") != 0) {
        autofree char *text = str_format("'https' is the only allowed URL scheme%s", form);
        check_invalid_text(c, at, scheme, text);
    }
    if (!strstr(url, "://") || host == 0) {
        autofree char *text = str_format("host must be specified%s", form);
        check_invalid_text(c, at, "", text);
    }
    if (at_sign) {
        *at_sign = '\0';
        check_invalid_text(c, at, authority, "user information is not permitted in the URL");
    }
    if (strchr(url, '#'))
        check_invalid_text(c, at, strchr(url, '#') + 1, "fragments are not permitted in the URL");
    const char *query = strchr(url, '?');
    if (query) {
        autofree char *text = str_dup(str_range(query + 1, strcspn(query + 1, "#")));
        check_invalid_text(c, at, text, "query parameters are not permitted in the URL");
    }
}

static void check_service_path(struct check *c, const struct frame *at, const char *path)
{
    struct str rest = str_of(path), part;
    if (!*path || !strcmp(path, "/"))
        return;
    if (*path != '/') {
        check_invalid_text(c, at, path, "must start with a '/'");
        return;
    }
    if (strstr(path, "//")) {
        autofree char *text = str_format("segment[%d] may not be empty", 0);
        if (!strncmp(path, "//", 2))
            check_invalid_text(c, at, path, text);
    }
    size_t i = 0;
    str_split(&rest, '/', &part);
    for (; str_split(&rest, '/', &part); i++) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (part.n == 0 || name_is_dns1123_subdomain(part, &why))
            continue;
        autofree char *text = str_format("segment[%zu]: %s", i, why.data);
        check_invalid_text(c, at, path, text);
    }
}

void rule_client_config(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *url = json_get(o, "url"), *service = json_get(o, "service");
    if (!url == !service)
        check_required(c, at, "exactly one of url or service is required");
    else if (url)
        check_url(c, AT(at, "url"), value_string(url));
    else
        check_service_path(c, AT(AT(at, "service"), "path"), text_of(service, "path"));
}

void check_of_webhook_port(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    int64_t n;
    (void)f;
    if (json_int64(value, &n) && (n < 1 || n > 65535))
        check_invalid(c, at, value, "port is not valid: must be between 1 and 65535, inclusive");
}

void check_of_review_versions(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct text_set seen = text_set_new(c, value);
    size_t i = 0;
    (void)f;
    for (const cJSON *v = value->child; v; v = v->next, i++) {
        if (!text_set_add(&seen, value_string(v)))
            check_invalid(c, AT_INDEX(at, i), v, "duplicate version");
        check_format(c, AT_INDEX(at, i), "dns1035-label", v);
    }
    if (i > 0 && !list_has(value, "v1") && !list_has(value, "v1beta1"))
        check_invalid(c, at, value, "must include at least one of v1, v1beta1");
}

/* "*" says it all: nothing beside it. */
static void check_alone(
    struct check *c, const struct frame *at, const cJSON *o, const char *member, const char *text)
{
    const cJSON *list = json_get(o, member);
    if (value_is_empty(list))
        check_required(c, AT(at, member), "");
    else if (list->child->next && list_has(list, "*"))
        check_invalid(c, AT(at, member), list, text);
}

static void check_rule_resources(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *list = json_get(o, "resources");
    const struct frame *here = AT(at, "resources");
    struct text_set all = text_set_new(c, list);
    bool plain = false;
    size_t i = 0;
    if (value_is_empty(list))
        check_required(c, here, "");
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        text_set_add(&all, value_string(e));
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, i++) {
        const char *text = value_string(e), *slash = strchr(text, '/');
        if (!*text)
            check_required(c, AT_INDEX(here, i), "");
        plain = plain || (!slash && *text && strcmp(text, "*") != 0);
        if (!slash || !strcmp(text, "*/*"))
            continue;
        autofree char *all_of = str_format("%.*s/*", (int)(slash - text), text);
        autofree char *of_all = str_format("*%s", slash);
        const char *wider = strcmp(all_of, text) != 0 && text_set_has(&all, all_of)   ? all_of
                            : strcmp(of_all, text) != 0 && text_set_has(&all, of_all) ? of_all
                                                                                      : NULL;
        if (!wider)
            continue;
        autofree char *why = str_format("if '%s' is present, must not specify %s", wider, text);
        check_invalid(c, AT_INDEX(here, i), e, why);
    }
    if (i > 1 && text_set_has(&all, "*/*"))
        check_invalid(c, here, list, "if '*/*' is present, must not specify other resources");
    if (plain && text_set_has(&all, "*"))
        check_invalid(c, here, list,
            "if '*' is present, must not specify other resources without subresources");
}

void rule_rule_with_operations(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    check_alone(c, at, o, "operations", "if '*' is present, must not specify other operations");
    check_alone(c, at, o, "apiGroups", "if '*' is present, must not specify other API groups");
    check_alone(c, at, o, "apiVersions", "if '*' is present, must not specify other API versions");
    for (const cJSON *v = first_member(o, "apiVersions"); v; v = v->next, i++)
        if (value_is_empty(v))
            check_required(c, AT_INDEX(AT(at, "apiVersions"), i), "");
    check_rule_resources(c, at, o);
}

void rule_named_rule(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const operations[] = {"*", "CONNECT", "CREATE", "DELETE", "UPDATE", NULL};
    static const char *const scopes[] = {"*", "Cluster", "Namespaced", NULL};
    const cJSON *names = json_get(o, "resourceNames");
    struct text_set seen = text_set_new(c, names);
    size_t i = 0;
    for (const cJSON *n = names ? names->child : NULL; n; n = n->next, i++) {
        check_format(c, AT_INDEX(AT(at, "resourceNames"), i), "path-segment", n);
        if (!text_set_add(&seen, value_string(n)))
            check_duplicate(c, AT_INDEX(AT(at, "resourceNames"), i), n);
    }
    i = 0;
    for (const cJSON *v = first_member(o, "operations"); v; v = v->next, i++)
        if (!is_one_of(value_string(v), operations))
            check_not_supported(c, AT_INDEX(AT(at, "operations"), i), value_string(v), operations);
    if (json_get(o, "scope") && !is_one_of(text_of(o, "scope"), scopes))
        check_not_supported(c, AT(at, "scope"), text_of(o, "scope"), scopes);
    rule_rule_with_operations(c, at, o);
}

void rule_match_condition(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *expression = text_of(o, "expression");
    if (!expression[strspn(expression, " \t\n")])
        check_required(c, AT(at, "expression"), "");
    if (has_member(o, "name"))
        check_format(c, AT(at, "name"), "qualified-name", json_get(o, "name"));
    else
        check_required(c, AT(at, "name"), "");
}

void rule_match_resources(struct check *c, const struct frame *at, const cJSON *o)
{
    if (at->name && !strcmp(at->name, "matchConstraints") && !first_member(o, "resourceRules"))
        check_required(c, AT(at, "resourceRules"), "");
}

void rule_param_kind(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *version = text_of(o, "apiVersion"), *slash = strchr(version, '/');
    if (!*version)
        check_required(c, AT(at, "apiVersion"), "");
    else if (slash && strchr(slash + 1, '/')) {
        autofree char *text = str_format("unexpected GroupVersion string: %s", version);
        check_invalid_text(c, AT(at, "apiVersion"), version, text);
    }
    if (!has_member(o, "kind"))
        check_required(c, AT(at, "kind"), "");
}

void rule_param_ref(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char both[] = "name and selector are mutually exclusive";
    bool name = has_member(o, "name"), selector = json_get(o, "selector");
    if (name)
        check_format(c, AT(at, "name"), "path-segment", json_get(o, "name"));
    if (name && selector) {
        check_forbidden(c, AT(at, "name"), both);
        check_forbidden(c, AT(at, "selector"), both);
    }
    if (!name && !selector)
        check_required(c, at, "one of name or selector must be specified");
    if (!has_member(o, "parameterNotFoundAction"))
        check_required(c, AT(at, "parameterNotFoundAction"), "");
}

void rule_admission_policy(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char text[] = "validations or auditAnnotations must contain at least one item";
    const cJSON *notes = json_get(o, "auditAnnotations");
    struct text_set seen = text_set_new(c, notes);
    size_t i = 0;
    if (!first_member(o, "validations") && value_is_empty(notes)) {
        check_required(c, AT(at, "validations"), text);
        check_required(c, AT(at, "auditAnnotations"), text);
    }
    for (const cJSON *n = notes ? notes->child : NULL; n; n = n->next, i++)
        if (!text_set_add(&seen, text_of(n, "key")))
            check_duplicate(
                c, AT(AT_INDEX(AT(at, "auditAnnotations"), i), "key"), json_get(n, "key"));
}

void rule_validation(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const reasons[] = {
        "Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized", NULL};
    const cJSON *message = json_get(o, "message");
    const char *text = value_string(message);
    if (*text && !text[strspn(text, " \t\n")])
        check_invalid(c, AT(at, "message"), message, "message must be non-empty if specified");
    else if (strchr(text, '\n'))
        check_invalid(c, AT(at, "message"), message, "message must not contain line breaks");
    if (json_get(o, "reason") && !is_one_of(text_of(o, "reason"), reasons))
        check_not_supported(c, AT(at, "reason"), text_of(o, "reason"), reasons);
}

void check_of_actions(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    (void)f;
    if (list_has(value, "Deny") && list_has(value, "Warn"))
        check_invalid(c, at, value,
            "must not contain both Deny and Warn (repeating the same validation failure "
            "information in the API response and headers serves no purpose)");
}
