/*
 * DNS messages: names, queries, and writing answers (RFC 1035, 2181, 2671/6891).
 *
 * A name is held as on the wire, uncompressed: "\3www\7example\3org\0", at most 255 bytes; letters
 * keep their case and are compared without it.
 *
 *     r = dns_query_parse(bytes, &query);     // 0, an RCODE to answer with, or -1: ignore
 *     dns_writer_begin(&w, &buf, limit, &query, DNS_AA, DNS_NOERROR);
 *     dns_put_a(&w, &query.name, 5, address);
 *     dns_writer_end(&w);                     // counts, OPT, TC when something did not fit
 *
 * Parsers never read outside of what they are given and follow at most 32 compression pointers,
 * backwards only. Fuzzed by tests/fuzz/dns_message_fuzz.c. Threads: none of its own.
 */
#pragma once

#include "common/str.h"

#define DNS_NAME_BYTES 255
#define DNS_LABELS_MAX 128
#define DNS_UDP_BYTES 1232 /* what fits a datagram on every path (the DNS flag day of 2020) */

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_OPT = 41,
    DNS_IXFR = 251,
    DNS_AXFR = 252,
    DNS_ANY = 255,
};
#define DNS_IN 1

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
    DNS_BADVERS = 16,
};

enum dns_flag {
    DNS_QR = 0x8000,
    DNS_AA = 0x0400,
    DNS_TC = 0x0200,
    DNS_RD = 0x0100,
    DNS_RA = 0x0080,
    DNS_AD = 0x0020,
    DNS_CD = 0x0010
};

struct dns_name {
    uint16_t n; /* bytes used, with the root's 0 */
    uint8_t data[DNS_NAME_BYTES];
};

/* Reads a name at *pos, which moves behind it. -1 when it is malformed. */
int dns_name_parse(struct str message, size_t *pos, struct dns_name *ret);
/* "www.example.org" or "www.example.org."; false for empty or overlong labels and names. No
 * escapes. */
bool dns_name_of(const char *text, struct dns_name *ret);
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
/* Is name equal to zone or below it? *ret_labels gets the number of labels in front of the zone. */
bool dns_name_below(const struct dns_name *name, const struct dns_name *zone, size_t *ret_labels);
/* Views of the labels, without the root's; returns how many. */
size_t dns_name_labels(const struct dns_name *name, struct str labels[DNS_LABELS_MAX]);
void dns_name_print(
    const struct dns_name *name, struct strbuf *out); /* with a final dot; \DDD escapes */
uint32_t dns_name_hash(const struct dns_name *name);  /* the same for any case */

struct dns_query {
    uint16_t id, flags; /* flags as received: RD, CD, AD */
    struct dns_name name;
    uint16_t type, class_;
    bool edns, dnssec_ok;
    uint16_t udp_bytes; /* the largest answer by UDP; 512 without EDNS */
};

/* 0; an enum dns_rcode to answer with (id, and the question if it was readable, are set); -1: send
 * nothing. */
int dns_query_parse(struct str message, struct dns_query *ret);
/* The same query as a message to send on, with this id. */
void dns_query_print(const struct dns_query *query, uint16_t id, struct strbuf *out);

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL, DNS_SECTIONS };

struct dns_writer {
    struct strbuf *out;
    size_t start, limit;
    const struct dns_query *query;
    uint16_t flags;
    int rcode;
    enum dns_section section;
    uint16_t counts[DNS_SECTIONS];
    bool truncated;
    uint16_t seen[64]; /* offsets of names that may be pointed to */
    size_t seen_count;
};

/* Appends to out; limit: bytes of the whole message. flags: DNS_AA and so on; QR, RD, CD are added.
 */
void dns_writer_begin(struct dns_writer *w, struct strbuf *out, size_t limit,
    const struct dns_query *query, unsigned flags, int rcode);
/* Records go to this section from now on; sections come in order. */
void dns_writer_section(struct dns_writer *w, enum dns_section section);
void dns_writer_end(struct dns_writer *w);

void dns_put_a(
    struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, const uint8_t ip[4]);
void dns_put_aaaa(
    struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, const uint8_t ip[16]);
/* CNAME, PTR or NS. */
void dns_put_name(struct dns_writer *w, const struct dns_name *owner, enum dns_type type,
    uint32_t ttl, const struct dns_name *target);
void dns_put_srv(struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, uint16_t weight,
    uint16_t port, const struct dns_name *target);
void dns_put_txt(
    struct dns_writer *w, const struct dns_name *owner, uint32_t ttl, const char *text);
void dns_put_soa(struct dns_writer *w, const struct dns_name *owner, uint32_t ttl,
    const struct dns_name *primary, const struct dns_name *contact, uint32_t serial);

/* A record of a message received. data is a view into it. */
struct dns_record {
    struct dns_name owner;
    uint16_t type, class_;
    uint32_t ttl;
    size_t ttl_at, data_at; /* offsets in the message */
    struct str data;
};

struct dns_answer {
    uint16_t id, flags;
    struct dns_name name; /* of the question */
    uint16_t type, class_;
    uint16_t counts[DNS_SECTIONS];
    size_t records_at;
};

/* Head and question of a response; -1 when it is malformed or no response with one question. */
int dns_answer_parse(struct str message, struct dns_answer *ret);
/* The record at *pos, which moves behind it; -1 when malformed. */
int dns_record_parse(struct str message, size_t *pos, struct dns_record *ret);
