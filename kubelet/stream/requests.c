/*
 * What a request for streams asks for: the pod, the running container, the streams, the ports.
 *
 * Refusals are upstream's, in status and words: kubectl shows them after "unable to upgrade
 * connection: ".
 */
#include "kubelet/stream/stream.h"

#include "kubelet/status.h"

#define ARGUMENTS_MAX 1000
#define PORTS_MAX FORWARD_PORTS_MAX

struct target {
    char *namespace_, *pod, *container; /* container NULL: none in the path */
    char *uid;
};

static void target_done(struct target *t)
{
    free(t->namespace_);
    free(t->pod);
    free(t->container);
    free(t->uid);
}

static void refuse(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", str_of(text));
}

/* /KIND/NAMESPACE/POD[/UID][/CONTAINER] */
static bool read_path(struct httpd_request *r, bool with_container, struct target *ret)
{
    struct str rest = httpd_path(r), parts[6];
    size_t n = 0, least = with_container ? 5 : 4;

    while (n < ARRAY_COUNT(parts) && str_split(&rest, '/', &parts[n]))
        n++;
    if (rest.n > 0 || n < least || n > least + 1)
        return false;
    for (size_t i = 1; i < n; i++)
        if (parts[i].n == 0)
            return false;
    ret->namespace_ = str_dup(parts[2]);
    ret->pod = str_dup(parts[3]);
    if (with_container)
        ret->container = str_dup(parts[n - 1]);
    if (n > least)
        ret->uid = str_dup(parts[4]);
    return true;
}

/* The pod's uid goes into the target. */
static bool find_pod(struct agent *agent, struct target *t)
{
    const struct pod_view *pod = informer_get(agent->pods, t->namespace_, t->pod);

    if (!pod)
        return false;
    bool same = !t->uid || c_eq(t->uid, pod->meta.uid);
    if (same && !t->uid)
        t->uid = xstrdup(pod->meta.uid);
    projected_unref(pod);
    return same;
}

/* The running instance (the sandbox for name NULL), or NULL. Referenced. */
static struct container_info *find_running(struct agent *agent, const char *uid, const char *name)
{
    struct container_list list = {0};
    struct container_info *found = NULL;
    struct error ignored;

    if (runtime_cache_pod(agent->cache, uid, &list, &ignored) < 0)
        return NULL;
    for (size_t i = 0; i < list.count; i++) {
        struct container_info *c = list.items[i];
        bool wanted =
            name ? !container_is_sandbox(c) && c_eq(c->container, name) : container_is_sandbox(c);
        if (wanted && c->state == CONTAINER_RUNNING && (!found || c->attempt > found->attempt))
            found = c;
    }
    if (found)
        container_info_ref(found);
    container_list_done(&list);
    return found;
}

static bool query_flag(struct httpd_request *r, const char *name)
{
    struct str value;

    return httpd_query(r, name, &value) && (str_eqc(value, "1") || str_eqc(value, "true"));
}

static bool read_streams(struct httpd_request *r, struct stream_options *o)
{
    o->in = query_flag(r, "input");
    o->out = query_flag(r, "output");
    o->error = query_flag(r, "error");
    o->tty = query_flag(r, "tty");
    return o->in || o->out || o->error;
}

/* Answers with a refusal and returns NULL, or the container. */
static struct container_info *find_container(
    struct agent *agent, struct httpd_request *r, struct target *t, struct stream_options *o)
{
    if (!read_path(r, true, t)) {
        refuse(r, 404, "404 page not found");
        return NULL;
    }
    if (!read_streams(r, o)) {
        refuse(r, 400, "you must specify at least 1 of stdin, stdout, stderr");
        return NULL;
    }
    if (!find_pod(agent, t)) {
        refuse(r, 404, "pod does not exist");
        return NULL;
    }
    struct container_info *found = find_running(agent, t->uid, t->container);
    if (!found) {
        autofree char *text = str_format("container not found (\"%s\")", t->container);
        refuse(r, 500, text);
    }
    return found;
}

