/*
 * What the audit costs a request on its loop: `bench-audit`.
 *
 * Method: the three calls of the pipeline over and over on a request made by hand, without a
 * policy, with one that says None, and with Metadata for a log at /dev/null; the thread's CPU time
 * divided by their number. The log's own task is not counted: it is another thread.
 *
 * Prints NAME <tab> VALUE <tab> UNIT <tab> TARGET.
 */
#include <stdlib.h>
#include <time.h>

#include "apiserver/audit/audit.h"
#include "apiserver/server.h"
#include "common/file.h"
#include "common/time.h"

#define REQUESTS 100000

static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t one(struct server *server)
{
    static const char *groups[] = {"devs", "system:authenticated", NULL};
    static struct http1_header headers[] = {
        {STR("User-Agent"), STR("kubectl/v1.34.0 (linux/amd64)")},
        {STR("Accept"), STR("application/json")}};
    struct request *q = request_new(server);

    q->method = STR("GET");
    q->target = STR("/api/v1/namespaces/default/pods/web-0");
    q->headers = headers;
    q->header_count = ARRAY_COUNT(headers);
    q->peer_address = "10.0.0.7:51234";
    q->path = q->target;
    q->verb = "get";
    q->version = "v1";
    q->plural = "pods";
    q->namespace_ = "default";
    q->name = "web-0";
    q->identity = (struct identity){.name = "jane", .uid = "2", .groups = groups};
    q->status = 200;
    q->content_type = "application/json";
    int64_t start_ns = cpu_ns();

    audit_stage(q);
    q->authorized = true;
    q->authorization_reason =
        "RBAC: allowed by RoleBinding \"b/default\" of Role \"r\" to User \"jane\"";
    audit_respond(q);
    q->responded = true;
    audit_finished(q);
    int64_t took_ns = cpu_ns() - start_ns;

    q->responded = false; /* no metrics of requests */
    request_free(q);
    return took_ns;
}

static double measure(struct server *server)
{
    int64_t sum_ns = 0, clock_ns = cpu_ns();

    for (int i = 0; i < 1000; i++)
        cpu_ns();
    clock_ns = (cpu_ns() - clock_ns) / 1000;
    for (int i = 0; i < REQUESTS; i++)
        sum_ns += one(server) - clock_ns;
    return (double)sum_ns / REQUESTS / 1000;
}

static double measure_policy(struct server *server, const char *dir, const char *level)
{
    autofree char *path = str_format("%s/policy", dir);
    autofree char *text = str_format("apiVersion: audit.k8s.io/v1\nkind: Policy\n"
                                     "omitStages: [RequestReceived]\nrules:\n- level: %s\n",
        level);
    struct audit_settings settings = {.policy_file = path,
        .log_path = "/dev/null",
        .batch_events = 1,
        .buffer_events = 2 * REQUESTS};
    struct error err;

    if (file_write(path, str_of(text), 0600, &err) < 0 ||
        audit_new(server->env, server->metrics, &settings, &server->audit, &err) < 0) {
        fprintf(stderr, "bench-audit: %s\n", err.text);
        exit(1);
    }
    double us = measure(server);

    audit_free(server->audit);
    server->audit = NULL;
    return us;
}

int main(void)
{
    struct server server = {.env = env_new_real(), .metrics = metrics_new()};
    char dir[] = "/tmp/skiff-bench-XXXXXX";
    struct error err;

    if (!mkdtemp(dir))
        return 1;
    printf("audit: a request without a policy\t%.3f\tus\t0\n", measure(&server));
    printf("audit: a request at None\t%.2f\tus\t-\n", measure_policy(&server, dir, "None"));
    printf("audit: a request at Metadata\t%.2f\tus\t-\n", measure_policy(&server, dir, "Metadata"));
    file_remove_tree(dir, &err);
    metrics_free(server.metrics);
    env_free(server.env);
    return 0;
}
