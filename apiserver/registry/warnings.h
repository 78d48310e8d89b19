/*
 * Warning headers: what is served and stored, but probably not what its writer means.
 */
#pragma once

#include "apiserver/registry/registry.h"

/* Of kinds that are going away; any verb. */
void warn_of_kind(struct request *q);
/* Of what an object's pods say; once a request. */
void warn_of_object(const struct write_context *w);
