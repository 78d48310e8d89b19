/*
 * audit-cluster, sections 1.2 to 2 and 4.2: what the daemons let in. Where a request can show it, a
 * request is made; the rest is read from the flags of the running processes.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/audit_cluster.h"

#define PROBE_NS 3000000000ll

enum rule { RULE_GIVEN, RULE_ABSENT, RULE_LACKS, RULE_HAS };

/* A flag as it must be. Flags that Skiff lacks because it never does the thing need no row. */
static const struct flag_check {
    const char *number, *title, *daemon, *flag;
    enum rule rule;
    const char *word; /* of RULE_LACKS and RULE_HAS: an element of the list */
    const char *mend;
} flag_checks[] = {
    {"1.2.2", "no static token file", "apiserver", "token-auth-file", RULE_ABSENT, NULL,
        "use certificates or ServiceAccount tokens"},
    {"1.2.3", "Services can't claim external addresses", "apiserver", "enable-admission-plugins",
        RULE_HAS, "DenyServiceExternalIPs", "--enable-admission-plugins=DenyServiceExternalIPs"},
    {"1.2.4", "the API server has a certificate for the nodes", "apiserver",
        "kubelet-client-certificate", RULE_GIVEN, NULL,
        "--kubelet-client-certificate and --kubelet-client-key"},
    {"1.2.5", "the API server verifies the nodes' certificates", "apiserver",
        "kubelet-certificate-authority", RULE_GIVEN, NULL, "--kubelet-certificate-authority"},
    {"1.2.6", "not everything is allowed", "apiserver", "authorization-mode", RULE_LACKS,
        "AlwaysAllow", "--authorization-mode=Node,RBAC"},
    {"1.2.12", "pods run as a ServiceAccount that exists", "apiserver", "disable-admission-plugins",
        RULE_LACKS, "ServiceAccount", "do not disable ServiceAccount"},
    {"1.2.13", "nothing is made in a namespace that ends", "apiserver", "disable-admission-plugins",
        RULE_LACKS, "NamespaceLifecycle", "do not disable NamespaceLifecycle"},
    {"1.2.14", "nodes change only what is theirs", "apiserver", "disable-admission-plugins",
        RULE_LACKS, "NodeRestriction", "do not disable NodeRestriction"},
    {"1.2.16", "requests are logged", "apiserver", "audit-policy-file", RULE_GIVEN, NULL,
        "--audit-policy-file and --audit-log-path"},
    {"1.2.17", "the audit log has a place", "apiserver", "audit-log-path", RULE_GIVEN, NULL,
        "--audit-log-path"},
    {"1.2.22", "ServiceAccount tokens are verified with a key of their own", "apiserver",
        "service-account-key-file", RULE_GIVEN, NULL, "--service-account-key-file"},
    {"1.2.24", "the API server serves with a certificate of the cluster's CA", "apiserver",
        "tls-cert-file", RULE_GIVEN, NULL, "--tls-cert-file and --tls-private-key-file"},
    {"1.2.25", "client certificates are verified", "apiserver", "client-ca-file", RULE_GIVEN, NULL,
        "--client-ca-file"},
    {"1.2.27", "Secrets are encrypted at rest", "apiserver", "encryption-provider-config",
        RULE_GIVEN, NULL, "--encryption-provider-config"},
    {"1.3.5", "pods learn the cluster's CA", "controller-manager", "root-ca-file", RULE_GIVEN, NULL,
        "--root-ca-file"},
    {"4.2.2", "the node agent asks the API server who may", "kubelet", "authorization-mode",
        RULE_LACKS, "AlwaysAllow", "leave --authorization-mode away"},
    {"4.2.3", "the node agent verifies client certificates", "kubelet", "client-ca-file",
        RULE_GIVEN, NULL, "--client-ca-file"},
};

static bool has_word(const char *list, const char *word)
{
    struct str rest = str_of(list), part;

    while (list && str_split(&rest, ',', &part))
        if (str_eqc(str_trim(part), word))
            return true;
    return false;
}

static void check_flag(struct audit *a, const struct flag_check *c)
{
    const char *value = audit_flag(a, c->daemon, c->flag);
    bool good = c->rule == RULE_GIVEN    ? value != NULL
                : c->rule == RULE_ABSENT ? value == NULL
                : c->rule == RULE_HAS    ? has_word(value, c->word)
                                         : !has_word(value, c->word);

    if (!audit_runs(a, c->daemon))
        audit_skip(a, c->number, c->title, "not on this machine");
    else if (good)
        audit_pass(a, c->number, c->title);
    else if (value)
        audit_fail(a, c->number, c->title, c->mend, "skiff-%s --%s=%s", c->daemon, c->flag, value);
    else
        audit_fail(a, c->number, c->title, c->mend, "skiff-%s without --%s", c->daemon, c->flag);
}

/* --- probes --- */

