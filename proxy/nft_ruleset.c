/*
 * Ruleset of the kernel: table "skiff", family ip.
 *
 * libnftables writes the skeleton below once, as text, and is freed again (it keeps much memory);
 * all element and chain changes are netlink batches (nft_batch.c, nft_chain.c). A proxy that starts
 * adopts a table whose skeleton is its own (chain "form_N_hash"), so that traffic goes on while it
 * was away.
 *
 * Refusing happens in filter chains, for new connections only, after translation: what is still
 * addressed to a cluster IP then has no endpoint. Upstream: proxy/nftables.
 */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <nftables/libnftables.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/str.h"
#include "proxy/conntrack.h"
#include "proxy/nft_batch.h"
#include "proxy/ruleset.h"

/* Raise it when the skeleton, a chain's rules or an element's form change. */
#define FORM 1

static const char skeleton[] =
    "add table ip skiff\n"
    "delete table ip skiff\n"
    "table ip skiff {\n"
    "  comment \"rules of skiff-proxy; do not edit, they are kept up to date\"\n"
    "  map services { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
    "  map nodeports { type inet_proto . inet_service : verdict; }\n"
    "  map endpoints { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . "
    "inet_service; }\n"
    "  map affinity { type ipv4_addr . ipv4_addr . inet_proto . inet_service : ipv4_addr . "
    "inet_service;\n"
    "    flags dynamic,timeout; size 262144; }\n"
    "  set members { type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service; }\n"
    "  set hairpin { type ipv4_addr . ipv4_addr; }\n"
    "  set cluster_ips { type ipv4_addr; }\n"
    "  map no_endpoints { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
    "  map no_endpoints_nodeports { type inet_proto . inet_service : verdict; }\n"
    "  chain %s { }\n"
    "  chain mark_all { meta mark set meta mark or 0x4000; }\n"
    "  chain mark_outsiders { ip saddr != %s meta mark set meta mark or 0x4000; }\n"
    "  chain refuse {\n"
    "    meta l4proto tcp reject with tcp reset\n"
    "    reject with icmp type port-unreachable\n"
    "  }\n"
    "  chain translate {\n"
    "    ip daddr . meta l4proto . th dport vmap @services\n"
    "    fib daddr type local %s ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @nodeports\n"
    "  }\n"
    "  chain check {\n"
    "    ct state != new return\n"
    "    ip daddr . meta l4proto . th dport vmap @no_endpoints\n"
    "    ip daddr @cluster_ips goto refuse\n"
    "    fib daddr type local %s ip daddr != 127.0.0.0/8 meta l4proto . th dport "
    "vmap @no_endpoints_nodeports\n"
    "  }\n"
    "  chain prerouting { type nat hook prerouting priority dstnat; policy accept; jump translate; "
    "}\n"
    "  chain output { type nat hook output priority -100; policy accept; jump translate; }\n"
    "  chain postrouting {\n"
    "    type nat hook postrouting priority srcnat; policy accept;\n"
    "    meta mark and 0x4000 != 0 meta mark set meta mark and 0xffffbfff masquerade fully-random\n"
    "    ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random\n"
    "  }\n"
    "  chain filter_input { type filter hook input priority -10; policy accept; jump check; }\n"
    "  chain filter_forward { type filter hook forward priority -10; policy accept; jump check; }\n"
    "  chain filter_output { type filter hook output priority -10; policy accept; jump check; }\n"
    "}\n";

struct nft_ruleset {
    struct ruleset base;
    char *cluster_cidr;
    char *nodeport_match; /* "ip daddr { ... }" or "" */
    char form[32];        /* name of the chain that marks the skeleton */
    struct made_chain *chains;
    struct nft_link link, flows; /* of nftables, of connection tracking */
};

struct made_chain {
    char name[NFT_CHAIN_NAME_BYTES];
    UT_hash_handle hh;
};

static void forget_chains(struct nft_ruleset *r)
{
    struct made_chain *c, *next;

    HASH_ITER(hh, r->chains, c, next)
    {
        HASH_DEL(r->chains, c);
        free(c);
    }
}

/* False when the chain was known already. */
static bool note_chain(struct nft_ruleset *r, const char *name)
{
    struct made_chain *c;

    HASH_FIND_STR(r->chains, name, c);
    if (c)
        return false;
    c = xcalloc(1, sizeof(*c));
    snprintf(c->name, sizeof(c->name), "%s", name);
    HASH_ADD_STR(r->chains, name, c);
    return true;
}

