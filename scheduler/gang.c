/* Gangs: who belongs to which. See gang.h; scheduler.c decides them. */
#include "scheduler/gang.h"

#include "scheduler/node_set.h"

#define LABEL_GANG "skiff.io/gang"
#define LABEL_SIZE "skiff.io/gang-size"

struct gang {
    char *key; /* namespace/name */
    struct pod_info **members;
    size_t count, capacity;
    UT_hash_handle hh;
};
struct gangs {
    struct gang *all;
};

struct gangs *gangs_new(void)
{
    return xcalloc(1, sizeof(struct gangs));
}

void gangs_free(struct gangs *g)
{
    free(g); /* pods leave one by one before */
}

bool pod_has_gang(const struct pod *pod)
{
    return string_map_get(&pod->meta.labels, LABEL_GANG) != NULL;
}

static struct gang *find(const struct gangs *g, const struct pod *pod, char **ret_key)
{
    struct gang *gang;
    char *key =
        str_format("%s/%s", pod->meta.namespace_, string_map_get(&pod->meta.labels, LABEL_GANG));

    HASH_FIND_STR(g->all, key, gang);
    *ret_key = key;
    return gang;
}

void gangs_add(struct gangs *g, struct pod_info *pod)
{
    autofree char *key = NULL;

    if (!pod_has_gang(pod->object))
        return;
    struct gang *gang = find(g, pod->object, &key);
    if (!gang) {
        gang = xcalloc(1, sizeof(*gang));
        gang->key = steal(&key);
        HASH_ADD_KEYPTR(hh, g->all, gang->key, strlen(gang->key), gang);
    }
    if (gang->count == gang->capacity) {
        gang->capacity = gang->capacity ? gang->capacity * 2 : 4;
        gang->members = xrealloc(gang->members, gang->capacity * sizeof(*gang->members));
    }
    gang->members[gang->count++] = pod;
}

void gangs_remove(struct gangs *g, struct pod_info *pod)
{
    autofree char *key = NULL;
    size_t i = 0;

    if (!pod_has_gang(pod->object))
        return;
    struct gang *gang = find(g, pod->object, &key);
    while (gang && i < gang->count && gang->members[i] != pod)
        i++;
    if (!gang || i == gang->count)
        return;
    gang->members[i] = gang->members[--gang->count];
    if (gang->count)
        return;
    HASH_DEL(g->all, gang);
    free(gang->members);
    free(gang->key);
    free(gang);
}

struct gang_view gangs_view(const struct gangs *g, const struct pod_info *pod)
{
    const char *size = string_map_get(&pod->object->meta.labels, LABEL_SIZE);
    struct gang_view view = {.size = 1};
    autofree char *key = NULL;
    struct error err;
    int64_t n;

    if (size && str_parse_int64(str_of(size), &n, &err) == 0 && n > 0)
        view.size = (size_t)n;
    if (!pod_has_gang(pod->object))
        return view;
    const struct gang *gang = find(g, pod->object, &key);
    if (!gang)
        return view;
    view.members = gang->members;
    view.count = gang->count;
    for (size_t i = 0; i < gang->count; i++)
        view.placed += gang->members[i]->row != ROW_NONE || gang->members[i]->object->node_name[0];
    return view;
}
