/*
 * The production HTTP client: calls and streams, from the caller's side; the I/O task is
 * http_curl_io.c.
 *
 * A call takes a `transfer` (an easy handle with its options, pooled), posts it to the I/O task and
 * waits on the transfer's condition. All else is handed over under the client's lock, through the
 * flags want_*.
 *
 * libcurl repeats a request on a new connection when a kept one breaks; that is refused for writes
 * (before_request), because the server may have acted on the first.
 *
 * Lifetime: a transfer holds a reference to its client, so that a stream may be closed after the
 * client. Idle cost: none; the I/O task sleeps in epoll_wait without a timeout. Memory: a
 * connection over TLS takes about 70 KB, most of it OpenSSL's; a watch that shares one takes about
 * 15 KB.
 */
#include "common/http_curl.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/limits.h"
#include "common/time.h"

#define CURL_BUFFER_BYTES (16l << 10)
/* A stream holds its buffer for as long as it lives, mostly idle. */
#define STREAM_BUFFER_BYTES (4l << 10)
/* Easy handles kept for reuse, about 6 KB each. */
#define IDLE_HANDLES_MAX 4
#define ERROR_BODY_BYTES (1u << 20)
#define CONNECT_MS 10000l
#define IDLE_CONNECTION_S 55l
#define DEFAULT_TIMEOUT_NS (30 * NS_PER_S)

static int exchange(struct http_client *client, const struct http_request *request,
    struct http_response *response, struct error *err);
static int stream_open(struct http_client *client, const struct http_request *request,
    struct http_stream **ret, struct http_response *ret_head, struct error *err);
static int stream_next(
    struct http_stream *stream, int64_t deadline_ns, struct strbuf *out, struct error *err);
static void stream_cancel(struct http_stream *stream);
static void stream_close(struct http_stream *stream);
static void client_free(struct http_client *client);

static const struct http_client_ops curl_ops = {
    .exchange = exchange,
    .open = stream_open,
    .next = stream_next,
    .cancel = stream_cancel,
    .close = stream_close,
    .free = client_free,
};

/* ---- transfers ---- */

static struct curl_blob blob_of(const char *pem)
{
    return (struct curl_blob){(void *)(uintptr_t)pem, strlen(pem), CURL_BLOB_NOCOPY};
}

static void set_tls_options(struct curl_client *c, CURL *easy)
{
    const struct http_client_config *config = &c->config;

    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0l);
    if (config->insecure_skip_verify) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0l);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0l);
    }
    if (config->ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 60l);
    } else if (config->ca_pem) {
        struct curl_blob blob = blob_of(config->ca_pem);
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    }
    if (config->cert_file) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, config->cert_file);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, config->key_file);
    } else if (config->cert_pem) {
        struct curl_blob cert = blob_of(config->cert_pem);
        struct curl_blob key = blob_of(config->key_pem ? config->key_pem : "");
        curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &key);
    }
    if (c->connect_to)
        curl_easy_setopt(easy, CURLOPT_CONNECT_TO, c->connect_to);
}

static void set_options(struct transfer *t)
{
    struct curl_client *c = t->client;
    CURL *easy = t->easy;

    transfer_set_callbacks(t);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1l);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1l);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, CURL_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1l);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20l);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5l);
    if (c->config.unix_socket)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, c->config.unix_socket);
    if (c->config.user_agent)
        curl_easy_setopt(easy, CURLOPT_USERAGENT, c->config.user_agent);
    set_tls_options(c, easy);
}

static struct transfer *transfer_take(struct curl_client *c)
{
    env_lock(c->base.env, &c->lock);
    struct transfer *t = c->idle;
    c->refs++;
    if (t) {
        c->idle = t->next;
        c->idle_count--;
    }
    env_unlock(c->base.env, &c->lock);
    if (!t) {
        t = xcalloc(1, sizeof(*t));
        t->client = c;
        t->base.client = &c->base;
        t->easy = curl_easy_init();
        assert(t->easy);
        env_cond_init(&t->changed);
        set_options(t);
    }
    t->want_start = t->want_cancel = t->want_resume = false;
    t->opened = t->done = t->timed_out = t->abandoned = t->paused = false;
    t->sent = t->head_done = t->too_large = t->refused_repeat = false;
    t->is_stream = false;
    t->canceller = NULL;
    t->curl_text[0] = '\0';
    strbuf_init(&t->buffer, 0);
    http_response_init(&t->own);
    t->response = &t->own;
    return t;
}

static void transfer_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    env_cond_done(&t->changed);
    free(t);
}

static void client_unref(struct curl_client *c);

