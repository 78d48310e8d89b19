/*
 * skiffctl up: a cluster on this machine.
 *
 * Looks first (preflight.c), then lays out the folder, certificates and the list of daemons, starts
 * them all at once and waits until each is ready and the node is Ready. The objects of
 * manifests/cluster are made once, with a certificate of system:masters that lives in memory for
 * that minute; from then on the admin is a binding like any other and can be revoked. Running it
 * again finds everything in place. When the first start fails, what it started is stopped and what
 * it made is removed; the daemons' last words are shown first.
 */
#include "ctl/up.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/file.h"
#include "common/kubeconfig.h"
#include "common/pki.h"
#include "common/time.h"
#include "common/yaml.h"
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/ui.h"

extern const char
    cluster_manifests[]; /* manifests/cluster/ as one YAML stream; see CMakeLists.txt */

struct up_flags {
    const char *data_dir, *store, *etcd_servers, *node_name, *node_ip, *docker_endpoint,
        *cni_conf_dir;
    int64_t secure_port, hollow_nodes, timeout_ns;
    bool control_plane_only;
};

static void replace(char **member, const char *value)
{
    if (!value)
        return;
    free(*member);
    *member = xstrdup(value);
}

static char *new_id(struct env *env)
{
    char id[9];
    for (size_t i = 0; i < 8; i++)
        id[i] = (char)('a' + env_random(env) % 26);
    id[8] = '\0';
    return xstrdup(id);
}

/* The marker's settings, overruled by the flags given now. */
static int settle(
    const struct up_flags *f, struct env *env, struct cluster *c, bool *ret_new, struct error *err)
{
    autofree char *dir = NULL;
    if (cluster_dir(f->data_dir, &dir, err) < 0)
        return -err->code;
    int result = cluster_load(dir, c, err);
    if (result < 0 && err->code != ERR_NOT_FOUND)
        return result;
    *ret_new = result < 0;
    if (*ret_new)
        *c = (struct cluster){.dir = steal(&dir),
            .id = new_id(env),
            .secure_port = 6443,
            .docker_endpoint = xstrdup("unix:///var/run/docker.sock"),
            .cni_conf_dir = xstrdup("/etc/cni/net.d")};
    if (c->joined)
        return error_set(err, ERR_CONFLICT,
            "%s holds a node that joined %s; 'skiffctl down' it first", c->dir, c->server);
    if (f->store && !c_eq(f->store, "embedded") && !c_eq(f->store, "etcd"))
        return error_set(err, ERR_USAGE, "--store is embedded or etcd, not \"%s\"", f->store);
    bool etcd = f->store ? c_eq(f->store, "etcd") : c->etcd;
    if (!*ret_new && etcd != c->etcd)
        return error_set(err, ERR_CONFLICT,
            "the cluster in %s uses the %s store, and this can't be changed", c->dir,
            c->etcd ? "etcd" : "embedded");
    c->etcd = etcd;
    replace(&c->etcd_servers, f->etcd_servers);
    if (c->etcd && !c->etcd_servers)
        c->etcd_servers = xstrdup("http://127.0.0.1:2379");
    if (f->secure_port)
        c->secure_port = (int)f->secure_port;
    if (c->secure_port < 1 || c->secure_port > 65529)
        return error_set(
            err, ERR_USAGE, "--secure-port must be between 1 and 65529, not %d", c->secure_port);
    if (f->hollow_nodes)
        c->hollow_nodes = f->hollow_nodes;
    c->control_plane_only = f->control_plane_only || (c->control_plane_only && !*ret_new);
    replace(&c->node_name, f->node_name);
    replace(&c->node_ip, f->node_ip);
    replace(&c->docker_endpoint, f->docker_endpoint);
    replace(&c->cni_conf_dir, f->cni_conf_dir);
    if (!c->node_name)
        c->node_name = up_node_name();
    if (!c->node_ip && up_node_ip(&c->node_ip, err) < 0) {
        if (!c->control_plane_only)
            return -err->code;
        c->node_ip = xstrdup("127.0.0.1");
    }
    if (cluster_check_node(c, err) < 0)
        return -err->code;
    free(c->server);
    c->server = str_format("https://127.0.0.1:%d", c->secure_port);
    return 0;
}

