/*
 * Opens the API client of a command; see client.h.
 */
#include "ctl/client.h"

#include <unistd.h>

#include "common/daemon.h"

int ctl_client_open(const char *kubeconfig, const char *context, struct ctl_client *ret,
    struct error *err)
{
    struct ctl_client c = {0};
    struct http_client *http;
    const char *own = DEFAULT_DATA_DIR "/admin.kubeconfig";

    if (kubeconfig_load(kubeconfig, context, &c.kubeconfig, err) < 0) {
        if (kubeconfig || access(own, R_OK) < 0)
            return -err->code;
        if (kubeconfig_load(own, context, &c.kubeconfig, err) < 0)
            return -err->code;
    }
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
