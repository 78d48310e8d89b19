/*
 * The audit webhook: EventLists posted to the server of a kubeconfig.
 *
 * Batches are at most so big and so old, and not sent faster than the throttle allows. A batch that
 * can't be delivered (no connection, 429, 5xx) is tried five times with growing pauses, then it is
 * lost and counted; meanwhile new events fill the queue. At the end of the server each batch has
 * one try more. Redirects are not followed.
 */
#include "apiserver/audit/sink.h"
#include "common/kubeconfig.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/time.h"

#define TRIES 5
#define BACKOFF_FACTOR 1.5
#define BACKOFF_JITTER 0.2
#define SEND_TIMEOUT_NS (30 * NS_PER_S)
#define LAST_TIMEOUT_NS (2 * NS_PER_S) /* of each call once the server is stopping */

struct webhook {
    struct env *env;
    struct kubeconfig kubeconfig;
    struct http_client *client;
    struct http_canceller canceller;
    int64_t backoff_ns;
    double qps, burst, tokens;
    int64_t tokens_at_ns;
    struct lock lock;
    struct cond wake;
    bool stopping, given_up;
};

/* false: the server is stopping. */
static bool pause_for(struct webhook *w, int64_t ns)
{
    int64_t until_ns = env_now_ns(w->env) + ns;

    env_lock(w->env, &w->lock);
    while (!w->stopping && env_wait_until(w->env, &w->wake, &w->lock, until_ns))
        ;
    bool stopping = w->stopping;

    env_unlock(w->env, &w->lock);
    return !stopping;
}

static void throttle(struct webhook *w)
{
    int64_t now_ns = env_now_ns(w->env);

    if (w->qps <= 0)
        return;
    w->tokens += (double)(now_ns - w->tokens_at_ns) / (double)NS_PER_S * w->qps;
    w->tokens_at_ns = now_ns;
    if (w->tokens > w->burst)
        w->tokens = w->burst;
    if (w->tokens < 1)
        pause_for(w, (int64_t)((1 - w->tokens) / w->qps * (double)NS_PER_S));
    w->tokens -= 1;
}

enum sent { SENT, SENT_LATER, SENT_NEVER };

static bool is_stopping(struct webhook *w)
{
    env_lock(w->env, &w->lock);
    bool stopping = w->stopping;

    env_unlock(w->env, &w->lock);
    return stopping;
}

static enum sent send_once(struct webhook *w, struct str body, struct error *err)
{
    bool last = is_stopping(w);
    static const struct http_header headers[] = {{"Content-Type", "application/json"}};
    struct http_request request = {.method = "POST",
        .path = w->kubeconfig.server, /* the whole of it: the hook is where it points */
        .headers = headers,
        .header_count = 1,
        .body = body,
        .timeout_ns = last ? LAST_TIMEOUT_NS : SEND_TIMEOUT_NS,
        .canceller = last ? NULL : &w->canceller};
    struct http_response response;
    enum sent result = SENT;

    http_response_init(&response);
    if (http_do(w->client, &request, &response, err) < 0) {
        result = SENT_LATER;
    } else if (response.status < 200 || response.status > 299) {
        error_set(err, ERR_UNAVAILABLE, "the webhook answered %d", response.status);
        result = response.status == 429 || response.status >= 500 ? SENT_LATER : SENT_NEVER;
    }
    http_response_done(&response);
    return result;
}

static int webhook_write(
    void *state, struct audit_record **records, size_t count, struct error *err)
{
    struct webhook *w = state;
    autostrbuf struct strbuf body = STRBUF_EMPTY;
    double pause_ns = (double)w->backoff_ns;

    strbuf_addc(&body, "{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\","
                       "\"metadata\":{},\"items\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            strbuf_add_char(&body, ',');
        audit_record_print(records[i], &body);
    }
    strbuf_addc(&body, "]}");
    if (w->given_up)
        return error_set(err, ERR_UNAVAILABLE, "the server is stopping");
    throttle(w);
    for (int try = 1;; try++) {
        enum sent sent = send_once(w, strbuf_str(&body), err);

        if (sent == SENT)
            return 0;
        if (sent == SENT_LATER && is_stopping(w)) {
            if (try > 1 || err->code != ERR_CANCELLED)
                w->given_up = true;
            if (w->given_up)
                return -1;
            continue; /* the call was cut short: once more, briefly */
        }
        if (sent == SENT_NEVER || try == TRIES)
            return -1;
        log_warning("audit events can't be sent, trying again", "count", "%zu", count, "err", "%s",
            err->text, NULL);
        pause_for(w, env_jitter_ns(w->env, (int64_t)pause_ns, BACKOFF_JITTER));
        pause_ns *= BACKOFF_FACTOR;
    }
}

/* Pauses end, and the call that is under way. */
static void webhook_stop(void *state)
{
    struct webhook *w = state;

    env_lock(w->env, &w->lock);
    w->stopping = true;
    env_broadcast(w->env, &w->wake);
    env_unlock(w->env, &w->lock);
    http_cancel(w->env, &w->canceller);
}

static void webhook_free(void *state)
{
    struct webhook *w = state;

    http_client_free(w->client);
    kubeconfig_done(&w->kubeconfig);
    http_canceller_done(&w->canceller);
    env_cond_done(&w->wake);
    env_lock_done(&w->lock);
    free(w);
}

static const struct sink_ops webhook_ops = {
    .plugin = "webhook", .write = webhook_write, .stop = webhook_stop, .free = webhook_free};

int webhook_sink_new(struct env *env, struct metrics *metrics, const struct audit_settings *config,
    struct sink **ret, struct error *err)
{
    struct webhook *w = xcalloc(1, sizeof(*w));
    struct sink_limits limits = {.buffer_events = (size_t)config->buffer_events,
        .batch_events = (size_t)config->batch_events,
        .batch_wait_ns = config->batch_wait_ns};

    w->env = env;
    w->backoff_ns = config->backoff_ns;
    w->qps = (double)config->throttle_qps;
    w->burst = w->tokens = (double)config->throttle_burst;
    w->tokens_at_ns = env_now_ns(env);
    env_lock_init(&w->lock);
    env_cond_init(&w->wake);
    http_canceller_init(&w->canceller);
    int result = kubeconfig_load(config->webhook_file, NULL, &w->kubeconfig, err);

    if (result == 0) {
        struct http_client_config client =
            kubeconfig_client_config(&w->kubeconfig, "skiff-apiserver-audit");

        result = http_client_new(env, &client, &w->client, err);
    }
    if (result < 0) {
        webhook_free(w);
        return error_wrap(err, "--audit-webhook-config-file");
    }
    *ret = sink_new(env, metrics, &webhook_ops, w, &limits);
    return 0;
}
