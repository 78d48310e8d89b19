/* DNS messages: malformed input, compression, truncation, EDNS. */
#include <CUnit/CUnit.h>

#include "dns/message.h"

static struct strbuf make_query(const char *name, uint16_t type, bool edns)
{
    struct dns_query q = {
        .flags = DNS_RD, .type = type, .class_ = DNS_IN, .edns = edns, .udp_bytes = 1232};
    struct strbuf out;

    strbuf_init(&out, 0);
    CU_ASSERT_FATAL(dns_name_of(name, &q.name));
    dns_query_print(&q, 0x1234, &out);
    return out;
}

static void round_trip(void)
{
    struct strbuf m = make_query("Web.Default.svc.cluster.local", DNS_A, true);
    struct dns_query q;
    autostrbuf struct strbuf text;

    CU_ASSERT_EQUAL(dns_query_parse(strbuf_str(&m), &q), 0);
    CU_ASSERT_EQUAL(q.id, 0x1234);
    CU_ASSERT_EQUAL(q.type, DNS_A);
    CU_ASSERT(q.edns);
    CU_ASSERT_EQUAL(q.udp_bytes, 1232);
    strbuf_init(&text, 0);
    dns_name_print(&q.name, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "Web.Default.svc.cluster.local.");
    strbuf_done(&m);
}

static void every_cut_is_refused(void)
{
    struct strbuf m = make_query("web.default", DNS_A, true);
    struct dns_query q;

    for (size_t n = 0; n < m.n; n++) {
        char *copy = xmalloc(n + 1);
        memcpy(copy, m.data, n);
        CU_ASSERT_NOT_EQUAL(dns_query_parse(str_range(copy, n), &q), 0);
        free(copy);
    }
    strbuf_done(&m);
}

static void bad_queries(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        int result;
    } cases[] = {
#define CASE(literal, result) {literal, sizeof(literal) - 1, result}
        CASE("\0\1\x80\0\0\1\0\0\0\0\0\0\0\0\1\0\1", -1),                  /* a response */
        CASE("\0\1\x10\0\0\1\0\0\0\0\0\0\0\0\1\0\1", DNS_NOTIMP),          /* opcode 2 */
        CASE("\0\1\0\0\0\2\0\0\0\0\0\0\0\0\1\0\1\0\0\1\0\1", DNS_FORMERR), /* two questions */
        CASE("\0\1\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", DNS_FORMERR),     /* points to itself */
        CASE("\0\1\0\0\0\1\0\0\0\0\0\0\x41"
             "aaaa\0\0\1\0\1",
            DNS_FORMERR), /* label type 01 */
        CASE("\0\1\0\0\0\1\0\0\0\0\0\1\0\0\1\0\1\0\0\x29\x10\0\0\1\0\0\0\0", DNS_BADVERS),
        CASE("\0\1\0\0\0\1\0\0\0\0\0\2\0\0\1\0\1\0\0\x29\x10\0\0\0\0\0\0\0\0\0\x29\x10\0\0\0\0\0\0"
             "\0",
            DNS_FORMERR), /* two OPTs */
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct dns_query q;
        CU_ASSERT_EQUAL(
            dns_query_parse(str_range(cases[i].bytes, cases[i].n), &q), cases[i].result);
    }
}

static void names(void)
{
    struct dns_name a, b;
    char label[65];
    size_t labels;

    memset(label, 'a', 64);
    label[64] = '\0';
    CU_ASSERT(!dns_name_of(label, &a));
    label[63] = '\0';
    CU_ASSERT(dns_name_of(label, &a));
    CU_ASSERT(!dns_name_of("", &a));
    CU_ASSERT(!dns_name_of("a..b", &a));
    autofree char *longest = str_format("%s.%s.%s.%.61s", label, label, label, label);
    CU_ASSERT(dns_name_of(longest, &a));
    CU_ASSERT_EQUAL(a.n, 255);
    autofree char *too_long = str_format("%s.%s.%s.%.62s", label, label, label, label);
    CU_ASSERT(!dns_name_of(too_long, &a));
    dns_name_of("WWW.Cluster.Local", &a);
    dns_name_of("cluster.local.", &b);
    CU_ASSERT(dns_name_below(&a, &b, &labels));
    CU_ASSERT_EQUAL(labels, 1);
    CU_ASSERT(!dns_name_below(&b, &a, &labels));
    dns_name_of("xcluster.local", &a);
    CU_ASSERT(!dns_name_below(&a, &b, &labels));
}

