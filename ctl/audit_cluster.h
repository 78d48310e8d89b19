/*
 * What the checks of `skiffctl audit-cluster` share.
 *
 * A check looks at the live cluster (its files, the command lines its daemons run with, its API)
 * and reports one line: pass, fail with how to mend it, or not here (a node without a control
 * plane, a store without etcd). Numbers are those of the CIS Kubernetes Benchmark 1.11. Threads:
 * one.
 */
#pragma once

#include "ctl/client.h"
#include "ctl/cluster.h"

struct audit {
    struct env *env;
    const struct cluster *cluster;
    struct api_client *api;        /* the admin's */
    struct http_client *anonymous; /* the API server without a credential */
    cJSON *daemons;                /* what runs: [{"name","argv"}] */
    int passed, failed, skipped;
    bool quiet; /* failures only */
};

void audit_pass(struct audit *a, const char *number, const char *title);
void audit_skip(struct audit *a, const char *number, const char *title, const char *why);
/* detail: what was found; mend: what to do. */
void audit_fail(struct audit *a, const char *number, const char *title, const char *mend,
    const char *detail, ...) __attribute__((format(printf, 5, 6)));
/* The value of --flag of a running daemon, "" for a flag without one, NULL when it is not given. */
const char *audit_flag(const struct audit *a, const char *daemon, const char *flag);
bool audit_runs(const struct audit *a, const char *daemon);

void audit_files(struct audit *a);    /* audit_files.c */
void audit_daemons(struct audit *a);  /* audit_daemons.c */
void audit_policies(struct audit *a); /* audit_policies.c */
