/*
 * Rules of containers and what they hold: environment, probes, handlers, resources, security,
 * mounts.
 *
 * Upstream: pkg/apis/core/validation, validateContainerCommon and below.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"
#include "common/quantity.h"

void rule_probe(struct check *c, const struct frame *at, const cJSON *o)
{
    bool readiness = at->name && !strcmp(at->name, "readinessProbe");
    const cJSON *successes = json_get(o, "successThreshold"),
                *grace = json_get(o, "terminationGracePeriodSeconds");
    int64_t n;
    if (!readiness && json_int64(successes, &n) && n > 1)
        check_invalid(c, AT(at, "successThreshold"), successes, "must be 1");
    if (readiness && grace)
        check_invalid(c, AT(at, "terminationGracePeriodSeconds"), grace,
            "must not be set for readinessProbes");
}

void rule_env_var(struct check *c, const struct frame *at, const cJSON *o)
{
    if (json_get(o, "valueFrom") && has_member(o, "value"))
        check_invalid_text(
            c, AT(at, "valueFrom"), "", "may not be specified when `value` is not empty");
}

void rule_env_source(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const sources[] = {
        "fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef", NULL};
    static const char *const paths[] = {"metadata.name", "metadata.namespace", "metadata.uid",
        "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs",
        "status.podIP", "status.podIPs", NULL};
    size_t n = count_members(o, sources, NULL);
    if (n == 0)
        check_invalid_text(c, at, "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
            "`secretKeyRef` or `fileKeyRef`");
    else if (n > 1)
        check_invalid_text(c, at, "", "may not have more than one field specified at a time");
    const char *path = text_of(json_get(o, "fieldRef"), "fieldPath");
    const struct frame *at_path = AT(AT(at, "fieldRef"), "fieldPath");
    if (!*path || !strncmp(path, "metadata.labels['", 17) ||
        !strncmp(path, "metadata.annotations['", 22))
        return;
    for (const char *const *p = paths; *p; p++)
        if (!strcmp(*p, path))
            return;
    autofree char *why =
        str_format("error converting fieldPath: field label not supported: %s", path);
    check_invalid_text(c, at_path, path, why);
}

void rule_env_from(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const sources[] = {"configMapRef", "secretRef", NULL};
    size_t n = count_members(o, sources, NULL);
    if (n == 0)
        check_invalid_text(c, at, "", "must specify one of: `configMapRef` or `secretRef`");
    else if (n > 1)
        check_invalid_text(c, at, "", "may not have more than one field specified at a time");
}

void rule_resource_field(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const known[] = {"limits.cpu", "limits.ephemeral-storage", "limits.memory",
        "requests.cpu", "requests.ephemeral-storage", "requests.memory", NULL};
    const char *name = text_of(o, "resource");
    if (!*name || strstr(name, "hugepages-"))
        return;
    for (const char *const *k = known; *k; k++)
        if (!strcmp(*k, name))
            return;
    check_not_supported(c, AT(at, "resource"), name, known);
}

static bool is_standard_resource(const char *name)
{
    return !strcmp(name, "cpu") || !strcmp(name, "memory") || !strcmp(name, "ephemeral-storage") ||
           !strncmp(name, "hugepages-", 10);
}

static bool is_overcommitable(const char *name)
{
    return !strcmp(name, "cpu") || !strcmp(name, "memory") || !strcmp(name, "ephemeral-storage");
}

static void check_resource_list(struct check *c, const struct frame *at, const cJSON *list)
{
    for (const cJSON *m = list ? list->child : NULL; m; m = m->next) {
        struct error err;
        struct quantity q;
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!name_is_qualified(str_of(m->string), &why))
            check_invalid_text(c, at, m->string, why.data);
        else if (!strchr(m->string, '/') && !is_standard_resource(m->string))
            check_invalid_text(
                c, AT_KEY(at, m->string), m->string, "must be a standard resource for containers");
        if (quantity_parse(str_of(value_string(m)), &q, &err) < 0)
            continue;
        if (q.nano < 0)
            check_invalid(c, AT_KEY(at, m->string), m, "must be greater than or equal to 0");
        else if (strchr(m->string, '/') && q.nano % 1000000000 != 0)
            check_invalid(c, AT_KEY(at, m->string), m, "must be an integer");
    }
}

static void compare_with_limit(
    struct check *c, const struct frame *at, const cJSON *request, const struct members *limits)
{
    struct error err;
    struct quantity want, limit;
    const cJSON *l = members_get(limits, request->string);
    if (!l) {
        if (!is_overcommitable(request->string))
            check_required(
                c, AT(at, "limits"), "Limit must be set for non overcommitable resources");
        return;
    }
    if (quantity_parse(str_of(value_string(request)), &want, &err) < 0 ||
        quantity_parse(str_of(value_string(l)), &limit, &err) < 0)
        return;
    int order = quantity_cmp(want, limit);
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    quantity_print(limit, &text);
    if (!is_overcommitable(request->string) && order != 0)
        check_error(c, AT(at, "requests"), FIELD_INVALID, request,
            "must be equal to %s limit of %s", request->string, text.data);
    else if (order > 0)
        check_error(c, AT(at, "requests"), FIELD_INVALID, request,
            "must be less than or equal to %s limit of %s", request->string, text.data);
}

static void mark_resource(const char *name, bool *huge, bool *cpu_or_memory)
{
    *huge = *huge || !strncmp(name, "hugepages-", 10);
    *cpu_or_memory = *cpu_or_memory || !strcmp(name, "cpu") || !strcmp(name, "memory");
}

void rule_resources(struct check *c, const struct frame *at, const cJSON *o)
{
    cJSON *limits = json_get(o, "limits");
    const cJSON *requests = json_get(o, "requests");
    automembers struct members by_name = members_of(limits, 0);
    check_resource_list(c, AT(at, "limits"), limits);
    check_resource_list(c, AT(at, "requests"), requests);
    for (const cJSON *r = requests ? requests->child : NULL; r; r = r->next)
        compare_with_limit(c, at, r, &by_name);
    bool huge = false, cpu_or_memory = false;
    for (const cJSON *r = limits ? limits->child : NULL; r; r = r->next)
        mark_resource(r->string, &huge, &cpu_or_memory);
    for (const cJSON *r = requests ? requests->child : NULL; r; r = r->next)
        mark_resource(r->string, &huge, &cpu_or_memory);
    if (huge && !cpu_or_memory)
        check_forbidden(c, at, "HugePages require cpu or memory");
}

void rule_profile(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *profile = json_get(o, "localhostProfile");
    if (!text_is(o, "type", "Localhost") && profile)
        check_invalid(
            c, AT(at, "localhostProfile"), profile, "can only be set when type is Localhost");
}

void rule_security(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *escalation = json_get(o, "allowPrivilegeEscalation");
    if (!cJSON_IsFalse(escalation))
        return;
    if (json_bool(o, "privileged", false))
        check_invalid(
            c, at, o, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    for (const cJSON *a = first_member(json_get(o, "capabilities"), "add"); a; a = a->next)
        if (!strcmp(value_string(a), "CAP_SYS_ADMIN") || !strcmp(value_string(a), "SYS_ADMIN"))
            check_invalid(c, at, o,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` "
                "CAP_SYS_ADMIN");
}

static void check_descending_path(struct check *c, const struct frame *at, const char *path)
{
    autojson cJSON *value = cJSON_CreateString(path);
    check_format(c, at, "relative-path", value);
}

void rule_volume_mount(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *sub = text_of(o, "subPath"), *expression = text_of(o, "subPathExpr");
    if (*sub)
        check_descending_path(c, AT(at, "subPath"), sub);
    if (*expression) {
        if (*sub)
            check_invalid_text(c, AT(at, "subPathExpr"), expression,
                "subPathExpr and subPath are mutually exclusive");
        check_descending_path(c, AT(at, "subPathExpr"), expression);
    }
    if (!json_get(o, "recursiveReadOnly") || text_is(o, "recursiveReadOnly", "Disabled"))
        return;
    if (!json_bool(o, "readOnly", false))
        check_forbidden(
            c, AT(at, "recursiveReadOnly"), "may only be specified when readOnly is true");
    if (has_member(o, "mountPropagation") && !text_is(o, "mountPropagation", "None"))
        check_forbidden(c, AT(at, "recursiveReadOnly"),
            "may only be specified when mountPropagation is None or not specified");
}

static void check_mounts(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    bool privileged = json_bool(json_get(o, "securityContext"), "privileged", false);
    const cJSON *mounts = json_get(o, "volumeMounts");
    struct text_set seen = text_set_new(c, mounts);
    for (const cJSON *m = mounts ? mounts->child : NULL; m; m = m->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "volumeMounts"), i);
        const char *path = text_of(m, "mountPath");
        if (*path && !text_set_add(&seen, path))
            check_invalid_text(c, AT(here, "mountPath"), path, "must be unique");
        if (text_is(m, "mountPropagation", "Bidirectional") && !privileged)
            check_forbidden(c, AT(here, "mountPropagation"),
                "Bidirectional mount propagation is available only to privileged containers");
    }
}

/* Block devices of a container besides its mounts. */
static void check_devices(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *devices = json_get(o, "volumeDevices"), *mounts = json_get(o, "volumeMounts");
    struct text_set paths = text_set_new(c, devices), names = text_set_new(c, devices);
    struct text_set mounted = text_set_new(c, mounts), used = text_set_new(c, mounts);
    size_t i = 0;
    for (const cJSON *m = mounts && devices ? mounts->child : NULL; m; m = m->next) {
        text_set_add(&mounted, text_of(m, "mountPath"));
        text_set_add(&used, text_of(m, "name"));
    }
    for (const cJSON *d = devices ? devices->child : NULL; d; d = d->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "volumeDevices"), i);
        const char *path = text_of(d, "devicePath"), *name = text_of(d, "name");
        struct str rest = str_of(path), part;
        if (*path && !text_set_add(&paths, path))
            check_invalid_text(c, AT(here, "devicePath"), path, "must be unique");
        while (str_split(&rest, '/', &part))
            if (str_eqc(part, ".."))
                check_invalid_text(
                    c, AT(here, "devicePath"), path, "can not contain backsteps ('..')");
        if (*path && text_set_has(&mounted, path))
            check_invalid_text(c, AT(here, "devicePath"), path,
                "must not already exist as a path in volumeMounts");
        if (*name && !text_set_add(&names, name))
            check_invalid_text(c, AT(here, "name"), name, "must be unique");
        if (*name && text_set_has(&used, name))
            check_invalid_text(c, AT(here, "name"), name, "must not already exist in volumeMounts");
    }
}