void transfer_release(struct transfer *t)
{
    struct curl_client *c = t->client;

    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    strbuf_done(&t->buffer);
    http_response_done(&t->own);
    env_lock(c->base.env, &c->lock);
    if (t->queued) /* a cancel that came too late */
        transfer_unpost(c, t);
    bool keep = !c->stopping && c->idle_count < IDLE_HANDLES_MAX;
    if (keep) {
        t->next = c->idle;
        c->idle = t;
        c->idle_count++;
    }
    env_unlock(c->base.env, &c->lock);
    if (!keep)
        transfer_free(t);
    client_unref(c);
}

static bool has_control(const char *text, bool space_too)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f || (space_too && *text == ' '))
            return true;
    return false;
}

static void add_header(struct transfer *t, const char *line)
{
    struct curl_slist *more = curl_slist_append(t->headers, line);

    assert(more);
    t->headers = more;
}

static int set_headers(
    struct transfer *t, const struct http_request *request, bool is_own_host, struct error *err)
{
    bool has_type = false;

    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *h = &request->headers[i];
        if (has_control(h->name, true) || has_control(h->value, false))
            return error_set(err, ERR_BAD_REQUEST, "header %s holds a control character", h->name);
        autofree char *line =
            h->value[0] ? str_format("%s: %s", h->name, h->value) : str_format("%s;", h->name);
        add_header(t, line);
        has_type |= str_eq_nocase(str_of(h->name), STR("Content-Type"));
    }
    add_header(t, "Expect:");
    if (!has_type)
        add_header(t, "Content-Type:");
    if (is_own_host) {
        autofree char *token = client_authorization(t->client);
        if (token)
            add_header(t, token);
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    return 0;
}

static void set_method(struct transfer *t, const struct http_request *request)
{
    const char *method = request->method;
    bool has_body = request->body.n > 0 || !strcmp(method, "POST") || !strcmp(method, "PUT") ||
                    !strcmp(method, "PATCH");

    t->repeatable = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1l); /* also undoes NOBODY and POST */
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, NULL);
    if (has_body) {
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
        curl_easy_setopt(t->easy, t->is_stream ? CURLOPT_COPYPOSTFIELDS : CURLOPT_POSTFIELDS,
            request->body.n > 0 ? request->body.p : "");
        curl_easy_setopt(t->easy, CURLOPT_POST, 1l);
    }
    if (!strcmp(method, "HEAD"))
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1l);
    else if (strcmp(method, has_body ? "POST" : "GET"))
        curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method);
}

/*
 * With share_reads all GETs share an HTTP/2 connection: an informer's watch then costs a tenth of
 * the memory of a connection of its own, here and in the server, and no handshake. Everything else
 * is HTTP/1.1, because libcurl 7.88 fails over HTTP/2 when a server answers before the body is
 * read.
 */
static void set_version(struct transfer *t, const struct http_request *request)
{
    struct curl_client *c = t->client;
    bool is_shared = c->config.share_reads && c->is_https && request->body.n == 0 &&
                     !strcmp(request->method, "GET");

    t->cache = is_shared ? &c->reads : &c->calls;
    curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION,
        (long)(is_shared ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, (long)is_shared);
}

static int set_request(struct transfer *t, const struct http_request *request, struct error *err)
{
    struct curl_client *c = t->client;
    struct str path = str_of(request->path);
    bool is_absolute = str_starts(path, STR("http://")) || str_starts(path, STR("https://"));
    struct str base = str_of(c->base_url);
    bool is_own_host = !is_absolute || (str_starts(path, base) && path.p[base.n] == '/');

    curl_easy_setopt(
        t->easy, CURLOPT_BUFFERSIZE, t->is_stream ? STREAM_BUFFER_BYTES : CURL_BUFFER_BYTES);
    set_version(t, request);
    if (has_control(request->path, true) || (!is_absolute && request->path[0] != '/'))
        return error_set(err, ERR_BAD_REQUEST, "\"%s\" is not a valid request path", request->path);
    if (has_control(request->method, true))
        return error_set(err, ERR_BAD_REQUEST, "\"%s\" is not a method", request->method);
    if (is_absolute) {
        curl_easy_setopt(t->easy, CURLOPT_URL, request->path);
    } else {
        autofree char *url = str_format("%s%s", c->base_url, request->path);
        curl_easy_setopt(t->easy, CURLOPT_URL, url);
    }
    set_method(t, request);
    return set_headers(t, request, is_own_host, err);
}

/* ---- calls ---- */

static void cancel(void *arg)
{
    struct transfer *t = arg;
    struct curl_client *c = t->client;

    env_lock(c->base.env, &c->lock);
    t->want_cancel = true;
    if (!t->done)
        transfer_post(c, t);
    env_signal(c->base.env, &t->changed);
    env_unlock(c->base.env, &c->lock);
}

