/*
 * CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may approve and sign
 * requests of a signer, and that nobody asks for the group system:masters.
 *
 * A right is the verb approve or sign on the resource signers.certificates.k8s.io named as the
 * signer, or "domain/" + "*". Upstream: plugin/pkg/admission/certificates.
 */
#include "apiserver/admission/plugin.h"
#include "apiserver/auth/auth.h"
#include "common/base64.h"
#include "common/pki.h"

static bool may(const struct write_context *w, const char *verb, const char *signer)
{
    const struct identity *who = &w->request->identity;
    char domain[300];
    const char *slash = strchr(signer, '/');
    struct access_attributes what = {.verb = verb,
        .group = "certificates.k8s.io",
        .version = "v1",
        .resource = "signers",
        .subresource = "",
        .namespace_ = "",
        .name = signer};
    if (w->request->trusted || auth_allowed(w->server->auth, who, &what, NULL))
        return true;
    snprintf(domain, sizeof(domain), "%.*s/*", slash ? (int)(slash - signer) : (int)strlen(signer),
        signer);
    what.name = domain;
    return auth_allowed(w->server->auth, who, &what, NULL);
}

static const cJSON *condition(const cJSON *request, const char *type)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(request, "status.conditions"))
    {
        if (c_eq(json_string(item, "type"), type))
            return item;
    }
    return NULL;
}

static int certificate_approval(const struct write_context *w, struct error *err)
{
    const char *signer = json_string_at(w->old, "spec.signerName");
    bool changes = !json_equal(condition(w->old, "Approved"), condition(w->tree, "Approved")) ||
                   !json_equal(condition(w->old, "Denied"), condition(w->tree, "Denied"));
    if (!w->old || w->kind == WRITE_DELETE || !changes || may(w, "approve", signer ? signer : ""))
        return 0;
    return admission_refuse(
        w, err, "user not permitted to approve requests with signerName \"%s\"", signer);
}

static int certificate_signing(const struct write_context *w, struct error *err)
{
    const char *signer = json_string_at(w->old, "spec.signerName");
    bool changes = !json_equal(json_path(w->old, "status.certificate"),
                       json_path(w->tree, "status.certificate")) ||
                   !json_equal(condition(w->old, "Failed"), condition(w->tree, "Failed"));
    if (!w->old || w->kind == WRITE_DELETE || !changes || may(w, "sign", signer ? signer : ""))
        return 0;
    return admission_refuse(
        w, err, "user not permitted to sign requests with signerName \"%s\"", signer);
}

static int certificate_subject(const struct write_context *w, struct error *err)
{
    const char *text = json_string_at(w->tree, "spec.request");
    struct pki_request request;
    struct strbuf pem;
    if (w->kind != WRITE_CREATE || !text ||
        !c_eq(json_string_at(w->tree, "spec.signerName"), "kubernetes.io/kube-apiserver-client"))
        return 0;
    strbuf_init(&pem, 1 << 16);
    int result = base64_decode(str_of(text), &pem, err);
    if (result == 0)
        result = pki_parse_request(pem.data, &request, err);
    strbuf_done(&pem);
    if (result < 0)
        return 0; /* validation has said so already */
    bool masters = false;
    for (char *const *o = request.organizations; o && *o; o++)
        masters = masters || c_eq(*o, "system:masters");
    pki_request_done(&request);
    return masters ? admission_refuse(w, err,
                         "use of kubernetes.io/kube-apiserver-client signer with system:masters "
                         "group is not allowed")
                   : 0;
}

static const char *const requests[] = {"certificatesigningrequests.certificates.k8s.io", NULL};

const struct admission_plugin admission_certificate_approval = {
    .name = "CertificateApproval",
    .resources = requests,
    .validate = certificate_approval,
};

const struct admission_plugin admission_certificate_signing = {
    .name = "CertificateSigning",
    .resources = requests,
    .validate = certificate_signing,
};

const struct admission_plugin admission_certificate_subject_restriction = {
    .name = "CertificateSubjectRestriction",
    .resources = requests,
    .validate = certificate_subject,
};
