/*
 * Tests of common/informer.c against a server that plays an API: pages, events, bookmarks, 410,
 * breaks.
 *
 * Method: raw_server answers each LIST with the rig's objects (in pages of its own size) and each
 * watch with what the test pushes; the handler notes changes as text, "+a", "~a", "-a".
 */
#include "common/informer.h"

#include <CUnit/CUnit.h>
#include <sys/socket.h>

#include "common/time.h"
#include "tests/unit/common/raw_server.h"

struct thing {
    struct object_meta meta;
    const char *node;
};
static const struct projection_field fields[] = {
    PROJECT(struct thing, node, "spec.nodeName", P_STRING),
};
static const struct projection projection = PROJECTION(struct thing, fields);

struct rig {
    struct env *env;
    struct raw_server *server;
    struct api_client *client;
    struct informer *inf;
    struct error err;
    struct lock lock;
    struct cond changed;
    struct strbuf notes;    /* the handler's */
    struct strbuf requests; /* request lines */
    const char *pages[4];   /* bodies of the list, by continue token "1", "2", ... */
    int page_fails;         /* so many list requests get 500 */
    const char *refuse;     /* the answer to this many watch requests */
    int refusals;
    int watch_fd; /* the open watch, or -1 */
    int lists, watches, synced;
    bool mute; /* requests get no answer */
};

