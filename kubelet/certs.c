/*
 * The kubelet's certificates, from CertificateSigningRequests.
 *
 * Bootstrap: with --bootstrap-kubeconfig and no usable --kubeconfig, a key is made, a client
 * certificate for system:node:NAME is asked for with the bootstrap credentials, and the kubeconfig
 * is written. Serving: without
 * --tls-cert-file, a certificate for the node's name and address is asked for as the node itself.
 * Both are renewed when a fifth of their life is left. Files:
 * ROOT/pki/kubelet-{client,server}.{crt,key}.
 *
 * Upstream: pkg/kubelet/certificate/bootstrap, client-go/util/certificate.
 */
#include "kubelet/agent.h"

#include "common/base64.h"
#include "common/file.h"
#include "common/kubeconfig.h"
#include "common/log.h"
#include "common/pki.h"
#include "common/time.h"
#include "common/yaml.h"

#define POLL_NS (200 * NS_PER_MS)
#define WAIT_MAX_NS (900 * NS_PER_S)
#define FILE_MAX_BYTES (1u << 20)

struct wish {
    const char *node_name;
    const char *signer; /* "kubernetes.io/kubelet-serving" */
    const char *ip;     /* NULL: a client certificate */
    const char *cert_path, *key_path;
};

static int post(struct api_client *api, const struct wish *wish, const char *csr_pem,
    char **ret_name, struct error *err)
{
    struct api_ref ref = {
        .group_version = "certificates.k8s.io/v1", .plural = "certificatesigningrequests"};
    autojson cJSON *answer = NULL,
                   *body = json_make(
                       "{\"apiVersion\":\"certificates.k8s.io/v1\","
                       "\"kind\":\"CertificateSigningRequest\",\"metadata\":{\"generateName\":"
                       "\"csr-\"},\"spec\":{\"usages\":[\"digital signature\",\"%s\"]}}",
                       wish->ip ? "server auth" : "client auth");
    autostrbuf struct strbuf encoded = STRBUF_EMPTY;

    strbuf_init(&encoded, 0);
    base64_encode(str_of(csr_pem), &encoded);
    json_set_string_at(body, "spec.request", encoded.data);
    json_set_string_at(body, "spec.signerName", wish->signer);
    if (api_create(api, &ref, body, &answer, err) < 0)
        return -err->code;
    const char *name = json_string_at(answer, "metadata.name");
    if (!name)
        return error_set(err, ERR_INTERNAL, "the API made a signing request without a name");
    *ret_name = xstrdup(name);
    return 0;
}

/* 1: issued; 0: not yet. */
static int look(
    struct api_client *api, const char *name, struct strbuf *ret_cert, struct error *err)
{
    struct api_ref ref = {.group_version = "certificates.k8s.io/v1",
        .plural = "certificatesigningrequests",
        .name = name};
    autojson cJSON *request = NULL;
    const cJSON *condition;

    if (api_get(api, &ref, &request, err) < 0)
        return -err->code;
    cJSON_ArrayForEach(condition, json_path(request, "status.conditions"))
    {
        const char *type = json_string(condition, "type"),
                   *message = json_string(condition, "message");
        if (c_eq(type, "Denied") || c_eq(type, "Failed"))
            return error_set(err, ERR_FORBIDDEN, "signing request %s: %s: %s", name, type,
                message ? message : "");
    }
    const char *cert = json_string_at(request, "status.certificate");
    if (!cert || !cert[0])
        return 0;
    return base64_decode(str_of(cert), ret_cert, err) < 0 ? -err->code : 1;
}

/* Blocks until the certificate is issued (and written with its key), refused, or `stop` says so. */
static int obtain(struct env *env, struct api_client *api, const struct wish *wish,
    struct agent *agent, struct error *err)
{
    autofree char *key = NULL, *csr = NULL, *name = NULL,
                  *common_name = str_format("system:node:%s", wish->node_name);
    autofree char *dns = str_format("DNS:%s", wish->node_name),
                  *ip = str_format("IP:%s", wish->ip ? wish->ip : "");
    const char *const organizations[] = {"system:nodes", NULL}, *const alt_names[] = {
                                                                    dns, ip, NULL};
    struct pki_subject subject = {.common_name = common_name,
        .organizations = organizations,
        .alt_names = wish->ip ? alt_names : NULL,
        .usage = wish->ip ? PKI_SERVER : PKI_CLIENT};
    int64_t deadline_ns = env_now_ns(env) + WAIT_MAX_NS;
    autostrbuf struct strbuf cert = STRBUF_EMPTY;
    int r = 0;

