/*
 * Opens the API client of a command; see client.h.
 */
#include "ctl/client.h"

#include <unistd.h>

#include "common/daemon.h"
#include "common/file.h"

#define OWN DEFAULT_DATA_DIR "/admin.kubeconfig"

/* The local cluster's only where nothing else is named: a file that is named and wrong must not
 * lead to another cluster. */
static bool use_own(void)
{
    const char *list = getenv("KUBECONFIG"), *home = getenv("HOME");
    autofree char *usual = str_format("%s/.kube/config", home ? home : "/root");
    return !(list && *list) && !file_exists(usual) && access(OWN, R_OK) == 0;
}

int ctl_client_open(
    const char *kubeconfig, const char *context, struct ctl_client *ret, struct error *err)
{
    struct ctl_client c = {0};
    struct http_client *http;

    if (!kubeconfig && use_own())
        kubeconfig = OWN;
    if (kubeconfig_load(kubeconfig, context, &c.kubeconfig, err) < 0)
        return -err->code;
    c.env = env_new_real();
    struct http_client_config config =
        kubeconfig_client_config(&c.kubeconfig, "skiffctl/" SKIFF_VERSION);
    if (http_client_new(c.env, &config, &http, err) < 0) {
        kubeconfig_done(&c.kubeconfig);
        env_free(c.env);
        return -err->code;
    }
    c.api = api_client_new(c.env, http);
    *ret = c;
    return 0;
}

void ctl_client_close(struct ctl_client *c)
{
    api_client_free(c->api);
    kubeconfig_done(&c->kubeconfig);
    env_free(c->env);
}
