/*
 * Volumes whose content comes from the API: configMap, secret, downwardAPI, projected.
 *
 * Upstream: pkg/volume/configmap, secret, downwardapi, projected.
 */
#include "kubelet/volume/volumes.h"

#include "common/base64.h"
#include "common/time.h"
#include "kubelet/files.h"

#define MODE_DEFAULT 0644

static int64_t mode_or(const cJSON *object, const char *name, int64_t otherwise)
{
    return json_int64_at(object, name, otherwise);
}

static int get(struct sync *s, const char *plural, const char *name, bool optional,
    struct shared_tree **ret, struct error *err)
{
    int64_t recent = s->now_ns - 5 * NS_PER_S;

    *ret = NULL;
    if (s->record->first_seen_ns > recent)
        recent = s->record->first_seen_ns;
    int r = objects_get(s->agent->objects, plural, s->record->namespace_, name, recent, ret, err);
    if (r == -ERR_NOT_FOUND && optional)
        return 0;
    if (r == -ERR_NOT_FOUND)
        return error_set(err, ERR_NOT_FOUND, "%s \"%s\" not found",
            c_eq(plural, "secrets") ? "secret" : "configmap", name);
    return r;
}

static int add_value(const cJSON *value, bool encoded, const char *path, int64_t mode,
    struct volume_content *content, struct error *err)
{
    autostrbuf struct strbuf plain = STRBUF_EMPTY;
    struct str data = str_of(cJSON_GetStringValue(value));

    strbuf_init(&plain, 0);
    if (encoded) {
        if (base64_decode(data, &plain, err) < 0)
            return -err->code;
        data = strbuf_str(&plain);
    }
    return volume_content_add(content, path, data, (mode_t)mode, -1, err);
}

static int add_all(
    const cJSON *map, bool encoded, int64_t mode, struct volume_content *content, struct error *err)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, map)
    {
        if (add_value(item, encoded, item->string, mode, content, err) < 0)
            return -err->code;
    }
    return 0;
}

int content_from_object(struct sync *s, const char *plural, const char *name, const cJSON *source,
    int64_t mode, struct volume_content *content, struct error *err)
{
    bool secret = c_eq(plural, "secrets"), optional = json_bool(source, "optional", false);
    const cJSON *items = json_get(source, "items"), *item;
    struct shared_tree *object = NULL;

    if (get(s, plural, name ? name : "", optional, &object, err) < 0)
        return -err->code;
    if (!object)
        return 0;
    arena_on_free(s->arena, (void (*)(void *))(uintptr_t)shared_tree_unref, object);
    const cJSON *data = json_get(object->tree, "data"),
                *binary = json_get(object->tree, "binaryData");
    if (cJSON_GetArraySize(items) == 0) {
        if (add_all(data, secret, mode, content, err) < 0)
            return -err->code;
        return secret ? 0 : add_all(binary, true, mode, content, err);
    }
    cJSON_ArrayForEach(item, items)
    {
        const char *key = json_string(item, "key"), *path = json_string(item, "path");
        const cJSON *value = json_get(data, key ? key : "");
        bool encoded = secret;

        if (!value && !secret) {
            value = json_get(binary, key ? key : "");
            encoded = true;
        }
        if (!value && optional)
            continue;
        if (!value || !path)
            return error_set(err, ERR_NOT_FOUND, "%s references non-existent %s key: %s",
                secret ? "secret" : "configmap", secret ? "secret" : "config", key ? key : "");
        if (add_value(value, encoded, path, mode_or(item, "mode", mode), content, err) < 0)
            return -err->code;
    }
    return 0;
}

static struct resource_pair node_resources(struct sync *s)
{
    env_lock(s->agent->env, &s->node->lock);
    struct resource_pair node = s->node->allocatable;
    env_unlock(s->agent->env, &s->node->lock);
    return node;
}

int content_from_fields(struct sync *s, const cJSON *source, int64_t mode,
    struct volume_content *content, struct error *err)
{
    struct pod_facts facts = {.pod = s->pod,
        .spec = s->spec,
        .node_name = s->node->name,
        .host_ip = s->node->ip,
        .pod_ip = s->record->pod_ip,
        .node = node_resources(s)};
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(source, "items"))
    {
        const cJSON *field = json_get(item, "fieldRef"),
                    *resource = json_get(item, "resourceFieldRef");
        const char *path = json_string(item, "path"), *field_path = json_string(field, "fieldPath");
        const char *what = json_string(resource, "resource"),
                   *of = json_string(resource, "containerName");
        autofree char *text = NULL;

        if (field) {
            if (pod_field(&facts, field_path ? field_path : "", &text, err) < 0)
                return -err->code;
        } else if (resource) {
            const cJSON *container = pod_container(s->spec, of ? of : "", NULL);
            if (resource_field(container, what ? what : "", json_string(resource, "divisor"),
                    facts.node, &text, err) < 0)
                return -err->code;
        }
        if (text && path &&
            volume_content_add(
                content, path, str_of(text), (mode_t)mode_or(item, "mode", mode), -1, err) < 0)
            return -err->code;
    }
    return 0;
}

