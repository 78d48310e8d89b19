/*
 * Rules of pods and their specs: containers against volumes, scheduling constraints, networking,
 * security.
 *
 * Upstream: pkg/apis/core/validation, ValidatePodSpec and below.
 */
#include "apiserver/schema/rules.h"

#include "common/names.h"

static struct text_set names_of(struct check *c, const cJSON *list)
{
    struct text_set names = text_set_new(c, list);
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        text_set_add(&names, text_of(e, "name"));
    return names;
}

static void check_volume_names(
    struct check *c, const struct frame *at, const cJSON *container, const struct text_set *volumes)
{
    static const char *const lists[] = {"volumeMounts", "volumeDevices"};
    for (size_t k = 0; k < ARRAY_COUNT(lists); k++) {
        size_t i = 0;
        for (const cJSON *m = first_member(container, lists[k]); m; m = m->next, i++) {
            const char *name = text_of(m, "name");
            if (*name && !text_set_has(volumes, name))
                check_not_found(c, AT(AT_INDEX(AT(at, lists[k]), i), "name"), name);
        }
    }
}

static void check_host_network(struct check *c, const struct frame *at, const cJSON *container)
{
    size_t i = 0;
    for (const cJSON *p = first_member(container, "ports"); p; p = p->next, i++) {
        const cJSON *host = json_get(p, "hostPort");
        if (!value_is_empty(host) && !json_equal(host, json_get(p, "containerPort")))
            check_invalid(c, AT(AT_INDEX(AT(at, "ports"), i), "containerPort"),
                json_get(p, "containerPort"), "must match `hostPort` when `hostNetwork` is true");
    }
}

/* What only some containers may have: probes and lifecycle not for init containers that end. */
static void check_init_container(struct check *c, const struct frame *at, const cJSON *container)
{
    static const char *const members[] = {
        "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"};
    static const char *const always[] = {"Always", NULL};
    const char *policy = text_of(container, "restartPolicy");
    if (*policy && strcmp(policy, "Always") != 0)
        check_not_supported(c, AT(at, "restartPolicy"), policy, always);
    for (size_t i = 0; i < ARRAY_COUNT(members) && strcmp(policy, "Always") != 0; i++)
        if (json_get(container, members[i]))
            check_forbidden(c, AT(at, members[i]),
                "may not be set for init containers without restartPolicy=Always");
}

/* The claims a container uses must be claims of the pod. */
static void check_claims(
    struct check *c, const struct frame *at, const cJSON *container, const struct text_set *claims)
{
    size_t i = 0;
    for (const cJSON *e = first_member(json_get(container, "resources"), "claims"); e;
         e = e->next, i++)
        if (has_member(e, "name") && !text_set_has(claims, text_of(e, "name")))
            check_not_found(c, AT_INDEX(AT(AT(at, "resources"), "claims"), i), text_of(e, "name"));
}

/* A pause must end before the container would be killed. */
static void check_sleep(
    struct check *c, const struct frame *at, const cJSON *container, const cJSON *spec)
{
    static const char *const hooks[] = {"postStart", "preStop"};
    int64_t grace = json_int64_at(spec, "terminationGracePeriodSeconds", 30);
    for (size_t i = 0; i < ARRAY_COUNT(hooks); i++) {
        const cJSON *sleep =
            json_get(json_get(json_get(container, "lifecycle"), hooks[i]), "sleep");
        const cJSON *seconds = json_get(sleep, "seconds");
        int64_t n;
        if (json_int64(seconds, &n) && (n < 0 || n > grace))
            check_error(c, AT(AT(AT(AT(at, "lifecycle"), hooks[i]), "sleep"), "seconds"),
                FIELD_INVALID, seconds,
                "must be non-negative and less than terminationGracePeriodSeconds (%lld)",
                (long long)grace);
    }
}

static void check_resize_policy(
    struct check *c, const struct frame *at, const cJSON *container, const cJSON *spec)
{
    const cJSON *list = json_get(container, "resizePolicy");
    struct text_set seen = text_set_new(c, list);
    size_t i = 0;
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next, i++) {
        const struct frame *here = AT_INDEX(AT(at, "resizePolicy"), i);
        if (!text_set_add(&seen, text_of(e, "resourceName")))
            check_duplicate(c, here, json_get(e, "resourceName"));
        if (text_is(spec, "restartPolicy", "Never") &&
            text_is(e, "restartPolicy", "RestartContainer"))
            check_invalid_text(c, here, "RestartContainer",
                "must be 'NotRequired' when `restartPolicy` is 'Never'");
    }
}

