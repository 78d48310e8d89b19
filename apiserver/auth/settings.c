/*
 * From flags and configuration files to settings; see settings.h.
 */
#include "apiserver/auth/settings.h"

#include "common/file.h"
#include "common/time.h"

#define TOKEN_TIMEOUT_NS (10 * NS_PER_S)
#define ACCESS_TIMEOUT_NS (30 * NS_PER_S)

/* --- issuers --- */

static int add_issuer(struct env *env, struct settings *s, const cJSON *jwt, const char *path,
    const char *algorithms, struct error *err)
{
    struct oidc *o;
    if (oidc_new(env, jwt, path, algorithms, &o, err) < 0)
        return -(int)err->code;
    s->issuers[s->issuer_count++] = o;
    for (size_t i = 0; i + 1 < s->issuer_count; i++)
        if (c_eq(oidc_issuer(s->issuers[i]), oidc_issuer(o)))
            return error_set(
                err, ERR_USAGE, "%s.issuer.url: Duplicate value: \"%s\"", path, oidc_issuer(o));
    return 0;
}

static int read_anonymous(struct settings *s, const cJSON *tree, struct error *err)
{
    const cJSON *a = json_get(tree, "anonymous"), *condition;
    int i = 0;
    if (!a || cJSON_IsNull(a))
        return 0;
    if (conf_known(a, "anonymous", "enabled conditions", err) < 0 ||
        conf_list(a, "anonymous", "conditions", 64, &s->anonymous_paths, err) < 0)
        return -(int)err->code;
    bool enabled = json_bool(a, "enabled", false), some = cJSON_GetArraySize(s->anonymous_paths);
    if (json_get(a, "enabled") && !cJSON_IsBool(json_get(a, "enabled")))
        return error_set(err, ERR_USAGE, "anonymous.enabled: must be true or false");
    if (!enabled && some)
        return error_set(err, ERR_USAGE,
            "anonymous.conditions: Invalid value: enabled should be set to true when conditions "
            "are "
            "defined");
    cJSON_ArrayForEach(condition, s->anonymous_paths)
    {
        autofree char *at = str_format("anonymous.conditions[%d]", i++);
        const char *path;
        if (conf_known(condition, at, "path", err) < 0 ||
            conf_text(condition, at, "path", true, &path, err) < 0)
            return -(int)err->code;
    }
    s->anonymous = !enabled ? ANONYMOUS_NOWHERE : some ? ANONYMOUS_PATHS : ANONYMOUS_ANYWHERE;
    return 0;
}

static int read_authentication(
    struct env *env, struct settings *s, const cJSON *tree, struct error *err)
{
    const cJSON *list, *item;
    int i = 0;
    if (conf_known(tree, "", "apiVersion kind jwt anonymous", err) < 0 ||
        conf_list(tree, "", "jwt", ISSUERS_MAX, &list, err) < 0)
        return -(int)err->code;
    cJSON_ArrayForEach(item, list)
    {
        autofree char *path = str_format("jwt[%d]", i++);
        if (add_issuer(env, s, item, path, "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512",
                err) < 0)
            return -(int)err->code;
    }
    return read_anonymous(s, tree, err);
}

/* --- the --oidc flags, as the configuration they mean --- */

static int add_required_claims(const struct auth_options *o, cJSON *jwt, struct error *err)
{
    cJSON *rules = cJSON_CreateArray();
    json_set(jwt, "claimValidationRules", rules);
    for (size_t i = 0; i < o->oidc_required_claims.count; i++) {
        struct str rest = str_of(o->oidc_required_claims.values[i]), name;
        if (!memchr(rest.p, '=', rest.n))
            return error_set(err, ERR_USAGE, "--oidc-required-claim: \"%.*s\" is not CLAIM=VALUE",
                STR_FMT(rest));
        str_split(&rest, '=', &name);
        autofree char *claim = str_dup(name), *value = str_dup(rest);
        cJSON *rule = cJSON_CreateObject();
        json_set_string(rule, "claim", claim);
        json_set_string(rule, "requiredValue", value);
        cJSON_AddItemToArray(rules, rule);
    }
    return 0;
}

