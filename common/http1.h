/*
 * HTTP/1.1 parser: strict, incremental, no allocation of its own. Used by apiserver/http and
 * common/httpd.
 *
 * Refused: obsolete line folding, bare LF, white space before a colon, Transfer-Encoding with
 * Content-Length, several Content-Lengths, any coding but chunked, bad chunk sizes, control
 * characters, more than LIMIT_HEADERS lines or LIMIT_HEADER_BYTES bytes. HTTP/1.0 requests are
 * answered and closed. Fuzzed by tests/fuzz/http1_fuzz.c.
 */
#pragma once

#include "common/limits.h"
#include "common/str.h"

struct http1_header {
    struct str name, value;
};

struct http1_head {
    struct str method, target;
    int minor_version; /* 0 or 1 */
    struct http1_header headers[LIMIT_HEADERS];
    size_t header_count;
    int64_t content_length; /* -1: none */
    bool chunked;
    bool keep_alive;
    bool upgrade; /* Connection: upgrade */
    bool expect_continue;
};

/* >0: bytes of the head, ended by its empty line; 0: more is needed; -ERR_BAD_REQUEST /
 * -ERR_TOO_LARGE (an HTTP status is in *ret_status: 400, 414, 431, 501, 505). Views point into
 * data. */
ssize_t http1_parse_head(
    struct str data, struct http1_head *head, int *ret_status, struct error *err);
/* The same for an answer that a client reads: its status is in *ret_status; method and target are
 * empty. Failures are -ERR_BAD_REQUEST and -ERR_TOO_LARGE. */
ssize_t http1_parse_answer(
    struct str data, struct http1_head *head, int *ret_status, struct error *err);
struct str http1_header(
    const struct http1_head *head, const char *name); /* case-insensitive; empty view */

/* Does a browser send this for a page of another site? By Sec-Fetch-Site where there is one, which
 * no page can forge, else by comparing Origin with Host. Empty views: not sent. */
bool http1_is_cross_site(struct str site, struct str origin, struct str host);

/* "Not Found"; "Unknown" for a status without a row. */
const char *http1_reason(int status);

struct http1_chunked {
    int state;
    uint64_t left;
    size_t trailer_bytes;
};
/* Decodes from *in (advanced) and appends body bytes to out. 1 at the end of the body, 0 for more
 * input, <0. */
int http1_chunked_decode(
    struct http1_chunked *c, struct str *in, struct strbuf *out, struct error *err);
