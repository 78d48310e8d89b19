/*
 * Answers in protobuf: messages made from the JSON text that the server would answer otherwise.
 *
 * The text is one that this server printed: valid, normalised, members in any order. It is scanned
 * once into tokens and written from its end to its start, as Go's generated code does, so that
 * every length is known when it is written. Bytes equal upstream's: fields by number, maps by key,
 * and what is no pointer in Go is written even when it is empty.
 *
 *     struct protobuf p;
 *     protobuf_init(&p);
 *     protobuf_object(&p, "v1", "Pod", schema, json);    // k8s\0, type, message
 *     strbuf_add(out, protobuf_bytes(&p));
 *     ... the next one: the memory is kept
 *     protobuf_done(&p);
 *
 * Lists are sent in parts: protobuf_list_head() with the size of all items, each protobuf_item(),
 * PROTOBUF_TAIL.
 *
 * Threads: none of its own. Cost: 2-4 us a KB of JSON. Upstream: runtime/serializer/protobuf and
 * the generated.pb.go of every group.
 */
#pragma once

#include "apiserver/schema/schema.h"

struct protobuf_token;

struct protobuf {
    unsigned char *data; /* what is written stands at its end */
    size_t capacity, at;
    struct protobuf_token *tokens;
    size_t token_count, token_capacity;
    const char *text; /* being read */
};

void protobuf_init(struct protobuf *p);
void protobuf_clear(struct protobuf *p);
void protobuf_done(struct protobuf *p);
struct str protobuf_bytes(const struct protobuf *p); /* valid until the next call */

/* Custom kinds have no numbers, and no protobuf. */
bool schema_has_protobuf(const struct schema *s);
/* A whole answer: the envelope with the message of an object's JSON text. */
void protobuf_object(struct protobuf *p, const char *group_version, const char *kind,
    const struct schema *s, struct str json);
/* Turns the object into a frame of a watch: length, {type, object}. */
void protobuf_event(struct protobuf *p, const char *type);
/* An item of a list, with its head. */
void protobuf_item(struct protobuf *p, const struct schema *s, struct str json);
/* Everything in front of the first item. metadata: JSON of the ListMeta; items_bytes: of all items
 * with their heads. */
void protobuf_list_head(struct protobuf *p, const struct api *api, const char *group_version,
    const char *list_kind, struct str metadata, size_t items_bytes);
/* What ends an envelope: neither encoding nor content type. */
#define PROTOBUF_TAIL STR("\x1a\0\"\0")
/* In front of what stands there: the bare message. */
void protobuf_message(struct protobuf *p, const struct schema *s, struct str json);
