/* The manager's own pages: /livez, /readyz, /healthz, /version, /metrics. Borrows the client. */
#pragma once

#include "common/api_client.h"

struct serving;
struct manager;

struct serving_config {
    const char *address;
    int64_t port; /* 0: no pages */
    const char *cert_file, *key_file, *client_ca_file;
    const char *cert_dir; /* NULL: a private temporary folder */
    struct manager *ready;
};

int serving_new(struct api_client *client, const struct serving_config *config, struct serving **ret,
    struct error *err);
void serving_free(struct serving *s); /* NULL is fine */
