/*
 * Delegated authentication and authorization: see delegated_auth.h.
 *
 * Two small rings of remembered answers, found by linear search over 32-byte digests; both live
 * under one lock, which is not held during API calls (two tasks may ask the same question at once;
 * the answers agree).
 */
#include "common/delegated_auth.h"

#include <openssl/sha.h>
#include <strings.h>

#include "common/time.h"

#define KEPT_NS (10 * NS_PER_S)
#define KEPT_COUNT 64

struct answer {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    int64_t until_ns; /* 0: empty */
    int result;       /* 0 or -ERR_... */
    char
        *text; /* tokens: the user as JSON {username, uid, groups, extra}; decisions: the refusal */
};

struct memory {
    struct answer answers[KEPT_COUNT];
    size_t next;
};

struct delegated_auth {
    struct api_client *client;
    struct env *env;
    struct lock lock;
    struct memory users, decisions;
};

struct delegated_auth *delegated_auth_new(struct api_client *client)
{
    struct delegated_auth *a = xcalloc(1, sizeof(*a));

    a->client = client;
    a->env = api_client_env(client);
    env_lock_init(&a->lock);
    return a;
}

void delegated_auth_free(struct delegated_auth *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < KEPT_COUNT; i++) {
        free(a->users.answers[i].text);
        free(a->decisions.answers[i].text);
    }
    env_lock_done(&a->lock);
    free(a);
}

/* True with the result and a copy of the text when the question was answered lately. */
static bool recall(struct delegated_auth *a, struct memory *m, const unsigned char *digest,
    int *ret_result, char **ret_text)
{
    bool found = false;
    int64_t now = env_now_ns(a->env);

    env_lock(a->env, &a->lock);
    for (size_t i = 0; i < KEPT_COUNT && !found; i++) {
        struct answer *x = &m->answers[i];
        if (x->until_ns > now && !memcmp(x->digest, digest, sizeof(x->digest))) {
            *ret_result = x->result;
            *ret_text = xstrdup(x->text);
            found = true;
        }
    }
    env_unlock(a->env, &a->lock);
    return found;
}

static void keep(struct delegated_auth *a, struct memory *m, const unsigned char *digest,
    int result, const char *text)
{
    env_lock(a->env, &a->lock);
    struct answer *x = &m->answers[m->next++ % KEPT_COUNT];
    free(x->text);
    memcpy(x->digest, digest, sizeof(x->digest));
    x->result = result;
    x->text = xstrdup(text);
    x->until_ns = env_now_ns(a->env) + KEPT_NS;
    env_unlock(a->env, &a->lock);
}

static void digest_of(struct str text, unsigned char *digest)
{
    SHA256((const unsigned char *)text.p, text.n, digest);
}

static cJSON *user_of_certificate(const char *name, const char *groups)
{
    cJSON *user = cJSON_CreateObject(), *list = cJSON_CreateArray();
    struct str rest = str_of(groups), group;

    json_set_string(user, "username", name);
    while (rest.n && str_split(&rest, ',', &group)) {
        autofree char *copy = str_dup(group);
        cJSON_AddItemToArray(list, cJSON_CreateString(copy));
    }
    cJSON_AddItemToArray(list, cJSON_CreateString("system:authenticated"));
    json_set(user, "groups", list);
    return user;
}

static int review_token(
    struct delegated_auth *a, struct str token, struct strbuf *ret_user, struct error *err)
{
    autofree char *copy = str_dup(token);
    autojson cJSON *review = cJSON_CreateObject(), *answer = NULL;
    struct api_ref ref = {.group_version = "authentication.k8s.io/v1", .plural = "tokenreviews"};

    json_set_string(review, "apiVersion", "authentication.k8s.io/v1");
    json_set_string(review, "kind", "TokenReview");
    json_set_string_at(review, "spec.token", copy);
    int r = api_create(a->client, &ref, review, &answer, err);
    explicit_bzero(copy, token.n);
    if (r < 0)
        return error_wrap(err, "token review");
    cJSON *user = json_path(answer, "status.user");
    if (!json_bool(json_get(answer, "status"), "authenticated", false) || !user)
        return error_set(err, ERR_UNAUTHORIZED, "Unauthorized");
    json_print(user, ret_user);
    return 0;
}

static int user_of_token(
    struct delegated_auth *a, struct str token, cJSON **ret_user, struct error *err)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    autofree char *kept = NULL;
    autostrbuf struct strbuf fresh;
    int r;

    strbuf_init(&fresh, 0);
    digest_of(token, digest);
    if (!recall(a, &a->users, digest, &r, &kept)) {
        r = review_token(a, token, &fresh, err);
        if (r < 0 && r != -ERR_UNAUTHORIZED)
            return r;
        keep(a, &a->users, digest, r, fresh.data);
        kept = xstrdup(fresh.data);
    }
    if (r < 0)
        return error_set(err, ERR_UNAUTHORIZED, "Unauthorized");
    return json_parse(str_of(kept), ret_user, err);
}

