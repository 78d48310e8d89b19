/*
 * Random events against the slow model: the same nodes fit, the choice is one of the model's best,
 * every counter equals a rebuild, no pod is lost, bound twice or left asleep while a node fits.
 *
 * SKIFF_RULES_EVENTS (default 6000) and SKIFF_RULES_SEED choose length and seed; a million events
 * take about a minute without sanitizers.
 */
#include <CUnit/CUnit.h>

#include <stdio.h>

#include "common/time.h"
#include "scheduler/workloads.h"
#include "tests/unit/scheduler/objects.h"
#include "tests/unit/scheduler/rules_model.h"

struct world {
    struct model model;
    struct env *env;
    struct cluster *cluster;
    struct pod *objects[M_PODS]; /* as last reported */
    struct node *nodes[M_NODES];
    bool bound[M_PODS]; /* we have seen it bound */
    uint64_t random;
    int64_t now;
    long decisions, refused, evictions, event;
};

static int roll(struct world *w, int n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (int)((w->random >> 11) % (uint64_t)n);
}

static bool chance(struct world *w, int one_in)
{
    return roll(w, one_in) == 0;
}

/* JSON of the model's things */

static void print_selector(struct strbuf *b, const char *name, const struct model_selector *s)
{
    static const char *const forms[SEL_KINDS] = {
        [SEL_EMPTY] = "{}",
        [SEL_APP] = "{\"matchLabels\":{\"app\":\"a%d\"}}",
        [SEL_APPS] = "{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\",\"values\":"
                     "[\"a%d\",\"a%d\"]}]}",
        [SEL_TIER] = "{\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"Exists\"}]}",
        [SEL_NOT_TIER] = "{\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"NotIn\","
                         "\"values\":[\"t%d\"]}]}",
        [SEL_BOTH] = "{\"matchLabels\":{\"app\":\"a%d\",\"tier\":\"t%d\"}}",
    };
    char text[256];

    if (s->kind == SEL_NIL)
        return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof(text), forms[s->kind], s->a, s->b);
#pragma GCC diagnostic pop
    strbuf_addf(b, "\"%s\":%s,", name, text);
}

static void print_scope(struct strbuf *b, const struct model_scope *s)
{
    if (s->kind == SCOPE_LIST)
        strbuf_addf(b, "\"namespaces\":[\"ns%d\",\"ns%d\"],", s->a, s->b);
    if (s->kind == SCOPE_LIST_OR_TEAM)
        strbuf_addf(b, "\"namespaces\":[\"ns%d\"],", s->a);
    if (s->kind == SCOPE_ALL)
        strbuf_addc(b, "\"namespaceSelector\":{},");
    if (s->kind == SCOPE_TEAM || s->kind == SCOPE_LIST_OR_TEAM)
        strbuf_addf(b, "\"namespaceSelector\":{\"matchLabels\":{\"team\":\"m%d\"}},",
            s->kind == SCOPE_TEAM ? s->a : s->b);
}

static void print_term(struct strbuf *b, const struct model_term *t)
{
    strbuf_add_char(b, '{');
    print_selector(b, "labelSelector", &t->selector);
    print_scope(b, &t->scope);
    strbuf_addf(b, "\"topologyKey\":\"%s\"}", model_key_names[t->key]);
}

#define REQUIRED "requiredDuringSchedulingIgnoredDuringExecution"
#define PREFERRED "preferredDuringSchedulingIgnoredDuringExecution"

static void print_preferred(struct strbuf *b, const struct model_pod *p, int sign)
{
    const char *comma = "";

    strbuf_addc(b, "\"" PREFERRED "\":[");
    for (int i = 0; i < p->preferred_count; i++) {
        if ((p->preferred[i].weight > 0) != (sign > 0))
            continue;
        strbuf_addf(
            b, "%s{\"weight\":%d,\"podAffinityTerm\":", comma, sign * p->preferred[i].weight);
        print_term(b, &p->preferred[i]);
        strbuf_add_char(b, '}');
        comma = ",";
    }
    strbuf_addc(b, "]");
}

