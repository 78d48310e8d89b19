/*
 * The workload and its checks; see workload.h.
 */
#include "tests/sim/workload.h"

#include <stdarg.h>

#include "common/hash.h"
#include "common/time.h"

#define COUNTER_WRITES 40
#define PATIENCE_NS (20 * 60 * NS_PER_S)

struct bound_pod {
    char *uid, *node;
    UT_hash_handle hh;
};

struct workload {
    struct cluster *cluster;
    struct sim *sim;
    struct env *env;
    int failures;
    int64_t acknowledged; /* the counter's highest value that a write or read returned */
    int64_t last_seen;    /* by the watch */
    bool counter_done, deployment_done;
    struct bound_pod *bound;
};

static void fail(struct workload *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct workload *w, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    w->failures++;
    sim_trace(w->sim, "BROKEN: %s", text);
    fprintf(stderr, "sim: broken at %.3f s: %s\n", (double)sim_now_ns(w->sim) / NS_PER_S, text);
}

static void pause_ms(struct workload *w, uint64_t most)
{
    env_sleep_ns(w->env, (int64_t)(1 + sim_below(w->sim, most)) * NS_PER_MS);
}

static bool is_passing(const struct error *err)
{
    return err->code == ERR_SYSTEM || err->code == ERR_CLOSED || err->code == ERR_TIMEOUT ||
           err->code == ERR_UNAVAILABLE || err->code == ERR_CONFLICT ||
           err->code == ERR_TOO_MANY_REQUESTS || err->code == ERR_INTERNAL;
}

/* --- the counter --- */

static const struct api_ref counter_ref = {
    .group_version = "v1", .plural = "configmaps", .namespace_ = "default", .name = "counter"};

/* The stored value, however long it takes to read; 0 when there is none. */
static int64_t read_counter(struct workload *w, struct api_client *api)
{
    struct error err;
    for (;;) {
        autojson cJSON *o = NULL;
        int r = api_get(api, &counter_ref, &o, &err);
        if (r == -ERR_NOT_FOUND)
            return 0;
        if (r == 0) {
            int64_t n = 0;
            const char *text = json_string_at(o, "data.n");
            if (text)
                str_parse_int64(str_of(text), &n, &err);
            if (n < w->acknowledged)
                fail(w, "the counter is %lld after %lld was acknowledged", (long long)n,
                    (long long)w->acknowledged);
            if (n > w->acknowledged)
                w->acknowledged = n;
            return n;
        }
        pause_ms(w, 300);
    }
}

static int write_counter(struct api_client *api, int64_t n, struct error *err)
{
    autojson cJSON *o = json_make(
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"counter\"},"
        "\"data\":{\"n\":\"%lld\"}}",
        (long long)n);
    struct api_ref collection = counter_ref;
    collection.name = NULL;
    return n == 1 ? api_create(api, &collection, o, NULL, err)
                  : api_patch(api, &counter_ref, PATCH_MERGE, o, NULL, err);
}

static void run_counter(void *arg)
{
    struct workload *w = arg;
    struct api_client *api = cluster_client(w->cluster, "counter");
    for (int64_t n = read_counter(w, api) + 1; n <= COUNTER_WRITES; n = read_counter(w, api) + 1) {
        struct error err;
        int r = write_counter(api, n, &err);
        if (r == 0)
            w->acknowledged = n;
        else if (!is_passing(&err) && r != -ERR_ALREADY_EXISTS && r != -ERR_NOT_FOUND)
            fail(w, "writing %lld: %s", (long long)n, err.text);
        pause_ms(w, 400);
    }
    w->counter_done = true;
}

/* --- watching it --- */