static int canceller_attach(struct transfer *t, struct http_canceller *canceller, struct error *err)
{
    struct env *env = t->client->base.env;

    if (!canceller)
        return 0;
    env_lock(env, &canceller->lock);
    bool is_cancelled = canceller->cancelled;
    if (!is_cancelled) {
        assert(!canceller->wake);
        canceller->wake = cancel;
        canceller->arg = t;
        t->canceller = canceller;
    }
    env_unlock(env, &canceller->lock);
    return is_cancelled ? error_set(err, ERR_CANCELLED, "cancelled") : 0;
}

static void canceller_detach(struct transfer *t)
{
    struct http_canceller *canceller = t->canceller;

    if (!canceller)
        return;
    env_lock(t->client->base.env, &canceller->lock);
    canceller->wake = NULL;
    env_unlock(t->client->base.env, &canceller->lock);
    t->canceller = NULL;
}

/* Starts t and waits until it is done, or opened. On the deadline t is cancelled; the wait for that
 * is short. */
static void run(struct transfer *t, int64_t timeout_ns)
{
    struct curl_client *c = t->client;
    struct env *env = c->base.env;
    int64_t deadline_ns = env_now_ns(env) + (timeout_ns > 0 ? timeout_ns : DEFAULT_TIMEOUT_NS);

    env_lock(env, &c->lock);
    if (c->stopping) {
        t->done = true;
        t->code = CURLE_ABORTED_BY_CALLBACK;
        t->want_cancel = true;
    } else {
        t->want_start = true;
        transfer_post(c, t);
    }
    while (!t->done && !t->opened) {
        if (env_wait_until(env, &t->changed, &c->lock, deadline_ns) || t->done || t->opened)
            continue;
        t->timed_out = t->want_cancel = true;
        transfer_post(c, t);
        deadline_ns = ENV_FOREVER;
    }
    env_unlock(env, &c->lock);
}

/* Why a finished transfer failed; 0 when it didn't. */
static int transfer_error(struct transfer *t, struct error *err)
{
    const char *text = t->curl_text[0] ? t->curl_text : curl_easy_strerror(t->code);

    if (t->code == CURLE_OK)
        return 0;
    if (t->timed_out)
        return error_set(err, ERR_TIMEOUT, "no answer in time");
    if (t->too_large)
        return error_set(
            err, ERR_TOO_LARGE, "the answer is larger than %zu bytes", t->response->body.limit);
    switch (t->code) {
    case CURLE_COULDNT_CONNECT:
        if (t->sent) /* on a kept connection that broke; repeating it found nobody */
            return error_set(err, ERR_CLOSED, "connection closed before the answer");
        if (t->os_errno)
            return error_sys(err, t->os_errno, "connect");
        return error_set(err, ERR_SYSTEM, "connect: %s", text);
    case CURLE_OPERATION_TIMEDOUT:
        return error_set(err, ERR_TIMEOUT, "%s", text);
    case CURLE_ABORTED_BY_CALLBACK:
        if (t->refused_repeat)
            return error_set(err, ERR_CLOSED, "connection closed before the answer");
        return error_set(err, ERR_CANCELLED, "cancelled");
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return error_set(err, ERR_CLOSED, "%s", text);
    default:
        return error_set(err, ERR_SYSTEM, "%s", text);
    }
}

static int request_error(
    const struct transfer *t, const struct http_request *request, struct error *err)
{
    struct str path = str_of(request->path), shown = path;

    if (!str_split(&path, '?', &shown))
        shown = STR("");
    const char *base = shown.n > 0 && shown.p[0] == '/' ? t->client->config.base_url : "";
    return error_wrap(err, "%s %s%.*s", request->method, base, STR_FMT(shown));
}

static int exchange(struct http_client *client, const struct http_request *request,
    struct http_response *response, struct error *err)
{
    struct transfer *t = transfer_take((struct curl_client *)client);

    response->status = 0;
    strbuf_clear(&response->head);
    strbuf_clear(&response->body);
    response->body.limit = request->response_limit ? request->response_limit : LIMIT_RESPONSE_BYTES;
    t->response = response;
    int failed = set_request(t, request, err);
    if (!failed)
        failed = canceller_attach(t, request->canceller, err);
    if (!failed) {
        run(t, request->timeout_ns);
        canceller_detach(t);
        failed = transfer_error(t, err);
    }
    if (failed)
        request_error(t, request, err);
    t->response = &t->own;
    transfer_release(t);
    return failed;
}

static void response_move(struct http_response *to, struct http_response *from)
{
    http_response_done(to);
    *to = *from;
    http_response_init(from);
}

static int stream_open(struct http_client *client, const struct http_request *request,
    struct http_stream **ret, struct http_response *ret_head, struct error *err)
{
    struct transfer *t = transfer_take((struct curl_client *)client);

