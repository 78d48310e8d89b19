/*
 * skiffctl certs: looks at the certificates of a cluster's folder, and makes them anew.
 *
 * check reads every certificate of pki/ and of the node agent's own folder. renew makes those that
 * `up` made, signed by the same CA; the daemons notice the files and need no restart: servers take
 * the new certificate for new connections, clients show theirs when they connect anew.
 */
#include <dirent.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <time.h>
#include <unistd.h>

#include "common/file.h"
#include "common/pki.h"
#include "common/time.h"
#include "ctl/client.h"
#include "ctl/cluster.h"
#include "ctl/command.h"
#include "ctl/output.h"

#define DAY_NS (24 * 3600 * NS_PER_S)

struct certs_flags {
    const char *data_dir;
    int64_t warn_days;
};

struct found {
    char **paths;
    size_t count;
};

static void add_folder(struct found *f, const char *folder)
{
    DIR *dir = opendir(folder);

    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        if (str_ends(str_of(d->d_name), STR(".crt"))) {
            f->paths = xrealloc(f->paths, (f->count + 1) * sizeof(*f->paths));
            f->paths[f->count++] = str_format("%s/%s", folder, d->d_name);
        }
    closedir(dir);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct found find_all(const struct cluster *c)
{
    static const char *const folders[] = {"pki", "kubelet/pki"};
    struct found f = {0};

    for (size_t i = 0; i < ARRAY_COUNT(folders); i++) {
        autofree char *folder = cluster_path(c, "%s", folders[i]);
        add_folder(&f, folder);
    }
    if (f.count)
        qsort(f.paths, f.count, sizeof(*f.paths), compare_paths);
    return f;
}

static char *subject_of(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1), *out = BIO_new(BIO_s_mem());
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    char *text = NULL, *data;

    if (cert && X509_NAME_print_ex(out, X509_get_subject_name(cert), 0,
                    XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        long n = BIO_get_mem_data(out, &data);

        text = str_dup(str_range(data, (size_t)n));
    }
    X509_free(cert);
    BIO_free(out);
    BIO_free(bio);
    return text ? text : xstrdup("?");
}

/* Adds its row. 1: it expires within the days; 0: fine; negative: it can't be read. */
static int add_row(
    struct columns *table, const char *path, int64_t warn_days, int64_t now_ns, struct error *err)
{
    autostrbuf struct strbuf pem = STRBUF_EMPTY;
    const char *slash = strrchr(path, '/') + 1;
    char **row = xcalloc(6, sizeof(*row));
    char when[TIME_TEXT_BYTES];
    int64_t expiry_ns = 0;
    int result = file_read(path, 1 << 20, &pem, err);

    row[0] = str_dup(str_range(slash, strlen(slash) - 4));
    row[1] = xstrdup(path);
    if (result == 0)
        result = pki_cert_expiry(pem.data, &expiry_ns, err);
    if (result < 0) {
        row[2] = xstrdup("unreadable");
        columns_add(table, row);
        return error_wrap(err, "%s", path);
    }
    int64_t left_ns = expiry_ns - now_ns;
    int64_t days = left_ns < 0 ? -((-left_ns + DAY_NS - 1) / DAY_NS) : left_ns / DAY_NS;

    row[2] = subject_of(pem.data);
    row[3] = xstrdup(time_print_s(expiry_ns, when));
    row[4] = str_format("%lld", (long long)days);
    columns_add(table, row);
    return left_ns < warn_days * DAY_NS;
}

static int check(const struct cluster *c, const struct certs_flags *f)
{
    static const char *const titles[] = {"NAME", "FILE", "SUBJECT", "EXPIRES", "DAYS LEFT"};
    struct found found = find_all(c);
    struct columns table = {0};
    struct timespec now;
    struct error err;
    int due = 0, bad = 0;
    char **head = xcalloc(ARRAY_COUNT(titles) + 1, sizeof(*head));

    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < ARRAY_COUNT(titles); i++)
        head[i] = xstrdup(titles[i]);
    columns_add(&table, head);
    for (size_t i = 0; i < found.count; i++) {
        int r = add_row(&table, found.paths[i], f->warn_days, now.tv_sec * NS_PER_S, &err);

        if (r < 0) {
            command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
            bad++;
        }
        due += r > 0;
        free(found.paths[i]);
    }
    free(found.paths);
    columns_print(&table, stdout);
    if (due)
        fprintf(stderr,
            "%d of them expire%s within %lld days; 'skiffctl certs renew' makes them anew.\n", due,
            due == 1 ? "s" : "", (long long)f->warn_days);
    return due || bad ? EXIT_REQUEST_FAILED : EXIT_DONE;
}

static int renew(const struct cluster *c, int argc, char **argv)
{
    struct error err;

    if (c->joined)
        return command_fail(EXIT_REQUEST_FAILED,
            "this is a joined node: its certificates come from the API server, and the node agent "
            "renews them by itself");
    if (credentials_renew(c, (const char *const *)argv, (size_t)argc, &err) < 0)
        return command_fail(
            err.code == ERR_USAGE ? EXIT_WRONG_USAGE : EXIT_REQUEST_FAILED, "%s", err.text);
    return EXIT_DONE;
}

static int certs_run(void *config, int argc, char **argv)
{
    struct certs_flags *f = config;
    struct cluster c;
    struct error err;
    const char *verb = argc > 0 ? argv[0] : "";
    bool is_check = c_eq(verb, "check") && argc == 1;
    autofree char *dir = NULL;

    if (!is_check && !c_eq(verb, "renew"))
        return command_fail(EXIT_WRONG_USAGE, "certs needs one of: check, renew [NAME...]");
    if (f->warn_days < 0)
        return command_fail(EXIT_WRONG_USAGE, "--warn must not be negative");
    if (cluster_dir(f->data_dir, &dir, &err) < 0)
        return command_fail(EXIT_WRONG_USAGE, "%s", err.text);
    if (cluster_load(dir, &c, &err) < 0)
        return command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
    int code = is_check ? check(&c, f) : renew(&c, argc - 1, argv + 1);

    cluster_done(&c);
    return code;
}

static const struct flag certs_flag_table[] = {
    {"data-dir", FLAG_STRING, offsetof(struct certs_flags, data_dir), DEFAULT_DATA_DIR, "DIR",
        "the cluster's folder"},
    {"warn", FLAG_INT, offsetof(struct certs_flags, warn_days), "30", "DAYS",
        "check: fail when a certificate expires within so many days"},
};

const struct command command_certs = {
    .name = "certs",
    .usage = "check|renew [NAME...] [flags]",
    .summary = "look at the cluster's certificates, make them anew",
    .help = "check lists the certificates in the cluster's folder with the days they have left,\n"
            "and returns 1 when one has less than --warn. renew makes those of `up` anew (all, or\n"
            "the named ones) with the same CA; the daemons take them without a restart.\n\n"
            "Examples:\n  skiffctl certs check --warn 60\n  skiffctl certs renew\n"
            "  skiffctl certs renew apiserver admin",
    .flags = certs_flag_table,
    .flag_count = ARRAY_COUNT(certs_flag_table),
    .config_size = sizeof(struct certs_flags),
    .run = certs_run,
};
