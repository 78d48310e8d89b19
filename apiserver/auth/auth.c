/*
 * The two stages: who is it, and may they. Impersonation stands between: it is the real user who
 * needs the right.
 *
 * Anonymous requests reach /livez, /readyz and /healthz only; anything else without a credential is
 * 401. system:masters may do everything, before any authorizer, as upstream.
 */
#include "apiserver/auth/internal.h"

#include <ctype.h>

#include "apiserver/server.h"
#include "common/http_client.h"
#include "common/log.h"
#include "common/names.h"
#include "common/selector.h"

#define ANONYMOUS "system:anonymous"
#define MASTERS "system:masters"

int auth_new(const struct auth_config *config, struct auth **ret, struct error *err)
{
    struct auth *auth = xcalloc(1, sizeof(*auth));
    auth->config = *config;
    auth->verified = token_cache_new();
    auth->logins = logins_new();
    env_lock_init(&auth->lock);
    env_cond_init(&auth->stopped);
    int result = auth_settings_start(auth, err);
    if (result == 0)
        result = tokens_load_static(auth, err);
    if (result == 0 && (config->signing_key_file || (config->key_files && *config->key_files)))
        result = jwt_keys_load(config->key_files, config->signing_key_file, &auth->keys, err);
    if (result == 0)
        result = rbac_new(config->env, config->cache, config->api, &auth->rbac, err);
    if (result < 0) {
        auth_free(auth);
        return result;
    }
    *ret = auth;
    return 0;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    auth_settings_stop(auth);
    rbac_free(auth->rbac);
    jwt_keys_free(auth->keys);
    tokens_free_static(auth);
    token_cache_free(auth->verified);
    logins_free(auth->logins);
    env_cond_done(&auth->stopped);
    env_lock_done(&auth->lock);
    free(auth);
}

int auth_sign(struct auth *auth, const cJSON *claims, char **ret_token, struct error *err)
{
    if (!auth->keys)
        return error_set(err, ERR_INTERNAL, "no key to sign ServiceAccount tokens is configured");
    return jwt_sign(auth->keys, claims, ret_token, err);
}

cJSON *auth_jwks(struct auth *auth)
{
    return auth->keys ? jwt_key_set(auth->keys) : json_make("{\"keys\":[]}");
}

/* --- who --- */

static bool in_group(const struct identity *who, const char *group)
{
    for (const char **g = who->groups; g && *g; g++)
        if (c_eq(*g, group))
            return true;
    return false;
}

static void note_node(struct identity *who)
{
    static const char prefix[] = "system:node:";
    if (str_starts(str_of(who->name), STR("system:node:")) && who->name[sizeof(prefix) - 1] &&
        in_group(who, "system:nodes"))
        who->node_name = who->name + sizeof(prefix) - 1;
}

static void identity_of_certificate(struct request *q)
{
    struct identity *who = &q->identity;
    *who =
        (struct identity){.name = arena_strdup(q->arena, str_of(q->peer_common_name)), .uid = ""};
    for (const char **o = q->peer_organizations; o && *o; o++)
        identity_add_group(who, q->arena, *o);
    identity_add_group(who, q->arena, "system:authenticated");
}

