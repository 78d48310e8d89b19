/*
 * PodSecurity: a namespace's labels say which Pod Security Standard its pods must meet.
 *
 * pod-security.kubernetes.io/{enforce,audit,warn}[-version]. Enforcing refuses pods; warn and audit
 * also look at the templates of workloads. A namespace whose enforced level rises is told which of
 * its pods would be refused now. Defaults and exemptions come from the admission configuration.
 * Upstream: k8s.io/pod-security-admission/admission.
 */
#include "apiserver/admission/pod_security.h"

#include "apiserver/admission/plugin.h"
#include "apiserver/audit/audit.h"

#define LABEL "pod-security.kubernetes.io/"
/* Pods looked at when a namespace's level rises, and how long that may take. */
#define NAMESPACE_PODS_MAX 3000
#define NAMESPACE_TIME_NS 1000000ll

enum mode { MODE_ENFORCE, MODE_AUDIT, MODE_WARN, MODE_COUNT };
static const char *const mode_names[MODE_COUNT] = {"enforce", "audit", "warn"};
static const char *const level_names[] = {"privileged", "baseline", "restricted", NULL};

const char *security_level_name(enum security_level level)
{
    return level_names[level];
}

static bool parse_level(const char *text, enum security_level *ret)
{
    for (int i = 0; level_names[i]; i++) {
        if (c_eq(text, level_names[i])) {
            *ret = (enum security_level)i;
            return true;
        }
    }
    return false;
}

/* "latest" or "v1.N" without leading zeros */
static bool parse_version(const char *text, int *ret)
{
    struct error err = {0};
    int64_t minor;

    if (c_eq(text, "latest")) {
        *ret = SECURITY_VERSION_LATEST;
        return true;
    }
    if (strncmp(text, "v1.", 3) != 0 || text[3] < '0' || text[3] > '9' ||
        (text[3] == '0' && text[4]) || str_parse_int64(str_of(text + 3), &minor, &err) < 0 ||
        minor >= SECURITY_VERSION_LATEST)
        return false;
    *ret = (int)minor;
    return true;
}

/* --- configuration: {defaults: {enforce, enforce-version, ...}, exemptions: {usernames,
 * namespaces, runtimeClasses}} --- */

static int check_defaults(const cJSON *config, void **ret_state, struct error *err)
{
    (void)ret_state;
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(config, "defaults"))
    {
        enum security_level level;
        int minor;
        const char *text = item->valuestring ? item->valuestring : "";
        bool is_version = str_ends(str_of(item->string), STR("-version"));
        bool known = false;
        for (int m = 0; m < MODE_COUNT; m++)
            known = known || str_starts(str_of(item->string), str_of(mode_names[m]));
        if (!known)
            return error_set(err, ERR_USAGE, "defaults.%s: no such mode", item->string);
        if (is_version ? !parse_version(text, &minor) : !parse_level(text, &level))
            return error_set(err, ERR_USAGE, "defaults.%s: Invalid value: \"%s\": must be %s",
                item->string, text,
                is_version ? "\"latest\" or \"v1.x\"" : "one of privileged, baseline, restricted");
    }
    return 0;
}

static bool is_listed(const struct write_context *w, const char *list, const char *word)
{
    const cJSON *item, *config = admission_configuration(w, &admission_pod_security);

    if (!config || !word || !*word)
        return false;
    cJSON_ArrayForEach(item, json_get(json_get(config, "exemptions"), list))
    {
        if (c_eq(item->valuestring, word))
            return true;
    }
    return false;
}

static void default_policies(
    const struct write_context *w, struct security_policy policies[MODE_COUNT])
{
    const cJSON *defaults =
        json_get(admission_configuration(w, &admission_pod_security), "defaults");

    for (int m = 0; m < MODE_COUNT; m++) {
        char name[32];
        const char *level = json_string(defaults, mode_names[m]);
        snprintf(name, sizeof(name), "%s-version", mode_names[m]);
        const char *version = json_string(defaults, name);
        policies[m] = (struct security_policy){LEVEL_PRIVILEGED, SECURITY_VERSION_LATEST};
        if (level)
            parse_level(level, &policies[m].level);
        if (version)
            parse_version(version, &policies[m].minor);
    }
}

/* --- the labels of a namespace --- */

typedef const char *label_fn(const void *from, const char *key);

static const char *json_label(const void *labels, const char *key)
{
    return json_string(labels, key);
}

/* The policies that hold. A label that can't be read means restricted at the latest version where
 * it enforces, and is described in `bad` (NULL: not asked): field, value and what it must be. */
