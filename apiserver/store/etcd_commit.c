/*
 * Batches: what waits goes as one transaction as soon as one of two senders is free.
 *
 * First flat: all compares together, since the cache says that they hold; the cheapest form for
 * etcd. When one does not, the same batch goes again with a nested transaction for each group,
 * which tells who failed. An operation's place in the batch is its index, in either form.
 *
 * A batch whose answer is lost is resolved by whatever comes first: the watch shows its
 * transaction, or the sender writes the fence key (from then on nothing sent before can happen) and
 * reads the history of the head key up to there. Only when it is certain that it did not happen is
 * it sent again, or refused once etcd has been gone for three seconds.
 */
#include "apiserver/store/etcd.h"

#include <assert.h>
#include <inttypes.h>
#include <zstd.h>

#include "common/limits.h"
#include "common/log.h"
#include "common/time.h"

#define COMMIT_TIMEOUT_NS (5 * NS_PER_S)
#define DOWN_NS (3 * NS_PER_S)
#define RETRY_NS (50 * NS_PER_MS)
#define LOOK_BACK_NS (10 * NS_PER_S)

struct sender {
    struct etcd *e;
    unsigned slot;
    ZSTD_CCtx *zstd;
    struct strbuf body, scratch;
};

/* --- resolution --- */

/* With e->completing held. held: whether each group's compares held, NULL: all. */
static void resolve(struct etcd_batch *batch, int64_t revision, const bool *held)
{
    struct store_group *g = batch->groups, *next;
    struct error conflict;
    unsigned index = 0;

    if (batch->resolved)
        return;
    batch->resolved = true;
    error_set(&conflict, ERR_CONFLICT, "the object has been modified");
    for (size_t i = 0; g; g = next, i++) {
        bool ok = !held || held[i];

        next = g->next;
        for (size_t k = 0; k < g->op_count; k++)
            g->ops[k].version = revision * ETCD_INDEXES + index++;
        g->more = next != NULL;
        g->seen = revision * ETCD_INDEXES + ETCD_INDEXES - 1;
        g->done(g, ok ? 0 : -ERR_CONFLICT, ok ? NULL : &conflict);
    }
}

static void fail_groups(struct store_group *g, const struct error *err)
{
    struct store_group *next;

    for (; g; g = next) {
        next = g->next;
        g->more = next != NULL;
        g->seen = 0;
        g->done(g, -(int)err->code, err);
    }
}

static void fail_batch(struct etcd *e, struct etcd_batch *batch, const struct error *err)
{
    env_lock(e->env, &e->completing);
    if (!batch->resolved) {
        batch->resolved = true;
        fail_groups(batch->groups, err);
    }
    env_unlock(e->env, &e->completing);
}

void etcd_resolve_seen(struct etcd *e, uint64_t sequence, int64_t revision,
    bool (*written)(void *arg, struct str key), void *arg)
{
    struct etcd_batch *batch = NULL;

    env_lock(e->env, &e->completing);
    env_lock(e->env, &e->lock);
    for (size_t i = 0; i < ETCD_SENDERS; i++)
        if (e->in_flight[i] && e->in_flight[i]->sequence == sequence)
            batch = e->in_flight[i];
    env_unlock(e->env, &e->lock);
    if (batch && !batch->resolved) {
        autofree bool *held = (bool *)xcalloc(batch->group_count, sizeof(bool));
        size_t i = 0;

        for (struct store_group *g = batch->groups; g; g = g->next)
            held[i++] = written(arg, g->ops[0].key);
        resolve(batch, revision, held);
    }
    env_unlock(e->env, &e->completing);
}

static bool is_resolved(struct etcd *e, struct etcd_batch *batch)
{
    env_lock(e->env, &e->completing);
    bool resolved = batch->resolved;

    env_unlock(e->env, &e->completing);
    return resolved;
}

/* --- building --- */

static void add_compare(struct etcd *e, struct str key, int64_t revision, struct strbuf *b)
{
    strbuf_addc(b, "{\"target\":\"MOD\",\"result\":\"EQUAL\",\"key\":");
    etcd_put_key(e, key, b);
    strbuf_addf(b, ",\"mod_revision\":\"%" PRId64 "\"}", revision);
}

static void add_fence_compare(struct etcd *e, struct strbuf *b)
{
    autofree char *key = str_format("~fence/%s", e->writer);

    env_lock(e->env, &e->lock);
    int64_t fence = e->fence;

    env_unlock(e->env, &e->lock);
    add_compare(e, str_of(key), fence, b);
}

