/* Tests of common/httpd: routes, bodies, streams, upgrades, bad clients, TLS with client
 * certificates, stop. */
#include "common/httpd.h"

#include <poll.h>

#include <CUnit/CUnit.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"
#include "common/http_client.h"
#include "common/pki.h"
#include "common/time.h"
#include "tests/unit/common/raw_server.h"

struct rig {
    struct env *env;
    struct httpd *server;
    struct error err;
    struct lock lock;
    struct cond changed;
    int step;
    bool gone;
};

static void set_step(struct rig *r, int step)
{
    env_lock(r->env, &r->lock);
    r->step = step;
    env_broadcast(r->env, &r->changed);
    env_unlock(r->env, &r->lock);
}

static bool wait_step(struct rig *r, int step)
{
    int64_t deadline_ns = env_now_ns(r->env) + 10 * NS_PER_S;
    bool in_time = true;

    env_lock(r->env, &r->lock);
    while (r->step < step && in_time)
        in_time = env_wait_until(r->env, &r->changed, &r->lock, deadline_ns);
    bool reached = r->step >= step;
    env_unlock(r->env, &r->lock);
    return reached;
}

static void on_hello(void *arg, struct httpd_request *r)
{
    struct str name = STR("world");
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    httpd_query(r, "name", &name);
    strbuf_addf(&text, "hello %.*s at %.*s", STR_FMT(name), STR_FMT(httpd_path(r)));
    httpd_reply(r, 200, "text/plain", strbuf_str(&text));
}

static void on_echo(void *arg, struct httpd_request *r)
{
    struct strbuf body;
    struct error err;

    strbuf_init(&body, 0);
    if (httpd_body(r, 1 << 20, &body, &err) < 0)
        httpd_reply(r, error_http_status(err.code), "text/plain", str_of(err.text));
    else
        httpd_reply(r, 200, "text/plain", strbuf_str(&body));
    strbuf_done(&body);
}

static void on_stream(void *arg, struct httpd_request *r)
{
    struct error err;
    static char big[100000];

    if (httpd_begin(r, 200, "text/plain", &err) < 0)
        return;
    httpd_write(r, STR("one "), &err);
    httpd_write(r, STR(""), &err);
    memset(big, 'x', sizeof(big));
    httpd_write(r, (struct str){big, sizeof(big)}, &err);
    httpd_end(r);
}

/* Writes until the client is gone. */
static void on_endless(void *arg, struct httpd_request *r)
{
    struct rig *rig = arg;
    struct error err;

    if (httpd_begin(r, 200, "text/plain", &err) < 0)
        return;
    set_step(rig, 1);
    while (!httpd_client_gone(r) && httpd_write(r, STR("tick\n"), &err) == 0)
        env_sleep_ns(rig->env, NS_PER_MS);
    set_step(rig, 2);
}

static void on_upgrade(void *arg, struct httpd_request *r)
{
    char buf[3];
    struct error err;
    ssize_t n;

    if (httpd_upgrade(r, "Upgrade: echo\r\n", &err) < 0)
        return;
    while ((n = httpd_raw_read(r, buf, sizeof(buf))) != 0 && n != HTTPD_RAW_BROKEN) {
        struct pollfd fds[] = {{.fd = httpd_raw_fd(r), .events = POLLIN},
            {.fd = httpd_raw_stop_fd(r), .events = POLLIN}};
        if (n == HTTPD_RAW_WAIT && poll(fds, 2, -1) > 0 && fds[1].revents)
            return;
        if (n > 0 && httpd_raw_write(r, str_range(buf, (size_t)n)) < 0)
            return;
    }
}

static void on_silence(void *arg, struct httpd_request *r)
{
}

static void on_who(void *arg, struct httpd_request *r)
{
    autofree char *text = str_format(
        "%s of %s", httpd_peer_name(r) ? httpd_peer_name(r) : "nobody", httpd_peer_groups(r));

    httpd_reply(r, 200, "text/plain", str_of(text));
}

static int authorize(void *arg, struct httpd_request *r, struct error *err)
{
    if (httpd_peer_name(r) && !strcmp(httpd_peer_name(r), "admin"))
        return 0;
    return str_eqc(http1_header(httpd_head(r), "x-pass"), "yes")
               ? 0
               : error_set(err, ERR_UNAUTHORIZED, "Unauthorized");
}

