/*
 * All controllers, in the order they start. One more: write its file, and add its line twice here.
 */
#include "controller/controller.h"

extern const struct controller_info controller_serviceaccount;
extern const struct controller_info controller_root_ca;
extern const struct controller_info controller_replicaset;
extern const struct controller_info controller_deployment;
extern const struct controller_info controller_endpointslice;
extern const struct controller_info controller_endpoints;

const struct controller_info *const controllers[] = {
    &controller_serviceaccount,
    &controller_root_ca,
    &controller_replicaset,
    &controller_deployment,
    &controller_endpointslice,
    &controller_endpoints,
};
const size_t controller_count = ARRAY_COUNT(controllers);
