/*
 * skiffctl audit-cluster: the checks of the CIS Kubernetes Benchmark that apply to Skiff, against
 * the live cluster.
 *
 * It reads only. The daemons' flags are taken from the processes that run, not from what `up` would
 * start.
 */
#include "ctl/audit_cluster.h"

#include <dirent.h>
#include <stdarg.h>

#include "common/file.h"
#include "ctl/command.h"
#include "ctl/ui.h"

#define CMDLINE_MAX (64u << 10)

struct audit_flags {
    const char *data_dir;
    bool quiet;
};

void audit_pass(struct audit *a, const char *number, const char *title)
{
    a->passed++;
    if (!a->quiet)
        printf("%sPASS%s  %-7s %s\n", ui_colour("32"), ui_colour("0"), number, title);
}

void audit_skip(struct audit *a, const char *number, const char *title, const char *why)
{
    a->skipped++;
    if (!a->quiet)
        printf("SKIP  %-7s %s (%s)\n", number, title, why);
}

void audit_fail(struct audit *a, const char *number, const char *title, const char *mend,
    const char *detail, ...)
{
    va_list args;

    a->failed++;
    printf(
        "%sFAIL%s  %-7s %s\n              found: ", ui_colour("31"), ui_colour("0"), number, title);
    va_start(args, detail);
    vprintf(detail, args);
    va_end(args);
    printf("\n              mend:  %s\n", mend);
}

static const cJSON *find_daemon(const struct audit *a, const char *name)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, a->daemons)
    {
        if (c_eq(json_string(one, "name"), name))
            return json_get(one, "argv");
    }
    return NULL;
}

bool audit_runs(const struct audit *a, const char *daemon)
{
    return find_daemon(a, daemon) != NULL;
}

const char *audit_flag(const struct audit *a, const char *daemon, const char *flag)
{
    size_t n = strlen(flag);
    const cJSON *item;

    cJSON_ArrayForEach(item, find_daemon(a, daemon))
    {
        const char *text = item->valuestring;
        if (strncmp(text, "--", 2) != 0 || strncmp(text + 2, flag, n) != 0)
            continue;
        if (text[2 + n] == '=')
            return text + 3 + n;
        if (text[2 + n] == '\0')
            return item->next && item->next->valuestring[0] != '-' ? item->next->valuestring : "";
    }
    return NULL;
}

/* --- what runs --- */

/* One of this cluster's daemons, by the program's name and a folder of ours among its arguments;
 * NULL: another process. */
static cJSON *read_process(const struct audit *a, const char *pid)
{
    autofree char *path = str_format("/proc/%s/cmdline", pid);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct error err;
    bool ours = false;

    strbuf_init(&text, CMDLINE_MAX);
    if (file_read(path, CMDLINE_MAX, &text, &err) < 0 || text.n == 0)
        return NULL;
    const char *slash = strrchr(text.data, '/'), *program = slash ? slash + 1 : text.data;
    if (strncmp(program, "skiff-", 6) != 0 || c_eq(program, "skiff-supervisor"))
        return NULL;
    autofree char *folder = str_format("%s/", a->cluster->dir);
    autojson cJSON *argv = cJSON_CreateArray();
    for (size_t at = 0; at < text.n; at += strlen(text.data + at) + 1) {
        ours = ours || strstr(text.data + at, folder);
        cJSON_AddItemToArray(argv, cJSON_CreateString(text.data + at));
    }
    if (!ours)
        return NULL;
    cJSON *ret = cJSON_CreateObject();
    json_set_string(ret, "name", program + 6);
    json_set(ret, "argv", steal(&argv));
    return ret;
}

static void read_processes(struct audit *a)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;

    a->daemons = cJSON_CreateArray();
    while (proc && (entry = readdir(proc))) {
        cJSON *one = entry->d_name[0] >= '1' && entry->d_name[0] <= '9'
                         ? read_process(a, entry->d_name)
                         : NULL;
        if (one)
            cJSON_AddItemToArray(a->daemons, one);
    }
    if (proc)
        closedir(proc);
}

/* --- the command --- */

static int audit_all(struct audit *a, struct error *err)
{
    autofree char *admin = cluster_path(a->cluster, "admin.kubeconfig"),
                  *ca = cluster_path(a->cluster, "pki/ca.crt");
    struct http_client_config config = {
        .base_url = a->cluster->server, .ca_file = ca, .user_agent = "skiffctl"};
    struct ctl_client client = {0};

    read_processes(a);
    if (!a->daemons->child)
        return error_set(
            err, ERR_NOT_FOUND, "no daemon of the cluster in %s runs", a->cluster->dir);
    audit_files(a);
    if (!audit_runs(a, "apiserver")) {
        audit_daemons(a);
        return 0;
    }
    if (ctl_client_open(admin, NULL, &client, err) < 0)
        return -(int)err->code;
    a->api = client.api;
    if (http_client_new(a->env, &config, &a->anonymous, err) < 0) {
        ctl_client_close(&client);
        return -(int)err->code;
    }
    audit_daemons(a);
    audit_policies(a);
    http_client_free(a->anonymous);
    ctl_client_close(&client);
    return 0;
}

static int audit_cluster_run(void *config, int argc, char **argv)
{
    struct audit_flags *f = config;
    struct cluster cluster;
    struct error err = {0};
    autofree char *dir = NULL;

    if (argc > 0)
        return command_fail(
            EXIT_WRONG_USAGE, "audit-cluster takes no arguments, got \"%s\"", argv[0]);
    if (cluster_dir(f->data_dir, &dir, &err) < 0)
        return command_fail(EXIT_WRONG_USAGE, "%s", err.text);
    if (cluster_load(dir, &cluster, &err) < 0)
        return command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
    struct audit a = {.env = env_new_real(), .cluster = &cluster, .quiet = f->quiet};
    int result = audit_all(&a, &err);
    cJSON_Delete(a.daemons);
    env_free(a.env);
    cluster_done(&cluster);
    if (result < 0)
        return command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
    printf("%d passed, %d failed, %d do not apply\n", a.passed, a.failed, a.skipped);
    return a.failed ? EXIT_REQUEST_FAILED : EXIT_DONE;
}

static const struct flag audit_flag_table[] = {
    {"data-dir", FLAG_STRING, offsetof(struct audit_flags, data_dir), DEFAULT_DATA_DIR, "DIR",
        "the cluster's folder"},
    {"quiet,q", FLAG_BOOL, offsetof(struct audit_flags, quiet), NULL, NULL,
        "print what fails only"},
};

const struct command command_audit_cluster = {
    .name = "audit-cluster",
    .usage = "[flags]",
    .summary = "check a running cluster against the CIS Kubernetes Benchmark",
    .help = "Looks at the files, the daemons and the objects of the cluster that runs on this "
            "machine, and prints a line a check: PASS,\n"
            "FAIL with what was found and how to mend it, or SKIP where a check does not apply. "
            "Changes nothing. Ends with status 1 when a\n"
            "check failed.\n\nExample:\n  skiffctl audit-cluster --quiet",
    .flags = audit_flag_table,
    .flag_count = ARRAY_COUNT(audit_flag_table),
    .config_size = sizeof(struct audit_flags),
    .run = audit_cluster_run,
};