static void print_affinity(struct strbuf *b, const struct model_pod *p)
{
    strbuf_addc(b, "\"affinity\":{");
    if (p->disk_weight)
        strbuf_addf(b,
            "\"nodeAffinity\":{\"" PREFERRED
            "\":[{\"weight\":%d,\"preference\":{\"matchExpressions\":["
            "{\"key\":\"disk\",\"operator\":\"In\",\"values\":[\"d%d\"]}]}}]},",
            p->disk_weight, p->disk);
    strbuf_addc(b, "\"podAffinity\":{\"" REQUIRED "\":[");
    for (int i = 0; i < p->affinity_count; i++) {
        strbuf_addc(b, i ? "," : "");
        print_term(b, &p->affinity[i]);
    }
    strbuf_addc(b, "],");
    print_preferred(b, p, 1);
    strbuf_addc(b, "},\"podAntiAffinity\":{\"" REQUIRED "\":[");
    for (int i = 0; i < p->anti_count; i++) {
        strbuf_addc(b, i ? "," : "");
        print_term(b, &p->anti[i]);
    }
    strbuf_addc(b, "],");
    print_preferred(b, p, -1);
    strbuf_addc(b, "}},");
}

static void print_spread(struct strbuf *b, const struct model_pod *p)
{
    strbuf_addc(b, "\"topologySpreadConstraints\":[");
    for (int i = 0; i < p->spread_count; i++) {
        const struct model_spread *c = &p->spread[i];
        strbuf_addc(b, i ? ",{" : "{");
        print_selector(b, "labelSelector", &c->selector);
        if (c->min_domains)
            strbuf_addf(b, "\"minDomains\":%d,", c->min_domains);
        if (c->ignore_affinity)
            strbuf_addc(b, "\"nodeAffinityPolicy\":\"Ignore\",");
        if (c->honor_taints)
            strbuf_addc(b, "\"nodeTaintsPolicy\":\"Honor\",");
        strbuf_addf(b, "\"maxSkew\":%d,\"topologyKey\":\"%s\",\"whenUnsatisfiable\":\"%s\"}",
            c->max_skew, model_key_names[c->key], c->hard ? "DoNotSchedule" : "ScheduleAnyway");
    }
    strbuf_addc(b, "],");
}

static void print_container(struct strbuf *b, const struct model_pod *p)
{
    strbuf_addc(b, "\"containers\":[{\"resources\":{\"requests\":{");
    if (p->cpu)
        strbuf_addf(b, "\"cpu\":\"%ldm\"%s", p->cpu, p->mem_mi ? "," : "");
    if (p->mem_mi)
        strbuf_addf(b, "\"memory\":\"%ldMi\"", p->mem_mi);
    strbuf_addc(b, "}}");
    if (p->image >= 0)
        strbuf_addf(b, ",\"image\":\"registry:5000/i%d\"", p->image);
    if (p->port)
        strbuf_addf(b, ",\"ports\":[{\"hostPort\":%d,\"protocol\":\"TCP\"}]", p->port);
    strbuf_addc(b, "}]}");
}

static struct pod *pod_object(const struct model_pod *p, int id)
{
    autostrbuf struct strbuf b = STRBUF_EMPTY;

