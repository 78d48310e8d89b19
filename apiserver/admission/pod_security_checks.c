/*
 * The controls of the Pod Security Standards, one function each.
 *
 * A check looks at one pod and, when it is broken, writes a reason ("hostPort") and a detail
 * (`container "a" uses hostPort 80`). Names and values of outside objects are quoted. Values are
 * collected, sorted and made unique, so the text does not depend on the order in the object.
 * Upstream: pod-security-admission/policy/check_*.go.
 */
#include "apiserver/admission/pod_security.h"

#include <stdlib.h>

/* A growing list of strings that point into the pod. */
struct words {
    struct arena *arena;
    const char **list;
    size_t count, room;
};

static void add(struct words *w, const char *word)
{
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 8;
        const char **grown = arena_new_array(w->arena, const char *, room);
        if (w->count)
            memcpy(grown, w->list, w->count * sizeof(*grown));
        w->list = grown;
        w->room = room;
    }
    w->list[w->count++] = word ? word : "";
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_unique(struct words *w)
{
    size_t kept = 0;

    if (w->count == 0)
        return;
    qsort(w->list, w->count, sizeof(*w->list), by_text);
    for (size_t i = 0; i < w->count; i++)
        if (i == 0 || !c_eq(w->list[i], w->list[kept - 1]))
            w->list[kept++] = w->list[i];
    w->count = kept;
}

struct view {
    struct arena *arena;
    const cJSON *metadata, *spec, *context; /* context: spec.securityContext */
    struct strbuf *reason, *detail;
};

static struct words words(const struct view *v)
{
    return (struct words){.arena = v->arena};
}

static void quote(const struct view *v, const struct words *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (i)
            strbuf_addc(v->detail, ", ");
        json_print_string(str_of(w->list[i]), v->detail);
    }
}

static void plural(const struct view *v, const char *one, const char *many, const struct words *w)
{
    strbuf_addc(v->detail, w->count == 1 ? one : many);
}

/* `container "a"` or `containers "a", "b"` */
static void name_containers(const struct view *v, const struct words *w)
{
    plural(v, "container ", "containers ", w);
    quote(v, w);
}

static bool broken(const struct view *v, const char *reason)
{
    strbuf_addc(v->reason, reason);
    return true;
}

/* Every container of the pod in turn: init, main, ephemeral. */
struct walk {
    const cJSON *spec, *item;
    int list;
};

static const cJSON *next_container(struct walk *w)
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};

    if (w->item)
        w->item = w->item->next;
    while (!w->item && w->list < (int)ARRAY_COUNT(lists)) {
        const cJSON *list = json_get(w->spec, lists[w->list++]);
        w->item = list ? list->child : NULL;
    }
    return w->item;
}
#define EACH_CONTAINER(c, v)                \
    struct walk walk = {.spec = (v)->spec}; \
    for (const cJSON *c; (c = next_container(&walk));)

static const char *name_of(const cJSON *container)
{
    return json_string(container, "name");
}

static bool is_windows(const struct view *v)
{
    return c_eq(json_string_at(v->spec, "os.name"), "windows");
}

static bool in_list(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (c_eq(*list, word))
            return true;
    return false;
}

/* --- baseline --- */

