/* The audit policy: rules in order, the first that matches a request says how much is recorded. */
#pragma once

#include "apiserver/request/request.h"

enum audit_level { AUDIT_NONE, AUDIT_METADATA, AUDIT_REQUEST, AUDIT_RESPONSE, AUDIT_LEVELS };
enum audit_moment { MOMENT_RECEIVED, MOMENT_STARTED, MOMENT_COMPLETE, MOMENT_PANIC, MOMENT_COUNT };
extern const char *const audit_level_names[AUDIT_LEVELS];
extern const char *const audit_moment_names[MOMENT_COUNT];

struct audit_policy;

struct audit_verdict {
    enum audit_level level;
    unsigned omitted; /* moments, as bits */
    bool omit_managed;
};

/* ERR_USAGE or ERR_BAD_REQUEST: "rules[2].level: Unsupported value: ...". */
int audit_policy_parse(struct str text, struct audit_policy **ret, struct error *err);
void audit_policy_free(struct audit_policy *p);
/* The user is q->identity as authentication found it. */
struct audit_verdict audit_policy_judge(const struct audit_policy *p, const struct request *q);
