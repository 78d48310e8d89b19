/* Which volume fits which claim: see volume.h. Upstream: pkg/controller/volume/persistentvolume
 * (index.go) and component-helpers/storage/volume. */
#include "controller/volume.h"

#include "common/quantity.h"
#include "controller/pods.h"

const char *claim_class(const struct claim *claim)
{
    const char *old = string_map_get(&claim->meta.annotations, CLASS_ANNOTATION);
    return old ? old : claim->class_name;
}

const char *volume_class(const struct volume *volume)
{
    const char *old = string_map_get(&volume->meta.annotations, CLASS_ANNOTATION);
    return old ? old : volume->class_name;
}

bool volume_is_claimed_by(const struct volume *volume, const struct claim *claim)
{
    return volume->has_claim && !strcmp(volume->claim_namespace, claim->meta.namespace_) &&
           !strcmp(volume->claim_name, claim->meta.name) &&
           (!*volume->claim_uid || !strcmp(volume->claim_uid, claim->meta.uid));
}

static const char *mode_of(const char *mode)
{
    return *mode ? mode : "Filesystem";
}

static bool has_mode(const struct volume *volume, const char *mode)
{
    for (size_t i = 0; i < volume->access_modes.count; i++)
        if (!strcmp(volume->access_modes.strings[i], mode))
            return true;
    return false;
}

static bool has_modes(const struct volume *volume, const struct claim *claim)
{
    for (size_t i = 0; i < claim->access_modes.count; i++)
        if (!has_mode(volume, claim->access_modes.strings[i]))
            return false;
    return true;
}

static struct quantity quantity_of(const char *text)
{
    struct quantity q = {0};
    struct error ignored;

    if (*text)
        (void)quantity_parse(str_of(text), &q, &ignored);
    return q;
}

static int cmp_capacity(const struct volume *volume, const char *other)
{
    return quantity_cmp(quantity_of(volume->capacity), quantity_of(other));
}

const char *volume_mismatch(const struct volume *volume, const struct claim *claim)
{
    if (cmp_capacity(volume, claim->request) < 0)
        return "requested PV is too small";
    if (strcmp(volume_class(volume), claim_class(claim)) != 0)
        return "storageClassName does not match";
    if (strcmp(volume->attributes_class, claim->attributes_class) != 0)
        return "volumeAttributesClassName does not match";
    if (strcmp(mode_of(volume->mode), mode_of(claim->mode)) != 0)
        return "incompatible volumeMode";
    return has_modes(volume, claim) ? NULL : "incompatible accessMode";
}

/* Free, and not on its way out. */
static bool is_available(const struct volume *volume)
{
    return !volume->has_claim && !volume->meta.deletion_ns && !strcmp(volume->phase, "Available");
}

/* Smaller first; of equal ones fewer access modes, then the name. */
static bool is_better(const struct volume *a, const struct volume *b)
{
    int d = b ? cmp_capacity(a, b->capacity) : -1;

    if (d != 0)
        return d < 0;
    if (a->access_modes.count != b->access_modes.count)
        return a->access_modes.count < b->access_modes.count;
    return strcmp(a->meta.name, b->meta.name) < 0;
}

const struct volume *volume_find(
    const struct projected_array *volumes, const struct claim *claim, bool only_reserved)
{
    auto_selector struct selector *selector =
        claim->selector ? selector_of_json(claim->selector) : NULL;
    const struct volume *best = NULL;

    for (size_t i = 0; i < volumes->count; i++) {
        const struct volume *v = volumes->objects[i];
        if (volume_is_claimed_by(v, claim) && !v->meta.deletion_ns) {
            if (cmp_capacity(v, claim->request) >= 0 &&
                !strcmp(mode_of(v->mode), mode_of(claim->mode)))
                return v;
            continue;
        }
        if (only_reserved || !is_available(v) || volume_mismatch(v, claim))
            continue;
        if (selector && !selector_matches(selector, string_map_label, &v->meta.labels))
            continue;
        if (is_better(v, best))
            best = v;
    }
    return best;
}
