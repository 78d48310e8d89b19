/*
 * Rules of volumes, claims and persistent volumes.
 *
 * Upstream: pkg/apis/core/validation, ValidateVolumes, ValidatePersistentVolumeSpec,
 * ValidatePersistentVolumeClaimSpec.
 */
#include "apiserver/schema/rules.h"

#include "common/quantity.h"

static bool path_goes_up(const char *path)
{
    struct str rest = str_of(path), part;
    while (str_split(&rest, '/', &part))
        if (str_eqc(part, ".."))
            return true;
    return false;
}

void rule_volume(struct check *c, const struct frame *at, const cJSON *o)
{
    bool found = false;
    for (const cJSON *m = o->child; m; m = m->next) {
        if (!strcmp(m->string, "name") || cJSON_IsNull(m))
            continue;
        if (found)
            check_forbidden(c, AT(at, m->string), "may not specify more than 1 volume type");
        found = true;
    }
    if (!found)
        check_required(c, at, "must specify a volume type");
}

void rule_host_path(struct check *c, const struct frame *at, const cJSON *o)
{
    if (path_goes_up(text_of(o, "path")))
        check_invalid_text(c, AT(at, "path"), text_of(o, "path"), "must not contain '..'");
}

void rule_nfs(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *path = text_of(o, "path");
    if (*path && *path != '/')
        check_invalid_text(c, AT(at, "path"), path, "must be an absolute path");
}

void rule_downward_file(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const paths[] = {"metadata.annotations", "metadata.labels", "metadata.name",
        "metadata.namespace", "metadata.uid"};
    const cJSON *field = json_get(o, "fieldRef"), *resource = json_get(o, "resourceFieldRef");
    if (field && resource)
        check_invalid(
            c, at, resource, "fieldRef and resourceFieldRef can not be specified simultaneously");
    if (!field && !resource)
        check_required(c, at, "one of fieldRef and resourceFieldRef is required");
    const char *path = text_of(field, "fieldPath");
    if (!*path || !strncmp(path, "metadata.labels['", 17) ||
        !strncmp(path, "metadata.annotations['", 22))
        return;
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        if (!strcmp(paths[i], path))
            return;
    autofree char *why =
        str_format("error converting fieldPath: field label not supported: %s", path);
    check_invalid_text(c, AT(AT(at, "fieldRef"), "fieldPath"), path, why);
}

void rule_projection(struct check *c, const struct frame *at, const cJSON *o)
{
    bool found = false;
    for (const cJSON *m = o->child; m; m = m->next) {
        if (found)
            check_forbidden(
                c, AT(at, m->string), "may not specify more than 1 volume type per source");
        found = true;
    }
    if (!found)
        check_required(c, at, "must specify a volume type");
}

void rule_token_projection(struct check *c, const struct frame *at, const cJSON *o)
{
    int64_t seconds;
    const cJSON *value = json_get(o, "expirationSeconds");
    if (!json_int64(value, &seconds))
        return;
    if (seconds < 600)
        check_invalid(c, AT(at, "expirationSeconds"), value,
            "may not specify a duration less than 10 minutes");
    else if (seconds > 1ll << 32)
        check_invalid(c, AT(at, "expirationSeconds"), value,
            "may not specify a duration larger than 2^32 seconds");
}

static void check_access_modes(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const known[] = {
        "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod", NULL};
    bool exclusive = false;
    size_t n = 0;
    for (const cJSON *m = first_member(o, "accessModes"); m; m = m->next, n++) {
        const char *const *k = known;
        while (*k && strcmp(*k, value_string(m)) != 0)
            k++;
        if (!*k)
            check_not_supported(c, AT(at, "accessModes"), value_string(m), known);
        exclusive = exclusive || !strcmp(value_string(m), "ReadWriteOncePod");
    }
    if (exclusive && n > 1)
        check_forbidden(
            c, AT(at, "accessModes"), "may not use ReadWriteOncePod with other access modes");
}

static void check_positive(struct check *c, const struct frame *at, const cJSON *value)
{
    struct error err;
    struct quantity q;
    if (value && quantity_parse(str_of(value_string(value)), &q, &err) == 0 && q.nano <= 0)
        check_invalid(c, at, value, "must be greater than zero");
}

void rule_claim_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!first_member(o, "accessModes"))
        check_required(c, AT(at, "accessModes"), "at least 1 access mode is required");
    check_access_modes(c, at, o);
    const cJSON *requests = json_get(json_get(o, "resources"), "requests");
    const struct frame *at_storage = AT_KEY(AT(at, "resources"), "storage");
    const cJSON *storage = json_get(requests, "storage");
    if (!storage)
        check_required(c, at_storage, "");
    check_positive(c, AT_KEY(AT(AT(at, "resources"), "requests"), "storage"), storage);
}

void rule_volume_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const sources[] = {"gcePersistentDisk", "awsElasticBlockStore", "hostPath",
        "glusterfs", "nfs", "rbd", "quobyte", "cephfs", "iscsi", "cinder", "fc", "flocker",
        "flexVolume", "azureFile", "vsphereVolume", "azureDisk", "photonPersistentDisk",
        "portworxVolume", "scaleIO", "local", "storageos", "csi", NULL};
    bool found = false;
    if (!first_member(o, "accessModes"))
        check_required(c, AT(at, "accessModes"), "");
    check_access_modes(c, at, o);
    const cJSON *capacity = json_get(o, "capacity");
    if (value_is_empty(capacity)) {
        check_required(c, AT(at, "capacity"), "");
    } else if (!json_get(capacity, "storage") || capacity->child->next) {
        static const char *const storage[] = {"storage", NULL};
        check_not_supported(c, AT(at, "capacity"), capacity->child->string, storage);
    }
    check_positive(c, AT_KEY(AT(at, "capacity"), "storage"), json_get(capacity, "storage"));
    for (const char *const *s = sources; *s; s++) {
        if (!json_get(o, *s))
            continue;
        if (found)
            check_forbidden(c, AT(at, *s), "may not specify more than 1 volume type");
        found = true;
    }
    if (!found)
        check_required(c, at, "must specify a volume type");
}
