/*
 * What the kubelet's server streams: commands in containers, their own process, ports of pods.
 *
 *     /exec/NAMESPACE/POD/CONTAINER?command=..&input=1&output=1&error=1&tty=1
 *     /attach/NAMESPACE/POD/CONTAINER?...
 *     /portForward/NAMESPACE/POD[?port=N...]
 *
 * A handler runs on its connection's task to the end of the session: requests.c finds the pod and
 * the container, channels.h speaks SPDY or WebSocket with the client, command.c and forward.c are
 * the two loops. Nothing outlives the handler.
 *
 * Upstream: pkg/kubelet/server/server.go, cri-streaming (remotecommand, portforward).
 */
#pragma once

#include "kubelet/agent.h"
#include "kubelet/stream/channels.h"

/* routes; arg: the agent */
httpd_handler_fn stream_exec, stream_attach, stream_port_forward;

/* command.c: runs until the command ends or the client leaves. */
void command_serve(struct agent *agent, struct httpd_request *r, const char *container_id,
    const struct stream_options *options);

/* forward.c: until the client leaves. pid: of the sandbox, whose network namespace is entered. */
#define FORWARD_PORTS_MAX 100
struct forward_target {
    const char *sandbox_id, *uid;
    int64_t pid;
    const uint16_t *ports; /* asked for in the query; WebSocket only */
    size_t port_count;
};
void forward_serve(
    struct agent *agent, struct httpd_request *r, const struct forward_target *target);
