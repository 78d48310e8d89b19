/*
 * Reads an EncryptionConfiguration. Errors name the field as upstream does, and never show a
 * secret.
 */
#include <openssl/crypto.h>

#include "apiserver/encryption/internal.h"
#include "common/base64.h"
#include "common/yaml.h"

static void secret_done(struct strbuf *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->n);
    strbuf_done(b);
}

static int check_name(const char *name, struct error *err)
{
    if (!name || !*name)
        return error_set(err, ERR_USAGE, "name: Required value: secret.name must be provided");
    if (strlen(name) > KEY_NAME_MAX)
        return error_set(
            err, ERR_USAGE, "name: Too long: may not be more than %d bytes", KEY_NAME_MAX);
    return 0;
}

static int read_key(const cJSON *item, struct sealing_key *k, struct error *err)
{
    const char *name = json_string(item, "name"), *secret = json_string(item, "secret");
    struct strbuf bytes = STRBUF_EMPTY;
    struct error ignored;

    if (check_name(name, err) < 0)
        return -(int)err->code;
    if (!secret || !*secret)
        return error_set(err, ERR_USAGE, "secret: Required value: secret must be provided");
    if (base64_decode(str_of(secret), &bytes, &ignored) < 0) {
        secret_done(&bytes);
        return error_set(
            err, ERR_USAGE, "secret: Invalid value: \"REDACTED\": secret must be base64 encoded");
    }
    size_t n = bytes.n;

    if (n != 16 && n != 24 && n != 32) {
        secret_done(&bytes);
        return error_set(err, ERR_USAGE,
            "secret: Invalid value: \"REDACTED\": secret is not of the expected length, got %zu, "
            "expected one of [16 24 32]",
            n);
    }
    memcpy(k->secret, bytes.data, n);
    k->secret_bytes = n;
    k->name = xstrdup(name);
    secret_done(&bytes);
    return 0;
}

static bool has_name(const struct rule *rule, size_t from, const char *name)
{
    for (size_t i = from; i < rule->key_count; i++)
        if (rule->keys[i].name && c_eq(rule->keys[i].name, name))
            return true;
    return false;
}

static struct sealing_key *add_key(struct rule *rule, enum cipher cipher)
{
    rule->keys =
        (struct sealing_key *)xrealloc(rule->keys, (rule->key_count + 1) * sizeof(*rule->keys));
    rule->keys[rule->key_count] = (struct sealing_key){.cipher = cipher};
    return &rule->keys[rule->key_count++];
}

static int read_keys(struct rule *rule, enum cipher cipher, const cJSON *config, struct error *err)
{
    const cJSON *keys = json_get(config, "keys"), *item;
    size_t from = rule->key_count;
    int index = 0;

    if (cJSON_GetArraySize(keys) == 0)
        return error_set(err, ERR_USAGE, "%s.keys: Required value: at least one key is needed",
            cipher_name(cipher));
    cJSON_ArrayForEach(item, keys)
    {
        const char *name = json_string(item, "name");

        if (name && has_name(rule, from, name))
            return error_set(err, ERR_USAGE, "%s.keys[%d].name: Duplicate value: \"%s\"",
                cipher_name(cipher), index, name);
        if (read_key(item, add_key(rule, cipher), err) < 0)
            return error_wrap(err, "%s.keys[%d]", cipher_name(cipher), index);
        index++;
    }
    return 0;
}

static int read_provider(struct rule *rule, const cJSON *item, struct error *err)
{
    const cJSON *config = item ? item->child : NULL;
    const char *type = config ? config->string : NULL;

    if (!type)
        return error_set(err, ERR_USAGE,
            "Required value: provider does not contain any of the expected providers: "
            "AESGCM, AESCBC, Identity");
    if (config->next)
        return error_set(
            err, ERR_USAGE, "Invalid value: more than one provider specified in a single element");
    if (c_eq(type, "identity")) {
        add_key(rule, CIPHER_IDENTITY);
        return 0;
    }
    if (c_eq(type, "aesgcm"))
        return read_keys(rule, CIPHER_AESGCM, config, err);
    if (c_eq(type, "aescbc"))
        return read_keys(rule, CIPHER_AESCBC, config, err);
    return error_set(err, ERR_USAGE,
        "Unsupported value: \"%s\": supported values: \"aesgcm\", \"aescbc\", \"identity\"", type);
}

