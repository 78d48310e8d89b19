/*
 * Connection tracking over ctnetlink, with libmnl. See conntrack.h.
 *
 * The dump is read whole before anything is deleted, by tuples kept in memory: deleting while the
 * kernel dumps may skip entries.
 */
#include "proxy/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/str.h"

struct tuple {
    uint32_t src, dst;
    uint16_t src_port, dst_port;
    uint8_t protocol;
};

struct flow_list {
    udp_stale_fn *stale;
    void *arg;
    uint32_t *local;
    size_t local_count;
    struct tuple *items;
    size_t count, capacity;
};

struct attributes {
    const struct nlattr *at[CTA_MAX + 1];
};

static int collect(const struct nlattr *attr, void *arg)
{
    struct attributes *a = arg;

    if (mnl_attr_get_type(attr) <= CTA_MAX)
        a->at[mnl_attr_get_type(attr)] = attr;
    return MNL_CB_OK;
}

static bool parse_tuple(const struct nlattr *nest, struct tuple *ret)
{
    struct attributes top = {0}, ip = {0}, proto = {0};

    if (!nest)
        return false;
    mnl_attr_parse_nested(nest, collect, &top);
    if (!top.at[CTA_TUPLE_IP] || !top.at[CTA_TUPLE_PROTO])
        return false;
    mnl_attr_parse_nested(top.at[CTA_TUPLE_IP], collect, &ip);
    mnl_attr_parse_nested(top.at[CTA_TUPLE_PROTO], collect, &proto);
    if (!ip.at[CTA_IP_V4_SRC] || !ip.at[CTA_IP_V4_DST] || !proto.at[CTA_PROTO_NUM] ||
        !proto.at[CTA_PROTO_SRC_PORT] || !proto.at[CTA_PROTO_DST_PORT])
        return false;
    *ret = (struct tuple){
        .src = ntohl(mnl_attr_get_u32(ip.at[CTA_IP_V4_SRC])),
        .dst = ntohl(mnl_attr_get_u32(ip.at[CTA_IP_V4_DST])),
        .src_port = ntohs(mnl_attr_get_u16(proto.at[CTA_PROTO_SRC_PORT])),
        .dst_port = ntohs(mnl_attr_get_u16(proto.at[CTA_PROTO_DST_PORT])),
        .protocol = mnl_attr_get_u8(proto.at[CTA_PROTO_NUM]),
    };
    return true;
}

static bool is_local(const struct flow_list *list, uint32_t addr)
{
    for (size_t i = 0; i < list->local_count; i++)
        if (list->local[i] == addr)
            return true;
    return false;
}

static int on_flow(const struct nlmsghdr *message, void *arg)
{
    struct flow_list *list = arg;
    struct attributes a = {0};
    struct tuple there, back;

    mnl_attr_parse(message, sizeof(struct nfgenmsg), collect, &a);
    if (!parse_tuple(a.at[CTA_TUPLE_ORIG], &there) || !parse_tuple(a.at[CTA_TUPLE_REPLY], &back) ||
        there.protocol != IPPROTO_UDP)
        return MNL_CB_OK;
    struct udp_flow flow = {
        .to_addr = there.dst,
        .to_port = there.dst_port,
        .endpoint_addr = back.src,
        .endpoint_port = back.src_port,
        .to_local = is_local(list, there.dst),
    };
    if (!list->stale(list->arg, &flow))
        return MNL_CB_OK;
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 16;
        list->items = xrealloc(list->items, list->capacity * sizeof(*list->items));
    }
    list->items[list->count++] = there;
    return MNL_CB_OK;
}

static void read_local_addresses(struct flow_list *list)
{
    struct ifaddrs *all = NULL;
    size_t n = 0;

    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        n++;
    list->local = xcalloc(n + 1, sizeof(uint32_t));
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
            list->local[list->local_count++] =
                ntohl(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr);
    freeifaddrs(all);
}

static struct nlmsghdr *request(char *buf, uint16_t type, uint16_t flags, uint32_t seq)
{
    struct nlmsghdr *m = mnl_nlmsg_put_header(buf);