static void answer(int fd, const char *status, const char *body)
{
    autofree char *text =
        str_format("HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);

    raw_send(fd, text);
}

/* Notes the request and says what to answer, under the lock. */
static const char *play_list(struct rig *r, const char *line, const char **status)
{
    const char *token = strstr(line, "continue=");

    r->lists += !token;
    *status = "200 OK";
    if (r->page_fails > 0) {
        r->page_fails--;
        *status = "500 Internal Server Error";
        return "{}";
    }
    return r->pages[token ? token[9] - '0' : 0];
}

static bool play_watch(struct rig *r, int fd)
{
    r->watches++;
    if (r->refusals > 0) {
        r->refusals--;
        raw_send(fd, r->refuse);
        return false;
    }
    raw_send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    r->watch_fd = fd;
    env_broadcast(r->env, &r->changed);
    return true;
}

static void script(void *arg, int fd, int index)
{
    struct rig *r = arg;
    struct strbuf request;

    strbuf_init(&request, 0);
    while (raw_read_request(fd, &request)) {
        const char *status, *body = NULL;
        struct str rest = strbuf_str(&request), line;
        str_split(&rest, '\r', &line);
        env_lock(r->env, &r->lock);
        strbuf_add(&r->requests, line);
        strbuf_add_char(&r->requests, '\n');
        if (!r->mute && strstr(request.data, "watch=1"))
            play_watch(r, fd);
        else if (!r->mute)
            body = play_list(r, request.data, &status);
        env_broadcast(r->env, &r->changed);
        env_unlock(r->env, &r->lock);
        if (body)
            answer(fd, status, body);
    }
    env_lock(r->env, &r->lock);
    if (r->watch_fd == fd)
        r->watch_fd = -1;
    env_broadcast(r->env, &r->changed);
    env_unlock(r->env, &r->lock);
    strbuf_done(&request);
}

static void on_change(void *arg, const void *old_object, const void *new_object)
{
    struct rig *r = arg;
    const struct thing *old = old_object, *new = new_object;

    env_lock(r->env, &r->lock);
    strbuf_addf(&r->notes, "%c%s", !old ? '+' : !new ? '-' : '~', (new ? new : old)->meta.name);
    env_broadcast(r->env, &r->changed);
    env_unlock(r->env, &r->lock);
}

static void on_synced(void *arg)
{
    struct rig *r = arg;

    env_lock(r->env, &r->lock);
    r->synced++;
    env_unlock(r->env, &r->lock);
}

static void by_node(const void *object, informer_emit_fn *emit, void *arg)
{
    const struct thing *t = object;

    if (t->node[0])
        emit(arg, t->node);
}
static const struct informer_index indexes[] = {{"node", by_node}};

static void rig_init(struct rig *r, const char *list)
{
    char url[64];
    struct http_client *http;

    *r = (struct rig){.env = env_new_real(), .watch_fd = -1, .pages = {list}};
    env_lock_init(&r->lock);
    env_cond_init(&r->changed);
    strbuf_init(&r->notes, 0);
    strbuf_init(&r->requests, 0);
    r->server = raw_server_new(r->env, script, r);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", raw_server_port(r->server));
    CU_ASSERT_EQUAL_FATAL(
        http_client_new(r->env, &(struct http_client_config){.base_url = url}, &http, &r->err), 0);
    r->client = api_client_new(r->env, http);
    r->inf = informer_new(r->client, &(struct informer_config){.group_version = "v1",
                                         .plural = "things",
                                         .label_selector = "a=b",
                                         .projection = &projection,
                                         .handler = on_change,
                                         .on_synced = on_synced,
                                         .arg = r,
                                         .indexes = indexes,
                                         .index_count = 1});
}

static void rig_done(struct rig *r)
{
    informer_free(r->inf);
    api_client_free(r->client);
    raw_server_free(r->server);
    strbuf_done(&r->notes);
    strbuf_done(&r->requests);
    env_cond_done(&r->changed);
    env_lock_done(&r->lock);
    env_free(r->env);
}

typedef bool rig_test(struct rig *r, const void *arg);

static bool wait_for(struct rig *r, rig_test *test, const void *arg)
{
    int64_t deadline_ns = env_now_ns(r->env) + 15 * NS_PER_S;
    bool in_time = true;

    env_lock(r->env, &r->lock);
    while (!test(r, arg) && in_time)
        in_time = env_wait_until(r->env, &r->changed, &r->lock, deadline_ns);
    bool ok = test(r, arg);
    env_unlock(r->env, &r->lock);
    return ok;
}

static bool has_notes(struct rig *r, const void *arg)
{
    return !strcmp(r->notes.data, arg);
}

static bool has_watches(struct rig *r, const void *arg)
{
    return r->watch_fd >= 0 && r->watches >= *(const int *)arg;
}

static bool has_requests(struct rig *r, const void *arg)
{
    int n = 0;

    for (const char *p = r->requests.data; *p; p++)
        n += *p == '\n';
    return n >= *(const int *)arg;
}

static bool notes(struct rig *r, const char *wanted)
{
    bool ok = wait_for(r, has_notes, wanted);

    if (!ok)
        printf("notes: %s\nrequests:\n%s", r->notes.data, r->requests.data);
    return ok;
}

static bool watching(struct rig *r, int times)
{
    return wait_for(r, has_watches, &times);
}

/* Sends bytes of the open watch. */
static void push(struct rig *r, const char *text)
{
    autofree char *chunk = str_format("%zx\r\n%s\r\n", strlen(text), text);

    env_lock(r->env, &r->lock);
    raw_send(r->watch_fd, chunk);
    env_unlock(r->env, &r->lock);
}

/* Ends the watch: cleanly, or by breaking the connection. */
static void end_watch(struct rig *r, bool clean)
{
    env_lock(r->env, &r->lock);
    if (clean)
        raw_send(r->watch_fd, "0\r\n\r\n");
    else
        shutdown(r->watch_fd, SHUT_RDWR);
    r->watch_fd = -1;
    env_unlock(r->env, &r->lock);
}

#define OBJECT(name, uid, version, node)                                       \
    "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"" name "\",\"uid\":\"" uid \
    "\",\"resourceVersion\":\"" version "\"},\"spec\":{\"nodeName\":\"" node "\"}}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define LIST(version, items) \
    "{\"metadata\":{\"resourceVersion\":\"" version "\"},\"items\":[" items "]}"
#define A1 OBJECT("a", "u1", "1", "n1")
#define A5 OBJECT("a", "u1", "5", "n2")
#define B2 OBJECT("b", "u2", "2", "n1")
#define C6 OBJECT("c", "u3", "6", "")

static bool start(struct rig *r)
{
    informer_start(r->inf);
    return informer_wait_synced(r->inf, env_now_ns(r->env) + 15 * NS_PER_S);
}

static size_t index_count(struct rig *r, const char *key)
{
    struct projected_array found = informer_by_index(r->inf, "node", key);
    size_t n = found.count;

    projected_array_done(&found);
    return n;
}

static void test_list_and_watch(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1 "," B2));
    CU_ASSERT_FALSE(informer_synced(r.inf));
    CU_ASSERT(start(&r));
    CU_ASSERT(notes(&r, "+a+b"));
    CU_ASSERT_EQUAL(informer_count(r.inf), 2);
    CU_ASSERT_EQUAL(index_count(&r, "n1"), 2);
    const struct thing *a = informer_get(r.inf, "ns", "a");
    CU_ASSERT_STRING_EQUAL(a->node, "n1");
    CU_ASSERT_PTR_NULL(informer_get(r.inf, "ns", "zz"));
    CU_ASSERT(watching(&r, 1));
    push(&r, EVENT("MODIFIED", OBJECT("a", "u1", "11", "n2")));
    push(&r, EVENT("ADDED", OBJECT("c", "u3", "12", ""))
                 EVENT("DELETED", OBJECT("b", "u2", "13", "n1")));
    CU_ASSERT(informer_wait_version(r.inf, "13", ENV_FOREVER));
    CU_ASSERT(notes(&r, "+a+b~a+c-b"));
    CU_ASSERT_STRING_EQUAL(a->node, "n1"); /* what a reader holds doesn't change */
    projected_unref(a);
    CU_ASSERT_EQUAL(index_count(&r, "n1"), 0);
    CU_ASSERT_EQUAL(index_count(&r, "n2"), 1);
    struct projected_array all = informer_list(r.inf, NULL);
    CU_ASSERT_EQUAL_FATAL(all.count, 2);
    CU_ASSERT_STRING_EQUAL(((const struct thing *)all.objects[0])->meta.name, "a");
    projected_array_done(&all);
    all = informer_list(r.inf, "other");
    CU_ASSERT_EQUAL(all.count, 0);
    projected_array_done(&all);
    CU_ASSERT_FALSE(informer_wait_version(r.inf, "14", env_now_ns(r.env) + NS_PER_MS));
    push(&r, EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"20\"}}"));
    CU_ASSERT(informer_wait_version(r.inf, "20", ENV_FOREVER));
    CU_ASSERT_EQUAL(r.synced, 1);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(r.requests.data, "GET /api/v1/things?limit=1000&labelSelector=a%3Db HTTP/1.1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.requests.data, "&resourceVersion=10&timeoutSeconds="));
    rig_done(&r);
}

