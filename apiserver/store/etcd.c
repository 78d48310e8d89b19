/*
 * The etcd engine: opening, loading, the linearizable head, compaction. See etcd.h for the parts.
 *
 * Loading reads pages of the prefix at the first page's revision. head() calls that arrive while
 * one is at etcd share the next one. Compaction is done by whichever API server wins the change of
 * PREFIX/~compact, at most once in five minutes, as upstream's do with compact_rev_key; it keeps
 * what the caller wants kept (ten minutes and more).
 *
 * Upstream: apiserver/pkg/storage/etcd3.
 */
#include "apiserver/store/etcd.h"

#include <inttypes.h>
#include <zstd.h>

#include "common/base64.h"
#include "common/log.h"
#include "common/time.h"

#define PAGE_KEYS 500
#define LOAD_TIMEOUT_NS (60 * NS_PER_S)
#define LOAD_TRIES_NS (10 * NS_PER_S)
#define HEAD_TIMEOUT_NS (5 * NS_PER_S)
#define HEAD_TRIES_NS (10 * NS_PER_S)
#define RETRY_NS (100 * NS_PER_MS)
#define COMPACT_EACH_NS (300 * NS_PER_S)

/* --- loading --- */

struct loader {
    struct etcd *e;
    int (*row)(void *arg, struct str key, struct str value, int64_t version, struct error *err);
    void *arg;
    struct str prefix;
    ZSTD_DCtx *zstd;
    struct strbuf key, value, next; /* next: raw key to go on from */
    int64_t revision;
};

static int take_row(struct loader *l, const cJSON *kv, struct error *err)
{
    unsigned index;

    if (etcd_get_key(l->e, kv, &l->key, err) < 0)
        return -err->code;
    if (str_eqc(strbuf_str(&l->key), "head") || !l->key.n || l->key.data[0] == '~' ||
        !str_starts(strbuf_str(&l->key), l->prefix))
        return 0;
    strbuf_clear(&l->value);
    if (etcd_get_value(l->zstd, kv, true, &index, &l->value, err) < 0)
        return error_wrap(err, "%.*s", STR_FMT(strbuf_str(&l->key)));
    return l->row(l->arg, strbuf_str(&l->key), strbuf_str(&l->value),
        etcd_int(kv, "mod_revision") * ETCD_INDEXES + index, err);
}

static void page_request(struct loader *l, struct strbuf *body)
{
    struct etcd *e = l->e;
    autofree char *end = xstrdup(e->prefix);

    end[strlen(end) - 1] = '/' + 1;
    strbuf_clear(body);
    strbuf_addc(body, "{\"key\":");
    if (l->next.n)
        etcd_put_bytes(strbuf_str(&l->next), body);
    else
        etcd_put_key(e, STR(""), body);
    strbuf_addc(body, ",\"range_end\":");
    etcd_put_bytes(str_of(end), body);
    strbuf_addf(body, ",\"limit\":\"%d\",\"revision\":\"%" PRId64 "\"}", PAGE_KEYS, l->revision);
}

/* Asks until it works or etcd has been gone for a while: a start may come before etcd's. */
static int ask(struct etcd *e, const char *path, struct str body, int64_t timeout_ns,
    int64_t tries_ns, cJSON **ret, struct error *err)
{
    int64_t give_up = env_now_ns(e->env) + tries_ns;

    for (;;) {
        enum etcd_result result = etcd_post(e, path, body, timeout_ns, ret, err);

        if (result == ETCD_OK)
            return 0;
        env_lock(e->env, &e->lock);
        bool hopeless = e->stopping || (result == ETCD_REFUSED && !e->down_since_ns);

        env_unlock(e->env, &e->lock);
        if (hopeless || env_now_ns(e->env) >= give_up)
            return -err->code;
        env_sleep_ns(e->env, RETRY_NS);
    }
}

