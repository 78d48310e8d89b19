/*
 * Gzip for answers above 128 KiB, as upstream does, and for documents that are kept compressed.
 */
#pragma once

#include "apiserver/request/request.h"

/* Wraps the response's body where it is large enough (q->response_large for generators). */
void gzip_response(struct request *q);
/* One block; level 1 (fast) to 9. */
void gzip_block(struct str in, int level, struct strbuf *out);
