/*
 * The rules in force, and the ids of keys.
 *
 * Whoever seals or opens takes a reference to the rules, so that a reload in between frees the old
 * secrets only when nobody uses them. Ids are given to (cipher, name, secret) as they are first
 * seen and are never given to others while the process runs; what tells them apart is a digest.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "apiserver/encryption/internal.h"
#include "common/file.h"
#include "common/file_watch.h"
#include "common/log.h"

#define FILE_BYTES_MAX (1 << 20)
#define DIGEST_BYTES 32
#define IDS_MAX UINT16_MAX

struct encryption {
    struct env *env;
    char *path; /* NULL: nothing is configured */
    struct lock lock;
    struct rules *rules;
    uint8_t (*digests)[DIGEST_BYTES]; /* id - 1 */
    size_t id_count;
    struct file_watch *watch;
};

static void release(struct encryption *e, struct rules *rules)
{
    if (!rules)
        return;
    env_lock(e->env, &e->lock);
    bool last = --rules->refs == 0;

    env_unlock(e->env, &e->lock);
    if (last)
        rules_free(rules);
}

static struct rules *take(struct encryption *e)
{
    if (!e || !e->path)
        return NULL;
    env_lock(e->env, &e->lock);
    struct rules *rules = e->rules;

    if (rules)
        rules->refs++;
    env_unlock(e->env, &e->lock);
    return rules;
}

/* --- reading the file --- */

static void digest_of(const struct sealing_key *k, uint8_t ret[DIGEST_BYTES])
{
    uint8_t text[2 + SECRET_MAX + KEY_NAME_MAX] = {(uint8_t)k->cipher, (uint8_t)k->secret_bytes};
    size_t name_bytes = strlen(k->name);

    memcpy(text + 2, k->secret, k->secret_bytes);
    memcpy(text + 2 + k->secret_bytes, k->name, name_bytes);
    EVP_Digest(text, 2 + k->secret_bytes + name_bytes, ret, NULL, EVP_sha256(), NULL);
    OPENSSL_cleanse(text, sizeof(text));
}

static int give_id(struct encryption *e, struct sealing_key *k, struct error *err)
{
    uint8_t digest[DIGEST_BYTES];

    if (k->cipher == CIPHER_IDENTITY)
        return 0;
    digest_of(k, digest);
    for (size_t i = 0; i < e->id_count; i++)
        if (memcmp(e->digests[i], digest, DIGEST_BYTES) == 0) {
            k->id = (uint16_t)(i + 1);
            return 0;
        }
    if (e->id_count >= IDS_MAX)
        return error_set(err, ERR_TOO_LARGE, "more than %d keys since the start", IDS_MAX);
    e->digests = xrealloc(e->digests, (e->id_count + 1) * sizeof(*e->digests));
    memcpy(e->digests[e->id_count++], digest, DIGEST_BYTES);
    k->id = (uint16_t)e->id_count;
    return 0;
}

static int give_ids(struct encryption *e, struct rules *rules, struct error *err)
{
    for (size_t i = 0; i < rules->count; i++)
        for (size_t k = 0; k < rules->list[i].key_count; k++)
            if (give_id(e, &rules->list[i].keys[k], err) < 0)
                return -(int)err->code;
    return 0;
}

static int read_rules(struct encryption *e, struct error *err)
{
    struct strbuf text = STRBUF_EMPTY;
    struct rules *rules = NULL;
    int result = file_read(e->path, FILE_BYTES_MAX, &text, err);

    if (result == 0)
        result = rules_parse(strbuf_str(&text), &rules, err);
    if (text.data)
        OPENSSL_cleanse(text.data, text.n);
    strbuf_done(&text);
    if (result == 0 && give_ids(e, rules, err) < 0) {
        rules_free(rules);
        result = -(int)err->code;
    }
    if (result < 0)
        return error_wrap(err, "--encryption-provider-config: %s", e->path);
    env_lock(e->env, &e->lock);
    struct rules *old = e->rules;

    e->rules = rules;
    env_unlock(e->env, &e->lock);
    release(e, old);
    return 0;
}

static void reload(void *arg)
{
    struct encryption *e = (struct encryption *)arg;
    struct error err;

    if (read_rules(e, &err) < 0)
        log_error("the encryption configuration is bad, the one before stays in force", "err", "%s",
            err.text, NULL);
    else
        log_info("encryption configuration read again", "file", "%s", e->path, NULL);
}

