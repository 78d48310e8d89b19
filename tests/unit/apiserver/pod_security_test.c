/*
 * Every control of the Pod Security Standards, allowed and refused, against the table.
 */
#include <CUnit/CUnit.h>

#include "apiserver/admission/pod_security.h"
#include "tests/unit/cases.h"

static void run(struct str input, struct strbuf *out)
{
    struct security_policy policy = {LEVEL_PRIVILEGED, SECURITY_VERSION_LATEST};
    struct str rest = input, level, version;
    autojson cJSON *spec = NULL;
    struct error err = {0};
    int64_t minor;

    str_split(&rest, ':', &level);
    str_split(&rest, ' ', &version);
    while (policy.level < LEVEL_RESTRICTED && !str_eqc(level, security_level_name(policy.level)))
        policy.level++;
    if (!str_eqc(version, "latest") &&
        str_parse_int64(str_range(version.p + 3, version.n - 3), &minor, &err) == 0)
        policy.minor = (int)minor;
    if (json_parse(rest, &spec, &err) < 0) {
        strbuf_addf(out, "bad case: %s", err.text);
        return;
    }
    struct arena *a = arena_new();
    if (security_check(a, policy, NULL, spec, out, NULL))
        strbuf_addc(out, "fine");
    arena_free(a);
}

static void controls(void)
{
    cases_run("pod_security", run);
}

const CU_TestInfo pod_security_tests[] = {
    {"every control, allowed and refused", controls}, CU_TEST_INFO_NULL};
