/* Rules of the built-in signers. */
#include <CUnit/CUnit.h>

#include "common/base64.h"
#include "controller/csr.h"
#include "tests/unit/controller/objects.h"

static const char *const nodes[] = {"system:nodes", NULL};
static const char *const masters[] = {"system:masters", NULL};
static const char *const names[] = {"DNS:n1", "IP:10.0.0.1", NULL};

static const struct csr *make(
    const struct pki_subject *subject, const char *signer, const char *usages)
{
    char *key = NULL, *pem = NULL;
    struct error err;
    struct strbuf text;

    if (pki_new_key(&key, &err) < 0 || pki_new_request(key, subject, &pem, &err) < 0)
        abort();
    strbuf_init(&text, 0);
    base64_encode(str_of(pem), &text);
    const struct csr *csr = object_of(KIND_CSR,
        "{\"metadata\":{\"name\":\"c\"},\"spec\":{\"request\":\"%s\",\"signerName\":\"%s\","
        "\"username\":"
        "\"system:node:n1\",\"usages\":%s}}",
        text.data, signer, usages);
    strbuf_done(&text);
    free(key);
    free(pem);
    return csr;
}

#define CLIENT "[\"digital signature\",\"client auth\"]"
#define SERVER "[\"digital signature\",\"key encipherment\",\"server auth\"]"

static void test_rules(void)
{
    static const struct {
        const char *name;
        const char *const *organizations, *const *alt_names;
        const char *signer, *usages;
        bool good;
    } cases[] = {
        {"system:node:n1", nodes, NULL, SIGNER_KUBELET_CLIENT, CLIENT, true},
        {"system:node:n1", nodes, NULL, SIGNER_KUBELET_CLIENT, SERVER, false},
        {"system:node:n1", masters, NULL, SIGNER_KUBELET_CLIENT, CLIENT, false},
        {"system:node:", nodes, NULL, SIGNER_KUBELET_CLIENT, CLIENT, false},
        {"root", nodes, NULL, SIGNER_KUBELET_CLIENT, CLIENT, false},
        {"system:node:n1", nodes, names, SIGNER_KUBELET_CLIENT, CLIENT, false},
        {"system:node:n1", nodes, names, SIGNER_KUBELET_SERVING, SERVER, true},
        {"system:node:n1", nodes, NULL, SIGNER_KUBELET_SERVING, SERVER, false},
        {"system:node:n1", nodes, names, SIGNER_KUBELET_SERVING, CLIENT, false},
        {"joe", masters, NULL, SIGNER_CLIENT, "[\"client auth\"]", true},
        {"joe", masters, NULL, SIGNER_CLIENT, "[\"client auth\",\"server auth\"]", false},
        {"joe", masters, NULL, "example.com/mine", "[\"client auth\"]", false},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct pki_subject subject = {.common_name = cases[i].name,
            .organizations = cases[i].organizations,
            .alt_names = cases[i].alt_names};
        const struct csr *csr = make(&subject, cases[i].signer, cases[i].usages);
        struct pki_request request;
        struct error err;
        char *pem = NULL;
        unsigned usage;
        CU_ASSERT_EQUAL_FATAL(csr_parse(csr, &pem, &request, &err), 0);
        if ((csr_check(csr, &request, &usage, &err) == 0) != cases[i].good) {
            printf("\ncase %zu: %s\n", i, cases[i].good ? err.text : "accepted");
            CU_FAIL("rule");
        }
        pki_request_done(&request);
        free(pem);
        projected_unref(csr);
    }
}

static void test_addresses(void)
{
    struct pki_subject subject = {
        .common_name = "system:node:n1", .organizations = nodes, .alt_names = names};
    const struct csr *csr = make(&subject, SIGNER_KUBELET_SERVING, SERVER);
    const struct node *right =
        object_of(KIND_NODE, "{\"metadata\":{\"name\":\"n1\"},\"status\":{\"addresses\":[{\"type\":"
                             "\"InternalIP\",\"address\":\"10.0.0.1\"},"
                             "{\"type\":\"Hostname\",\"address\":\"n1\"}]}}");
    const struct node *wrong =
        object_of(KIND_NODE, "{\"metadata\":{\"name\":\"n1\"},\"status\":{\"addresses\":[{\"type\":"
                             "\"InternalIP\",\"address\":\"10.0.0.2\"},"
                             "{\"type\":\"Hostname\",\"address\":\"n1\"}]}}");
    const struct node *other =
        object_of(KIND_NODE, "{\"metadata\":{\"name\":\"n2\"},\"status\":{\"addresses\":[{\"type\":"
                             "\"InternalIP\",\"address\":\"10.0.0.1\"},"
                             "{\"type\":\"Hostname\",\"address\":\"n1\"}]}}");
    struct pki_request request;
    struct error err;
    char *pem = NULL;

    CU_ASSERT_EQUAL_FATAL(csr_parse(csr, &pem, &request, &err), 0);
    CU_ASSERT_TRUE(csr_names_node(csr, &request, right));
    CU_ASSERT_FALSE(csr_names_node(csr, &request, wrong));
    CU_ASSERT_FALSE(csr_names_node(csr, &request, other));
    pki_request_done(&request);
    free(pem);
    projected_unref(csr);
    projected_unref(right);
    projected_unref(wrong);
    projected_unref(other);
}

const CU_TestInfo csr_tests[] = {
    {"what each signer accepts", test_rules},
    {"serving names are the node's", test_addresses},
    CU_TEST_INFO_NULL,
};
