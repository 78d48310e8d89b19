/*
 * Projections: two walks over the same tables, the first counts the bytes, the second fills the
 * block.
 *
 * In the counting walk `out` is NULL and take() returns NULL; both walks must take the same pieces
 * in the same order. The block is [struct header][struct of the caller][pointed-to pieces].
 * Well-known words are not in the block but in a table for all.
 */
#include "common/projection.h"

#include <assert.h>
#include <stdatomic.h>

#include "common/quantity.h"
#include "common/time.h"

struct header {
    _Atomic uint32_t refs;
    uint32_t bytes;
    uint64_t pad; /* keeps what follows aligned for any type */
};

struct builder {
    char *base;  /* NULL while counting */
    size_t used; /* bytes of pieces */
};

static const struct projection_field owner_fields[] = {
    PROJECT(struct owner_ref, api_version, "apiVersion", P_STRING),
    PROJECT(struct owner_ref, kind, "kind", P_STRING),
    PROJECT(struct owner_ref, name, "name", P_STRING),
    PROJECT(struct owner_ref, uid, "uid", P_STRING),
    PROJECT(struct owner_ref, controller, "controller", P_BOOL),
    PROJECT(struct owner_ref, block_owner_deletion, "blockOwnerDeletion", P_BOOL),
};
static const struct projection owner_projection = PROJECTION(struct owner_ref, owner_fields);

static const struct projection_field meta_fields[] = {
    PROJECT(struct object_meta, namespace_, "namespace", P_STRING),
    PROJECT(struct object_meta, name, "name", P_STRING),
    PROJECT(struct object_meta, uid, "uid", P_STRING),
    PROJECT(struct object_meta, resource_version, "resourceVersion", P_STRING),
    PROJECT(struct object_meta, generation, "generation", P_INT),
    PROJECT(struct object_meta, creation_ns, "creationTimestamp", P_TIME),
    PROJECT(struct object_meta, deletion_ns, "deletionTimestamp", P_TIME),
    PROJECT(struct object_meta, deletion_grace_seconds, "deletionGracePeriodSeconds", P_OPT_INT),
    PROJECT(struct object_meta, labels, "labels", P_MAP),
    PROJECT(struct object_meta, finalizers, "finalizers", P_STRINGS),
    PROJECT_OF(struct object_meta, owners, "ownerReferences", P_LIST, &owner_projection),
    PROJECT(struct object_meta, annotations, "annotations", P_MAP), /* last: may be left out */
};
static const struct projection meta_projection = PROJECTION(struct object_meta, meta_fields);

static void put_fields(struct builder *b, const struct projection_field *fields, size_t count,
    const cJSON *object, char *out);

static void *take(struct builder *b, size_t n, size_t align)
{
    b->used = (b->used + align - 1) & ~(align - 1);
    void *p = b->base ? b->base + b->used : NULL;
    b->used += n;
    return p;
}

/* What objects say again and again, sorted: pointed to instead of copied. A pod has about twenty of
 * them. */
static const char *const words[] = {
    "Active",
    "Always",
    "Available",
    "Bound",
    "ClusterIP",
    "ContainersReady",
    "DaemonSet",
    "Deployment",
    "DiskPressure",
    "DisruptionTarget",
    "Endpoints",
    "Equal",
    "Exists",
    "Failed",
    "False",
    "Hostname",
    "IPv4",
    "IPv6",
    "IfNotPresent",
    "Initialized",
    "InternalIP",
    "Job",
    "KubeletHasNoDiskPressure",
    "KubeletHasSufficientMemory",
    "KubeletHasSufficientPID",
    "KubeletReady",
    "MemoryPressure",
    "NoExecute",
    "NoSchedule",
    "Node",
    "PIDPressure",
    "Pending",
    "PodReadyToStartContainers",
    "PodScheduled",
    "Ready",
    "ReplicaSet",
    "Running",
    "Service",
    "StatefulSet",
    "Succeeded",
    "TCP",
    "True",
    "UDP",
    "Unknown",
    "amd64",
    "app",
    "apps.kubernetes.io/pod-index",
    "apps/v1",
    "arm64",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-tracking",
    "batch/v1",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "controller-revision-hash",
    "controller-uid",
    "default",
    "endpointslice-controller.k8s.io",
    "endpointslice.kubernetes.io/managed-by",
    "foregroundDeletion",
    "http",
    "job-name",
    "kube-system",
    "kubernetes",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/service-name",
    "linux",
    "main",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "orphan",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
    "v1",
    "web",
};

static int cmp_word(const void *text, const void *word)
{
    return strcmp(text, *(const char *const *)word);
}

