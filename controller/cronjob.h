/*
 * CronJobs: when the next Job is due (pure).
 */
#pragma once

#include "common/cron.h"
#include "controller/kinds.h"

struct cron_due {
    int64_t scheduled_ns; /* the latest time that came since the last Job; 0: none */
    bool too_late;        /* startingDeadlineSeconds are over */
    bool too_many;        /* more than 100 were missed */
    int64_t next_ns;      /* when to look again, in absolute time */
};

/* ERR_BAD_REQUEST for schedules that never fire (upstream's text). */
int cron_due(const struct cron_job *job, const struct cron *cron, const struct timezone *zone,
    int64_t now_ns, struct cron_due *ret, struct error *err);
