/*
 * PersistentVolumes and claims: they start Pending; a claim's spec is fixed but for a growing
 * request.
 *
 * Upstream: registry/core/persistentvolume*, apis/core/validation.
 */
#include "apiserver/registry/registry.h"
#include "common/quantity.h"

static void start_pending(struct write_context *w)
{
    if (w->kind == WRITE_CREATE)
        json_set(w->tree, "status", json_make("{\"phase\":\"Pending\"}"));
}

static void claim_validate(const struct write_context *w, struct field_errors *errors)
{
    static const char *const path = "spec.resources.requests.storage";
    if (w->kind != WRITE_UPDATE)
        return;
    autojson cJSON *old = cJSON_Duplicate(json_get(w->old, "spec"), true);
    autojson cJSON *now = cJSON_Duplicate(json_get(w->tree, "spec"), true);
    const char *old_text = json_string_at(w->old, path), *new_text = json_string_at(w->tree, path);
    const char *volume = json_string(old, "volumeName");
    struct quantity before, after;
    struct error err;
    bool bound = c_eq(json_string_at(w->old, "status.phase"), "Bound");
    json_remove(now, "resources");
    json_remove(old, "resources");
    json_remove(now, "volumeAttributesClassName");
    json_remove(old, "volumeAttributesClassName");
    if (!volume || !*volume) { /* the binder sets it */
        json_remove(now, "volumeName");
        json_remove(old, "volumeName");
    }
    if (!json_get(old, "storageClassName")) /* nor the class, of a claim older than the default */
        json_remove(now, "storageClassName");
    bool shrinks = old_text && new_text && quantity_parse(str_of(old_text), &before, &err) == 0 &&
                   quantity_parse(str_of(new_text), &after, &err) == 0 &&
                   quantity_cmp(after, before) < 0;
    if (!json_equal(old, now) || (!bound && !c_eq(old_text, new_text)))
        field_error_add(errors, FIELD_FORBIDDEN, "spec", NULL,
            "spec is immutable after creation except resources.requests and "
            "volumeAttributesClassName for bound claims");
    else if (shrinks)
        field_error_add(errors, FIELD_FORBIDDEN, "spec.resources.requests.storage", NULL,
            "field can not be less than status.capacity");
}

static void volume_validate(const struct write_context *w, struct field_errors *errors)
{
    static const char *const fixed[] = {
        "spec.hostPath", "spec.local", "spec.nfs", "spec.csi", "spec.volumeMode"};
    for (size_t i = 0; w->kind == WRITE_UPDATE && i < ARRAY_COUNT(fixed); i++)
        if (!json_equal(json_path(w->old, fixed[i]), json_path(w->tree, fixed[i])))
            field_error_add(errors, FIELD_FORBIDDEN, "spec.persistentvolumesource", NULL,
                "spec.persistentvolumesource is immutable after creation");
}

const struct strategy strategy_persistent_volume = {
    .group = "",
    .plural = "persistentvolumes",
    .prepare = start_pending,
    .validate = volume_validate,
};

const struct strategy strategy_persistent_volume_claim = {
    .group = "",
    .plural = "persistentvolumeclaims",
    .prepare = start_pending,
    .validate = claim_validate,
};
