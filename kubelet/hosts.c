/*
 * /etc/hosts, /etc/resolv.conf and the host name of a pod.
 *
 * Both files lie in the pod's folder and are mounted into each container that does not mount
 * something there itself; all containers see a change at once because the file is rewritten in
 * place.
 *
 * Upstream: kubelet_pods.go managedHostsFileContent, network/dns/dns.go.
 */
#include "kubelet/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/file.h"
#include "kubelet/files.h"

#define FILE_MAX_BYTES (1u << 20)
#define HOSTNAME_MAX 63
/* What the C library reads; more is an error in validation or cut here. */
#define NAMESERVERS_MAX 3
#define SEARCHES_MAX 32

char *pod_hostname(const cJSON *spec, const char *pod_name)
{
    const char *wanted = json_string(spec, "hostname");
    struct str name = str_of(wanted && wanted[0] ? wanted : pod_name);

    if (name.n > HOSTNAME_MAX)
        name.n = HOSTNAME_MAX;
    while (name.n > 0 && (name.p[name.n - 1] == '-' || name.p[name.n - 1] == '.'))
        name.n--;
    return str_dup(name);
}

static void add_aliases(const cJSON *spec, struct strbuf *out)
{
    const cJSON *aliases = json_get(spec, "hostAliases"), *alias, *name;

    if (cJSON_GetArraySize(aliases) == 0)
        return;
    strbuf_addc(out, "\n# Entries added by HostAliases.\n");
    cJSON_ArrayForEach(alias, aliases)
    {
        const char *ip = json_string(alias, "ip");
        strbuf_addc(out, ip ? ip : "");
        cJSON_ArrayForEach(name, json_get(alias, "hostnames"))
        {
            if (cJSON_IsString(name))
                strbuf_addf(out, "\t%s", name->valuestring);
        }
        strbuf_add_char(out, '\n');
    }
}

void hosts_print(const cJSON *spec, const char *ip, const char *other, const char *hostname,
    const char *domain, struct strbuf *out)
{
    const char *const ips[] = {ip, other};

    strbuf_addc(out,
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "
        "ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n");
    for (size_t i = 0; i < ARRAY_COUNT(ips); i++) {
        if (!ips[i] || !ips[i][0])
            continue;
        if (domain && domain[0])
            strbuf_addf(out, "%s\t%s.%s\t%s\n", ips[i], hostname, domain, hostname);
        else
            strbuf_addf(out, "%s\t%s\n", ips[i], hostname);
    }
    add_aliases(spec, out);
}

struct resolv {
    struct str nameservers[8], searches[SEARCHES_MAX + 8];
    size_t nameserver_count, search_count;
    struct str options[32];
    size_t option_count;
};

static void add_unique(struct str *list, size_t *count, size_t max, struct str item)
{
    for (size_t i = 0; i < *count; i++)
        if (str_eq(list[i], item))
            return;
    if (*count < max && item.n > 0)
        list[(*count)++] = item;
}

static void read_host_file(struct str text, struct resolv *r, bool nameservers, bool options)
{
    struct str line, word;

    while (str_split(&text, '\n', &line)) {
        line = str_trim(line);
        size_t n = 0;
        while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t')
            n++;
        struct str key = str_range(line.p, n), rest = str_trim(str_range(line.p + n, line.n - n));
        if (nameservers && str_eqc(key, "nameserver"))
            add_unique(r->nameservers, &r->nameserver_count, NAMESERVERS_MAX, rest);
        bool search = str_eqc(key, "search") || str_eqc(key, "domain");
        if (!search && !(options && str_eqc(key, "options")))
            continue;
        while (str_split(&rest, ' ', &word)) {
            word = str_trim(word);
            if (search)
                add_unique(r->searches, &r->search_count, SEARCHES_MAX, word);
            else
                add_unique(r->options, &r->option_count, ARRAY_COUNT(r->options), word);
        }
    }
}

/* The part of an option before its colon. */
static struct str option_name(struct str option)
{
    struct str name;

    str_split(&option, ':', &name);
    return name;
}

/* dnsConfig: servers and searches are appended, options replace those of the same name. */
static void add_config(const cJSON *config, struct resolv *r, struct arena *arena)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(config, "nameservers")) add_unique(
        r->nameservers, &r->nameserver_count, NAMESERVERS_MAX, str_of(cJSON_GetStringValue(item)));
    cJSON_ArrayForEach(item, json_get(config, "searches"))
        add_unique(r->searches, &r->search_count, SEARCHES_MAX, str_of(cJSON_GetStringValue(item)));
    cJSON_ArrayForEach(item, json_get(config, "options"))
    {
        const char *name = json_string(item, "name"), *value = json_string(item, "value");
        if (!name)
            continue;
        struct str option = str_of(
            value ? arena_printf(arena, "%s:%s", name, value) : arena_strdup(arena, str_of(name)));
        for (size_t i = 0; i < r->option_count; i++)
            if (str_eqc(option_name(r->options[i]), name))
                r->options[i--] = r->options[--r->option_count];
        add_unique(r->options, &r->option_count, ARRAY_COUNT(r->options), option);
    }
}