static bool check_app_armor(const struct view *v, int minor)
{
    struct words bad = words(v), values = words(v), annotations = words(v);
    const char *type = json_string_at(v->context, "appArmorProfile.type");
    const cJSON *item;
    int setters = 0;

    (void)minor;
    bool pod = type && !c_eq(type, "RuntimeDefault") && !c_eq(type, "Localhost");
    if (pod)
        add(&values, type);
    EACH_CONTAINER(c, v)
    {
        type = json_string_at(c, "securityContext.appArmorProfile.type");
        if (type && !c_eq(type, "RuntimeDefault") && !c_eq(type, "Localhost")) {
            add(&bad, name_of(c));
            add(&values, type);
        }
    }
    cJSON_ArrayForEach(item, json_get(v->metadata, "annotations"))
    {
        const char *text = item->valuestring ? item->valuestring : "";
        if (str_starts(
                str_of(item->string), STR("container.apparmor.security.beta.kubernetes.io/")) &&
            *text && !c_eq(text, "runtime/default") &&
            !str_starts(str_of(text), STR("localhost/"))) {
            autostrbuf struct strbuf quoted = STRBUF_EMPTY;
            json_print_string(str_of(text), &quoted);
            add(&annotations, arena_printf(v->arena, "%s=%s", item->string, quoted.data));
        }
    }
    if (!pod && bad.count == 0 && annotations.count == 0)
        return false;
    sort_unique(&values);
    sort_unique(&annotations);
    for (size_t i = 0; i < annotations.count; i++)
        add(&values, annotations.list[i]);
    if (pod)
        strbuf_addc(v->detail, setters++ ? " and pod" : "pod");
    if (bad.count) {
        strbuf_addc(v->detail, setters++ ? " and " : "");
        name_containers(v, &bad);
    }
    if (annotations.count) {
        strbuf_addc(v->detail, setters++ ? " and " : "");
        plural(v, "annotation", "annotations", &annotations);
    }
    strbuf_addc(v->detail, " must not set AppArmor profile type to ");
    quote(v, &values);
    return broken(
        v, values.count == 1 ? "forbidden AppArmor profile" : "forbidden AppArmor profiles");
}

/* Adds what a container adds beyond `allowed` (NULL ended); true when there is any. */
static bool extra_capabilities(
    const cJSON *container, const char *const *allowed, struct words *extra)
{
    const cJSON *item;
    bool any = false;

    cJSON_ArrayForEach(item, json_path(container, "securityContext.capabilities.add"))
    {
        if (in_list(allowed, item->valuestring))
            continue;
        add(extra, item->valuestring);
        any = true;
    }
    return any;
}

static bool check_capabilities_baseline(const struct view *v, int minor)
{
    static const char *const allowed[] = {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER",
        "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
        "SYS_CHROOT", NULL};
    struct words bad = words(v), extra = words(v);

    (void)minor;
    EACH_CONTAINER(c, v)
    if (extra_capabilities(c, allowed, &extra))
        add(&bad, name_of(c));
    if (bad.count == 0)
        return false;
    sort_unique(&extra);
    name_containers(v, &bad);
    strbuf_addc(v->detail, " must not include ");
    quote(v, &extra);
    strbuf_addc(v->detail, " in securityContext.capabilities.add");
    return broken(v, "non-default capabilities");
}

static bool check_host_namespaces(const struct view *v, int minor)
{
    static const char *const names[] = {"hostNetwork", "hostPID", "hostIPC"};
    int count = 0;

    (void)minor;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (json_bool(v->spec, names[i], false))
            strbuf_addf(v->detail, "%s%s=true", count++ ? ", " : "", names[i]);
    return count > 0 && broken(v, "host namespaces");
}

static bool check_host_paths(const struct view *v, int minor)
{
    struct words bad = words(v);
    const cJSON *volume;

    (void)minor;
    cJSON_ArrayForEach(volume, json_get(v->spec, "volumes"))
    {
        if (json_get(volume, "hostPath"))
            add(&bad, json_string(volume, "name"));
    }
    if (bad.count == 0)
        return false;
    plural(v, "volume ", "volumes ", &bad);
    quote(v, &bad);
    return broken(v, "hostPath volumes");
}

static bool check_host_ports(const struct view *v, int minor)
{
    struct words bad = words(v), ports = words(v);
    const cJSON *port;

    (void)minor;
    EACH_CONTAINER(c, v)
    {
        bool any = false;
        cJSON_ArrayForEach(port, json_get(c, "ports"))
        {
            int64_t number = json_int64_at(port, "hostPort", 0);
            if (number == 0)
                continue;
            any = true;
            add(&ports, arena_printf(v->arena, "%lld", (long long)number));
        }
        if (any)
            add(&bad, name_of(c));
    }
    if (bad.count == 0)
        return false;
    sort_unique(&ports);
    name_containers(v, &bad);
    plural(v, " uses", " use", &bad);
    plural(v, " hostPort ", " hostPorts ", &ports);
    for (size_t i = 0; i < ports.count; i++)
        strbuf_addf(v->detail, "%s%s", i ? ", " : "", ports.list[i]);
    return broken(v, "hostPort");
}