static void check_ports(struct check *c, const struct frame *at, const cJSON *o)
{
    size_t i = 0;
    const cJSON *ports = json_get(o, "ports");
    struct text_set seen = text_set_new(c, ports);
    for (const cJSON *p = ports ? ports->child : NULL; p; p = p->next, i++) {
        const char *name = text_of(p, "name");
        if (*name && !text_set_add(&seen, name))
            check_duplicate(c, AT(AT_INDEX(AT(at, "ports"), i), "name"), json_get(p, "name"));
    }
}

void rule_container(struct check *c, const struct frame *at, const cJSON *o)
{
    const char *image = text_of(o, "image");
    size_t n = strlen(image);
    check_ports(c, at, o);
    check_mounts(c, at, o);
    check_devices(c, at, o);
    if (n > 0 && (image[0] == ' ' || image[n - 1] == ' '))
        check_invalid_text(
            c, AT(at, "image"), image, "must not have leading or trailing whitespace");
}

void rule_ephemeral_container(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const forbidden[] = {"ports", "livenessProbe", "readinessProbe",
        "startupProbe", "lifecycle", "resources", "resizePolicy", "restartPolicy", NULL};
    size_t i = 0;
    rule_container(c, at, o);
    for (const cJSON *m = first_member(o, "volumeMounts"); m; m = m->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "volumeMounts"), i);
        if (has_member(m, "subPath"))
            check_forbidden(c, AT(here, "subPath"), "cannot be set for an Ephemeral Container");
        if (has_member(m, "subPathExpr"))
            check_forbidden(c, AT(here, "subPathExpr"), "cannot be set for an Ephemeral Container");
    }
    for (const char *const *f = forbidden; *f; f++)
        if (has_member(o, *f))
            check_forbidden(c, AT(at, *f), "cannot be set for an Ephemeral Container");
}