static void add_op(struct sender *s, const struct store_op *op, unsigned index)
{
    strbuf_addc(&s->body,
        op->remove ? "{\"request_delete_range\":{\"key\":" : "{\"request_put\":{\"key\":");
    etcd_put_key(s->e, op->key, &s->body);
    if (!op->remove) {
        strbuf_addc(&s->body, ",\"value\":");
        etcd_put_value(s->zstd, op->value, index, &s->scratch, &s->body);
    }
    strbuf_addc(&s->body, "}}");
}

static void add_compares(struct sender *s, const struct store_group *g, bool comma)
{
    for (size_t i = 0; i < g->op_count; i++) {
        if (comma || i)
            strbuf_add_char(&s->body, ',');
        add_compare(s->e, g->ops[i].key, g->ops[i].expected / ETCD_INDEXES, &s->body);
    }
}

static unsigned add_ops(struct sender *s, const struct store_group *g, unsigned index, bool comma)
{
    for (size_t i = 0; i < g->op_count; i++) {
        if (comma || i)
            strbuf_add_char(&s->body, ',');
        add_op(s, &g->ops[i], index++);
    }
    return index;
}

static void add_head(struct etcd *e, const struct etcd_batch *batch, struct strbuf *body)
{
    autojson cJSON *head = cJSON_CreateObject();
    cJSON *removed = cJSON_CreateArray();
    autostrbuf struct strbuf text;
    unsigned index = 0;

    json_set_string(head, "writer", e->writer);
    json_set(head, "sequence", json_new_int64(batch ? (int64_t)batch->sequence : 0));
    for (const struct store_group *g = batch ? batch->groups : NULL; g; g = g->next)
        for (size_t i = 0; i < g->op_count; i++, index++) {
            if (!g->ops[i].remove)
                continue;
            cJSON *pair = cJSON_CreateArray();
            autofree char *key = str_dup(g->ops[i].key);

            cJSON_AddItemToArray(pair, cJSON_CreateString(key));
            cJSON_AddItemToArray(pair, json_new_int64(index));
            cJSON_AddItemToArray(removed, pair);
        }
    json_set(head, "removed", removed);
    strbuf_init(&text, 0);
    json_print(head, &text);
    strbuf_addc(body, "{\"request_put\":{\"key\":");
    etcd_put_key(e, STR("head"), body);
    strbuf_addc(body, ",\"value\":");
    etcd_put_bytes(strbuf_str(&text), body);
    strbuf_addc(body, "}}");
}

static void build_flat(struct sender *s, const struct etcd_batch *batch)
{
    unsigned index = 0;

    strbuf_clear(&s->body);
    strbuf_addc(&s->body, "{\"compare\":[");
    add_fence_compare(s->e, &s->body);
    for (const struct store_group *g = batch->groups; g; g = g->next)
        add_compares(s, g, true);
    strbuf_addc(&s->body, "],\"success\":[");
    for (const struct store_group *g = batch->groups; g; g = g->next)
        index = add_ops(s, g, index, index > 0);
    strbuf_add_char(&s->body, ',');
    add_head(s->e, batch, &s->body);
    strbuf_addc(&s->body, "]}");
}

static void build_nested(struct sender *s, const struct etcd_batch *batch)
{
    unsigned index = 0;

    strbuf_clear(&s->body);
    strbuf_addc(&s->body, "{\"compare\":[");
    add_fence_compare(s->e, &s->body);
    strbuf_addc(&s->body, "],\"success\":[");
    for (const struct store_group *g = batch->groups; g; g = g->next) {
        strbuf_addc(&s->body,
            index ? ",{\"request_txn\":{\"compare\":[" : "{\"request_txn\":{\"compare\":[");
        add_compares(s, g, false);
        strbuf_addc(&s->body, "],\"success\":[");
        index = add_ops(s, g, index, false);
        strbuf_addc(&s->body, "]}}");
    }
    strbuf_add_char(&s->body, ',');
    add_head(s->e, batch, &s->body);
    strbuf_addc(&s->body, "]}");
}

/* --- after a lost answer --- */

