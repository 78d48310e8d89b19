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

/* Where the content of a new volume comes from. */
static void check_source(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *group = json_get(o, "apiGroup");
    if (!o)
        return;
    if (value_is_empty(group) && !text_is(o, "kind", "PersistentVolumeClaim"))
        check_invalid_text(c, at, text_of(o, "kind"),
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    if (!value_is_empty(group))
        check_format(c, AT(at, "apiGroup"), "dns-subdomain", group);
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
    check_source(c, AT(at, "dataSource"), json_get(o, "dataSource"));
    check_source(c, AT(at, "dataSourceRef"), json_get(o, "dataSourceRef"));
}

void rule_volume_spec(struct check *c, const struct frame *at, const cJSON *o)
{
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
    if (json_get(o, "local") && !json_get(o, "nodeAffinity"))
        check_required(
            c, AT(AT(NULL, "metadata"), "annotations"), "Local volume requires node affinity");
    if (text_is(json_get(o, "hostPath"), "path", "/") &&
        text_is(o, "persistentVolumeReclaimPolicy", "Recycle"))
        check_forbidden(c, AT(at, "persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'");
}
