/*
 * Event recorder: see events.h.
 *
 * events_emit packs an event into one block and appends it to a bounded queue; the writer task
 * takes them in order, correlates them (spam filter, aggregation, counting) and writes a create or
 * a patch. The memory of past events is a set-associative table of hashes: no strings are kept, so
 * its size is fixed; what falls out of it merely starts a new Event.
 *
 * Invariants: the table belongs to the writer task alone; the queue and the flags are guarded by
 * `lock`.
 */
#include "common/events.h"

#include <stdarg.h>

#include "common/log.h"
#include "common/metrics.h"
#include "common/time.h"

/* Room for the burst of one big rollout; about 3 MB at the worst. */
#define QUEUE_MAX 10000
#define MESSAGE_MAX 1024
#define TABLE_SETS 512
#define TABLE_WAYS 4
#define SIMILAR_MAX 10
#define SIMILAR_WINDOW_NS (600 * NS_PER_S)
#define SPAM_BURST 25
#define SPAM_REFILL_NS (300 * NS_PER_S)
#define TRIES 12
#define RETRY_NS (10 * NS_PER_S)

/* The strings of a queued event, in the order they lie in its block. */
enum field {
    F_API_VERSION,
    F_KIND,
    F_NAMESPACE,
    F_NAME,
    F_UID,
    F_VERSION,
    F_PATH,
    F_TYPE,
    F_REASON,
    F_MESSAGE,
    F_COMPONENT,
    F_COUNT
};

struct queued {
    struct queued *next;
    int64_t wall_ns;
    const char *field[F_COUNT]; /* in the same block, "" when absent */
};

/* What is remembered of an event: `count` and `stamp` (of its name) of an Event, the number of
 * different messages of a group, or the spent tokens of an object, by what the hash was made of. */
struct memory {
    uint64_t hash;
    int64_t stamp;
    int64_t first_ns;
    int64_t used_ns;
    int64_t count;
};

struct events {
    struct api_client *client;
    struct env *env;
    char *component, *host;
    struct lock lock;
    struct cond changed;
    struct queued *head, **tail;
    size_t queued, emitted, written;
    bool stopping;
    struct task *task;
    struct memory *table;
    int64_t last_stamp;
};

static const struct metric_info events_dropped = {
    "skiff_events_dropped_total", METRIC_COUNTER, "Events not written, by why.", {"why"}};

static task_fn writer_run;

struct events *events_new(struct api_client *client, const char *component, const char *host)
{
    struct events *e = xcalloc(1, sizeof(*e));

    e->client = client;
    e->env = api_client_env(client);
    e->component = xstrdup(component);
    e->host = xstrdup(host ? host : "");
    e->tail = &e->head;
    env_lock_init(&e->lock);
    env_cond_init(&e->changed);
    e->task = env_spawn(e->env, "events", writer_run, e);
    return e;
}

