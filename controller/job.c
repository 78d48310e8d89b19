/*
 * Controller "job": runs pods until enough of them succeeded.
 *
 * Each pod bears a finalizer, so that none is lost or counted twice: a finished pod's uid first
 * goes into status.uncountedTerminatedPods, then its finalizer is removed, and when the informer
 * shows it without (or gone) the uid turns into a number. A Job ends in two steps:
 * SuccessCriteriaMet or FailureTarget at once, Complete or Failed when its last pod is gone and
 * counted. Indexed Jobs give each index its own pod.
 *
 * Upstream: pkg/controller/job.
 */
#include "controller/job.h"

#include "common/log.h"
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/fanout.h"
#include "controller/manager.h"
#include "controller/pods.h"
#include "controller/status.h"

#define INDEX_ANNOTATION "batch.kubernetes.io/job-completion-index"
#define FAILURES_ANNOTATION "batch.kubernetes.io/job-index-failure-count"
#define IGNORED_ANNOTATION "batch.kubernetes.io/job-index-ignored-failure-count"
#define UNCOUNTED_MAX 500
/* Keys of pods that bear the finalizer but have no controller (any more). */
#define LONE_POD "pod "

struct run {
    struct controller *c;
    const struct job *job;
    struct pod_list pods;
    cJSON *status; /* what it shall be */
    struct job_want want;
    struct job_facts facts;
    struct index_set done; /* completed indexes */
    struct index_set lost; /* failed for good, by backoffLimitPerIndex */
    cJSON *failure_policy; /* or NULL */
    char *policy_failure, *policy_success;
    bool ending;                /* an end was announced: nothing is tried again */
    size_t delayed;             /* failed pods that wait for their successor */
    int64_t index_wait_ns;      /* until the next index may be tried again; 0: none waits */
    const struct pod **release; /* finalizers to remove */
    size_t release_count;
};

static bool is_indexed(const struct job *job)
{
    return !strcmp(job->completion_mode, "Indexed");
}

static struct selector *selector_of(const void *object)
{
    return selector_of_json(((const struct job *)object)->selector);
}

static bool has_finalizer(const struct pod *pod)
{
    for (size_t i = 0; i < pod->meta.finalizers.count; i++)
        if (!strcmp(pod->meta.finalizers.strings[i], JOB_FINALIZER))
            return true;
    return false;
}

static void on_pod(struct controller *c, const void *old_object, const void *new_object)
{
    const struct pod *now = new_object;

    controller_add_pod_owners(c, KIND_JOB, selector_of, old_object, new_object);
    if (now && has_finalizer(now) && !object_controller(&now->meta))
        workqueue_addf(c->queue, "%s%s/%s", LONE_POD, now->meta.namespace_, now->meta.name);
}

static int64_t index_of(const struct pod *pod)
{
    const char *text = string_map_get(&pod->meta.annotations, INDEX_ANNOTATION);
    int64_t index;
    struct error err;

    return text && str_parse_int64(str_of(text), &index, &err) == 0 ? index : -1;
}

static bool has_condition(const cJSON *status, const char *type)
{
    const cJSON *item;

    cJSON_ArrayForEach(item,
        json_get(status, "conditions")) if (c_eq(json_string(item, "type"), type) &&
                                            c_eq(json_string(item, "status"), "True")) return true;
    return false;
}

static bool is_finished(const cJSON *status)
{
    return has_condition(status, "Complete") || has_condition(status, "Failed");
}

/* --- counting --- */

static const struct pod *find_uid(const struct run *r, const char *uid)
{
    for (size_t i = 0; i < r->pods.count; i++)
        if (!strcmp(r->pods.pods[i]->meta.uid, uid))
            return r->pods.pods[i];
    return NULL;
}

static cJSON *uncounted(struct run *r, const char *which)
{
    cJSON *lists = json_get(r->status, "uncountedTerminatedPods");

    if (!cJSON_IsObject(lists)) {
        lists = cJSON_CreateObject();
        json_set(r->status, "uncountedTerminatedPods", lists);
    }
    if (!cJSON_IsArray(json_get(lists, which)))
        json_set(lists, which, cJSON_CreateArray());
    return json_get(lists, which);
}

