/*
 * Decide: filters, scores and the choice among the best. See decide.h.
 *
 * On the way to a decision nothing is recorded but bits; only when no node fits are the filters run
 * again, one at a time, to learn which of them refused which node.
 *
 * The work is in two halves. Row-local plugins (most) depend on pod and row alone: their results
 * are kept for pods of the same kind. Plugins that look around run for every pod, on what the first
 * half leaves. The order of filters matters for reasons only.
 */
#include "scheduler/decide.h"

#include <assert.h>

#include "scheduler/diagnosis.h"
#include "scheduler/hot.h"
#include "scheduler/kept.h"
#include "scheduler/plugins/volume_binding.h"

struct decider {
    struct env *env;
    struct arena *arena;
    struct cycle_state state;
    struct storage *storage;
    struct profile default_profile;
    const struct profile *profiles;
    size_t profile_count;
    struct kept kept[KEPT_KINDS];
    uint64_t decisions;
    struct strbuf kind;
    uint64_t random; /* state of the generator that breaks ties */
    struct strbuf message;
};

struct decider *decider_new(struct env *env)
{
    struct decider *d = xcalloc(1, sizeof(*d));

    assert(plugin_count <= PLUGINS_MAX);
    d->env = env;
    d->arena = arena_new();
    d->random = env_random(env) | 1;
    profile_init(&d->default_profile, "default-scheduler");
    decider_set_profiles(d, &d->default_profile, 1);
    strbuf_init(&d->message, 0);
    strbuf_init(&d->kind, 0);
    for (size_t i = 0; i < KEPT_KINDS; i++)
        strbuf_init(&d->kept[i].kind, 0);
    return d;
}

void decider_free(struct decider *d)
{
    if (!d)
        return;
    arena_free(d->arena);
    for (size_t i = 0; i < KEPT_KINDS; i++)
        kept_done(&d->kept[i]);
    strbuf_done(&d->message);
    strbuf_done(&d->kind);
    profile_done(&d->default_profile);
    free(d);
}

void decider_set_profiles(struct decider *d, const struct profile *profiles, size_t count)
{
    d->profiles = profiles;
    d->profile_count = count;
}

void decider_seed(struct decider *d, uint64_t seed)
{
    d->random = seed | 1;
}

void decider_set_storage(struct decider *d, struct storage *storage)
{
    d->storage = storage;
}

bool decider_serves(const struct decider *d, const char *scheduler_name)
{
    for (size_t i = 0; i < d->profile_count; i++)
        if (c_eq(d->profiles[i].scheduler_name, scheduler_name))
            return true;
    return false;
}

const struct profile *decider_profile(const struct decider *d, const struct pod *pod)
{
    for (size_t i = 0; i < d->profile_count; i++)
        if (c_eq(d->profiles[i].scheduler_name, pod->scheduler_name))
            return &d->profiles[i];
    return &d->profiles[0];
}

struct cycle decider_cycle(
    struct decider *d, const struct node_table *nodes, const struct pod_info *pod)
{
    arena_clear(d->arena);
    d->state = (struct cycle_state){0};
    return (struct cycle){
        .nodes = nodes,
        .pod = pod,
        .profile = decider_profile(d, pod->object),
        .storage = d->storage,
        .state = &d->state,
        .arena = d->arena,
    };
}

