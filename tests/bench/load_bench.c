/*
 * Load for a Kubernetes API server, any that a kubeconfig leads to, and what it costs.
 *
 *     bench-load --kubeconfig FILE [--pids PID,PID] MODE...
 *
 * Modes: fill, create, create-pod, get, patch, list, list-cached, floor, watch, idle. They work in
 * a namespace of their own (--namespace), which is made and stays. `--in-flight` requests are under
 * way at any time, spread over `--connections`. CPU is that of the processes --pids (where they run
 * on this machine) over the whole mode, divided by its operations. `list` sends `floor` along: the
 * processor time of a thread that does nothing but SSL_write as many bytes.
 *
 * A watch's figures: one object is patched again and again, each time when every watcher has the
 * last change; the latency is from sending the PATCH to reading its event.
 */
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/flags.h"
#include "common/pki.h"
#include "common/time.h"
#include "tests/bench/load_client.h"
#include "tests/bench/load_measure.h"

#define CONFIG_MAP_BYTES 1024
#define POD_BYTES 1600

struct options {
    const char *kubeconfig, *namespace_, *pids, *title, *selector;
    int64_t requests, objects, in_flight, connections, watchers, target_us;
    bool http1, figures;
};

#define AT(member) offsetof(struct options, member)
static const struct flag flags[] = {
    {"kubeconfig", FLAG_STRING, AT(kubeconfig), NULL, "FILE", "the server to load"},
    {"namespace", FLAG_STRING, AT(namespace_), "bench-load", "NAME", "where objects are made"},
    {"pids", FLAG_STRING, AT(pids), NULL, "PID,...", "processes whose CPU is counted"},
    {"title", FLAG_STRING, AT(title), NULL, "TEXT", "name of the figures; by default the mode"},
    {"requests", FLAG_INT, AT(requests), "50000", "N", "operations; events of watch"},
    {"objects", FLAG_INT, AT(objects), "5000", "N", "objects that get, patch and list work on"},
    {"in-flight", FLAG_INT, AT(in_flight), "32", "N", "requests at once"},
    {"connections", FLAG_INT, AT(connections), "4", "N", "connections they are spread over"},
    {"watchers", FLAG_INT, AT(watchers), "200", "N", "watches of watch and idle"},
    {"target", FLAG_INT, AT(target_us), "0", "US", "CPU an operation to compare with"},
    {"query", FLAG_STRING, AT(selector), "", "QUERY",
        "appended to the URL of watch (&fieldSelector=...)"},
    {"http1", FLAG_BOOL, AT(http1), NULL, NULL, "HTTP/1.1; needs as many connections as requests"},
    {"figures", FLAG_BOOL, AT(figures), NULL, NULL, "print lines for tests/lib/bench.sh too"},
};

/* --- bodies --- */

static void pad(struct strbuf *b, size_t until)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog, ";

    while (b->n < until)
        strbuf_add_char(b, text[b->n % (sizeof(text) - 1)]);
}

static void config_map(struct strbuf *b, const char *name)
{
    strbuf_addf(b,
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\","
        "\"labels\":{\"app\":\"bench\"}},\"data\":{\"time\":\"0\",\"text\":\"",
        name);
    pad(b, CONFIG_MAP_BYTES - 3);
    strbuf_addc(b, "\"}}");
}

static void pod(struct strbuf *b, const char *name)
{
    strbuf_addc(b,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"terminationGracePeriodSeconds\":30,"
        "\"containers\":[{\"name\":\"web\",\"image\":\"registry.example.com/shop/web:1.25.3\","
        "\"ports\":[{\"name\":\"http\",\"containerPort\":8080}],\"env\":[{\"name\":\"LOG\","
        "\"value\":\"info\"},{\"name\":\"ADDRESS\",\"value\":\"0.0.0.0:8080\"}],\"resources\":{"
        "\"requests\":{\"cpu\":\"100m\",\"memory\":\"128Mi\"},\"limits\":{\"cpu\":\"500m\","
        "\"memory\":\"256Mi\"}},\"readinessProbe\":{\"httpGet\":{\"path\":\"/"
        "ready\",\"port\":8080},"
        "\"periodSeconds\":5},\"livenessProbe\":{\"httpGet\":{\"path\":\"/live\",\"port\":8080},"
        "\"initialDelaySeconds\":10},\"volumeMounts\":[{\"name\":\"config\",\"mountPath\":"
        "\"/etc/web\"}]}],\"volumes\":[{\"name\":\"config\",\"configMap\":{\"name\":\"web\"}}],"
        "\"schedulerName\":\"nobody\"},\"metadata\":{\"labels\":{\"app\":\"web\",\"tier\":"
        "\"front\","
        "\"pod-template-hash\":\"5d8c9f7b6\"},");
    strbuf_addf(b, "\"name\":\"%s\",\"annotations\":{\"note\":\"", name);
    pad(b, POD_BYTES - 4);
    strbuf_addc(b, "\"}}}");
}