    strbuf_addf(&b,
        "{\"metadata\":{\"name\":\"p%d\",\"namespace\":\"ns%d\",\"uid\":\"u%d-%d\","
        "\"labels\":{\"app\":\"a%d\"",
        id, p->namespace_, id, p->generation, p->app);
    if (p->tier >= 0)
        strbuf_addf(&b, ",\"tier\":\"t%d\"", p->tier);
    strbuf_addf(&b, "}%s},\"spec\":{\"schedulerName\":\"default-scheduler\",\"priority\":%d,",
        p->terminating ? ",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"" : "", p->priority);
    if (p->node >= 0)
        strbuf_addf(&b, "\"nodeName\":\"n%d\",", p->node);
    if (p->zone >= 0)
        strbuf_addf(&b, "\"nodeSelector\":{\"topology.kubernetes.io/zone\":\"v%d\"},", p->zone);
    if (p->tolerates)
        strbuf_addc(&b, "\"tolerations\":[{\"key\":\"k\",\"operator\":\"Exists\",\"effect\":"
                        "\"NoSchedule\"},{\"key\":\"k\",\"operator\":\"Exists\",\"effect\":"
                        "\"NoExecute\"}],");
    print_affinity(&b, p);
    print_spread(&b, p);
    print_container(&b, p);
    strbuf_addc(&b, ",\"status\":{\"phase\":\"Pending\",");
    strbuf_addf(&b, "\"startTime\":\"2026-01-%02dT%02d:%02d:%02dZ\"}}", 1 + p->start / 86400,
        p->start / 3600 % 24, p->start / 60 % 60, p->start % 60);
    autojson cJSON *tree = json_make("%s", b.data);
    return projected_new(&pod_projection, tree);
}

static struct node *node_object(const struct model_node *n, int id)
{
    static const char *const effects[] = {"", "NoSchedule", "PreferNoSchedule", "NoExecute"};
    autostrbuf struct strbuf labels = STRBUF_EMPTY, images = STRBUF_EMPTY;

    strbuf_addf(&labels, "\"disk\":\"d%d\"", n->disk);
    for (int k = 0; k < KEYS; k++)
        if (n->labels[k] >= 0)
            strbuf_addf(&labels, ",\"%s\":\"v%d\"", model_key_names[k], n->labels[k]);
    for (int i = 0; i < M_IMAGES; i++)
        if (n->images[i])
            strbuf_addf(&images, "%s{\"names\":[\"registry:5000/i%d:latest\"],\"sizeBytes\":%ld}",
                images.n ? "," : "", i, model_image_bytes[i]);
    autofree char *taint = str_format("{\"key\":\"k\",\"effect\":\"%s\"}", effects[n->taint]);
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"n%d\",\"uid\":\"n%d\",\"labels\":{%s}},"
                  "\"spec\":{\"unschedulable\":%s,\"taints\":[%s]},\"status\":{\"images\":[%s],"
                  "\"allocatable\":{\"cpu\":\"%ldm\",\"memory\":\"%ldMi\",\"pods\":\"%ld\"}}}",
            id, id, labels.data, n->cordoned ? "true" : "false", n->taint ? taint : "", images.data,
            n->cpu, n->mem_mi, n->pods);
    return projected_new(&node_projection, tree);
}

/* Random things */

static struct model_selector any_selector(struct world *w)
{
    int kind = chance(w, 3) ? roll(w, SEL_KINDS) : SEL_APP;

    return (struct model_selector){
        kind, roll(w, kind == SEL_NOT_TIER ? 2 : M_APPS), roll(w, kind == SEL_BOTH ? 2 : M_APPS)};
}

static struct model_term any_term(struct world *w)
{
    return (struct model_term){
        .selector = any_selector(w),
        .scope = {chance(w, 3) ? roll(w, SCOPE_KINDS) : SCOPE_OWN, roll(w, 2), roll(w, 2)},
        .key = chance(w, 8) ? KEY_RACK : (enum model_key)roll(w, 2),
        .weight = (roll(w, 20) + 1) * (roll(w, 2) ? 1 : -1),
    };
}

static struct model_spread any_spread(struct world *w)
{
    return (struct model_spread){
        .selector = any_selector(w),
        .key = chance(w, 8) ? KEY_RACK : (enum model_key)roll(w, 2),
        .max_skew = 1 + roll(w, 3),
        .hard = roll(w, 2),
        .ignore_affinity = chance(w, 4),
        .honor_taints = chance(w, 4),
    };
}

