/*
 * Reviews: questions that are answered and never stored. TokenReview, the SubjectAccessReview
 * family, SelfSubjectReview.
 *
 * Upstream: registry/authentication, registry/authorization.
 */
#include "apiserver/auth/auth.h"
#include "apiserver/registry/generic/generic.h"
#include "apiserver/server.h"

static cJSON *string_array(const char *const *values)
{
    cJSON *array = cJSON_CreateArray();
    for (; values && *values; values++)
        cJSON_AddItemToArray(array, cJSON_CreateString(*values));
    return array;
}

static cJSON *identity_json(const struct identity *who)
{
    cJSON *user = cJSON_CreateObject(), *extra = cJSON_CreateObject();
    json_set_string(user, "username", who->name ? who->name : "");
    if (who->uid && *who->uid)
        json_set_string(user, "uid", who->uid);
    json_set(user, "groups", string_array(who->groups));
    for (size_t i = 0; i < who->extra_count; i++)
        json_set(extra, who->extra[i].key, string_array(who->extra[i].values));
    if (extra->child)
        json_set(user, "extra", extra);
    else
        cJSON_Delete(extra);
    return user;
}

/* An array of strings in the tree, as a NULL-ended array in the arena. */
static const char **arena_strings(struct arena *a, const cJSON *array)
{
    const char **out = arena_new_array(a, const char *, (size_t)cJSON_GetArraySize(array) + 1);
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item))
            out[n++] = item->valuestring;
    }
    return out;
}

static enum stage_result token_review(struct request *q)
{
    cJSON *body = q->write->body;
    const char *token = json_string_at(body, "spec.token");
    const cJSON *asked = json_path(body, "spec.audiences");
    const char **audiences = cJSON_GetArraySize(asked) > 0 ? arena_strings(q->arena, asked) : NULL;
    struct identity who;
    const char **good_for;
    struct error err;
    if (!token || !*token)
        return request_fail(
            q, ERR_BAD_REQUEST, "token is required for TokenReview in authentication");
    int result = auth_token(q->server->auth, q->arena, str_of(token),
        (const char *const *)audiences, q, &who, &good_for, &err);
    if (result == 1)
        return STAGE_WAIT;
    cJSON *status = cJSON_CreateObject();
    if (result < 0) {
        json_set(status, "user", cJSON_CreateObject());
        json_set_string(status, "error", "invalid bearer token");
    } else {
        json_set(status, "authenticated", cJSON_CreateTrue());
        json_set(status, "user", identity_json(&who));
        json_set(status, "audiences", string_array(good_for));
    }
    json_set(body, "status", status);
    return reply_body_object(q);
}

static const char *text_or_empty(const cJSON *object, const char *name)
{
    const char *value = json_string(object, name);
    return value ? value : "";
}

static enum stage_result decide(struct request *q, const struct identity *who)
{
    cJSON *body = q->write->body;
    const cJSON *r = json_path(body, "spec.resourceAttributes"),
                *n = json_path(body, "spec.nonResourceAttributes");
    const cJSON *from = r ? r : n;
    struct access_attributes what = {.verb = text_or_empty(from, "verb"),
        .group = text_or_empty(r, "group"),
        .version = text_or_empty(r, "version"),
        .resource = text_or_empty(r, "resource"),
        .subresource = text_or_empty(r, "subresource"),
        .namespace_ = text_or_empty(r, "namespace"),
        .name = text_or_empty(r, "name"),
        .path = r ? NULL : text_or_empty(n, "path")};
    autostrbuf struct strbuf reason = STRBUF_EMPTY;
    strbuf_init(&reason, 4096);
    enum auth_answer answer = auth_decide(q->server->auth, who, &what, q, &reason);
    if (answer == AUTH_WAIT)
        return STAGE_WAIT;
    cJSON *status = cJSON_CreateObject();
    json_set(status, "allowed", cJSON_CreateBool(answer == AUTH_ALLOWED));
    if (reason.n)
        json_set_string(status, "reason", reason.data);
    json_set(body, "status", status);
    return reply_body_object(q);
}

