/*
 * The etcd engine against a real etcd on loopback (a test is skipped, and says so, where no etcd is
 * installed): commits, two API servers, lost answers through a proxy that breaks connections, etcd
 * killed, compaction, no space, user and password, TLS.
 */
#include <CUnit/CUnit.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apiserver/store/etcd.h"
#include "common/file.h"
#include "common/pki.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

extern char **environ;

struct etcd_server {
    char *dir, *scheme, *url;
    const char *extra[8];
    int port, peer_port;
    pid_t pid;
};

static bool have_etcd(void)
{
    static const char *const places[] = {"/usr/bin/etcd", "/usr/local/bin/etcd"};

    for (size_t i = 0; i < ARRAY_COUNT(places); i++)
        if (access(places[i], X_OK) == 0)
            return true;
    printf("\n    skipped: no etcd is installed\n");
    return false;
}

/* Not of the range that outgoing connections take theirs from: a restarted etcd must find it free.
 */
static int free_port(void)
{
    static unsigned seed;

    if (!seed)
        seed = (unsigned)getpid();
    for (;;) {
        int port = 12000 + rand_r(&seed) % 18000,
            fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = {.sin_family = AF_INET,
            .sin_port = htons((uint16_t)port),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int taken = bind(fd, (struct sockaddr *)&a, sizeof(a));

        close(fd);
        if (taken == 0)
            return port;
    }
}

static void etcd_start(struct etcd_server *s)
{
    autofree char *data = str_format("--data-dir=%s/etcd", s->dir);
    autofree char *client =
        str_format("--listen-client-urls=%s://127.0.0.1:%d", s->scheme, s->port);
    autofree char *advertise =
        str_format("--advertise-client-urls=%s://127.0.0.1:%d", s->scheme, s->port);
    autofree char *peer = str_format("--listen-peer-urls=http://127.0.0.1:%d", s->peer_port);
    autofree char *peer2 =
        str_format("--initial-advertise-peer-urls=http://127.0.0.1:%d", s->peer_port);
    autofree char *cluster =
        str_format("--initial-cluster=default=http://127.0.0.1:%d", s->peer_port);
    autofree char *log = str_format("%s/etcd.log", s->dir);
    char *argv[20] = {"etcd", data, client, advertise, peer, peer2, cluster, "--logger=zap"};
    size_t n = 8;
    posix_spawn_file_actions_t actions;

    for (size_t i = 0; s->extra[i]; i++)
        argv[n++] = (char *)s->extra[i];
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    CU_ASSERT_FATAL(posix_spawnp(&s->pid, "etcd", &actions, NULL, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
}

static void etcd_prepare(struct etcd_server *s, char *dir, const char *scheme)
{
    *s = (struct etcd_server){
        .dir = dir, .scheme = xstrdup(scheme), .port = free_port(), .peer_port = free_port()};
    s->url = str_format("%s://127.0.0.1:%d", scheme, s->port);
}

static void etcd_kill(struct etcd_server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

static void etcd_done(struct etcd_server *s)
{
    etcd_kill(s);
    free(s->scheme);
    free(s->url);
    test_dir_done(s->dir);
}

static struct store *open_store(struct env *env, const char *url)
{
    struct store_etcd_config config = {.servers = url, .prefix = "/skiff"};
    struct store *s = NULL;
    struct error err = {0};
    int result = store_etcd_new(env, &config, &s, &err);

    if (result < 0)
        fprintf(stderr, "%s\n", err.text);
    CU_ASSERT_FATAL(result == 0);
    return s;
}

static void test_commits(void)
{
    struct etcd_server server;

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    etcd_start(&server);
    struct env *env = env_new_real();
    struct cache *cache = test_cache(env, open_store(env, server.url));
    int64_t a = test_put(env, cache, &res_pods, "x", "a", NULL, NULL, 1), b;

    CU_ASSERT(a > 0 && cache_version(cache) >= a);
    b = test_put(env, cache, &res_pods, "x", "a", NULL, NULL, 2);
    CU_ASSERT(b > a);
    struct object *now = cache_get(cache, &res_pods, STR("x"), STR("a"));

    CU_ASSERT_EQUAL(now->revision, b);
    CU_ASSERT_EQUAL(test_number(now), 2);
    int64_t c = test_delete(env, cache, &res_pods, "x", "a");

    CU_ASSERT(c > b);
    CU_ASSERT_PTR_NULL(cache_get(cache, &res_pods, STR("x"), STR("a")));
    object_unref(now);
    for (int i = 0; i < 700; i++) { /* more than a page */
        char name[16];

        snprintf(name, sizeof(name), "n%d", i);
        test_put(env, cache, &res_config_maps, i % 2 ? "x" : "y", name, "label", NULL, i);
    }
    int64_t end = cache_version(cache);

    cache_free(cache);
    cache = test_cache(env, open_store(env, server.url));
    CU_ASSERT(cache_version(cache) >= end);
    struct snapshot *s = snapshot_take(cache, &res_config_maps);

    CU_ASSERT_EQUAL(snapshot_count(s, STR("")), 700);
    CU_ASSERT_EQUAL(snapshot_count(s, STR("x")), 350);
    snapshot_free(s);
    now = cache_get(cache, &res_config_maps, STR("x"), STR("n1"));
    CU_ASSERT_EQUAL(test_number(now), 1);
    CU_ASSERT_STRING_EQUAL(object_label_get(now, "app"), "label");
    object_unref(now);
    cache_free(cache);
    env_free(env);
    etcd_done(&server);
}

static void fresh_done(void *arg, const struct error *err)
{
    __atomic_store_n((int *)arg, err ? -1 : 1, __ATOMIC_RELEASE);
}

static void wait_fresh(struct env *env, struct cache *cache)
{
    int told = 0;

    if (cache_fresh(cache, fresh_done, &told))
        return;
    while (!__atomic_load_n(&told, __ATOMIC_ACQUIRE))
        env_sleep_ns(env, NS_PER_MS / 10);
    CU_ASSERT_EQUAL(__atomic_load_n(&told, __ATOMIC_ACQUIRE), 1);
}

static void test_two_servers(void)
{
    struct etcd_server server;
    struct cache *caches[2];

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    etcd_start(&server);
    struct env *env = env_new_real();

    for (int i = 0; i < 2; i++)
        caches[i] = test_cache(env, open_store(env, server.url));
    for (int i = 0; i < 50; i++) { /* a read that starts after the answer shows the write, through
                                      the other server too */
        int64_t v = test_put(env, caches[i % 2], &res_pods, "x", "a", NULL, NULL, i);

        wait_fresh(env, caches[1 - i % 2]);
        struct object *o = cache_get(caches[1 - i % 2], &res_pods, STR("x"), STR("a"));

        CU_ASSERT(o && o->revision == v && test_number(o) == i);
        object_unref(o);
    }
    cache_random_run(env, caches, 2, 200);
    for (int i = 0; i < 2; i++)
        cache_free(caches[i]);
    env_free(env);
    etcd_done(&server);
}

/* --- a proxy that breaks connections --- */

#define PROXY_CONNECTIONS 64

struct proxy {
    int listener, port, target;
    int fds[PROXY_CONNECTIONS][2]; /* -1: free; client, server */
    bool stop, breaking, down;     /* atomic */
    unsigned seed;
    int broken;
    pthread_t thread;
};

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void proxy_close(struct proxy *p, int i)
{
    close(p->fds[i][0]);
    close(p->fds[i][1]);
    p->fds[i][0] = p->fds[i][1] = -1;
}

static void proxy_accept(struct proxy *p)
{
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC),
        to = fd < 0 ? -1 : connect_to(p->target);

    for (int i = 0; to >= 0 && i < PROXY_CONNECTIONS; i++)
        if (p->fds[i][0] < 0) {
            p->fds[i][0] = fd;
            p->fds[i][1] = to;
            return;
        }
    if (fd >= 0)
        close(fd);
    if (to >= 0)
        close(to);
}

/* Moves bytes; now and then the way back is cut instead, so that the request arrived and the answer
 * does not. */
static void proxy_move(struct proxy *p, int i, int from)
{
    char buf[65536];
    ssize_t n = read(p->fds[i][from], buf, sizeof(buf));
    bool cut =
        from == 1 && __atomic_load_n(&p->breaking, __ATOMIC_RELAXED) && rand_r(&p->seed) % 25 == 0;

    if (n <= 0 || cut || write(p->fds[i][!from], buf, (size_t)n) != n) {
        __atomic_fetch_add(&p->broken, cut, __ATOMIC_RELAXED);
        proxy_close(p, i);
    }
}

static void *proxy_run(void *arg)
{
    struct proxy *p = (struct proxy *)arg;

    while (!__atomic_load_n(&p->stop, __ATOMIC_RELAXED)) {
        struct pollfd polls[1 + 2 * PROXY_CONNECTIONS];

        polls[0] = (struct pollfd){p->listener, POLLIN, 0};
        for (int i = 0; i < PROXY_CONNECTIONS; i++)
            for (int side = 0; side < 2; side++)
                polls[1 + 2 * i + side] = (struct pollfd){p->fds[i][side], POLLIN, 0};
        poll(polls, ARRAY_COUNT(polls), 50);
        for (int i = 0; i < PROXY_CONNECTIONS; i++)
            if (p->fds[i][0] >= 0 && __atomic_load_n(&p->down, __ATOMIC_RELAXED))
                proxy_close(p, i);
        for (int i = 0; i < PROXY_CONNECTIONS; i++)
            for (int side = 0; side < 2; side++)
                if (p->fds[i][side] >= 0 && polls[1 + 2 * i + side].fd == p->fds[i][side] &&
                    polls[1 + 2 * i + side].revents)
                    proxy_move(p, i, side);
        if (polls[0].revents)
            proxy_accept(p);
    }
    return NULL;
}

static void proxy_start(struct proxy *p, int target)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);

    *p = (struct proxy){.target = target, .seed = 5};
    memset(p->fds, -1, sizeof(p->fds));
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(
        bind(p->listener, (struct sockaddr *)&a, n) == 0 && listen(p->listener, 64) == 0);
    getsockname(p->listener, (struct sockaddr *)&a, &n);
    p->port = ntohs(a.sin_port);
    pthread_create(&p->thread, NULL, proxy_run, p);
}

static void proxy_stop(struct proxy *p)
{
    __atomic_store_n(&p->stop, true, __ATOMIC_RELAXED);
    pthread_join(p->thread, NULL);
    for (int i = 0; i < PROXY_CONNECTIONS; i++)
        if (p->fds[i][0] >= 0)
            proxy_close(p, i);
    close(p->listener);
}

/* A counter that several writers raise by compare-and-swap: every acknowledged step counts exactly
 * once. */
struct counter {
    struct env *env;
    struct cache *cache;
    char key[8];
    int acknowledged;
};

static void count_up(void *arg)
{
    struct counter *c = (struct counter *)arg;
    int64_t deadline = env_now_ns(c->env) + 60 * NS_PER_S;

    for (int i = 0; i < 150; i++) {
        for (;;) {
            struct object *base = cache_newest(c->cache, &res_pods, STR("x"), str_of(c->key));
            int64_t n = base ? test_number(base) : 0;
            struct object *next = test_object(&res_pods, "x", c->key, NULL, NULL, n + 1);
            int result = test_write(c->env, c->cache, &res_pods, base, next, false, NULL);

            object_unref(base);
            object_unref(next);
            if (result == 0)
                break;
            if (result != -ERR_CONFLICT)
                env_sleep_ns(c->env, 10 * NS_PER_MS);
            if (env_now_ns(c->env) > deadline)
                return;
        }
        c->acknowledged++;
    }
}

static void test_lost_answers(void)
{
    struct etcd_server server;
    struct proxy proxy;
    struct counter counters[4];
    struct task *tasks[4];

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    etcd_start(&server);
    struct env *env = env_new_real();

    while (connect_to(server.port) < 0)
        env_sleep_ns(env, 10 * NS_PER_MS);
    proxy_start(&proxy, server.port);
    autofree char *url = str_format("http://127.0.0.1:%d", proxy.port);
    struct cache *cache = test_cache(env, open_store(env, url));

    __atomic_store_n(&proxy.breaking, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 4; i++) {
        counters[i] = (struct counter){.env = env, .cache = cache};
        snprintf(counters[i].key, sizeof(counters[i].key), "k%d", i / 2); /* two writers a key */
        tasks[i] = env_spawn(env, "counter", count_up, &counters[i]);
    }
    for (int i = 0; i < 4; i++)
        env_join(env, tasks[i]);
    __atomic_store_n(&proxy.breaking, false, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        struct object *o = cache_get(cache, &res_pods, STR("x"), i ? STR("k1") : STR("k0"));

        CU_ASSERT_EQUAL(test_number(o), 300);
        object_unref(o);
    }
    int broken = __atomic_load_n(&proxy.broken, __ATOMIC_RELAXED);

    printf("\n    %d connections were cut before their answer\n", broken);
    CU_ASSERT(broken > 5);
    cache_free(cache);
    proxy_stop(&proxy);
    env_free(env);
    etcd_done(&server);
}

static void test_etcd_killed(void)
{
    struct etcd_server server;
    struct counter counters[2];
    struct task *tasks[2];
    struct error err;

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    etcd_start(&server);
    struct env *env = env_new_real();
    struct cache *cache = test_cache(env, open_store(env, server.url));

    for (int i = 0; i < 2; i++) {
        counters[i] = (struct counter){.env = env, .cache = cache};
        snprintf(counters[i].key, sizeof(counters[i].key), "k%d", i);
        tasks[i] = env_spawn(env, "counter", count_up, &counters[i]);
    }
    for (int i = 0; i < 3; i++) {
        env_sleep_ns(env, 60 * NS_PER_MS);
        etcd_kill(&server);
        env_sleep_ns(env, 100 * NS_PER_MS);
        etcd_start(&server);
        while (!cache_healthy(cache, &err))
            env_sleep_ns(env, 10 * NS_PER_MS);
    }
    for (int i = 0; i < 2; i++) {
        env_join(env, tasks[i]);
        struct object *o = cache_get(cache, &res_pods, STR("x"), str_of(counters[i].key));

        CU_ASSERT_EQUAL(test_number(o), 150);
        object_unref(o);
    }
    /* gone for longer: a clear refusal, and back again */
    etcd_kill(&server);
    env_sleep_ns(env, 100 * NS_PER_MS); /* so that the connections are known to be closed: an answer
                                           that is lost is waited for */
    struct object *next = test_object(&res_pods, "x", "late", NULL, NULL, 1);
    int64_t before = env_now_ns(env);

    CU_ASSERT_EQUAL(test_write(env, cache, &res_pods, NULL, next, false, NULL), -ERR_UNAVAILABLE);
    CU_ASSERT(env_now_ns(env) - before < 10 * NS_PER_S);
    CU_ASSERT(!cache_healthy(cache, &err));
    etcd_start(&server);
    while (test_write(env, cache, &res_pods, NULL, next, false, NULL) == -ERR_UNAVAILABLE)
        env_sleep_ns(env, 50 * NS_PER_MS);
    CU_ASSERT(cache_healthy(cache, &err));
    object_unref(next);
    cache_free(cache);
    env_free(env);
    etcd_done(&server);
}

static void post(struct env *env, const char *url, const char *path, const char *body)
{
    struct http_client_config config = {.base_url = url};
    struct http_client *client;
    struct http_response response;
    struct error err;

    CU_ASSERT_FATAL(http_client_new(env, &config, &client, &err) == 0);
    http_response_init(&response);
    CU_ASSERT(http_do(client,
                  &(struct http_request){.method = "POST", .path = path, .body = str_of(body)},
                  &response, &err) == 0);
    if (response.status != 200)
        fprintf(stderr, "%s: %s\n", path, response.body.data);
    CU_ASSERT_EQUAL(response.status, 200);
    http_response_done(&response);
    http_client_free(client);
}

static void wake_nobody(void *arg)
{
}

static void test_compaction(void)
{
    struct etcd_server server;
    struct proxy proxy;
    struct error err;
    struct watcher *w;
    struct watch_filter all = {0};

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    etcd_start(&server);
    struct env *env = env_new_real();

    while (connect_to(server.port) < 0)
        env_sleep_ns(env, 10 * NS_PER_MS);
    proxy_start(&proxy, server.port);
    autofree char *url = str_format("http://127.0.0.1:%d", proxy.port);
    struct cache *direct = test_cache(env, open_store(env, server.url)),
                 *cut = test_cache(env, open_store(env, url));
    int64_t v = test_put(env, direct, &res_pods, "x", "a", NULL, NULL, 1);

    wait_fresh(env, cut);
    CU_ASSERT_FATAL(watcher_new(cut, &res_pods, v, &all, wake_nobody, NULL, &w, &err) == 0);
    __atomic_store_n(
        &proxy.down, true, __ATOMIC_RELAXED); /* what this server misses now is compacted away */
    env_sleep_ns(env, 200 * NS_PER_MS);
    for (int i = 0; i < 20; i++)
        v = test_put(env, direct, &res_pods, "x", "a", NULL, NULL, i + 2);
    test_put(env, direct, &res_pods, "x", "b", NULL, NULL, 5);
    autofree char *body = str_format("{\"revision\":\"%lld\"}", (long long)v / 128);

    post(env, server.url, "/v3/kv/compaction", body);
    __atomic_store_n(&proxy.down, false, __ATOMIC_RELAXED);
    const struct event *e;
    enum event_type as;
    int result;

    while ((result = watcher_next(w, &e, &as, &err)) == 0)
        env_sleep_ns(env, NS_PER_MS);
    CU_ASSERT_EQUAL(result, -ERR_EXPIRED);
    watcher_free(w);
    wait_fresh(env, cut);
    struct object *o = cache_get(cut, &res_pods, STR("x"), STR("a")),
                  *b = cache_get(cut, &res_pods, STR("x"), STR("b"));

    CU_ASSERT(o && test_number(o) == 21 && o->revision == v && b);
    object_unref(o);
    object_unref(b);
    CU_ASSERT(test_put(env, cut, &res_pods, "x", "a", NULL, NULL, 99) > v);
    cache_free(cut);
    cache_free(direct);
    proxy_stop(&proxy);
    env_free(env);
    etcd_done(&server);
}

static void test_no_space(void)
{
    struct etcd_server server;
    struct error err = {0};
    int64_t version;
    int result = 0;

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    server.extra[0] = "--quota-backend-bytes=1000000";
    etcd_start(&server);
    struct env *env = env_new_real();
    struct store *s = open_store(env, server.url);
    autofree char *value = (char *)xcalloc(1, 50001);

    for (int i = 0; i < 50000; i++)
        value[i] = (char)('a' + env_random(env) % 26);
    for (int i = 0; i < 100 && result == 0; i++) {
        char key[16];

        snprintf(key, sizeof(key), "c/x/%d", i);
        result = test_commit(env, s, key, 0, value, false, &version, &err);
    }
    CU_ASSERT_EQUAL(result, -ERR_UNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "NOSPACE"));
    s->ops->free(s);
    env_free(env);
    etcd_done(&server);
}

