/*
 * nftables batch: libnftnl messages in one growing buffer, one sendmsg, one acknowledgement.
 *
 * Only the last message asks for an acknowledgement; the kernel sends errors of the others unasked.
 * A batch counts as done when that acknowledgement arrives before any error. Upstream: none
 * (kube-proxy runs the nft program).
 */
#include "proxy/nft_batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/str.h"

/* One message's nested attribute is limited to 64 KiB: 300 elements of at most 160 bytes. */
#define ELEMENTS_A_MESSAGE 300
#define MESSAGE_BYTES_MAX (80u << 10)
#define ANSWER_MS 10000
/* The kernel fills dumps in pieces of at most 32 KiB. */
#define DUMP_BYTES (64u << 10)

static const char *const map_names[MAP_COUNT] = {
    [MAP_SERVICES] = "services",
    [MAP_NODEPORTS] = "nodeports",
    [MAP_ENDPOINTS] = "endpoints",
    [MAP_MEMBERS] = "members",
    [MAP_HAIRPIN] = "hairpin",
    [MAP_CLUSTER_IPS] = "cluster_ips",
    [MAP_NO_ENDPOINTS] = "no_endpoints",
    [MAP_NO_ENDPOINTS_NODEPORTS] = "no_endpoints_nodeports",
};

const char *nft_map_name(enum rule_map map)
{
    return map_names[map];
}

static void reserve(struct nft_batch *b)
{
    if (b->capacity - b->n >= MESSAGE_BYTES_MAX)
        return;
    b->capacity = (b->capacity + MESSAGE_BYTES_MAX) * 2;
    b->data = xrealloc(b->data, b->capacity);
}

/* Room for one message; fill it, then call finish(). */
static struct nlmsghdr *begin(struct nft_batch *b, uint16_t type, uint16_t flags)
{
    reserve(b);
    return nftnl_nlmsg_build_hdr(b->data + b->n, type, NFPROTO_IPV4, flags, b->seq++);
}

static void finish(struct nft_batch *b, const struct nlmsghdr *message)
{
    b->n += MNL_ALIGN(message->nlmsg_len);
}

void nft_batch_init(struct nft_batch *b)
{
    *b = (struct nft_batch){.seq = (uint32_t)time(NULL)};
    reserve(b);
    nftnl_batch_begin(b->data, b->seq++);
    finish(b, (struct nlmsghdr *)b->data);
}

void nft_batch_done(struct nft_batch *b)
{
    if (b->pending)
        nftnl_set_free(b->pending);
    free(b->data);
    *b = (struct nft_batch){0};
}

void nft_batch_new_chain(struct nft_batch *b, const char *name)
{
    struct nftnl_chain *chain = nftnl_chain_alloc();

    nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, NFT_TABLE_NAME);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
    struct nlmsghdr *m = begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    nftnl_chain_nlmsg_build_payload(m, chain);
    finish(b, m);
    nftnl_chain_free(chain);
}

void nft_batch_add_rule(struct nft_batch *b, struct nftnl_rule *take_rule)
{
    struct nlmsghdr *m = begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);

    nftnl_rule_nlmsg_build_payload(m, take_rule);
    finish(b, m);
    nftnl_rule_free(take_rule);
}

static void put_u32(uint8_t **at, uint32_t host_order)
{
    uint32_t net = htonl(host_order);

    memcpy(*at, &net, 4);
    *at += 4;
}

static void put_port(uint8_t **at, uint16_t port)
{
    uint16_t net = htons(port);

    memcpy(*at, &net, 2);
    memset(*at + 2, 0, 2);
    *at += 4;
}

static void put_protocol(uint8_t **at, uint8_t protocol)
{
    memset(*at, 0, 4);
    **at = protocol;
    *at += 4;
}

static bool has_address(uint8_t map)
{
    return map != MAP_NODEPORTS && map != MAP_NO_ENDPOINTS_NODEPORTS;
}

uint32_t nft_key_bytes(const struct rule_key *key, uint8_t *buf)
{
    uint8_t *at = buf;

    if (has_address(key->map))
        put_u32(&at, key->addr);
    if (key->map == MAP_HAIRPIN)
        put_u32(&at, key->addr);
    if (key->map == MAP_HAIRPIN || key->map == MAP_CLUSTER_IPS)
        return (uint32_t)(at - buf);
    put_protocol(&at, key->protocol);
    put_port(&at, key->port);
    if (key->map == MAP_ENDPOINTS) {
        memcpy(at, &key->index, 4); /* what numgen writes to its register: host order */
        at += 4;
    }
    if (key->map == MAP_MEMBERS) {
        put_u32(&at, key->peer);
        put_port(&at, key->peer_port);
    }
    return (uint32_t)(at - buf);
}