static int run_text(const char *text, struct error *err)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    int r = 0;

    if (!nft)
        return error_set(err, ERR_SYSTEM, "nftables: no context");
    nft_ctx_buffer_output(nft);
    nft_ctx_buffer_error(nft);
    if (nft_run_cmd_from_buffer(nft, text) < 0) {
        struct str why = str_trim(str_of(nft_ctx_get_error_buffer(nft)));
        ssize_t line = str_find(why, '\n');
        if (line >= 0)
            why.n = (size_t)line;
        r = error_set(err, ERR_SYSTEM, "nftables: %.*s", STR_FMT(why));
    }
    nft_ctx_free(nft);
    return r;
}

static int make_skeleton(struct nft_ruleset *r, struct error *err)
{
    autofree char *text =
        str_format(skeleton, r->form, r->cluster_cidr, r->nodeport_match, r->nodeport_match);

    forget_chains(r);
    return run_text(text, err);
}

struct found_chains {
    struct nft_ruleset *ruleset;
    bool table, form;
};

static int on_chain(const struct nlmsghdr *message, void *arg)
{
    struct found_chains *found = arg;
    struct nftnl_chain *chain = nftnl_chain_alloc();
    struct rule_chain parsed;

    if (chain && nftnl_chain_nlmsg_parse(message, chain) == 0 &&
        c_eq(nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE), NFT_TABLE_NAME)) {
        const char *name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME);
        found->table = true;
        found->form = found->form || c_eq(name, found->ruleset->form);
        if (nft_chain_parse(name, &parsed))
            note_chain(found->ruleset, name);
    }
    nftnl_chain_free(chain);
    return MNL_CB_OK;
}

struct found_elements {
    enum rule_map map;
    struct rules *rules;
    bool strange; /* an element that this program would not have made */
};

static bool parse_value(const struct nftnl_set_elem *e, enum rule_map map, struct rule_value *ret)
{
    uint32_t n = 0;

    if (map == MAP_MEMBERS || map == MAP_HAIRPIN || map == MAP_CLUSTER_IPS)
        return true;
    if (map == MAP_ENDPOINTS) {
        const uint8_t *data =
            nftnl_set_elem_get((struct nftnl_set_elem *)e, NFTNL_SET_ELEM_DATA, &n);
        if (!data || n < 6)
            return false;
        ret->verdict = VERDICT_ENDPOINT;
        ret->addr =
            (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
        ret->port = (uint16_t)(data[4] << 8 | data[5]);
        return true;
    }
    uint32_t verdict = nftnl_set_elem_get_u32((struct nftnl_set_elem *)e, NFTNL_SET_ELEM_VERDICT);
    if (verdict == NF_DROP) {
        ret->verdict = VERDICT_DROP;
        return true;
    }
    const char *chain = nftnl_set_elem_get_str((struct nftnl_set_elem *)e, NFTNL_SET_ELEM_CHAIN);
    if (c_eq(chain, "refuse")) {
        ret->verdict = VERDICT_REFUSE;
        return true;
    }
    ret->verdict = VERDICT_CHAIN;
    return chain && nft_chain_parse(chain, &ret->chain);
}

static int on_element(struct nftnl_set_elem *e, void *arg)
{
    struct found_elements *found = arg;
    struct rule rule = {0};
    uint32_t n = 0;
    const uint8_t *key = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &n);

    if (key && nft_key_parse(found->map, key, n, &rule.key) &&
        parse_value(e, found->map, &rule.value))
        rules_add(found->rules, &rule);
    else
        found->strange = true;
    return 0;
}

static int on_elements(const struct nlmsghdr *message, void *arg)
{
    struct nftnl_set *set = nftnl_set_alloc();

    if (set && nftnl_set_elems_nlmsg_parse(message, set) == 0)
        nftnl_set_elem_foreach(set, on_element, arg);
    nftnl_set_free(set);
    return MNL_CB_OK;
}

static int nft_load(struct ruleset *base, struct rules *ret, struct error *err)
{
    struct nft_ruleset *r = (struct nft_ruleset *)base;
    struct found_chains found = {.ruleset = r};
    struct rules rules = {0};

    forget_chains(r);
    int e = nft_dump(&r->link, NFT_MSG_GETCHAIN, NULL, on_chain, &found, err);
    if (e < 0)
        return e;
    if (!found.form) {
        log_info("making the nftables table", "table", "%s", "ip " NFT_TABLE_NAME, "replaces", "%s",
            found.table ? "an older form" : "nothing", NULL);
        return make_skeleton(r, err);
    }
    for (int map = 0; map < MAP_COUNT; map++) {
        struct found_elements elements = {.map = (enum rule_map)map, .rules = &rules};
        e = nft_dump(&r->link, NFT_MSG_GETSETELEM, nft_map_name((enum rule_map)map), on_elements,
            &elements, err);
        if (e == 0 && !elements.strange)
            continue;
        rules_done(&rules);
        if (e == 0)
            log_warning(
                "the nftables table holds an element of unknown form, making it anew", NULL);
        return e < 0 ? e : make_skeleton(r, err);
    }
    *ret = rules;
    return 0;
}