    strbuf_init(&cert, FILE_MAX_BYTES);
    if (pki_new_key(&key, err) < 0 || pki_new_request(key, &subject, &csr, err) < 0 ||
        post(api, wish, csr, &name, err) < 0)
        return -err->code;
    log_info("certificate requested", "request", "%s", name, "signer", "%s", wish->signer, NULL);
    while ((r = look(api, name, &cert, err)) == 0) {
        if (env_now_ns(env) > deadline_ns)
            return error_set(err, ERR_TIMEOUT, "signing request %s was not approved", name);
        if (agent && agent_sleep(agent, POLL_NS))
            return error_set(err, ERR_CANCELLED, "stopping");
        if (!agent)
            env_sleep_ns(env, POLL_NS);
    }
    if (r < 0)
        return r;
    /* Key first: a certificate without its key is useless, the reverse is asked for again. */
    if (file_write(wish->key_path, str_of(key), 0600, err) < 0 ||
        file_write(wish->cert_path, strbuf_str(&cert), 0600, err) < 0)
        return -err->code;
    log_info("certificate issued", "request", "%s", name, NULL);
    return 0;
}

/* Time until a fifth of the life is left (30 days are taken for the life of one that is older); <=
 * 0: renew. */
static int64_t left_ns(struct env *env, const char *cert_path)
{
    autostrbuf struct strbuf pem = STRBUF_EMPTY;
    struct error err;
    int64_t end_ns;

    strbuf_init(&pem, 0);
    if (file_read(cert_path, FILE_MAX_BYTES, &pem, &err) < 0 ||
        pki_cert_expiry(pem.data, &end_ns, &err) < 0)
        return 0;
    int64_t left = end_ns - env_wall_ns(env);
    return left > 30 * 24 * 3600 * NS_PER_S ? left / 5 * 4 : left - 3600 * NS_PER_S;
}

static char *pki_path(const struct kubelet_config *config, const char *name)
{
    return str_format("%s/pki/%s", config->root_dir, name);
}

static int read_ca(const struct kubeconfig *k, struct strbuf *out, struct error *err)
{
    if (k->ca_pem) {
        strbuf_addc(out, k->ca_pem);
        return 0;
    }
    return k->ca_file ? file_read(k->ca_file, FILE_MAX_BYTES, out, err) : 0;
}

static int write_kubeconfig(const struct kubelet_config *config, const struct kubeconfig *bootstrap,
    const char *cert_path, const char *key_path, struct error *err)
{
    autojson cJSON *tree =
        json_make("{\"apiVersion\":\"v1\",\"kind\":\"Config\",\"clusters\":[{\"name\":\"default\","
                  "\"cluster\":{}}],\"contexts\":[{\"name\":\"default\",\"context\":{\"cluster\":"
                  "\"default\",\"user\":\"default\"}}],\"current-context\":\"default\",\"users\":[{"
                  "\"name\":\"default\",\"user\":{}}]}");
    cJSON *cluster = json_get(cJSON_GetArrayItem(json_get(tree, "clusters"), 0), "cluster");
    cJSON *user = json_get(cJSON_GetArrayItem(json_get(tree, "users"), 0), "user");
    autostrbuf struct strbuf ca = STRBUF_EMPTY, encoded = STRBUF_EMPTY, text = STRBUF_EMPTY;

    strbuf_init(&ca, 0);
    strbuf_init(&encoded, 0);
    strbuf_init(&text, 0);
    if (read_ca(bootstrap, &ca, err) < 0)
        return -err->code;
    base64_encode(strbuf_str(&ca), &encoded);
    json_set_string(cluster, "server", bootstrap->server);
    if (ca.n)
        json_set_string(cluster, "certificate-authority-data", encoded.data);
    if (bootstrap->tls_server_name)
        json_set_string(cluster, "tls-server-name", bootstrap->tls_server_name);
    json_set_string(user, "client-certificate", cert_path);
    json_set_string(user, "client-key", key_path);
    yaml_print(tree, &text);
    return file_write(config->kubeconfig, strbuf_str(&text), 0600, err);
}

static int bootstrap(struct env *env, const struct kubelet_config *config, const struct wish *wish,
    struct error *err)
{
    struct kubeconfig k = {0};
    struct http_client *http = NULL;