static struct model_pod any_pod(struct world *w)
{
    struct model_pod p = {
        .exists = true,
        .namespace_ = roll(w, M_NAMESPACES),
        .app = roll(w, M_APPS),
        .tier = roll(w, 3) - 1,
        .node = -1,
        .nominated = -1,
        .start = (int)w->event,
        .port = chance(w, 12) ? 8000 + roll(w, 2) : 0,
        .zone = chance(w, 6) ? roll(w, 3) : -1,
        .disk = roll(w, 2),
        .disk_weight = chance(w, 6) ? 1 + roll(w, 100) : 0,
        .image = chance(w, 4) ? roll(w, M_IMAGES) : -1,
        .priority = roll(w, 3),
        .tolerates = roll(w, 2),
        .cpu = chance(w, 4) ? 0 : 50 * (1 + roll(w, 20)),
        .mem_mi = chance(w, 4) ? 0 : 1 + roll(w, 2000),
        .affinity_count = chance(w, 8) ? 1 + roll(w, 2) : 0,
        .anti_count = chance(w, 8) ? 1 + roll(w, 2) : 0,
        .preferred_count = chance(w, 5) ? 1 + roll(w, 2) : 0,
        .spread_count = chance(w, 4) ? 1 + roll(w, 2) : 0,
    };

    for (int i = 0; i < 2; i++) {
        p.affinity[i] = any_term(w);
        p.anti[i] = any_term(w);
        p.preferred[i] = any_term(w);
        p.spread[i] = any_spread(w);
        if (p.spread[i].hard && chance(w, 3))
            p.spread[i].min_domains = 1 + roll(w, 5);
    }
    return p;
}

static struct model_node any_node(struct world *w, int id)
{
    struct model_node n = {
        .alive = true,
        .cordoned = chance(w, 12),
        .labels = {roll(w, 4) - 1, chance(w, 12) ? -1 : id, chance(w, 3) ? roll(w, 2) : -1},
        .disk = roll(w, 2),
        .cpu = 500 + 100 * roll(w, 40),
        .mem_mi = 512 + roll(w, 8000),
        .pods = chance(w, 6) ? 2 : 110,
        .taint = chance(w, 4) ? 1 + roll(w, 3) : EFFECT_NONE,
    };

    for (int i = 0; i < M_IMAGES; i++)
        n.images[i] = chance(w, 3);
    return n;
}

/* Reporting changes */

static void report_pod(struct world *w, int id)
{
    struct model_pod *p = &w->model.pods[id];
    struct pod *old = w->objects[id];

    w->objects[id] = p->exists ? pod_object(p, id) : NULL;
    cluster_pod_changed(w->cluster, old, w->objects[id], w->now);
    if (old)
        projected_unref(old);
}

static void report_node(struct world *w, int id)
{
    struct node *old = w->nodes[id];

    w->nodes[id] = w->model.nodes[id].alive ? node_object(&w->model.nodes[id], id) : NULL;
    if (old || w->nodes[id])
        cluster_node_changed(w->cluster, old, w->nodes[id], w->now);
    if (old)
        projected_unref(old);
}

static void report_namespace(struct world *w, int id)
{
    char team[8];
    struct string_pair pair = {"team", team};
    struct string_map labels = {&pair, w->model.team[id] >= 0};
    autofree char *name = str_format("ns%d", id);

    snprintf(team, sizeof(team), "m%d", w->model.team[id]);
    cluster_namespace_changed(w->cluster, name, &labels, w->now);
}

static void report_service(struct world *w, int ns, int app, bool was)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"s%d\",\"namespace\":\"ns%d\"},\"spec\":{\"selector\":{\"app\":"
        "\"a%d\"}}}",
        app, ns, app);
    struct service *s = projected_new(&owning_service_projection, tree);
    bool is = w->model.service[ns][app];

    workloads_set_service(w->cluster->nodes->workloads, was ? s : NULL, is ? s : NULL);
    projected_unref(s);
}

