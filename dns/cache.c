/*
 * Cache of answers. See cache.h. The hash keeps its entries in the order of insertion: the first is
 * the oldest.
 */
#include "dns/cache.h"

#include "common/hash.h"
#include "common/time.h"

#define POSITIVE_SECONDS_MAX 30
#define NEGATIVE_SECONDS_MAX 5

struct entry {
    int64_t stored_ns, until_ns;
    size_t key_bytes, answer_bytes;
    uint8_t *answer; /* behind the key, in the same allocation */
    UT_hash_handle hh;
    uint8_t key[];
};

struct cache {
    struct entry *entries;
    size_t bytes;
};

struct cache *answer_cache_new(void)
{
    return xcalloc(1, sizeof(struct cache));
}

static void drop(struct cache *c, struct entry *e)
{
    HASH_DEL(c->entries, e);
    c->bytes -= e->key_bytes + e->answer_bytes;
    free(e);
}

void answer_cache_free(struct cache *c)
{
    if (!c)
        return;
    while (c->entries)
        drop(c, c->entries);
    free(c);
}

size_t query_key(const struct dns_query *query, uint8_t *buf)
{
    size_t n = query->name.n;

    for (size_t i = 0; i < n; i++) {
        uint8_t b = query->name.data[i];
        buf[i] = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 32) : b;
    }
    buf[n++] = (uint8_t)(query->type >> 8);
    buf[n++] = (uint8_t)query->type;
    buf[n++] = (uint8_t)(query->class_ >> 8);
    buf[n++] = (uint8_t)query->class_;
    buf[n++] = (uint8_t)(query->flags >> 8);
    buf[n++] = (uint8_t)query->flags;
    buf[n++] = (uint8_t)(query->edns | query->dnssec_ok << 1);
    return n;
}

static struct entry *find(struct cache *c, const struct dns_query *query)
{
    uint8_t key[QUERY_KEY_BYTES];
    size_t n = query_key(query, key);
    struct entry *e;

    HASH_FIND(hh, c->entries, key, n, e);
    return e;
}

/* The SOA's last number: how long its "nothing" may be kept. */
static uint32_t soa_minimum(struct str data)
{
    const uint8_t *p = (const uint8_t *)data.p + data.n - 4;

    return data.n < 20 ? 0
                       : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Seconds the answer may be kept; 0: not at all. */
static uint32_t lifetime(struct str message)
{
    struct dns_answer a;
    struct dns_record r;
    uint32_t smallest = UINT32_MAX, negative = 0;

    if (dns_answer_parse(message, &a) < 0 || a.flags & DNS_TC)
        return 0;
    int rcode = a.flags & 15;
    if (rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN)
        return 0;
    size_t pos = a.records_at, total = (size_t)a.counts[0] + a.counts[1] + a.counts[2];
    for (size_t i = 0; i < total; i++) {
        if (dns_record_parse(message, &pos, &r) < 0)
            return 0;
        if (r.type == DNS_OPT)
            continue;
        if (r.type == DNS_SOA)
            negative = soa_minimum(r.data);
        smallest = r.ttl < smallest ? r.ttl : smallest;
    }
    if (smallest == UINT32_MAX)
        return 0;
    if (a.counts[DNS_ANSWER] && rcode == DNS_NOERROR)
        return smallest < POSITIVE_SECONDS_MAX ? smallest : POSITIVE_SECONDS_MAX;
    negative = negative < smallest ? negative : smallest;
    return negative < NEGATIVE_SECONDS_MAX ? negative : NEGATIVE_SECONDS_MAX;
}

void answer_cache_put(
    struct cache *c, const struct dns_query *query, struct str answer, int64_t now_ns)
{
    uint8_t key[QUERY_KEY_BYTES];
    uint32_t seconds = lifetime(answer);
    struct entry *e = find(c, query);

    if (e)
        drop(c, e);
    if (!seconds || answer.n > CACHE_BYTES / 8)
        return;
    size_t n = query_key(query, key);
    while (c->entries &&
           (HASH_COUNT(c->entries) >= CACHE_ENTRIES || c->bytes + n + answer.n > CACHE_BYTES))
        drop(c, c->entries);
    e = xmalloc(sizeof(*e) + n + answer.n);
    *e = (struct entry){.stored_ns = now_ns,
        .until_ns = now_ns + seconds * NS_PER_S,
        .key_bytes = n,
        .answer_bytes = answer.n};
    e->answer = e->key + n;
    memcpy(e->key, key, n);
    memcpy(e->answer, answer.p, answer.n);
    c->bytes += n + answer.n;
    HASH_ADD_KEYPTR(hh, c->entries, e->key, n, e);
}

/* Lowers every TTL of the message at out->data + start. */
static void age(struct strbuf *out, size_t start, uint32_t seconds)
{
    struct str message = str_range(out->data + start, out->n - start);
    struct dns_answer a;
    struct dns_record r;

    if (dns_answer_parse(message, &a) < 0)
        return;
    size_t pos = a.records_at, total = (size_t)a.counts[0] + a.counts[1] + a.counts[2];
    for (size_t i = 0; i < total && dns_record_parse(message, &pos, &r) == 0; i++) {
        if (r.type == DNS_OPT)
            continue;
        uint32_t ttl = r.ttl > seconds ? r.ttl - seconds : 0;
        for (size_t b = 0; b < 4; b++)
            out->data[start + r.ttl_at + b] = (char)(ttl >> (24 - 8 * b));
    }
}

bool answer_cache_get(
    struct cache *c, const struct dns_query *query, int64_t now_ns, struct strbuf *out)
{
    struct entry *e = find(c, query);
    size_t start = out->n;

    if (!e)
        return false;
    if (e->until_ns <= now_ns) {
        drop(c, e);
        return false;
    }
    strbuf_add(out, str_range((const char *)e->answer, e->answer_bytes));
    age(out, start, (uint32_t)((now_ns - e->stored_ns) / NS_PER_S));
    return true;
}

size_t cache_count(const struct cache *c)
{
    return HASH_COUNT(c->entries);
}
