/*
 * Proxy: follows Services and EndpointSlices and keeps a ruleset equal to them.
 *
 *     informers --names of Services--> dirty set --> compile --> rule table --changes--> ruleset
 *
 * A change of a Service or of one of its slices marks the Service dirty; the loop compiles the
 * dirty ones, works out what differs and applies it as one transaction. Nothing is applied before
 * the first complete lists of both. After a failure, and when somebody has flushed the table, what
 * is there is loaded and compared.
 *
 * Threads: new, start, free from one task; proxy_synced from any. Owns the ruleset, borrows the
 * client.
 */
#pragma once

#include "common/api_client.h"
#include "common/metrics.h"
#include "proxy/ruleset.h"

struct proxy;

struct proxy *proxy_new(struct api_client *client, struct metrics *metrics,
    struct ruleset *take_ruleset, const char *node);
void proxy_start(struct proxy *p);
void proxy_free(struct proxy *p); /* stops; the rules stay in effect */
/* The first complete set of rules is in effect, and the last attempt to change them succeeded. */
bool proxy_synced(struct proxy *p);
