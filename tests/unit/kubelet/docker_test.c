/* Docker's JSON, its stream frames, and the pause image. */
#include <CUnit/CUnit.h>
#include <unistd.h>

#include "common/file.h"
#include "kubelet/docker/docker.h"

static void test_inspect(void)
{
    autojson cJSON *tree = json_make(
        "{\"Id\":\"abc\",\"Name\":\"/"
        "k8s_c_p_n_u_4\",\"Created\":\"2023-11-14T22:13:20.5Z\",\"Image\":\"sha256:1\",\"State\":{"
        "\"Status\":\"exited\",\"ExitCode\":137,\"OOMKilled\":true,\"Pid\":0,\"StartedAt\":\"2023-"
        "11-14T22:13:21Z\","
        "\"FinishedAt\":\"2023-11-14T22:13:22Z\"},\"Config\":{\"Image\":\"img:1\",\"StopSignal\":"
        "\"SIGQUIT\",\"Labels\":{"
        "\"io.kubernetes.pod.name\":\"p\",\"io.kubernetes.pod.namespace\":\"n\",\"io.kubernetes."
        "pod.uid\":\"u\","
        "\"io.kubernetes.container.name\":\"c\",\"io.skiff.attempt\":\"4\",\"io.kubernetes.pod."
        "terminationGracePeriod\":\"9\"}}}");
    struct container_info *info = docker_parse_inspect(tree);

    CU_ASSERT_STRING_EQUAL(info->name, "k8s_c_p_n_u_4");
    CU_ASSERT_EQUAL(info->attempt, 4);
    CU_ASSERT_EQUAL(info->grace_seconds, 9);
    CU_ASSERT_EQUAL(info->state, CONTAINER_EXITED);
    CU_ASSERT_EQUAL(info->exit_code, 137);
    CU_ASSERT(info->oom_killed);
    CU_ASSERT_EQUAL(info->created_ns, 1700000000500000000);
    CU_ASSERT_STRING_EQUAL(info->stop_signal, "SIGQUIT");
    CU_ASSERT(!container_is_sandbox(info));
    container_info_unref(info);
}

/* Docker leaves a container that it could not start "created", with an exit code. */
static void test_not_started(void)
{
    autojson cJSON *tree = json_make(
        "{\"Id\":\"a\",\"Created\":\"2023-11-14T22:13:20Z\",\"State\":{\"Status\":\"created\","
        "\"ExitCode\":127,\"Error\":\"no such file\",\"FinishedAt\":\"0001-01-01T00:00:00Z\"}}");
    struct container_info *info = docker_parse_inspect(tree);

    CU_ASSERT_EQUAL(info->state, CONTAINER_EXITED);
    CU_ASSERT_EQUAL(info->finished_ns, info->created_ns);
    container_info_unref(info);
    autojson cJSON *nonsense = json_make("[1,{\"State\":7}]");
    info = docker_parse_inspect(nonsense);
    CU_ASSERT_EQUAL(info->state, CONTAINER_UNKNOWN);
    CU_ASSERT_PTR_NULL(info->id);
    container_info_unref(info);
}

static void test_event(void)
{
    autojson cJSON *die = json_make(
        "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"x\",\"Attributes\":{"
        "\"io.kubernetes.pod.uid\":\"u\"}}}");
    autojson cJSON *image =
        json_make("{\"Type\":\"image\",\"Action\":\"pull\",\"Actor\":{\"ID\":\"x\"}}");
    struct docker_event event;

    CU_ASSERT(docker_parse_event(die, &event));
    CU_ASSERT_STRING_EQUAL(event.action, "die");
    CU_ASSERT(!docker_parse_event(image, &event));
}

static void test_image(void)
{
    autojson cJSON *tree = json_make(
        "{\"Id\":\"sha256:1\",\"RepoDigests\":[\"a/b@sha256:x\",\"reg.io:5000/c@sha256:y\"],"
        "\"Config\":{\"User\":\"nobody\"},\"Size\":12}");
    struct image_info image = {0};

    docker_parse_image(tree, "reg.io:5000/c:v1", &image);
    CU_ASSERT_STRING_EQUAL(image.digest, "reg.io:5000/c@sha256:y");
    CU_ASSERT_STRING_EQUAL(image.user, "nobody");
    image_info_done(&image);
}

