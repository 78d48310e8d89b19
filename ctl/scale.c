/*
 * skiffctl scale: sets the number of replicas through the scale subresource.
 */
#include "ctl/session.h"

struct scale_flags {
    struct common_flags common;
    int64_t replicas;
};

static int scale_one(
    const struct scale_flags *f, struct session *s, const struct target *t, struct error *err)
{
    struct api_ref ref = resource_ref(t->resource, s->namespace_, t->name);
    autojson cJSON *patch = json_make("{\"spec\":{\"replicas\":%lld}}", (long long)f->replicas);
    autofree char *label = t->name ? resource_label(t->resource, t->name) : NULL;
    ref.subresource = "scale";
    if (!t->name)
        return error_set(err, ERR_USAGE, "scale needs a name: %s/NAME", t->resource->singular);
    if (api_patch(s->client.api, &ref, PATCH_MERGE, patch, NULL, err) < 0)
        return error_wrap(err, "%s", label);
    printf("%s scaled\n", label);
    return 0;
}

static int scale_run(void *config, int argc, char **argv)
{
    struct scale_flags *f = config;
    struct session s;
    struct targets targets;
    struct error err;
    if (f->replicas < 0)
        return command_fail(EXIT_WRONG_USAGE, "scale needs --replicas N, N not negative");
    if (targets_check(argc, argv, &err) < 0 || session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int result = targets_parse(&s.map, argc, argv, &targets, &err);
    if (result == 0) {
        for (size_t i = 0; result == 0 && i < targets.count; i++)
            result = scale_one(f, &s, &targets.all[i], &err);
        targets_done(&targets);
    }
    session_close(&s);
    return result < 0 ? session_fail(&err) : EXIT_DONE;
}

static const struct flag scale_flag_table[] = {
    {"replicas", FLAG_INT, offsetof(struct scale_flags, replicas), "-1", "N",
        "how many there shall be"},
    COMMON_FLAGS(struct scale_flags, common),
};

const struct command command_scale = {
    .name = "scale",
    .usage = "TYPE/NAME --replicas N",
    .summary = "set how many replicas a workload has",
    .help = "Sets the number of replicas of a Deployment, ReplicaSet or StatefulSet.\n\n"
            "Example:\n  skiffctl scale deployment/web --replicas 5",
    .flags = scale_flag_table,
    .flag_count = ARRAY_COUNT(scale_flag_table),
    .config_size = sizeof(struct scale_flags),
    .run = scale_run,
};