static void add_host(struct words *hosts, const cJSON *handler, const char *action)
{
    const cJSON *where = json_get(handler, action);
    const char *host = json_string(where, "host");

    if (host && *host && !c_eq(host, "127.0.0.1") && !c_eq(host, "::1"))
        add(hosts, host);
}

static bool check_host_probes(const struct view *v, int minor)
{
    static const char *const handlers[] = {"livenessProbe", "readinessProbe", "startupProbe",
        "lifecycle.postStart", "lifecycle.preStop"};
    struct words bad = words(v), hosts = words(v);

    (void)minor;
    EACH_CONTAINER(c, v)
    {
        size_t before = hosts.count;
        for (size_t i = 0; i < ARRAY_COUNT(handlers); i++) {
            const cJSON *handler = json_path(c, handlers[i]);
            add_host(&hosts, handler, "httpGet");
            add_host(&hosts, handler, "tcpSocket");
        }
        if (hosts.count > before)
            add(&bad, name_of(c));
    }
    if (bad.count == 0)
        return false;
    sort_unique(&hosts);
    name_containers(v, &bad);
    plural(v, " uses", " use", &bad);
    plural(v, " probe or lifecycle host ", " probe or lifecycle hosts ", &hosts);
    quote(v, &hosts);
    return broken(v, "probe or lifecycle host");
}

static bool check_privileged(const struct view *v, int minor)
{
    struct words bad = words(v);

    (void)minor;
    EACH_CONTAINER(c, v)
    if (json_bool(json_get(c, "securityContext"), "privileged", false))
        add(&bad, name_of(c));
    if (bad.count == 0)
        return false;
    name_containers(v, &bad);
    strbuf_addc(v->detail, " must not set securityContext.privileged=true");
    return broken(v, "privileged");
}

static bool check_proc_mount(const struct view *v, int minor)
{
    struct words bad = words(v), values = words(v);

    (void)minor;
    EACH_CONTAINER(c, v)
    {
        const char *type = json_string_at(c, "securityContext.procMount");
        if (type && !c_eq(type, "Default")) {
            add(&bad, name_of(c));
            add(&values, type);
        }
    }
    if (bad.count == 0)
        return false;
    sort_unique(&values);
    name_containers(v, &bad);
    strbuf_addc(v->detail, " must not set securityContext.procMount to ");
    quote(v, &values);
    return broken(v, "procMount");
}

struct selinux {
    struct words types;
    bool user, role;
    int minor;
};

static bool selinux_is_bad(struct selinux *s, const cJSON *options)
{
    static const char *const allowed[] = {
        "", "container_t", "container_init_t", "container_kvm_t", NULL};
    const char *type = json_string(options, "type"), *user = json_string(options, "user"),
               *role = json_string(options, "role");
    bool bad = false;

    if (type && !in_list(allowed, type) && !(s->minor >= 31 && c_eq(type, "container_engine_t"))) {
        add(&s->types, type);
        bad = true;
    }
    if (user && *user)
        bad = s->user = true;
    if (role && *role)
        bad = s->role = true;
    return bad;
}

static bool check_selinux(const struct view *v, int minor)
{
    struct selinux s = {.types = words(v), .minor = minor};
    struct words bad = words(v);
    const char *separator = "";

    bool pod = selinux_is_bad(&s, json_get(v->context, "seLinuxOptions"));
    EACH_CONTAINER(c, v)
    if (selinux_is_bad(&s, json_path(c, "securityContext.seLinuxOptions")))
        add(&bad, name_of(c));
    if (!pod && bad.count == 0)
        return false;
    if (pod)
        strbuf_addc(v->detail, bad.count ? "pod and " : "pod");
    if (bad.count)
        name_containers(v, &bad);
    strbuf_addc(v->detail, " set forbidden securityContext.seLinuxOptions: ");
    if (s.types.count) {
        sort_unique(&s.types);
        plural(v, "type ", "types ", &s.types);
        quote(v, &s.types);
        separator = "; ";
    }
    if (s.user) {
        strbuf_addf(v->detail, "%suser may not be set", separator);
        separator = "; ";
    }
    if (s.role)
        strbuf_addf(v->detail, "%srole may not be set", separator);
    return broken(v, "seLinuxOptions");
}

