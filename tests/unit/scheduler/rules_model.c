/* The rules, slowly. See rules_model.h. */
#include "tests/unit/scheduler/rules_model.h"

#include <math.h>

const char *const model_key_names[KEYS] = {
    "topology.kubernetes.io/zone", "kubernetes.io/hostname", "rack"};
const long model_image_bytes[M_IMAGES] = {500l << 20, 900l << 20, 40l << 20};

static bool selected(const struct model_selector *s, const struct model_pod *p)
{
    switch (s->kind) {
    case SEL_NIL:
        return false;
    case SEL_EMPTY:
        return true;
    case SEL_APP:
        return p->app == s->a;
    case SEL_APPS:
        return p->app == s->a || p->app == s->b;
    case SEL_TIER:
        return p->tier >= 0;
    case SEL_NOT_TIER:
        return p->tier != s->a;
    default:
        return p->app == s->a && p->tier == s->b;
    }
}

static bool in_scope(const struct model *m, const struct model_scope *s,
    const struct model_pod *owner, const struct model_pod *p)
{
    switch (s->kind) {
    case SCOPE_OWN:
        return p->namespace_ == owner->namespace_;
    case SCOPE_LIST:
        return p->namespace_ == s->a || p->namespace_ == s->b;
    case SCOPE_TEAM:
        return m->team[p->namespace_] == s->a;
    case SCOPE_ALL:
        return true;
    default:
        return p->namespace_ == s->a || m->team[p->namespace_] == s->b;
    }
}

static bool term_matches(const struct model *m, const struct model_term *t,
    const struct model_pod *owner, const struct model_pod *p)
{
    return in_scope(m, &t->scope, owner, p) && selected(&t->selector, p);
}

static bool is_placed(const struct model *m, const struct model_pod *p)
{
    return p->exists && p->node >= 0 && m->nodes[p->node].alive;
}

#define FOR_PLACED(m, p)                                                     \
    for (const struct model_pod *p = (m)->pods; p < (m)->pods + M_PODS; p++) \
        if (is_placed(m, p))

static bool matches_zone(const struct model_pod *pod, const struct model_node *n)
{
    return pod->zone < 0 || n->labels[KEY_ZONE] == pod->zone;
}

static bool tolerates_hard(const struct model_pod *pod, const struct model_node *n)
{
    return n->taint == EFFECT_NONE || n->taint == EFFECT_PREFER || pod->tolerates;
}

static bool enough(const struct model *m, const struct model_pod *pod, int node)
{
    const struct model_node *n = &m->nodes[node];
    long cpu = 0, mem = 0, pods = 0;

    FOR_PLACED(m, p)
    {
        if (p->node != node)
            continue;
        cpu += p->cpu;
        mem += p->mem_mi;
        pods++;
        if (pod->port && p->port == pod->port)
            return false;
    }
    return pods < n->pods && (!pod->cpu || cpu + pod->cpu <= n->cpu) &&
           (!pod->mem_mi || mem + pod->mem_mi <= n->mem_mi);
}

/* Affinity between pods */

static bool matches_all(
    const struct model *m, const struct model_pod *pod, const struct model_pod *p)
{
    for (int i = 0; i < pod->affinity_count; i++)
        if (!term_matches(m, &pod->affinity[i], pod, p))
            return false;
    return true;
}

static bool affinity_holds(const struct model *m, const struct model_pod *pod, int node)
{
    const struct model_node *n = &m->nodes[node];
    bool all = true, any_anywhere = false;

    for (int i = 0; i < pod->affinity_count; i++) {
        enum model_key key = pod->affinity[i].key;
        bool here = false;
        if (n->labels[key] < 0)
            return false;
        FOR_PLACED(m, p)
        {
            int label = m->nodes[p->node].labels[key];
            if (label < 0 || !matches_all(m, pod, p))
                continue;
            any_anywhere = true;
            here = here || label == n->labels[key];
        }
        all = all && here;
    }
    return all || (!any_anywhere && matches_all(m, pod, pod));
}

