/*
 * What a request costs the HTTP client, in CPU: `bench-http-client [plain|tls]` (default tls).
 *
 * Method: a child process serves 2 KB pages with common/httpd on loopback; 1, 4 and 16 tasks here
 * ask for them over one client. Figures are user and system time of this process alone, per
 * request, and its private memory at the end.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "common/http_client.h"
#include "common/httpd.h"
#include "common/pki.h"
#include "common/time.h"

#define REQUESTS 16000
#define PAGE_BYTES 2048

struct load {
    struct env *env;
    struct http_client *client;
    const char *method;
    int requests;
    int failures;
};

static void on_page(void *arg, struct httpd_request *r)
{
    static const char page[PAGE_BYTES];

    httpd_reply(r, 200, "application/json", (struct str){page, sizeof(page)});
}

static const struct httpd_route routes[] = {{NULL, "/page", true, on_page}};

static void fail(const struct error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_private_memory(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/smaps_rollup", "re");

    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, "Private_Dirty:", 14))
            printf("private memory %s", line + 14);
    if (f)
        fclose(f);
}

static void ask(void *arg)
{
    struct load *l = arg;
    static const struct http_header headers[] = {
        {"Accept", "application/json"}, {"Content-Type", "application/json"}};
    static const char body[500];
    bool has_body = strcmp(l->method, "GET") != 0;
    struct http_response response;
    struct error err;

    http_response_init(&response);
    for (int i = 0; i < l->requests; i++) {
        struct http_request request = {.method = l->method,
            .path = "/page",
            .headers = headers,
            .header_count = has_body ? 2 : 1,
            .body = {body, has_body ? sizeof(body) : 0}};
        if (http_do(l->client, &request, &response, &err) < 0)
            fail(&err);
        l->failures += response.status != 200;
    }
    http_response_done(&response);
}

static void measure(struct load load, int tasks)
{
    struct task *running[16];
    struct load loads[16];

    load.requests = REQUESTS / tasks;
    double cpu = cpu_seconds();
    int64_t started = env_now_ns(load.env);
    for (int i = 0; i < tasks; i++) {
        loads[i] = load;
        running[i] = env_spawn(load.env, "ask", ask, &loads[i]);
    }
    int failures = 0;
    for (int i = 0; i < tasks; i++) {
        env_join(load.env, running[i]);
        failures += loads[i].failures;
    }
    double seconds = (double)(env_now_ns(load.env) - started) / 1e9;
    printf("%-4s %2d tasks  %6.0f requests/s  %5.1f us CPU each  %d failed\n", load.method, tasks,
        REQUESTS / seconds, (cpu_seconds() - cpu) / REQUESTS * 1e6, failures);
}

/* The child: serves until its input is closed. */
static void serve(const struct httpd_config *config, int port_fd, int end_fd)
{
    struct env *env = env_new_real();
    struct httpd *server;
    struct error err;
    char byte;

    if (httpd_new(env, config, &server, &err) < 0)
        fail(&err);
    int port = httpd_port(server);
    if (write(port_fd, &port, sizeof(port)) != sizeof(port) || read(end_fd, &byte, 1) != 0)
        exit(1);
    httpd_free(server);
    env_free(env);
    exit(0);
}

static void make_certs(const char *dir, struct pki_pair *ca, char *cert, char *key, size_t n)
{
    static const char *const names[] = {"IP:127.0.0.1", NULL};
    struct pki_subject subject = {
        .common_name = "bench", .alt_names = names, .usage = PKI_SERVER, .valid_seconds = 3600};
    struct pki_pair pair;
    struct error err;

    snprintf(cert, n, "%s/tls.crt", dir);
    snprintf(key, n, "%s/tls.key", dir);
    if (pki_new_ca("bench-ca", 3600, ca, &err) < 0 || pki_new_cert(ca, &subject, &pair, &err) < 0 ||
        file_write(cert, str_of(pair.cert_pem), 0600, &err) < 0 ||
        file_write(key, str_of(pair.key_pem), 0600, &err) < 0)
        fail(&err);
    pki_pair_done(&pair);
}

static void measure_all(const char *url, const char *ca_pem)
{
    struct env *env = env_new_real();
    struct http_client *client;
    struct error err;

    if (http_client_new(env, &(struct http_client_config){.base_url = url, .ca_pem = ca_pem},
            &client, &err) < 0)
        fail(&err);
    for (int tasks = 1; tasks <= 16; tasks *= 4) {
        measure((struct load){.env = env, .client = client, .method = "GET"}, tasks);
        measure((struct load){.env = env, .client = client, .method = "POST"}, tasks);
    }
    print_private_memory();
    http_client_free(client);
    env_free(env);
}

int main(int argc, char **argv)
{
    bool tls = argc < 2 || strcmp(argv[1], "plain") != 0;
    char dir[] = "/tmp/skiff-bench-XXXXXX", cert[64], key[64], url[64];
    struct pki_pair ca;
    struct error err;
    int port_pipe[2], end_pipe[2], port, status;

    if (!mkdtemp(dir) || pipe(port_pipe) < 0 || pipe(end_pipe) < 0)
        return 1;
    make_certs(dir, &ca, cert, key, sizeof(cert));
    pid_t child = fork();
    if (child == 0) {
        close(end_pipe[1]);
        serve(&(struct httpd_config){.address = "127.0.0.1",
                  .cert_file = tls ? cert : NULL,
                  .key_file = tls ? key : NULL,
                  .routes = routes,
                  .route_count = ARRAY_COUNT(routes)},
            port_pipe[1], end_pipe[0]);
    }
    if (child < 0 || read(port_pipe[0], &port, sizeof(port)) != sizeof(port))
        return 1;
    snprintf(url, sizeof(url), "http%s://127.0.0.1:%d", tls ? "s" : "", port);
    measure_all(url, ca.cert_pem);
    close(end_pipe[1]);
    waitpid(child, &status, 0);
    pki_pair_done(&ca);
    return file_remove_tree(dir, &err) < 0 || status != 0;
}
