/*
 * A cluster's folder on this machine, as `up` and `join` lay it out and `down` takes it away.
 *
 *   DIR/.skiff             the marker: what this cluster is and how it was started (JSON)
 *   DIR/pki/               the CA, the daemons' certificates and keys (0700)
 *   DIR/NAME.kubeconfig    one for the admin and one for each daemon (0600)
 *   DIR/db/  kubelet/      the embedded store; the node agent's state
 *   DIR/log/  run/         the daemons' logs; pids, locks, the supervisor's list
 *
 * A folder without the marker is never written to (unless empty) and never removed.
 */
#pragma once

#include "common/env.h"
#include "common/json.h"

struct cluster {
    char *dir;
    char *id;    /* 8 letters: labels everything of ours outside DIR */
    bool joined; /* a node of a cluster whose API server is elsewhere */
    bool control_plane_only;
    bool bootstrapped; /* the objects of manifests/cluster were made once */
    bool etcd;         /* else the embedded store */
    char *etcd_servers;
    char *server;    /* "https://192.0.2.2:6443" */
    int secure_port; /* of the API server; the other ports follow, see cluster_port() */
    char *node_name, *node_ip;
    char *docker_endpoint;
    char *cni_conf_dir;
    int64_t hollow_nodes;
};

/* The folder as --data-dir names it, without slashes at its end. ERR_USAGE unless it is absolute
 * and of characters that mean nothing in unit files, kubeconfigs and command lines. */
int cluster_dir(const char *flag, char **ret, struct error *err);
/* ERR_USAGE when the node's name or address is none. */
int cluster_check_node(const struct cluster *c, struct error *err);
/* ERR_NOT_FOUND when DIR does not exist or is empty; ERR_BAD_REQUEST when it holds something else.
 */
int cluster_load(const char *dir, struct cluster *ret, struct error *err);
int cluster_save(const struct cluster *c, struct error *err);
void cluster_done(struct cluster *c);
char *cluster_path(const struct cluster *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

enum cluster_port {
    PORT_APISERVER,
    PORT_CONTROLLER_MANAGER,
    PORT_SCHEDULER,
    PORT_PROXY,
    PORT_KUBELET,
    PORT_DNS,
    PORT_DNS_HEALTH,
};
/* Upstream's ports when the API server has its usual 6443; else the ones right behind its own. */
int cluster_port(const struct cluster *c, enum cluster_port which);

/* Makes what is missing in pki/ and the kubeconfigs, and renews what expires within 30 days. */
int credentials_ensure(const struct cluster *c, struct error *err);
/* DIR/audit-policy.yaml, unless it is there. */
int audit_policy_ensure(const struct cluster *c, struct error *err);
/* Makes certificates anew: the named ones, or all that `up` has made (count 0). ERR_USAGE: there is
 * none of that name. */
int credentials_renew(
    const struct cluster *c, const char *const *names, size_t count, struct error *err);
/* A kubeconfig file for a client certificate or a token; the CA is embedded, certificates are
 * referred to. */
int credentials_write_kubeconfig(const char *path, const char *server, const char *ca_pem,
    const char *cert, const char *key, bool embed, const char *token, struct error *err);

/* DIR/run/daemons.json: what the supervisor keeps running. */
cJSON *daemons_list(const struct cluster *c); /* [{"name","argv":[...],"health":"https://..."}] */

/* Looks before anything is made: rights, programs, ports, Docker, disk. ERR with what is wrong and
 * what to do. */
int preflight_check(const struct cluster *c, struct env *env, bool running, struct error *err);

/* Starts the daemons (systemd units or our supervisor), or makes running ones follow a changed
 * list. */
int service_start(const struct cluster *c, struct error *err);
int service_stop(const struct cluster *c, struct error *err); /* returns when no process is left */
bool service_running(const struct cluster *c);
/* Daemons that run without the supervisor, which was killed. */
bool leftover_is(pid_t pid, const char *dir); /* this process is one of the folder's */
bool leftovers_exist(const char *dir);
void leftovers_end(const char *dir);

/* Takes away all that a first start made, here and on the node: for one that failed halfway. */
int cluster_undo(const struct cluster *c, struct error *err);

/* The folder of skiffctl's own executable: its daemons lie beside it. */
char *binaries_dir(void);
char *binary_path(const char *name);