    t->is_stream = true;
    t->own.body.limit = request->response_limit ? request->response_limit : ERROR_BODY_BYTES;
    int failed = set_request(t, request, err);
    if (!failed)
        failed = canceller_attach(t, request->canceller, err);
    if (!failed)
        run(t, request->timeout_ns);
    if (!failed && t->opened) {
        response_move(ret_head, &t->own);
        *ret = &t->base;
        return 0;
    }
    if (!failed) {
        canceller_detach(t);
        bool is_answered = t->head_done && t->code != CURLE_ABORTED_BY_CALLBACK;
        failed = is_answered ? 0 : transfer_error(t, err);
        if (!failed) { /* a refusal, whose body may be cut */
            response_move(ret_head, &t->own);
            *ret = NULL;
        }
    }
    if (failed)
        request_error(t, request, err);
    transfer_release(t);
    return failed;
}

static int stream_next(
    struct http_stream *stream, int64_t deadline_ns, struct strbuf *out, struct error *err)
{
    struct transfer *t = (struct transfer *)stream;
    struct curl_client *c = t->client;
    struct env *env = c->base.env;
    bool in_time = true;

    env_lock(env, &c->lock);
    while (t->buffer.n == 0 && !t->done && !t->want_cancel && in_time)
        in_time = env_wait_until(env, &t->changed, &c->lock, deadline_ns);
    struct strbuf got = STRBUF_EMPTY;
    if (t->buffer.n > 0 && !t->want_cancel) {
        got = t->buffer;
        strbuf_init(&t->buffer, 0);
        if (t->paused && !t->done) {
            t->paused = false;
            t->want_resume = true;
            transfer_post(c, t);
        }
    }
    bool is_done = t->done, is_cancelled = t->want_cancel;
    env_unlock(env, &c->lock);
    if (got.n > 0) {
        strbuf_add(out, strbuf_str(&got));
        strbuf_done(&got);
        if (strbuf_overflowed(out))
            return error_set(err, ERR_TOO_LARGE, "more than %zu bytes", out->limit);
        return 1;
    }
    if (is_cancelled)
        return error_set(err, ERR_CANCELLED, "cancelled");
    if (!is_done)
        return error_set(err, ERR_TIMEOUT, "nothing arrived in time");
    return transfer_error(t, err);
}

static void stream_cancel(struct http_stream *stream)
{
    cancel(stream);
}

static void stream_close(struct http_stream *stream)
{
    struct transfer *t = (struct transfer *)stream;
    struct curl_client *c = t->client;

    canceller_detach(t);
    env_lock(c->base.env, &c->lock);
    bool is_done = t->done;
    if (!is_done) {
        t->abandoned = t->want_cancel = true; /* the I/O task gives it back */
        transfer_post(c, t);
    }
    env_unlock(c->base.env, &c->lock);
    if (is_done)
        transfer_release(t);
}

/* ---- the client ---- */

static void global_init(void)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);

    assert(code == CURLE_OK);
}

int http_client_new(struct env *env, const struct http_client_config *config,
    struct http_client **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct curl_client *c = xcalloc(1, sizeof(*c));

    pthread_once(&once, global_init);
    c->base = (struct http_client){&curl_ops, env};
    c->refs = 1;
    c->epoll_fd = c->wake_fd = -1;
    env_lock_init(&c->lock);
    if (client_configure(c, config, err) < 0) {
        client_unref(c);
        return -err->code;
    }
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = c->wake_fd};
    if (c->epoll_fd < 0 || c->wake_fd < 0 ||
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->wake_fd, &event) < 0) {
        error_sys(err, errno, "HTTP client");
        client_unref(c);
        return -err->code;
    }
    c->idle_max = config->connections_max > 0 ? config->connections_max : 8;
    client_io_setup(c);
    c->task = env_spawn(env, "http", client_io_run, c);
    *ret = &c->base;
    return 0;
}

static void client_free(struct http_client *client)
{
    struct curl_client *c = (struct curl_client *)client;
    struct env *env = client->env;

    env_lock(env, &c->lock);
    c->stopping = true;
    if (c->polling)
        eventfd_write(c->wake_fd, 1);
    c->polling = false;
    env_unlock(env, &c->lock);
    env_join(env, c->task);
    while (c->idle) {
        struct transfer *t = c->idle;
        c->idle = t->next;
        transfer_free(t);
    }
    client_unref(c);
}

static void client_unref(struct curl_client *c)
{
    env_lock(c->base.env, &c->lock);
    bool is_last = --c->refs == 0;
    env_unlock(c->base.env, &c->lock);
    if (!is_last)
        return;
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    client_configure_done(c);
    env_lock_done(&c->lock);
    free(c);
}
