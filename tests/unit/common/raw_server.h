/*
 * A TCP server for tests that misbehaves as told: each connection runs a script on a thread of its
 * own.
 */
#pragma once

#include "common/env.h"
#include "common/str.h"

struct raw_server;

/* fd is blocking; index counts connections from 0. Returning closes the connection. */
typedef void raw_script_fn(void *arg, int fd, int index);

struct raw_server *raw_server_new(struct env *env, raw_script_fn *script, void *arg);
void raw_server_free(
    struct raw_server *s); /* shuts the connections down, then waits for the scripts */
int raw_server_port(const struct raw_server *s);
int raw_server_connections(struct raw_server *s); /* accepted so far */

/* Reads one request's head (and a body of its Content-Length); false at the end of the connection.
 */
bool raw_read_request(int fd, struct strbuf *out);
void raw_send(int fd, const char *text);
/* A connected client socket. */
int raw_connect(int port);
/* Reads until the peer closes. */
void raw_read_all(int fd, struct strbuf *out);
