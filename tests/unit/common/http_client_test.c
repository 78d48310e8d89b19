/*
 * Tests of the production HTTP client against servers that answer, stall, break and lie.
 *
 * Method: raw_server scripts on loopback; each test has its own server, client and environment.
 */
#include "common/http_client.h"

#include <CUnit/CUnit.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"
#include "common/limits.h"
#include "common/time.h"
#include "tests/unit/common/raw_server.h"

struct rig {
    struct env *env;
    struct raw_server *server;
    struct http_client *client;
    struct http_response response;
    struct error err;
    struct strbuf seen; /* the last request; written by one script at a time */
    const char *answer;
    struct lock lock;
    struct cond changed;
    int step;
    int result;
    struct http_canceller canceller;
};

static void rig_init(struct rig *r, raw_script_fn *script, const struct http_client_config *more)
{
    struct http_client_config config = more ? *more : (struct http_client_config){0};
    char url[64];

    *r = (struct rig){.env = env_new_real()};
    env_lock_init(&r->lock);
    env_cond_init(&r->changed);
    http_canceller_init(&r->canceller);
    strbuf_init(&r->seen, 0);
    http_response_init(&r->response);
    r->server = raw_server_new(r->env, script, r);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", raw_server_port(r->server));
    config.base_url = url;
    config.user_agent = "unit-test";
    int failed = http_client_new(r->env, &config, &r->client, &r->err);
    CU_ASSERT_EQUAL_FATAL(failed, 0);
}

static void rig_done(struct rig *r)
{
    http_client_free(r->client);
    raw_server_free(r->server);
    http_response_done(&r->response);
    strbuf_done(&r->seen);
    http_canceller_done(&r->canceller);
    env_cond_done(&r->changed);
    env_lock_done(&r->lock);
    env_free(r->env);
}

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

static int get(struct rig *r, const char *path)
{
    return http_do(
        r->client, &(struct http_request){.method = "GET", .path = path}, &r->response, &r->err);
}

/* Reads a request and notes it, for the test to look at. */
static bool read_request(struct rig *r, int fd)
{
    struct strbuf request;

    strbuf_init(&request, 0);
    bool is_whole = raw_read_request(fd, &request);
    if (is_whole) {
        env_lock(r->env, &r->lock);
        strbuf_clear(&r->seen);
        strbuf_add(&r->seen, strbuf_str(&request));
        env_unlock(r->env, &r->lock);
    }
    strbuf_done(&request);
    return is_whole;
}

static bool saw(struct rig *r, const char *text)
{
    env_lock(r->env, &r->lock);
    bool found = strstr(r->seen.data, text);
    env_unlock(r->env, &r->lock);
    return found;
}

/* ---- messages ---- */

static void answer_script(void *arg, int fd, int index)
{
    struct rig *r = arg;

    while (read_request(r, fd))
        raw_send(fd, r->answer);
}

static void test_exchange(void)
{
    struct rig r;
    static const struct http_header headers[] = {{"Accept", "a/b"}, {"X-Empty", ""}};

    rig_init(&r, answer_script, &(struct http_client_config){.bearer_token = "secret"});
    r.answer = "HTTP/1.1 404 Not Found\r\nX-Some-Name:  v w \r\nContent-Length: 5\r\n\r\nhello";
    CU_ASSERT_EQUAL(
        http_do(r.client,
            &(struct http_request){
                .method = "GET", .path = "/a/../b?c=d", .headers = headers, .header_count = 2},
            &r.response, &r.err),
        0);
    CU_ASSERT_EQUAL(r.response.status, 404);
    CU_ASSERT(str_eqc(strbuf_str(&r.response.body), "hello"));
    CU_ASSERT(str_eqc(http_response_header(&r.response, "x-some-name"), "v w"));
    CU_ASSERT_EQUAL(http_response_header(&r.response, "x-some").n, 0);
    CU_ASSERT(saw(&r, "GET /a/../b?c=d HTTP/1.1\r\n"));
    CU_ASSERT(saw(&r, "\r\nAuthorization: Bearer secret\r\n"));
    CU_ASSERT(saw(&r, "\r\nUser-Agent: unit-test\r\n"));
    CU_ASSERT(saw(&r, "\r\nAccept: a/b\r\n"));
    CU_ASSERT(saw(&r, "\r\nX-Empty:\r\n"));
    CU_ASSERT(!saw(&r, "Content-Type"));
    CU_ASSERT(!saw(&r, "Content-Length"));
    CU_ASSERT_EQUAL(raw_server_connections(r.server), 1);
    rig_done(&r);
}