void events_free(struct events *e)
{
    if (!e)
        return;
    events_flush(e, env_now_ns(e->env) + NS_PER_S);
    env_lock(e->env, &e->lock);
    e->stopping = true;
    env_broadcast(e->env, &e->changed);
    env_unlock(e->env, &e->lock);
    env_join(e->env, e->task);
    for (struct queued *q = e->head, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    env_cond_done(&e->changed);
    env_lock_done(&e->lock);
    free(e->component);
    free(e->host);
    free(e->table);
    free(e);
}

static struct queued *queued_new(const char *const values[F_COUNT])
{
    size_t lengths[F_COUNT], total = sizeof(struct queued);

    for (int i = 0; i < F_COUNT; i++) {
        lengths[i] = values[i] ? strlen(values[i]) : 0;
        total += lengths[i] + 1;
    }
    struct queued *q = xmalloc(total);
    char *p = (char *)(q + 1);
    q->next = NULL;
    for (int i = 0; i < F_COUNT; i++) {
        memcpy(p, values[i] ? values[i] : "", lengths[i]);
        p[lengths[i]] = '\0';
        q->field[i] = p;
        p += lengths[i] + 1;
    }
    return q;
}

void events_emit(struct events *e, const struct event_ref *ref, const char *type,
    const char *reason, const char *format, ...)
{
    if (!e)
        return;
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);

    struct queued *q = queued_new((const char *const[F_COUNT]){[F_API_VERSION] = ref->api_version,
        [F_KIND] = ref->kind,
        [F_NAMESPACE] = ref->namespace_,
        [F_NAME] = ref->name,
        [F_UID] = ref->uid,
        [F_VERSION] = ref->resource_version,
        [F_PATH] = ref->field_path,
        [F_TYPE] = type,
        [F_REASON] = reason,
        [F_MESSAGE] = message,
        [F_COMPONENT] = ref->component ? ref->component : e->component});
    q->wall_ns = env_wall_ns(e->env);

    env_lock(e->env, &e->lock);
    bool full = e->queued >= QUEUE_MAX || e->stopping;
    if (!full) {
        *e->tail = q;
        e->tail = &q->next;
        e->queued++;
        e->emitted++;
        env_broadcast(e->env, &e->changed);
    }
    env_unlock(e->env, &e->lock);
    if (full) {
        free(q);
        metric_add(metrics_default(), &events_dropped, 1, "queue full");
    }
}

bool events_flush(struct events *e, int64_t deadline_ns)
{
    env_lock(e->env, &e->lock);
    size_t goal = e->emitted;
    bool in_time = true;
    while (e->written < goal && in_time)
        in_time = env_wait_until(e->env, &e->changed, &e->lock, deadline_ns);
    bool done = e->written >= goal;
    env_unlock(e->env, &e->lock);
    return done;
}

/* FNV-1a 64 over the fields named and a tag that keeps the three uses of the table apart. */
static uint64_t hash_fields(
    const struct queued *q, char tag, const enum field *fields, size_t count)
{
    uint64_t h = 14695981039346656037ull ^ (uint64_t)(unsigned char)tag;

    for (size_t i = 0; i < count; i++)
        for (const char *p = q->field[fields[i]];; p++) {
            h = (h ^ (unsigned char)*p) * 1099511628211ull;
            if (!*p)
                break;
        }
    return h ? h : 1;
}

#define HASH_OBJECT F_COMPONENT, F_API_VERSION, F_KIND, F_NAMESPACE, F_NAME, F_UID
static const enum field spam_fields[] = {HASH_OBJECT};
static const enum field similar_fields[] = {HASH_OBJECT, F_TYPE, F_REASON};
static const enum field same_fields[] = {HASH_OBJECT, F_PATH, F_TYPE, F_REASON, F_MESSAGE};

/* The entry of a hash; a new, zeroed one (in place of the set's least recently used) when it is not
 * known. */
static struct memory *remember(struct events *e, uint64_t hash, int64_t now_ns)
{
    if (!e->table)
        e->table = xcalloc(TABLE_SETS * TABLE_WAYS, sizeof(*e->table));
    struct memory *set = &e->table[(hash % TABLE_SETS) * TABLE_WAYS], *oldest = set;

    for (int i = 0; i < TABLE_WAYS; i++) {
        if (set[i].hash == hash) {
            set[i].used_ns = now_ns;
            return &set[i];
        }
        if (set[i].used_ns < oldest->used_ns)
            oldest = &set[i];
    }
    *oldest = (struct memory){.hash = hash, .used_ns = now_ns};
    return oldest;
}

/* One object may have SPAM_BURST events at once and one more each SPAM_REFILL_NS. */
static bool is_spam(struct events *e, const struct queued *q, int64_t now_ns)
{
    struct memory *m =
        remember(e, hash_fields(q, 's', spam_fields, ARRAY_COUNT(spam_fields)), now_ns);

    if (!m->first_ns)
        m->first_ns = now_ns;
    int64_t refilled = (now_ns - m->first_ns) / SPAM_REFILL_NS;
    m->first_ns += refilled * SPAM_REFILL_NS;
    m->count = m->count > refilled ? m->count - refilled : 0;
    if (m->count >= SPAM_BURST)
        return true;
    m->count++;
    return false;
}

