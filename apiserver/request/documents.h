/*
 * Non-resource paths: discovery, OpenAPI, version, health, metrics, OpenID.
 *
 * Documents that depend on nothing but the API are made once, on first use, kept with their ETag
 * and compressed form. OpenAPI takes longer than a turn of the loop, so a task of its own makes it
 * while the request waits.
 */
#pragma once

#include "apiserver/request/request.h"

struct documents;

struct documents *documents_new(struct server *server);
void documents_free(struct documents *d); /* waits for a document in the making */
stage_fn documents_stage;
