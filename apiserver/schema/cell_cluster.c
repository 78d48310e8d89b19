/*
 * Cells of nodes, volumes, services, endpoints and ingresses.
 */
#include "apiserver/schema/cell.h"

/* Endpoints shown before "+ N more..."; upstream's number. */
#define ENDPOINTS_SHOWN 3

static const cJSON *with_type(const cJSON *o, const char *path, const char *type)
{
    for (const cJSON *c = first_of(o, path); c; c = c->next)
        if (!strcmp(value_string(json_get(c, "type")), type))
            return c;
    return NULL;
}

cJSON *cell_node_status(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    const cJSON *ready = with_type(o, "status.conditions", "Ready");
    const char *status = value_string(json_get(ready, "status"));
    strbuf_addc(&b, !ready ? "Unknown" : !strcmp(status, "True") ? "Ready" : "NotReady");
    if (json_bool(json_get(o, "spec"), "unschedulable", false))
        strbuf_addc(&b, ",SchedulingDisabled");
    return cell_buffer(&b);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

cJSON *cell_node_roles(const cJSON *o, int64_t now_ns)
{
    static const char prefix[] = "node-role.kubernetes.io/";
    const char *roles[32];
    size_t n = 0;
    (void)now_ns;
    for (const cJSON *l = first_of(o, "metadata.labels"); l && n < ARRAY_COUNT(roles);
         l = l->next) {
        if (!strncmp(l->string, prefix, strlen(prefix)))
            roles[n++] = l->string + strlen(prefix);
        else if (!strcmp(l->string, "kubernetes.io/role") && *value_string(l))
            roles[n++] = value_string(l);
    }
    if (n == 0)
        return cell_text("<none>");
    qsort(roles, n, sizeof(*roles), by_text);
    struct strbuf b;
    strbuf_init(&b, 0);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&b, "%s%s", i ? "," : "", roles[i]);
    return cell_buffer(&b);
}

static cJSON *node_address(const cJSON *o, const char *type)
{
    return cell_text_or(json_string(with_type(o, "status.addresses", type), "address"), "<none>");
}

cJSON *cell_node_internal_ip(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return node_address(o, "InternalIP");
}

cJSON *cell_node_external_ip(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return node_address(o, "ExternalIP");
}

cJSON *cell_node_os_image(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "status.nodeInfo.osImage"), "<unknown>");
}

cJSON *cell_node_kernel(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "status.nodeInfo.kernelVersion"), "<unknown>");
}

cJSON *cell_node_runtime(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "status.nodeInfo.containerRuntimeVersion"), "<unknown>");
}

static cJSON *access_modes(const cJSON *o, const char *path)
{
    static const struct {
        const char *mode, *letters;
    } modes[] = {{"ReadWriteOnce", "RWO"}, {"ReadOnlyMany", "ROX"}, {"ReadWriteMany", "RWX"},
        {"ReadWriteOncePod", "RWOP"}};
    struct strbuf b;
    strbuf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++)
        for (const cJSON *m = first_of(o, path); m; m = m->next)
            if (!strcmp(value_string(m), modes[i].mode)) {
                strbuf_addf(&b, "%s%s", b.n ? "," : "", modes[i].letters);
                break;
            }
    return cell_buffer(&b);
}

static cJSON *phase_or_terminating(const cJSON *o)
{
    bool deleting = json_string_at(o, "metadata.deletionTimestamp");
    return deleting ? cell_text("Terminating")
                    : cell_text_or(json_string_at(o, "status.phase"), "");
}

cJSON *cell_pv_modes(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return access_modes(o, "spec.accessModes");
}

cJSON *cell_pv_status(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return phase_or_terminating(o);
}

static const char *storage_class(const cJSON *o)
{
    const char *beta = value_string(
        json_get(json_path(o, "metadata.annotations"), "volume.beta.kubernetes.io/storage-class"));
    return *beta ? beta : value_string(json_path(o, "spec.storageClassName"));
}

cJSON *cell_pv_class(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text(storage_class(o));
}

cJSON *cell_pv_claim(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *ref = json_path(o, "spec.claimRef");
    (void)now_ns;
    strbuf_init(&b, 0);
    if (ref)
        strbuf_addf(&b, "%s/%s", value_string(json_get(ref, "namespace")),
            value_string(json_get(ref, "name")));
    return cell_buffer(&b);
}

