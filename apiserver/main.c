/*
 * skiff-apiserver: flags, wiring, and the wait for a signal.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

#include "apiserver/auth/options.h"
#include "apiserver/http/http.h"
#include "apiserver/registry/service_range.h"
#include "common/daemon.h"
#include "common/harden.h"
#include "common/json_pool.h"
#include "common/log.h"
#include "common/pki.h"

struct options {
    struct daemon_flags daemon;
    struct server_config server;
    int64_t secure_port, loops;
    const char *bind_address, *tls_cert_file, *tls_private_key_file;
    const char *node_port_range;
    struct auth_options access;
    struct tls_settings tls;
    struct flag_strings sa_key_files;
    const char **sa_keys; /* the same, NULL ended */
    char own_address[INET_ADDRSTRLEN];
};

#define AT(member) offsetof(struct options, member)

static const struct flag flags[] = {
    {"secure-port", FLAG_INT, AT(secure_port), "6443", "N", "port to listen on"},
    {"bind-address", FLAG_STRING, AT(bind_address), "0.0.0.0", "IP", "address to listen on"},
    {"advertise-address", FLAG_STRING, AT(server.advertise_address), NULL, "IP",
        "address that members of the cluster reach this server at; by default the bind address"},
    {"loops", FLAG_INT, AT(loops), "1", "N",
        "event loops, one thread each; more than one core's worth of load needs more"},
    {"storage-backend", FLAG_STRING, AT(server.storage_backend), "embedded", "embedded|etcd",
        "where the state lives"},
    {"data-dir", FLAG_STRING, AT(server.data_dir), "/var/lib/skiff/db", "DIR",
        "folder of the embedded store"},
    {"etcd-servers", FLAG_STRING, AT(server.etcd_servers), NULL, "URL,...", "etcd endpoints"},
    {"etcd-prefix", FLAG_STRING, AT(server.etcd_prefix), "/skiff", "PREFIX",
        "prefix of all keys in etcd"},
    {"etcd-cafile", FLAG_STRING, AT(server.etcd_cafile), NULL, "FILE", "CA of etcd's certificates"},
    {"etcd-certfile", FLAG_STRING, AT(server.etcd_certfile), NULL, "FILE",
        "client certificate for etcd"},
    {"etcd-keyfile", FLAG_STRING, AT(server.etcd_keyfile), NULL, "FILE", "its key"},
    {"etcd-username", FLAG_STRING, AT(server.etcd_username), NULL, "NAME", "user for etcd"},
    {"etcd-password-file", FLAG_STRING, AT(server.etcd_password_file), NULL, "FILE",
        "file with the password"},
    {"tls-cert-file", FLAG_STRING, AT(tls_cert_file), NULL, "FILE",
        "serving certificate and what it chains to; by default one is made at each start"},
    {"tls-private-key-file", FLAG_STRING, AT(tls_private_key_file), NULL, "FILE", "its key"},
    TLS_SETTINGS_FLAGS(struct options, tls),
    {"client-ca-file", FLAG_STRING, AT(server.client_ca_file), NULL, "FILE",
        "CA of client certificates"},
    {"service-account-issuer", FLAG_STRING, AT(server.issuer),
        "https://kubernetes.default.svc.cluster.local", "URL", "issuer of ServiceAccount tokens"},
    {"service-account-key-file", FLAG_STRINGS, AT(sa_key_files), NULL, "FILE",
        "key that verifies ServiceAccount tokens (may be given again)"},
    {"service-account-signing-key-file", FLAG_STRING, AT(server.sa_signing_key_file), NULL, "FILE",
        "key that signs ServiceAccount tokens"},
    {"service-cluster-ip-range", FLAG_STRING, AT(server.service_cidr), "10.96.0.0/16", "CIDR,...",
        "addresses of Services: one range, or one of IPv4 and one of IPv6"},
    {"service-node-port-range", FLAG_STRING, AT(node_port_range), "30000-32767", "FIRST-LAST",
        "NodePorts of Services"},
    {"event-ttl", FLAG_DURATION, AT(server.event_ttl_ns), "1h", "DURATION",
        "how long Events are kept after their last change"},
    AUTH_FLAGS(struct options, access),
    {"enable-admission-plugins", FLAG_STRING, AT(server.enable_admission), NULL, "NAME,...",
        "admission plugins to run besides those that run by default"},
    {"disable-admission-plugins", FLAG_STRING, AT(server.disable_admission), NULL, "NAME,...",
        "admission plugins that do not run"},
    {"admission-control-config-file", FLAG_STRING, AT(server.admission_config_file), NULL, "FILE",
        "AdmissionConfiguration with the plugins' settings"},
    {"token-auth-file", FLAG_STRING, AT(server.token_auth_file), NULL, "FILE",
        "static tokens: token,user,uid,\"group,...\" a line"},
    {"enable-bootstrap-token-auth", FLAG_BOOL, AT(server.bootstrap_tokens), NULL, NULL,
        "accept tokens of Secrets of type bootstrap.kubernetes.io/token"},
    {"encryption-provider-config", FLAG_STRING, AT(server.encryption_config_file), NULL, "FILE",
        "EncryptionConfiguration: what is encrypted in the store, and with which keys; read again "
        "when it changes"},
    {"audit-policy-file", FLAG_STRING, AT(server.audit.policy_file), NULL, "FILE",
        "Policy of audit.k8s.io/v1: what is recorded; without one nothing is"},
    {"audit-log-path", FLAG_STRING, AT(server.audit.log_path), NULL, "FILE|-",
        "file for audit events, a JSON line each; - is standard output"},
    {"audit-log-maxsize", FLAG_INT, AT(server.audit.log_max_mb), "100", "MB",
        "size at which the audit log is rotated; 0: never"},
    {"audit-log-maxage", FLAG_INT, AT(server.audit.log_max_age_days), "0", "DAYS",
        "how long rotated audit logs are kept; 0: for ever"},
    {"audit-log-maxbackup", FLAG_INT, AT(server.audit.log_max_backups), "0", "N",
        "how many rotated audit logs are kept; 0: all"},
    {"audit-webhook-config-file", FLAG_STRING, AT(server.audit.webhook_file), NULL, "FILE",
        "kubeconfig of the server that audit events are posted to"},
    {"audit-webhook-batch-max-size", FLAG_INT, AT(server.audit.batch_events), "400", "N",
        "audit events a post at most"},
    {"audit-webhook-batch-max-wait", FLAG_DURATION, AT(server.audit.batch_wait_ns), "30s",
        "DURATION", "how long a post waits for more audit events"},
    {"audit-webhook-batch-buffer-size", FLAG_INT, AT(server.audit.buffer_events), "10000", "N",
        "audit events that may wait for a backend; more are dropped and counted"},
    {"audit-webhook-batch-throttle-qps", FLAG_INT, AT(server.audit.throttle_qps), "10", "N",
        "posts a second; 0: no bound"},
    {"audit-webhook-batch-throttle-burst", FLAG_INT, AT(server.audit.throttle_burst), "15", "N",
        "posts at once after a quiet time"},
    {"audit-webhook-initial-backoff", FLAG_DURATION, AT(server.audit.backoff_ns), "10s", "DURATION",
        "pause before a post that failed is tried again"},
    {"kubelet-client-certificate", FLAG_STRING, AT(server.kubelet_client_cert), NULL, "FILE",
        "client certificate for the kubelets"},
    {"kubelet-client-key", FLAG_STRING, AT(server.kubelet_client_key), NULL, "FILE", "its key"},
    {"kubelet-certificate-authority", FLAG_STRING, AT(server.kubelet_ca), NULL, "FILE",
        "CA of the kubelets' certificates"},
    DAEMON_FLAGS(struct options, daemon),
};