static void set_mappings(const struct auth_options *o, cJSON *jwt)
{
    const char *claim = o->oidc_username_claim ? o->oidc_username_claim : "sub";
    const char *given = o->oidc_username_prefix;
    autofree char *by_issuer = str_format("%s#", o->oidc_issuer_url);
    const char *prefix = given && *given        ? (c_eq(given, "-") ? "" : given)
                         : c_eq(claim, "email") ? ""
                                                : by_issuer;
    json_set_string_at(jwt, "claimMappings.username.claim", claim);
    json_set_string_at(jwt, "claimMappings.username.prefix", prefix);
    if (!o->oidc_groups_claim || !*o->oidc_groups_claim)
        return;
    json_set_string_at(jwt, "claimMappings.groups.claim", o->oidc_groups_claim);
    json_set_string_at(
        jwt, "claimMappings.groups.prefix", o->oidc_groups_prefix ? o->oidc_groups_prefix : "");
}

static int read_oidc_flags(
    struct env *env, struct settings *s, const struct auth_options *o, struct error *err)
{
    if (!o->oidc_issuer_url)
        return o->oidc_client_id
                   ? error_set(err, ERR_USAGE, "--oidc-client-id needs --oidc-issuer-url")
                   : 0;
    if (!o->oidc_client_id)
        return error_set(err, ERR_USAGE, "--oidc-issuer-url needs --oidc-client-id");
    if (o->authentication_config)
        return error_set(
            err, ERR_USAGE, "--oidc-issuer-url and --authentication-config exclude each other");
    cJSON *jwt = cJSON_CreateObject();
    s->trees[0] = jwt;
    json_set_string_at(jwt, "issuer.url", o->oidc_issuer_url);
    json_set_at(jwt, "issuer.audiences", cJSON_CreateArray());
    cJSON_AddItemToArray(json_path(jwt, "issuer.audiences"), cJSON_CreateString(o->oidc_client_id));
    if (o->oidc_ca_file) {
        autostrbuf struct strbuf pem = STRBUF_EMPTY;
        if (file_read(o->oidc_ca_file, 1 << 20, &pem, err) < 0)
            return error_wrap(err, "--oidc-ca-file: %s", o->oidc_ca_file);
        json_set_string_at(jwt, "issuer.certificateAuthority", pem.data);
    }
    set_mappings(o, jwt);
    if (add_required_claims(o, jwt, err) < 0 ||
        add_issuer(
            env, s, jwt, "--oidc", o->oidc_signing_algs ? o->oidc_signing_algs : "RS256", err) < 0)
        return -(int)err->code;
    return 0;
}

/* --- authorizers --- */

static const char *const kinds[] = {
    [BY_NODE] = "Node",
    [BY_RBAC] = "RBAC",
    [BY_WEBHOOK] = "Webhook",
    [ALWAYS_ALLOW] = "AlwaysAllow",
    [ALWAYS_DENY] = "AlwaysDeny",
};

static int kind_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (str_eqc(name, kinds[i]))
            return (int)i;
    return -1;
}

static int add_authorizer(struct settings *s, int kind, const char *path, struct error *err)
{
    if (s->authorizer_count == AUTHORIZERS_MAX)
        return error_set(err, ERR_USAGE, "%s: too many authorizers", path);
    for (size_t i = 0; i < s->authorizer_count; i++)
        if (kind != BY_WEBHOOK && s->authorizers[i].kind == (enum authorizer_kind)kind)
            return error_set(err, ERR_USAGE, "%s: Duplicate value: \"%s\"", path, kinds[kind]);
    s->authorizers[s->authorizer_count++].kind = (enum authorizer_kind)kind;
    return 0;
}

static bool is_version(const char *text)
{
    return c_eq(text, "v1") || c_eq(text, "v1beta1");
}

