/*
 * What the commands that work on objects share: their common flags, the client, the resource map.
 */
#pragma once

#include "ctl/command.h"
#include "ctl/resources.h"

struct common_flags {
    const char *kubeconfig, *context, *namespace_;
};

#define COMMON_FLAGS(type, member)                                                   \
    {"namespace,n", FLAG_STRING, offsetof(type, member.namespace_), NULL, "NAME",    \
        "namespace (default: the context's)"},                                       \
        {"kubeconfig", FLAG_STRING, offsetof(type, member.kubeconfig), NULL, "FILE", \
            "how to reach the cluster"},                                             \
    {                                                                                \
        "context", FLAG_STRING, offsetof(type, member.context), NULL, "NAME",        \
            "context of the kubeconfig"                                              \
    }

struct session {
    struct ctl_client client;
    struct resource_map map;
    const char *namespace_; /* the flag's or the context's */
    bool namespace_given;   /* by the flag */
};

int session_open(const struct common_flags *f, struct session *ret, struct error *err);
void session_close(struct session *s);
/* Prints the error as "skiffctl: ..." and returns the exit code for it (2 for wrong usage, else 1).
 */
int session_fail(const struct error *err);
/* The namespace for an object: its own, else the session's. */
const char *session_namespace(const struct session *s, const cJSON *object);
/* The same for a manifest; ERR_BAD_REQUEST when its own isn't the one of --namespace. */
int session_manifest_namespace(
    const struct session *s, const cJSON *manifest, const char **ret, struct error *err);
