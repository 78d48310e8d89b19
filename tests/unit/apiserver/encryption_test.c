/* Encryption at rest: apiserver/encryption. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <unistd.h>

#include "apiserver/encryption/encryption.h"
#include "common/file.h"
#include "common/time.h"
#include "tests/unit/apiserver/store_support.h"

#define SECRET_A "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=" /* 32 bytes */
#define SECRET_B "YmJiYmJiYmJiYmJiYmJiYg=="                     /* 16 bytes */
#define HEAD "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
#define KEY(name, secret) "{name: " name ", secret: " secret "}"
#define RULE(kinds, providers) "- resources: [" kinds "]\n  providers: [" providers "]\n"
#define GCM(keys) "{aesgcm: {keys: [" keys "]}}"
#define CBC(keys) "{aescbc: {keys: [" keys "]}}"
#define IDENTITY "{identity: {}}"

struct fixture {
    struct env *env;
    char *dir, *path;
    struct encryption *e;
};

static void write_config(struct fixture *f, const char *text)
{
    struct error err;

    CU_ASSERT_FATAL(file_write(f->path, str_of(text), 0600, &err) == 0);
}

static void setup(struct fixture *f, const char *text)
{
    struct error err;

    f->env = env_new_real();
    f->dir = test_dir();
    f->path = str_format("%s/config", f->dir);
    write_config(f, text);
    CU_ASSERT_FATAL(encryption_new(f->env, f->path, &f->e, &err) == 0);
}

static void teardown(struct fixture *f)
{
    encryption_free(f->e);
    free(f->path);
    test_dir_done(f->dir);
    env_free(f->env);
}

static int open_as(
    struct encryption *e, const char *key, struct str stored, const char *wanted, struct error *err)
{
    autostrbuf struct strbuf room = STRBUF_EMPTY;
    struct str plain;
    uint16_t id;
    int result = encryption_open(e, STR("secrets"), str_of(key), stored, &room, &plain, &id, err);

    if (result == 0)
        CU_ASSERT(str_eqc(plain, wanted));
    return result;
}

static void check_provider(const char *config)
{
    struct fixture f;
    autostrbuf struct strbuf stored = STRBUF_EMPTY, again = STRBUF_EMPTY;
    struct error err;
    const char *value = "\001{\"metadata\":{\"name\":\"a\"},\"data\":\"hidden-text\"}";

    setup(&f, config);
    uint16_t id = encryption_seal(f.e, STR("secrets"), STR("secrets/x/a"), str_of(value), &stored);

    CU_ASSERT(id != 0);
    CU_ASSERT_EQUAL(id, encryption_current(f.e, STR("secrets")));
    encryption_seal(f.e, STR("secrets"), STR("secrets/x/a"), str_of(value), &again);
    CU_ASSERT(!str_eq(strbuf_str(&stored), strbuf_str(&again)));
    CU_ASSERT(memmem(stored.data, stored.n, "hidden", 6) == NULL);
    CU_ASSERT(open_as(f.e, "secrets/x/a", strbuf_str(&stored), value, &err) == 0);
    CU_ASSERT(open_as(f.e, "secrets/x/b", strbuf_str(&stored), value, &err) == -ERR_INTERNAL);
    for (size_t i = 1; i < stored.n; i++) { /* every byte counts; the first tells the form */
        stored.data[i] ^= 1;
        CU_ASSERT(open_as(f.e, "secrets/x/a", strbuf_str(&stored), value, &err) < 0);
        stored.data[i] ^= 1;
    }
    for (size_t n = 1; n < stored.n; n++) {
        autofree char *cut = xmalloc(n); /* exactly, for the sanitizer */
        memcpy(cut, stored.data, n);
        CU_ASSERT(open_as(f.e, "secrets/x/a", str_range(cut, n), value, &err) < 0);
    }
    teardown(&f);
}

