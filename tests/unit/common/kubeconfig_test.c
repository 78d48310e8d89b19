/* kubeconfig: resolving contexts, paths and data; finding the file; refusals. */
#include "common/kubeconfig.h"

#include <CUnit/CUnit.h>

#include "common/file.h"

static const char config_text[] =
    "apiVersion: v1\n"
    "kind: Config\n"
    "current-context: one\n"
    "clusters:\n"
    "- name: c1\n"
    "  cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: Y2E=, "
    "tls-server-name: kube}\n"
    "- name: c2\n"
    "  cluster: {server: 'https://b', certificate-authority: pki/ca.crt, insecure-skip-tls-verify: "
    "true}\n"
    "users:\n"
    "- name: u1\n"
    "  user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}\n"
    "- name: u2\n"
    "  user: {token: secret, tokenFile: /run/token, client-certificate: c.pem}\n"
    "- name: u3\n"
    "  user: {exec: {command: aws}}\n"
    "- name: u4\n"
    "  user: {client-key-data: '*'}\n"
    "contexts:\n"
    "- {name: one, context: {cluster: c1, user: u1}}\n"
    "- {name: two, context: {cluster: c2, user: u2, namespace: web}}\n"
    "- {name: plugin, context: {cluster: c1, user: u3}}\n"
    "- {name: bad-data, context: {cluster: c1, user: u4}}\n"
    "- {name: no-cluster, context: {cluster: c9, user: u1}}\n"
    "- {name: no-user, context: {cluster: c1, user: u9}}\n"
    "- {name: nobody, context: {cluster: c1}}\n";

static char dir[] = "/tmp/skiff-unit-XXXXXX";

static char *write_config(const char *text)
{
    struct error err;
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    char *path = str_format("%s/config", dir);
    CU_ASSERT_EQUAL_FATAL(file_write(path, str_of(text), 0600, &err), 0);
    return path;
}

static void remove_config(void)
{
    struct error err;
    CU_ASSERT_EQUAL(file_remove_tree(dir, &err), 0);
}

static void contexts(void)
{
    autofree char *path = write_config(config_text);
    autofree char *ca = str_format("%s/pki/ca.crt", dir), *cert = str_format("%s/c.pem", dir);
    struct kubeconfig k;
    struct error err;

    CU_ASSERT_EQUAL_FATAL(kubeconfig_load(path, NULL, &k, &err), 0);
    CU_ASSERT_STRING_EQUAL(k.server, "https://10.0.0.1:6443");
    CU_ASSERT_STRING_EQUAL(k.namespace_, "default");
    CU_ASSERT_STRING_EQUAL(k.ca_pem, "ca");
    CU_ASSERT_STRING_EQUAL(k.cert_pem, "cert");
    CU_ASSERT_STRING_EQUAL(k.key_pem, "key");
    CU_ASSERT_STRING_EQUAL(k.tls_server_name, "kube");
    struct http_client_config c = kubeconfig_client_config(&k, "test");
    CU_ASSERT(
        c.base_url == k.server && c.ca_pem == k.ca_pem && !c.ca_file && !c.insecure_skip_verify);
    kubeconfig_done(&k);

    CU_ASSERT_EQUAL_FATAL(kubeconfig_load(path, "two", &k, &err), 0);
    CU_ASSERT_STRING_EQUAL(k.namespace_, "web");
    CU_ASSERT_STRING_EQUAL(k.ca_file, ca);
    CU_ASSERT_STRING_EQUAL(k.cert_file, cert);
    CU_ASSERT_STRING_EQUAL(k.token, "secret");
    CU_ASSERT_STRING_EQUAL(k.token_file, "/run/token");
    CU_ASSERT(k.insecure_skip_verify);
    kubeconfig_done(&k);
    CU_ASSERT_EQUAL(kubeconfig_load(path, "nobody", &k, &err), 0);
    kubeconfig_done(&k);
    remove_config();
}

static void refusals(void)
{
    static const struct {
        const char *context;
        enum err code;
        const char *text;
    } cases[] = {
        {"none", ERR_NOT_FOUND, "context \"none\" does not exist"},
        {"no-cluster", ERR_NOT_FOUND, "cluster \"c9\" of context \"no-cluster\" does not exist"},
        {"no-user", ERR_NOT_FOUND, "user \"u9\" of context \"no-user\" does not exist"},
        {"plugin", ERR_NOT_IMPLEMENTED, "credential plug-ins"},
        {"bad-data", ERR_BAD_REQUEST, "client-key-data: illegal base64 data at input byte 0"},
    };
    autofree char *path = write_config(config_text);
    struct kubeconfig k;
    struct error err;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        CU_ASSERT_EQUAL(kubeconfig_load(path, cases[i].context, &k, &err), -(int)cases[i].code);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].text));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
    }
    remove_config();
    CU_ASSERT_EQUAL(kubeconfig_load(path, NULL, &k, &err), -ERR_NOT_FOUND);
}

static void the_search_order(void)
{
    autofree char *path = write_config(config_text);
    autofree char *list = str_format("/nonexistent/a:%s:/nonexistent/b", path);
    struct kubeconfig k;
    struct error err;
    setenv("KUBECONFIG", list, 1);
    CU_ASSERT_EQUAL_FATAL(kubeconfig_load(NULL, NULL, &k, &err), 0);
    CU_ASSERT_STRING_EQUAL(k.path, path);
    kubeconfig_done(&k);
    setenv("KUBECONFIG", "/nonexistent/a", 1);
    CU_ASSERT_EQUAL(kubeconfig_load(NULL, NULL, &k, &err), -ERR_NOT_FOUND);
    unsetenv("KUBECONFIG");
    CU_ASSERT_EQUAL(kubeconfig_load("/nonexistent/a", NULL, &k, &err), -ERR_NOT_FOUND);
    remove_config();
}

const CU_TestInfo kubeconfig_tests[] = {
    {"contexts", contexts},
    {"refusals", refusals},
    {"the search order", the_search_order},
    CU_TEST_INFO_NULL,
};
