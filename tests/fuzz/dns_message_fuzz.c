/*
 * Bytes from the network, as the DNS server reads them: queries, and answers of upstreams. What
 * parses must print, and parse again to the same.
 */
/* links: skiff-dns-lib */
#include <assert.h>

#include "dns/cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answers(struct str message)
{
    struct dns_answer a;
    struct dns_record r;
    struct cache *cache = answer_cache_new();
    autostrbuf struct strbuf out;

    strbuf_init(&out, 0);
    if (dns_answer_parse(message, &a) == 0) {
        struct dns_query q = {.name = a.name, .type = a.type, .class_ = a.class_};
        size_t pos = a.records_at;
        for (unsigned i = 0; i < a.counts[0] && dns_record_parse(message, &pos, &r) == 0; i++)
            assert(pos <= message.n);
        answer_cache_put(cache, &q, message, 0);
        if (answer_cache_get(cache, &q, 1, &out))
            assert(out.n == message.n);
    }
    answer_cache_free(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str message = str_range((const char *)data, size);
    struct dns_query q, again;
    autostrbuf struct strbuf printed, answer;
    struct dns_writer w;

    strbuf_init(&printed, 0);
    strbuf_init(&answer, 0);
    if (dns_query_parse(message, &q) == 0) {
        dns_query_print(&q, q.id, &printed);
        assert(dns_query_parse(strbuf_str(&printed), &again) == 0);
        assert(dns_name_equal(&q.name, &again.name) && q.type == again.type);
        dns_writer_begin(&w, &answer, q.udp_bytes, &q, 0, DNS_NOERROR);
        dns_put_name(&w, &q.name, DNS_CNAME, 1, &q.name);
        dns_writer_end(&w);
        assert(answer.n <= q.udp_bytes);
    }
    answers(message);
    return 0;
}
