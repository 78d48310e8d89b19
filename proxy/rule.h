/*
 * Rule: one element of one of the table's maps and sets, as plain numbers.
 *
 *     services      (address, protocol, port) -> chain           cluster and external IPs
 *     nodeports     (protocol, port) -> chain                    on any local address
 *     endpoints     (address, protocol, port, i) -> endpoint     i in 0..n-1; address 0: node port
 *     members       (address, protocol, port, endpoint)          services with session affinity
 *     hairpin       (endpoint address)                           a pod that reaches itself
 *     cluster_ips   (address)                                    refused where not translated
 *     no_endpoints  (address, protocol, port) -> refuse or drop
 *     no_endpoints_nodeports  (protocol, port) -> refuse or drop
 *
 * A chain is shared by all services with the same number of endpoints and the same kind of entrance
 * (struct rule_chain), so that their number does not grow with the services.
 *
 * Addresses and ports are in host byte order. Keys are compared and hashed as bytes: make them with
 * designated initialisers so that padding is zero.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rule_map {
    MAP_SERVICES,
    MAP_NODEPORTS,
    MAP_ENDPOINTS,
    MAP_MEMBERS,
    MAP_HAIRPIN,
    MAP_CLUSTER_IPS,
    MAP_NO_ENDPOINTS,
    MAP_NO_ENDPOINTS_NODEPORTS,
    MAP_COUNT,
};

struct rule_key {
    uint32_t addr, index, peer;
    uint16_t port, peer_port;
    uint8_t map; /* enum rule_map */
    uint8_t protocol;
    uint16_t zero;
};

enum rule_verdict { VERDICT_NONE, VERDICT_CHAIN, VERDICT_ENDPOINT, VERDICT_REFUSE, VERDICT_DROP };

/* Where traffic comes in, which decides whether its source is masqueraded and which address names
 * it. */
enum chain_kind {
    CHAIN_CLUSTER_IP,     /* masquerade sources outside of the cluster */
    CHAIN_EXTERNAL,       /* external IP: always masquerade */
    CHAIN_EXTERNAL_LOCAL, /* external IP, externalTrafficPolicy Local: keep the source */
    CHAIN_NODEPORT,       /* always masquerade */
    CHAIN_NODEPORT_LOCAL, /* keep the source */
    CHAIN_KINDS,
};

struct rule_chain {
    uint32_t endpoints;        /* how many, at least 1 */
    uint32_t affinity_seconds; /* 0: none */
    uint8_t kind;              /* enum chain_kind */
    uint8_t zero[3];
};

struct rule_value {
    uint32_t addr; /* VERDICT_ENDPOINT */
    uint16_t port;
    uint8_t verdict; /* enum rule_verdict */
    uint8_t zero;
    struct rule_chain chain; /* VERDICT_CHAIN */
};

struct rule {
    struct rule_key key;
    struct rule_value value;
};

/* A growing array of rules. */
struct rules {
    struct rule *items;
    size_t count, capacity;
};

enum change_kind { CHANGE_ADD, CHANGE_REPLACE, CHANGE_REMOVE };

struct rule_change {
    enum change_kind kind;
    struct rule rule; /* for CHANGE_REMOVE with the value that was there */
};

struct rule_changes {
    struct rule_change *items;
    size_t count, capacity;
};

void rules_add(struct rules *rules, const struct rule *rule);
void rules_done(struct rules *rules);
void rule_changes_add(struct rule_changes *changes, enum change_kind kind, const struct rule *rule);
void rule_changes_done(struct rule_changes *changes);