static void read_policies(const struct write_context *w, label_fn *get, const void *labels,
    struct security_policy policies[MODE_COUNT], struct field_errors *bad)
{
    default_policies(w, policies);
    for (int m = 0; m < MODE_COUNT; m++) {
        char level_key[64], version_key[64];
        snprintf(level_key, sizeof(level_key), LABEL "%s", mode_names[m]);
        snprintf(version_key, sizeof(version_key), LABEL "%s-version", mode_names[m]);
        const char *level = get(labels, level_key), *version = get(labels, version_key);
        if (level && !parse_level(level, &policies[m].level)) {
            if (m != MODE_WARN)
                policies[m] = (struct security_policy){LEVEL_RESTRICTED, SECURITY_VERSION_LATEST};
            if (bad)
                field_error_add(bad, FIELD_INVALID,
                    arena_printf(w->arena, "metadata.labels[%s]", level_key),
                    arena_printf(w->arena, "\"%s\"", level),
                    "must be one of privileged, baseline, restricted");
        }
        if (version && !parse_version(version, &policies[m].minor)) {
            policies[m].minor = SECURITY_VERSION_LATEST;
            if (bad)
                field_error_add(bad, FIELD_INVALID,
                    arena_printf(w->arena, "metadata.labels[%s]", version_key),
                    arena_printf(w->arena, "\"%s\"", version), "must be \"latest\" or \"v1.x\"");
        }
    }
}

static const char *policy_text(const struct write_context *w, struct security_policy p)
{
    if (p.minor == SECURITY_VERSION_LATEST)
        return arena_printf(w->arena, "%s:latest", security_level_name(p.level));
    return arena_printf(w->arena, "%s:v1.%d", security_level_name(p.level), p.minor);
}

/* --- pods and templates --- */

/* What upstream adds to the request's audit event. */
static void note_for_audit(const struct write_context *w,
    const struct security_policy policies[MODE_COUNT], const cJSON *metadata, const cJSON *spec,
    bool enforce)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct security_policy audited = policies[MODE_AUDIT];

    if (enforce)
        audit_annotate(w->request, LABEL "enforce-policy", policy_text(w, policies[MODE_ENFORCE]));
    if (audited.level != LEVEL_PRIVILEGED &&
        !security_check(w->arena, audited, metadata, spec, &text, NULL))
        audit_annotate(w->request, LABEL "audit-violations",
            arena_printf(w->arena, "would violate PodSecurity \"%s\": %s", policy_text(w, audited),
                text.data));
}

static int evaluate(const struct write_context *w,
    const struct security_policy policies[MODE_COUNT], const cJSON *metadata, const cJSON *spec,
    bool enforce, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct security_policy must = policies[MODE_ENFORCE], warn = policies[MODE_WARN];

    if (is_listed(w, "runtimeClasses", json_string(spec, "runtimeClassName")))
        return 0;
    if (w->request && w->request->audit)
        note_for_audit(w, policies, metadata, spec, enforce);
    if (enforce && must.level != LEVEL_PRIVILEGED &&
        !security_check(w->arena, must, metadata, spec, &text, NULL))
        return admission_refuse_text(w, err,
            arena_printf(
                w->arena, "violates PodSecurity \"%s\": %s", policy_text(w, must), text.data));
    strbuf_clear(&text);
    if (warn.level != LEVEL_PRIVILEGED && w->request &&
        !security_check(w->arena, warn, metadata, spec, &text, NULL))
        request_warn(
            w->request, "would violate PodSecurity \"%s\": %s", policy_text(w, warn), text.data);
    return 0;
}

/* 0: nothing to look at; 1: these policies hold. */
static int namespace_policies(
    const struct write_context *w, struct security_policy policies[MODE_COUNT])
{
    const char *name = json_string_at(w->tree, "metadata.namespace");

    if (is_listed(w, "namespaces", name) ||
        (w->request && is_listed(w, "usernames", w->request->identity.name)))
        return 0;
    struct object *o = admission_get(w, "", "namespaces", "", name ? name : "");
    if (!o)
        return 0;
    read_policies(w, object_label_get, o, policies, NULL);
    object_unref(o);
    return 1;
}

static bool same_containers(const cJSON *new, const cJSON *old)
{
    const cJSON *a = new ? new->child : NULL, *b = old ? old->child : NULL;

    for (; a && b; a = a->next, b = b->next)
        if (!c_eq(json_string(a, "image"), json_string(b, "image")))
            return false;
    return !a && !b;
}

/* Of an update only another image or container matters: everything else that counts can't change.
 */
static bool is_significant(const cJSON *new, const cJSON *old)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        if (!same_containers(json_get(new, lists[i]), json_get(old, lists[i])))
            return true;
    return false;
}

static int check_pod(const struct write_context *w, struct error *err)
{
    struct security_policy policies[MODE_COUNT];
    const cJSON *spec = json_get(w->tree, "spec");
    const char *subresource = w->request ? w->request->subresource_name : "";

    if (w->kind == WRITE_DELETE || w->kind == WRITE_STATUS ||
        (*subresource && !c_eq(subresource, "ephemeralcontainers") && !c_eq(subresource, "resize")))
        return 0;
    if (w->old && !is_significant(spec, json_get(w->old, "spec")))
        return 0;
    if (!namespace_policies(w, policies))
        return 0;
    return evaluate(w, policies, json_get(w->tree, "metadata"), spec, true, err);
}

