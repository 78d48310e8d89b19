/*
 * Controller "cronjob": makes Jobs at the times of a schedule.
 *
 * reconcile: the Jobs it owns - status.active and lastSuccessfulTime from them - finished ones
 * above the history limits deleted - the Job that is due made, unless suspended, too late, or the
 * policy says no - sleep until the next time. A Job's name is the CronJob's and the scheduled
 * minute, so that one time never gives two Jobs, whatever was forgotten.
 *
 * Upstream: pkg/controller/cronjob (version 2).
 */
#include "controller/cronjob.h"

#include "common/time.h"
#include "controller/controller.h"
#include "controller/status.h"

#define TIMESTAMP_ANNOTATION "batch.kubernetes.io/cronjob-scheduled-timestamp"

struct round {
    struct controller *c;
    const struct cron_job *cj;
    struct projected_array jobs; /* owned ones */
    cJSON *status;               /* what it shall be */
    int64_t now_ns;
};

/* --- the Jobs there are --- */

/* "Complete" or "Failed"; NULL while it runs. */
static const char *finish_of(const cJSON *status)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(status, "conditions"))
    {
        const char *type = json_string(item, "type");
        if (c_eq(json_string(item, "status"), "True") &&
            (c_eq(type, "Complete") || c_eq(type, "Failed")))
            return c_eq(type, "Complete") ? "Complete" : "Failed";
    }
    return NULL;
}

static int active_place(const struct round *r, const char *uid)
{
    const cJSON *item;
    int i = 0;

    cJSON_ArrayForEach(item, json_get(r->status, "active"))
    {
        if (c_eq(json_string(item, "uid"), uid))
            return i;
        i++;
    }
    return -1;
}

static void forget_active(struct round *r, int place)
{
    cJSON_DeleteItemFromArray(json_get(r->status, "active"), place);
}

static void note_success(struct round *r, const cJSON *job_status)
{
    const char *done = json_string(job_status, "completionTime");
    const char *last = json_string(r->status, "lastSuccessfulTime");
    int64_t done_ns, last_ns = 0;
    struct error ignored;

    if (!done || time_parse(str_of(done), &done_ns, &ignored) < 0)
        return;
    if (last)
        (void)time_parse(str_of(last), &last_ns, &ignored);
    if (done_ns > last_ns)
        json_set_string(r->status, "lastSuccessfulTime", done);
}

static void look_at_job(struct round *r, const struct job *job)
{
    autojson cJSON *status = json_of_text(job->status);
    const char *end = finish_of(status);
    int place = active_place(r, job->meta.uid);

    if (place < 0 && !end) {
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_WARNING, "UnexpectedJob",
            "Saw a job that the controller did not create or forgot: %s", job->meta.name);
        return;
    }
    if (place >= 0 && end) {
        forget_active(r, place);
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_NORMAL, "SawCompletedJob",
            "Saw completed job: %s, condition: %s", job->meta.name, end);
    }
    if (c_eq(end, "Complete"))
        note_success(r, status);
}

static bool is_owned(const struct round *r, const char *uid)
{
    for (size_t i = 0; i < r->jobs.count; i++)
        if (c_eq(((const struct job *)r->jobs.objects[i])->meta.uid, uid))
            return true;
    return false;
}

static void drop_missing(struct round *r)
{
    cJSON *active = json_get(r->status, "active");

    for (int i = cJSON_GetArraySize(active) - 1; i >= 0; i--) {
        const cJSON *item = cJSON_GetArrayItem(active, i);
        const char *name = json_string(item, "name");
        if (is_owned(r, json_string(item, "uid")))
            continue;
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_NORMAL, "MissingJob",
            "Active job went missing: %s", name ? name : "");
        forget_active(r, i);
    }
}

static int write_status(struct round *r, struct error *err)
{
    cJSON *active = json_get(r->status, "active");

    if (active && !active->child)
        json_remove(r->status, "active");
    return object_status_write(r->c->m, KIND_CRON_JOB, &r->cj->meta, r->cj->status, r->status, err);
}

/* --- history --- */

