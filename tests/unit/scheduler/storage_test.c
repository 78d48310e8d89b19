/* Volumes: which nodes a pod's claims leave, what is chosen for them, and why not. */
#include <CUnit/CUnit.h>

#include "tests/unit/scheduler/objects.h"

static struct cluster *c;
static struct env *env;

static void add_node(const char *name, const char *labels)
{
    struct node *n = test_node(name, "4", "8Gi", labels, "");

    cluster_node_changed(c, NULL, n, 0);
    projected_unref(n);
}

static void start(void)
{
    env = env_new_real();
    c = cluster_new(env);
    add_node("a", "\"topology.kubernetes.io/zone\":\"z1\"");
    add_node("b", "\"topology.kubernetes.io/zone\":\"z2\"");
}

static void stop(void)
{
    cluster_free(c);
    env_free(env);
}

static void add_class(const char *name, const char *provisioner, const char *more)
{
    autojson cJSON *tree =
        json_make("{\"metadata\":{\"name\":\"%s\"},\"provisioner\":\"%s\",\"volumeBindingMode\":"
                  "\"WaitForFirstConsumer\"%s}",
            name, provisioner, more);
    struct storage_class *s = projected_new(&storage_class_projection, tree);

    storage_set_class(c->storage, NULL, s);
    projected_unref(s);
}

#define ON_NODE_ZONE(zone)                                                                     \
    ",\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":" \
    "\"topology.kubernetes.io/zone\",\"operator\":\"In\",\"values\":[\"" zone "\"]}]}]}}"

static void add_volume(const char *name, const char *size, const char *spec)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"%s\"},\"spec\":{\"storageClassName\":\"local\",\"capacity\":{"
        "\"storage\":\"%s\"},\"accessModes\":[\"ReadWriteOnce\"]%s},\"status\":{\"phase\":"
        "\"Available\"}}",
        name, size, spec);
    struct volume *v = projected_new(&volume_projection, tree);

    storage_set_volume(c->storage, NULL, v);
    projected_unref(v);
}

static void add_claim(const char *name, const char *class_, const char *size, const char *volume)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"annotations\":{%s}},\"spec\":{"
        "\"storageClassName\":\"%s\",\"volumeName\":\"%s\",\"resources\":{\"requests\":{"
        "\"storage\":\"%s\"}},\"accessModes\":[\"ReadWriteOnce\"]}}",
        name, volume[0] ? "\"pv.kubernetes.io/bind-completed\":\"yes\"" : "", class_, volume, size);
    struct claim *claim = projected_new(&claim_projection, tree);

    storage_set_claim(c->storage, NULL, claim);
    projected_unref(claim);
}

static struct decision decide(const char *claims)
{
    autofree char *spec = str_format("\"volumes\":[%s]", claims);
    struct pod *pod = test_pod("p", spec);
    struct pod_info *info = pod_info_new(&c->nodes->names, c->nodes->pods, pod);
    struct decision d;

    projected_unref(pod);
    scheduler_decide(c->decider, c->nodes, info, &d);
    pod_info_free(c->nodes->pods, info);
    return d;
}

#define CLAIM(name) "{\"name\":\"" name "\",\"persistentVolumeClaim\":{\"claimName\":\"" name "\"}}"

static bool says(const struct decision *d, const char *text)
{
    return d->message && strstr(d->message, text);
}

static void claims_that_stop_a_pod(void)
{
    start();
    struct decision d = decide(CLAIM("none"));
    CU_ASSERT(says(&d, "0/2 nodes are available: persistentvolumeclaim \"none\" not found."));
    add_claim("now", "fast", "1Gi", "");
    d = decide(CLAIM("now"));
    CU_ASSERT(says(&d, "pod has unbound immediate PersistentVolumeClaims."));
    d = decide("{\"name\":\"v\",\"ephemeral\":{}}");
    CU_ASSERT(says(&d, "waiting for ephemeral volume controller to create the "
                       "persistentvolumeclaim \"p-v\""));
    add_claim("lost", "fast", "1Gi", "gone");
    d = decide(CLAIM("lost"));
    CU_ASSERT(says(&d, "2 node(s) unavailable due to one or more pvc(s) bound to non-existent"));
    stop();
}

static void bound_volumes(void)
{
    start();
    add_volume("here", "1Gi", ON_NODE_ZONE("z2"));
    add_claim("data", "local", "1Gi", "here");
    struct decision d = decide(CLAIM("data"));
    CU_ASSERT_EQUAL_FATAL(d.fitting, 1);
    CU_ASSERT_STRING_EQUAL(c->nodes->rows[d.row]->name, "b");
    CU_ASSERT_EQUAL(d.volume_count, 0);
    add_volume("nowhere", "1Gi", ON_NODE_ZONE("z9"));
    add_claim("other", "local", "1Gi", "nowhere");
    d = decide(CLAIM("other"));
    CU_ASSERT(says(&d, "2 node(s) didn't match PersistentVolume's node affinity."));
    stop();
}

static void waits_for_the_pod(void)
{
    start();
    add_class("local", "kubernetes.io/no-provisioner", "");
    add_claim("data", "local", "5Gi", "");
    struct decision d = decide(CLAIM("data"));
    CU_ASSERT(says(&d, "2 node(s) didn't find available persistent volumes to bind."));
    add_volume("small", "1Gi", ON_NODE_ZONE("z1"));
    add_volume("large", "90Gi", ON_NODE_ZONE("z1"));
    add_volume("right", "6Gi", ON_NODE_ZONE("z1"));
    d = decide(CLAIM("data"));
    CU_ASSERT_EQUAL_FATAL(d.fitting, 1);
    CU_ASSERT_EQUAL_FATAL(d.volume_count, 1);
    CU_ASSERT_STRING_EQUAL(d.volumes[0].volume->meta.name, "right");
    storage_assume(c->storage, d.volumes, 1);
    add_claim("more", "local", "5Gi", "");
    d = decide(CLAIM("more"));
    CU_ASSERT_STRING_EQUAL(d.volumes[0].volume->meta.name, "large");
    d = decide(CLAIM("data") "," CLAIM("more"));
    CU_ASSERT_EQUAL(d.fitting, 0); /* one volume is left for two claims */
    stop();
}

static void provisioned(void)
{
    start();
    add_class("disk", "example.com/disk",
        ",\"allowedTopologies\":[{\"matchLabelExpressions\":[{\"key\":"
        "\"topology.kubernetes.io/zone\",\"values\":[\"z2\",\"z3\"]}]}]");
    add_claim("data", "disk", "5Gi", "");
    struct decision d = decide(CLAIM("data"));
    CU_ASSERT_EQUAL_FATAL(d.fitting, 1);
    CU_ASSERT_STRING_EQUAL(c->nodes->rows[d.row]->name, "b");
    CU_ASSERT_EQUAL_FATAL(d.volume_count, 1);
    CU_ASSERT_PTR_NULL(d.volumes[0].volume);
    stop();
}

const CU_TestInfo storage_tests[] = {
    {"claims that stop a pod", claims_that_stop_a_pod},
    {"bound volumes and their nodes", bound_volumes},
    {"claims bound with the pod", waits_for_the_pod},
    {"volumes to provision", provisioned},
    CU_TEST_INFO_NULL,
};
