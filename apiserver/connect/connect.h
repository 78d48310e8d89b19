/*
 * Requests that are passed on: container logs, exec, attach and port-forward to the kubelets, and
 * proxying to pods, services and nodes.
 *
 * The API server decides who may, finds out where, and then moves bytes. What the client speaks
 * after an upgrade (SPDY, WebSocket) is the kubelet's business: both connections become one tunnel.
 *
 * A kubelet's certificate is verified against --kubelet-certificate-authority, and it alone is
 * shown our client certificate. No redirect is followed. Pods, services and nodes whose address is
 * loopback or link-local are not proxied to; addresses are literals, so the one checked is the one
 * connected to.
 *
 * Threads: stages run on the request's loop; each stream has a task of its own.
 * Upstream: registry/core/{pod,service,node}/rest, apimachinery/pkg/util/proxy.
 */
#pragma once

#include "apiserver/request/request.h"

struct nodes;

/* Client certificate and CA come from the server's config; without them kubelets are not reached
 * and requests for them are answered with 501. */
int nodes_new(struct server *server, struct nodes **ret, struct error *err);
/* Cancels the streams and waits for their tasks. */
void nodes_free(struct nodes *nodes);

/* Handlers of the subresources. */
stage_fn connect_log_stage;    /* GET pods/NAME/log */
stage_fn connect_stream_stage; /* pods/NAME/{exec,attach,portforward} */
stage_fn connect_proxy_stage;  /* {pods,services,nodes}/NAME/proxy/PATH */