static const struct httpd_route routes[] = {
    {"GET", "/hello", true, on_hello},
    {"GET", "/dir/", true, on_hello},
    {"POST", "/echo", true, on_echo},
    {"GET", "/stream", true, on_stream},
    {"GET", "/endless", true, on_endless},
    {NULL, "/upgrade", true, on_upgrade},
    {"GET", "/silence", true, on_silence},
    {"GET", "/who", false, on_who},
};

static int rig_init(struct rig *r, struct httpd_config config)
{
    *r = (struct rig){.env = env_new_real()};
    env_lock_init(&r->lock);
    env_cond_init(&r->changed);
    config.address = config.address ? config.address : "127.0.0.1";
    config.routes = routes;
    config.route_count = ARRAY_COUNT(routes);
    config.arg = r;
    config.authorize = authorize;
    return httpd_new(r->env, &config, &r->server, &r->err);
}

static void rig_done(struct rig *r)
{
    httpd_free(r->server);
    env_cond_done(&r->changed);
    env_lock_done(&r->lock);
    env_free(r->env);
}

/* Sends text and checks that the answer (to the connection's end) holds all of `wanted`. */
static bool says(struct rig *r, const char *text, const char *wanted, const char *also)
{
    struct strbuf out;
    int fd = raw_connect(httpd_port(r->server));

    strbuf_init(&out, 0);
    raw_send(fd, text);
    shutdown(fd, SHUT_WR);
    raw_read_all(fd, &out);
    close(fd);
    bool ok = str_starts(strbuf_str(&out), str_of(wanted)) && strstr(out.data, also);
    if (!ok)
        printf("%s\n->\n%s\n", text, out.data);
    strbuf_done(&out);
    return ok;
}

#define HOST " HTTP/1.1\r\nHost: x\r\n"

