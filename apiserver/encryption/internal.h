/*
 * Inside encryption: rules.c reads the file, cipher.c seals and opens, encryption.c keeps the rules
 * in force.
 */
#pragma once

#include "apiserver/encryption/encryption.h"

#define SECRET_MAX 32
#define KEY_NAME_MAX 255

enum cipher { CIPHER_IDENTITY = 0, CIPHER_AESGCM = 'g', CIPHER_AESCBC = 'c' };

struct sealing_key {
    enum cipher cipher;
    char *name;
    uint8_t secret[SECRET_MAX];
    size_t secret_bytes;
    uint16_t id;
};

struct rule {
    char **kinds; /* patterns; NULL ended */
    struct sealing_key *keys;
    size_t key_count;
};

struct rules {
    uint32_t refs; /* of encryption, its lock held */
    struct rule *list;
    size_t count;
};

const char *cipher_name(enum cipher cipher);

int rules_parse(struct str text, struct rules **ret, struct error *err);
void rules_free(struct rules *rules);
const struct rule *rules_find(const struct rules *rules, struct str kind);

void cipher_seal(struct env *env, const struct sealing_key *k, struct str key, struct str value,
    struct strbuf *out);

/* What a sealed value says about itself. */
struct seal_head {
    enum cipher cipher;
    struct str key_name;
    size_t bytes;
};
bool cipher_is_sealed(struct str stored);
int cipher_read_head(struct str stored, struct seal_head *ret, struct error *err);
/* false: damaged, another secret or another name. */
bool cipher_open(const struct sealing_key *k, struct str key, struct str stored,
    const struct seal_head *head, struct strbuf *out);