static void see(struct workload *w, const cJSON *event, int64_t *version)
{
    const cJSON *object = json_get(event, "object");
    const char *type = json_string(event, "type"), *text = json_string_at(object, "data.n");
    int64_t rv = 0, n = 0;
    struct error err;
    if (c_eq(type, "ERROR"))
        return;
    str_parse_int64(str_of(json_string_at(object, "metadata.resourceVersion")), &rv, &err);
    if (rv < *version || (rv == *version && !c_eq(type, "BOOKMARK")))
        fail(w, "the watch went from version %lld to %lld", (long long)*version, (long long)rv);
    *version = rv;
    if (c_eq(type, "BOOKMARK") || !text || str_parse_int64(str_of(text), &n, &err) < 0)
        return;
    if (n != w->last_seen + 1)
        fail(w, "the watch saw %lld after %lld", (long long)n, (long long)w->last_seen);
    w->last_seen = n;
}

static void read_watch(
    struct workload *w, struct http_stream *stream, int64_t *version, bool *expired)
{
    autostrbuf struct strbuf data = STRBUF_EMPTY;
    struct error err;
    strbuf_init(&data, 0);
    while (http_stream_next(stream, env_now_ns(w->env) + 600 * NS_PER_S, &data, &err) > 0) {
        const char *end;
        while ((end = memchr(data.data, '\n', data.n))) {
            size_t n = (size_t)(end - data.data) + 1;
            autojson cJSON *event = NULL;
            if (json_parse(str_range(data.data, n - 1), &event, &err) < 0)
                fail(w, "the watch sent no JSON: %s", err.text);
            else
                see(w, event, version);
            *expired = *expired || c_eq(json_string(event, "type"), "ERROR");
            strbuf_remove_front(&data, n);
        }
        if (w->last_seen == COUNTER_WRITES)
            return;
    }
}

/* A list, to start from or to start again from after 410: what it shows counts as seen. */
static bool start_watch(struct workload *w, struct api_client *api, int64_t *version)
{
    struct api_ref ref = {.group_version = "v1", .plural = "configmaps", .namespace_ = "default"};
    autojson cJSON *list = NULL;
    struct error err;
    const cJSON *item;
    if (api_list(api, &ref, "fieldSelector=metadata.name%3Dcounter", &list, &err) < 0)
        return false;
    str_parse_int64(str_of(json_string_at(list, "metadata.resourceVersion")), version, &err);
    cJSON_ArrayForEach(item, json_get(list, "items"))
    {
        int64_t n = 0;
        str_parse_int64(str_of(json_string_at(item, "data.n")), &n, &err);
        if (n < w->last_seen)
            fail(w, "a list shows %lld after the watch saw %lld", (long long)n,
                (long long)w->last_seen);
        w->last_seen = n;
    }
    return true;
}

static void run_watch(void *arg)
{
    struct workload *w = arg;
    struct api_client *api = cluster_client(w->cluster, "watcher");
    int64_t version = 0;
    bool expired = true;
    while (w->last_seen < COUNTER_WRITES) {
        if (expired && !start_watch(w, api, &version)) {
            pause_ms(w, 300);
            continue;
        }
        expired = false;
        autofree char *path = str_format(
            "/api/v1/namespaces/default/configmaps?watch=1&allowWatchBookmarks=true&"
            "fieldSelector=metadata.name%%3Dcounter&resourceVersion=%lld&timeoutSeconds=%llu",
            (long long)version, (unsigned long long)(1 + sim_below(w->sim, 8)));
        struct http_request request = {.method = "GET", .path = path};
        struct http_response head;
        struct http_stream *stream = NULL;
        struct error err;
        http_response_init(&head);
        if (http_stream_open(api_client_http(api), &request, &stream, &head, &err) == 0 && stream) {
            read_watch(w, stream, &version, &expired);
            http_stream_close(stream);
        } else {
            expired = head.status == 410;
        }
        http_response_done(&head);
        pause_ms(w, 200);
    }
}

/* --- pods are bound once --- */

static void look_at_pods(struct workload *w, const cJSON *list)
{
    const cJSON *pod;
    cJSON_ArrayForEach(pod, json_get(list, "items"))
    {
        const char *uid = json_string_at(pod, "metadata.uid"),
                   *node = json_string_at(pod, "spec.nodeName");
        struct bound_pod *b;
        if (!node || !*node)
            continue;
        HASH_FIND_STR(w->bound, uid, b);
        if (!b) {
            b = xcalloc(1, sizeof(*b));
            b->uid = xstrdup(uid);
            b->node = xstrdup(node);
            HASH_ADD_KEYPTR(hh, w->bound, b->uid, strlen(b->uid), b);
        } else if (!c_eq(b->node, node)) {
            fail(w, "pod %s moved from %s to %s", uid, b->node, node);
        }
    }
}

