/*
 * Controller "persistentvolume-binder": brings volumes and claims together, and reclaims volumes
 * whose claim is gone.
 *
 * Keys: "claim namespace/name" and "volume name". A claim looks for its volume: the one it names,
 * one reserved for it, the smallest that fits, or a new one of its class. With a class that waits
 * for the first consumer only the scheduler acts first: it reserves a volume, or names the node for
 * a new one. A volume looks whether its claim still is: else Released, then kept, deleted or
 * refused as its policy says. Either may come first.
 *
 * Upstream: pkg/controller/volume/persistentvolume.
 */
#include "controller/volume.h"

#include "common/log.h"
#include "common/time.h"
#include "controller/status.h"

#define CLAIM_KEY "claim "
#define VOLUME_KEY "volume "

static const char yes[] = "yes";

static void add_claim(struct controller *c, const char *namespace_, const char *name)
{
    workqueue_addf(c->queue, CLAIM_KEY "%s/%s", namespace_, name);
}

static void add_volume(struct controller *c, const char *name)
{
    workqueue_addf(c->queue, VOLUME_KEY "%s", name);
}

/* --- writing --- */

static int set_volume_phase(struct controller *c, const struct volume *v, const char *phase,
    const char *message, struct error *err)
{
    char now[TIME_TEXT_BYTES];
    autojson cJSON *status = json_of_text(v->status);

    if (!strcmp(v->phase, phase))
        return 0;
    json_set_string(status, "phase", phase);
    json_set_string(
        status, "lastPhaseTransitionTime", time_print_s(env_wall_ns(manager_env(c->m)), now));
    if (message)
        json_set_string(status, "message", message);
    else
        json_remove(status, "message");
    return object_status_write(c->m, KIND_VOLUME, &v->meta, v->status, status, err);
}

static int set_claim_phase(
    struct controller *c, const struct claim *claim, const char *phase, struct error *err)
{
    autojson cJSON *status = json_of_text(claim->status);

    if (!strcmp(claim->phase, phase))
        return 0;
    json_set_string(status, "phase", phase);
    return object_status_write(c->m, KIND_CLAIM, &claim->meta, claim->status, status, err);
}

/* The claim's status when it is bound: what it got. A request that grew meanwhile is the expander's
 * business. */
static int set_claim_bound(
    struct controller *c, const struct claim *claim, const struct volume *v, struct error *err)
{
    autojson cJSON *status = json_of_text(claim->status);
    cJSON *modes = cJSON_CreateArray();

    for (size_t i = 0; i < v->access_modes.count; i++)
        cJSON_AddItemToArray(modes, cJSON_CreateString(v->access_modes.strings[i]));
    json_set(status, "accessModes", modes);
    if (strcmp(claim->phase, "Bound") != 0 || !json_path(status, "capacity.storage"))
        json_set_string_at(status, "capacity.storage", v->capacity);
    if (*v->attributes_class)
        json_set_string(status, "currentVolumeAttributesClassName", v->attributes_class);
    json_set_string(status, "phase", "Bound");
    return object_status_write(c->m, KIND_CLAIM, &claim->meta, claim->status, status, err);
}

static int reserve_volume(
    struct controller *c, const struct volume *v, const struct claim *claim, struct error *err)
{
    cJSON *patch = json_make("{\"spec\":{\"claimRef\":{\"kind\":\"PersistentVolumeClaim\","
                             "\"apiVersion\":\"v1\"}}}");
    cJSON *ref = json_path(patch, "spec.claimRef");

    json_set_string(ref, "namespace", claim->meta.namespace_);
    json_set_string(ref, "name", claim->meta.name);
    json_set_string(ref, "uid", claim->meta.uid);
    json_set_string(ref, "resourceVersion", claim->meta.resource_version);
    if (!v->has_claim)
        json_set_at(
            patch, "metadata.annotations", json_make("{\"" BOUND_BY_CONTROLLER "\":\"%s\"}", yes));
    return object_patch(c->m, KIND_VOLUME, &v->meta, NULL, patch, err);
}

static int name_volume(
    struct controller *c, const struct claim *claim, const struct volume *v, struct error *err)
{
    cJSON *patch =
        json_make("{\"metadata\":{\"annotations\":{\"" BIND_COMPLETED "\":\"%s\"}}}", yes);

    if (!*claim->volume_name) {
        json_set_string_at(patch, "spec.volumeName", v->meta.name);
        json_set_string(json_path(patch, "metadata.annotations"), BOUND_BY_CONTROLLER, yes);
    }
    return object_patch(c->m, KIND_CLAIM, &claim->meta, NULL, patch, err);
}

/* All four writes, each only where it is still missing. Each round writes from what the informers
 * show, so after one write the key runs again for the next. */