/* Writes the fence until that worked: its revision, or 0 when the store is being closed. */
static int64_t write_fence(struct etcd *e)
{
    autostrbuf struct strbuf body;
    struct error err;
    int64_t revision = 0;
    bool stop = false;

    env_lock(e->env, &e->lock);
    while (e->fencing)
        env_wait_until(e->env, &e->wake_senders, &e->lock, ENV_FOREVER);
    e->fencing = true;
    env_unlock(e->env, &e->lock);
    autofree char *key = str_format("~fence/%s", e->writer);

    strbuf_init(&body, 0);
    strbuf_addc(&body, "{\"success\":[{\"request_put\":{\"key\":");
    etcd_put_key(e, str_of(key), &body);
    strbuf_addc(&body, "}},");
    add_head(e, NULL, &body);
    strbuf_addc(&body, "]}");
    while (!revision && !stop) {
        cJSON *answer = NULL;

        if (etcd_post(e, "/v3/kv/txn", strbuf_str(&body), COMMIT_TIMEOUT_NS, &answer, &err) ==
            ETCD_OK)
            revision = etcd_revision(answer);
        cJSON_Delete(answer);
        if (!revision && etcd_is_down(e, DOWN_NS))
            etcd_fail_queue(e, &err);
        if (!revision)
            env_sleep_ns(e->env, RETRY_NS);
        env_lock(e->env, &e->lock);
        stop = e->stopping;
        env_unlock(e->env, &e->lock);
    }
    env_lock(e->env, &e->lock);
    if (revision)
        e->fence = revision;
    e->fencing = false;
    env_broadcast(e->env, &e->wake_senders);
    env_unlock(e->env, &e->lock);
    return revision;
}

/* One line of a watch of the head key. 1: the fence's revision was reached; *ret_found: where the
 * batch was. */
static int look_at_heads(const struct etcd *e, const struct etcd_batch *batch, int64_t fence,
    struct str line, int64_t *ret_found, struct error *err)
{
    autojson cJSON *tree = NULL;
    const cJSON *event;

    if (json_parse(line, &tree, err) < 0)
        return -err->code;
    const cJSON *result = json_get(tree, "result");

    if (json_bool(result, "canceled", false) || !result)
        return error_set(err, ERR_EXPIRED, "etcd has compacted the history");
    cJSON_ArrayForEach(event, json_get(result, "events"))
    {
        const cJSON *kv = json_get(event, "kv");
        int64_t revision = etcd_int(kv, "mod_revision");
        struct etcd_head head;

        if (etcd_head_parse(kv, &head, err) == 0) {
            if (c_eq(head.writer, e->writer) && head.sequence == batch->sequence)
                *ret_found = revision;
            cJSON_Delete(head.tree);
        }
        if (revision >= fence)
            return 1;
    }
    return 0;
}

/* 0 and the revision of the batch's transaction (0: it never happened). */
static int look_back(struct etcd *e, const struct etcd_batch *batch, int64_t fence,
    int64_t *ret_found, struct error *err)
{
    autostrbuf struct strbuf body, in;
    struct http_stream *stream;
    int64_t deadline = env_now_ns(e->env) + LOOK_BACK_NS;
    int result;

    strbuf_init(&body, 0);
    strbuf_init(&in, 0);
    *ret_found = 0;
    strbuf_addc(&body, "{\"create_request\":{\"key\":");
    etcd_put_key(e, STR("head"), &body);
    strbuf_addf(&body, ",\"start_revision\":\"%" PRId64 "\"}}", batch->sent_after + 1);
    if ((result = etcd_open_stream(e, "/v3/watch", strbuf_str(&body), &stream, err)) < 0)
        return result;
    for (result = 0; result == 0;) {
        struct str rest, line;
        int got = http_stream_next(stream, deadline, &in, err);

        if (got <= 0) {
            result = got < 0 ? got : error_set(err, ERR_CLOSED, "the history ended early");
            break;
        }
        rest = strbuf_str(&in);
        while (result == 0 && memchr(rest.p, '\n', rest.n)) {
            str_split(&rest, '\n', &line);
            result = look_at_heads(e, batch, fence, line, ret_found, err);
        }
        strbuf_remove_front(&in, in.n - rest.n);
    }
    http_stream_close(stream);
    return result < 0 ? result : 0;
}

/* Which groups of a nested transaction held: what their keys' versions were just before it. */
static int find_held(
    struct sender *s, struct etcd_batch *batch, int64_t revision, bool *held, struct error *err)
{
    struct etcd *e = s->e;
    autojson cJSON *answer = NULL;
    size_t group = 0, op = 0;

