/*
 * skiffctl down: stops a cluster's daemons and containers on this machine; with --purge nothing of
 * it remains.
 *
 * Works on a folder with our marker only. What lies outside the folder is removed by the daemons
 * that made it
 * (`skiff-kubelet --cleanup`, `skiff-proxy --cleanup`): containers by our label, network, nftables
 * tables, mounts.
 */
#include "ctl/cluster.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "common/time.h"
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/ui.h"

struct down_flags {
    const char *data_dir;
    bool purge;
};

static int run_cleanup(const char *const *argv, struct error *err)
{
    autofree char *binary = binary_path(argv[0]);
    pid_t pid = fork();
    if (pid == 0) {
        execv(binary, (char *const *)argv);
        _exit(127);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return error_sys(err, errno, "%s", binary);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(err, ERR_SYSTEM,
            "%s --cleanup failed with status %d; run 'skiffctl down' again", argv[0],
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}

static int clean_node(const struct cluster *c, struct error *err)
{
    autofree char *root = str_format("--root-dir=%s/kubelet", c->dir);
    autofree char *id = str_format("--cluster-id=%s", c->id);
    autofree char *node = str_format("--hostname-override=%s", c->node_name);
    autofree char *docker = str_format("--docker-endpoint=%s", c->docker_endpoint);
    autofree char *cni = str_format("--cni-conf-dir=%s", c->cni_conf_dir);
    const char *const kubelet[] = {"skiff-kubelet", "--cleanup", root, id, node, docker, cni, NULL};
    const char *const proxy[] = {"skiff-proxy", "--cleanup", NULL};

    if (c->control_plane_only)
        return 0;
    return run_cleanup(kubelet, err) < 0 || run_cleanup(proxy, err) < 0 ? -err->code : 0;
}

int cluster_undo(const struct cluster *c, struct error *err)
{
    autofree char *list = cluster_path(c, "run/daemons.json");
    bool started = file_exists(list);
    int result = service_stop(c, err);
    if (result == 0 && started)
        result = clean_node(c, err);
    return result < 0 ? result : file_remove_tree(c->dir, err);
}

struct step {
    const char *text;
    int (*run)(const struct cluster *c, struct error *err);
    bool purge;
};

static int purge_files(const struct cluster *c, struct error *err)
{
    return file_remove_tree(c->dir, err);
}

static const struct step steps[] = {
    {"daemons", service_stop, false},
    {"containers and network", clean_node, false},
    {"files", purge_files, true},
};

static int down_run(void *config, int argc, char **argv)
{
    struct down_flags *f = config;
    struct cluster c;
    struct error err;
    if (argc > 0)
        return command_fail(EXIT_WRONG_USAGE, "down takes no arguments, but got \"%s\"", argv[0]);
    autofree char *dir = NULL;
    if (cluster_dir(f->data_dir, &dir, &err) < 0)
        return command_fail(EXIT_WRONG_USAGE, "%s", err.text);
    if (cluster_load(dir, &c, &err) < 0) {
        if (err.code != ERR_NOT_FOUND)
            return command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
        fprintf(stderr, "Nothing to do: %s.\n", err.text);
        return EXIT_DONE;
    }
    if (!c.control_plane_only && geteuid() != 0) {
        cluster_done(&c);
        return command_fail(EXIT_REQUEST_FAILED, "taking a node down needs root; run it with sudo");
    }
    struct env *env = env_new_real();
    int result = 0;
    for (size_t i = 0; result == 0 && i < ARRAY_COUNT(steps); i++) {
        struct ui_step line;
        if (steps[i].purge && !f->purge)
            continue;
        ui_step_begin(&line, env, "%s", steps[i].text);
        result = steps[i].run(&c, &err);
        ui_step_end(&line, result == 0, "%s", result == 0 ? "gone" : err.text);
    }
    if (result == 0 && !f->purge)
        fprintf(
            stderr, "The cluster's state is kept in %s; 'skiffctl up' starts it again.\n", c.dir);
    if (result == 0 && f->purge && c.etcd)
        fprintf(stderr, "Its state is still in etcd at %s, below /skiff.\n", c.etcd_servers);
    env_free(env);
    cluster_done(&c);
    return result < 0 ? EXIT_REQUEST_FAILED : EXIT_DONE;
}

static const struct flag down_flag_table[] = {
    {"data-dir", FLAG_STRING, offsetof(struct down_flags, data_dir), DEFAULT_DATA_DIR, "DIR",
        "the cluster's folder"},
    {"purge", FLAG_BOOL, offsetof(struct down_flags, purge), NULL, NULL,
        "also remove its state: nothing remains"},
};

const struct command command_down = {
    .name = "down",
    .usage = "[flags]",
    .summary = "stop the cluster on this machine; --purge removes it",
    .help =
        "Stops the daemons and containers of the cluster in --data-dir. Its state is kept for the "
        "next 'up', unless\n"
        "--purge is given: then no process, container, network, mount or file of it remains.\n\n"
        "Examples:\n  skiffctl down\n  skiffctl down --purge",
    .flags = down_flag_table,
    .flag_count = ARRAY_COUNT(down_flag_table),
    .config_size = sizeof(struct down_flags),
    .run = down_run,
};