static int bind(
    struct controller *c, const struct volume *v, const struct claim *claim, struct error *err)
{
    const char *completed = string_map_get(&claim->meta.annotations, BIND_COMPLETED);

    if (!v->has_claim || strcmp(v->claim_uid, claim->meta.uid) != 0) {
        add_claim(c, claim->meta.namespace_, claim->meta.name);
        return reserve_volume(c, v, claim, err);
    }
    if (set_volume_phase(c, v, "Bound", NULL, err) < 0)
        return -(int)err->code;
    if (!completed || strcmp(claim->volume_name, v->meta.name) != 0) {
        add_claim(c, claim->meta.namespace_, claim->meta.name);
        return name_volume(c, claim, v, err);
    }
    return set_claim_bound(c, claim, v, err);
}

/* --- claims --- */

static void tell(struct controller *c, const struct claim *claim, const char *type,
    const char *reason, const char *message)
{
    controller_event(c, KIND_CLAIM, &claim->meta, type, reason, "%s", message);
}

static bool waits_for_consumer(const struct claim *claim, const struct storage_class *class)
{
    return class && !strcmp(class->binding_mode, "WaitForFirstConsumer") &&
           !string_map_get(&claim->meta.annotations, SELECTED_NODE);
}

/* A claim that was made before there was a default class. */
static int assign_default_class(
    struct controller *c, const struct claim *claim, bool *ret_assigned, struct error *err)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_STORAGE_CLASS, NULL);
    const struct storage_class *best = NULL;

    *ret_assigned = false;
    if (claim->has_class || string_map_get(&claim->meta.annotations, CLASS_ANNOTATION))
        return 0;
    for (size_t i = 0; i < all.count; i++) {
        const struct storage_class *s = all.objects[i];
        if (c_eq(
                string_map_get(&s->meta.annotations, "storageclass.kubernetes.io/is-default-class"),
                "true") &&
            (!best || s->meta.creation_ns > best->meta.creation_ns))
            best = s;
    }
    if (!best)
        return 0;
    cJSON *patch = cJSON_CreateObject();
    json_set_string_at(patch, "spec.storageClassName", best->meta.name);
    *ret_assigned = true;
    return object_patch(c->m, KIND_CLAIM, &claim->meta, NULL, patch, err);
}

static int without_volume(struct controller *c, const struct claim *claim,
    const struct storage_class *class, struct error *err)
{
    const char *name = claim_class(claim);
    int r = 0;

    if (waits_for_consumer(claim, class)) {
        tell(c, claim, EVENT_NORMAL, "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding");
    } else if (class) {
        r = volume_provision(c, claim, class, err);
    } else if (*name) {
        autofree char *why = str_format("storageclass.storage.k8s.io \"%s\" not found", name);
        tell(c, claim, EVENT_WARNING, "ProvisioningFailed", why);
    } else {
        tell(c, claim, EVENT_NORMAL, "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set");
    }
    struct error status_err;
    if (r == 0 && set_claim_phase(c, claim, "Pending", &status_err) < 0) {
        *err = status_err;
        return -(int)status_err.code;
    }
    return r;
}

static int sync_unnamed(struct controller *c, const struct claim *claim, struct error *err)
{
    const char *class_name = claim_class(claim);
    auto_object const struct storage_class *class =
        *class_name ? kind_get(c->m, KIND_STORAGE_CLASS, "", class_name) : NULL;
    auto_objects struct projected_array volumes = kind_list(c->m, KIND_VOLUME, NULL);
    bool waits = class && !strcmp(class->binding_mode, "WaitForFirstConsumer");
    const struct volume *v = volume_find(&volumes, claim, waits);
    bool assigned = false;

    if (v)
        return bind(c, v, claim, err);
    if (assign_default_class(c, claim, &assigned, err) < 0 || assigned)
        return assigned ? 0 : -(int)err->code;
    return without_volume(c, claim, class, err);
}

static int sync_named(struct controller *c, const struct claim *claim, struct error *err)
{
    auto_object const struct volume *v = kind_get(c->m, KIND_VOLUME, "", claim->volume_name);

    if (!v)
        return set_claim_phase(c, claim, "Pending", err);
    if (!v->has_claim) {
        const char *mismatch = volume_mismatch(v, claim);
        if (!mismatch)
            return bind(c, v, claim, err);
        controller_event(c, KIND_CLAIM, &claim->meta, EVENT_WARNING, "VolumeMismatch",
            "Cannot bind to requested volume \"%s\": %s", v->meta.name, mismatch);
    } else if (volume_is_claimed_by(v, claim)) {
        return bind(c, v, claim, err);
    } else {
        controller_event(c, KIND_CLAIM, &claim->meta, EVENT_WARNING, "FailedBinding",
            "volume \"%s\" already bound to a different claim.", v->meta.name);
    }
    return set_claim_phase(c, claim, "Pending", err);
}

