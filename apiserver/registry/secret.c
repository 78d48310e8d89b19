/*
 * Secrets: stringData becomes data, each type needs its keys, and immutable ones keep their
 * content.
 *
 * Upstream: registry/core/secret, apis/core/validation (ValidateSecret).
 */
#include "apiserver/registry/immutable.h"
#include "apiserver/registry/registry.h"
#include "common/base64.h"

static void secret_prepare(struct write_context *w)
{
    cJSON *strings = json_get(w->tree, "stringData"), *item;
    if (!strings)
        return;
    cJSON_ArrayForEach(item, strings)
    {
        struct strbuf encoded;
        if (!cJSON_IsString(item))
            continue;
        if (!json_get(w->tree, "data"))
            json_set(w->tree, "data", cJSON_CreateObject());
        strbuf_init(&encoded, 0);
        base64_encode(str_of(item->valuestring), &encoded);
        json_set_string(json_get(w->tree, "data"), item->string, encoded.data);
        strbuf_done(&encoded);
    }
    json_remove(w->tree, "stringData");
}

static const struct {
    const char *type, *keys[2];
    bool any; /* one of the keys is enough */
} types[] = {
    {"kubernetes.io/dockercfg", {".dockercfg"}, false},
    {"kubernetes.io/dockerconfigjson", {".dockerconfigjson"}, false},
    {"kubernetes.io/basic-auth", {"username", "password"}, true},
    {"kubernetes.io/ssh-auth", {"ssh-privatekey"}, false},
    {"kubernetes.io/tls", {"tls.crt", "tls.key"}, false},
};

static void check_keys(const struct write_context *w, size_t row, struct field_errors *errors)
{
    const cJSON *data = json_get(w->tree, "data");
    size_t missing = 0, count = 0;
    for (; count < 2 && types[row].keys[count]; count++)
        missing += !json_get(data, types[row].keys[count]);
    if (missing == 0 || (types[row].any && missing < count))
        return;
    for (size_t i = 0; i < count; i++) {
        char path[64];
        snprintf(path, sizeof(path), "data[%s]", types[row].keys[i]);
        if (!json_get(data, types[row].keys[i]))
            field_error_add(errors, FIELD_REQUIRED, path, NULL, "%s", "");
    }
}

static void check_size(const cJSON *data, const char *path, struct field_errors *errors)
{
    const cJSON *item;
    size_t total = 0;
    cJSON_ArrayForEach(item, data) total += cJSON_IsString(item) ? strlen(item->valuestring) : 0;
    if (total / 4 * 3 > 1 << 20)
        field_error_add(
            errors, FIELD_TOO_LONG, path, NULL, "may not be more than %d bytes", 1 << 20);
}

static void secret_validate(const struct write_context *w, struct field_errors *errors)
{
    const char *type = json_string(w->tree, "type");
    static const char *const content[] = {"data", NULL};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        if (c_eq(type, types[i].type))
            check_keys(w, i, errors);
    if (c_eq(type, "kubernetes.io/service-account-token") &&
        !json_string(
            json_path(w->tree, "metadata.annotations"), "kubernetes.io/service-account.name"))
        field_error_add(errors, FIELD_REQUIRED,
            "metadata.annotations[kubernetes.io/service-account.name]", NULL, "%s", "");
    check_size(json_get(w->tree, "data"), "data", errors);
    if (w->kind != WRITE_UPDATE)
        return;
    if (!c_eq(type, json_string(w->old, "type"))) {
        char value[300];
        snprintf(value, sizeof(value), "\"%s\"", type ? type : "");
        field_error_add(errors, FIELD_INVALID, "type", value, "field is immutable");
    }
    immutable_validate(w, content, errors);
}

const struct strategy strategy_secret = {
    .group = "",
    .plural = "secrets",
    .prepare = secret_prepare,
    .validate = secret_validate,
};