static bool is_anonymous_path(struct str path)
{
    static const char *const open[] = {"/livez", "/readyz", "/healthz"};
    for (size_t i = 0; i < ARRAY_COUNT(open); i++) {
        struct str prefix = str_of(open[i]);
        if (str_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/'))
            return true;
    }
    return false;
}

/* May a request without a credential be system:anonymous here? */
static bool may_be_anonymous(struct auth *auth, const struct request *q)
{
    struct settings *s = auth_settings(auth);
    const cJSON *condition;
    bool may = s->anonymous == ANONYMOUS_ANYWHERE;
    if (s->anonymous == ANONYMOUS_HEALTH)
        may = is_anonymous_path(q->path) || s->authorizers[0].kind == ALWAYS_ALLOW;
    if (s->anonymous == ANONYMOUS_PATHS)
        cJSON_ArrayForEach(condition, s->anonymous_paths) may =
            may || str_eqc(q->path, json_string(condition, "path"));
    auth_settings_done(auth, s);
    return may;
}

/* The token of "Authorization: Bearer T"; false when there is no such header. */
static bool bearer_token(const struct request *q, struct str *ret)
{
    struct str value = str_trim(request_header(q, "authorization"));
    if (value.n < 7 || !str_eq_nocase(str_range(value.p, 7), STR("Bearer ")))
        return false;
    *ret = str_trim(str_range(value.p + 7, value.n - 7));
    return true;
}

enum stage_result auth_authenticate_stage(struct request *q)
{
    struct auth *auth = q->server->auth;
    struct str token;
    struct error err;
    if (q->trusted)
        return STAGE_DONE;
    if (front_proxy_identity(auth, q)) {
        /* it says who */
    } else if (q->peer_common_name && *q->peer_common_name) {
        identity_of_certificate(q);
    } else if (bearer_token(q, &token)) {
        int result = auth_token(auth, q->arena, token, NULL, q, &q->identity, NULL, &err);
        if (result == 1)
            return STAGE_WAIT;
        if (result < 0) {
            log_debug("bearer token refused", "reason", "%s", err.text, NULL);
            if (err.code == ERR_TOO_MANY_REQUESTS) {
                q->retry_after_s = 1;
                return request_fail_error(q, &err);
            }
            return request_fail(q, ERR_UNAUTHORIZED, "Unauthorized");
        }
    } else if (q->peer_certificate_bad || request_header(q, "authorization").n ||
               !may_be_anonymous(auth, q)) {
        return request_fail(q, ERR_UNAUTHORIZED, "Unauthorized");
    } else {
        q->identity = (struct identity){.name = ANONYMOUS, .uid = ""};
        identity_add_group(&q->identity, q->arena, "system:unauthenticated");
    }
    note_node(&q->identity);
    return STAGE_DONE;
}

/* --- may they --- */

static enum opinion ask_one(struct auth *auth, const struct authorizer *by,
    const struct identity *who, const struct access_attributes *what, struct request *waiter,
    struct strbuf *reason)
{
    switch (by->kind) {
    case BY_NODE:
        return who->node_name &&
                       node_allowed(auth->config.cache, auth->config.api, who->node_name, what)
                   ? OPINION_ALLOW
                   : OPINION_NONE;
    case BY_RBAC:
        return rbac_allowed(auth->rbac, who, what, reason) ? OPINION_ALLOW : OPINION_NONE;
    case BY_WEBHOOK:
        return webhook_access(by->webhook, who, what, waiter, reason);
    case ALWAYS_ALLOW:
        return OPINION_ALLOW;
    case ALWAYS_DENY:
        break;
    }
    return OPINION_DENY;
}

enum auth_answer auth_decide(struct auth *auth, const struct identity *who,
    const struct access_attributes *what, struct request *waiter, struct strbuf *reason)
{
    if (in_group(who, MASTERS))
        return AUTH_ALLOWED;
    struct settings *s = auth_settings(auth);
    enum opinion opinion = OPINION_NONE;
    for (size_t i = 0; i < s->authorizer_count && opinion == OPINION_NONE; i++)
        opinion = ask_one(auth, &s->authorizers[i], who, what, waiter, reason);
    auth_settings_done(auth, s);
    return opinion == OPINION_LATER   ? AUTH_WAIT
           : opinion == OPINION_ALLOW ? AUTH_ALLOWED
                                      : AUTH_REFUSED;
}

bool auth_allowed(struct auth *auth, const struct identity *who,
    const struct access_attributes *what, struct strbuf *reason)
{
    return auth_decide(auth, who, what, NULL, reason) == AUTH_ALLOWED;
}

/* What each of the authorizers can tell; a webhook can't. */
static void note_others(struct auth *auth, cJSON *rules, bool *ret_all)
{
    struct settings *s = auth_settings(auth);
    bool rbac = false, webhook = false;
    for (size_t i = 0; i < s->authorizer_count; i++) {
        rbac = rbac || s->authorizers[i].kind == BY_RBAC;
        webhook = webhook || s->authorizers[i].kind == BY_WEBHOOK;
        *ret_all = *ret_all || s->authorizers[i].kind == ALWAYS_ALLOW;
    }
    auth_settings_done(auth, s);
    if (!rbac) {
        json_set(rules, "resourceRules", cJSON_CreateArray());
        json_set(rules, "nonResourceRules", cJSON_CreateArray());
    }
    if (!webhook)
        return;
    json_set(rules, "incomplete", cJSON_CreateTrue());
    json_set_string(
        rules, "evaluationError", "webhook authorizer does not support user rule resolution");
}

cJSON *auth_rules(struct auth *auth, const struct identity *who, const char *namespace_)
{
    cJSON *rules = rbac_rules(auth->rbac, who, namespace_);
    bool all = in_group(who, MASTERS);
    note_others(auth, rules, &all);
    if (all) {
        cJSON_AddItemToArray(json_get(rules, "resourceRules"),
            json_make("{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}"));
        cJSON_AddItemToArray(json_get(rules, "nonResourceRules"),
            json_make("{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}"));
    }
    return rules;
}

/* Upstream's words: pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in
 * the namespace "d" */
static enum stage_result refuse(
    struct request *q, const struct identity *who, const struct access_attributes *what)
{
    if (what->path)
        return request_fail(q, ERR_FORBIDDEN, "forbidden: User \"%s\" cannot %s path \"%s\"",
            who->name, what->verb, what->path);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 4096);
    strbuf_addf(&text, "%s%s%s", what->resource, *what->group ? "." : "", what->group);
    if (*what->name)
        strbuf_addf(&text, " \"%s\"", what->name);
    strbuf_addf(&text,
        " is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\" ", who->name,
        what->verb, what->resource, *what->subresource ? "/" : "", what->subresource, what->group);
    if (*what->namespace_)
        strbuf_addf(&text, "in the namespace \"%s\"", what->namespace_);
    else
        strbuf_addc(&text, "at the cluster scope");
    return request_fail_object(q, ERR_FORBIDDEN, "%s", text.data);
}

