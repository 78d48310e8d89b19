/* Names: each rule on good and bad names. */
#include "common/names.h"

#include <CUnit/CUnit.h>

typedef bool name_rule(struct str s, struct strbuf *why);

#define LETTERS_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* Names in one text, separated by spaces; `begins` is how the message starts for the bad ones. */
static const struct {
    const char *name;
    name_rule *rule;
    const char *good, *bad, *begins;
} rules[] = {
    {"label", name_is_dns1123_label, "a 0 a-b abc123 1-2 " LETTERS_63, "-a a- A a.b a_b \xc3\xa9",
        "a lowercase RFC 1123 label must consist of"},
    {"subdomain", name_is_dns1123_subdomain, "a a.b a-1.b-2.c 1.2.3.4 " LETTERS_63 "a",
        ". a. .a a..b -a.b a.-b A a_b", "a lowercase RFC 1123 subdomain must consist of"},
    {"1035", name_is_dns1035_label, "a a-b a1", "1a -a a- A a.b",
        "a DNS-1035 label must consist of"},
    {"qualified", name_is_qualified, "a A my.name my_name example.com/Name a/b 1",
        "-a a- a/b/c /a a/ A.b/c a=b", NULL},
    {"value", name_is_label_value, "a A 1 a.b_c-d", "-a a- a/b a+b _",
        "a valid label must be an empty string or"},
    {"segment", name_is_path_segment, "a system:node a.b ...", ". .. a/b a%b", "may not"},
    {"identifier", name_is_c_identifier, "a _a A1", "1 a-b a.b", "a valid C identifier must"},
    {"env", name_is_env_var, "A a.b 1 a-b A!", "a=b \xc3\xa9",
        "a valid environment variable name must"},
    {"key", name_is_config_map_key, "a .a A_b-c ca.crt", ". .. ..a a/b", NULL},
    {"port", name_is_port_name, "http a-1 1a", "1 -a a- a--b A aaaaaaaaaaaaaaaa a.b", "must "},
};

static void each_rule(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
        struct str good = str_of(rules[i].good), bad = str_of(rules[i].bad), name;
        while (str_split(&good, ' ', &name)) {
            autostrbuf struct strbuf why = STRBUF_EMPTY;
            if (!rules[i].rule(name, &why) || why.n)
                printf("\n%s refuses \"%.*s\": %s\n", rules[i].name, STR_FMT(name), why.data);
            CU_ASSERT(rules[i].rule(name, NULL) && why.n == 0);
        }
        while (str_split(&bad, ' ', &name)) {
            autostrbuf struct strbuf why = STRBUF_EMPTY;
            if (rules[i].rule(name, &why))
                printf("\n%s accepts \"%.*s\"\n", rules[i].name, STR_FMT(name));
            CU_ASSERT(!rules[i].rule(name, NULL) && why.n > 0);
            CU_ASSERT(!rules[i].begins || str_starts(strbuf_str(&why), str_of(rules[i].begins)));
        }
    }
}

static const char *why_of(name_rule *rule, const char *name, struct strbuf *why)
{
    strbuf_clear(why);
    rule(str_of(name), why);
    return why->data;
}

static void messages(void)
{
    autostrbuf struct strbuf why = STRBUF_EMPTY;
    CU_ASSERT_STRING_EQUAL(
        why_of(name_is_dns1123_label, LETTERS_63 "a", &why), "must be no more than 63 bytes");
    CU_ASSERT_STRING_EQUAL(why_of(name_is_dns1123_label, "A", &why),
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
        "must "
        "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
        "for "
        "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')");
    CU_ASSERT_STRING_EQUAL(why_of(name_is_dns1123_subdomain, "A", &why),
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
        "'.', and "
        "must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
        "validation "
        "is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
    CU_ASSERT(str_starts(str_of(why_of(name_is_qualified, "", &why)),
        STR("name part must be non-empty; name part must consist of alphanumeric")));
    CU_ASSERT_STRING_EQUAL(why_of(name_is_port_name, "-1-", &why),
        "must contain at least one letter (a-z); must not begin or end with a hyphen");
}

static void empty_names(void)
{
    struct str empty = STR("");
    CU_ASSERT(name_is_label_value(empty, NULL));
    CU_ASSERT(!name_is_dns1123_label(empty, NULL) && !name_is_dns1123_subdomain(empty, NULL));
    CU_ASSERT(!name_is_dns1035_label(empty, NULL) && !name_is_qualified(empty, NULL));
    CU_ASSERT(!name_is_c_identifier(empty, NULL) && !name_is_env_var(empty, NULL));
    CU_ASSERT(!name_is_config_map_key(empty, NULL) && !name_is_port_name(empty, NULL) &&
              !name_is_ip(empty));
}

static void addresses(void)
{
    static const char *const good[] = {"10.0.0.1", "0.0.0.0", "::1", "fe80::1", "::ffff:1.2.3.4"};
    static const char *const bad[] = {
        "10.0.0", "10.0.0.256", "010.0.0.1", "1.2.3.4/8", "::1%lo", "x", " ::1"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        CU_ASSERT(name_is_ip(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        CU_ASSERT(!name_is_ip(str_of(bad[i])));
}

static void generated(void)
{
    char text[14];
    name_random_suffix(0, text, 5);
    CU_ASSERT_STRING_EQUAL(text, "bbbbb");
    name_random_suffix(UINT64_MAX, text, 13);
    CU_ASSERT_EQUAL(strlen(text), 13);
    CU_ASSERT_EQUAL(fnv32a(STR("")), 2166136261u);
    CU_ASSERT_EQUAL(fnv32a(STR("foobar")), 0xbf9cf968u);
    name_safe_encode(STR("12345"), text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "56789");
    name_safe_encode(STR("12345"), text, 4);
    CU_ASSERT_EQUAL(strlen(text), 3);
}

const CU_TestInfo names_tests[] = {
    {"each rule", each_rule},
    {"messages", messages},
    {"empty names", empty_names},
    {"addresses", addresses},
    {"generated", generated},
    CU_TEST_INFO_NULL,
};
