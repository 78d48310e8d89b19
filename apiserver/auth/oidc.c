/*
 * Tokens of one OpenID Connect issuer: its keys, and what its claims mean here.
 *
 * The keys are fetched through the issuer's discovery document on a task of its own, when the first
 * token comes, when a token names a key that is not there (at most every REFRESH_LEAST_NS), and
 * every REFRESH_NS while tokens come. Failing to fetch leaves the keys that are there. A token's
 * "exp" is kept to the second; "nbf" may lie NOT_BEFORE_LEEWAY_S ahead, as upstream.
 *
 * Expressions (CEL) are refused when the configuration is read. Threads: any loop may verify.
 * Upstream: apiserver/plugin/pkg/authenticator/token/oidc.
 */
#include <math.h>
#include <openssl/pem.h>

#include "apiserver/auth/internal.h"
#include "apiserver/auth/jwks.h"
#include "apiserver/auth/remote.h"
#include "apiserver/auth/settings.h"
#include "common/log.h"
#include "common/time.h"

#define REFRESH_LEAST_NS (10 * NS_PER_S)
#define REFRESH_NS (10 * 60 * NS_PER_S)
#define NOT_BEFORE_LEEWAY_S 300
#define DOCUMENT_BYTES_MAX (1u << 20)
#define RULES_MAX 64

struct mapping {
    const char *claim, *prefix; /* claim NULL: none */
};

struct oidc {
    struct env *env;
    const char *url, *discovery;
    char *own_discovery;
    const cJSON *audiences, *rules;
    struct mapping username, groups, uid;
    char **algorithms; /* NULL ended */
    struct http_client *client;
    struct remote *remote;
    struct lock lock;
    struct jwks *keys;
    int64_t fetched_ns;
};

/* --- the configuration --- */

static int refuse_expression(
    const cJSON *object, const char *path, const char *name, struct error *err)
{
    const cJSON *item = json_get(object, name);
    if (!item || cJSON_IsNull(item) || (cJSON_IsString(item) && !*item->valuestring))
        return 0;
    return error_set(err, ERR_USAGE, "%s.%s: CEL expressions are not supported", path, name);
}

static int read_mapping(const cJSON *mappings, const char *path, const char *name, bool prefixed,
    struct mapping *ret, struct error *err)
{
    const cJSON *m = json_get(mappings, name);
    autofree char *at = str_format("%s.%s", path, name);
    if (!m || cJSON_IsNull(m))
        return 0;
    if (conf_known(m, at, prefixed ? "claim prefix expression" : "claim expression", err) < 0 ||
        refuse_expression(m, at, "expression", err) < 0 ||
        conf_text(m, at, "claim", true, &ret->claim, err) < 0 ||
        conf_text(m, at, "prefix", false, &ret->prefix, err) < 0)
        return -(int)err->code;
    if (prefixed && !ret->prefix)
        return error_set(err, ERR_USAGE,
            "%s.prefix: Required value: prefix is required when claim is set. It can be set to an "
            "empty string to disable prefixing",
            at);
    return 0;
}

static int read_mappings(struct oidc *o, const cJSON *jwt, const char *path, struct error *err)
{
    const cJSON *m = json_get(jwt, "claimMappings"), *extra;
    autofree char *at = str_format("%s.claimMappings", path);
    if (!m)
        return error_set(err, ERR_USAGE, "%s.username: Required value", at);
    if (conf_known(m, at, "username groups uid extra", err) < 0 ||
        read_mapping(m, at, "username", true, &o->username, err) < 0 ||
        read_mapping(m, at, "groups", true, &o->groups, err) < 0 ||
        read_mapping(m, at, "uid", false, &o->uid, err) < 0 ||
        conf_list(m, at, "extra", 64, &extra, err) < 0)
        return -(int)err->code;
    if (!o->username.claim)
        return error_set(err, ERR_USAGE, "%s.username: Required value", at);
    if (cJSON_GetArraySize(extra) > 0)
        return error_set(
            err, ERR_USAGE, "%s.extra[0].valueExpression: CEL expressions are not supported", at);
    return 0;
}

