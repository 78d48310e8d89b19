/* Arithmetic of IPv4 prefixes for the node-ipam controller. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct cidr {
    uint32_t base; /* host byte order, host bits zero */
    int bits;
};

int cidr_parse(const char *text, struct cidr *ret, struct error *err);
void cidr_print(const struct cidr *c, char *buf, size_t bytes);
/* The first part of `node_bits` that overlaps none of `taken`; false when all are. */
bool cidr_allocate(const struct cidr *cluster, int node_bits, const struct cidr *taken,
    size_t count, struct cidr *ret);
