/*
 * CertificateSigningRequests: who asks is written by the server; approval and status are their own
 * subresources.
 *
 * Upstream: registry/certificates/certificates/strategy.go, apis/certificates/validation.
 */
#include "apiserver/registry/generic/part.h"
#include "apiserver/server.h"
#include "common/base64.h"
#include "common/pki.h"
#include "common/time.h"

static const cJSON *find_condition(const cJSON *request, const char *type)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(request, "status.conditions"))
    {
        if (c_eq(json_string(item, "type"), type))
            return item;
    }
    return NULL;
}

static void write_requestor(struct write_context *w)
{
    const struct identity *who = &w->request->identity;
    cJSON *spec = json_get(w->tree, "spec"), *groups = cJSON_CreateArray(),
          *extra = cJSON_CreateObject();
    for (const char **g = who->groups; g && *g; g++)
        cJSON_AddItemToArray(groups, cJSON_CreateString(*g));
    for (size_t i = 0; i < who->extra_count; i++) {
        cJSON *values = cJSON_CreateArray();
        for (const char **v = who->extra[i].values; *v; v++)
            cJSON_AddItemToArray(values, cJSON_CreateString(*v));
        json_set(extra, who->extra[i].key, values);
    }
    json_set_string(spec, "username", who->name ? who->name : "");
    json_set_string(spec, "uid", who->uid ? who->uid : "");
    json_set(spec, "groups", groups);
    json_set(spec, "extra", extra);
}

/* New conditions without times are of now; a change of status is one of now, too. */
static void write_times(struct write_context *w)
{
    char now[TIME_TEXT_BYTES];
    cJSON *condition;
    time_print_s(w->now_ns, now);
    cJSON_ArrayForEach(condition, json_path(w->tree, "status.conditions"))
    {
        const char *type = json_string(condition, "type");
        const cJSON *old = find_condition(w->old, type ? type : "");
        if (!json_string(condition, "lastUpdateTime"))
            json_set_string(condition, "lastUpdateTime", now);
        if (json_string(condition, "lastTransitionTime"))
            continue;
        bool same = old && c_eq(json_string(old, "status"), json_string(condition, "status")) &&
                    json_string(old, "lastTransitionTime");
        json_set_string(
            condition, "lastTransitionTime", same ? json_string(old, "lastTransitionTime") : now);
    }
}

static void request_prepare(struct write_context *w)
{
    if (w->kind == WRITE_CREATE && json_get(w->tree, "spec")) {
        write_requestor(w);
        json_remove(w->tree, "status");
    } else if (w->old) { /* the spec is for ever, whoever writes */
        json_set(w->tree, "spec", cJSON_Duplicate(json_get(w->old, "spec"), true));
        write_times(w);
    }
}

static const char *const decided[] = {"Approved", "Denied", "Failed"};

static void check_conditions(const struct write_context *w, struct field_errors *errors)
{
    static const char *const only_true[] = {"True", NULL};
    const cJSON *condition;
    const char *verdict = NULL;
    int i = 0;
    cJSON_ArrayForEach(condition, json_path(w->tree, "status.conditions"))
    {
        const char *type = json_string(condition, "type");
        const char *status = json_string(condition, "status");
        const char *path = arena_printf(w->arena, "status.conditions[%d]", i++);
        bool is_decided = false;
        for (size_t k = 0; k < ARRAY_COUNT(decided); k++)
            is_decided = is_decided || c_eq(type, decided[k]);
        if (!status || !*status)
            field_error_add(
                errors, FIELD_REQUIRED, arena_printf(w->arena, "%s.status", path), NULL, "%s", "");
        else if (is_decided && !c_eq(status, "True"))
            field_error_not_supported(
                errors, arena_printf(w->arena, "%s.status", path), status, only_true);
        if (!c_eq(type, "Approved") && !c_eq(type, "Denied"))
            continue;
        if (verdict && !c_eq(verdict, type))
            field_error_add(errors, FIELD_INVALID, arena_printf(w->arena, "%s.type", path),
                arena_printf(w->arena, "\"%s\"", type),
                "Approved and Denied conditions are mutually exclusive");
        verdict = type;
    }
}

/* A verdict is never taken back, and given through approval only; a certificate is issued once. */
static void check_change(const struct write_context *w, struct field_errors *errors)
{
    bool approval = w->request && c_eq(w->request->subresource_name, "approval");
    const char *had = json_string_at(w->old, "status.certificate");
    const char *has = json_string_at(w->tree, "status.certificate");
    for (size_t i = 0; i < ARRAY_COUNT(decided); i++) {
        const cJSON *before = find_condition(w->old, decided[i]);
        const cJSON *now = find_condition(w->tree, decided[i]);
        const char *what = before && !now                              ? "remove"
                           : approval || c_eq(decided[i], "Failed")    ? NULL
                           : now && !before                            ? "add"
                           : now && before && !json_equal(before, now) ? "modify"
                                                                       : NULL;
        if (what)
            field_error_add(errors, FIELD_FORBIDDEN, "status.conditions", NULL,
                "updates may not %s a condition of type \"%s\"", what, decided[i]);
    }
    if (had && *had && !c_eq(had, has ? has : ""))
        field_error_add(errors, FIELD_FORBIDDEN, "status.certificate", NULL,
            "updates may not modify existing certificate content");
}

static void request_validate(const struct write_context *w, struct field_errors *errors)
{
    const char *text = json_string_at(w->tree, "spec.request"),
               *signer = json_string_at(w->tree, "spec.signerName");
    autostrbuf struct strbuf pem = STRBUF_EMPTY;
    struct pki_request request;
    struct error err;
    if (w->kind == WRITE_STATUS || w->kind == WRITE_SUBRESOURCE) {
        check_conditions(w, errors);
        check_change(w, errors);
    }
    if (w->kind != WRITE_CREATE)
        return;
    strbuf_init(&pem, 1 << 16);
    if (!text || base64_decode(str_of(text), &pem, &err) < 0 ||
        pki_parse_request(pem.data, &request, &err) < 0)
        field_error_add(errors, FIELD_INVALID, "spec.request", "[]byte{}", "%s",
            text ? err.text : "PEM block type must be CERTIFICATE REQUEST");
    else
        pki_request_done(&request);
    if (signer && !strchr(signer, '/')) {
        autofree char *value = str_format("\"%s\"", signer);
        field_error_add(errors, FIELD_INVALID, "spec.signerName", value,
            "should be a domain-prefixed path (such as \"example.io/signer-name\")");
    }
}

/* approval: only the conditions change. */
static void take_conditions(cJSON *tree, const cJSON *sent)
{
    const cJSON *conditions = json_path(sent, "status.conditions");
    if (conditions)
        json_set_at(tree, "status.conditions", cJSON_Duplicate(conditions, true));
    else
        json_remove_at(tree, "status.conditions");
}

static int change_approval(struct write_context *w, void *arg, struct error *err)
{
    return change_part(w, arg, take_conditions, err);
}

static enum stage_result approval_run(struct request *q)
{
    return run_part(q, change_approval);
}

static const struct subresource_handler subresources[] = {
    {"approval", approval_run},
};

const struct strategy strategy_certificate_signing_request = {
    .group = "certificates.k8s.io",
    .plural = "certificatesigningrequests",
    .prepare = request_prepare,
    .validate = request_validate,
    .subresources = subresources,
    .subresource_count = ARRAY_COUNT(subresources),
};