static bool list_has(const cJSON *list, const char *uid)
{
    const cJSON *item;

    cJSON_ArrayForEach(
        item, list) if (cJSON_IsString(item) && !strcmp(item->valuestring, uid)) return true;
    return false;
}

/* Uids whose pod is gone or free of the finalizer turn into the count. */
static void count_released(struct run *r, const char *which)
{
    cJSON *list = uncounted(r, which), *kept = cJSON_CreateArray(), *item;
    int64_t counted = json_int64_at(r->status, which, 0);

    cJSON_ArrayForEach(item, list)
    {
        const struct pod *pod = cJSON_IsString(item) ? find_uid(r, item->valuestring) : NULL;
        if (pod && has_finalizer(pod))
            cJSON_AddItemToArray(kept, cJSON_CreateString(item->valuestring));
        else
            counted++;
    }
    json_set(json_get(r->status, "uncountedTerminatedPods"), which, kept);
    status_set_count(r->status, which, counted);
}

/* A deleted pod counts as failed, for it may never reach a phase that says so; unless the Job waits
 * for that phase. */
static const char *verdict(const struct run *r, const struct pod *pod)
{
    if (!strcmp(pod->phase, "Succeeded"))
        return "succeeded";
    if (!strcmp(pod->phase, "Failed"))
        return "failed";
    return pod->meta.deletion_ns && !r->want.only_replaces_failed ? "failed" : NULL;
}

static enum job_action action_of(const struct run *r, const struct pod *pod)
{
    char *message = NULL;
    enum job_action action = JOB_COUNT;

    if (!strcmp(pod->phase, "Failed"))
        action = job_failure_action(r->failure_policy, pod, &message);
    free(message);
    return action;
}

/* --- failures of one index --- */

static int64_t number_in(const struct pod *pod, const char *annotation)
{
    const char *text = string_map_get(&pod->meta.annotations, annotation);
    int64_t n;
    struct error ignored;

    return text && str_parse_int64(str_of(text), &n, &ignored) == 0 ? n : 0;
}

static int64_t tries_of(const struct pod *pod)
{
    return number_in(pod, FAILURES_ANNOTATION) + number_in(pod, IGNORED_ANNOTATION);
}

/* The failed pod whose successor is not there yet: it keeps its finalizer, because it alone knows
 * how often its index failed. */
static const struct pod *last_failed(const struct run *r, int64_t index)
{
    const struct pod *last = NULL;

    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        if (index_of(pod) != index)
            continue;
        if (!last || tries_of(pod) > tries_of(last))
            last = pod;
    }
    return last && c_eq(verdict(r, last), "failed") && has_finalizer(last) ? last : NULL;
}

static bool fails_index(const struct run *r, const struct pod *pod)
{
    enum job_action action = action_of(r, pod);

    if (action == JOB_FAIL_INDEX)
        return true;
    return action != JOB_IGNORE &&
           number_in(pod, FAILURES_ANNOTATION) >= r->job->backoff_per_index.value;
}

/* Whether a failed pod has to stay until its index has another. Notes indexes that failed for good.
 */
static bool waits_for_successor(struct run *r, const struct pod *pod)
{
    int64_t index = index_of(pod);

    if (!r->want.per_index || index_set_has(&r->done, index) || index_set_has(&r->lost, index))
        return false;
    if (fails_index(r, pod)) {
        index_set_add(&r->lost, index);
        return false;
    }
    return !r->ending && last_failed(r, index) == pod;
}

