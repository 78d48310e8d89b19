/*
 * The schema engine: what every kind looks like, as data, and everything generic that follows from
 * it.
 *
 * `struct api` is the set of all served resources, read at start from the embedded .api files. A
 * `struct resource` is one plural of one group/version with its verbs and columns; its `struct
 * schema` is the root node of its type. Custom kinds end in the same structures. Everything here
 * reads them and nothing else; rules that data can't express are a `struct strategy`
 * (apiserver/registry/registry.h).
 *
 * Trees are cJSON. The life of a body: json_parse -> schema_decode (types, unknown and duplicate
 * fields) -> schema_default -> strategy -> schema_validate -> schema_normalise -> object_new.
 * Patches work on trees.
 *
 * The built-in api lives as long as the server. With custom kinds a new, bigger api is published
 * whole (api_extend); it is counted, and so is each `struct custom`: one CustomResourceDefinition
 * at one generation, with the resources made from it. An api holds its customs, an object the
 * custom of its resource, a request the api it was routed with: so a resource is there as long as
 * anybody can reach it.
 *
 * Threads: an api and its schemas are immutable; counts are atomic. Upstream: apimachinery's
 * scheme, defaulting, structured-merge-diff, and the generated openapi.
 */
#pragma once

#include "common/arena.h"
#include "common/json.h"

struct api;
struct cell;
struct check;
struct custom;
struct schema;
struct strategy;

enum verb {
    VERB_GET = 1 << 0,
    VERB_LIST = 1 << 1,
    VERB_WATCH = 1 << 2,
    VERB_CREATE = 1 << 3,
    VERB_UPDATE = 1 << 4,
    VERB_PATCH = 1 << 5,
    VERB_DELETE = 1 << 6,
    VERB_DELETECOLLECTION = 1 << 7,
};

struct subresource {
    const char *name; /* "status", "scale", "binding", "log" */
    unsigned verbs;
    const char *kind;            /* of the body: "Deployment", "Scale", "Binding", "TokenRequest" */
    const char *group_version;   /* of that kind: "autoscaling/v1" */
    bool connect;                /* log, exec, proxy: handed to the node, not to the store */
    const struct schema *schema; /* of the body */
};

struct column {
    const char *name, *type, *format, *help; /* as in Table.columnDefinitions */
    int priority;
    const char
        *path; /* dotted JSON path of plain cells; NULL: computed by the engine's column function */
    const struct cell *cell; /* that function */
    bool is_json_path;       /* path is a JSONPath with all it may have (custom kinds) */
};

struct resource {
    const char *group, *version, *group_version; /* "", "v1", "v1"; "apps", "v1", "apps/v1" */
    const char *plural, *singular, *kind, *list_kind;
    bool namespaced;
    unsigned verbs;
    const char *const *short_names; /* NULL ended, or NULL */
    const char *const *categories;
    const struct schema *schema;
    const struct subresource *subresources;
    size_t subresource_count;
    const struct column *columns;
    size_t column_count;
    const char *const
        *selectable; /* field selector names besides metadata.name and .namespace; NULL ended */
    const char *const
        *selectable_paths; /* where the value of each stands ("source" is at source.component) */
    const char *const
        *carried;        /* of a custom storage version: fields in the header of its objects */
    bool has_status;     /* status is a subresource: main writes drop it */
    bool has_generation; /* metadata.generation counts spec changes */
    bool internal;       /* kept, but not served: no route, no discovery, no documents */
    bool stored;         /* false: TokenReview and friends, answered but never kept */
    int id;              /* index of the stored kind: dense, the same for all versions of a kind */
    const struct resource *storage;  /* the version it is stored as (itself, mostly) */
    const struct strategy *strategy; /* NULL: nothing that data can't say */
    const char
        *name_format; /* of metadata.name: "dns-subdomain", "dns-label", "path-segment", ... */
    const char *storage_group_version; /* of `storage` */
    /* What may not change, beyond fields marked immutable; NULL: nothing. */
    void (*update_rule)(struct check *c, const cJSON *tree, const cJSON *old);
    const struct scale_paths *scale; /* of a custom kind's scale subresource; NULL: by its table */
    const char *deprecation;         /* the text of a Warning header, or NULL */
    struct custom *custom;           /* what this is a part of; NULL: built in */
    uint32_t fingerprint; /* of the schema, where it may change under stored objects; 0: built in */
};

struct scale_paths {
    const char *replicas, *status_replicas;
    const char *selector; /* a string; NULL: none */
};

int api_new(struct api **ret, struct error *err);
void api_free(struct api *api);
/* The built-in api and the served resources of customs, in the order of their groups, versions and
 * plurals. Counted; base must outlive it. serial: greater for each one published. */
struct api *api_extend(
    const struct api *base, struct custom *const *customs, size_t count, uint64_t serial);
struct api *api_ref(const struct api *api); /* a built-in one is returned as it is */
void api_unref(const struct api *api);
uint64_t api_serial(const struct api *api); /* 1: no custom kinds */
/* One more user of the memory that a custom resource lies in; nothing for built-in ones. */
void resource_hold(const struct resource *r);
void resource_drop(const struct resource *r);
/* A served resource by its path. */
const struct resource *api_find(
    const struct api *api, struct str group, struct str version, struct str plural);
const struct resource *api_find_kind(
    const struct api *api, const char *group_version, const char *kind);
const struct resource *api_find_plural(
    const struct api *api, const char *group, const char *plural); /* preferred version */
size_t api_count(const struct api *api);                           /* resources, all versions */
const struct resource *api_at(const struct api *api, size_t index);
size_t api_stored_count(const struct api *api); /* ids are below this */
void api_set_strategies(struct api *api, const struct strategy *const *strategies, size_t count);

