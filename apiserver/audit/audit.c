/*
 * From requests to records: the event of each stage as JSON text.
 *
 * What an event says is kept in the request's arena from audit_stage on, because the connection's
 * memory (headers, address) may go before a stream ends. The text is printed here, on the loop; the
 * bodies are only copied, and looked into (managedFields) on the sinks' tasks.
 */
#include "apiserver/audit/audit.h"

#include "apiserver/audit/rules.h"
#include "apiserver/audit/sink.h"
#include "apiserver/registry/generic/generic.h"
#include "apiserver/schema/schema.h"
#include "apiserver/server.h"
#include "common/file.h"
#include "common/log.h"
#include "common/time.h"
#include "common/uid.h"

#define POLICY_BYTES_MAX (1 << 20)
#define BODY_BYTES_MAX (4u << 20)
#define ID_BYTES_MAX 128

static const struct metric_info audit_events = {
    "apiserver_audit_event_total", METRIC_COUNTER, "Audit events made.", {NULL}};
static const struct metric_info audit_levels = {"apiserver_audit_level_total", METRIC_COUNTER,
    "Requests by the level their audit policy gives them.", {"level"}};
static const struct metric_info audit_rejected = {"apiserver_audit_requests_rejected_total",
    METRIC_COUNTER, "Requests refused because their audit event could not be written.", {NULL}};

struct audit {
    struct env *env;
    struct metrics *metrics;
    struct audit_policy *policy;
    struct sink *sinks[2];
    size_t sink_count;
};

struct annotation {
    const char *key, *value;
    struct annotation *next;
};

struct audit_event {
    struct audit_verdict verdict;
    const char *id, *user_agent, *uri;
    struct str source_ips; /* JSON */
    struct identity user;  /* as authenticated */
    int64_t received_ns;   /* wall clock */
    struct annotation *annotations;
    bool complete;
    /* the answer's text, while a generator makes it */
    struct strbuf captured;
    bool capturing, too_large;
    body_fn *inner;
    void *inner_state;
};

/* --- start and end --- */

static int open_sinks(struct audit *a, const struct audit_settings *config, struct error *err)
{
    if (config->log_path && *config->log_path) {
        if (log_sink_new(a->env, a->metrics, config, &a->sinks[a->sink_count], err) < 0)
            return -(int)err->code;
        a->sink_count++;
    }
    if (config->webhook_file && *config->webhook_file) {
        if (webhook_sink_new(a->env, a->metrics, config, &a->sinks[a->sink_count], err) < 0)
            return -(int)err->code;
        a->sink_count++;
    }
    return 0;
}

static int read_policy(struct audit *a, const char *path, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (file_read(path, POLICY_BYTES_MAX, &text, err) < 0 ||
        audit_policy_parse(strbuf_str(&text), &a->policy, err) < 0)
        return error_wrap(err, "--audit-policy-file: %s", path);
    return 0;
}

int audit_new(struct env *env, struct metrics *metrics, const struct audit_settings *config,
    struct audit **ret, struct error *err)
{
    bool wanted =
        (config->log_path && *config->log_path) || (config->webhook_file && *config->webhook_file);

    *ret = NULL;
    metric_add(metrics, &audit_events, 0);
    metric_add(metrics, &audit_rejected, 0);
    if (!config->policy_file || !*config->policy_file) {
        if (wanted)
            log_warning("no audit policy file is given, no events will be recorded", NULL);
        return 0;
    }
    if (config->batch_events < 1 || config->buffer_events < config->batch_events)
        return error_set(err, ERR_USAGE,
            "--audit-webhook-batch-buffer-size must be at least the batch's size, and that 1");
    struct audit *a = xcalloc(1, sizeof(*a));

    a->env = env;
    a->metrics = metrics;
    if (read_policy(a, config->policy_file, err) < 0 || open_sinks(a, config, err) < 0) {
        audit_free(a);
        return -(int)err->code;
    }
    if (a->sink_count == 0) {
        audit_free(a);
        return 0;
    }
    *ret = a;
    return 0;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->sink_count; i++)
        sink_free(a->sinks[i]);
    audit_policy_free(a->policy);
    free(a);
}

/* --- the text --- */

static void add_text(struct strbuf *out, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    strbuf_addf(out, ",\"%s\":", name);
    json_print_string(str_of(value), out);
}

static void add_list(struct strbuf *out, const char *const *list)
{
    strbuf_add_char(out, '[');
    for (size_t i = 0; list && list[i]; i++) {
        if (i)
            strbuf_add_char(out, ',');
        json_print_string(str_of(list[i]), out);
    }
    strbuf_add_char(out, ']');
}