static int check_template(const struct write_context *w, struct error *err)
{
    struct security_policy policies[MODE_COUNT];
    const char *path = c_eq(w->resource->plural, "cronjobs") ? "spec.jobTemplate.spec.template"
                       : c_eq(w->resource->plural, "podtemplates") ? "template"
                                                                   : "spec.template";
    const cJSON *template_ = json_path(w->tree, path);

    if (!template_ || !w->request || *w->request->subresource_name ||
        !namespace_policies(w, policies))
        return 0;
    return evaluate(
        w, policies, json_get(template_, "metadata"), json_get(template_, "spec"), false, err);
}

/* --- namespaces --- */

struct warning {
    const char *reasons, *pod;
    int count;
    struct warning *next;
};

static void count_warning(const struct write_context *w, struct warning **list,
    const struct strbuf *reasons, struct str pod)
{
    struct warning *one = *list;

    while (one && !c_eq(one->reasons, reasons->data))
        one = one->next;
    if (!one) {
        one = arena_zalloc(w->arena, sizeof(*one));
        *one = (struct warning){.reasons = arena_strdup(w->arena, strbuf_str(reasons)),
            .pod = arena_strdup(w->arena, pod),
            .next = *list};
        *list = one;
    }
    one->count++;
}

static void warn_about_pods(const struct write_context *w, struct security_policy policy)
{
    const char *name = json_string_at(w->tree, "metadata.name");
    const struct resource *pods = api_find_plural(w->server->api, "", "pods");
    struct snapshot *s = snapshot_take(w->cache, pods);
    int64_t until = env_now_ns(w->server->env) + NAMESPACE_TIME_NS;
    size_t total = snapshot_count(s, str_of(name)), looked = 0;
    struct warning *warnings = NULL;
    struct str after = {0};
    const struct object *o;

    while (looked < NAMESPACE_PODS_MAX && env_now_ns(w->server->env) < until &&
           (o = snapshot_next(s, str_of(name), str_of(name), after))) {
        autostrbuf struct strbuf detail = STRBUF_EMPTY, reasons = STRBUF_EMPTY;
        autojson cJSON *tree = object_tree(o);
        const cJSON *spec = json_get(tree, "spec");
        after = o->name;
        looked++;
        if (!is_listed(w, "runtimeClasses", json_string(spec, "runtimeClassName")) &&
            !security_check(w->arena, policy, json_get(tree, "metadata"), spec, &detail, &reasons))
            count_warning(w, &warnings, &reasons, o->name);
    }
    snapshot_free(s);
    if (looked < total)
        request_warn(w->request,
            "new PodSecurity enforce level only checked against the first %zu of %zu existing pods",
            looked, total);
    if (warnings)
        request_warn(w->request,
            "existing pods in namespace \"%s\" violate the new PodSecurity enforce level \"%s\"",
            name, policy_text(w, policy));
    for (; warnings; warnings = warnings->next) {
        if (warnings->count == 1)
            request_warn(w->request, "%s: %s", warnings->pod, warnings->reasons);
        else
            request_warn(w->request, "%s (and %d other pod%s): %s", warnings->pod,
                warnings->count - 1, warnings->count == 2 ? "" : "s", warnings->reasons);
    }
}

static int check_namespace(const struct write_context *w, struct error *err)
{
    struct security_policy now[MODE_COUNT], before[MODE_COUNT];
    struct field_errors *bad = field_errors_new(w->arena), *old_bad = field_errors_new(w->arena);

    if (w->kind == WRITE_DELETE || !w->request || *w->request->subresource_name)
        return 0;
    read_policies(w, json_label, json_path(w->tree, "metadata.labels"), now, bad);
    if (w->old)
        read_policies(w, json_label, json_path(w->old, "metadata.labels"), before, old_bad);
    if (field_errors_count(bad) > 0 && (!w->old || field_errors_count(old_bad) == 0)) {
        w->request->error_status = field_errors_status(bad, w->resource, admission_name(w));
        return error_set(err, ERR_INVALID, "PodSecurity labels are invalid");
    }
    struct security_policy n = now[MODE_ENFORCE], o = w->old ? before[MODE_ENFORCE] : n;
    if (!w->old || n.level == LEVEL_PRIVILEGED || (n.minor == o.minor && n.level <= o.level) ||
        is_listed(w, "namespaces", admission_name(w)))
        return 0;
    warn_about_pods(w, n);
    return 0;
}

static int pod_security(const struct write_context *w, struct error *err)
{
    if (c_eq(w->resource->plural, "pods"))
        return check_pod(w, err);
    if (w->kind == WRITE_DELETE)
        return 0;
    return c_eq(w->resource->plural, "namespaces") ? check_namespace(w, err)
                                                   : check_template(w, err);
}

static const char *const kinds[] = {"pods", "namespaces", "podtemplates", "replicationcontrollers",
    "replicasets.apps", "deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch",
    "cronjobs.batch", NULL};

const struct admission_plugin admission_pod_security = {
    .name = "PodSecurity",
    .resources = kinds,
    .validate = pod_security,
    .configure = check_defaults,
};