static bool same_domain(const struct model *m, enum model_key key, int a, int b)
{
    return m->nodes[a].labels[key] >= 0 && m->nodes[a].labels[key] == m->nodes[b].labels[key];
}

static bool anti_affinity_holds(const struct model *m, const struct model_pod *pod, int node)
{
    FOR_PLACED(m, p)
    {
        for (int i = 0; i < pod->anti_count; i++)
            if (term_matches(m, &pod->anti[i], pod, p) &&
                same_domain(m, pod->anti[i].key, node, p->node))
                return false;
        for (int i = 0; i < p->anti_count; i++)
            if (term_matches(m, &p->anti[i], p, pod) &&
                same_domain(m, p->anti[i].key, node, p->node))
                return false;
    }
    return true;
}

/* Spreading */

struct spreads {
    struct model_spread list[2];
    int count;
    bool system;
};

static struct spreads spreads_of(const struct model *m, const struct model_pod *pod)
{
    struct spreads s = {.count = pod->spread_count};

    for (int i = 0; i < s.count; i++)
        s.list[i] = pod->spread[i];
    if (s.count || !m->service[pod->namespace_][pod->app])
        return s;
    s.count = 2;
    s.system = true;
    s.list[0] = (struct model_spread){{SEL_APP, pod->app, 0}, KEY_ZONE, 5, 0, false, false, false};
    s.list[1] = (struct model_spread){{SEL_APP, pod->app, 0}, KEY_HOST, 3, 0, false, false, false};
    return s;
}

static bool has_keys(const struct model_node *n, const struct spreads *s, bool hard)
{
    for (int i = 0; i < s->count; i++)
        if (s->list[i].hard == hard && n->labels[s->list[i].key] < 0)
            return false;
    return true;
}

static bool counts_node(
    const struct model_spread *c, const struct model_pod *pod, const struct model_node *n)
{
    return (c->ignore_affinity || matches_zone(pod, n)) &&
           (!c->honor_taints || tolerates_hard(pod, n));
}

static int pods_on(
    const struct model *m, const struct model_spread *c, const struct model_pod *pod, int node)
{
    int n = 0;

    FOR_PLACED(m, p)
    n += p->node == node && !p->terminating && p->namespace_ == pod->namespace_ &&
         c->selector.kind != SEL_EMPTY && selected(&c->selector, p);
    return n;
}

/* Matching pods in the domain; -1: no counted node is in it. */
static int pods_in(const struct model *m, const struct spreads *s, const struct model_spread *c,
    const struct model_pod *pod, int label)
{
    int n = -1;

    for (int i = 0; i < M_NODES; i++) {
        const struct model_node *node = &m->nodes[i];
        if (!node->alive || node->labels[c->key] != label || !counts_node(c, pod, node) ||
            (!s->system && !has_keys(node, s, c->hard)))
            continue;
        n = (n < 0 ? 0 : n) + pods_on(m, c, pod, i);
    }
    return n;
}

static bool spread_holds(const struct model *m, const struct model_pod *pod, int node)
{
    struct spreads s = spreads_of(m, pod);

    for (int i = 0; i < s.count; i++) {
        const struct model_spread *c = &s.list[i];
        int least = 1 << 30, domains = 0, label = m->nodes[node].labels[c->key];
        if (!c->hard)
            continue;
        if (label < 0)
            return false;
        for (int value = 0; value < M_NODES; value++) {
            int n = pods_in(m, &s, c, pod, value);
            if (n < 0)
                continue;
            domains++;
            least = n < least ? n : least;
        }
        if (domains < (c->min_domains ? c->min_domains : 1))
            least = 0;
        int here = pods_in(m, &s, c, pod, label);
        if ((here < 0 ? 0 : here) + selected(&c->selector, pod) - least > c->max_skew)
            return false;
    }
    return true;
}

static bool fits_now(const struct model *m, const struct model_pod *pod, int node)
{
    const struct model_node *n = &m->nodes[node];

    return n->alive && !n->cordoned && matches_zone(pod, n) && tolerates_hard(pod, n) &&
           enough(m, pod, node) && spread_holds(m, pod, node) && affinity_holds(m, pod, node) &&
           anti_affinity_holds(m, pod, node);
}

