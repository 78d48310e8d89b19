/*
 * skiffctl logs: what a pod's containers have printed.
 */
#include "ctl/session.h"

#include "common/time.h"

struct logs_flags {
    struct common_flags common;
    const char *container;
    int64_t tail, since_ns, limit_bytes;
    bool follow, previous, timestamps;
};

/* The pods of a workload by its selector; the first one that runs, else the first. */
static int pod_of_workload(struct session *s, const struct target *t, char **ret, struct error *err)
{
    struct api_ref ref = resource_ref(t->resource, s->namespace_, t->name);
    struct api_ref pods = {.group_version = "v1", .plural = "pods", .namespace_ = s->namespace_};
    autojson cJSON *o = NULL;
    autojson cJSON *list = NULL;
    autostrbuf struct strbuf query = STRBUF_EMPTY, selector = STRBUF_EMPTY;
    strbuf_init(&query, 0);
    strbuf_init(&selector, 0);
    if (api_get(s->client.api, &ref, &o, err) < 0)
        return -err->code;
    const cJSON *labels = json_path(o, "spec.selector.matchLabels"), *item;
    if (!labels)
        labels = json_path(o, "spec.selector");
    cJSON_ArrayForEach(item, labels) if (cJSON_IsString(item))
        strbuf_addf(&selector, "%s%s=%s", selector.n ? "," : "", item->string, item->valuestring);
    if (selector.n == 0)
        return error_set(
            err, ERR_USAGE, "%s has no selector to find pods with", t->resource->plural);
    strbuf_addc(&query, "labelSelector=");
    url_encode(strbuf_str(&selector), &query);
    if (api_list(s->client.api, &pods, query.data, &list, err) < 0)
        return -err->code;
    const cJSON *best = NULL;
    int count = 0;
    cJSON_ArrayForEach(item, json_get(list, "items"))
    {
        bool runs = c_eq(json_string_at(item, "status.phase"), "Running");
        if (!best || (runs && !c_eq(json_string_at(best, "status.phase"), "Running")))
            best = item;
        count++;
    }
    if (!best)
        return error_set(
            err, ERR_NOT_FOUND, "no pods found for %s \"%s\"", t->resource->singular, t->name);
    *ret = xstrdup(json_string_at(best, "metadata.name"));
    if (count > 1)
        fprintf(stderr, "Found %d pods, using pod/%s\n", count, *ret);
    return 0;
}

static void add_query(struct strbuf *path, const struct logs_flags *f)
{
    strbuf_addf(path, "?follow=%s&previous=%s&timestamps=%s", f->follow ? "true" : "false",
        f->previous ? "true" : "false", f->timestamps ? "true" : "false");
    if (f->container) {
        strbuf_addc(path, "&container=");
        url_encode(str_of(f->container), path);
    }
    if (f->tail >= 0)
        strbuf_addf(path, "&tailLines=%lld", (long long)f->tail);
    if (f->since_ns > 0)
        strbuf_addf(
            path, "&sinceSeconds=%lld", (long long)((f->since_ns + NS_PER_S - 1) / NS_PER_S));
    if (f->limit_bytes > 0)
        strbuf_addf(path, "&limitBytes=%lld", (long long)f->limit_bytes);
}

static int print_logs(
    const struct logs_flags *f, struct session *s, const char *pod, struct error *err)
{
    struct api_ref ref = {.group_version = "v1",
        .plural = "pods",
        .namespace_ = s->namespace_,
        .name = pod,
        .subresource = "log"};
    autostrbuf struct strbuf path = STRBUF_EMPTY, data = STRBUF_EMPTY;
    struct http_response head;
    struct http_stream *stream;
    int more = 0;
    strbuf_init(&path, 0);
    strbuf_init(&data, 0);
    api_path(&ref, &path);
    add_query(&path, f);
    struct http_request request = {.method = "GET", .path = path.data};
    http_response_init(&head);
    int result = http_stream_open(api_client_http(s->client.api), &request, &stream, &head, err);
    if (result == 0 && !stream)
        result = api_error_from_response(&head, err);
    http_response_done(&head);
    if (result < 0)
        return result;
    while ((more = http_stream_next(stream, ENV_FOREVER, &data, err)) > 0) {
        fwrite(data.data, 1, data.n, stdout);
        fflush(stdout);
        strbuf_clear(&data);
    }
    http_stream_close(stream);
    return more;
}

static int logs_run(void *config, int argc, char **argv)
{
    struct logs_flags *f = config;
    struct session s;
    struct error err;
    autofree char *pod = NULL;
    if (argc < 1 || argc > 2)
        return command_fail(EXIT_WRONG_USAGE, "logs needs POD or TYPE/NAME");
    if (argc == 2 && !f->container)
        f->container = argv[1];
    if (session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int result = 0;
    if (strchr(argv[0], '/')) {
        struct targets targets;
        result = targets_parse(&s.map, 1, argv, &targets, &err);
        if (result == 0) {
            if (c_eq(targets.all[0].resource->plural, "pods"))
                pod = xstrdup(targets.all[0].name);
            else
                result = pod_of_workload(&s, &targets.all[0], &pod, &err);
            targets_done(&targets);
        }
    } else {
        pod = xstrdup(argv[0]);
    }
    if (result == 0)
        result = print_logs(f, &s, pod, &err);
    session_close(&s);
    return result < 0 ? session_fail(&err) : EXIT_DONE;
}

#define LOGS(member) offsetof(struct logs_flags, member)

static const struct flag logs_flag_table[] = {
    {"container,c", FLAG_STRING, LOGS(container), NULL, "NAME",
        "which container, when there are several"},
    {"follow,f", FLAG_BOOL, LOGS(follow), NULL, NULL, "go on printing"},
    {"previous,p", FLAG_BOOL, LOGS(previous), NULL, NULL,
        "of the container before its last restart"},
    {"tail", FLAG_INT, LOGS(tail), "-1", "N", "the last N lines only"},
    {"since", FLAG_DURATION, LOGS(since_ns), "0s", "DURATION", "not older than this"},
    {"limit-bytes", FLAG_INT, LOGS(limit_bytes), "0", "N", "at most N bytes"},
    {"timestamps", FLAG_BOOL, LOGS(timestamps), NULL, NULL, "with the time of each line"},
    COMMON_FLAGS(struct logs_flags, common),
};

const struct command command_logs = {
    .name = "logs",
    .usage = "POD [CONTAINER] | TYPE/NAME",
    .summary = "print what containers have written",
    .help = "Prints the output of a container of a pod, or of a pod of a workload.\n\n"
            "Examples:\n  skiffctl logs web-0\n  skiffctl logs deployment/web -f --tail 20",
    .flags = logs_flag_table,
    .flag_count = ARRAY_COUNT(logs_flag_table),
    .config_size = sizeof(struct logs_flags),
    .run = logs_run,
};
