/*
 * Syncer: see syncer.h.
 *
 * UDP flows are looked at after each change that touched a UDP service's endpoints: a flow that was
 * addressed to one of the changed addresses and does not go to a current endpoint is ended, so that
 * its next packet is translated anew.
 */
#include "proxy/syncer.h"

#include <netinet/in.h>

#include "common/log.h"
#include "common/str.h"

struct syncer *syncer_new(struct ruleset *take_ruleset, const char *node)
{
    struct syncer *s = xcalloc(1, sizeof(*s));

    s->ruleset = take_ruleset;
    s->table = rule_table_new();
    s->node = xstrdup(node);
    return s;
}

void syncer_free(struct syncer *s)
{
    if (!s)
        return;
    s->ruleset->ops->free(s->ruleset);
    rule_table_free(s->table);
    rule_changes_done(&s->changes);
    free(s->node);
    free(s);
}

void syncer_set(struct syncer *s, const char *key, const struct service *service,
    const struct endpoint_slice *const *slices, size_t slice_count)
{
    struct rules rules = {0};

    if (service)
        compile_service(service, slices, slice_count, s->node, &rules);
    rule_table_set(s->table, key, &rules, &s->changes);
    rules_done(&rules);
}

/* A UDP entrance whose endpoints changed: (address or 0, port). */
struct entrance {
    uint32_t addr;
    uint16_t port;
};

struct touched {
    const struct rule_table *table;
    struct entrance *items;
    size_t count;
};

static bool is_udp_change(const struct rule_change *c)
{
    return c->rule.key.protocol == IPPROTO_UDP &&
           (c->rule.key.map == MAP_ENDPOINTS || c->rule.key.map == MAP_SERVICES ||
               c->rule.key.map == MAP_NODEPORTS);
}

static struct touched touched_entrances(const struct syncer *s)
{
    struct touched t = {.table = s->table};

    for (size_t i = 0; i < s->changes.count; i++) {
        if (!is_udp_change(&s->changes.items[i]))
            continue;
        struct entrance e = {s->changes.items[i].rule.key.addr, s->changes.items[i].rule.key.port};
        bool known = false;
        for (size_t k = 0; k < t.count && !known; k++)
            known = t.items[k].addr == e.addr && t.items[k].port == e.port;
        if (known)
            continue;
        t.items = xrealloc(t.items, (t.count + 1) * sizeof(*t.items));
        t.items[t.count++] = e;
    }
    return t;
}

static bool is_endpoint_now(
    const struct rule_table *table, const struct entrance *e, const struct udp_flow *flow)
{
    struct rule_key key = {.map = e->addr ? MAP_SERVICES : MAP_NODEPORTS,
        .addr = e->addr,
        .port = e->port,
        .protocol = IPPROTO_UDP};
    const struct rule_value *chain = rule_table_find(table, &key);

    key.map = MAP_ENDPOINTS;
    for (uint32_t i = 0; chain && i < chain->chain.endpoints; i++) {
        key.index = i;
        const struct rule_value *one = rule_table_find(table, &key);
        if (one && one->addr == flow->endpoint_addr && one->port == flow->endpoint_port)
            return true;
    }
    return false;
}

static bool is_stale(void *arg, const struct udp_flow *flow)
{
    const struct touched *t = arg;

    for (size_t i = 0; i < t->count; i++) {
        const struct entrance *e = &t->items[i];
        bool through =
            e->port == flow->to_port && (e->addr ? e->addr == flow->to_addr : flow->to_local);
        if (through && !is_endpoint_now(t->table, e, flow))
            return true;
    }
    return false;
}

static int load(struct syncer *s, struct error *err)
{
    struct rules present = {0};

    int r = s->ruleset->ops->load(s->ruleset, &present, err);
    if (r < 0)
        return r;
    s->changes.count = 0;
    rule_table_diff(s->table, &present, &s->changes);
    log_info("the ruleset was compared", "present", "%zu", present.count, "wanted", "%zu",
        rule_table_count(s->table), "changes", "%zu", s->changes.count, NULL);
    rules_done(&present);
    s->known = true;
    return 0;
}

int syncer_apply(struct syncer *s, size_t *ret_changes, struct error *err)
{
    struct error flow_err;

    if (ret_changes)
        *ret_changes = 0;
    if (!s->known) {
        int r = load(s, err);
        if (r < 0)
            return r;
    }
    if (!s->changes.count)
        return 0;
    int r = s->ruleset->ops->apply(s->ruleset, &s->changes, err);
    if (r < 0) {
        s->known = false;
        return r;
    }
    if (ret_changes)
        *ret_changes = s->changes.count;
    struct touched touched = touched_entrances(s);
    s->changes.count = 0;
    if (touched.count && s->ruleset->ops->forget_udp(s->ruleset, is_stale, &touched, &flow_err) < 0)
        log_warning("can't end UDP flows to old endpoints, they end when idle", "error", "%s",
            flow_err.text, NULL);
    free(touched.items);
    return 0;
}

bool syncer_check(struct syncer *s)
{
    if (!s->known || s->ruleset->ops->intact(s->ruleset))
        return true;
    s->known = false;
    return false;
}
