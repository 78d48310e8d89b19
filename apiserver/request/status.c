/*
 * Builds Status objects. See status.h. Upstream: apimachinery/pkg/api/errors.
 */
#include "apiserver/request/status.h"

#include "apiserver/schema/schema.h"

static cJSON *new_status(const char *outcome)
{
    cJSON *s = cJSON_CreateObject();

    json_set_string(s, "kind", "Status");
    json_set_string(s, "apiVersion", "v1");
    json_set(s, "metadata", cJSON_CreateObject());
    json_set_string(s, "status", outcome);
    return s;
}

cJSON *status_details(const struct resource *r, const char *name)
{
    cJSON *d = cJSON_CreateObject();

    if (name && *name)
        json_set_string(d, "name", name);
    if (*r->group)
        json_set_string(d, "group", r->group);
    json_set_string(d, "kind", r->plural);
    return d;
}

cJSON *status_success(void)
{
    return new_status("Success");
}

cJSON *status_new(enum err code, const char *message)
{
    cJSON *s = new_status("Failure");

    json_set_string(s, "message", message);
    json_set_string(s, "reason", error_reason(code));
    json_set(s, "code", cJSON_CreateNumber(error_http_status(code)));
    return s;
}

cJSON *status_of_request(struct request *q)
{
    if (q->error_status)
        return steal(&q->error_status);
    cJSON *s = new_status("Failure");
    const char *reason = q->reason ? q->reason : error_reason(q->err.code);

    if (q->status_continue)
        json_set_string_at(s, "metadata.continue", q->status_continue);
    json_set_string(s, "message", q->err.text);
    if (*reason)
        json_set_string(s, "reason", reason);
    if (q->retry_after_s > 0 && !q->status_details)
        q->status_details = cJSON_CreateObject();
    if (q->status_details) {
        if (q->retry_after_s > 0)
            json_set(q->status_details, "retryAfterSeconds", cJSON_CreateNumber(q->retry_after_s));
        json_set(s, "details", steal(&q->status_details));
    }
    json_set(s, "code", cJSON_CreateNumber(error_http_status(q->err.code)));
    return s;
}

int status_code(const cJSON *status)
{
    return (int)json_int64_at(status, "code", 500);
}