static int running_pods(struct workload *w, struct api_client *api, const char *image)
{
    struct api_ref ref = {.group_version = "v1", .plural = "pods", .namespace_ = "default"};
    autojson cJSON *list = NULL;
    struct error err;
    const cJSON *pod;
    int count = 0;
    if (api_list(api, &ref, NULL, &list, &err) < 0)
        return -1;
    look_at_pods(w, list);
    cJSON_ArrayForEach(pod, json_get(list, "items"))
    {
        const cJSON *container = cJSON_GetArrayItem(json_path(pod, "spec.containers"), 0);
        bool good = c_eq(json_string_at(pod, "status.phase"), "Running") &&
                    c_eq(json_string(container, "image"), image) &&
                    !json_string_at(pod, "metadata.deletionTimestamp");
        if (!good)
            return -1; /* something old or unfinished is still there */
        count++;
    }
    return count;
}

/* --- a Deployment's life --- */

static void must(struct workload *w, struct api_client *api, bool create, const char *text)
{
    struct api_ref ref = {.group_version = "apps/v1",
        .plural = "deployments",
        .namespace_ = "default",
        .name = create ? NULL : "web"};
    struct error err;
    for (;;) {
        autojson cJSON *body = json_make("%s", text);
        int r = create ? api_create(api, &ref, body, NULL, &err)
                       : api_patch(api, &ref, PATCH_STRATEGIC, body, NULL, &err);
        if (r == 0 || (create && r == -ERR_ALREADY_EXISTS))
            return;
        if (!is_passing(&err)) {
            fail(w, "deployment: %s", err.text);
            return;
        }
        pause_ms(w, 500);
    }
}

static void settle(struct workload *w, struct api_client *api, int replicas, const char *image)
{
    int64_t deadline_ns = sim_now_ns(w->sim) + PATIENCE_NS;
    while (running_pods(w, api, image) != replicas) {
        if (sim_now_ns(w->sim) > deadline_ns) {
            fail(w, "the Deployment does not settle at %d pods of %s", replicas, image);
            return;
        }
        pause_ms(w, 1000);
    }
    sim_trace(w->sim, "settled at %d pods of %s", replicas, image);
}

static void run_deployment(void *arg)
{
    struct workload *w = arg;
    struct api_client *api = cluster_client(w->cluster, "user");
    must(w, api, true,
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":3,"
        "\"selector\":{\"matchLabels\":{\"app\":\"web\"}},\"template\":{\"metadata\":{\"labels\":{"
        "\"app\":\"web\"}},"
        "\"spec\":{\"terminationGracePeriodSeconds\":1,\"containers\":[{\"name\":\"web\",\"image\":"
        "\"web:1\"}]}}}}");
    settle(w, api, 3, "web:1");
    must(w, api, false, "{\"spec\":{\"replicas\":5}}");
    settle(w, api, 5, "web:1");
    must(w, api, false,
        "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"web:2\"}]"
        "}}}}");
    settle(w, api, 5, "web:2");
    must(w, api, false, "{\"spec\":{\"replicas\":1}}");
    settle(w, api, 1, "web:2");
    w->deployment_done = true;
}

int workload_run(struct cluster *c)
{
    struct workload w = {.cluster = c, .sim = c->sim, .env = &sim_root(c->sim)->env};
    struct task *tasks[] = {
        env_spawn(w.env, "counter", run_counter, &w),
        env_spawn(w.env, "watch", run_watch, &w),
        env_spawn(w.env, "deployment", run_deployment, &w),
    };
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        env_join(w.env, tasks[i]);
    struct api_client *api = cluster_client(c, "auditor");
    if (read_counter(&w, api) != COUNTER_WRITES)
        fail(&w, "the counter did not reach %d", COUNTER_WRITES);
    return w.failures;
}
