/*
 * kubeconfig files: the current (or a named) context resolved into what a client needs.
 *
 * Search order: the path given, $KUBECONFIG (first existing of a ':' list), ~/.kube/config.
 * Relative file names are relative to the kubeconfig; *-data fields are decoded.
 */
#pragma once

#include "common/http_client.h"

struct kubeconfig {
    char *path;
    char *server;
    char *namespace_; /* "default" when the context has none */
    char *ca_file, *ca_pem;
    char *cert_file, *key_file, *cert_pem, *key_pem;
    char *token, *token_file;
    char *tls_server_name;
    bool insecure_skip_verify;
};

int kubeconfig_load(const char *path_or_null, const char *context_or_null, struct kubeconfig *ret,
    struct error *err);
/* The in-cluster files of a pod: /var/run/secrets/kubernetes.io/serviceaccount. */
int kubeconfig_in_cluster(struct kubeconfig *ret, struct error *err);
void kubeconfig_done(struct kubeconfig *k);
/* Borrowed view for http_client_new; valid as long as k. */
struct http_client_config kubeconfig_client_config(
    const struct kubeconfig *k, const char *user_agent);
