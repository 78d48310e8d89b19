/* A pod's status, computed from pods and containers made up here. */
#include <CUnit/CUnit.h>

#include "common/time.h"
#include "kubelet/status.h"

#define T0 1700000000 /* 2023-11-14T22:13:20Z */

struct scene {
    struct pod_view *pod;
    cJSON *spec, *old;
    struct container_list list;
    struct container_hint hints[4];
    struct status_input in;
    cJSON *status;
};

static void scene_init(struct scene *s, const char *spec, const char *old)
{
    autojson cJSON *tree = json_make(
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"d\",\"uid\":\"u\",\"generation\":3}}");
    struct error err;

    *s = (struct scene){0};
    s->pod = projected_new(&kubelet_pod_projection, tree);
    CU_ASSERT_EQUAL_FATAL(json_parse(str_of(spec), &s->spec, &err), 0);
    CU_ASSERT_EQUAL_FATAL(json_parse(str_of(old ? old : "{}"), &s->old, &err), 0);
    s->in = (struct status_input){.pod = s->pod,
        .spec = s->spec,
        .old_status = s->old,
        .containers = &s->list,
        .hints = s->hints,
        .host_ip = "10.0.0.1",
        .now_ns = T0 * NS_PER_S};
}

static struct container_info *put(struct scene *s, const char *name, int64_t attempt,
    enum container_state state, int64_t exit_code)
{
    struct container_info *info = container_info_new();

    info->id = str_format("%s%lld", name, (long long)attempt);
    info->container = xstrdup(name);
    info->image = xstrdup("img");
    info->image_id = xstrdup("sha256:1");
    info->attempt = attempt;
    info->state = state;
    info->exit_code = exit_code;
    info->created_ns = T0 * NS_PER_S;
    info->started_ns = (T0 + 1) * NS_PER_S;
    info->finished_ns = state == CONTAINER_EXITED ? (T0 + 2) * NS_PER_S : 0;
    container_list_add(&s->list, info);
    return info;
}

static void hint(struct scene *s, const char *name, const char *reason, bool ready)
{
    s->hints[s->in.hint_count++] = (struct container_hint){
        .name = name, .waiting_reason = reason, .ready = ready, .started = ready};
}

static cJSON *compute(struct scene *s)
{
    cJSON_Delete(s->status);
    s->status = status_compute(&s->in);
    return s->status;
}

static void scene_done(struct scene *s)
{
    cJSON_Delete(s->status);
    cJSON_Delete(s->spec);
    cJSON_Delete(s->old);
    container_list_done(&s->list);
    projected_unref(s->pod);
}

static const char *condition(const cJSON *status, const char *type, const char *field)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json_get(status, "conditions"))
    {
        if (c_eq(json_string(item, "type"), type))
            return json_string(item, field);
    }
    return NULL;
}

static const cJSON *container(const cJSON *status, int index)
{
    return cJSON_GetArrayItem(json_get(status, "containerStatuses"), index);
}

#define TWO \
    "{\"containers\":[{\"name\":\"b\",\"image\":\"img\"},{\"name\":\"a\",\"image\":\"img\"}]}"

static void test_waiting(void)
{
    struct scene s;
    scene_init(&s, TWO, NULL);
    const cJSON *status = compute(&s);

    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Pending");
    CU_ASSERT_STRING_EQUAL(json_string(container(status, 0), "name"), "a"); /* sorted */
    CU_ASSERT_STRING_EQUAL(
        json_string_at(container(status, 0), "state.waiting.reason"), "ContainerCreating");
    CU_ASSERT_STRING_EQUAL(condition(status, "Initialized", "status"), "True");
    CU_ASSERT_STRING_EQUAL(
        condition(status, "Ready", "message"), "containers with unready status: [b a]");
    CU_ASSERT_STRING_EQUAL(json_string(status, "startTime"), "2023-11-14T22:13:20Z");
    CU_ASSERT_STRING_EQUAL(json_string(status, "qosClass"), "BestEffort");
    CU_ASSERT_EQUAL(json_int64_at(status, "observedGeneration", 0), 3);
    scene_done(&s);
}

