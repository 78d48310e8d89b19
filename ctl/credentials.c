/*
 * Certificates, keys and kubeconfigs of a cluster made by `up`.
 *
 * One CA signs every certificate. Who has which name stands in the table below. A second run makes
 * only what is missing, about to expire or says something else by now (another node name, address
 * or port), so it is also how certificates are renewed; the CA itself is never replaced here.
 */
#include "ctl/cluster.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <time.h>
#include <unistd.h>

#include "common/base64.h"
#include "common/file.h"
#include "common/kubeconfig.h"
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
    bool on_node; /* not needed by a control plane alone */
};

static const struct identity_row identities[] = {
    {"apiserver", "kube-apiserver", NULL, PKI_SERVER, false, false, false},
    {"apiserver-kubelet-client", "kube-apiserver-kubelet-client", NULL, PKI_CLIENT, false, false,
        false},
    {"admin", "skiff:admin", "skiff:admins", PKI_CLIENT, true, true, false},
    {"controller-manager", "system:kube-controller-manager", NULL, PKI_CLIENT | PKI_SERVER, true,
        false, false},
    {"scheduler", "system:kube-scheduler", NULL, PKI_CLIENT | PKI_SERVER, true, false, false},
    {"kubelet", "system:node:%s", "system:nodes", PKI_CLIENT | PKI_SERVER, true, false, true},
    {"proxy", "system:kube-proxy", NULL, PKI_CLIENT | PKI_SERVER, true, false, true},
    {"dns", "system:kube-dns", NULL, PKI_CLIENT | PKI_SERVER, true, false, true},
    {"hollow", "skiff:hollow-nodes", "skiff:hollow-nodes", PKI_CLIENT | PKI_SERVER, true, false,
        false},
};

static int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int write_pair(
    const struct cluster *c, const char *name, const struct pki_pair *pair, struct error *err)
{
    autofree char *key = cluster_path(c, "pki/%s.key", name);
    autofree char *cert = cluster_path(c, "pki/%s.crt", name);
    struct stat st; /* modes that somebody has chosen stay */
    mode_t mode = stat(key, &st) == 0 ? st.st_mode & 0777 : 0600;
    if (file_write(key, str_of(pair->key_pem), mode, err) < 0)
        return -err->code;
    mode = stat(cert, &st) == 0 ? st.st_mode & 0777 : 0644;
    return file_write(cert, str_of(pair->cert_pem), mode, err);
}

static int read_text(const char *path, char **ret, struct error *err)
{
    autostrbuf struct strbuf b = STRBUF_EMPTY;
    strbuf_init(&b, 1 << 20);
    if (file_read(path, 1 << 20, &b, err) < 0)
        return -err->code;
    *ret = strbuf_steal(&b);
    return 0;
}

static int read_pair(
    const struct cluster *c, const char *name, struct pki_pair *ret, struct error *err)
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

/* The certificate is written after its key, so without one nobody has used the key. A certificate
 * without its key is a CA that somebody has put away: it is asked for, not replaced. */
static int ensure_ca(const struct cluster *c, struct pki_pair *ret, struct error *err)
{
    autofree char *cert = cluster_path(c, "pki/ca.crt");
    if (file_exists(cert))
        return read_pair(c, "ca", ret, err);
    if (pki_new_ca("skiff", 10 * YEAR_S, ret, err) < 0)
        return -err->code;
    return write_pair(c, "ca", ret, err);
}

/* What a certificate is to say; the texts that `subject` refers to live here. */
struct names {
    char *common_name, *node_dns, *node_ip;
    const char *organizations[2];
    const char *alt_names[10];
    struct pki_subject subject;
};

static void names_init(struct names *n, const struct cluster *c, const struct identity_row *row)
{
    bool of_node = strchr(row->common_name, '%');
    *n = (struct names){.common_name = of_node ? str_format("system:node:%s", c->node_name)
                                               : xstrdup(row->common_name),
        .node_dns = str_format("DNS:%s", c->node_name),
        .node_ip = str_format("IP:%s", c->node_ip),
        .organizations = {row->organization}};
    const char *const both[] = {"DNS:localhost", n->node_dns, "IP:127.0.0.1", n->node_ip};
    const char *const server[] = {"DNS:kubernetes", "DNS:kubernetes.default",
        "DNS:kubernetes.default.svc", "DNS:kubernetes.default.svc.cluster.local", "IP:10.96.0.1"};
    memcpy(n->alt_names, both, sizeof(both));
    if (c_eq(row->file, "apiserver"))
        memcpy(n->alt_names + ARRAY_COUNT(both), server, sizeof(server));
    n->subject = (struct pki_subject){.common_name = n->common_name,
        .organizations = row->organization ? n->organizations : NULL,
        .alt_names = row->usage & PKI_SERVER ? n->alt_names : NULL,
        .usage = row->usage,
        .valid_seconds = YEAR_S};
}