static int read_connection(
    const cJSON *webhook, const char *path, struct webhook_config *ret, struct error *err)
{
    const cJSON *c = json_get(webhook, "connectionInfo");
    autofree char *at = str_format("%s.connectionInfo", path);
    const char *type;
    if (!c)
        return error_set(err, ERR_USAGE, "%s: Required value", at);
    if (conf_known(c, at, "type kubeConfigFile", err) < 0 ||
        conf_text(c, at, "type", true, &type, err) < 0 ||
        conf_text(c, at, "kubeConfigFile", false, &ret->kubeconfig, err) < 0)
        return -(int)err->code;
    if (c_eq(type, "InClusterConfig"))
        return ret->kubeconfig ? error_set(err, ERR_USAGE,
                                     "%s.kubeConfigFile: Invalid value: can only be set when "
                                     "type=KubeConfigFile",
                                     at)
                               : 0;
    if (!c_eq(type, "KubeConfigFile"))
        return error_set(err, ERR_USAGE,
            "%s.type: Unsupported value: \"%s\": supported values: \"InClusterConfig\", "
            "\"KubeConfigFile\"",
            at, type);
    return ret->kubeconfig && *ret->kubeconfig
               ? 0
               : error_set(err, ERR_USAGE, "%s.kubeConfigFile: Required value", at);
}

static int read_webhook_times(
    const cJSON *w, const char *path, struct webhook_config *ret, struct error *err)
{
    if (conf_duration(w, path, "timeout", 0, &ret->timeout_ns, err) < 0 ||
        conf_duration(w, path, "authorizedTTL", 300 * NS_PER_S, &ret->good_ttl_ns, err) < 0 ||
        conf_duration(w, path, "unauthorizedTTL", 30 * NS_PER_S, &ret->bad_ttl_ns, err) < 0)
        return -(int)err->code;
    if (ret->timeout_ns <= 0)
        return error_set(err, ERR_USAGE, "%s.timeout: Required value", path);
    if (ret->timeout_ns > ACCESS_TIMEOUT_NS)
        return error_set(err, ERR_USAGE, "%s.timeout: Invalid value: must be <= 30s", path);
    if (!json_bool(w, "cacheAuthorizedRequests", true))
        ret->good_ttl_ns = 0;
    if (!json_bool(w, "cacheUnauthorizedRequests", true))
        ret->bad_ttl_ns = 0;
    return 0;
}

static int read_webhook(
    const cJSON *w, const char *path, struct webhook_config *ret, struct error *err)
{
    const char *policy, *match_version;
    const cJSON *conditions;
    if (!w)
        return error_set(err, ERR_USAGE, "%s: Required value", path);
    if (conf_known(w, path,
            "authorizedTTL unauthorizedTTL cacheAuthorizedRequests cacheUnauthorizedRequests "
            "timeout subjectAccessReviewVersion matchConditionSubjectAccessReviewVersion "
            "failurePolicy connectionInfo matchConditions",
            err) < 0 ||
        conf_text(w, path, "subjectAccessReviewVersion", true, &ret->version, err) < 0 ||
        conf_text(w, path, "matchConditionSubjectAccessReviewVersion", false, &match_version, err) <
            0 ||
        conf_text(w, path, "failurePolicy", true, &policy, err) < 0 ||
        conf_list(w, path, "matchConditions", 64, &conditions, err) < 0 ||
        read_webhook_times(w, path, ret, err) < 0 || read_connection(w, path, ret, err) < 0)
        return -(int)err->code;
    if (cJSON_GetArraySize(conditions) > 0)
        return error_set(err, ERR_USAGE,
            "%s.matchConditions[0].expression: CEL expressions are not supported", path);
    if (!is_version(ret->version))
        return error_set(err, ERR_USAGE,
            "%s.subjectAccessReviewVersion: Unsupported value: \"%s\": supported values: \"v1\", "
            "\"v1beta1\"",
            path, ret->version);
    if (match_version && *match_version && !c_eq(match_version, "v1"))
        return error_set(err, ERR_USAGE,
            "%s.matchConditionSubjectAccessReviewVersion: Unsupported value: \"%s\": supported "
            "values: \"v1\"",
            path, match_version);
    if (!c_eq(policy, "NoOpinion") && !c_eq(policy, "Deny"))
        return error_set(err, ERR_USAGE,
            "%s.failurePolicy: Unsupported value: \"%s\": supported values: \"NoOpinion\", "
            "\"Deny\"",
            path, policy);
    ret->fail_open = c_eq(policy, "NoOpinion");
    return 0;
}

