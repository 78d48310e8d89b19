/*
 * The scheduling rules once more, slowly and plainly: what upstream documents, over plain structs,
 * recounted from nothing for each question. Shares no code with the scheduler.
 *
 * The world is small and its alphabet too (few zones, apps, namespaces), so that rules meet often.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { M_NODES = 24, M_PODS = 160, M_NAMESPACES = 3, M_APPS = 4, M_IMAGES = 3 };
enum model_key { KEY_ZONE, KEY_HOST, KEY_RACK, KEYS };
extern const char *const model_key_names[KEYS];
extern const long model_image_bytes[M_IMAGES];

enum { EFFECT_NONE, EFFECT_NO_SCHEDULE, EFFECT_PREFER, EFFECT_NO_EXECUTE };

struct model_node {
    bool alive, cordoned;
    int labels[KEYS]; /* -1: none */
    int disk;
    long cpu, mem_mi, pods;
    int taint;
    bool images[M_IMAGES];
};

enum { SEL_NIL, SEL_EMPTY, SEL_APP, SEL_APPS, SEL_TIER, SEL_NOT_TIER, SEL_BOTH, SEL_KINDS };
struct model_selector {
    int kind, a, b;
};
enum { SCOPE_OWN, SCOPE_LIST, SCOPE_TEAM, SCOPE_ALL, SCOPE_LIST_OR_TEAM, SCOPE_KINDS };
struct model_scope {
    int kind, a, b;
};

struct model_term {
    struct model_selector selector;
    struct model_scope scope;
    enum model_key key;
    int weight; /* of preferred terms, negative: anti */
};

struct model_spread {
    struct model_selector selector;
    enum model_key key;
    int max_skew, min_domains; /* 0: not given */
    bool hard, ignore_affinity, honor_taints;
};

struct model_pod {
    bool exists, terminating;
    int namespace_, app, tier, node, port, zone, disk_weight, disk, image, priority;
    int generation, start;
    int nominated; /* -1: none */
    bool tolerates;
    long cpu, mem_mi;
    struct model_term affinity[2], anti[2], preferred[2];
    int affinity_count, anti_count, preferred_count;
    struct model_spread spread[2];
    int spread_count;
};

struct model {
    struct model_node nodes[M_NODES];
    struct model_pod pods[M_PODS];
    int team[M_NAMESPACES]; /* label of the namespace; -1: none */
    bool service[M_NAMESPACES][M_APPS];
    int budget[M_NAMESPACES][M_APPS]; /* evictions allowed; -1: no budget */
};

bool model_fits(const struct model *m, const struct model_pod *pod, int node);
/* The best eviction: fills victims[] (by pod) and the cost, lowest first; the node, or -1. Several
 * nodes may cost the same. */
struct model_cost {
    long parts[5];
};
int model_preempt(const struct model *m, const struct model_pod *pod, int only_node, bool *victims,
    struct model_cost *cost);
/* Might eviction help on the node, by the kind of the first rule that refuses it? */
bool model_has_hope(const struct model *m, const struct model_pod *pod, int node);
/* Fills the totals of the nodes for which fits[] says so. */
void model_scores(
    const struct model *m, const struct model_pod *pod, const bool *fits, long *totals);
