/*
 * A stored API object: an immutable, reference-counted header and its encoded body.
 *
 * The body is normalised JSON without kind, apiVersion and metadata.resourceVersion, which
 * object_encode() splices in while sending:
 * `{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7",<body...>`. It always starts
 * with `{"metadata":{`. The header holds what reads, selectors and watches need, so that GET, LIST
 * and WATCH never parse or print JSON. `revision` is written once, by the store's writer, before
 * the object is published.
 *
 * As stored, a value is the header and the body (object_to_value), so that start-up parses no JSON
 * either. Threads: immutable, references are atomic.
 */
#pragma once

#include "apiserver/schema/schema.h"

struct object_label {
    struct str key, value; /* into the object's own block */
};

struct span {
    uint32_t offset, length; /* of the body; length 0: absent */
};

struct object {
    uint32_t refs; /* atomic */
    uint16_t label_count;
    uint16_t field_count;            /* resource->selectable values, in its order */
    const struct resource *resource; /* the storage version; held (a custom kind's may be an earlier
                                        generation) */
    int64_t
        revision; /* resourceVersion of the last change; 0 until committed: see object_revision */
    int64_t creation_ns;     /* since the epoch */
    bool deleting;           /* metadata.deletionTimestamp is set */
    uint16_t sealed_by;      /* the key of its stored form (encryption.h); 0: in the clear */
    uint32_t protobuf_bytes; /* atomic: see object_protobuf_bytes */
    struct str namespace_, name, uid;
    struct span metadata, spec, status;
    const struct object_label *labels; /* sorted by key */
    const struct str *fields;
    struct str body;
};

/* From a normalised tree (not changed, not kept). ERR_TOO_LARGE above LIMIT_OBJECT_BYTES. */
int object_new(const struct resource *r, const cJSON *tree, struct object **ret, struct error *err);
/* An object that is still being committed (cache_newest may give one) gets its revision while
 * others hold it: read that of such an object with this; objects from the published cache never
 * change and o->revision will do. */
static inline int64_t object_revision(const struct object *o)
{
    return __atomic_load_n(&o->revision, __ATOMIC_RELAXED);
}
/* How long its message in protobuf is as a list's item, kept for the next list; 0: not known yet.
 * Only for objects of the published cache. */
static inline uint32_t object_protobuf_bytes(const struct object *o)
{
    return __atomic_load_n(&o->protobuf_bytes, __ATOMIC_RELAXED);
}
static inline void object_set_protobuf_bytes(const struct object *o, uint32_t n)
{
    __atomic_store_n((uint32_t *)&o->protobuf_bytes, n, __ATOMIC_RELAXED);
}
struct object *object_ref(const struct object *o);
void object_unref(const struct object *o); /* NULL is fine */
size_t object_bytes(const struct object *o);

/* The body parsed, with kind, apiVersion and resourceVersion put back (for writers, Tables,
 * conversion). */
cJSON *object_tree(const struct object *o);
/* The same without managedFields, whose list writers take as text. */
cJSON *object_tree_bare(const struct object *o);
/* The list of metadata.managedFields, "[...]", or nothing. */
struct str object_managed_fields(const struct object *o);
void object_encode(const struct object *o, struct strbuf *out);
/* Without kind and apiVersion, as an item of a List. */
void object_encode_item(const struct object *o, struct strbuf *out);
/* {"resourceVersion":"7",...}: metadata alone, for PartialObjectMetadata. */
void object_encode_metadata(const struct object *o, struct strbuf *out);
/* The same body at another resourceVersion (a deletion's event). */
struct object *object_at_revision(const struct object *o, int64_t revision);

void object_to_value(const struct object *o, struct strbuf *out);
/* ERR_INTERNAL when the value is damaged or of a format that is not known. */
int object_from_value(const struct resource *r, struct str value, int64_t revision,
    struct object **ret, struct error *err);

const char *object_label_get(
    const void *object, const char *key); /* a label_get_fn; borrowed C string */
bool object_field_get(const struct object *o, const char *path, struct str *ret);
