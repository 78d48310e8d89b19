/* Names of types, and arguments that name objects. */
#include <CUnit/CUnit.h>

#include "ctl/resources.h"

static char *none[] = {NULL};
static char *po[] = {(char *)"po", NULL}, *deploy[] = {(char *)"deploy", NULL},
            *ev[] = {(char *)"ev", NULL};
static char *all_category[] = {(char *)"all", NULL};

#define S(text) ((char *)(text))
static struct ctl_resource rows[] = {
    {S("v1"), S(""), S("pods"), S("pod"), S("Pod"), po, all_category, true, true},
    {S("v1"), S(""), S("events"), S("event"), S("Event"), ev, none, true, true},
    {S("v1"), S(""), S("nodes"), S("node"), S("Node"), none, none, false, true},
    {S("apps/v1"), S("apps"), S("deployments"), S("deployment"), S("Deployment"), deploy,
        all_category, true, true},
    {S("autoscaling/v2"), S("autoscaling"), S("horizontalpodautoscalers"),
        S("horizontalpodautoscaler"), S("HorizontalPodAutoscaler"), none, all_category, true, true},
    {S("autoscaling/v1"), S("autoscaling"), S("horizontalpodautoscalers"),
        S("horizontalpodautoscaler"), S("HorizontalPodAutoscaler"), none, all_category, true, true},
    {S("events.k8s.io/v1"), S("events.k8s.io"), S("events"), S("event"), S("Event"), ev, none, true,
        true},
};
static const struct resource_map map = {rows, ARRAY_COUNT(rows)};

static void type_names(void)
{
    static const struct {
        const char *name, *version, *plural; /* NULL: not found */
    } cases[] = {{"pods", "v1", "pods"}, {"pod", "v1", "pods"}, {"po", "v1", "pods"},
        {"Pod", "v1", "pods"}, {"PODS", "v1", "pods"}, {"deploy", "apps/v1", "deployments"},
        {"deployments.apps", "apps/v1", "deployments"},
        {"deployment.v1.apps", "apps/v1", "deployments"}, {"deployments.v2.apps", NULL, NULL},
        {"deployments.batch", NULL, NULL}, {"events", "v1", "events"},
        {"events.events.k8s.io", "events.k8s.io/v1", "events"},
        {"horizontalpodautoscalers.v1.autoscaling", "autoscaling/v1", "horizontalpodautoscalers"},
        {"", NULL, NULL}, {"pods.", NULL, NULL}, {"nonsense", NULL, NULL}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct ctl_resource *r = NULL;
        struct error err;
        int result = resource_map_find(&map, str_of(cases[i].name), &r, &err);
        CU_ASSERT_EQUAL(result, cases[i].version ? 0 : -ERR_NOT_FOUND);
        if (!r || !cases[i].version)
            continue;
        CU_ASSERT_STRING_EQUAL(r->group_version, cases[i].version);
        CU_ASSERT_STRING_EQUAL(r->plural, cases[i].plural);
    }
}

static void kinds(void)
{
    const struct ctl_resource *r;
    struct error err;
    CU_ASSERT_EQUAL_FATAL(resource_map_find_kind(&map, "apps/v1", "Deployment", &r, &err), 0);
    CU_ASSERT_STRING_EQUAL(r->plural, "deployments");
    CU_ASSERT_EQUAL(
        resource_map_find_kind(&map, "apps/v2", "Deployment", &r, &err), -ERR_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(err.text, "no matches for kind \"Deployment\" in version \"apps/v2\"");
}

/* The targets, each as PLURAL/NAME, or "usage" or "unknown"; heap. */
static char *targets_of(const char *line)
{
    autofree char *copy = xstrdup(line);
    char *argv[8], *rest = copy, *word;
    int argc = 0;
    while ((word = strsep(&rest, " ")) && *line)
        argv[argc++] = c_eq(word, "EMPTY") ? S("") : word;
    struct targets t;
    struct error err;
    if (targets_parse(&map, argc, argv, &t, &err) < 0)
        return xstrdup(err.code == ERR_USAGE ? "usage" : "unknown");
    struct strbuf out;
    strbuf_init(&out, 0);
    for (size_t i = 0; i < t.count; i++)
        strbuf_addf(&out, "%s%s/%s", i ? " " : "", t.all[i].resource->plural,
            t.all[i].name ? t.all[i].name : "*");
    targets_done(&t);
    return strbuf_steal(&out);
}

static void targets(void)
{
    static const char *const cases[][2] = {{"pods", "pods/*"}, {"pods a b", "pods/a pods/b"},
        {"pod/a", "pods/a"}, {"pod/a deploy/b", "pods/a deployments/b"},
        {"pods,deploy", "pods/* deployments/*"}, {"pods,nodes x", "pods/x nodes/x"},
        {"all", "pods/* deployments/* horizontalpodautoscalers/*"}, {"", "usage"},
        {"EMPTY", "usage"}, {"pods EMPTY", "usage"}, {"pod/", "usage"}, {"pod/a/b", "usage"},
        {"pods a/b", "usage"}, {"pod/a b", "usage"}, {"nonsense", "unknown"},
        {"nonsense/a", "unknown"}, {"/a", "unknown"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *got = targets_of(cases[i][0]);
        if (!c_eq(got, cases[i][1]))
            fprintf(stderr, "%s: %s, expected %s\n", cases[i][0], got, cases[i][1]);
        CU_ASSERT_STRING_EQUAL(got, cases[i][1]);
    }
}

static void labels(void)
{
    autofree char *pod = resource_label(&rows[0], "a"), *deployment = resource_label(&rows[3], "b");
    CU_ASSERT_STRING_EQUAL(pod, "pod/a");
    CU_ASSERT_STRING_EQUAL(deployment, "deployment.apps/b");
    CU_ASSERT_PTR_NULL(resource_ref(&rows[2], "ns", "n").namespace_);
    CU_ASSERT_STRING_EQUAL(resource_ref(&rows[0], "ns", "n").namespace_, "ns");
}

const CU_TestInfo resources_tests[] = {
    {"types by plural, singular, short name, kind, group and version", type_names},
    {"types by kind", kinds},
    {"arguments that name objects", targets},
    {"labels and paths", labels},
    CU_TEST_INFO_NULL,
};
