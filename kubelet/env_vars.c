/*
 * A container's environment: service variables, envFrom, env, field references, $(NAME) expansion.
 * Pure.
 *
 * Order as upstream's: envFrom sources in turn, then env in turn (each may refer to those before it
 * and to service variables), then the service variables that nothing has set.
 *
 * Upstream: kubelet_pods.go makeEnvironmentVariables, third_party/forked/golang/expansion,
 * pkg/kubelet/envvars.
 */
#include "kubelet/pod.h"

#include <ctype.h>

#include "common/base64.h"
#include "common/informer.h"

void env_list_set(struct env_list *list, struct arena *arena, const char *name, const char *value)
{
    for (size_t i = 0; i < list->count; i++) {
        if (c_eq(list->items[i].name, name)) {
            list->items[i].value = value;
            return;
        }
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 32;
        struct env_var *items = arena_new_array(arena, struct env_var, capacity);
        if (list->count)
            memcpy(items, list->items, list->count * sizeof(*items));
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = (struct env_var){name, value};
}

const char *env_list_get(const struct env_list *list, const char *name)
{
    for (size_t i = 0; list && i < list->count; i++)
        if (c_eq(list->items[i].name, name))
            return list->items[i].value;
    return NULL;
}

char *expand(struct arena *arena, const char *text, const struct env_list *first,
    const struct env_list *second)
{
    struct strbuf out;
    size_t n = strlen(text);

    strbuf_init(&out, 0);
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '$' || i + 1 == n) {
            strbuf_add_char(&out, text[i]);
            continue;
        }
        i++;
        const char *end = text[i] == '(' ? strchr(text + i, ')') : NULL;
        if (end) {
            autofree char *name = str_dup(str_range(text + i + 1, (size_t)(end - text) - i - 1));
            const char *value = env_list_get(first, name);
            if (!value)
                value = env_list_get(second, name);
            if (value)
                strbuf_addc(&out, value);
            else
                strbuf_addf(&out, "$(%s)", name);
            i = (size_t)(end - text);
        } else if (text[i] == '$') {
            strbuf_add_char(&out, '$');
        } else {
            strbuf_add_char(&out, '$');
            strbuf_add_char(&out, text[i]);
        }
    }
    char *result = arena_strdup(arena, strbuf_str(&out));
    strbuf_done(&out);
    return result;
}

/* "my-svc" -> "MY_SVC" */
static char *variable_name(struct arena *arena, const char *name)
{
    char *upper = arena_strdup(arena, str_of(name));

    for (char *p = upper; *p; p++)
        *p = *p == '-' || *p == '.' ? '_' : (char)toupper((unsigned char)*p);
    return upper;
}

static void add_link(struct env_list *list, struct arena *arena, const struct service_view *service,
    const char *prefix, const struct service_port_view *port, bool is_first)
{
    const char *protocol = port->protocol[0] ? port->protocol : "TCP";
    char *lower = arena_strdup(arena, str_of(protocol));
    const char *format = strchr(service->cluster_ip, ':') ? "%s://[%s]:%lld" : "%s://%s:%lld";

    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    char *base = arena_printf(arena, "%s_PORT_%lld_%s", prefix, (long long)port->port, protocol);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    char *url = arena_printf(arena, format, lower, service->cluster_ip, (long long)port->port);
#pragma GCC diagnostic pop
    if (is_first)
        env_list_set(list, arena, arena_printf(arena, "%s_PORT", prefix), url);
    env_list_set(list, arena, base, url);
    env_list_set(list, arena, arena_printf(arena, "%s_PROTO", base), lower);
    env_list_set(list, arena, arena_printf(arena, "%s_PORT", base),
        arena_printf(arena, "%lld", (long long)port->port));
    env_list_set(list, arena, arena_printf(arena, "%s_ADDR", base),
        arena_strdup(arena, str_of(service->cluster_ip)));
}

static void add_service(
    struct env_list *list, struct arena *arena, const struct service_view *service)
{
    const struct service_port_view *ports = service->ports.items;
    const char *prefix = variable_name(arena, service->meta.name);

    if (service->ports.count == 0)
        return;
    env_list_set(list, arena, arena_printf(arena, "%s_SERVICE_HOST", prefix),
        arena_strdup(arena, str_of(service->cluster_ip)));
    env_list_set(list, arena, arena_printf(arena, "%s_SERVICE_PORT", prefix),
        arena_printf(arena, "%lld", (long long)ports[0].port));
    for (size_t i = 0; i < service->ports.count; i++)
        if (ports[i].name[0])
            env_list_set(list, arena,
                arena_printf(
                    arena, "%s_SERVICE_PORT_%s", prefix, variable_name(arena, ports[i].name)),
                arena_printf(arena, "%lld", (long long)ports[i].port));
    for (size_t i = 0; i < service->ports.count; i++)
        add_link(list, arena, service, prefix, &ports[i], i == 0);
}