static int write_content(
    struct sync *s, const char *dir, struct volume_content *content, struct error *err)
{
    int r = volume_write(dir, content, volume_group(s), env_wall_ns(s->agent->env), err);

    volume_content_done(content);
    return r;
}

static int config_map_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    struct volume_content content = {0};

    (void)name, (void)ret_path;
    *ret_read_only = true;
    if (content_from_object(s, "configmaps", json_string(source, "name"), source,
            mode_or(source, "defaultMode", MODE_DEFAULT), &content, err) < 0) {
        volume_content_done(&content);
        return -err->code;
    }
    return write_content(s, dir, &content, err);
}

static int secret_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    struct volume_content content = {0};

    (void)name, (void)ret_path;
    *ret_read_only = true;
    if (content_from_object(s, "secrets", json_string(source, "secretName"), source,
            mode_or(source, "defaultMode", MODE_DEFAULT), &content, err) < 0) {
        volume_content_done(&content);
        return -err->code;
    }
    return write_content(s, dir, &content, err);
}

static int downward_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    struct volume_content content = {0};

    (void)name, (void)ret_path;
    *ret_read_only = true;
    if (content_from_fields(
            s, source, mode_or(source, "defaultMode", MODE_DEFAULT), &content, err) < 0) {
        volume_content_done(&content);
        return -err->code;
    }
    return write_content(s, dir, &content, err);
}

/* The user that every container of the pod runs as, or -1: the owner of its token files. */
static int64_t common_user(const cJSON *spec)
{
    static const char *const lists[] = {"initContainers", "containers"};
    int64_t pod_user = json_int64_at(spec, "securityContext.runAsUser", -1), common = -2;
    const cJSON *container;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        cJSON_ArrayForEach(container, json_get(spec, lists[i]))
        {
            int64_t user = json_int64_at(container, "securityContext.runAsUser", pod_user);
            if (common != -2 && user != common)
                return -1;
            common = user;
        }
    }
    return common < 0 ? -1 : common;
}

static int add_source(struct sync *s, const char *volume, const cJSON *source, int64_t mode,
    struct volume_content *content, struct error *err)
{
    const cJSON *config = json_get(source, "configMap"), *secret = json_get(source, "secret");
    const cJSON *downward = json_get(source, "downwardAPI"),
                *token = json_get(source, "serviceAccountToken");

    if (config)
        return content_from_object(
            s, "configmaps", json_string(config, "name"), config, mode, content, err);
    if (secret)
        return content_from_object(
            s, "secrets", json_string(secret, "name"), secret, mode, content, err);
    if (downward)
        return content_from_fields(s, downward, mode, content, err);
    if (token) {
        int64_t user = common_user(s->spec);
        return content_from_token(
            s, volume, token, user >= 0 || volume_group(s) >= 0 ? 0600 : mode, user, content, err);
    }
    return error_set(err, ERR_NOT_IMPLEMENTED,
        "projected volume \"%s\" has a source that is not supported: %s", volume,
        source->child && source->child->string ? source->child->string : "none");
}

static int projected_up(struct sync *s, const char *name, const cJSON *source, const char *dir,
    const char **ret_path, bool *ret_read_only, struct error *err)
{
    struct volume_content content = {0};
    const cJSON *item;

    (void)ret_path;
    *ret_read_only = true;
    cJSON_ArrayForEach(item, json_get(source, "sources"))
    {
        if (add_source(s, name, item, mode_or(source, "defaultMode", MODE_DEFAULT), &content, err) <
            0) {
            volume_content_done(&content);
            return -err->code;
        }
    }
    return write_content(s, dir, &content, err);
}

const struct volume_plugin volume_config_map = {.field = "configMap",
    .folder = "kubernetes.io~configmap",
    .refreshes = true,
    .up = config_map_up};
const struct volume_plugin volume_secret = {.field = "secret",
    .folder = "kubernetes.io~secret",
    .in_memory = true,
    .refreshes = true,
    .up = secret_up};
const struct volume_plugin volume_downward = {.field = "downwardAPI",
    .folder = "kubernetes.io~downward-api",
    .refreshes = true,
    .up = downward_up};
const struct volume_plugin volume_projected = {.field = "projected",
    .folder = "kubernetes.io~projected",
    .in_memory = true,
    .refreshes = true,
    .up = projected_up};
