/* Names to records, after the DNS specification 1.1.0: a table of questions and their answers as
 * text. */
#include <CUnit/CUnit.h>

#include <arpa/inet.h>

#include "tests/unit/dns/memory_source.h"

static const char cluster[] =
    "{\"services\":["
    "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"10.96.0."
    "9\","
    " \"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\"},{\"port\":99}]}},"
    "{\"metadata\":{\"name\":\"dual\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"10.96.0."
    "8\","
    " \"clusterIPs\":[\"10.96.0.8\",\"fd00::8\"]}},"
    "{\"metadata\":{\"name\":\"db\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"None\"}},"
    "{\"metadata\":{\"name\":\"early\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"None\","
    " \"publishNotReadyAddresses\":true}},"
    "{\"metadata\":{\"name\":\"empty\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"None\"}"
    "},"
    "{\"metadata\":{\"name\":\"alias\",\"namespace\":\"default\"},\"spec\":{\"type\":"
    "\"ExternalName\","
    " \"externalName\":\"web.default.svc.cluster.local\"}},"
    "{\"metadata\":{\"name\":\"dead\",\"namespace\":\"default\"},\"spec\":{\"type\":"
    "\"ExternalName\","
    " \"externalName\":\"none.default.svc.cluster.local\"}},"
    "{\"metadata\":{\"name\":\"ring\",\"namespace\":\"default\"},\"spec\":{\"type\":"
    "\"ExternalName\","
    " \"externalName\":\"ring.default.svc.cluster.local\"}},"
    "{\"metadata\":{\"name\":\"out\",\"namespace\":\"default\"},\"spec\":{\"type\":"
    "\"ExternalName\","
    " \"externalName\":\"www.example.org\"}}],"
    "\"slices\":["
    "{\"metadata\":{\"name\":\"db-1\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/"
    "service-name\":\"db\"}},"
    " \"ports\":[{\"name\":\"sql\",\"port\":5432,\"protocol\":\"TCP\"}],\"endpoints\":["
    "  {\"addresses\":[\"10.1.0.1\"],\"hostname\":\"db-0\"},{\"addresses\":[\"10.1.0.2\"]},"
    "  {\"addresses\":[\"10.1.0.3\"],\"hostname\":\"db-2\",\"conditions\":{\"ready\":false}}]},"
    "{\"metadata\":{\"name\":\"e-1\",\"namespace\":\"default\",\"labels\":{\"kubernetes.io/"
    "service-name\":\"early\"}},"
    " \"ports\":[],\"endpoints\":[{\"addresses\":[\"10.1.0.4\"],\"conditions\":{\"ready\":false}}]}"
    "]}";

#define SOA "| SOA"
#define L ".default.svc.cluster.local"