static int check_kind(const char *kind, struct error *err)
{
    if (!kind || !*kind)
        return error_set(err, ERR_USAGE, "Required value");
    if (strchr(kind, '/'))
        return error_set(err, ERR_USAGE, "Invalid value: \"%s\": a slash is not allowed", kind);
    if (c_eq(kind, "*"))
        return error_set(err, ERR_USAGE,
            "Invalid value: \"*\": use '*.*' to encrypt all the resources from all API groups or "
            "'*.<group>' to encrypt all of one");
    if (strchr(kind + 1, '*') && !c_eq(kind, "*.*"))
        return error_set(
            err, ERR_USAGE, "Invalid value: \"%s\": '*' stands alone before a point", kind);
    if (kind[0] == '*' && kind[1] != '.')
        return error_set(
            err, ERR_USAGE, "Invalid value: \"%s\": '*' stands alone before a point", kind);
    return 0;
}

static int read_rule(struct rule *rule, const cJSON *item, struct error *err)
{
    const cJSON *kinds = json_get(item, "resources"), *providers = json_get(item, "providers"), *c;
    int index = 0;

    if (cJSON_GetArraySize(kinds) == 0)
        return error_set(
            err, ERR_USAGE, "resources: Required value: at least one resource is needed");
    rule->kinds = (char **)xcalloc((size_t)cJSON_GetArraySize(kinds) + 1, sizeof(char *));
    cJSON_ArrayForEach(c, kinds)
    {
        if (check_kind(cJSON_GetStringValue(c), err) < 0)
            return error_wrap(err, "resources[%d]", index);
        rule->kinds[index++] = xstrdup(c->valuestring);
    }
    if (cJSON_GetArraySize(providers) == 0)
        return error_set(
            err, ERR_USAGE, "providers: Required value: at least one provider is needed");
    index = 0;
    cJSON_ArrayForEach(c, providers)
    {
        if (read_provider(rule, c, err) < 0)
            return error_wrap(err, "providers[%d]", index);
        index++;
    }
    return 0;
}

static int read_rules(struct rules *rules, const cJSON *tree, struct error *err)
{
    const char *version = json_string(tree, "apiVersion"), *kind = json_string(tree, "kind");
    const cJSON *list = json_get(tree, "resources"), *item;

    if (!c_eq(kind, "EncryptionConfiguration") || !c_eq(version, "apiserver.config.k8s.io/v1"))
        return error_set(err, ERR_USAGE,
            "kind: must be EncryptionConfiguration of apiserver.config.k8s.io/v1, not \"%s\" of "
            "\"%s\"",
            kind ? kind : "", version ? version : "");
    if (cJSON_GetArraySize(list) == 0)
        return error_set(err, ERR_USAGE, "resources: Required value: at least one entry is needed");
    rules->list = (struct rule *)xcalloc((size_t)cJSON_GetArraySize(list), sizeof(struct rule));
    cJSON_ArrayForEach(item, list)
    {
        if (read_rule(&rules->list[rules->count++], item, err) < 0)
            return error_wrap(err, "resources[%zu]", rules->count - 1);
    }
    return 0;
}

int rules_parse(struct str text, struct rules **ret, struct error *err)
{
    struct rules *rules = (struct rules *)xcalloc(1, sizeof(*rules));
    cJSON *tree = NULL;

    rules->refs = 1;
    if (yaml_parse(text, YAML_STRICT, &tree, err) < 0 || read_rules(rules, tree, err) < 0) {
        cJSON_Delete(tree);
        rules_free(rules);
        return -(int)err->code;
    }
    cJSON_Delete(tree);
    *ret = rules;
    return 0;
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (size_t i = 0; i < rules->count; i++) {
        struct rule *rule = &rules->list[i];

        for (size_t k = 0; rule->kinds && rule->kinds[k]; k++)
            free(rule->kinds[k]);
        free(rule->kinds);
        for (size_t k = 0; k < rule->key_count; k++) {
            OPENSSL_cleanse(rule->keys[k].secret, SECRET_MAX);
            free(rule->keys[k].name);
        }
        free(rule->keys);
    }
    free(rules->list);
    free(rules);
}

static bool kind_matches(const char *pattern, struct str kind)
{
    if (pattern[0] != '*')
        return str_eqc(kind, pattern);
    if (c_eq(pattern, "*.*"))
        return true;
    ssize_t point = str_find(kind, '.');

    if (point < 0)
        return pattern[2] == '\0';
    return str_eqc(str_range(kind.p + point + 1, kind.n - (size_t)point - 1), pattern + 2);
}

const struct rule *rules_find(const struct rules *rules, struct str kind)
{
    for (size_t i = 0; rules && i < rules->count; i++)
        for (char **pattern = rules->list[i].kinds; *pattern; pattern++)
            if (kind_matches(*pattern, kind))
                return &rules->list[i];
    return NULL;
}
