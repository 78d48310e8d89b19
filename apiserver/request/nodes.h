/*
 * Connections to the kubelets: container logs now; exec, attach, port-forward and proxy will go the
 * same way.
 *
 * The node's InternalIP and kubelet port are read from its status; the kubelet's certificate is
 * verified against
 * --kubelet-certificate-authority, and the API server shows its client certificate. No redirect is
 * followed.
 */
#pragma once

#include "apiserver/request/request.h"

struct nodes;

/* client certificate and CA come from the server's config; without them logs are answered with 501.
 */
int nodes_new(struct server *server, struct nodes **ret, struct error *err);
/* Cancels the streams and waits for their tasks. */
void nodes_free(struct nodes *nodes);

/* GET pods/NAME/log */
stage_fn pod_log_stage;
