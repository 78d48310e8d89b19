/*
 * Cache of upstreams' answers: small, short-lived, bounded.
 *
 * An answer is kept for its smallest TTL, at most 30 s (5 s where it says that there is nothing);
 * TTLs in a copy taken out are lower by its age. At most CACHE_ENTRIES and CACHE_BYTES; the oldest
 * goes first. Truncated answers, failures and answers with TTL 0 are not kept.
 *
 * Threads: the DNS loop only.
 */
#pragma once

#include "dns/message.h"

#define CACHE_ENTRIES 1024
#define CACHE_BYTES (512u << 10)

struct cache;

struct cache *answer_cache_new(void);
void answer_cache_free(struct cache *c);
/* A copy of the answer with TTLs as of now, appended to out; false when there is none. */
bool answer_cache_get(
    struct cache *c, const struct dns_query *query, int64_t now_ns, struct strbuf *out);
void answer_cache_put(
    struct cache *c, const struct dns_query *query, struct str answer, int64_t now_ns);
size_t cache_count(const struct cache *c);

/* What tells two queries apart for an upstream: name (in lower case), type, class, flags, EDNS. */
#define QUERY_KEY_BYTES (DNS_NAME_BYTES + 8)
size_t query_key(const struct dns_query *query, uint8_t *buf);
