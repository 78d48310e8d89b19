/*
 * Chains shared by services: made of raw nftables expressions, one chain a kind and number of
 * endpoints.
 *
 * The key of a lookup is put together in neighbouring 32-bit registers (r0..), as the kernel's
 * concatenations are; that is how a random number gets into a key, which nft's own language can't
 * say (and why no bits of the packet's mark are used for it). Without affinity, for n endpoints:
 *
 *     r0 = address (0 for node ports)  r1 = protocol  r2 = port  r3 = random mod n
 *     lookup r0..r3 in endpoints -> r0, r1;  dnat to r0:r1
 *     the same with r3 = 0
 *
 * The second rule matters for packets that meet an update half-way, between the choice of the chain
 * and the lookup: index 0 exists as long as the service has an endpoint. With affinity:
 *
 *     r0 = source  r1 = address  r2 = protocol  r3 = port
 *     lookup r0..r3 in affinity -> r4, r5;  r1..r5 in members;  renew the entry;  dnat to r4:r5
 *     else choose as above, put r0..r3 -> r4, r5 into affinity instead of what was there;  dnat
 *
 * so an endpoint that is gone from members is never used again, whatever affinity remembers.
 *
 * Names: kind, number of endpoints, and the affinity's seconds: "c3", "p12_10800".
 */
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stddef.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <libnftnl/expr.h>

#include "common/str.h"
#include "proxy/nft_batch.h"

enum masquerade { MASQUERADE_NEVER, MASQUERADE_ALWAYS, MASQUERADE_OUTSIDERS };

static const struct {
    char letter;
    bool zero_address;
    enum masquerade masquerade;
} kinds[CHAIN_KINDS] = {
    [CHAIN_CLUSTER_IP] = {'c', false, MASQUERADE_OUTSIDERS},
    [CHAIN_EXTERNAL] = {'e', false, MASQUERADE_ALWAYS},
    [CHAIN_EXTERNAL_LOCAL] = {'x', false, MASQUERADE_NEVER},
    [CHAIN_NODEPORT] = {'p', true, MASQUERADE_ALWAYS},
    [CHAIN_NODEPORT_LOCAL] = {'l', true, MASQUERADE_NEVER},
};

void nft_chain_name(const struct rule_chain *chain, char *buf)
{
    int n =
        snprintf(buf, NFT_CHAIN_NAME_BYTES, "%c%u", kinds[chain->kind].letter, chain->endpoints);

    if (chain->affinity_seconds)
        snprintf(buf + n, NFT_CHAIN_NAME_BYTES - (size_t)n, "_%u", chain->affinity_seconds);
}

bool nft_chain_parse(const char *name, struct rule_chain *ret)
{
    struct rule_chain chain = {0};
    char again[NFT_CHAIN_NAME_BYTES];
    unsigned endpoints = 0, seconds = 0;
    char letter;

    if (sscanf(name, "%c%u_%u", &letter, &endpoints, &seconds) < 2 || !endpoints)
        return false;
    chain.endpoints = endpoints;
    chain.affinity_seconds = seconds;
    for (size_t i = 0; i < CHAIN_KINDS; i++) {
        if (kinds[i].letter != letter)
            continue;
        chain.kind = (uint8_t)i;
        nft_chain_name(&chain, again);
        *ret = chain;
        return c_eq(again, name);
    }
    return false;
}

static uint32_t reg(unsigned i)
{
    return NFT_REG32_00 + i;
}

static struct nftnl_expr *add(struct nftnl_rule *rule, const char *kind)
{
    struct nftnl_expr *e = nftnl_expr_alloc(kind);

    nftnl_rule_add_expr(rule, e);
    return e;
}

static void payload(
    struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t n, unsigned to)
{
    struct nftnl_expr *e = add(rule, "payload");

    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, n);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg(to));
}

static void immediate(struct nftnl_rule *rule, uint32_t value, unsigned to)
{
    struct nftnl_expr *e = add(rule, "immediate");

    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, reg(to));
    nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, &value, sizeof(value));
}

static void protocol(struct nftnl_rule *rule, unsigned to)
{
    struct nftnl_expr *e = add(rule, "meta");

    nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, NFT_META_L4PROTO);
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, reg(to));
}

/* Address (or 0), protocol and port of the service, into three registers. */
static void service_key(struct nftnl_rule *rule, bool zero_address, unsigned to)
{
    if (zero_address)
        immediate(rule, 0, to);
    else
        payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct iphdr, daddr), 4, to);
    protocol(rule, to + 1);
    payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, to + 2);
}

