/*
 * Controller "node-ipam": gives every node a part of --cluster-cidr (spec.podCIDR), the first that
 * is free.
 *
 * What is taken is read from the nodes themselves at every allocation; one worker and a wait for
 * its own writes keep two nodes from getting the same part.
 *
 * Upstream: pkg/controller/nodeipam (RangeAllocator).
 */
#include <arpa/inet.h>

#include "common/log.h"
#include "common/time.h"
#include "controller/controller.h"
#include "controller/manager.h"
#include "controller/node_ipam.h"

int cidr_parse(const char *text, struct cidr *ret, struct error *err)
{
    char address[INET_ADDRSTRLEN + 1];
    const char *slash = strchr(text, '/');
    struct in_addr in;
    int64_t bits;

    if (!slash || (size_t)(slash - text) >= sizeof(address) ||
        str_parse_int64(str_of(slash + 1), &bits, err) < 0 || bits < 0 || bits > 32)
        return error_set(err, ERR_USAGE, "invalid CIDR address: %s", text);
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    if (inet_pton(AF_INET, address, &in) != 1)
        return error_set(err, ERR_USAGE, "invalid CIDR address: %s", text);
    ret->bits = (int)bits;
    ret->base = ntohl(in.s_addr) & (bits ? ~(uint32_t)0 << (32 - bits) : 0);
    return 0;
}

void cidr_print(const struct cidr *c, char *buf, size_t bytes)
{
    snprintf(buf, bytes, "%u.%u.%u.%u/%d", c->base >> 24, c->base >> 16 & 255, c->base >> 8 & 255,
        c->base & 255, c->bits);
}

bool cidr_allocate(const struct cidr *cluster, int node_bits, const struct cidr *taken,
    size_t count, struct cidr *ret)
{
    uint32_t parts = (uint32_t)1 << (node_bits - cluster->bits);
    uint32_t size_shift = (uint32_t)(32 - node_bits);
    autofree unsigned char *used = xcalloc(parts / 8 + 1, 1);

    for (size_t i = 0; i < count; i++) {
        if (taken[i].base < cluster->base)
            continue;
        uint32_t first = (taken[i].base - cluster->base) >> size_shift;
        uint32_t n = taken[i].bits < node_bits ? (uint32_t)1 << (node_bits - taken[i].bits) : 1;
        for (uint32_t p = first; p < parts && p - first < n; p++)
            used[p / 8] |= (unsigned char)(1u << (p % 8));
    }
    for (uint32_t p = 0; p < parts; p++)
        if (!(used[p / 8] & 1u << (p % 8))) {
            *ret = (struct cidr){cluster->base + (p << size_shift), node_bits};
            return true;
        }
    return false;
}

/* --- the controller; c->state is struct cidr, the cluster's --- */

static bool wanted(const struct manager_config *config)
{
    return config->allocate_node_cidrs && config->cluster_cidr && *config->cluster_cidr;
}

static int node_bits(struct controller *c)
{
    int64_t bits = manager_config(c->m)->node_mask_size;
    return bits ? (int)bits : 24;
}

static int start(struct controller *c, struct error *err)
{
    struct cidr *cluster = xcalloc(1, sizeof(*cluster));

    c->state = cluster;
    if (cidr_parse(manager_config(c->m)->cluster_cidr, cluster, err) < 0) {
        free(cluster);
        return error_wrap(err, "--cluster-cidr");
    }
    int bits = node_bits(c);
    if (bits < cluster->bits || bits > 30 || bits - cluster->bits > 16) {
        free(cluster);
        return error_set(err, ERR_USAGE,
            "--node-cidr-mask-size %d does not fit into --cluster-cidr %s (at most 16 bits more, "
            "and at most 30)",
            bits, manager_config(c->m)->cluster_cidr);
    }
    return 0;
}

static void stop(struct controller *c)
{
    free(c->state);
}

static void on_node(struct controller *c, const void *old_object, const void *new_object)
{
    const struct node *node = new_object;

    if (node && !*node->pod_cidr)
        controller_add(c, &node->meta);
}

static bool find_free(struct controller *c, struct cidr *ret)
{
    auto_objects struct projected_array nodes = kind_list(c->m, KIND_NODE, NULL);
    autofree struct cidr *taken = xcalloc(nodes.count + 1, sizeof(*taken));
    size_t count = 0;
    struct error err;

    for (size_t i = 0; i < nodes.count; i++) {
        const struct node *node = nodes.objects[i];
        if (*node->pod_cidr && cidr_parse(node->pod_cidr, &taken[count], &err) == 0)
            count++;
    }
    return cidr_allocate(c->state, node_bits(c), taken, count, ret);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct node *node = kind_get(c->m, KIND_NODE, "", key);
    struct cidr free_part;
    char text[32];

    if (!node || *node->pod_cidr || node->meta.deletion_ns)
        return 0;
    if (!find_free(c, &free_part)) {
        controller_event(c, KIND_NODE, &node->meta, EVENT_NORMAL, "CIDRNotAvailable",
            "Node %s status is now: CIDRNotAvailable", node->meta.name);
        *ret_again_ns = 30 * NS_PER_S;
        return 0;
    }
    cidr_print(&free_part, text, sizeof(text));
    int r = object_patch(c->m, KIND_NODE, &node->meta, NULL,
        json_make("{\"spec\":{\"podCIDR\":\"%s\",\"podCIDRs\":[\"%s\"]}}", text, text), err);
    if (r == 0)
        log_info("node has its pod addresses", "node", "%s", key, "cidr", "%s", text, NULL);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

const struct controller_info controller_node_ipam = {
    .name = "node-ipam-controller",
    .component = "cidrAllocator",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_NODE, on_node}},
    .wanted = wanted,
    .reconcile = reconcile,
    .start = start,
    .stop = stop,
};
