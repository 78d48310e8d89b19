/*
 * The Pod Security Standards: which controls a pod breaks at a level and version.
 *
 * The checks are a table in pod_security_checks.c, in the order upstream reports them; levels,
 * modes, labels and exemptions are pod_security.c. Threads: none of its own. Upstream:
 * k8s.io/pod-security-admission/policy.
 */
#pragma once

#include "common/arena.h"
#include "common/json.h"

enum security_level { LEVEL_PRIVILEGED, LEVEL_BASELINE, LEVEL_RESTRICTED };

#define SECURITY_VERSION_LATEST 999

struct security_policy {
    enum security_level level;
    int minor; /* of v1.N, or SECURITY_VERSION_LATEST */
};

const char *security_level_name(enum security_level level);
/* What a pod (or a template: metadata and spec) breaks: "privileged (container \"a\" must not set
 * ...), hostPort (...)" is added to detail, and the reasons alone to reasons (may be NULL). True:
 * it breaks nothing. */
bool security_check(struct arena *a, struct security_policy policy, const cJSON *metadata,
    const cJSON *spec, struct strbuf *detail, struct strbuf *reasons);
