/*
 * See flow.h.
 *
 * Use of time is kept in windows: this one and the one before; an estimate of the last WINDOW_NS is
 * this one plus the part of the one before that still counts.
 */
#include "apiserver/request/flow.h"

#include <stdatomic.h>

#include "apiserver/server.h"
#include "common/time.h"

#define FLOWS 1024
#define WINDOW_NS (500 * NS_PER_MS)
/* Busy: the loops worked for so much of the window. */
#define BUSY_PERCENT 85
/* Of what was used, one flow may have so much while others want some. */
#define SHARE_PERCENT 50
#define OTHERS_PERCENT 1

struct level {
    const char *name;
    const char *group, *user, *user_prefix; /* any of them; all NULL: everybody */
    int seats, flow_seats;                  /* of all, of one user */
    bool by_address;                        /* a flow is a host, not a user */
    bool never_slowed;                      /* the share of time does not count */
};

static const struct level levels[] = {
    {"exempt", .group = "system:masters", .seats = 1 << 20, .flow_seats = 1 << 20,
        .never_slowed = true},
    {"node-high", .group = "system:nodes", .seats = 2000, .flow_seats = 250, .never_slowed = true},
    {"system", .user = "system:kube-controller-manager", .seats = 1000, .flow_seats = 500,
        .never_slowed = true},
    {"system", .user = "system:kube-scheduler", .seats = 1000, .flow_seats = 500,
        .never_slowed = true},
    {"system", .user = "system:kube-proxy", .seats = 1000, .flow_seats = 500, .never_slowed = true},
    {"workload-high", .user_prefix = "system:serviceaccount:kube-system:", .seats = 1000,
        .flow_seats = 250},
    {"catch-all", .user = "system:anonymous", .seats = 200, .flow_seats = 50, .by_address = true},
    {"workload-low", .group = "system:serviceaccounts", .seats = 1000, .flow_seats = 200},
    {"global-default", .seats = 1000, .flow_seats = 200},
};

struct usage {
    atomic_llong window; /* its number */
    atomic_llong now_ns, before_ns;
};

struct flow {
    atomic_int seats;
    struct usage usage;
};

struct flows {
    int64_t capacity_ns; /* of a window */
    struct usage usage;
    atomic_int level_seats[ARRAY_COUNT(levels)];
    struct flow table[FLOWS];
};

static const struct metric_info rejected = {"apiserver_flowcontrol_rejected_requests_total",
    METRIC_COUNTER, "Requests refused with 429, by priority level and reason.",
    {"priority_level", "reason"}};
static const struct metric_info seats_taken = {"apiserver_flowcontrol_current_executing_seats",
    METRIC_GAUGE, "Seats taken by requests under way, by priority level.", {"priority_level"}};

struct flows *flows_new(int loops)
{
    struct flows *f = xcalloc(1, sizeof(*f));

    f->capacity_ns = WINDOW_NS * (loops > 0 ? loops : 1);
    return f;
}

void flows_free(struct flows *f)
{
    free(f);
}

/* --- time --- */

/* Moves on to the window of now. Two threads at its edge may lose a few samples: it is an estimate.
 */
static void turn(struct usage *u, int64_t now_ns)
{
    long long number = now_ns / WINDOW_NS, had = atomic_load(&u->window);

    if (had == number || !atomic_compare_exchange_strong(&u->window, &had, number))
        return;
    long long last = atomic_exchange(&u->now_ns, 0);
    atomic_store(&u->before_ns, had + 1 == number ? last : 0);
}

static void use(struct usage *u, int64_t now_ns, int64_t used_ns)
{
    turn(u, now_ns);
    atomic_fetch_add(&u->now_ns, used_ns);
}

static int64_t used_lately(struct usage *u, int64_t now_ns)
{
    turn(u, now_ns);
    int64_t left = WINDOW_NS - now_ns % WINDOW_NS; /* of the window before, what still counts */
    return atomic_load(&u->now_ns) + atomic_load(&u->before_ns) / 1000 * left / (WINDOW_NS / 1000);
}

