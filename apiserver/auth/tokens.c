/*
 * Bearer tokens: a static file, bootstrap tokens (Secrets); then those that
 * were verified before, JWTs (service_account.c, oidc.c), and the webhook.
 *
 * Secrets are compared in constant time. Upstream: token/tokenfile, bootstrap token.
 */
#include <openssl/crypto.h>

#include "apiserver/auth/internal.h"
#include "apiserver/auth/jwks.h"
#include "common/base64.h"
#include "common/file.h"
#include "common/time.h"

#define BOOTSTRAP_GROUP "system:bootstrappers"

struct static_token {
    char *token, *user, *uid;
    char **groups; /* NULL ended */
};

void identity_add_group(struct identity *who, struct arena *a, const char *group)
{
    size_t n = 0;
    while (who->groups && who->groups[n]) {
        if (c_eq(who->groups[n], group))
            return;
        n++;
    }
    const char **groups = arena_new_array(a, const char *, n + 2);
    if (n)
        memcpy(groups, who->groups, n * sizeof(*groups));
    groups[n] = arena_strdup(a, str_of(group));
    who->groups = groups;
}

void identity_add_extra(struct identity *who, struct arena *a, const char *key, const char *value)
{
    if (!value || !*value || who->extra_count == ARRAY_COUNT(who->extra))
        return;
    const char **values = arena_new_array(a, const char *, 2);
    values[0] = arena_strdup(a, str_of(value));
    who->extra[who->extra_count].key = key;
    who->extra[who->extra_count++].values = values;
}

/* --- the static file: token,user,uid,"group1,group2" a line --- */

/* One field of a CSV line, quotes taken off. */
static struct str csv_field(struct str *line)
{
    struct str field;
    if (line->n && line->p[0] == '"') {
        *line = str_range(line->p + 1, line->n - 1);
        str_split(line, '"', &field);
        struct str comma;
        str_split(line, ',', &comma);
        return field;
    }
    return str_split(line, ',', &field) ? str_trim(field) : (struct str){0};
}

static int add_static(struct auth *auth, struct str line, int number, struct error *err)
{
    struct static_token t = {0};
    struct str token = csv_field(&line), user = csv_field(&line), uid = csv_field(&line);
    struct str groups = csv_field(&line), group;
    if (token.n == 0 || user.n == 0)
        return error_set(err, ERR_BAD_REQUEST,
            "token file %s, line %d: a token and a user are needed", auth->config.token_auth_file,
            number);
    t.token = str_dup(token);
    t.user = str_dup(user);
    t.uid = str_dup(uid);
    size_t n = 0;
    t.groups = xcalloc(1, sizeof(*t.groups));
    while (groups.n && str_split(&groups, ',', &group)) {
        t.groups = xrealloc(t.groups, (n + 2) * sizeof(*t.groups));
        t.groups[n++] = str_dup(str_trim(group));
        t.groups[n] = NULL;
    }
    auth->static_tokens = xrealloc(auth->static_tokens, (auth->static_token_count + 1) * sizeof(t));
    auth->static_tokens[auth->static_token_count++] = t;
    return 0;
}

int tokens_load_static(struct auth *auth, struct error *err)
{
    if (!auth->config.token_auth_file)
        return 0;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, 1 << 20);
    if (file_read(auth->config.token_auth_file, 1 << 20, &text, err) < 0)
        return error_wrap(err, "token file %s", auth->config.token_auth_file);
    struct str rest = strbuf_str(&text), line;
    for (int number = 1; str_split(&rest, '\n', &line); number++) {
        line = str_trim(line);
        if (line.n && line.p[0] != '#' && add_static(auth, line, number, err) < 0)
            return -err->code;
    }
    return 0;
}

