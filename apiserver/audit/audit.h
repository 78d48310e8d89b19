/*
 * Audit: who asked for what, and what came of it, as events of audit.k8s.io/v1 for a log and a
 * webhook.
 *
 * A policy (rules.c) decides for each request how much is told: nothing, metadata, the request's
 * object, the answer's too; and at which stages. The request's loop only writes an event down as
 * text and puts it into the queues of the backends (sink.h); tasks of their own format, write, send
 * and retry. A queue is bounded in events and bytes: what does not fit is dropped, counted
 * (apiserver_audit_error_total) and logged, never waited for.
 *
 * What the pipeline calls: audit_stage between authentication and authorization, audit_respond when
 * the head of the answer is ready, audit_finished at the end. Off, server->audit is NULL and each
 * of them one comparison.
 *
 * Bodies of Secrets, ConfigMaps, token requests and reviews are recorded only by a rule that names
 * the resource ("secrets"); rules that cover them with "*" or without resources stay at Metadata.
 * Upstream leaves that to the policy. Also different: unknown fields of a policy are refused, and
 * bodies of lists above 4 MB are left out (annotation skiff.io/audit-omitted).
 *
 * Threads: a request's functions on its loop; audit_new and audit_free by the owner.
 * Upstream: apiserver/pkg/audit, plugin/pkg/audit, endpoints/filters/audit.go.
 */
#pragma once

#include "apiserver/request/request.h"
#include "apiserver/server.h"
#include "common/metrics.h"

struct audit;

/* *ret is NULL when nothing is to be recorded. ERR_USAGE names the rule and field. */
int audit_new(struct env *env, struct metrics *metrics, const struct audit_settings *config,
    struct audit **ret, struct error *err);
void audit_free(struct audit *audit); /* what is queued is written first; a webhook gets one try */

stage_fn audit_stage;
void audit_respond(struct request *q);
void audit_finished(struct request *q);
/* For stages and plug-ins, at any time before the end; both live as long as the request. The first
 * value of a key stays. Nothing happens when the request is not recorded. */
void audit_annotate(struct request *q, const char *key, const char *value);
