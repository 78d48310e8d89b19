/*
 * Kernel settings, masquerading and Docker's firewall: see host.h.
 *
 * The nftables table is replaced as one transaction; it holds one set and one rule. iptables is run
 * as a command, because Docker's chains belong to whichever of its two back-ends Docker uses, and
 * the command knows.
 */
#include "kubelet/network/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/time.h"
#include "kubelet/network/cni.h"

#define IPTABLES_TIMEOUT_NS (30 * NS_PER_S)

static int write_setting(const char *path, struct error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char now = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : error_sys(err, errno, "%s", path);
    if (read(fd, &now, 1) == 1 && now == '1') {
        close(fd);
        return 0;
    }
    ssize_t n = pwrite(fd, "1", 1, 0);
    int saved = errno;
    close(fd);
    return n == 1 ? 0 : error_sys(err, saved, "%s", path);
}

int host_set_kernel(struct error *err)
{
    static const char *const paths[] = {
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/bridge/bridge-nf-call-iptables",
    };

    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        if (write_setting(paths[i], err) < 0)
            return -err->code;
    return 0;
}

static int run_nft(const char *commands, struct error *err)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    int r = 0;

    if (!nft)
        return error_set(err, ERR_SYSTEM, "nftables cannot be opened");
    nft_ctx_buffer_error(nft);
    nft_ctx_buffer_output(nft);
    if (nft_run_cmd_from_buffer(nft, commands) != 0) {
        struct str why = str_trim(str_of(nft_ctx_get_error_buffer(nft)));
        ssize_t line = str_find(why, '\n');
        if (line >= 0)
            why.n = (size_t)line;
        r = error_set(err, ERR_SYSTEM, "nftables: %.*s", STR_FMT(why));
    }
    nft_ctx_free(nft);
    return r;
}

int host_set_masquerade(
    const char *pod_cidr, const char *const *inside, size_t inside_count, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    strbuf_init(&text, 0);
    strbuf_addc(&text, "add table ip skiff-net\ndelete table ip skiff-net\ntable ip skiff-net {\n"
                       "set inside { type ipv4_addr; flags interval; auto-merge; elements = { ");
    strbuf_addc(&text, pod_cidr);
    for (size_t i = 0; i < inside_count; i++)
        strbuf_addf(&text, ", %s", inside[i]);
    strbuf_addf(&text,
        " }; }\nchain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
        "ip saddr %s ip daddr != @inside oifname != \"%s\" masquerade; }\n}\n",
        pod_cidr, CNI_BRIDGE);
    return run_nft(text.data, err);
}

/* The exit code, or <0. */
static int iptables(const char *const *arguments, struct error *err)
{
    static const char *const paths[] = {
        "/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables"};
    char *argv[24] = {(char *)"iptables", (char *)"-w", (char *)"10"};
    autostrbuf struct strbuf output = STRBUF_EMPTY;
    size_t n = 3;

    for (size_t i = 0; arguments[i] && n + 1 < ARRAY_COUNT(argv); i++)
        argv[n++] = (char *)arguments[i];
    strbuf_init(&output, 4096);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        int r = spawn_run(paths[i], argv, NULL, (struct str){0}, IPTABLES_TIMEOUT_NS, &output, err);
        if (r != -ERR_NOT_FOUND)
            return r;
    }
    return -ERR_NOT_FOUND;
}

static const char *const directions[] = {"-i", "-o"};

int host_set_forwarding(struct error *err)
{
    int r = iptables((const char *const[]){"-n", "-L", "DOCKER-USER", NULL}, err);

    if (r != 0)
        return 0; /* no such chain, or no iptables: nobody drops our packets */
    for (size_t i = 0; i < ARRAY_COUNT(directions); i++) {
        const char *rule[] = {"-C", "DOCKER-USER", directions[i], CNI_BRIDGE, "-m", "comment",
            "--comment", "skiff", "-j", "ACCEPT", NULL};
        if (iptables(rule, err) == 0)
            continue;
        rule[0] = "-I";
        r = iptables(rule, err);
        if (r < 0)
            return r;
        if (r > 0)
            return error_set(
                err, ERR_SYSTEM, "iptables -I DOCKER-USER failed with exit code %d", r);
    }
    return 0;
}

static void reset_forwarding(void)
{
    struct error ignored;

    for (size_t i = 0; i < ARRAY_COUNT(directions); i++) {
        const char *rule[] = {"-D", "DOCKER-USER", directions[i], CNI_BRIDGE, "-m", "comment",
            "--comment", "skiff", "-j", "ACCEPT", NULL};
        /* Until it is gone: it may have been put there more than once. */
        for (int n = 0; n < 8 && iptables(rule, &ignored) == 0; n++)
            ;
    }
}

int host_reset(struct error *err)
{
    if (run_nft("add table ip skiff-net\ndelete table ip skiff-net\n", err) < 0)
        return -err->code;
    reset_forwarding();
    if (host_set_routes(NULL, 0, err) < 0)
        return -err->code;
    return host_remove_link(CNI_BRIDGE, err);
}

bool host_default_address(char *buf, size_t size)
{
    struct ifaddrs *list = NULL;
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct sockaddr_in source = {0};
    socklen_t n = sizeof(source);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found = false;

    /* Connecting a datagram socket sends nothing; it only asks the routing table. */
    inet_pton(AF_INET, "198.51.100.1", &target.sin_addr);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&target, sizeof(target)) == 0 &&
        getsockname(fd, (struct sockaddr *)&source, &n) == 0 && source.sin_addr.s_addr)
        found = inet_ntop(AF_INET, &source.sin_addr, buf, (socklen_t)size) != NULL;
    if (fd >= 0)
        close(fd);
    if (found || getifaddrs(&list) < 0)
        return found;
    for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
            (i->ifa_flags & IFF_LOOPBACK) || c_eq(i->ifa_name, CNI_BRIDGE) ||
            c_eq(i->ifa_name, "docker0"))
            continue;
        found = inet_ntop(
            AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, buf, (socklen_t)size);
    }
    freeifaddrs(list);
    return found;
}

int64_t host_mtu(const char *address)
{
    struct ifaddrs *list = NULL;
    struct in_addr wanted;
    struct ifreq request = {0};
    int64_t mtu = 0;

    if (inet_pton(AF_INET, address, &wanted) != 1 || getifaddrs(&list) < 0)
        return 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (struct ifaddrs *i = list; i && fd >= 0; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
            ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr != wanted.s_addr)
            continue;
        snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", i->ifa_name);
        if (ioctl(fd, SIOCGIFMTU, &request) == 0)
            mtu = request.ifr_mtu;
        break;
    }
    if (fd >= 0)
        close(fd);
    freeifaddrs(list);
    return mtu;
}