/* A client with the rights of system:masters, from a certificate that is never written down. */
static int masters_client(
    const struct cluster *c, struct env *env, struct api_client **ret, struct error *err)
{
    const char *const organizations[] = {"system:masters", NULL};
    struct pki_subject subject = {.common_name = "skiff:bootstrap",
        .organizations = organizations,
        .usage = PKI_CLIENT,
        .valid_seconds = 300};
    autofree char *ca_cert_path = cluster_path(c, "pki/ca.crt");
    autofree char *ca_key_path = cluster_path(c, "pki/ca.key");
    autostrbuf struct strbuf ca_cert = STRBUF_EMPTY, ca_key = STRBUF_EMPTY;
    strbuf_init(&ca_cert, 0);
    strbuf_init(&ca_key, 0);
    if (file_read(ca_cert_path, 1 << 20, &ca_cert, err) < 0 ||
        file_read(ca_key_path, 1 << 20, &ca_key, err) < 0)
        return -err->code;
    struct pki_pair ca = {ca_cert.data, ca_key.data}, pair;
    if (pki_new_cert(&ca, &subject, &pair, err) < 0)
        return -err->code;
    struct http_client *http;
    struct http_client_config config = {.base_url = c->server,
        .ca_pem = ca_cert.data,
        .cert_pem = pair.cert_pem,
        .key_pem = pair.key_pem,
        .user_agent = "skiffctl-up"};
    int result = http_client_new(env, &config, &http, err);
    pki_pair_done(&pair);
    if (result == 0)
        *ret = api_client_new(env, http);
    return result;
}

/* The plural of a kind in manifests/cluster: regular there, and checked by the test that applies
 * them. */
static int create_object(struct api_client *api, const cJSON *object, struct error *err)
{
    const char *kind = json_string(object, "kind");
    char plural[64];
    size_t n = 0;
    for (; kind && kind[n] && n < sizeof(plural) - 4; n++)
        plural[n] = (char)(kind[n] >= 'A' && kind[n] <= 'Z' ? kind[n] + 32 : kind[n]);
    snprintf(plural + n, sizeof(plural) - n, "%s", n && plural[n - 1] == 's' ? "es" : "s");
    struct api_ref ref = {.group_version = json_string(object, "apiVersion"),
        .plural = plural,
        .namespace_ = json_string_at(object, "metadata.namespace")};
    if (api_create(api, &ref, object, NULL, err) == 0 || err->code == ERR_ALREADY_EXISTS)
        return 0;
    return error_wrap(err, "%s %s", kind, json_string_at(object, "metadata.name"));
}

#define BOOTSTRAP_TASKS 4
#define BOOTSTRAP_MOST 64

/* The objects of manifests/cluster, which don't depend on each other: made by several tasks, so
 * that writes share commits. */
struct bootstrap {
    struct api_client *api;
    cJSON *objects[BOOTSTRAP_MOST];
    size_t count;
    atomic_size_t next;
    struct maker {
        struct bootstrap *b;
        struct task *task;
        int result;
        struct error err;
    } makers[BOOTSTRAP_TASKS];
};

static void maker_run(void *arg)
{
    struct maker *m = arg;
    size_t i;
    while (m->result == 0 && (i = atomic_fetch_add(&m->b->next, 1)) < m->b->count)
        m->result = create_object(m->b->api, m->b->objects[i], &m->err);
}

static int bootstrap_read(struct bootstrap *b, struct error *err)
{
    struct yaml_stream stream = yaml_stream_of(str_of(cluster_manifests));
    int more = 1;
    while (b->count < BOOTSTRAP_MOST &&
           (more = yaml_next(&stream, YAML_STRICT, &b->objects[b->count], err)) > 0)
        b->count++;
    return more > 0 ? error_set(err, ERR_TOO_LARGE, "more than %d objects", BOOTSTRAP_MOST) : more;
}