static int64_t start_of(const struct job *job)
{
    autojson cJSON *status = json_of_text(job->status);
    const char *text = json_string(status, "startTime");
    int64_t ns;
    struct error ignored;

    return text && time_parse(str_of(text), &ns, &ignored) == 0 ? ns : INT64_MAX;
}

static int cmp_start(const void *a, const void *b)
{
    const struct job *x = *(const struct job *const *)a, *y = *(const struct job *const *)b;
    int64_t s = start_of(x), t = start_of(y);

    return s != t ? (s < t ? -1 : 1) : strcmp(x->meta.name, y->meta.name);
}

static int delete_job(struct round *r, const struct object_meta *job, struct error *err)
{
    if (object_delete(r->c->m, KIND_JOB, job, "Background", err) < 0) {
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_WARNING, "FailedDelete",
            "Deleted job: %s", err->text);
        return -(int)err->code;
    }
    int place = active_place(r, job->uid);
    if (place >= 0)
        forget_active(r, place);
    controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_NORMAL, "SuccessfulDelete",
        "Deleted job %s", job->name);
    return 0;
}

static int trim_history(
    struct round *r, const char *end, const struct opt_int *limit, struct error *err)
{
    autofree const struct job **done = xcalloc(r->jobs.count + 1, sizeof(*done));
    size_t n = 0;

    if (!limit->set)
        return 0;
    for (size_t i = 0; i < r->jobs.count; i++) {
        const struct job *job = r->jobs.objects[i];
        autojson cJSON *status = json_of_text(job->status);
        if (!job->meta.deletion_ns && c_eq(finish_of(status), end))
            done[n++] = job;
    }
    qsort(done, n, sizeof(*done), cmp_start);
    for (size_t i = 0; (int64_t)i < (int64_t)n - limit->value; i++)
        if (delete_job(r, &done[i]->meta, err) < 0)
            return -(int)err->code;
    return 0;
}

/* --- making one --- */

static void print_scheduled(int64_t ns, const struct timezone *zone, char *buf)
{
    int64_t offset = timezone_offset(zone, ns / NS_PER_S),
            minutes = (offset < 0 ? -offset : offset) / 60;

    time_print_s(ns + offset * NS_PER_S, buf);
    if (offset)
        snprintf(buf + strlen(buf) - 1, 8, "%c%02d:%02d", offset < 0 ? '-' : '+',
            (int)(minutes / 60 % 24), (int)(minutes % 60));
}

static cJSON *job_json(
    const struct round *r, const char *name, int64_t scheduled_ns, const struct timezone *zone)
{
    autojson cJSON *template = json_of_text(r->cj->template);
    char timestamp[TIME_TEXT_BYTES + 8];
    cJSON *job = json_make("{\"apiVersion\":\"batch/v1\",\"kind\":\"Job\",\"metadata\":{}}");
    cJSON *meta = json_get(job, "metadata"), *refs = cJSON_CreateArray();
    static const char *const copied[] = {"labels", "annotations"};

    for (size_t i = 0; i < ARRAY_COUNT(copied); i++) {
        const cJSON *map = json_get(json_get(template, "metadata"), copied[i]);
        json_set(meta, copied[i],
            cJSON_IsObject(map) ? cJSON_Duplicate(map, true) : cJSON_CreateObject());
    }
    print_scheduled(scheduled_ns, zone, timestamp);
    json_set_string(json_get(meta, "annotations"), TIMESTAMP_ANNOTATION, timestamp);
    json_set_string(meta, "name", name);
    json_set_string(meta, "namespace", r->cj->meta.namespace_);
    cJSON_AddItemToArray(refs, controller_ref_json(KIND_CRON_JOB, &r->cj->meta));
    json_set(meta, "ownerReferences", refs);
    const cJSON *spec = json_get(template, "spec");
    if (spec)
        json_set(job, "spec", cJSON_Duplicate(spec, true));
    return job;
}

