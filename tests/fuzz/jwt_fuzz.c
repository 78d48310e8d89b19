/* links: skiff-apiserver-lib */
/*
 * Bearer tokens from anybody: nothing that was not signed here is accepted, and what is signed here
 * reads back. The input is a token; as claims (when it is JSON) it is signed and must verify,
 * unless it is no object.
 */
#include "apiserver/auth/jwt.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"

static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguoLnR49o+upQIgrT\n"
                          "0kzmt7IXTpxQ4Vi8XR12x3Y5kqGhRANCAAQ19N9QpBu8t69rd6gZLYmuzN68VCjx\n"
                          "Xqa3xB6DB3Wjo1FgT80EBkqAgZdJaVNYYIuITuksyBBJBDVkZJnc17us\n"
                          "-----END PRIVATE KEY-----\n";

static struct jwt_keys *keys_of_test(void)
{
    char path[] = "/tmp/skiff-jwt-fuzz-XXXXXX";
    struct jwt_keys *keys = NULL;
    struct error err;
    int fd = mkstemp(path);

    assert(fd >= 0);
    close(fd);
    assert(file_write(path, str_of(pem), 0600, &err) == 0);
    assert(jwt_keys_load(NULL, path, &keys, &err) == 0);
    unlink(path);
    return keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct jwt_keys *keys;
    struct str text = str_range((const char *)data, n);
    cJSON *claims = NULL;
    autojson cJSON *tree = NULL;
    autofree char *token = NULL;
    struct error err;

    if (!keys)
        keys = keys_of_test();
    assert(jwt_verify(keys, text, &claims, &err) == -ERR_UNAUTHORIZED && !claims);
    if (json_parse(text, &tree, &err) < 0 || jwt_sign(keys, tree, &token, &err) < 0)
        return 0;
    json_dedup(tree, NULL, NULL);
    if (jwt_verify(keys, str_of(token), &claims, &err) == 0) {
        json_dedup(claims, NULL, NULL);
        assert(json_equal(claims, tree));
        cJSON_Delete(claims);
    } else {
        assert(!claims && (!cJSON_IsObject(tree) || strlen(token) > 8192));
    }
    return 0;
}
