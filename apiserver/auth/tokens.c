/*
 * Bearer tokens: a static file, bootstrap tokens (Secrets), ServiceAccount tokens (JWTs).
 *
 * A ServiceAccount token's signature is checked once and then remembered by the SHA-256 of the
 * token (up to CACHE_ENTRIES; expired ones make room). What can be revoked is looked at every time,
 * in the cache of objects: the ServiceAccount's uid, and the pod, secret or node it is bound to.
 * Upstream: token/tokenfile, bootstrap token, pkg/serviceaccount.
 */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include "common/hash.h"

#include "apiserver/auth/internal.h"
#include "common/base64.h"
#include "common/file.h"
#include "common/time.h"

#define CACHE_ENTRIES 20000
#define BOOTSTRAP_GROUP "system:bootstrappers"

struct static_token {
    char *token, *user, *uid;
    char **groups; /* NULL ended */
};

struct verified_token {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    cJSON *claims;
    int64_t expires_ns; /* wall clock */
    UT_hash_handle hh;
};

struct token_cache {
    struct lock lock;
    struct verified_token *by_hash;
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

/* --- ServiceAccount tokens --- */

struct token_cache *token_cache_new(void)
{
    struct token_cache *c = xcalloc(1, sizeof(*c));
    env_lock_init(&c->lock);
    return c;
}

static void cache_drop(struct token_cache *c, struct verified_token *t)
{
    HASH_DEL(c->by_hash, t);
    cJSON_Delete(t->claims);
    free(t);
}

void token_cache_free(struct token_cache *c, struct env *env)
{
    struct verified_token *t, *next;
    (void)env;
    if (!c)
        return;
    HASH_ITER(hh, c->by_hash, t, next)
    cache_drop(c, t);
    env_lock_done(&c->lock);
    free(c);
}

static void cache_make_room(struct token_cache *c, int64_t now_ns)
{
    struct verified_token *t, *next;
    if (HASH_COUNT(c->by_hash) < CACHE_ENTRIES)
        return;
    HASH_ITER(hh, c->by_hash, t, next)
    if (t->expires_ns <= now_ns)
        cache_drop(c, t);
    HASH_ITER(hh, c->by_hash, t, next)
    { /* all still good: the oldest go */
        if (HASH_COUNT(c->by_hash) < CACHE_ENTRIES)
            break;
        cache_drop(c, t);
    }
}

/* A copy of the claims of a token whose signature is good, from the cache or by checking it. */
static int verified_claims(struct auth *auth, struct str token, cJSON **ret, struct error *err)
{
    struct env *env = auth->config.env;
    unsigned char hash[SHA256_DIGEST_LENGTH];
    struct verified_token *t;
    SHA256((const unsigned char *)token.p, token.n, hash);
    env_lock(env, &auth->verified->lock);
    HASH_FIND(hh, auth->verified->by_hash, hash, sizeof(hash), t);
    *ret = t ? cJSON_Duplicate(t->claims, true) : NULL;
    env_unlock(env, &auth->verified->lock);
    if (*ret)
        return 0;
    if (jwt_verify(auth->keys, token, ret, err) < 0)
        return -err->code;
    struct verified_token *fresh = xcalloc(1, sizeof(*fresh));
    memcpy(fresh->hash, hash, sizeof(hash));
    fresh->claims = cJSON_Duplicate(*ret, true);
    fresh->expires_ns = json_int64_at(*ret, "exp", 0) * NS_PER_S;
    env_lock(env, &auth->verified->lock);
    HASH_FIND(hh, auth->verified->by_hash, hash, sizeof(hash), t);
    if (t) {
        cJSON_Delete(fresh->claims);
        free(fresh);
    } else {
        cache_make_room(auth->verified, env_wall_ns(env));
        HASH_ADD(hh, auth->verified->by_hash, hash, sizeof(fresh->hash), fresh);
    }
    env_unlock(env, &auth->verified->lock);
    return 0;
}

static bool has_audience(const cJSON *claims, const char *audience)
{
    const cJSON *aud = json_get(claims, "aud"), *item;
    if (cJSON_IsString(aud) && c_eq(aud->valuestring, audience))
        return true;
    cJSON_ArrayForEach(item, aud)
    {
        if (cJSON_IsString(item) && c_eq(item->valuestring, audience))
            return true;
    }
    return false;
}

/* Which of the wanted audiences a token is for; claims NULL: one that knows none and is the API
 * server's alone. */
static const char **common_audiences(
    const struct auth *auth, struct arena *a, const cJSON *claims, const char *const *wanted)
{
    const char *own[] = {auth->config.issuer, NULL};
    size_t count = 0, n = 0;
    if (!wanted || !*wanted)
        wanted = own;
    while (wanted[count])
        count++;
    const char **common = arena_new_array(a, const char *, count + 1);
    for (size_t i = 0; i < count; i++)
        if (claims ? has_audience(claims, wanted[i]) : c_eq(wanted[i], auth->config.issuer))
            common[n++] = wanted[i];
    common[n] = NULL;
    return common;
}

/* How long the tokens of an object live on behind its deletionTimestamp, as upstream. */
#define DELETED_LEEWAY_NS (60 * NS_PER_S)

static bool is_long_deleted(const struct auth *auth, const struct object *o)
{
    int64_t deleted_ns;
    struct error err;
    if (!o->deleting)
        return false;
    autojson cJSON *tree = object_tree(o);
    const char *text = json_string_at(tree, "metadata.deletionTimestamp");
    return text && time_parse(str_of(text), &deleted_ns, &err) == 0 &&
           deleted_ns < env_wall_ns(auth->config.env) - DELETED_LEEWAY_NS;
}

/* Is there still an object of that kind, name and uid, and is it not long past its deletion? */
static bool still_exists(
    struct auth *auth, const char *plural, const char *namespace_, const cJSON *reference)
{
    const char *name = json_string(reference, "name"), *uid = json_string(reference, "uid");
    const struct resource *r = api_find_plural(auth->config.api, "", plural);
    struct object *o =
        name && r ? cache_get(auth->config.cache, r, str_of(namespace_), str_of(name)) : NULL;
    bool ok = o && (!uid || str_eqc(o->uid, uid)) && !is_long_deleted(auth, o);
    object_unref(o);
    return ok;
}

static int check_bindings(
    struct auth *auth, const cJSON *k8s, const char *namespace_, struct error *err)
{
    static const struct {
        const char *claim, *plural;
        bool namespaced;
    } bound[] = {{"serviceaccount", "serviceaccounts", true}, {"pod", "pods", true},
        {"secret", "secrets", true}, {"node", "nodes", false}};