static int bootstrap_make(struct bootstrap *b, struct env *env, struct error *err)
{
    int result = 0;
    for (size_t i = 0; i < BOOTSTRAP_TASKS; i++) {
        b->makers[i].b = b;
        b->makers[i].task = env_spawn(env, "bootstrap", maker_run, &b->makers[i]);
    }
    for (size_t i = 0; i < BOOTSTRAP_TASKS; i++) {
        env_join(env, b->makers[i].task);
        if (b->makers[i].result < 0 && result == 0) {
            *err = b->makers[i].err;
            result = b->makers[i].result;
        }
    }
    return result;
}

static int bootstrap(struct cluster *c, struct env *env, struct error *err)
{
    struct bootstrap b = {0};
    struct ui_step step;
    if (c->bootstrapped)
        return 0;
    if (masters_client(c, env, &b.api, err) < 0)
        return -err->code;
    ui_step_begin(&step, env, "objects every cluster starts with");
    int result = bootstrap_read(&b, err);
    if (result == 0)
        result = bootstrap_make(&b, env, err);
    for (size_t i = 0; i < b.count; i++)
        cJSON_Delete(b.objects[i]);
    api_client_free(b.api);
    ui_step_end(&step, result == 0, "%s", result == 0 ? "made" : err->text);
    if (result == 0) {
        c->bootstrapped = true;
        result = cluster_save(c, err);
    }
    return result;
}

static int start(struct cluster *c, struct env *env, int64_t deadline_ns, struct error *err)
{
    struct ui_step step;
    ui_step_begin(&step, env, "certificates and kubeconfigs");
    int result = credentials_ensure(c, err);
    if (result == 0)
        result = audit_policy_ensure(c, err);
    ui_step_end(&step, result == 0, "%s", result == 0 ? "in place" : err->text);
    if (result < 0)
        return result;
    autofree char *id_path = cluster_path(c, "cluster-id");
    if (file_write(id_path, str_of(c->id), 0644, err) < 0 || service_start(c, err) < 0 ||
        up_wait_healthy(c, env, NULL, "apiserver", deadline_ns, err) < 0 ||
        bootstrap(c, env, err) < 0 ||
        up_wait_healthy(c, env, "controller-manager", NULL, deadline_ns, err) < 0)
        return -err->code;
    if (c->control_plane_only)
        return 0;
    struct ctl_client client;
    autofree char *admin = cluster_path(c, "admin.kubeconfig");
    if (ctl_client_open(admin, NULL, &client, err) < 0)
        return -err->code;
    result = up_wait_node_ready(c, client.api, deadline_ns, err);
    ctl_client_close(&client);
    return result;
}

/* The end of each daemon's log, so that its words survive the clean-up. */
static void show_logs(const struct cluster *c)
{
    autojson cJSON *list = daemons_list(c);
    const cJSON *row;
    cJSON_ArrayForEach(row, list)
    {
        autofree char *path = cluster_path(c, "log/%s.log", json_string(row, "name"));
        autostrbuf struct strbuf text = STRBUF_EMPTY;
        struct error err;
        strbuf_init(&text, 0);
        if (file_read(path, 64 << 20, &text, &err) < 0 || text.n == 0)
            continue;
        size_t from = text.n;
        for (int lines = 0; from > 0 && lines < 6; from--)
            lines += from < text.n && text.data[from - 1] == '\n';
        fprintf(stderr, "--- %s\n%s", json_string(row, "name"), text.data + from);
    }
}

static void undo(const struct cluster *c)
{
    struct error err;
    if (cluster_undo(c, &err) < 0)
        fprintf(stderr, "what was started could not be taken away: %s\n", err.text);
}

