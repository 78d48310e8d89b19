/*
 * The ranges that Services get their addresses from: --service-cluster-ip-range, one of IPv4 or
 * IPv6, or one of each; the first is the family of those who don't say. ServiceCIDR objects add
 * more ranges of these families; the flag's own appear as the object "kubernetes".
 *
 * An address is its range and its offset; offset 0 (the network) and IPv4's last (broadcast) are
 * never given away. Ranges of more than 2^32 addresses are used up to there.
 */
#pragma once

#include <arpa/inet.h>

#include "common/error.h"
#include "common/str.h"

#define IP_TEXT_BYTES INET6_ADDRSTRLEN

struct service_range {
    int family; /* AF_INET, AF_INET6 */
    unsigned char base[16];
    uint64_t count; /* usable: offsets 1 to count */
    char text[IP_TEXT_BYTES + 4];
};

struct service_ranges {
    struct service_range at[2];
    size_t count;
};

int service_range_parse(struct str text, struct service_range *ret, struct error *err);
int service_ranges_parse(const char *text, struct service_ranges *ret, struct error *err);
/* NULL: the cluster has none of this family. */
const struct service_range *service_range_of(const struct service_ranges *ranges, int family);
/* Text of the address at an offset. */
void service_range_print(const struct service_range *r, uint64_t offset, char text[IP_TEXT_BYTES]);
/* false: not inside, or never given away. */
bool service_range_has(const struct service_range *r, const char *ip);

int ip_family(const char *text);        /* 0: no address */
const char *ip_family_name(int family); /* "IPv4", "IPv6" */
