/*
 * Controller "certificatesigningrequest-signing": signs approved requests of the three built-in
 * signers with the cluster's CA. A request that breaks its signer's rules gets the condition
 * Failed. Validity is what was asked for, at most --cluster-signing-duration and never beyond the
 * CA's own.
 *
 * The CA's files are read for each signature, so that a changed pair needs no restart.
 *
 * Upstream: pkg/controller/certificates/signer.
 */
#include "common/base64.h"
#include "common/file.h"
#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/controller.h"
#include "controller/csr.h"
#include "controller/manager.h"

#define PEM_BYTES_MAX (256u << 10)
#define SHORTEST_S 600

static bool wanted(const struct manager_config *config)
{
    return config->signing_cert_file && *config->signing_cert_file && config->signing_key_file &&
           *config->signing_key_file;
}

static int load_ca(struct controller *c, struct pki_pair *ret, struct error *err)
{
    struct strbuf cert, key;

    strbuf_init(&cert, PEM_BYTES_MAX);
    strbuf_init(&key, PEM_BYTES_MAX);
    int r = file_read(manager_config(c->m)->signing_cert_file, PEM_BYTES_MAX, &cert, err);
    if (r == 0)
        r = file_read(manager_config(c->m)->signing_key_file, PEM_BYTES_MAX, &key, err);
    if (r < 0) {
        strbuf_done(&cert);
        strbuf_done(&key);
        return error_wrap(err, "signing CA");
    }
    *ret = (struct pki_pair){strbuf_steal(&cert), strbuf_steal(&key)};
    return 0;
}

static int start(struct controller *c, struct error *err)
{
    struct pki_pair ca = {0};
    int r = load_ca(c, &ca, err);

    pki_pair_done(&ca);
    return r;
}

static int64_t validity_s(struct controller *c, const struct csr *csr, const char *ca_pem)
{
    int64_t most = manager_config(c->m)->signing_duration_ns / NS_PER_S, end_ns;
    int64_t seconds = most > 0 ? most : 365ll * 86400;
    struct error err;

    if (csr->expiration_seconds.set && csr->expiration_seconds.value < seconds)
        seconds =
            csr->expiration_seconds.value > SHORTEST_S ? csr->expiration_seconds.value : SHORTEST_S;
    if (pki_cert_expiry(ca_pem, &end_ns, &err) == 0) {
        int64_t left = (end_ns - env_wall_ns(manager_env(c->m))) / NS_PER_S;
        seconds = left < seconds ? left : seconds;
    }
    return seconds;
}

static int write_certificate(
    struct controller *c, const struct csr *csr, const char *pem, struct error *err)
{
    autostrbuf struct strbuf text;
    cJSON *patch = cJSON_CreateObject();

    strbuf_init(&text, 0);
    base64_encode(str_of(pem), &text);
    json_set_string_at(patch, "status.certificate", text.data);
    int r = object_patch(c->m, KIND_CSR, &csr->meta, "status", patch, err);
    if (r == 0)
        log_info(
            "certificate signed", "csr", "%s", csr->meta.name, "signer", "%s", csr->signer, NULL);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int write_failure(struct controller *c, const struct csr *csr, const char *reason,
    const char *message, struct error *err)
{
    cJSON *conditions = conditions_json(&csr->conditions), *patch = cJSON_CreateObject();
    int64_t now = env_wall_ns(manager_env(c->m));

    conditions_set(conditions, "Failed", "True", reason, message, now, now);
    json_set_at(patch, "status.conditions", conditions);
    int r = object_patch(c->m, KIND_CSR, &csr->meta, "status", patch, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

static int sign(
    struct controller *c, const struct csr *csr, const char *pem, unsigned usage, struct error *err)
{
    struct pki_pair ca = {0};
    autofree char *cert = NULL;

    if (load_ca(c, &ca, err) < 0)
        return -(int)err->code;
    int r = pki_sign_request(&ca, pem, usage, validity_s(c, csr, ca.cert_pem), &cert, err);
    pki_pair_done(&ca);
    return r < 0 ? error_wrap(err, "signing") : write_certificate(c, csr, cert, err);
}

static bool is_ours(const struct csr *csr)
{
    return !strcmp(csr->signer, SIGNER_CLIENT) || !strcmp(csr->signer, SIGNER_KUBELET_CLIENT) ||
           !strcmp(csr->signer, SIGNER_KUBELET_SERVING);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct csr *csr = kind_get(c->m, KIND_CSR, "", key);
    struct pki_request request;
    autofree char *pem = NULL;
    unsigned usage;

    if (!csr || *csr->certificate || !is_ours(csr) ||
        !condition_is(&csr->conditions, "Approved", "True") ||
        conditions_find(&csr->conditions, "Denied") || conditions_find(&csr->conditions, "Failed"))
        return 0;
    if (csr_parse(csr, &pem, &request, err) < 0) {
        struct error why = *err;
        return write_failure(c, csr, "SignerValidationFailure", why.text, err);
    }
    int r = csr_check(csr, &request, &usage, err);
    pki_request_done(&request);
    if (r < 0) {
        struct error why = *err;
        return write_failure(c, csr, "SignerValidationFailure", why.text, err);
    }
    return sign(c, csr, pem, usage, err);
}

const struct controller_info controller_csr_sign = {
    .name = "certificatesigningrequest-signing-controller",
    .component = "certificate-signing-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_CSR, controller_on_object}},
    .wanted = wanted,
    .reconcile = reconcile,
    .start = start,
};
