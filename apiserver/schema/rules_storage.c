/*
 * Rules of storage kinds and of the volumes that come from storage systems.
 *
 * Upstream: pkg/apis/storage/validation, and the sources of volumes in pkg/apis/core/validation.
 */
#include "apiserver/schema/rules.h"

#include "common/quantity.h"

/* What a storage class may hand to its provisioner. */
#define PARAMETERS_MAX 512
#define PARAMETERS_BYTES_MAX (256u << 10)

static const char host_port[] = "must be a host:port pair or multiple pairs separated by commas";

void rule_iscsi(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *iqn = text_of(o, "iqn"), *initiator = text_of(o, "initiatorName");
    bool chap = json_bool(o, "chapAuthDiscovery", false) || json_bool(o, "chapAuthSession", false);
    if (*iqn && strncmp(iqn, "iqn", 3) != 0 && strncmp(iqn, "eui", 3) != 0 &&
        strncmp(iqn, "naa", 3) != 0)
        check_invalid_text(
            c, AT(at, "iqn"), iqn, "must be valid format starting with iqn, eui, or naa");
    if (chap && !json_get(o, "secretRef"))
        check_required(c, AT(at, "secretRef"), "");
    if (json_get(o, "initiatorName") && strncmp(initiator, "iqn", 3) != 0 &&
        strncmp(initiator, "eui", 3) != 0 && strncmp(initiator, "naa", 3) != 0)
        check_invalid_text(c, AT(at, "initiatorname"), initiator, "must be valid format");
}