static void need_chain(struct nft_ruleset *r, struct nft_batch *b, const struct rule_chain *chain)
{
    char name[NFT_CHAIN_NAME_BYTES];

    nft_chain_name(chain, name);
    if (note_chain(r, name))
        nft_chain_build(b, chain);
}

static int nft_apply(struct ruleset *base, const struct rule_changes *changes, struct error *err)
{
    struct nft_ruleset *r = (struct nft_ruleset *)base;
    struct nft_batch b;

    nft_batch_init(&b);
    for (size_t i = 0; i < changes->count; i++) {
        const struct rule_change *c = &changes->items[i];
        if (c->kind != CHANGE_REMOVE && c->rule.value.verdict == VERDICT_CHAIN)
            need_chain(r, &b, &c->rule.value.chain);
    }
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].kind != CHANGE_ADD)
            nft_batch_element(&b, false, &changes->items[i].rule);
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].kind != CHANGE_REMOVE)
            nft_batch_element(&b, true, &changes->items[i].rule);
    int e = nft_batch_commit(&b, &r->link, err);
    nft_batch_done(&b);
    return e;
}

static bool nft_intact(struct ruleset *base)
{
    struct nft_ruleset *r = (struct nft_ruleset *)base;
    struct found_chains found = {.ruleset = r};
    struct error err;

    return nft_dump(&r->link, NFT_MSG_GETCHAIN, NULL, on_chain, &found, &err) < 0 || found.form;
}

static int nft_forget_udp(struct ruleset *base, udp_stale_fn *stale, void *arg, struct error *err)
{
    struct nft_ruleset *r = (struct nft_ruleset *)base;

    return conntrack_forget_udp(&r->flows, stale, arg, err);
}

static int nft_remove(struct ruleset *base, struct error *err)
{
    forget_chains((struct nft_ruleset *)base);
    return run_text("add table ip skiff\ndelete table ip skiff\n", err);
}

static void nft_free(struct ruleset *base)
{
    struct nft_ruleset *r = (struct nft_ruleset *)base;

    forget_chains(r);
    nft_link_close(&r->link);
    nft_link_close(&r->flows);
    free(r->cluster_cidr);
    free(r->nodeport_match);
    free(r);
}

static const struct ruleset_ops nft_ops = {
    .load = nft_load,
    .apply = nft_apply,
    .intact = nft_intact,
    .forget_udp = nft_forget_udp,
    .remove = nft_remove,
    .free = nft_free,
};

/* Text that goes into the skeleton holds nothing but addresses. */
static bool is_cidr_list(const char *text)
{
    return strspn(text, "0123456789./,") == strlen(text);
}

int ruleset_new_nftables(
    const struct ruleset_config *config, struct ruleset **ret, struct error *err)
{
    const char *cidr = config->cluster_cidr ? config->cluster_cidr : "";
    const char *nodeports = config->nodeport_addresses ? config->nodeport_addresses : "";

    if (!cidr[0] || !is_cidr_list(cidr) || strchr(cidr, ','))
        return error_set(err, ERR_USAGE,
            "--cluster-cidr takes one IPv4 range such as 10.244.0.0/16, not \"%s\"", cidr);
    if (!is_cidr_list(nodeports))
        return error_set(err, ERR_USAGE,
            "--nodeport-addresses takes IPv4 ranges joined by commas, not \"%s\"", nodeports);
    struct nft_ruleset *r = xcalloc(1, sizeof(*r));
    r->base.ops = &nft_ops;
    r->cluster_cidr = xstrdup(cidr);
    r->nodeport_match = nodeports[0] ? str_format("ip daddr { %s }", nodeports) : xstrdup("");
    autofree char *parameters = str_format("%s %s", cidr, nodeports);
    snprintf(
        r->form, sizeof(r->form), "form_%d_%08x", FORM, hash_bytes(parameters, strlen(parameters)));
    *ret = &r->base;
    return 0;
}
