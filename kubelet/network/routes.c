/*
 * Routes to other nodes' pods (host-gw), through rtnetlink.
 *
 * Ours are told from everybody else's by their protocol number, so that routes of nodes that are
 * gone can be removed after any crash. Setting a route that is there already changes nothing.
 */
#include "kubelet/network/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <time.h>

/* Unassigned in rt_protos; 186 and above are other routing daemons. */
#define ROUTE_PROTOCOL 174
#define FOUND_MAX 4096
#define ROUTE_BUFFER 32768 /* what the kernel may put into one dump message */

struct route {
    uint32_t network; /* network byte order */
    uint8_t bits;
    uint32_t gateway;
};

struct found {
    struct route routes[FOUND_MAX];
    size_t count;
};

static bool parse_route(const struct host_route *text, struct route *ret)
{
    struct str cidr = str_of(text->cidr), address;
    struct error err;
    struct in_addr network, gateway;
    int64_t bits;
    char plain[64];

    if (!str_split(&cidr, '/', &address) || address.n >= sizeof(plain) ||
        str_parse_int64(cidr, &bits, &err) < 0 || bits < 1 || bits > 32)
        return false;
    snprintf(plain, sizeof(plain), "%.*s", STR_FMT(address));
    if (inet_pton(AF_INET, plain, &network) != 1 ||
        inet_pton(AF_INET, text->gateway, &gateway) != 1)
        return false;
    *ret = (struct route){network.s_addr, (uint8_t)bits, gateway.s_addr};
    return true;
}

static int take_attribute(const struct nlattr *attribute, void *data)
{
    const struct nlattr **table = data;

    if (mnl_attr_type_valid(attribute, RTA_MAX) >= 0)
        table[mnl_attr_get_type(attribute)] = attribute;
    return MNL_CB_OK;
}

static int take_route(const struct nlmsghdr *message, void *data)
{
    struct found *found = data;
    const struct rtmsg *rt = mnl_nlmsg_get_payload(message);
    const struct nlattr *table[RTA_MAX + 1] = {0};

    if (rt->rtm_protocol != ROUTE_PROTOCOL || rt->rtm_table != RT_TABLE_MAIN ||
        found->count == FOUND_MAX)
        return MNL_CB_OK;
    mnl_attr_parse(message, sizeof(*rt), take_attribute, table);
    if (table[RTA_DST] && table[RTA_GATEWAY])
        found->routes[found->count++] = (struct route){mnl_attr_get_u32(table[RTA_DST]),
            rt->rtm_dst_len, mnl_attr_get_u32(table[RTA_GATEWAY])};
    return MNL_CB_OK;
}

/* Sends one request and runs its answers through callback. */
static int talk(struct mnl_socket *socket, struct nlmsghdr *message, unsigned sequence,
    mnl_cb_t callback, void *data)
{
    char *buffer = xmalloc(ROUTE_BUFFER);
    unsigned port = mnl_socket_get_portid(socket);
    int r = -1;

    message->nlmsg_seq = sequence;
    if (mnl_socket_sendto(socket, message, message->nlmsg_len) >= 0) {
        do {
            ssize_t n = mnl_socket_recvfrom(socket, buffer, ROUTE_BUFFER);
            r = n <= 0 ? -1 : mnl_cb_run(buffer, (size_t)n, sequence, port, callback, data);
        } while (r > 0);
    }
    int saved = errno;
    free(buffer);
    errno = saved;
    return r;
}

static struct nlmsghdr *route_message(char *buffer, int type, int flags, const struct route *route)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

    message->nlmsg_type = (uint16_t)type;
    message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(message, sizeof(*rt));
    rt->rtm_family = AF_INET;
    if (route) {
        rt->rtm_dst_len = route->bits;
        rt->rtm_table = RT_TABLE_MAIN;
        rt->rtm_protocol = ROUTE_PROTOCOL;
        rt->rtm_scope = RT_SCOPE_UNIVERSE;
        rt->rtm_type = RTN_UNICAST;
        mnl_attr_put_u32(message, RTA_DST, route->network);
        mnl_attr_put_u32(message, RTA_GATEWAY, route->gateway);
    }
    return message;
}

static bool is_in(const struct route *route, const struct route *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].network == route->network && list[i].bits == route->bits &&
            list[i].gateway == route->gateway)
            return true;
    return false;
}

static int set_routes(struct mnl_socket *socket, const struct host_route *texts, size_t count,
    struct found *found, struct error *err)
{
    char buffer[512];
    unsigned sequence = (unsigned)time(NULL);
    struct route *wanted = xcalloc(count + 1, sizeof(*wanted));
    size_t wanted_count = 0;
    int result = 0;

    for (size_t i = 0; i < count; i++)
        if (parse_route(&texts[i], &wanted[wanted_count]))
            wanted_count++;
    struct nlmsghdr *message = route_message(buffer, RTM_GETROUTE, NLM_F_DUMP, NULL);
    if (talk(socket, message, ++sequence, take_route, found) < 0)
        result = error_sys(err, errno, "routes cannot be read");
    for (size_t i = 0; result == 0 && i < found->count; i++) {
        if (is_in(&found->routes[i], wanted, wanted_count))
            continue;
        message = route_message(buffer, RTM_DELROUTE, NLM_F_ACK, &found->routes[i]);
        if (talk(socket, message, ++sequence, NULL, NULL) < 0 && errno != ESRCH)
            result = error_sys(err, errno, "a stale route cannot be removed");
    }
    for (size_t i = 0; i < wanted_count; i++) {
        if (is_in(&wanted[i], found->routes, found->count))
            continue;
        message = route_message(
            buffer, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &wanted[i]);
        if (talk(socket, message, ++sequence, NULL, NULL) < 0 && result == 0) {
            int saved = errno;
            char gateway[INET_ADDRSTRLEN] = "";
            inet_ntop(AF_INET, &wanted[i].gateway, gateway, sizeof(gateway));
            result = error_sys(err, saved, "route to the pods of node %s", gateway);
        }
    }
    free(wanted);
    return result;
}

int host_set_routes(const struct host_route *routes, size_t count, struct error *err)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);

    if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int saved = errno;
        if (socket)
            mnl_socket_close(socket);
        return error_sys(err, saved, "netlink");
    }
    struct found *found = xcalloc(1, sizeof(*found));
    int r = set_routes(socket, routes, count, found, err);
    free(found);
    mnl_socket_close(socket);
    return r;
}

int host_remove_link(const char *name, struct error *err)
{
    struct mnl_socket *socket;
    char buffer[512];
    int r = 0;

    if (if_nametoindex(name) == 0)
        return 0;
    socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        r = error_sys(err, errno, "netlink");
    } else {
        struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
        message->nlmsg_type = RTM_DELLINK;
        message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        struct ifinfomsg *link = mnl_nlmsg_put_extra_header(message, sizeof(*link));
        link->ifi_family = AF_UNSPEC;
        link->ifi_index = (int)if_nametoindex(name);
        if (talk(socket, message, 1, NULL, NULL) < 0 && errno != ENODEV)
            r = error_sys(err, errno, "link %s cannot be removed", name);
    }
    if (socket)
        mnl_socket_close(socket);
    return r;
}