static void report_budget(struct world *w, int ns, int app, bool had)
{
    int allowed = w->model.budget[ns][app];
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"b%d\",\"namespace\":\"ns%d\"},\"spec\":{\"selector\":{"
                  "\"matchLabels\":{\"app\":\"a%d\"}}},\"status\":{\"disruptionsAllowed\":%d}}",
            app, ns, app, allowed);
    struct disruption_budget *b = projected_new(&budget_projection, tree);

    if (had || allowed >= 0)
        cluster_budget_changed(w->cluster, had ? b : NULL, allowed >= 0 ? b : NULL);
    projected_unref(b);
}

/* Decisions */

static int id_of(const struct pod_info *info)
{
    return (int)strtol(info->object->meta.name + 1, NULL, 10);
}

static void complain(struct world *w, const char *what, int id)
{
    fprintf(stderr, "event %ld: %s, pod p%d\n", w->event, what, id);
    CU_FAIL_FATAL("the scheduler and the model differ");
}

static int model_choice(
    struct world *w, const struct model_pod *p, bool *fits, long *totals, long *ret_best)
{
    int n = 0;

    *ret_best = -1;
    for (int i = 0; i < M_NODES; i++)
        n += fits[i] = model_fits(&w->model, p, i);
    model_scores(&w->model, p, fits, totals);
    for (int i = 0; i < M_NODES; i++)
        if (fits[i] && totals[i] > *ret_best)
            *ret_best = totals[i];
    return n;
}

static bool waits_for_victims(const struct world *w, const struct model_pod *p)
{
    if (p->nominated < 0 || !model_has_hope(&w->model, p, p->nominated))
        return false;
    for (int i = 0; i < M_PODS; i++) {
        const struct model_pod *q = &w->model.pods[i];
        if (q->exists && q->node == p->nominated && q->terminating && q->priority < p->priority)
            return true;
    }
    return false;
}

/* The same eviction as the model's, or one that costs the same; it is carried out. */
static void preempt(struct world *w, struct pod_info *info, int id, const struct decision *d)
{
    struct model_pod *p = &w->model.pods[id];
    bool victims[M_PODS];
    struct model_cost best, cost;
    int node = -1, gone[M_PODS], n = 0;

    if (waits_for_victims(w, p)) {
        if (d->preemption.victim_count)
            complain(w, "evicts though victims are leaving", id);
        return;
    }
    int wanted = model_preempt(&w->model, p, -1, victims, &best);
    if (d->preemption.row != ROW_NONE)
        node = (int)strtol(w->cluster->nodes->rows[d->preemption.row]->name + 1, NULL, 10);
    if ((node < 0) != (wanted < 0))
        complain(w, "eviction helps, says only one of them", id);
    if (node < 0) {
        cluster_denominate(w->cluster, info, w->now);
        p->nominated = -1;
        return;
    }
    int same = model_preempt(&w->model, p, node, victims, &cost);
    if (same < 0 || memcmp(&cost, &best, sizeof(cost)) != 0) {
        for (int i = 0; i < 5; i++)
            fprintf(stderr, "cost %ld, best %ld\n", same < 0 ? -1 : cost.parts[i], best.parts[i]);
        fprintf(
            stderr, "%zu victims on n%d, best is n%d\n", d->preemption.victim_count, node, wanted);
    }
    if (same < 0 || memcmp(&cost, &best, sizeof(cost)) != 0)
        complain(w, "a dearer eviction was chosen", id);
    if ((long)d->preemption.victim_count != best.parts[3])
        complain(w, "a different number of victims", id);
    w->evictions++;
    for (size_t i = 0; i < d->preemption.victim_count; i++) {
        gone[n++] = id_of(d->preemption.victims[i]);
        if (!victims[gone[n - 1]])
            complain(w, "different victims", id);
    }
    cluster_nominate(w->cluster, info, d->preemption.row, w->now);
    p->nominated = node;
    for (int i = 0; i < n; i++) {
        if (!w->bound[gone[i]])
            continue; /* its bind is under way; it stays */
        w->model.pods[gone[i]].terminating = true;
        report_pod(w, gone[i]);
    }
}

