/*
 * Printed sets of fields by the shape of an object. See field_memo.h.
 */
#include "apiserver/schema/field_memo.h"

/* At about 700 bytes a text: 360 KB when a cluster has that many different shapes. */
#define SLOTS 512
/* Longer ones (maps of thousands of keys) are not worth a place. */
#define TEXT_BYTES_MAX 8192

struct field_memo {
    struct env *env;
    uint64_t seed;
    struct lock lock;
    struct {
        uint64_t hash;
        char *text;
        size_t n;
    } slots[SLOTS];
};

struct field_memo *field_memo_new(struct env *env)
{
    struct field_memo *m = xcalloc(1, sizeof(*m));
    m->env = env;
    m->seed = env_random(env);
    env_lock_init(&m->lock);
    return m;
}

void field_memo_free(struct field_memo *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        free(m->slots[i].text);
    env_lock_done(&m->lock);
    free(m);
}

uint64_t field_memo_seed(const struct field_memo *m)
{
    return m->seed;
}

bool field_memo_get(struct field_memo *m, uint64_t hash, struct strbuf *out)
{
    size_t i = hash % SLOTS;
    env_lock(m->env, &m->lock);
    bool found = m->slots[i].text && m->slots[i].hash == hash;
    if (found)
        strbuf_add(out, str_range(m->slots[i].text, m->slots[i].n));
    env_unlock(m->env, &m->lock);
    return found;
}

void field_memo_put(struct field_memo *m, uint64_t hash, struct str text)
{
    size_t i = hash % SLOTS;
    if (text.n > TEXT_BYTES_MAX)
        return;
    char *copy = str_dup(text);
    env_lock(m->env, &m->lock);
    char *old = m->slots[i].text;
    m->slots[i].hash = hash;
    m->slots[i].text = copy;
    m->slots[i].n = text.n;
    env_unlock(m->env, &m->lock);
    free(old);
}