static void test_providers(void)
{
    check_provider(HEAD RULE("secrets", GCM(KEY("k1", SECRET_A)) ", " IDENTITY));
    check_provider(HEAD RULE("secrets", GCM(KEY("k1", SECRET_B)) ", " IDENTITY));
    check_provider(HEAD RULE("secrets", CBC(KEY("k1", SECRET_A)) ", " IDENTITY));
    check_provider(HEAD RULE("'*.'", CBC(KEY("k1", SECRET_B)) ", " IDENTITY));
}

static void test_keys(void)
{
    static const char *const first = HEAD RULE("secrets", GCM(KEY("old", SECRET_A)));
    static const struct {
        const char *config;
        int result;
        const char *text;
    } then[] = {
        {HEAD RULE("secrets", CBC(KEY("new", SECRET_B)) ", " GCM(KEY("old", SECRET_A))), 0, ""},
        {HEAD RULE("secrets", GCM(KEY("new", SECRET_B) ", " KEY("old", SECRET_A))), 0, ""},
        {HEAD RULE("configmaps", GCM(KEY("old", SECRET_A))), 0, ""},
        {HEAD RULE("secrets", GCM(KEY("new", SECRET_A))), -ERR_FORBIDDEN,
            "aesgcm key \"old\", which --encryption-provider-config does not have"},
        {HEAD RULE("secrets", CBC(KEY("old", SECRET_A))), -ERR_FORBIDDEN, "does not have"},
        {HEAD RULE("secrets", GCM(KEY("old", SECRET_B))), -ERR_INTERNAL, "key \"old\": the stored"},
    };
    autostrbuf struct strbuf stored = STRBUF_EMPTY;
    struct error err;
    struct fixture f;

    setup(&f, first);
    encryption_seal(f.e, STR("secrets"), STR("secrets/x/a"), STR("\001v"), &stored);
    CU_ASSERT(open_as(f.e, "secrets/x/a", STR("\001v"), "\001v", &err) == -ERR_FORBIDDEN);
    teardown(&f);
    for (size_t i = 0; i < ARRAY_COUNT(then); i++) {
        setup(&f, then[i].config);
        CU_ASSERT_EQUAL(
            open_as(f.e, "secrets/x/a", strbuf_str(&stored), "\001v", &err), then[i].result);
        CU_ASSERT(!then[i].result || strstr(err.text, then[i].text));
        teardown(&f);
    }
    CU_ASSERT(open_as(NULL, "secrets/x/a", strbuf_str(&stored), "\001v", &err) == -ERR_FORBIDDEN);
    CU_ASSERT(open_as(NULL, "secrets/x/a", STR("\001v"), "\001v", &err) == 0);
}

static void test_kinds(void)
{
    static const struct {
        const char *patterns, *kind;
        bool sealed;
    } cases[] = {
        {"secrets", "secrets", true},
        {"secrets", "configmaps", false},
        {"secrets, configmaps", "configmaps", true},
        {"deployments.apps", "deployments.apps", true},
        {"deployments.apps", "deployments", false},
        {"'*.apps'", "deployments.apps", true},
        {"'*.apps'", "deployments", false},
        {"'*.apps'", "jobs.batch", false},
        {"'*.'", "secrets", true},
        {"'*.'", "deployments.apps", false},
        {"'*.*'", "secrets", true},
        {"'*.*'", "pandas.awesome.bears.example", true},
        {"'*.awesome.bears.example'", "pandas.awesome.bears.example", true},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *config = str_format(
            HEAD RULE("%s", CBC(KEY("k", SECRET_A))) RULE("events", IDENTITY), cases[i].patterns);
        struct fixture f;

        setup(&f, config);
        CU_ASSERT_EQUAL(encryption_current(f.e, str_of(cases[i].kind)) != 0, cases[i].sealed);
        CU_ASSERT_EQUAL(encryption_current(NULL, str_of(cases[i].kind)), 0);
        teardown(&f);
    }
}