struct output {
    struct strbuf streams[3];
};

static int collect(void *arg, int stream, struct str piece)
{
    strbuf_add(&((struct output *)arg)->streams[stream], piece);
    return 0;
}

static void test_frames(void)
{
    static const char bytes[] =
        "\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\3err\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\1!";

    /* Cut into pieces of every size. */
    for (size_t step = 1; step <= sizeof(bytes) - 1; step++) {
        struct docker_frames frames = {0};
        struct output out;
        struct error err;

        for (int i = 0; i < 3; i++)
            strbuf_init(&out.streams[i], 0);
        for (size_t at = 0; at < sizeof(bytes) - 1; at += step) {
            size_t n = sizeof(bytes) - 1 - at < step ? sizeof(bytes) - 1 - at : step;
            CU_ASSERT_EQUAL_FATAL(
                docker_frames_feed(&frames, str_range(bytes + at, n), collect, &out, &err), 0);
        }
        CU_ASSERT_STRING_EQUAL(out.streams[1].data, "hello!");
        CU_ASSERT_STRING_EQUAL(out.streams[2].data, "err");
        for (int i = 0; i < 3; i++)
            strbuf_done(&out.streams[i]);
    }
    struct docker_frames bad = {0};
    struct output out;
    struct error err;
    CU_ASSERT_EQUAL(
        docker_frames_feed(&bad, STR("\7\0\0\0\0\0\0\5"), collect, &out, &err), -ERR_BAD_REQUEST);
}

static void test_pause_image(void)
{
    char path[] = "/tmp/pause-test-XXXXXX";
    int fd = mkstemp(path);
    autostrbuf struct strbuf one = STRBUF_EMPTY, two = STRBUF_EMPTY;
    autofree char *id_one = NULL, *id_two = NULL;
    struct error err;

    CU_ASSERT_EQUAL_FATAL(write(fd, "ELF", 3), 3);
    close(fd);
    strbuf_init(&one, 0);
    strbuf_init(&two, 0);
    CU_ASSERT_EQUAL_FATAL(pause_image_build(path, &one, &id_one, &err), 0);
    CU_ASSERT_EQUAL_FATAL(pause_image_build(path, &two, &id_two, &err), 0);
    CU_ASSERT_STRING_EQUAL(id_one, id_two); /* the same binary is the same image */
    CU_ASSERT(str_eq(strbuf_str(&one), strbuf_str(&two)));
    CU_ASSERT_EQUAL(one.n % 512, 0);
    unlink(path);
}

/* The largest first, digests before tags, none without a name. */
static void test_images(void)
{
    autojson cJSON *tree =
        json_make("[{\"RepoTags\":[\"a:1\"],\"RepoDigests\":[\"a@sha256:1\"],\"Size\":5},"
                  "{\"RepoTags\":[\"<none>:<none>\"],\"RepoDigests\":null,\"Size\":99},"
                  "{\"RepoTags\":[\"b:1\",\"b:2\",7],\"Size\":7000000000}]");
    autojson cJSON *images = docker_parse_images(tree);
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    json_print(images, &text);
    CU_ASSERT_STRING_EQUAL(text.data, "[{\"names\":[\"b:1\",\"b:2\"],\"sizeBytes\":7000000000},"
                                      "{\"names\":[\"a@sha256:1\",\"a:1\"],\"sizeBytes\":5}]");
}

extern const CU_TestInfo docker_tests[];
const CU_TestInfo docker_tests[] = {
    {"inspect", test_inspect},
    {"a container that could not start", test_not_started},
    {"events", test_event},
    {"image digests", test_image},
    {"stream frames", test_frames},
    {"pause image", test_pause_image},
    {"images", test_images},
    CU_TEST_INFO_NULL,
};
