/*
 * The ReplicaSets of a Deployment: which one has the current template, revisions, annotations,
 * history.
 *
 * The new set is the oldest whose template equals the Deployment's, but for the hash label. Its
 * revision is one above all others. Names and hash label come from an FNV hash of the canonical
 * template and the collision count, which rises when another object already has the name.
 */
#include "common/log.h"
#include "common/names.h"
#include "controller/deployment.h"
#include "controller/pods.h"
#include "controller/status.h"

#define HISTORY_CHARS_MAX 2000

void deployment_hash(
    const char *template, const struct opt_int *collisions, char *buf, size_t buf_bytes)
{
    autojson cJSON *tree = json_of_text(template);
    autostrbuf struct strbuf text;
    char number[16];

    strbuf_init(&text, 0);
    json_sort(tree);
    json_print(tree, &text);
    if (collisions && collisions->set)
        strbuf_addf(&text, "%lld", (long long)collisions->value);
    snprintf(number, sizeof(number), "%u", fnv32a(strbuf_str(&text)));
    name_safe_encode(str_of(number), buf, buf_bytes);
}

bool templates_equal(const char *a, const char *b)
{
    if (c_eq(a, b))
        return true;
    autojson cJSON *x = json_of_text(a), *y = json_of_text(b);
    json_remove_at(x, "metadata.labels." POD_TEMPLATE_HASH);
    json_remove_at(y, "metadata.labels." POD_TEMPLATE_HASH);
    return json_equal(x, y);
}

static int64_t annotation_number(const struct set *s, const char *key, int64_t otherwise)
{
    const char *text = s->rs ? string_map_get(&s->rs->meta.annotations, key) : NULL;
    int64_t n;
    struct error err;

    return text && str_parse_int64(str_of(text), &n, &err) == 0 ? n : otherwise;
}

int64_t set_desired(const struct set *s)
{
    return annotation_number(s, DESIRED_REPLICAS, -1);
}

static int cmp_creation(const void *a, const void *b)
{
    const struct set *x = a, *y = b;

    if (x->creation_ns != y->creation_ns)
        return x->creation_ns < y->creation_ns ? -1 : 1;
    return strcmp(x->name, y->name);
}

static struct set set_of(const struct replica_set *take_rs)
{
    struct set s = {.rs = take_rs,
        .name = take_rs->meta.name,
        .replicas = take_rs->replicas.set ? take_rs->replicas.value : 1,
        .available = take_rs->status_available,
        .creation_ns = take_rs->meta.creation_ns};

    s.max_replicas = annotation_number(&s, MAX_REPLICAS, 0);
    return s;
}

static void find_newest(struct rollout *r)
{
    qsort(r->sets, r->count, sizeof(*r->sets), cmp_creation);
    r->newest = -1;
    for (size_t i = 0; i < r->count && r->newest < 0; i++)
        if (templates_equal(r->sets[i].rs->template, r->d->template))
            r->newest = (ssize_t)i;
}

int sets_load(struct rollout *r, struct error *err)
{
    auto_selector struct selector *selector = selector_of_json(r->d->selector);
    auto_objects struct projected_array claimed = {0};

    if (objects_claim(
            r->c, KIND_DEPLOYMENT, &r->d->meta, KIND_REPLICA_SET, selector, &claimed, err) < 0)
        return -(int)err->code;
    r->sets = xcalloc(claimed.count + 2, sizeof(*r->sets)); /* one more may be made */
    for (size_t i = 0; i < claimed.count; i++)
        r->sets[r->count++] = set_of(projected_ref(claimed.objects[i]));
    find_newest(r);
    return 0;
}

void sets_done(struct rollout *r)
{
    for (size_t i = 0; i < r->count; i++)
        projected_unref(r->sets[i].rs);
    free(r->sets);
    r->sets = NULL;
    r->count = 0;
}

struct set *new_set(struct rollout *r)
{
    return r->newest >= 0 ? &r->sets[r->newest] : NULL;
}

