/*
 * nftables batch: element and chain changes as netlink messages, sent as one transaction.
 *
 *     nft_batch_init(&b);
 *     nft_batch_chain(&b, "c3");                 // make sure it exists
 *     nft_batch_element(&b, true, &rule);        // elements are packed, many a message
 *     nft_batch_commit(&b, &link, &err);         // all or nothing
 *     nft_batch_done(&b);
 *
 * A struct nft_link is the netlink socket, kept open (closing one waits some milliseconds for the
 * kernel's clean-up) but closed after an error, when it may still hold answers of the failed batch.
 *
 * Threads: none of its own.
 */
#pragma once

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>

#include "common/error.h"
#include "proxy/rule.h"

#define NFT_TABLE_NAME "skiff"
#define NFT_CHAIN_NAME_BYTES 32

struct nft_link {
    struct mnl_socket *nl; /* NULL: opened when needed */
};
/* Opens it unless it is open, with room to send so many bytes at once. */
int nft_link_open(struct nft_link *link, size_t send_bytes, struct error *err);
void nft_link_close(struct nft_link *link);

struct nft_batch {
    char *data;
    size_t n, capacity;
    uint32_t seq;
    struct nftnl_set *pending; /* elements of one set not yet in a message */
    size_t pending_count;
    uint8_t pending_map;
    bool pending_add;
};

void nft_batch_init(struct nft_batch *b);
void nft_batch_done(struct nft_batch *b);
void nft_batch_new_chain(struct nft_batch *b, const char *name);
void nft_batch_add_rule(struct nft_batch *b, struct nftnl_rule *take_rule);
void nft_batch_element(struct nft_batch *b, bool add, const struct rule *rule);
int nft_batch_commit(struct nft_batch *b, struct nft_link *link, struct error *err);

const char *nft_map_name(enum rule_map map);
/* "c3", "p12_10800": see nft_chain.c. */
void nft_chain_name(const struct rule_chain *chain, char *buf);
bool nft_chain_parse(const char *name, struct rule_chain *ret);
/* Adds the chain and its rules to the batch. */
void nft_chain_build(struct nft_batch *b, const struct rule_chain *chain);

/* Element bytes: fields padded to 4 bytes, in network order but the index. Returns the length. */
uint32_t nft_key_bytes(const struct rule_key *key, uint8_t *buf);
bool nft_key_parse(enum rule_map map, const uint8_t *bytes, uint32_t n, struct rule_key *ret);
#define NFT_KEY_BYTES_MAX 20

/* Sends one request and calls fn for each message of the answer. */
int nft_dump(struct nft_link *link, uint16_t type, const char *set_name, mnl_cb_t fn, void *arg,
    struct error *err);
