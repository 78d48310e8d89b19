/*
 * skiffctl join: makes this host a node of a cluster whose API server is elsewhere.
 *
 * The server shows its certificates in the TLS handshake; the one whose public key has the hash
 * given with --ca-hash is the CA, and the server's own must be signed by it. Only then is the token
 * sent. The kubelet turns the token into a certificate of its own (a CertificateSigningRequest);
 * proxy and DNS start when it has it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/pki.h"
#include "common/time.h"
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/ui.h"
#include "ctl/up.h"

struct join_flags {
    const char *data_dir, *server, *token, *ca_hash, *node_name, *node_ip, *docker_endpoint,
        *cni_conf_dir;
    int64_t timeout_ns;
};

static int dial(const char *host, const char *port, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
    int failed = getaddrinfo(host, port, &hints, &all);
    if (failed)
        return error_set(err, ERR_UNAVAILABLE, "%s: %s", host, gai_strerror(failed));
    int fd = -1;
    struct timeval patience = {.tv_sec = 10};
    for (struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            failed = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    if (fd < 0)
        return error_set(err, ERR_UNAVAILABLE, "the server %s:%s does not answer: %s", host, port,
            strerror(failed));
    return fd;
}

static char *pem_of(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    PEM_write_bio_X509(bio, cert);
    long n = BIO_get_mem_data(bio, &data);
    char *pem = str_dup(str_range(data, (size_t)n));
    BIO_free(bio);
    return pem;
}

/* Finds the CA in the chain by its hash and checks the server's certificate against it. */
static int check_chain(SSL *ssl, const char *ca_hash, char **ret_ca_pem, struct error *err)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *candidate = sk_X509_value(chain, i);
        autofree char *pem = pem_of(candidate);
        autofree char *hash = NULL;
        if (pki_cert_hash(pem, &hash, err) < 0)
            return -err->code;
        if (!c_eq(hash, ca_hash))
            continue;
        if (X509_verify(sk_X509_value(chain, 0), X509_get0_pubkey(candidate)) != 1)
            break;
        *ret_ca_pem = steal(&pem);
        return 0;
    }
    return error_set(err, ERR_UNAUTHORIZED,
        "the server shows no CA certificate with the hash %s; compare with the output of 'skiffctl "
        "token create'",
        ca_hash);
}

static int fetch_ca(
    const char *host, const char *port, const char *ca_hash, char **ret_ca_pem, struct error *err)
{
    int fd = dial(host, port, err);
    if (fd < 0)
        return fd;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    int result = SSL_connect(ssl) == 1
                     ? check_chain(ssl, ca_hash, ret_ca_pem, err)
                     : error_set(err, ERR_UNAVAILABLE, "no TLS connection to %s:%s", host, port);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    return result;
}

static int split_server(const char *server, char **ret_host, char **ret_port, struct error *err)
{
    struct str rest = str_of(server);
    if (!str_starts(rest, STR("https://")))
        return error_set(err, ERR_USAGE, "--server must be https://HOST:PORT, not \"%s\"", server);
    rest = str_range(rest.p + 8, rest.n - 8);
    if (str_ends(rest, STR("/")))
        rest.n--;
    const char *colon = memrchr(rest.p, ':', rest.n);
    bool bracketed = rest.n > 2 && rest.p[0] == '[' && colon && colon[-1] == ']';
    struct str host = colon ? str_range(rest.p, (size_t)(colon - rest.p)) : rest;
    if (bracketed)
        host = str_range(host.p + 1, host.n - 2);
    *ret_host = str_dup(host);
    *ret_port = colon ? str_dup(str_range(colon + 1, rest.n - host.n - (bracketed ? 3 : 1)))
                      : xstrdup("6443");
    return 0;
}