static int64_t next_revision(struct rollout *r)
{
    int64_t highest = 0;

    for (size_t i = 0; i < r->count; i++) {
        int64_t n = annotation_number(&r->sets[i], REVISION, 0);
        if ((ssize_t)i != r->newest && n > highest)
            highest = n;
    }
    return highest + 1;
}

/* Annotations of the Deployment that ReplicaSets do not take over. */
static bool is_own_annotation(const char *key)
{
    static const char *const own[] = {"kubectl.kubernetes.io/last-applied-configuration", REVISION,
        REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, "deprecated.deployment.rollback.to"};

    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        if (!strcmp(key, own[i]))
            return true;
    return false;
}

/* "1,3" and 5 give "1,3,5"; the oldest go when it would get too long. */
static char *longer_history(const char *history, const char *revision)
{
    if (!history || !*history)
        return xstrdup(revision);
    while (strlen(history) + strlen(revision) + 1 > HISTORY_CHARS_MAX) {
        const char *comma = strchr(history, ',');
        if (!comma)
            return xstrdup(revision);
        history = comma + 1;
    }
    return str_format("%s,%s", history, revision);
}

/* What the new set's annotations lack, as members to merge; empty when nothing. `s` NULL: a set to
 * be made. */
static cJSON *missing_annotations(struct rollout *r, const struct set *s, int64_t revision)
{
    cJSON *add = cJSON_CreateObject();
    const struct string_map *have = s ? &s->rs->meta.annotations : NULL;
    const struct string_map *from = &r->d->meta.annotations;
    char text[24];

    for (size_t i = 0; i < from->count; i++) {
        const char *key = from->pairs[i].key, *value = from->pairs[i].value;
        if (!is_own_annotation(key) && !(have && c_eq(string_map_get(have, key), value)))
            json_set_string(add, key, value);
    }
    int64_t old = s ? annotation_number(s, REVISION, 0) : 0;
    if (old < revision) {
        snprintf(text, sizeof(text), "%lld", (long long)revision);
        json_set_string(add, REVISION, text);
        const char *was = have ? string_map_get(have, REVISION) : NULL;
        if (was) {
            autofree char *history = longer_history(string_map_get(have, REVISION_HISTORY), was);
            json_set_string(add, REVISION_HISTORY, history);
        }
    }
    return add;
}

/* --- the set exists --- */

static int update_new_set(struct rollout *r, struct set *s, int64_t revision, struct error *err)
{
    struct manager *m = r->c->m;
    cJSON *annotations = missing_annotations(r, s, revision);
    bool other_ready = s->rs->min_ready_seconds != r->d->min_ready_seconds;

    if (!annotations->child && !other_ready) {
        cJSON_Delete(annotations);
        return 0;
    }
    cJSON *patch = cJSON_CreateObject();
    json_set_at(patch, "metadata.annotations", annotations);
    if (other_ready)
        json_set_at(patch, "spec.minReadySeconds", json_new_int64(r->d->min_ready_seconds));
    if (object_patch(m, KIND_REPLICA_SET, &s->rs->meta, NULL, patch, err) < 0)
        return -(int)err->code;
    const struct replica_set *fresh =
        kind_get_uid(m, KIND_REPLICA_SET, s->rs->meta.namespace_, s->name, s->rs->meta.uid);
    if (fresh) {
        projected_unref(s->rs);
        *s = set_of(fresh);
    }
    return 0;
}

static bool has_progressing(const cJSON *status)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(status, "conditions")) if (c_eq(json_string(item, "type"),
                                                                     "Progressing")) return true;
    return false;
}

/* The Deployment's own revision, and a first Progressing condition for a set that is there already.
 */