static int ignore_row(
    void *arg, struct str key, struct str value, int64_t version, struct error *err)
{
    return 0;
}

static void write_file(const char *path, const char *text)
{
    struct error err;

    CU_ASSERT_FATAL(file_write(path, str_of(text), 0600, &err) == 0);
}

static void test_password(void)
{
    struct etcd_server server;
    struct error err = {0};
    struct store *s;
    int64_t version;

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "http");
    server.extra[0] = "--auth-token-ttl=1"; /* tokens run out while we work */
    etcd_start(&server);
    struct env *env = env_new_real();
    autofree char *password_file = str_format("%s/password", server.dir),
                  *wrong = str_format("%s/wrong", server.dir);

    write_file(password_file, "secret\n");
    write_file(wrong, "guess");
    while (connect_to(server.port) < 0)
        env_sleep_ns(env, 10 * NS_PER_MS);
    env_sleep_ns(env, 500 * NS_PER_MS);
    post(env, server.url, "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"secret\"}");
    post(env, server.url, "/v3/auth/role/add", "{\"name\":\"root\"}");
    post(env, server.url, "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    post(env, server.url, "/v3/auth/enable", "{}");
    struct store_etcd_config config = {
        .servers = server.url, .username = "root", .password_file = wrong};

    CU_ASSERT_FATAL(store_etcd_new(env, &config, &s, &err) == 0);
    CU_ASSERT(s->ops->load(s, STR(""), ignore_row, NULL, &version, &err) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "wrong user name or password"));
    s->ops->free(s);
    config.username = NULL;
    CU_ASSERT_FATAL(store_etcd_new(env, &config, &s, &err) == 0);
    CU_ASSERT(s->ops->load(s, STR(""), ignore_row, NULL, &version, &err) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "--etcd-username"));
    s->ops->free(s);
    config.username = "root";
    config.password_file = password_file;
    CU_ASSERT_FATAL(store_etcd_new(env, &config, &s, &err) == 0);
    struct cache *cache = test_cache(env, s);

    for (int i = 0; i < 4; i++) {
        CU_ASSERT(test_put(env, cache, &res_pods, "x", "a", NULL, NULL, i) > 0);
        env_sleep_ns(env, 700 * NS_PER_MS);
    }
    cache_free(cache);
    env_free(env);
    etcd_done(&server);
}