/* Types of meta/v1 that answers are made of. */
struct api_meta {
    const struct schema *partial; /* PartialObjectMetadata */
    const struct schema *list;    /* ListMeta */
};
const struct api_meta *api_meta(const struct api *api);
/* The type of a kind: stored, of a subresource, or of meta/v1 (Status, for any version); NULL. */
const struct schema *api_find_schema(
    const struct api *api, const char *group_version, const char *kind);

/* Field errors: upstream's field.ErrorList. */
enum field_error_type {
    FIELD_REQUIRED,
    FIELD_INVALID,
    FIELD_NOT_SUPPORTED,
    FIELD_FORBIDDEN,
    FIELD_DUPLICATE,
    FIELD_TOO_LONG,
    FIELD_TOO_MANY,
    FIELD_TYPE_INVALID,
    FIELD_NOT_FOUND,
    FIELD_INTERNAL,
};
struct field_errors;
struct field_errors *field_errors_new(struct arena *a);
/* path: "spec.containers[0].name". value: as upstream prints it (JSON text, strings quoted), or
 * NULL. */
void field_error_add(struct field_errors *e, enum field_error_type type, const char *path,
    const char *value, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* "Unsupported value: "x": supported values: "a", "b"" (sorted by the caller's order). */
void field_error_not_supported(
    struct field_errors *e, const char *path, const char *value, const char *const *supported);
size_t field_errors_count(const struct field_errors *e);
struct arena *field_errors_arena(const struct field_errors *e);
/* The Status of 422 Invalid: `Deployment.apps "x" is invalid: [a, b]` with details.causes. */
cJSON *field_errors_status(
    const struct field_errors *e, const struct resource *r, const char *name);

enum field_validation { VALIDATION_IGNORE, VALIDATION_WARN, VALIDATION_STRICT };

/* Checks types and cleans the tree in place: wrong types are ERR_BAD_REQUEST with Go's text (json:
 * cannot unmarshal string into Go struct field ...), unknown and duplicate fields are removed and
 * reported, all of them, in `warnings`
 * ("unknown field \"spec.x\"", one line each); in VALIDATION_STRICT they are the error (strict
 * decoding error: ...). */
int schema_decode(const struct schema *s, cJSON *tree, enum field_validation mode,
    struct strbuf *warnings, struct error *err);
void schema_default(const struct schema *s, cJSON *tree);
/* Data rules: required, enums, lengths, formats, limits, list-map keys, quantities. Object metadata
 * included. */
void schema_validate(const struct resource *r, const cJSON *tree, struct field_errors *errors);
/* The same for a body that is no stored object (Scale, Binding, DeleteOptions): no rules of names.
 */
void schema_validate_type(const struct schema *s, const cJSON *tree, struct field_errors *errors);
/* Immutable fields, and metadata's update rules. */
void schema_validate_update(
    const struct resource *r, const cJSON *tree, const cJSON *old, struct field_errors *errors);
/* As Go's encoder would leave it: empty omitempty fields and nulls dropped, quantities, times,
 * durations, base64 canonical, members in Go's field order (metadata, spec, status). */
void schema_normalise(const struct schema *s, cJSON *tree);
bool schema_equal(const struct schema *s, const cJSON *a,
    const cJSON *b); /* semantic: quantities by value, nil = empty */
/* A stored tree of a custom kind whose schema may have changed since: pruned and defaulted. */
void schema_refresh(const struct resource *r, cJSON *tree);
int schema_convert(
    const struct resource *from, const struct resource *to, cJSON **tree, struct error *err);

/* A body of application/vnd.kubernetes.protobuf as the tree its JSON form would give.
 * ERR_BAD_REQUEST "proto: ...". */
int schema_from_protobuf(const struct schema *s, struct str body, cJSON **ret, struct error *err);
const struct schema *schema_delete_options(const struct api *api);

/* Patches: change *tree (owned by the caller) or leave it untouched and say why. */
int patch_json(
    cJSON **tree, const cJSON *patch, struct error *err); /* ERR_INVALID when a test fails */
int patch_merge(cJSON **tree, const cJSON *patch, struct error *err);
int patch_strategic(const struct schema *s, cJSON **tree, const cJSON *patch, struct error *err);

/* Documents. */
void discovery_legacy_versions(
    const struct api *api, const char *server_address, struct strbuf *out); /* /api */
void discovery_groups(const struct api *api, struct strbuf *out);           /* /apis */
int discovery_group(
    const struct api *api, const char *group, struct strbuf *out, struct error *err); /* /apis/G */
int discovery_resources(const struct api *api, const char *group_version, struct strbuf *out,
    struct error *err); /* /apis/G/V, /api/v1 */
/* APIGroupDiscoveryList for /api (legacy) or /apis, as v2 or v2beta1. */
void discovery_aggregated(
    const struct api *api, bool legacy, const char *version, struct strbuf *out);
void openapi_v3_index(const struct api *api, struct strbuf *out);
int openapi_v3_group(const struct api *api, const char *path /* "apis/apps/v1" */,
    struct strbuf *out, struct error *err);
void openapi_v2_json(const struct api *api, struct strbuf *out);
void openapi_v2_protobuf(const struct api *api, struct strbuf *out); /* a gnostic Document */

/* Tables: the definitions once, then a row an object (cells array; the caller adds "object"). now:
 * for AGE. */
cJSON *table_columns(const struct resource *r);
cJSON *table_cells(const struct resource *r, const cJSON *object, int64_t now_ns);