void flow_charge(struct request *q, int64_t now_ns, int64_t used_ns)
{
    struct flows *f = q->server->flows;

    if (!f || used_ns <= 0)
        return;
    use(&f->usage, now_ns, used_ns);
    if (q->flow)
        use(&q->flow->usage, now_ns, used_ns);
}

static bool is_greedy(struct flows *f, struct flow *flow, int64_t now_ns)
{
    int64_t all = used_lately(&f->usage, now_ns), own = used_lately(&flow->usage, now_ns);

    return all > f->capacity_ns / 100 * BUSY_PERCENT && own > all / 100 * SHARE_PERCENT &&
           all - own > f->capacity_ns / 100 * OTHERS_PERCENT;
}

/* --- seats --- */

static bool is_member(const struct identity *who, const char *group)
{
    for (const char **g = who->groups; g && *g; g++)
        if (c_eq(*g, group))
            return true;
    return false;
}

static bool is_of(const struct level *level, const struct identity *who)
{
    const char *name = who->name ? who->name : "";

    if (level->group)
        return is_member(who, level->group);
    if (level->user)
        return c_eq(name, level->user);
    return !level->user_prefix || str_starts(str_of(name), str_of(level->user_prefix));
}

static size_t find_level(const struct identity *who)
{
    size_t i = 0;

    while (i + 1 < ARRAY_COUNT(levels) && !is_of(&levels[i], who))
        i++;
    return i;
}

static uint32_t hash_of(struct str text, uint32_t hash)
{
    for (size_t i = 0; i < text.n; i++)
        hash = (hash ^ (uint8_t)text.p[i]) * 16777619u;
    return hash;
}

static struct str host_of(const struct request *q)
{
    struct str address = str_of(q->peer_address ? q->peer_address : "");

    while (address.n > 0 && address.p[address.n - 1] != ':')
        address.n--;
    return address;
}

static struct flow *find_flow(struct flows *f, const struct request *q, size_t level)
{
    struct str key =
        levels[level].by_address ? host_of(q) : str_of(q->identity.name ? q->identity.name : "");

    return &f->table[hash_of(key, 2166136261u + (uint32_t)level) % FLOWS];
}

static enum stage_result refuse(struct request *q, const struct level *level, const char *why)
{
    metric_add(q->server->metrics, &rejected, 1, level->name, why);
    q->retry_after_s = 1;
    return request_fail(q, ERR_TOO_MANY_REQUESTS,
        "The server has received too many requests and has asked us to try again later");
}

enum stage_result flow_admit(struct request *q, unsigned seats)
{
    struct flows *f = q->server->flows;

    if (!f || q->flow)
        return STAGE_DONE;
    size_t number = find_level(&q->identity);
    const struct level *level = &levels[number];
    struct flow *flow = find_flow(f, q, number);
    if (!level->never_slowed && is_greedy(f, flow, env_now_ns(q->server->env)))
        return refuse(q, level, "cpu-share");
    int want = (int)seats;
    if (atomic_fetch_add(&flow->seats, want) + want > level->flow_seats ||
        atomic_load(&f->level_seats[number]) + want > level->seats) {
        atomic_fetch_sub(&flow->seats, want);
        return refuse(q, level, "concurrency-limit");
    }
    atomic_fetch_add(&f->level_seats[number], want);
    metric_add(q->server->metrics, &seats_taken, want, level->name);
    q->flow = flow;
    q->flow_level = number;
    q->seats = seats;
    return STAGE_DONE;
}

void flow_leave(struct request *q)
{
    struct flows *f = q->server->flows;
    int had = (int)q->seats;

    if (!q->flow || had == 0)
        return;
    q->seats = 0;
    atomic_fetch_sub(&q->flow->seats, had);
    atomic_fetch_sub(&f->level_seats[q->flow_level], had);
    metric_add(q->server->metrics, &seats_taken, -had, levels[q->flow_level].name);
}
