/* ControllerRevisions: see revisions.h. Upstream: pkg/controller/history. */
#include "controller/revisions.h"

#include "common/log.h"
#include "common/names.h"
#include "controller/pods.h"
#include "controller/status.h"

#define HASH_LABEL "controller.kubernetes.io/hash"
#define DEFAULT_LIMIT 10

static int cmp_revision(const void *a, const void *b)
{
    const struct revision *x = *(const struct revision *const *)a;
    const struct revision *y = *(const struct revision *const *)b;

    if (x->revision != y->revision)
        return x->revision < y->revision ? -1 : 1;
    if (x->meta.creation_ns != y->meta.creation_ns)
        return x->meta.creation_ns < y->meta.creation_ns ? -1 : 1;
    return strcmp(x->meta.name, y->meta.name);
}

static cJSON *data_of(const char *template)
{
    cJSON *data = cJSON_CreateObject(), *tree = json_of_text(template);

    json_set_string(tree, "$patch", "replace");
    json_set_at(data, "spec.template", tree);
    json_sort(data);
    return data;
}

static void hash_of(const cJSON *data, int64_t collisions, char *buf, size_t bytes)
{
    autostrbuf struct strbuf text;
    char number[16];

    strbuf_init(&text, 0);
    json_print(data, &text);
    if (collisions)
        strbuf_addf(&text, "%lld", (long long)collisions);
    snprintf(number, sizeof(number), "%u", fnv32a(strbuf_str(&text)));
    name_safe_encode(str_of(number), buf, bytes);
}

static bool has_data(const struct revision *r, const cJSON *data)
{
    autojson cJSON *own = json_of_text(r->data);
    return json_equal(own, data);
}

static cJSON *build(enum kind kind, const struct object_meta *owner, const cJSON *data,
    const char *hash, int64_t number)
{
    cJSON *object =
        json_make("{\"apiVersion\":\"apps/v1\",\"kind\":\"ControllerRevision\",\"metadata\":{"
                  "\"name\":\"%s-%s\",\"namespace\":\"%s\"},\"revision\":%lld}",
            owner->name, hash, owner->namespace_, (long long)number);
    const cJSON *labels = json_path(data, "spec.template.metadata.labels");
    cJSON *own_labels = labels ? cJSON_Duplicate(labels, true) : cJSON_CreateObject();
    cJSON *annotations = cJSON_CreateObject(), *owners = cJSON_CreateArray();

    json_set_string(own_labels, HASH_LABEL, hash);
    for (size_t i = 0; i < owner->annotations.count; i++)
        json_set_string(
            annotations, owner->annotations.pairs[i].key, owner->annotations.pairs[i].value);
    cJSON_AddItemToArray(owners, controller_ref_json(kind, owner));
    json_set_at(object, "metadata.labels", own_labels);
    json_set_at(object, "metadata.annotations", annotations);
    json_set_at(object, "metadata.ownerReferences", owners);
    json_set(object, "data", cJSON_Duplicate(data, true));
    return object;
}

static void append(struct history *h, const void *take_revision)
{
    h->all.objects = xrealloc(h->all.objects, (h->all.count + 1) * sizeof(*h->all.objects));
    h->all.objects[h->all.count++] = take_revision;
}

/* Another object has the name: ours with the same data will do; else the next hash. */
static int name_taken(struct controller *c, const struct object_meta *owner, const char *name,
    const cJSON *data, struct history *h, struct error *err)
{
    struct api_ref ref = {.group_version = "apps/v1",
        .plural = "controllerrevisions",
        .namespace_ = owner->namespace_,
        .name = name};
    autojson cJSON *live = NULL;

    if (api_get(manager_client(c->m), &ref, &live, err) < 0)
        return -(int)err->code;
    const struct revision *r = projected_new(kinds[KIND_REVISION].projection, live);
    if (is_controlled_by(&r->meta, owner) && has_data(r, data)) {
        append(h, r);
        h->update = r;
        return 0;
    }
    projected_unref(r);
    h->collisions++;
    return 0;
}

