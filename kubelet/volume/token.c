/*
 * ServiceAccount tokens for projected volumes, from the TokenRequest subresource, bound to the pod.
 *
 * A token is kept with the pod's record and asked for again at 80 % of its life or after a day; a
 * token that still works is used when the API does not answer.
 *
 * Upstream: pkg/kubelet/token/token_manager.go.
 */
#include "kubelet/volume/volumes.h"

#include "common/time.h"

#define REFRESH_MAX_NS (24 * 3600 * NS_PER_S)

static struct volume_token *token_of(struct pod_record *record, const char *key)
{
    for (size_t i = 0; i < record->token_count; i++)
        if (c_eq(record->tokens[i].key, key))
            return &record->tokens[i];
    record->tokens =
        xrealloc(record->tokens, (record->token_count + 1) * sizeof(record->tokens[0]));
    struct volume_token *token = &record->tokens[record->token_count++];
    *token = (struct volume_token){.key = xstrdup(key)};
    return token;
}

static int request(struct sync *s, const cJSON *source, cJSON **ret, struct error *err)
{
    const char *account = json_string(s->spec, "serviceAccountName"),
               *audience = json_string(source, "audience");
    autojson cJSON *body =
        json_make("{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenRequest\","
                  "\"spec\":{\"audiences\":[],\"boundObjectRef\":{\"apiVersion\":\"v1\","
                  "\"kind\":\"Pod\"}}}");
    struct api_ref ref = {.group_version = "v1",
        .plural = "serviceaccounts",
        .namespace_ = s->record->namespace_,
        .name = account && account[0] ? account : "default",
        .subresource = "token"};

    if (audience && audience[0])
        cJSON_AddItemToArray(json_path(body, "spec.audiences"), cJSON_CreateString(audience));
    json_set_at(body, "spec.expirationSeconds",
        json_new_int64(json_int64_at(source, "expirationSeconds", 3600)));
    json_set_string_at(body, "spec.boundObjectRef.name", s->record->name);
    json_set_string_at(body, "spec.boundObjectRef.uid", s->record->uid);
    if (api_call(s->agent->api, "POST", &ref, NULL, body, ret, err) < 0)
        return error_wrap(err, "failed to fetch token");
    return 0;
}

static int64_t life_ns(const cJSON *answer, int64_t wall_ns)
{
    const char *end = json_string_at(answer, "status.expirationTimestamp");
    struct error err;
    int64_t end_ns;

    if (!end || time_parse(str_of(end), &end_ns, &err) < 0)
        return 600 * NS_PER_S;
    return end_ns - wall_ns;
}

int content_from_token(struct sync *s, const char *volume, const cJSON *source, int64_t mode,
    int64_t user, struct volume_content *content, struct error *err)
{
    const char *path = json_string(source, "path"), *audience = json_string(source, "audience");
    autofree char *key = str_format("%s/%s/%s", volume, path ? path : "", audience ? audience : "");
    struct volume_token *token = token_of(s->record, key);
    autojson cJSON *answer = NULL;

    if (!token->token || s->now_ns >= token->refresh_ns) {
        int r = request(s, source, &answer, err);
        const char *text = json_string_at(answer, "status.token");
        if (r < 0 && !token->token)
            return r;
        if (r == 0 && !text)
            return error_set(err, ERR_INTERNAL, "the API answered a token request without a token");
        if (r == 0) {
            int64_t refresh = life_ns(answer, s->wall_ns) / 10 * 8;
            free(token->token);
            token->token = xstrdup(text);
            token->refresh_ns = s->now_ns + (refresh < REFRESH_MAX_NS ? refresh : REFRESH_MAX_NS);
        }
    }
    return volume_content_add(
        content, path ? path : "token", str_of(token->token), (mode_t)mode, user, err);
}