/* --- a run: so many operations, so many at once --- */

struct slot {
    struct load_call call;
    struct run *run;
    char path[256], name[64];
    struct strbuf body;
};

struct run {
    const struct options *o;
    struct load_client *client;
    struct load_connection **connections;
    struct measure measure;
    const char *method, *plural, *content_type, *query;
    bool named;                                            /* the path has a name */
    void (*make_body)(struct strbuf *b, const char *name); /* or NULL */
    const char *prefix;                                    /* of names */
    int64_t modulo;                                        /* names repeat; 0: they don't */
    bool conflict_is_fine;
    int64_t started, ended, total;
    size_t bytes;
    struct slot *slots;
    bool finished;
};

static void next_operation(struct slot *s)
{
    struct run *r = s->run;
    int64_t i = r->started++;

    if (r->modulo > 0) /* no neighbours: a multiplier that is prime to most sizes */
        i = i * 7919 % r->modulo;
    snprintf(s->name, sizeof(s->name), "%s-%lld", r->prefix, (long long)i);
    snprintf(s->path, sizeof(s->path), "/api/v1/namespaces/%s/%s%s%s%s", r->o->namespace_,
        r->plural, r->named ? "/" : "", r->named ? s->name : "", r->query ? r->query : "");
    strbuf_clear(&s->body);
    if (r->make_body)
        r->make_body(&s->body, s->name);
    s->call.method = r->method;
    s->call.path = s->path;
    s->call.content_type = r->content_type ? r->content_type : "application/json";
    s->call.body = strbuf_str(&s->body);
    load_send(r->connections[(s - r->slots) % r->o->connections], &s->call);
}

static void operation_done(struct load_call *call)
{
    struct slot *s = container_of(call, struct slot, call);
    struct run *r = s->run;

    r->ended++;
    r->bytes = call->bytes;
    if (call->status / 100 == 2 || (call->status == 409 && r->conflict_is_fine)) {
        measure_add(&r->measure, load_now_ns() - call->sent_ns);
    } else if (r->measure.failed++ == 0) {
        fprintf(stderr, "bench-load: %s %s: status %d\n", call->method, call->path, call->status);
    }
    if (r->started < r->total)
        next_operation(s);
    else if (r->ended == r->total)
        r->finished = true;
}

static void connect_all(struct run *r)
{
    struct error err;

    r->connections = xcalloc((size_t)r->o->connections, sizeof(*r->connections));
    for (int64_t i = 0; i < r->o->connections; i++)
        if (load_connect(r->client, &r->connections[i], &err) < 0)
            load_fail(err.text);
}

static void run_operations(struct run *r, const char *title, bool quiet)
{
    int64_t at_once = r->o->in_flight < r->total ? r->o->in_flight : r->total;

    measure_init(&r->measure, title, r->o->pids, (size_t)r->total);
    r->measure.target_us = (double)r->o->target_us;
    r->slots = xcalloc((size_t)at_once, sizeof(*r->slots));
    r->started = r->ended = 0;
    r->finished = false;
    measure_start(&r->measure);
    for (int64_t i = 0; i < at_once; i++) {
        strbuf_init(&r->slots[i].body, 0);
        r->slots[i].run = r;
        r->slots[i].call.done = operation_done;
        next_operation(&r->slots[i]);
    }
    load_run(r->client, &r->finished);
    measure_stop(&r->measure);
    if (!quiet)
        measure_print(&r->measure, r->o->figures);
    for (int64_t i = 0; i < at_once; i++)
        strbuf_done(&r->slots[i].body);
    free(r->slots);
}

/* --- the modes --- */

static char unique[32]; /* prefix of names that were never used */

static void fill(struct run *r, const char *plural, void (*body)(struct strbuf *, const char *))
{
    struct run f = {.o = r->o,
        .client = r->client,
        .connections = r->connections,
        .method = "POST",
        .plural = plural,
        .make_body = body,
        .prefix = "object",
        .conflict_is_fine = true,
        .total = r->o->objects};

    run_operations(&f, "fill", true);
    measure_done(&f.measure);
}