static int create(struct controller *c, enum kind kind, const struct object_meta *owner,
    const cJSON *data, int64_t number, struct history *h, struct error *err)
{
    struct api_ref ref = {.group_version = "apps/v1",
        .plural = "controllerrevisions",
        .namespace_ = owner->namespace_};

    while (!h->update) {
        char hash[24];
        autojson cJSON *made = NULL;
        hash_of(data, h->collisions, hash, sizeof(hash));
        autojson cJSON *object = build(kind, owner, data, hash, number);
        int r = api_create(manager_client(c->m), &ref, object, &made, err);
        if (r == -ERR_ALREADY_EXISTS) {
            if (name_taken(c, owner, json_string_at(object, "metadata.name"), data, h, err) < 0)
                return -(int)err->code;
            continue;
        }
        if (r < 0)
            return r;
        h->update = projected_new(kinds[KIND_REVISION].projection, made);
        append(h, h->update);
        return kind_wait_version(c->m, KIND_REVISION, h->update->meta.resource_version, err);
    }
    return 0;
}

static int renumber(
    struct controller *c, struct history *h, size_t index, int64_t number, struct error *err)
{
    const struct revision *r = h->all.objects[index];
    const struct revision *fresh;

    if (object_patch(c->m, KIND_REVISION, &r->meta, NULL,
            json_make("{\"revision\":%lld}", (long long)number), err) < 0)
        return -(int)err->code;
    fresh = kind_get_uid(c->m, KIND_REVISION, r->meta.namespace_, r->meta.name, r->meta.uid);
    if (!fresh)
        return error_set(err, ERR_UNAVAILABLE, "controller revision %s is gone", r->meta.name);
    projected_unref(r);
    h->all.objects[index] = fresh;
    h->update = fresh;
    return 0;
}

int history_load(struct controller *c, enum kind kind, const struct object_meta *owner,
    const char *selector_text, const char *template, const struct opt_int *collisions,
    struct history *ret, struct error *err)
{
    auto_selector struct selector *selector = selector_of_json(selector_text);
    autojson cJSON *data = data_of(template);
    struct history h = {.collisions = collisions->set ? collisions->value : 0};
    size_t equal = SIZE_MAX;
    int result = 0;

    if (objects_claim(c, kind, owner, KIND_REVISION, selector, &h.all, err) < 0)
        return -(int)err->code;
    qsort(h.all.objects, h.all.count, sizeof(*h.all.objects), cmp_revision);
    for (size_t i = 0; i < h.all.count; i++)
        if (has_data(h.all.objects[i], data))
            equal = i;
    int64_t next =
        h.all.count ? ((const struct revision *)h.all.objects[h.all.count - 1])->revision + 1 : 1;
    if (equal != SIZE_MAX && equal + 1 == h.all.count)
        h.update = h.all.objects[equal];
    else if (equal != SIZE_MAX)
        result = renumber(c, &h, equal, next, err);
    else
        result = create(c, kind, owner, data, next, &h, err);
    if (result < 0) {
        revisions_done(&h);
        return result;
    }
    *ret = h;
    return 0;
}

void revisions_done(struct history *h)
{
    projected_array_done(&h->all);
    *h = (struct history){0};
}

const struct revision *history_find(const struct history *h, const char *name)
{
    for (size_t i = 0; i < h->all.count; i++)
        if (!strcmp(((const struct revision *)h->all.objects[i])->meta.name, name))
            return h->all.objects[i];
    return NULL;
}

cJSON *revision_template(const struct revision *r)
{
    cJSON *data = json_of_text(r->data), *template = json_path(data, "spec.template");

    template = template ? cJSON_Duplicate(template, true) : cJSON_CreateObject();
    json_remove(template, "$patch");
    cJSON_Delete(data);
    return template;
}

const char *revision_hash(const struct revision *r)
{
    const char *hash = string_map_get(&r->meta.labels, HASH_LABEL);
    return hash ? hash : r->meta.name;
}

int history_truncate(struct controller *c, struct history *h, const struct opt_int *limit,
    revision_live_fn *is_live, void *arg, struct error *err)
{
    int64_t keep = limit->set ? limit->value : DEFAULT_LIMIT, idle = 0;

    for (size_t i = 0; i < h->all.count; i++)
        idle += !is_live(arg, h->all.objects[i]);
    for (size_t i = 0; i < h->all.count && idle > keep; i++) {
        const struct revision *r = h->all.objects[i];
        if (is_live(arg, r))
            continue;
        if (object_delete(c->m, KIND_REVISION, &r->meta, NULL, err) < 0)
            return -(int)err->code;
        idle--;
    }
    return 0;
}