static void test_bad_files(void)
{
    static const struct {
        const char *config, *text;
    } cases[] = {
        {"", "kind"},
        {"kind: Pod", "kind: must be EncryptionConfiguration"},
        {"a: [", "yaml"},
        {HEAD, "resources: Required"},
        {HEAD "- providers: [" IDENTITY "]", "resources[0]: resources: Required"},
        {HEAD "- resources: [secrets]", "resources[0]: providers: Required"},
        {HEAD RULE("'*'", IDENTITY), "resources[0]: resources[0]: Invalid value: \"*\""},
        {HEAD RULE("a/b", IDENTITY), "a slash"},
        {HEAD RULE("'a*'", IDENTITY), "stands alone"},
        {HEAD RULE("7", IDENTITY), "resources[0]: Required"},
        {HEAD RULE("secrets", "{}"), "providers[0]: Required value"},
        {HEAD RULE("secrets", IDENTITY ", {aesgcm: {}}"), "providers[1]: aesgcm.keys: Required"},
        {HEAD RULE("secrets", "{aesgcm: {}, identity: {}}"), "more than one provider"},
        {HEAD RULE("secrets", "{secretbox: {}}"), "Unsupported value: \"secretbox\""},
        {HEAD RULE("secrets", "{kms: {}}"), "Unsupported value: \"kms\""},
        {HEAD RULE("secrets", GCM("{secret: " SECRET_A "}")), "keys[0]: name: Required"},
        {HEAD RULE("secrets", GCM("{name: a}")), "keys[0]: secret: Required"},
        {HEAD RULE("secrets", GCM(KEY("a", "hunter2!"))), "must be base64 encoded"},
        {HEAD RULE("secrets", CBC(KEY("a", "aHVudGVyMg=="))), "got 7, expected one of [16 24 32]"},
        {HEAD RULE("secrets", CBC(KEY("a", SECRET_A) ", " KEY("a", SECRET_B))),
            "keys[1].name: Duplicate value: \"a\""},
    };
    struct env *env = env_new_real();
    char *dir = test_dir();
    autofree char *path = str_format("%s/config", dir);
    struct encryption *e;
    struct error err;

    CU_ASSERT(encryption_new(env, path, &e, &err) == -ERR_NOT_FOUND);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        CU_ASSERT_FATAL(file_write(path, str_of(cases[i].config), 0600, &err) == 0);
        CU_ASSERT_FATAL(encryption_new(env, path, &e, &err) < 0);
        if (!strstr(err.text, cases[i].text))
            fprintf(stderr, "%zu: %s\n", i, err.text);
        CU_ASSERT(strstr(err.text, cases[i].text) != NULL);
        CU_ASSERT(strstr(err.text, "hunter2") == NULL && strstr(err.text, "aHVudGVyMg") == NULL);
    }
    test_dir_done(dir);
    env_free(env);
}

static bool becomes(struct fixture *f, uint16_t not_id)
{
    for (int i = 0; i < 1000; i++) {
        uint16_t id = encryption_current(f->e, STR("secrets"));

        if (id && id != not_id)
            return true;
        env_sleep_ns(f->env, 10 * NS_PER_MS);
    }
    return false;
}

static void test_reload(void)
{
    struct fixture f;

    setup(&f, HEAD RULE("secrets", GCM(KEY("k1", SECRET_A))));
    uint16_t one = encryption_current(f.e, STR("secrets"));

    write_config(&f, HEAD RULE("secrets", "{aesgcm: {}}"));
    write_config(&f, HEAD RULE("secrets", GCM(KEY("k2", SECRET_B) ", " KEY("k1", SECRET_A))));
    CU_ASSERT(becomes(&f, one));
    uint16_t two = encryption_current(f.e, STR("secrets"));

    write_config(&f, HEAD RULE("secrets", GCM(KEY("k1", SECRET_A))));
    CU_ASSERT(becomes(&f, two));
    CU_ASSERT_EQUAL(encryption_current(f.e, STR("secrets")), one); /* the same key: the same id */
    teardown(&f);
}

const CU_TestInfo encryption_tests[] = {
    {"providers seal, and open what is theirs only", test_providers},
    {"keys", test_keys},
    {"kinds", test_kinds},
    {"bad files", test_bad_files},
    {"reload", test_reload},
    CU_TEST_INFO_NULL,
};