static int parse_range(const char *text, int *ret_first, int *ret_last, struct error *err)
{
    struct str rest = str_of(text), first = {0};
    int64_t a = 0, b = 0;

    str_split(&rest, '-', &first);
    if (str_parse_int64(first, &a, err) < 0 || str_parse_int64(rest, &b, err) < 0 || a < 1 ||
        b < a || b > 65535)
        return error_set(err, ERR_USAGE,
            "--service-node-port-range: \"%s\" is no range of ports like 30000-32767", text);
    *ret_first = (int)a;
    *ret_last = (int)b;
    return 0;
}

/* The first address of this machine that others can reach; loopback when there is none. */
static const char *own_address(char buf[INET_ADDRSTRLEN])
{
    struct ifaddrs *all, *a;

    snprintf(buf, INET_ADDRSTRLEN, "127.0.0.1");
    if (getifaddrs(&all) < 0)
        return buf;
    for (a = all; a; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || a->ifa_flags & IFF_LOOPBACK ||
            !(a->ifa_flags & IFF_UP))
            continue;
        inet_ntop(
            AF_INET, &((const struct sockaddr_in *)a->ifa_addr)->sin_addr, buf, INET_ADDRSTRLEN);
        break;
    }
    freeifaddrs(all);
    return buf;
}