    if (kubeconfig_load(config->bootstrap_kubeconfig, NULL, &k, err) < 0)
        return error_wrap(err, "--bootstrap-kubeconfig");
    struct http_client_config http_config = kubeconfig_client_config(&k, "skiff-kubelet");
    int r = http_client_new(env, &http_config, &http, err);
    if (r == 0) {
        struct api_client *api = api_client_new(env, http);
        /* The API server may still be starting, the token may still be on its way. */
        for (int64_t end = env_now_ns(env) + WAIT_MAX_NS;;) {
            r = obtain(env, api, wish, NULL, err);
            if (r == 0 || r == -ERR_FORBIDDEN || r == -ERR_TIMEOUT || env_now_ns(env) > end)
                break;
            log_warning("no certificate yet, retrying", "error", "%s", err->text, NULL);
            env_sleep_ns(env, NS_PER_S);
        }
        api_client_free(api);
    }
    if (r == 0)
        r = write_kubeconfig(config, &k, wish->cert_path, wish->key_path, err);
    kubeconfig_done(&k);
    return r;
}

int certs_bootstrap(
    struct env *env, const struct kubelet_config *config, const char *node_name, struct error *err)
{
    autofree char *cert = pki_path(config, "kubelet-client.crt"),
                  *key = pki_path(config, "kubelet-client.key");
    autofree char *folder = pki_path(config, "");
    struct wish wish = {.node_name = node_name,
        .signer = "kubernetes.io/kube-apiserver-client-kubelet",
        .cert_path = cert,
        .key_path = key};

    if (!config->bootstrap_kubeconfig || !config->bootstrap_kubeconfig[0])
        return 0;
    /* A kubeconfig of another making (no certificate of ours beside it) is taken as it is. */
    if (file_exists(config->kubeconfig) && (!file_exists(cert) || left_ns(env, cert) > 0))
        return 0;
    if (file_make_dirs(folder, 0700, err) < 0)
        return -err->code;
    return bootstrap(env, config, &wish, err);
}

int certs_serving(struct agent *agent, struct kubelet *node, struct error *err)
{
    const struct kubelet_config *config = agent->config;
    autofree char *cert = pki_path(config, "kubelet-server.crt"),
                  *key = pki_path(config, "kubelet-server.key");
    autofree char *folder = pki_path(config, "");
    struct wish wish = {.node_name = node->name,
        .signer = "kubernetes.io/kubelet-serving",
        .ip = node->ip,
        .cert_path = cert,
        .key_path = key};

    if (config->tls_cert_file && config->tls_cert_file[0]) {
        agent->serving_cert = xstrdup(config->tls_cert_file);
        agent->serving_key =
            xstrdup(config->tls_private_key_file ? config->tls_private_key_file : "");
        return 0;
    }
    if (file_make_dirs(folder, 0700, err) < 0)
        return -err->code;
    if ((!file_exists(key) || left_ns(agent->env, cert) <= 0) &&
        obtain(agent->env, agent->api, &wish, agent, err) < 0)
        return error_wrap(err, "serving certificate");
    free(agent->serving_cert);
    free(agent->serving_key);
    agent->serving_cert = steal(&cert);
    agent->serving_key = steal(&key);
    return 0;
}

int64_t certs_renew_after_ns(struct agent *agent)
{
    autofree char *client = pki_path(agent->config, "kubelet-client.crt");
    int64_t left = INT64_MAX, other;

    if (!agent->config->tls_cert_file && agent->serving_cert)
        left = left_ns(agent->env, agent->serving_cert);
    if (file_exists(client) && (other = left_ns(agent->env, client)) < left)
        left = other;
    return left;
}

int certs_renew(struct agent *agent, struct kubelet *node, struct error *err)
{
    const struct kubelet_config *config = agent->config;
    autofree char *cert = pki_path(config, "kubelet-client.crt"),
                  *key = pki_path(config, "kubelet-client.key");
    struct wish wish = {.node_name = node->name,
        .signer = "kubernetes.io/kube-apiserver-client-kubelet",
        .cert_path = cert,
        .key_path = key};

    if (!file_exists(cert) || left_ns(agent->env, cert) > 0)
        return 0;
    /* New connections read the files anew. */
    return obtain(agent->env, agent->api, &wish, agent, err);
}