static void add_user(struct strbuf *out, const char *name, const struct identity *who)
{
    if (!who->name) {
        strbuf_addf(out, ",\"%s\":{}", name);
        return;
    }
    strbuf_addf(out, ",\"%s\":{\"username\":", name);
    json_print_string(str_of(who->name), out);
    add_text(out, "uid", who->uid);
    if (who->groups && who->groups[0]) {
        strbuf_addc(out, ",\"groups\":");
        add_list(out, (const char *const *)who->groups);
    }
    for (size_t i = 0; i < who->extra_count; i++) {
        strbuf_addc(out, i ? "," : ",\"extra\":{");
        json_print_string(str_of(who->extra[i].key), out);
        strbuf_add_char(out, ':');
        add_list(out, (const char *const *)who->extra[i].values);
    }
    strbuf_addc(out, who->extra_count ? "}}" : "}");
}

static void add_object_ref(struct strbuf *out, const struct request *q)
{
    const struct object_write *o = q->write;
    const char *name = *q->name ? q->name : o && o->name ? o->name : "";

    if (!*q->plural)
        return;
    strbuf_addc(out, ",\"objectRef\":{\"resource\":");
    json_print_string(str_of(q->plural), out);
    add_text(out, "namespace", q->namespace_);
    add_text(out, "name", name);
    if (o && o->context.tree)
        add_text(out, "uid", json_string_at(o->context.tree, "metadata.uid"));
    add_text(out, "apiGroup", q->group);
    add_text(out, "apiVersion", q->version);
    add_text(out, "subresource", q->subresource_name);
    strbuf_add_char(out, '}');
}

/* Of a refusal also what it says. */
static void add_status(struct strbuf *out, const struct request *q)
{
    autojson cJSON *status = NULL;
    struct error err;

    strbuf_addc(out, ",\"responseStatus\":{\"metadata\":{}");
    if (!q->responded) {
        strbuf_addc(out, ",\"status\":\"Failure\",\"message\":\"the client went away before the "
                         "answer\",\"code\":499}");
        return;
    }
    if (q->status >= 400) {
        bool json = q->response_body.n > 0 && q->response_body.p[0] == '{' &&
                    json_parse(q->response_body, &status, &err) == 0;

        add_text(out, "status", "Failure");
        add_text(out, "message", json ? json_string(status, "message") : q->err.text);
        add_text(out, "reason",
            json        ? json_string(status, "reason")
            : q->reason ? q->reason
                        : error_reason(q->err.code));
    }
    strbuf_addf(out, ",\"code\":%d}", q->status);
}

static void add_annotations(struct strbuf *out, const struct annotation *list)
{
    for (const struct annotation *a = list; a; a = a->next) {
        strbuf_addc(out, a == list ? ",\"annotations\":{" : ",");
        json_print_string(str_of(a->key), out);
        strbuf_add_char(out, ':');
        json_print_string(str_of(a->value), out);
    }
    if (list)
        strbuf_add_char(out, '}');
}

static char *print_head(const struct request *q, enum audit_moment moment)
{
    const struct audit_event *e = q->audit;
    struct strbuf out = STRBUF_EMPTY;

    strbuf_addf(&out,
        "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"%s\",\"auditID\":",
        audit_level_names[e->verdict.level]);
    json_print_string(str_of(e->id), &out);
    strbuf_addf(&out, ",\"stage\":\"%s\",\"requestURI\":", audit_moment_names[moment]);
    json_print_string(str_of(e->uri), &out);
    strbuf_addc(&out, ",\"verb\":");
    json_print_string(str_of(q->verb), &out);
    add_user(&out, "user", &e->user);
    if (q->identity.name && q->identity.name != e->user.name)
        add_user(&out, "impersonatedUser", &q->identity);
    strbuf_addc(&out, ",\"sourceIPs\":");
    strbuf_add(&out, e->source_ips);
    add_text(&out, "userAgent", e->user_agent);
    add_object_ref(&out, q);
    if (moment != MOMENT_RECEIVED)
        add_status(&out, q);
    return strbuf_steal(&out);
}

