/* Services, EndpointSlices and a ruleset in memory for the proxy's tests. */
#include "tests/unit/proxy/objects.h"

#include "common/str.h"

struct service *test_service(const char *spec)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{%s}}", spec);

    return projected_new(&service_projection, tree);
}

struct endpoint_slice *test_slice(const char *endpoints)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"web-x\"},\"addressType\":\"IPv4\",\"endpoints\":%s,\"ports\":["
        "{\"name\":\"other\",\"port\":80,\"protocol\":\"TCP\"},{\"name\":\"web\",\"port\":8080,"
        "\"protocol\":\"TCP\"},"
        "{\"name\":\"dns\",\"port\":5353,\"protocol\":\"UDP\"}]}",
        endpoints);

    return projected_new(&endpoint_slice_projection, tree);
}

static const char *const maps[] = {"services", "nodeports", "endpoints", "members", "hairpin",
    "cluster_ips", "no_endpoints", "no_endpoints_nodeports"};

static char *line(const struct rule *r)
{
    static const char *const verdicts[] = {"", "chain", "endpoint", "refuse", "drop"};
    char *text =
        str_format("%s %x/%u/%u[%u] %x:%u %s", maps[r->key.map], r->key.addr, r->key.protocol,
            r->key.port, r->key.index, r->key.peer, r->key.peer_port, verdicts[r->value.verdict]);

    if (r->value.verdict == VERDICT_CHAIN) {
        char *more = str_format("%s %u n=%u a=%u", text, r->value.chain.kind,
            r->value.chain.endpoints, r->value.chain.affinity_seconds);
        free(text);
        text = more;
    } else if (r->value.verdict == VERDICT_ENDPOINT) {
        char *more = str_format("%s %x:%u", text, r->value.addr, r->value.port);
        free(text);
        text = more;
    }
    return text;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *test_rules_text(const struct rules *rules)
{
    struct strbuf out;
    char **lines = xcalloc(rules->count + 1, sizeof(char *));

    strbuf_init(&out, 0);
    for (size_t i = 0; i < rules->count; i++)
        lines[i] = line(&rules->items[i]);
    qsort(lines, rules->count, sizeof(char *), compare);
    for (size_t i = 0; i < rules->count; i++) {
        strbuf_addf(&out, "%s\n", lines[i]);
        free(lines[i]);
    }
    free(lines);
    return strbuf_steal(&out);
}

static int memory_load(struct ruleset *base, struct rules *ret, struct error *err)
{
    struct memory_ruleset *m = (struct memory_ruleset *)base;
    struct rule_changes all = {0};
    struct rules none = {0};

    m->loads++;
    if (m->gone) {
        rule_table_free(m->table);
        m->table = rule_table_new();
        m->gone = false;
    }
    rule_table_diff(m->table, &none, &all);
    for (size_t i = 0; i < all.count; i++)
        rules_add(ret, &all.items[i].rule);
    rule_changes_done(&all);
    return 0;
}

static int memory_apply(struct ruleset *base, const struct rule_changes *changes, struct error *err)
{
    struct memory_ruleset *m = (struct memory_ruleset *)base;
    struct rule_changes ignored = {0};

    if (m->fail_next) {
        m->fail_next = false;
        return error_set(err, ERR_SYSTEM, "refused");
    }
    for (size_t i = 0; i < changes->count; i++) {
        const struct rule_change *c = &changes->items[i];
        struct rules one = {.items = (struct rule *)&c->rule, .count = c->kind != CHANGE_REMOVE};
        char name[2 * sizeof(c->rule.key) + 1];
        for (size_t k = 0; k < sizeof(c->rule.key); k++)
            snprintf(name + 2 * k, 3, "%02x", ((const unsigned char *)&c->rule.key)[k]);
        rule_table_set(m->table, name, &one, &ignored);
    }
    m->applied += changes->count;
    rule_changes_done(&ignored);
    return 0;
}

static bool memory_intact(struct ruleset *base)
{
    return !((struct memory_ruleset *)base)->gone;
}

static int memory_forget_udp(
    struct ruleset *base, udp_stale_fn *stale, void *arg, struct error *err)
{
    struct memory_ruleset *m = (struct memory_ruleset *)base;

    if (m->has_flow && stale(arg, &m->flow))
        m->has_flow = false;
    return 0;
}

static void memory_free(struct ruleset *base)
{
    rule_table_free(((struct memory_ruleset *)base)->table);
    free(base);
}

static const struct ruleset_ops memory_ops = {
    .load = memory_load,
    .apply = memory_apply,
    .intact = memory_intact,
    .forget_udp = memory_forget_udp,
    .free = memory_free,
};

struct ruleset *memory_ruleset_new(void)
{
    struct memory_ruleset *m = xcalloc(1, sizeof(*m));

    m->base.ops = &memory_ops;
    m->table = rule_table_new();
    return &m->base;
}
