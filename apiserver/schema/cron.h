/*
 * The syntax of cron schedules: five fields, or a macro such as @hourly.
 */
#pragma once

#include "common/str.h"

/* ERR_BAD_REQUEST with the text of upstream's parser (robfig/cron). */
int cron_check(const char *schedule, struct error *err);