/* 1: more pages follow. */
static int load_page(struct loader *l, struct strbuf *body, struct error *err)
{
    autojson cJSON *answer = NULL;
    const cJSON *kv;
    const char *last = NULL;

    page_request(l, body);
    if (ask(l->e, "/v3/kv/range", strbuf_str(body), LOAD_TIMEOUT_NS, LOAD_TRIES_NS, &answer, err) <
        0)
        return -err->code;
    if (!l->revision)
        l->revision = etcd_revision(answer);
    cJSON_ArrayForEach(kv, json_get(answer, "kvs"))
    {
        if (take_row(l, kv, err) < 0)
            return -err->code;
        last = json_string(kv, "key");
    }
    if (!last || !json_bool(answer, "more", false))
        return 0;
    strbuf_clear(&l->next);
    if (base64_decode(str_of(last), &l->next, err) < 0)
        return -err->code;
    strbuf_add(&l->next, str_range("", 1));
    return 1;
}

static int etcd_load(struct store *store, struct str prefix,
    int (*row)(void *arg, struct str key, struct str value, int64_t version, struct error *err),
    void *arg, int64_t *ret_version, struct error *err)
{
    struct etcd *e = container_of(store, struct etcd, base);
    struct loader l = {.e = e, .row = row, .arg = arg, .prefix = prefix, .zstd = ZSTD_createDCtx()};
    autostrbuf struct strbuf body;
    int result;

    strbuf_init(&body, 0);
    strbuf_init(&l.key, 0);
    strbuf_init(&l.value, 0);
    strbuf_init(&l.next, 0);
    do
        result = load_page(&l, &body, err);
    while (result == 1);
    ZSTD_freeDCtx(l.zstd);
    strbuf_done(&l.key);
    strbuf_done(&l.value);
    strbuf_done(&l.next);
    if (result < 0)
        return result;
    *ret_version = l.revision * ETCD_INDEXES + ETCD_INDEXES - 1;
    return 0;
}

/* --- head --- */

static void etcd_head(
    struct store *store, void (*fn)(void *arg, int64_t version, const struct error *err), void *arg)
{
    struct etcd *e = container_of(store, struct etcd, base);
    struct head_call *call = (struct head_call *)xcalloc(1, sizeof(*call));

    call->fn = fn;
    call->arg = arg;
    env_lock(e->env, &e->lock);
    call->next = e->heads;
    e->heads = call;
    env_signal(e->env, &e->wake_head);
    env_unlock(e->env, &e->lock);
}

static int read_head(struct etcd *e, int64_t *ret_version, struct error *err)
{
    autostrbuf struct strbuf body;
    autojson cJSON *answer = NULL;

    strbuf_init(&body, 0);
    strbuf_addc(&body, "{\"key\":");
    etcd_put_key(e, STR("head"), &body);
    strbuf_addc(&body, ",\"keys_only\":true}");
    if (ask(e, "/v3/kv/range", strbuf_str(&body), HEAD_TIMEOUT_NS, HEAD_TRIES_NS, &answer, err) < 0)
        return -err->code;
    const cJSON *kvs = json_get(answer, "kvs");
    int64_t revision = etcd_int(kvs ? kvs->child : NULL, "mod_revision");

    *ret_version = revision ? revision * ETCD_INDEXES + ETCD_INDEXES - 1 : 0;
    env_lock(e->env, &e->lock);
    if (revision > e->committed)
        e->committed = revision;
    env_unlock(e->env, &e->lock);
    return 0;
}

static void head_run(void *arg)
{
    struct etcd *e = (struct etcd *)arg;
    struct error err;

    env_lock(e->env, &e->lock);
    for (;;) {
        while (!e->heads && !e->stopping)
            env_wait_until(e->env, &e->wake_head, &e->lock, ENV_FOREVER);
        struct head_call *calls = e->heads, *next;

        if (!calls)
            break;
        e->heads = NULL;
        env_unlock(e->env, &e->lock);
        int64_t version = 0;
        int result = read_head(e, &version, &err);

        for (; calls; calls = next) {
            next = calls->next;
            calls->fn(calls->arg, version, result < 0 ? &err : NULL);
            free(calls);
        }
        env_lock(e->env, &e->lock);
    }
    env_unlock(e->env, &e->lock);
}

/* --- compaction --- */

