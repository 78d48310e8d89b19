/*
 * The controller manager: shared informers, the controllers of controllers.c on their queues, one
 * event recorder.
 *
 *     struct manager *m;
 *     if (manager_new(client, &config, &m, &err) < 0) ...
 *     if (manager_start(m, &err) < 0) ...      // returns when the informers are synced and the
 * workers run manager_free(m);
 *
 * It is one struct: several can live in a process, and one can be dropped at any step. Borrows the
 * client.
 */
#pragma once

#include "common/api_client.h"

struct manager;

struct manager_config {
    const char *const *controllers; /* "*", "name", "-name"; count 0 means "*" */
    size_t controllers_count;
    const char *signing_cert_file, *signing_key_file; /* NULL: CSRs are not signed */
    int64_t signing_duration_ns;                      /* 0: a year */
    const char *root_ca_file;                         /* NULL: no kube-root-ca.crt */
    const char *cluster_cidr;
    int64_t node_mask_size; /* 0: 24 */
    bool allocate_node_cidrs;
    int64_t node_grace_ns;            /* node-monitor-grace-period; 0: 40 s */
    const char *service_lb_pool;      /* addresses for LoadBalancer Services; NULL, "": none */
    int64_t terminated_pod_threshold; /* 0: 12500; negative: off */
};

int manager_new(struct api_client *client, const struct manager_config *config,
    struct manager **ret, struct error *err);
int manager_start(struct manager *m, struct error *err);
void manager_stop(struct manager *m); /* lets manager_start give up; may be called from any task */
void manager_free(struct manager *m);
bool manager_stopping(struct manager *m);
bool manager_ready(struct manager *m);
/* The first entry of config->controllers that names no controller, or NULL. */
const char *manager_unknown_controller(const struct manager_config *config);
