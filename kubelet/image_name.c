/*
 * Image names: the reference grammar, the registry they belong to, and its credentials. Pure.
 *
 * Upstream: distribution/reference; kubelet credentialprovider keyring (match by host, then by path
 * prefix).
 */
#include "kubelet/pod.h"

#include <ctype.h>

#include "common/base64.h"

#define NAME_MAX_BYTES 255
#define TAG_MAX_BYTES 128

static bool is_host(struct str s)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr(".-:[]", s.p[i]))
            return false;
    return true;
}

/* The first component is a registry when it has a dot or a colon, or is localhost. */
static bool names_registry(struct str s)
{
    return str_eqc(s, "localhost") || str_find(s, '.') >= 0 || str_find(s, ':') >= 0;
}

/* [a-z0-9]+ joined by '.', '_', '__' or any number of '-'. */
static bool is_component(struct str s)
{
    bool separated = true;

    for (size_t i = 0; i < s.n;) {
        char c = s.p[i];
        if (islower((unsigned char)c) || isdigit((unsigned char)c)) {
            separated = false;
            i++;
            continue;
        }
        if (separated)
            return false;
        if (c == '-')
            while (i < s.n && s.p[i] == '-')
                i++;
        else if (c == '_' && i + 1 < s.n && s.p[i + 1] == '_')
            i += 2;
        else if (c == '_' || c == '.')
            i++;
        else
            return false;
        separated = true;
    }
    return !separated;
}

static bool is_tag(struct str s)
{
    if (s.n == 0 || s.n > TAG_MAX_BYTES || (!isalnum((unsigned char)s.p[0]) && s.p[0] != '_'))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr("_.-", s.p[i]))
            return false;
    return true;
}

static bool is_digest(struct str s)
{
    struct str algorithm;

    if (!str_split(&s, ':', &algorithm) || algorithm.n == 0 || s.n < 32)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isxdigit((unsigned char)s.p[i]))
            return false;
    return true;
}

/* Takes tag and digest off the end of *name; false when one of them is malformed. */
static bool cut_version(struct str *name)
{
    ssize_t at = str_find(*name, '@');

    if (at >= 0) {
        if (!is_digest(str_range(name->p + at + 1, name->n - (size_t)at - 1)))
            return false;
        name->n = (size_t)at;
    }
    for (size_t i = name->n; i > 0 && name->p[i - 1] != '/'; i--) {
        if (name->p[i - 1] != ':')
            continue;
        if (!is_tag(str_range(name->p + i, name->n - i)))
            return false;
        name->n = i - 1;
        break;
    }
    return true;
}

static int invalid(const char *image, const char *why, struct error *err)
{
    return error_set(err, ERR_BAD_REQUEST,
        "Failed to apply default image tag \"%s\": couldn't parse image name \"%s\": invalid "
        "reference format%s",
        image, image, why);
}

int image_name_check(const char *image, struct error *err)
{
    struct str name = str_of(image), rest, part;
    bool first = true;

    if (!cut_version(&name) || name.n == 0)
        return invalid(image, "", err);
    if (name.n > NAME_MAX_BYTES)
        return invalid(image, ": repository name must not be more than 255 characters", err);
    if (name.p[name.n - 1] == '/')
        return invalid(image, "", err);
    rest = name;
    while (str_split(&rest, '/', &part)) {
        bool registry = first && rest.n > 0 && names_registry(part);
        first = false;
        if (registry ? is_host(part) : is_component(part))
            continue;
        for (size_t i = 0; i < part.n; i++)
            if (isupper((unsigned char)part.p[i]))
                return invalid(image, ": repository name must be lowercase", err);
        return invalid(image, "", err);
    }
    return 0;
}

void image_registry(const char *image, struct strbuf *out)
{
    struct str rest = str_of(image), part;

    if (str_split(&rest, '/', &part) && rest.n > 0 && names_registry(part) &&
        !str_eqc(part, "docker.io"))
        strbuf_add(out, part);
    else
        strbuf_addc(out, "index.docker.io");
}

/* A key of "auths" as host/path: no scheme, no API version. */
static struct str normal_key(struct str key)
{
    static const char *const schemes[] = {"https://", "http://"};

    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++)
        if (str_starts(key, str_of(schemes[i])))
            key = str_range(key.p + strlen(schemes[i]), key.n - strlen(schemes[i]));
    while (key.n > 0 && key.p[key.n - 1] == '/')
        key.n--;
    if (str_ends(key, STR("/v1")) || str_ends(key, STR("/v2")))
        key.n -= 3;
    if (str_eqc(key, "docker.io"))
        return STR("index.docker.io");
    return key;
}

/* "host/repository" of an image, without tag or digest. */
static void full_repository(const char *image, struct strbuf *out)
{
    struct str name = str_of(image), rest, part;

    if (!cut_version(&name))
        return;
    image_registry(image, out);
    rest = name;
    if (str_split(&rest, '/', &part) && rest.n > 0 && names_registry(part))
        name = rest;
    else if (rest.n == 0)
        strbuf_addc(out, "/library");
    strbuf_add_char(out, '/');
    strbuf_add(out, name);
}

static void put_auth(const cJSON *entry, struct str server, struct strbuf *out)
{
    autojson cJSON *auth = cJSON_CreateObject();
    const char *user = json_string(entry, "username"), *password = json_string(entry, "password");
    const char *both = json_string(entry, "auth"), *token = json_string(entry, "identitytoken");
    autostrbuf struct strbuf plain = STRBUF_EMPTY, text = STRBUF_EMPTY;
    autofree char *user_part = NULL, *host = str_dup(server);
    struct error err;

    strbuf_init(&plain, 0);
    strbuf_init(&text, 0);
    if (!user && both && base64_decode(str_of(both), &plain, &err) == 0) {
        struct str rest = strbuf_str(&plain), name;
        if (str_split(&rest, ':', &name)) {
            user_part = str_dup(name);
            user = user_part;
            password = rest.p ? rest.p : "";
        }
    }
    json_set_string(auth, "username", user ? user : "");
    json_set_string(auth, "password", password ? password : "");
    if (token)
        json_set_string(auth, "identitytoken", token);
    json_set_string(auth, "serveraddress", host);
    json_print(auth, &text);
    base64url_encode(strbuf_str(&text), out);
    while (out->n % 4)
        strbuf_add_char(out, '=');
}

bool image_auth(const cJSON *config, const char *image, struct strbuf *out)
{
    autostrbuf struct strbuf repository = STRBUF_EMPTY;
    const cJSON *auths = json_get(config, "auths"), *entry, *best = NULL;
    struct str best_key = {0};

    strbuf_init(&repository, 0);
    full_repository(image, &repository);
    if (!auths)
        auths = config; /* the older format has no level of its own */
    cJSON_ArrayForEach(entry, auths)
    {
        struct str key = normal_key(str_of(entry->string)), whole = strbuf_str(&repository);
        bool fits = str_starts(whole, key) && (whole.n == key.n || whole.p[key.n] == '/');

        if (fits && (!best || key.n > best_key.n)) {
            best = entry;
            best_key = key;
        }
    }
    if (!best)
        return false;
    autostrbuf struct strbuf server = STRBUF_EMPTY;
    strbuf_init(&server, 0);
    image_registry(image, &server);
    struct str address = strbuf_str(&server);
    if (str_eqc(address, "index.docker.io"))
        address = STR("https://index.docker.io/v1/");
    put_auth(best, address, out);
    return true;
}