static int etcd_compact(struct store *store, int64_t version, struct error *err)
{
    struct etcd *e = container_of(store, struct etcd, base);
    int64_t now = env_now_ns(e->env);

    env_lock(e->env, &e->lock);
    if (now - e->compacted_at_ns >= COMPACT_EACH_NS && version / ETCD_INDEXES > e->compact_to) {
        e->compact_to = version / ETCD_INDEXES;
        e->compacted_at_ns = now;
        e->compact_due = true;
        env_signal(e->env, &e->wake_compactor);
    }
    env_unlock(e->env, &e->lock);
    return 0;
}

/* Did this API server win the round? *key_version: the key's version as last seen. */
static int win_round(struct etcd *e, int64_t revision, int64_t *key_version, struct error *err)
{
    autostrbuf struct strbuf body;
    autojson cJSON *answer = NULL;

    strbuf_init(&body, 0);
    strbuf_addc(&body, "{\"compare\":[{\"target\":\"VERSION\",\"result\":\"EQUAL\",\"key\":");
    etcd_put_key(e, STR("~compact"), &body);
    strbuf_addf(&body,
        ",\"version\":\"%" PRId64 "\"}],\"success\":[{\"request_put\":{\"key\":", *key_version);
    etcd_put_key(e, STR("~compact"), &body);
    autofree char *text = str_format("%" PRId64, revision);

    strbuf_addc(&body, ",\"value\":");
    etcd_put_bytes(str_of(text), &body);
    strbuf_addc(&body, "}}],\"failure\":[{\"request_range\":{\"key\":");
    etcd_put_key(e, STR("~compact"), &body);
    strbuf_addc(&body, "}}]}");
    if (etcd_post(e, "/v3/kv/txn", strbuf_str(&body), HEAD_TIMEOUT_NS, &answer, err) != ETCD_OK)
        return -err->code;
    if (json_bool(answer, "succeeded", false)) {
        ++*key_version;
        return 1;
    }
    const cJSON *responses = json_get(answer, "responses");
    const cJSON *kvs =
        json_get(json_get(responses ? responses->child : NULL, "response_range"), "kvs");

    *key_version = etcd_int(kvs ? kvs->child : NULL, "version");
    return 0;
}

static int compact_to(struct etcd *e, int64_t revision, int64_t *key_version, struct error *err)
{
    cJSON *answer = NULL;
    int won = win_round(e, revision, key_version, err);

    if (won <= 0)
        return won;
    autofree char *body = str_format("{\"revision\":\"%" PRId64 "\"}", revision);
    enum etcd_result result =
        etcd_post(e, "/v3/kv/compaction", str_of(body), HEAD_TIMEOUT_NS, &answer, err);

    cJSON_Delete(answer);
    return result == ETCD_OK || err->code == ERR_EXPIRED
               ? 0
               : -err->code; /* already compacted is fine */
}

static void compactor_run(void *arg)
{
    struct etcd *e = (struct etcd *)arg;
    int64_t key_version = 0;
    struct error err;

    env_lock(e->env, &e->lock);
    for (;;) {
        while (!e->compact_due && !e->stopping)
            env_wait_until(e->env, &e->wake_compactor, &e->lock, ENV_FOREVER);
        if (e->stopping)
            break;
        int64_t revision = e->compact_to;

        e->compact_due = false;
        env_unlock(e->env, &e->lock);
        if (compact_to(e, revision, &key_version, &err) < 0)
            log_warning("compaction of etcd failed, trying again in 5 minutes", "err", "%s",
                err.text, NULL);
        env_lock(e->env, &e->lock);
    }
    env_unlock(e->env, &e->lock);
}

/* --- opening and closing --- */

static bool etcd_healthy(struct store *store, struct error *err)
{
    struct etcd *e = container_of(store, struct etcd, base);

    env_lock(e->env, &e->lock);
    bool up = !e->down_since_ns;

    if (!up)
        *err = e->failure;
    env_unlock(e->env, &e->lock);
    return up;
}