void env_add_services(struct env_list *list, struct arena *arena,
    const struct projected_array *services, const char *namespace_, bool links)
{
    for (size_t i = 0; i < services->count; i++) {
        const struct service_view *service = services->objects[i];
        const struct object_meta *meta = &service->meta;
        bool master = c_eq(meta->namespace_, "default") && c_eq(meta->name, "kubernetes");

        if (!service->cluster_ip[0] || c_eq(service->cluster_ip, "None"))
            continue;
        if (master || (links && c_eq(meta->namespace_, namespace_)))
            add_service(list, arena, service);
    }
}

/* metadata.labels['key'] and the like: the key, or an empty view. */
static struct str subscript(const char *path, const char *prefix)
{
    size_t n = strlen(prefix), length = strlen(path);

    if (strncmp(path, prefix, n) || length < n + 4 || path[n] != '[' || path[n + 1] != '\'' ||
        path[length - 1] != ']' || path[length - 2] != '\'')
        return (struct str){0};
    return str_range(path + n + 2, length - n - 4);
}

/* key="value" lines with Go's quoting, without a final newline. */
static char *print_map(const struct string_map *map)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    for (size_t i = 0; i < map->count; i++) {
        if (i)
            strbuf_add_char(&out, '\n');
        strbuf_addf(&out, "%s=", map->pairs[i].key);
        json_print_string(str_of(map->pairs[i].value), &out);
    }
    return strbuf_steal(&out);
}

static char *ip_pair(const char *one, const char *other)
{
    return other && other[0] ? str_format("%s,%s", one, other) : xstrdup(one ? one : "");
}

int pod_field(const struct pod_facts *facts, const char *path, char **ret, struct error *err)
{
    const struct object_meta *meta = &facts->pod->meta;
    const char *account = json_string(facts->spec, "serviceAccountName");
    struct str label = subscript(path, "metadata.labels");
    struct str annotation = subscript(path, "metadata.annotations");
    const struct {
        const char *path, *value;
    } simple[] = {
        {"metadata.name", meta->name},
        {"metadata.namespace", meta->namespace_},
        {"metadata.uid", meta->uid},
        {"spec.nodeName", facts->node_name},
        {"spec.serviceAccountName", account ? account : ""},
        {"status.hostIP", facts->host_ip},
        {"status.hostIPs", facts->host_ip},
        {"status.podIP", facts->pod_ip},
    };

    for (size_t i = 0; i < ARRAY_COUNT(simple); i++) {
        if (c_eq(path, simple[i].path)) {
            *ret = xstrdup(simple[i].value ? simple[i].value : "");
            return 0;
        }
    }
    if (c_eq(path, "status.podIPs")) {
        *ret = ip_pair(facts->pod_ip, facts->pod_ip_other);
    } else if (label.p || annotation.p) {
        autofree char *key = str_dup(label.p ? label : annotation);
        const char *value = string_map_get(label.p ? &meta->labels : &meta->annotations, key);
        *ret = xstrdup(value ? value : "");
    } else if (c_eq(path, "metadata.labels")) {
        *ret = print_map(&meta->labels);
    } else if (c_eq(path, "metadata.annotations")) {
        *ret = print_map(&meta->annotations);
    } else {
        return error_set(err, ERR_BAD_REQUEST, "unsupported fieldPath: %s", path);
    }
    return 0;
}

/* A key of a ConfigMap (data) or a Secret (base64). NULL in *ret when the key is absent. */
static int object_key(const cJSON *object, const char *plural, const char *key, struct arena *arena,
    const char **ret, struct error *err)
{
    const char *text = json_string(json_get(object, "data"), key);
    autostrbuf struct strbuf plain = STRBUF_EMPTY;

    *ret = NULL;
    if (!text)
        return 0;
    if (c_eq(plural, "configmaps")) {
        *ret = arena_strdup(arena, str_of(text));
        return 0;
    }
    strbuf_init(&plain, 0);
    if (base64_decode(str_of(text), &plain, err) < 0)
        return -err->code;
    *ret = arena_strdup(arena, strbuf_str(&plain));
    return 0;
}

