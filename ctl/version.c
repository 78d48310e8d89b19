/*
 * skiffctl version: this program's version and, where one answers, the server's.
 */
#include "ctl/command.h"

#include "common/daemon.h"
#include "ctl/client.h"

struct version_flags {
    bool client;
    const char *kubeconfig, *context;
};

static int version_run(void *config, int argc, char **argv)
{
    struct version_flags *f = config;
    struct ctl_client client;
    struct error err;
    (void)argv;
    if (argc > 0)
        return command_fail(EXIT_WRONG_USAGE, "version takes no arguments");
    printf("skiffctl %s (Kubernetes %s)\n", SKIFF_VERSION, SKIFF_KUBERNETES_VERSION);
    if (f->client)
        return EXIT_DONE;
    if (ctl_client_open(f->kubeconfig, f->context, &client, &err) < 0)
        return command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
    struct http_response answer;
    autojson cJSON *tree = NULL;
    http_response_init(&answer);
    struct http_request request = {.method = "GET", .path = "/version"};
    int result = api_raw(client.api, &request, &answer, &err);
    if (result == 0 && answer.status != 200)
        result = api_error_from_response(&answer, &err);
    if (result == 0)
        result = json_parse(strbuf_str(&answer.body), &tree, &err);
    const char *version = json_string(tree, "gitVersion");
    if (result == 0 && !version)
        result = error_set(&err, ERR_BAD_GATEWAY, "what answers is no API server");
    if (result == 0)
        printf("server   %s\n", version);
    http_response_done(&answer);
    ctl_client_close(&client);
    return result < 0 ? command_fail(EXIT_REQUEST_FAILED, "server: %s", err.text) : EXIT_DONE;
}

static const struct flag version_flag_table[] = {
    {"client", FLAG_BOOL, offsetof(struct version_flags, client), NULL, NULL,
        "do not ask the server"},
    {"kubeconfig", FLAG_STRING, offsetof(struct version_flags, kubeconfig), NULL, "FILE",
        "how to reach the cluster"},
    {"context", FLAG_STRING, offsetof(struct version_flags, context), NULL, "NAME",
        "context of the kubeconfig"},
};

const struct command command_version = {
    .name = "version",
    .usage = "[flags]",
    .summary = "print the versions of skiffctl and of the server",
    .help = "Prints this program's version and the server's.\n\nExample:\n  skiffctl version",
    .flags = version_flag_table,
    .flag_count = ARRAY_COUNT(version_flag_table),
    .config_size = sizeof(struct version_flags),
    .run = version_run,
};