static int read_authorizer(
    struct env *env, struct settings *s, const cJSON *item, const char *path, struct error *err)
{
    const char *type, *name;
    autofree char *at = str_format("%s.type", path), *hook = str_format("%s.webhook", path);
    if (conf_known(item, path, "type name webhook", err) < 0 ||
        conf_text(item, path, "type", true, &type, err) < 0 ||
        conf_text(item, path, "name", true, &name, err) < 0)
        return -(int)err->code;
    int kind = kind_of(str_of(type));
    if (kind < 0)
        return error_set(err, ERR_USAGE,
            "%s: Unsupported value: \"%s\": supported values: \"AlwaysAllow\", \"AlwaysDeny\", "
            "\"Node\", \"RBAC\", \"Webhook\"",
            at, type);
    if (add_authorizer(s, kind, at, err) < 0)
        return -(int)err->code;
    const cJSON *webhook = json_get(item, "webhook");
    if (kind != BY_WEBHOOK)
        return webhook ? error_set(err, ERR_USAGE,
                             "%s: Invalid value: may only be specified when type=Webhook", hook)
                       : 0;
    struct webhook_config config = {.name = name};
    if (read_webhook(webhook, hook, &config, err) < 0)
        return -(int)err->code;
    if (webhook_new(env, &config, &s->authorizers[s->authorizer_count - 1].webhook, err) < 0)
        return error_wrap(err, "%s.connectionInfo.kubeConfigFile", hook);
    return 0;
}

static int check_names(const cJSON *list, struct error *err)
{
    const cJSON *a, *b;
    cJSON_ArrayForEach(a, list)
    {
        for (b = list->child; b != a; b = b->next)
            if (c_eq(json_string(a, "name"), json_string(b, "name")))
                return error_set(err, ERR_USAGE, "authorizers: Duplicate value: name \"%s\"",
                    json_string(a, "name"));
    }
    return 0;
}

static int read_authorization(
    struct env *env, struct settings *s, const cJSON *tree, struct error *err)
{
    const cJSON *list, *item;
    int i = 0;
    if (conf_known(tree, "", "apiVersion kind authorizers", err) < 0 ||
        conf_list(tree, "", "authorizers", AUTHORIZERS_MAX, &list, err) < 0)
        return -(int)err->code;
    if (cJSON_GetArraySize(list) == 0)
        return error_set(err, ERR_USAGE,
            "authorizers: Required value: at least one authorization mode must be defined");
    cJSON_ArrayForEach(item, list)
    {
        autofree char *path = str_format("authorizers[%d]", i++);
        if (read_authorizer(env, s, item, path, err) < 0)
            return -(int)err->code;
    }
    return check_names(list, err);
}

static int read_modes(
    struct env *env, struct settings *s, const struct auth_options *o, struct error *err)
{
    struct str rest = str_of(o->authorization_mode ? o->authorization_mode : "Node,RBAC"), name;
    bool webhook = false;
    while (rest.n && str_split(&rest, ',', &name)) {
        int kind = kind_of(str_trim(name));
        if (kind < 0)
            return error_set(err, ERR_USAGE,
                "--authorization-mode: \"%.*s\" is none of Node, RBAC, Webhook, AlwaysAllow, "
                "AlwaysDeny",
                STR_FMT(name));
        if (add_authorizer(s, kind, "--authorization-mode", err) < 0 ||
            (kind == BY_WEBHOOK && webhook))
            return error_set(
                err, ERR_USAGE, "--authorization-mode: \"%.*s\" comes twice", STR_FMT(name));
        if (kind != BY_WEBHOOK)
            continue;
        webhook = true;
        if (!o->access_webhook_file)
            return error_set(err, ERR_USAGE,
                "--authorization-mode: Webhook needs --authorization-webhook-config-file");
        if (!is_version(o->access_webhook_version))
            return error_set(err, ERR_USAGE,
                "--authorization-webhook-version: \"%s\" is none of v1, v1beta1",
                o->access_webhook_version);
        struct webhook_config config = {.name = "default",
            .kubeconfig = o->access_webhook_file,
            .version = o->access_webhook_version,
            .timeout_ns = ACCESS_TIMEOUT_NS,
            .good_ttl_ns = o->access_webhook_allowed_ttl_ns,
            .bad_ttl_ns = o->access_webhook_refused_ttl_ns,
            .fail_open = true};
        if (webhook_new(env, &config, &s->authorizers[s->authorizer_count - 1].webhook, err) < 0)
            return error_wrap(
                err, "--authorization-webhook-config-file: %s", o->access_webhook_file);
    }
    if (s->authorizer_count == 0)
        return error_set(err, ERR_USAGE, "--authorization-mode: at least one is needed");
    if (o->access_webhook_file && !webhook)
        return error_set(err, ERR_USAGE,
            "--authorization-webhook-config-file needs Webhook in --authorization-mode");
    return 0;
}