/* Exactly one of the two kinds of attributes. */
static enum stage_result check_attributes(struct request *q)
{
    struct field_errors *errors = field_errors_new(q->arena);
    const cJSON *r = json_path(q->write->body, "spec.resourceAttributes");
    const cJSON *n = json_path(q->write->body, "spec.nonResourceAttributes");
    if (r && n)
        field_error_add(errors, FIELD_INVALID, "spec.nonResourceAttributes", "",
            "cannot be specified in combination with resourceAttributes");
    if (!r && !n)
        field_error_add(errors, FIELD_INVALID, "spec.resourceAttributes", "null",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified");
    return field_errors_count(errors) ? request_fail_fields(q, errors, q->resource, "")
                                      : STAGE_DONE;
}

static enum stage_result subject_access_review(struct request *q)
{
    const cJSON *spec = json_get(q->write->body, "spec");
    struct field_errors *errors = field_errors_new(q->arena);
    struct identity who = {.name = text_or_empty(spec, "user"),
        .uid = text_or_empty(spec, "uid"),
        .groups = arena_strings(q->arena, json_get(spec, "groups"))};
    enum stage_result result = check_attributes(q);
    if (result != STAGE_DONE)
        return result;
    if (!*who.name && !*who.groups) {
        field_error_add(errors, FIELD_INVALID, "spec.user", "\"\"",
            "at least one of user or group must be specified");
        return request_fail_fields(q, errors, q->resource, "");
    }
    for (const char **g = who.groups; *g; g++)
        if (c_eq(*g, "system:nodes") && str_starts(str_of(who.name), STR("system:node:")) &&
            who.name[strlen("system:node:")])
            who.node_name = who.name + strlen("system:node:");
    return decide(q, &who);
}

static enum stage_result local_subject_access_review(struct request *q)
{
    const char *namespace_ = json_string_at(q->write->body, "spec.resourceAttributes.namespace");
    if (!c_eq(namespace_, q->namespace_))
        return request_fail(q, ERR_BAD_REQUEST,
            "spec.resourceAttributes.namespace must match namespace: %s", q->namespace_);
    return subject_access_review(q);
}

static enum stage_result self_subject_access_review(struct request *q)
{
    enum stage_result result = check_attributes(q);
    if (result != STAGE_DONE)
        return result;
    return decide(q, &q->identity);
}

static enum stage_result self_subject_rules_review(struct request *q)
{
    const char *namespace_ = json_string_at(q->write->body, "spec.namespace");
    if (!namespace_ || !*namespace_)
        return request_fail(q, ERR_BAD_REQUEST, "no namespace on request");
    json_set(q->write->body, "status", auth_rules(q->server->auth, &q->identity, namespace_));
    return reply_body_object(q);
}

static enum stage_result self_subject_review(struct request *q)
{
    json_set_at(q->write->body, "status.userInfo", identity_json(&q->identity));
    return reply_body_object(q);
}

#define REVIEW(variable, api_group, name, function) \
    const struct strategy strategy_##variable = {   \
        .group = (api_group), .plural = (name), .answer = (function)}

REVIEW(token_review, "authentication.k8s.io", "tokenreviews", token_review);
REVIEW(self_subject_review, "authentication.k8s.io", "selfsubjectreviews", self_subject_review);
REVIEW(
    subject_access_review, "authorization.k8s.io", "subjectaccessreviews", subject_access_review);
REVIEW(local_subject_access_review, "authorization.k8s.io", "localsubjectaccessreviews",
    local_subject_access_review);
REVIEW(self_subject_access_review, "authorization.k8s.io", "selfsubjectaccessreviews",
    self_subject_access_review);
REVIEW(self_subject_rules_review, "authorization.k8s.io", "selfsubjectrulesreviews",
    self_subject_rules_review);
