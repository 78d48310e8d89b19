/* Services and EndpointSlices for the proxy's tests. */
#pragma once

#include "proxy/syncer.h"

/* spec: members of spec. */
struct service *test_service(const char *spec);
/* endpoints: JSON array; ports: name web 8080/TCP, dns 5353/UDP. */
struct endpoint_slice *test_slice(const char *endpoints);
/* The rules as sorted lines of text, for comparison. */
char *test_rules_text(const struct rules *rules);

/* A ruleset in memory: .rules is what is in effect. */
struct memory_ruleset {
    struct ruleset base;
    struct rule_table *table;
    bool fail_next, gone;
    size_t applied, loads;
    struct udp_flow flow; /* the one UDP flow there is */
    bool has_flow;
};
struct ruleset *memory_ruleset_new(void);
