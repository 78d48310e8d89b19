/*
 * CertificateSigningRequests: who asks is written by the server; approval and status are their own
 * subresources.
 *
 * Upstream: registry/certificates/certificates/strategy.go, apis/certificates/validation.
 */
#include "apiserver/registry/generic/generic.h"
#include "apiserver/server.h"
#include "common/base64.h"
#include "common/pki.h"
#include "common/time.h"

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

static void request_prepare(struct write_context *w)
{
    if (w->kind == WRITE_CREATE && json_get(w->tree, "spec")) {
        write_requestor(w);
        json_remove(w->tree, "status");
    } else if (w->old) { /* the spec is for ever, whoever writes */
        json_set(w->tree, "spec", cJSON_Duplicate(json_get(w->old, "spec"), true));
    }
}

static void request_validate(const struct write_context *w, struct field_errors *errors)
{
    const char *text = json_string_at(w->tree, "spec.request"),
               *signer = json_string_at(w->tree, "spec.signerName");
    autostrbuf struct strbuf pem = STRBUF_EMPTY;
    struct pki_request request;
    struct error err;
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
static int set_approval(struct write_context *w, void *arg, struct error *err)
{
    const struct object_write *o = arg;
    char now[TIME_TEXT_BYTES];
    cJSON *conditions = json_path(o->body, "status.conditions"), *item;
    if (!w->old)
        return error_set(err, ERR_NOT_FOUND,
            "certificatesigningrequests.certificates.k8s.io \"%s\" not found", o->name);
    if (!conditions)
        return 0;
    json_set_at(w->tree, "status.conditions", cJSON_Duplicate(conditions, true));
    time_print_s(w->now_ns, now);
    cJSON_ArrayForEach(item, json_path(w->tree, "status.conditions"))
    {
        if (!json_string(item, "lastUpdateTime"))
            json_set_string(item, "lastUpdateTime", now);
        if (!json_string(item, "lastTransitionTime"))
            json_set_string(item, "lastTransitionTime", now);
        if (!json_string(item, "status"))
            json_set_string(item, "status", "True");
    }
    return 0;
}

static enum stage_result approval_run(struct request *q)
{
    if (!q->write->body) /* a patch, or a GET: the generic way, on the status */
        return STAGE_DONE;
    q->write->kind = WRITE_STATUS;
    q->write->change = set_approval;
    q->write->change_arg = q->write;
    return STAGE_DONE;
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
