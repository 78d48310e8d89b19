/* Profile: upstream's default plugins and arguments. See profile.h. */
#include "scheduler/profile.h"

#include "common/str.h"
#include "scheduler/plugin.h"

static void add_resources(struct weighted_resource *list, size_t *count)
{
    list[(*count)++] = (struct weighted_resource){xstrdup("cpu"), 1};
    list[(*count)++] = (struct weighted_resource){xstrdup("memory"), 1};
}

void profile_init(struct profile *p, const char *scheduler_name)
{
    *p = (struct profile){
        .scheduler_name = xstrdup(scheduler_name),
        .hard_affinity_weight = 1,
        .system_spread = true,
        .spread_count = 2,
        .spread = {{xstrdup("topology.kubernetes.io/zone"), 5, false},
            {xstrdup("kubernetes.io/hostname"), 3, false}},
    };
    add_resources(p->fit, &p->fit_count);
    add_resources(p->balanced, &p->balanced_count);
    for (size_t i = 0; i < plugin_count; i++) {
        if (plugins[i]->filter || plugins[i]->narrow)
            p->filters |= 1ull << i;
        if (plugins[i]->score)
            p->scores |= 1ull << i;
        p->weights[i] = plugins[i]->weight;
    }
}

void profile_done(struct profile *p)
{
    for (size_t i = 0; i < p->fit_count; i++)
        free(p->fit[i].name);
    for (size_t i = 0; i < p->balanced_count; i++)
        free(p->balanced[i].name);
    for (size_t i = 0; i < p->spread_count; i++)
        free(p->spread[i].topology_key);
    for (size_t i = 0; i < p->ignored_count; i++)
        free(p->ignored_resources[i]);
    free(p->ignored_resources);
    if (p->added_affinity)
        projected_unref(p->added_affinity);
    free(p->scheduler_name);
    *p = (struct profile){0};
}
