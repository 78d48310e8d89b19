/* links: skiff-apiserver-lib */
/*
 * Key sets and tokens of issuers: a line with a JSON Web Key Set, then a token. No crash, and no
 * token is accepted that names no algorithm of the list.
 */
#include "apiserver/auth/jwks.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const algorithms[] = {"RS256", "PS384", "ES256", "ES512", NULL};
    static const char *const none[] = {NULL};
    struct str token = str_range((const char *)data, n), line;
    autojson cJSON *set = NULL, *claims = NULL, *peeked = NULL;
    struct jwks *keys = NULL;
    struct error err;
    bool unknown;

    str_split(&token, '\n', &line);
    if (json_parse(line, &set, &err) == 0)
        jwks_parse(set, &keys, &err);
    assert(jwks_verify(keys, none, token, &claims, &unknown, &err) == -ERR_UNAUTHORIZED);
    if (jwks_verify(keys, algorithms, token, &claims, &unknown, &err) == 0)
        assert(cJSON_IsObject(claims));
    else
        assert(!claims);
    peeked = jwks_peek(token);
    assert(!peeked || cJSON_IsObject(peeked));
    jwks_free(keys);
    return 0;
}
