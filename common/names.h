/*
 * The syntax rules of names, as predicates that append upstream's message.
 *
 * Each returns true when s is valid; otherwise it adds one message without the value, for instance
 * "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', ..." to
 * *why (several are joined by "; " when upstream would report several). `why` may be NULL.
 */
#pragma once

#include "common/str.h"

bool name_is_dns1123_label(struct str s, struct strbuf *why);
bool name_is_dns1123_subdomain(struct str s, struct strbuf *why);
bool name_is_dns1035_label(struct str s, struct strbuf *why);
bool name_is_qualified(struct str s, struct strbuf *why); /* label keys: [prefix/]name */
bool name_is_label_value(struct str s, struct strbuf *why);
bool name_is_path_segment(struct str s, struct strbuf *why); /* roles: not "." "..", no / or % */
bool name_is_c_identifier(struct str s, struct strbuf *why);
bool name_is_env_var(struct str s, struct strbuf *why);
bool name_is_config_map_key(struct str s, struct strbuf *why);
bool name_is_port_name(struct str s, struct strbuf *why);
bool name_is_ip(struct str s); /* v4 or v6, no leading zeros */

/* Upstream's generated suffix: n (at most 13) letters of "bcdfghjklmnpqrstvwxz2456789" from random
 * bits, and a NUL behind them: buf holds n + 1. */
void name_random_suffix(uint64_t random_bits, char *buf, size_t n);
/* FNV-1a 32 of data, and (NUL-terminated, cut to buf_bytes) upstream's SafeEncodeString of its
 * decimal form (pod-template-hash). */
uint32_t fnv32a(struct str data);
void name_safe_encode(struct str s, char *buf, size_t buf_bytes);