static void test_pages(void)
{
    struct rig r;

    rig_init(
        &r, "{\"items\":[" B2 "],\"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"1\"}}");
    r.pages[1] =
        "{ \"items\" : [ ] , \"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"2\"}}\n";
    r.pages[2] = LIST("10", C6 "," A1);
    CU_ASSERT(start(&r));
    CU_ASSERT(notes(&r, "+a+b+c"));
    CU_ASSERT_EQUAL(r.lists, 1);
    rig_done(&r);
}

static void test_resume(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1));
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    push(&r, EVENT("ADDED", OBJECT("b", "u2", "11", "")));
    CU_ASSERT(notes(&r, "+a+b"));
    end_watch(&r, false);
    CU_ASSERT(watching(&r, 2));
    push(&r, EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"20\"}}"));
    CU_ASSERT(informer_wait_version(r.inf, "20", ENV_FOREVER));
    end_watch(&r, true);
    CU_ASSERT(watching(&r, 3));
    push(&r, EVENT("ADDED", OBJECT("b", "u2", "11", ""))); /* known: not told again */
    push(&r, EVENT("DELETED", OBJECT("zz", "u9", "21", "")));
    push(&r, EVENT("ADDED", OBJECT("c", "u3", "22", "")));
    CU_ASSERT(notes(&r, "+a+b+c"));
    CU_ASSERT_EQUAL(r.lists, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.requests.data, "&resourceVersion=11&"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.requests.data, "&resourceVersion=20&"));
    rig_done(&r);
}

