/*
 * Webhooks that say who a token belongs to (TokenReview) and whether a request is allowed
 * (SubjectAccessReview).
 *
 * Answers are remembered for as long as configured; a failure for a second, so that a webhook that
 * hangs is not asked by every request. No redirect is followed. Threads: any loop; calls run on
 * tasks of the remote. Upstream: apiserver/plugin/pkg/{authenticator/token,authorizer}/webhook.
 */
#include "apiserver/auth/internal.h"
#include "apiserver/auth/remote.h"
#include "apiserver/auth/settings.h"
#include "common/kubeconfig.h"
#include "common/log.h"
#include "common/time.h"

#define IN_FLIGHT_MAX 16
#define ENTRIES_MAX 10000
#define RESPONSE_BYTES_MAX (1u << 20)

struct webhook {
    struct webhook_config config; /* without its texts */
    char *name, *version, *path;  /* of its URL, with the query */
    struct http_client *client;
    struct remote *remote;
};

/* --- the call --- */

static int post(struct webhook *w, const char *text, struct http_canceller *canceller, cJSON **ret,
    struct error *err)
{
    static const struct http_header json[] = {
        {"Content-Type", "application/json"}, {"Accept", "application/json"}};
    struct http_response response;
    http_response_init(&response);
    struct http_request request = {.method = "POST",
        .path = w->path,
        .headers = json,
        .header_count = ARRAY_COUNT(json),
        .body = str_of(text),
        .timeout_ns = w->config.timeout_ns,
        .response_limit = RESPONSE_BYTES_MAX,
        .canceller = canceller};
    int result = http_do(w->client, &request, &response, err);
    if (result == 0 && (response.status < 200 || response.status > 299))
        result = error_set(err, ERR_UNAVAILABLE, "it answered %d", response.status);
    if (result == 0)
        result = json_parse(strbuf_str(&response.body), ret, err);
    http_response_done(&response);
    return result;
}

static void call(
    void *arg, const char *question, struct http_canceller *canceller, struct remote_answer *ret)
{
    struct webhook *w = arg;
    autojson cJSON *tree = NULL;
    ret->result = post(w, question, canceller, &tree, &ret->err);
    if (ret->result == 0 && !cJSON_IsObject(json_get(tree, "status")))
        ret->result = error_set(&ret->err, ERR_UNAVAILABLE, "its answer has no status");
    if (ret->result < 0) {
        log_warning("webhook failed", "webhook", "%s", w->name, "error", "%s", ret->err.text, NULL);
        return;
    }
    const cJSON *status = json_get(tree, "status");
    bool good = json_bool(status, "allowed", false) || json_bool(status, "authenticated", false);
    ret->keep_ns = good ? w->config.good_ttl_ns : w->config.bad_ttl_ns;
    ret->tree = cJSON_Duplicate(status, true);
}

/* --- making and ending --- */

int webhook_new(
    struct env *env, const struct webhook_config *config, struct webhook **ret, struct error *err)
{
    struct kubeconfig kubeconfig;
    int result = config->kubeconfig ? kubeconfig_load(config->kubeconfig, NULL, &kubeconfig, err)
                                    : kubeconfig_in_cluster(&kubeconfig, err);
    if (result < 0)
        return result;
    struct webhook *w = xcalloc(1, sizeof(*w));
    w->config = *config;
    w->name = xstrdup(config->name);
    w->version = xstrdup(config->version);
    char *slash = kubeconfig.server ? strstr(kubeconfig.server, "://") : NULL;
    slash = slash ? strchr(slash + 3, '/') : NULL;
    w->path = xstrdup(slash ? slash : "/");
    if (slash)
        *slash = '\0';
    struct http_client_config client = kubeconfig_client_config(&kubeconfig, "skiff-apiserver");
    client.connections_max = IN_FLIGHT_MAX;
    result = http_client_new(env, &client, &w->client, err);
    kubeconfig_done(&kubeconfig);
    if (result < 0) {
        webhook_free(w);
        return result;
    }
    struct remote_config remote = {.env = env,
        .name = "webhook",
        .call = call,
        .arg = w,
        .in_flight_max = IN_FLIGHT_MAX,
        .entries_max = ENTRIES_MAX};
    w->remote = remote_new(&remote);
    *ret = w;
    return 0;
}

void webhook_free(struct webhook *w)
{
    if (!w)
        return;
    remote_free(w->remote);
    http_client_free(w->client);
    free(w->name);
    free(w->version);
    free(w->path);
    free(w);
}

static int ask(
    struct webhook *w, cJSON *take_question, struct request *waiter, cJSON **ret, struct error *err)
{
    autojson cJSON *question = take_question;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    unsigned char key[REMOTE_KEY_BYTES];
    json_print(question, &text);
    remote_key(text.data, key);
    return remote_ask(w->remote, key, text.data, waiter, ret, err);
}

static cJSON *texts(const char *const *values)
{
    cJSON *array = cJSON_CreateArray();
    for (; values && *values; values++)
        cJSON_AddItemToArray(array, cJSON_CreateString(*values));
    return array;
}