int encryption_new(struct env *env, const char *path, struct encryption **ret, struct error *err)
{
    struct encryption *e = (struct encryption *)xcalloc(1, sizeof(*e));

    e->env = env;
    env_lock_init(&e->lock);
    if (path && *path) {
        const char *const paths[] = {path, NULL};

        e->path = xstrdup(path);
        if (read_rules(e, err) < 0) {
            encryption_free(e);
            return -(int)err->code;
        }
        e->watch = file_watch_new(env, paths, reload, e);
    }
    *ret = e;
    return 0;
}

void encryption_free(struct encryption *e)
{
    if (!e)
        return;
    file_watch_free(e->watch);
    rules_free(e->rules);
    free(e->digests);
    free(e->path);
    env_lock_done(&e->lock);
    free(e);
}

/* --- values --- */

uint16_t encryption_current(struct encryption *e, struct str kind)
{
    struct rules *rules = take(e);
    const struct rule *rule = rules_find(rules, kind);
    uint16_t id = rule ? rule->keys[0].id : 0;

    release(e, rules);
    return id;
}

uint16_t encryption_seal(
    struct encryption *e, struct str kind, struct str key, struct str value, struct strbuf *out)
{
    struct rules *rules = take(e);
    const struct rule *rule = rules_find(rules, kind);
    uint16_t id = rule ? rule->keys[0].id : 0;

    if (id)
        cipher_seal(e->env, &rule->keys[0], key, value, out);
    else
        strbuf_add(out, value);
    release(e, rules);
    return id;
}

static const struct sealing_key *find_key(
    const struct rule *rule, const struct seal_head *head, size_t *at)
{
    while (*at < rule->key_count) {
        const struct sealing_key *k = &rule->keys[(*at)++];

        if (k->cipher == head->cipher && str_eqc(head->key_name, k->name))
            return k;
    }
    return NULL;
}

/* With the keys of that name in one entry; *found counts them. */
static uint16_t open_with(const struct rule *rule, struct str key, struct str stored,
    const struct seal_head *head, struct strbuf *room, size_t *found)
{
    const struct sealing_key *k;

    for (size_t at = 0; (k = find_key(rule, head, &at)) != NULL;) {
        ++*found;
        strbuf_clear(room);
        if (cipher_open(k, key, stored, head, room))
            return k->id;
    }
    return 0;
}

static int open_sealed(const struct rules *rules, const struct rule *own, struct str key,
    struct str stored, struct strbuf *room, uint16_t *ret_id, struct error *err)
{
    struct seal_head head;
    size_t found = 0;
    uint16_t id = 0;

    if (cipher_read_head(stored, &head, err) < 0)
        return -(int)err->code;
    if (own)
        id = open_with(own, key, stored, &head, room, &found);
    for (size_t i = 0; !id && rules && i < rules->count; i++)
        if (&rules->list[i] != own)
            id = open_with(&rules->list[i], key, stored, &head, room, &found);
    *ret_id = id;
    if (id)
        return 0;
    if (found)
        return error_set(err, ERR_INTERNAL,
            "cannot be decrypted with %s key \"%.*s\": the stored value is damaged, or the key had "
            "another secret when it was written",
            cipher_name(head.cipher), STR_FMT(head.key_name));
    return error_set(err, ERR_FORBIDDEN,
        "is encrypted with %s key \"%.*s\", which --encryption-provider-config does not have",
        cipher_name(head.cipher), STR_FMT(head.key_name));
}

static bool takes_plain(const struct rule *rule)
{
    for (size_t i = 0; i < rule->key_count; i++)
        if (rule->keys[i].cipher == CIPHER_IDENTITY)
            return true;
    return false;
}

int encryption_open(struct encryption *e, struct str kind, struct str key, struct str stored,
    struct strbuf *room, struct str *ret, uint16_t *ret_id, struct error *err)
{
    struct rules *rules = take(e);
    const struct rule *rule = rules_find(rules, kind);
    int result = 0;

    if (!cipher_is_sealed(stored)) {
        *ret = stored;
        *ret_id = 0;
        if (rule && !takes_plain(rule))
            result = error_set(err, ERR_FORBIDDEN,
                "is stored in the clear, and its providers in --encryption-provider-config don't "
                "include identity");
    } else {
        result = open_sealed(rules, rule, key, stored, room, ret_id, err);
        if (result == 0)
            *ret = strbuf_str(room);
    }
    release(e, rules);
    return result;
}