static int note_revision(struct rollout *r, const char *revision, const char *reason,
    const char *text, bool always, struct error *err)
{
    cJSON *status = cJSON_Duplicate(r->status, true);

    if (has_progress_deadline(r->d) && (always || !has_progressing(status))) {
        autofree char *message = str_format(text, new_set(r)->name);
        deployment_set_condition(status, "Progressing", "True", reason, message, r->now_ns);
    }
    return deployment_write_status(r, status, revision, err);
}

static int sync_existing(struct rollout *r, struct error *err)
{
    struct set *s = new_set(r);

    if (update_new_set(r, s, next_revision(r), err) < 0)
        return -(int)err->code;
    const char *revision = string_map_get(&s->rs->meta.annotations, REVISION);
    return note_revision(
        r, revision, "FoundNewReplicaSet", "Found new replica set \"%s\"", false, err);
}

/* --- the set must be made --- */

static cJSON *build_set(struct rollout *r, const char *hash, int64_t replicas, int64_t revision)
{
    const struct deployment *d = r->d;
    cJSON *rs = json_make("{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"metadata\":{"
                          "\"name\":\"%s-%s\",\"namespace\":\"%s\"},\"spec\":{}}",
        d->meta.name, hash, d->meta.namespace_);
    cJSON *template = json_of_text(d->template), *selector = json_of_text(d->selector);
    cJSON *owners = cJSON_CreateArray(), *annotations = missing_annotations(r, NULL, revision);
    char text[24];

    json_set_string_at(template, "metadata.labels." POD_TEMPLATE_HASH, hash);
    json_set_string_at(selector, "matchLabels." POD_TEMPLATE_HASH, hash);
    snprintf(text, sizeof(text), "%lld", (long long)r->plan.replicas);
    json_set_string(annotations, DESIRED_REPLICAS, text);
    snprintf(text, sizeof(text), "%lld", (long long)(r->plan.replicas + r->plan.max_surge));
    json_set_string(annotations, MAX_REPLICAS, text);
    cJSON_AddItemToArray(owners, controller_ref_json(KIND_DEPLOYMENT, &d->meta));
    json_set_at(
        rs, "metadata.labels", cJSON_Duplicate(json_path(template, "metadata.labels"), true));
    json_set_at(rs, "metadata.annotations", annotations);
    json_set_at(rs, "metadata.ownerReferences", owners);
    json_set_at(rs, "spec.replicas", json_new_int64(replicas));
    if (d->min_ready_seconds)
        json_set_at(rs, "spec.minReadySeconds", json_new_int64(d->min_ready_seconds));
    json_set_at(rs, "spec.selector", selector);
    json_set_at(rs, "spec.template", template);
    return rs;
}

/* Another object has the name. Ours with this template: it is only not in the informer yet. */
static int name_taken(struct rollout *r, const char *name, struct error *err)
{
    struct api_ref ref = {.group_version = "apps/v1",
        .plural = "replicasets",
        .namespace_ = r->d->meta.namespace_,
        .name = name};
    autojson cJSON *live = NULL;

    if (api_get(manager_client(r->c->m), &ref, &live, err) < 0)
        return -(int)err->code;
    const struct kind_info *info = &kinds[KIND_REPLICA_SET];
    auto_object const struct replica_set *rs = projected_new(info->projection, live);
    if (is_controlled_by(&rs->meta, &r->d->meta) && templates_equal(rs->template, r->d->template))
        return error_set(err, ERR_UNAVAILABLE, "replica set %s is already there", name);
    cJSON *status = cJSON_Duplicate(r->status, true);
    json_set(status, "collisionCount", json_new_int64(r->d->collision_count.value + 1));
    log_info("hash collision, raising collisionCount", "deployment", "%s/%s", r->d->meta.namespace_,
        r->d->meta.name, NULL);
    if (deployment_write_status(r, status, NULL, err) < 0)
        return -(int)err->code;
    return error_set(err, ERR_UNAVAILABLE, "replica set %s belongs to another template", name);
}