static int probe(struct http_client *client, const char *path, struct error *err)
{
    struct http_response answer;
    struct http_request request = {.method = "GET", .path = path, .timeout_ns = PROBE_NS};

    http_response_init(&answer);
    int result = http_do(client, &request, &answer, err);
    int status = answer.status;
    http_response_done(&answer);
    return result < 0 ? result : status;
}

/* Pages that nobody may see without a credential. */
static void check_closed(struct audit *a, struct http_client *client, const char *number,
    const char *title, const char *const *paths, const char *mend)
{
    struct error err = {0};

    for (; *paths; paths++) {
        int status = probe(client, *paths, &err);
        if (status < 0) {
            audit_fail(a, number, title, "see that it runs", "%s: %s", *paths, err.text);
            return;
        }
        if (status != 401 && status != 403 && status != 404) {
            audit_fail(a, number, title, mend, "GET %s without a credential is answered with %d",
                *paths, status);
            return;
        }
    }
    audit_pass(a, number, title);
}

static void check_api_anonymous(struct audit *a)
{
    static const char *const paths[] = {"/api", "/apis", "/api/v1/namespaces", "/api/v1/secrets",
        "/version", "/metrics", "/openapi/v2", "/logs", NULL};
    static const char *const debug[] = {
        "/debug/pprof/", "/debug/pprof/profile", "/debug/flags/v", NULL};

    if (!a->anonymous) {
        audit_skip(a, "1.2.1", "anonymous requests reach health pages only", "no API server here");
        return;
    }
    check_closed(a, a->anonymous, "1.2.1", "anonymous requests reach health pages only", paths,
        "remove the binding that lets system:anonymous in");
    check_closed(a, a->anonymous, "1.2.15", "no profiling page is open", debug,
        "close /debug to system:anonymous");
}

static void check_kubelet(struct audit *a)
{
    static const char *const paths[] = {
        "/pods", "/metrics", "/containerLogs/kube-system/x/x", "/stats/summary", NULL};
    const char *title = "the node agent lets nobody in without a credential";
    struct http_client *client;
    struct error err = {0};

    if (!audit_runs(a, "kubelet")) {
        audit_skip(a, "4.2.1", title, "no node here");
        return;
    }
    autofree char *url = str_format("https://127.0.0.1:%d", cluster_port(a->cluster, PORT_KUBELET));
    struct http_client_config config = {
        .base_url = url, .insecure_skip_verify = true, .user_agent = "skiffctl"};
    if (http_client_new(a->env, &config, &client, &err) < 0) {
        audit_fail(a, "4.2.1", title, "see that it runs", "%s", err.text);
        return;
    }
    check_closed(a, client, "4.2.1", title, paths,
        "start it with --client-ca-file and without --anonymous-auth");
    http_client_free(client);
}

static bool is_open(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;

    if (fd >= 0)
        close(fd);
    return open;
}

static void check_loopback(
    struct audit *a, const char *number, const char *title, const char *daemon)
{
    const char *address = audit_flag(a, daemon, "bind-address");

    if (!audit_runs(a, daemon))
        audit_skip(a, number, title, "not on this machine");
    else if (!address || c_eq(address, "127.0.0.1") ||
             c_eq(address, "::1")) /* loopback is the default */
        audit_pass(a, number, title);
    else
        audit_fail(a, number, title, "--bind-address=127.0.0.1", "skiff-%s --bind-address=%s",
            daemon, address);
}

static void check_etcd(struct audit *a)
{
    const char *title = "the way to etcd is encrypted and both ends are verified",
               *servers = audit_flag(a, "apiserver", "etcd-servers");

    if (!servers)
        audit_skip(a, "1.2.23", title, "the store is embedded");
    else if (strstr(servers, "http://127.0.0.1") || strstr(servers, "http://localhost"))
        audit_skip(a, "1.2.23", title, "etcd is on loopback");
    else if (strstr(servers, "http://") || !audit_flag(a, "apiserver", "etcd-cafile") ||
             !audit_flag(a, "apiserver", "etcd-certfile"))
        audit_fail(a, "1.2.23", title,
            "https endpoints with --etcd-cafile, --etcd-certfile and --etcd-keyfile",
            "--etcd-servers=%s", servers);
    else
        audit_pass(a, "1.2.23", title);
}

void audit_daemons(struct audit *a)
{
    check_api_anonymous(a);
    for (size_t i = 0; i < ARRAY_COUNT(flag_checks); i++)
        check_flag(a, &flag_checks[i]);
    check_etcd(a);
    check_loopback(
        a, "1.3.7", "the controller manager's pages are on loopback", "controller-manager");
    check_loopback(a, "1.4.2", "the scheduler's pages are on loopback", "scheduler");
    check_kubelet(a);
    if (is_open(10255))
        audit_fail(a, "4.2.4", "the node agent has no port without encryption",
            "end what listens on port 10255", "port 10255 is open");
    else
        audit_pass(a, "4.2.4", "the node agent has no port without encryption");
    check_loopback(a, "4.3.1", "the proxy's pages are on loopback", "proxy");
}
