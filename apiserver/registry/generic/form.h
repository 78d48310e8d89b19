/*
 * Forms of an answer: the object itself, its metadata alone, or a Table of cells; in the version
 * that was asked for.
 *
 * Objects and metadata in their storage version are spliced bytes; Tables and other versions parse.
 */
#pragma once

#include "apiserver/cache/cache.h"
#include "apiserver/request/request.h"

/* The object as the request's form wants it, with kind and apiVersion. first: a Table also gets its
 * column definitions. */
void form_object(struct request *q, const struct object *o, bool first, struct strbuf *out);
/* One element of a list's items or rows; no comma. */
void form_item(struct request *q, const struct object *o, struct strbuf *out);
/* Everything up to the first item, and behind the last. token NULL: no continue; remaining -1:
 * none. */
void form_list_head(
    struct request *q, int64_t version, const char *token, int64_t remaining, struct strbuf *out);
void form_list_tail(struct strbuf *out);
/* An object that holds nothing but a version: a bookmark's. initial_end: with the annotation that
 * ends the initial events. */
void form_bookmark(struct request *q, int64_t version, bool initial_end, struct strbuf *out);
/* Does the form need more than splicing? Then an item costs tens of microseconds. */
bool form_parses(const struct request *q);