static void test_tls(void)
{
    static const char *const names[] = {"IP:127.0.0.1", "DNS:localhost", NULL};
    struct etcd_server server;
    struct pki_pair ca, cert, client;
    struct error err = {0};
    struct store *s;

    if (!have_etcd())
        return;
    etcd_prepare(&server, test_dir(), "https");
    struct pki_subject subject = {.common_name = "etcd",
        .alt_names = names,
        .usage = PKI_SERVER | PKI_CLIENT,
        .valid_seconds = 3600};
    struct pki_subject client_subject = {
        .common_name = "skiff", .usage = PKI_CLIENT, .valid_seconds = 3600};

    CU_ASSERT_FATAL(pki_new_ca("ca", 3600, &ca, &err) == 0);
    CU_ASSERT_FATAL(pki_new_cert(&ca, &subject, &cert, &err) == 0);
    CU_ASSERT_FATAL(pki_new_cert(&ca, &client_subject, &client, &err) == 0);
    const char *texts[] = {
        ca.cert_pem, cert.cert_pem, cert.key_pem, client.cert_pem, client.key_pem};
    char *paths[5], *flags[3];

    for (int i = 0; i < 5; i++) {
        paths[i] = str_format("%s/%d.pem", server.dir, i);
        write_file(paths[i], texts[i]);
    }
    flags[0] = str_format("--cert-file=%s", paths[1]);
    flags[1] = str_format("--key-file=%s", paths[2]);
    flags[2] = str_format("--trusted-ca-file=%s", paths[0]);
    for (int i = 0; i < 3; i++)
        server.extra[i] = flags[i];
    server.extra[3] = "--client-cert-auth";
    etcd_start(&server);
    struct env *env = env_new_real();
    autofree char *servers =
        str_format("https://127.0.0.1:%d, %s", free_port(), server.url); /* the first is dead */
    struct store_etcd_config config = {
        .servers = servers, .ca_file = paths[0], .cert_file = paths[3], .key_file = paths[4]};

    CU_ASSERT_FATAL(store_etcd_new(env, &config, &s, &err) == 0);
    struct cache *cache = test_cache(env, s);

    CU_ASSERT(test_put(env, cache, &res_pods, "x", "a", NULL, NULL, 1) > 0);
    CU_ASSERT(test_put(env, cache, &res_pods, "x", "a", NULL, NULL, 2) > 0);
    cache_free(cache);
    env_free(env);
    pki_pair_done(&ca);
    pki_pair_done(&cert);
    pki_pair_done(&client);
    for (int i = 0; i < 5; i++)
        free(paths[i]);
    for (int i = 0; i < 3; i++)
        free(flags[i]);
    etcd_done(&server);
}

const CU_TestInfo store_etcd_tests[] = {
    {"commits, loading", test_commits},
    {"two API servers", test_two_servers},
    {"lost answers", test_lost_answers},
    {"etcd killed and restarted", test_etcd_killed},
    {"compacted while cut off", test_compaction},
    {"no space", test_no_space},
    {"user and password", test_password},
    {"TLS, client certificate, a dead endpoint", test_tls},
    CU_TEST_INFO_NULL,
};
