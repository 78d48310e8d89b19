/*
 * The simulated network: HTTP clients of components, and the one API server they reach.
 *
 * A message or stream is a task in the server's process that drives the pipeline, as a connection
 * would. When the server dies, or is not there, clients get ERR_CLOSED; when a client dies its
 * requests are cancelled. A reply takes 0.1 to 2 ms.
 */
#pragma once

#include "common/http_client.h"
#include "tests/sim/sim.h"

struct server;

/* What happens to one client, by its common name. The counts go down to 0. */
struct faults {
    const char *victim;
    uint64_t per_mille;           /* how likely a delay or a loss is each time */
    int delays_left, losses_left; /* watch events that come late; that are lost */
    void (*on_write)(void *arg);  /* before each write, and before its answer is heard; or NULL */
    void *arg;
};

struct network {
    struct sim *sim;
    struct server *server; /* NULL: nobody listens */
    struct sim_process *server_process;
    struct faults faults;
};

/* identity: the client certificate's CN and O (NULL: none). */
struct http_client *network_client(
    struct network *net, struct env *env, const char *common_name, const char *organization);
