/*
 * DNS messages: parsing of untrusted bytes and writing of answers. See message.h.
 */
#include "dns/message.h"

#include <ctype.h>

#define HEADER_BYTES 12
#define POINTERS_MAX 32
#define OPT_BYTES 11

static uint16_t get16(struct str m, size_t at)
{
    return (uint16_t)((uint8_t)m.p[at] << 8 | (uint8_t)m.p[at + 1]);
}

static uint32_t get32(struct str m, size_t at)
{
    return (uint32_t)get16(m, at) << 16 | get16(m, at + 2);
}

int dns_name_parse(struct str message, size_t *pos, struct dns_name *ret)
{
    size_t at = *pos, behind = 0, used = 0;

    for (int pointers = 0;;) {
        if (at >= message.n)
            return -1;
        uint8_t n = (uint8_t)message.p[at];
        if ((n & 0xc0) == 0xc0) {
            if (at + 2 > message.n || ++pointers > POINTERS_MAX)
                return -1;
            size_t to = get16(message, at) & 0x3fffu;
            if (!behind)
                behind = at + 2;
            if (to >= at)
                return -1;
            at = to;
            continue;
        }
        if (n & 0xc0 || at + 1 + n > message.n || used + 1 + n > DNS_NAME_BYTES)
            return -1;
        memcpy(ret->data + used, message.p + at, 1u + n);
        used += 1u + n;
        at += 1u + n;
        if (!n)
            break;
    }
    ret->n = (uint16_t)used;
    *pos = behind ? behind : at;
    return 0;
}

bool dns_name_of(const char *text, struct dns_name *ret)
{
    struct str rest = str_of(text), label;
    size_t used = 0;

    if (rest.n && rest.p[rest.n - 1] == '.')
        rest.n--;
    if (!rest.n)
        return false;
    while (str_split(&rest, '.', &label)) {
        if (!label.n || label.n > 63 || used + label.n + 2 > DNS_NAME_BYTES)
            return false;
        ret->data[used++] = (uint8_t)label.n;
        memcpy(ret->data + used, label.p, label.n);
        used += label.n;
    }
    ret->data[used++] = 0;
    ret->n = (uint16_t)used;
    return true;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool equal_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (lower(a[i]) != lower(b[i])) /* a length byte is below 'A' */
            return false;
    return true;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
    return a->n == b->n && equal_bytes(a->data, b->data, a->n);
}

bool dns_name_below(const struct dns_name *name, const struct dns_name *zone, size_t *ret_labels)
{
    size_t at = 0, labels = 0;

    if (name->n < zone->n)
        return false;
    while (at < (size_t)(name->n - zone->n)) {
        at += 1u + name->data[at];
        labels++;
    }
    if (at != (size_t)(name->n - zone->n) || !equal_bytes(name->data + at, zone->data, zone->n))
        return false;
    *ret_labels = labels;
    return true;
}

size_t dns_name_labels(const struct dns_name *name, struct str labels[DNS_LABELS_MAX])
{
    size_t n = 0;

    for (size_t at = 0; name->data[at] && n < DNS_LABELS_MAX; at += 1u + name->data[at])
        labels[n++] = str_range((const char *)name->data + at + 1, name->data[at]);
    return n;
}

void dns_name_print(const struct dns_name *name, struct strbuf *out)
{
    struct str labels[DNS_LABELS_MAX];
    size_t n = dns_name_labels(name, labels);

    if (!n)
        strbuf_add_char(out, '.');
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < labels[i].n; k++) {
            unsigned char c = (unsigned char)labels[i].p[k];
            if (isalnum(c) || c == '-' || c == '_')
                strbuf_add_char(out, (char)c);
            else
                strbuf_addf(out, "\\%03u", c);
        }
        strbuf_add_char(out, '.');
    }
}

uint32_t dns_name_hash(const struct dns_name *name)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < name->n; i++)
        h = (h ^ lower(name->data[i])) * 16777619u;
    return h;
}

/* The additional section of a query: an OPT record, and nothing else that matters. */
static int parse_additional(struct str message, size_t pos, unsigned count, struct dns_query *ret)
{
    struct dns_record r;

    for (unsigned i = 0; i < count; i++) {
        if (dns_record_parse(message, &pos, &r) < 0)
            return DNS_FORMERR;
        if (r.type != DNS_OPT)
            continue;
        if (ret->edns || r.owner.n != 1)
            return DNS_FORMERR;
        ret->edns = true;
        ret->udp_bytes = r.class_ < 512 ? 512 : r.class_ > DNS_UDP_BYTES ? DNS_UDP_BYTES : r.class_;
        ret->dnssec_ok = r.ttl & 0x8000;
        if (r.ttl >> 16 & 0xff)
            return DNS_BADVERS;
    }
    return 0;
}

