/* JSON Web Tokens: apiserver/auth/jwt.c. Signed ones verify; anything changed in them does not. */
#include <CUnit/CUnit.h>

#include "apiserver/auth/jwt.h"
#include "common/base64.h"
#include "common/file.h"
#include "tests/unit/apiserver/store_support.h"

/* Made for these tests; used nowhere else. */
static const char ec_key[] = "-----BEGIN PRIVATE KEY-----\n"
                             "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxYNC2ZA5mkhXhA1+\n"
                             "dba9AA8r2SKevLFl29T8r91h5FihRANCAAQT2rKr9u4TNISNWTn2QMfFJkQAcExx\n"
                             "vnOwn1uZQKcybdIVlGUb+cLRQ2C1xzzjCSSXtNVAYE776Qfe2x/oNNuq\n"
                             "-----END PRIVATE KEY-----\n";
static const char other_key[] = "-----BEGIN PRIVATE KEY-----\n"
                                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLt8sdiLt94ll4GFn\n"
                                "cr6+9NC5f52DFSnweTL4V3tixH2hRANCAATazD10ucrlMQBD54781WQFCtwuIYZX\n"
                                "QrMesnyDs0nyetM2O9YkplFJ2N2AI+cujANlQLgz1sya7NW9laveiSW9\n"
                                "-----END PRIVATE KEY-----\n";
