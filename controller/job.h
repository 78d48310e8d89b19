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
    struct opt_int max_failed_indexes;
    bool suspend, restarts_in_place; /* restartPolicy OnFailure */
    bool per_index;                  /* backoffLimitPerIndex: each index has failures of its own */
    bool only_replaces_failed;       /* a pod's successor waits until the pod has ended */
    int64_t active_deadline_ns;      /* 0: none */
};

/* What there is. Counts include what is not yet counted in the status. */
struct job_facts {
    int64_t active, ready, terminating, succeeded, failed;
    int64_t restarts; /* of the containers of active pods */
    int64_t started_ns, now_ns;
    int64_t last_failure_ns; /* 0: none */
    int64_t recent_failures; /* since the last success */
    int64_t failed_indexes;
    const char *policy_failure; /* podFailurePolicy says FailJob: why; NULL: it doesn't */
    const char *policy_success; /* successPolicy is met: which rule; NULL: it isn't */
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

/* What podFailurePolicy says of a failed pod. */
enum job_action { JOB_COUNT, JOB_IGNORE, JOB_FAIL_INDEX, JOB_FAIL_JOB };
/* policy: the JSON of spec.podFailurePolicy, or NULL. *ret_message (heap) is set for JOB_FAIL_JOB.
 */
enum job_action job_failure_action(const cJSON *policy, const struct pod *pod, char **ret_message);

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

/* The first rule of spec.successPolicy that the completed indexes meet; -1: none. */
int job_success_rule(const cJSON *policy, const struct index_set *completed);