static int creation_failed(struct rollout *r, const char *name, struct error *err)
{
    struct error ignored;

    if (is_terminating_namespace(err))
        return -(int)err->code;
    autofree char *message =
        str_format("Failed to create new replica set \"%s\": %s", name, err->text);
    controller_event(
        r->c, KIND_DEPLOYMENT, &r->d->meta, EVENT_WARNING, "ReplicaSetCreateError", "%s", message);
    if (has_progress_deadline(r->d)) {
        cJSON *status = cJSON_Duplicate(r->status, true);
        deployment_set_condition(
            status, "Progressing", "False", "ReplicaSetCreateError", message, r->now_ns);
        (void)deployment_write_status(r, status, NULL, &ignored);
    }
    return -(int)err->code;
}

static int create_new_set(struct rollout *r, struct error *err)
{
    char hash[24], text[24];
    int64_t revision = next_revision(r);
    struct set fresh = {0};
    struct api_ref ref = {
        .group_version = "apps/v1", .plural = "replicasets", .namespace_ = r->d->meta.namespace_};
    autojson cJSON *made = NULL;

    deployment_hash(r->d->template, &r->d->collision_count, hash, sizeof(hash));
    int64_t size = plan_new_size(&r->plan, r->sets, r->count, &fresh);
    autojson cJSON *rs = build_set(r, hash, size, revision);
    const char *name = json_string_at(rs, "metadata.name");
    int result = api_create(manager_client(r->c->m), &ref, rs, &made, err);
    if (result == -ERR_ALREADY_EXISTS)
        return name_taken(r, name, err);
    if (result < 0)
        return creation_failed(r, name, err);
    if (size > 0)
        controller_event(r->c, KIND_DEPLOYMENT, &r->d->meta, EVENT_NORMAL, "ScalingReplicaSet",
            "Scaled up replica set %s from 0 to %lld", name, (long long)size);
    if (kind_wait_version(
            r->c->m, KIND_REPLICA_SET, json_string_at(made, "metadata.resourceVersion"), err) < 0)
        return -(int)err->code;
    r->sets[r->count++] = set_of(projected_new(kinds[KIND_REPLICA_SET].projection, made));
    find_newest(r);
    snprintf(text, sizeof(text), "%lld", (long long)revision);
    if (!new_set(r))
        return error_set(
            err, ERR_UNAVAILABLE, "replica set %s differs from the template it was made of", name);
    return note_revision(
        r, text, "NewReplicaSetCreated", "Created new replica set \"%s\"", true, err);
}

int sets_sync_revision(struct rollout *r, bool create, struct error *err)
{
    if (new_set(r))
        return sync_existing(r, err);
    return create ? create_new_set(r, err) : 0;
}

/* --- history --- */

static int cmp_revision(const void *a, const void *b)
{
    const struct set *const *x = a, *const *y = b;
    int64_t p = annotation_number(*x, REVISION, 0), q = annotation_number(*y, REVISION, 0);

    if (p != q)
        return p < q ? -1 : 1;
    return cmp_creation(*x, *y);
}

int sets_clean_up(struct rollout *r, struct error *err)
{
    int64_t limit = r->d->revision_history_limit.value;
    autofree struct set **old = xcalloc(r->count + 1, sizeof(struct set *));
    int64_t count = 0;

    if (!r->d->revision_history_limit.set || limit == INT32_MAX)
        return 0;
    for (size_t i = 0; i < r->count; i++)
        if ((ssize_t)i != r->newest && !r->sets[i].rs->meta.deletion_ns)
            old[count++] = &r->sets[i];
    if (count <= limit)
        return 0;
    qsort(old, (size_t)count, sizeof(*old), cmp_revision);
    for (int64_t i = 0; i < count - limit; i++) {
        const struct replica_set *rs = old[i]->rs;
        if (rs->status_replicas || old[i]->replicas ||
            rs->meta.generation > rs->observed_generation)
            continue;
        if (object_delete(r->c->m, KIND_REPLICA_SET, &rs->meta, "Background", err) < 0)
            return -(int)err->code;
    }
    return 0;
}