cJSON *cell_volume_attributes_class(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "spec.volumeAttributesClassName"), "<unset>");
}

cJSON *cell_volume_mode(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "spec.volumeMode"), "<unset>");
}

cJSON *cell_pvc_status(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return phase_or_terminating(o);
}

cJSON *cell_pvc_class(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text(storage_class(o));
}

static bool has_volume(const cJSON *o)
{
    return *value_string(json_path(o, "spec.volumeName"));
}

cJSON *cell_pvc_capacity(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(has_volume(o) ? json_string_at(o, "status.capacity.storage") : NULL, "");
}

cJSON *cell_pvc_modes(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return has_volume(o) ? access_modes(o, "status.accessModes") : cell_text("");
}

cJSON *cell_service_cluster_ip(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text_or(json_string_at(o, "spec.clusterIP"), "<none>");
}

static void join(struct strbuf *b, const cJSON *list)
{
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        strbuf_addf(b, "%s%s", b->n ? "," : "", value_string(e));
}

cJSON *cell_service_external_ip(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    const char *type = value_string(json_path(o, "spec.type"));
    strbuf_init(&b, 0);
    if (!strcmp(type, "ExternalName"))
        strbuf_addc(&b, value_string(json_path(o, "spec.externalName")));
    if (!strcmp(type, "LoadBalancer"))
        for (const cJSON *i = first_of(o, "status.loadBalancer.ingress"); i; i = i->next) {
            const char *ip = value_string(json_get(i, "ip"));
            strbuf_addf(
                &b, "%s%s", b.n ? "," : "", *ip ? ip : value_string(json_get(i, "hostname")));
        }
    if (strcmp(type, "ExternalName") != 0)
        join(&b, json_path(o, "spec.externalIPs"));
    if (b.n == 0)
        strbuf_addc(&b, !strcmp(type, "LoadBalancer") ? "<pending>" : "<none>");
    return cell_buffer(&b);
}

cJSON *cell_service_ports(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    for (const cJSON *p = first_of(o, "spec.ports"); p; p = p->next) {
        int64_t node_port = json_int64_at(p, "nodePort", 0);
        strbuf_addf(&b, "%s%lld", b.n ? "," : "", (long long)json_int64_at(p, "port", 0));
        if (node_port)
            strbuf_addf(&b, ":%lld", (long long)node_port);
        strbuf_addf(&b, "/%s", value_string(json_get(p, "protocol")));
    }
    if (b.n == 0)
        strbuf_addc(&b, "<none>");
    return cell_buffer(&b);
}

static void print_address(struct strbuf *b, const char *ip, int64_t port)
{
    const char *left = port && strchr(ip, ':') ? "[" : "", *right = *left ? "]" : "";
    strbuf_addf(b, "%s%s%s%s", b->n ? "," : "", left, ip, right);
    if (port)
        strbuf_addf(b, ":%lld", (long long)port);
}

cJSON *cell_endpoints(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    size_t shown = 0, total = 0;
    (void)now_ns;
    strbuf_init(&b, 0);
    for (const cJSON *s = first_of(o, "subsets"); s; s = s->next) {
        const cJSON *ports = first_of(s, "ports");
        for (const cJSON *a = first_of(s, "addresses"); a; a = a->next) {
            for (const cJSON *p = ports; p || !ports; p = p->next) {
                total++;
                if (shown < ENDPOINTS_SHOWN && ++shown)
                    print_address(
                        &b, value_string(json_get(a, "ip")), p ? json_int64_at(p, "port", 0) : 0);
                if (!p)
                    break;
            }
        }
    }
    if (total == 0)
        strbuf_addc(&b, "<none>");
    else if (total > shown)
        strbuf_addf(&b, " + %zu more...", total - shown);
    return cell_buffer(&b);
}

cJSON *cell_slice_ports(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    size_t shown = 0, total = (size_t)count_of(o, "ports");
    (void)now_ns;
    if (total == 0)
        return cell_text("<unset>");
    strbuf_init(&b, 0);
    for (const cJSON *p = first_of(o, "ports"); p && shown < ENDPOINTS_SHOWN;
         p = p->next, shown++) {
        const cJSON *port = json_get(p, "port");
        strbuf_addc(&b, b.n ? "," : "");
        if (port)
            strbuf_addf(&b, "%lld", (long long)json_int64_at(p, "port", 0));
        else
            strbuf_addc(&b, "*");
    }
    if (total > shown)
        strbuf_addf(&b, " + %zu more...", total - shown);
    return cell_buffer(&b);
}

