/*
 * Certificates, keys and kubeconfigs of a cluster made by `up`.
 *
 * One CA signs every certificate. Who has which name stands in the table below. A second run makes only what is
 * missing or about to expire, so it is also how certificates are renewed; the CA itself is never replaced here.
 */
#include "ctl/cluster.h"

#include <time.h>
#include <unistd.h>

#include "common/base64.h"
#include "common/file.h"
#include "common/pki.h"
#include "common/time.h"

#define YEAR_S (365ll * 24 * 3600)
#define RENEW_BEFORE_NS (30ll * 24 * 3600 * NS_PER_S)

struct identity_row {
    const char *file;         /* pki/FILE.crt and .key; also FILE.kubeconfig where it is a client */
    const char *common_name;  /* %s: the node's name */
    const char *organization; /* or NULL */
    unsigned usage;
    bool kubeconfig, embed;
    bool on_node;             /* not needed by a control plane alone */
};

static const struct identity_row identities[] = {
    {"apiserver", "kube-apiserver", NULL, PKI_SERVER, false, false, false},
    {"apiserver-kubelet-client", "kube-apiserver-kubelet-client", NULL, PKI_CLIENT, false, false, false},
    {"admin", "skiff:admin", "skiff:admins", PKI_CLIENT, true, true, false},
    {"controller-manager", "system:kube-controller-manager", NULL, PKI_CLIENT | PKI_SERVER, true, false, false},
    {"scheduler", "system:kube-scheduler", NULL, PKI_CLIENT | PKI_SERVER, true, false, false},
    {"kubelet", "system:node:%s", "system:nodes", PKI_CLIENT | PKI_SERVER, true, false, true},
    {"proxy", "system:kube-proxy", NULL, PKI_CLIENT | PKI_SERVER, true, false, true},
    {"dns", "system:kube-dns", NULL, PKI_CLIENT | PKI_SERVER, true, false, true},
    {"hollow", "skiff:hollow-nodes", "skiff:hollow-nodes", PKI_CLIENT | PKI_SERVER, true, false, false},
};

static int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int write_pair(const struct cluster *c, const char *name, const struct pki_pair *pair,
    struct error *err)
{
    autofree char *key = cluster_path(c, "pki/%s.key", name);
    autofree char *cert = cluster_path(c, "pki/%s.crt", name);
    if (file_write(key, str_of(pair->key_pem), 0600, err) < 0)
        return -err->code;
    return file_write(cert, str_of(pair->cert_pem), 0644, err);
}

static int read_text(const char *path, char **ret, struct error *err)
{
    autostrbuf struct strbuf b = STRBUF_EMPTY;
    strbuf_init(&b, 1 << 20);
    if (file_read(path, 1 << 20, &b, err) < 0)
        return error_wrap(err, "%s", path);
    *ret = strbuf_steal(&b);
    return 0;
}

static int read_pair(const struct cluster *c, const char *name, struct pki_pair *ret, struct error *err)
{
    autofree char *key = cluster_path(c, "pki/%s.key", name);
    autofree char *cert = cluster_path(c, "pki/%s.crt", name);
    *ret = (struct pki_pair){0};
    if (read_text(key, &ret->key_pem, err) < 0 || read_text(cert, &ret->cert_pem, err) < 0) {
        pki_pair_done(ret);
        return -err->code;
    }
    return 0;
}

static int ensure_ca(const struct cluster *c, struct pki_pair *ret, struct error *err)
{
    if (read_pair(c, "ca", ret, err) == 0)
        return 0;
    if (err->code != ERR_NOT_FOUND)
        return -err->code;
    if (pki_new_ca("skiff", 10 * YEAR_S, ret, err) < 0)
        return -err->code;
    return write_pair(c, "ca", ret, err);
}

static bool is_current(const struct cluster *c, const char *name)
{
    struct pki_pair pair;
    struct error err;
    int64_t expiry_ns;
    if (read_pair(c, name, &pair, &err) < 0)
        return false;
    bool ok = pki_cert_expiry(pair.cert_pem, &expiry_ns, &err) == 0 &&
              expiry_ns > wall_ns() + RENEW_BEFORE_NS;
    pki_pair_done(&pair);
    return ok;
}

static int make_cert(const struct cluster *c, const struct pki_pair *ca, const struct identity_row *row,
    struct error *err)
{
    autofree char *common_name = str_format(strchr(row->common_name, '%') ? "system:node:%s" : "%s",
        strchr(row->common_name, '%') ? c->node_name : row->common_name);
    autofree char *node_dns = str_format("DNS:%s", c->node_name);
    autofree char *node_ip = str_format("IP:%s", c->node_ip);
    const char *const organizations[] = {row->organization, NULL};
    const char *const server_names[] = {"DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc", "DNS:kubernetes.default.svc.cluster.local", node_dns,
        "IP:127.0.0.1", "IP:10.96.0.1", node_ip, NULL};
    const char *const daemon_names[] = {"DNS:localhost", node_dns, "IP:127.0.0.1", node_ip, NULL};
    struct pki_subject subject = {
        .common_name = common_name,
        .organizations = row->organization ? organizations : NULL,
        .alt_names = !(row->usage & PKI_SERVER) ? NULL :
            c_eq(row->file, "apiserver")        ? server_names :
                                                  daemon_names,
        .usage = row->usage,
        .valid_seconds = YEAR_S,
    };
    struct pki_pair pair;
    if (pki_new_cert(ca, &subject, &pair, err) < 0)
        return error_wrap(err, "certificate %s", row->file);
    if (c_eq(row->file, "apiserver")) { /* with the CA behind it, for `join` to check against its hash */
        char *chain = str_format("%s%s", pair.cert_pem, ca->cert_pem);
        free(pair.cert_pem);
        pair.cert_pem = chain;
    }
    int result = write_pair(c, row->file, &pair, err);
    pki_pair_done(&pair);
    return result;
}

