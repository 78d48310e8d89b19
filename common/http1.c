/*
 * The strict HTTP/1.1 parser of common/http1.h.
 *
 * The head is looked for as a whole (its empty line), then cut into lines; nothing is kept between
 * calls. What can't become a valid head is refused as soon as it is seen, so a client speaking TLS
 * or bare LF gets its 400 without waiting for a deadline.
 *
 * References: RFC 9112; upstream's counterpart is Go's net/http.
 */
#include "common/http1.h"

#define METHOD_BYTES 32
/* One chunk's size line with extensions, and all trailers. */
#define CHUNK_LINE_BYTES 4096
#define TRAILER_BYTES 8192
#define CHUNK_BYTES_MAX (1ull << 40)

/* tchar of RFC 9110: "!#$%&'*+-.^_`|~", digits, letters. */
static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c && strchr("!#$%&'*+-.^_`|~", c);
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

static int refuse(int *ret_status, int status, struct error *err, const char *why)
{
    *ret_status = status;
    return error_set(
        err, status == 414 || status == 431 ? ERR_TOO_LARGE : ERR_BAD_REQUEST, "%s", why);
}

static struct str trim_ows(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Bytes up to and with the empty line; 0 when it isn't there yet. */
static ssize_t find_end(struct str data, int *ret_status, struct error *err)
{
    const char *p = data.p, *end = data.p + data.n, *lf;

    if (data.n > 0 && !is_token_char((unsigned char)*p))
        return refuse(ret_status, 400, err, "malformed HTTP request");
    for (; (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1) {
        if (lf == data.p || lf[-1] != '\r')
            return refuse(ret_status, 400, err, "a line of the head ends in a bare LF");
        if (lf == p + 1)
            return lf + 1 - data.p;
    }
    return 0;
}

static int parse_request_line(
    struct str line, struct http1_head *head, int *ret_status, struct error *err)
{
    struct str version = line;

    if (!str_split(&version, ' ', &head->method) || !str_split(&version, ' ', &head->target) ||
        !is_token(head->method) || head->method.n > METHOD_BYTES || head->target.n == 0)
        return refuse(ret_status, 400, err, "malformed request line");
    for (size_t i = 0; i < head->target.n; i++)
        if (head->target.p[i] <= 0x20 || head->target.p[i] >= 0x7f)
            return refuse(ret_status, 400, err, "the request target holds an invalid character");
    if (head->target.n > LIMIT_URL_BYTES)
        return refuse(ret_status, 414, err, "the URL is too long");
    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) || version.p[6] != '.')
        return refuse(ret_status, 400, err, "malformed HTTP version");
    if (version.p[5] != '1' || (version.p[7] != '0' && version.p[7] != '1'))
        return refuse(ret_status, 505, err, "HTTP version not supported");
    head->minor_version = version.p[7] - '0';
    return 0;
}

static int parse_header_line(
    struct str line, struct http1_head *head, int *ret_status, struct error *err)
{
    struct str value = line, name;

    if (head->header_count == LIMIT_HEADERS)
        return refuse(ret_status, 431, err, "too many header fields");
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return refuse(ret_status, 400, err, "a header field is folded over two lines");
    if (str_find(line, ':') < 0 || !str_split(&value, ':', &name) || !is_token(name))
        return refuse(ret_status, 400, err, "malformed header field name");
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return refuse(ret_status, 400, err, "a header field holds a control character");
    }
    head->headers[head->header_count++] = (struct http1_header){name, trim_ows(value)};
    return 0;
}

static int parse_content_length(
    struct str value, struct http1_head *head, int *ret_status, struct error *err)
{
    int64_t n = 0;

    if (head->content_length >= 0)
        return refuse(ret_status, 400, err, "several Content-Length fields");
    if (value.n == 0 || value.n > 18)
        return refuse(ret_status, 400, err, "bad Content-Length");
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return refuse(ret_status, 400, err, "bad Content-Length");
        n = 10 * n + (value.p[i] - '0');
    }
    head->content_length = n;
    return 0;
}

static void parse_connection(struct str value, struct http1_head *head)
{
    struct str option;

    while (str_split(&value, ',', &option)) {
        option = trim_ows(option);
        if (str_eq_nocase(option, STR("close")))
            head->keep_alive = false;
        else if (str_eq_nocase(option, STR("upgrade")))
            head->upgrade = head->minor_version == 1;
    }
}