static void test_running(void)
{
    struct scene s;
    scene_init(&s, TWO,
        "{\"startTime\":\"2020-01-01T00:00:00Z\",\"conditions\":[{\"type\":\"Ready\",\"status\":"
        "\"False\","
        "\"lastTransitionTime\":\"2020-01-01T00:00:00Z\"}]}");
    put(&s, "a", 0, CONTAINER_RUNNING, 0);
    put(&s, "b", 0, CONTAINER_RUNNING, 0);
    hint(&s, "a", NULL, true);
    hint(&s, "b", NULL, false);
    s.in.pod_ip = "10.244.0.2";
    s.in.sandbox_ready = true;
    const cJSON *status = compute(&s);

    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Running");
    CU_ASSERT_STRING_EQUAL(condition(status, "Ready", "status"), "False");
    /* The condition did not change, so its time did not. */
    CU_ASSERT_STRING_EQUAL(
        condition(status, "Ready", "lastTransitionTime"), "2020-01-01T00:00:00Z");
    CU_ASSERT_STRING_EQUAL(json_string(status, "startTime"), "2020-01-01T00:00:00Z");
    CU_ASSERT_STRING_EQUAL(json_string(status, "podIP"), "10.244.0.2");
    CU_ASSERT_STRING_EQUAL(json_string(container(status, 0), "containerID"), "docker://a0");
    CU_ASSERT(json_bool(container(status, 0), "ready", false));
    CU_ASSERT(!json_bool(container(status, 1), "ready", true));
    s.hints[1].ready = true;
    status = compute(&s);
    CU_ASSERT_STRING_EQUAL(condition(status, "Ready", "status"), "True");
    CU_ASSERT_STRING_EQUAL(
        condition(status, "Ready", "lastTransitionTime"), "2023-11-14T22:13:20Z");
    scene_done(&s);
}

static void test_crash_loop(void)
{
    struct scene s;
    scene_init(&s, "{\"containers\":[{\"name\":\"a\",\"image\":\"img\"}]}",
        "{\"containerStatuses\":[{\"name\":\"a\",\"restartCount\":7}]}");
    put(&s, "a", 2, CONTAINER_EXITED, 1);
    hint(&s, "a", "CrashLoopBackOff", false);
    const cJSON *status = compute(&s);

    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Running");
    CU_ASSERT_STRING_EQUAL(
        json_string_at(container(status, 0), "state.waiting.reason"), "CrashLoopBackOff");
    CU_ASSERT_EQUAL(json_int64_at(container(status, 0), "lastState.terminated.exitCode", 0), 1);
    CU_ASSERT_EQUAL(json_int64_at(container(status, 0), "restartCount", 0), 7); /* never falls */
    scene_done(&s);
}

static void test_ends(void)
{
    static const struct {
        const char *policy;
        int64_t a, b;
        const char *phase;
    } cases[] = {{"Never", 0, 0, "Succeeded"}, {"Never", 0, 1, "Failed"},
        {"OnFailure", 0, 0, "Succeeded"}, {"OnFailure", 0, 1, "Running"},
        {"Always", 0, 0, "Running"}};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        autofree char *spec = str_format(
            "{\"restartPolicy\":\"%s\",\"containers\":[{\"name\":\"a\",\"image\":\"img\"},"
            "{\"name\":\"b\",\"image\":\"img\"}]}",
            cases[i].policy);
        const char *phase = NULL;
        struct scene s;

        scene_init(&s, spec, NULL);
        put(&s, "a", 0, CONTAINER_EXITED, cases[i].a);
        put(&s, "b", 0, CONTAINER_EXITED, cases[i].b);
        const cJSON *status = compute(&s);
        CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), cases[i].phase);
        bool over = pod_has_ended(s.spec, &s.list, &phase);
        CU_ASSERT_EQUAL(over, !c_eq(cases[i].phase, "Running"));
        if (over)
            CU_ASSERT_STRING_EQUAL(phase, cases[i].phase);
        if (c_eq(cases[i].phase, "Succeeded")) {
            CU_ASSERT_STRING_EQUAL(condition(status, "Ready", "reason"), "PodCompleted");
            CU_ASSERT_STRING_EQUAL(condition(status, "Initialized", "status"), "True");
        }
        scene_done(&s);
    }
}