    m->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    m->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    m->nlmsg_seq = seq;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(m, sizeof(*g));
    g->nfgen_family = AF_INET;
    g->version = NFNETLINK_V0;
    return m;
}

/* Bit of CTA_FILTER_ORIG_FLAGS: compare the protocol number. The kernel's header does not name it.
 */
#define FILTER_PROTOCOL (1u << 3)

/* Asks for UDP flows only, so that a host with many TCP connections sends little. */
static const struct nlmsghdr *udp_dump_request(char *buf, uint32_t seq)
{
    struct nlmsghdr *m = request(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, seq);
    struct nlattr *tuple = mnl_attr_nest_start(m, CTA_TUPLE_ORIG);
    struct nlattr *nest = mnl_attr_nest_start(m, CTA_TUPLE_PROTO);

    mnl_attr_put_u8(m, CTA_PROTO_NUM, IPPROTO_UDP);
    mnl_attr_nest_end(m, nest);
    mnl_attr_nest_end(m, tuple);
    nest = mnl_attr_nest_start(m, CTA_FILTER);
    mnl_attr_put_u32(m, CTA_FILTER_ORIG_FLAGS, FILTER_PROTOCOL);
    mnl_attr_put_u32(m, CTA_FILTER_REPLY_FLAGS, 0);
    mnl_attr_nest_end(m, nest);
    return m;
}

static int transact(
    struct mnl_socket *nl, const struct nlmsghdr *m, mnl_cb_t fn, void *arg, struct error *err)
{
    char buf[32768];
    uint32_t seq = m->nlmsg_seq;
    int more = MNL_CB_OK;

    if (mnl_socket_sendto(nl, m, m->nlmsg_len) < 0)
        return error_sys(err, errno, "conntrack: asking the kernel");
    while (more > MNL_CB_STOP) {
        ssize_t got = mnl_socket_recvfrom(nl, buf, sizeof(buf));
        if (got < 0)
            return error_sys(err, errno, "conntrack: reading the kernel's answer");
        more = mnl_cb_run(buf, (size_t)got, seq, mnl_socket_get_portid(nl), fn, arg);
        if (more < 0)
            return error_sys(err, errno, "conntrack");
    }
    return 0;
}

static int delete_flow(
    struct mnl_socket *nl, const struct tuple *t, uint32_t seq, struct error *err)
{
    char buf[512];
    struct nlmsghdr *m = request(buf, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, seq);
    struct nlattr *tuple = mnl_attr_nest_start(m, CTA_TUPLE_ORIG);
    struct nlattr *nest = mnl_attr_nest_start(m, CTA_TUPLE_IP);

    mnl_attr_put_u32(m, CTA_IP_V4_SRC, htonl(t->src));
    mnl_attr_put_u32(m, CTA_IP_V4_DST, htonl(t->dst));
    mnl_attr_nest_end(m, nest);
    nest = mnl_attr_nest_start(m, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(m, CTA_PROTO_NUM, t->protocol);
    mnl_attr_put_u16(m, CTA_PROTO_SRC_PORT, htons(t->src_port));
    mnl_attr_put_u16(m, CTA_PROTO_DST_PORT, htons(t->dst_port));
    mnl_attr_nest_end(m, nest);
    mnl_attr_nest_end(m, tuple);
    int r = transact(nl, m, NULL, NULL, err);
    return r < 0 && err->sys_errno == ENOENT ? 0 : r; /* it ended by itself */
}

int conntrack_forget_udp(struct nft_link *link, udp_stale_fn *stale, void *arg, struct error *err)
{
    struct flow_list list = {.stale = stale, .arg = arg};
    char buf[256];
    uint32_t seq = 1;

    int r = nft_link_open(link, 0, err);
    if (r < 0)
        return r;
    read_local_addresses(&list);
    r = transact(link->nl, udp_dump_request(buf, seq++), on_flow, &list, err);
    for (size_t i = 0; i < list.count && r == 0; i++)
        r = delete_flow(link->nl, &list.items[i], seq++, err);
    if (r < 0)
        nft_link_close(link);
    free(list.local);
    free(list.items);
    return r;
}