static void note_active(struct round *r, const cJSON *job)
{
    static const char *const copied[] = {"namespace", "name", "uid", "resourceVersion"};
    cJSON *active = json_get(r->status, "active");
    cJSON *ref = json_make("{\"kind\":\"Job\",\"apiVersion\":\"batch/v1\"}");

    if (!cJSON_IsArray(active)) {
        active = cJSON_CreateArray();
        json_set(r->status, "active", active);
    }
    for (size_t i = 0; i < ARRAY_COUNT(copied); i++)
        json_set_string(ref, copied[i], json_string(json_get(job, "metadata"), copied[i]));
    cJSON_AddItemToArray(active, ref);
}

static bool is_ours(const struct round *r, const cJSON *job)
{
    const cJSON *owner;

    cJSON_ArrayForEach(owner, json_path(job, "metadata.ownerReferences"))
    {
        if (json_bool(owner, "controller", false) &&
            c_eq(json_string(owner, "uid"), r->cj->meta.uid))
            return true;
    }
    return false;
}

static bool is_active(const struct round *r, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(r->status, "active"))
    {
        if (c_eq(json_string(item, "name"), name))
            return true;
    }
    return false;
}

/* *ret: the Job as it stands, also when an earlier round made it. */
static int create_job(struct round *r, const char *name, int64_t scheduled_ns,
    const struct timezone *zone, cJSON **ret, struct error *err)
{
    autojson cJSON *job = job_json(r, name, scheduled_ns, zone);
    struct api_ref ref = {
        .group_version = "batch/v1", .plural = "jobs", .namespace_ = r->cj->meta.namespace_};
    int made = api_create(manager_client(r->c->m), &ref, job, ret, err);

    if (made == 0) {
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_NORMAL, "SuccessfulCreate",
            "Created job %s", name);
        return kind_wait_version(
            r->c->m, KIND_JOB, json_string_at(*ret, "metadata.resourceVersion"), err);
    }
    if (made != -ERR_ALREADY_EXISTS) {
        if (!is_terminating_namespace(err))
            controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_WARNING, "FailedCreate",
                "Error creating job: %s", err->text);
        return made;
    }
    ref.name = name;
    if (api_get(manager_client(r->c->m), &ref, ret, err) < 0)
        return -(int)err->code;
    if (is_ours(r, *ret))
        return 0;
    return error_set(
        err, ERR_ALREADY_EXISTS, "job \"%s\" exists and belongs to somebody else", name);
}

