/*
 * Controller "persistentvolume-expander": a bound claim that asks for more than it has.
 *
 * A volume of the built-in provisioner has no size of its own, so it grows by saying so: first the
 * volume's capacity, then the claim's. All others are grown from outside; the claim is told.
 *
 * Upstream: pkg/controller/volume/expand.
 */
#include "common/quantity.h"
#include "controller/status.h"
#include "controller/volume.h"

static int cmp_text(const char *a, const char *b)
{
    struct quantity x = {0}, y = {0};
    struct error ignored;

    (void)quantity_parse(str_of(a), &x, &ignored);
    (void)quantity_parse(str_of(b), &y, &ignored);
    return quantity_cmp(x, y);
}

static int grow(struct controller *c, const struct claim *claim, const struct volume *v,
    cJSON *status, struct error *err)
{
    if (cmp_text(v->capacity, claim->request) < 0) {
        cJSON *patch = cJSON_CreateObject();
        json_set_string_at(patch, "spec.capacity.storage", claim->request);
        if (object_patch(c->m, KIND_VOLUME, &v->meta, NULL, patch, err) < 0)
            return -(int)err->code;
    }
    json_set_string_at(status, "capacity.storage", claim->request);
    if (object_status_write(c->m, KIND_CLAIM, &claim->meta, claim->status, status, err) < 0)
        return -(int)err->code;
    controller_event(c, KIND_CLAIM, &claim->meta, EVENT_NORMAL, "VolumeResizeSuccessful",
        "Resize volume succeeded");
    return 0;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct claim *claim = kind_get_key(c->m, KIND_CLAIM, key);

    if (!claim || claim->meta.deletion_ns || strcmp(claim->phase, "Bound") != 0)
        return 0;
    auto_object const struct volume *v = kind_get(c->m, KIND_VOLUME, "", claim->volume_name);
    autojson cJSON *status = json_of_text(claim->status);
    const char *has = json_string_at(status, "capacity.storage");
    if (!v || !has || cmp_text(claim->request, has) <= 0)
        return 0;
    if (c_eq(string_map_get(&v->meta.annotations, PROVISIONED_BY), HOST_PATH_PROVISIONER))
        return grow(c, claim, v, status, err);
    controller_event(c, KIND_CLAIM, &claim->meta, EVENT_NORMAL, "ExternalExpanding",
        "waiting for an external controller to expand this PVC");
    return 0;
}

static void on_claim(struct controller *c, const void *old_object, const void *new_object)
{
    const struct claim *old = old_object, *now = new_object;

    if (now && !strcmp(now->phase, "Bound") && (!old || strcmp(old->request, now->request) != 0))
        controller_add(c, &now->meta);
}

const struct controller_info controller_volume_expand = {
    .name = "persistentvolume-expander-controller",
    .component = "volume_expand",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_CLAIM, on_claim}, {KIND_VOLUME, NULL}},
    .reconcile = reconcile,
};