static void event_ref_of(
    const struct queued *q, int64_t stamp, char *name, size_t name_bytes, struct api_ref *ref)
{
    /* The stamp takes 16 digits and the dot one: together at most the 253 bytes of a name. */
    snprintf(name, name_bytes, "%.230s.%llx", q->field[F_NAME], (unsigned long long)stamp);
    *ref = (struct api_ref){.group_version = "v1",
        .plural = "events",
        .namespace_ = *q->field[F_NAMESPACE] ? q->field[F_NAMESPACE] : "default"};
}

static void set_if(cJSON *object, const char *name, const char *value)
{
    if (*value)
        json_set_string(object, name, value);
}

static cJSON *event_tree(const struct events *e, const struct queued *q, const struct memory *m,
    const char *name, const char *message)
{
    char first[TIME_TEXT_BYTES], last[TIME_TEXT_BYTES];
    cJSON *tree = cJSON_CreateObject(), *object = cJSON_CreateObject();
    static const struct {
        const char *name;
        enum field field;
    } members[] = {{"kind", F_KIND}, {"namespace", F_NAMESPACE}, {"name", F_NAME}, {"uid", F_UID},
        {"apiVersion", F_API_VERSION}, {"resourceVersion", F_VERSION}, {"fieldPath", F_PATH}};

    json_set_string(tree, "apiVersion", "v1");
    json_set_string(tree, "kind", "Event");
    json_set_string_at(tree, "metadata.name", name);
    json_set_string_at(
        tree, "metadata.namespace", *q->field[F_NAMESPACE] ? q->field[F_NAMESPACE] : "default");
    for (size_t i = 0; i < ARRAY_COUNT(members); i++)
        set_if(object, members[i].name, q->field[members[i].field]);
    json_set(tree, "involvedObject", object);
    json_set_string(tree, "reason", q->field[F_REASON]);
    json_set_string(tree, "message", message);
    json_set_string_at(tree, "source.component", q->field[F_COMPONENT]);
    if (*e->host)
        json_set_string_at(tree, "source.host", e->host);
    json_set_string(tree, "firstTimestamp", time_print_s(m->first_ns, first));
    json_set_string(tree, "lastTimestamp", time_print_s(q->wall_ns, last));
    json_set(tree, "count", json_new_int64(m->count));
    json_set_string(tree, "type", q->field[F_TYPE]);
    json_set_string(tree, "reportingComponent", q->field[F_COMPONENT]);
    set_if(tree, "reportingInstance", e->host);
    return tree;
}

static int event_create(struct events *e, const struct queued *q, const struct memory *m,
    const char *message, struct error *err)
{
    char name[256];
    struct api_ref ref;

    event_ref_of(q, m->stamp, name, sizeof(name), &ref);
    autojson cJSON *tree = event_tree(e, q, m, name, message);
    int r = api_create(e->client, &ref, tree, NULL, err);
    return r == -ERR_ALREADY_EXISTS ? 0 : r;
}

static int event_count(struct events *e, const struct queued *q, const struct memory *m,
    const char *message, struct error *err)
{
    char name[256], last[TIME_TEXT_BYTES];
    struct api_ref ref;

    event_ref_of(q, m->stamp, name, sizeof(name), &ref);
    ref.name = name;
    autojson cJSON *patch = cJSON_CreateObject();
    json_set(patch, "count", json_new_int64(m->count));
    json_set_string(patch, "lastTimestamp", time_print_s(q->wall_ns, last));
    json_set_string(patch, "message", message);
    return api_patch(e->client, &ref, PATCH_STRATEGIC, patch, NULL, err);
}

