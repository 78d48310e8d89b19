/*
 * From a container of the API to the body of Docker's create call: command, environment, resources,
 * security.
 *
 * What Docker cannot do is an error here (CreateContainerConfigError), never silently left out.
 *
 * Upstream: kuberuntime_container.go generateContainerConfig, security_context.go, cri-dockerd's
 * helpers.
 */
#include "kubelet/sync.h"

#include <ctype.h>

#include "common/file.h"
#include "common/time.h"

#define SECCOMP_MAX (1u << 20)

/* A field of the container's security context, else of the pod's. */
static const cJSON *security(const cJSON *spec, const cJSON *container, const char *name)
{
    const cJSON *own = json_get(json_get(container, "securityContext"), name);

    return own ? own : json_get(json_get(spec, "securityContext"), name);
}

static int get_object(
    void *arg, const char *plural, const char *name, const cJSON **ret, struct error *err)
{
    struct sync *s = arg;
    struct shared_tree *tree = NULL;
    int64_t recent = s->now_ns - 30 * NS_PER_S;

    if (s->record->first_seen_ns > recent)
        recent = s->record->first_seen_ns;
    int r = objects_get(s->agent->objects, plural, s->record->namespace_, name, recent, &tree, err);
    if (r == -ERR_NOT_FOUND)
        return error_set(err, ERR_NOT_FOUND, "%s \"%s\" not found",
            c_eq(plural, "secrets") ? "secret" : "configmap", name);
    if (r < 0)
        return r;
    arena_on_free(s->arena, (void (*)(void *))(uintptr_t)shared_tree_unref, tree);
    *ret = tree->tree;
    return 0;
}

static void fill_facts(struct sync *s)
{
    env_lock(s->agent->env, &s->node->lock);
    struct resource_pair node = s->node->allocatable;
    env_unlock(s->agent->env, &s->node->lock);
    s->facts = (struct pod_facts){.pod = s->pod,
        .spec = s->spec,
        .node_name = s->node->name,
        .host_ip = s->node->ip,
        .pod_ip = s->record->pod_ip,
        .pod_ip_other = s->record->pod_ip_other,
        .node = node,
        .get_object = get_object,
        .arg = s};
}

static int build_env(struct sync *s, const cJSON *container, struct env_list *services,
    struct env_list *ret, struct error *err)
{
    if (s->agent->services) {
        if (!informer_synced(s->agent->services))
            return error_set(err, ERR_UNAVAILABLE,
                "services have not yet been read at least once, cannot construct envvars");
        struct projected_array all = informer_list(s->agent->services, NULL);
        env_add_services(services, s->arena, &all, s->record->namespace_,
            json_bool(s->spec, "enableServiceLinks", true));
        projected_array_done(&all);
    }
    return env_build(&s->facts, container, services, s->arena, ret, err);
}

static cJSON *expand_list(struct sync *s, const cJSON *list, const struct env_list *env)
{
    cJSON *out = cJSON_CreateArray();
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (cJSON_IsString(item))
            cJSON_AddItemToArray(
                out, cJSON_CreateString(expand(s->arena, item->valuestring, env, NULL)));
    }
    return out;
}

static void add_command(
    struct sync *s, const cJSON *container, const struct env_list *env, cJSON *body)
{
    const cJSON *command = json_get(container, "command"), *args = json_get(container, "args");

    if (cJSON_GetArraySize(command) > 0)
        json_set(body, "Entrypoint", expand_list(s, command, env));
    if (cJSON_GetArraySize(args) > 0)
        json_set(body, "Cmd", expand_list(s, args, env));
    else if (cJSON_GetArraySize(command) > 0)
        json_set(body, "Cmd", cJSON_CreateArray());
}

static void add_env(const struct env_list *env, cJSON *body)
{
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < env->count; i++) {
        autofree char *pair = str_format("%s=%s", env->items[i].name, env->items[i].value);
        cJSON_AddItemToArray(list, cJSON_CreateString(pair));
    }
    json_set(body, "Env", list);
}

static void put_oom_score(struct sync *s, cJSON *host, int64_t score)
{
    int64_t least = s->agent->runtime->oom_score_min;

    json_set(host, "OomScoreAdj", json_new_int64(score < least ? least : score));
}

static void add_resources(struct sync *s, const cJSON *container, cJSON *host)
{
    struct resource_pair requests = container_requests(container),
                         limits = container_limits(container);
    const char *qos = pod_qos(s->spec);
    int64_t priority = json_int64_at(s->spec, "priority", 0);

    json_set(host, "CpuShares", json_new_int64(cpu_shares(requests.cpu_milli)));
    if (limits.cpu_milli > 0) {
        json_set(host, "CpuPeriod", json_new_int64(100000));
        json_set(host, "CpuQuota", json_new_int64(cpu_quota(limits.cpu_milli)));
    }
    if (limits.memory_bytes > 0) {
        json_set(host, "Memory", json_new_int64(limits.memory_bytes));
        json_set(host, "MemorySwap", json_new_int64(limits.memory_bytes)); /* no swap besides */
    }
    put_oom_score(s, host,
        oom_score_adj(
            qos, priority >= 2000000000, requests.memory_bytes, s->agent->facts.memory_bytes));
}