static int run(const struct up_flags *f, struct env *env, struct cluster *c, struct error *err)
{
    bool is_new = false;
    if (settle(f, env, c, &is_new, err) < 0)
        return -err->code;
    bool existed = file_exists(c->dir);
    if (file_make_dirs(c->dir, 0700, err) < 0)
        return -err->code;
    if (preflight_check(c, env, !is_new && (service_running(c) || leftovers_exist(c->dir)), err) <
        0) {
        if (!existed)
            rmdir(c->dir);
        return -err->code;
    }
    if (up_make_dirs(c, err) < 0 || cluster_save(c, err) < 0) {
        if (is_new)
            undo(c);
        return -err->code;
    }
    int result = start(c, env, env_now_ns(env) + f->timeout_ns, err);
    if (result < 0 && is_new) {
        show_logs(c);
        undo(c);
    }
    return result;
}

static int up_run(void *config, int argc, char **argv)
{
    struct up_flags *f = config;
    struct cluster c = {0};
    struct error err;
    if (argc > 0)
        return command_fail(EXIT_WRONG_USAGE, "up takes no arguments, but got \"%s\"", argv[0]);
    struct env *env = env_new_real();
    int64_t started_ns = env_now_ns(env);
    int result = run(f, env, &c, &err);
    double seconds = (double)(env_now_ns(env) - started_ns) / NS_PER_S;
    env_free(env);
    if (result == 0) {
        fprintf(stderr, "The cluster is up (%.2f s). Use it with:\n\n", seconds);
        printf("  export KUBECONFIG=%s/admin.kubeconfig\n", c.dir);
    }
    cluster_done(&c);
    if (result < 0)
        return command_fail(
            err.code == ERR_USAGE ? EXIT_WRONG_USAGE : EXIT_REQUEST_FAILED, "%s", err.text);
    return EXIT_DONE;
}

#define UP(member) offsetof(struct up_flags, member)

static const struct flag up_flag_table[] = {
    {"data-dir", FLAG_STRING, UP(data_dir), DEFAULT_DATA_DIR, "DIR",
        "everything the cluster keeps"},
    {"store", FLAG_STRING, UP(store), NULL, "embedded|etcd",
        "where the state lives (default embedded)"},
    {"etcd-servers", FLAG_STRING, UP(etcd_servers), NULL, "URL,...",
        "with --store etcd (default http://127.0.0.1:2379)"},
    {"secure-port", FLAG_INT, UP(secure_port), NULL, "N",
        "the API server's port (default 6443); with another one, the daemons' own ports follow it: "
        "N+1 to N+6"},
    {"control-plane-only", FLAG_BOOL, UP(control_plane_only), NULL, NULL,
        "no node: needs no Docker and no root"},
    {"hollow-nodes", FLAG_INT, UP(hollow_nodes), NULL, "N",
        "also N pretended nodes, for tests of scale"},
    {"node-name", FLAG_STRING, UP(node_name), NULL, "NAME",
        "this node's name (default the host's name)"},
    {"node-ip", FLAG_STRING, UP(node_ip), NULL, "IP",
        "this node's address (default that of the default route)"},
    {"docker-endpoint", FLAG_STRING, UP(docker_endpoint), NULL, "unix://PATH",
        "Docker's socket (default unix:///var/run/docker.sock)"},
    {"cni-conf-dir", FLAG_STRING, UP(cni_conf_dir), NULL, "DIR",
        "network configuration that replaces ours (default /etc/cni/net.d)"},
    {"timeout", FLAG_DURATION, UP(timeout_ns), "60s", "DURATION",
        "how long to wait until all is ready"},
};

const struct command command_up = {
    .name = "up",
    .usage = "[flags]",
    .summary = "start a cluster on this machine, or see that it runs",
    .help = "Starts every daemon of a cluster on this machine and returns when it is ready. A "
            "second run finds it running\n"
            "and changes nothing but what the flags say.\n\n"
            "Examples:\n"
            "  skiffctl up\n"
            "  skiffctl up --control-plane-only --data-dir $HOME/skiff --secure-port 7443\n"
            "  skiffctl up --store etcd --etcd-servers http://127.0.0.1:2379",
    .flags = up_flag_table,
    .flag_count = ARRAY_COUNT(up_flag_table),
    .config_size = sizeof(struct up_flags),
    .run = up_run,
};