static bool worth_retrying(int r)
{
    return r == -ERR_CLOSED || r == -ERR_TIMEOUT || r == -ERR_UNAVAILABLE || r == -ERR_SYSTEM ||
           r == -ERR_TOO_MANY_REQUESTS;
}

/* Sleeps, but not when the recorder ends; false then. */
static bool pause_before_retry(struct events *e)
{
    int64_t deadline = env_now_ns(e->env) + env_jitter_ns(e->env, RETRY_NS, 0.5);

    env_lock(e->env, &e->lock);
    while (!e->stopping && env_wait_until(e->env, &e->changed, &e->lock, deadline))
        ;
    bool stopping = e->stopping;
    env_unlock(e->env, &e->lock);
    return !stopping;
}

static void write_one(
    struct events *e, const struct queued *q, struct memory *m, bool again, const char *message)
{
    struct error err;

    for (int try = 0; try < TRIES; try++) {
        int r = again ? event_count(e, q, m, message, &err) : event_create(e, q, m, message, &err);
        if (r == -ERR_NOT_FOUND && again) { /* it expired meanwhile */
            again = false;
            r = event_create(e, q, m, message, &err);
        }
        if (r == 0)
            return;
        if (!worth_retrying(r) || !pause_before_retry(e))
            break;
    }
    m->hash = 0; /* the next one starts a new Event */
    metric_add(metrics_default(), &events_dropped, 1, "refused");
    log_debug("event not written, ignoring", "object", "%s/%s", q->field[F_NAMESPACE],
        q->field[F_NAME], "reason", "%s", q->field[F_REASON], "err", "%s", err.text, NULL);
}

static int64_t new_stamp(struct events *e, int64_t wall_ns)
{
    e->last_stamp = wall_ns > e->last_stamp ? wall_ns : e->last_stamp + 1;
    return e->last_stamp;
}

static void handle(struct events *e, const struct queued *q)
{
    if (is_spam(e, q, q->wall_ns)) {
        metric_add(metrics_default(), &events_dropped, 1, "too many of one object");
        return;
    }
    struct memory *same =
        remember(e, hash_fields(q, 'e', same_fields, ARRAY_COUNT(same_fields)), q->wall_ns);
    struct memory *group =
        remember(e, hash_fields(q, 'g', similar_fields, ARRAY_COUNT(similar_fields)), q->wall_ns);
    char combined[MESSAGE_MAX + 64];
    const char *message = q->field[F_MESSAGE];

    if (q->wall_ns - group->first_ns > SIMILAR_WINDOW_NS)
        *group =
            (struct memory){.hash = group->hash, .first_ns = q->wall_ns, .used_ns = q->wall_ns};
    if (!same->count)
        group->count++;
    if (group->count >= SIMILAR_MAX && !same->count) {
        snprintf(combined, sizeof(combined), "(combined from similar events): %s", message);
        message = combined;
        /* The group's own Event counts from here; its entry lives under a third kind of hash. */
        same = remember(
            e, hash_fields(q, 'c', similar_fields, ARRAY_COUNT(similar_fields)), q->wall_ns);
    }
    bool again = same->count > 0;
    if (!again) {
        same->first_ns = q->wall_ns;
        same->stamp = new_stamp(e, q->wall_ns);
    }
    same->count++;
    write_one(e, q, same, again, message);
}

static void writer_run(void *arg)
{
    struct events *e = arg;

    env_lock(e->env, &e->lock);
    for (;;) {
        while (!e->head && !e->stopping)
            env_wait_until(e->env, &e->changed, &e->lock, ENV_FOREVER);
        if (e->stopping)
            break;
        struct queued *q = e->head;
        e->head = q->next;
        if (!e->head)
            e->tail = &e->head;
        e->queued--;
        env_unlock(e->env, &e->lock);
        handle(e, q);
        free(q);
        env_lock(e->env, &e->lock);
        e->written++;
        env_broadcast(e->env, &e->changed);
    }
    env_unlock(e->env, &e->lock);
}
