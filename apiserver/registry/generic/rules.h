/*
 * Where kinds differ in the generic flow of reads and writes, as flags in one table.
 */
#pragma once

#include "apiserver/schema/schema.h"

struct kind_rules {
    const char *group, *plural;
    bool create_on_update; /* PUT of a missing object creates it */
    bool version_required; /* PUT without resourceVersion is refused */
    bool status_on_create; /* a create keeps the status it brings */
    bool returns_deleted;  /* DELETE answers with the object instead of a Status */
    bool spec_finalizers; /* spec.finalizers hold a deletion back, status.phase shows it (Namespace)
                           */
    bool holder_lease; /* a renewal by the same holder may be acknowledged before it is durable */
};

const struct kind_rules *rules_of(const struct resource *r); /* never NULL */

/* Kinds with a scale subresource: where its numbers are. */
struct scale_rules {
    const char *group, *plural;
    bool map_selector; /* spec.selector is a plain map, not a LabelSelector */
};
const struct scale_rules *scale_rules_of(const struct resource *r); /* NULL: none */