    for (size_t i = 0; i < ARRAY_COUNT(bound); i++) {
        const cJSON *reference = json_get(k8s, bound[i].claim);
        bool only_for_pods =
            c_eq(bound[i].claim, "node") && json_get(k8s, "pod"); /* then it is just told */
        if (!reference || only_for_pods)
            continue;
        if (!still_exists(auth, bound[i].plural, bound[i].namespaced ? namespace_ : "", reference))
            return error_set(err, ERR_UNAUTHORIZED, "the token's %s is gone", bound[i].claim);
    }
    return 0;
}

static void fill_service_account(struct arena *a, const cJSON *claims, const cJSON *k8s,
    const char *namespace_, const char *name, struct identity *ret)
{
    const cJSON *pod = json_get(k8s, "pod"), *node = json_get(k8s, "node");
    const char *uid = json_string(json_get(k8s, "serviceaccount"), "uid");
    *ret = (struct identity){
        .name = arena_printf(a, "system:serviceaccount:%s:%s", namespace_, name),
        .uid = arena_strdup(a, str_of(uid)),
    };
    identity_add_group(ret, a, "system:serviceaccounts");
    identity_add_group(ret, a, arena_printf(a, "system:serviceaccounts:%s", namespace_));
    const char *id = json_string(claims, "jti");
    if (id)
        identity_add_extra(
            ret, a, "authentication.kubernetes.io/credential-id", arena_printf(a, "JTI=%s", id));
    identity_add_extra(ret, a, "authentication.kubernetes.io/node-name", json_string(node, "name"));
    identity_add_extra(ret, a, "authentication.kubernetes.io/node-uid", json_string(node, "uid"));
    identity_add_extra(ret, a, "authentication.kubernetes.io/pod-name", json_string(pod, "name"));
    identity_add_extra(ret, a, "authentication.kubernetes.io/pod-uid", json_string(pod, "uid"));
}

static int check_service_account(struct auth *auth, struct arena *a, struct str token,
    const char *const *audiences, struct identity *ret, const char ***ret_audiences,
    struct error *err)
{
    autojson cJSON *claims = NULL;
    if (verified_claims(auth, token, &claims, err) < 0)
        return -err->code;
    int64_t now_s = env_wall_ns(auth->config.env) / NS_PER_S;
    if (!c_eq(json_string(claims, "iss"), auth->config.issuer))
        return error_set(err, ERR_UNAUTHORIZED, "the token is from another issuer");
    if (json_int64_at(claims, "exp", 0) <= now_s)
        return error_set(err, ERR_UNAUTHORIZED, "the token has expired");
    if (json_int64_at(claims, "nbf", 0) > now_s)
        return error_set(err, ERR_UNAUTHORIZED, "the token is not valid yet");
    *ret_audiences = common_audiences(auth, a, claims, audiences);
    if (!**ret_audiences)
        return error_set(err, ERR_UNAUTHORIZED, "the token is for another audience");
    const cJSON *k8s = json_get(claims, "kubernetes.io");
    const char *namespace_ = json_string(k8s, "namespace");
    const char *name = json_string(json_get(k8s, "serviceaccount"), "name");
    if (!namespace_ || !name)
        return error_set(err, ERR_UNAUTHORIZED, "the token names no ServiceAccount");
    if (check_bindings(auth, k8s, namespace_, err) < 0)
        return -err->code;
    fill_service_account(a, claims, k8s, namespace_, name, ret);
    return 0;
}

int auth_token(struct auth *auth, struct arena *a, struct str token, const char *const *audiences,
    struct identity *ret, const char ***ret_audiences, struct error *err)
{
    struct identity who;
    const char **common = NULL;
    bool known = check_static(auth, a, token, &who) || check_bootstrap(auth, a, token, &who);
    if (known) {
        common = common_audiences(auth, a, NULL, audiences);
        if (!*common)
            return error_set(err, ERR_UNAUTHORIZED, "the token is for another audience");
    } else {
        if (!memchr(token.p, '.', token.n) || !auth->keys)
            return error_set(err, ERR_UNAUTHORIZED, "unknown token");
        if (check_service_account(auth, a, token, audiences, &who, &common, err) < 0)
            return -err->code;
    }
    identity_add_group(&who, a, "system:authenticated");
    *ret = who;
    if (ret_audiences)
        *ret_audiences = common;
    return 0;
}
