/*
 * Component: API client and pages of a daemon. See component.h.
 *
 * The self-signed pair lives in two memory files that OpenSSL opens by their /proc/self/fd names,
 * so that no key touches a disk. Upstream: the healthz, version and metrics routes of
 * apiserver/pkg/server.
 */
#include "common/component.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/kubeconfig.h"
#include "common/log.h"
#include "common/pki.h"

#define SELF_SIGNED_SECONDS (365ll * 24 * 3600)

static void reply_text(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", str_of(text));
}

static void page_livez(void *arg, struct httpd_request *r)
{
    reply_text(r, 200, "ok");
}

static void page_readyz(void *arg, struct httpd_request *r)
{
    struct component *c = arg;

    if (c->is_ready(c->ready_arg))
        reply_text(r, 200, "ok");
    else
        reply_text(
            r, 503, "not ready: the first complete look at the cluster is still under way\n");
}

static void page_version(void *arg, struct httpd_request *r)
{
    autojson cJSON *v = cJSON_CreateObject();
    autostrbuf struct strbuf text;

    strbuf_init(&text, 0);
    json_set_string(v, "major", "1");
    json_set_string(v, "minor", "34");
    json_set_string(v, "gitVersion", SKIFF_KUBERNETES_VERSION "+skiff");
    json_set_string(v, "skiffVersion", SKIFF_VERSION);
    json_set_string(v, "platform", "linux/amd64");
    json_print(v, &text);
    httpd_reply(r, 200, "application/json", strbuf_str(&text));
}

static void page_metrics(void *arg, struct httpd_request *r)
{
    struct component *c = arg;
    autostrbuf struct strbuf text;

    strbuf_init(&text, 0);
    metrics_print(c->metrics, &text);
    httpd_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", strbuf_str(&text));
}

static const struct httpd_route routes[] = {
    {"GET", "/livez", true, page_livez},
    {"GET", "/readyz", true, page_readyz},
    {"GET", "/healthz", true, page_readyz},
    {"GET", "/version", false, page_version},
    {"GET", "/metrics", false, page_metrics},
};

static int authorize(void *arg, struct httpd_request *r, struct error *err)
{
    struct component *c = arg;

    return delegated_auth_check(c->auth, r, NULL, err);
}

int component_new(const char *name, const struct component_flags *flags, struct component **ret,
    struct error *err)
{
    struct kubeconfig kubeconfig = {0};
    struct http_client *http;

    int r = kubeconfig_load(flags->kubeconfig, NULL, &kubeconfig, err);
    if (r < 0)
        return r;
    struct env *env = env_new_real();
    struct http_client_config config = kubeconfig_client_config(&kubeconfig, name);
    config.share_reads = true;
    r = http_client_new(env, &config, &http, err);
    kubeconfig_done(&kubeconfig);
    if (r < 0) {
        env_free(env);
        return r;
    }
    struct component *c = xcalloc(1, sizeof(*c));
    c->env = env;
    c->name = name;
    c->flags = flags;
    c->client = api_client_new(env, http);
    c->metrics = metrics_default();
    c->cert_fd = c->key_fd = -1;
    *ret = c;
    return 0;
}

static int memory_file(const char *content, int *ret_fd, struct error *err)
{
    int fd = memfd_create("skiff-tls", MFD_CLOEXEC);
    size_t n = strlen(content);

    if (fd < 0 || write(fd, content, n) != (ssize_t)n) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return error_sys(err, saved, "memory file for a certificate");
    }
    *ret_fd = fd;
    return 0;
}

static int self_sign(struct component *c, struct error *err)
{
    struct pki_pair ca = {0}, pair = {0};
    struct pki_subject subject = {
        .common_name = c->name,
        .alt_names = (const char *const[]){"DNS:localhost", "IP:127.0.0.1", "IP:::1", NULL},
        .usage = PKI_SERVER,
        .valid_seconds = SELF_SIGNED_SECONDS,
    };

    int r = pki_new_ca(c->name, SELF_SIGNED_SECONDS, &ca, err);
    if (r == 0)
        r = pki_new_cert(&ca, &subject, &pair, err);
    if (r == 0)
        r = memory_file(pair.cert_pem, &c->cert_fd, err);
    if (r == 0)
        r = memory_file(pair.key_pem, &c->key_fd, err);
    pki_pair_done(&ca);
    pki_pair_done(&pair);
    return r;
}

static bool is_loopback(const char *address)
{
    return c_eq(address, "::1") || c_eq(address, "localhost") ||
           str_starts(str_of(address), STR("127."));
}

int component_serve(struct component *c, component_ready_fn *is_ready, void *arg, struct error *err)
{
    const struct component_flags *f = c->flags;
    struct httpd_config config = {
        .address = f->bind_address,
        .port = (int)f->secure_port,
        .cert_file = f->tls_cert_file,
        .key_file = f->tls_private_key_file,
        .client_ca_file = f->client_ca_file,
        .tls = f->tls,
        .routes = routes,
        .route_count = ARRAY_COUNT(routes),
        .arg = c,
        .authorize = authorize,
    };
    char cert_path[32], key_path[32];

    c->is_ready = is_ready;
    c->ready_arg = arg;
    if (!f->secure_port)
        return 0;
    if (!f->tls_cert_file) {
        if (!is_loopback(f->bind_address))
            return error_set(err, ERR_USAGE,
                "--bind-address %s is not loopback, so --tls-cert-file and --tls-private-key-file "
                "are needed",
                f->bind_address);
        int r = self_sign(c, err);
        if (r < 0)
            return r;
        snprintf(cert_path, sizeof(cert_path), "/proc/self/fd/%d", c->cert_fd);
        snprintf(key_path, sizeof(key_path), "/proc/self/fd/%d", c->key_fd);
        config.cert_file = cert_path;
        config.key_file = key_path;
    }
    c->auth = delegated_auth_new(c->client);
    int r = httpd_new(c->env, &config, &c->httpd, err);
    if (r < 0)
        return error_wrap(err, "health pages on %s port %d", f->bind_address, (int)f->secure_port);
    log_info("health pages are served", "address", "%s", f->bind_address, "port", "%d",
        httpd_port(c->httpd), NULL);
    return 0;
}

void component_stop_serving(struct component *c)
{
    httpd_free(steal(&c->httpd));
}

void component_free(struct component *c)
{
    if (!c)
        return;
    component_stop_serving(c);
    delegated_auth_free(c->auth);
    api_client_free(c->client);
    if (c->cert_fd >= 0)
        close(c->cert_fd);
    if (c->key_fd >= 0)
        close(c->key_fd);
    env_free(c->env);
    free(c);
}