static int read_rules(struct oidc *o, const cJSON *jwt, const char *path, struct error *err)
{
    const cJSON *rule, *user_rules;
    int i = 0;
    if (conf_list(jwt, path, "claimValidationRules", RULES_MAX, &o->rules, err) < 0 ||
        conf_list(jwt, path, "userValidationRules", RULES_MAX, &user_rules, err) < 0)
        return -(int)err->code;
    if (cJSON_GetArraySize(user_rules) > 0)
        return error_set(err, ERR_USAGE,
            "%s.userValidationRules[0].expression: CEL expressions are not supported", path);
    cJSON_ArrayForEach(rule, o->rules)
    {
        autofree char *at = str_format("%s.claimValidationRules[%d]", path, i++);
        const char *text;
        if (conf_known(rule, at, "claim requiredValue expression message", err) < 0 ||
            refuse_expression(rule, at, "expression", err) < 0 ||
            refuse_expression(rule, at, "message", err) < 0 ||
            conf_text(rule, at, "claim", true, &text, err) < 0 ||
            conf_text(rule, at, "requiredValue", false, &text, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int read_audiences(struct oidc *o, const cJSON *issuer, const char *path, struct error *err)
{
    const char *policy;
    const cJSON *item;
    int i = 0;
    if (conf_list(issuer, path, "audiences", 64, &o->audiences, err) < 0 ||
        conf_text(issuer, path, "audienceMatchPolicy", false, &policy, err) < 0)
        return -(int)err->code;
    if (cJSON_GetArraySize(o->audiences) == 0)
        return error_set(err, ERR_USAGE,
            "%s.audiences: Required value: at least one audience is required", path);
    cJSON_ArrayForEach(item, o->audiences)
    {
        if (!cJSON_IsString(item) || !*item->valuestring)
            return error_set(err, ERR_USAGE, "%s.audiences[%d]: Required value", path, i);
        i++;
    }
    if (policy && *policy && !c_eq(policy, "MatchAny"))
        return error_set(err, ERR_USAGE,
            "%s.audienceMatchPolicy: Invalid value: \"%s\": must be MatchAny or empty", path,
            policy);
    if (i > 1 && !c_eq(policy, "MatchAny"))
        return error_set(err, ERR_USAGE,
            "%s.audienceMatchPolicy: Invalid value: \"\": must be MatchAny for multiple audiences",
            path);
    return 0;
}

static bool has_certificate(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    X509_free(certificate);
    BIO_free(bio);
    return certificate != NULL;
}

static int make_client(struct oidc *o, const cJSON *issuer, const char *path, struct error *err)
{
    const char *ca;
    if (conf_text(issuer, path, "certificateAuthority", false, &ca, err) < 0)
        return -(int)err->code;
    if (ca && *ca && !has_certificate(ca))
        return error_set(err, ERR_USAGE, "%s.certificateAuthority: holds no certificate", path);
    struct http_client_config config = {.base_url = o->url,
        .ca_pem = ca && *ca ? ca : NULL,
        .user_agent = "skiff-apiserver",
        .connections_max = 1};
    return http_client_new(o->env, &config, &o->client, err);
}

static int read_issuer(struct oidc *o, const cJSON *jwt, const char *path, struct error *err)
{
    const cJSON *issuer = json_get(jwt, "issuer");
    autofree char *at = str_format("%s.issuer", path);
    if (!issuer)
        return error_set(err, ERR_USAGE, "%s.url: Required value", at);
    if (conf_known(issuer, at,
            "url discoveryURL certificateAuthority audiences audienceMatchPolicy", err) < 0 ||
        conf_text(issuer, at, "url", true, &o->url, err) < 0 ||
        conf_url(o->url, at, "url", err) < 0 ||
        conf_text(issuer, at, "discoveryURL", false, &o->discovery, err) < 0)
        return -(int)err->code;
    if (o->discovery && *o->discovery) {
        if (conf_url(o->discovery, at, "discoveryURL", err) < 0)
            return -(int)err->code;
        if (c_eq(o->discovery, o->url))
            return error_set(err, ERR_USAGE,
                "%s.discoveryURL: Invalid value: \"%s\": discoveryURL must be different from URL",
                at, o->discovery);
    } else {
        struct str url = str_of(o->url);
        while (url.n && url.p[url.n - 1] == '/')
            url.n--;
        o->own_discovery = str_format("%.*s/.well-known/openid-configuration", STR_FMT(url));
        o->discovery = o->own_discovery;
    }
    return read_audiences(o, issuer, at, err) < 0 ? -(int)err->code
                                                  : make_client(o, issuer, at, err);
}

static int read_algorithms(struct oidc *o, const char *list, struct error *err)
{
    struct str rest = str_of(list), name;
    size_t n = 0;
    o->algorithms = xcalloc(1, sizeof(char *));
    while (rest.n && str_split(&rest, ',', &name)) {
        o->algorithms = xrealloc(o->algorithms, (n + 2) * sizeof(char *));
        o->algorithms[n] = str_dup(str_trim(name));
        o->algorithms[n + 1] = NULL;
        if (!jwks_is_algorithm(o->algorithms[n++]))
            return error_set(
                err, ERR_USAGE, "--oidc-signing-algs: \"%.*s\" is no algorithm", STR_FMT(name));
    }
    return 0;
}

/* --- the keys --- */

static int fetch(struct oidc *o, const char *url, struct http_canceller *canceller, cJSON **ret,
    struct error *err)
{
    struct http_response response;
    http_response_init(&response);
    struct http_request request = {.method = "GET",
        .path = url,
        .timeout_ns = 10 * NS_PER_S,
        .response_limit = DOCUMENT_BYTES_MAX,
        .canceller = canceller};
    int result = http_do(o->client, &request, &response, err);
    if (result == 0 && response.status != 200)
        result = error_set(err, ERR_UNAVAILABLE, "%s answered %d", url, response.status);
    if (result == 0)
        result = json_parse(strbuf_str(&response.body), ret, err);
    http_response_done(&response);
    return result;
}

static int fetch_keys(struct oidc *o, struct http_canceller *canceller, struct error *err)
{
    autojson cJSON *document = NULL, *set = NULL;
    struct jwks *fresh, *old;
    if (fetch(o, o->discovery, canceller, &document, err) < 0)
        return -(int)err->code;
    const char *issuer = json_string(document, "issuer"), *url = json_string(document, "jwks_uri");
    if (!c_eq(issuer, o->url))
        return error_set(
            err, ERR_UNAVAILABLE, "%s is about issuer \"%s\"", o->discovery, issuer ? issuer : "");
    if (!url || conf_url(url, o->discovery, "jwks_uri", err) < 0)
        return error_set(err, ERR_UNAVAILABLE, "%s: jwks_uri is no https URL", o->discovery);
    if (fetch(o, url, canceller, &set, err) < 0 || jwks_parse(set, &fresh, err) < 0)
        return -(int)err->code;
    env_lock(o->env, &o->lock);
    old = o->keys;
    o->keys = fresh;
    o->fetched_ns = env_now_ns(o->env);
    env_unlock(o->env, &o->lock);
    jwks_free(old);
    return 0;
}

static void refresh(
    void *arg, const char *question, struct http_canceller *canceller, struct remote_answer *ret)
{
    struct oidc *o = arg;
    (void)question;
    ret->keep_ns = REFRESH_LEAST_NS;
    ret->result = fetch_keys(o, canceller, &ret->err);
    if (ret->result < 0)
        log_warning("keys of an issuer could not be fetched, trying again with a later token",
            "issuer", "%s", o->url, "error", "%s", ret->err.text, NULL);
}

/* --- making and ending --- */

int oidc_new(struct env *env, const cJSON *jwt, const char *path, const char *algorithms,
    struct oidc **ret, struct error *err)
{
    struct oidc *o = xcalloc(1, sizeof(*o));
    o->env = env;
    env_lock_init(&o->lock);
    if (conf_known(
            jwt, path, "issuer claimValidationRules claimMappings userValidationRules", err) < 0 ||
        read_issuer(o, jwt, path, err) < 0 || read_mappings(o, jwt, path, err) < 0 ||
        read_rules(o, jwt, path, err) < 0 || read_algorithms(o, algorithms, err) < 0) {
        oidc_free(o);
        return -(int)err->code;
    }
    struct remote_config config = {.env = env,
        .name = "issuer",
        .call = refresh,
        .arg = o,
        .in_flight_max = 1,
        .entries_max = 4};
    o->remote = remote_new(&config);
    *ret = o;
    return 0;
}

void oidc_free(struct oidc *o)
{
    if (!o)
        return;
    remote_free(o->remote);
    http_client_free(o->client);
    jwks_free(o->keys);
    for (char **a = o->algorithms; a && *a; a++)
        free(*a);
    free(o->algorithms);
    free(o->own_discovery);
    env_lock_done(&o->lock);
    free(o);
}

const char *oidc_issuer(const struct oidc *o)
{
    return o->url;
}

/* --- tokens --- */

static bool lists(const cJSON *list, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (cJSON_IsString(item) && c_eq(item->valuestring, text))
            return true;
    }
    return false;
}

static bool is_for_us(const struct oidc *o, const cJSON *claims)
{
    const cJSON *aud = json_get(claims, "aud"), *item;
    if (cJSON_IsString(aud))
        return lists(o->audiences, aud->valuestring);
    cJSON_ArrayForEach(item, aud)
    {
        if (cJSON_IsString(item) && lists(o->audiences, item->valuestring))
            return true;
    }
    return false;
}

/* A time in seconds, whole or not; 0 when it is none. */
static int64_t seconds_of(const cJSON *item)
{
    int64_t value;
    if (json_int64(item, &value))
        return value;
    return cJSON_IsNumber(item) && fabs(item->valuedouble) < 9e15 ? (int64_t)item->valuedouble : 0;
}

static int check_claims(const struct oidc *o, const cJSON *claims, struct error *err)
{
    const cJSON *rule;
    if (!c_eq(json_string(claims, "iss"), o->url))
        return error_set(err, ERR_UNAUTHORIZED, "the token is from another issuer");
    if (!is_for_us(o, claims))
        return error_set(err, ERR_UNAUTHORIZED, "the token is for another audience");
    cJSON_ArrayForEach(rule, o->rules)
    {
        const char *name = json_string(rule, "claim"), *value = json_string(rule, "requiredValue");
        if (!c_eq(json_string(claims, name), value ? value : ""))
            return error_set(err, ERR_UNAUTHORIZED, "the token's claim %s is another", name);
    }
    return 0;
}

static const char *prefixed(struct arena *a, const struct mapping *m, const char *value)
{
    return arena_printf(a, "%s%s", m->prefix ? m->prefix : "", value);
}

static int read_groups(
    const struct oidc *o, const cJSON *claims, struct verified *v, struct error *err)
{
    const cJSON *groups = o->groups.claim ? json_get(claims, o->groups.claim) : NULL, *item;
    if (cJSON_IsString(groups)) {
        identity_add_group(&v->who, v->arena, prefixed(v->arena, &o->groups, groups->valuestring));
    } else if (groups && !cJSON_IsNull(groups) && !cJSON_IsArray(groups)) {
        return error_set(err, ERR_UNAUTHORIZED, "the token's groups are no list of strings");
    }
    cJSON_ArrayForEach(item, groups)
    {
        if (!cJSON_IsString(item))
            return error_set(err, ERR_UNAUTHORIZED, "the token's groups are no list of strings");
        identity_add_group(&v->who, v->arena, prefixed(v->arena, &o->groups, item->valuestring));
    }
    return 0;
}

static int read_identity(
    const struct oidc *o, const cJSON *claims, struct verified *v, struct error *err)
{
    const char *name = json_string(claims, o->username.claim);
    const char *uid = o->uid.claim ? json_string(claims, o->uid.claim) : "";
    const cJSON *verified = json_get(claims, "email_verified");
    if (!name || !*name)
        return error_set(err, ERR_UNAUTHORIZED, "the token has no claim %s", o->username.claim);
    if (c_eq(o->username.claim, "email") && verified && !cJSON_IsTrue(verified))
        return error_set(err, ERR_UNAUTHORIZED, "the token's email is not verified");
    if (!uid)
        return error_set(err, ERR_UNAUTHORIZED, "the token has no claim %s", o->uid.claim);
    v->who.name = prefixed(v->arena, &o->username, name);
    v->who.uid = arena_strdup(v->arena, str_of(uid));
    if (read_groups(o, claims, v, err) < 0)
        return -(int)err->code;
    identity_add_group(&v->who, v->arena, "system:authenticated");
    const char *id = json_string(claims, "jti");
    if (id)
        identity_add_extra(&v->who, v->arena, "authentication.kubernetes.io/credential-id",
            arena_printf(v->arena, "JTI=%s", id));
    return 0;
}

static int compile(
    const struct oidc *o, const cJSON *claims, struct verified **ret, struct error *err)
{
    if (check_claims(o, claims, err) < 0)
        return -(int)err->code;
    struct verified *v = verified_new();
    v->expires_s = seconds_of(json_get(claims, "exp"));
    int64_t not_before_s = seconds_of(json_get(claims, "nbf"));
    v->not_before_s = not_before_s > NOT_BEFORE_LEEWAY_S ? not_before_s - NOT_BEFORE_LEEWAY_S : 0;
    if (read_identity(o, claims, v, err) < 0) {
        verified_unref(v);
        return -(int)err->code;
    }
    *ret = v;
    return 0;
}

int oidc_verify(struct oidc *o, struct str token, struct request *waiter, struct verified **ret,
    struct error *err)
{
    static const unsigned char key[REMOTE_KEY_BYTES];
    autojson cJSON *claims = NULL, *nothing = NULL;
    bool unknown_key;
    env_lock(o->env, &o->lock);
    int result =
        jwks_verify(o->keys, (const char *const *)o->algorithms, token, &claims, &unknown_key, err);
    bool stale = o->keys && env_now_ns(o->env) - o->fetched_ns > REFRESH_NS;
    env_unlock(o->env, &o->lock);
    if (result < 0 && unknown_key) {
        struct error why;
        int asked = remote_ask(o->remote, key, "", waiter, &nothing, &why);
        if (asked == 1)
            return 1;
        return asked < 0 ? error_set(err, ERR_UNAUTHORIZED, "the issuer's keys: %s", why.text)
                         : result;
    }
    if (result < 0)
        return result;
    struct error ignored;
    if (stale)
        remote_ask(o->remote, key, "", NULL, &nothing, &ignored);
    return compile(o, claims, ret, err);
}