/* What a list or watch is narrowed to by its fieldSelector (or labelSelector): KEY=VALUE, as
 * upstream's request info reads it; NULL: not. */
static const char *selected(struct request *q, const char *parameter, const char *key)
{
    bool by_label = c_eq(parameter, "labelSelector");
    struct str text;
    struct selector *s;
    struct error err;
    const char *value = NULL;
    if ((!c_eq(q->verb, "list") && !c_eq(q->verb, "watch")) ||
        !request_query(q, parameter, &text) ||
        (by_label ? selector_parse(text, &s, &err) : field_selector_parse(text, &s, &err)) < 0)
        return NULL;
    for (size_t i = 0; i < s->term_count && !value; i++)
        if (s->terms[i].op == SEL_IN && s->terms[i].value_count == 1 && c_eq(s->terms[i].key, key))
            value = arena_strdup(q->arena, str_of(s->terms[i].values[0]));
    selector_free(s);
    return value;
}

static struct access_attributes attributes_of(struct request *q)
{
    if (!q->resource && !*q->plural)
        return (struct access_attributes){.verb = q->verb,
            .path = q->path.p,
            .group = "",
            .version = "",
            .resource = "",
            .subresource = "",
            .namespace_ = "",
            .name = ""};
    /* exec, attach and port-forward are "create" whatever the HTTP method: a GET must not open a
     * shell. */
    static const char *const shells[] = {"exec", "attach", "portforward"};
    const char *verb = q->verb;
    for (size_t i = 0; i < ARRAY_COUNT(shells); i++)
        if (c_eq(q->subresource_name, shells[i]))
            verb = "create";
    const char *name = *q->name ? NULL : selected(q, "fieldSelector", "metadata.name");
    return (struct access_attributes){.verb = verb,
        .group = q->group,
        .version = q->version,
        .resource = q->plural,
        .subresource = q->subresource_name,
        .namespace_ = q->namespace_,
        .name = name ? name : q->name,
        .only_folders_of = c_eq(q->plural, "persistentvolumes")
                               ? selected(q, "labelSelector", HOST_PATH_NODE_LABEL)
                               : NULL,
        .only_node = selected(q, "fieldSelector", "spec.nodeName")};
}

enum stage_result auth_create_stage(struct request *q)
{
    if (q->trusted)
        return STAGE_DONE;
    struct access_attributes what = attributes_of(q);
    what.verb = "create";
    return auth_allowed(q->server->auth, &q->identity, &what, NULL)
               ? STAGE_DONE
               : refuse(q, &q->identity, &what);
}

/* --- impersonation: Impersonate-User, -Group, -Uid, -Extra-* --- */

static enum stage_result may_impersonate(struct request *q, const char *group, const char *resource,
    const char *subresource, const char *namespace_, const char *name)
{
    struct access_attributes what = {.verb = "impersonate",
        .group = group,
        .version = "v1",
        .resource = resource,
        .subresource = subresource,
        .namespace_ = namespace_,
        .name = name};
    enum auth_answer answer = auth_decide(q->server->auth, &q->identity, &what, q, NULL);
    return answer == AUTH_WAIT      ? STAGE_WAIT
           : answer == AUTH_ALLOWED ? STAGE_DONE
                                    : refuse(q, &q->identity, &what);
}