static char *print_tail(const struct request *q, int64_t now_ns)
{
    const struct audit_event *e = q->audit;
    struct strbuf out = STRBUF_EMPTY;
    char received[TIME_TEXT_BYTES], now[TIME_TEXT_BYTES];

    strbuf_addf(&out, ",\"requestReceivedTimestamp\":\"%s\",\"stageTimestamp\":\"%s\"",
        time_print_us(e->received_ns, received), time_print_us(now_ns, now));
    add_annotations(&out, e->annotations);
    strbuf_add_char(&out, '}');
    return strbuf_steal(&out);
}

/* --- bodies --- */

/* One JSON value on one line, or NULL. */
static char *json_line(struct str text)
{
    autojson cJSON *tree = NULL;
    struct strbuf out = STRBUF_EMPTY;
    struct error err;
    size_t end = 0;

    text = str_trim(text);
    if (text.n == 0 || (text.p[0] != '{' && text.p[0] != '[') || json_scan(text, &end, &err) < 0 ||
        end != text.n)
        return NULL;
    if (!memchr(text.p, '\n', text.n) && !memchr(text.p, '\r', text.n))
        return str_dup(text);
    if (json_parse(text, &tree, &err) < 0)
        return NULL;
    json_print(tree, &out);
    return strbuf_steal(&out);
}

/* What came, as JSON; of YAML and protobuf what was read from it. */
static char *request_text(const struct request *q)
{
    const struct object_write *o = q->write;
    char *text = json_line(q->body);

    if (text || !o || (!o->patch && !o->body))
        return text;
    struct strbuf out = STRBUF_EMPTY;

    json_print(o->patch ? o->patch : o->body, &out);
    return strbuf_steal(&out);
}

static bool answers_json(const struct request *q)
{
    return q->content_type && str_starts(str_of(q->content_type), STR("application/json"));
}

static char *response_text(struct request *q)
{
    struct audit_event *e = q->audit;
    struct strbuf out = STRBUF_EMPTY;
    char *text = NULL;

    if (e->too_large) {
        audit_annotate(q, "skiff.io/audit-omitted", "the answer is too large");
        return NULL;
    }
    if (e->capturing)
        text = json_line(strbuf_str(&e->captured));
    if (text || q->long_running || !q->responded || q->status == 101)
        return text;
    if (q->write && q->write->result) {
        object_encode(q->write->result, &out);
        return strbuf_steal(&out);
    }
    audit_annotate(q, "skiff.io/audit-omitted", "the answer is not JSON");
    return NULL;
}

static enum body_result capture_next(struct request *q, struct strbuf *out)
{
    struct audit_event *e = q->body_state;
    size_t before = out->n;

    q->body_state = e->inner_state;
    enum body_result r = e->inner(q, out);

    e->inner_state = q->body_state;
    q->body_state = e;
    if (e->too_large)
        return r;
    if (e->captured.n + (out->n - before) > BODY_BYTES_MAX) {
        e->too_large = true;
        strbuf_done(&e->captured);
    } else {
        strbuf_add(&e->captured, str_range(out->data + before, out->n - before));
    }
    return r;
}

static void captured_free(void *arg)
{
    strbuf_done(&((struct audit_event *)arg)->captured);
}

static void capture(struct request *q)
{
    struct audit_event *e = q->audit;

    if (q->long_running || q->upgrade || !answers_json(q))
        return;
    e->capturing = true;
    request_on_free(q, captured_free, e);
    if (!q->body_next) {
        strbuf_add(&e->captured, q->response_body);
        return;
    }
    e->inner = q->body_next;
    e->inner_state = q->body_state;
    q->body_next = capture_next;
    q->body_state = e;
}

/* --- events --- */

static void emit(struct request *q, enum audit_moment moment)
{
    struct audit *a = q->server->audit;
    struct audit_event *e = q->audit;

    if (e->verdict.omitted & 1u << moment)
        return;
    struct audit_record *r = xcalloc(1, sizeof(*r));

    r->refs = 1;
    r->strip = e->verdict.omit_managed;
    if (e->verdict.level >= AUDIT_REQUEST && moment != MOMENT_RECEIVED)
        r->request = request_text(q);
    if (e->verdict.level >= AUDIT_RESPONSE && moment == MOMENT_COMPLETE)
        r->response = response_text(q);
    r->head = print_head(q, moment);
    r->tail = print_tail(q, env_wall_ns(a->env));
    r->bytes = sizeof(*r) + strlen(r->head) + strlen(r->tail) +
               (r->request ? strlen(r->request) : 0) + (r->response ? strlen(r->response) : 0);
    metric_add(a->metrics, &audit_events, 1);
    for (size_t i = 0; i < a->sink_count; i++)
        sink_add(a->sinks[i], r);
    audit_record_unref(r);
}

