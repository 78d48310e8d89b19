/*
 * The HTTP client's I/O task: libcurl's multi interface over epoll, and libcurl's callbacks.
 *
 * Only this task calls curl_multi_* and touches an active easy handle. It takes posted transfers,
 * acts on their want_* flags, and tells owners through a transfer's condition. While a call is
 * blocked, a response is written directly; a stream's bytes go to `buffer`, and above HIGH_WATER
 * the transfer is paused.
 */
#include "common/http_curl.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common/time.h"

#define HIGH_WATER (128u << 10)
#define READ_EVENT (1ull << 32) /* beside the descriptor: which cache an event is for */

void transfer_post(struct curl_client *c, struct transfer *t)
{
    if (!t->queued) {
        t->queued = true;
        t->next = NULL;
        if (c->last)
            c->last->next = t;
        else
            c->first = t;
        c->last = t;
    }
    if (c->polling) {
        c->polling = false;
        eventfd_write(c->wake_fd, 1);
    }
}

static struct transfer *next_posted(struct curl_client *c)
{
    struct transfer *t = c->first;

    if (!t)
        return NULL;
    c->first = t->next;
    if (!c->first)
        c->last = NULL;
    t->queued = false;
    return t;
}

void transfer_unpost(struct curl_client *c, struct transfer *t)
{
    struct transfer **at = &c->first, *before = NULL;

    for (; *at != t; at = &(*at)->next)
        before = *at;
    *at = t->next;
    if (c->last == t)
        c->last = before;
    t->queued = false;
}

/* libcurl's limit counts the connections in use as well: keep the idle ones beside those. Set too
 * low it would close connections under load and open them again. */
static void count_active(struct curl_cache *cache, int change)
{
    cache->active_count += change;
    curl_multi_setopt(
        cache->multi, CURLMOPT_MAXCONNECTS, cache->active_count + cache->client->idle_max);
}

/* Takes t off curl and tells its owner; nobody's (abandoned) goes back to the pool. */
static void finish(struct curl_client *c, struct transfer *t, CURLcode code)
{
    long os_errno = 0;

    if (t->active) {
        curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
        curl_multi_remove_handle(t->cache->multi, t->easy);
        if (t->active_prev)
            t->active_prev->active_next = t->active_next;
        else
            c->active = t->active_next;
        if (t->active_next)
            t->active_next->active_prev = t->active_prev;
        t->active = false;
        count_active(t->cache, -1);
    }
    env_lock(c->base.env, &c->lock);
    t->code = code;
    t->os_errno = (int)os_errno;
    t->done = true;
    env_signal(c->base.env, &t->changed);
    bool is_abandoned = t->abandoned;
    env_unlock(c->base.env, &c->lock);
    if (is_abandoned)
        transfer_release(t);
}

static void start(struct curl_client *c, struct transfer *t)
{
    t->active = true;
    t->active_prev = NULL;
    t->active_next = c->active;
    if (c->active)
        c->active->active_prev = t;
    c->active = t;
    count_active(t->cache, 1);
    if (curl_multi_add_handle(t->cache->multi, t->easy) != CURLM_OK)
        finish(c, t, CURLE_FAILED_INIT);
}

/* Called with the lock held, returns with it held. */
static void run_posted(struct curl_client *c)
{
    struct transfer *t;

    while ((t = next_posted(c))) {
        bool want_start = t->want_start, want_resume = t->want_resume, want_cancel = t->want_cancel;
        t->want_start = t->want_resume = false;
        if (t->done)
            continue;
        env_unlock(c->base.env, &c->lock);
        if (want_cancel)
            finish(c, t, CURLE_ABORTED_BY_CALLBACK);
        else if (want_start)
            start(c, t);
        else if (want_resume && t->active)
            curl_easy_pause(t->easy, CURLPAUSE_CONT);
        env_lock(c->base.env, &c->lock);
    }
}

