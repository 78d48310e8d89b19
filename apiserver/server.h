/*
 * An API server as one struct: made of its parts by server_new, driven by connections or by the
 * simulator.
 */
#pragma once

#include <stdatomic.h>

#include "common/env.h"
#include "common/metrics.h"

struct api;
struct cache;
struct auth;
struct field_memo;
struct flows;
struct nodes; /* connections to kubelets and backends: connect/ */
struct documents;
struct definitions; /* custom kinds */
struct admission;
struct encryption;
struct auth_options;
struct audit;

struct audit_settings {
    const char *policy_file;
    const char *log_path;                                  /* "-": standard output; NULL: no log */
    int64_t log_max_mb, log_max_age_days, log_max_backups; /* 0: no bound */
    const char *webhook_file;                              /* kubeconfig, or NULL */
    int64_t batch_events, batch_wait_ns, backoff_ns, buffer_events;
    int64_t throttle_qps, throttle_burst;
};

struct server_config {
    struct env *env;
    const char *storage_backend; /* "embedded" or "etcd" */
    const char *data_dir;
    const char *sqlite_vfs; /* simulation, or NULL */
    const char *etcd_servers, *etcd_prefix, *etcd_cafile, *etcd_certfile, *etcd_keyfile;
    const char *etcd_username, *etcd_password_file;
    const char *advertise_address;
    int secure_port;
    int loops;                /* threads that serve connections */
    const char *service_cidr; /* "10.96.0.0/16" */
    int node_port_first, node_port_last;
    const char *issuer, *sa_signing_key_file;
    const char *const *sa_key_files;
    const char *token_auth_file;
    bool bootstrap_tokens;
    int64_t event_ttl_ns;
    const struct auth_options *access; /* who else is asked who and whether; NULL: nobody */
    const char *kubelet_client_cert, *kubelet_client_key, *kubelet_ca;
    const char *client_ca_file;
    struct audit_settings audit;
    const char *encryption_config_file; /* EncryptionConfiguration; NULL: nothing is encrypted */
    const char *enable_admission, *disable_admission, *admission_config_file;
};

struct server {
    struct env *env;
    const struct server_config *config;
    struct metrics *metrics;
    struct api *api; /* built-in kinds; requests ask definitions_api() for all of them */
    struct definitions *definitions;
    struct field_memo *field_memo; /* of managedFields */
    struct definitions_controller *definitions_controller;
    struct encryption *encryption;
    struct cache *cache;
    struct auth *auth;
    struct audit *audit; /* NULL: nothing is recorded */
    struct nodes *nodes;
    struct documents *documents;
    struct flows *flows; /* who may have how much at once */
    struct admission *admission;
    atomic_bool ready;    /* the objects every cluster starts with are there */
    atomic_bool stopping; /* watches end, readyz fails */
};

struct error;
/* Opens the store, loads the cache, and sees that the objects every cluster starts with are there.
 */
int server_new(const struct server_config *config, struct server **ret, struct error *err);
void server_free(struct server *server);