static const struct {
    const char *name;
    uint16_t type;
    const char
        *answer; /* rcode, records "TYPE data" in order of type and data; "| SOA": authority */
} cases[] = {
    {"web" L, DNS_A, "0 A 10.96.0.9"},
    {"WEB.Default.SVC.Cluster.Local", DNS_A, "0 A 10.96.0.9"},
    {"web" L, DNS_AAAA, "0 " SOA},
    {"web" L, DNS_TXT, "0 " SOA},
    {"web" L, DNS_SRV, "0 SRV 80 web" L ". + A 10.96.0.9"},
    {"_http._tcp.web" L, DNS_SRV, "0 SRV 80 web" L ". + A 10.96.0.9"},
    {"_HTTP._TCP.web" L, DNS_SRV, "0 SRV 80 web" L ". + A 10.96.0.9"},
    {"_http._tcp.web" L, DNS_A, "0 " SOA},
    {"_tcp.web" L, DNS_A, "0 " SOA},
    {"_http._udp.web" L, DNS_SRV, "3 " SOA},
    {"_no._tcp.web" L, DNS_SRV, "3 " SOA},
    {"x.web" L, DNS_A, "3 " SOA},
    {"none" L, DNS_A, "3 " SOA},
    {"dual" L, DNS_AAAA, "0 AAAA fd00::8"},
    {"dual" L, DNS_A, "0 A 10.96.0.8"},
    {"db" L, DNS_A, "0 A 10.1.0.1 A 10.1.0.2"},
    {"db" L, DNS_AAAA, "0 " SOA},
    {"db-0.db" L, DNS_A, "0 A 10.1.0.1"},
    {"10-1-0-2.db" L, DNS_A, "0 A 10.1.0.2"},
    {"db-2.db" L, DNS_A, "3 " SOA},
    {"_sql._tcp.db" L, DNS_SRV,
        "0 SRV 5432 10-1-0-2.db" L ". SRV 5432 db-0.db" L ". + A 10.1.0.1 + A 10.1.0.2"},
    {"early" L, DNS_A, "0 A 10.1.0.4"},
    {"empty" L, DNS_A, "0 " SOA},
    {"alias" L, DNS_A, "0 A 10.96.0.9 CNAME web" L "."},
    {"alias" L, DNS_CNAME, "0 CNAME web" L "."},
    {"alias" L, DNS_AAAA, "0 CNAME web" L ". " SOA},
    {"dead" L, DNS_A, "3 CNAME none" L ". " SOA},
    {"out" L, DNS_A, "chase www.example.org."},
    {"x.out" L, DNS_A, "3 " SOA},
    {"10-1-2-3.default.pod.cluster.local", DNS_A, "0 A 10.1.2.3"},
    {"fd00--1.default.pod.cluster.local", DNS_AAAA, "0 AAAA fd00::1"},
    {"10-1-2-3.default.pod.cluster.local", DNS_AAAA, "0 " SOA},
    {"10-1-2.default.pod.cluster.local", DNS_A, "3 " SOA},
    {"default.svc.cluster.local", DNS_A, "0 " SOA},
    {"nowhere.svc.cluster.local", DNS_A, "3 " SOA},
    {"svc.cluster.local", DNS_A, "0 " SOA},
    {"pod.cluster.local", DNS_A, "0 " SOA},
    {"cluster.local", DNS_SOA, "0 SOA"},
    {"cluster.local", DNS_NS, "0 NS ns.dns.cluster.local."},
    {"ns.dns.cluster.local", DNS_A, "0 A 192.0.2.1"},
    {"dns-version.cluster.local", DNS_TXT, "0 TXT 1.1.0"},
    {"bogus.cluster.local", DNS_A, "3 " SOA},
    {"a.b.c.d.e" L, DNS_A, "3 " SOA},
    {"9.0.96.10.in-addr.arpa", DNS_PTR, "0 PTR web" L "."},
    {"1.0.1.10.in-addr.arpa", DNS_PTR, "0 PTR db-0.db" L "."},
    {"2.0.1.10.in-addr.arpa", DNS_PTR, "foreign"},
    {"8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", DNS_PTR,
        "0 PTR dual" L "."},
    {"www.example.org", DNS_A, "foreign"},
    {"local", DNS_A, "foreign"},
};

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *record_text(struct str message, const struct dns_record *r, const char *prefix)
{
    autostrbuf struct strbuf name;
    struct dns_name target;
    size_t pos = r->data_at + (r->type == DNS_SRV ? 6 : 0);
    char ip[64];

    strbuf_init(&name, 0);
    if ((r->type == DNS_SRV || r->type == DNS_CNAME || r->type == DNS_PTR || r->type == DNS_NS) &&
        dns_name_parse(message, &pos, &target) == 0)
        dns_name_print(&target, &name);
    switch (r->type) {
    case DNS_A:
        return str_format("%sA %s", prefix, inet_ntop(AF_INET, r->data.p, ip, sizeof(ip)));
    case DNS_AAAA:
        return str_format("%sAAAA %s", prefix, inet_ntop(AF_INET6, r->data.p, ip, sizeof(ip)));
    case DNS_SRV:
        return str_format(
            "%sSRV %u %s", prefix, (uint8_t)r->data.p[4] * 256u + (uint8_t)r->data.p[5], name.data);
    case DNS_TXT:
        return str_format("%sTXT %.*s", prefix, (int)r->data.n - 1, r->data.p + 1);
    case DNS_SOA:
        return str_format("%sSOA", prefix);
    case DNS_CNAME:
        return str_format("%sCNAME %s", prefix, name.data);
    case DNS_PTR:
        return str_format("%sPTR %s", prefix, name.data);
    case DNS_NS:
        return str_format("%sNS %s", prefix, name.data);
    default:
        return str_format("%stype %u", prefix, r->type);
    }
}