static bool is_confined(const char *type)
{
    return c_eq(type, "RuntimeDefault") || c_eq(type, "Localhost");
}

static bool check_seccomp_baseline(const struct view *v, int minor)
{
    struct words bad = words(v), values = words(v);
    const char *type = json_string_at(v->context, "seccompProfile.type");

    if (minor < 19) /* fields came with 1.19; the annotations before that are gone */
        return false;
    bool pod = type && !is_confined(type);
    if (pod)
        add(&values, type);
    EACH_CONTAINER(c, v)
    {
        type = json_string_at(c, "securityContext.seccompProfile.type");
        if (type && !is_confined(type)) {
            add(&bad, name_of(c));
            add(&values, type);
        }
    }
    if (values.count == 0)
        return false;
    sort_unique(&values);
    if (pod)
        strbuf_addc(v->detail, bad.count ? "pod and " : "pod");
    if (bad.count)
        name_containers(v, &bad);
    strbuf_addc(v->detail, " must not set securityContext.seccompProfile.type to ");
    quote(v, &values);
    return broken(v, "seccompProfile");
}

static bool check_sysctls(const struct view *v, int minor)
{
    static const struct {
        const char *name;
        int since;
    } safe[] = {{"kernel.shm_rmid_forced", 0}, {"net.ipv4.ip_local_port_range", 0},
        {"net.ipv4.tcp_syncookies", 0}, {"net.ipv4.ping_group_range", 0},
        {"net.ipv4.ip_unprivileged_port_start", 0}, {"net.ipv4.ip_local_reserved_ports", 27},
        {"net.ipv4.tcp_keepalive_time", 29}, {"net.ipv4.tcp_fin_timeout", 29},
        {"net.ipv4.tcp_keepalive_intvl", 29}, {"net.ipv4.tcp_keepalive_probes", 29},
        {"net.ipv4.tcp_rmem", 32}, {"net.ipv4.tcp_wmem", 32}};
    struct words bad = words(v);
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(v->context, "sysctls"))
    {
        const char *name = json_string(item, "name");
        bool good = false;
        for (size_t i = 0; i < ARRAY_COUNT(safe) && !good; i++)
            good = c_eq(name, safe[i].name) && minor >= safe[i].since;
        if (!good)
            add(&bad, name);
    }
    if (bad.count == 0)
        return false;
    for (size_t i = 0; i < bad.count; i++)
        strbuf_addf(v->detail, "%s%s", i ? ", " : "", bad.list[i]);
    return broken(v, "forbidden sysctls");
}

static bool check_host_process(const struct view *v, int minor)
{
    struct words bad = words(v);
    bool pod = json_bool(json_get(v->context, "windowsOptions"), "hostProcess", false);

    (void)minor;
    EACH_CONTAINER(c, v)
    if (json_bool(json_path(c, "securityContext.windowsOptions"), "hostProcess", false))
        add(&bad, name_of(c));
    if (!pod && bad.count == 0)
        return false;
    if (pod)
        strbuf_addc(v->detail, bad.count ? "pod and " : "pod");
    if (bad.count)
        name_containers(v, &bad);
    strbuf_addc(v->detail, " must not set securityContext.windowsOptions.hostProcess=true");
    return broken(v, "hostProcess");
}

/* --- restricted --- */

static bool check_escalation(const struct view *v, int minor)
{
    struct words bad = words(v);

    if (minor < 8 || (minor >= 25 && is_windows(v)))
        return false;
    EACH_CONTAINER(c, v)
    if (json_bool(json_get(c, "securityContext"), "allowPrivilegeEscalation", true))
        add(&bad, name_of(c));
    if (bad.count == 0)
        return false;
    name_containers(v, &bad);
    strbuf_addc(v->detail, " must set securityContext.allowPrivilegeEscalation=false");
    return broken(v, "allowPrivilegeEscalation != false");
}