static void test_methods(void)
{
    struct rig r;
    static const struct {
        const char *method, *body, *line, *length;
    } cases[] = {
        {"POST", "abc", "POST /x HTTP/1.1\r\n", "\r\nContent-Length: 3\r\n"},
        {"POST", "", "POST /x HTTP/1.1\r\n", "\r\nContent-Length: 0\r\n"},
        {"PUT", "abcd", "PUT /x HTTP/1.1\r\n", "\r\nContent-Length: 4\r\n"},
        {"PATCH", "", "PATCH /x HTTP/1.1\r\n", "\r\nContent-Length: 0\r\n"},
        {"DELETE", "", "DELETE /x HTTP/1.1\r\n", NULL},
        {"DELETE", "{}", "DELETE /x HTTP/1.1\r\n", "\r\nContent-Length: 2\r\n"},
        {"OPTIONS", "", "OPTIONS /x HTTP/1.1\r\n", NULL},
        {"GET", "", "GET /x HTTP/1.1\r\n", NULL},
    };

    rig_init(&r, answer_script, NULL);
    r.answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
               "chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int result = http_do(r.client,
            &(struct http_request){
                .method = cases[i].method, .path = "/x", .body = str_of(cases[i].body)},
            &r.response, &r.err);
        CU_ASSERT_EQUAL(result, 0);
        CU_ASSERT_EQUAL(r.response.status, 200);
        CU_ASSERT(str_eqc(strbuf_str(&r.response.body), "ok"));
        autofree char *end = str_format("\r\n\r\n%s", cases[i].body);
        CU_ASSERT(saw(&r, cases[i].line));
        CU_ASSERT(saw(&r, end));
        if (cases[i].length)
            CU_ASSERT(saw(&r, cases[i].length));
        CU_ASSERT(!saw(&r, "Expect"));
    }
    r.answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    CU_ASSERT_EQUAL(http_do(r.client, &(struct http_request){.method = "HEAD", .path = "/x"},
                        &r.response, &r.err),
        0);
    CU_ASSERT_EQUAL(r.response.body.n, 0);
    r.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    CU_ASSERT_EQUAL(get(&r, "/x"), 0);
    CU_ASSERT(str_eqc(strbuf_str(&r.response.body), "ok"));
    CU_ASSERT_EQUAL(raw_server_connections(r.server), 1);
    rig_done(&r);
}

