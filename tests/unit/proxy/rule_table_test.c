/* What changes when owners' rules change. */
#include <CUnit/CUnit.h>

#include "common/str.h"
#include "proxy/rule_table.h"

static struct rule rule(uint32_t addr, uint16_t to)
{
    return (struct rule){.key = {.map = MAP_ENDPOINTS, .addr = addr},
        .value = {.verdict = VERDICT_ENDPOINT, .port = to}};
}

static void shared_until_the_last(void)
{
    struct rule_table *t = rule_table_new();
    struct rule one[] = {rule(1, 1), rule(2, 1)}, two[] = {rule(2, 1), rule(3, 1)};
    struct rules a = {one, 2, 2}, b = {two, 2, 2}, none = {0};
    struct rule_changes c = {0};

    rule_table_set(t, "a", &a, &c);
    CU_ASSERT_EQUAL(c.count, 2);
    rule_table_set(t, "b", &b, &c);
    CU_ASSERT_EQUAL(c.count, 3);
    rule_table_set(t, "a", &none, &c);
    CU_ASSERT_EQUAL_FATAL(c.count, 4);
    CU_ASSERT_EQUAL(c.items[3].kind, CHANGE_REMOVE);
    CU_ASSERT_EQUAL(c.items[3].rule.key.addr, 1);
    rule_table_set(t, "b", &none, &c);
    CU_ASSERT_EQUAL(c.count, 6);
    CU_ASSERT_EQUAL(rule_table_count(t), 0);
    rule_changes_done(&c);
    rule_table_free(t);
}

static void replaces_values(void)
{
    struct rule_table *t = rule_table_new();
    struct rule one[] = {rule(1, 1), rule(1, 1)}, two[] = {rule(1, 2)};
    struct rules a = {one, 2, 2}, b = {two, 1, 1};
    struct rule_changes c = {0};

    rule_table_set(t, "a", &a, &c);
    rule_table_set(t, "a", &a, &c);
    CU_ASSERT_EQUAL(c.count, 1);
    c.count = 0;
    struct rules single = {one, 1, 1};
    rule_table_set(t, "a", &single, &c);
    CU_ASSERT_EQUAL(c.count, 0);
    rule_table_set(t, "a", &b, &c);
    CU_ASSERT_EQUAL_FATAL(c.count, 1);
    CU_ASSERT_EQUAL(c.items[0].kind, CHANGE_REPLACE);
    CU_ASSERT_EQUAL(c.items[0].rule.value.port, 2);
    rule_table_set(t, "other", &single, &c); /* the first keeps it */
    CU_ASSERT_EQUAL(c.count, 1);
    rule_changes_done(&c);
    rule_table_free(t);
}

static void random_sets_match_a_diff(void)
{
    struct rule_table *t = rule_table_new();
    struct rules present = {0};
    uint32_t state = 5;

    for (int step = 0; step < 3000; step++) {
        struct rule rules[8];
        struct rule_changes c = {0}, d = {0};
        char owner[8];
        state = state * 1664525 + 1013904223;
        uint32_t n = (state >> 8) % 8;
        snprintf(owner, sizeof(owner), "%u", (state >> 12) % 20);
        for (uint32_t i = 0; i < n; i++) {
            state = state * 1664525 + 1013904223;
            rules[i] =
                rule((state >> 8) % 50, (uint16_t)((state >> 8) % 50)); /* value follows from key */
        }
        struct rules set = {rules, n, n};
        rule_table_set(t, owner, &set, &c);
        for (size_t i = 0; i < c.count; i++) {
            if (c.items[i].kind == CHANGE_ADD)
                rules_add(&present, &c.items[i].rule);
            for (size_t k = 0; c.items[i].kind == CHANGE_REMOVE && k < present.count; k++)
                if (present.items[k].key.addr == c.items[i].rule.key.addr) {
                    present.items[k] = present.items[--present.count];
                    break;
                }
        }
        rule_table_diff(t, &present, &d);
        CU_ASSERT_EQUAL_FATAL(d.count, 0);
        CU_ASSERT_EQUAL_FATAL(rule_table_count(t), present.count);
        rule_changes_done(&c);
        rule_changes_done(&d);
    }
    rules_done(&present);
    rule_table_free(t);
}

const CU_TestInfo rule_table_tests[] = {
    {"shared until the last owner lets go", shared_until_the_last},
    {"values are replaced", replaces_values},
    {"random sets: changes add up", random_sets_match_a_diff},
    CU_TEST_INFO_NULL,
};