static void add_ip(struct strbuf *out, struct str ip)
{
    ip = str_trim(ip);
    if (ip.n == 0 || ip.n > 64)
        return;
    if (out->n > 1)
        strbuf_add_char(out, ',');
    json_print_string(ip, out);
}

/* X-Forwarded-For, X-Real-Ip, and who is connected. */
static struct str source_ips(struct request *q)
{
    struct str forwarded = request_header(q, "X-Forwarded-For"), one, peer;
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    ssize_t colon = -1;

    strbuf_add_char(&out, '[');
    for (int i = 0; i < 16 && str_split(&forwarded, ',', &one); i++)
        add_ip(&out, one);
    add_ip(&out, request_header(q, "X-Real-Ip"));
    peer = str_of(q->peer_address);
    for (size_t i = 0; i < peer.n; i++)
        if (peer.p[i] == ':')
            colon = (ssize_t)i;
    if (colon > 0)
        peer.n = (size_t)colon;
    if (peer.n > 2 && peer.p[0] == '[')
        peer = str_range(peer.p + 1, peer.n - 2);
    add_ip(&out, peer);
    strbuf_add_char(&out, ']');
    return str_of(arena_strdup(q->arena, strbuf_str(&out)));
}

/* The client's own id where it is one, as upstream. */
static const char *event_id(struct request *q)
{
    struct str given = request_header(q, "Audit-ID");
    char id[UID_BYTES];

    if (given.n == 0 || given.n > ID_BYTES_MAX)
        return arena_strdup(q->arena, str_of(uid_random(q->server->env, id)));
    for (size_t i = 0; i < given.n; i++)
        if (given.p[i] < ' ' || given.p[i] > '~')
            return arena_strdup(q->arena, str_of(uid_random(q->server->env, id)));
    return arena_strdup(q->arena, given);
}

static void begin(struct request *q)
{
    struct audit *a = q->server->audit;
    struct audit_verdict verdict = audit_policy_judge(a->policy, q);

    metric_add(a->metrics, &audit_levels, 1, audit_level_names[verdict.level]);
    struct audit_event *e = arena_zalloc(q->arena, sizeof(*e));

    q->audit = e;
    e->verdict = verdict;
    e->id = event_id(q);
    if (verdict.level == AUDIT_NONE)
        return;
    e->received_ns = env_wall_ns(a->env) - (env_now_ns(a->env) - q->received_ns);
    e->user = q->identity;
    e->uri = arena_strdup(q->arena, q->target);
    e->user_agent = arena_strdup(q->arena, request_header(q, "User-Agent"));
    e->source_ips = source_ips(q);
    e->captured = STRBUF_EMPTY;
}

static bool is_recorded(const struct request *q)
{
    return q->audit && q->audit->verdict.level != AUDIT_NONE;
}

enum stage_result audit_stage(struct request *q)
{
    if (!q->server->audit)
        return STAGE_DONE;
    begin(q);
    if (is_recorded(q))
        emit(q, MOMENT_RECEIVED);
    return STAGE_DONE;
}

void audit_annotate(struct request *q, const char *key, const char *value)
{
    if (!q || !is_recorded(q))
        return;
    struct annotation **at = &q->audit->annotations;

    while (*at && strcmp((*at)->key, key) < 0)
        at = &(*at)->next;
    if (*at && c_eq((*at)->key, key))
        return;
    struct annotation *a = arena_alloc(q->arena, sizeof(*a));

    *a = (struct annotation){key, value, *at};
    *at = a;
}

static void note_decision(struct request *q)
{
    if (!q->authorization_reason)
        return;
    audit_annotate(q, "authorization.k8s.io/decision", q->authorized ? "allow" : "forbid");
    audit_annotate(q, "authorization.k8s.io/reason", q->authorization_reason);
}

void audit_respond(struct request *q)
{
    if (!q->server->audit || q->trusted)
        return;
    if (!q->audit)
        begin(q); /* it was refused before anybody knew who it is */
    request_add_header(q, "Audit-Id", q->audit->id);
    if (!is_recorded(q))
        return;
    note_decision(q);
    if (q->audit->verdict.level >= AUDIT_RESPONSE)
        capture(q);
    if (q->long_running)
        emit(q, MOMENT_STARTED);
}

void audit_finished(struct request *q)
{
    if (!is_recorded(q) || q->audit->complete)
        return;
    q->audit->complete = true;
    note_decision(q);
    emit(q, MOMENT_COMPLETE);
}
