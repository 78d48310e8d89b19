/*
 * One exchange with etcd's JSON gateway, and what its errors mean.
 *
 * An error is *refused* when etcd certainly did nothing (it says so, or the connection was never
 * made) and *lost* when it may have happened. After a lost exchange the next endpoint is used. A
 * token that has expired (etcd's last 5 minutes, and none survives its restart) is asked for again
 * once.
 */
#include "apiserver/store/etcd.h"

#include <inttypes.h>

#include "common/file.h"
#include "common/log.h"
#include "common/time.h"

#define AUTH_TIMEOUT_NS (10 * NS_PER_S)
#define PASSWORD_BYTES 4096

/* What etcd says, what it means. The first that is found decides. */
static const struct {
    const char *text;
    enum etcd_result result;
    enum err code;
    const char *told; /* instead of etcd's words */
} meanings[] = {
    {"database space exceeded", ETCD_REFUSED, ERR_UNAVAILABLE,
        "etcd has no space left (alarm NOSPACE): compact and defragment it, or raise "
        "--quota-backend-bytes, then run "
        "\"etcdctl alarm disarm\""},
    {"request is too large", ETCD_REFUSED, ERR_TOO_LARGE, "etcdserver: request is too large"},
    {"too many requests", ETCD_REFUSED, ERR_UNAVAILABLE, NULL},
    {"has been compacted", ETCD_REFUSED, ERR_EXPIRED, NULL},
    {"future revision", ETCD_REFUSED, ERR_UNAVAILABLE, NULL},
    {"permission denied", ETCD_REFUSED, ERR_UNAVAILABLE,
        "etcd: permission denied; the user needs read and write access to the whole prefix"},
    {"CommonName of client sending a request against gateway", ETCD_REFUSED, ERR_UNAVAILABLE,
        "etcd refuses a client certificate with a common name while its authentication is on; give "
        "one without"},
    {"authentication failed, invalid user ID or password", ETCD_REFUSED, ERR_UNAVAILABLE,
        "etcd: wrong user name or password"},
    {"user name is empty", ETCD_REFUSED, ERR_UNAUTHORIZED, NULL},
    {"user name not found", ETCD_REFUSED, ERR_UNAUTHORIZED, NULL},
    {"invalid auth token", ETCD_REFUSED, ERR_UNAUTHORIZED, NULL},
    {"revision of auth store is old", ETCD_REFUSED, ERR_UNAUTHORIZED, NULL},
    {"duplicate key given", ETCD_REFUSED, ERR_INTERNAL, NULL},
    {"too many operations", ETCD_REFUSED, ERR_INTERNAL, NULL},
};

int64_t etcd_revision(const cJSON *answer)
{
    return etcd_int(json_get(answer, "header"), "revision");
}

enum etcd_result etcd_explain(int http_status, const cJSON *answer, struct error *err)
{
    const cJSON *inner = json_get(answer, "error");
    const char *text = json_string(answer, "error");

    if (cJSON_IsObject(inner))
        text = json_string(inner, "message");
    if (!text)
        text = json_string(answer, "message");
    if (!text)
        text = "an answer that is not etcd's";
    for (size_t i = 0; i < ARRAY_COUNT(meanings); i++)
        if (strstr(text, meanings[i].text)) {
            error_set(err, meanings[i].code, "%s%s",
                meanings[i].told ? "" : "etcd: ", meanings[i].told ? meanings[i].told : text);
            return meanings[i].result;
        }
    error_set(err, ERR_UNAVAILABLE, "etcd: %s (HTTP %d)", text, http_status);
    return ETCD_LOST;
}