static int replace_active(struct round *r, struct error *err)
{
    for (size_t i = 0; i < r->jobs.count; i++) {
        const struct job *job = r->jobs.objects[i];
        if (active_place(r, job->meta.uid) >= 0 && delete_job(r, &job->meta, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int start_job(
    struct round *r, const struct cron_due *due, const struct timezone *zone, struct error *err)
{
    autofree char *name =
        str_format("%s-%lld", r->cj->meta.name, (long long)(due->scheduled_ns / NS_PER_S / 60));
    char scheduled[TIME_TEXT_BYTES];
    autojson cJSON *job = NULL;

    if (r->cj->last_schedule_ns == due->scheduled_ns || is_active(r, name))
        return 0;
    if (due->too_late) {
        time_print_s(due->scheduled_ns, scheduled);
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_WARNING, "MissSchedule",
            "Missed scheduled time to start a job: %s", scheduled);
        return 0;
    }
    bool runs = cJSON_GetArraySize(json_get(r->status, "active")) > 0;
    if (runs && !strcmp(r->cj->concurrency_policy, "Forbid")) {
        controller_event(r->c, KIND_CRON_JOB, &r->cj->meta, EVENT_NORMAL, "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid");
        return 0;
    }
    if (!strcmp(r->cj->concurrency_policy, "Replace") && replace_active(r, err) < 0)
        return -(int)err->code;
    if (create_job(r, name, due->scheduled_ns, zone, &job, err) < 0)
        return is_terminating_namespace(err) ? 0 : -(int)err->code;
    if (!finish_of(json_get(job, "status")))
        note_active(r, job);
    json_set_string(r->status, "lastScheduleTime", time_print_s(due->scheduled_ns, scheduled));
    return 0;
}

/* --- the round --- */

/* What is due now, if anything; bad schedules are told and left alone until they change. */
static int run_schedule(struct round *r, int64_t *again_ns, struct error *err)
{
    const struct cron_job *cj = r->cj;
    struct timezone *zone = NULL;
    struct cron cron;
    struct cron_due due;
    struct error why;
    int result = 0;

    if (*cj->time_zone && timezone_load(cj->time_zone, &zone, &why) < 0) {
        controller_event(r->c, KIND_CRON_JOB, &cj->meta, EVENT_WARNING, "UnknownTimeZone",
            "invalid timeZone: \"%s\": %s", cj->time_zone, why.text);
        return 0;
    }
    if (cj->suspend) {
        /* nothing is due */
    } else if (cron_parse(cj->schedule, &cron, &why) < 0) {
        controller_event(r->c, KIND_CRON_JOB, &cj->meta, EVENT_WARNING, "UnparseableSchedule",
            "unparseable schedule: \"%s\" : %s", cj->schedule, why.text);
    } else if (cron_due(cj, &cron, zone, r->now_ns, &due, &why) < 0) {
        controller_event(r->c, KIND_CRON_JOB, &cj->meta, EVENT_WARNING, "InvalidSchedule",
            "invalid schedule: %s : %s", cj->schedule, why.text);
    } else {
        if (due.too_many && cj->last_schedule_ns != due.scheduled_ns)
            controller_event(r->c, KIND_CRON_JOB, &cj->meta, EVENT_WARNING, "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or "
                "check clock skew");
        if (due.scheduled_ns)
            result = start_job(r, &due, zone, err);
        *again_ns = due.next_ns > r->now_ns ? due.next_ns - r->now_ns : NS_PER_S;
    }
    timezone_free(zone);
    return result;
}

static int sync(struct round *r, int64_t *again_ns, struct error *err)
{
    struct error write_err;

    for (size_t i = 0; i < r->jobs.count; i++)
        look_at_job(r, r->jobs.objects[i]);
    drop_missing(r);
    if (r->cj->meta.deletion_ns)
        return write_status(r, err);
    int result = run_schedule(r, again_ns, err);
    if (write_status(r, &write_err) < 0 && result == 0) {
        *err = write_err;
        result = -(int)write_err.code;
    }
    if (result < 0)
        return result;
    if (trim_history(r, "Complete", &r->cj->keep_succeeded, err) < 0 ||
        trim_history(r, "Failed", &r->cj->keep_failed, err) < 0)
        return -(int)err->code;
    return 0;
}

static struct projected_array owned_jobs(struct controller *c, const struct cron_job *cj)
{
    struct projected_array all = kind_by(c->m, KIND_JOB, INDEX_OWNER, cj->meta.uid);
    size_t kept = 0;

    for (size_t i = 0; i < all.count; i++) {
        if (is_controlled_by(all.objects[i], &cj->meta))
            all.objects[kept++] = all.objects[i];
        else
            projected_unref(all.objects[i]);
    }
    all.count = kept;
    return all;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct cron_job *cj = kind_get_key(c->m, KIND_CRON_JOB, key);
    if (!cj)
        return 0;
    struct round r = {.c = c,
        .cj = cj,
        .jobs = owned_jobs(c, cj),
        .status = json_of_text(cj->status),
        .now_ns = env_wall_ns(manager_env(c->m))};
    int result = sync(&r, ret_again_ns, err);
    projected_array_done(&r.jobs);
    cJSON_Delete(r.status);
    return result == -ERR_NOT_FOUND ? 0 : result;
}

static void on_job(struct controller *c, const void *old_object, const void *new_object)
{
    controller_add_owner(c, KIND_CRON_JOB, new_object ? new_object : old_object);
}

const struct controller_info controller_cronjob = {
    .name = "cronjob-controller",
    .component = "cronjob-controller",
    .workers = 2,
    .watch_count = 2,
    .watches = {{KIND_CRON_JOB, controller_on_object}, {KIND_JOB, on_job}},
    .reconcile = reconcile,
};
