/*
 * skiffctl token create|list|delete: bootstrap tokens, with which other hosts join.
 *
 * A token "id.secret" is a Secret kube-system/bootstrap-token-<id> of type
 * bootstrap.kubernetes.io/token, as upstream's, so kubeadm's tools see the same. The secret half is
 * printed once, by create.
 */
#include <unistd.h>

#include "common/base64.h"
#include "common/file.h"
#include "common/pki.h"
#include "common/time.h"
#include "ctl/client.h"
#include "ctl/cluster.h"
#include "ctl/command.h"

struct token_flags {
    const char *data_dir, *kubeconfig;
    int64_t ttl_ns;
};

static void random_text(struct env *env, char *out, size_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < n; i++) {
        uint64_t r;
        do
            r = env_random(env) >> 58; /* 0..63: no bias */
        while (r >= 36);
        out[i] = letters[r];
    }
    out[n] = '\0';
}

static int create_secret(struct ctl_client *client, const char *id, const char *secret,
    int64_t ttl_ns, struct error *err)
{
    char expires[TIME_TEXT_BYTES];
    time_print_s(env_wall_ns(client->env) + ttl_ns, expires);
    autojson cJSON *object = json_make(
        "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"type\":\"bootstrap.kubernetes.io/token\","
        "\"metadata\":{\"name\":\"bootstrap-token-%s\",\"namespace\":\"kube-system\"},"
        "\"stringData\":{\"token-id\":\"%s\",\"token-secret\":\"%s\",\"expiration\":\"%s\","
        "\"usage-bootstrap-authentication\":\"true\",\"usage-bootstrap-signing\":\"true\","
        "\"auth-extra-groups\":\"system:bootstrappers:skiff:node\"}}",
        id, id, secret, expires);
    if (ttl_ns == 0)
        json_remove(json_get(object, "stringData"), "expiration");
    struct api_ref ref = {.group_version = "v1", .plural = "secrets", .namespace_ = "kube-system"};
    return api_create(client->api, &ref, object, NULL, err);
}

/* What the other host is to be told besides the token: the address it reaches, not the loopback one
 * of our kubeconfigs, and the CA's hash. */
static int join_target(
    const struct token_flags *f, char **ret_server, char **ret_hash, struct error *err)
{
    struct cluster c;
    if (cluster_load(f->data_dir, &c, err) < 0)
        return -err->code;
    autofree char *path = cluster_path(&c, "pki/ca.crt");
    autostrbuf struct strbuf pem = STRBUF_EMPTY;
    strbuf_init(&pem, 1 << 20);
    int result = c.joined ? error_set(err, ERR_BAD_REQUEST,
                                "this host only joined %s; make tokens on the first host", c.server)
                          : file_read(path, 1 << 20, &pem, err);
    if (result == 0)
        result = pki_cert_hash(pem.data, ret_hash, err);
    if (result == 0)
        *ret_server = str_format("https://%s:%d", c.node_ip, c.secure_port);
    cluster_done(&c);
    return result;
}

static int token_create(const struct token_flags *f, struct ctl_client *client, struct error *err)
{
    char id[7], secret[17];
    autofree char *server = NULL, *hash = NULL;
    if (join_target(f, &server, &hash, err) <
        0) /* first: a token that nobody is told would be of no use */
        return -err->code;
    random_text(client->env, id, 6);
    random_text(client->env, secret, 16);
    if (create_secret(client, id, secret, f->ttl_ns, err) < 0)
        return -err->code;
    printf("skiffctl join --server %s --token %s.%s --ca-hash %s\n", server, id, secret, hash);
    return 0;
}

static void print_token(const cJSON *secret)
{
    autostrbuf struct strbuf id = STRBUF_EMPTY, expires = STRBUF_EMPTY;
    const char *id64 = json_string_at(secret, "data.token-id");
    const char *expires64 = json_string_at(secret, "data.expiration");
    struct error err;
    strbuf_init(&id, 1 << 10);
    strbuf_init(&expires, 1 << 10);
    if (id64 && base64_decode(str_of(id64), &id, &err) == 0 &&
        (!expires64 || base64_decode(str_of(expires64), &expires, &err) == 0))
        printf("%-10s %s\n", id.data, expires.n ? expires.data : "never");
}