static void etcd_free(struct store *store)
{
    struct etcd *e = container_of(store, struct etcd, base);

    env_lock(e->env, &e->lock);
    e->stopping = true;
    env_broadcast(e->env, &e->wake_senders);
    env_broadcast(e->env, &e->wake_head);
    env_broadcast(e->env, &e->wake_compactor);
    env_unlock(e->env, &e->lock);
    for (size_t i = 0; i < ETCD_SENDERS; i++)
        if (e->senders[i])
            env_join(e->env, e->senders[i]);
    if (e->head_reader)
        env_join(e->env, e->head_reader);
    if (e->compactor)
        env_join(e->env, e->compactor);
    etcd_watch_stop(e);
    for (unsigned i = 0; i < e->client_count; i++) {
        if (e->clients[i])
            http_client_free(e->clients[i]);
        free(e->urls[i]);
    }
    strbuf_done(&e->token);
    free(e->prefix);
    free(e->username);
    free(e->password_file);
    env_cond_done(&e->wake_senders);
    env_cond_done(&e->wake_head);
    env_cond_done(&e->wake_compactor);
    env_lock_done(&e->completing);
    env_lock_done(&e->lock);
    free(e);
}

static const struct store_ops etcd_ops = {
    .load = etcd_load,
    .commit = etcd_commit,
    .watch = etcd_watch_start,
    .head = etcd_head,
    .compact = etcd_compact,
    .healthy = etcd_healthy,
    .free = etcd_free,
};

static int add_endpoint(
    struct etcd *e, struct str url, const struct store_etcd_config *config, struct error *err)
{
    struct http_client_config http = {.ca_file = config->ca_file,
        .cert_file = config->cert_file,
        .key_file = config->key_file,
        .user_agent = "skiff-apiserver",
        .connections_max = 6};
    unsigned i = e->client_count;

    while (str_ends(url, STR("/")))
        url.n--;
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return error_set(err, ERR_USAGE,
            "--etcd-servers: \"%.*s\" is not an http:// or https:// URL", STR_FMT(url));
    if (i == ETCD_ENDPOINTS_MAX)
        return error_set(
            err, ERR_USAGE, "--etcd-servers: more than %d endpoints", ETCD_ENDPOINTS_MAX);
    e->urls[i] = str_dup(url);
    e->client_count++;
    http.base_url = e->urls[i];
    return http_client_new(e->env, &http, &e->clients[i], err);
}

static int add_endpoints(struct etcd *e, const struct store_etcd_config *config, struct error *err)
{
    struct str rest = str_of(config->servers), url;

    while (str_split(&rest, ',', &url)) {
        url = str_trim(url);
        if (url.n && add_endpoint(e, url, config, err) < 0)
            return -err->code;
    }
    if (!e->client_count)
        return error_set(
            err, ERR_USAGE, "--etcd-servers is empty; give URLs like http://127.0.0.1:2379");
    if (config->username && !config->password_file)
        return error_set(err, ERR_USAGE, "--etcd-username needs --etcd-password-file");
    return 0;
}

int store_etcd_new(
    struct env *env, const struct store_etcd_config *config, struct store **ret, struct error *err)
{
    struct etcd *e = (struct etcd *)xcalloc(1, sizeof(*e));
    struct str prefix = str_of(config->prefix ? config->prefix : "/skiff");

    while (str_ends(prefix, STR("/")))
        prefix.n--;
    e->base.ops = &etcd_ops;
    e->env = env;
    e->prefix = str_format("%.*s/", STR_FMT(prefix));
    e->username = config->username ? xstrdup(config->username) : NULL;
    e->password_file = config->password_file ? xstrdup(config->password_file) : NULL;
    e->queue_end = &e->queue;
    snprintf(e->writer, sizeof(e->writer), "%016" PRIx64, env_random(env));
    strbuf_init(&e->token, 0);
    env_lock_init(&e->lock);
    env_lock_init(&e->completing);
    env_cond_init(&e->wake_senders);
    env_cond_init(&e->wake_head);
    env_cond_init(&e->wake_compactor);
    e->compacted_at_ns = env_now_ns(env);
    if (add_endpoints(e, config, err) < 0) {
        etcd_free(&e->base);
        return -err->code;
    }
    for (size_t i = 0; i < ETCD_SENDERS; i++)
        e->senders[i] = env_spawn(env, "etcd-commit", etcd_sender_run, e);
    e->head_reader = env_spawn(env, "etcd-head", head_run, e);
    e->compactor = env_spawn(env, "etcd-compact", compactor_run, e);
    *ret = &e->base;
    return 0;
}