    env_lock(e->env, &e->completing);
    strbuf_clear(&s->body);
    strbuf_addc(&s->body, "{\"success\":[");
    for (const struct store_group *g = batch->resolved ? NULL : batch->groups; g; g = g->next)
        for (size_t i = 0; i < g->op_count; i++) {
            strbuf_addc(
                &s->body, op++ ? ",{\"request_range\":{\"key\":" : "{\"request_range\":{\"key\":");
            etcd_put_key(e, g->ops[i].key, &s->body);
            strbuf_addf(
                &s->body, ",\"keys_only\":true,\"revision\":\"%" PRId64 "\"}}", revision - 1);
        }
    strbuf_addc(&s->body, "]}");
    env_unlock(e->env, &e->completing);
    if (etcd_post(e, "/v3/kv/txn", strbuf_str(&s->body), COMMIT_TIMEOUT_NS, &answer, err) !=
        ETCD_OK)
        return -err->code;
    const cJSON *response =
        json_get(answer, "responses") ? json_get(answer, "responses")->child : NULL;

    env_lock(e->env, &e->completing);
    for (const struct store_group *g = batch->resolved ? NULL : batch->groups; g;
         g = g->next, group++) {
        held[group] = true;
        for (size_t i = 0; i < g->op_count; i++, response = response ? response->next : NULL) {
            const cJSON *kvs = json_get(json_get(response, "response_range"), "kvs");

            held[group] &= etcd_int(kvs ? kvs->child : NULL, "mod_revision") ==
                           g->ops[i].expected / ETCD_INDEXES;
        }
    }
    env_unlock(e->env, &e->completing);
    return 0;
}

static int settle(struct sender *s, struct etcd_batch *batch, int64_t fence, struct error *err)
{
    struct etcd *e = s->e;
    autofree bool *held = (bool *)xcalloc(batch->group_count, sizeof(bool));
    int64_t found;

    if (look_back(e, batch, fence, &found, err) < 0)
        return -err->code;
    if (found && batch->nested && find_held(s, batch, found, held, err) < 0)
        return -err->code;
    if (found) {
        env_lock(e->env, &e->completing);
        resolve(batch, found, batch->nested ? held : NULL);
        env_unlock(e->env, &e->completing);
    }
    return 0;
}

/* Returns when it is certain what became of the batch; it may be sent again when it is not
 * resolved. */
static void find_out(struct sender *s, struct etcd_batch *batch)
{
    struct error err;

    for (;;) {
        int64_t fence = write_fence(s->e);

        if (!fence) {
            error_set(&err, ERR_UNAVAILABLE,
                "the server stopped before etcd said what became of the write");
            fail_batch(s->e, batch, &err);
            return;
        }
        if (is_resolved(s->e, batch) || settle(s, batch, fence, &err) == 0)
            return;
        log_warning(
            "cannot find out about a lost commit, trying again", "err", "%s", err.text, NULL);
        if (err.code == ERR_EXPIRED) {
            err.code = ERR_UNAVAILABLE;
            fail_batch(s->e, batch, &err);
            return;
        }
        env_sleep_ns(s->e->env, RETRY_NS);
    }
}

/* --- sending --- */

static void note_committed(struct etcd *e, int64_t revision)
{
    env_lock(e->env, &e->lock);
    if (revision > e->committed)
        e->committed = revision;
    env_unlock(e->env, &e->lock);
}

static void take_answer(struct etcd *e, struct etcd_batch *batch, const cJSON *answer)
{
    const cJSON *responses = json_get(answer, "responses"),
                *r = responses ? responses->child : NULL;
    autofree bool *held = (bool *)xcalloc(batch->group_count, sizeof(bool));

    for (size_t i = 0; i < batch->group_count && r; i++, r = r->next)
        held[i] = json_bool(json_get(r, "response_txn"), "succeeded", false);
    note_committed(e, etcd_revision(answer));
    env_lock(e->env, &e->completing);
    resolve(batch, etcd_revision(answer), batch->nested ? held : NULL);
    env_unlock(e->env, &e->completing);
}

static void adopt_fence(struct etcd *e)
{
    autofree char *key = str_format("~fence/%s", e->writer);
    autostrbuf struct strbuf body;
    cJSON *answer = NULL;
    struct error err;

    strbuf_init(&body, 0);
    strbuf_addc(&body, "{\"key\":");
    etcd_put_key(e, str_of(key), &body);
    strbuf_add_char(&body, '}');
    if (etcd_post(e, "/v3/kv/range", strbuf_str(&body), COMMIT_TIMEOUT_NS, &answer, &err) !=
        ETCD_OK)
        return;
    const cJSON *kvs = json_get(answer, "kvs");

    env_lock(e->env, &e->lock);
    e->fence = etcd_int(kvs ? kvs->child : NULL, "mod_revision");
    env_unlock(e->env, &e->lock);
    cJSON_Delete(answer);
}