int dns_query_parse(struct str message, struct dns_query *ret)
{
    size_t pos = HEADER_BYTES;

    *ret = (struct dns_query){.udp_bytes = 512, .name = {.n = 1}};
    if (message.n < HEADER_BYTES || get16(message, 2) & DNS_QR)
        return -1;
    ret->id = get16(message, 0);
    ret->flags = get16(message, 2) & (DNS_RD | DNS_CD | DNS_AD);
    if (get16(message, 2) & 0x7800)
        return DNS_NOTIMP;
    if (get16(message, 4) != 1 || get16(message, 6) || get16(message, 8) || get16(message, 10) > 4)
        return DNS_FORMERR;
    if (dns_name_parse(message, &pos, &ret->name) < 0 || pos + 4 > message.n) {
        ret->name.n = 1;
        ret->name.data[0] = 0;
        return DNS_FORMERR;
    }
    ret->type = get16(message, pos);
    ret->class_ = get16(message, pos + 2);
    return parse_additional(message, pos + 4, get16(message, 10), ret);
}

static void put16(struct strbuf *out, unsigned value)
{
    strbuf_add_char(out, (char)(value >> 8));
    strbuf_add_char(out, (char)value);
}

static void put32(struct strbuf *out, uint32_t value)
{
    put16(out, value >> 16);
    put16(out, value & 0xffff);
}

static void put_bytes(struct strbuf *out, const void *p, size_t n)
{
    strbuf_add(out, str_range(p, n));
}

static void put_opt(
    struct strbuf *out, const struct dns_query *query, int rcode, unsigned udp_bytes)
{
    strbuf_add_char(out, 0);
    put16(out, DNS_OPT);
    put16(out, udp_bytes);
    put32(out, (uint32_t)(rcode >> 4) << 24 | (query->dnssec_ok ? 0x8000u : 0));
    put16(out, 0);
}

void dns_query_print(const struct dns_query *query, uint16_t id, struct strbuf *out)
{
    put16(out, id);
    put16(out, query->flags);
    put16(out, 1);
    put16(out, 0);
    put16(out, 0);
    put16(out, query->edns);
    put_bytes(out, query->name.data, query->name.n);
    put16(out, query->type);
    put16(out, query->class_);
    if (query->edns)
        put_opt(out, query, 0, query->udp_bytes);
}

void dns_writer_begin(struct dns_writer *w, struct strbuf *out, size_t limit,
    const struct dns_query *query, unsigned flags, int rcode)
{
    *w = (struct dns_writer){
        .out = out,
        .start = out->n,
        .limit = limit - (query->edns ? OPT_BYTES : 0),
        .query = query,
        .flags = (uint16_t)(flags | DNS_QR | (query->flags & (DNS_RD | DNS_CD))),
        .rcode = rcode,
    };
    put16(out, query->id);
    for (int i = 0; i < 5; i++)
        put16(out, 0);
    if (!query->type)
        return; /* a query whose question could not be read */
    w->seen[w->seen_count++] = (uint16_t)(out->n - w->start);
    put_bytes(out, query->name.data, query->name.n);
    put16(out, query->type);
    put16(out, query->class_);
}

void dns_writer_section(struct dns_writer *w, enum dns_section section)
{
    w->section = section;
}

/* The offset in this message at which exactly the rest of name (from its byte `from`) stands, or 0.
 */
static size_t find_suffix(const struct dns_writer *w, const struct dns_name *name, size_t from)
{
    struct str message = str_range(w->out->data + w->start, w->out->n - w->start);
    struct dns_name old;

    for (size_t i = 0; i < w->seen_count; i++) {
        size_t pos = w->seen[i];
        while ((uint8_t)message.p[pos] && ((uint8_t)message.p[pos] & 0xc0) == 0) {
            size_t here = pos, end = pos;
            if (dns_name_parse(message, &end, &old) == 0 && old.n == name->n - from &&
                equal_bytes(old.data, name->data + from, old.n))
                return here;
            pos += 1u + (uint8_t)message.p[pos];
        }
    }
    return 0;
}

static void put_compressed(struct dns_writer *w, const struct dns_name *name)
{
    size_t at = 0, start = w->out->n - w->start;

    while (name->data[at]) {
        size_t to = find_suffix(w, name, at);
        if (to && to < 0x4000) {
            put16(w->out, 0xc000 | (unsigned)to);
            break;
        }
        put_bytes(w->out, name->data + at, 1u + name->data[at]);
        at += 1u + name->data[at];
    }
    if (!name->data[at])
        strbuf_add_char(w->out, 0);
    if (at && start < 0x4000 && w->seen_count < ARRAY_COUNT(w->seen))
        w->seen[w->seen_count++] = (uint16_t)start;
}

/* A record under way, so that one that does not fit can be taken back. */
struct mark {
    size_t n, length_at, seen_count;
};

static struct mark begin_record(
    struct dns_writer *w, const struct dns_name *owner, enum dns_type type, uint32_t ttl)
{
    struct mark mark = {.n = w->out->n, .seen_count = w->seen_count};

