/*
 * The production HTTP client's configuration: copies of strings, the server name put into URLs, the
 * token file.
 *
 * libcurl verifies the host of the URL. Where a certificate bears another name (tls_server_name),
 * that name goes into the URL and CURLOPT_CONNECT_TO leads it to the real address.
 */
#include "common/http_curl.h"

#include <assert.h>

#include "common/file.h"
#include "common/time.h"

#define TOKEN_BYTES (64u << 10)
#define TOKEN_CHECK_NS NS_PER_S

/* Every string of the configuration, for copying and freeing. */
static const size_t strings[] = {
    offsetof(struct http_client_config, base_url),
    offsetof(struct http_client_config, unix_socket),
    offsetof(struct http_client_config, ca_file),
    offsetof(struct http_client_config, ca_pem),
    offsetof(struct http_client_config, cert_file),
    offsetof(struct http_client_config, key_file),
    offsetof(struct http_client_config, cert_pem),
    offsetof(struct http_client_config, key_pem),
    offsetof(struct http_client_config, bearer_token),
    offsetof(struct http_client_config, bearer_token_file),
    offsetof(struct http_client_config, tls_server_name),
    offsetof(struct http_client_config, user_agent),
};

static const char **string_at(struct http_client_config *config, size_t i)
{
    return (const char **)((char *)config + strings[i]);
}

/* "https://10.0.0.1:6443/x" and "name" give "https://name:6443/x" and "name:6443:10.0.0.1:6443". */
static int put_server_name(struct curl_client *c, struct str url, struct error *err)
{
    const char *name = c->config.tls_server_name;
    struct str host = {url.p + strlen("https://"), url.n - strlen("https://")};
    const char *slash = memchr(host.p, '/', host.n);
    struct str prefix = slash ? (struct str){slash, (size_t)(host.p + host.n - slash)} : STR("");
    host.n -= prefix.n;
    struct str port = STR("443");

    for (size_t i = host.n; i > 0 && host.p[i - 1] != ']'; i--) {
        if (host.p[i - 1] != ':')
            continue;
        port = (struct str){host.p + i, host.n - i};
        host.n = i - 1;
        break;
    }
    if (host.n == 0 || port.n == 0)
        return error_set(err, ERR_USAGE, "\"%.*s\" is not a server URL", STR_FMT(url));
    c->base_url = str_format("https://%s:%.*s%.*s", name, STR_FMT(port), STR_FMT(prefix));
    autofree char *line =
        str_format("%s:%.*s:%.*s:%.*s", name, STR_FMT(port), STR_FMT(host), STR_FMT(port));
    c->connect_to = curl_slist_append(NULL, line);
    return 0;
}

int client_configure(
    struct curl_client *c, const struct http_client_config *config, struct error *err)
{
    c->config = *config;
    for (size_t i = 0; i < ARRAY_COUNT(strings); i++) {
        const char **s = string_at(&c->config, i);
        *s = *s ? xstrdup(*s) : NULL;
    }
    struct str url = str_of(c->config.base_url);
    bool is_https = str_starts(url, STR("https://"));
    if (!is_https && !str_starts(url, STR("http://")))
        return error_set(err, ERR_USAGE, "\"%.*s\" is not an http or https URL", STR_FMT(url));
    c->is_https = is_https;
    while (url.n > 0 && url.p[url.n - 1] == '/')
        url.n--;
    if (c->config.cert_file && !c->config.key_file)
        return error_set(err, ERR_USAGE, "a client certificate without its key");
    if (c->config.bearer_token)
        c->authorization = str_format("Authorization: Bearer %s", c->config.bearer_token);
    if (is_https && c->config.tls_server_name)
        return put_server_name(c, url, err);
    c->base_url = str_dup(url);
    return 0;
}

void client_configure_done(struct curl_client *c)
{
    for (size_t i = 0; i < ARRAY_COUNT(strings); i++)
        free((char *)(uintptr_t)*string_at(&c->config, i));
    free(c->base_url);
    free(c->authorization);
    curl_slist_free_all(c->connect_to);
}

/* Reads the token again when its file changed; a file that can't be read leaves the last one in
 * use. */
static void refresh_token(struct curl_client *c)
{
    struct stat st;
    struct error err;
    int64_t now = env_now_ns(c->base.env);

    if (c->token_checked_ns && now - c->token_checked_ns < TOKEN_CHECK_NS)
        return;
    c->token_checked_ns = now;
    if (stat(c->config.bearer_token_file, &st) < 0 ||
        (st.st_ino == c->token_inode && st.st_mtim.tv_sec == c->token_mtime.tv_sec &&
            st.st_mtim.tv_nsec == c->token_mtime.tv_nsec))
        return;
    autostrbuf struct strbuf text;
    strbuf_init(&text, TOKEN_BYTES);
    if (file_read(c->config.bearer_token_file, TOKEN_BYTES, &text, &err) < 0)
        return;
    struct str token = str_trim(strbuf_str(&text));
    for (size_t i = 0; i < token.n; i++)
        if (token.p[i] <= 0x20 || token.p[i] >= 0x7f)
            return;
    free(c->authorization);
    c->authorization =
        token.n > 0 ? str_format("Authorization: Bearer %.*s", STR_FMT(token)) : NULL;
    c->token_mtime = st.st_mtim;
    c->token_inode = st.st_ino;
}

char *client_authorization(struct curl_client *c)
{
    env_lock(c->base.env, &c->lock);
    if (c->config.bearer_token_file)
        refresh_token(c);
    char *line = c->authorization ? xstrdup(c->authorization) : NULL;
    env_unlock(c->base.env, &c->lock);
    return line;
}