static const char **arena_texts(struct arena *a, const cJSON *array)
{
    const char **out = arena_new_array(a, const char *, (size_t)cJSON_GetArraySize(array) + 1);
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item))
            out[n++] = arena_strdup(a, str_of(item->valuestring));
    }
    return out;
}

/* --- TokenReview --- */

static int read_user(struct arena *a, const cJSON *user, struct identity *ret, struct error *err)
{
    const char *name = json_string(user, "username"), *uid = json_string(user, "uid");
    const cJSON *item;
    if (!name || !*name)
        return error_set(err, ERR_UNAUTHORIZED, "the webhook named no user");
    *ret = (struct identity){
        .name = arena_strdup(a, str_of(name)), .uid = arena_strdup(a, str_of(uid ? uid : ""))};
    cJSON_ArrayForEach(item, json_get(user, "groups"))
    {
        if (cJSON_IsString(item))
            identity_add_group(ret, a, item->valuestring);
    }
    identity_add_group(ret, a, "system:authenticated");
    cJSON_ArrayForEach(item, json_get(user, "extra"))
    {
        if (ret->extra_count == ARRAY_COUNT(ret->extra))
            break;
        ret->extra[ret->extra_count].key = arena_strdup(a, str_of(item->string));
        ret->extra[ret->extra_count++].values = arena_texts(a, item);
    }
    return 0;
}

int webhook_token(struct webhook *w, struct arena *a, struct str token,
    const char *const *audiences, struct request *waiter, struct identity *ret,
    const char ***ret_audiences, struct error *err)
{
    autofree char *text = str_dup(token);
    autojson cJSON *status = NULL;
    cJSON *question =
        json_make("{\"apiVersion\":\"authentication.k8s.io/%s\",\"kind\":\"TokenReview\","
                  "\"metadata\":{\"creationTimestamp\":null},\"spec\":{},\"status\":{\"user\":{}}}",
            w->version);
    json_set_string(json_get(question, "spec"), "token", text);
    json_set(json_get(question, "spec"), "audiences", texts(audiences));
    int result = ask(w, question, waiter, &status, err);
    if (result == 1)
        return 1;
    if (result < 0)
        return error_set(err, ERR_UNAUTHORIZED, "the webhook failed");
    if (!json_bool(status, "authenticated", false))
        return error_set(err, ERR_UNAUTHORIZED, "the webhook does not know the token");
    const cJSON *list = json_get(status, "audiences");
    *ret_audiences =
        cJSON_GetArraySize(list) > 0
            ? tokens_common_audiences(a, (const char *const *)arena_texts(a, list), audiences)
            : NULL;
    return read_user(a, json_get(status, "user"), ret, err);
}

/* --- SubjectAccessReview --- */

static void set_given(cJSON *object, const char *name, const char *value)
{
    if (value && *value)
        json_set_string(object, name, value);
}

static cJSON *access_question(
    const struct webhook *w, const struct identity *who, const struct access_attributes *what)
{
    cJSON *question = json_make(
        "{\"apiVersion\":\"authorization.k8s.io/%s\",\"kind\":\"SubjectAccessReview\","
        "\"metadata\":{\"creationTimestamp\":null},\"spec\":{},\"status\":{\"allowed\":false}}",
        w->version);
    cJSON *spec = json_get(question, "spec"), *on = cJSON_CreateObject();
    set_given(on, "verb", what->verb);
    if (what->path) {
        set_given(on, "path", what->path);
    } else {
        set_given(on, "namespace", what->namespace_);
        set_given(on, "group", what->group);
        set_given(on, "version", what->version);
        set_given(on, "resource", what->resource);
        set_given(on, "subresource", what->subresource);
        set_given(on, "name", what->name);
    }
    json_set(spec, what->path ? "nonResourceAttributes" : "resourceAttributes", on);
    set_given(spec, "user", who->name);
    set_given(spec, "uid", who->uid);
    /* v1beta1 says "group" */
    if (who->groups && *who->groups)
        json_set(spec, c_eq(w->version, "v1") ? "groups" : "group",
            texts((const char *const *)who->groups));
    for (size_t i = 0; i < who->extra_count; i++) {
        if (!json_get(spec, "extra"))
            json_set(spec, "extra", cJSON_CreateObject());
        json_set(json_get(spec, "extra"), who->extra[i].key,
            texts((const char *const *)who->extra[i].values));
    }
    return question;
}

enum opinion webhook_access(struct webhook *w, const struct identity *who,
    const struct access_attributes *what, struct request *waiter, struct strbuf *reason)
{
    autojson cJSON *status = NULL;
    struct error err;
    int result = ask(w, access_question(w, who, what), waiter, &status, &err);
    if (result == 1)
        return OPINION_LATER;
    if (result < 0) {
        if (reason && !w->config.fail_open)
            strbuf_addf(reason, "webhook %s failed", w->name);
        return w->config.fail_open ? OPINION_NONE : OPINION_DENY;
    }
    const char *text = json_string(status, "reason");
    bool allowed = json_bool(status, "allowed", false), denied = json_bool(status, "denied", false);
    if (reason && text && (allowed || denied))
        strbuf_addc(reason, text);
    if (allowed && !denied)
        return OPINION_ALLOW;
    return denied ? OPINION_DENY : OPINION_NONE;
}
