/*
 * Informer: list, then watch, on one task; see common/informer.h.
 *
 *     list (pages of 1000) --> report the difference --> watch from the list's version
 *       ^                                                  |  clean end, broken: resume at the last
 * version
 *       +------ 410, or refused three times ---------------+
 *
 * Only the informer's task writes the cache, under the lock; it reads it without. `version` is the
 * highest resourceVersion seen (objects and bookmarks) and moves in the same critical section as
 * the cache. After a failure the next try comes after 0.1 s, doubling to 5 s, with jitter (at the
 * very start sooner).
 *
 * Upstream: client-go's Reflector, DeltaFIFO and Indexer in one; objects are projections, and a
 * name that comes back with another uid is told as deleted and added.
 */
#include "common/informer.h"

#include <assert.h>
#include <malloc.h>

#include "common/informer_cache.h"
#include "common/json_list.h"
#include "common/log.h"
#include "common/time.h"

#define PAGE_OBJECTS "1000"
#define BACKOFF_FIRST_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (5 * NS_PER_S)
/* Before the first list is there the server is probably starting: this often at this pace. */
#define START_TRIES 40
#define START_PACE_NS (50 * NS_PER_MS)
#define REFUSALS_MAX 3
#define LIST_TIMEOUT_NS (60 * NS_PER_S)
#define OPEN_TIMEOUT_NS (30 * NS_PER_S)
#define WATCH_S 300
/* The server ends a watch by itself; one that doesn't is taken for dead this long after. */
#define WATCH_GRACE_NS (30 * NS_PER_S)
/* One event: an object as large as may be stored, with room for its envelope. */
#define LINE_BYTES (8u << 20)
#define KEPT_LINE_BYTES (64u << 10)
/* A list from this size leaves holes in the heap worth giving back. */
#define TRIM_BYTES (256u << 10)

struct change {
    const void *old, *new; /* each with a reference, or NULL */
};

struct informer {
    struct api_client *client;
    struct env *env;
    struct informer_config config; /* its strings are copies */
    struct http_canceller canceller;
    struct task *task;

    /* the task's */
    char *version_text; /* where the watch goes on; NULL: list first */
    unsigned failures;  /* in a row */
    unsigned refusals;  /* of them, answered by the server */
    bool interrupted;   /* and that was logged */

    struct lock lock; /* guards all below */
    struct cond changed;
    struct informer_cache cache;
    uint64_t version;
    bool synced;
    bool stopping;
};

/* A list being read. */
struct listing {
    struct informer *inf;
    struct object_array fresh;
    size_t bytes;
    cJSON *metadata; /* of the last page */
    char *version;   /* of the first page */
};

