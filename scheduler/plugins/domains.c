/*
 * Topology domains during a cycle. See domains.h.
 *
 * Cost: sums are one pass over the rows that have pods to count, keeping one pass over the rows.
 */
#include "scheduler/plugins/domains.h"

#include "scheduler/hot.h"

struct domains domains_new(const struct cycle *cycle, const char *topology_key)
{
    struct domains d = {.key = label_index_key(&cycle->nodes->labels, topology_key), .count = 1};

    if (d.key) {
        d.of = label_key_domains(d.key, cycle->nodes->capacity);
        d.count = d.key->domain_count;
    }
    d.sums = arena_zalloc(cycle->arena, d.count * sizeof(int64_t));
    return d;
}

void domains_add(
    struct domains *d, const struct row_counts *counts, const struct node_set *only, int64_t weight)
{
    const struct row_count *e = counts->entries;

    if (!d->key)
        return;
    if (!only) {
        for (uint32_t i = 0; i < counts->count; i++)
            d->sums[d->of[e[i].row]] += e[i].count * weight;
    } else {
        for (uint32_t i = 0; i < counts->count; i++)
            d->sums[d->of[e[i].row]] += e[i].count * weight * node_set_has(only, e[i].row);
    }
    d->sums[0] = 0;
}

HOT static void keep_above(
    const uint32_t *all_of, const int64_t *sums, struct node_set *set, bool above, int64_t limit)
{
    for (size_t w = 0; w < set->word_count; w++) {
        const uint32_t *of = all_of + w * 64;
        uint64_t bits = 0;
        if (!set->words[w])
            continue;
        for (unsigned bit = 0; bit < 64; bit++)
            bits |= (uint64_t)(sums[of[bit]] > limit) << bit;
        set->words[w] &= above ? bits : ~bits;
    }
}

/* Many domains with few that matter (host names): only the values concerned are looked at. */
static bool keep_by_columns(
    const struct domains *d, struct node_set *set, bool above, int64_t limit)
{
    uint32_t over = 0;

    if (above || limit < 0 || d->sums[0] > limit)
        return false;
    for (uint32_t i = 1; i < d->count; i++)
        over += d->sums[i] > limit;
    if (over > d->count / 16)
        return false;
    for (uint32_t i = 1; i < d->count; i++)
        if (d->sums[i] > limit && d->key->by_domain[i])
            column_and_not(&d->key->by_domain[i]->nodes, set);
    return true;
}

void domains_keep(const struct domains *d, struct node_set *set, bool above, int64_t limit)
{
    if (!d->key) {
        if ((d->sums[0] > limit) != above)
            node_set_clear(set);
        return;
    }
    if (!keep_by_columns(d, set, above, limit))
        keep_above(d->of, d->sums, set, above, limit);
}

uint32_t domains_seen(const struct domains *d, const struct node_set *set, uint8_t *seen)
{
    uint32_t found = 0, all = d->key ? d->key->domain_count - 1 - d->key->free_count : 0;

    for (size_t w = 0; d->key && w < set->word_count && found < all; w++)
        for (uint64_t bits = set->words[w]; bits; bits &= bits - 1) {
            uint32_t domain = d->of[w * 64 + (size_t)__builtin_ctzll(bits)];
            found += domain && !seen[domain];
            seen[domain] = 1;
        }
    seen[0] = 0;
    return found;
}