static uint32_t get_u32(const uint8_t **at)
{
    uint32_t net;

    memcpy(&net, *at, 4);
    *at += 4;
    return ntohl(net);
}

static uint16_t get_port(const uint8_t **at)
{
    uint16_t net;

    memcpy(&net, *at, 2);
    *at += 4;
    return ntohs(net);
}

bool nft_key_parse(enum rule_map map, const uint8_t *bytes, uint32_t n, struct rule_key *ret)
{
    struct rule_key key = {.map = (uint8_t)map};
    uint8_t model[NFT_KEY_BYTES_MAX];
    const uint8_t *at = bytes;

    if (nft_key_bytes(&key, model) != n)
        return false;
    if (has_address(key.map))
        key.addr = get_u32(&at);
    if (map == MAP_HAIRPIN || map == MAP_CLUSTER_IPS) {
        *ret = key;
        return true;
    }
    key.protocol = at[0];
    at += 4;
    key.port = get_port(&at);
    if (map == MAP_ENDPOINTS)
        memcpy(&key.index, at, 4);
    if (map == MAP_MEMBERS) {
        key.peer = get_u32(&at);
        key.peer_port = get_port(&at);
    }
    *ret = key;
    return true;
}

static void set_value(struct nftnl_set_elem *e, const struct rule_value *value)
{
    char chain[NFT_CHAIN_NAME_BYTES];
    uint8_t data[8], *at = data;

    switch ((enum rule_verdict)value->verdict) {
    case VERDICT_NONE:
        break;
    case VERDICT_CHAIN:
        nft_chain_name(&value->chain, chain);
        nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_VERDICT, (uint32_t)NFT_GOTO);
        nftnl_set_elem_set_str(e, NFTNL_SET_ELEM_CHAIN, chain);
        break;
    case VERDICT_ENDPOINT:
        put_u32(&at, value->addr);
        put_port(&at, value->port);
        nftnl_set_elem_set(e, NFTNL_SET_ELEM_DATA, data, sizeof(data));
        break;
    case VERDICT_REFUSE:
        nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_VERDICT, (uint32_t)NFT_GOTO);
        nftnl_set_elem_set_str(e, NFTNL_SET_ELEM_CHAIN, "refuse");
        break;
    case VERDICT_DROP:
        nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_VERDICT, NF_DROP);
        break;
    }
}

static void flush_elements(struct nft_batch *b)
{
    if (!b->pending)
        return;
    struct nlmsghdr *m = begin(b, b->pending_add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
        b->pending_add ? NLM_F_CREATE : 0);
    nftnl_set_elems_nlmsg_build_payload(m, b->pending);
    finish(b, m);
    nftnl_set_free(b->pending);
    b->pending = NULL;
    b->pending_count = 0;
}

void nft_batch_element(struct nft_batch *b, bool add, const struct rule *rule)
{
    uint8_t key[NFT_KEY_BYTES_MAX];

    if (b->pending && (b->pending_map != rule->key.map || b->pending_add != add ||
                          b->pending_count == ELEMENTS_A_MESSAGE))
        flush_elements(b);
    if (!b->pending) {
        b->pending = nftnl_set_alloc();
        b->pending_map = rule->key.map;
        b->pending_add = add;
        nftnl_set_set_str(b->pending, NFTNL_SET_TABLE, NFT_TABLE_NAME);
        nftnl_set_set_str(b->pending, NFTNL_SET_NAME, map_names[rule->key.map]);
        nftnl_set_set_u32(b->pending, NFTNL_SET_FAMILY, NFPROTO_IPV4);
    }
    struct nftnl_set_elem *e = nftnl_set_elem_alloc();
    uint32_t n = nft_key_bytes(&rule->key, key);
    nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, key, n);
    if (add)
        set_value(e, &rule->value);
    nftnl_set_elem_add(b->pending, e);
    b->pending_count++;
}

void nft_link_close(struct nft_link *link)
{
    if (link->nl)
        mnl_socket_close(steal(&link->nl));
}

