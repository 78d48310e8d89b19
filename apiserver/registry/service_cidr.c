/*
 * ServiceCIDRs: ranges that Services get addresses from besides the flag's (service_addresses.c).
 * A range is in use as soon as it is stored, so it is Ready from the start.
 *
 * Upstream: registry/networking/servicecidr/strategy.go; there a controller finds them ready, and
 * keeps a removed one while addresses of its range are held.
 */
#include "apiserver/registry/registry.h"

#include "common/time.h"

static void service_cidr_prepare(struct write_context *w)
{
    char now[TIME_TEXT_BYTES];

    if (w->kind == WRITE_CREATE)
        json_set(w->tree, "status",
            json_make("{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\","
                      "\"lastTransitionTime\":\"%s\",\"reason\":\"\","
                      "\"message\":\"Kubernetes Service CIDR is ready\"}]}",
                time_print_s(w->now_ns, now)));
}

const struct strategy strategy_service_cidr = {
    .group = "networking.k8s.io",
    .plural = "servicecidrs",
    .prepare = service_cidr_prepare,
};