/* By metadata_only. A server that has no metadata form answers whole objects: they do as well. */
static const char *const list_accept[] = {"application/json",
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"};
static const char *const watch_accept[] = {"application/json",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"};

static uint64_t version_number(const char *text)
{
    uint64_t n = 0;

    for (; text && *text >= '0' && *text <= '9'; text++)
        n = 10 * n + (uint64_t)(*text - '0');
    return n;
}

static bool is_stopping(struct informer *inf)
{
    env_lock(inf->env, &inf->lock);
    bool stopping = inf->stopping;
    env_unlock(inf->env, &inf->lock);
    return stopping;
}

static void set_version(struct informer *inf, const char *text)
{
    free(inf->version_text);
    inf->version_text = xstrdup(text);
}

/* ---- reporting ---- */

static void report(struct informer *inf, const void *old, const void *new)
{
    const struct object_meta *before = old, *after = new;

    if (!inf->config.handler)
        return;
    if (before && after && strcmp(before->uid, after->uid)) {
        inf->config.handler(inf->config.arg, old, NULL);
        inf->config.handler(inf->config.arg, NULL, new);
        return;
    }
    inf->config.handler(inf->config.arg, old, new);
}

static bool is_same(const struct object_meta *known, const cJSON *metadata)
{
    const char *version = json_string(metadata, "resourceVersion");
    const char *uid = json_string(metadata, "uid");

    return known && version && !strcmp(known->resource_version, version) &&
           !strcmp(known->uid, uid ? uid : "");
}

static const struct object_meta *known_object(struct informer *inf, const cJSON *metadata)
{
    const char *namespace_ = json_string(metadata, "namespace");
    const char *name = json_string(metadata, "name");

    return informer_cache_find(&inf->cache, namespace_ ? namespace_ : "", name ? name : "");
}

/* ---- listing ---- */

static void listing_add(struct object_array *a, const void *object)
{
    if (a->count == a->capacity) {
        a->capacity = a->capacity ? 2 * a->capacity : 64;
        a->objects = xrealloc(a->objects, a->capacity * sizeof(*a->objects));
    }
    a->objects[a->count++] = object;
}

/* An unchanged object stays the one the cache has. */
static int listing_item(void *arg, const cJSON *item, struct error *err)
{
    struct listing *l = arg;
    const cJSON *metadata = json_get(item, "metadata");
    const struct object_meta *known = known_object(l->inf, metadata);

    listing_add(&l->fresh, is_same(known, metadata)
                               ? projected_ref(known)
                               : projected_new(l->inf->config.projection, item));
    return 0;
}

static void add_selectors(const struct informer_config *config, struct strbuf *path)
{
    if (config->label_selector) {
        strbuf_addc(path, "&labelSelector=");
        url_encode(str_of(config->label_selector), path);
    }
    if (config->field_selector) {
        strbuf_addc(path, "&fieldSelector=");
        url_encode(str_of(config->field_selector), path);
    }
}

static void add_path(const struct informer_config *config, struct strbuf *path)
{
    api_path(&(struct api_ref){.group_version = config->group_version,
                 .plural = config->plural,
                 .namespace_ = config->namespace_},
        path);
}

static int list_page(struct listing *l, struct error *err)
{
    struct informer *inf = l->inf;
    const struct http_header accept = {"Accept", list_accept[inf->config.metadata_only]};
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    struct http_response response;
    const char *next = json_string(l->metadata, "continue");

    add_path(&inf->config, &path);
    strbuf_addc(&path, "?limit=" PAGE_OBJECTS);
    add_selectors(&inf->config, &path);
    if (next) {
        strbuf_addc(&path, "&continue=");
        url_encode(str_of(next), &path);
    }
    http_response_init(&response);
    int result = http_do(api_client_http(inf->client),
        &(struct http_request){.method = "GET",
            .path = path.data,
            .headers = &accept,
            .header_count = 1,
            .timeout_ns = LIST_TIMEOUT_NS,
            .canceller = &inf->canceller},
        &response, err);
    if (result == 0 && response.status != 200) {
        inf->refusals++;
        result = api_error_from_response(&response, err);
    }
    if (result == 0) {
        cJSON_Delete(steal(&l->metadata));
        l->bytes += response.body.n;
        result = json_list_walk(strbuf_str(&response.body), listing_item, l, &l->metadata, err);
    }
    http_response_done(&response);
    return result;
}

static int list_pages(struct listing *l, struct error *err)
{
    const char *next, *version;

    do {
        if (list_page(l, err) < 0)
            return -err->code;
        if (!l->version) {
            version = json_string(l->metadata, "resourceVersion");
            if (!version || !version[0])
                return error_set(err, ERR_BAD_GATEWAY, "the list has no resourceVersion");
            l->version = xstrdup(version);
        }
        next = json_string(l->metadata, "continue");
    } while (next && next[0]);
    return 0;
}

static int place_cmp(const void *a, const void *b)
{
    return informer_object_cmp(*(const void *const *)a, *(const void *const *)b);
}

/* Sorts, and keeps the last of objects with one name. */
static void sort_fresh(struct object_array *a)
{
    size_t kept = 0;

    if (a->count > 0)
        qsort(a->objects, a->count, sizeof(*a->objects), place_cmp);
    for (size_t i = 0; i < a->count; i++) {
        if (i + 1 < a->count && informer_object_cmp(a->objects[i], a->objects[i + 1]) == 0)
            projected_unref(a->objects[i]);
        else
            a->objects[kept++] = a->objects[i];
    }
    a->count = kept;
}

static void add_change(struct change **changes, size_t *count, const void *old, const void *new)
{
    if ((*count & (*count - 1)) == 0)
        *changes = xrealloc(*changes, (*count ? 2 * *count : 1) * sizeof(**changes));
    (*changes)[(*count)++] = (struct change){projected_ref(old), projected_ref(new)};
}

/* What makes `now` of the cache. Both are sorted. */
static size_t difference(
    const struct object_array *was, const struct object_array *now, struct change **ret)
{
    size_t i = 0, j = 0, count = 0;

    while (i < was->count || j < now->count) {
        int order = i == was->count   ? 1
                    : j == now->count ? -1
                                      : informer_object_cmp(was->objects[i], now->objects[j]);
        if (order < 0) {
            add_change(ret, &count, was->objects[i++], NULL);
        } else if (order > 0) {
            add_change(ret, &count, NULL, now->objects[j++]);
        } else {
            if (was->objects[i] != now->objects[j])
                add_change(ret, &count, was->objects[i], now->objects[j]);
            i++;
            j++;
        }
    }
    return count;
}

static void apply(struct informer *inf, const struct change *change)
{
    const struct object_meta *old = change->old;

    projected_unref(change->new ? informer_cache_put(&inf->cache, projected_ref(change->new))
                                : informer_cache_remove(&inf->cache, old->namespace_, old->name));
}

static void set_synced(struct informer *inf)
{
    if (inf->synced)
        return;
    env_lock(inf->env, &inf->lock);
    inf->synced = true;
    env_broadcast(inf->env, &inf->changed);
    env_unlock(inf->env, &inf->lock);
    if (inf->config.on_synced)
        inf->config.on_synced(inf->config.arg);
}

static void take_listing(struct informer *inf, struct listing *l)
{
    struct change *changes = NULL;

    sort_fresh(&l->fresh);
    size_t count = difference(&inf->cache.all, &l->fresh, &changes);
    env_lock(inf->env, &inf->lock);
    for (size_t i = 0; i < count; i++)
        apply(inf, &changes[i]);
    inf->version = version_number(l->version);
    env_broadcast(inf->env, &inf->changed);
    env_unlock(inf->env, &inf->lock);
    set_version(inf, l->version);
    for (size_t i = 0; i < count; i++) {
        report(inf, changes[i].old, changes[i].new);
        projected_unref(changes[i].old);
        projected_unref(changes[i].new);
    }
    free(changes);
    log_debug("listed", "resource", "%s", inf->config.plural, "objects", "%zu", l->fresh.count,
        "changes", "%zu", count, NULL);
    set_synced(inf);
}

static int list(struct informer *inf, struct error *err)
{
    struct listing l = {.inf = inf};

    int result = list_pages(&l, err);
    if (result == 0)
        take_listing(inf, &l);
    for (size_t i = 0; i < l.fresh.count; i++)
        projected_unref(l.fresh.objects[i]);
    free(l.fresh.objects);
    free(l.version);
    cJSON_Delete(l.metadata);
    if (l.bytes > TRIM_BYTES)
        malloc_trim(0);
    return result;
}

/* ---- watching ---- */

/* Moves the version forward, with the change that brought it, if any. */
static void advance(struct informer *inf, const char *version, const struct change *change)
{
    uint64_t number = version_number(version);

    env_lock(inf->env, &inf->lock);
    if (change)
        apply(inf, change);
    if (number > inf->version)
        inf->version = number;
    env_broadcast(inf->env, &inf->changed);
    env_unlock(inf->env, &inf->lock);
    set_version(inf, version);
}

static void take_object(
    struct informer *inf, const cJSON *object, const char *version, bool is_deleted)
{
    const cJSON *metadata = json_get(object, "metadata");
    const struct object_meta *known = known_object(inf, metadata);
    struct change change = {.old = known};

    if (is_deleted ? !known : is_same(known, metadata)) {
        advance(inf, version, NULL); /* known already */
        return;
    }
    projected_ref(known);
    if (!is_deleted)
        change.new = projected_new(inf->config.projection, object);
    advance(inf, version, &change);
    report(inf, change.old, change.new);
    projected_unref(change.old);
    projected_unref(change.new);
}

static int watch_error(const cJSON *status, struct error *err)
{
    const char *reason = json_string(status, "reason"), *message = json_string(status, "message");
    int64_t code = json_int64_at(status, "code", 500);
    enum err kind = code == 410 ? ERR_EXPIRED : error_from_reason(reason ? reason : "", (int)code);

    return error_set(err, kind, "%s", message ? message : error_default_text(kind));
}

static int take_event(struct informer *inf, struct str line, struct error *err)
{
    autojson cJSON *event = NULL;

    if (json_parse(line, &event, err) < 0)
        return error_wrap(err, "watch event");
    const char *type = json_string(event, "type");
    const cJSON *object = json_get(event, "object");
    const char *version = json_string_at(object, "metadata.resourceVersion");
    if (!type || !object)
        return error_set(err, ERR_BAD_GATEWAY, "watch event without type or object");
    if (!strcmp(type, "ERROR"))
        return watch_error(object, err);
    if (!version || !version[0])
        return error_set(err, ERR_BAD_GATEWAY, "watch event without resourceVersion");
    if (!strcmp(type, "BOOKMARK"))
        advance(inf, version, NULL);
    else if (!strcmp(type, "ADDED") || !strcmp(type, "MODIFIED") || !strcmp(type, "DELETED"))
        take_object(inf, object, version, type[0] == 'D');
    else
        return error_set(err, ERR_BAD_GATEWAY, "watch event of unknown type \"%s\"", type);
    inf->failures = inf->refusals = 0;
    return 0;
}

/* Takes the whole lines off the buffer; *scanned says how much of the rest is known to hold no
 * newline. */
static int take_lines(
    struct informer *inf, struct strbuf *buffer, size_t *scanned, struct error *err)
{
    size_t done = 0;
    const char *newline;
    int result = 0;

    while (result == 0 && (newline = memchr(buffer->data + *scanned, '\n', buffer->n - *scanned))) {
        struct str line = {buffer->data + done, (size_t)(newline - buffer->data) - done};
        done = *scanned = (size_t)(newline - buffer->data) + 1;
        if (str_trim(line).n > 0)
            result = take_event(inf, line, err);
    }
    strbuf_remove_front(buffer, done);
    *scanned = buffer->n;
    if (buffer->n == 0 && buffer->capacity > KEPT_LINE_BYTES) {
        strbuf_done(buffer);
        strbuf_init(buffer, LINE_BYTES);
    }
    return result;
}

/* Reads events to the stream's end: 0 when the server ended it. */
static int read_events(
    struct informer *inf, struct http_stream *stream, int64_t deadline_ns, struct error *err)
{
    autostrbuf struct strbuf buffer = STRBUF_EMPTY;
    size_t scanned = 0;
    int result;

    strbuf_init(&buffer, LINE_BYTES);
    while ((result = http_stream_next(stream, deadline_ns, &buffer, err)) > 0) {
        result = take_lines(inf, &buffer, &scanned, err);
        if (result < 0 || is_stopping(inf))
            return result;
    }
    return result;
}

static int open_watch(
    struct informer *inf, int64_t seconds, struct http_stream **ret, struct error *err)
{
    const struct http_header accept = {"Accept", watch_accept[inf->config.metadata_only]};
    autostrbuf struct strbuf path = STRBUF_EMPTY;
    struct http_response head;

    add_path(&inf->config, &path);
    strbuf_addc(&path, "?watch=1&allowWatchBookmarks=true&resourceVersion=");
    url_encode(str_of(inf->version_text), &path);
    strbuf_addf(&path, "&timeoutSeconds=%lld", (long long)seconds);
    add_selectors(&inf->config, &path);
    http_response_init(&head);
    int result = http_stream_open(api_client_http(inf->client),
        &(struct http_request){.method = "GET",
            .path = path.data,
            .headers = &accept,
            .header_count = 1,
            .timeout_ns = OPEN_TIMEOUT_NS,
            .canceller = &inf->canceller},
        ret, &head, err);
    if (result == 0 && !*ret) {
        inf->refusals++;
        result = api_error_from_response(&head, err);
        if (head.status == 410)
            result = error_set(err, ERR_EXPIRED, "the resourceVersion is too old");
    }
    http_response_done(&head);
    return result;
}

static int watch(struct informer *inf, struct error *err)
{
    struct http_stream *stream = NULL;
    int64_t started_ns = env_now_ns(inf->env);
    int64_t length_ns = env_jitter_ns(inf->env, WATCH_S * NS_PER_S, 1);
    autofree char *from = xstrdup(inf->version_text);

    if (open_watch(inf, length_ns / NS_PER_S, &stream, err) < 0)
        return -err->code;
    if (inf->interrupted)
        log_info("watch resumed", "resource", "%s", inf->config.plural, NULL);
    inf->interrupted = false;
    int result = read_events(inf, stream, started_ns + length_ns + WATCH_GRACE_NS, err);
    http_stream_close(stream);
    int64_t lasted_ns = env_now_ns(inf->env) - started_ns;
    if (result == -ERR_TIMEOUT || lasted_ns > 2 * BACKOFF_MAX_NS)
        inf->failures = inf->refusals = 0;
    if (result == 0 && lasted_ns < NS_PER_S && !strcmp(from, inf->version_text))
        return error_set(err, ERR_CLOSED, "the watch ended at once");
    return result == -ERR_TIMEOUT ? 0 : result;
}

/* ---- the task ---- */

static void back_off(struct informer *inf)
{
    bool is_start = !inf->synced && inf->failures <= START_TRIES;
    unsigned shift = inf->synced ? inf->failures - 1 : inf->failures - START_TRIES - 1;
    int64_t delay_ns = is_start ? START_PACE_NS : BACKOFF_FIRST_NS << (shift < 6 ? shift : 6);

    if (delay_ns > BACKOFF_MAX_NS)
        delay_ns = BACKOFF_MAX_NS;
    int64_t until_ns = env_now_ns(inf->env) + env_jitter_ns(inf->env, delay_ns, 0.5);

    env_lock(inf->env, &inf->lock);
    while (!inf->stopping && env_wait_until(inf->env, &inf->changed, &inf->lock, until_ns))
        ;
    env_unlock(inf->env, &inf->lock);
}

static void failed(struct informer *inf, const char *what, const struct error *err)
{
    inf->failures++;
    if (!inf->interrupted)
        log_warning("informer interrupted, retrying", "resource", "%s", inf->config.plural, "step",
            "%s", what, "error", "%s", err->text, NULL);
    else
        log_debug("informer interrupted, retrying", "resource", "%s", inf->config.plural, "step",
            "%s", what, "error", "%s", err->text, NULL);
    inf->interrupted = true;
    back_off(inf);
}

static void forget_version(struct informer *inf)
{
    free(inf->version_text);
    inf->version_text = NULL;
    inf->refusals = 0;
}

static void run(void *arg)
{
    struct informer *inf = arg;

    while (!is_stopping(inf)) {
        struct error err;
        bool is_list = !inf->version_text;
        int result = is_list ? list(inf, &err) : watch(inf, &err);
        if (result == 0 || is_stopping(inf))
            continue;
        if (!is_list && (result == -ERR_EXPIRED || result == -ERR_GONE)) {
            log_info("watch expired, listing again", "resource", "%s", inf->config.plural, NULL);
            forget_version(inf);
            if (inf->failures++ > 0) /* not in a tight loop when each list is too old at once */
                back_off(inf);
            continue;
        }
        if (inf->refusals >= REFUSALS_MAX)
            forget_version(inf);
        failed(inf, is_list ? "list" : "watch", &err);
    }
}

/* ---- the public face ---- */

static char *copy_of(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

struct informer *informer_new(struct api_client *client, const struct informer_config *config)
{
    struct informer *inf = xcalloc(1, sizeof(*inf));

    inf->client = client;
    inf->env = api_client_env(client);
    inf->config = *config;
    inf->config.group_version = xstrdup(config->group_version);
    inf->config.plural = xstrdup(config->plural);
    inf->config.namespace_ = copy_of(config->namespace_);
    inf->config.label_selector = copy_of(config->label_selector);
    inf->config.field_selector = copy_of(config->field_selector);
    http_canceller_init(&inf->canceller);
    env_lock_init(&inf->lock);
    env_cond_init(&inf->changed);
    informer_cache_init(&inf->cache, config->indexes, config->index_count);
    return inf;
}

void informer_start(struct informer *inf)
{
    assert(!inf->task);
    inf->task = env_spawn(inf->env, inf->config.plural, run, inf);
}

void informer_stop(struct informer *inf)
{
    env_lock(inf->env, &inf->lock);
    inf->stopping = true;
    env_broadcast(inf->env, &inf->changed);
    env_unlock(inf->env, &inf->lock);
    http_cancel(inf->env, &inf->canceller);
    if (inf->task)
        env_join(inf->env, inf->task);
    inf->task = NULL;
}

void informer_free(struct informer *inf)
{
    if (!inf)
        return;
    informer_stop(inf);
    informer_cache_done(&inf->cache);
    http_canceller_done(&inf->canceller);
    env_cond_done(&inf->changed);
    env_lock_done(&inf->lock);
    free((char *)(uintptr_t)inf->config.group_version);
    free((char *)(uintptr_t)inf->config.plural);
    free((char *)(uintptr_t)inf->config.namespace_);
    free((char *)(uintptr_t)inf->config.label_selector);
    free((char *)(uintptr_t)inf->config.field_selector);
    free(inf->version_text);
    free(inf);
}

bool informer_synced(struct informer *inf)
{
    env_lock(inf->env, &inf->lock);
    bool synced = inf->synced;
    env_unlock(inf->env, &inf->lock);
    return synced;
}

bool informer_wait_synced(struct informer *inf, int64_t deadline_ns)
{
    bool in_time = true;

    env_lock(inf->env, &inf->lock);
    while (!inf->synced && !inf->stopping && in_time)
        in_time = env_wait_until(inf->env, &inf->changed, &inf->lock, deadline_ns);
    bool synced = inf->synced;
    env_unlock(inf->env, &inf->lock);
    return synced;
}

bool informer_wait_version(struct informer *inf, const char *resource_version, int64_t deadline_ns)
{
    uint64_t wanted = version_number(resource_version);
    bool in_time = true;

    env_lock(inf->env, &inf->lock);
    while (inf->version < wanted && !inf->stopping && in_time)
        in_time = env_wait_until(inf->env, &inf->changed, &inf->lock, deadline_ns);
    bool reached = inf->version >= wanted;
    env_unlock(inf->env, &inf->lock);
    return reached;
}

const void *informer_get(struct informer *inf, const char *namespace_, const char *name)
{
    env_lock(inf->env, &inf->lock);
    const void *object =
        projected_ref(informer_cache_find(&inf->cache, namespace_ ? namespace_ : "", name));
    env_unlock(inf->env, &inf->lock);
    return object;
}

/* A view turned into an array of the caller's own. */
static struct projected_array referenced(struct projected_array view)
{
    struct projected_array own = {NULL, view.count};

    if (view.count == 0)
        return own;
    own.objects = xmalloc(view.count * sizeof(*own.objects));
    for (size_t i = 0; i < view.count; i++)
        own.objects[i] = projected_ref(view.objects[i]);
    return own;
}

struct projected_array informer_list(struct informer *inf, const char *namespace_or_null)
{
    env_lock(inf->env, &inf->lock);
    struct projected_array array = referenced(informer_cache_range(&inf->cache, namespace_or_null));
    env_unlock(inf->env, &inf->lock);
    return array;
}

struct projected_array informer_by_index(struct informer *inf, const char *index, const char *key)
{
    env_lock(inf->env, &inf->lock);
    struct projected_array array = referenced(informer_cache_by_index(&inf->cache, index, key));
    env_unlock(inf->env, &inf->lock);
    return array;
}

size_t informer_count(struct informer *inf)
{
    env_lock(inf->env, &inf->lock);
    size_t count = inf->cache.all.count;
    env_unlock(inf->env, &inf->lock);
    return count;
}

void projected_array_done(struct projected_array *array)
{
    for (size_t i = 0; i < array->count; i++)
        projected_unref(array->objects[i]);
    free(array->objects);
    *array = (struct projected_array){NULL, 0};
}