static int check_non_root(
    const cJSON *spec, const cJSON *container, const struct image_info *image, struct error *err)
{
    int64_t user;
    const char *of_image = image->user ? image->user : "";

    if (!cJSON_IsTrue(security(spec, container, "runAsNonRoot")))
        return 0;
    if (json_int64(security(spec, container, "runAsUser"), &user)) {
        if (user == 0)
            return error_set(err, ERR_BAD_REQUEST, "container's runAsUser breaks non-root policy");
        return 0;
    }
    if (!of_image[0] || (of_image[0] == '0' && (!of_image[1] || of_image[1] == ':')))
        return error_set(
            err, ERR_BAD_REQUEST, "container has runAsNonRoot and image will run as root");
    for (const char *p = of_image; *p && *p != ':'; p++)
        if (!isdigit((unsigned char)*p))
            return error_set(err, ERR_BAD_REQUEST,
                "container has runAsNonRoot and image has non-numeric user (%s), cannot verify "
                "user is non-root",
                of_image);
    return 0;
}

static int add_user(struct arena *arena, const cJSON *spec, const cJSON *container,
    const struct image_info *image, cJSON *body, cJSON *host, struct error *err)
{
    const cJSON *pod_security = json_get(spec, "securityContext"), *item;
    cJSON *groups = cJSON_CreateArray();
    int64_t user = -1, group = -1, extra;

    if (check_non_root(spec, container, image, err) < 0) {
        cJSON_Delete(groups);
        return -err->code;
    }
    bool has_user = json_int64(security(spec, container, "runAsUser"), &user);
    bool has_group = json_int64(security(spec, container, "runAsGroup"), &group);
    autofree char *text = NULL;
    if (has_user && has_group)
        text = str_format("%lld:%lld", (long long)user, (long long)group);
    else if (has_user)
        text = str_format("%lld", (long long)user);
    else if (has_group)
        text = str_format("%.*s:%lld", (int)strcspn(image->user ? image->user : "0", ":"),
            image->user ? image->user : "0", (long long)group);
    if (text)
        json_set_string(body, "User", text);
    cJSON_ArrayForEach(item, json_get(pod_security, "supplementalGroups"))
    {
        if (json_int64(item, &extra))
            cJSON_AddItemToArray(
                groups, cJSON_CreateString(arena_printf(arena, "%lld", (long long)extra)));
    }
    if (json_int64(json_get(pod_security, "fsGroup"), &extra)) {
        autofree char *number = str_format("%lld", (long long)extra);
        cJSON_AddItemToArray(groups, cJSON_CreateString(number));
    }
    if (cJSON_GetArraySize(groups) > 0)
        json_set(host, "GroupAdd", groups);
    else
        cJSON_Delete(groups);
    return 0;
}

static int add_seccomp(
    struct sync *s, const cJSON *container, bool privileged, cJSON *options, struct error *err)
{
    const cJSON *profile = security(s->spec, container, "seccompProfile");
    const char *type = json_string(profile, "type"),
               *name = json_string(profile, "localhostProfile");
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (privileged || !type || c_eq(type, "Unconfined")) {
        cJSON_AddItemToArray(options, cJSON_CreateString("seccomp=unconfined"));
        return 0;
    }
    if (c_eq(type, "RuntimeDefault"))
        return 0; /* Docker's own */
    if (!c_eq(type, "Localhost") || !name || strstr(name, ".."))
        return error_set(err, ERR_BAD_REQUEST, "unknown seccomp profile type \"%s\"", type);
    strbuf_init(&text, 0);
    strbuf_addc(&text, "seccomp=");
    autofree char *path = str_format("%s/seccomp/%s", s->agent->config->root_dir, name);
    if (file_read(path, SECCOMP_MAX, &text, err) < 0)
        return error_wrap(err, "cannot load seccomp profile \"%s\"", name);
    cJSON_AddItemToArray(options, cJSON_CreateString(text.data));
    return 0;
}