/* One attempt. true: the batch is resolved. */
static bool send_once(struct sender *s, struct etcd_batch *batch)
{
    struct etcd *e = s->e;
    cJSON *answer = NULL;
    struct error err;

    if (batch->nested)
        build_nested(s, batch);
    else
        build_flat(s, batch);
    enum etcd_result result =
        etcd_post(e, "/v3/kv/txn", strbuf_str(&s->body), COMMIT_TIMEOUT_NS, &answer, &err);

    if (result == ETCD_OK && json_bool(answer, "succeeded", false)) {
        take_answer(e, batch, answer);
        cJSON_Delete(answer);
        return true;
    }
    cJSON_Delete(answer);
    if (result == ETCD_OK) { /* a compare did not hold: one of a group's, or the fence */
        if (batch->nested)
            adopt_fence(e);
        batch->nested = true;
        return false;
    }
    if (result == ETCD_LOST) {
        find_out(s, batch);
        if (is_resolved(e, batch))
            return true;
    }
    bool transient = result == ETCD_LOST || (err.code == ERR_UNAVAILABLE && etcd_is_down(e, 0));

    if (!transient || etcd_is_down(e, DOWN_NS)) {
        fail_batch(e, batch, &err);
        return true;
    }
    env_sleep_ns(e->env, RETRY_NS);
    return false;
}

static struct etcd_batch *take_batch(struct etcd *e)
{
    struct etcd_batch *batch = (struct etcd_batch *)xcalloc(1, sizeof(*batch));
    struct store_group **end = &e->queue;
    size_t bytes = 0;

    while (*end) {
        size_t group_bytes = 0;

        for (size_t i = 0; i < (*end)->op_count; i++)
            group_bytes += (*end)->ops[i].value.n;
        if (batch->group_count && (batch->op_count + (*end)->op_count > LIMIT_BATCH_KEYS ||
                                      bytes + group_bytes > LIMIT_BATCH_BYTES))
            break;
        bytes += group_bytes;
        batch->op_count += (*end)->op_count;
        batch->group_count++;
        end = &(*end)->next;
    }
    batch->groups = e->queue;
    e->queue = *end;
    *end = NULL;
    if (!e->queue)
        e->queue_end = &e->queue;
    batch->sequence = ++e->sequence;
    batch->sent_after = e->newest > e->watched ? e->newest : e->watched;
    return batch;
}

void etcd_sender_run(void *arg)
{
    struct etcd *e = (struct etcd *)arg;
    struct sender s = {.e = e, .zstd = ZSTD_createCCtx()};

    strbuf_init(&s.body, 0);
    strbuf_init(&s.scratch, 0);
    env_lock(e->env, &e->lock);
    while (e->senders_started & 1u << s.slot)
        s.slot++;
    e->senders_started |= 1u << s.slot;
    for (;;) {
        while ((!e->queue || e->fencing) && !e->stopping)
            env_wait_until(e->env, &e->wake_senders, &e->lock, ENV_FOREVER);
        if (!e->queue)
            break;
        struct etcd_batch *batch = take_batch(e);

        e->in_flight[s.slot] = batch;
        env_unlock(e->env, &e->lock);
        while (!send_once(&s, batch))
            ;
        env_lock(e->env, &e->completing);
        env_lock(e->env, &e->lock);
        e->in_flight[s.slot] = NULL;
        env_unlock(e->env, &e->completing);
        free(batch);
    }
    env_unlock(e->env, &e->lock);
    ZSTD_freeCCtx(s.zstd);
    strbuf_done(&s.body);
    strbuf_done(&s.scratch);
}

void etcd_fail_queue(struct etcd *e, const struct error *err)
{
    env_lock(e->env, &e->lock);
    struct store_group *list = e->queue;

    e->queue = NULL;
    e->queue_end = &e->queue;
    env_unlock(e->env, &e->lock);
    fail_groups(list, err);
}

void etcd_commit(struct store *store, struct store_group *group)
{
    struct etcd *e = container_of(store, struct etcd, base);
    struct error err = {0};

    group->next = NULL;
    assert(group->op_count <= LIMIT_BATCH_KEYS);
    env_lock(e->env, &e->lock);
    if (e->down_since_ns && env_now_ns(e->env) - e->down_since_ns >= DOWN_NS) {
        err = e->failure;
        err.code = ERR_UNAVAILABLE;
    } else {
        *e->queue_end = group;
        e->queue_end = &group->next;
        env_signal(e->env, &e->wake_senders);
    }
    env_unlock(e->env, &e->lock);
    if (err.code)
        fail_groups(group, &err);
}