static bool check_capabilities_restricted(const struct view *v, int minor)
{
    static const char *const allowed[] = {"NET_BIND_SERVICE", NULL};
    struct words missing = words(v), adding = words(v), extra = words(v);

    if (minor < 22 || (minor >= 25 && is_windows(v)))
        return false;
    EACH_CONTAINER(c, v)
    {
        const cJSON *item;
        bool drops = false;
        cJSON_ArrayForEach(item, json_path(c, "securityContext.capabilities.drop"))
        {
            drops = drops || c_eq(item->valuestring, "ALL");
        }
        if (!drops)
            add(&missing, name_of(c));
        if (extra_capabilities(c, allowed, &extra))
            add(&adding, name_of(c));
    }
    if (missing.count == 0 && adding.count == 0)
        return false;
    if (missing.count) {
        name_containers(v, &missing);
        strbuf_addc(v->detail, " must set securityContext.capabilities.drop=[\"ALL\"]");
    }
    if (adding.count) {
        sort_unique(&extra);
        strbuf_addc(v->detail, missing.count ? "; " : "");
        name_containers(v, &adding);
        strbuf_addc(v->detail, " must not include ");
        quote(v, &extra);
        strbuf_addc(v->detail, " in securityContext.capabilities.add");
    }
    return broken(v, "unrestricted capabilities");
}

static bool check_volumes(const struct view *v, int minor)
{
    static const char *const allowed[] = {"configMap", "csi", "downwardAPI", "emptyDir",
        "ephemeral", "image", "persistentVolumeClaim", "projected", "secret", "name", NULL};
    struct words bad = words(v), types = words(v);
    const cJSON *volume, *source;

    (void)minor;
    cJSON_ArrayForEach(volume, json_get(v->spec, "volumes"))
    {
        cJSON_ArrayForEach(source, volume)
        {
            if (in_list(allowed, source->string))
                continue;
            add(&bad, json_string(volume, "name"));
            add(&types, source->string);
        }
    }
    if (bad.count == 0)
        return false;
    sort_unique(&types);
    plural(v, "volume ", "volumes ", &bad);
    quote(v, &bad);
    plural(v, " uses", " use", &bad);
    plural(v, " restricted volume type ", " restricted volume types ", &types);
    quote(v, &types);
    return broken(v, "restricted volume types");
}

static bool check_non_root(const struct view *v, int minor)
{
    struct words refusing = words(v), undefined = words(v);
    const cJSON *own = json_get(v->context, "runAsNonRoot");
    bool pod_bad = cJSON_IsFalse(own), pod_good = cJSON_IsTrue(own);

    (void)minor;
    EACH_CONTAINER(c, v)
    {
        const cJSON *value = json_path(c, "securityContext.runAsNonRoot");
        if (cJSON_IsFalse(value))
            add(&refusing, name_of(c));
        else if (!value && !pod_good)
            add(&undefined, name_of(c));
    }
    if (pod_bad || refusing.count) {
        strbuf_addc(v->detail, pod_bad ? (refusing.count ? "pod and " : "pod") : "");
        if (refusing.count)
            name_containers(v, &refusing);
        strbuf_addc(v->detail, " must not set securityContext.runAsNonRoot=false");
        return broken(v, "runAsNonRoot != true");
    }
    if (undefined.count == 0)
        return false;
    strbuf_addc(v->detail, "pod or ");
    name_containers(v, &undefined);
    strbuf_addc(v->detail, " must set securityContext.runAsNonRoot=true");
    return broken(v, "runAsNonRoot != true");
}

static bool is_zero(const cJSON *object, const char *name)
{
    int64_t value;
    return json_int64(json_get(object, name), &value) && value == 0;
}

static bool check_user(const struct view *v, int minor)
{
    struct words bad = words(v);
    bool pod = is_zero(v->context, "runAsUser");

    if (minor < 23)
        return false;
    EACH_CONTAINER(c, v)
    if (is_zero(json_get(c, "securityContext"), "runAsUser"))
        add(&bad, name_of(c));
    if (!pod && bad.count == 0)
        return false;
    if (pod)
        strbuf_addc(v->detail, bad.count ? "pod and " : "pod");
    if (bad.count)
        name_containers(v, &bad);
    strbuf_addc(v->detail, " must not set runAsUser=0");
    return broken(v, "runAsUser=0");
}

