/*
 * The manager's own pages: see serving.h. Health is open to everybody, the rest is authorized by the API server.
 */
#include "controller/serving.h"

#include <errno.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/delegated_auth.h"
#include "common/file.h"
#include "common/httpd.h"
#include "common/pki.h"
#include "controller/manager.h"

struct serving {
    struct delegated_auth *auth;
    struct httpd *httpd;
    struct manager *manager;
    char *own_dir; /* a temporary one, removed at the end */
};

static void reply_text(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", str_of(text));
}

static void on_live(void *arg, struct httpd_request *r)
{
    reply_text(r, 200, "ok");
}

static void on_ready(void *arg, struct httpd_request *r)
{
    struct serving *s = arg;

    if (manager_ready(s->manager))
        reply_text(r, 200, "ok");
    else
        reply_text(r, 500, "informers are not synced yet");
}

static void on_version(void *arg, struct httpd_request *r)
{
    httpd_reply(r, 200, "application/json",
        STR("{\"major\":\"1\",\"minor\":\"34\",\"gitVersion\":\"" SKIFF_KUBERNETES_VERSION
            "+skiff\",\"platform\":\"linux/amd64\"}"));
}

static void on_metrics(void *arg, struct httpd_request *r)
{
    autostrbuf struct strbuf text;

    strbuf_init(&text, 0);
    metrics_print(metrics_default(), &text);
    httpd_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", strbuf_str(&text));
}

static int authorize(void *arg, struct httpd_request *r, struct error *err)
{
    struct serving *s = arg;
    return delegated_auth_check(s->auth, r, NULL, err);
}

static const struct httpd_route routes[] = {
    {"GET", "/livez", true, on_live},
    {"GET", "/healthz", true, on_live},
    {"GET", "/readyz", true, on_ready},
    {"GET", "/version", false, on_version},
    {"GET", "/metrics", false, on_metrics},
};

/* A pair for loopback, made once a start. */
static int make_pair(struct serving *s, const struct serving_config *config, char **ret_cert,
    char **ret_key, struct error *err)
{
    static const char *const names[] = {"DNS:localhost", "IP:127.0.0.1", NULL};
    struct pki_pair ca = {0}, pair = {0};
    char template[] = "/tmp/skiff-controller-XXXXXX";
    const char *dir = config->cert_dir;

    if (!dir || !*dir) {
        if (!mkdtemp(template))
            return error_sys(err, errno, "%s", template);
        s->own_dir = xstrdup(template);
        dir = s->own_dir;
    }
    int r = file_make_dirs(dir, 0700, err);
    if (r == 0)
        r = pki_new_ca("skiff-controller-manager", 10l * 365 * 86400, &ca, err);
    if (r == 0)
        r = pki_new_cert(&ca,
            &(struct pki_subject){.common_name = "skiff-controller-manager", .alt_names = names,
                .usage = PKI_SERVER, .valid_seconds = 365l * 86400},
            &pair, err);
    *ret_cert = str_format("%s/controller-manager.crt", dir);
    *ret_key = str_format("%s/controller-manager.key", dir);
    if (r == 0)
        r = file_write(*ret_cert, str_of(pair.cert_pem), 0644, err);
    if (r == 0)
        r = file_write(*ret_key, str_of(pair.key_pem), 0600, err);
    pki_pair_done(&ca);
    pki_pair_done(&pair);
    return r;
}

int serving_new(struct api_client *client, const struct serving_config *config, struct serving **ret,
    struct error *err)
{
    autofree char *cert = config->cert_file ? xstrdup(config->cert_file) : NULL;
    autofree char *key = config->key_file ? xstrdup(config->key_file) : NULL;
    int r = 0;

    *ret = NULL;
    if (config->port == 0)
        return 0;
    struct serving *s = xcalloc(1, sizeof(*s));
    s->manager = config->ready;
    s->auth = delegated_auth_new(client);
    if (!cert)
        r = make_pair(s, config, &cert, &key, err);
    if (r == 0)
        r = httpd_new(api_client_env(client),
            &(struct httpd_config){.address = config->address, .port = (int)config->port,
                .cert_file = cert, .key_file = key, .client_ca_file = config->client_ca_file,
                .routes = routes, .route_count = ARRAY_COUNT(routes), .arg = s, .authorize = authorize},
            &s->httpd, err);
    if (r < 0) {
        serving_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void serving_free(struct serving *s)
{
    struct error err;

    if (!s)
        return;
    if (s->httpd)
        httpd_free(s->httpd);
    if (s->own_dir)
        file_remove_tree(s->own_dir, &err);
    delegated_auth_free(s->auth);
    free(s->own_dir);
    free(s);
}
