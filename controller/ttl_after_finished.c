/*
 * Controller "ttl-after-finished": deletes finished Jobs when their time to live is over.
 *
 * Before deleting it looks at the Job itself: the copy may be older than a longer time to live.
 *
 * Upstream: pkg/controller/ttlafterfinished.
 */
#include "common/time.h"
#include "controller/controller.h"
#include "controller/status.h"

static int64_t finished_ns(const cJSON *status)
{
    int64_t ns;
    struct error ignored;
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(status, "conditions"))
    {
        const char *type = json_string(item, "type"), *at = json_string(item, "lastTransitionTime");
        if (at && c_eq(json_string(item, "status"), "True") &&
            (c_eq(type, "Complete") || c_eq(type, "Failed")) &&
            time_parse(str_of(at), &ns, &ignored) == 0)
            return ns;
    }
    return 0;
}

static int64_t left_ns(struct controller *c, const struct opt_int *ttl, const cJSON *status)
{
    return finished_ns(status) + ttl->value * NS_PER_S - env_wall_ns(manager_env(c->m));
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct job *job = kind_get_key(c->m, KIND_JOB, key);
    autojson cJSON *live = NULL;

    if (!job || !job->ttl_seconds.set || job->meta.deletion_ns)
        return 0;
    autojson cJSON *status = json_of_text(job->status);
    if (!finished_ns(status))
        return 0;
    int64_t left = left_ns(c, &job->ttl_seconds, status);
    if (left > 0) {
        *ret_again_ns = left;
        return 0;
    }
    struct api_ref ref = object_api_ref(KIND_JOB, &job->meta, NULL);
    if (api_get(manager_client(c->m), &ref, &live, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -(int)err->code;
    struct opt_int ttl = {
        .set = json_int64(json_path(live, "spec.ttlSecondsAfterFinished"), &ttl.value)};
    if (!ttl.set || !c_eq(json_string_at(live, "metadata.uid"), job->meta.uid))
        return 0;
    left = left_ns(c, &ttl, json_get(live, "status"));
    if (left > 0) {
        *ret_again_ns = left;
        return 0;
    }
    return object_delete(c->m, KIND_JOB, &job->meta, "Foreground", err);
}

static void on_job(struct controller *c, const void *old_object, const void *new_object)
{
    const struct job *job = new_object;

    if (job && job->ttl_seconds.set)
        controller_add(c, &job->meta);
}

const struct controller_info controller_ttl_after_finished = {
    .name = "ttl-after-finished-controller",
    .component = "ttl-after-finished-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_JOB, on_job}},
    .reconcile = reconcile,
};
