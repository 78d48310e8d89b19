/*
 * Cron schedules: five fields, or a macro such as @hourly or @every 90s.
 *
 *     struct cron cron;
 *     if (cron_parse("30 2 * * mon-fri", &cron, &err) < 0) ...
 *     int64_t at_ns = cron_next(&cron, zone, now_ns);
 *
 * Days of month and of week are alternatives when both are restricted. Times that a change to
 * summer time skips are not run; those that come twice run once or twice as upstream's do.
 *
 * Threads: values. Upstream: github.com/robfig/cron/v3, ParseStandard and SpecSchedule.Next.
 */
#pragma once

#include "common/timezone.h"

struct cron {
    uint64_t minutes, hours, days, months, weekdays; /* bit n: the value n fires */
    bool any_day, any_weekday;
    int64_t every_ns; /* > 0: @every, and nothing else counts */
};

/* ERR_BAD_REQUEST with the text of upstream's parser. */
int cron_parse(const char *schedule, struct cron *ret, struct error *err);
/* The first time after this one; 0 when there is none within five years. zone NULL is UTC. */
int64_t cron_next(const struct cron *cron, const struct timezone *zone, int64_t after_ns);