    put_compressed(w, owner);
    put16(w->out, type);
    put16(w->out, DNS_IN);
    put32(w->out, ttl);
    mark.length_at = w->out->n;
    put16(w->out, 0);
    return mark;
}

static void end_record(struct dns_writer *w, struct mark mark)
{
    size_t n = w->out->n - mark.length_at - 2;

    if (w->truncated || w->out->n - w->start > w->limit) {
        w->truncated = w->truncated || w->section == DNS_ANSWER;
        w->out->n = mark.n;
        w->seen_count = mark.seen_count;
        return;
    }
    w->out->data[mark.length_at] = (char)(n >> 8);
    w->out->data[mark.length_at + 1] = (char)n;
    w->counts[w->section]++;
}

void dns_put_a(
    struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, const uint8_t ip[4])
{
    struct mark mark = begin_record(w, owner, DNS_A, ttl);

    put_bytes(w->out, ip, 4);
    end_record(w, mark);
}

void dns_put_aaaa(
    struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, const uint8_t ip[16])
{
    struct mark mark = begin_record(w, owner, DNS_AAAA, ttl);

    put_bytes(w->out, ip, 16);
    end_record(w, mark);
}

void dns_put_name(struct dns_writer *w, const struct dns_name *owner, enum dns_type type,
    uint32_t ttl, const struct dns_name *target)
{
    struct mark mark = begin_record(w, owner, type, ttl);

    put_compressed(w, target);
    end_record(w, mark);
}

void dns_put_srv(struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, uint16_t weight,
    uint16_t port, const struct dns_name *target)
{
    struct mark mark = begin_record(w, owner, DNS_SRV, ttl);

    put16(w->out, 0); /* priority */
    put16(w->out, weight);
    put16(w->out, port);
    put_bytes(w->out, target->data, target->n); /* RFC 2782: not compressed */
    end_record(w, mark);
}

void dns_put_txt(struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, const char *text)
{
    struct mark mark = begin_record(w, owner, DNS_TXT, ttl);
    size_t n = strlen(text);

    strbuf_add_char(w->out, (char)n);
    put_bytes(w->out, text, n);
    end_record(w, mark);
}

void dns_put_soa(struct dns_writer *w, const struct dns_name *owner, uint32_t ttl,
    const struct dns_name *primary, const struct dns_name *contact, uint32_t serial)
{
    struct mark mark = begin_record(w, owner, DNS_SOA, ttl);

    put_compressed(w, primary);
    put_compressed(w, contact);
    put32(w->out, serial);
    put32(w->out, 7200);  /* refresh */
    put32(w->out, 1800);  /* retry */
    put32(w->out, 86400); /* expire */
    put32(w->out, ttl);   /* how long "no such name" may be kept */
    end_record(w, mark);
}

static void set16(struct dns_writer *w, size_t at, unsigned value)
{
    w->out->data[w->start + at] = (char)(value >> 8);
    w->out->data[w->start + at + 1] = (char)value;
}

void dns_writer_end(struct dns_writer *w)
{
    if (w->query->edns) {
        put_opt(w->out, w->query, w->rcode, DNS_UDP_BYTES);
        w->counts[DNS_ADDITIONAL]++;
    }
    set16(w, 2, w->flags | (w->truncated ? DNS_TC : 0) | ((unsigned)w->rcode & 15));
    set16(w, 4, w->query->type != 0);
    for (size_t i = 0; i < DNS_SECTIONS; i++)
        set16(w, 6 + 2 * i, w->counts[i]);
}

int dns_answer_parse(struct str message, struct dns_answer *ret)
{
    size_t pos = HEADER_BYTES;

    if (message.n < HEADER_BYTES || !(get16(message, 2) & DNS_QR) || get16(message, 4) != 1)
        return -1;
    ret->id = get16(message, 0);
    ret->flags = get16(message, 2);
    if (dns_name_parse(message, &pos, &ret->name) < 0 || pos + 4 > message.n)
        return -1;
    ret->type = get16(message, pos);
    ret->class_ = get16(message, pos + 2);
    for (size_t i = 0; i < DNS_SECTIONS; i++)
        ret->counts[i] = get16(message, 6 + 2 * i);
    ret->records_at = pos + 4;
    return 0;
}

int dns_record_parse(struct str message, size_t *pos, struct dns_record *ret)
{
    size_t at = *pos;

    if (dns_name_parse(message, &at, &ret->owner) < 0 || at + 10 > message.n)
        return -1;
    ret->type = get16(message, at);
    ret->class_ = get16(message, at + 2);
    ret->ttl = get32(message, at + 4);
    ret->ttl_at = at + 4;
    size_t n = get16(message, at + 8);
    ret->data_at = at + 10;
    if (ret->data_at + n > message.n)
        return -1;
    ret->data = str_range(message.p + ret->data_at, n);
    *pos = ret->data_at + n;
    return 0;
}