/* The world in which pods that were promised a node are there already. */
static bool with_nominated(const struct model *m, const struct model_pod *pod, struct model *ret)
{
    bool any = false;

    *ret = *m;
    for (int i = 0; i < M_PODS; i++) {
        struct model_pod *p = &ret->pods[i];
        if (&m->pods[i] == pod || !p->exists || p->node >= 0 || p->nominated < 0 ||
            p->priority < pod->priority)
            continue;
        p->node = p->nominated;
        any = true;
    }
    return any;
}

bool model_fits(const struct model *m, const struct model_pod *pod, int node)
{
    struct model later;

    if (!fits_now(m, pod, node))
        return false;
    return !with_nominated(m, pod, &later) || fits_now(&later, pod, node);
}

/* Preemption */

static bool port_taken(const struct model *m, const struct model_pod *pod, int node)
{
    FOR_PLACED(m, p)
    if (p->node == node && pod->port && p->port == pod->port)
        return true;
    return false;
}

static bool lacks_spread_key(const struct model *m, const struct model_pod *pod, int node)
{
    for (int i = 0; i < pod->spread_count; i++)
        if (pod->spread[i].hard && m->nodes[node].labels[pod->spread[i].key] < 0)
            return true;
    return false;
}

/* Does the first rule that refuses the node leave hope? */
static bool has_hope(const struct model *m, const struct model_pod *pod, int node)
{
    const struct model_node *n = &m->nodes[node];

    if (!n->alive || n->cordoned || !matches_zone(pod, n) || !tolerates_hard(pod, n))
        return false;
    if (port_taken(m, pod, node))
        return true;
    if (!enough(m, pod, node))
        return pod->cpu <= n->cpu && pod->mem_mi <= n->mem_mi;
    if (lacks_spread_key(m, pod, node))
        return false;
    return !spread_holds(m, pod, node) || affinity_holds(m, pod, node);
}

bool model_has_hope(const struct model *m, const struct model_pod *pod, int node)
{
    struct model later;

    with_nominated(m, pod, &later);
    return has_hope(&later, pod, node) && !fits_now(&later, pod, node);
}

static bool more_important(const struct model_pod *a, const struct model_pod *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->start < b->start;
}

/* Pods on the node that may go, the most important first. */
static int lower_pods(const struct model *m, const struct model_pod *pod, int node, int *list)
{
    int n = 0;

    for (int i = 0; i < M_PODS; i++) {
        const struct model_pod *p = &m->pods[i];
        if (!is_placed(m, p) || p->node != node || p->priority >= pod->priority)
            continue;
        int k = n++;
        for (; k && more_important(p, &m->pods[list[k - 1]]); k--)
            list[k] = list[k - 1];
        list[k] = i;
    }
    return n;
}

static bool dry_run(const struct model *m, const struct model_pod *pod, int node, bool *victims,
    struct model_cost *cost)
{
    struct model without = *m;
    int list[M_PODS], n = lower_pods(m, pod, node, list), left[M_NAMESPACES][M_APPS];
    bool violates[M_PODS] = {false};
    long start = 0;

    if (!n)
        return false;
    for (int i = 0; i < n; i++)
        without.pods[list[i]].node = -1;
    if (!fits_now(&without, pod, node))
        return false;
    *cost = (struct model_cost){{0, -(1l << 40), 0, 0, 0}};
    for (int i = 0; i < M_PODS; i++)
        victims[i] = false;
    for (int ns = 0; ns < M_NAMESPACES; ns++)
        for (int app = 0; app < M_APPS; app++)
            left[ns][app] = m->budget[ns][app];
    for (int i = 0; i < n; i++) {
        const struct model_pod *p = &m->pods[list[i]];
        violates[i] = m->budget[p->namespace_][p->app] >= 0 && --left[p->namespace_][p->app] < 0;
    }
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < n; i++) {
            if (violates[i] == (turn == 1))
                continue;
            without.pods[list[i]].node = node;
            if (fits_now(&without, pod, node))
                continue;
            without.pods[list[i]].node = -1;
            victims[list[i]] = true;
            cost->parts[0] += violates[i];
        }
    for (int i = 0; i < n; i++) {
        const struct model_pod *p = &m->pods[list[i]];
        if (!victims[list[i]])
            continue;
        if (p->priority > cost->parts[1] || (p->priority == cost->parts[1] && p->start < start))
            start = p->start;
        if (p->priority > cost->parts[1])
            cost->parts[1] = p->priority;
        cost->parts[2] += p->priority + (1l << 31);
        cost->parts[3]++;
    }
    cost->parts[4] = -start;
    return true;
}

