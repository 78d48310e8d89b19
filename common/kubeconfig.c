/*
 * kubeconfig files: finding one, and resolving a context into server, trust and credentials.
 *
 * Only what a client needs is kept. Credential plug-ins (exec, auth-provider) are refused with a
 * clear text instead of going on as nobody. Upstream: client-go tools/clientcmd. Difference: of
 * several files in $KUBECONFIG the first is read, they are not merged.
 */
#include "common/kubeconfig.h"

#include <pwd.h>
#include <unistd.h>

#include "common/base64.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/yaml.h"

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

void kubeconfig_done(struct kubeconfig *k)
{
    char *all[] = {k->path, k->server, k->namespace_, k->ca_file, k->ca_pem, k->cert_file,
        k->key_file, k->cert_pem, k->key_pem, k->token, k->token_file, k->tls_server_name};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        free(all[i]);
    *k = (struct kubeconfig){0};
}

/* Finding the file */

static char *home_path(void)
{
    const char *home = getenv("HOME");
    char text[1024];
    struct passwd entry, *found = NULL;

    if (!home || !*home) {
        if (getpwuid_r(getuid(), &entry, text, sizeof(text), &found) != 0 || !found)
            return NULL;
        home = entry.pw_dir;
    }
    return str_format("%s/.kube/config", home);
}

static char *first_of_list(const char *list)
{
    struct str rest = str_of(list), part;
    while (str_split(&rest, ':', &part)) {
        char *path = str_dup(part);
        if (*path && file_exists(path))
            return path;
        free(path);
    }
    return NULL;
}

static int find_path(const char *path_or_null, char **ret, struct error *err)
{
    const char *list = getenv("KUBECONFIG");
    if (path_or_null) {
        *ret = xstrdup(path_or_null);
        return 0;
    }
    char *path = list && *list ? first_of_list(list) : home_path();
    if (!path && list && *list)
        return error_set(err, ERR_NOT_FOUND, "no file of $KUBECONFIG exists: %s", list);
    if (!path)
        return error_set(err, ERR_NOT_FOUND,
            "no kubeconfig: neither --kubeconfig, $KUBECONFIG nor $HOME is set");
    *ret = path;
    return 0;
}

/* Resolving */

/* The member `inner` of the entry called name in the list: contexts, clusters, users. */
static const cJSON *find_named(
    const cJSON *config, const char *list, const char *inner, const char *name)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, json_get(config, list))
    {
        if (c_eq(json_string(entry, "name"), name))
            return json_get(entry, inner);
    }
    return NULL;
}

static char *copy_member(const cJSON *object, const char *name)
{
    const char *value = json_string(object, name);
    return value && *value ? xstrdup(value) : NULL;
}

/* A file name relative to the kubeconfig's folder. */
static char *copy_path(const cJSON *object, const char *name, const char *config_path)
{
    const char *value = json_string(object, name), *slash = strrchr(config_path, '/');
    if (!value || !*value)
        return NULL;
    if (value[0] == '/' || !slash)
        return xstrdup(value);
    return str_format("%.*s/%s", (int)(slash - config_path), config_path, value);
}

static int copy_data(const cJSON *object, const char *name, char **ret, struct error *err)
{
    const char *value = json_string(object, name);
    struct strbuf bytes;

    if (!value || !*value)
        return 0;
    strbuf_init(&bytes, LIMIT_BODY_BYTES);
    if (base64_decode(str_of(value), &bytes, err) < 0) {
        strbuf_done(&bytes);
        return error_wrap(err, "%s", name);
    }
    *ret = strbuf_steal(&bytes);
    return 0;
}

static int read_cluster(const cJSON *cluster, struct kubeconfig *k, struct error *err)
{
    k->server = copy_member(cluster, "server");
    if (!k->server)
        return error_set(err, ERR_BAD_REQUEST, "the cluster has no server");
    k->tls_server_name = copy_member(cluster, "tls-server-name");
    k->insecure_skip_verify = json_bool(cluster, "insecure-skip-tls-verify", false);
    k->ca_file = copy_path(cluster, "certificate-authority", k->path);
    return copy_data(cluster, "certificate-authority-data", &k->ca_pem, err);
}

