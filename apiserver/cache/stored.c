/*
 * Between objects and the store: an object's value, sealed where its kind is encrypted.
 *
 * Threads: any, as encryption.h.
 */
#include <openssl/crypto.h>

#include "apiserver/cache/cache_internal.h"

/* The kind as configurations name it: "secrets", "deployments.apps". */
static struct str kind_name(const struct kind *k)
{
    return str_range(k->prefix.p, k->prefix.n - 1);
}

static void wipe(struct strbuf *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->n);
    strbuf_done(b);
}

void cache_store_value(
    struct cache *cache, const struct kind *k, struct str key, struct object *o, struct strbuf *out)
{
    if (!encryption_current(cache->encryption, kind_name(k))) {
        object_to_value(o, out);
        return;
    }
    struct strbuf plain = STRBUF_EMPTY;

    object_to_value(o, &plain);
    o->sealed_by = encryption_seal(cache->encryption, kind_name(k), key, strbuf_str(&plain), out);
    wipe(&plain);
}

int cache_read_value(struct cache *cache, const struct kind *k, struct str key, struct str value,
    int64_t version, struct object **ret, struct error *err)
{
    struct strbuf room = STRBUF_EMPTY;
    struct str plain;
    uint16_t id;
    int result =
        encryption_open(cache->encryption, kind_name(k), key, value, &room, &plain, &id, err);

    if (result == 0)
        result = object_from_value(k->resource, plain, version, ret, err);
    wipe(&room);
    if (result < 0)
        return error_wrap(err, "%.*s", STR_FMT(key));
    (*ret)->sealed_by = id;
    return 0;
}

bool cache_is_stale(struct cache *cache, const struct object *o)
{
    return o->sealed_by !=
           encryption_current(cache->encryption, kind_name(cache_kind(cache, o->resource)));
}