int nft_link_open(struct nft_link *link, size_t send_bytes, struct error *err)
{
    int on = 1, bytes = (int)(send_bytes + (64u << 10));

    if (!link->nl) {
        link->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
        if (!link->nl)
            return error_sys(err, errno, "netlink socket of nftables");
        if (mnl_socket_bind(link->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
            int saved = errno;
            nft_link_close(link);
            return error_sys(err, saved, "netlink socket of nftables");
        }
        mnl_socket_setsockopt(link->nl, NETLINK_CAP_ACK, &on, sizeof(on));
    }
    setsockopt(mnl_socket_get_fd(link->nl), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    return 0;
}

static ssize_t receive(struct mnl_socket *nl, char *buf, size_t n, struct error *err)
{
    struct pollfd p = {.fd = mnl_socket_get_fd(nl), .events = POLLIN};
    int ready;

    while ((ready = poll(&p, 1, ANSWER_MS)) < 0 && errno == EINTR)
        ;
    if (ready <= 0)
        return error_set(err, ERR_TIMEOUT, "nftables: no answer from the kernel");
    ssize_t got = mnl_socket_recvfrom(nl, buf, n);
    return got < 0 ? error_sys(err, errno, "nftables: reading the kernel's answer") : got;
}

/* Reads answers until the message `last` is acknowledged or any message failed. */
static int await_ack(struct mnl_socket *nl, uint32_t last, uint32_t first, struct error *err)
{
    char buf[8192];

    for (;;) {
        ssize_t got = receive(nl, buf, sizeof(buf), err);
        if (got < 0)
            return (int)got;
        int left = (int)got;
        for (struct nlmsghdr *m = (struct nlmsghdr *)buf; mnl_nlmsg_ok(m, left);
             m = mnl_nlmsg_next(m, &left)) {
            if (m->nlmsg_type != NLMSG_ERROR)
                continue;
            const struct nlmsgerr *e = mnl_nlmsg_get_payload(m);
            if (e->error)
                return error_sys(err, -e->error, "nftables: message %u of the batch (type %u)",
                    m->nlmsg_seq - first, e->msg.nlmsg_type & 0xffu);
            if (m->nlmsg_seq == last)
                return 0;
        }
    }
}

int nft_batch_commit(struct nft_batch *b, struct nft_link *link, struct error *err)
{
    uint32_t first = ((struct nlmsghdr *)b->data)->nlmsg_seq;

    flush_elements(b);
    struct nlmsghdr *m = (struct nlmsghdr *)b->data, *last = NULL;
    for (int left = (int)b->n; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
        last = m;
    if (last == (struct nlmsghdr *)b->data)
        return 0; /* nothing but the head */
    last->nlmsg_flags |= NLM_F_ACK;
    uint32_t ack = last->nlmsg_seq;
    reserve(b);
    nftnl_batch_end(b->data + b->n, b->seq++);
    finish(b, (struct nlmsghdr *)(b->data + b->n));
    int r = nft_link_open(link, b->n, err);
    if (r < 0)
        return r;
    if (mnl_socket_sendto(link->nl, b->data, b->n) < 0)
        r = error_sys(err, errno, "nftables: sending %zu bytes", b->n);
    else
        r = await_ack(link->nl, ack, first, err);
    if (r < 0)
        nft_link_close(link);
    return r;
}

int nft_dump(struct nft_link *link, uint16_t type, const char *set_name, mnl_cb_t fn, void *arg,
    struct error *err)
{
    char head[1024];
    int r = nft_link_open(link, 0, err);

    if (r < 0)
        return r;
    uint32_t seq = (uint32_t)time(NULL), port = mnl_socket_get_portid(link->nl);
    struct nlmsghdr *m = nftnl_nlmsg_build_hdr(head, type, NFPROTO_IPV4, NLM_F_DUMP, seq);
    if (set_name) {
        struct nftnl_set *set = nftnl_set_alloc();
        nftnl_set_set_str(set, NFTNL_SET_TABLE, NFT_TABLE_NAME);
        nftnl_set_set_str(set, NFTNL_SET_NAME, set_name);
        nftnl_set_elems_nlmsg_build_payload(m, set);
        nftnl_set_free(set);
    }
    if (mnl_socket_sendto(link->nl, m, m->nlmsg_len) < 0)
        r = error_sys(err, errno, "nftables: asking for a dump");
    int more = MNL_CB_OK;
    char *buf = xmalloc(DUMP_BYTES);
    while (r == 0 && more > MNL_CB_STOP) {
        ssize_t got = receive(link->nl, buf, DUMP_BYTES, err);
        if (got < 0)
            r = (int)got;
        else if ((more = mnl_cb_run(buf, (size_t)got, seq, port, fn, arg)) < 0)
            r = error_sys(err, errno, "nftables: dump of %s", set_name ? set_name : "chains");
    }
    free(buf);
    if (r < 0)
        nft_link_close(link);
    return r;
}