static int add_security(struct sync *s, const cJSON *container, cJSON *host, struct error *err)
{
    const cJSON *own = json_get(container, "securityContext"),
                *add = json_path(own, "capabilities.add");
    const cJSON *drop = json_path(own, "capabilities.drop");
    cJSON *options = cJSON_CreateArray();
    bool privileged = json_bool(own, "privileged", false);

    json_set(host, "SecurityOpt", options);
    if (privileged)
        json_set(host, "Privileged", cJSON_CreateTrue());
    if (json_bool(own, "readOnlyRootFilesystem", false))
        json_set(host, "ReadonlyRootfs", cJSON_CreateTrue());
    if (cJSON_IsArray(add))
        json_set(host, "CapAdd", cJSON_Duplicate(add, true));
    if (cJSON_IsArray(drop))
        json_set(host, "CapDrop", cJSON_Duplicate(drop, true));
    if (cJSON_IsFalse(json_get(own, "allowPrivilegeEscalation")))
        cJSON_AddItemToArray(options, cJSON_CreateString("no-new-privileges"));
    if (c_eq(json_string(own, "procMount"), "Unmasked")) {
        json_set(host, "MaskedPaths", cJSON_CreateArray());
        json_set(host, "ReadonlyPaths", cJSON_CreateArray());
    }
    return add_seccomp(s, container, privileged, options, err);
}

/* A debugging container sees the processes of the one it is for. */
static void join_target(struct sync *s, const cJSON *container, cJSON *host)
{
    const char *target = json_string(container, "targetContainerName");
    struct container_info *info =
        target && *target ? newest_instance(&s->containers, target, NULL, NULL) : NULL;

    if (info && info->state == CONTAINER_RUNNING)
        json_set_string(host, "PidMode", arena_printf(s->arena, "container:%s", info->id));
}

static void add_namespaces(struct sync *s, const cJSON *container, cJSON *host)
{
    const char *sandbox = arena_printf(s->arena, "container:%s", s->sandbox->id);

    json_set_string(host, "NetworkMode", sandbox);
    json_set_string(host, "IpcMode", json_bool(s->spec, "hostIPC", false) ? "host" : sandbox);
    if (json_bool(s->spec, "hostPID", false))
        json_set_string(host, "PidMode", "host");
    else if (json_bool(s->spec, "shareProcessNamespace", false))
        json_set_string(host, "PidMode", sandbox);
    join_target(s, container, host);
    if (pod_uses_host_network(s->spec))
        json_set_string(host, "UTSMode", "host");
}

int container_body(struct sync *s, const cJSON *container, const struct image_info *image,
    cJSON **ret, struct error *err)
{
    autojson cJSON *body = json_make("{\"HostConfig\":{}}");
    cJSON *host = json_get(body, "HostConfig");
    struct env_list services = {0}, env = {0};
    const char *directory = json_string(container, "workingDir");
    bool in = json_bool(container, "stdin", false);

    add_namespaces(s, container, host);
    if (s->agent->runtime->pretends) {
        *ret = steal(&body);
        return 0;
    }
    fill_facts(s);
    if (build_env(s, container, &services, &env, err) < 0)
        return -err->code;
    add_command(s, container, &env, body);
    add_env(&env, body);
    if (directory && directory[0])
        json_set_string(body, "WorkingDir", directory);
    json_set(body, "Tty", cJSON_CreateBool(json_bool(container, "tty", false)));
    json_set(body, "OpenStdin", cJSON_CreateBool(in));
    json_set(body, "StdinOnce", cJSON_CreateBool(in && json_bool(container, "stdinOnce", false)));
    add_resources(s, container, host);
    if (add_user(s->arena, s->spec, container, image, body, host, err) < 0 ||
        add_security(s, container, host, err) < 0)
        return -err->code;
    *ret = steal(&body);
    return 0;
}

cJSON *sandbox_body(struct sync *s)
{
    cJSON *body =
        json_make("{\"HostConfig\":{\"CpuShares\":2,\"ReadonlyRootfs\":true,"
                  "\"SecurityOpt\":[\"no-new-privileges\"],\"LogConfig\":{\"Type\":\"none\"}}}");
    cJSON *host = json_get(body, "HostConfig"), *sysctls = cJSON_CreateObject();
    const cJSON *item;

    put_oom_score(s, host, -998);
    if (pod_uses_host_network(s->spec)) {
        json_set_string(host, "NetworkMode", "host");
        json_set_string(host, "UTSMode", "host");
    } else {
        autofree char *hostname = pod_hostname(s->spec, s->record->name);
        json_set_string(host, "NetworkMode", "none");
        json_set_string(body, "Hostname", hostname);
    }
    json_set_string(host, "IpcMode", json_bool(s->spec, "hostIPC", false) ? "host" : "shareable");
    if (json_bool(s->spec, "hostPID", false))
        json_set_string(host, "PidMode", "host");
    cJSON_ArrayForEach(item, json_path(s->spec, "securityContext.sysctls"))
    {
        const char *name = json_string(item, "name"), *value = json_string(item, "value");
        if (name && value)
            json_set_string(sysctls, name, value);
    }
    json_set(host, "Sysctls", sysctls);
    return body;
}
