/*
 * How many pods each ReplicaSet of a Deployment should have, and the writes that make it so: see
 * deployment.h.
 *
 * maxSurge rounds up, maxUnavailable down; both zero means one unavailable. A rolling step scales
 * the new set up to replicas + surge in total, then the old ones down by what availability allows:
 * first pods that are not available anyway, then from the oldest set on. What the new set still
 * lacks in availability counts against the old ones.
 */
#include "common/log.h"
#include "controller/deployment.h"
#include "controller/pods.h"
#include "controller/status.h"

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

struct plan plan_of(const struct deployment *d)
{
    struct plan p = {.replicas = d->replicas.set ? d->replicas.value : 1,
        .rolling = strcmp(d->strategy, "Recreate") != 0};
    autojson cJSON *status = json_of_text(d->status);

    p.status_replicas = json_int64_at(status, "replicas", 0);
    if (!p.rolling)
        return p;
    p.max_surge = int_or_percent(d->max_surge, p.replicas, true);
    p.max_unavailable = int_or_percent(d->max_unavailable, p.replicas, false);
    if (p.max_surge == 0 && p.max_unavailable == 0)
        p.max_unavailable = 1;
    p.max_unavailable = min64(p.max_unavailable, p.replicas);
    return p;
}

static int64_t total(const struct set *sets, size_t count)
{
    int64_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += sets[i].replicas;
    return n;
}

int64_t plan_new_size(
    const struct plan *p, const struct set *sets, size_t count, const struct set *fresh)
{
    if (!p->rolling)
        return p->replicas;
    int64_t room = p->replicas + p->max_surge - total(sets, count);
    if (room <= 0)
        return fresh->replicas;
    return fresh->replicas + min64(room, p->replicas - fresh->replicas);
}

void plan_scale_down(const struct plan *p, struct set *sets, size_t count, ssize_t newest)
{
    int64_t min_available = p->replicas - p->max_unavailable;
    int64_t missing = newest >= 0 ? sets[newest].replicas - sets[newest].available : 0;
    int64_t budget = total(sets, count) - min_available - missing, available = 0;

    if (budget <= 0)
        return;
    for (size_t i = 0; i < count && budget > 0; i++) { /* pods that serve nobody */
        if ((ssize_t)i == newest || sets[i].replicas <= sets[i].available)
            continue;
        int64_t n = min64(budget, sets[i].replicas - sets[i].available);
        sets[i].replicas -= n;
        budget -= n;
    }
    for (size_t i = 0; i < count; i++)
        available += sets[i].available;
    int64_t spare = available - min_available;
    for (size_t i = 0; i < count && spare > 0; i++) {
        if ((ssize_t)i == newest || sets[i].replicas == 0)
            continue;
        int64_t n = min64(spare, sets[i].replicas);
        sets[i].replicas -= n;
        spare -= n;
    }
}

/* --- proportional scaling --- */

static int64_t round_half_away(double x)
{
    return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}

/* How much a set grows (or shrinks) when the whole does. */
static int64_t share(const struct plan *p, const struct set *s)
{
    if (p->replicas == 0)
        return -s->replicas;
    int64_t was = s->max_replicas ? s->max_replicas : p->status_replicas;
    if (was == 0)
        return 0;
    return round_half_away((double)(s->replicas * (p->replicas + p->max_surge)) / (double)was) -
           s->replicas;
}

static int cmp_size(const struct set *a, const struct set *b, bool newer_first)
{
    if (a->replicas != b->replicas)
        return a->replicas > b->replicas ? -1 : 1;
    if (a->creation_ns != b->creation_ns)
        return (a->creation_ns < b->creation_ns) == newer_first ? 1 : -1;
    return newer_first ? strcmp(b->name, a->name) : strcmp(a->name, b->name);
}

static int cmp_size_newer(const void *a, const void *b)
{
    return cmp_size(*(struct set *const *)a, *(struct set *const *)b, true);
}

static int cmp_size_older(const void *a, const void *b)
{
    return cmp_size(*(struct set *const *)a, *(struct set *const *)b, false);
}

void plan_proportional(const struct plan *p, struct set **active, size_t count)
{
    int64_t have = 0, added = 0;

    for (size_t i = 0; i < count; i++)
        have += active[i]->replicas;
    int64_t allowed = p->replicas > 0 ? p->replicas + p->max_surge : 0;
    int64_t to_add = allowed - have;
    if (to_add == 0 || count == 0)
        return;
    qsort(active, count, sizeof(*active), to_add > 0 ? cmp_size_newer : cmp_size_older);
    for (size_t i = 0; i < count; i++) {
        int64_t left = to_add - added, n = share(p, active[i]);
        if (active[i]->replicas == 0 || left == 0)
            continue;
        n = to_add > 0 ? min64(n, left) : max64(n, left);
        active[i]->replicas += n;
        added += n;
    }
    active[0]->replicas = max64(active[0]->replicas + to_add - added, 0);
}