void resolv_print(const cJSON *spec, const struct resolver *resolver, struct strbuf *out)
{
    const char *policy = json_string(spec, "dnsPolicy");
    bool host_network = pod_uses_host_network(spec);
    bool cluster = !policy || c_eq(policy, "ClusterFirst")
                       ? !host_network
                       : c_eq(policy, "ClusterFirstWithHostNet");
    struct resolv r = {0};
    struct arena *arena = arena_new();

    if (c_eq(policy, "None")) {
        /* dnsConfig alone */
    } else if (cluster && resolver->cluster_dns && resolver->cluster_dns[0]) {
        const char *domain = resolver->cluster_domain;
        add_unique(
            r.nameservers, &r.nameserver_count, NAMESERVERS_MAX, str_of(resolver->cluster_dns));
        if (domain && domain[0]) {
            r.searches[r.search_count++] =
                str_of(arena_printf(arena, "%s.svc.%s", resolver->namespace_, domain));
            r.searches[r.search_count++] = str_of(arena_printf(arena, "svc.%s", domain));
            r.searches[r.search_count++] = str_of(domain);
        }
        read_host_file(resolver->host_file, &r, false, false);
        r.options[r.option_count++] = STR("ndots:5");
    } else {
        read_host_file(resolver->host_file, &r, true, true);
    }
    add_config(json_get(spec, "dnsConfig"), &r, arena);
    if (r.search_count > 0)
        strbuf_addc(out, "search");
    for (size_t i = 0; i < r.search_count; i++)
        strbuf_addf(out, " %.*s", STR_FMT(r.searches[i]));
    if (r.search_count > 0)
        strbuf_add_char(out, '\n');
    for (size_t i = 0; i < r.nameserver_count; i++)
        strbuf_addf(out, "nameserver %.*s\n", STR_FMT(r.nameservers[i]));
    if (r.option_count > 0)
        strbuf_addc(out, "options");
    for (size_t i = 0; i < r.option_count; i++)
        strbuf_addf(out, " %.*s", STR_FMT(r.options[i]));
    if (r.option_count > 0)
        strbuf_add_char(out, '\n');
    arena_free(arena);
}

/* In place, because containers have the file itself mounted. */
static int write_if_changed(const char *path, struct str content, struct error *err)
{
    autostrbuf struct strbuf old = STRBUF_EMPTY;
    struct error ignored;

    strbuf_init(&old, 0);
    if (file_read(path, FILE_MAX_BYTES, &old, &ignored) == 0 && str_eq(strbuf_str(&old), content))
        return 0;
    if (!file_exists(path))
        return quick_write(path, content, 0644, err);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || write(fd, content.p, content.n) != (ssize_t)content.n) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return error_sys(err, saved, "%s", path);
    }
    close(fd);
    return 0;
}

static void print_hosts(struct sync *s, struct strbuf *out)
{
    const char *subdomain = json_string(s->spec, "subdomain");
    autofree char *hostname = pod_hostname(s->spec, s->record->name), *domain = NULL;
    struct error ignored;

    if (pod_uses_host_network(s->spec)) {
        strbuf_addc(out, "# Kubernetes-managed hosts file (host network).\n");
        file_read("/etc/hosts", FILE_MAX_BYTES, out, &ignored);
        add_aliases(s->spec, out);
        return;
    }
    if (subdomain && subdomain[0])
        domain = str_format(
            "%s.%s.svc.%s", subdomain, s->record->namespace_, s->agent->config->cluster_domain);
    hosts_print(s->spec, s->record->pod_ip, s->record->pod_ip_other, hostname, domain, out);
}

int hosts_write(struct sync *s, struct error *err)
{
    autostrbuf struct strbuf hosts = STRBUF_EMPTY, resolv = STRBUF_EMPTY, host_file = STRBUF_EMPTY;
    struct error ignored;

    strbuf_init(&hosts, 0);
    strbuf_init(&resolv, 0);
    strbuf_init(&host_file, 0);
    /* systemd's stub only serves the host itself; its real servers stand elsewhere. */
    if (file_read("/run/systemd/resolve/resolv.conf", FILE_MAX_BYTES, &host_file, &ignored) < 0)
        file_read("/etc/resolv.conf", FILE_MAX_BYTES, &host_file, &ignored);
    const struct resolver resolver = {s->agent->config->cluster_dns,
        s->agent->config->cluster_domain, s->record->namespace_, strbuf_str(&host_file)};
    print_hosts(s, &hosts);
    resolv_print(s->spec, &resolver, &resolv);
    if (file_make_dirs(sync_pod_dir(s, NULL), 0750, err) < 0 ||
        write_if_changed(sync_pod_dir(s, "etc-hosts"), strbuf_str(&hosts), err) < 0)
        return -err->code;
    return write_if_changed(sync_pod_dir(s, "resolv.conf"), strbuf_str(&resolv), err);
}

void hosts_mounts(struct sync *s, const cJSON *container, struct mount *mounts, size_t *count)
{
    static const struct {
        const char *file, *target;
    } files[] = {{"etc-hosts", "/etc/hosts"}, {"resolv.conf", "/etc/resolv.conf"}};
    const cJSON *mount;

    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        bool taken = false;
        cJSON_ArrayForEach(mount, json_get(container, "volumeMounts")) taken =
            taken || c_eq(json_string(mount, "mountPath"), files[i].target);
        if (!taken)
            mounts[(*count)++] =
                (struct mount){.source = sync_pod_dir(s, files[i].file), .target = files[i].target};
    }
}