static void test_bad_requests(void)
{
    struct rig r;
    static const struct http_header split[] = {{"X", "a\r\nY: b"}};

    rig_init(&r, answer_script, NULL);
    r.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    CU_ASSERT_EQUAL(get(&r, "/a b"), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(get(&r, "/a\r\n"), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(get(&r, "a"), -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(http_do(r.client,
                        &(struct http_request){
                            .method = "GET", .path = "/", .headers = split, .header_count = 1},
                        &r.response, &r.err),
        -ERR_BAD_REQUEST);
    CU_ASSERT_EQUAL(raw_server_connections(r.server), 0);
    rig_done(&r);
}

static void test_absolute_url_gets_no_token(void)
{
    struct rig r;
    char url[64];

    rig_init(&r, answer_script, &(struct http_client_config){.bearer_token = "secret"});
    r.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    snprintf(url, sizeof(url), "http://localhost:%d/x", raw_server_port(r.server));
    CU_ASSERT_EQUAL(get(&r, url), 0);
    CU_ASSERT(!saw(&r, "secret"));
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/x", raw_server_port(r.server));
    CU_ASSERT_EQUAL(get(&r, url), 0);
    CU_ASSERT(saw(&r, "secret"));
    rig_done(&r);
}

static void test_token_file(void)
{
    struct rig r;
    char path[] = "/tmp/skiff-token-XXXXXX";
    int fd = mkstemp(path);

    CU_ASSERT_FATAL(fd >= 0);
    raw_send(fd, "");
    CU_ASSERT_EQUAL(write(fd, "one\n", 4), 4);
    close(fd);
    rig_init(&r, answer_script, &(struct http_client_config){.bearer_token_file = path});
    r.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    CU_ASSERT_EQUAL(get(&r, "/"), 0);
    CU_ASSERT(saw(&r, "Bearer one\r\n"));
    CU_ASSERT_EQUAL(file_write(path, STR("two"), 0600, &r.err), 0);
    for (int i = 0; i < 40 && !saw(&r, "Bearer two\r\n"); i++) {
        env_sleep_ns(r.env, 50 * NS_PER_MS);
        CU_ASSERT_EQUAL(get(&r, "/"), 0);
    }
    CU_ASSERT(saw(&r, "Bearer two\r\n"));
    rig_done(&r);
    unlink(path);
}

static void test_response_limit(void)
{
    struct rig r;

    rig_init(&r, answer_script, NULL);
    r.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    struct http_request request = {.method = "GET", .path = "/", .response_limit = 9};
    CU_ASSERT_EQUAL(http_do(r.client, &request, &r.response, &r.err), -ERR_TOO_LARGE);
    request.response_limit = 10;
    CU_ASSERT_EQUAL(http_do(r.client, &request, &r.response, &r.err), 0);
    rig_done(&r);
}

static void test_nobody_listens(void)
{
    struct env *env = env_new_real();
    struct http_client *client;
    struct http_response response;
    struct error err;

    http_response_init(&response);
    CU_ASSERT_EQUAL(
        http_client_new(
            env, &(struct http_client_config){.base_url = "http://127.0.0.1:1"}, &client, &err),
        0);
    CU_ASSERT_EQUAL(http_do(client, &(struct http_request){.method = "GET", .path = "/x?secret=1"},
                        &response, &err),
        -ERR_SYSTEM);
    CU_ASSERT_STRING_EQUAL(err.text, "GET http://127.0.0.1:1/x: connect: Connection refused");
    http_client_free(client);
    CU_ASSERT_EQUAL(
        http_client_new(env, &(struct http_client_config){.base_url = "ftp://x"}, &client, &err),
        -ERR_USAGE);
    http_response_done(&response);
    env_free(env);
}

/* ---- broken connections ---- */

/* The first request of a connection is answered, the second makes the server hang up. */
static void once_script(void *arg, int fd, int index)
{
    struct rig *r = arg;

    if (read_request(r, fd))
        raw_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    read_request(r, fd);
}

static void test_a_lost_answer_is_not_repeated(void)
{
    struct rig r;
    struct http_request post = {.method = "POST", .path = "/", .body = STR("x")};

    rig_init(&r, once_script, NULL);
    CU_ASSERT_EQUAL(http_do(r.client, &post, &r.response, &r.err), 0);
    CU_ASSERT_EQUAL(http_do(r.client, &post, &r.response, &r.err), -ERR_CLOSED);
    CU_ASSERT_EQUAL(get(&r, "/"), 0);
    CU_ASSERT_EQUAL(get(&r, "/"), 0); /* repeated on a new connection */
    CU_ASSERT(raw_server_connections(r.server) >= 3);
    rig_done(&r);
}

static void half_script(void *arg, int fd, int index)
{
    struct rig *r = arg;

    if (read_request(r, fd) && index > 0)
        raw_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
}

static void test_closed(void)
{
    struct rig r;

    rig_init(&r, half_script, NULL);
    CU_ASSERT_EQUAL(get(&r, "/"), -ERR_CLOSED);
    CU_ASSERT_EQUAL(get(&r, "/"), -ERR_CLOSED);
    rig_done(&r);
}

static void garbage_script(void *arg, int fd, int index)
{
    struct rig *r = arg;

    read_request(r, fd);
    raw_send(fd, "SSH-2.0-OpenSSH\r\n\r\n");
}

static void test_garbage(void)
{
    struct rig r;

    rig_init(&r, garbage_script, NULL);
    CU_ASSERT(get(&r, "/") < 0);
    rig_done(&r);
}

static void silent_script(void *arg, int fd, int index)
{
    struct rig *r = arg;

    read_request(r, fd);
    set_step(r, 1);
    read_request(r, fd);
}

static void test_timeout(void)
{
    struct rig r;
    struct http_request request = {.method = "GET", .path = "/", .timeout_ns = 30 * NS_PER_MS};

    rig_init(&r, silent_script, NULL);
    int64_t started = env_now_ns(r.env);
    CU_ASSERT_EQUAL(http_do(r.client, &request, &r.response, &r.err), -ERR_TIMEOUT);
    CU_ASSERT(env_now_ns(r.env) - started >= 30 * NS_PER_MS);
    struct http_stream *stream;
    CU_ASSERT_EQUAL(
        http_stream_open(r.client, &request, &stream, &r.response, &r.err), -ERR_TIMEOUT);
    rig_done(&r);
}

static void call_run(void *arg)
{
    struct rig *r = arg;

    r->result = http_do(r->client,
        &(struct http_request){.method = "GET", .path = "/", .canceller = &r->canceller},
        &r->response, &r->err);
}

static void test_cancel_a_call(void)
{
    struct rig r;

    rig_init(&r, silent_script, NULL);
    struct task *task = env_spawn(r.env, "call", call_run, &r);
    CU_ASSERT(wait_step(&r, 1));
    int64_t started = env_now_ns(r.env);
    http_cancel(r.env, &r.canceller);
    env_join(r.env, task);
    CU_ASSERT_EQUAL(r.result, -ERR_CANCELLED);
    CU_ASSERT(env_now_ns(r.env) - started < 5 * NS_PER_S);
    call_run(&r); /* stays cancelled */
    CU_ASSERT_EQUAL(r.result, -ERR_CANCELLED);
    rig_done(&r);
}

static void test_free_ends_calls(void)
{
    struct rig r;

    rig_init(&r, silent_script, NULL);
    struct task *task = env_spawn(r.env, "call", call_run, &r);
    CU_ASSERT(wait_step(&r, 1));
    http_client_free(r.client);
    r.client = NULL;
    env_join(r.env, task);
    CU_ASSERT_EQUAL(r.result, -ERR_CANCELLED);
    rig_done(&r);
}

/* ---- many at once ---- */

static void many_run(void *arg)
{
    struct rig *r = arg;
    struct http_response response;
    struct error err;

    http_response_init(&response);
    for (int i = 0; i < 100; i++) {
        struct http_request request = {.method = i % 3 ? "GET" : "POST",
            .path = "/",
            .timeout_ns = i % 10 ? 0 : NS_PER_US}; /* some give up at once */
        int result = http_do(r->client, &request, &response, &err);
        if (result == 0 ? response.status != 200 : result != -ERR_TIMEOUT)
            set_step(r, 1);
    }
    http_response_done(&response);
}

static void quiet_script(void *arg, int fd, int index)
{
    struct strbuf request;

    strbuf_init(&request, 0);
    while (raw_read_request(fd, &request))
        raw_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    strbuf_done(&request);
}

static void test_many_at_once(void)
{
    struct rig r;
    struct task *tasks[8];

    rig_init(&r, quiet_script, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        tasks[i] = env_spawn(r.env, "many", many_run, &r);
    for (size_t i = 0; i < ARRAY_COUNT(tasks); i++)
        env_join(r.env, tasks[i]);
    CU_ASSERT_EQUAL(r.step, 0);
    rig_done(&r);
}

/* ---- streams ---- */

static void stream_script(void *arg, int fd, int index)
{
    struct rig *r = arg;

    if (!read_request(r, fd))
        return;
    raw_send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n");
    if (!wait_step(r, 1))
        return;
    raw_send(fd, "4\r\none\n\r\n");
    if (!wait_step(r, 2))
        return;
    if (index == 0)
        raw_send(fd, "4\r\ntwo\n\r\n0\r\n\r\n");
    else if (index > 1)
        read_request(r, fd); /* until the client goes */
}

static struct http_stream *open_stream(struct rig *r)
{
    struct http_stream *stream = NULL;
    struct http_request request = {.method = "GET", .path = "/", .canceller = &r->canceller};

    CU_ASSERT_EQUAL(http_stream_open(r->client, &request, &stream, &r->response, &r->err), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    return stream;
}

static void test_stream(void)
{
    struct rig r;
    struct strbuf out;

    rig_init(&r, stream_script, NULL);
    strbuf_init(&out, 0);
    struct http_stream *stream = open_stream(&r);
    CU_ASSERT_EQUAL(r.response.status, 200);
    CU_ASSERT(str_eqc(http_response_header(&r.response, "x"), "y"));
    CU_ASSERT_EQUAL(
        http_stream_next(stream, env_now_ns(r.env) + NS_PER_MS, &out, &r.err), -ERR_TIMEOUT);
    set_step(&r, 1);
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), 1);
    CU_ASSERT(str_eqc(strbuf_str(&out), "one\n"));
    set_step(&r, 2);
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), 1);
    CU_ASSERT(str_eqc(strbuf_str(&out), "one\ntwo\n"));
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), 0);
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), 0);
    http_stream_close(stream);

    stream = open_stream(&r); /* the second breaks */
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), 1);
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), -ERR_CLOSED);
    http_stream_close(stream);
    strbuf_done(&out);
    rig_done(&r);
}