static enum stage_result may_be_user(struct request *q, const char *user)
{
    static const char prefix[] = "system:serviceaccount:";
    struct str rest = str_of(user), namespace_;
    if (!str_starts(rest, STR("system:serviceaccount:")))
        return may_impersonate(q, "", "users", "", "", user);
    rest = str_range(user + sizeof(prefix) - 1, rest.n - sizeof(prefix) + 1);
    if (!str_split(&rest, ':', &namespace_) || namespace_.n == 0 || rest.n == 0)
        return request_fail(q, ERR_BAD_REQUEST, "invalid user name \"%s\"", user);
    return may_impersonate(q, "", "serviceaccounts", "", arena_strdup(q->arena, namespace_),
        arena_strdup(q->arena, rest));
}

static enum stage_result impersonate_header(
    struct request *q, const struct http1_header *h, struct identity *as)
{
    static const char extra[] = "impersonate-extra-";
    const char *value = arena_strdup(q->arena, str_trim(h->value));
    if (str_eq_nocase(h->name, STR("impersonate-group"))) {
        identity_add_group(as, q->arena, value);
        return may_impersonate(q, "", "groups", "", "", value);
    }
    if (str_eq_nocase(h->name, STR("impersonate-uid"))) {
        as->uid = value;
        return may_impersonate(q, "authentication.k8s.io", "uids", "", "", value);
    }
    size_t n = sizeof(extra) - 1;
    if (h->name.n <= n || !str_eq_nocase(str_range(h->name.p, n), str_range(extra, n)))
        return STAGE_DONE;
    struct strbuf key;
    struct error err;
    strbuf_init(&key, 1024);
    if (url_decode(str_range(h->name.p + n, h->name.n - n), false, &key, &err) < 0)
        return request_fail_error(q, &err);
    char *name = arena_strdup(q->arena, strbuf_str(&key));
    strbuf_done(&key);
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    identity_add_extra(as, q->arena, name, value);
    return may_impersonate(q, "authentication.k8s.io", "userextras", name, "", value);
}

static bool is_impersonation(struct str name)
{
    return name.n > 12 && str_eq_nocase(str_range(name.p, 12), STR("impersonate-"));
}

static enum stage_result impersonate(struct request *q)
{
    struct str user = str_trim(request_header(q, "impersonate-user"));
    bool any = false;
    for (size_t i = 0; i < q->header_count; i++)
        any = any || is_impersonation(q->headers[i].name);
    if (!any)
        return STAGE_DONE;
    if (user.n == 0)
        return request_fail(
            q, ERR_BAD_REQUEST, "requested groups, uid or extra without impersonating a user");
    struct identity as = {.name = arena_strdup(q->arena, user), .uid = ""};
    enum stage_result result = may_be_user(q, as.name);
    for (size_t i = 0; result == STAGE_DONE && i < q->header_count; i++)
        result = impersonate_header(q, &q->headers[i], &as);
    if (result != STAGE_DONE)
        return result;
    if (str_starts(user, STR("system:serviceaccount:")) && !as.groups) {
        struct str rest = str_range(user.p + 22, user.n - 22), namespace_;
        str_split(&rest, ':', &namespace_);
        identity_add_group(&as, q->arena, "system:serviceaccounts");
        identity_add_group(&as, q->arena,
            arena_printf(q->arena, "system:serviceaccounts:%.*s", STR_FMT(namespace_)));
    }
    identity_add_group(&as, q->arena,
        c_eq(as.name, ANONYMOUS) ? "system:unauthenticated" : "system:authenticated");
    note_node(&as);
    q->identity = as;
    return STAGE_DONE;
}

enum stage_result auth_authorize_stage(struct request *q)
{
    static char impersonated; /* the stage's state once that was settled */
    if (q->trusted)
        return STAGE_DONE;
    enum stage_result result = q->stage_state ? STAGE_DONE : impersonate(q);
    if (result != STAGE_DONE)
        return result;
    q->stage_state = &impersonated;
    struct access_attributes what = attributes_of(q);
    autostrbuf struct strbuf reason = STRBUF_EMPTY;
    enum auth_answer answer =
        auth_decide(q->server->auth, &q->identity, &what, q, q->audit ? &reason : NULL);
    if (answer == AUTH_WAIT)
        return STAGE_WAIT;
    q->authorized = answer == AUTH_ALLOWED || (what.path && is_anonymous_path(q->path));
    q->authorization_reason = q->audit ? arena_strdup(q->arena, strbuf_str(&reason)) : "";
    if (q->authorized)
        return STAGE_DONE;
    return refuse(q, &q->identity, &what);
}
