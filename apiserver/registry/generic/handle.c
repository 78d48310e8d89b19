/*
 * The handle stage: what a kind answers itself (reviews, binding, token, log), and scale, which is
 * generic.
 *
 * Scale (autoscaling/v1) shows three numbers of an object in its own form. A PUT or PATCH of it is
 * a change of spec.replicas that runs through the object's own validation and admission.
 */
#include "apiserver/registry/generic/change.h"
#include "apiserver/registry/generic/rules.h"
#include "apiserver/connect/connect.h"
#include "apiserver/schema/managed_fields.h"
#include "apiserver/server.h"

static const struct subresource_handler *find_handler(const struct request *q)
{
    const struct strategy *s = q->resource ? q->resource->storage->strategy : NULL;

    for (size_t i = 0; s && i < s->subresource_count; i++)
        if (c_eq(s->subresources[i].name, q->subresource_name))
            return &s->subresources[i];
    return NULL;
}

static bool is_scale(const struct request *q)
{
    return c_eq(q->subresource_name, "scale") &&
           (q->resource->scale || scale_rules_of(q->resource->storage));
}

bool write_is_handled(const struct request *q)
{
    return q->subresource && is_scale(q);
}

/* --- scale --- */

static const char *selector_text(struct request *q, const cJSON *object)
{
    const struct scale_paths *paths = q->resource->scale;
    if (paths) {
        const char *stored = paths->selector ? json_string_at(object, paths->selector) : NULL;
        return stored ? arena_strdup(q->arena, str_of(stored)) : "";
    }
    const cJSON *selector = json_path(object, "spec.selector");
    autojson cJSON *wrapped = NULL;
    struct selector *s;
    struct error err;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (!selector)
        return "";
    if (scale_rules_of(q->resource->storage)->map_selector) {
        wrapped = cJSON_CreateObject();
        json_set(wrapped, "matchLabels", cJSON_Duplicate(selector, 1));
        selector = wrapped;
    }
    if (selector_from_json(selector, &s, &err) < 0)
        return "";
    selector_print(s, &text);
    selector_free(s);
    return arena_strdup(q->arena, strbuf_str(&text));
}

/* Who owns spec.replicas, as a scale shows it. */
static void show_owners(struct request *q, cJSON *metadata, const cJSON *list)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY, shown = STRBUF_EMPTY;
    struct managed *m;
    struct error err;

    if (!list)
        return;
    json_print(list, &text);
    if (managed_parse(q->arena, strbuf_str(&text), true, &m, &err) < 0)
        return;
    managed_print_scale(m, &shown);
    if (shown.n > 2)
        json_set(metadata, "managedFields", cJSON_CreateRaw(shown.data));
}

static cJSON *scale_of(struct request *q, const cJSON *object)
{
    static const char *const kept[] = {
        "name", "namespace", "uid", "resourceVersion", "creationTimestamp"};
    const cJSON *from = json_get(object, "metadata");
    cJSON *scale = cJSON_CreateObject(), *metadata = cJSON_CreateObject();
    cJSON *spec = cJSON_CreateObject(), *status = cJSON_CreateObject();
    const struct scale_paths *paths = q->resource->scale;
    int64_t replicas = json_int64_at(object, paths ? paths->replicas : "spec.replicas", 0);
    const char *selector = selector_text(q, object);

    json_set_string(scale, "kind", "Scale");
    json_set_string(scale, "apiVersion", "autoscaling/v1");
    for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
        copy_member(metadata, from, kept[i]);
    show_owners(q, metadata, json_get(from, "managedFields"));
    json_set(scale, "metadata", metadata);
    if (replicas != 0)
        json_set(spec, "replicas", json_new_int64(replicas));
    json_set(scale, "spec", spec);
    json_set(status, "replicas",
        json_new_int64(
            json_int64_at(object, paths ? paths->status_replicas : "status.replicas", 0)));
    if (*selector)
        json_set_string(status, "selector", selector);
    json_set(scale, "status", status);
    return scale;
}

static enum stage_result reply_scale(struct request *q)
{
    autojson cJSON *object = object_tree(q->write->result);
    autojson cJSON *scale = scale_of(q, object);

    return request_reply_json(q, 200, scale);
}

static enum stage_result get_scale(struct request *q)
{
    struct object *o =
        cache_get(q->server->cache, q->resource->storage, str_of(q->namespace_), str_of(q->name));

    if (!o)
        return request_not_found(q, q->resource, q->name);
    autojson cJSON *object = object_tree(o);
    autojson cJSON *scale = scale_of(q, object);
    object_unref(o);
    return request_reply_json(q, 200, scale);
}