static void decide_one(struct world *w)
{
    struct cluster *c = w->cluster;
    struct pod_info *info = queue_pop(c->queue, w->now);
    bool fits[M_NODES];
    long totals[M_NODES], best;
    struct decision d;

    if (!info)
        return;
    int id = id_of(info);
    struct model_pod *p = &w->model.pods[id];
    if (!p->exists || p->node >= 0)
        complain(w, "a pod that does not wait was popped", id);
    scheduler_decide(c->decider, c->nodes, info, &d);
    int count = model_choice(w, p, fits, totals, &best);
    w->decisions++;
    if ((int)d.fitting != count) {
        fprintf(stderr, "scheduler %zu nodes, model %d: %s\n", d.fitting, count,
            d.message ? d.message : "");
        complain(w, "different nodes fit", id);
    }
    if (!count) {
        w->refused++;
        queue_put_unschedulable(c->queue, info, d.refused_by, w->now);
        preempt(w, info, id, &d);
        return;
    }
    int node = (int)strtol(c->nodes->rows[d.row]->name + 1, NULL, 10);
    if (!fits[node])
        complain(w, "a node was chosen that does not fit", id);
    if (totals[node] != best) {
        fprintf(stderr, "chosen n%d has %ld, best %ld\n", node, totals[node], best);
        complain(w, "not the best node", id);
    }
    int64_t arrived;
    cluster_assume(c, info, d.row, w->now, &arrived);
    p->node = node;
    p->nominated = -1;
    w->bound[id] = false;
}

/* The bind of an assumed pod ends: seen bound, or failed. */
static void settle_one(struct world *w, int id)
{
    struct model_pod *p = &w->model.pods[id];

    if (!p->exists || p->node < 0 || w->bound[id])
        return;
    if (chance(w, 8)) {
        p->node = -1;
        cluster_forget(w->cluster, w->objects[id]->meta.uid, 1, w->now);
        return;
    }
    w->bound[id] = true;
    report_pod(w, id);
}

static void change_pod(struct world *w)
{
    int id = roll(w, M_PODS);
    struct model_pod *p = &w->model.pods[id];

    if (!p->exists) {
        int generation = p->generation + 1;
        *p = any_pod(w);
        p->generation = generation;
        w->bound[id] = false;
        if (chance(w, 10)) { /* bound by somebody else, room or not, node or not */
            p->node = roll(w, M_NODES);
            w->bound[id] = true;
        }
        report_pod(w, id);
        return;
    }
    if (chance(w, 3)) {
        p->exists = false;
        p->node = p->nominated = -1;
        report_pod(w, id);
    } else if (p->node >= 0 && w->bound[id] && chance(w, 4)) {
        p->terminating = true;
        report_pod(w, id);
    } else if ((p->node < 0 || w->bound[id]) && chance(w, 4)) {
        p->app = roll(w, M_APPS);
        p->tier = roll(w, 3) - 1;
        report_pod(w, id);
    } else {
        settle_one(w, id);
    }
}

static void change_node(struct world *w)
{
    int id = roll(w, M_NODES);
    struct model_node *n = &w->model.nodes[id];

    if (n->alive && chance(w, 4)) {
        n->alive = false;
        for (int i = 0; i < M_PODS; i++)
            if (w->model.pods[i].nominated == id)
                w->model.pods[i].nominated = -1;
        for (int i = 0; i < M_PODS; i++)
            if (w->model.pods[i].node == id && w->model.pods[i].exists && !w->bound[i]) {
                /* the bind to a node that is gone fails */
                w->model.pods[i].node = -1;
                report_node(w, id);
                cluster_forget(w->cluster, w->objects[i]->meta.uid, 1, w->now);
            }
    } else {
        *n = any_node(w, id);
    }
    report_node(w, id);
}

