/*
 * A StatefulSet's pods and their claims: see statefulset.h.
 *
 * Pod SET-N has the labels pod-name, pod-index and controller-revision-hash, hostname SET-N,
 * subdomain serviceName, and for each claim template T a volume T on the claim T-SET-N. Claims
 * outlive the pod unless the retention policy makes the set (whenDeleted) or the condemned pod
 * (whenScaled) their owner.
 */
#include "common/log.h"
#include "controller/pods.h"
#include "controller/statefulset.h"
#include "controller/status.h"

#define POD_NAME_LABEL "statefulset.kubernetes.io/pod-name"
#define POD_INDEX_LABEL "apps.kubernetes.io/pod-index"

static char *pod_name(const struct stateful_set *set, int64_t ordinal)
{
    return str_format("%s-%lld", set->meta.name, (long long)ordinal);
}

static char *claim_name(const struct stateful_set *set, const char *template_name, int64_t ordinal)
{
    return str_format("%s-%s-%lld", template_name, set->meta.name, (long long)ordinal);
}

static cJSON *claim_templates(const struct stateful_set *set)
{
    cJSON *templates = json_of_text(set->claim_templates);

    if (cJSON_IsArray(templates))
        return templates;
    cJSON_Delete(templates);
    return cJSON_CreateArray();
}

/* Label keys hold dots, so paths will not do. */
static cJSON *member(cJSON *object, const char *name)
{
    cJSON *item = json_get(object, name);

    if (!item || cJSON_IsNull(item)) {
        item = cJSON_CreateObject();
        json_set(object, name, item);
    }
    return item;
}

static void replace_volume(cJSON *volumes, const char *name, const char *claim)
{
    cJSON *volume, *source = cJSON_CreateObject();
    int i = 0;

    cJSON_ArrayForEach(volume, volumes)
    {
        if (c_eq(json_string(volume, "name"), name)) {
            cJSON_DeleteItemFromArray(volumes, i);
            break;
        }
        i++;
    }
    volume = cJSON_CreateObject();
    json_set_string(volume, "name", name);
    json_set_string(source, "claimName", claim);
    json_set(volume, "persistentVolumeClaim", source);
    cJSON_AddItemToArray(volumes, volume);
}

static void add_volumes(const struct stateful_set *set, cJSON *spec, int64_t ordinal)
{
    autojson cJSON *templates = claim_templates(set);
    cJSON *volumes = json_get(spec, "volumes"), *template;

    if (!templates->child)
        return;
    if (!cJSON_IsArray(volumes)) {
        volumes = cJSON_CreateArray();
        json_set(spec, "volumes", volumes);
    }
    cJSON_ArrayForEach(template, templates)
    {
        const char *name = json_string_at(template, "metadata.name");
        if (!name)
            continue;
        autofree char *claim = claim_name(set, name, ordinal);
        replace_volume(volumes, name, claim);
    }
}

cJSON *sts_pod_json(
    const struct stateful_set *set, const struct revision *revision, int64_t ordinal)
{
    autojson cJSON *template = revision_template(revision);
    cJSON *pod = pod_from_template(template, KIND_STATEFUL_SET, &set->meta);
    cJSON *metadata = json_get(pod, "metadata"), *labels = member(metadata, "labels");
    cJSON *spec = member(pod, "spec");
    autofree char *name = pod_name(set, ordinal);
    char index[24];

    snprintf(index, sizeof(index), "%lld", (long long)ordinal);
    json_remove(metadata, "generateName");
    json_set_string(metadata, "name", name);
    json_set_string(labels, POD_NAME_LABEL, name);
    json_set_string(labels, POD_INDEX_LABEL, index);
    json_set_string(labels, REVISION_HASH, revision->meta.name);
    json_set_string(spec, "hostname", name);
    if (*set->service_name)
        json_set_string(spec, "subdomain", set->service_name);
    add_volumes(set, spec, ordinal);
    return pod;
}

int sts_restore_identity(
    struct controller *c, const struct stateful_set *set, const struct pod *pod, struct error *err)
{
    const char *dash = strrchr(pod->meta.name, '-');

    if (c_eq(string_map_get(&pod->meta.labels, POD_NAME_LABEL), pod->meta.name) &&
        (!dash || c_eq(string_map_get(&pod->meta.labels, POD_INDEX_LABEL), dash + 1)))
        return 0;
    cJSON *patch = json_make("{\"metadata\":{\"labels\":{\"" POD_NAME_LABEL
                             "\":\"%s\",\"" POD_INDEX_LABEL "\":\"%s\"}}}",
        pod->meta.name, dash ? dash + 1 : "");
    return object_patch(c->m, KIND_POD, &pod->meta, NULL, patch, err);
}

/* --- claims --- */

static cJSON *owner_list(enum kind kind, const struct object_meta *owner)
{
    cJSON *owners = cJSON_CreateArray(), *ref = controller_ref_json(kind, owner);

    json_remove(ref, "controller");
    json_remove(ref, "blockOwnerDeletion");
    cJSON_AddItemToArray(owners, ref);
    return owners;
}

