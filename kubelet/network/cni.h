/*
 * The pod network: CNI plugins, and the default network used when no configuration file is there.
 *
 * A configuration is the first (by name) .conflist, .conf or .json file of conf_dir, read anew for
 * every pod; with none, it is built in: bridge `skiff0` with host-local addresses from this node's
 * podCIDR, and portmap for pods with host ports. What an ADD used and returned is kept in
 * data_dir/results/UID.json, so that DEL runs with the same configuration after it changed, and the
 * pod's address survives a crash.
 *
 * Threads: any. Plugins run at most LIMIT_CNI_NS each.
 * Upstream: libcni, kubelet's dockershim network plugin.
 */
#pragma once

#include "kubelet/runtime.h"

struct cni;

struct cni_options {
    const char *conf_dir, *bin_dir;
    const char *data_dir; /* ROOT/cni */
    int64_t mtu;          /* of the default network; 0: the plugin's default */
};

#define CNI_BRIDGE "skiff0"
#define LIMIT_CNI_NS (60ll * 1000000000)

struct cni *cni_new(struct env *env, const struct cni_options *options);
void cni_free(struct cni *cni);
/* The node's podCIDR for the default network; NULL or "" until one is assigned. */
void cni_set_pod_cidr(struct cni *cni, const char *cidr);
bool cni_ready(struct cni *cni, struct strbuf *why_not);
int cni_add(
    struct cni *cni, const struct pod_network *net, struct network_result *ret, struct error *err);
int cni_del(struct cni *cni, const struct pod_network *net, struct error *err);
bool cni_cached(
    struct cni *cni, const char *uid, const char *sandbox_id, struct network_result *ret);

/* cni_config.c, pure */
/* A network configuration list from a file's text (a single-plugin file becomes a list of one). */
int cni_config_parse(struct str text, cJSON **ret, struct error *err);
cJSON *cni_config_default(const char *pod_cidr, const char *data_dir, int64_t mtu, bool with_ports);
/* What goes to one plugin's standard input: its entry with name, cniVersion, runtimeConfig,
 * prevResult. */
cJSON *cni_plugin_input(
    const cJSON *list, const cJSON *plugin, const struct pod_network *net, const cJSON *previous);
/* A plugin's standard output; ERR_BAD_REQUEST when it is no result. */
int cni_result_parse(
    struct str text, cJSON **ret_tree, struct network_result *ret, struct error *err);
/* The error a failed plugin printed ("plugin type="bridge" failed (add): ..."). */
int cni_error_parse(const char *plugin, const char *command, struct str output, struct error *err);

/* spawn.c: runs a program with input on its standard input; both outputs into *output. Returns its
 * exit code, or -ERR_TIMEOUT (killed), -ERR_SYSTEM, -ERR_NOT_FOUND. envp NULL: ours. */
int spawn_run(const char *path, char *const *argv, char *const *envp, struct str input,
    int64_t timeout_ns, struct strbuf *output, struct error *err);