static void note_finished(struct run *r)
{
    int room = UNCOUNTED_MAX - cJSON_GetArraySize(uncounted(r, "succeeded")) -
               cJSON_GetArraySize(uncounted(r, "failed"));

    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        const char *which = verdict(r, pod);
        if (!which || !has_finalizer(pod))
            continue;
        bool failed = !strcmp(which, "failed");
        if (failed && waits_for_successor(r, pod)) {
            r->delayed++;
            continue;
        }
        bool ignored = failed && action_of(r, pod) == JOB_IGNORE;
        bool known = list_has(uncounted(r, "succeeded"), pod->meta.uid) ||
                     list_has(uncounted(r, "failed"), pod->meta.uid);
        bool duplicate = is_indexed(r->job) && !strcmp(which, "succeeded") &&
                         index_set_has(&r->done, index_of(pod));
        if (!known && !duplicate && !ignored) {
            if (room-- <= 0)
                continue;
            if (is_indexed(r->job) && !strcmp(which, "succeeded"))
                index_set_add(&r->done, index_of(pod));
            cJSON_AddItemToArray(uncounted(r, which), cJSON_CreateString(pod->meta.uid));
        }
        r->release[r->release_count++] = pod;
    }
}

static int64_t finished_ns(const struct pod *pod)
{
    const struct container_status *statuses = pod->statuses.items;
    int64_t latest = pod->meta.deletion_ns ? pod->meta.deletion_ns : 0;

    for (size_t i = 0; i < pod->statuses.count; i++)
        if (statuses[i].finished_ns > latest)
            latest = statuses[i].finished_ns;
    return latest ? latest : pod->meta.creation_ns;
}

static void look_at_pods(struct run *r)
{
    struct job_facts *f = &r->facts;
    int64_t last_success = 0;

    for (size_t i = 0; i < r->pods.count; i++)
        if (!strcmp(r->pods.pods[i]->phase, "Succeeded") &&
            finished_ns(r->pods.pods[i]) > last_success)
            last_success = finished_ns(r->pods.pods[i]);
    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        if (pod_is_active(pod)) {
            f->active++;
            f->ready += pod_is_ready(pod);
            f->restarts += pod_restarts(pod);
        } else if (!pod_is_terminal(pod)) {
            f->terminating++;
        }
        if (c_eq(verdict(r, pod), "failed") && finished_ns(pod) > last_success) {
            f->recent_failures++;
            if (finished_ns(pod) > f->last_failure_ns)
                f->last_failure_ns = finished_ns(pod);
        }
    }
    f->succeeded =
        json_int64_at(r->status, "succeeded", 0) + cJSON_GetArraySize(uncounted(r, "succeeded"));
    f->failed = json_int64_at(r->status, "failed", 0) + cJSON_GetArraySize(uncounted(r, "failed"));
    if (is_indexed(r->job)) {
        f->succeeded = index_set_count(&r->done);
        f->failed_indexes = index_set_count(&r->lost);
    }
}

/* What the policies say of all pods together. */
static void ask_policies(struct run *r)
{
    autojson cJSON *success = json_of_text(r->job->success_policy);
    int rule = is_indexed(r->job) ? job_success_rule(success, &r->done) : -1;

    for (size_t i = 0; i < r->pods.count && !r->policy_failure; i++)
        if (!strcmp(r->pods.pods[i]->phase, "Failed"))
            (void)job_failure_action(r->failure_policy, r->pods.pods[i], &r->policy_failure);
    if (rule >= 0)
        r->policy_success = str_format("Matched rules at index %d", rule);
    r->facts.policy_failure = r->policy_failure;
    r->facts.policy_success = r->policy_success;
}

/* --- pods --- */