static int lose(struct controller *c, const struct claim *claim, const char *reason,
    const char *message, struct error *err)
{
    if (strcmp(claim->phase, "Lost") != 0)
        tell(c, claim, EVENT_WARNING, reason, message);
    return set_claim_phase(c, claim, "Lost", err);
}

static int sync_bound(struct controller *c, const struct claim *claim, struct error *err)
{
    if (!*claim->volume_name)
        return lose(c, claim, "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!", err);
    auto_object const struct volume *v = kind_get(c->m, KIND_VOLUME, "", claim->volume_name);
    if (!v)
        return lose(c, claim, "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!", err);
    if (!v->has_claim || !strcmp(v->claim_uid, claim->meta.uid))
        return bind(c, v, claim, err);
    return lose(c, claim, "ClaimMisbound",
        "Two claims are bound to the same volume, this one is bound incorrectly", err);
}

static int sync_claim(struct controller *c, const char *key, struct error *err)
{
    auto_object const struct claim *claim = kind_get_key(c->m, KIND_CLAIM, key);

    if (!claim)
        return 0;
    if (string_map_get(&claim->meta.annotations, BIND_COMPLETED))
        return sync_bound(c, claim, err);
    if (claim->meta.deletion_ns)
        return 0;
    return *claim->volume_name ? sync_named(c, claim, err) : sync_unnamed(c, claim, err);
}

/* --- volumes --- */

static int fail_volume(struct controller *c, const struct volume *v, const char *reason,
    const char *message, struct error *err)
{
    if (strcmp(v->phase, "Failed") != 0)
        controller_event(c, KIND_VOLUME, &v->meta, EVENT_WARNING, reason, "%s", message);
    return set_volume_phase(c, v, "Failed", message, err);
}

static int reclaim(struct controller *c, const struct volume *v, struct error *err)
{
    const char *by = string_map_get(&v->meta.annotations, PROVISIONED_BY);

    if (!strcmp(v->reclaim, "Recycle"))
        return fail_volume(
            c, v, "VolumeFailedRecycle", "No recycler plugin found for the volume!", err);
    if (strcmp(v->reclaim, "Delete") != 0 || v->meta.deletion_ns)
        return 0;
    if (c_eq(by, HOST_PATH_PROVISIONER))
        return object_delete(c->m, KIND_VOLUME, &v->meta, NULL, err);
    if (by || *v->csi_driver) /* whoever made it deletes it */
        return 0;
    return fail_volume(c, v, "VolumeFailedDelete",
        "error getting deleter volume plugin for volume: no deletable volume plugin matched", err);
}

static int release(struct controller *c, const struct volume *v, struct error *err)
{
    if (strcmp(v->phase, "Released") != 0 && strcmp(v->phase, "Failed") != 0) {
        add_volume(c, v->meta.name);
        return set_volume_phase(c, v, "Released", NULL, err);
    }
    return reclaim(c, v, err);
}

/* The claim took another volume: a reservation of our own is taken back, a user's stays. */
static int unreserve(struct controller *c, const struct volume *v, struct error *err)
{
    bool ours = string_map_get(&v->meta.annotations, BOUND_BY_CONTROLLER) != NULL;
    cJSON *patch = json_make(ours ? "{\"metadata\":{\"annotations\":{\"" BOUND_BY_CONTROLLER
                                    "\":null}},\"spec\":{\"claimRef\":null}}"
                                  : "{\"spec\":{\"claimRef\":{\"uid\":null}}}");
    return object_patch(c->m, KIND_VOLUME, &v->meta, NULL, patch, err);
}

/* *ret_gone: there is no such claim, asked live when the copy has none. */
static int look_for_claim(
    struct controller *c, const struct volume *v, bool *ret_gone, struct error *err)
{
    struct api_ref ref = {.group_version = "v1",
        .plural = "persistentvolumeclaims",
        .namespace_ = v->claim_namespace,
        .name = v->claim_name};
    autojson cJSON *live = NULL;
    int r = api_get(manager_client(c->m), &ref, &live, err);

    if (r < 0 && r != -ERR_NOT_FOUND)
        return r;
    *ret_gone = r < 0 || !c_eq(json_string_at(live, "metadata.uid"), v->claim_uid);
    return 0;
}

/* A folder whose node is gone for ever has nobody left to remove it. */
static int forget_folder(struct controller *c, const struct volume *v, struct error *err)
{
    const char *name = string_map_get(&v->meta.labels, HOST_PATH_NODE_LABEL);
    auto_object const struct node *node = name ? kind_get(c->m, KIND_NODE, "", name) : NULL;
    struct api_ref ref = {.group_version = "v1", .plural = "nodes", .name = name};
    autojson cJSON *live = NULL;

    if (v->meta.finalizers.count != 1 || !name || node ||
        strcmp(v->meta.finalizers.strings[0], HOST_PATH_FINALIZER) != 0)
        return 0;
    int r = api_get(manager_client(c->m), &ref, &live, err);
    if (r != -ERR_NOT_FOUND)
        return r;
    return object_patch(
        c->m, KIND_VOLUME, &v->meta, NULL, json_make("{\"metadata\":{\"finalizers\":null}}"), err);
}