void rule_fc(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *names = json_get(o, "targetWWNs"), *lun = json_get(o, "lun");
    bool by_name = first_member(o, "targetWWNs"), by_id = first_member(o, "wwids");
    int64_t n;
    if (!by_name && !by_id)
        check_required(
            c, AT(at, "targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    if (by_name && by_id)
        check_invalid(c, AT(at, "targetWWNs"), names,
            "targetWWNs and wwids can not be specified simultaneously");
    if (by_name && !lun)
        check_required(c, AT(at, "lun"), "lun is required if targetWWNs is specified");
    else if (by_name && json_int64(lun, &n) && (n < 0 || n > 255))
        check_invalid(c, AT(at, "lun"), lun, "must be between 0 and 255, inclusive");
}

void rule_flocker(struct check *c, const struct frame *at, const cJSON *o)
{
    bool name = has_member(o, "datasetName"), uuid = has_member(o, "datasetUUID");
    if (!name && !uuid)
        check_required(c, at, "one of datasetName and datasetUUID is required");
    if (name && uuid)
        check_invalid_text(
            c, at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    if (strchr(text_of(o, "datasetName"), '/'))
        check_invalid_text(
            c, AT(at, "datasetName"), text_of(o, "datasetName"), "must not contain '/'");
}

void rule_azure_disk(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const managed[] = {"/subscriptions/{sub-id}/resourcegroups/{group-name}/"
                                          "providers/microsoft.compute/disks/{disk-id}",
        NULL};
    static const char *const blob[] = {
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd", NULL};
    const char *uri = text_of(o, "diskURI");
    if (!json_get(o, "kind"))
        return;
    if (text_is(o, "kind", "Managed") && strncmp(uri, "/subscriptions/", 15) != 0)
        check_not_supported(c, AT(at, "diskURI"), uri, managed);
    else if (!text_is(o, "kind", "Managed") && strncmp(uri, "https://", 8) != 0)
        check_not_supported(c, AT(at, "diskURI"), uri, blob);
}

void rule_quobyte(struct check *c, const struct frame *at, const cJSON *o)
{
    struct str rest = str_of(text_of(o, "registry")), pair;
    if (rest.n == 0)
        return;
    if (strlen(text_of(o, "tenant")) > 64) {
        check_required(
            c, AT(at, "tenant"), "must be a UUID and may not exceed a length of 64 characters");
        return;
    }
    while (str_split(&rest, ',', &pair))
        if (str_find(pair, ':') < 0)
            check_invalid_text(c, AT(at, "registry"), text_of(o, "registry"), host_port);
}

static void check_secret_reference(struct check *c, const struct frame *at, const cJSON *o)
{
    if (!o)
        return;
    if (!has_member(o, "name"))
        check_required(c, AT(at, "name"), "");
    else
        check_format(c, AT(at, "name"), "dns-subdomain", json_get(o, "name"));
    if (!has_member(o, "namespace"))
        check_required(c, AT(at, "namespace"), "");
    else
        check_format(c, AT(at, "namespace"), "dns-label", json_get(o, "namespace"));
}

void rule_csi_volume(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const secrets[] = {"controllerPublishSecretRef", "controllerExpandSecretRef",
        "nodePublishSecretRef", "nodeExpandSecretRef", "nodeStageSecretRef"};
    for (size_t i = 0; i < ARRAY_COUNT(secrets); i++)
        check_secret_reference(c, AT(at, secrets[i]), json_get(o, secrets[i]));
}

void rule_csi_inline(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *secret = json_get(o, "nodePublishSecretRef");
    const struct frame *here = AT(AT(at, "nodePublishSecretRef"), "name");
    if (secret && !has_member(secret, "name"))
        check_required(c, here, "");
    else if (secret)
        check_format(c, here, "dns-subdomain", json_get(secret, "name"));
}

void rule_git_repo(struct check *c, const struct frame *at, const cJSON *o)
{
    if (has_member(o, "directory"))
        check_format(c, AT(at, "directory"), "relative-path", json_get(o, "directory"));
}

void rule_bundle_projection(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *name = json_get(o, "name"), *signer = json_get(o, "signerName");
    if (name && signer)
        check_invalid(c, at, o, "only one of name and signerName may be used");
    else if (!name && !signer)
        check_required(c, at, "either name or signerName must be specified");
    else if (name && value_is_empty(name))
        check_required(c, AT(at, "name"), "must be a valid object name");
    else if (signer && value_is_empty(signer))
        check_required(c, AT(at, "signerName"), "must be a valid signer name");
    if (name && !signer && json_get(o, "labelSelector"))
        check_invalid(c, AT(at, "labelSelector"), json_get(o, "labelSelector"),
            "labelSelector must be unset if name is specified");
}

void check_of_size_limit(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct error err;
    struct quantity q;
    (void)f;
    if (quantity_parse(str_of(value_string(value)), &q, &err) == 0 && q.nano < 0)
        check_forbidden(c, at, "SizeLimit field must be a valid resource quantity");
}

void check_of_no_backsteps(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct str rest = str_of(value_string(value)), part;
    (void)f;
    while (str_split(&rest, '/', &part)) {
        if (!str_eqc(part, ".."))
            continue;
        check_invalid(c, at, value, "must not contain '..'");
        return;
    }
}

void check_of_token_requests(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    struct text_set seen = text_set_new(c, value);
    size_t i = 0;
    (void)f;
    for (const cJSON *t = value->child; t; t = t->next, i++) {
        const struct frame *here = AT_INDEX(at, i), *at_seconds = AT(here, "expirationSeconds");
        const cJSON *seconds = json_get(t, "expirationSeconds");
        autojson cJSON *audience = cJSON_CreateString(text_of(t, "audience"));
        int64_t n;
        if (!text_set_add(&seen, text_of(t, "audience")))
            check_duplicate(c, AT(here, "audience"), audience);
        else if (json_int64(seconds, &n) && n < 600)
            check_invalid(
                c, at_seconds, seconds, "may not specify a duration less than 10 minutes");
        else if (json_int64(seconds, &n) && n > 1ll << 32)
            check_invalid(
                c, at_seconds, seconds, "may not specify a duration larger than 2^32 seconds");
    }
}

void check_of_parameters(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    size_t count = 0, total = 0;
    (void)f;
    for (const cJSON *m = value->child; m; m = m->next, count++) {
        if (!*m->string)
            check_invalid_text(c, at, m->string, "field can not be empty.");
        total += strlen(m->string) + strlen(value_string(m));
    }
    if (count > PARAMETERS_MAX)
        check_too_long(c, at, PARAMETERS_MAX);
    if (total > PARAMETERS_BYTES_MAX)
        check_too_long(c, at, PARAMETERS_BYTES_MAX);
}

static void check_topology_term(struct check *c, const struct frame *at, const cJSON *term)
{
    const cJSON *list = json_get(term, "matchLabelExpressions");
    struct text_set keys = text_set_new(c, list);
    size_t i = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "matchLabelExpressions"), i);
        const cJSON *values = json_get(e, "values");
        struct text_set seen = text_set_new(c, values);
        size_t k = 0;
        if (value_is_empty(values))
            check_required(c, AT(here, "values"), "");
        for (const cJSON *v = values ? values->child : NULL; v; v = v->next, k++)
            if (!text_set_add(&seen, value_string(v)))
                check_duplicate(c, AT_INDEX(AT(here, "values"), k), v);
        autojson cJSON *key = cJSON_CreateString(text_of(e, "key"));
        check_format(c, AT(here, "key"), "label-key", key);
        if (!text_set_add(&keys, text_of(e, "key")))
            check_duplicate(c, AT(here, "key"), key);
    }
}

void check_of_allowed_topologies(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    size_t i = 0;
    (void)f;
    for (const cJSON *t = value->child; t; t = t->next, i++)
        check_topology_term(c, AT_INDEX(at, i), t);
}

void rule_csi_node_driver(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *keys = json_get(o, "topologyKeys");
    struct text_set seen = text_set_new(c, keys);
    if (strlen(text_of(o, "nodeID")) > 192)
        check_invalid(c, AT(at, "nodeID"), json_get(o, "nodeID"), "must be 192 characters or less");
    for (const cJSON *k = keys ? keys->child : NULL; k; k = k->next) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!text_set_add(&seen, value_string(k)))
            check_duplicate(c, AT(at, "topologyKeys"), k);
        if (!format_find(STR("qualified-name"))->is_valid(k, &why))
            check_invalid(c, AT(at, "topologyKeys"), keys, why.data);
    }
}

void rule_csi_capacity(struct check *c, const struct frame *at, const cJSON *o)
{
    autojson cJSON *name = cJSON_CreateString(text_of(o, "storageClassName"));
    check_format(c, AT(at, "storageClassName"), "dns-subdomain", name);
}

void rule_attachment_source(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char one[] =
        "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    const cJSON *name = json_get(o, "persistentVolumeName"),
                *spec = json_get(o, "inlineVolumeSpec");
    if (!name && !spec)
        check_required(c, at, one);
    else if (name && spec)
        check_forbidden(c, at, one);
    else if (name && value_is_empty(name))
        check_required(
            c, AT(at, "persistentVolumeName"), "must specify non empty persistentVolumeName");
}

void rule_attachment_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    autojson cJSON *node = cJSON_CreateString(text_of(o, "nodeName"));
    check_format(c, AT(at, "nodeName"), "dns-subdomain", node);
}
