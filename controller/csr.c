/*
 * Rules of the built-in signers: see csr.h. Upstream: pkg/apis/certificates (helpers), and for
 * serving certificates what its documentation asks an approver to check.
 */
#include "controller/csr.h"

#include "common/base64.h"

#define NODE_PREFIX "system:node:"
#define REQUEST_BYTES_MAX (64u << 10)

int csr_parse(const struct csr *csr, char **ret_pem, struct pki_request *ret, struct error *err)
{
    autostrbuf struct strbuf pem;

    strbuf_init(&pem, REQUEST_BYTES_MAX);
    if (base64_decode(str_of(csr->request), &pem, err) < 0 ||
        pki_parse_request(pem.data, ret, err) < 0)
        return error_wrap(err, "spec.request");
    *ret_pem = strbuf_steal(&pem);
    return 0;
}

static bool has_usage(const struct csr *csr, const char *usage)
{
    for (size_t i = 0; i < csr->usages.count; i++)
        if (!strcmp(csr->usages.strings[i], usage))
            return true;
    return false;
}

/* Exactly digital signature, perhaps key encipherment, and the one purpose. */
static bool usages_are(const struct csr *csr, const char *purpose, bool need_signature)
{
    if (!has_usage(csr, purpose) || (need_signature && !has_usage(csr, "digital signature")))
        return false;
    for (size_t i = 0; i < csr->usages.count; i++) {
        const char *u = csr->usages.strings[i];
        if (strcmp(u, purpose) && strcmp(u, "digital signature") && strcmp(u, "key encipherment"))
            return false;
    }
    return true;
}

static bool is_node_subject(const struct pki_request *request)
{
    return request->organizations && request->organizations[0] && !request->organizations[1] &&
           !strcmp(request->organizations[0], "system:nodes") && request->common_name &&
           !strncmp(request->common_name, NODE_PREFIX, sizeof(NODE_PREFIX) - 1) &&
           request->common_name[sizeof(NODE_PREFIX) - 1];
}

static bool has_alt_names(const struct pki_request *request)
{
    return request->alt_names && request->alt_names[0];
}

static int check_kubelet_client(
    const struct csr *csr, const struct pki_request *request, struct error *err)
{
    if (!is_node_subject(request))
        return error_set(err, ERR_INVALID,
            "subject organization is not system:nodes or common name does not begin "
            "with " NODE_PREFIX);
    if (has_alt_names(request))
        return error_set(err, ERR_INVALID, "subjectAltNames are not allowed");
    if (!usages_are(csr, "client auth", true))
        return error_set(err, ERR_INVALID,
            "usages did not match [key encipherment, digital signature, client auth]");
    return 0;
}

static int check_kubelet_serving(
    const struct csr *csr, const struct pki_request *request, struct error *err)
{
    if (!is_node_subject(request))
        return error_set(err, ERR_INVALID,
            "subject organization is not system:nodes or common name does not begin "
            "with " NODE_PREFIX);
    if (!has_alt_names(request))
        return error_set(err, ERR_INVALID, "DNS or IP subjectAltName is required");
    for (char **name = request->alt_names; *name; name++)
        if (strncmp(*name, "DNS:", 4) && strncmp(*name, "IP:", 3))
            return error_set(err, ERR_INVALID, "only DNS and IP subjectAltNames are allowed");
    if (!usages_are(csr, "server auth", true))
        return error_set(err, ERR_INVALID,
            "usages did not match [key encipherment, digital signature, server auth]");
    return 0;
}

int csr_check(const struct csr *csr, const struct pki_request *request, unsigned *ret_usage,
    struct error *err)
{
    if (!strcmp(csr->signer, SIGNER_KUBELET_SERVING)) {
        *ret_usage = PKI_SERVER;
        return check_kubelet_serving(csr, request, err);
    }
    *ret_usage = PKI_CLIENT;
    if (!strcmp(csr->signer, SIGNER_KUBELET_CLIENT))
        return check_kubelet_client(csr, request, err);
    if (strcmp(csr->signer, SIGNER_CLIENT))
        return error_set(err, ERR_INVALID, "unrecognized signerName: %s", csr->signer);
    if (!usages_are(csr, "client auth", false))
        return error_set(err, ERR_INVALID, "invalid usages for client certificate");
    return 0;
}

static bool is_node_address(const struct node *node, const char *alt_name)
{
    const struct node_address *addresses = node->addresses.items;
    bool is_ip = !strncmp(alt_name, "IP:", 3);
    const char *value = strchr(alt_name, ':') + 1;

    for (size_t i = 0; i < node->addresses.count; i++) {
        bool type_is_ip =
            !strcmp(addresses[i].type, "InternalIP") || !strcmp(addresses[i].type, "ExternalIP");
        if (type_is_ip == is_ip && !strcmp(addresses[i].address, value))
            return true;
    }
    return false;
}

bool csr_names_node(
    const struct csr *csr, const struct pki_request *request, const struct node *node)
{
    if (strcmp(csr->username, request->common_name) ||
        strcmp(request->common_name + sizeof(NODE_PREFIX) - 1, node->meta.name))
        return false;
    for (char **name = request->alt_names; *name; name++)
        if (!is_node_address(node, *name))
            return false;
    return true;
}