static char *answer_text(struct str message)
{
    static const char *const prefixes[] = {"", "| ", "+ "};
    struct dns_answer a;
    struct dns_record r;
    struct strbuf out;

    strbuf_init(&out, 0);
    CU_ASSERT_EQUAL_FATAL(dns_answer_parse(message, &a), 0);
    CU_ASSERT(a.flags & DNS_AA || a.counts[0]);
    strbuf_addf(&out, "%u", a.flags & 15);
    size_t pos = a.records_at;
    for (size_t section = 0; section < DNS_SECTIONS; section++) {
        char *lines[16];
        size_t n = 0;
        for (unsigned i = 0; i < a.counts[section] && n < 16; i++) {
            CU_ASSERT_EQUAL_FATAL(dns_record_parse(message, &pos, &r), 0);
            lines[n++] = record_text(message, &r, prefixes[section]);
        }
        qsort(lines, n, sizeof(char *), compare);
        for (size_t i = 0; i < n; i++) {
            strbuf_addf(&out, " %s", lines[i]);
            free(lines[i]);
        }
    }
    return strbuf_steal(&out);
}

static void ask(
    const struct zone *zone, const char *name, uint16_t type, uint64_t random, const char *expected)
{
    struct dns_query q = {.type = type, .class_ = DNS_IN, .udp_bytes = 1232};
    struct dns_writer w;
    struct dns_name target;
    autostrbuf struct strbuf out, text;
    char *got;

    strbuf_init(&out, 0);
    strbuf_init(&text, 0);
    CU_ASSERT_FATAL(dns_name_of(name, &q.name));
    dns_writer_begin(&w, &out, 1232, &q, DNS_RA, DNS_NOERROR);
    switch (zone_answer(zone, &q, random, &w, &target)) {
    case ZONE_DONE:
        dns_writer_end(&w);
        got = answer_text(strbuf_str(&out));
        break;
    case ZONE_CHASE:
        dns_name_print(&target, &text);
        got = str_format("chase %s", text.data);
        break;
    default:
        got = xstrdup("foreign");
    }
    if (!c_eq(got, expected))
        printf("%s %u:\n  got  %s\n  want %s\n", name, type, got, expected);
    CU_ASSERT_STRING_EQUAL(got, expected);
    free(got);
}

static void table(void)
{
    autojson cJSON *tree = json_make("%s", cluster);
    struct memory_source source;
    struct zone zone = {.address = {192, 0, 2, 1}};

    memory_source_init(&source, tree);
    zone.source = memory_source_zone(&source);
    dns_name_of("cluster.local", &zone.name);
    for (uint64_t random = 0; random < 3; random++)
        for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
            ask(&zone, cases[i].name, cases[i].type, random, cases[i].answer);
    /* a ring of CNAMEs ends */
    struct dns_query q = {.type = DNS_A, .class_ = DNS_IN, .udp_bytes = 1232};
    struct dns_writer w;
    struct dns_name target;
    autostrbuf struct strbuf out;
    strbuf_init(&out, 0);
    dns_name_of("ring" L, &q.name);
    dns_writer_begin(&w, &out, 1232, &q, 0, DNS_NOERROR);
    CU_ASSERT_EQUAL(zone_answer(&zone, &q, 0, &w, &target), ZONE_DONE);
    dns_writer_end(&w);
    CU_ASSERT(out.n < 512);
    memory_source_done(&source);
}

const CU_TestInfo zone_tests[] = {
    {"table of questions", table},
    CU_TEST_INFO_NULL,
};
