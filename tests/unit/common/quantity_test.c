/* Quantities: parsing and printing by cases; arithmetic here. */
#include "common/quantity.h"

#include <CUnit/CUnit.h>
#include <inttypes.h>

#include "tests/unit/cases.h"

static void run(struct str input, struct strbuf *out)
{
    struct quantity q, again;
    struct error err;
    if (quantity_parse(input, &q, &err) < 0) {
        strbuf_addc(out, err.text);
        return;
    }
    quantity_print(q, out);
    CU_ASSERT_EQUAL(quantity_parse(strbuf_str(out), &again, &err), 0);
    CU_ASSERT_EQUAL(quantity_cmp(q, again), 0); /* the canonical form means the same */
    strbuf_addf(out, " %" PRId64 " %" PRId64, quantity_value(q), quantity_milli_value(q));
}

static void cases(void)
{
    cases_run("quantity", run);
}

static struct quantity of(const char *text)
{
    struct quantity q;
    struct error err;
    CU_ASSERT_EQUAL_FATAL(quantity_parse(str_of(text), &q, &err), 0);
    return q;
}

static bool prints(struct quantity q, const char *expected)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    quantity_print(q, &text);
    return !strcmp(text.data, expected);
}

static void arithmetic(void)
{
    CU_ASSERT(quantity_cmp(of("1Gi"), of("1G")) > 0);
    CU_ASSERT(quantity_cmp(of("1000m"), of("1")) == 0);
    CU_ASSERT(quantity_cmp(of("-1"), of("0")) < 0);
    CU_ASSERT(prints(quantity_add(of("500m"), of("500m")), "1"));
    CU_ASSERT(prints(quantity_add(of("0"), of("1Gi")), "1Gi"));
    CU_ASSERT(prints(quantity_add(of("1Gi"), of("1M")), "1074741824"));
    CU_ASSERT(prints(quantity_sub(of("1Gi"), of("512Mi")), "512Mi"));
    CU_ASSERT(prints(quantity_sub(of("1"), of("1500m")), "-500m"));
    CU_ASSERT(prints(quantity_of_value(2048, QUANTITY_BINARY_SI), "2Ki"));
    CU_ASSERT(prints(quantity_of_value(2048, QUANTITY_DECIMAL_SI), "2048"));
    CU_ASSERT(prints(quantity_of_milli(1500), "1500m"));
    CU_ASSERT(prints(quantity_add(of("9223372036854775807"), of("1")), "9223372036854775807"));
    CU_ASSERT_EQUAL(quantity_value(quantity_of_value(INT64_MIN, QUANTITY_DECIMAL_SI)), -INT64_MAX);
}

const CU_TestInfo quantity_tests[] = {
    {"cases", cases},
    {"arithmetic", arithmetic},
    CU_TEST_INFO_NULL,
};