static void set_list(struct rig *r, const char *list)
{
    env_lock(r->env, &r->lock);
    r->pages[0] = list;
    env_unlock(r->env, &r->lock);
}

#define GONE "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"too old\"}"

static void test_expired(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1 "," B2));
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    /* an ERROR event within the stream */
    set_list(&r, LIST("30", A5 "," C6));
    push(&r, EVENT("ERROR", GONE));
    CU_ASSERT(notes(&r, "+a+b~a-b+c"));
    CU_ASSERT(informer_wait_version(r.inf, "30", ENV_FOREVER));
    CU_ASSERT(watching(&r, 2));
    /* a refusal of the resume; "a" was deleted and made again meanwhile, "c" is the same */
    set_list(&r, LIST("40", OBJECT("a", "u7", "39", "n1") "," C6));
    env_lock(r.env, &r.lock);
    r.refuse = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n";
    r.refusals = 1;
    env_unlock(r.env, &r.lock);
    end_watch(&r, false);
    CU_ASSERT(notes(&r, "+a+b~a-b+c-a+a"));
    CU_ASSERT_EQUAL(index_count(&r, "n1"), 1);
    CU_ASSERT_EQUAL(index_count(&r, "n2"), 0);
    CU_ASSERT_EQUAL(r.lists, 3);
    CU_ASSERT_EQUAL(r.synced, 1);
    rig_done(&r);
}

static void test_split_events(void)
{
    struct rig r;
    static const char text[] = EVENT("ADDED", OBJECT("b", "u2", "11", "n1")) "\n" EVENT(
        "MODIFIED", OBJECT("b", "u2", "12", "n2"));

    rig_init(&r, LIST("10", ""));
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    for (size_t i = 0; i + 1 < sizeof(text); i++)
        push(&r, (char[]){text[i], '\0'});
    CU_ASSERT(notes(&r, "+b~b"));
    rig_done(&r);
}

static void test_nonsense_events(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1));
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    push(&r, "this is not JSON\n");
    CU_ASSERT(watching(&r, 2));
    push(&r, EVENT("WHAT", A1));
    CU_ASSERT(watching(&r, 3));
    push(&r, EVENT("ADDED", "{}"));
    CU_ASSERT(watching(&r, 4));
    push(&r, EVENT("ADDED", C6));
    CU_ASSERT(notes(&r, "+a+c"));
    CU_ASSERT_EQUAL(r.lists, 1);
    rig_done(&r);
}

static void test_list_fails_first(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1));
    r.page_fails = 4;
    CU_ASSERT(start(&r));
    CU_ASSERT(notes(&r, "+a"));
    CU_ASSERT_EQUAL(r.lists, 5);
    rig_done(&r);
}

static void test_refused_watch(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1));
    r.refuse = "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n";
    r.refusals = 2;
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 3));
    CU_ASSERT_EQUAL(r.lists, 1);
    rig_done(&r);

    rig_init(&r, LIST("10", A1)); /* three times: it lists again */
    r.refuse = "HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n";
    r.refusals = 3;
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 4));
    CU_ASSERT_EQUAL(r.lists, 2);
    rig_done(&r);
}

