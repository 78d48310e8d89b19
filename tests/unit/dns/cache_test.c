/* The cache: TTLs age, bounds hold, what must not be kept is not. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "dns/cache.h"

static struct dns_query query(const char *name)
{
    struct dns_query q = {.flags = DNS_RD, .type = DNS_A, .class_ = DNS_IN, .udp_bytes = 1232};

    dns_name_of(name, &q.name);
    return q;
}

static struct strbuf answer(const struct dns_query *q, uint32_t ttl, int rcode, unsigned flags)
{
    struct strbuf out;
    struct dns_writer w;

    strbuf_init(&out, 0);
    dns_writer_begin(&w, &out, 1232, q, flags, rcode);
    if (rcode == DNS_NOERROR)
        dns_put_a(&w, &q->name, ttl, (uint8_t[]){192, 0, 2, 1});
    dns_writer_section(&w, DNS_AUTHORITY);
    if (rcode == DNS_NXDOMAIN)
        dns_put_soa(&w, &q->name, ttl, &q->name, &q->name, 1);
    dns_writer_end(&w);
    return out;
}

static uint32_t cached_ttl(struct cache *c, const struct dns_query *q, int64_t now_ns)
{
    autostrbuf struct strbuf out;
    struct dns_answer a;
    struct dns_record r;

    strbuf_init(&out, 0);
    if (!answer_cache_get(c, q, now_ns, &out))
        return UINT32_MAX;
    dns_answer_parse(strbuf_str(&out), &a);
    size_t pos = a.records_at;
    dns_record_parse(strbuf_str(&out), &pos, &r);
    return r.ttl;
}

static void ages(void)
{
    struct cache *c = answer_cache_new();
    struct dns_query q = query("www.example.org"), upper = query("WWW.example.ORG");
    struct strbuf a = answer(&q, 300, DNS_NOERROR, 0);

    answer_cache_put(c, &q, strbuf_str(&a), 0);
    CU_ASSERT_EQUAL(cached_ttl(c, &q, 0), 300);
    CU_ASSERT_EQUAL(cached_ttl(c, &upper, 10 * NS_PER_S), 290);
    CU_ASSERT_EQUAL(cached_ttl(c, &q, 31 * NS_PER_S), UINT32_MAX);
    CU_ASSERT_EQUAL(cache_count(c), 0);
    strbuf_done(&a);
    answer_cache_free(c);
}

static void not_kept(void)
{
    static const struct {
        uint32_t ttl;
        int rcode;
        unsigned flags;
        int64_t seconds;
    } cases[] = {
        {0, DNS_NOERROR, 0, 0},
        {60, DNS_SERVFAIL, 0, 0},
        {60, DNS_NOERROR, DNS_TC, 0},
        {60, DNS_NXDOMAIN, 0, 5},
        {2, DNS_NXDOMAIN, 0, 2},
        {7, DNS_NOERROR, 0, 7},
    };
    struct dns_query q = query("www.example.org");

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct cache *c = answer_cache_new();
        struct strbuf a = answer(&q, cases[i].ttl, cases[i].rcode, cases[i].flags);
        answer_cache_put(c, &q, strbuf_str(&a), 0);
        if (cases[i].seconds)
            CU_ASSERT_NOT_EQUAL(cached_ttl(c, &q, cases[i].seconds * NS_PER_S - 1), UINT32_MAX);
        CU_ASSERT_EQUAL(cached_ttl(c, &q, cases[i].seconds * NS_PER_S), UINT32_MAX);
        strbuf_done(&a);
        answer_cache_free(c);
    }
}

static void bounded(void)
{
    struct cache *c = answer_cache_new();

    for (int i = 0; i < 3 * CACHE_ENTRIES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%d.example.org", i);
        struct dns_query q = query(name);
        struct strbuf a = answer(&q, 60, DNS_NOERROR, 0);
        answer_cache_put(c, &q, strbuf_str(&a), 0);
        strbuf_done(&a);
    }
    CU_ASSERT_EQUAL(cache_count(c), CACHE_ENTRIES);
    struct dns_query first = query("n0.example.org"), last = query("n3071.example.org");
    CU_ASSERT_EQUAL(cached_ttl(c, &first, 0), UINT32_MAX);
    CU_ASSERT_EQUAL(cached_ttl(c, &last, 0), 60);
    answer_cache_free(c);
}

const CU_TestInfo cache_tests[] = {
    {"TTLs age", ages},
    {"what is not kept", not_kept},
    {"bounded", bounded},
    CU_TEST_INFO_NULL,
};