static int make_claim(struct controller *c, const struct stateful_set *set, const cJSON *template,
    const char *name, struct error *err)
{
    struct api_ref ref = {.group_version = "v1",
        .plural = "persistentvolumeclaims",
        .namespace_ = set->meta.namespace_};
    autojson cJSON *claim = cJSON_Duplicate(template, true),
                   *selector = json_of_text(set->selector);
    autojson cJSON *made = NULL;
    cJSON *metadata = member(claim, "metadata"), *labels = member(metadata, "labels"), *label;

    json_set_string(claim, "apiVersion", "v1");
    json_set_string(claim, "kind", "PersistentVolumeClaim");
    json_remove(claim, "status");
    json_set_string(metadata, "name", name);
    json_set_string(metadata, "namespace", set->meta.namespace_);
    cJSON_ArrayForEach(label, json_get(selector, "matchLabels")) if (cJSON_IsString(label))
        json_set_string(labels, label->string, label->valuestring);
    if (!strcmp(set->when_deleted, "Delete"))
        json_set(metadata, "ownerReferences", owner_list(KIND_STATEFUL_SET, &set->meta));
    int r = api_create(manager_client(c->m), &ref, claim, &made, err);
    if (r == -ERR_ALREADY_EXISTS)
        return 0;
    if (r < 0) {
        controller_event(c, KIND_STATEFUL_SET, &set->meta, EVENT_WARNING, "FailedCreate",
            "create Claim %s in StatefulSet %s failed error: %s", name, set->meta.name, err->text);
        return r;
    }
    controller_event(c, KIND_STATEFUL_SET, &set->meta, EVENT_NORMAL, "SuccessfulCreate",
        "create Claim %s in StatefulSet %s success", name, set->meta.name);
    return kind_wait_version(
        c->m, KIND_CLAIM, json_string_at(made, "metadata.resourceVersion"), err);
}

typedef int claim_fn(struct controller *c, const struct stateful_set *set, const cJSON *template,
    const char *name, const struct claim *claim, void *arg, struct error *err);

static int each_claim(struct controller *c, const struct stateful_set *set, int64_t ordinal,
    claim_fn *fn, void *arg, struct error *err)
{
    autojson cJSON *templates = claim_templates(set);
    const cJSON *template;
    int r = 0;

    cJSON_ArrayForEach(template, templates)
    {
        const char *template_name = json_string_at(template, "metadata.name");
        if (!template_name || r < 0)
            continue;
        autofree char *name = claim_name(set, template_name, ordinal);
        auto_object const struct claim *claim =
            kind_get(c->m, KIND_CLAIM, set->meta.namespace_, name);
        r = fn(c, set, template, name, claim, arg, err);
    }
    return r;
}

static int make_missing(struct controller *c, const struct stateful_set *set, const cJSON *template,
    const char *name, const struct claim *claim, void *arg, struct error *err)
{
    if (claim && claim->meta.deletion_ns)
        return error_set(err, ERR_UNAVAILABLE, "pvc %s is being deleted", name);
    return claim ? 0 : make_claim(c, set, template, name, err);
}

int sts_make_claims(
    struct controller *c, const struct stateful_set *set, int64_t ordinal, struct error *err)
{
    return each_claim(c, set, ordinal, make_missing, NULL, err);
}

struct retention {
    const struct pod *pod;
    bool condemned;
    bool stale;
};

static bool owned_by(const struct claim *claim, const char *uid)
{
    const struct owner_ref *owners = claim->meta.owners.items;

    for (size_t i = 0; i < claim->meta.owners.count; i++)
        if (!strcmp(owners[i].uid, uid))
            return true;
    return false;
}

static int retain(struct controller *c, const struct stateful_set *set, const cJSON *template,
    const char *name, const struct claim *claim, void *arg, struct error *err)
{
    const struct retention *r = arg;
    bool by_pod = r->condemned && r->pod && !strcmp(set->when_scaled, "Delete");
    bool by_set = !by_pod && !strcmp(set->when_deleted, "Delete");
    cJSON *owners;

    if (!claim)
        return 0;
    bool has_set = owned_by(claim, set->meta.uid),
         has_pod = r->pod && owned_by(claim, r->pod->meta.uid);
    if (has_set == by_set && has_pod == by_pod)
        return 0;
    if (by_pod)
        owners = owner_list(KIND_POD, &r->pod->meta);
    else
        owners = by_set ? owner_list(KIND_STATEFUL_SET, &set->meta) : cJSON_CreateArray();
    cJSON *patch = cJSON_CreateObject();
    json_set_at(patch, "metadata.ownerReferences", owners);
    int result = object_patch(c->m, KIND_CLAIM, &claim->meta, NULL, patch, err);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

int sts_retain_claims(struct controller *c, const struct stateful_set *set, int64_t ordinal,
    const struct pod *pod, bool condemned, struct error *err)
{
    struct retention r = {pod, condemned, false};
    return each_claim(c, set, ordinal, retain, &r, err);
}

static int look_stale(struct controller *c, const struct stateful_set *set, const cJSON *template,
    const char *name, const struct claim *claim, void *arg, struct error *err)
{
    struct retention *r = arg;
    autofree char *pod = xstrdup(name + strlen(json_string_at(template, "metadata.name")) + 1);
    const struct owner_ref *owners = claim ? claim->meta.owners.items : NULL;

    for (size_t i = 0; claim && i < claim->meta.owners.count; i++)
        if (!strcmp(owners[i].kind, "Pod") && !strcmp(owners[i].name, pod))
            r->stale = true;
    return 0;
}

bool sts_claim_is_stale(struct controller *c, const struct stateful_set *set, int64_t ordinal)
{
    struct retention r = {NULL, false, false};
    struct error ignored;

    each_claim(c, set, ordinal, look_stale, &r, &ignored);
    return r.stale;
}