/* What the fields mean for the connection and the body. */
static int read_fields(struct http1_head *head, int *ret_status, struct error *err)
{
    size_t hosts = 0;

    for (size_t i = 0; i < head->header_count; i++) {
        struct str name = head->headers[i].name, value = head->headers[i].value;
        if (str_eq_nocase(name, STR("content-length"))) {
            if (parse_content_length(value, head, ret_status, err) < 0)
                return -err->code;
        } else if (str_eq_nocase(name, STR("transfer-encoding"))) {
            if (head->chunked || head->minor_version == 0)
                return refuse(ret_status, 400, err, "bad Transfer-Encoding");
            if (!str_eq_nocase(value, STR("chunked")))
                return refuse(ret_status, 501, err, "unsupported Transfer-Encoding");
            head->chunked = true;
        } else if (str_eq_nocase(name, STR("connection"))) {
            parse_connection(value, head);
        } else if (str_eq_nocase(name, STR("expect"))) {
            head->expect_continue =
                head->minor_version == 1 && str_eq_nocase(value, STR("100-continue"));
        } else if (str_eq_nocase(name, STR("host"))) {
            hosts++;
        }
    }
    if (head->chunked && head->content_length >= 0)
        return refuse(ret_status, 400, err, "both Transfer-Encoding and Content-Length");
    if (head->method.n == 0) /* an answer */
        return 0;
    if (hosts > 1 || (hosts == 0 && head->minor_version == 1))
        return refuse(ret_status, 400, err, hosts ? "several Host fields" : "missing Host field");
    return 0;
}

/* The next line of the head without its CRLF, which is known to be there. */
static struct str next_line(struct str *rest)
{
    const char *lf = memchr(rest->p, '\n', rest->n);
    struct str line = {rest->p, (size_t)(lf - 1 - rest->p)};

    *rest = (struct str){lf + 1, rest->n - line.n - 2};
    return line;
}

/* Finds the head's end and clears *head; >0: the head's bytes, 0: more is needed. */
static ssize_t begin_head(
    struct str data, struct http1_head *head, int *ret_status, struct error *err)
{
    size_t most = LIMIT_HEADER_BYTES;
    ssize_t n = find_end((struct str){data.p, data.n < most ? data.n : most}, ret_status, err);

    if (n == 0 && data.n >= most)
        return refuse(ret_status, 431, err, "the head is too large");
    head->method = head->target = (struct str){NULL, 0};
    head->header_count = 0;
    head->content_length = -1;
    head->chunked = head->upgrade = head->expect_continue = false;
    return n;
}

static int parse_fields(
    struct str rest, struct http1_head *head, int *ret_status, struct error *err)
{
    head->keep_alive = head->minor_version == 1;
    for (struct str line = next_line(&rest); line.n > 0; line = next_line(&rest))
        if (parse_header_line(line, head, ret_status, err) < 0)
            return -(int)err->code;
    return read_fields(head, ret_status, err);
}

ssize_t http1_parse_head(
    struct str data, struct http1_head *head, int *ret_status, struct error *err)
{
    size_t skipped = 0;

    *ret_status = 0;
    while (data.n >= 2 && data.p[0] == '\r' && data.p[1] == '\n' && skipped < 4) {
        data = (struct str){data.p + 2, data.n - 2}; /* empty lines after an earlier body */
        skipped += 2;
    }
    if (data.n == 0 || (data.n == 1 && data.p[0] == '\r'))
        return 0;
    ssize_t n = begin_head(data, head, ret_status, err);
    if (n <= 0)
        return n;
    struct str rest = {data.p, (size_t)n};
    if (parse_request_line(next_line(&rest), head, ret_status, err) < 0 ||
        parse_fields(rest, head, ret_status, err) < 0)
        return -(ssize_t)err->code;
    return n + (ssize_t)skipped;
}

/* "HTTP/1.1 200 OK" */
static int parse_status_line(
    struct str line, struct http1_head *head, int *ret_status, struct error *err)
{
    int status = 0;

    if (line.n < 12 || memcmp(line.p, "HTTP/1.", 7) || (line.p[7] != '0' && line.p[7] != '1') ||
        line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' '))
        return refuse(ret_status, 0, err, "malformed status line");
    for (size_t i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return refuse(ret_status, 0, err, "malformed status line");
        status = 10 * status + (line.p[i] - '0');
    }
    if (status < 100)
        return refuse(ret_status, 0, err, "malformed status line");
    head->minor_version = line.p[7] - '0';
    *ret_status = status;
    return 0;
}

ssize_t http1_parse_answer(
    struct str data, struct http1_head *head, int *ret_status, struct error *err)
{
    int ignored;

    *ret_status = 0;
    ssize_t n = begin_head(data, head, &ignored, err);
    if (n <= 0)
        return n;
    struct str rest = {data.p, (size_t)n};
    if (parse_status_line(next_line(&rest), head, ret_status, err) < 0 ||
        parse_fields(rest, head, &ignored, err) < 0)
        return -(ssize_t)err->code;
    return n;
}