static void test_pages(void)
{
    struct rig r;

    CU_ASSERT_EQUAL_FATAL(rig_init(&r, (struct httpd_config){0}), 0);
    CU_ASSERT(says(&r, "GET /hello" HOST "\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
        "\r\nContent-Length: 21\r\n\r\nhello world at /hello"));
    CU_ASSERT(says(&r, "GET /dir/a%20b?x&name=a+%26b" HOST "\r\n", "HTTP/1.1 200 ",
        "\r\n\r\nhello a &b at /dir/a b"));
    CU_ASSERT(
        says(&r, "HEAD /hello" HOST "\r\n", "HTTP/1.1 200 ", "\r\nContent-Length: 21\r\n\r\n"));
    CU_ASSERT(
        says(&r, "GET /hello HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "\r\nConnection: close\r\n"));
    CU_ASSERT(says(&r, "GET /none" HOST "\r\n", "HTTP/1.1 401 ", "Unauthorized"));
    CU_ASSERT(says(&r, "GET /none" HOST "X-Pass: yes\r\n\r\n", "HTTP/1.1 404 ", "not found"));
    CU_ASSERT(says(&r, "POST /hello" HOST "X-Pass: yes\r\n\r\n", "HTTP/1.1 405 ", "not allowed"));
    CU_ASSERT(says(&r, "GET /who" HOST "\r\n", "HTTP/1.1 401 ", "Unauthorized"));
    CU_ASSERT(says(&r, "GET /who" HOST "X-Pass: yes\r\n\r\n", "HTTP/1.1 200 ", "nobody of "));
    CU_ASSERT(says(&r, "GET /silence" HOST "\r\n", "HTTP/1.1 500 ", "no answer"));
    CU_ASSERT(says(&r, "GET /dir/../who" HOST "\r\n", "HTTP/1.1 400 ", "the path holds"));
    CU_ASSERT(says(&r, "GET /dir/%2e%2e/who" HOST "\r\n", "HTTP/1.1 400 ", ""));
    CU_ASSERT(says(&r, "GET /dir/%zz" HOST "\r\n", "HTTP/1.1 400 ", "invalid URL escape"));
    CU_ASSERT(says(&r, "GET hello" HOST "\r\n", "HTTP/1.1 400 ", "must be a path"));
    CU_ASSERT(says(&r, "\x16\x03\x01\x02", "HTTP/1.1 400 ", "close"));
    CU_ASSERT(says(&r, "GET /hello HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "missing Host"));
    CU_ASSERT(says(&r, "GET /hello" HOST "\r\nGET /dir/" HOST "Connection: close\r\n\r\n",
        "HTTP/1.1 200 ", "at /dir/"));
    rig_done(&r);
}

static void test_bodies(void)
{
    struct rig r;

    CU_ASSERT_EQUAL_FATAL(rig_init(&r, (struct httpd_config){0}), 0);
    CU_ASSERT(says(&r, "POST /echo" HOST "Content-Length: 3\r\n\r\nabcGET /hello" HOST "\r\n",
        "HTTP/1.1 200 ", "\r\n\r\nabcHTTP/1.1 200 "));
    CU_ASSERT(says(&r,
        "POST /echo" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        "HTTP/1.1 200 ", "\r\n\r\nabc"));
    CU_ASSERT(says(&r, "POST /echo" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 ", "\r\n\r\nabc"));
    CU_ASSERT(says(
        &r, "POST /echo" HOST "Content-Length: 9999999\r\n\r\nabc", "HTTP/1.1 413 ", "larger"));
    CU_ASSERT(says(
        &r, "POST /echo" HOST "Content-Length: 9\r\n\r\nabc", "HTTP/1.1 503 ", "within the body"));
    CU_ASSERT(says(&r, "POST /echo" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 400 ", "malformed"));
    /* a body nobody reads is drained, and the connection goes on */
    CU_ASSERT(says(&r, "GET /hello" HOST "Content-Length: 3\r\n\r\nabcGET /dir/x" HOST "\r\n",
        "HTTP/1.1 200 ", "at /dir/x"));
    rig_done(&r);
}

static void test_streams(void)
{
    struct rig r;

    CU_ASSERT_EQUAL_FATAL(rig_init(&r, (struct httpd_config){0}), 0);
    CU_ASSERT(says(&r, "GET /stream" HOST "\r\n", "HTTP/1.1 200 ",
        "\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none \r\n186a0\r\nxxx"));
    CU_ASSERT(says(&r, "GET /stream" HOST "\r\n", "HTTP/1.1 200 ", "xxx\r\n0\r\n\r\n"));
    CU_ASSERT(says(&r, "GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "\r\n\r\none xxx"));
    CU_ASSERT(says(&r, "HEAD /stream" HOST "\r\n", "HTTP/1.1 200 ", "chunked\r\n\r\n"));
    int fd = raw_connect(httpd_port(r.server));
    raw_send(fd, "GET /endless" HOST "\r\n");
    CU_ASSERT(wait_step(&r, 1));
    close(fd);
    CU_ASSERT(wait_step(&r, 2));
    rig_done(&r);
}

static void test_upgrade(void)
{
    struct rig r;

    CU_ASSERT_EQUAL_FATAL(rig_init(&r, (struct httpd_config){0}), 0);
    CU_ASSERT(says(&r, "POST /upgrade" HOST "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nraw bytes",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nraw bytes",
        ""));
    rig_done(&r);
}

static void test_stop_ends_all(void)
{
    struct rig r;
    int fds[8];

    CU_ASSERT_EQUAL_FATAL(rig_init(&r, (struct httpd_config){0}), 0);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        fds[i] = raw_connect(httpd_port(r.server));
    raw_send(fds[1], "GET /hel");
    raw_send(fds[2], "GET /endless" HOST "\r\n");
    raw_send(fds[3], "POST /echo" HOST "Content-Length: 9\r\n\r\nabc");
    raw_send(fds[4], "POST /upgrade" HOST "\r\n");
    CU_ASSERT(wait_step(&r, 1));
    int64_t started = env_now_ns(r.env);
    httpd_free(r.server);
    r.server = NULL;
    CU_ASSERT(env_now_ns(r.env) - started < 3 * NS_PER_S);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
    rig_done(&r);
}

static void test_too_many_connections(void)
{
    struct rig r;
    int fds[80];
    char buf[64];

    CU_ASSERT_EQUAL_FATAL(rig_init(&r, (struct httpd_config){0}), 0);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        fds[i] = raw_connect(httpd_port(r.server));
    ssize_t n = read(fds[64], buf, sizeof(buf) - 1);
    buf[n > 0 ? n : 0] = '\0';
    CU_ASSERT(strstr(buf, "HTTP/1.1 503 ") == buf);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
    bool recovered = false;
    for (int i = 0; i < 200 && !recovered; i++) { /* the slots come back */
        struct strbuf out;
        strbuf_init(&out, 0);
        int fd = raw_connect(httpd_port(r.server));
        raw_send(fd, "GET /hello" HOST "Connection: close\r\n\r\n");
        raw_read_all(fd, &out);
        close(fd);
        recovered = str_starts(strbuf_str(&out), STR("HTTP/1.1 200 "));
        strbuf_done(&out);
        if (!recovered)
            env_sleep_ns(r.env, 5 * NS_PER_MS);
    }
    CU_ASSERT(recovered);
    rig_done(&r);
}

static void test_bad_configurations(void)
{
    struct rig r;

    CU_ASSERT_EQUAL(rig_init(&r, (struct httpd_config){.address = "0.0.0.0"}), -ERR_USAGE);
    rig_done(&r);
    CU_ASSERT_EQUAL(rig_init(&r, (struct httpd_config){.address = "nonsense"}), -ERR_USAGE);
    rig_done(&r);
    CU_ASSERT_EQUAL(rig_init(&r, (struct httpd_config){.cert_file = "/none", .key_file = "/none"}),
        -ERR_SYSTEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err.text, "/none"));
    rig_done(&r);
    struct rig taken;
    CU_ASSERT_EQUAL_FATAL(rig_init(&taken, (struct httpd_config){0}), 0);
    CU_ASSERT_EQUAL(
        rig_init(&r, (struct httpd_config){.port = httpd_port(taken.server)}), -ERR_SYSTEM);
    CU_ASSERT_EQUAL(r.err.sys_errno, EADDRINUSE);
    rig_done(&r);
    rig_done(&taken);
}

/* ---- TLS ---- */

struct certs {
    char dir[32];
    char ca[64], cert[64], key[64];
    struct pki_pair ca_pair, server, admin, stranger_ca, stranger;
};

static void make_server_cert(struct certs *c, const char *name)
{
    static const char *const names[] = {"IP:127.0.0.1", "DNS:kubelet.test", NULL};
    struct error err;
    struct pki_subject subject = {
        .common_name = name, .alt_names = names, .usage = PKI_SERVER, .valid_seconds = 3600};

    pki_pair_done(&c->server);
    CU_ASSERT_EQUAL_FATAL(pki_new_cert(&c->ca_pair, &subject, &c->server, &err), 0);
    CU_ASSERT_EQUAL(file_write(c->key, str_of(c->server.key_pem), 0600, &err), 0);
    CU_ASSERT_EQUAL(file_write(c->cert, str_of(c->server.cert_pem), 0644, &err), 0);
}

static void certs_init(struct certs *c)
{
    static const char *const groups[] = {"system:masters", "ops", NULL};
    struct pki_subject admin = {.common_name = "admin",
        .organizations = groups,
        .usage = PKI_CLIENT,
        .valid_seconds = 3600};
    struct error err;

    *c = (struct certs){.dir = "/tmp/skiff-tls-XXXXXX"};
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(c->dir));
    snprintf(c->ca, sizeof(c->ca), "%s/ca.crt", c->dir);
    snprintf(c->cert, sizeof(c->cert), "%s/tls.crt", c->dir);
    snprintf(c->key, sizeof(c->key), "%s/tls.key", c->dir);
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("test-ca", 3600, &c->ca_pair, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("other-ca", 3600, &c->stranger_ca, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_cert(&c->ca_pair, &admin, &c->admin, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pki_new_cert(&c->stranger_ca, &admin, &c->stranger, &err), 0);
    CU_ASSERT_EQUAL(file_write(c->ca, str_of(c->ca_pair.cert_pem), 0644, &err), 0);
    make_server_cert(c, "server");
}

static void certs_done(struct certs *c)
{
    struct error err;

    pki_pair_done(&c->ca_pair);
    pki_pair_done(&c->server);
    pki_pair_done(&c->admin);
    pki_pair_done(&c->stranger_ca);
    pki_pair_done(&c->stranger);
    CU_ASSERT_EQUAL(file_remove_tree(c->dir, &err), 0);
}

/* GET over a new client; the answer's status, or the error. */
static int tls_get(
    struct rig *r, struct http_client_config config, const char *path, const char *wanted)
{
    char url[64];
    struct http_client *client;
    struct http_response response;
    struct error err;

    snprintf(url, sizeof(url), "https://127.0.0.1:%d", httpd_port(r->server));
    config.base_url = url;
    if (http_client_new(r->env, &config, &client, &err) < 0)
        return -err.code;
    http_response_init(&response);
    int result =
        http_do(client, &(struct http_request){.method = "GET", .path = path}, &response, &err);
    if (result == 0) {
        result = response.status;
        CU_ASSERT(!wanted || str_eqc(strbuf_str(&response.body), wanted));
    }
    http_response_done(&response);
    http_client_free(client);
    return result;
}

static void test_tls(void)
{
    struct rig r;
    struct certs c;

    certs_init(&c);
    struct httpd_config config = {.cert_file = c.cert, .key_file = c.key, .client_ca_file = c.ca};
    CU_ASSERT_EQUAL_FATAL(rig_init(&r, config), 0);
    struct http_client_config with_file = {.ca_file = c.ca},
                              with_pem = {.ca_pem = c.ca_pair.cert_pem};
    CU_ASSERT_EQUAL(tls_get(&r, with_file, "/hello", "hello world at /hello"), 200);
    CU_ASSERT_EQUAL(tls_get(&r, with_pem, "/hello", "hello world at /hello"), 200);
    CU_ASSERT_EQUAL(tls_get(&r, with_pem, "/who", NULL), 401);
    CU_ASSERT_EQUAL(tls_get(&r, (struct http_client_config){0}, "/hello", NULL), -ERR_SYSTEM);
    CU_ASSERT_EQUAL(
        tls_get(&r, (struct http_client_config){.insecure_skip_verify = true}, "/hello", NULL),
        200);
    struct http_client_config admin = with_pem;
    admin.cert_pem = c.admin.cert_pem;
    admin.key_pem = c.admin.key_pem;
    CU_ASSERT_EQUAL(tls_get(&r, admin, "/who", "admin of system:masters,ops"), 200);
    admin.tls_server_name = "kubelet.test";
    CU_ASSERT_EQUAL(tls_get(&r, admin, "/who", "admin of system:masters,ops"), 200);
    admin.tls_server_name = "other.test";
    CU_ASSERT_EQUAL(tls_get(&r, admin, "/who", NULL), -ERR_SYSTEM);
    struct http_client_config stranger = with_pem;
    stranger.cert_pem = c.stranger.cert_pem;
    stranger.key_pem = c.stranger.key_pem;
    CU_ASSERT(tls_get(&r, stranger, "/hello", NULL) < 0);
    CU_ASSERT_EQUAL(tls_get(&r, with_pem, "/stream", NULL), 200);
    rig_done(&r);
    certs_done(&c);
}

static void test_tls_reload(void)
{
    struct rig r;
    struct certs c;

    certs_init(&c);
    CU_ASSERT_EQUAL_FATAL(
        rig_init(&r, (struct httpd_config){.cert_file = c.cert, .key_file = c.key}), 0);
    CU_ASSERT_EQUAL(
        tls_get(&r, (struct http_client_config){.ca_pem = c.ca_pair.cert_pem}, "/hello", NULL),
        200);
    pki_pair_done(&c.ca_pair);
    CU_ASSERT_EQUAL_FATAL(pki_new_ca("new-ca", 3600, &c.ca_pair, &r.err), 0);
    make_server_cert(&c, "server");
    CU_ASSERT_EQUAL(
        tls_get(&r, (struct http_client_config){.ca_pem = c.ca_pair.cert_pem}, "/hello", NULL),
        200);
    CU_ASSERT_EQUAL(file_write(c.cert, STR("garbage"), 0644, &r.err), 0);
    CU_ASSERT_EQUAL(
        tls_get(&r, (struct http_client_config){.ca_pem = c.ca_pair.cert_pem}, "/hello", NULL),
        200);
    rig_done(&r);
    certs_done(&c);
}

static void test_tls_strange_clients(void)
{
    struct rig r;
    struct certs c;
    struct strbuf out;

    certs_init(&c);
    CU_ASSERT_EQUAL_FATAL(
        rig_init(&r, (struct httpd_config){.cert_file = c.cert, .key_file = c.key}), 0);
    strbuf_init(&out, 0);
    int idle = raw_connect(httpd_port(r.server)); /* a handshake that never comes */
    int plain = raw_connect(httpd_port(r.server));
    raw_send(plain, "GET /hello" HOST "\r\n");
    raw_read_all(plain, &out); /* dropped */
    CU_ASSERT_EQUAL(
        tls_get(&r, (struct http_client_config){.ca_pem = c.ca_pair.cert_pem}, "/hello", NULL),
        200);
    close(plain);
    strbuf_done(&out);
    rig_done(&r);
    close(idle);
    certs_done(&c);
}

const CU_TestInfo httpd_tests[] = {
    {"pages", test_pages},
    {"bodies", test_bodies},
    {"streams", test_streams},
    {"upgrade", test_upgrade},
    {"stop ends all", test_stop_ends_all},
    {"too many connections", test_too_many_connections},
    {"bad configurations", test_bad_configurations},
    {"TLS", test_tls},
    {"TLS: certificate replaced", test_tls_reload},
    {"TLS: strange clients", test_tls_strange_clients},
    CU_TEST_INFO_NULL,
};