static int refuse_replicas(struct object_write *o, int64_t replicas, struct error *err)
{
    static const struct resource scale = {
        .group = "autoscaling", .kind = "Scale", .plural = "scales"};
    struct field_errors *e = field_errors_new(o->request->arena);

    field_error_add(e, FIELD_INVALID, "spec.replicas",
        arena_printf(o->request->arena, "%lld", (long long)replicas),
        "must be greater than or equal to 0");
    request_fail_status(o->request, field_errors_status(e, &scale, o->name));
    return error_set(err, ERR_INVALID, "spec.replicas must not be negative");
}

/* The configuration of a scale is one of the object that names spec.replicas only. */
static int apply_scale(struct write_context *w, struct object_write *o, struct error *err)
{
    const cJSON *replicas = json_path(o->patch, "spec.replicas");
    const char *version = json_string_at(o->patch, "metadata.resourceVersion");
    const char *uid = json_string_at(o->patch, "metadata.uid");
    autojson cJSON *config = cJSON_CreateObject();
    int64_t number;

    if (version)
        json_set_string_at(config, "metadata.resourceVersion", version);
    if (uid)
        json_set_string_at(config, "metadata.uid", uid);
    if (json_int64(replicas, &number) && number < 0)
        return refuse_replicas(o, number, err);
    if (replicas)
        json_set_at(config, "spec.replicas", cJSON_Duplicate(replicas, 1));
    return apply_config(w, o, config, err);
}

static int change_scale(struct write_context *w, void *arg, struct error *err)
{
    struct object_write *o = arg;
    autojson cJSON *patched = NULL;
    const cJSON *scale = o->body;
    const char *uid;
    int64_t replicas;

    if (o->patch_type == BODY_APPLY_PATCH)
        return apply_scale(w, o, err);
    if (o->patch) {
        patched = scale_of(o->request, w->old);
        if (patch_tree(o, o->schema, &patched, err) < 0)
            return -(int)err->code;
        scale = patched;
    }
    const char *version = json_string_at(scale, "metadata.resourceVersion");
    o->client_version = !o->patch && version && *version;
    if (check_version(o, version, err) < 0)
        return -(int)err->code;
    uid = json_string_at(scale, "metadata.uid");
    if (uid && *uid && !str_eqc(o->base->uid, uid))
        return conflict_error(o->request, o->resource, o->name, err,
            "Precondition failed: UID in precondition: %s, UID in object meta: %.*s", uid,
            STR_FMT(o->base->uid));
    replicas = json_int64_at(scale, "spec.replicas", 0);
    if (replicas < 0)
        return refuse_replicas(o, replicas, err);
    json_set_at(w->tree, o->resource->scale ? o->resource->scale->replicas : "spec.replicas",
        json_new_int64(replicas));
    return 0;
}

static enum stage_result handle_scale(struct request *q)
{
    struct object_write *o = q->write;

    if (!o)
        return get_scale(q);
    o->change = change_scale;
    o->fresh_tree = false;
    o->kind = WRITE_UPDATE;
    o->reply = reply_scale;
    return STAGE_DONE;
}

enum stage_result write_handle_stage(struct request *q)
{
    const struct subresource_handler *handler = q->subresource ? find_handler(q) : NULL;

    if (handler) {
        if (q->write) /* they change a copy of what stands there */
            q->write->fresh_tree = false;
        return handler->run(q);
    }
    if (q->subresource && is_scale(q))
        return handle_scale(q);
    if (c_eq(q->subresource_name, "log"))
        return connect_log_stage(q);
    if (c_eq(q->subresource_name, "proxy"))
        return connect_proxy_stage(q);
    if (q->subresource && q->subresource->connect)
        return connect_stream_stage(q);
    /* A subresource without rules of its own would replace the whole object. */
    if (q->subresource && !c_eq(q->subresource_name, "status"))
        return request_fail(q, ERR_NOT_IMPLEMENTED, "%s of %s is not served", q->subresource_name,
            request_qualified(q, q->resource));
    if (!q->write && !q->subresource && q->resource->strategy && q->resource->strategy->show)
        return q->resource->strategy->show(q);
    if (!q->subresource && q->write && c_eq(q->verb, "create") && q->resource->strategy &&
        q->resource->strategy->answer) {
        schema_default(q->write->schema, q->write->body);
        return q->resource->strategy->answer(q);
    }
    return STAGE_DONE;
}

const char *write_body_string(const struct request *q, const char *path)
{
    return q->write && q->write->body ? json_string_at(q->write->body, path) : NULL;
}