static void check_containers(struct check *c, const struct frame *at, const cJSON *spec)
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};
    struct text_set volumes = names_of(c, json_get(spec, "volumes"));
    struct text_set names = names_of(c, json_get(spec, "containers"));
    struct text_set claims = names_of(c, json_get(spec, "resourceClaims"));
    bool host = json_bool(spec, "hostNetwork", false);
    for (size_t k = 0; k < ARRAY_COUNT(lists); k++) {
        size_t i = 0;
        for (const cJSON *e = first_member(spec, lists[k]); e; e = e->next, i++) {
            const struct frame *here = AT_INDEX(AT(at, lists[k]), i);
            check_volume_names(c, here, e, &volumes);
            if (host)
                check_host_network(c, here, e);
            if (k == 0)
                check_init_container(c, here, e);
            if (k != 1 && text_set_has(&names, text_of(e, "name")))
                check_duplicate(c, AT(here, "name"), json_get(e, "name"));
            check_claims(c, here, e, &claims);
            check_sleep(c, here, e, spec);
            check_resize_policy(c, here, e, spec);
            if (k == 2 && has_member(e, "targetContainerName") &&
                !text_set_has(&names, text_of(e, "targetContainerName")))
                check_not_found(
                    c, AT(here, "targetContainerName"), text_of(e, "targetContainerName"));
            if (k == 1 && json_get(e, "restartPolicy"))
                check_forbidden(
                    c, AT(here, "restartPolicy"), "may not be set for non-init containers");
        }
    }
}

static void check_host_ports(struct check *c, const struct frame *at, const cJSON *spec)
{
    size_t i = 0;
    for (const cJSON *e = first_member(spec, "containers"); e; e = e->next, i++) {
        size_t k = 0;
        struct text_set seen = text_set_new(c, json_get(e, "ports"));
        for (const cJSON *p = first_member(e, "ports"); p; p = p->next, k++) {
            if (value_is_empty(json_get(p, "hostPort")))
                continue;
            const char *text =
                arena_printf(c->arena, "%lld/%s/%s", (long long)json_int64_at(p, "hostPort", 0),
                    text_of(p, "protocol"), text_of(p, "hostIP"));
            autojson cJSON *value = cJSON_CreateString(text);
            if (!text_set_add(&seen, text))
                check_duplicate(c,
                    AT(AT_INDEX(AT(AT_INDEX(AT(at, "containers"), i), "ports"), k), "hostPort"),
                    value);
        }
    }
}

