/*
 * Random uids; see uid.h.
 */
#include "common/uid.h"

const char *uid_random(struct env *env, char out[UID_BYTES])
{
    uint8_t b[16];
    env_random_bytes(env, b, sizeof(b));
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(out, UID_BYTES, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
        b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
        b[14], b[15]);
    return out;
}