static int sync_volume(struct controller *c, const char *name, struct error *err)
{
    auto_object const struct volume *v = kind_get(c->m, KIND_VOLUME, "", name);
    bool gone = false;

    if (!v)
        return 0;
    if (v->meta.deletion_ns && forget_folder(c, v, err) < 0)
        return -(int)err->code;
    if (!v->has_claim || !*v->claim_uid) {
        if (v->has_claim)
            add_claim(c, v->claim_namespace, v->claim_name);
        return set_volume_phase(c, v, "Available", NULL, err);
    }
    auto_object const struct claim *claim =
        kind_get(c->m, KIND_CLAIM, v->claim_namespace, v->claim_name);
    if (!claim || strcmp(claim->meta.uid, v->claim_uid) != 0) {
        if (look_for_claim(c, v, &gone, err) < 0)
            return -(int)err->code;
        return gone ? release(c, v, err) : 0;
    }
    if (!*claim->volume_name) {
        add_claim(c, claim->meta.namespace_, claim->meta.name);
        return 0;
    }
    if (!strcmp(claim->volume_name, v->meta.name))
        return set_volume_phase(c, v, "Bound", NULL, err);
    if (string_map_get(&v->meta.annotations, PROVISIONED_BY) && !strcmp(v->reclaim, "Delete"))
        return release(c, v, err);
    return unreserve(c, v, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    int r = !strncmp(key, CLAIM_KEY, sizeof(CLAIM_KEY) - 1)
                ? sync_claim(c, key + sizeof(CLAIM_KEY) - 1, err)
                : sync_volume(c, key + sizeof(VOLUME_KEY) - 1, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* --- events --- */

static void on_claim(struct controller *c, const void *old_object, const void *new_object)
{
    const struct claim *old = old_object, *now = new_object ? new_object : old_object;

    add_claim(c, now->meta.namespace_, now->meta.name);
    if (*now->volume_name)
        add_volume(c, now->volume_name);
    if (old && *old->volume_name && strcmp(old->volume_name, now->volume_name) != 0)
        add_volume(c, old->volume_name);
}

static void add_pending(struct controller *c, const char *class_name)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_CLAIM, NULL);

    for (size_t i = 0; i < all.count; i++) {
        const struct claim *claim = all.objects[i];
        if (!*claim->volume_name &&
            (!class_name || !strcmp(claim_class(claim), class_name) || !claim->has_class))
            add_claim(c, claim->meta.namespace_, claim->meta.name);
    }
}

/* Claims that name a volume which came or went. */
static void add_naming(struct controller *c, const char *volume)
{
    auto_objects struct projected_array all = kind_list(c->m, KIND_CLAIM, NULL);

    for (size_t i = 0; i < all.count; i++) {
        const struct claim *claim = all.objects[i];
        if (!strcmp(claim->volume_name, volume))
            add_claim(c, claim->meta.namespace_, claim->meta.name);
    }
}

static void on_volume(struct controller *c, const void *old_object, const void *new_object)
{
    const struct volume *now = new_object ? new_object : old_object;

    add_volume(c, now->meta.name);
    if (now->has_claim)
        add_claim(c, now->claim_namespace, now->claim_name);
    else if (new_object && !strcmp(now->phase, "Available"))
        add_pending(c, volume_class(now));
    if (!new_object || !old_object)
        add_naming(c, now->meta.name);
}

static void on_class(struct controller *c, const void *old_object, const void *new_object)
{
    const struct storage_class *class = new_object;

    if (class)
        add_pending(c, class->meta.name);
}

static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node *node = old_object;

    if (new_object)
        return;
    auto_objects struct projected_array all = kind_list(c->m, KIND_VOLUME, NULL);
    for (size_t i = 0; i < all.count; i++) {
        const struct volume *v = all.objects[i];
        if (c_eq(string_map_get(&v->meta.labels, HOST_PATH_NODE_LABEL), node->meta.name))
            add_volume(c, v->meta.name);
    }
}

const struct controller_info controller_volume_binder = {
    .name = "persistentvolume-binder-controller",
    .component = "persistentvolume-controller",
    .workers = 2,
    .watch_count = 4,
    .watches = {{KIND_CLAIM, on_claim}, {KIND_VOLUME, on_volume}, {KIND_STORAGE_CLASS, on_class},
        {KIND_NODE, on_node}},
    .reconcile = reconcile,
};