cJSON *cell_slice_endpoints(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    size_t shown = 0, total = 0;
    (void)now_ns;
    if (!first_of(o, "endpoints"))
        return cell_text("<unset>");
    strbuf_init(&b, 0);
    for (const cJSON *e = first_of(o, "endpoints"); e; e = e->next)
        for (const cJSON *a = first_of(e, "addresses"); a; a = a->next, total++)
            if (shown < ENDPOINTS_SHOWN && ++shown)
                strbuf_addf(&b, "%s%s", b.n ? "," : "", value_string(a));
    if (total > shown)
        strbuf_addf(&b, " + %zu more...", total - shown);
    return cell_buffer(&b);
}

cJSON *cell_ingress_class(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    const char *old =
        value_string(json_get(json_path(o, "metadata.annotations"), "kubernetes.io/ingress.class"));
    const char *name = value_string(json_path(o, "spec.ingressClassName"));
    return cell_text_or(*name ? name : old, "<none>");
}

cJSON *cell_ingress_hosts(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    size_t shown = 0, total = 0;
    (void)now_ns;
    strbuf_init(&b, 0);
    for (const cJSON *r = first_of(o, "spec.rules"); r; r = r->next) {
        const char *host = value_string(json_get(r, "host"));
        if (!*host)
            continue;
        total++;
        if (shown < ENDPOINTS_SHOWN && ++shown)
            strbuf_addf(&b, "%s%s", b.n ? "," : "", host);
    }
    if (total == 0)
        strbuf_addc(&b, "*");
    else if (total > shown)
        strbuf_addf(&b, " + %zu more...", total - shown);
    return cell_buffer(&b);
}

cJSON *cell_ingress_address(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    for (const cJSON *i = first_of(o, "status.loadBalancer.ingress"); i; i = i->next) {
        const char *ip = value_string(json_get(i, "ip"));
        strbuf_addf(&b, "%s%s", b.n ? "," : "", *ip ? ip : value_string(json_get(i, "hostname")));
    }
    return cell_buffer(&b);
}

cJSON *cell_ingress_ports(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text(first_of(o, "spec.tls") ? "80, 443" : "80");
}

cJSON *cell_ingress_class_parameters(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *p = json_path(o, "spec.parameters");
    (void)now_ns;
    if (!p)
        return cell_text("<none>");
    const char *group = value_string(json_get(p, "apiGroup"));
    strbuf_init(&b, 0);
    strbuf_addf(&b, "%s%s%s/%s", value_string(json_get(p, "kind")), *group ? "." : "", group,
        value_string(json_get(p, "name")));
    return cell_buffer(&b);
}

cJSON *cell_cidrs(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    join(&b, json_path(o, "spec.cidrs"));
    return cell_buffer(&b);
}

cJSON *cell_parent_ref(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *p = json_path(o, "spec.parentRef");
    (void)now_ns;
    if (!p)
        return cell_text("<none>");
    const char *group = value_string(json_get(p, "group")),
               *ns = value_string(json_get(p, "namespace"));
    strbuf_init(&b, 0);
    strbuf_addf(&b, "%s%s%s/%s%s%s", value_string(json_get(p, "resource")), *group ? "." : "",
        group, ns, *ns ? "/" : "", value_string(json_get(p, "name")));
    return cell_buffer(&b);
}

/* The condition that tells whether a component works. */
static const cJSON *health_of(const cJSON *o)
{
    for (const cJSON *c = first_of(o, "conditions"); c; c = c->next)
        if (!strcmp(value_string(json_get(c, "type")), "Healthy"))
            return c;
    return NULL;
}

cJSON *cell_component_status(const cJSON *o, int64_t now_ns)
{
    const char *status = value_string(json_get(health_of(o), "status"));
    (void)now_ns;
    return cell_text(!strcmp(status, "True")    ? "Healthy"
                     : !strcmp(status, "False") ? "Unhealthy"
                                                : "Unknown");
}

cJSON *cell_component_message(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text(value_string(json_get(health_of(o), "message")));
}

cJSON *cell_component_error(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text(value_string(json_get(health_of(o), "error")));
}