static void test_init(void)
{
    struct scene s;
    scene_init(&s,
        "{\"initContainers\":[{\"name\":\"i1\",\"image\":\"img\"},{\"name\":\"i2\",\"image\":"
        "\"img\"}],"
        "\"containers\":[{\"name\":\"a\",\"image\":\"img\"}]}",
        NULL);
    put(&s, "i1", 0, CONTAINER_EXITED, 0);
    put(&s, "i2", 0, CONTAINER_RUNNING, 0);
    const cJSON *status = compute(&s);
    const cJSON *first = cJSON_GetArrayItem(json_get(status, "initContainerStatuses"), 0);

    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Pending");
    CU_ASSERT(json_bool(first, "ready", false));
    CU_ASSERT_STRING_EQUAL(json_string_at(first, "state.terminated.reason"), "Completed");
    CU_ASSERT_STRING_EQUAL(condition(status, "Initialized", "reason"), "ContainersNotInitialized");
    CU_ASSERT_STRING_EQUAL(
        condition(status, "Initialized", "message"), "containers with incomplete status: [i2]");
    CU_ASSERT_STRING_EQUAL(
        json_string_at(container(status, 0), "state.waiting.reason"), "PodInitializing");
    scene_done(&s);
}

/* A debugging container: runs once, is never ready, and the pod's phase and restarts ignore it. */
static void test_ephemeral(void)
{
    struct scene s;
    scene_init(&s,
        "{\"containers\":[{\"name\":\"a\",\"image\":\"img\"}],"
        "\"ephemeralContainers\":[{\"name\":\"d\",\"image\":\"img\"}]}",
        "{\"ephemeralContainerStatuses\":[{\"name\":\"d\",\"containerID\":\"docker://"
        "d0\",\"state\":"
        "{\"terminated\":{\"exitCode\":4}}}]}");
    const cJSON *debug = json_path(s.spec, "ephemeralContainers")->child;
    struct container_info *info = put(&s, "a", 0, CONTAINER_RUNNING, 0);
    CU_ASSERT(container_should_run(s.spec, debug, false, NULL));
    CU_ASSERT_FALSE(container_should_run(
        s.spec, info ? debug : NULL, false, put(&s, "d", 0, CONTAINER_EXITED, 4)));
    const cJSON *status = compute(&s);
    const cJSON *first = cJSON_GetArrayItem(json_get(status, "ephemeralContainerStatuses"), 0);

    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Running");
    CU_ASSERT_EQUAL(cJSON_GetArraySize(json_get(status, "containerStatuses")), 1);
    CU_ASSERT_EQUAL(json_int64_at(first, "state.terminated.exitCode", 0), 4);
    CU_ASSERT_EQUAL(json_int64_at(first, "restartCount", 9), 0);
    CU_ASSERT_FALSE(json_bool(first, "ready", true));
    scene_done(&s);
}

static void test_lost_and_kept(void)
{
    struct scene s;
    scene_init(&s,
        "{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"a\",\"image\":\"img\"}]}",
        "{\"podIP\":\"10.1.1.1\",\"podIPs\":[{\"ip\":\"10.1.1.1\"}],\"containerStatuses\":[{"
        "\"name\":\"a\",\"restartCount\":1,"
        "\"containerID\":\"docker://x\",\"state\":{\"running\":{}}}]}");
    s.in.will_not_restart = s.in.stopped = true;
    const cJSON *status = compute(&s);

    CU_ASSERT_STRING_EQUAL(
        json_string_at(container(status, 0), "state.terminated.reason"), "ContainerStatusUnknown");
    CU_ASSERT_EQUAL(json_int64_at(container(status, 0), "state.terminated.exitCode", 0), 137);
    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Failed");
    CU_ASSERT_STRING_EQUAL(json_string(status, "podIP"), "10.1.1.1"); /* once set, never dropped */
    scene_done(&s);
}

static void test_failed_pod(void)
{
    struct scene s;
    scene_init(&s, TWO, NULL);
    s.in.fail_reason = "DeadlineExceeded";
    s.in.fail_message = "too long";
    const cJSON *status = compute(&s);

    CU_ASSERT_STRING_EQUAL(json_string(status, "phase"), "Failed");
    CU_ASSERT_STRING_EQUAL(json_string(status, "reason"), "DeadlineExceeded");
    scene_done(&s);
}

extern const CU_TestInfo status_tests[];
const CU_TestInfo status_tests[] = {
    {"nothing runs yet", test_waiting},
    {"running, ready or not", test_running},
    {"crash loop", test_crash_loop},
    {"all have ended", test_ends},
    {"init containers", test_init},
    {"debugging containers", test_ephemeral},
    {"what the runtime has lost", test_lost_and_kept},
    {"the pod itself failed", test_failed_pod},
    CU_TEST_INFO_NULL,
};
