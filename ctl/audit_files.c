/*
 * audit-cluster, sections 1.1 and 4.1 of the benchmark: who may read and write the cluster's files.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/audit_cluster.h"

struct file_check {
    const char *number, *title;
    const char *path; /* below the cluster's folder; one * in the last part */
    mode_t most;      /* permission bits it may have */
    bool optional;    /* may be missing */
};

static bool matches(const char *name, const char *pattern)
{
    const char *star = strchr(pattern, '*');

    if (!star)
        return c_eq(name, pattern);
    size_t head = (size_t)(star - pattern), tail = strlen(star + 1), n = strlen(name);
    return n >= head + tail && strncmp(name, pattern, head) == 0 && c_eq(name + n - tail, star + 1);
}

/* What is wrong with one file, appended to bad. */
static void look(const struct file_check *check, const char *path, struct strbuf *bad)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return;
    if ((st.st_mode & 07777) & ~check->most)
        strbuf_addf(bad, "%s%s has mode %04o", bad->n ? ", " : "", path, st.st_mode & 07777);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        strbuf_addf(bad, "%s%s belongs to user %u", bad->n ? ", " : "", path, (unsigned)st.st_uid);
}

static void check_files(struct audit *a, const struct file_check *check)
{
    autofree char *whole = cluster_path(a->cluster, "%s", check->path);
    autostrbuf struct strbuf bad = STRBUF_EMPTY;
    char *slash = strrchr(whole, '/');
    int seen = 0;

    *slash = '\0';
    DIR *dir = opendir(whole);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || !matches(entry->d_name, slash + 1))
            continue;
        autofree char *path = str_format("%s/%s", whole, entry->d_name);
        look(check, path, &bad);
        seen++;
    }
    if (dir)
        closedir(dir);
    autofree char *mend =
        str_format("chmod %04o and chown to the user that runs the cluster", check->most);
    if (seen == 0)
        audit_skip(a, check->number, check->title, "there is none here");
    else if (bad.n)
        audit_fail(a, check->number, check->title, mend, "%s", bad.data);
    else
        audit_pass(a, check->number, check->title);
}

void audit_files(struct audit *a)
{
    static const struct file_check checks[] = {
        {"1.1.1", "the list of daemons is writable by its owner only", "run/daemons.json", 0644,
            true},
        {"1.1.9", "the CNI configuration of this cluster is writable by its owner only", "cni/*",
            0644, true},
        {"1.1.11", "the store's folder is private", "db", 0700, true},
        {"1.1.13", "the admin's kubeconfig is private", "admin.kubeconfig", 0600, false},
        {"1.1.15", "the daemons' kubeconfigs are private", "*.kubeconfig", 0600, false},
        {"1.1.19", "the folder of keys is private", "pki", 0700, false},
        {"1.1.20", "certificates are writable by their owner only", "pki/*.crt", 0644, false},
        {"1.1.21", "keys are private", "pki/*.key", 0600, false},
        {"4.1.9", "the node agent's folder is closed to others", "kubelet", 0755, true},
    };
    struct stat st;

    for (size_t i = 0; i < ARRAY_COUNT(checks); i++)
        check_files(a, &checks[i]);
    if (stat(a->cluster->dir, &st) == 0 && (st.st_mode & 077))
        audit_fail(a, "1.1.12", "the cluster's folder is private", "chmod 0700", "%s has mode %04o",
            a->cluster->dir, st.st_mode & 07777);
    else
        audit_pass(a, "1.1.12", "the cluster's folder is private");
}