static const char *put_text(struct builder *b, const char *text)
{
    size_t n = strlen(text);

    if (n == 0)
        return "";
    const char *const *word = bsearch(text, words, ARRAY_COUNT(words), sizeof(words[0]), cmp_word);
    if (word)
        return *word;
    char *p = take(b, n + 1, 1);
    if (p)
        memcpy(p, text, n + 1);
    return p;
}

/* A string, or a number as text; "" for all else. */
static const char *put_string(struct builder *b, const cJSON *item)
{
    char digits[32];

    if (cJSON_IsString(item))
        return put_text(b, item->valuestring);
    if (cJSON_IsRaw(item) && json_is_number(item))
        return put_text(b, item->valuestring);
    if (!cJSON_IsNumber(item))
        return "";
    int64_t whole;
    if (json_int64(item, &whole))
        snprintf(digits, sizeof(digits), "%lld", (long long)whole);
    else
        snprintf(digits, sizeof(digits), "%.17g", item->valuedouble);
    return put_text(b, digits);
}

static int64_t read_time(const cJSON *item)
{
    int64_t ns;
    struct error err;

    if (!cJSON_IsString(item) || time_parse(str_of(item->valuestring), &ns, &err) < 0)
        return 0;
    return ns;
}

static int64_t read_quantity(const cJSON *item, bool milli)
{
    struct quantity q;
    struct error err;
    char digits[40];
    const char *text = digits;

    if (cJSON_IsString(item) || (cJSON_IsRaw(item) && json_is_number(item)))
        text = item->valuestring;
    else if (cJSON_IsNumber(item))
        snprintf(digits, sizeof(digits), "%.15g", item->valuedouble);
    else
        return 0;
    if (quantity_parse(str_of(text), &q, &err) < 0)
        return 0;
    return milli ? quantity_milli_value(q) : quantity_value(q);
}

static int pair_cmp(const void *a, const void *b)
{
    return strcmp(((const struct string_pair *)a)->key, ((const struct string_pair *)b)->key);
}

static void put_map(struct builder *b, const cJSON *object, struct string_map *ret)
{
    size_t count = 0, i = 0;
    const cJSON *item;

    if (cJSON_IsObject(object))
        cJSON_ArrayForEach(item, object) count += cJSON_IsString(item);
    if (count == 0)
        return;
    struct string_pair *pairs = take(b, count * sizeof(*pairs), _Alignof(struct string_pair));
    cJSON_ArrayForEach(item, object)
    {
        if (!cJSON_IsString(item))
            continue;
        const char *key = put_text(b, item->string), *value = put_text(b, item->valuestring);
        if (pairs)
            pairs[i++] = (struct string_pair){key, value};
    }
    if (!pairs)
        return;
    qsort(pairs, count, sizeof(*pairs), pair_cmp);
    *ret = (struct string_map){pairs, count};
}

static void put_strings(struct builder *b, const cJSON *array, struct string_list *ret)
{
    size_t count = 0, i = 0;
    const cJSON *item;

    if (cJSON_IsArray(array))
        cJSON_ArrayForEach(item, array) count += cJSON_IsString(item);
    if (count == 0)
        return;
    const char **strings = take(b, count * sizeof(*strings), _Alignof(char *));
    cJSON_ArrayForEach(item, array)
    {
        if (!cJSON_IsString(item))
            continue;
        const char *text = put_text(b, item->valuestring);
        if (strings)
            strings[i++] = text;
    }
    if (strings)
        *ret = (struct string_list){strings, count};
}

static void put_list(struct builder *b, const struct projection *items, const cJSON *array,
    struct projected_list *ret)
{
    size_t count = cJSON_IsArray(array) ? (size_t)cJSON_GetArraySize(array) : 0, i = 0;
    const cJSON *item;

    if (count == 0)
        return;
    char *list = take(b, count * items->size, 16);
    if (list)
        memset(list, 0, count * items->size);
    cJSON_ArrayForEach(item, array) put_fields(
        b, items->fields, items->field_count, item, list ? list + items->size * i++ : NULL);
    if (list)
        *ret = (struct projected_list){list, count};
}

static const char *put_json(struct builder *b, const cJSON *item)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (!item || cJSON_IsNull(item))
        return NULL;
    json_print(item, &text);
    return put_text(b, text.data);
}

static struct opt_int read_opt_int(const cJSON *item)
{
    struct opt_int ret = {0};

    ret.set = item && json_int64(item, &ret.value);
    return ret;
}

