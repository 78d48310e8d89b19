/*
 * Images of containers: is it there, is it to be pulled, and back-off when that fails.
 *
 * Pulls run on the pull queue's workers, so a slow registry holds up no pod; the pod is woken when
 * its pull is over. While it waits the container shows ErrImagePull (just failed) or
 * ImagePullBackOff (waiting to try again).
 *
 * Upstream: pkg/kubelet/images/image_manager.go.
 */
#include "kubelet/sync.h"

#include "common/base64.h"
#include "common/log.h"
#include "common/time.h"

#define BACKOFF_MIN_NS (10 * NS_PER_S)
#define BACKOFF_MAX_NS (300 * NS_PER_S)

static const char *policy_of(const cJSON *container)
{
    const char *policy = json_string(container, "imagePullPolicy"),
               *image = json_string(container, "image");

    if (policy && policy[0])
        return policy;
    struct str name = str_of(image);
    const char *slash = image ? strrchr(image, '/') : NULL;
    bool tagged = image && strchr(slash ? slash : image, ':');
    return !tagged || str_ends(name, STR(":latest")) ? "Always" : "IfNotPresent";
}

static enum work_state pull_state(
    struct sync *s, struct container_record *c, const char *image, char **ret_message)
{
    env_lock(s->agent->env, &s->record->lock);
    enum work_state state = c_eq(c->pull.subject, image) ? c->pull.state : WORK_NONE;
    if (state == WORK_FAILED && c->pull.message)
        *ret_message = xstrdup(c->pull.message);
    env_unlock(s->agent->env, &s->record->lock);
    return state;
}

static void set_pull(
    struct sync *s, struct container_record *c, enum work_state state, const char *image)
{
    env_lock(s->agent->env, &s->record->lock);
    work_set(&c->pull, state, image, NULL);
    env_unlock(s->agent->env, &s->record->lock);
}

static int begin_pull(struct sync *s, struct container_record *c, const char *image)
{
    pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "Pulling", "Pulling image \"%s\"", image);
    set_pull(s, c, WORK_RUNNING, image);
    if (c->waiting_reason && !c_eq(c->waiting_reason, "ErrImagePull") &&
        !c_eq(c->waiting_reason, "ImagePullBackOff"))
        container_waiting(c, NULL, NULL);
    workqueue_addf(s->agent->pull_queue, "%s/%s", s->record->uid, c->name);
    return -ERR_TIMEOUT;
}

/* A pull has failed: show it, wait, try again. */
static int after_failure(
    struct sync *s, struct container_record *c, const char *image, const char *why)
{
    if (c->pull_failed_ns == 0) {
        autofree char *message = str_format("failed to pull image \"%s\": %s", image, why);
        c->pull_backoff_ns = c->pull_backoff_ns == 0 ? BACKOFF_MIN_NS : c->pull_backoff_ns * 2;
        if (c->pull_backoff_ns > BACKOFF_MAX_NS)
            c->pull_backoff_ns = BACKOFF_MAX_NS;
        c->pull_failed_ns = s->now_ns;
        container_waiting(c, "ErrImagePull", message);
        pod_event(s->record, s->spec, c->name, EVENT_WARNING, "Failed",
            "Failed to pull image \"%s\": %s", image, why);
        pod_event(s->record, s->spec, c->name, EVENT_WARNING, "Failed", "Error: ErrImagePull");
        /* Shown for a moment, then as the back-off that it is. */
        sync_again(s, NS_PER_S);
        return -ERR_UNAVAILABLE;
    }
    int64_t left = c->pull_failed_ns + c->pull_backoff_ns - s->now_ns;
    if (left <= 0) {
        c->pull_failed_ns = 0;
        return begin_pull(s, c, image);
    }
    if (!c_eq(c->waiting_reason, "ImagePullBackOff")) {
        autofree char *message = str_format(
            "Back-off pulling image \"%s\": ErrImagePull: failed to pull image \"%s\": %s", image,
            image, why);
        container_waiting(c, "ImagePullBackOff", message);
        pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "BackOff",
            "Back-off pulling image \"%s\"", image);
        pod_event(s->record, s->spec, c->name, EVENT_WARNING, "Failed", "Error: ImagePullBackOff");
    }
    sync_again(s, left);
    return -ERR_UNAVAILABLE;
}

static int refuse(struct sync *s, struct container_record *c, const char *reason,
    const char *message, const char *event)
{
    if (!c_eq(c->waiting_reason, reason)) {
        pod_event(s->record, s->spec, c->name, EVENT_WARNING, event, "%s", message);
        pod_event(s->record, s->spec, c->name, EVENT_WARNING, "Failed", "Error: %s", reason);
    }
    container_waiting(c, reason, message);
    sync_again(s, BACKOFF_MIN_NS);
    return -ERR_UNAVAILABLE;
}

int image_ensure(
    struct sync *s, struct container_record *c, const cJSON *container, struct image_info *ret)
{
    struct runtime *rt = s->agent->runtime;
    const char *image = json_string(container, "image"), *policy = policy_of(container);
    autofree char *why = NULL;
    struct error err;

