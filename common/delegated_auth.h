/*
 * Delegated authentication and authorization: the API server decides who may use a daemon's own
 * pages.
 *
 * Who: the client certificate that common/httpd verified (CN and O), else the bearer token by
 * TokenReview. May he: by SubjectAccessReview, on the request's path (or on a resource the caller
 * names: the kubelet's nodes/proxy, nodes/log). Group system:masters may everything without asking.
 * Answers are kept for 10 seconds (64 of each kind, the oldest goes first), under a SHA-256 of what
 * was asked: no token is stored.
 *
 *     static int authorize(void *arg, struct httpd_request *r, struct error *err)
 *     {
 *         struct daemon *d = arg;
 *         return delegated_auth_check(d->auth, r, NULL, err);
 *     }
 *
 * Threads: any; a check may block for the time of two API calls. Borrows the client.
 * Upstream: apiserver/pkg/authentication and authorization, delegating options.
 */
#pragma once

#include "common/api_client.h"
#include "common/httpd.h"

struct delegated_auth;

/* What is asked when it is not the path itself. */
struct delegated_attributes {
    const char *verb;     /* "get", "create"; NULL: from the HTTP method */
    const char *group;    /* NULL or "": core */
    const char *resource; /* "nodes" */
    const char *subresource;
    const char *namespace_;
    const char *name;
};

struct delegated_auth *delegated_auth_new(struct api_client *client);
void delegated_auth_free(struct delegated_auth *auth);

/* 0, -ERR_UNAUTHORIZED (nobody, or a bad token), -ERR_FORBIDDEN with the reason, or the API's
 * failure. attributes NULL: the path as a non-resource URL, the verb from the method. */
int delegated_auth_check(struct delegated_auth *auth, struct httpd_request *request,
    const struct delegated_attributes *attributes, struct error *err);
