/*
 * EventRateLimit: how many Events may be written, by all, by namespace, by user, or by source and
 * object.
 *
 * Every configured limit has token buckets by key in a table that forgets the oldest key when it is
 * full. A write takes one token of each limit; where one is empty the write is refused with 429.
 * Threads: one lock, held for a look-up. Upstream: plugin/pkg/admission/eventratelimit.
 */
#include "apiserver/admission/plugin.h"
#include "common/hash.h"
#include "common/time.h"

#define CACHE_DEFAULT 4096
#define CACHE_MAX 65536

struct bucket {
    char *key;
    double tokens;
    int64_t at_ns;
    struct bucket *next; /* of the same slot */
};

struct limit {
    const char *type;
    double qps, burst;
    size_t room, count;
    struct bucket **slots; /* room of them */
};

struct limits {
    struct lock lock;
    struct limit *list;
    size_t count;
};

static const char *const types[] = {"Server", "Namespace", "User", "SourceAndObject", NULL};

static const char *find_type(const char *text)
{
    for (size_t i = 0; types[i]; i++)
        if (c_eq(types[i], text))
            return types[i];
    return NULL;
}

static int read_limit(const cJSON *item, int index, struct limit *ret, struct error *err)
{
    int64_t qps = json_int64_at(item, "qps", 0), burst = json_int64_at(item, "burst", 0),
            size = json_int64_at(item, "cacheSize", CACHE_DEFAULT);
    const char *type = json_string(item, "type");

    ret->type = find_type(type);
    if (!ret->type)
        return error_set(err, ERR_USAGE,
            "limits[%d].type: Unsupported value: \"%s\": supported values: \"Server\", "
            "\"Namespace\", "
            "\"User\", \"SourceAndObject\"",
            index, type ? type : "");
    if (qps <= 0)
        return error_set(err, ERR_USAGE, "limits[%d].qps: Invalid value: %lld: must be positive",
            index, (long long)qps);
    if (burst <= 0)
        return error_set(err, ERR_USAGE, "limits[%d].burst: Invalid value: %lld: must be positive",
            index, (long long)burst);
    if (size < 0 || size > CACHE_MAX)
        return error_set(err, ERR_USAGE,
            "limits[%d].cacheSize: Invalid value: %lld: must be 0 to %d", index, (long long)size,
            CACHE_MAX);
    ret->qps = (double)qps;
    ret->burst = (double)burst;
    ret->room = c_eq(ret->type, "Server") ? 1 : size ? (size_t)size : CACHE_DEFAULT;
    return 0;
}

static void limits_free(void *state)
{
    struct limits *l = state;

    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++) {
        for (size_t k = 0; l->list[i].slots && k < l->list[i].room; k++) {
            for (struct bucket *b = l->list[i].slots[k], *next; b; b = next) {
                next = b->next;
                free(b->key);
                free(b);
            }
        }
        free(l->list[i].slots);
    }
    free(l->list);
    env_lock_done(&l->lock);
    free(l);
}

static int configure(const cJSON *config, void **ret, struct error *err)
{
    struct limits *l = xcalloc(1, sizeof(*l));
    const cJSON *item;

    env_lock_init(&l->lock);
    l->list = xcalloc((size_t)cJSON_GetArraySize(json_get(config, "limits")) + 1, sizeof(*l->list));
    cJSON_ArrayForEach(item, json_get(config, "limits"))
    {
        struct limit *one = &l->list[l->count];
        if (read_limit(item, (int)l->count, one, err) < 0) {
            limits_free(l);
            return -(int)err->code;
        }
        one->slots = xcalloc(one->room, sizeof(struct bucket *));
        l->count++;
    }
    *ret = l;
    return 0;
}

/* The bucket of a key; a full table empties the slot first, so memory is bounded and busy keys of
 * other slots stay. */
static struct bucket *bucket_of(struct limit *l, const char *key, int64_t now)
{
    struct bucket **slot = &l->slots[hash_bytes(key, strlen(key)) % l->room], *b;

    for (b = *slot; b; b = b->next)
        if (c_eq(b->key, key))
            return b;
    while (l->count >= l->room && *slot) {
        b = *slot;
        *slot = b->next;
        free(b->key);
        free(b);
        l->count--;
    }
    b = xcalloc(1, sizeof(*b));
    *b = (struct bucket){.key = xstrdup(key), .tokens = l->burst, .at_ns = now, .next = *slot};
    *slot = b;
    l->count++;
    return b;
}

static bool take(struct limit *l, const char *key, int64_t now)
{
    struct bucket *b = bucket_of(l, key, now);
    double refilled = b->tokens + l->qps * (double)(now - b->at_ns) / 1e9;

    b->tokens = refilled > l->burst ? l->burst : refilled;
    b->at_ns = now;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static const char *text_at(const struct write_context *w, const char *path)
{
    const char *text = json_string_at(w->tree, path);
    return text ? text : "";
}

static const char *key_of(const struct write_context *w, const struct limit *l)
{
    const char *object = *w->resource->group ? "regarding" : "involvedObject";
    char path[64];

    if (c_eq(l->type, "Namespace"))
        return text_at(w, "metadata.namespace");
    if (c_eq(l->type, "User"))
        return w->request->identity.name;
    if (c_eq(l->type, "Server"))
        return "";
    autostrbuf struct strbuf out = STRBUF_EMPTY;
    static const char *const parts[] = {"kind", "namespace", "name", "uid", "apiVersion"};
    strbuf_addf(&out, "%s%s%s%s", text_at(w, "source.component"), text_at(w, "source.host"),
        text_at(w, "reportingComponent"), text_at(w, "reportingInstance"));
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        snprintf(path, sizeof(path), "%s.%s", object, parts[i]);
        strbuf_addf(&out, "/%s", text_at(w, path));
    }
    return arena_strdup(w->arena, strbuf_str(&out));
}

static int event_rate_limit(const struct write_context *w, struct error *err)
{
    struct limits *l = admission_state(w, &admission_event_rate_limit);
    int64_t now = env_now_ns(w->server->env);
    const struct limit *over = NULL;

    if (!l || !w->request || w->request->trusted || w->dry_run || !admission_is_main(w))
        return 0;
    for (size_t i = 0; i < l->count; i++) {
        const char *key = key_of(w, &l->list[i]);
        env_lock(w->server->env, &l->lock);
        bool good = take(&l->list[i], key, now);
        env_unlock(w->server->env, &l->lock);
        if (!good && !over)
            over = &l->list[i];
    }
    if (!over)
        return 0;
    w->request->retry_after_s = 1;
    return error_set(err, ERR_TOO_MANY_REQUESTS, "limit reached on type %s for key %s", over->type,
        key_of(w, over));
}

static const char *const events[] = {"events", "events.events.k8s.io", NULL};

const struct admission_plugin admission_event_rate_limit = {
    .name = "EventRateLimit",
    .resources = events,
    .off = true,
    .validate = event_rate_limit,
    .configure = configure,
    .release = limits_free,
};