    if (rt->pretends)
        return 0;
    if (!image || image_name_check(image, &err) < 0)
        return refuse(s, c, "InvalidImageName", image ? err.text : "no image", "InspectFailed");
    enum work_state state = pull_state(s, c, image, &why);
    if (state == WORK_RUNNING)
        return -ERR_TIMEOUT;
    if (state == WORK_FAILED)
        return after_failure(s, c, image, why ? why : "");
    int r = rt->ops->image_get(rt, image, ret, &err);
    if (r < 0 && r != -ERR_NOT_FOUND)
        return refuse(s, c, "ImageInspectError", err.text, "InspectFailed");
    if (r == 0 && (!c_eq(policy, "Always") || state == WORK_DONE)) {
        if (state != WORK_DONE)
            pod_event(s->record, s->spec, c->name, EVENT_NORMAL, "Pulled",
                "Container image \"%s\" already present on machine", image);
        set_pull(s, c, WORK_NONE, NULL); /* the next start looks anew */
        c->pull_backoff_ns = c->pull_failed_ns = 0;
        return 0;
    }
    image_info_done(ret);
    if (c_eq(policy, "Never")) {
        autofree char *message =
            str_format("Container image \"%s\" is not present with pull policy of Never", image);
        return refuse(s, c, "ErrImageNeverPull", message, "ErrImageNeverPull");
    }
    return begin_pull(s, c, image);
}

/* The credentials of one imagePullSecret for the image; false when it has none. */
static bool secret_auth(
    struct pod_record *record, const char *name, const char *image, struct strbuf *out)
{
    struct agent *agent = record->agent;
    struct shared_tree *secret = NULL;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    autojson cJSON *config = NULL;
    struct error err;
    bool found = false;

    strbuf_init(&text, 0);
    if (objects_get(agent->objects, "secrets", record->namespace_, name,
            env_now_ns(agent->env) - 5 * NS_PER_S, &secret, &err) < 0)
        return false;
    const cJSON *data = json_get(secret->tree, "data");
    const char *encoded = json_string(data, ".dockerconfigjson");
    if (!encoded)
        encoded = json_string(data, ".dockercfg");
    if (encoded && base64_decode(str_of(encoded), &text, &err) == 0 &&
        json_parse(strbuf_str(&text), &config, &err) == 0)
        found = image_auth(config, image, out);
    shared_tree_unref(secret);
    return found;
}

static void find_auth(
    struct pod_record *record, const cJSON *spec, const char *image, struct strbuf *out)
{
    const cJSON *ref;

    cJSON_ArrayForEach(ref, json_get(spec, "imagePullSecrets"))
    {
        const char *name = json_string(ref, "name");
        if (name && secret_auth(record, name, image, out))
            return;
    }
}

static void pull(
    struct pod_record *record, const cJSON *spec, const char *container, const char *image)
{
    struct agent *agent = record->agent;
    struct runtime *rt = agent->runtime;
    struct container_record *c = NULL;
    struct image_info info = {0};
    autostrbuf struct strbuf auth = STRBUF_EMPTY, took = STRBUF_EMPTY;
    int64_t begun_ns = env_now_ns(agent->env);
    struct error err;

    strbuf_init(&auth, 0);
    strbuf_init(&took, 0);
    find_auth(record, spec, image, &auth);
    int r = rt->ops->image_pull(rt, image, auth.n ? auth.data : NULL, &err);
    if (r == 0)
        r = rt->ops->image_get(rt, image, &info, &err);
    if (r == 0) {
        duration_print((env_now_ns(agent->env) - begun_ns) / NS_PER_MS * NS_PER_MS, &took);
        pod_event(record, spec, container, EVENT_NORMAL, "Pulled",
            "Successfully pulled image \"%s\" in %s (%s including waiting). Image size: %lld "
            "bytes.",
            image, took.data, took.data, (long long)info.size);
    }
    image_info_done(&info);
    env_lock(agent->env, &record->lock);
    for (size_t i = 0; i < record->container_count; i++)
        if (c_eq(record->containers[i]->name, container))
            c = record->containers[i];
    if (c && c->pull.state == WORK_RUNNING && c_eq(c->pull.subject, image))
        work_set(&c->pull, r == 0 ? WORK_DONE : WORK_FAILED, image, r == 0 ? NULL : err.text);
    env_unlock(agent->env, &record->lock);
    record_wake(record);
}

int image_pull_run(void *arg, const char *key, int64_t *ret_again_ns, struct error *err)
{
    struct str container = str_of(key), uid;

    (void)ret_again_ns, (void)err;
    str_split(&container, '/', &uid);
    autofree char *uid_text = str_dup(uid), *name = str_dup(container);
    struct pod_record *record = record_find(arg, uid_text);
    if (!record)
        return 0;
    const struct pod_view *view = record_view(record, NULL);
    autojson cJSON *spec = NULL;
    struct error ignored;
    if (view && view->spec && json_parse(str_of(view->spec), &spec, &ignored) == 0) {
        const char *image = json_string(pod_container(spec, name, NULL), "image");
        if (image)
            pull(record, spec, name, image);
    }
    if (view)
        projected_unref(view);
    record_unref(record);
    return 0;
}
