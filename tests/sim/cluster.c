/*
 * Starting, killing and restarting the components; see cluster.h.
 */
#include "tests/sim/cluster.h"

#include "apiserver/server.h"
#include "common/events.h"
#include "common/metrics.h"
#include "common/time.h"
#include "controller/manager.h"
#include "kubelet/agent.h"
#include "kubelet/hollow/hollow.h"
#include "scheduler/scheduler.h"

/* About how many steps lie between two kills. */
#define KILL_EVERY 700

static struct api_client *client_of(
    struct cluster *c, struct sim_process *p, const char *name, const char *group)
{
    return api_client_new(&p->env, network_client(&c->net, &p->env, name, group));
}

/* --- the components --- */

static void start_apiserver(struct cluster *c, struct sim_process *p)
{
    struct server_config *config = xcalloc(1, sizeof(*config));
    struct server *server;
    struct error err;
    *config = (struct server_config){
        .env = &p->env,
        .storage_backend = "embedded",
        .data_dir = "/sim",
        .sqlite_vfs = "sim",
        .advertise_address = "10.0.0.1",
        .secure_port = 6443,
        .service_cidr = "10.96.0.0/16",
        .node_port_first = 30000,
        .node_port_last = 32767,
        .issuer = "https://kubernetes.default.svc.cluster.local",
    };
    if (server_new(config, &server, &err) < 0) {
        fprintf(stderr, "sim: the API server does not start: %s\n", err.text);
        abort();
    }
    c->net.server = server;
    c->net.server_process = p;
    sim_trace(c->sim, "API server serves");
}

static void start_controllers(struct cluster *c, struct sim_process *p)
{
    static const char *const names[] = {"deployment-controller", "replicaset-controller",
        "serviceaccount-controller", "node-lifecycle-controller"};
    struct manager_config *config = xcalloc(1, sizeof(*config));
    struct manager *m;
    struct error err;
    config->controllers = names;
    config->controllers_count = c->all_controllers ? 0 : ARRAY_COUNT(names);
    if (manager_new(client_of(c, p, "system:kube-controller-manager", "system:masters"), config, &m,
            &err) < 0 ||
        manager_start(m, &err) < 0) {
        fprintf(stderr, "sim: the controller manager does not start: %s\n", err.text);
        abort();
    }
}

static void start_scheduler(struct cluster *c, struct sim_process *p)
{
    struct api_client *client = client_of(c, p, "system:kube-scheduler", NULL);
    struct events *events = events_new(client, "default-scheduler", NULL);
    struct config *config = xcalloc(1, sizeof(*config)); /* lives as long as its process */

    config_init(config);
    scheduler_start(scheduler_new(client, events, metrics_new(), config));
}

static void start_kubelet(struct cluster *c, struct sim_process *p)
{
    struct kubelet_config *config = xcalloc(1, sizeof(*config));
    struct agent *agent;
    struct error err;
    *config = (struct kubelet_config){.root_dir = "/sim-kubelet",
        .cluster_id = "sim",
        .runtime = "hollow",
        .cluster_domain = "cluster.local",
        .max_pods = 110,
        .node_status_frequency_ns = 300 * NS_PER_S};
    struct runtime *runtime = hollow_runtime_new(&p->env);
    if (agent_new(&p->env, config, client_of(c, p, "hollow", "system:masters"), runtime, &agent,
            &err) < 0) {
        fprintf(stderr, "sim: the kubelet does not start: %s\n", err.text);
        abort();
    }
    agent_add_node(agent, "node-a", "10.0.0.2");
    agent_add_node(agent, "node-b", "10.0.0.3");
    if (agent_start(agent, &err) < 0) {
        fprintf(stderr, "sim: the kubelet does not run: %s\n", err.text);
        abort();
    }
}

/* --- processes --- */

struct start {
    struct cluster *cluster;
    struct component *component;
    struct sim_process *process;
};

static void run_start(void *arg)
{
    struct start *s = arg;
    s->component->start(s->cluster, s->process);
}

static void launch(struct cluster *c, struct component *component)
{
    struct start *s = xcalloc(1, sizeof(*s));
    struct sim_process *p = sim_process_new(c->sim, component->name);
    sim_trace(c->sim, "start %s", component->name);
    component->process = p;
    *s = (struct start){c, component, p};
    env_spawn(&p->env, "main", run_start, s);
}

static void kill_component(struct cluster *c, struct component *component)
{
    bool is_server = component->process == c->net.server_process;
    sim_kill(component->process);
    component->process = NULL;
    component->kills++;
    component->restart_ns =
        sim_now_ns(c->sim) + (int64_t)(50 + sim_below(c->sim, 3000)) * NS_PER_MS;
    if (component == &c->components[0]) {
        c->net.server = NULL;
        if (is_server)
            c->net.server_process = NULL;
        disk_crash(c->disk);
    }
}

void cluster_kill(struct cluster *c, const char *name)
{
    for (size_t i = 0; i < COMPONENTS; i++)
        if (c->components[i].process && !strcmp(c->components[i].name, name))
            kill_component(c, &c->components[i]);
}

/* The fault injector: at a step that the seed chose, a component that the seed chose dies, whatever
 * it is doing. */
static void on_step(void *arg, uint64_t step)
{
    struct cluster *c = arg;
    if (c->kills_left == 0 || step < c->next_kill || c->stopping)
        return;
    struct component *victim = &c->components[sim_below(c->sim, COMPONENTS)];
    c->next_kill = step + 1 + sim_below(c->sim, 2 * KILL_EVERY);
    if (!victim->process)
        return;
    c->kills_left--;
    kill_component(c, victim);
}

/* Starts again what died. */
static void supervise(void *arg)
{
    struct cluster *c = arg;
    struct sim_process *root = sim_root(c->sim);
    for (;;) {
        for (size_t i = 0; i < COMPONENTS; i++)
            if (!c->components[i].process && c->components[i].restart_ns <= sim_now_ns(c->sim))
                launch(c, &c->components[i]);
        env_sleep_ns(&root->env, 50 * NS_PER_MS);
    }
}

struct api_client *cluster_client(struct cluster *c, const char *name)
{
    return client_of(c, sim_root(c->sim), name, "system:masters");
}

void cluster_start(struct cluster *c, struct sim *sim, int kills)
{
    bool all = c->all_controllers;
    *c = (struct cluster){.sim = sim,
        .all_controllers = all,
        .net = {.sim = sim},
        .disk = disk_new(sim),
        .kills_left = kills,
        .components = {{"apiserver", start_apiserver}, {"controllers", start_controllers},
            {"scheduler", start_scheduler}, {"kubelet", start_kubelet}}};
    c->next_kill = 500 + sim_below(sim, KILL_EVERY);
    sim_on_step(sim, on_step, c);
    env_spawn(&sim_root(sim)->env, "supervise", supervise, c);
}
