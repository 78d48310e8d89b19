/*
 * The API client of a command: the kubeconfig found by --kubeconfig, $KUBECONFIG, ~/.kube/config
 * or, last, the admin of the cluster in /var/lib/skiff.
 */
#pragma once

#include "common/api_client.h"
#include "common/kubeconfig.h"

#define DEFAULT_DATA_DIR "/var/lib/skiff"

struct ctl_client {
    struct env *env;
    struct kubeconfig kubeconfig;
    struct api_client *api;
};

/* kubeconfig and context may be NULL. The text of a failure names the file. */
int ctl_client_open(
    const char *kubeconfig, const char *context, struct ctl_client *ret, struct error *err);
void ctl_client_close(struct ctl_client *c);