static void truncation_keeps_whole_records(void)
{
    struct strbuf m = make_query("a.example", DNS_A, true), out;
    struct dns_query q;
    struct dns_writer w;
    struct dns_answer a;
    struct dns_record r;

    dns_query_parse(strbuf_str(&m), &q);
    for (size_t limit = 60; limit < 300; limit++) {
        strbuf_init(&out, 0);
        dns_writer_begin(&w, &out, limit, &q, DNS_AA, DNS_NOERROR);
        for (uint8_t i = 0; i < 10; i++)
            dns_put_a(&w, &q.name, 5, (uint8_t[]){10, 0, 0, i});
        dns_writer_end(&w);
        CU_ASSERT_FATAL(out.n <= limit);
        CU_ASSERT_EQUAL_FATAL(dns_answer_parse(strbuf_str(&out), &a), 0);
        CU_ASSERT_EQUAL(!!(a.flags & DNS_TC), a.counts[0] < 10);
        size_t pos = a.records_at;
        for (unsigned i = 0; i < a.counts[0] + 1u; i++)
            CU_ASSERT_EQUAL_FATAL(dns_record_parse(strbuf_str(&out), &pos, &r), 0);
        CU_ASSERT_EQUAL(r.type, DNS_OPT);
        CU_ASSERT_EQUAL(pos, out.n);
        strbuf_done(&out);
    }
    strbuf_done(&m);
}

static void compression(void)
{
    struct strbuf m = make_query("web.default.svc.cluster.local", DNS_CNAME, false), out;
    struct dns_query q;
    struct dns_writer w;
    struct dns_answer a;
    struct dns_record r;
    struct dns_name target, back;

    dns_query_parse(strbuf_str(&m), &q);
    dns_name_of("db.default.svc.cluster.local", &target);
    strbuf_init(&out, 0);
    dns_writer_begin(&w, &out, 512, &q, 0, DNS_NOERROR);
    dns_put_name(&w, &q.name, DNS_CNAME, 5, &target);
    dns_put_a(&w, &target, 5, (uint8_t[]){10, 0, 0, 1});
    dns_writer_end(&w);
    CU_ASSERT_EQUAL(out.n, 12 + 35 + 2 + 10 + 5 + 2 + 10 + 4);
    dns_answer_parse(strbuf_str(&out), &a);
    size_t pos = a.records_at;
    CU_ASSERT_EQUAL(dns_record_parse(strbuf_str(&out), &pos, &r), 0);
    size_t at = r.data_at;
    CU_ASSERT_EQUAL(dns_name_parse(strbuf_str(&out), &at, &back), 0);
    CU_ASSERT(dns_name_equal(&back, &target));
    CU_ASSERT_EQUAL(dns_record_parse(strbuf_str(&out), &pos, &r), 0);
    CU_ASSERT(dns_name_equal(&r.owner, &target));
    strbuf_done(&out);
    strbuf_done(&m);
}

const CU_TestInfo message_tests[] = {
    {"a query goes both ways", round_trip},
    {"every cut of a query is refused", every_cut_is_refused},
    {"bad queries", bad_queries},
    {"names", names},
    {"truncation keeps whole records", truncation_keeps_whole_records},
    {"compression", compression},
    CU_TEST_INFO_NULL,
};