/* --- all of it --- */

static int read_token_webhook(
    struct env *env, struct settings *s, const struct auth_options *o, struct error *err)
{
    if (!o->token_webhook_file)
        return 0;
    if (!is_version(o->token_webhook_version))
        return error_set(err, ERR_USAGE,
            "--authentication-token-webhook-version: \"%s\" is none of v1, v1beta1",
            o->token_webhook_version);
    struct webhook_config config = {.name = "authentication",
        .kubeconfig = o->token_webhook_file,
        .version = o->token_webhook_version,
        .timeout_ns = TOKEN_TIMEOUT_NS,
        .good_ttl_ns = o->token_webhook_ttl_ns,
        .bad_ttl_ns = o->token_webhook_ttl_ns};
    if (webhook_new(env, &config, &s->token_webhook, err) < 0)
        return error_wrap(
            err, "--authentication-token-webhook-config-file: %s", o->token_webhook_file);
    return 0;
}

static int read_authentication_file(
    struct env *env, struct settings *s, const struct auth_options *o, struct error *err)
{
    if (!o->authentication_config)
        return 0;
    if (conf_read("--authentication-config", o->authentication_config,
            "AuthenticationConfiguration", &s->trees[0], err) < 0)
        return -(int)err->code;
    enum anonymous by_flag = s->anonymous;
    if (read_authentication(env, s, s->trees[0], err) < 0)
        return error_wrap(err, "--authentication-config: %s", o->authentication_config);
    if (json_get(s->trees[0], "anonymous") && by_flag != ANONYMOUS_HEALTH)
        return error_set(err, ERR_USAGE,
            "--authentication-config: %s: anonymous and --anonymous-auth exclude each other",
            o->authentication_config);
    return 0;
}

static int read_authorization_file(
    struct env *env, struct settings *s, const struct auth_options *o, struct error *err)
{
    if (!o->authorization_config)
        return read_modes(env, s, o, err);
    if (o->authorization_mode || o->access_webhook_file)
        return error_set(err, ERR_USAGE,
            "--authorization-config excludes --authorization-mode and "
            "--authorization-webhook-config-file");
    if (conf_read("--authorization-config", o->authorization_config, "AuthorizationConfiguration",
            &s->trees[1], err) < 0)
        return -(int)err->code;
    if (read_authorization(env, s, s->trees[1], err) < 0)
        return error_wrap(err, "--authorization-config: %s", o->authorization_config);
    return 0;
}

static int read_anonymous_flag(struct settings *s, const struct auth_options *o, struct error *err)
{
    const char *text = o->anonymous;
    if (!text || c_eq(text, "health"))
        s->anonymous = ANONYMOUS_HEALTH;
    else if (c_eq(text, "true"))
        s->anonymous = ANONYMOUS_ANYWHERE;
    else if (c_eq(text, "false"))
        s->anonymous = ANONYMOUS_NOWHERE;
    else
        return error_set(
            err, ERR_USAGE, "--anonymous-auth: \"%s\" is none of true, false, health", text);
    return 0;
}

int settings_load(
    struct env *env, const struct auth_options *o, struct settings **ret, struct error *err)
{
    struct settings *s = xcalloc(1, sizeof(*s));
    if (read_anonymous_flag(s, o, err) < 0 || read_oidc_flags(env, s, o, err) < 0 ||
        read_authentication_file(env, s, o, err) < 0 || read_token_webhook(env, s, o, err) < 0 ||
        read_authorization_file(env, s, o, err) < 0) {
        settings_free(s);
        return -(int)err->code;
    }
    s->references = 1;
    *ret = s;
    return 0;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->issuer_count; i++)
        oidc_free(s->issuers[i]);
    webhook_free(s->token_webhook);
    for (size_t i = 0; i < s->authorizer_count; i++)
        webhook_free(s->authorizers[i].webhook);
    for (size_t i = 0; i < ARRAY_COUNT(s->trees); i++)
        cJSON_Delete(s->trees[i]);
    free(s);
}