struct str http1_header(const struct http1_head *head, const char *name)
{
    struct str wanted = str_of(name);

    for (size_t i = 0; i < head->header_count; i++)
        if (str_eq_nocase(head->headers[i].name, wanted))
            return head->headers[i].value;
    return (struct str){NULL, 0};
}

bool http1_is_cross_site(struct str site, struct str origin, struct str host)
{
    struct str scheme, rest = origin;

    if (site.n > 0)
        return !str_eqc(site, "same-origin") && !str_eqc(site, "none");
    if (origin.n == 0)
        return false;
    if (!str_split(&rest, ':', &scheme) || !str_starts(rest, STR("//")))
        return true;
    return !str_eq_nocase(str_range(rest.p + 2, rest.n - 2), host);
}

enum chunk_state {
    SIZE_FIRST, /* before the first digit */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* at the beginning of a trailer line */
    TRAILER,
    TRAILER_LF,
    END_LF,
    DONE,
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int bad_chunk(struct error *err)
{
    return error_set(err, ERR_BAD_REQUEST, "malformed chunked body");
}

static int chunk_size_char(struct http1_chunked *c, char byte, struct error *err)
{
    int digit = hex_value(byte);

    if (digit >= 0) {
        c->left = c->left << 4 | (unsigned)digit;
        c->state = SIZE;
        return c->left > CHUNK_BYTES_MAX || c->trailer_bytes > 16 ? bad_chunk(err) : 0;
    }
    if (c->state == SIZE_FIRST)
        return bad_chunk(err);
    if (byte == '\r')
        c->state = SIZE_LF;
    else if (byte == ';')
        c->state = EXTENSION;
    else
        return bad_chunk(err);
    return 0;
}

/* Extensions and trailers are checked for control characters and otherwise ignored. */
static int ignored_char(struct http1_chunked *c, char byte, int after_cr, struct error *err)
{
    if (byte == '\r') {
        c->state = after_cr;
        return 0;
    }
    return ((unsigned char)byte < 0x20 && byte != '\t') || byte == 0x7f ? bad_chunk(err) : 0;
}

static int chunk_char(struct http1_chunked *c, char byte, struct error *err)
{
    size_t most = c->state >= TRAILER_FIRST ? TRAILER_BYTES : CHUNK_LINE_BYTES;

    if (++c->trailer_bytes > most)
        return error_set(err, ERR_TOO_LARGE, "chunk extension or trailer too large");
    switch ((enum chunk_state)c->state) {
    case SIZE_FIRST:
    case SIZE:
        return chunk_size_char(c, byte, err);
    case EXTENSION:
        return ignored_char(c, byte, SIZE_LF, err);
    case TRAILER:
        return ignored_char(c, byte, TRAILER_LF, err);
    case TRAILER_FIRST:
        if (byte == '\r')
            c->state = END_LF;
        else if (is_token_char((unsigned char)byte))
            c->state = TRAILER;
        else
            return bad_chunk(err);
        return 0;
    case DATA_CR:
        c->state = DATA_LF;
        return byte == '\r' ? 0 : bad_chunk(err);
    case SIZE_LF:
    case DATA_LF:
    case TRAILER_LF:
    case END_LF:
        break;
    case DATA:
    case DONE:
        return 0;
    }
    if (byte != '\n')
        return bad_chunk(err);
    if (c->state == END_LF) {
        c->state = DONE;
    } else if (c->state == TRAILER_LF) {
        c->state = TRAILER_FIRST;
    } else if (c->state == DATA_LF) {
        c->state = SIZE_FIRST;
        c->trailer_bytes = 0;
    } else {
        c->state = c->left > 0 ? DATA : TRAILER_FIRST;
        c->trailer_bytes = 0;
    }
    return 0;
}

int http1_chunked_decode(
    struct http1_chunked *c, struct str *in, struct strbuf *out, struct error *err)
{
    while (in->n > 0 && c->state != DONE) {
        size_t taken = 1;
        if (c->state == DATA) {
            taken = in->n < c->left ? in->n : (size_t)c->left;
            strbuf_add(out, (struct str){in->p, taken});
            if (strbuf_overflowed(out))
                return error_set(
                    err, ERR_TOO_LARGE, "the body is larger than %zu bytes", out->limit);
            c->left -= taken;
            if (c->left == 0) {
                c->state = DATA_CR;
                c->trailer_bytes = 0;
            }
        } else if (chunk_char(c, in->p[0], err) < 0) {
            return -err->code;
        }
        *in = (struct str){in->p + taken, in->n - taken};
    }
    return c->state == DONE;
}

static const struct {
    int status;
    const char *text;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {413, "Request Entity Too Large"},
    {414, "Request URI Too Long"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Entity"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *http1_reason(int status)
{
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}