static void do_fill(struct run *r)
{
    fill(r, "configmaps", config_map);
}

static void do_fill_pods(struct run *r)
{
    fill(r, "pods", pod);
}

static void do_create(struct run *r)
{
    r->method = "POST";
    r->plural = "configmaps";
    r->make_body = config_map;
    r->prefix = unique;
    run_operations(r, r->o->title ? r->o->title : "create a ConfigMap", false);
}

static void do_create_pod(struct run *r)
{
    r->method = "POST";
    r->plural = "pods";
    r->make_body = pod;
    r->prefix = unique;
    run_operations(r, r->o->title ? r->o->title : "create a pod", false);
}

static void do_get(struct run *r)
{
    do_fill(r);
    r->method = "GET";
    r->plural = "configmaps";
    r->named = true;
    r->prefix = "object";
    r->modulo = r->o->objects;
    run_operations(r, r->o->title ? r->o->title : "GET", false);
}

static void merge_patch(struct strbuf *b, const char *name)
{
    strbuf_addf(b, "{\"data\":{\"time\":\"%lld\"}}", (long long)load_now_ns());
}

static void do_patch(struct run *r)
{
    do_fill(r);
    r->method = "PATCH";
    r->plural = "configmaps";
    r->named = true;
    r->prefix = "object";
    r->modulo = r->o->objects;
    r->make_body = merge_patch;
    r->content_type = "application/merge-patch+json";
    run_operations(r, r->o->title ? r->o->title : "merge patch", false);
}

/* --- LIST, and its floor --- */

struct floor_writer {
    int fd;
    SSL_CTX *tls;
    size_t bytes; /* of an answer */
    int64_t answers;
    double cpu_us;
};

static void *write_floor(void *arg)
{
    struct floor_writer *w = arg;
    char *bytes = xcalloc(1, w->bytes);
    struct timespec before, after;
    SSL *ssl = SSL_new(w->tls);

    SSL_set_fd(ssl, w->fd);
    if (SSL_accept(ssl) != 1)
        load_fail("the floor's handshake failed");
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    for (int64_t i = 0; i < w->answers; i++)
        for (size_t at = 0; at < w->bytes;) {
            size_t left = w->bytes - at;
            int n = SSL_write(ssl, bytes + at, (int)(left < 65536 ? left : 65536));
            if (n <= 0)
                load_fail("the floor's write failed");
            at += (size_t)n;
        }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    w->cpu_us = (double)(after.tv_sec - before.tv_sec) * 1e6 +
                (double)(after.tv_nsec - before.tv_nsec) / 1e3;
    SSL_free(ssl);
    free(bytes);
    return NULL;
}

