/* The scale of any object: see scale.h. */
#include "controller/scale.h"

#include "common/time.h"
#include "controller/discovery.h"

#define RELOAD_NS (10 * NS_PER_S)

struct scaler {
    struct manager *m;
    struct lock lock; /* guards both below */
    struct discovery discovery;
    int64_t loaded_ns; /* 0: never */
};

struct scaler *scaler_new(struct manager *m)
{
    struct scaler *s = xcalloc(1, sizeof(*s));

    s->m = m;
    env_lock_init(&s->lock);
    return s;
}

void scaler_free(struct scaler *s)
{
    if (!s)
        return;
    discovery_done(&s->discovery);
    env_lock_done(&s->lock);
    free(s);
}

static size_t group_length(const char *group_version)
{
    const char *slash = strchr(group_version, '/');
    return slash ? (size_t)(slash - group_version) : 0;
}

/* The group counts, not the version: owners keep the one they were made with. */
static bool is_same_group(const char *a, const char *b)
{
    size_t n = group_length(a);
    return n == group_length(b) && !strncmp(a, b, n);
}

static char *plural_in(const struct discovery *d, const char *api_version, const char *kind)
{
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->resources[i].kind, kind) &&
            is_same_group(d->resources[i].group_version, api_version))
            return xstrdup(d->resources[i].plural);
    return NULL;
}

static void reload(struct scaler *s)
{
    struct discovery fresh = {0};
    struct error err;

    if (discovery_load(manager_client(s->m), &fresh, &err) < 0)
        return;
    discovery_done(&s->discovery);
    s->discovery = fresh;
    s->loaded_ns = env_now_ns(manager_env(s->m));
}

static char *plural_of(struct scaler *s, const char *api_version, const char *kind)
{
    struct env *env = manager_env(s->m);

    for (int k = 0; k < KIND_COUNT; k++)
        if (!strcmp(kinds[k].kind, kind) && is_same_group(kinds[k].group_version, api_version))
            return xstrdup(kinds[k].plural);
    env_lock(env, &s->lock);
    char *plural = plural_in(&s->discovery, api_version, kind);
    if (!plural && (!s->loaded_ns || env_now_ns(env) - s->loaded_ns > RELOAD_NS)) {
        reload(s);
        plural = plural_in(&s->discovery, api_version, kind);
    }
    env_unlock(env, &s->lock);
    return plural;
}

int scaler_read(struct scaler *s, const char *api_version, const char *kind, const char *namespace_,
    const char *name, cJSON **ret, struct error *err)
{
    autofree char *plural = plural_of(s, api_version, kind);
    autojson cJSON *object = NULL;
    struct api_ref ref = {.group_version = api_version,
        .plural = plural,
        .namespace_ = namespace_,
        .name = name,
        .subresource = "scale"};

    if (!plural)
        return error_set(err, ERR_BAD_REQUEST, "no matches for kind \"%s\" in version \"%s\"", kind,
            api_version);
    int r = api_get(manager_client(s->m), &ref, ret, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    ref.subresource = NULL; /* does the object lack, or its scale? */
    if (api_get(manager_client(s->m), &ref, &object, err) < 0)
        return -(int)err->code;
    size_t n = group_length(api_version);
    return error_set(err, ERR_BAD_REQUEST, "%s%s%.*s does not implement the scale subresource",
        plural, n ? "." : "", (int)n, api_version);
}

int scaler_write(struct scaler *s, const char *api_version, const char *kind, const cJSON *scale,
    int64_t replicas, struct error *err)
{
    autofree char *plural = plural_of(s, api_version, kind);
    autojson cJSON *copy = cJSON_Duplicate(scale, true);
    struct api_ref ref = {.group_version = api_version,
        .plural = plural,
        .namespace_ = json_string_at(scale, "metadata.namespace"),
        .name = json_string_at(scale, "metadata.name"),
        .subresource = "scale"};

    if (!plural)
        return error_set(err, ERR_BAD_REQUEST, "no matches for kind \"%s\" in version \"%s\"", kind,
            api_version);
    json_set_at(copy, "spec.replicas", json_new_int64(replicas));
    return api_update(manager_client(s->m), &ref, copy, NULL, err);
}