static int release_pod(struct controller *c, const struct pod *pod, struct error *err)
{
    cJSON *rest = cJSON_CreateArray(), *patch = cJSON_CreateObject();

    for (size_t k = 0; k < pod->meta.finalizers.count; k++)
        if (strcmp(pod->meta.finalizers.strings[k], JOB_FINALIZER))
            cJSON_AddItemToArray(rest, cJSON_CreateString(pod->meta.finalizers.strings[k]));
    json_set_at(patch, "metadata.finalizers", rest);
    int result = object_patch(c->m, KIND_POD, &pod->meta, NULL, patch, err);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

static int release_one(void *arg, size_t i, struct error *err)
{
    struct run *r = arg;
    return release_pod(r->c, r->release[i], err);
}

static int release_all(struct run *r, struct error *err)
{
    size_t done = fanout(manager_env(r->c->m), r->release_count, release_one, r, err);
    return done == r->release_count ? 0 : -(int)err->code;
}

/* The downward field that tells a container its index. */
static void add_index_env(cJSON *spec)
{
    static const char *const lists[] = {"initContainers", "containers"};
    cJSON *container;

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        cJSON_ArrayForEach(container, json_get(spec, lists[i]))
        {
            cJSON *env = json_get(container, "env");
            if (!cJSON_IsArray(env)) {
                env = cJSON_CreateArray();
                json_set(container, "env", env);
            }
            cJSON_AddItemToArray(env,
                json_make(
                    "{\"name\":\"JOB_COMPLETION_INDEX\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":"
                    "\"metadata.labels['" INDEX_ANNOTATION "']\"}}}"));
        }
}

static void set_in(cJSON *metadata, const char *member, const char *key, const char *value)
{
    if (!cJSON_IsObject(json_get(metadata, member)))
        json_set(metadata, member, cJSON_CreateObject());
    json_set_string(json_get(metadata, member), key, value);
}

/* How often the index failed before, on the pod that tries it again. */
static void set_failures(struct run *r, cJSON *metadata, const struct pod *last)
{
    bool ignored = last && action_of(r, last) == JOB_IGNORE;
    int64_t failures = last ? number_in(last, FAILURES_ANNOTATION) + !ignored : 0;
    int64_t ignored_ones = last ? number_in(last, IGNORED_ANNOTATION) + ignored : 0;
    autofree char *count = str_format("%lld", (long long)failures);

    set_in(metadata, "annotations", FAILURES_ANNOTATION, count);
    if (ignored_ones) {
        autofree char *other = str_format("%lld", (long long)ignored_ones);
        set_in(metadata, "annotations", IGNORED_ANNOTATION, other);
    }
}

static cJSON *pod_json(struct run *r, int64_t index)
{
    autojson cJSON *template = json_of_text(r->job->template);
    cJSON *pod = pod_from_template(template, KIND_JOB, &r->job->meta);
    cJSON *metadata = json_get(pod, "metadata"), *finalizers = json_get(metadata, "finalizers");

    if (!finalizers) {
        finalizers = cJSON_CreateArray();
        json_set(metadata, "finalizers", finalizers);
    }
    cJSON_AddItemToArray(finalizers, cJSON_CreateString(JOB_FINALIZER));
    if (index < 0)
        return pod;
    autofree char *name = str_format("%s-%lld", r->job->meta.name, (long long)index);
    if (r->want.per_index)
        set_failures(r, metadata, last_failed(r, index));
    autofree char *prefix = str_format("%s-", name), *number = str_format("%lld", (long long)index);
    set_in(metadata, "annotations", INDEX_ANNOTATION, number);
    set_in(metadata, "labels", INDEX_ANNOTATION, number);
    json_set_string(metadata, "generateName", prefix);
    json_set_string_at(pod, "spec.hostname", name);
    add_index_env(json_get(pod, "spec"));
    return pod;
}

struct creation {
    struct run *r;
    int64_t *indexes;
};

static int create_one(void *arg, size_t i, struct error *err)
{
    struct creation *creation = arg;
    struct run *r = creation->r;
    autojson cJSON *pod = pod_json(r, creation->indexes[i]);
    autofree char *version = NULL;

    if (pod_create(r->c, KIND_JOB, &r->job->meta, pod, &version, err) < 0)
        return -(int)err->code;
    return kind_wait_version(r->c->m, KIND_POD, version, err);
}

static bool index_is_taken(struct run *r, int64_t index)
{
    if (index_set_has(&r->done, index) || (r->want.per_index && index_set_has(&r->lost, index)))
        return true;
    for (size_t i = 0; i < r->pods.count; i++) {
        const struct pod *pod = r->pods.pods[i];
        bool holds = r->want.only_replaces_failed ? !pod_is_terminal(pod) : pod_is_active(pod);
        if (holds && index_of(pod) == index)
            return true;
    }
    return false;
}

/* An index that failed is tried again after a while that grows. */
static bool index_must_wait(struct run *r, int64_t index)
{
    const struct pod *last = r->want.per_index ? last_failed(r, index) : NULL;

    if (!last)
        return false;
    int64_t wait = finished_ns(last) + job_backoff_ns(tries_of(last) + 1) - r->facts.now_ns;
    if (wait > 0 && (!r->index_wait_ns || wait < r->index_wait_ns))
        r->index_wait_ns = wait;
    return wait > 0;
}

static int create_pods(struct run *r, int64_t count, struct error *err)
{
    autofree int64_t *indexes = xcalloc((size_t)count + 1, sizeof(*indexes));
    struct creation creation = {r, indexes};
    size_t n = 0;

    for (int64_t i = 0; is_indexed(r->job) && i < r->done.size && (int64_t)n < count; i++)
        if (!index_is_taken(r, i) && !index_must_wait(r, i))
            indexes[n++] = i;
    for (; !is_indexed(r->job) && (int64_t)n < count; n++)
        indexes[n] = -1;
    size_t done = fanout_slow_start(manager_env(r->c->m), n, create_one, &creation, err);
    return done == n ? 0 : -(int)err->code;
}

static int delete_pods(struct run *r, int64_t count, struct error *err)
{
    autofree struct ranked_pod *active = xcalloc(r->pods.count + 1, sizeof(*active));
    autofree const struct pod **victims = xcalloc(r->pods.count + 1, sizeof(*victims));
    int64_t now = r->facts.now_ns;
    size_t n = 0, done;

    for (size_t i = 0; i < r->pods.count; i++)
        if (pod_is_active(r->pods.pods[i]))
            active[n++].pod = r->pods.pods[i];
    qsort_r(active, n, sizeof(*active), pod_deletion_cmp, &now);
    for (size_t i = 0; i < n && (int64_t)i < count; i++)
        victims[i] = active[i].pod;
    n = (int64_t)n < count ? n : (size_t)count;
    return pods_delete(r->c, KIND_JOB, &r->job->meta, victims, n, &done, err);
}

static int manage(struct run *r, const struct job_decision *d, struct error *err)
{
    int64_t want = d->end ? 0 : d->want_active, diff = want - r->facts.active;

    if (diff > 0)
        return create_pods(r, diff, err);
    return diff < 0 ? delete_pods(r, -diff, err) : 0;
}

/* --- status --- */

static void set_condition(
    struct run *r, const char *type, const char *status, const char *reason, const char *message)
{
    char now[TIME_TEXT_BYTES];
    cJSON *conditions = json_get(r->status, "conditions"), *item;

    if (!conditions) {
        conditions = cJSON_CreateArray();
        json_set(r->status, "conditions", conditions);
    }
    if (!conditions_set(conditions, type, status, reason, message, r->facts.now_ns, 0))
        return;
    item = conditions_get(conditions, type);
    json_set_string(item, "lastProbeTime", time_print_s(r->facts.now_ns, now));
}

static void set_start(struct run *r, const cJSON *old)
{
    char now[TIME_TEXT_BYTES];
    struct error err;
    const char *start = json_string(old, "startTime");

    if (r->want.suspend) {
        json_remove(r->status, "startTime");
        if (!has_condition(r->status, "Suspended")) {
            set_condition(r, "Suspended", "True", "JobSuspended", "Job suspended");
            controller_event(
                r->c, KIND_JOB, &r->job->meta, EVENT_NORMAL, "Suspended", "Job suspended");
        }
        return;
    }
    if (has_condition(r->status, "Suspended")) {
        set_condition(r, "Suspended", "False", "JobResumed", "Job resumed");
        controller_event(r->c, KIND_JOB, &r->job->meta, EVENT_NORMAL, "Resumed", "Job resumed");
    }
    if (start && time_parse(str_of(start), &r->facts.started_ns, &err) == 0)
        return;
    r->facts.started_ns = r->facts.now_ns;
    json_set_string(r->status, "startTime", time_print_s(r->facts.now_ns, now));
}

/* The first step of an end; the second when nothing is left to wait for. */
static void set_end(struct run *r, const struct job_decision *d)
{
    char now[TIME_TEXT_BYTES];
    bool complete = !strcmp(d->end, "Complete");
    bool counted =
        !uncounted(r, "succeeded")->child && !uncounted(r, "failed")->child && !r->delayed;

    set_condition(
        r, complete ? "SuccessCriteriaMet" : "FailureTarget", "True", d->reason, d->message);
    if (!counted || r->facts.active > 0 || r->facts.terminating > 0)
        return;
    set_condition(r, d->end, "True", d->reason, d->message);
    if (complete)
        json_set_string(r->status, "completionTime", time_print_s(r->facts.now_ns, now));
    controller_event(r->c, KIND_JOB, &r->job->meta, complete ? EVENT_NORMAL : EVENT_WARNING,
        complete ? "Completed" : d->reason, "%s", complete ? "Job completed" : d->message);
}

/* An end that was announced stays, whatever the pods say now. */
static void keep_end(const cJSON *status, struct job_decision *d)
{
    static const char *const announced[][2] = {
        {"SuccessCriteriaMet", "Complete"}, {"FailureTarget", "Failed"}};
    const cJSON *item;

    for (size_t i = 0; i < ARRAY_COUNT(announced); i++)
        cJSON_ArrayForEach(item,
            json_get(status, "conditions")) if (c_eq(json_string(item, "type"), announced[i][0]) &&
                                                c_eq(json_string(item, "status"), "True"))
        {
            const char *reason = json_string(item, "reason"),
                       *message = json_string(item, "message");
            d->end = announced[i][1];
            d->reason = reason ? reason : "";
            d->message = message ? message : "";
        }
}

static void fill_counts(struct run *r)
{
    status_set_count(r->status, "active", r->facts.active);
    json_set(r->status, "ready", json_new_int64(r->facts.ready));
    json_set(r->status, "terminating", json_new_int64(r->facts.terminating));
    if (is_indexed(r->job)) {
        autofree char *text = index_set_print(&r->done);
        if (*text)
            json_set_string(r->status, "completedIndexes", text);
    }
    if (r->want.per_index) {
        autofree char *text = index_set_print(&r->lost);
        json_set_string(r->status, "failedIndexes", text);
    }
    static const char *const lists[] = {"succeeded", "failed"};
    cJSON *both = json_get(r->status, "uncountedTerminatedPods");
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        if (json_get(both, lists[i]) && !json_get(both, lists[i])->child)
            json_remove(both, lists[i]);
}

/* --- the round --- */

static void fill_want(struct run *r)
{
    const struct job *job = r->job;
    autojson cJSON *template = json_of_text(job->template);

    r->want = (struct job_want){.parallelism = job->parallelism.set ? job->parallelism.value : 1,
        .backoff_limit = job->backoff_limit.set ? job->backoff_limit.value : 6,
        .completions = job->completions,
        .suspend = job->suspend,
        .max_failed_indexes = job->max_failed_indexes,
        .per_index = is_indexed(job) && job->backoff_per_index.set,
        .only_replaces_failed =
            *job->replacement ? !strcmp(job->replacement, "Failed") : job->failure_policy != NULL,
        .restarts_in_place = c_eq(json_string_at(template, "spec.restartPolicy"), "OnFailure"),
        .active_deadline_ns = job->active_deadline_seconds.value * NS_PER_S};
}

/* After the end: free the pods that are left. */
static int after_end(struct run *r, struct error *err)
{
    for (size_t i = 0; i < r->pods.count; i++)
        if (has_finalizer(r->pods.pods[i]))
            r->release[r->release_count++] = r->pods.pods[i];
    return release_all(r, err);
}

static int sync(struct run *r, const cJSON *old, int64_t *again_ns, struct error *err)
{
    auto_selector struct selector *selector = selector_of_json(r->job->selector);
    struct error managed_err;
    int managed = 0;

    if (pods_claim(r->c, KIND_JOB, &r->job->meta, selector, NULL, &r->pods, err) < 0)
        return -(int)err->code;
    r->release = xcalloc(r->pods.count + 1, sizeof(*r->release));
    if (is_finished(old))
        return after_end(r, err);
    const char *indexes = json_string(old, "completedIndexes");
    const char *lost = json_string(old, "failedIndexes");
    index_set_parse(indexes ? indexes : "", r->want.completions.value, &r->done);
    index_set_parse(lost ? lost : "", r->want.completions.value, &r->lost);
    r->ending = has_condition(old, "SuccessCriteriaMet") || has_condition(old, "FailureTarget");
    count_released(r, "succeeded");
    count_released(r, "failed");
    note_finished(r);
    look_at_pods(r);
    ask_policies(r);
    if (!r->job->meta.deletion_ns)
        set_start(r, old);
    struct job_decision d = job_decide(&r->want, &r->facts);
    keep_end(old, &d);
    if (d.end)
        set_end(r, &d);
    fill_counts(r);
    if (object_status_write(r->c->m, KIND_JOB, &r->job->meta, r->job->status, r->status, err) < 0 ||
        release_all(r, err) < 0)
        return -(int)err->code;
    if (!r->job->meta.deletion_ns)
        managed = manage(r, &d, &managed_err);
    *again_ns = r->index_wait_ns && (!d.again_ns || r->index_wait_ns < d.again_ns)
                    ? r->index_wait_ns
                    : d.again_ns;
    if (managed < 0 && !is_terminating_namespace(&managed_err)) {
        *err = managed_err;
        return managed;
    }
    return 0;
}

/* The Job is gone: its pods have nobody left to be counted by. */
static int release_orphans(struct controller *c, const char *key, struct error *err)
{
    struct key k = key_split(key);
    auto_objects struct projected_array pods = kind_list(c->m, KIND_POD, k.namespace_);

    for (size_t i = 0; i < pods.count; i++) {
        const struct pod *pod = pods.objects[i];
        const struct owner_ref *owner = object_controller(&pod->meta);
        if (owner && !strcmp(owner->kind, "Job") && !strcmp(owner->name, k.name) &&
            has_finalizer(pod) && release_pod(c, pod, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int release_lone(struct controller *c, const char *key, struct error *err)
{
    auto_object const struct pod *pod = kind_get_key(c->m, KIND_POD, key);

    if (!pod || !has_finalizer(pod) || object_controller(&pod->meta))
        return 0;
    return release_pod(c, pod, err);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    if (!strncmp(key, LONE_POD, sizeof(LONE_POD) - 1))
        return release_lone(c, key + sizeof(LONE_POD) - 1, err);
    auto_object const struct job *job = kind_get_key(c->m, KIND_JOB, key);
    struct run r = {.c = c, .job = job};

    if (!job)
        return release_orphans(c, key, err);
    if (*job->managed_by && strcmp(job->managed_by, "kubernetes.io/job-controller"))
        return 0;
    autojson cJSON *old = json_of_text(job->status);
    r.status = cJSON_Duplicate(old, true);
    r.facts.now_ns = env_wall_ns(manager_env(c->m));
    fill_want(&r);
    r.failure_policy = json_of_text(job->failure_policy);
    int result = sync(&r, old, ret_again_ns, err);
    index_set_done(&r.done);
    index_set_done(&r.lost);
    cJSON_Delete(r.failure_policy);
    free(r.policy_failure);
    free(r.policy_success);
    pod_list_done(&r.pods);
    free(r.release);
    cJSON_Delete(r.status);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

const struct controller_info controller_job = {
    .name = "job-controller",
    .component = "job-controller",
    .workers = 2,
    .watch_count = 2,
    .watches = {{KIND_JOB, controller_on_object}, {KIND_POD, on_pod}},
    .reconcile = reconcile,
};