static SSL_CTX *floor_server(void)
{
    struct pki_pair pair;
    struct error err;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

    if (pki_new_ca("floor", 3600, &pair, &err) < 0)
        load_fail(err.text);
    BIO *bio = BIO_new_mem_buf(pair.cert_pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(pair.key_pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    SSL_CTX_use_certificate(tls, cert);
    SSL_CTX_use_PrivateKey(tls, key);
    X509_free(cert);
    EVP_PKEY_free(key);
    pki_pair_done(&pair);
    return tls;
}

static void tcp_pair(int ret[2])
{
    struct sockaddr_storage address;
    socklen_t n = sizeof(address);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ret[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listen(l, 1) < 0 || getsockname(l, (struct sockaddr *)&address, &n) < 0 ||
        connect(ret[0], (struct sockaddr *)&address, n) < 0)
        load_fail("no connection for the floor");
    ret[1] = accept(l, NULL, NULL);
    close(l);
}

/* us of CPU to SSL_write as many bytes as a list has. */
static double floor_us(size_t bytes, int64_t answers)
{
    struct floor_writer w = {.tls = floor_server(), .bytes = bytes, .answers = answers};
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(tls);
    pthread_t thread;
    int fds[2];
    char buffer[65536];

    tcp_pair(fds);
    w.fd = fds[1];
    pthread_create(&thread, NULL, write_floor, &w);
    SSL_set_fd(ssl, fds[0]);
    if (SSL_connect(ssl) != 1)
        load_fail("the floor's handshake failed");
    for (size_t left = bytes * (size_t)answers; left > 0;) {
        int n = SSL_read(ssl, buffer, sizeof(buffer));
        if (n <= 0)
            load_fail("the floor's read failed");
        left -= (size_t)n;
    }
    pthread_join(thread, NULL);
    SSL_free(ssl);
    SSL_CTX_free(tls);
    SSL_CTX_free(w.tls);
    close(fds[0]);
    close(fds[1]);
    return w.cpu_us / (double)answers;
}

static void list(struct run *r, const char *title, const char *query)
{
    do_fill_pods(r);
    r->method = "GET";
    r->plural = "pods";
    r->query = query;
    run_operations(r, title, true);
    double floor = floor_us(r->bytes, r->total);
    r->measure.target_us = 2 * floor;
    measure_print(&r->measure, r->o->figures);
    printf("%-34s %.1f MB, SSL_write alone %.0f us\n", "", (double)r->bytes / 1e6, floor);
    if (r->o->figures)
        measure_figure(title, "bare SSL_write", floor, "us", 0);
}

static void do_list(struct run *r)
{
    list(r, r->o->title ? r->o->title : "LIST pods", NULL);
}

static void do_list_cached(struct run *r)
{
    list(r, r->o->title ? r->o->title : "LIST pods, version 0", "?resourceVersion=0");
}

/* --- watches --- */

struct watch {
    struct load_call call;
    struct fan_out *fan_out;
    bool open;
};

struct fan_out {
    struct run *run;
    struct watch *watches;
    struct load_call write;
    struct strbuf body;
    char path[256], write_path[256];
    int64_t events, left; /* of the event under way */
    int64_t opened;
    bool written, finished;
    int64_t sent_ns;
};

static void next_event(struct fan_out *f)
{
    struct run *r = f->run;

    if (f->events == r->o->requests) {
        f->finished = true;
        return;
    }
    f->events++;
    f->left = r->o->watchers;
    f->written = false;
    strbuf_clear(&f->body);
    merge_patch(&f->body, NULL);
    f->write.body = strbuf_str(&f->body);
    f->sent_ns = load_now_ns();
    load_send(r->connections[0], &f->write);
}

static void event_came(struct load_call *call, struct str bytes)
{
    struct watch *w = container_of(call, struct watch, call);
    struct fan_out *f = w->fan_out;
    const char *p = bytes.p, *end = bytes.p + bytes.n;

    for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++) {
        if (!w->open) { /* its first: the object as it was */
            w->open = true;
            f->finished = ++f->opened == f->run->o->watchers;
            continue;
        }
        measure_add(&f->run->measure, load_now_ns() - f->sent_ns);
        if (--f->left == 0 && f->written)
            next_event(f);
    }
}

static void watch_ended(struct load_call *call)
{
    load_fail("a watch ended early");
}

static void event_written(struct load_call *call)
{
    struct fan_out *f = container_of(call, struct fan_out, write);

    if (call->status != 200)
        load_fail("the patch of the watched object failed");
    f->written = true;
    if (f->left == 0)
        next_event(f);
}

/* Each watcher gets the one object first, and so tells that it is there. */
static void open_watches(struct run *r, struct fan_out *f)
{
    struct load_connection *last = NULL;

    f->run = r;
    f->watches = xcalloc((size_t)r->o->watchers, sizeof(*f->watches));
    snprintf(f->path, sizeof(f->path),
        "/api/v1/namespaces/%s/configmaps?watch=true&fieldSelector=metadata.name%%3Dobject-0%s",
        r->o->namespace_, r->o->selector);
    for (int64_t i = 0; i < r->o->watchers; i++) {
        struct watch *w = &f->watches[i];
        w->fan_out = f;
        w->call = (struct load_call){
            .method = "GET", .path = f->path, .data = event_came, .done = watch_ended};
        /* over HTTP/1.1 the first connection is for the writes */
        last = r->connections[r->o->http1 ? i + 1 : i % r->o->connections];
        load_send(last, &w->call);
    }
    load_run(r->client, &f->finished);
    f->finished = false;
}

static void do_watch(struct run *r)
{
    struct fan_out f = {0};

    do_fill(r);
    open_watches(r, &f);
    strbuf_init(&f.body, 0);
    snprintf(f.write_path, sizeof(f.write_path), "/api/v1/namespaces/%s/configmaps/object-0",
        r->o->namespace_);
    f.write = (struct load_call){.method = "PATCH",
        .path = f.write_path,
        .content_type = "application/merge-patch+json",
        .done = event_written};
    measure_init(&r->measure, r->o->title ? r->o->title : "delivery to a watcher", r->o->pids,
        (size_t)(r->o->requests * r->o->watchers));
    r->measure.target_us = (double)r->o->target_us;
    measure_start(&r->measure);
    next_event(&f);
    load_run(r->client, &f.finished);
    measure_stop(&r->measure);
    measure_print(&r->measure, r->o->figures);
    strbuf_done(&f.body);
    free(f.watches);
}

/* Resident memory of the processes that is theirs alone, KB. */
static double private_kb(const struct measure *m)
{
    double sum = 0;
    char path[64], line[256];

    for (int i = 0; i < m->pid_count; i++) {
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", m->pids[i]);
        FILE *f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
            if (!strncmp(line, "Private_", 8))
                sum += strtod(strchr(line, ':') + 1, NULL);
        if (f)
            fclose(f);
    }
    return sum;
}

static void do_idle(struct run *r)
{
    const char *title = r->o->title ? r->o->title : "idle watch";
    struct fan_out f = {0};
    struct measure *m = &r->measure;

    measure_init(m, title, r->o->pids, 1);
    if (m->pid_count == 0)
        load_fail("idle needs --pids");
    do_fill(r);
    load_run_for(r->client, NS_PER_S);
    double before = private_kb(m);
    open_watches(r, &f);
    load_run_for(r->client, 2 * NS_PER_S);
    measure_figure(title, "memory", (private_kb(m) - before) / (double)r->o->watchers, "KB",
        (double)r->o->target_us);
    measure_start(m);
    load_run_for(r->client, 5 * NS_PER_S);
    measure_stop(m);
    measure_figure(title, "CPU of all in 1 s", measure_cpu_us(m) / 5, "us", 0);
    free(f.watches);
}

static const struct mode {
    const char *name;
    void (*run)(struct run *r);
} modes[] = {
    {"fill", do_fill},
    {"fill-pods", do_fill_pods},
    {"create", do_create},
    {"create-pod", do_create_pod},
    {"get", do_get},
    {"patch", do_patch},
    {"list", do_list},
    {"list-cached", do_list_cached},
    {"watch", do_watch},
    {"idle", do_idle},
};

/* --- main --- */

static void small_done(struct load_call *call)
{
    struct slot *s = container_of(call, struct slot, call);

    if (call->status / 100 != 2 && call->status != 409)
        load_fail("the namespace can't be made");
    s->run->finished = true;
}

static void post(struct run *r, const char *path, const char *body)
{
    struct slot s = {.run = r,
        .call = {.method = "POST",
            .path = path,
            .content_type = "application/json",
            .body = str_of(body),
            .done = small_done}};

    r->finished = false;
    load_send(r->connections[0], &s.call);
    load_run(r->client, &r->finished);
}

/* The namespace, and the account that its pods run as (a server without controllers lacks it). */
static void make_namespace(struct run *r)
{
    autofree char *body = str_format("{\"metadata\":{\"name\":\"%s\"}}", r->o->namespace_);
    autofree char *path = str_format("/api/v1/namespaces/%s/serviceaccounts", r->o->namespace_);

    post(r, "/api/v1/namespaces", body);
    post(r, path, "{\"metadata\":{\"name\":\"default\"}}");
}

static void allow_files(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

static void run_mode(const char *name, const struct options *o, const struct kubeconfig *k)
{
    struct run r = {.o = o, .total = o->requests};
    const struct mode *mode = NULL;
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(modes); i++)
        if (c_eq(modes[i].name, name))
            mode = &modes[i];
    if (!mode)
        load_fail("no such mode; --help and the head of load_bench.c tell them");
    if (load_client_new(k, o->http1, &r.client, &err) < 0)
        load_fail(err.text);
    connect_all(&r);
    make_namespace(&r);
    snprintf(unique, sizeof(unique), "n%llx", (unsigned long long)load_now_ns());
    mode->run(&r);
    if (r.measure.latencies_ns)
        measure_done(&r.measure);
    load_client_free(r.client);
    free(r.connections);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct kubeconfig k;
    struct error err;

    int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &o, &err);
    if (first == FLAGS_HELP)
        return 0;
    if (first < 0 || kubeconfig_load(o.kubeconfig, NULL, &k, &err) < 0)
        load_fail(err.text);
    if (o.http1 && o.in_flight > o.connections)
        o.in_flight = o.connections;
    if (first == argc)
        load_fail("which mode? fill, fill-pods, create, create-pod, get, patch, list, list-cached, "
                  "watch, idle");
    allow_files();
    for (int i = first; i < argc; i++)
        run_mode(argv[i], &o, &k);
    kubeconfig_done(&k);
    return 0;
}