/* What the flags mean beyond their own values. */
static int settle(struct options *o, struct error *err)
{
    struct server_config *c = &o->server;
    struct service_ranges ranges;

    if (tls_settings_apply(NULL, &o->tls, err) < 0)
        return -(int)err->code;
    if (service_ranges_parse(c->service_cidr, &ranges, err) < 0)
        return -(int)err->code;
    if (o->secure_port < 0 || o->secure_port > 65535)
        return error_set(
            err, ERR_USAGE, "--secure-port: %lld is no port", (long long)o->secure_port);
    if (!o->tls_cert_file != !o->tls_private_key_file)
        return error_set(
            err, ERR_USAGE, "--tls-cert-file and --tls-private-key-file belong together");
    c->access = &o->access;
    if (c_eq(c->storage_backend, "etcd") && !c->etcd_servers)
        return error_set(err, ERR_USAGE, "--storage-backend=etcd needs --etcd-servers");
    o->sa_keys = xcalloc(o->sa_key_files.count + 1, sizeof(*o->sa_keys));
    for (size_t i = 0; i < o->sa_key_files.count; i++)
        o->sa_keys[i] = o->sa_key_files.values[i];
    c->sa_key_files = o->sa_keys;
    c->secure_port = (int)o->secure_port;
    c->loops = (int)o->loops;
    if (!c->advertise_address)
        c->advertise_address = c_eq(o->bind_address, "0.0.0.0") || c_eq(o->bind_address, "::")
                                   ? own_address(o->own_address)
                                   : o->bind_address;
    return parse_range(o->node_port_range, &c->node_port_first, &c->node_port_last, err);
}

static int make_certificate(const struct options *o, struct pki_pair *ret, struct error *err)
{
    autofree char *ip = str_format("IP:%s", o->server.advertise_address);
    const char *const names[] = {"DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc", "IP:127.0.0.1", ip, NULL};
    struct pki_subject subject = {.common_name = "kube-apiserver",
        .alt_names = names,
        .usage = PKI_SERVER,
        .valid_seconds = 365 * 86400};
    struct pki_pair ca = {0};

    if (pki_new_ca("skiff-apiserver-self-signed", subject.valid_seconds, &ca, err) < 0)
        return -(int)err->code;
    int r = pki_new_cert(&ca, &subject, ret, err);
    pki_pair_done(&ca);
    return r;
}

static int serve(struct options *o, struct env *env, struct error *err)
{
    struct pki_pair own = {0};
    struct server *server = NULL;
    struct http *http = NULL;

    o->server.env = env;
    if (!o->tls_cert_file && make_certificate(o, &own, err) < 0)
        return -(int)err->code;
    int r = server_new(&o->server, &server, err);
    if (r == 0) {
        struct http_config config = {
            .server = server,
            .address = o->bind_address,
            .port = o->server.secure_port,
            .loops = (int)o->loops,
            .cert_file = o->tls_cert_file,
            .key_file = o->tls_private_key_file,
            .cert_pem = own.cert_pem,
            .key_pem = own.key_pem,
            .client_ca_file = o->server.client_ca_file,
            .tls = o->tls,
            .proxy_ca_file = o->access.proxy_ca_file,
        };
        r = http_new(&config, &http, err);
    }
    if (r == 0) {
        log_info("serving", "address", "%s", o->bind_address, "port", "%d", http_port(http), NULL);
        daemon_ready();
        log_info("stopping", "signal", "%d", daemon_wait(), NULL);
        atomic_store(&server->stopping, true);
        http_drain(http);
    }
    http_free(http);
    server_free(server);
    pki_pair_done(&own);
    return r;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct error err;

    json_pool_start();
    int first = flags_parse(flags, ARRAY_COUNT(flags), argc, argv, &options, &err);

    if (first == FLAGS_HELP)
        return 0;
    if (first >= 0 && first < argc)
        first = error_set(&err, ERR_USAGE, "unexpected argument \"%s\"", argv[first]);
    if (first < 0 || settle(&options, &err) < 0 || daemon_start(&options.daemon, &err) < 0 ||
        harden(HARDEN_KEEP(CAP_NET_BIND_SERVICE), &err) < 0) {
        fprintf(stderr, "skiff-apiserver: %s\n", err.text);
        return 2;
    }
    struct env *env = env_new_real();
    int r = serve(&options, env, &err);
    env_free(env);
    if (r < 0)
        log_error("can't go on", "error", "%s", err.text, NULL);
    free(options.sa_keys);
    free(options.sa_key_files.values);
    return r < 0 ? 1 : 0;
}
