/*
 * See load_client.h: one epoll, blocking connect and handshake, output flushed once a turn.
 */
#include "tests/bench/load_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/time.h"

#define WINDOW_BYTES (64 << 20)
#define READ_BYTES (64 << 10)
#define SILENCE_NS (60 * NS_PER_S)

enum h1_state { H1_HEAD, H1_LENGTH, H1_CHUNK_SIZE, H1_CHUNK, H1_CHUNK_END, H1_LAST };

struct load_connection {
    struct load_client *client;
    int fd;
    SSL *ssl;
    nghttp2_session *h2;
    struct strbuf out;
    bool dirty, waits_for_write;
    struct load_connection *next, *next_dirty;

    /* HTTP/1.1 */
    struct load_call *call;
    struct strbuf in;
    enum h1_state state;
    size_t left;
};

struct load_client {
    SSL_CTX *tls;
    bool http1;
    char *host, *port, *authorization;
    int epoll_fd;
    struct load_connection *connections, *dirty;
    int64_t heard_ns;
    char buffer[READ_BYTES];
};

_Noreturn void load_fail(const char *text)
{
    fprintf(stderr, "bench-load: %s\n", text);
    exit(1);
}

int64_t load_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void mark(struct load_connection *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = c->client->dirty;
    c->client->dirty = c;
}

static void got_data(struct load_call *call, struct str bytes)
{
    call->bytes += bytes.n;
    if (call->data)
        call->data(call, bytes);
}

/* --- HTTP/2 --- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct load_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    int64_t status;
    struct error err;

    if (call && name_n == 7 && !memcmp(name, ":status", 7) &&
        str_parse_int64(str_range((const char *)value, value_n), &status, &err) == 0)
        call->status = (int)status;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
    size_t n, void *arg)
{
    struct load_call *call = nghttp2_session_get_stream_user_data(session, stream_id);

    if (call)
        got_data(call, str_range((const char *)data, n));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *arg)
{
    struct load_call *call = nghttp2_session_get_stream_user_data(session, stream_id);

    if (!call)
        return 0;
    if (code != NGHTTP2_NO_ERROR)
        call->status = 0;
    call->done(call);
    return 0;
}

static void start_h2(struct load_connection *c)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        abort();
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    if (nghttp2_session_client_new(&c->h2, cb, c) != 0)
        abort();
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_COUNT(settings));
    nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES);
    mark(c);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct load_call *call = source->ptr;
    size_t left = call->body.n - call->body_sent, n = left < room ? left : room;

    memcpy(buf, call->body.p + call->body_sent, n);
    call->body_sent += n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void send_h2(struct load_connection *c, struct load_call *call)
{
    nghttp2_nv h[8];
    size_t n = 0;
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_body};

    h[n++] = header(":method", call->method);
    h[n++] = header(":scheme", "https");
    h[n++] = header(":authority", c->client->host);
    h[n++] = header(":path", call->path);
    h[n++] = header("accept", "application/json");
    h[n++] = header("user-agent", "bench-load");
    if (c->client->authorization)
        h[n++] = header("authorization", c->client->authorization);
    if (call->body.n > 0)
        h[n++] = header("content-type", call->content_type);
    if (nghttp2_submit_request(c->h2, NULL, h, n, call->body.n > 0 ? &provider : NULL, call) < 0)
        load_fail("the connection takes no more streams");
}

/* --- HTTP/1.1 --- */

static void send_h1(struct load_connection *c, struct load_call *call)
{
    if (c->call)
        load_fail("two requests at once on a connection of HTTP/1.1");
    c->call = call;
    strbuf_addf(&c->out,
        "%s %s HTTP/1.1\r\nhost: %s\r\naccept: application/json\r\nuser-agent: bench-load\r\n",
        call->method, call->path, c->client->host);
    if (c->client->authorization)
        strbuf_addf(&c->out, "authorization: %s\r\n", c->client->authorization);
    if (call->body.n > 0)
        strbuf_addf(&c->out, "content-type: %s\r\ncontent-length: %zu\r\n", call->content_type,
            call->body.n);
    strbuf_addc(&c->out, "\r\n");
    strbuf_add(&c->out, call->body);
}

static void h1_done(struct load_connection *c)
{
    struct load_call *call = c->call;

    c->call = NULL;
    c->state = H1_HEAD;
    call->done(call);
}