static void check_dns(struct check *c, const struct frame *at, const cJSON *spec)
{
    const cJSON *config = json_get(spec, "dnsConfig");
    if (!text_is(spec, "dnsPolicy", "None"))
        return;
    if (!config)
        check_required(c, AT(at, "dnsConfig"), "must provide `dnsConfig` when `dnsPolicy` is None");
    else if (!first_member(config, "nameservers"))
        check_required(c, AT(AT(at, "dnsConfig"), "nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None");
}

/* Users of its own don't go with the node's namespaces. */
static void check_users(struct check *c, const struct frame *at, const cJSON *spec)
{
    static const char *const members[] = {"hostNetwork", "hostPID", "hostIPC"};
    size_t i = 0;
    bool own = cJSON_IsFalse(json_get(spec, "hostUsers"));
    for (size_t k = 0; own && k < ARRAY_COUNT(members); k++)
        if (json_bool(spec, members[k], false))
            check_forbidden(c, AT(at, members[k]), "when `pod.Spec.HostUsers` is false");
    for (const cJSON *e = first_member(spec, "containers"); e && !own; e = e->next, i++)
        if (text_is(json_get(e, "securityContext"), "procMount", "Unmasked"))
            check_invalid_text(c,
                AT(AT(AT_INDEX(AT(at, "containers"), i), "securityContext"), "procMount"),
                "Unmasked", "`hostUsers` must be false to use `Unmasked`");
}

void rule_pod_spec(struct check *c, const struct frame *at, const cJSON *o)
{
    check_containers(c, at, o);
    check_host_ports(c, at, o);
    check_dns(c, at, o);
    check_spread_twice(c, at, o);
    check_operating_system(c, at, o);
    check_users(c, at, o);
    if (json_bool(o, "hostPID", false) && json_bool(o, "shareProcessNamespace", false))
        check_invalid(c, AT(at, "shareProcessNamespace"), json_get(o, "shareProcessNamespace"),
            "ShareProcessNamespace and HostPID cannot both be enabled");
    size_t i = 0;
    for (const cJSON *a = first_member(o, "hostAliases"); a; a = a->next, i++)
        if (!name_is_ip(str_of(text_of(a, "ip"))) && !has_member(a, "ip"))
            check_invalid_text(c, AT(AT_INDEX(AT(at, "hostAliases"), i), "ip"), "",
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

void rule_pod(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *spec = json_get(o, "spec");
    if (first_member(spec, "schedulingGates") && has_member(spec, "nodeName") &&
        !json_get(o, "status"))
        check_forbidden(c, AT(AT(at, "spec"), "nodeName"),
            "cannot be set until all schedulingGates have been cleared");
}

void rule_pod_security(struct check *c, const struct frame *at, const cJSON *o)
{
    const cJSON *sysctls = json_get(o, "sysctls");
    struct text_set seen = text_set_new(c, sysctls);
    size_t i = 0;
    for (const cJSON *s = sysctls ? sysctls->child : NULL; s; s = s->next, i++)
        if (!text_set_add(&seen, text_of(s, "name")))
            check_duplicate(c, AT(AT_INDEX(AT(at, "sysctls"), i), "name"), json_get(s, "name"));
}

void rule_toleration(struct check *c, const struct frame *at, const cJSON *o)
{
    static const char *const operators[] = {"Equal", "Exists", NULL};
    static const char *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute", NULL};
    const char *op = text_of(o, "operator"), *key = text_of(o, "key"),
               *effect = text_of(o, "effect");
    autojson cJSON *text = cJSON_CreateString(key);
    if (*key)
        check_format(c, AT(at, "key"), "label-key", text);
    if (!*key && strcmp(op, "Exists") != 0)
        check_invalid_text(c, AT(at, "operator"), op,
            "operator must be Exists when `key` is empty, which means \"match all values and all "
            "keys\"");
    if (json_get(o, "tolerationSeconds") && strcmp(effect, "NoExecute") != 0)
        check_invalid_text(c, AT(at, "effect"), effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set");
    if (!*op || !strcmp(op, "Equal")) {
        autostrbuf struct strbuf why = STRBUF_EMPTY;
        if (!name_is_label_value(str_of(text_of(o, "value")), &why))
            check_invalid_text(c, AT(at, "operator"), text_of(o, "value"), why.data);
    } else if (!strcmp(op, "Exists")) {
        if (has_member(o, "value"))
            check_invalid(
                c, AT(at, "operator"), o, "value must be empty when `operator` is 'Exists'");
    } else {
        check_not_supported(c, AT(at, "operator"), op, operators);
    }
    for (const char *const *e = effects; *effect; e++) {
        if (!*e)
            check_not_supported(c, AT(at, "effect"), effect, effects);
        if (!*e || !strcmp(*e, effect))
            break;
    }
}

void check_of_taints(
    struct check *c, const struct frame *at, const struct field *f, const cJSON *value)
{
    static const char *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute", NULL};
    struct text_set seen = text_set_new(c, value);
    size_t i = 0;
    (void)f;
    for (const cJSON *t = value->child; t; t = t->next, i++) {
        const struct frame *here = AT_INDEX(at, i);
        const char *effect = text_of(t, "effect");
        check_format(c, AT(here, "key"), "label-key", json_get(t, "key"));
        if (has_member(t, "value"))
            check_format(c, AT(here, "value"), "label-value", json_get(t, "value"));
        if (!*effect)
            check_required(c, AT(here, "effect"), "");
        else if (strcmp(effect, effects[0]) && strcmp(effect, effects[1]) &&
                 strcmp(effect, effects[2]))
            check_not_supported(c, AT(here, "effect"), effect, effects);
        if (!text_set_add(&seen, arena_printf(c->arena, "%s:%s", text_of(t, "key"), effect)))
            check_error(
                c, here, FIELD_DUPLICATE, t, "taints must be unique by key and effect pair");
    }
}
