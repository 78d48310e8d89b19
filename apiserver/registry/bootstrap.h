/* The objects every cluster has: made when missing and put right at each start of an API server. */
#pragma once

#include "apiserver/server.h"

/* Namespaces, roles and bindings, priority classes, the Service "kubernetes" and its endpoints, the
 * authentication ConfigMap. Safe with several API servers starting at once. Runs on the caller's
 * task, before the server is ready. */
int bootstrap_run(struct server *server, struct error *err);
