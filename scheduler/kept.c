/* Kept results of row-local plugins. See kept.h. */
#include "scheduler/kept.h"

static void print_text(struct strbuf *out, const char *s)
{
    strbuf_add(out, str_range(s, strlen(s) + 1));
}

static void print_bytes(struct strbuf *out, const void *data, size_t n)
{
    strbuf_add(out, str_range(data, n));
}

static void print_number(struct strbuf *out, int64_t n)
{
    print_bytes(out, &n, sizeof(n));
}

static void print_requirements(struct strbuf *out, const struct projected_list *list)
{
    const struct node_requirement *r = list->items;

    print_number(out, (int64_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        print_text(out, r[i].key);
        print_text(out, r[i].operator_);
        print_number(out, (int64_t)r[i].values.count);
        for (size_t k = 0; k < r[i].values.count; k++)
            print_text(out, r[i].values.strings[k]);
    }
}

static void print_term(struct strbuf *out, const struct node_term *term)
{
    print_requirements(out, &term->expressions);
    print_requirements(out, &term->fields);
}

static void print_node_affinity(struct strbuf *out, const struct pod *pod)
{
    const struct node_term *required = pod->required.items;
    const struct preferred_node_term *preferred = pod->preferred.items;

    for (size_t i = 0; i < pod->node_selector.count; i++) {
        print_text(out, pod->node_selector.pairs[i].key);
        print_text(out, pod->node_selector.pairs[i].value);
    }
    print_number(out, (int64_t)pod->required.count * 2 + pod->has_required_terms);
    for (size_t i = 0; i < pod->required.count; i++)
        print_term(out, &required[i]);
    print_number(out, (int64_t)pod->preferred.count);
    for (size_t i = 0; i < pod->preferred.count; i++) {
        print_number(out, preferred[i].weight);
        print_term(out, &preferred[i].term);
    }
}

static void print_tolerations(struct strbuf *out, const struct pod *pod)
{
    const struct toleration *t = pod->tolerations.items;

    print_number(out, (int64_t)pod->tolerations.count);
    for (size_t i = 0; i < pod->tolerations.count; i++) {
        print_text(out, t[i].key);
        print_text(out, t[i].operator_);
        print_text(out, t[i].value);
        print_text(out, t[i].effect);
    }
}

bool pod_kind_print(const struct pod_info *pod, struct strbuf *out)
{
    if (pod->uses_claims || pod->uses_disks)
        return false;
    print_text(out, pod->object->scheduler_name);
    print_text(out, pod->object->node_name);
    print_bytes(out, pod->request, sizeof(pod->request));
    print_bytes(out, pod->nonzero, sizeof(pod->nonzero));
    print_number(out, pod->extended_count);
    for (uint32_t i = 0; i < pod->extended_count; i++) {
        print_number(out, pod->extended[i].id);
        print_number(out, pod->extended[i].amount);
    }
    print_number(out, pod->port_count);
    for (uint32_t i = 0; i < pod->port_count; i++) {
        print_number(out, pod->ports[i].protocol << 16 | pod->ports[i].port);
        print_text(out, pod->ports[i].ip);
    }
    print_tolerations(out, pod->object);
    print_node_affinity(out, pod->object);
    return true;
}

void kept_done(struct kept *k)
{
    free(k->fits.words);
    free(k->base);
    for (size_t i = 0; i < PLUGINS_MAX; i++)
        free(k->raw[i]);
    strbuf_done(&k->kind);
}

void kept_reset(struct kept *k, uint32_t capacity)
{
    if (k->capacity != capacity) {
        k->base = xrealloc(k->base, capacity * sizeof(int32_t));
        k->fits.words = xrealloc(k->fits.words, capacity / 8);
        k->fits.word_count = capacity / 64;
        k->capacity = capacity;
    }
    memset(k->base, 0, capacity * sizeof(int32_t));
    for (size_t i = 0; i < PLUGINS_MAX; i++)
        free(steal(&k->raw[i]));
    k->refused_by = 0;
    k->version = UINT64_MAX;
}

bool kept_stale_rows(const struct kept *k, const struct node_table *nodes, struct node_set *ret)
{
    if (k->version > nodes->version || nodes->version - k->version > NODE_TABLE_LOG / 4)
        return false;
    for (uint64_t v = k->version; v < nodes->version; v++)
        node_set_add(ret, nodes->touched[v % NODE_TABLE_LOG]);
    return true;
}
