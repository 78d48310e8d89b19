/*
 * Component: what a daemon that is a client of the API server has in common with the others: the
 * API client from its kubeconfig, and its own pages.
 *
 *     struct config { struct daemon_flags daemon; struct component_flags component; };
 *     static const struct flag flags[] = {
 *         DAEMON_FLAGS(struct config, daemon),
 *         COMPONENT_FLAGS(struct config, component, "10259"),
 *     };
 *     component_new("kube-scheduler", &config.component, &component, &err);
 *     ...component->client...
 *     component_serve(component, is_ready, arg, &err);
 *
 * Pages: /livez always ok; /readyz and /healthz ok once is_ready(arg) is true, 503 before;
 * /version; /metrics. The first three are anonymous, the others authorized by the API server
 * (common/delegated_auth.h). Without certificate files, on loopback only, a self-signed pair is
 * made in memory.
 *
 * Threads: is_ready runs on a connection's task. Ownership: everything in it goes with
 * component_free.
 */
#pragma once

#include "common/api_client.h"
#include "common/delegated_auth.h"
#include "common/flags.h"
#include "common/httpd.h"
#include "common/metrics.h"

struct component_flags {
    const char *kubeconfig;
    int64_t secure_port;
    const char *bind_address;
    const char *tls_cert_file, *tls_private_key_file, *client_ca_file;
    struct tls_settings tls;
};

#define COMPONENT_FLAGS(type, member, port)                                                      \
    {"kubeconfig", FLAG_STRING, offsetof(type, member.kubeconfig), NULL, "FILE",                 \
        "how to reach the API server, and as whom"},                                             \
        {"secure-port", FLAG_INT, offsetof(type, member.secure_port), port, "N",                 \
            "port of the health and metrics pages (HTTPS); 0 for none"},                         \
        {"bind-address", FLAG_STRING, offsetof(type, member.bind_address), "127.0.0.1", "IP",    \
            "address of the health and metrics pages"},                                          \
        {"tls-cert-file", FLAG_STRING, offsetof(type, member.tls_cert_file), NULL, "FILE",       \
            "certificate of the pages; without it a self-signed one, on loopback only"},         \
        {"tls-private-key-file", FLAG_STRING, offsetof(type, member.tls_private_key_file), NULL, \
            "FILE", "key that belongs to --tls-cert-file"},                                      \
        TLS_SETTINGS_FLAGS(type, member.tls),                                                    \
    {                                                                                            \
        "client-ca-file", FLAG_STRING, offsetof(type, member.client_ca_file), NULL, "FILE",      \
            "CA of the client certificates that the pages accept"                                \
    }

typedef bool component_ready_fn(void *arg);

struct component {
    struct env *env;
    struct api_client *client;
    struct metrics *metrics; /* metrics_default() */
    const char *name;
    const struct component_flags *flags;
    struct httpd *httpd;
    struct delegated_auth *auth;
    component_ready_fn *is_ready;
    void *ready_arg;
    int cert_fd, key_fd; /* of the self-signed pair, or -1 */
};

/* name is the user agent and the self-signed certificate's name; flags must outlive the component.
 */
int component_new(const char *name, const struct component_flags *flags, struct component **ret,
    struct error *err);
int component_serve(
    struct component *c, component_ready_fn *is_ready, void *arg, struct error *err);
/* Closes the pages, so that is_ready's argument may go; component_free does it too. */
void component_stop_serving(struct component *c);
void component_free(struct component *c);
