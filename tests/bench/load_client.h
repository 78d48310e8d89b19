/*
 * A client for load: many requests at once from one thread, over HTTP/2 or HTTP/1.1 with TLS.
 *
 * A connection carries calls: any number at once over HTTP/2, one over HTTP/1.1. A call is the
 * caller's memory from load_send() until its done(), which may send it again. The client trusts
 * the server's framing: it measures servers, it does not judge them.
 *
 * Threads: one.
 */
#pragma once

#include "common/kubeconfig.h"

struct load_client;
struct load_connection;

struct load_call {
    const char *method;
    const char *path; /* read while the call is sent, as are body and type */
    const char *content_type;
    struct str body;
    void (*data)(struct load_call *call, struct str bytes); /* of the answer; may be NULL */
    void (*done)(struct load_call *call); /* status and bytes are set; status 0: it broke off */
    int status;
    size_t bytes; /* of the answer's body */
    int64_t sent_ns;
    /* private */
    size_t body_sent;
    struct load_connection *connection;
};

int load_client_new(
    const struct kubeconfig *k, bool http1, struct load_client **ret, struct error *err);
void load_client_free(struct load_client *c);
int load_connect(struct load_client *c, struct load_connection **ret, struct error *err);
void load_send(struct load_connection *c, struct load_call *call);
/* Moves bytes until *finished; exits with a message when nothing comes for a minute. */
void load_run(struct load_client *c, const bool *finished);
/* The same for a time. */
void load_run_for(struct load_client *c, int64_t ns);
int64_t load_now_ns(void);
_Noreturn void load_fail(const char *text);
