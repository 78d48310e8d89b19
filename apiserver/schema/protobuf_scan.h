/*
 * Private to the protobuf encoder: JSON text as tokens, and the buffer that grows at its front.
 */
#pragma once

#include "apiserver/schema/protobuf.h"

/* One value. Numbers of tokens are indexes into p->tokens; 0 is none (the first one is not used).
 */
struct protobuf_token {
    uint32_t start, end; /* in the text; strings without their quotes */
    uint32_t key, key_end;
    uint32_t previous; /* sibling */
    uint32_t last;     /* child */
    char type;         /* first character: { [ " t f n, or a number's */
    bool escaped, key_escaped;
};

/* Reads the text; the root is token 1. */
void protobuf_scan(struct protobuf *p, struct str json);
struct str protobuf_token_text(const struct protobuf *p, const struct protobuf_token *t);

/* Everything is put in front of what was written before. */
void put_bytes(struct protobuf *p, struct str bytes);
void put_varint(struct protobuf *p, uint64_t value);
/* A tag and, for what was put since `mark`, its length: turns it into a field. */
void put_delimited(struct protobuf *p, unsigned number, size_t mark);
void put_string_field(struct protobuf *p, unsigned number, struct str bytes);
void put_integer_field(struct protobuf *p, unsigned number, uint64_t value);
void put_double_field(struct protobuf *p, unsigned number, double value);
/* A JSON string's content with its escapes resolved. */
void put_unescaped(struct protobuf *p, struct str text);
static inline size_t put_mark(const struct protobuf *p)
{
    return p->capacity - p->at;
}
