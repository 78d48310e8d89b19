/*
 * Members of an object by name through a hash table. A removed member leaves its slot behind as a
 * grave.
 */
#include "apiserver/schema/model.h"

/* Below this a search through the list is as fast as making a table. */
#define FEW 64

static cJSON grave;

size_t members_count(const cJSON *object)
{
    size_t n = 0;
    for (const cJSON *m = object ? object->child : NULL; m; m = m->next)
        n++;
    return n;
}

static size_t find(const struct members *m, const char *name)
{
    size_t at = schema_hash(name, strlen(name)) & m->mask;
    while (m->slots[at] && (m->slots[at] == &grave || strcmp(m->slots[at]->string, name) != 0))
        at = (at + 1) & m->mask;
    return at;
}

struct members members_of(cJSON *object, size_t more)
{
    size_t n = members_count(object) + more, size = FEW * 4;
    struct members m = {.object = object};
    if (n <= FEW)
        return m;
    while (size < n * 2)
        size *= 2;
    m.slots = xcalloc(size, sizeof(*m.slots));
    m.mask = size - 1;
    for (cJSON *e = object ? object->child : NULL; e; e = e->next)
        m.slots[find(&m, e->string)] = e;
    return m;
}

void members_done(struct members *m)
{
    free(m->slots);
}

cJSON *members_get(const struct members *m, const char *name)
{
    return m->slots ? m->slots[find(m, name)] : json_get(m->object, name);
}

void members_set(struct members *m, const char *name, cJSON *item)
{
    if (!m->slots) {
        json_set(m->object, name, item);
        return;
    }
    size_t at = find(m, name);
    cJSON *old = m->slots[at];
    if (old) {
        cJSON_free(item->string);
        item->string = xstrdup(name);
        cJSON_ReplaceItemViaPointer(m->object, old, item);
    } else {
        cJSON_AddItemToObject(m->object, name, item);
    }
    m->slots[at] = item;
}

void members_remove(struct members *m, const char *name)
{
    if (!m->slots) {
        json_remove(m->object, name);
        return;
    }
    size_t at = find(m, name);
    if (!m->slots[at])
        return;
    cJSON_Delete(cJSON_DetachItemViaPointer(m->object, m->slots[at]));
    m->slots[at] = &grave;
}
