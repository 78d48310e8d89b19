/*
 * What Endpoints and EndpointSlices have in common: which pods stand behind a Service, and at which
 * ports.
 */
#pragma once

#include "controller/controller.h"

#define HEADLESS_LABEL "service.kubernetes.io/headless"

/* Adds the keys of the Services whose selector matches the pod, before or after the change, when
 * the change matters to endpoints. An event function. */
controller_event_fn endpoint_on_pod;

bool service_is_headless(const struct service *service);
bool service_selects(const struct service *service, const struct pod *pod);
/* Has a selector and is not an ExternalName. */
bool service_has_endpoints(const struct service *service);
/* The pods a Service selects. */
struct projected_array service_pods(struct manager *m, const struct service *service);

/* The address of a family ("IPv4", "IPv6"), or NULL. */
const char *pod_address(const struct pod *pod, const char *family);
/* The number a target port has in this pod; 0 when a named one is not declared. */
int64_t pod_port(const struct pod *pod, const struct service_port *port);
/* [{name, port, protocol, appProtocol}]: the Service's ports as this pod has them. With slice,
 * names are always written, also empty ones. */
cJSON *pod_ports_json(const struct pod *pod, const struct service *service, bool slice);
/* {kind, namespace, name, uid} */
cJSON *pod_target_ref(const struct pod *pod);
bool pod_wants_hostname(const struct pod *pod, const struct service *service);