static void names_done(struct names *n)
{
    free(n->common_name);
    free(n->node_dns);
    free(n->node_ip);
}

static bool cert_says(X509 *cert, const struct pki_subject *subject)
{
    char common_name[300] = "";
    X509_NAME_get_text_by_NID(
        X509_get_subject_name(cert), NID_commonName, common_name, sizeof(common_name));
    if (!c_eq(common_name, subject->common_name))
        return false;
    for (const char *const *name = subject->alt_names; name && *name; name++) {
        bool is_ip = str_starts(str_of(*name), STR("IP:"));
        const char *text = strchr(*name, ':') + 1;
        if ((is_ip ? X509_check_ip_asc(cert, text, 0) : X509_check_host(cert, text, 0, 0, NULL)) !=
            1)
            return false;
    }
    return true;
}

static X509 *parse_cert(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return cert;
}

/* Whether a pair can stay: it belongs together (a crash may have come between the two files), this
 * CA has signed it, and it says what it is to say for a month more. */
static bool is_current(const struct cluster *c, const struct pki_pair *ca, const char *name,
    const struct pki_subject *subject)
{
    struct pki_pair pair;
    struct error err;
    int64_t expiry_ns;
    if (read_pair(c, name, &pair, &err) < 0)
        return false;
    BIO *bio = BIO_new_mem_buf(pair.key_pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    X509 *cert = parse_cert(pair.cert_pem), *issuer = parse_cert(ca->cert_pem);
    bool ok = cert && key && issuer && X509_check_private_key(cert, key) == 1 &&
              X509_verify(cert, X509_get0_pubkey(issuer)) == 1 && cert_says(cert, subject) &&
              pki_cert_expiry(pair.cert_pem, &expiry_ns, &err) == 0 &&
              expiry_ns > wall_ns() + RENEW_BEFORE_NS;
    BIO_free(bio);
    EVP_PKEY_free(key);
    X509_free(cert);
    X509_free(issuer);
    pki_pair_done(&pair);
    ERR_clear_error();
    return ok;
}

static int make_cert(const struct cluster *c, const struct pki_pair *ca, const char *name,
    const struct pki_subject *subject, struct error *err)
{
    struct pki_pair pair;
    if (pki_new_cert(ca, subject, &pair, err) < 0)
        return error_wrap(err, "certificate %s", name);
    if (c_eq(name, "apiserver")) { /* with the CA behind it, for `join` to check against its hash */
        char *chain = str_format("%s%s", pair.cert_pem, ca->cert_pem);
        free(pair.cert_pem);
        pair.cert_pem = chain;
    }
    int result = write_pair(c, name, &pair, err);
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
    if (file_exists(key_path)) { /* tokens are signed with it: only its public half is made again */
        if (read_text(key_path, &key, err) < 0 || pki_public_key(key, &public_pem, err) < 0)
            return -err->code;
        return file_write(public_path, str_of(public_pem), 0644, err);
    }
    if (pki_new_key(&key, err) < 0 || pki_public_key(key, &public_pem, err) < 0)
        return -err->code;
    if (file_write(key_path, str_of(key), 0600, err) < 0)
        return -err->code;
    return file_write(public_path, str_of(public_pem), 0644, err);
}

/* Secrets are encrypted with it in the store, so a file that is there stays as it is. What an older
 * cluster has in the clear is still read. */
static int ensure_encryption_key(const struct cluster *c, struct error *err)
{
    autofree char *path = cluster_path(c, "pki/encryption.yaml");
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    uint8_t key[32];

    if (file_exists(path))
        return 0;
    if (RAND_bytes(key, sizeof(key)) != 1)
        return error_set(err, ERR_SYSTEM, "no random bytes to be had");
    strbuf_addc(&out, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
                      "resources:\n- resources:\n  - secrets\n  providers:\n  - aesgcm:\n"
                      "      keys:\n      - name: key1\n        secret: ");
    base64_encode(str_range((const char *)key, sizeof(key)), &out);
    strbuf_addc(&out, "\n  - identity: {}\n");
    int result = file_write(path, strbuf_str(&out), 0600, err);

    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(out.data, out.n);
    return result;
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
    strbuf_addf(&out,
        "apiVersion: v1\nkind: Config\ncurrent-context: skiff\nclusters:\n"
        "- name: skiff\n  cluster:\n    server: %s\n",
        server);
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

/* Whether a kubeconfig leads to the server with this identity; what else people have written into
 * it stays. */
static bool kubeconfig_fits(const struct cluster *c, const char *path,
    const struct identity_row *row, const char *cert_path)
{
    struct kubeconfig k;
    struct error err;
    autofree char *cert = NULL;
    if (kubeconfig_load(path, "skiff", &k, &err) < 0)
        return false;
    bool fits = c_eq(k.server, c->server) &&
                (!row->embed || (read_text(cert_path, &cert, &err) == 0 && c_eq(k.cert_pem, cert)));
    kubeconfig_done(&k);
    return fits;
}

static int ensure_identity(const struct cluster *c, const struct pki_pair *ca,
    const struct identity_row *row, bool anew, struct error *err)
{
    struct names names;
    names_init(&names, c, row);
    bool fresh = !anew && is_current(c, ca, row->file, &names.subject);
    int result = fresh ? 0 : make_cert(c, ca, row->file, &names.subject, err);
    names_done(&names);
    if (result < 0 || !row->kubeconfig)
        return result;
    autofree char *kubeconfig = cluster_path(c, "%s.kubeconfig", row->file);
    autofree char *cert = cluster_path(c, "pki/%s.crt", row->file);
    autofree char *key = cluster_path(c, "pki/%s.key", row->file);
    if (fresh && kubeconfig_fits(c, kubeconfig, row, cert))
        return 0;
    return credentials_write_kubeconfig(
        kubeconfig, c->server, ca->cert_pem, cert, key, row->embed, NULL, err);
}

/* One identity, or the keys that belong to nobody. */
struct ensure_job {
    const struct cluster *c;
    const struct pki_pair *ca;
    const struct identity_row *row; /* NULL: keys */
    struct task *task;
    int result;
    struct error err;
};

static void ensure_run(void *arg)
{
    struct ensure_job *job = arg;
    if (job->row) {
        job->result = ensure_identity(job->c, job->ca, job->row, false, &job->err);
        return;
    }
    job->result = ensure_service_account_key(job->c, &job->err);
    if (job->result == 0)
        job->result = ensure_encryption_key(job->c, &job->err);
}

/* At once: most of the time is waiting for the disk, and files that are synced together share that.
 */
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

static bool is_made(const struct cluster *c, const struct identity_row *row)
{
    autofree char *cert = cluster_path(c, "pki/%s.crt", row->file);
    return file_exists(cert);
}

static const struct identity_row *find_identity(const struct cluster *c, const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(identities); i++)
        if (c_eq(identities[i].file, name) && is_made(c, &identities[i]))
            return &identities[i];
    return NULL;
}

int credentials_renew(
    const struct cluster *c, const char *const *names, size_t count, struct error *err)
{
    struct pki_pair ca = {0};
    int result = 0;
    for (size_t i = 0; i < count; i++)
        if (!find_identity(c, names[i]))
            return error_set(err, ERR_USAGE,
                "there is no certificate \"%s\" of ours; 'skiffctl certs check' lists them",
                names[i]);
    if (read_pair(c, "ca", &ca, err) < 0)
        return error_wrap(err, "the CA's key is needed");
    for (size_t i = 0; i < count && result == 0; i++)
        result = ensure_identity(c, &ca, find_identity(c, names[i]), true, err);
    for (size_t i = 0; i < ARRAY_COUNT(identities) && count == 0 && result == 0; i++)
        if (is_made(c, &identities[i]))
            result = ensure_identity(c, &ca, &identities[i], true, err);
    pki_pair_done(&ca);
    return result;
}