static void change_elsewhere(struct world *w)
{
    int ns = roll(w, M_NAMESPACES), app = roll(w, M_APPS);
    bool was = w->model.service[ns][app];

    if (chance(w, 3)) {
        bool had = w->model.budget[ns][app] >= 0;
        w->model.budget[ns][app] = roll(w, 4) - 1;
        report_budget(w, ns, app, had);
    } else if (roll(w, 2)) {
        w->model.team[ns] = roll(w, 3) - 1;
        report_namespace(w, ns);
    } else {
        w->model.service[ns][app] = !was;
        report_service(w, ns, app, was);
    }
}

/* Checks of the whole */

static void check_pods(struct world *w)
{
    for (int id = 0; id < M_PODS; id++) {
        const struct model_pod *p = &w->model.pods[id];
        if (!p->exists)
            continue;
        const struct pod_info *info = cluster_find(w->cluster, w->objects[id]->meta.uid);
        if (!info)
            complain(w, "a pod was lost", id);
        bool waits = p->node < 0;
        if (waits != (info->queued != NULL) || (waits && info->row != ROW_NONE))
            complain(w, waits ? "a waiting pod is not queued" : "a placed pod is queued", id);
        if (p->node >= 0 && (info->row != ROW_NONE) != w->model.nodes[p->node].alive)
            complain(w, "a pod is on a wrong row", id);
        if (waits && info->queued->place == QUEUE_UNSCHEDULABLE)
            for (int n = 0; n < M_NODES; n++)
                if (model_fits(&w->model, p, n))
                    complain(w, "a pod sleeps though a node fits", id);
    }
}

static void check(struct world *w)
{
    autostrbuf struct strbuf why = STRBUF_EMPTY;

    if (!node_table_check(w->cluster->nodes, &why)) {
        fprintf(stderr, "%s\n", why.data);
        complain(w, "the node table differs from a rebuild", 0);
    }
    check_pods(w);
}

static long option(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text ? strtol(text, NULL, 10) : otherwise;
}

static void random_events(void)
{
    struct world *w = xcalloc(1, sizeof(*w));
    long events = option("SKIFF_RULES_EVENTS", 6000);

    w->random = (uint64_t)option("SKIFF_RULES_SEED", 7) * 0x9e3779b97f4a7c15u;
    w->env = env_new_real();
    w->cluster = cluster_new(w->env);
    decider_seed(w->cluster->decider, w->random);
    for (int i = 0; i < M_NAMESPACES; i++)
        w->model.team[i] = -1;
    for (int i = 0; i < M_PODS; i++)
        w->model.pods[i].node = w->model.pods[i].nominated = -1;
    memset(w->model.budget, -1, sizeof(w->model.budget));
    for (w->event = 0; w->event < events; w->event++) {
        w->now += NS_PER_MS * 50;
        queue_tick(w->cluster->queue, w->now);
        int kind = roll(w, 40);
        if (kind == 0)
            change_node(w);
        else if (kind == 1)
            change_elsewhere(w);
        else if (kind < 20)
            change_pod(w);
        else
            decide_one(w);
        if (w->event % 50 == 0)
            check(w);
    }
    if (events > 10000)
        fprintf(stderr, "%ld events, %ld decisions, %ld without a node, %ld evictions\n", events,
            w->decisions, w->refused, w->evictions);
    for (int i = 0; i < M_PODS; i++)
        if (w->objects[i])
            projected_unref(w->objects[i]);
    for (int i = 0; i < M_NODES; i++)
        if (w->nodes[i])
            projected_unref(w->nodes[i]);
    cluster_free(w->cluster);
    env_free(w->env);
    free(w);
}

const CU_TestInfo rules_tests[] = {
    {"random events, against the slow model of every rule", random_events},
    CU_TEST_INFO_NULL,
};