/* The runtime's refusal before anything is promised to the client. */
static bool can_stream(struct agent *agent, struct httpd_request *r)
{
    if (!agent->runtime->pretends)
        return true;
    refuse(r, 501, "the containers of a hollow node are pretended: nothing runs in them");
    return false;
}

/* NULL ended, with heap that is only as large as it must be: a session holds it. */
static const char **read_command(struct httpd_request *r, size_t *ret_count)
{
    struct str *values = xcalloc(ARGUMENTS_MAX, sizeof(*values));
    size_t n = httpd_query_all(r, "command", values, ARGUMENTS_MAX);
    const char **argv = xcalloc(n + 1, sizeof(*argv));

    for (size_t i = 0; i < n; i++)
        argv[i] = values[i].p; /* decoded values end in NUL */
    free(values);
    *ret_count = n;
    return argv;
}

void stream_exec(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;
    struct stream_options options = {0};
    struct target target = {0};
    size_t n = 0;

    if (!can_stream(agent, r))
        return;
    autofree const char **argv = read_command(r, &n);
    options.argv = argv;
    struct container_info *container = find_container(agent, r, &target, &options);
    if (container && n == 0)
        refuse(r, 400, "you must specify a command");
    else if (container)
        command_serve(agent, r, container->id, &options);
    container_info_unref(container);
    target_done(&target);
}

void stream_attach(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;
    struct stream_options options = {0};
    struct target target = {0};

    if (!can_stream(agent, r))
        return;
    struct container_info *container = find_container(agent, r, &target, &options);
    if (container) {
        options.tty = container->tty; /* Docker sends what the container has */
        command_serve(agent, r, container->id, &options);
    }
    container_info_unref(container);
    target_done(&target);
}

/* ?port=80&port=443, or ports=80,443. false: one is no port. */
static bool read_ports(struct httpd_request *r, uint16_t *ports, size_t *ret_count)
{
    static const char *const names[] = {"port", "ports"};
    struct str values[PORTS_MAX], one;
    size_t count = 0;
    struct error ignored;

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        size_t n = httpd_query_all(r, names[i], values, PORTS_MAX);
        for (size_t j = 0; j < n; j++)
            while (str_split(&values[j], ',', &one)) {
                int64_t port;
                if (str_parse_int64(one, &port, &ignored) < 0 || port < 1 || port > UINT16_MAX ||
                    count == PORTS_MAX)
                    return false;
                ports[count++] = (uint16_t)port;
            }
    }
    *ret_count = count;
    return true;
}

void stream_port_forward(void *arg, struct httpd_request *r)
{
    struct agent *agent = arg;
    struct target target = {0};
    uint16_t ports[PORTS_MAX];
    size_t port_count = 0;
    bool is_websocket =
        str_eq_nocase(http1_header(httpd_head(r), "Upgrade"), STR("websocket")) &&
        !str_starts(http1_header(httpd_head(r), "Sec-WebSocket-Protocol"), STR("SPDY/"));

    if (!can_stream(agent, r))
        return;
    if (!read_path(r, false, &target)) {
        refuse(r, 404, "404 page not found");
    } else if (!read_ports(r, ports, &port_count) || (is_websocket && port_count == 0)) {
        refuse(r, 400,
            is_websocket && port_count == 0 ? "query parameter \"port\" is required"
                                            : "unable to parse the ports asked for");
    } else if (!find_pod(agent, &target)) {
        refuse(r, 404, "pod does not exist");
    } else {
        struct container_info *sandbox = find_running(agent, target.uid, NULL);
        if (!sandbox)
            refuse(r, 500, "the pod's sandbox is not running");
        else
            forward_serve(agent, r,
                &(struct forward_target){.sandbox_id = sandbox->id,
                    .uid = target.uid,
                    .pid = sandbox->pid,
                    .ports = ports,
                    .port_count = port_count});
        container_info_unref(sandbox);
    }
    target_done(&target);
}