static int token_list(const struct token_flags *f, struct ctl_client *client, struct error *err)
{
    struct api_ref ref = {.group_version = "v1", .plural = "secrets", .namespace_ = "kube-system"};
    autojson cJSON *list = NULL;
    (void)f;
    if (api_list(client->api, &ref, "fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken", &list,
            err) < 0)
        return -err->code;
    printf("%-10s %s\n", "ID", "EXPIRES");
    const cJSON *secret;
    cJSON_ArrayForEach(secret, json_get(list, "items")) print_token(secret);
    return 0;
}

/* "abcdef" or the whole token. */
static bool is_token_id(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789");
    return n == 6 && (id[n] == '\0' || id[n] == '.');
}

static int token_delete(struct ctl_client *client, const char *id, struct error *err)
{
    autofree char *name = str_format("bootstrap-token-%.6s", id);
    struct api_ref ref = {
        .group_version = "v1", .plural = "secrets", .namespace_ = "kube-system", .name = name};
    if (api_delete(client->api, &ref, NULL, NULL, err) < 0)
        return -err->code;
    printf("bootstrap token \"%.6s\" deleted\n", id);
    return 0;
}

static int token_run(void *config, int argc, char **argv)
{
    struct token_flags *f = config;
    struct ctl_client client;
    struct error err;
    const char *verb = argc > 0 ? argv[0] : "";
    bool is_delete = c_eq(verb, "delete") && argc == 2;
    if (!is_delete && !(argc == 1 && (c_eq(verb, "create") || c_eq(verb, "list"))))
        return command_fail(EXIT_WRONG_USAGE, "token needs one of: create, list, delete ID");
    if (is_delete && !is_token_id(argv[1]))
        return command_fail(EXIT_WRONG_USAGE,
            "a token's ID is its six letters and digits before the dot, not \"%s\"", argv[1]);
    if (f->ttl_ns < 0)
        return command_fail(EXIT_WRONG_USAGE, "--ttl must not be negative");
    autofree char *own = str_format("%s/admin.kubeconfig", f->data_dir);
    const char *path = f->kubeconfig ? f->kubeconfig : access(own, R_OK) == 0 ? own : NULL;
    if (ctl_client_open(path, NULL, &client, &err) < 0)
        return command_fail(EXIT_REQUEST_FAILED, "%s", err.text);
    int result = is_delete              ? token_delete(&client, argv[1], &err)
                 : c_eq(verb, "create") ? token_create(f, &client, &err)
                                        : token_list(f, &client, &err);
    ctl_client_close(&client);
    return result < 0 ? command_fail(EXIT_REQUEST_FAILED, "token: %s", err.text) : EXIT_DONE;
}

static const struct flag token_flag_table[] = {
    {"ttl", FLAG_DURATION, offsetof(struct token_flags, ttl_ns), "24h", "DURATION",
        "how long a created token is good (0s: for ever)"},
    {"data-dir", FLAG_STRING, offsetof(struct token_flags, data_dir), DEFAULT_DATA_DIR, "DIR",
        "the cluster's folder"},
    {"kubeconfig", FLAG_STRING, offsetof(struct token_flags, kubeconfig), NULL, "FILE",
        "how to reach the cluster"},
};

const struct command command_token = {
    .name = "token",
    .usage = "create|list|delete ID [flags]",
    .summary = "make, list and withdraw tokens for hosts that join",
    .help = "Makes a bootstrap token and prints the command to run on the other host.\n\n"
            "Examples:\n  skiffctl token create\n  skiffctl token create --ttl 1h\n  skiffctl "
            "token list\n"
            "  skiffctl token delete abcdef",
    .flags = token_flag_table,
    .flag_count = ARRAY_COUNT(token_flag_table),
    .config_size = sizeof(struct token_flags),
    .run = token_run,
};
