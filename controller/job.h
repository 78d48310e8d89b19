/*
 * Job: the arithmetic of one round (pure).
 */
#pragma once

#include "controller/kinds.h"

#define JOB_FINALIZER "batch.kubernetes.io/job-tracking"

/* What a Job asks for. */
struct job_want {
    int64_t parallelism, backoff_limit;
    struct opt_int completions;
    bool suspend, restarts_in_place; /* restartPolicy OnFailure */
    int64_t active_deadline_ns;      /* 0: none */
};

/* What there is. Counts include what is not yet counted in the status. */
struct job_facts {
    int64_t active, ready, terminating, succeeded, failed;
    int64_t restarts; /* of the containers of active pods */
    int64_t started_ns, now_ns;
    int64_t last_failure_ns; /* 0: none */
    int64_t recent_failures; /* since the last success */
};

struct job_decision {
    const char *end; /* "Complete", "Failed", or NULL: go on */
    const char *reason, *message;
    int64_t want_active;
    int64_t again_ns; /* look again after this time; 0: no need */
};

struct job_decision job_decide(const struct job_want *want, const struct job_facts *facts);
/* How long after the n-th failure in a row the next pod may start: 10 s doubling to 10 min. */
int64_t job_backoff_ns(int64_t failures);

/* Indexes "0-2,5" of an Indexed Job. */
struct index_set {
    unsigned char *bits;
    int64_t size;
};
void index_set_parse(const char *text, int64_t size, struct index_set *ret);
void index_set_done(struct index_set *s);
bool index_set_has(const struct index_set *s, int64_t index);
void index_set_add(struct index_set *s, int64_t index);
int64_t index_set_count(const struct index_set *s);
char *index_set_print(const struct index_set *s);