static int settle(const struct join_flags *f, struct env *env, struct cluster *c, bool *ret_new,
    struct error *err)
{
    autofree char *dir = NULL;
    if (cluster_dir(f->data_dir, &dir, err) < 0)
        return -err->code;
    int result = cluster_load(dir, c, err);
    if (result < 0 && err->code != ERR_NOT_FOUND)
        return result;
    *ret_new = result < 0;
    if (!*ret_new) {
        if (!c->joined || !c_eq(c->server, f->server))
            return error_set(err, ERR_CONFLICT,
                "%s already holds %s; 'skiffctl down --purge' it first", c->dir,
                c->joined ? "a node of another cluster" : "a cluster of its own");
        return 0;
    }
    *c = (struct cluster){.dir = steal(&dir),
        .joined = true,
        .secure_port = 6443,
        .id = xcalloc(1, 9),
        .server = xstrdup(f->server),
        .docker_endpoint = xstrdup(f->docker_endpoint),
        .cni_conf_dir = xstrdup(f->cni_conf_dir),
        .node_name = f->node_name ? xstrdup(f->node_name) : up_node_name()};
    for (size_t i = 0; i < 8; i++)
        c->id[i] = (char)('a' + env_random(env) % 26);
    if (f->node_ip)
        c->node_ip = xstrdup(f->node_ip);
    if (!c->node_ip && up_node_ip(&c->node_ip, err) < 0)
        return -err->code;
    return cluster_check_node(c, err);
}

static int prepare(const struct join_flags *f, const struct cluster *c, struct error *err)
{
    autofree char *host = NULL, *port = NULL, *ca_pem = NULL;
    autofree char *ca_path = cluster_path(c, "pki/ca.crt");
    autofree char *bootstrap = cluster_path(c, "bootstrap.kubeconfig");
    autofree char *id_path = cluster_path(c, "cluster-id");
    if (split_server(f->server, &host, &port, err) < 0 ||
        fetch_ca(host, port, f->ca_hash, &ca_pem, err) < 0 || up_make_dirs(c, err) < 0 ||
        cluster_save(c, err) < 0)
        return -err->code;
    if (file_write(ca_path, str_of(ca_pem), 0644, err) < 0 ||
        file_write(id_path, str_of(c->id), 0644, err) < 0)
        return -err->code;
    return credentials_write_kubeconfig(
        bootstrap, c->server, ca_pem, NULL, NULL, false, f->token, err);
}

/* The token must be good before anything is started: a wrong one is an answer of the server, not a
 * time-out. */
static int check_token(const struct cluster *c, struct error *err)
{
    struct ctl_client client;
    autofree char *path = cluster_path(c, "bootstrap.kubeconfig");
    if (ctl_client_open(path, NULL, &client, err) < 0)
        return -err->code;
    autojson cJSON *review = json_make(
        "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\","
        "\"spec\":{\"resourceAttributes\":{\"group\":\"certificates.k8s.io\",\"resource\":"
        "\"certificatesigningrequests\",\"verb\":\"create\"}}}");
    autojson cJSON *answer = NULL;
    struct api_ref ref = {
        .group_version = "authorization.k8s.io/v1", .plural = "selfsubjectaccessreviews"};
    int result = api_create(client.api, &ref, review, &answer, err);
    ctl_client_close(&client);
    if (result < 0 && err->code == ERR_UNAUTHORIZED)
        return error_set(err, ERR_UNAUTHORIZED,
            "the server does not accept the token (expired or mistyped?); make one with 'skiffctl "
            "token create'");
    return result;
}

static int wait_certificate(
    const struct cluster *c, struct env *env, int64_t deadline_ns, struct error *err)
{
    autofree char *path = cluster_path(c, "kubelet.kubeconfig");
    struct ui_step step;
    ui_step_begin(&step, env, "certificate for node %s", c->node_name);
    while (!file_exists(path)) {
        if (env_now_ns(env) > deadline_ns) {
            ui_step_end(&step, false, "none was issued");
            return error_set(
                err, ERR_TIMEOUT, "no certificate was issued; see %s/log/kubelet.log", c->dir);
        }
        ui_step_update(&step, "requested");
        env_sleep_ns(env, 20 * NS_PER_MS);
    }
    ui_step_end(&step, true, "issued");
    return 0;
}

