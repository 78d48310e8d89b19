/*
 * The table of definitions. See definitions.h.
 */
#include "apiserver/custom/definitions.h"

#include <stdatomic.h>

#include "apiserver/cache/cache.h"
#include "apiserver/custom/custom.h"
#include "common/hash.h"
#include "common/log.h"

struct definition {
    char *name;
    struct custom *custom;
    uint64_t made_from; /* hash of the spec and the accepted names */
    bool established;
    UT_hash_handle hh;
};

struct definitions {
    struct env *env;
    const struct api *built_in;
    const struct strategy *strategy;
    struct lock lock;
    struct definition *all;
    struct api *api; /* NULL: to be made */
    uint64_t serial;
};

struct definitions *definitions_new(
    struct env *env, const struct api *built_in, const struct strategy *strategy)
{
    struct definitions *d = xcalloc(1, sizeof(*d));

    d->env = env;
    d->built_in = built_in;
    d->strategy = strategy;
    d->serial = 1;
    env_lock_init(&d->lock);
    return d;
}

static void definition_free(struct definition *e)
{
    custom_unref(e->custom);
    free(e->name);
    free(e);
}

void definitions_free(struct definitions *d)
{
    struct definition *e, *next;

    if (!d)
        return;
    HASH_ITER(hh, d->all, e, next)
    {
        HASH_DEL(d->all, e);
        definition_free(e);
    }
    api_unref(d->api);
    env_lock_done(&d->lock);
    free(d);
}

/* --- changes --- */

static uint64_t hash_more(uint64_t h, const cJSON *tree)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (tree)
        json_print(tree, &text);
    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (uint8_t)text.data[i]) * 1099511628211u;
    return h;
}

static bool has_condition(const cJSON *tree, const char *type)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_path(tree, "status.conditions"))
    {
        if (c_eq(json_string(item, "type"), type))
            return c_eq(json_string(item, "status"), "True");
    }
    return false;
}

/* A stored definition that does not compile is served by nobody, but its objects have a kind. */
static struct custom *make_custom(struct definitions *d, const char *name, cJSON *tree, int id)
{
    struct custom *custom;
    struct error err;

    if (custom_new(d->built_in, tree, id, d->strategy, &custom, &err) == 0)
        return custom;
    log_error("a stored definition can't be compiled, objects of it are not served", "name", "%s",
        name, "err", "%s", err.text, NULL);
    autojson cJSON *open =
        json_make("{\"spec\":{\"group\":\"\",\"names\":{\"plural\":\"\",\"kind\":\"\"},"
                  "\"versions\":[{\"name\":\"v1\",\"storage\":true}]}}");
    if (custom_new(d->built_in, open, id, d->strategy, &custom, &err) < 0)
        abort();
    return custom;
}

/* Lock held. */
static struct api *outdated(struct definitions *d)
{
    struct api *old = d->api;

    d->api = NULL;
    d->serial++;
    return old;
}

static void remove_definition(struct definitions *d, const char *name)
{
    struct definition *e;

    env_lock(d->env, &d->lock);
    HASH_FIND_STR(d->all, name, e);
    if (e)
        HASH_DEL(d->all, e);
    struct api *old = outdated(d);
    env_unlock(d->env, &d->lock);
    api_unref(old);
    if (e)
        definition_free(e);
}

static struct definition *find_or_add(struct definitions *d, const char *name)
{
    struct definition *e;

    HASH_FIND_STR(d->all, name, e);
    if (e)
        return e;
    e = xcalloc(1, sizeof(*e));
    e->name = xstrdup(name);
    HASH_ADD_KEYPTR(hh, d->all, e->name, strlen(e->name), e);
    return e;
}

const struct resource *definitions_define(
    void *arg, struct str name_view, const struct object *definition, int id, void *kind)
{
    struct definitions *d = arg;
    autofree char *name = str_dup(name_view);

    if (!definition) {
        remove_definition(d, name);
        return NULL;
    }
    autojson cJSON *tree = object_tree(definition);
    uint64_t made_from = hash_more(14695981039346656037u, json_get(tree, "spec"));
    made_from = hash_more(made_from, json_path(tree, "status.acceptedNames"));

    env_lock(d->env, &d->lock);
    struct definition *e = find_or_add(d, name);
    struct custom *before = e->custom, *made = NULL;
    bool same = before && e->made_from == made_from && before->resources[0].id == id;
    env_unlock(d->env, &d->lock);

    if (!same) {
        made = make_custom(d, name, tree, id);
        made->released = cache_kind_released;
        made->released_arg = kind;
    }
    env_lock(d->env, &d->lock);
    if (made)
        e->custom = made;
    e->made_from = made_from;
    e->established = has_condition(tree, "Established") && *e->custom->storage->group;
    if (definition->deleting)
        __atomic_store_n(&e->custom->terminating, true, __ATOMIC_RELAXED);
    struct api *old = outdated(d);
    env_unlock(d->env, &d->lock);
    api_unref(old);
    if (!made)
        return NULL;
    custom_unref(before);
    custom_ref(made); /* the cache's */
    return made->storage;
}

/* --- what is served --- */

static struct api *make_api(struct definitions *d)
{
    struct custom **served = xcalloc(HASH_COUNT(d->all) + 1, sizeof(struct custom *));
    size_t n = 0;

    for (struct definition *e = d->all; e; e = e->hh.next)
        if (e->established)
            served[n++] = e->custom;
    struct api *api = api_extend(d->built_in, served, n, d->serial);
    free(served);
    return api;
}

struct api *definitions_api(struct definitions *d)
{
    env_lock(d->env, &d->lock);
    if (!d->api)
        d->api = d->serial == 1 ? api_ref(d->built_in) : make_api(d);
    struct api *api = api_ref(d->api);
    env_unlock(d->env, &d->lock);
    return api;
}

const struct resource *definitions_storage(struct definitions *d, const char *name)
{
    struct definition *e;
    const struct resource *r = NULL;

    env_lock(d->env, &d->lock);
    HASH_FIND_STR(d->all, name, e);
    if (e) {
        r = e->custom->storage;
        resource_hold(r);
    }
    env_unlock(d->env, &d->lock);
    return r;
}