static void run_timer(struct curl_cache *cache)
{
    int running;

    if (cache->timer_at_ns > env_now_ns(cache->client->base.env))
        return;
    cache->timer_at_ns = ENV_FOREVER;
    curl_multi_socket_action(cache->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static void run_messages(struct curl_cache *cache)
{
    CURLMsg *message;
    struct transfer *t;
    int left;

    while ((message = curl_multi_info_read(cache->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        finish(cache->client, t, code);
    }
}

static void run_caches(struct curl_client *c)
{
    run_timer(&c->calls);
    run_timer(&c->reads);
    run_messages(&c->calls);
    run_messages(&c->reads);
}

static void wait_for_events(struct curl_client *c)
{
    struct epoll_event events[32];
    int timeout_ms = -1, running;

    int64_t at_ns =
        c->calls.timer_at_ns < c->reads.timer_at_ns ? c->calls.timer_at_ns : c->reads.timer_at_ns;
    if (at_ns != ENV_FOREVER) {
        int64_t left = at_ns - env_now_ns(c->base.env);
        timeout_ms = left <= 0 ? 0 : (int)((left + NS_PER_MS - 1) / NS_PER_MS);
    }
    int n = epoll_wait(c->epoll_fd, events, ARRAY_COUNT(events), timeout_ms);
    env_lock(c->base.env, &c->lock);
    c->polling = false;
    env_unlock(c->base.env, &c->lock);
    for (int i = 0; i < n; i++) {
        struct curl_cache *cache = events[i].data.u64 & READ_EVENT ? &c->reads : &c->calls;
        int fd = (int)(events[i].data.u64 & ~READ_EVENT);
        if (fd == c->wake_fd)
            continue; /* edge triggered, never read */
        int mask = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(cache->multi, fd, mask, &running);
    }
}

void client_io_run(void *arg)
{
    struct curl_client *c = arg;
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    for (;;) {
        env_lock(c->base.env, &c->lock);
        run_posted(c);
        bool is_stopping = c->stopping;
        env_unlock(c->base.env, &c->lock);
        if (is_stopping)
            break;
        run_caches(c);
        env_lock(c->base.env, &c->lock);
        bool is_idle = !c->first && !c->stopping;
        c->polling = is_idle;
        env_unlock(c->base.env, &c->lock);
        if (is_idle) {
            wait_for_events(c);
            run_caches(c);
        }
    }
    while (c->active)
        finish(c, c->active, CURLE_ABORTED_BY_CALLBACK);
    curl_multi_cleanup(c->reads.multi);
    curl_multi_cleanup(c->calls.multi); /* here, where SIGPIPE is blocked */
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct curl_cache *cache = arg;
    struct curl_client *c = cache->client;
    struct epoll_event event = {.data.u64 = (uint64_t)fd | (cache->is_reads ? READ_EVENT : 0)};

    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (epoll_ctl(c->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0)
        epoll_ctl(c->epoll_fd, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
    curl_multi_assign(cache->multi, fd, c);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct curl_cache *cache = arg;

    cache->timer_at_ns =
        timeout_ms < 0 ? ENV_FOREVER : env_now_ns(cache->client->base.env) + timeout_ms * NS_PER_MS;
    return 0;
}

/* ---- curl's callbacks of one transfer, on the I/O task ---- */

static int before_request(
    void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct transfer *t = arg;

    if (t->sent && !t->repeatable) {
        t->refused_repeat = true;
        return CURL_PREREQFUNC_ABORT;
    }
    t->sent = true;
    return CURL_PREREQFUNC_OK;
}

/* Programs that a daemon starts must not inherit its connections. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void add_header_line(struct strbuf *head, struct str line)
{
    ssize_t colon = str_find(line, ':');

    if (colon <= 0)
        return;
    for (ssize_t i = 0; i < colon; i++) {
        char c = line.p[i];
        strbuf_add_char(head, c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
    }
    strbuf_addc(head, ": ");
    strbuf_add(head, str_trim((struct str){line.p + colon + 1, line.n - (size_t)colon - 1}));
    strbuf_add_char(head, '\n');
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct curl_client *c = t->client;
    struct str line = {data, size * n};
    long status = 0;

    if (t->head_done) /* a trailer */
        return line.n;
    if (str_starts(line, STR("HTTP/"))) {
        strbuf_clear(&t->response->head);
        return line.n;
    }
    if (str_trim(line).n > 0) {
        add_header_line(&t->response->head, line);
        return strbuf_overflowed(&t->response->head) ? 0 : line.n;
    }
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 && status != 101)
        return line.n; /* 100 Continue and its like: the real head follows */
    t->head_done = true;
    t->response->status = (int)status;
    if (t->is_stream && status < 300) {
        env_lock(c->base.env, &c->lock);
        t->opened = true;
        env_signal(c->base.env, &t->changed);
        env_unlock(c->base.env, &c->lock);
    }
    return line.n;
}

static size_t on_body_part(struct transfer *t, struct str part)
{
    struct strbuf *body = &t->response->body;

    if (body->n == 0) { /* reserve all at once when the size is known */
        curl_off_t length = -1;
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if (length > 0 && (uint64_t)length <= body->limit)
            strbuf_reserve(body, (size_t)length);
    }
    strbuf_add(body, part);
    if (!strbuf_overflowed(body))
        return part.n;
    t->too_large = true;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct curl_client *c = t->client;
    struct str part = {data, size * n};

    if (!t->is_stream || !t->opened)
        return on_body_part(t, part);
    env_lock(c->base.env, &c->lock);
    size_t taken = part.n;
    if (t->buffer.n > 0 && t->buffer.n + part.n > HIGH_WATER) {
        t->paused = true;
        taken = CURL_WRITEFUNC_PAUSE;
    } else {
        strbuf_add(&t->buffer, part);
        env_signal(c->base.env, &t->changed);
    }
    env_unlock(c->base.env, &c->lock);
    return taken;
}

static void cache_setup(struct curl_cache *cache)
{
    cache->timer_at_ns = ENV_FOREVER;
    cache->multi = curl_multi_init();
    assert(cache->multi);
    curl_multi_setopt(cache->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(cache->multi, CURLMOPT_SOCKETDATA, cache);
    curl_multi_setopt(cache->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(cache->multi, CURLMOPT_TIMERDATA, cache);
}

void client_io_setup(struct curl_client *c)
{
    c->calls.client = c->reads.client = c;
    c->reads.is_reads = true;
    cache_setup(&c->calls);
    cache_setup(&c->reads);
}

void transfer_set_callbacks(struct transfer *t)
{
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->curl_text);
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
}