static int read_user(const cJSON *user, struct kubeconfig *k, struct error *err)
{
    if (json_get(user, "exec") || json_get(user, "auth-provider"))
        return error_set(err, ERR_NOT_IMPLEMENTED,
            "credential plug-ins (exec, auth-provider) are not supported; use a token or a client "
            "certificate");
    k->token = copy_member(user, "token");
    k->token_file = copy_path(user, "tokenFile", k->path);
    k->cert_file = copy_path(user, "client-certificate", k->path);
    k->key_file = copy_path(user, "client-key", k->path);
    int r = copy_data(user, "client-certificate-data", &k->cert_pem, err);
    return r < 0 ? r : copy_data(user, "client-key-data", &k->key_pem, err);
}

static int resolve(
    const cJSON *config, const char *context_or_null, struct kubeconfig *k, struct error *err)
{
    const char *name = context_or_null ? context_or_null : json_string(config, "current-context");
    if (!name || !*name)
        return error_set(err, ERR_BAD_REQUEST, "no context is chosen: current-context is not set");
    const cJSON *context = find_named(config, "contexts", "context", name);
    if (!context)
        return error_set(err, ERR_NOT_FOUND, "context \"%s\" does not exist", name);
    const char *cluster_name = json_string(context, "cluster"),
               *user_name = json_string(context, "user");
    const cJSON *cluster = find_named(config, "clusters", "cluster", cluster_name);
    if (!cluster)
        return error_set(err, ERR_NOT_FOUND, "cluster \"%s\" of context \"%s\" does not exist",
            cluster_name ? cluster_name : "", name);
    const cJSON *user = find_named(config, "users", "user", user_name);
    if (user_name && *user_name && !user)
        return error_set(
            err, ERR_NOT_FOUND, "user \"%s\" of context \"%s\" does not exist", user_name, name);
    k->namespace_ = copy_member(context, "namespace");
    if (!k->namespace_)
        k->namespace_ = xstrdup("default");
    int r = read_cluster(cluster, k, err);
    return r < 0 ? r : read_user(user, k, err);
}

int kubeconfig_load(const char *path_or_null, const char *context_or_null, struct kubeconfig *ret,
    struct error *err)
{
    struct kubeconfig k = {0};
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    autojson cJSON *config = NULL;

    int r = find_path(path_or_null, &k.path, err);
    if (r < 0)
        return r;
    r = file_read(k.path, LIMIT_BODY_BYTES, &text, err);
    if (r == 0) {
        r = yaml_parse(strbuf_str(&text), YAML_LAX, &config, err);
        if (r == 0)
            r = resolve(config, context_or_null, &k, err);
        if (r < 0)
            r = error_wrap(err, "kubeconfig %s", k.path);
    }
    if (r < 0) {
        kubeconfig_done(&k);
        return r;
    }
    *ret = k;
    return 0;
}

int kubeconfig_in_cluster(struct kubeconfig *ret, struct error *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    autostrbuf struct strbuf namespace_ = STRBUF_EMPTY;

    if (!host || !*host || !port || !*port)
        return error_set(err, ERR_NOT_FOUND,
            "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
    if (!file_exists(SERVICE_ACCOUNT_DIR "/token"))
        return error_set(
            err, ERR_NOT_FOUND, SERVICE_ACCOUNT_DIR "/token: No such file or directory");
    int r = file_read(SERVICE_ACCOUNT_DIR "/namespace", 4096, &namespace_, err);
    if (r < 0 && err->code != ERR_NOT_FOUND)
        return r;
    struct str name = str_trim(strbuf_str(&namespace_));
    *ret = (struct kubeconfig){
        .server = str_format(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port),
        .namespace_ = str_dup(name.n ? name : STR("default")),
        .ca_file = xstrdup(SERVICE_ACCOUNT_DIR "/ca.crt"),
        .token_file = xstrdup(SERVICE_ACCOUNT_DIR "/token"),
    };
    return 0;
}

struct http_client_config kubeconfig_client_config(
    const struct kubeconfig *k, const char *user_agent)
{
    return (struct http_client_config){
        .base_url = k->server,
        .ca_file = k->ca_pem ? NULL : k->ca_file,
        .ca_pem = k->ca_pem,
        .cert_file = k->cert_pem ? NULL : k->cert_file,
        .key_file = k->key_pem ? NULL : k->key_file,
        .cert_pem = k->cert_pem,
        .key_pem = k->key_pem,
        .bearer_token = k->token,
        .bearer_token_file = k->token_file,
        .tls_server_name = k->tls_server_name,
        .insecure_skip_verify = k->insecure_skip_verify,
        .user_agent = user_agent,
    };
}
