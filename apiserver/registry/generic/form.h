/*
 * Forms of an answer: the object itself, its metadata alone, or a Table of cells; in the version
 * that was asked for, as JSON, YAML or protobuf.
 *
 * Objects and metadata in their storage version are spliced bytes as JSON and transcoded ones as
 * protobuf; Tables, other versions and YAML parse.
 *
 * A list is printed in parts with a struct form_list, filled by the caller: head, items, tail.
 */
#pragma once

#include "apiserver/cache/cache.h"
#include "apiserver/request/request.h"
#include "apiserver/schema/protobuf.h"

struct form_list {
    int64_t version;
    const char *token;  /* NULL: no continue */
    int64_t remaining;  /* -1: not said */
    size_t items_bytes; /* protobuf: the sum of form_item_bytes() */
    size_t count;       /* items so far; the functions' */
    struct protobuf writer;
};
void form_list_done(struct form_list *l);

/* The object as the request's form wants it, with kind and apiVersion. first: a Table also gets its
 * column definitions. */
void form_object(struct request *q, const struct object *o, bool first, struct strbuf *out);

void form_list_head(struct request *q, const struct form_list *l, struct strbuf *out);
void form_list_item(
    struct request *q, struct form_list *l, const struct object *o, struct strbuf *out);
void form_list_tail(struct request *q, const struct form_list *l, struct strbuf *out);
/* Protobuf says in front how long all items are. */
size_t form_item_bytes(struct request *q, struct form_list *l, const struct object *o);

/* Frames of a watch. */
void form_event(
    struct request *q, const char *type, const struct object *o, bool first, struct strbuf *out);
/* An object that holds nothing but a version. initial_end: with the annotation that ends the
 * initial events. */
void form_bookmark(struct request *q, int64_t version, bool initial_end, struct strbuf *out);
void form_error(struct request *q, const struct error *err, struct strbuf *out);

/* Does the form need more than splicing? Then an item costs microseconds. */
bool form_parses(const struct request *q);