static const char rsa_key[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDC3YFsCg2speo1\n"
                              "bogzeYIY3p+seQLuEv1e/7J0scerWtFVvomkppXOymMKHnuetUcHTMoaoOrFSHpv\n"
                              "I0TPeqIBMSImBJN+sivw+BUn1EtmxECPlqiEyDzZ0V40K02uwIxVszd9NojkXJ5k\n"
                              "m+QMIJg6ZB08GVfm/UzJ/YA2mozv6IZiZGgjAqdbQQa+eRq3cuOW6iXv5n+bZGHa\n"
                              "Oox5pNJaYsFGQQQse014/j4fLKE2Ug0E3HubWWpEo3SMdcHhMXGABkfAbe7TfemU\n"
                              "0F4mfcrIyektVmMEvPKi1stoG20+PQlta84t7kQ5odCuRqLkx4OSTPnsa8LEjv5z\n"
                              "djUQ/W7ZAgMBAAECggEAMIPOb5QXMHdEVtY0kcA8PC3dCic8rAJNU6QMjZIfeJGN\n"
                              "UbA0+6m/3XK08rWBKJPQYchj/vo2STTQyq+4t4E8KVjOvDFieWYpm35gYgCwXx8Y\n"
                              "RceIIDrsL3y5W/q2Bf6JUeLjO0jjDxviEYFgZwaMb+kyAB79LBS/VADJtY6H7UiD\n"
                              "AKE4wju8OoK+PKGuxtO1IMMlC+I88TaiNUID64P0OFrIjdUe5LR4REkEaQXfQO/V\n"
                              "ooH3jPSGojldANweC5fqCZoKecMZlC1404aw8kZO5qmI6pET7rIMl9MO8wcXSEzi\n"
                              "bdP1/7h9YN7Ixoj1PK02L6dkOHFPCTAglUZF0sdBSQKBgQDv6znYwbG60P/5u7hs\n"
                              "l/y+R/HgOFVNC2cmRoavCroRqKqhGObvtIK11jN0klR3/YjBslcKBeBEZjSoPOHP\n"
                              "4hpZCn8HxdDPVW9PJSWYihsEYE3elzL6K9Upk22hOJwa98sE1E3UREDCm9dubzi6\n"
                              "CXKInGQ5jD4Weat1Xuhvue8mpQKBgQDP7TQn8mf5AGnI+4FbtH9lPoXVyWbenaVV\n"
                              "LyTp8/+dwaLmJ7FprIiTm4X8NBtxE1Vw2LqVZY5N05Nb9jEwN98k7JyIHXuYxNsS\n"
                              "EdnBRfKXYwKGHAKgRkU0bymL/k9IXm6mIKFXJ0qI1fb6spDN0kejcCNar5dPy1hd\n"
                              "Nq5XTMslJQKBgFgQh9NAhfSE8vDALxntUCCoV+htxSHapaovCREHZvVEbB1l/p7O\n"
                              "K4yDa6/GZqsErUYsKDbNoVx6B6oZbunXnMRCTg6UVelE+u6aPAqZ5wDcOLkT1upt\n"
                              "XHk+XGdpWCOuAR9sroTT6NGGUrV+rdvby+bJQSC+kau+TWlvxPH91gLhAoGAbRUW\n"
                              "fbaQkXOEC+rWbJP/GdB5SjVFAJlX+Z6oEQzvF4ZUvcYpLzVS2Y2H904m72WjN3ac\n"
                              "PHBw/ad38ZDxMUi+ipKPdGFzTCxKeepfgSP/JyjMVCsxvX/gIqgG9ejPEzpndkQ8\n"
                              "IIr+cVc/ITq4+SHOb5IPGi5whW46x3w+bpJdKPkCgYB6GwJO6tT3J7TP42EYXXlE\n"
                              "ifASGbj11UrLECC5UAPnjNdNDnSMDFwVddKtPMNAYYd8zW3pWcMP6+yx4kexmsoY\n"
                              "1qPZUECxG5LlA8087AD5TjNIqU9BFzhHR44m9dE+BCn/7E5mJe+1orL8KikFma9S\n"
                              "czSZ1Gw29Fyqcmof9PArbg==\n"
                              "-----END PRIVATE KEY-----\n";
static const char small_rsa_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBAKeC75bf1PJYAC5c\n"
    "Ik6IaRfmIrzx7QpDGfsf6F7iQwXJOyFFED91xCiaDLBMhBWNwtOaotnxO9OJp4Jm\n"
    "a562tBGn6oC8LBf1bGgLPEQi5QxhMXcHLxYHEXq4rk2l/keCPOkysPztv5C51W26\n"
    "TX9AeVc/7MFDsvucMy+p0JszJR5BAgMBAAECgYAxiuk/jy3VCy/qhjdjULb8aYVG\n"
    "qqq3yUbK3hIE1hiKgoypd1qp2jPM6lrsXYUHNukzWl3l5ZITK3hOeepEg7bXs2Sv\n"
    "f7uOBHFDPLS51raDXiKNyvn6agDB4lI3QP9pDJ3YzOWvoWVnBmg0czK2G5SRe8if\n"
    "nokGISALDwyr7rcsAQJBANb8A0M72WSpjL6VzP/ZWqorhv+gfACdAnjn1j+I+JMU\n"
    "K4xJ4IMdsGuSjXsIpEsw40AEFS9kWWV1Ftp4vtZIF2ECQQDHeE+wm23wzVI4Psea\n"
    "pc+U5Wv81equ8KyQE0KYEeHM+sleT2Ip+z7VfUE5YFYCEnXRT8OjqmCEnIVp37nf\n"
    "e9LhAkEAmXik151lDxBe0jtcchT3PV3/bINjoohzmF5gu1CLq2uNvwOKS++o3tJr\n"
    "P7ammqrWv/9qJD/t9ZjF7Maf7ZbfYQJBALv+2WSC6RhF+xLFoIxRcBZOL/vIhXpB\n"
    "nPHhJSd72wu85WK8gLE+eZbuiTWRZR5o1Z/jhGjRYEw71MXXNTC7XCECQQC2+7bH\n"
    "XdQhkbpMYqhQUrlQyoNP7AbEdS6ddkcnwmiv5PPP1O8XG1RJ2KRn6A2eBFGdLta9\n"
    "M8TONuDUQKP0cam9\n"
    "-----END PRIVATE KEY-----\n";

static struct jwt_keys *load(const char *pem, struct error *err)
{
    char *dir = test_dir();
    autofree char *path = str_format("%s/key", dir);
    struct jwt_keys *keys = NULL;

    CU_ASSERT_EQUAL_FATAL(file_write(path, str_of(pem), 0600, err), 0);
    jwt_keys_load(NULL, path, &keys, err);
    test_dir_done(dir);
    return keys;
}

static int verify(const struct jwt_keys *keys, struct str token)
{
    struct error err;
    cJSON *claims = NULL;
    int result = jwt_verify(keys, token, &claims, &err);

    CU_ASSERT(result == 0 ? claims != NULL : claims == NULL);
    cJSON_Delete(claims);
    return result;
}

static char *signed_token(const struct jwt_keys *keys, const char *claims)
{
    autojson cJSON *tree = json_make("%s", claims);
    struct error err;
    char *token = NULL;

    CU_ASSERT_EQUAL_FATAL(jwt_sign(keys, tree, &token, &err), 0);
    return token;
}

static void check_kind(const char *pem, const char *algorithm)
{
    struct error err;
    struct jwt_keys *keys = load(pem, &err), *other = load(other_key, &err);

    CU_ASSERT_FATAL(keys && other);
    autofree char *token = signed_token(keys, "{\"iss\":\"a\",\"n\":9007199254740993}");
    cJSON *claims = NULL;
    CU_ASSERT_EQUAL_FATAL(jwt_verify(keys, str_of(token), &claims, &err), 0);
    CU_ASSERT_EQUAL(json_int64_at(claims, "n", 0), 9007199254740993);
    cJSON_Delete(claims);
    CU_ASSERT_EQUAL(verify(other, str_of(token)), -ERR_UNAUTHORIZED);
    autojson cJSON *set = jwt_key_set(keys);
    const cJSON *key = cJSON_GetArrayItem(json_get(set, "keys"), 0);
    CU_ASSERT_STRING_EQUAL(json_string(key, "alg"), algorithm);
    CU_ASSERT(!json_get(key, "d"));
    jwt_keys_free(keys);
    jwt_keys_free(other);
}

static void test_round_trip(void)
{
    check_kind(ec_key, "ES256");
    check_kind(rsa_key, "RS256");
}

/* Each single byte of a token, changed, taken away or doubled. */
static void test_every_byte(void)
{
    struct error err;
    struct jwt_keys *keys = load(ec_key, &err);
    CU_ASSERT_FATAL(keys != NULL);
    autofree char *token = signed_token(keys, "{\"iss\":\"a\"}");
    size_t n = strlen(token), accepted = 0;
    autofree char *bad = xcalloc(1, n + 2);

    for (size_t i = 0; i < n; i++) {
        memcpy(bad, token, n);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        accepted += verify(keys, str_range(bad, n)) == 0;
        memmove(bad + i, token + i + 1, n - i - 1);
        accepted += verify(keys, str_range(bad, n - 1)) == 0;
        memcpy(bad, token, i + 1);
        memcpy(bad + i + 1, token + i, n - i);
        accepted += verify(keys, str_range(bad, n + 1)) == 0;
        accepted += verify(keys, str_range(token, i)) == 0;
    }
    CU_ASSERT_EQUAL(accepted, 0);
    jwt_keys_free(keys);
}

static void test_malformed(void)
{
    struct error err;
    struct jwt_keys *keys = load(ec_key, &err);
    CU_ASSERT_FATAL(keys != NULL);
    autofree char *token = signed_token(keys, "{}");
    autofree char *dot = str_format("%s.", token);
    autofree char *fourth = str_format("%s.x", token);
    autofree char *before = str_format(".%s", token);
    static char zeros[400] = "eyJhbGciOiJFUzI1NiJ9.e30.";
    memset(zeros + 25, 'A', 86); /* r = s = 0 */
    autofree char *longest = xcalloc(1, 20001);
    memset(longest, 'a', 20000);
    longest[5000] = longest[9000] = '.';
    const char *const bad[] = {"", ".", "..", "...", "a", "a.b", "a.b.c", "a..c", ".e30.",
        "e30.e30.!!!!", "e30.e30.AAAA", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJub25lIn0.e30", dot,
        fourth, before, zeros, longest};

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        CU_ASSERT_EQUAL(verify(keys, str_of(bad[i])), -ERR_UNAUTHORIZED);
    jwt_keys_free(keys);
}

/* What we signed ourselves but is no object: refused, and nothing is freed twice. */
static void test_no_object(void)
{
    static const char *const claims[] = {"[]", "\"a\"", "1", "null"};
    struct error err;
    struct jwt_keys *keys = load(ec_key, &err);
    CU_ASSERT_FATAL(keys != NULL);

    for (size_t i = 0; i < ARRAY_COUNT(claims); i++) {
        autofree char *token = signed_token(keys, claims[i]);
        CU_ASSERT_EQUAL(verify(keys, str_of(token)), -ERR_UNAUTHORIZED);
    }
    jwt_keys_free(keys);
}

static void test_bad_keys(void)
{
    static const char *const bad[] = {"", "nonsense",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", small_rsa_key};
    struct error err;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        err.text[0] = '\0';
        CU_ASSERT(!load(bad[i], &err));
        CU_ASSERT(err.text[0] != '\0');
    }
}

const CU_TestInfo jwt_tests[] = {
    {"signed ones verify", test_round_trip},
    {"every byte counts", test_every_byte},
    {"malformed", test_malformed},
    {"claims that are no object", test_no_object},
    {"bad keys", test_bad_keys},
    CU_TEST_INFO_NULL,
};