/* 0 with *ret NULL: optional and absent. */
static int get_optional(const struct pod_facts *facts, const char *plural, const cJSON *ref,
    const cJSON **ret, struct error *err)
{
    const char *name = json_string(ref, "name");
    int r = facts->get_object(facts->arg, plural, name ? name : "", ret, err);

    if (r == -ERR_NOT_FOUND && json_bool(ref, "optional", false)) {
        *ret = NULL;
        return 0;
    }
    return r;
}

static int add_from(const struct pod_facts *facts, const cJSON *source, struct arena *arena,
    struct env_list *list, struct error *err)
{
    const cJSON *config = json_get(source, "configMapRef"),
                *ref = config ? config : json_get(source, "secretRef");
    const char *plural = config ? "configmaps" : "secrets", *prefix = json_string(source, "prefix");
    const cJSON *object = NULL, *item;

    if (!ref)
        return 0;
    if (get_optional(facts, plural, ref, &object, err) < 0)
        return -err->code;
    cJSON_ArrayForEach(item, json_get(object, "data"))
    {
        const char *value;
        if (object_key(object, plural, item->string, arena, &value, err) < 0)
            return -err->code;
        char *name = arena_printf(arena, "%s%s", prefix ? prefix : "", item->string);
        if (value && name[0] && !strchr(name, '='))
            env_list_set(list, arena, name, value);
    }
    return 0;
}

static int key_value(const struct pod_facts *facts, const char *plural, const cJSON *ref,
    struct arena *arena, const char **ret, struct error *err)
{
    const cJSON *object = NULL;
    const char *key = json_string(ref, "key"), *name = json_string(ref, "name");

    *ret = NULL;
    if (get_optional(facts, plural, ref, &object, err) < 0)
        return -err->code;
    if (!object)
        return 0;
    if (object_key(object, plural, key ? key : "", arena, ret, err) < 0)
        return -err->code;
    if (!*ret && !json_bool(ref, "optional", false))
        return error_set(err, ERR_NOT_FOUND, "couldn't find key %s in %s %s/%s", key ? key : "",
            c_eq(plural, "secrets") ? "Secret" : "ConfigMap", facts->pod->meta.namespace_,
            name ? name : "");
    return 0;
}

/* The value of `valueFrom`; *ret NULL: the variable is left out. */
static int value_from(const struct pod_facts *facts, const cJSON *container, const cJSON *from,
    struct arena *arena, const char **ret, struct error *err)
{
    const cJSON *field = json_get(from, "fieldRef"), *resource = json_get(from, "resourceFieldRef");
    const cJSON *config = json_get(from, "configMapKeyRef"),
                *secret = json_get(from, "secretKeyRef");
    autofree char *text = NULL;

    *ret = NULL;
    if (config || secret)
        return key_value(
            facts, config ? "configmaps" : "secrets", config ? config : secret, arena, ret, err);
    if (field) {
        const char *path = json_string(field, "fieldPath");
        if (pod_field(facts, path ? path : "", &text, err) < 0)
            return -err->code;
    } else if (resource) {
        const char *other = json_string(resource, "containerName"),
                   *what = json_string(resource, "resource");
        const cJSON *subject =
            other && other[0] ? pod_container(facts->spec, other, NULL) : container;
        if (resource_field(subject, what ? what : "", json_string(resource, "divisor"), facts->node,
                &text, err) < 0)
            return -err->code;
    }
    if (text)
        *ret = arena_strdup(arena, str_of(text));
    return 0;
}

int env_build(const struct pod_facts *facts, const cJSON *container,
    const struct env_list *services, struct arena *arena, struct env_list *ret, struct error *err)
{
    struct env_list list = {0};
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(container, "envFrom"))
    {
        if (add_from(facts, item, arena, &list, err) < 0)
            return -err->code;
    }
    cJSON_ArrayForEach(item, json_get(container, "env"))
    {
        const char *name = json_string(item, "name"), *value = json_string(item, "value");
        const cJSON *from = json_get(item, "valueFrom");

        if (from) {
            if (value_from(facts, container, from, arena, &value, err) < 0)
                return -err->code;
            if (!value)
                continue;
        } else {
            value = expand(arena, value ? value : "", &list, services);
        }
        env_list_set(&list, arena, arena_strdup(arena, str_of(name)), value);
    }
    for (size_t i = 0; i < services->count; i++)
        if (!env_list_get(&list, services->items[i].name))
            env_list_set(&list, arena, services->items[i].name, services->items[i].value);
    *ret = list;
    return 0;
}
