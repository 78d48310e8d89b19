/* Which volume a claim gets. */
#include <CUnit/CUnit.h>

#include "controller/volume.h"
#include "tests/unit/controller/objects.h"

#define VOLUMES 7

static const char *const volumes[VOLUMES] = {
    /* name, capacity, class, modes, rest of the spec; all Available */
    "a,10Gi,,\"ReadWriteOnce\",",
    "b,2Gi,,\"ReadWriteOnce\",",
    "c,2Gi,,,",
    "d,1Gi,fast,\"ReadWriteOnce\",",
    "e,5Gi,,\"ReadWriteOnce\",\"volumeMode\":\"Block\"",
    "f,3Gi,,\"ReadWriteOnce\",\"claimRef\":{\"namespace\":\"ns\",\"name\":\"mine\"}",
    "g,1Gi,,\"ReadWriteOnce\",\"claimRef\":{\"namespace\":\"ns\",\"name\":\"x\",\"uid\":\"9\"}",
};

static const struct {
    const char *name, *request, *class_name, *mode, *rest;
    bool only_reserved;
    const char *found; /* NULL: none */
} cases[] = {
    {"x", "1Gi", "", "ReadWriteOnce", "", false, "b"},
    {"x", "2Gi", "", "ReadWriteMany", "", false, "c"},
    {"x", "2.5Gi", "", "ReadWriteOnce", "", false, "a"},
    {"x", "11Gi", "", "ReadWriteOnce", "", false, NULL},
    {"x", "1Gi", "fast", "ReadWriteOnce", "", false, "d"},
    {"x", "1Gi", "slow", "ReadWriteOnce", "", false, NULL},
    {"x", "1Gi", "", "ReadWriteOnce", ",\"volumeMode\":\"Block\"", false, "e"},
    {"x", "1Gi", "", "ReadOnlyMany", "", false, NULL},
    {"mine", "1Gi", "", "ReadWriteOnce", "", false, "f"},
    {"mine", "1Gi", "", "ReadWriteOnce", "", true, "f"},
    {"mine", "4Gi", "", "ReadWriteOnce", "", false, "a"},
    {"x", "1Gi", "", "ReadWriteOnce", "", true, NULL},
    {"x", "1Gi", "", "ReadWriteOnce", ",\"selector\":{\"matchLabels\":{\"n\":\"a\"}}", false, "a"},
};

static const void *volume_of(const char *text)
{
    struct str rest = str_of(text), name, capacity, class_name, modes;

    str_split(&rest, ',', &name);
    str_split(&rest, ',', &capacity);
    str_split(&rest, ',', &class_name);
    bool many = *name.p == 'c';
    str_split(&rest, ',', &modes);
    if (many) {
        modes = STR("\"ReadWriteOnce\",\"ReadWriteMany\"");
        rest = STR("");
    }
    return object_of(KIND_VOLUME,
        "{\"metadata\":{\"name\":\"%.*s\",\"labels\":{\"n\":\"%.*s\"}},\"spec\":{\"capacity\":{"
        "\"storage\":\"%.*s\"},\"storageClassName\":\"%.*s\",\"accessModes\":[%.*s]%s%.*s},"
        "\"status\":{\"phase\":\"Available\"}}",
        STR_FMT(name), STR_FMT(name), STR_FMT(capacity), STR_FMT(class_name), STR_FMT(modes),
        rest.n ? "," : "", STR_FMT(rest));
}

static void test_find(void)
{
    struct projected_array all = {xcalloc(VOLUMES, sizeof(*all.objects)), VOLUMES};

    for (size_t i = 0; i < VOLUMES; i++)
        all.objects[i] = volume_of(volumes[i]);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct claim *claim = object_of(KIND_CLAIM,
            "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\",\"uid\":\"1\"},\"spec\":{"
            "\"resources\":{\"requests\":{\"storage\":\"%s\"}},\"storageClassName\":\"%s\","
            "\"accessModes\":[\"%s\"]%s}}",
            cases[i].name, cases[i].request, cases[i].class_name, cases[i].mode, cases[i].rest);
        const struct volume *v = volume_find(&all, claim, cases[i].only_reserved);
        if (!c_eq(v ? v->meta.name : NULL, cases[i].found)) {
            printf("\ncase %zu: %s\n", i, v ? v->meta.name : "none");
            CU_FAIL("found");
        }
        projected_unref(claim);
    }
    projected_array_done(&all);
}

const CU_TestInfo volume_tests[] = {{"find", test_find}, CU_TEST_INFO_NULL};
