/*
 * What the .api files promise as a whole: every field and resource is as published (the table
 * schema_facts), every type and field has a line of help, and reading them at start takes next to
 * no time (printed).
 */
#include <CUnit/CUnit.h>

#include <time.h>

#include "apiserver/schema/model.h"
#include "tests/unit/cases.h"

static struct api *api;

static int compare_fields(const void *a, const void *b)
{
    const struct field *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void print_type(const char *package, const char *name, struct strbuf *out)
{
    const struct field *sorted[SCHEMA_FIELDS_MAX];
    const struct schema *s = schema_of_definition(api, package, name);
    size_t n = 0;
    for (size_t i = 0; s && i < s->field_count; i++)
        if (s->fields[i].numbers[0] > 0)
            sorted[n++] = &s->fields[i];
    qsort(sorted, n, sizeof(*sorted), compare_fields);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *number = sorted[i]->numbers;
        strbuf_addf(out, "%s%s@", i > 0 ? " " : "", sorted[i]->name);
        for (size_t k = 0; k < 3 && number[k] > 0; k++)
            strbuf_addf(out, "%s%u", k > 0 ? "." : "", number[k]);
    }
}

static void print_verbs(unsigned verbs, struct strbuf *out)
{
    static const struct {
        unsigned verb;
        const char *word;
    } words[] = {{VERB_CREATE, "create"}, {VERB_DELETE, "delete"},
        {VERB_DELETECOLLECTION, "deletecollection"}, {VERB_GET, "get"}, {VERB_LIST, "list"},
        {VERB_PATCH, "patch"}, {VERB_UPDATE, "update"}, {VERB_WATCH, "watch"}};
    const char *comma = "";
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (!(verbs & words[i].verb))
            continue;
        strbuf_addf(out, "%s%s", comma, words[i].word);
        comma = ",";
    }
}

static void print_resource(struct str gv, struct str plural, struct strbuf *out)
{
    for (size_t i = 0; i < api_count(api); i++) {
        const struct resource *r = api_at(api, i);
        if (!str_eqc(gv, r->group_version) || !str_eqc(plural, r->plural))
            continue;
        strbuf_addf(out, "%s %s ", r->kind, r->namespaced ? "namespaced" : "cluster");
        print_verbs(r->verbs, out);
        for (size_t k = 0; k < r->subresource_count; k++) {
            const struct subresource *s = &r->subresources[k];
            strbuf_addf(out, " %s:", s->name);
            if (s->connect && s->verbs != VERB_GET)
                strbuf_addc(out, "connect");
            else
                print_verbs(s->verbs, out);
        }
        return;
    }
    strbuf_addc(out, "none");
}

/* "core.v1.Pod" gives its fields with their numbers, "v1 pods" what the resource is. */
static void run_facts(struct str input, struct strbuf *out)
{
    autofree char *text = str_dup(input);
    char *space = strchr(text, ' '), *dot = strrchr(text, '.');
    if (space) {
        print_resource(str_range(text, (size_t)(space - text)), str_of(space + 1), out);
    } else {
        *dot = '\0';
        print_type(text, dot + 1, out);
    }
}

static void test_start(void)
{
    struct error err;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    CU_ASSERT_EQUAL_FATAL(api_new(&api, &err), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%zu types and %zu resources read in %.1f ms\n", api->schema_count, api_count(api),
        (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
}

static void test_facts(void)
{
    cases_run("schema_facts", run_facts);
}

static void test_help(void)
{
    size_t fields = 0, empty = 0;
    for (size_t i = 0; i < api->schema_count; i++) {
        const struct schema *s = &api->schemas[i];
        if (s->help_length == 0 && ++empty)
            printf("no help: type %s.%s\n", s->package, s->name);
        for (size_t k = 0; k < s->field_count; k++) {
            const struct field *f = &s->fields[k];
            if (f->flags & F_TYPEMETA)
                continue;
            fields++;
            if (f->help_length == 0 && ++empty)
                printf("no help: %s.%s.%s\n", s->package, s->name, f->name);
        }
    }
    printf("%zu fields, %zu texts missing\n", fields, empty);
    CU_ASSERT(fields > 2000);
    CU_ASSERT_EQUAL(empty, 0);
}

static void test_end(void)
{
    api_free(api);
    api = NULL;
}

const CU_TestInfo schema_data_tests[] = {
    {"reading the files", test_start},
    {"fields and resources are as published", test_facts},
    {"every field has help", test_help},
    {"nothing leaks", test_end},
    CU_TEST_INFO_NULL,
};