static void cancel_run(void *arg)
{
    struct rig *r = arg;

    env_sleep_ns(r->env, 5 * NS_PER_MS);
    http_cancel(r->env, &r->canceller);
}

static void test_stream_cancel_and_close(void)
{
    struct rig r;
    struct strbuf out;

    rig_init(&r, stream_script, NULL);
    strbuf_init(&out, 0);
    struct http_stream *stream = open_stream(&r);
    http_stream_cancel(stream);
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), -ERR_CANCELLED);
    http_stream_close(stream);
    stream = open_stream(&r);
    http_stream_close(stream); /* in the middle */
    stream = open_stream(&r);
    struct task *task = env_spawn(r.env, "cancel", cancel_run, &r);
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), -ERR_CANCELLED);
    http_stream_close(stream);
    env_join(r.env, task);
    CU_ASSERT_EQUAL(
        http_stream_open(r.client,
            &(struct http_request){.method = "GET", .path = "/", .canceller = &r.canceller},
            &stream, &r.response, &r.err),
        -ERR_CANCELLED);
    set_step(&r, 3);
    strbuf_done(&out);
    rig_done(&r);
}

static void test_stream_outlives_client(void)
{
    struct rig r;
    struct strbuf out;

    rig_init(&r, stream_script, NULL);
    strbuf_init(&out, 0);
    struct http_stream *stream = open_stream(&r);
    http_client_free(r.client);
    r.client = NULL;
    CU_ASSERT_EQUAL(http_stream_next(stream, ENV_FOREVER, &out, &r.err), -ERR_CANCELLED);
    http_stream_close(stream);
    set_step(&r, 3);
    strbuf_done(&out);
    rig_done(&r);
}