static struct opt_int read_opt_bool(const cJSON *item)
{
    return (struct opt_int){.value = cJSON_IsTrue(item), .set = cJSON_IsBool(item)};
}

/* One field into its place; a union's worth of scratch stands in for it while counting. */
static void put_field(
    struct builder *b, const struct projection_field *f, const cJSON *item, char *out)
{
    union {
        const char *string;
        struct string_map map;
        struct string_list strings;
        struct projected_list list;
        struct opt_int opt;
        int64_t number;
        bool flag;
    } value;
    size_t n = sizeof(int64_t);

    memset(&value, 0, sizeof(value));
    switch (f->type) {
    case P_STRING:
        value.string = put_string(b, item);
        n = sizeof(value.string);
        break;
    case P_JSON:
        value.string = put_json(b, item);
        n = sizeof(value.string);
        break;
    case P_INT:
        value.number = read_opt_int(item).value;
        break;
    case P_TIME:
        value.number = read_time(item);
        break;
    case P_QUANTITY:
    case P_QUANTITY_MILLI:
        value.number = read_quantity(item, f->type == P_QUANTITY_MILLI);
        break;
    case P_OPT_INT:
        value.opt = read_opt_int(item);
        n = sizeof(value.opt);
        break;
    case P_OPT_BOOL:
        value.opt = read_opt_bool(item);
        n = sizeof(value.opt);
        break;
    case P_BOOL:
        value.flag = cJSON_IsTrue(item);
        n = sizeof(value.flag);
        break;
    case P_PRESENT:
        value.flag = item && !cJSON_IsNull(item);
        n = sizeof(value.flag);
        break;
    case P_MAP:
        put_map(b, item, &value.map);
        n = sizeof(value.map);
        break;
    case P_STRINGS:
        put_strings(b, item, &value.strings);
        n = sizeof(value.strings);
        break;
    case P_LIST:
        put_list(b, f->items, item, &value.list);
        n = sizeof(value.list);
        break;
    case P_STRUCT:
        put_fields(b, f->items->fields, f->items->field_count, item, out ? out + f->offset : NULL);
        return;
    }
    if (out)
        memcpy(out + f->offset, &value, n);
}

static void put_fields(struct builder *b, const struct projection_field *fields, size_t count,
    const cJSON *object, char *out)
{
    for (size_t i = 0; i < count; i++) {
        const cJSON *item = fields[i].path[0] ? json_path(object, fields[i].path) : object;
        put_field(b, &fields[i], item, out);
    }
}

static void put_object(
    struct builder *b, const struct projection *projection, const cJSON *object, char *out)
{
    size_t meta_count = meta_projection.field_count - projection->no_annotations;

    put_fields(b, meta_fields, meta_count, json_get(object, "metadata"), out);
    put_fields(b, projection->fields, projection->field_count, object, out);
}

void *projected_new(const struct projection *projection, const cJSON *object)
{
    struct builder count = {.base = NULL};
    size_t fixed = (projection->size + 15) & ~(size_t)15;

    assert(projection->size >= sizeof(struct object_meta));
    put_object(&count, projection, object, NULL);
    size_t bytes = sizeof(struct header) + fixed + count.used;
    assert(bytes <= UINT32_MAX);
    struct header *h = xmalloc(bytes);
    char *out = (char *)(h + 1);
    atomic_init(&h->refs, 1);
    h->bytes = (uint32_t)bytes;
    h->pad = 0;
    memset(out, 0, fixed);
    struct builder fill = {.base = out + fixed};
    put_object(&fill, projection, object, out);
    assert(fill.used == count.used);
    return out;
}

static struct header *header_of(const void *object)
{
    return (struct header *)((char *)(uintptr_t)object - sizeof(struct header));
}

void *projected_ref(const void *object)
{
    if (object)
        atomic_fetch_add_explicit(&header_of(object)->refs, 1, memory_order_relaxed);
    return (void *)(uintptr_t)object;
}

void projected_unref(const void *object)
{
    if (!object)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&header_of(object)->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(header_of(object));
}

size_t projected_bytes(const void *object)
{
    return header_of(object)->bytes;
}

const char *string_map_get(const struct string_map *map, const char *key)
{
    size_t low = 0, high = map->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(map->pairs[middle].key, key);
        if (order == 0)
            return map->pairs[middle].value;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *string_map_label(const void *map, const char *key)
{
    return string_map_get(map, key);
}

const struct owner_ref *object_controller(const struct object_meta *meta)
{
    const struct owner_ref *owners = meta->owners.items;

    for (size_t i = 0; i < meta->owners.count; i++)
        if (owners[i].controller)
            return &owners[i];
    return NULL;
}