static int compare_costs(const struct model_cost *a, const struct model_cost *b)
{
    for (int i = 0; i < 5; i++)
        if (a->parts[i] != b->parts[i])
            return a->parts[i] < b->parts[i] ? -1 : 1;
    return 0;
}

int model_preempt(const struct model *m, const struct model_pod *pod, int only_node, bool *victims,
    struct model_cost *cost)
{
    struct model later;
    int best = -1;

    with_nominated(m, pod, &later);
    for (int node = 0; node < M_NODES; node++) {
        bool these[M_PODS];
        struct model_cost c;
        if ((only_node >= 0 && node != only_node) || !has_hope(&later, pod, node) ||
            fits_now(&later, pod, node) || !dry_run(&later, pod, node, these, &c))
            continue;
        if (best >= 0 && compare_costs(&c, cost) >= 0)
            continue;
        best = node;
        *cost = c;
        for (int i = 0; i < M_PODS; i++)
            victims[i] = these[i];
    }
    return best;
}

/* Scores */

static long part_left(long used, long of)
{
    return used > of ? 0 : (of - used) * 100 / of;
}

static long resource_score(const struct model *m, const struct model_pod *pod, int node)
{
    const struct model_node *n = &m->nodes[node];
    long cpu = pod->cpu, mem = pod->mem_mi, cpu0 = cpu ? cpu : 100, mem0 = mem ? mem : 200;

    FOR_PLACED(m, p)
    {
        if (p->node != node)
            continue;
        cpu += p->cpu;
        mem += p->mem_mi;
        cpu0 += p->cpu ? p->cpu : 100;
        mem0 += p->mem_mi ? p->mem_mi : 200;
    }
    long score = (part_left(cpu0, n->cpu) + part_left(mem0 << 20, n->mem_mi << 20)) / 2;
    if (!pod->cpu && !pod->mem_mi)
        return score;
    double a = (double)cpu / (double)n->cpu, b = (double)(mem << 20) / (double)(n->mem_mi << 20);
    return score + (long)((1 - fabs(((a > 1 ? 1 : a) - (b > 1 ? 1 : b)) / 2)) * 100);
}

static long affinity_points(const struct model *m, const struct model_pod *pod, int node)
{
    long sum = 0;

    FOR_PLACED(m, p)
    {
        for (int i = 0; i < pod->preferred_count; i++)
            if (term_matches(m, &pod->preferred[i], pod, p) &&
                same_domain(m, pod->preferred[i].key, node, p->node))
                sum += pod->preferred[i].weight;
        for (int i = 0; i < p->preferred_count; i++)
            if (term_matches(m, &p->preferred[i], p, pod) &&
                same_domain(m, p->preferred[i].key, node, p->node))
                sum += p->preferred[i].weight;
        for (int i = 0; i < p->affinity_count; i++)
            if (term_matches(m, &p->affinity[i], p, pod) &&
                same_domain(m, p->affinity[i].key, node, p->node))
                sum += 1;
    }
    return sum;
}

static long image_points(const struct model *m, const struct model_pod *pod, int node)
{
    int having = 0, nodes = 0;

    if (pod->image < 0)
        return 0;
    for (int i = 0; i < M_NODES; i++) {
        nodes += m->nodes[i].alive;
        having += m->nodes[i].alive && m->nodes[i].images[pod->image];
    }
    long bytes = 0, least = 23l << 20, most = 1000l << 20;
    if (m->nodes[node].images[pod->image])
        bytes = (long)((double)model_image_bytes[pod->image] * ((double)having / (double)nodes));
    bytes = bytes < least ? least : bytes > most ? most : bytes;
    return 100 * (bytes - least) / (most - least);
}