static uint64_t next_random(struct decider *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

/* Filters */

enum half { ROW_LOCAL, LOOKING_AROUND, BOTH };

static bool is_in_half(const struct plugin *p, enum half half)
{
    return half == BOTH || p->looks_around == (half == LOOKING_AROUND);
}

static const char *run_narrowing(
    const struct cycle *cycle, struct node_set *fits, uint64_t *refused_by)
{
    for (size_t i = 0; i < plugin_count; i++) {
        if (!plugins[i]->narrow || !(cycle->profile->filters >> i & 1))
            continue;
        size_t before = node_set_count(fits);
        const char *whole_pod = plugins[i]->narrow(cycle, fits);
        if (whole_pod)
            node_set_clear(fits);
        if (node_set_count(fits) < before || whole_pod)
            *refused_by |= 1ull << i;
        if (whole_pod)
            return whole_pod;
    }
    return NULL;
}

static void run_filters(
    const struct cycle *cycle, enum half half, struct node_set *fits, uint64_t *refused_by)
{
    size_t left = node_set_count(fits);

    for (size_t i = 0; i < plugin_count && left; i++) {
        if (!plugins[i]->filter || !(cycle->profile->filters >> i & 1) ||
            !is_in_half(plugins[i], half))
            continue;
        plugins[i]->filter(cycle, fits);
        size_t now = node_set_count(fits);
        if (now < left)
            *refused_by |= 1ull << i;
        left = now;
    }
}

const char *decider_filter(const struct cycle *cycle, struct node_set *fits, uint64_t *refused_by)
{
    const char *whole_pod = run_narrowing(cycle, fits, refused_by);

    if (!whole_pod)
        run_filters(cycle, BOTH, fits, refused_by);
    return whole_pod;
}

/* Row-local scores */

static int32_t weight_of(const struct cycle *cycle, size_t plugin)
{
    return (int32_t)cycle->profile->weights[plugin];
}

/* Rows that are not in the set may hold anything, so the sums are unsigned: they may wrap. */
HOT static void add_scores(
    const struct node_set *rows, int32_t weight, const int32_t *scores, int32_t *total)
{
    for (size_t w = 0; w < rows->word_count; w++) {
        if (!rows->words[w])
            continue;
        for (size_t i = w * 64; i < w * 64 + 64; i++)
            total[i] = (int32_t)((uint32_t)total[i] + (uint32_t)weight * (uint32_t)scores[i]);
    }
}

static void copy_rows(const struct node_set *rows, const int32_t *from, int32_t *to)
{
    NODE_SET_FOR_EACH(row, rows)
    to[row] = from[row];
}

/* Zeroes the words of 64 rows in which the set has any. */
static void clear_words(const struct node_set *rows, int32_t *scores)
{
    for (size_t w = 0; w < rows->word_count; w++)
        if (rows->words[w])
            memset(scores + w * 64, 0, 64 * sizeof(*scores));
}

/* Scores of the row-local plugins for `rows`: those to normalize into k, the weighted sum of the
 * others into sum, which is zero there before. */
static void score_rows(
    const struct cycle *cycle, const struct node_set *rows, struct kept *k, int32_t *sum)
{
    int32_t *scores = arena_alloc(cycle->arena, k->capacity * sizeof(int32_t));

    for (size_t i = 0; i < plugin_count; i++) {
        const struct plugin *p = plugins[i];
        if (!p->score || p->looks_around || !(cycle->profile->scores >> i & 1) ||
            !p->score(cycle, rows, scores))
            continue;
        if (p->normalize == NORMALIZE_NONE) {
            add_scores(rows, weight_of(cycle, i), scores, sum);
            continue;
        }
        if (!k->raw[i])
            k->raw[i] = xcalloc(k->capacity, sizeof(int32_t));
        copy_rows(rows, scores, k->raw[i]);
    }
}

/* Everything anew. Returns the sentence of a hook that refused the whole pod, or NULL. */
static const char *fill(const struct cycle *cycle, struct kept *k)
{
    const struct node_table *nodes = cycle->nodes;

    kept_reset(k, nodes->capacity);
    node_set_copy(&k->fits, &nodes->live);
    const char *whole_pod = run_narrowing(cycle, &k->fits, &k->refused_by);
    if (!whole_pod)
        run_filters(cycle, ROW_LOCAL, &k->fits, &k->refused_by);
    score_rows(cycle, &k->fits, k, k->base);
    k->version = whole_pod ? UINT64_MAX : nodes->version;
    return whole_pod;
}

static void drop_raw(struct kept *k, const struct node_set *rows)
{
    for (size_t i = 0; i < PLUGINS_MAX; i++)
        if (k->raw[i])
            NODE_SET_FOR_EACH(row, rows)
    k->raw[i][row] = 0;
}

static void refresh(const struct cycle *cycle, struct kept *k, const struct node_set *stale)
{
    struct node_set again = node_set_new_like(cycle->arena, stale);
    struct node_set narrowed = node_set_new_like(cycle->arena, stale);

    node_set_copy(&again, stale);
    node_set_and(&again, &cycle->nodes->live);
    node_set_and_not(&k->fits, stale);
    drop_raw(k, stale);
    node_set_copy(&narrowed, &again);
    if (!run_narrowing(cycle, &narrowed, &k->refused_by))
        node_set_copy(&again, &narrowed);
    run_filters(cycle, ROW_LOCAL, &again, &k->refused_by);
    int32_t *sum = arena_alloc(cycle->arena, k->capacity * sizeof(int32_t));
    clear_words(&again, sum);
    score_rows(cycle, &again, k, sum);
    copy_rows(&again, sum, k->base);
    node_set_or(&k->fits, &again);
    k->version = cycle->nodes->version;
}

static struct kept *find_kept(struct decider *d, bool *ret_known)
{
    struct kept *oldest = &d->kept[0];

    for (size_t i = 0; i < KEPT_KINDS; i++) {
        struct kept *k = &d->kept[i];
        if (k->kind.n == d->kind.n && k->kind.n && !memcmp(k->kind.data, d->kind.data, d->kind.n)) {
            *ret_known = true;
            return k;
        }
        if (k->used < oldest->used)
            oldest = k;
    }
    *ret_known = false;
    return oldest;
}

/* The row-local half for the pod, fresh or brought up to date. */
static struct kept *row_local(struct decider *d, const struct cycle *cycle, const char **whole_pod)
{
    struct node_set stale = node_set_new_like(cycle->arena, &cycle->nodes->live);
    bool known;

    strbuf_clear(&d->kind);
    if (!pod_kind_print(cycle->pod, &d->kind))
        strbuf_clear(&d->kind);
    struct kept *k = find_kept(d, &known);
    k->used = ++d->decisions;
    *whole_pod = NULL;
    if (known && k->capacity == cycle->nodes->capacity &&
        kept_stale_rows(k, cycle->nodes, &stale)) {
        if (k->version != cycle->nodes->version)
            refresh(cycle, k, &stale);
        return k;
    }
    strbuf_clear(&k->kind);
    strbuf_add(&k->kind, strbuf_str(&d->kind));
    *whole_pod = fill(cycle, k);
    return k;
}

/* Totals */

static int32_t highest_of(const struct node_set *fits, const int32_t *scores)
{
    int32_t highest = 0;

    NODE_SET_FOR_EACH(row, fits)
    highest = scores[row] > highest ? scores[row] : highest;
    return highest;
}

static void add_normalized(const struct plugin *p, const struct node_set *fits, int32_t weight,
    const int32_t *scores, int32_t *total)
{
    int32_t highest = highest_of(fits, scores);

    if (!highest)
        return; /* the same for all */
    NODE_SET_FOR_EACH(row, fits)
    {
        int32_t score = (int32_t)((int64_t)scores[row] * PLUGIN_SCORE_MAX / highest);
        total[row] +=
            weight * (p->normalize == NORMALIZE_REVERSED ? PLUGIN_SCORE_MAX - score : score);
    }
}

static bool has_raw(const struct kept *k)
{
    for (size_t i = 0; i < PLUGINS_MAX; i++)
        if (k->raw[i])
            return true;
    return false;
}

/* The total of each row of fits: k's own array when there is nothing to add to it. */
static const int32_t *sum_up(
    const struct cycle *cycle, const struct kept *k, const struct node_set *fits)
{
    size_t bytes = k->capacity * sizeof(int32_t);
    int32_t *total = NULL, *scores = arena_alloc(cycle->arena, bytes);

    if (has_raw(k)) {
        total = arena_alloc(cycle->arena, bytes);
        memcpy(total, k->base, bytes);
    }
    for (size_t i = 0; i < plugin_count; i++) {
        const struct plugin *p = plugins[i];
        if (k->raw[i])
            add_normalized(p, fits, weight_of(cycle, i), k->raw[i], total);
        if (!p->score || !p->looks_around || !(cycle->profile->scores >> i & 1) ||
            !p->score(cycle, fits, scores))
            continue;
        if (!total) {
            total = arena_alloc(cycle->arena, bytes);
            memcpy(total, k->base, bytes);
        }
        add_scores(fits, weight_of(cycle, i), scores, total);
    }
    return total ? total : k->base;
}

/* The highest total of each word's rows that are in fits, and of all of them. */
HOT static int32_t highest_totals(
    const struct node_set *fits, const int32_t *total, int32_t *restrict of_word)
{
    int32_t best = INT32_MIN;

    for (size_t w = 0; w < fits->word_count; w++) {
        const int32_t *t = total + w * 64;
        int32_t highest = INT32_MIN;
        if (fits->words[w] == UINT64_MAX) {
            for (unsigned i = 0; i < 64; i++)
                highest = t[i] > highest ? t[i] : highest;
        } else {
            for (uint64_t bits = fits->words[w]; bits; bits &= bits - 1) {
                int32_t score = t[__builtin_ctzll(bits)];
                highest = score > highest ? score : highest;
            }
        }
        of_word[w] = highest;
        best = highest > best ? highest : best;
    }
    return best;
}

static uint64_t equal_to(const int32_t *scores, uint64_t bits, int32_t value)
{
    uint64_t equal = 0;

    for (; bits; bits &= bits - 1) {
        unsigned i = (unsigned)__builtin_ctzll(bits);
        equal |= (uint64_t)(scores[i] == value) << i;
    }
    return equal;
}

/* The row of the highest total; among equals each is as likely as the others. */
static uint32_t choose(struct decider *d, const struct node_set *fits, const int32_t *total)
{
    int32_t *of_word = arena_alloc(d->arena, fits->word_count * sizeof(int32_t));
    uint64_t *ties = arena_alloc(d->arena, fits->word_count * sizeof(uint64_t));
    int32_t best = highest_totals(fits, total, of_word);
    size_t equals = 0;

    for (size_t w = 0; w < fits->word_count; w++) {
        ties[w] = 0;
        if (!fits->words[w] || of_word[w] != best)
            continue;
        ties[w] = equal_to(total + w * 64, fits->words[w], best);
        equals += (size_t)__builtin_popcountll(ties[w]);
    }
    uint64_t skip = next_random(d) % equals;
    for (size_t w = 0;; w++) {
        size_t here = (size_t)__builtin_popcountll(ties[w]);
        if (skip >= here) {
            skip -= here;
            continue;
        }
        uint64_t bits = ties[w];
        while (skip--)
            bits &= bits - 1;
        return (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits);
    }
}

/* Why not */

static bool runs(const struct cycle *cycle, size_t plugin)
{
    return cycle->profile->filters >> plugin & 1;
}

/* Why each node was refused: the filters once more, one after the other. */
static void diagnose(const struct cycle *cycle, struct reasons *why, struct node_set *fits)
{
    struct node_set refused = node_set_new_like(cycle->arena, fits);

    for (size_t i = 0; i < plugin_count; i++) {
        if (!plugins[i]->narrow || !runs(cycle, i))
            continue;
        node_set_copy(&refused, fits);
        plugins[i]->narrow(cycle, fits);
        node_set_and_not(&refused, fits);
        if (!node_set_is_empty(&refused))
            reasons_add(why, &refused, true, "node(s) didn't satisfy plugin(s) [%s]",
                plugins[i]->upstream_name);
    }
    for (size_t i = 0; i < plugin_count; i++) {
        if (!plugins[i]->filter || !runs(cycle, i))
            continue;
        node_set_copy(&refused, fits);
        plugins[i]->filter(cycle, fits);
        node_set_and_not(&refused, fits);
        reasons_of_plugin(why, cycle, plugins[i], &refused);
    }
}

/* The message, and whom to evict if that helps. */
static void explain(
    struct decider *d, const struct cycle *cycle, const char *whole_pod, struct decision *ret)
{
    struct reasons why = reasons_new(d->arena, &cycle->nodes->live);
    struct node_set fits = node_set_new_like(d->arena, &cycle->nodes->live);
    struct node_set candidates = node_set_new_like(d->arena, &cycle->nodes->live);

    strbuf_clear(&d->message);
    ret->message = d->message.data;
    if (!cycle->nodes->count) {
        strbuf_addc(&d->message, "no nodes available to schedule pods");
        ret->message = d->message.data;
        return;
    }
    strbuf_addf(&d->message, "0/%u nodes are available:", cycle->nodes->count);
    if (whole_pod) {
        strbuf_addf(&d->message, " %s.", whole_pod);
    } else {
        node_set_copy(&fits, &cycle->nodes->live);
        diagnose(cycle, &why, &fits);
        node_set_copy(&candidates, &cycle->nodes->live);
        node_set_and_not(&candidates, &why.unresolvable);
        node_set_and_not(&candidates, &fits);
        reasons_count(&why, node_set_count(&fits),
            "node(s) would do only with pods that are nominated but not there yet");
        reasons_print(&why, &d->message);
    }
    reasons_done(&why);
    if (!cycle->profile->no_preemption)
        preempt_find(cycle, &candidates, &d->message, &ret->preemption);
    ret->message = d->message.data;
}

/* Pods that wait for their nominated node */

static bool counts_first(const struct pod_info *nominated, const struct pod_info *pod)
{
    return nominated != pod && nominated->row == ROW_NONE && nominated->priority >= pod->priority;
}

/* Puts the nominated pods that count first on their rows for a while; returns how many. */
static size_t add_nominated(
    struct node_table *nodes, const struct pod_info *pod, struct pod_info **added)
{
    size_t n = 0;

    for (size_t i = 0; i < nodes->nominated_count; i++) {
        struct pod_info *p = nodes->nominated[i];
        if (!counts_first(p, pod))
            continue;
        node_table_add_pod(nodes, p, p->nominated_row);
        added[n++] = p;
    }
    return n;
}

static void remove_nominated(struct node_table *nodes, struct pod_info **added, size_t n)
{
    while (n)
        node_table_remove_pod(nodes, added[--n]);
}

static struct cycle renewed(const struct cycle *cycle)
{
    struct cycle again = *cycle;

    again.state = arena_new_array(cycle->arena, struct cycle_state, 1);
    return again;
}

void scheduler_decide(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    struct decision *ret)
{
    struct cycle cycle = decider_cycle(d, nodes, pod);
    struct node_table *table = (struct node_table *)nodes; /* left as it was found */
    struct pod_info **added = arena_new_array(d->arena, struct pod_info *, nodes->nominated_count);
    const char *whole_pod;

    *ret = (struct decision){.row = ROW_NONE, .preemption = {.row = ROW_NONE}};
    struct kept *k = row_local(d, &cycle, &whole_pod);
    struct node_set fits = node_set_new_like(d->arena, &k->fits);
    node_set_copy(&fits, &k->fits);
    ret->refused_by = k->refused_by;
    if (!whole_pod)
        run_filters(&cycle, LOOKING_AROUND, &fits, &ret->refused_by);
    size_t n = add_nominated(table, pod, added);
    struct cycle beside = n ? renewed(&cycle) : cycle;
    if (n && !node_set_is_empty(&fits))
        run_filters(&beside, BOTH, &fits, &ret->refused_by);
    ret->fitting = node_set_count(&fits);
    if (!ret->fitting) {
        explain(d, &beside, whole_pod, ret);
        remove_nominated(table, added, n);
        return;
    }
    remove_nominated(table, added, n);
    const int32_t *total = sum_up(&cycle, k, &fits);
    ret->row = choose(d, &fits, total);
    ret->score = total[ret->row];
    ret->volume_count = volume_choices(&cycle, ret->row, &ret->volumes);
}

bool decider_fits_row(struct decider *d, const struct node_table *nodes, const struct pod_info *pod,
    uint32_t row, uint64_t *ret_refused_by)
{
    struct cycle cycle = decider_cycle(d, nodes, pod);
    uint64_t refused_by = 0;

    if (!node_set_has(&nodes->live, row))
        return false;
    struct node_set fits = node_set_new_like(d->arena, &nodes->live);
    node_set_add(&fits, row);
    decider_filter(&cycle, &fits, &refused_by);
    if (ret_refused_by)
        *ret_refused_by = refused_by;
    return !node_set_is_empty(&fits);
}