static int authenticate(
    struct delegated_auth *a, struct httpd_request *request, cJSON **ret_user, struct error *err)
{
    const char *name = httpd_peer_name(request);
    struct str header = http1_header(httpd_head(request), "Authorization");

    if (name && *name) {
        *ret_user = user_of_certificate(name, httpd_peer_groups(request));
        return 0;
    }
    if (header.n > 7 && !strncasecmp(header.p, "Bearer ", 7))
        return user_of_token(a, str_trim(str_range(header.p + 7, header.n - 7)), ret_user, err);
    return error_set(err, ERR_UNAUTHORIZED, "Unauthorized");
}

static bool is_master(const cJSON *user)
{
    const cJSON *group;

    cJSON_ArrayForEach(group,
        json_get(user, "groups")) if (cJSON_IsString(group) &&
                                      !strcmp(group->valuestring, "system:masters")) return true;
    return false;
}

static const char *verb_of_method(struct str method)
{
    static const struct {
        const char *method, *verb;
    } verbs[] = {{"GET", "get"}, {"HEAD", "get"}, {"POST", "create"}, {"PUT", "update"},
        {"PATCH", "patch"}, {"DELETE", "delete"}};

    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        if (str_eqc(method, verbs[i].method))
            return verbs[i].verb;
    return "get";
}

static void set_if(cJSON *object, const char *name, const char *value)
{
    if (value && *value)
        json_set_string(object, name, value);
}

static cJSON *access_review(
    const cJSON *user, struct httpd_request *request, const struct delegated_attributes *attributes)
{
    cJSON *spec = cJSON_CreateObject(), *what = cJSON_CreateObject();
    const char *verb = verb_of_method(httpd_head(request)->method);
    static const char *const copied[][2] = {
        {"username", "user"}, {"uid", "uid"}, {"groups", "groups"}, {"extra", "extra"}};

    for (size_t i = 0; i < ARRAY_COUNT(copied); i++) {
        cJSON *value = json_get(user, copied[i][0]);
        if (value)
            json_set(spec, copied[i][1], cJSON_Duplicate(value, true));
    }
    json_set_string(what, "verb", attributes && attributes->verb ? attributes->verb : verb);
    if (attributes) {
        set_if(what, "group", attributes->group);
        set_if(what, "resource", attributes->resource);
        set_if(what, "subresource", attributes->subresource);
        set_if(what, "namespace", attributes->namespace_);
        set_if(what, "name", attributes->name);
        json_set(spec, "resourceAttributes", what);
    } else {
        autofree char *path = str_dup(httpd_path(request));
        json_set_string(what, "path", path);
        json_set(spec, "nonResourceAttributes", what);
    }
    cJSON *review = cJSON_CreateObject();
    json_set_string(review, "apiVersion", "authorization.k8s.io/v1");
    json_set_string(review, "kind", "SubjectAccessReview");
    json_set(review, "spec", spec);
    return review;
}

/* "Forbidden (user=alice, verb=get, resource=nodes, subresource=log)", as the kubelet says it. */
static int refusal(const cJSON *review, struct error *err)
{
    const cJSON *spec = json_get(review, "spec"), *what = json_get(spec, "resourceAttributes");
    const char *subresource = what ? json_string(what, "subresource") : NULL;
    const char *user = json_string(spec, "user");

    user = user ? user : "";
    if (!what) {
        what = json_get(spec, "nonResourceAttributes");
        return error_set(err, ERR_FORBIDDEN, "forbidden: User \"%s\" cannot %s path \"%s\"", user,
            json_string(what, "verb"), json_string(what, "path"));
    }
    return error_set(err, ERR_FORBIDDEN,
        "Forbidden (user=%s, verb=%s, resource=%s, subresource=%s)", user,
        json_string(what, "verb"), json_string(what, "resource"), subresource ? subresource : "");
}

static int authorize(struct delegated_auth *a, const cJSON *review, struct error *err)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    autostrbuf struct strbuf text;
    autojson cJSON *answer = NULL;
    autofree char *kept = NULL;
    struct api_ref ref = {
        .group_version = "authorization.k8s.io/v1", .plural = "subjectaccessreviews"};
    int r;

    strbuf_init(&text, 0);
    json_print(review, &text);
    digest_of(strbuf_str(&text), digest);
    if (!recall(a, &a->decisions, digest, &r, &kept)) {
        if (api_create(a->client, &ref, review, &answer, err) < 0)
            return error_wrap(err, "subject access review");
        r = json_bool(json_get(answer, "status"), "allowed", false) ? 0 : -ERR_FORBIDDEN;
        keep(a, &a->decisions, digest, r, "");
    }
    return r < 0 ? refusal(review, err) : 0;
}

int delegated_auth_check(struct delegated_auth *a, struct httpd_request *request,
    const struct delegated_attributes *attributes, struct error *err)
{
    autojson cJSON *user = NULL, *review = NULL;
    int r = authenticate(a, request, &user, err);

    if (r < 0)
        return r;
    if (is_master(user))
        return 0;
    review = access_review(user, request, attributes);
    return authorize(a, review, err);
}
