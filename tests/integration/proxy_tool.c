/*
 * The proxy's rules without an API server, for tests: each line on standard input is
 *
 *     {"key": "ns/name", "service": {...} or null, "slices": [...]}
 *
 * or a list of such, applied to the kernel as one change; the answer is a line "ok CHANGES
 * MICROSECONDS" or "error TEXT". {"remove": true} takes the table away. Usage: proxy-tool NODE
 * [CIDR [NODEPORT-ADDRESSES]].
 */
#include <stdio.h>

#include "common/env.h"
#include "common/json.h"
#include "common/time.h"
#include "proxy/syncer.h"

static void set_one(struct syncer *s, const cJSON *one)
{
    const cJSON *list = json_get(one, "slices"), *tree = json_get(one, "service"), *i;
    size_t n = (size_t)cJSON_GetArraySize(list), k = 0;
    const struct endpoint_slice **slices = xcalloc(n + 1, sizeof(*slices));
    const struct service *service =
        cJSON_IsObject(tree) ? projected_new(&service_projection, tree) : NULL;

    cJSON_ArrayForEach(i, list) slices[k++] = projected_new(&endpoint_slice_projection, i);
    syncer_set(s, json_string(one, "key"), service, slices, n);
    for (k = 0; k < n; k++)
        projected_unref(slices[k]);
    if (service)
        projected_unref(service);
    free(slices);
}

static void run_line(struct env *env, struct syncer *s, struct str line)
{
    autojson cJSON *tree = NULL;
    const cJSON *one;
    struct error err;
    size_t changes = 0;

    int r = json_parse(line, &tree, &err);
    int64_t start_ns = env_now_ns(env);
    if (r == 0 && json_bool(tree, "remove", false)) {
        r = s->ruleset->ops->remove(s->ruleset, &err);
    } else if (r == 0) {
        if (cJSON_IsArray(tree)) {
            cJSON_ArrayForEach(one, tree) set_one(s, one);
        } else {
            set_one(s, tree);
        }
        start_ns = env_now_ns(env);
        r = syncer_apply(s, &changes, &err);
    }
    if (r < 0)
        printf("error %s\n", err.text);
    else
        printf("ok %zu %lld\n", changes, (long long)((env_now_ns(env) - start_ns) / NS_PER_US));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct env *env = env_new_real();
    struct ruleset *ruleset;
    struct error err;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    struct ruleset_config config = {
        .cluster_cidr = argc > 2 ? argv[2] : "10.244.0.0/16",
        .nodeport_addresses = argc > 3 ? argv[3] : "",
    };

    if (argc < 2 || ruleset_new_nftables(&config, &ruleset, &err) < 0) {
        fprintf(stderr, "usage: proxy-tool NODE [CIDR [NODEPORT-ADDRESSES]]\n");
        return 2;
    }
    struct syncer *s = syncer_new(ruleset, argv[1]);
    while ((n = getline(&line, &capacity, stdin)) > 0)
        run_line(env, s, str_trim(str_range(line, (size_t)n)));
    free(line);
    syncer_free(s);
    env_free(env);
    return 0;
}