static void test_stop_in_every_state(void)
{
    struct rig r;
    int one = 1;

    rig_init(&r, LIST("10", A1)); /* never started */
    rig_done(&r);

    rig_init(&r, LIST("10", A1)); /* at once */
    informer_start(r.inf);
    rig_done(&r);

    rig_init(&r, LIST("10", A1)); /* a list without an answer */
    r.mute = true;
    informer_start(r.inf);
    CU_ASSERT(wait_for(&r, has_requests, &one));
    int64_t started = env_now_ns(r.env);
    informer_free(r.inf);
    r.inf = NULL;
    CU_ASSERT(env_now_ns(r.env) - started < 5 * NS_PER_S);
    rig_done(&r);

    rig_init(&r, LIST("10", A1)); /* backing off */
    r.page_fails = 1000;
    informer_start(r.inf);
    CU_ASSERT(wait_for(&r, has_requests, &one));
    rig_done(&r);

    rig_init(&r, LIST("10", A1)); /* watching */
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    rig_done(&r);

    rig_init(&r, LIST("10", A1)); /* in the middle of an event */
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    push(&r, "{\"type\":\"ADDED\",");
    rig_done(&r);
}

static void test_server_gone(void)
{
    struct rig r;

    rig_init(&r, LIST("10", A1));
    CU_ASSERT(start(&r));
    CU_ASSERT(watching(&r, 1));
    raw_server_free(r.server);
    env_sleep_ns(r.env, 300 * NS_PER_MS);
    CU_ASSERT_EQUAL(informer_count(r.inf), 1); /* keeps what it has */
    informer_free(r.inf);
    r.inf = NULL;
    r.server = raw_server_new(r.env, script, &r);
    rig_done(&r);
}

static void test_many_objects(void)
{
    struct rig r;
    struct strbuf list;
    enum { COUNT = 3000 };

    strbuf_init(&list, 0);
    strbuf_addc(&list, "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[");
    for (int i = 0; i < COUNT; i++)
        strbuf_addf(&list,
            "%s{\"metadata\":{\"namespace\":\"ns%d\",\"name\":\"o%d\",\"uid\":\"u%d\","
            "\"resourceVersion\":\"%d\"},"
            "\"spec\":{\"nodeName\":\"n%d\"}}",
            i ? "," : "", i % 7, i, i, i + 1, i % 100);
    strbuf_addc(&list, "]}");
    rig_init(&r, list.data);
    CU_ASSERT(start(&r));
    CU_ASSERT_EQUAL(informer_count(r.inf), COUNT);
    CU_ASSERT_EQUAL(index_count(&r, "n5"), COUNT / 100);
    struct projected_array found = informer_list(r.inf, "ns3");
    CU_ASSERT_EQUAL(found.count, (COUNT + 3) / 7);
    for (size_t i = 1; i < found.count; i++)
        CU_ASSERT(strcmp(((const struct thing *)found.objects[i - 1])->meta.name,
                      ((const struct thing *)found.objects[i])->meta.name) < 0);
    projected_array_done(&found);
    CU_ASSERT(watching(&r, 1));
    set_list(&r, LIST("9000", ""));
    push(&r, EVENT("ERROR", GONE));
    CU_ASSERT(informer_wait_version(r.inf, "9000", ENV_FOREVER));
    CU_ASSERT_EQUAL(informer_count(r.inf), 0);
    CU_ASSERT_EQUAL(index_count(&r, "n5"), 0);
    rig_done(&r);
    strbuf_done(&list);
}

const CU_TestInfo informer_tests[] = {
    {"list and watch", test_list_and_watch},
    {"pages", test_pages},
    {"resume", test_resume},
    {"expired", test_expired},
    {"split events", test_split_events},
    {"nonsense events", test_nonsense_events},
    {"the first lists fail", test_list_fails_first},
    {"a refused watch", test_refused_watch},
    {"stop in every state", test_stop_in_every_state},
    {"server gone", test_server_gone},
    {"many objects", test_many_objects},
    CU_TEST_INFO_NULL,
};
