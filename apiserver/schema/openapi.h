/*
 * OpenAPI documents from the schemas: what openapi.c, openapi_schema.c, openapi_paths.c and
 * openapi_proto.c share. Private to this folder.
 */
#pragma once

#include "apiserver/schema/model.h"

struct openapi {
    const struct api *api;
    struct strbuf *out;
    int version;  /* 2 or 3 */
    bool *wanted; /* by schema: referred to by what has been written */
    bool changed; /* a schema became wanted */
};

#define DEFINITION_META "io.k8s.apimachinery.pkg.apis.meta.v1"

/* One definition: the JSON object of a type. */
void openapi_write_schema(struct openapi *o, const struct schema *s);
/* Of the list of a kind. */
void openapi_write_list(struct openapi *o, const struct resource *r);
/* {"$ref":"..."} */
void openapi_write_ref(struct openapi *o, const char *definition);
void openapi_want(struct openapi *o, const struct schema *s);

/* The scalar types that the documents name: Time, Quantity, ... */
struct openapi_scalar {
    const char *definition, *json_v2, *json_v3;
};
extern const struct openapi_scalar openapi_scalars[];
extern const size_t openapi_scalar_count;

/* The paths of one resource, each as `"/path":{...}` with a comma in front of all but the first. */
typedef void openapi_path_fn(void *arg, const char *path, struct str json);
void openapi_each_path(struct openapi *o, const struct resource *r, openapi_path_fn *fn, void *arg);

/* gnostic protobuf of parts given as JSON text. */
void openapi_proto_path(struct strbuf *paths, const char *path, struct str json);
void openapi_proto_definition(struct strbuf *definitions, const char *name, struct str json);
void openapi_proto_document(struct str paths, struct str definitions, struct strbuf *out);