static void test_stream_refused(void)
{
    struct rig r;
    struct http_stream *stream = (struct http_stream *)&r;

    rig_init(&r, answer_script, NULL);
    r.answer = "HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone";
    CU_ASSERT_EQUAL(http_stream_open(r.client, &(struct http_request){.method = "GET", .path = "/"},
                        &stream, &r.response, &r.err),
        0);
    CU_ASSERT_PTR_NULL(stream);
    CU_ASSERT_EQUAL(r.response.status, 410);
    CU_ASSERT(str_eqc(strbuf_str(&r.response.body), "gone"));
    rig_done(&r);
}

#define FLOOD_BYTES (32u << 20)

static void flood_script(void *arg, int fd, int index)
{
    struct rig *r = arg;
    static char block[64 << 10];
    size_t sent = 0;

    read_request(r, fd);
    raw_send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n");
    while (sent < FLOOD_BYTES) {
        ssize_t put = send(fd, block, sizeof(block), MSG_NOSIGNAL);
        if (put <= 0)
            return;
        sent += (size_t)put;
        env_lock(r->env, &r->lock);
        r->result = (int)(sent >> 10);
        env_unlock(r->env, &r->lock);
    }
}

static void test_slow_reader_slows_the_sender(void)
{
    struct rig r;
    struct strbuf out;
    size_t total = 0;
    int result;

    rig_init(&r, flood_script, NULL);
    strbuf_init(&out, 0);
    struct http_stream *stream = open_stream(&r);
    env_sleep_ns(r.env, 150 * NS_PER_MS);
    env_lock(r.env, &r.lock);
    CU_ASSERT(r.result < 24 << 10); /* socket buffers hold some MiB, the client 128 KiB */
    env_unlock(r.env, &r.lock);
    while ((result = http_stream_next(stream, ENV_FOREVER, &out, &r.err)) == 1) {
        CU_ASSERT(out.n <= 256u << 10);
        total += out.n;
        strbuf_clear(&out);
    }
    CU_ASSERT_EQUAL(result, 0);
    CU_ASSERT_EQUAL(total, FLOOD_BYTES);
    http_stream_close(stream);
    strbuf_done(&out);
    rig_done(&r);
}

