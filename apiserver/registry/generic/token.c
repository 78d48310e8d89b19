/*
 * Continue tokens. See token.h.
 */
#include "apiserver/registry/generic/token.h"

#include "common/base64.h"
#include "common/json.h"

#define TOKEN_BYTES_MAX 2048

const char *token_print(struct arena *a, const struct continue_token *t)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY, out = STRBUF_EMPTY, start = STRBUF_EMPTY;

    strbuf_addf(&start, "%.*s/%.*s", STR_FMT(t->namespace_), STR_FMT(t->name));
    strbuf_addf(&json,
        "{\"v\":\"meta.k8s.io/v1\",\"rv\":%lld,\"seen\":%lld,\"start\":", (long long)t->version,
        (long long)t->seen);
    json_print_string(strbuf_str(&start), &json);
    strbuf_add_char(&json, '}');
    base64url_encode(strbuf_str(&json), &out);
    return arena_strdup(a, strbuf_str(&out));
}

static int invalid(struct error *err, const char *why)
{
    return error_set(err, ERR_BAD_REQUEST, "continue key is not valid: %s", why);
}

int token_parse(struct arena *a, const char *text, struct continue_token *ret, struct error *err)
{
    autostrbuf struct strbuf json = STRBUF_EMPTY;
    autojson cJSON *tree = NULL;
    struct error why;
    struct continue_token t;

    if (strlen(text) > TOKEN_BYTES_MAX)
        return invalid(err, "it is too long");
    if (base64url_decode(str_of(text), &json, &why) < 0 ||
        json_parse(strbuf_str(&json), &tree, &why) < 0)
        return invalid(err, why.text);
    if (!c_eq(json_string(tree, "v"), "meta.k8s.io/v1"))
        return invalid(err, "server does not recognize this encoded version");
    const char *start = json_string(tree, "start");
    if (!start || !strchr(start, '/') || !json_int64(json_get(tree, "rv"), &t.version) ||
        !json_int64(json_get(tree, "seen"), &t.seen) || t.version < -1 || t.version == 0)
        return invalid(err, "incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
    char *copy = arena_strdup(a, str_of(start));
    char *slash = strchr(copy, '/');
    t.namespace_ = str_range(copy, (size_t)(slash - copy));
    t.name = str_of(slash + 1);
    *ret = t;
    return 0;
}
