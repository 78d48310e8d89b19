/*
 * Controller "certificatesigningrequest-approving": approves what nodes need to join and to renew.
 *
 * A kubelet's client certificate: when a SubjectAccessReview lets the requester create
 * certificatesigningrequests/nodeclient (bootstrap tokens), or, for its own name,
 * .../selfnodeclient (renewal). A kubelet's serving certificate: when the node itself asks, for
 * names and addresses that its Node object has. Everything else waits for a human.
 *
 * Upstream: pkg/controller/certificates/approver (serving certificates are left to add-ons there).
 */
#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/controller.h"
#include "controller/csr.h"

/* The Node may get its addresses a little after its kubelet asks. */
#define ADDRESS_RETRY_NS (2 * NS_PER_S)
#define ADDRESS_PATIENCE_NS (600 * NS_PER_S)

static bool is_settled(const struct csr *csr)
{
    return *csr->certificate || conditions_find(&csr->conditions, "Approved") ||
           conditions_find(&csr->conditions, "Denied");
}

static int approve(
    struct controller *c, const struct csr *csr, const char *message, struct error *err)
{
    cJSON *conditions = conditions_json(&csr->conditions), *patch = cJSON_CreateObject();
    int64_t now = env_wall_ns(manager_env(c->m));

    conditions_set(conditions, "Approved", "True", "AutoApproved", message, now, now);
    json_set_at(patch, "status.conditions", conditions);
    int r = object_patch(c->m, KIND_CSR, &csr->meta, "approval", patch, err);
    if (r == 0)
        log_info("certificate request approved", "csr", "%s", csr->meta.name, "signer", "%s",
            csr->signer, "user", "%s", csr->username, NULL);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* Whether the requester may create certificatesigningrequests/<subresource>. */
static int is_allowed(struct controller *c, const struct csr *csr, const char *subresource,
    bool *ret, struct error *err)
{
    struct api_ref ref = {
        .group_version = "authorization.k8s.io/v1", .plural = "subjectaccessreviews"};
    autojson cJSON *review = json_make("{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":"
                                       "\"SubjectAccessReview\",\"spec\":{\"resourceAttributes\":{"
                                       "\"group\":\"certificates.k8s.io\",\"resource\":"
                                       "\"certificatesigningrequests\",\"verb\":\"create\","
                                       "\"version\":\"*\",\"subresource\":\"%s\"}}}",
        subresource);
    autojson cJSON *spec = NULL, *answer = NULL;
    static const char *const copied[][2] = {
        {"username", "user"}, {"uid", "uid"}, {"groups", "groups"}, {"extra", "extra"}};

    if (json_parse(str_of(csr->spec ? csr->spec : "{}"), &spec, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < ARRAY_COUNT(copied); i++) {
        cJSON *value = json_get(spec, copied[i][0]);
        if (value)
            json_set(json_get(review, "spec"), copied[i][1], cJSON_Duplicate(value, true));
    }
    if (api_create(manager_client(c->m), &ref, review, &answer, err) < 0)
        return -(int)err->code;
    *ret = json_bool(json_get(answer, "status"), "allowed", false);
    return 0;
}

static int approve_client(struct controller *c, const struct csr *csr,
    const struct pki_request *request, struct error *err)
{
    bool own = !strcmp(csr->username, request->common_name), allowed = false;

    if (own && is_allowed(c, csr, "selfnodeclient", &allowed, err) < 0)
        return -(int)err->code;
    if (allowed)
        return approve(c, csr,
            "Auto approving self kubelet client certificate after SubjectAccessReview.", err);
    if (is_allowed(c, csr, "nodeclient", &allowed, err) < 0)
        return -(int)err->code;
    return allowed
               ? approve(c, csr,
                     "Auto approving kubelet client certificate after SubjectAccessReview.", err)
               : 0;
}

static bool in_nodes_group(const struct csr *csr)
{
    for (size_t i = 0; i < csr->groups.count; i++)
        if (!strcmp(csr->groups.strings[i], "system:nodes"))
            return true;
    return false;
}

static int approve_serving(struct controller *c, const struct csr *csr,
    const struct pki_request *request, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct node *node =
        kind_get(c->m, KIND_NODE, "", request->common_name + sizeof("system:node:") - 1);

    if (!in_nodes_group(csr) || strcmp(csr->username, request->common_name))
        return 0;
    if (node && csr_names_node(csr, request, node))
        return approve(c, csr,
            "Auto approving kubelet serving certificate: its names and addresses are the Node's.",
            err);
    if (env_wall_ns(manager_env(c->m)) - csr->meta.creation_ns < ADDRESS_PATIENCE_NS)
        *ret_again_ns = ADDRESS_RETRY_NS;
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct csr *csr = kind_get(c->m, KIND_CSR, "", key);
    struct pki_request request;
    autofree char *pem = NULL;
    unsigned usage;
    int r = 0;

    if (!csr || is_settled(csr))
        return 0;
    bool client = !strcmp(csr->signer, SIGNER_KUBELET_CLIENT);
    if ((!client && strcmp(csr->signer, SIGNER_KUBELET_SERVING)) ||
        csr_parse(csr, &pem, &request, err) < 0)
        return 0; /* not ours, or not a request at all: nobody approves it automatically */
    if (csr_check(csr, &request, &usage, err) == 0)
        r = client ? approve_client(c, csr, &request, err)
                   : approve_serving(c, csr, &request, ret_again_ns, err);
    pki_request_done(&request);
    return r;
}

const struct controller_info controller_csr_approve = {
    .name = "certificatesigningrequest-approving-controller",
    .component = "certificate-approving-controller",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_CSR, controller_on_object}, {KIND_NODE, NULL}},
    .reconcile = reconcile,
};