static void random_index(struct nftnl_rule *rule, uint32_t endpoints, unsigned to)
{
    if (endpoints == 1) {
        immediate(rule, 0, to);
        return;
    }
    struct nftnl_expr *e = add(rule, "numgen");
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_DREG, reg(to));
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_MODULUS, endpoints);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM);
}

/* to: where a map's value goes, or -1 for a set. */
static void lookup(struct nftnl_rule *rule, const char *set, unsigned from, int to)
{
    struct nftnl_expr *e = add(rule, "lookup");

    nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, set);
    nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, reg(from));
    if (to >= 0)
        nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, reg((unsigned)to));
}

static struct nftnl_expr *affinity_entry(struct nftnl_rule *rule, uint32_t operation)
{
    struct nftnl_expr *e = add(rule, "dynset");

    nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_OP, operation);
    nftnl_expr_set_str(e, NFTNL_EXPR_DYNSET_SET_NAME, "affinity");
    nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_KEY, reg(0));
    nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_DATA, reg(4)); /* asked for even to delete */
    return e;
}

/* Adds the entry, or renews its time (but never its endpoint: an old one must be deleted before).
 */
static void remember(struct nftnl_rule *rule, uint32_t seconds)
{
    struct nftnl_expr *e = affinity_entry(rule, NFT_DYNSET_OP_UPDATE);

    nftnl_expr_set_u64(e, NFTNL_EXPR_DYNSET_TIMEOUT, seconds * 1000ull);
}

static void dnat(struct nftnl_rule *rule, unsigned from)
{
    struct nftnl_expr *e = add(rule, "nat");

    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, reg(from));
    nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, reg(from + 1));
}

static struct nftnl_rule *new_rule(const char *chain)
{
    struct nftnl_rule *rule = nftnl_rule_alloc();

    nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, NFT_TABLE_NAME);
    nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
    nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_IPV4);
    return rule;
}

/* jump to "mark_outsiders" or "mark_all" of the skeleton. */
static void mark_rule(struct nft_batch *b, const char *chain, const char *target)
{
    struct nftnl_rule *rule = new_rule(chain);
    struct nftnl_expr *e = add(rule, "immediate");

    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)NFT_JUMP);
    nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, target);
    nft_batch_add_rule(b, rule);
}

static void choose_rule(
    struct nft_batch *b, const char *name, const struct rule_chain *chain, uint32_t among)
{
    struct nftnl_rule *rule = new_rule(name);
    unsigned key = 0, to = 0;

    if (chain->affinity_seconds) {
        payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct iphdr, saddr), 4, 0);
        key = 1;
        to = 4;
    }
    service_key(rule, kinds[chain->kind].zero_address, key);
    random_index(rule, among, key + 3);
    lookup(rule, nft_map_name(MAP_ENDPOINTS), key, (int)to);
    if (chain->affinity_seconds) {
        affinity_entry(rule, NFT_DYNSET_OP_DELETE);
        remember(rule, chain->affinity_seconds);
    }
    dnat(rule, to);
    nft_batch_add_rule(b, rule);
}

static void affinity_rule(struct nft_batch *b, const char *name, const struct rule_chain *chain)
{
    struct nftnl_rule *rule = new_rule(name);

    payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct iphdr, saddr), 4, 0);
    service_key(rule, kinds[chain->kind].zero_address, 1);
    lookup(rule, "affinity", 0, 4);
    lookup(rule, nft_map_name(MAP_MEMBERS), 1, -1);
    remember(rule, chain->affinity_seconds);
    dnat(rule, 4);
    nft_batch_add_rule(b, rule);
}

void nft_chain_build(struct nft_batch *b, const struct rule_chain *chain)
{
    char name[NFT_CHAIN_NAME_BYTES];

    nft_chain_name(chain, name);
    nft_batch_new_chain(b, name);
    if (kinds[chain->kind].masquerade == MASQUERADE_ALWAYS)
        mark_rule(b, name, "mark_all");
    if (kinds[chain->kind].masquerade == MASQUERADE_OUTSIDERS)
        mark_rule(b, name, "mark_outsiders");
    if (chain->affinity_seconds)
        affinity_rule(b, name, chain);
    choose_rule(b, name, chain, chain->endpoints);
    if (chain->endpoints > 1)
        choose_rule(b, name, chain, 1);
}