void tokens_free_static(struct auth *auth)
{
    for (size_t i = 0; i < auth->static_token_count; i++) {
        struct static_token *t = &auth->static_tokens[i];
        for (char **g = t->groups; *g; g++)
            free(*g);
        free(t->groups);
        OPENSSL_cleanse(t->token, strlen(t->token));
        free(t->token);
        free(t->user);
        free(t->uid);
    }
    free(auth->static_tokens);
}

static bool same_secret(struct str a, const char *b)
{
    return a.n == strlen(b) && CRYPTO_memcmp(a.p, b, a.n) == 0;
}

static bool check_static(struct auth *auth, struct arena *a, struct str token, struct identity *ret)
{
    for (size_t i = 0; i < auth->static_token_count; i++) {
        const struct static_token *t = &auth->static_tokens[i];
        if (!same_secret(token, t->token))
            continue;
        *ret = (struct identity){.name = t->user, .uid = t->uid};
        for (char *const *g = t->groups; *g; g++)
            identity_add_group(ret, a, *g);
        return true;
    }
    return false;
}

/* --- bootstrap tokens: Secrets kube-system/bootstrap-token-ID --- */

static bool looks_like_bootstrap(struct str token)
{
    if (token.n != 23 || token.p[6] != '.')
        return false;
    for (size_t i = 0; i < token.n; i++) {
        char c = token.p[i];
        if (i != 6 && !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return false;
    }
    return true;
}

/* data.NAME decoded into the arena; "" when absent. */
static const char *secret_value(struct arena *a, const cJSON *secret, const char *name)
{
    const char *text = json_string(json_get(secret, "data"), name);
    autostrbuf struct strbuf value = STRBUF_EMPTY;
    struct error err;
    strbuf_init(&value, 1 << 16);
    if (!text || base64_decode(str_of(text), &value, &err) < 0)
        return "";
    return arena_strdup(a, strbuf_str(&value));
}

static bool bootstrap_is_valid(
    struct auth *auth, struct arena *a, const cJSON *secret, struct str token)
{
    const char *expiration = secret_value(a, secret, "expiration");
    int64_t expires_ns;
    struct error err;
    return c_eq(json_string(secret, "type"), "bootstrap.kubernetes.io/token") &&
           same_secret(str_range(token.p, 6), secret_value(a, secret, "token-id")) &&
           same_secret(str_range(token.p + 7, 16), secret_value(a, secret, "token-secret")) &&
           c_eq(secret_value(a, secret, "usage-bootstrap-authentication"), "true") &&
           !json_string_at(secret, "metadata.deletionTimestamp") &&
           (!*expiration || (time_parse(str_of(expiration), &expires_ns, &err) == 0 &&
                                expires_ns > env_wall_ns(auth->config.env)));
}

static bool check_bootstrap(
    struct auth *auth, struct arena *a, struct str token, struct identity *ret)
{
    if (!auth->config.bootstrap_tokens || !looks_like_bootstrap(token))
        return false;
    const struct resource *secrets = api_find_plural(auth->config.api, "", "secrets");
    char *name = arena_printf(a, "bootstrap-token-%.6s", token.p);
    struct object *o = cache_get(auth->config.cache, secrets, STR("kube-system"), str_of(name));
    if (!o)
        return false;
    autojson cJSON *secret = object_tree(o);
    object_unref(o);
    if (!bootstrap_is_valid(auth, a, secret, token))
        return false;
    *ret = (struct identity){.name = arena_printf(a, "system:bootstrap:%.6s", token.p), .uid = ""};
    identity_add_group(ret, a, BOOTSTRAP_GROUP);
    struct str groups = str_of(secret_value(a, secret, "auth-extra-groups")), group;
    while (groups.n && str_split(&groups, ',', &group))
        if (str_starts(group, STR(BOOTSTRAP_GROUP ":")))
            identity_add_group(ret, a, arena_strdup(a, group));
    return true;
}

const char **tokens_common_audiences(
    struct arena *a, const char *const *has, const char *const *wanted)
{
    size_t count = 0, n = 0;
    while (wanted[count])
        count++;
    const char **common = arena_new_array(a, const char *, count + 1);
    for (size_t i = 0; i < count; i++)
        for (const char *const *h = has; *h; h++)
            if (c_eq(*h, wanted[i])) {
                common[n++] = wanted[i];
                break;
            }
    return common;
}

/* Who a JWT belongs to: 0 and what it says, 1: later; -ERR_UNAUTHORIZED, *ret_ours: whoever else is
 * asked could not know better. */
static int verify_jwt(struct auth *auth, const struct settings *s, struct str token,
    struct request *waiter, struct verified **ret, bool *ret_ours, struct error *err)
{
    autojson cJSON *claims = jwks_peek(token);
    const char *issuer = json_string(claims, "iss");
    *ret_ours = true;
    if (issuer && auth->keys && c_eq(issuer, auth->config.issuer))
        return service_account_verify(auth, token, ret, err);
    for (size_t i = 0; issuer && i < s->issuer_count; i++) {
        if (!c_eq(issuer, oidc_issuer(s->issuers[i])))
            continue;
        int result = oidc_verify(s->issuers[i], token, waiter, ret, err);
        if (result == 0)
            (*ret)->generation = s->generation;
        return result;
    }
    *ret_ours = false;
    return error_set(
        err, ERR_UNAUTHORIZED, issuer ? "the token is from another issuer" : "unknown token");
}

static int check_others(struct auth *auth, const struct settings *s, struct arena *a,
    struct str token, const char *const *audiences, struct request *waiter, struct identity *ret,
    const char ***ret_audiences, struct error *err)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    bool ours;
    verified_hash(token, hash);
    struct verified *v = verified_find(auth, hash);
    if (v && v->generation && v->generation != s->generation) {
        verified_unref(v);
        v = NULL;
    }
    bool fresh = !v;
    bool is_login = waiter && !waiter->identity.name && waiter->peer_address;
    if (fresh && is_login && !login_may_try(auth, waiter->peer_address))
        return error_set(err, ERR_TOO_MANY_REQUESTS, "too many wrong tokens from this address");
    int result = v ? 0 : verify_jwt(auth, s, token, waiter, &v, &ours, err);
    if (result < 0 && !ours && s->token_webhook) {
        *ret_audiences = NULL;
        result =
            webhook_token(s->token_webhook, a, token, audiences, waiter, ret, ret_audiences, err);
        if (result < 0 && is_login)
            login_failed(auth, waiter->peer_address);
        return result;
    }
    if (result < 0 && is_login)
        login_failed(auth, waiter->peer_address);
    if (result != 0)
        return result;
    if (fresh)
        verified_remember(auth, v, hash);
    result = verified_use(auth, v, a, audiences, ret, ret_audiences, err);
    verified_unref(v);
    return result;
}

int auth_token(struct auth *auth, struct arena *a, struct str token, const char *const *audiences,
    struct request *waiter, struct identity *ret, const char ***ret_audiences, struct error *err)
{
    const char *const own[] = {auth->config.issuer, NULL};
    const char *const *wanted = audiences ? audiences : own;
    struct identity who;
    const char **common = NULL;
    int result = 0;
    if (check_static(auth, a, token, &who) || check_bootstrap(auth, a, token, &who)) {
        identity_add_group(&who, a, "system:authenticated");
    } else {
        struct settings *s = auth_settings(auth);
        result = check_others(auth, s, a, token, wanted, waiter, &who, &common, err);
        auth_settings_done(auth, s);
    }
    if (result != 0)
        return result;
    if (!common) /* it knows of no audiences: the API server's alone */
        common = tokens_common_audiences(a, own, wanted);
    if (!*common)
        return error_set(err, ERR_UNAUTHORIZED, "the token is for another audience");
    *ret = who;
    if (ret_audiences)
        *ret_audiences = common;
    return 0;
}