/* ---- URLs ---- */

static void test_url_codes(void)
{
    struct strbuf out;
    struct error err;
    static const char *const bad[] = {"%", "a%2", "%zz", "%00"};

    strbuf_init(&out, 0);
    url_encode(STR("a b/c=\xc3\xa9-._~"), &out);
    CU_ASSERT(str_eqc(strbuf_str(&out), "a%20b%2Fc%3D%C3%A9-._~"));
    strbuf_clear(&out);
    CU_ASSERT_EQUAL(url_decode(STR("a%20b+c%2f"), true, &out, &err), 0);
    CU_ASSERT(str_eqc(strbuf_str(&out), "a b c/"));
    strbuf_clear(&out);
    CU_ASSERT_EQUAL(url_decode(STR("a+b"), false, &out, &err), 0);
    CU_ASSERT(str_eqc(strbuf_str(&out), "a+b"));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        CU_ASSERT_EQUAL(url_decode(str_of(bad[i]), true, &out, &err), -ERR_BAD_REQUEST);
    strbuf_done(&out);
}

const CU_TestInfo http_client_tests[] = {
    {"exchange", test_exchange},
    {"methods", test_methods},
    {"bad requests are not sent", test_bad_requests},
    {"another host gets no token", test_absolute_url_gets_no_token},
    {"token file", test_token_file},
    {"response limit", test_response_limit},
    {"nobody listens", test_nobody_listens},
    {"a lost answer is not repeated", test_a_lost_answer_is_not_repeated},
    {"closed before and within the answer", test_closed},
    {"garbage", test_garbage},
    {"timeout", test_timeout},
    {"cancel a call", test_cancel_a_call},
    {"free ends calls", test_free_ends_calls},
    {"many at once", test_many_at_once},
    {"stream", test_stream},
    {"stream: cancel and close", test_stream_cancel_and_close},
    {"stream outlives its client", test_stream_outlives_client},
    {"stream refused", test_stream_refused},
    {"a slow reader slows the sender", test_slow_reader_slows_the_sender},
    {"URL codes", test_url_codes},
    CU_TEST_INFO_NULL,
};