static double spread_weight(const struct model *m, const struct spreads *s,
    const struct model_spread *c, const bool *scored)
{
    bool seen[M_NODES + 1] = {0};
    int size = 0;

    for (int i = 0; i < M_NODES; i++) {
        int label = m->nodes[i].labels[c->key];
        if (!scored[i])
            continue;
        size += c->key == KEY_HOST || !seen[label + 1];
        seen[label + 1] = true;
    }
    (void)s;
    return log((double)(size + 2));
}

static void spread_scores(
    const struct model *m, const struct model_pod *pod, const bool *fits, long *totals)
{
    struct spreads s = spreads_of(m, pod);
    bool scored[M_NODES], any = false;
    double points[M_NODES] = {0};
    long highest = 0, lowest = 1l << 40;

    for (int i = 0; i < M_NODES; i++)
        scored[i] = fits[i] && (s.system || has_keys(&m->nodes[i], &s, false));
    for (int k = 0; k < s.count; k++) {
        const struct model_spread *c = &s.list[k];
        if (c->hard)
            continue;
        any = true;
        double weight = spread_weight(m, &s, c, scored);
        for (int i = 0; i < M_NODES; i++) {
            int label = m->nodes[i].labels[c->key];
            if (!scored[i] || label < 0)
                continue;
            int n = c->key == KEY_HOST ? pods_on(m, c, pod, i) : pods_in(m, &s, c, pod, label);
            points[i] += (double)(n < 0 ? 0 : n) * weight + (double)(c->max_skew - 1);
        }
    }
    for (int i = 0; i < M_NODES; i++) {
        long score = lround(points[i]);
        if (!scored[i])
            continue;
        highest = score > highest ? score : highest;
        lowest = score < lowest ? score : lowest;
    }
    for (int i = 0; any && i < M_NODES; i++)
        if (scored[i])
            totals[i] +=
                2 * (highest ? 100 * (highest + lowest - lround(points[i])) / highest : 100);
}

static void affinity_scores(
    const struct model *m, const struct model_pod *pod, const bool *fits, long *totals)
{
    long sums[M_NODES], highest = -(1l << 40), lowest = 1l << 40;

    for (int i = 0; i < M_NODES; i++) {
        sums[i] = fits[i] ? affinity_points(m, pod, i) : 0;
        if (fits[i] && sums[i] > highest)
            highest = sums[i];
        if (fits[i] && sums[i] < lowest)
            lowest = sums[i];
    }
    for (int i = 0; i < M_NODES; i++)
        if (fits[i] && highest > lowest)
            totals[i] +=
                2 * (long)(100 * ((double)(sums[i] - lowest) / (double)(highest - lowest)));
}

void model_scores(
    const struct model *m, const struct model_pod *pod, const bool *fits, long *totals)
{
    long disk_best = 0, taint_worst = 0;

    for (int i = 0; i < M_NODES; i++) {
        const struct model_node *n = &m->nodes[i];
        totals[i] = 0;
        if (!fits[i])
            continue;
        totals[i] = resource_score(m, pod, i) + image_points(m, pod, i);
        if (n->disk == pod->disk && pod->disk_weight)
            disk_best = pod->disk_weight;
        if (n->taint == EFFECT_PREFER)
            taint_worst = 1;
    }
    for (int i = 0; i < M_NODES; i++) {
        const struct model_node *n = &m->nodes[i];
        if (!fits[i])
            continue;
        if (disk_best && n->disk == pod->disk)
            totals[i] += 2 * 100;
        totals[i] += 3 * (taint_worst && n->taint == EFFECT_PREFER ? 0 : 100);
    }
    spread_scores(m, pod, fits, totals);
    affinity_scores(m, pod, fits, totals);
}