static bool check_seccomp_restricted(const struct view *v, int minor)
{
    struct words bad = words(v), values = words(v), undefined = words(v);
    const char *type = json_string_at(v->context, "seccompProfile.type");
    bool pod_set = type, pod_bad = type && !is_confined(type);

    if (minor < 19 || (minor >= 25 && is_windows(v)))
        return false;
    if (pod_bad)
        add(&values, type);
    EACH_CONTAINER(c, v)
    {
        type = json_string_at(c, "securityContext.seccompProfile.type");
        if (type && !is_confined(type)) {
            add(&bad, name_of(c));
            add(&values, type);
        } else if (!type && !pod_set) {
            add(&undefined, name_of(c));
        }
    }
    if (values.count) {
        sort_unique(&values);
        strbuf_addc(v->detail, pod_bad ? (bad.count ? "pod and " : "pod") : "");
        if (bad.count)
            name_containers(v, &bad);
        strbuf_addc(v->detail, " must not set securityContext.seccompProfile.type to ");
        quote(v, &values);
        return broken(v, "seccompProfile");
    }
    if (undefined.count == 0)
        return false;
    strbuf_addc(v->detail, "pod or ");
    name_containers(v, &undefined);
    strbuf_addc(v->detail,
        " must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    return broken(v, "seccompProfile");
}

/* --- the table --- */

/* In the order of the report. The restricted form of a baseline check replaces it. */
static const struct control {
    bool (*check)(const struct view *v, int minor);
    enum security_level level;
    bool replaced; /* by a restricted one */
} controls[] = {
    {check_app_armor, LEVEL_BASELINE, false},
    {check_host_namespaces, LEVEL_BASELINE, false},
    {check_host_ports, LEVEL_BASELINE, false},
    {check_host_probes, LEVEL_BASELINE, false},
    {check_privileged, LEVEL_BASELINE, false},
    {check_proc_mount, LEVEL_BASELINE, false},
    {check_selinux, LEVEL_BASELINE, false},
    {check_sysctls, LEVEL_BASELINE, false},
    {check_host_process, LEVEL_BASELINE, false},
    {check_capabilities_baseline, LEVEL_BASELINE, true},
    {check_host_paths, LEVEL_BASELINE, true},
    {check_seccomp_baseline, LEVEL_BASELINE, true},
    {check_escalation, LEVEL_RESTRICTED, false},
    {check_capabilities_restricted, LEVEL_RESTRICTED, false},
    {check_volumes, LEVEL_RESTRICTED, false},
    {check_non_root, LEVEL_RESTRICTED, false},
    {check_user, LEVEL_RESTRICTED, false},
    {check_seccomp_restricted, LEVEL_RESTRICTED, false},
};

/* Before 1.22 restricted had no rule about capabilities of its own, so baseline's holds. */
static bool applies(const struct control *c, struct security_policy policy)
{
    if (c->level > policy.level)
        return false;
    if (c->check == check_host_probes && policy.minor < 34)
        return false;
    if (policy.level != LEVEL_RESTRICTED || !c->replaced)
        return true;
    return (c->check == check_capabilities_baseline && policy.minor < 22) ||
           (c->check == check_seccomp_baseline && policy.minor < 19);
}

bool security_check(struct arena *a, struct security_policy policy, const cJSON *metadata,
    const cJSON *spec, struct strbuf *detail, struct strbuf *reasons)
{
    bool good = true;

    for (size_t i = 0; i < ARRAY_COUNT(controls); i++) {
        autostrbuf struct strbuf reason = STRBUF_EMPTY, text = STRBUF_EMPTY;
        struct view v = {.arena = a,
            .metadata = metadata,
            .spec = spec,
            .context = json_get(spec, "securityContext"),
            .reason = &reason,
            .detail = &text};
        if (!applies(&controls[i], policy) || !controls[i].check(&v, policy.minor))
            continue;
        strbuf_addf(detail, "%s%s (%s)", good ? "" : ", ", reason.data, text.data);
        if (reasons)
            strbuf_addf(reasons, "%s%s", good ? "" : ", ", reason.data);
        good = false;
    }
    return good;
}
