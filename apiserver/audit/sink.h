/*
 * Where audit events go: a queue and a task each, so that a slow disk or a webhook that hangs holds
 * nobody up.
 *
 * A record is counted and shared by the sinks. sink_add never waits: it takes a reference, or drops
 * the record and counts it when the queue is full (events, or 64 MB). The task takes what is there
 * and hands it to the sink's `write` in batches; `write` says how many it got rid of.
 * Threads: sink_add from any loop; write on the sink's task.
 */
#pragma once

#include "apiserver/audit/audit.h"

struct audit_record {
    uint32_t refs; /* atomic */
    size_t bytes;
    bool strip; /* managedFields */
    /* JSON text: head ends before requestObject, tail starts behind responseObject */
    char *head, *tail;
    char *request, *response; /* or NULL */
};
void audit_record_unref(struct audit_record *r);
void audit_record_print(const struct audit_record *r, struct strbuf *out); /* {...} */

struct sink;
struct sink_ops {
    const char *plugin; /* label of the metrics */
    /* Blocks. 0, or -1 with err: these records are lost. */
    int (*write)(void *state, struct audit_record **records, size_t count, struct error *err);
    void (*stop)(void *state); /* from another task: end waits soon; may be NULL */
    void (*free)(void *state);
};

struct sink_limits {
    size_t buffer_events, batch_events;
    int64_t batch_wait_ns; /* how long a batch may fill */
};
/* state is taken. */
struct sink *sink_new(struct env *env, struct metrics *metrics, const struct sink_ops *ops,
    void *state, const struct sink_limits *limits);
void sink_free(struct sink *s); /* writes what is queued */
void sink_add(struct sink *s, struct audit_record *r);

int log_sink_new(struct env *env, struct metrics *metrics, const struct audit_settings *config,
    struct sink **ret, struct error *err);
int webhook_sink_new(struct env *env, struct metrics *metrics, const struct audit_settings *config,
    struct sink **ret, struct error *err);
