/* Every limit of Skiff, with the reason for its size. */
#pragma once

/* A request body: upstream's 3 MiB, which is twice what etcd accepts as one request. */
#define LIMIT_BODY_BYTES (3u << 20)
/* An object as stored: etcd refuses requests above 1.5 MiB; leave room for its envelope. */
#define LIMIT_OBJECT_BYTES (1400u << 10)
/* JSON nesting: custom objects of real operators stay below 50; cJSON itself stops at 1000. */
#define LIMIT_JSON_DEPTH 256
/* Values in one JSON document: keeps a 3 MiB body of `[[],[],...]` from becoming 200 MB of tree. */
#define LIMIT_JSON_VALUES 500000
/* YAML: nodes after alias expansion, and nesting (libyaml is quadratic in flow nesting). */
#define LIMIT_YAML_NODES 100000
#define LIMIT_YAML_DEPTH 200
/* Operations of one JSON patch; upstream's limit. */
#define LIMIT_PATCH_OPERATIONS 10000
/* Children of the lists and objects that they look through: half a second at most. 1,000 operations
 * on lists of 1,000 elements take a tenth. */
#define LIMIT_PATCH_STEPS 10000000
/* Requirements in one selector: real ones have below 20. */
#define LIMIT_SELECTOR_TERMS 1000
/* One header line, and all of a request's headers: room for a big token and a long URL. */
#define LIMIT_HEADER_BYTES (64u << 10)
#define LIMIT_HEADERS 200
#define LIMIT_URL_BYTES (16u << 10)
/* A TLS handshake, and the time to send the headers or to make any progress with a body. */
#define LIMIT_HANDSHAKE_NS (10ll * 1000000000)
#define LIMIT_REQUEST_HEAD_NS (30ll * 1000000000)
#define LIMIT_BODY_STALL_NS (30ll * 1000000000)
/* After these first seconds a body must have come at this rate at least: a modem is faster. */
#define LIMIT_BODY_SLOW_NS (10ll * 1000000000)
#define LIMIT_BODY_BYTES_PER_S 1024
/* Output waiting for a slow reader, per connection; a watcher behind this is cut and relists. */
#define LIMIT_OUTPUT_BYTES (1u << 20)
/* Concurrent HTTP/2 streams on one connection: client-go opens about 100 watches on one. */
#define LIMIT_H2_STREAMS 250
/* Custom kinds at a time: room in a table of pointers. Clusters with 1,000 definitions are big
 * ones. */
#define LIMIT_CUSTOM_KINDS 16384
/* Schemas of a custom kind: nesting and size of one (real ones: 25 deep, 20,000 schemas),
 * properties of one object, one pattern, all patterns, text times pattern of one match, and schemas
 * visited to validate one object (about 100 ms). */
#define LIMIT_CUSTOM_DEPTH 64
#define LIMIT_CUSTOM_NODES 50000
#define LIMIT_CUSTOM_PROPERTIES 5000
#define LIMIT_CUSTOM_PATTERN_BYTES 8192
#define LIMIT_CUSTOM_PATTERNS_BYTES (256 << 10)
#define LIMIT_CUSTOM_VISITS 2000000
/* History of events kept per kind for watches that resume. */
#define LIMIT_HISTORY_BYTES (4u << 20)
/* A list page's snapshot is held this long for its continue token; upstream's etcd default. */
#define LIMIT_CONTINUE_NS (300ll * 1000000000)
/* Keys of one store transaction besides /skiff/head: etcd's --max-txn-ops is 128. */
#define LIMIT_BATCH_KEYS 126
#define LIMIT_BATCH_BYTES (512u << 10)
/* A response read into memory by a client: lists of 10,000 pods are about 30 MB. */
#define LIMIT_RESPONSE_BYTES (256u << 20)
/* One API request that is no watch or stream, from its head to its answer: upstream's. */
#define LIMIT_REQUEST_NS (60ll * 1000000000)