static int ensure_service_account_key(const struct cluster *c, struct error *err)
{
    autofree char *key_path = cluster_path(c, "pki/sa.key");
    autofree char *public_path = cluster_path(c, "pki/sa.pub");
    if (file_exists(key_path) && file_exists(public_path))
        return 0;
    autofree char *key = NULL, *public_pem = NULL;
    if (pki_new_key(&key, err) < 0 || pki_public_key(key, &public_pem, err) < 0)
        return -err->code;
    if (file_write(key_path, str_of(key), 0600, err) < 0)
        return -err->code;
    return file_write(public_path, str_of(public_pem), 0644, err);
}

static void add_data(struct strbuf *out, const char *field, const char *pem)
{
    strbuf_addf(out, "    %s: ", field);
    base64_encode(str_of(pem), out);
    strbuf_add_char(out, '\n');
}

int credentials_write_kubeconfig(const char *path, const char *server, const char *ca_pem,
    const char *cert, const char *key, bool embed, const char *token, struct error *err)
{
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    strbuf_init(&out, 0);
    strbuf_addf(&out, "apiVersion: v1\nkind: Config\ncurrent-context: skiff\nclusters:\n"
                      "- name: skiff\n  cluster:\n    server: %s\n", server);
    add_data(&out, "certificate-authority-data", ca_pem);
    strbuf_addc(&out, "contexts:\n- name: skiff\n  context:\n    cluster: skiff\n    user: skiff\n"
                      "users:\n- name: skiff\n  user:\n");
    if (token) {
        strbuf_addf(&out, "    token: %s\n", token);
    } else if (embed) {
        autofree char *cert_pem = NULL, *key_pem = NULL;
        if (read_text(cert, &cert_pem, err) < 0 || read_text(key, &key_pem, err) < 0)
            return -err->code;
        add_data(&out, "client-certificate-data", cert_pem);
        add_data(&out, "client-key-data", key_pem);
    } else {
        strbuf_addf(&out, "    client-certificate: %s\n    client-key: %s\n", cert, key);
    }
    return file_write(path, strbuf_str(&out), 0600, err);
}

static int ensure_identity(const struct cluster *c, const struct pki_pair *ca,
    const struct identity_row *row, struct error *err)
{
    bool fresh = is_current(c, row->file);
    if (!fresh && make_cert(c, ca, row, err) < 0)
        return -err->code;
    autofree char *kubeconfig = cluster_path(c, "%s.kubeconfig", row->file);
    if (!row->kubeconfig || (fresh && file_exists(kubeconfig)))
        return 0;
    autofree char *cert = cluster_path(c, "pki/%s.crt", row->file);
    autofree char *key = cluster_path(c, "pki/%s.key", row->file);
    return credentials_write_kubeconfig(kubeconfig, c->server, ca->cert_pem, cert, key, row->embed,
        NULL, err);
}

/* One identity, or the ServiceAccount key. */
struct ensure_job {
    const struct cluster *c;
    const struct pki_pair *ca;
    const struct identity_row *row; /* NULL: the ServiceAccount key */
    struct task *task;
    int result;
    struct error err;
};

static void ensure_run(void *arg)
{
    struct ensure_job *job = arg;
    job->result = job->row ? ensure_identity(job->c, job->ca, job->row, &job->err) :
                             ensure_service_account_key(job->c, &job->err);
}

/* At once: most of the time is waiting for the disk, and files that are synced together share that. */
static int ensure_all(const struct cluster *c, const struct pki_pair *ca, struct error *err)
{
    struct ensure_job jobs[ARRAY_COUNT(identities) + 1];
    struct env *env = env_new_real();
    size_t count = 0;
    int result = 0;
    jobs[count++] = (struct ensure_job){.c = c};
    for (size_t i = 0; i < ARRAY_COUNT(identities); i++) {
        if (identities[i].on_node && c->control_plane_only)
            continue;
        if (c_eq(identities[i].file, "hollow") && c->hollow_nodes == 0)
            continue;
        jobs[count++] = (struct ensure_job){.c = c, .ca = ca, .row = &identities[i]};
    }
    for (size_t i = 0; i < count; i++)
        jobs[i].task = env_spawn(env, "credentials", ensure_run, &jobs[i]);
    for (size_t i = 0; i < count; i++) {
        env_join(env, jobs[i].task);
        if (jobs[i].result < 0 && result == 0) {
            *err = jobs[i].err;
            result = jobs[i].result;
        }
    }
    env_free(env);
    return result;
}

int credentials_ensure(const struct cluster *c, struct error *err)
{
    autofree char *pki = cluster_path(c, "pki");
    struct pki_pair ca = {0};
    if (file_make_dirs(pki, 0700, err) < 0)
        return -err->code;
    int result = ensure_ca(c, &ca, err);
    if (result == 0)
        result = ensure_all(c, &ca, err);
    pki_pair_done(&ca);
    return result;
}