static int run(const struct join_flags *f, struct env *env, struct cluster *c, struct error *err)
{
    bool is_new = false;
    int64_t deadline_ns = env_now_ns(env) + f->timeout_ns;
    if (settle(f, env, c, &is_new, err) < 0)
        return -err->code;
    if (file_make_dirs(c->dir, 0700, err) < 0)
        return -err->code;
    int result =
        preflight_check(c, env, !is_new && (service_running(c) || leftovers_exist(c->dir)), err);
    autofree char *own = cluster_path(c, "kubelet.kubeconfig");
    bool has_identity =
        file_exists(own); /* else an earlier run was cut short: this one's token counts */
    if (result == 0 && !has_identity)
        result = prepare(f, c, err);
    if (result == 0 && !has_identity)
        result = check_token(c, err);
    if (result == 0)
        result = service_start(c, err);
    if (result == 0)
        result = wait_certificate(c, env, deadline_ns, err);
    if (result == 0)
        result = up_wait_healthy(c, env, NULL, NULL, deadline_ns, err);
    struct ctl_client client;
    if (result == 0)
        result = ctl_client_open(own, NULL, &client, err);
    if (result == 0) {
        result = up_wait_node_ready(c, client.api, deadline_ns, err);
        ctl_client_close(&client);
    }
    if (result < 0 && is_new) {
        struct error why;
        if (cluster_undo(c, &why) < 0)
            fprintf(stderr, "what was started could not be taken away: %s\n", why.text);
    }
    return result;
}

static int join_run(void *config, int argc, char **argv)
{
    struct join_flags *f = config;
    struct cluster c = {0};
    struct error err;
    if (argc > 0)
        return command_fail(EXIT_WRONG_USAGE, "join takes no arguments, but got \"%s\"", argv[0]);
    if (!f->server || !f->token || !f->ca_hash)
        return command_fail(EXIT_WRONG_USAGE,
            "join needs --server, --token and --ca-hash; 'skiffctl token create' on "
            "the first host prints the whole command");
    struct env *env = env_new_real();
    int result = run(f, env, &c, &err);
    env_free(env);
    if (result == 0)
        printf("node %s joined %s\n", c.node_name, c.server);
    cluster_done(&c);
    if (result < 0)
        return command_fail(
            err.code == ERR_USAGE ? EXIT_WRONG_USAGE : EXIT_REQUEST_FAILED, "%s", err.text);
    return EXIT_DONE;
}

#define JOIN(member) offsetof(struct join_flags, member)

static const struct flag join_flag_table[] = {
    {"server", FLAG_STRING, JOIN(server), NULL, "URL", "the API server: https://HOST:PORT"},
    {"token", FLAG_STRING, JOIN(token), NULL, "T",
        "from 'skiffctl token create' on the first host"},
    {"ca-hash", FLAG_STRING, JOIN(ca_hash), NULL, "H", "printed with it: how the server is known"},
    {"data-dir", FLAG_STRING, JOIN(data_dir), DEFAULT_DATA_DIR, "DIR",
        "everything this node keeps"},
    {"node-name", FLAG_STRING, JOIN(node_name), NULL, "NAME",
        "this node's name (default the host's name)"},
    {"node-ip", FLAG_STRING, JOIN(node_ip), NULL, "IP",
        "this node's address (default that of the default route)"},
    {"docker-endpoint", FLAG_STRING, JOIN(docker_endpoint), "unix:///var/run/docker.sock",
        "unix://PATH", "Docker's socket"},
    {"cni-conf-dir", FLAG_STRING, JOIN(cni_conf_dir), "/etc/cni/net.d", "DIR",
        "network configuration that replaces ours"},
    {"timeout", FLAG_DURATION, JOIN(timeout_ns), "60s", "DURATION",
        "how long to wait until the node is Ready"},
};

const struct command command_join = {
    .name = "join",
    .usage = "--server URL --token T --ca-hash H [flags]",
    .summary = "make this host a node of a cluster elsewhere",
    .help =
        "Starts the node's daemons here and waits until the cluster shows the node as Ready.\n\n"
        "Example:\n  skiffctl join --server https://192.0.2.2:6443 --token abcdef.0123456789abcdef "
        "--ca-hash sha256:...",
    .flags = join_flag_table,
    .flag_count = ARRAY_COUNT(join_flag_table),
    .config_size = sizeof(struct join_flags),
    .run = join_run,
};
