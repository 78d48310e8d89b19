/* Random uids in the usual form (RFC 4122, version 4). Threads: any. */
#pragma once

#include "common/env.h"

#define UID_BYTES 37

/* "6ba7b810-9dad-41d1-80b4-00c04fd430c8"; returns out. */
const char *uid_random(struct env *env, char out[UID_BYTES]);