/* --- writes --- */

/* The stored size; `replicas` of a set is what it should become. */
static int64_t stored(const struct set *s)
{
    return s->rs->replicas.set ? s->rs->replicas.value : 1;
}

static bool annotation_is(const struct replica_set *rs, const char *key, int64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)value);
    return c_eq(string_map_get(&rs->meta.annotations, key), text);
}

static int write_size(struct rollout *r, struct set *s, bool *ret_scaled, struct error *err)
{
    int64_t from = stored(s), to = s->replicas, most = r->plan.replicas + r->plan.max_surge;
    struct manager *m = r->c->m;

    if (from == to && annotation_is(s->rs, DESIRED_REPLICAS, r->plan.replicas) &&
        annotation_is(s->rs, MAX_REPLICAS, most))
        return 0;
    cJSON *patch = json_make("{\"metadata\":{\"annotations\":{\"" DESIRED_REPLICAS
                             "\":\"%lld\",\"" MAX_REPLICAS "\":\"%lld\"}}}",
        (long long)r->plan.replicas, (long long)most);
    if (from != to)
        json_set_at(patch, "spec.replicas", json_new_int64(to));
    if (object_patch(m, KIND_REPLICA_SET, &s->rs->meta, NULL, patch, err) < 0)
        return -(int)err->code;
    if (from != to) {
        *ret_scaled = true;
        controller_event(r->c, KIND_DEPLOYMENT, &r->d->meta, EVENT_NORMAL, "ScalingReplicaSet",
            "Scaled %s replica set %s from %lld to %lld", to > from ? "up" : "down", s->name,
            (long long)from, (long long)to);
    }
    const struct replica_set *fresh =
        kind_get_uid(m, KIND_REPLICA_SET, s->rs->meta.namespace_, s->name, s->rs->meta.uid);
    if (fresh) {
        projected_unref(s->rs);
        s->rs = fresh;
        s->name = fresh->meta.name;
    }
    return 0;
}

int scale_to(
    struct rollout *r, struct set *s, int64_t replicas, bool *ret_scaled, struct error *err)
{
    if (stored(s) == replicas)
        return 0;
    s->replicas = replicas;
    return write_size(r, s, ret_scaled, err);
}

int roll_new(struct rollout *r, bool *ret_scaled, struct error *err)
{
    struct set *s = new_set(r);

    if (!s || s->replicas == r->plan.replicas)
        return 0;
    if (s->replicas > r->plan.replicas)
        return scale_to(r, s, r->plan.replicas, ret_scaled, err);
    return scale_to(r, s, plan_new_size(&r->plan, r->sets, r->count, s), ret_scaled, err);
}

int roll_old(struct rollout *r, bool *ret_scaled, struct error *err)
{
    plan_scale_down(&r->plan, r->sets, r->count, r->newest);
    for (size_t i = 0; i < r->count; i++)
        if (r->sets[i].replicas != stored(&r->sets[i]) &&
            write_size(r, &r->sets[i], ret_scaled, err) < 0)
            return -(int)err->code;
    return 0;
}

/* The one set that has pods, or the latest when none has; NULL when several have. */
static struct set *only_active(struct rollout *r)
{
    struct set *found = NULL;

    for (size_t i = 0; i < r->count; i++)
        if (r->sets[i].replicas > 0) {
            if (found)
                return NULL;
            found = &r->sets[i];
        }
    if (found || r->count == 0)
        return found;
    return new_set(r) ? new_set(r) : &r->sets[r->count - 1];
}

static bool is_saturated(struct rollout *r)
{
    const struct set *s = new_set(r);

    return s && s->replicas == r->plan.replicas && set_desired(s) == r->plan.replicas &&
           s->available == r->plan.replicas;
}

int scale_all(struct rollout *r, struct error *err)
{
    struct set *only = only_active(r);
    bool scaled = false;

    if (only)
        return scale_to(r, only, r->plan.replicas, &scaled, err);
    if (is_saturated(r)) {
        for (size_t i = 0; i < r->count; i++)
            if (&r->sets[i] != new_set(r) && scale_to(r, &r->sets[i], 0, &scaled, err) < 0)
                return -(int)err->code;
        return 0;
    }
    if (!r->plan.rolling)
        return 0;
    autofree struct set **active = xcalloc(r->count + 1, sizeof(struct set *));
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->sets[i].replicas > 0)
            active[count++] = &r->sets[i];
    plan_proportional(&r->plan, active, count);
    for (size_t i = 0; i < count; i++)
        if (write_size(r, active[i], &scaled, err) < 0)
            return -(int)err->code;
    return 0;
}
