/*
 * JSON with line breaks and two spaces a level, for people: curl, Wget, browsers and ?pretty=true.
 */
#pragma once

#include "apiserver/request/request.h"

/* Rewrites the response while it is sent, where it is JSON and the client is one that wants it so.
 */
void pretty_response(struct request *q);
