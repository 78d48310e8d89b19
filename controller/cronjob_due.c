/* When a CronJob's next Job is due: see cronjob.h. Upstream: mostRecentScheduleTime,
 * nextScheduleTime and nextScheduleTimeDuration of pkg/controller/cronjob. */
#include "controller/cronjob.h"

#include "common/time.h"

#define MISSED_MAX 100
#define NEXT_DELTA_NS (100 * NS_PER_MS)

struct recent {
    int64_t earliest_ns, latest_ns; /* latest 0: none came */
    int64_t missed;
};

static int most_recent(const struct cron_job *job, const struct cron *cron,
    const struct timezone *zone, int64_t now, bool with_deadline, struct recent *ret,
    struct error *err)
{
    int64_t earliest = job->last_schedule_ns ? job->last_schedule_ns : job->meta.creation_ns;

    if (with_deadline && job->starting_deadline_seconds.set) {
        int64_t deadline = job->starting_deadline_seconds.value;
        deadline = deadline > now / NS_PER_S ? 0 : now - deadline * NS_PER_S;
        earliest = deadline > earliest ? deadline : earliest;
    }
    *ret = (struct recent){.earliest_ns = earliest};
    int64_t first = cron_next(cron, zone, earliest);
    int64_t second = first ? cron_next(cron, zone, first) : 0;
    if (first && now < first)
        return 0;
    if (first && second && now < second) {
        ret->latest_ns = first;
        return 0;
    }
    int64_t between = (second - first + NS_PER_S / 2) / NS_PER_S;
    if (!first || !second || between < 1)
        return error_set(
            err, ERR_BAD_REQUEST, "time difference between two schedules is less than 1 second");
    ret->missed = (now - first) / NS_PER_S / between + 1;
    /* Two steps before the end of an even schedule; the rest is walked. */
    int64_t at = first + (ret->missed - 2) * between * NS_PER_S;
    while ((at = cron_next(cron, zone, at)) && at <= now)
        ret->latest_ns = at;
    return 0;
}

int cron_due(const struct cron_job *job, const struct cron *cron, const struct timezone *zone,
    int64_t now, struct cron_due *ret, struct error *err)
{
    struct recent recent, all;

    if (most_recent(job, cron, zone, now, true, &recent, err) < 0 ||
        most_recent(job, cron, zone, now, false, &all, err) < 0)
        return -(int)err->code;
    int64_t deadline = job->starting_deadline_seconds.value;
    *ret = (struct cron_due){
        .scheduled_ns = recent.latest_ns,
        .too_many = recent.missed > MISSED_MAX,
        .too_late = recent.latest_ns && job->starting_deadline_seconds.set &&
                    deadline < INT64_MAX / NS_PER_S / 2 &&
                    recent.latest_ns + deadline * NS_PER_S < now,
    };
    int64_t from = all.latest_ns ? all.latest_ns : all.missed ? now : all.earliest_ns;
    ret->next_ns = cron_next(cron, zone, from) + NEXT_DELTA_NS;
    return 0;
}
