/*
 * Controller "serviceaccount-token": fills Secrets of type kubernetes.io/service-account-token with
 * a token of the account that their annotation names, the CA and the namespace; deletes those whose
 * account is gone.
 *
 * The token comes from the API server's TokenRequest, bound to the Secret: it dies with it. It is
 * valid for ten years, since nothing renews what lies in a Secret; pods use projected tokens
 * instead.
 *
 * Upstream: pkg/controller/serviceaccount/tokens_controller.go (which signs by itself, without an
 * end).
 */
#include "common/base64.h"
#include "common/file.h"
#include "common/log.h"
#include "controller/controller.h"
#include "controller/manager.h"

#define ACCOUNT_NAME "kubernetes.io/service-account.name"
#define ACCOUNT_UID "kubernetes.io/service-account.uid"
#define VALID_S "315360000"
#define CA_BYTES_MAX (256u << 10)

static void add_data(cJSON *patch, const char *key, struct str value)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    base64_encode(value, &text);
    if (!json_get(patch, "data"))
        json_set(patch, "data", cJSON_CreateObject());
    json_set_string(json_get(patch, "data"), key, text.data);
    if (text.n)
        explicit_bzero(text.data, text.n);
    strbuf_done(&text);
}

static int request_token(struct controller *c, const struct token_secret *secret,
    const char *account, cJSON *patch, struct error *err)
{
    struct api_ref ref = {.group_version = "v1",
        .plural = "serviceaccounts",
        .namespace_ = secret->meta.namespace_,
        .name = account,
        .subresource = "token"};
    autojson cJSON *request =
        json_make("{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenRequest\","
                  "\"spec\":{\"audiences\":[],\"expirationSeconds\":" VALID_S
                  ",\"boundObjectRef\":{\"apiVersion\":\"v1\",\"kind\":\"Secret\","
                  "\"name\":\"%s\",\"uid\":\"%s\"}}}",
            secret->meta.name, secret->meta.uid);
    autojson cJSON *answer = NULL;

    if (api_call(manager_client(c->m), "POST", &ref, NULL, request, &answer, err) < 0)
        return error_wrap(err, "token of %s/%s", secret->meta.namespace_, account);
    const char *token = json_string_at(answer, "status.token");
    if (!token)
        return error_set(err, ERR_BAD_GATEWAY, "the answer to a token request holds no token");
    add_data(patch, "token", str_of(token));
    return 0;
}

static int add_ca(struct controller *c, cJSON *patch, struct error *err)
{
    autostrbuf struct strbuf pem;
    const char *file = manager_config(c->m)->root_ca_file;

    strbuf_init(&pem, CA_BYTES_MAX);
    if (!file || !*file)
        return 0;
    if (file_read(file, CA_BYTES_MAX, &pem, err) < 0)
        return error_wrap(err, "--root-ca-file");
    add_data(patch, "ca.crt", strbuf_str(&pem));
    return 0;
}

static int fill(struct controller *c, const struct token_secret *secret,
    const struct service_account *account, struct error *err)
{
    autojson cJSON *patch = cJSON_CreateObject();
    cJSON *annotations = cJSON_CreateObject();

    json_set_string(annotations, ACCOUNT_UID, account->meta.uid);
    json_set_at(patch, "metadata.annotations", annotations);
    if (request_token(c, secret, account->meta.name, patch, err) < 0 || add_ca(c, patch, err) < 0)
        return -(int)err->code;
    add_data(patch, "namespace", str_of(secret->meta.namespace_));
    int r = object_patch(c->m, KIND_TOKEN_SECRET, &secret->meta, NULL, steal(&patch), err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct token_secret *secret = kind_get_key(c->m, KIND_TOKEN_SECRET, key);
    const char *name = secret ? string_map_get(&secret->meta.annotations, ACCOUNT_NAME) : NULL;
    const char *uid = secret ? string_map_get(&secret->meta.annotations, ACCOUNT_UID) : NULL;

    if (!name || secret->meta.deletion_ns)
        return 0;
    auto_object const struct service_account *account =
        kind_get(c->m, KIND_SERVICE_ACCOUNT, secret->meta.namespace_, name);
    if (account && (!uid || !strcmp(uid, account->meta.uid)))
        return secret->has_token && uid ? 0 : fill(c, secret, account, err);
    struct api_ref ref = {.group_version = "v1",
        .plural = "serviceaccounts",
        .namespace_ = secret->meta.namespace_,
        .name = name};
    autojson cJSON *live = NULL;
    int r = api_get(manager_client(c->m), &ref, &live, err);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return r;
    if (live && (!uid || c_eq(json_string_at(live, "metadata.uid"), uid)))
        return 0; /* the account's event is on its way, and brings this key again */
    log_info("deleting a token Secret whose account is gone", "secret", "%s", key, NULL);
    return object_delete(c->m, KIND_TOKEN_SECRET, &secret->meta, NULL, err);
}

static void on_account(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *account = new_object ? new_object : old_object;

    if (old_object && new_object)
        return;
    auto_objects struct projected_array secrets =
        kind_list(c->m, KIND_TOKEN_SECRET, account->namespace_);
    for (size_t i = 0; i < secrets.count; i++) {
        const struct object_meta *secret = secrets.objects[i];
        if (c_eq(string_map_get(&secret->annotations, ACCOUNT_NAME), account->name))
            controller_add(c, secret);
    }
}

const struct controller_info controller_token_secret = {
    .name = "serviceaccount-token-controller",
    .component = "serviceaccount-token-controller",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_TOKEN_SECRET, controller_on_object}, {KIND_SERVICE_ACCOUNT, on_account}},
    .reconcile = reconcile,
};