void etcd_next_endpoint(struct etcd *e, unsigned was)
{
    unsigned next = (was + 1) % e->client_count;

    __atomic_compare_exchange_n(&e->current, &was, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void etcd_note_up(struct etcd *e, int64_t revision)
{
    env_lock(e->env, &e->lock);
    if (e->down_since_ns)
        log_info("etcd answers again", NULL);
    e->down_since_ns = 0;
    if (revision > e->newest)
        e->newest = revision;
    env_unlock(e->env, &e->lock);
}

static void note_down(struct etcd *e, const struct error *err)
{
    env_lock(e->env, &e->lock);
    if (!e->down_since_ns && !e->stopping)
        log_warning("etcd does not answer, trying all endpoints", "err", "%s", err->text, NULL);
    if (!e->down_since_ns)
        e->down_since_ns = env_now_ns(e->env);
    e->failure = *err;
    env_unlock(e->env, &e->lock);
}

bool etcd_is_down(struct etcd *e, int64_t for_ns)
{
    env_lock(e->env, &e->lock);
    bool down = e->down_since_ns && env_now_ns(e->env) - e->down_since_ns >= for_ns;

    env_unlock(e->env, &e->lock);
    return down;
}

static enum etcd_result exchange(struct etcd *e, const char *path, struct str body,
    const char *token, int64_t timeout_ns, cJSON **ret, struct error *err)
{
    unsigned at = __atomic_load_n(&e->current, __ATOMIC_RELAXED);
    struct http_header header = {"Authorization", token};
    struct http_request request = {.method = "POST",
        .path = path,
        .body = body,
        .headers = &header,
        .header_count = token && token[0] ? 1 : 0,
        .timeout_ns = timeout_ns};
    struct http_response response;
    enum etcd_result result = ETCD_OK;
    cJSON *answer = NULL;
    struct error bad;

    http_response_init(&response);
    int sent = http_do(e->clients[at], &request, &response, err);

    if (sent < 0) {
        bool unsent = err->code == ERR_SYSTEM && strstr(err->text, "connect: ");

        result = unsent ? ETCD_REFUSED : ETCD_LOST;
        error_wrap(err, "etcd at %s", e->urls[at]);
        err->code = ERR_UNAVAILABLE;
        etcd_next_endpoint(e, at);
        note_down(e, err);
    } else if (json_parse(strbuf_str(&response.body), &answer, &bad) < 0 ||
               response.status != 200) {
        result = etcd_explain(response.status, answer, err);
        cJSON_Delete(answer);
        if (result == ETCD_LOST) {
            etcd_next_endpoint(e, at);
            note_down(e, err);
        }
    } else {
        etcd_note_up(e, etcd_revision(answer));
        *ret = answer;
    }
    http_response_done(&response);
    return result;
}

static int authenticate(struct etcd *e, struct error *err)
{
    autostrbuf struct strbuf password, body;
    autojson cJSON *answer = NULL, *request = cJSON_CreateObject();

    strbuf_init(&password, PASSWORD_BYTES);
    strbuf_init(&body, 0);
    if (!e->username)
        return error_set(err, ERR_UNAVAILABLE, "etcd asks for a user name; give --etcd-username");
    if (file_read(e->password_file, PASSWORD_BYTES, &password, err) < 0)
        return error_wrap(err, "etcd's password");
    autofree char *text = str_dup(str_trim(strbuf_str(&password)));

    json_set_string(request, "name", e->username);
    json_set_string(request, "password", text);
    json_print(request, &body);
    explicit_bzero(text, strlen(text));
    if (exchange(e, "/v3/auth/authenticate", strbuf_str(&body), NULL, AUTH_TIMEOUT_NS, &answer,
            err) != ETCD_OK)
        return -err->code;
    const char *token = json_string(answer, "token");

    env_lock(e->env, &e->lock);
    strbuf_clear(&e->token);
    strbuf_addc(&e->token, token ? token : "");
    env_unlock(e->env, &e->lock);
    return 0;
}

static char *token_copy(struct etcd *e)
{
    env_lock(e->env, &e->lock);
    char *token = str_dup(strbuf_str(&e->token));

    env_unlock(e->env, &e->lock);
    return token;
}

void etcd_forget_token(struct etcd *e)
{
    env_lock(e->env, &e->lock);
    strbuf_clear(&e->token);
    env_unlock(e->env, &e->lock);
}

/* The token, asked for when there is none and one is needed; NULL: that failed. */
static char *token_for(struct etcd *e, struct error *err)
{
    char *token = token_copy(e);

    if (token[0] || !e->username)
        return token;
    free(token);
    return authenticate(e, err) < 0 ? NULL : token_copy(e);
}

enum etcd_result etcd_post(struct etcd *e, const char *path, struct str body, int64_t timeout_ns,
    cJSON **ret, struct error *err)
{
    autofree char *token = token_for(e, err);

    if (!token)
        return ETCD_REFUSED;
    enum etcd_result result = exchange(e, path, body, token, timeout_ns, ret, err);

    if (result != ETCD_REFUSED || err->code != ERR_UNAUTHORIZED)
        return result;
    if (authenticate(e, err) < 0)
        return ETCD_REFUSED;
    autofree char *again = token_copy(e);

    result = exchange(e, path, body, again, timeout_ns, ret, err);
    if (result == ETCD_REFUSED && err->code == ERR_UNAUTHORIZED)
        err->code = ERR_UNAVAILABLE;
    return result;
}

int etcd_open_stream(
    struct etcd *e, const char *path, struct str body, struct http_stream **ret, struct error *err)
{
    autofree char *token = token_for(e, err);
    unsigned at = __atomic_load_n(&e->current, __ATOMIC_RELAXED);
    struct http_header header = {"Authorization", token};
    struct http_request request = {.method = "POST",
        .path = path,
        .body = body,
        .headers = &header,
        .header_count = token && token[0] ? 1 : 0};
    struct http_response head;
    struct http_stream *stream = NULL;

    if (!token)
        return -err->code;
    http_response_init(&head);
    int result = http_stream_open(e->clients[at], &request, &stream, &head, err);

    if (result < 0) {
        error_wrap(err, "etcd at %s", e->urls[at]);
        err->code = ERR_UNAVAILABLE;
        result = -ERR_UNAVAILABLE;
        etcd_next_endpoint(e, at);
    } else if (!stream) {
        autojson cJSON *answer = NULL;
        struct error bad;

        if (json_parse(strbuf_str(&head.body), &answer, &bad) < 0)
            answer = NULL;
        etcd_explain(head.status, answer, err);
        result = -err->code;
        if (err->code == ERR_UNAUTHORIZED)
            etcd_forget_token(e);
    }
    http_response_done(&head);
    *ret = stream;
    return result;
}