static void h1_head(struct load_connection *c, const char *head, const char *end)
{
    const char *length = strcasestr(head, "\r\ncontent-length:");
    const char *chunked = strcasestr(head, "\r\ntransfer-encoding: chunked");

    c->call->status = (int)strtol(head + strlen("HTTP/1.1 "), NULL, 10);
    if (chunked && chunked < end) {
        c->state = H1_CHUNK_SIZE;
        return;
    }
    c->left =
        length && length < end ? strtoul(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    c->state = H1_LENGTH;
    if (c->left == 0)
        h1_done(c);
}

/* Bytes used of `in`, 0: more must come. */
static size_t h1_step(struct load_connection *c, struct str in)
{
    const char *line_end;
    size_t n = in.n < c->left ? in.n : c->left;

    switch (c->state) {
    case H1_HEAD:
        line_end = c->call ? memmem(in.p, in.n, "\r\n\r\n", 4) : NULL;
        if (!line_end)
            return 0;
        h1_head(c, in.p, line_end + 2);
        return (size_t)(line_end - in.p) + 4;
    case H1_CHUNK_SIZE:
        line_end = memmem(in.p, in.n, "\r\n", 2);
        if (!line_end)
            return 0;
        c->left = strtoul(in.p, NULL, 16);
        c->state = c->left > 0 ? H1_CHUNK : H1_LAST;
        return (size_t)(line_end - in.p) + 2;
    case H1_CHUNK_END:
    case H1_LAST:
        if (in.n < 2)
            return 0;
        if (c->state == H1_LAST)
            h1_done(c);
        else
            c->state = H1_CHUNK_SIZE;
        return 2;
    case H1_LENGTH:
    case H1_CHUNK:
        got_data(c->call, str_range(in.p, n));
        c->left -= n;
        if (c->left == 0 && c->state == H1_LENGTH)
            h1_done(c);
        else if (c->left == 0)
            c->state = H1_CHUNK_END;
        return n;
    }
    return 0;
}

static void h1_input(struct load_connection *c, struct str bytes)
{
    size_t used = 0, n;

    strbuf_add(&c->in, bytes);
    while (used < c->in.n && (n = h1_step(c, str_range(c->in.data + used, c->in.n - used))) > 0)
        used += n;
    strbuf_remove_front(&c->in, used);
}

/* --- connections --- */

void load_send(struct load_connection *c, struct load_call *call)
{
    call->connection = c;
    call->status = 0;
    call->bytes = call->body_sent = 0;
    call->sent_ns = load_now_ns();
    if (c->h2)
        send_h2(c, call);
    else
        send_h1(c, call);
    mark(c);
}

static int open_socket(const struct load_client *c, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int fd = -1, on = 1;

    int r = getaddrinfo(c->host, c->port, &hints, &list);
    if (r != 0)
        return error_set(err, ERR_SYSTEM, "%s: %s", c->host, gai_strerror(r));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0)
        return error_sys(err, errno, "connect to %s:%s", c->host, c->port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

int load_connect(struct load_client *client, struct load_connection **ret, struct error *err)
{
    static const unsigned char h2[] = "\x02h2", h1[] = "\x08http/1.1";
    struct load_connection *c = xcalloc(1, sizeof(*c));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    c->client = client;
    strbuf_init(&c->out, 0);
    strbuf_init(&c->in, 0);
    c->fd = open_socket(client, err);
    if (c->fd < 0) {
        free(c);
        return -(int)err->code;
    }
    c->ssl = SSL_new(client->tls);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_alpn_protos(c->ssl, client->http1 ? h1 : h2, client->http1 ? 9 : 3);
    if (SSL_connect(c->ssl) != 1)
        return error_set(
            err, ERR_SYSTEM, "TLS handshake: %s", ERR_reason_error_string(ERR_peek_last_error()));
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    c->next = client->connections;
    client->connections = c;
    epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    if (!client->http1)
        start_h2(c);
    *ret = c;
    return 0;
}

static void fill_output(struct load_connection *c)
{
    const uint8_t *bytes;
    ssize_t n;

    while (c->h2 && (n = nghttp2_session_mem_send(c->h2, &bytes)) > 0)
        strbuf_add(&c->out, str_range((const char *)bytes, (size_t)n));
}

static void flush(struct load_connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    fill_output(c);
    while (c->out.n > 0) {
        ERR_clear_error();
        int n = SSL_write(c->ssl, c->out.data, (int)c->out.n);
        if (n <= 0 && SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_WRITE)
            load_fail("the server closed a connection");
        if (n <= 0)
            break;
        strbuf_remove_front(&c->out, (size_t)n);
    }
    bool waits = c->out.n > 0;
    if (waits == c->waits_for_write)
        return;
    c->waits_for_write = waits;
    event.events |= waits ? EPOLLOUT : 0;
    epoll_ctl(c->client->epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void read_all(struct load_connection *c)
{
    struct load_client *client = c->client;

    for (;;) {
        ERR_clear_error();
        int n = SSL_read(c->ssl, client->buffer, READ_BYTES);
        if (n <= 0 && SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
            load_fail("the server closed a connection");
        if (n <= 0)
            return;
        client->heard_ns = load_now_ns();
        if (!c->h2)
            h1_input(c, str_range(client->buffer, (size_t)n));
        else if (nghttp2_session_mem_recv(c->h2, (const uint8_t *)client->buffer, (size_t)n) < 0)
            load_fail("the server broke HTTP/2");
        mark(c);
    }
}

static void turn(struct load_client *c, int wait_ms)
{
    struct epoll_event events[64];
    struct load_connection *d;

    while ((d = c->dirty)) {
        c->dirty = d->next_dirty;
        d->dirty = false;
        flush(d);
    }
    int n = epoll_wait(c->epoll_fd, events, ARRAY_COUNT(events), wait_ms);
    for (int i = 0; i < n; i++) {
        d = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            mark(d);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            read_all(d);
    }
}

void load_run(struct load_client *c, const bool *finished)
{
    c->heard_ns = load_now_ns();
    while (!*finished) {
        turn(c, 1000);
        if (load_now_ns() - c->heard_ns > SILENCE_NS)
            load_fail("no answer for a minute");
    }
}

void load_run_for(struct load_client *c, int64_t ns)
{
    int64_t until = load_now_ns() + ns;

    while (load_now_ns() < until)
        turn(c, 10);
}

/* --- the client --- */

static int use_credentials(SSL_CTX *tls, const struct kubeconfig *k)
{
    BIO *bio;
    X509 *cert;
    EVP_PKEY *key;

    if (k->cert_file)
        return SSL_CTX_use_certificate_chain_file(tls, k->cert_file) == 1 &&
               SSL_CTX_use_PrivateKey_file(tls, k->key_file, SSL_FILETYPE_PEM) == 1;
    if (!k->cert_pem)
        return 1;
    bio = BIO_new_mem_buf(k->cert_pem, -1);
    cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(k->key_pem, -1);
    key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    int ok = cert && key && SSL_CTX_use_certificate(tls, cert) == 1 &&
             SSL_CTX_use_PrivateKey(tls, key) == 1;
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok;
}

static int trust(SSL_CTX *tls, const struct kubeconfig *k)
{
    if (k->insecure_skip_verify)
        return 1;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    if (k->ca_pem) {
        BIO *bio = BIO_new_mem_buf(k->ca_pem, -1);
        X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        int ok = ca && X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), ca) == 1;
        X509_free(ca);
        BIO_free(bio);
        return ok;
    }
    return k->ca_file ? SSL_CTX_load_verify_file(tls, k->ca_file)
                      : SSL_CTX_set_default_verify_paths(tls);
}

static int parse_server(struct load_client *c, const char *server, struct error *err)
{
    struct str rest = str_of(server);

    if (!str_starts(rest, STR("https://")))
        return error_set(err, ERR_USAGE, "the kubeconfig's server is no https:// URL: %s", server);
    rest = str_range(rest.p + 8, rest.n - 8);
    ssize_t end = str_find(rest, '/');
    if (end >= 0)
        rest.n = (size_t)end;
    const char *colon = memrchr(rest.p, ':', rest.n);
    bool bracket = rest.n > 0 && rest.p[rest.n - 1] == ']';
    size_t host_n = colon && !bracket ? (size_t)(colon - rest.p) : rest.n;
    c->port =
        colon && !bracket ? str_dup(str_range(colon + 1, rest.n - host_n - 1)) : xstrdup("443");
    if (host_n > 1 && rest.p[0] == '[')
        c->host = str_dup(str_range(rest.p + 1, host_n - 2));
    else
        c->host = str_dup(str_range(rest.p, host_n));
    return 0;
}

int load_client_new(
    const struct kubeconfig *k, bool http1, struct load_client **ret, struct error *err)
{
    struct load_client *c = xcalloc(1, sizeof(*c));

    c->http1 = http1;
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    c->tls = SSL_CTX_new(TLS_client_method());
    c->authorization = k->token ? str_format("Bearer %s", k->token) : NULL;
    *ret = c;
    if (parse_server(c, k->server, err) < 0)
        return -(int)err->code;
    SSL_CTX_set_mode(c->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!use_credentials(c->tls, k) || !trust(c->tls, k))
        return error_set(err, ERR_USAGE, "a certificate of the kubeconfig can't be used: %s",
            ERR_reason_error_string(ERR_peek_last_error()));
    return 0;
}

void load_client_free(struct load_client *c)
{
    struct load_connection *next;

    for (struct load_connection *d = c->connections; d; d = next) {
        next = d->next;
        nghttp2_session_del(d->h2);
        SSL_free(d->ssl);
        close(d->fd);
        strbuf_done(&d->in);
        strbuf_done(&d->out);
        free(d);
    }
    SSL_CTX_free(c->tls);
    close(c->epoll_fd);
    free(c->host);
    free(c->port);
    free(c->authorization);
    free(c);
}
