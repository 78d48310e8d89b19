/*
 * The scale of any object, custom ones too: how many pods it wants.
 *
 * A scaler knows the plural of every kind: its own table first, then discovery, read again at most
 * every 10 s. Threads: any. Upstream: client-go's scale client with its REST mapper.
 */
#pragma once

#include "controller/controller.h"

struct scaler;

struct scaler *scaler_new(struct manager *m);
void scaler_free(struct scaler *s);

/* The scale subresource of an object as others name it (apiVersion, kind, name). ERR_NOT_FOUND:
 * there is no such object; ERR_BAD_REQUEST: no such kind, or it has no scale. */
int scaler_read(struct scaler *s, const char *api_version, const char *kind, const char *namespace_,
    const char *name, cJSON **ret, struct error *err);
/* Sets spec.replicas of the version that was read. */
int scaler_write(struct scaler *s, const char *api_version, const char *kind, const cJSON *scale,
    int64_t replicas, struct error *err);
