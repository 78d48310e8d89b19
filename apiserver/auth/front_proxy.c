/*
 * The front proxy: one that shows a certificate of the request-header CA says in headers who it
 * asks for.
 *
 * The headers of anybody else mean nothing. Upstream: request/headerrequest.
 */
#include <ctype.h>

#include "apiserver/auth/internal.h"
#include "common/http_client.h"

static bool lists_name(const char *list, const char *name)
{
    struct str rest = str_of(list), one;
    bool any = false;
    while (rest.n && str_split(&rest, ',', &one)) {
        one = str_trim(one);
        any = any || one.n;
        if (one.n && str_eqc(one, name))
            return true;
    }
    return !any;
}

/* The first of the listed headers that is there; an empty view: none. */
static struct str first_header(const struct request *q, const char *list)
{
    struct str rest = str_of(list), name;
    while (rest.n && str_split(&rest, ',', &name)) {
        autofree char *text = str_dup(str_trim(name));
        struct str value = str_trim(request_header(q, text));
        if (value.n)
            return value;
    }
    return (struct str){0};
}

static bool is_listed(const char *list, struct str name)
{
    struct str rest = str_of(list), one;
    while (rest.n && str_split(&rest, ',', &one))
        if (str_eq_nocase(str_trim(one), name))
            return true;
    return false;
}

/* The key behind one of the listed prefixes, decoded and in lower case; NULL: it has none. */
static const char *extra_key(struct arena *a, const char *prefixes, struct str name)
{
    struct str rest = str_of(prefixes), prefix;
    while (rest.n && str_split(&rest, ',', &prefix)) {
        prefix = str_trim(prefix);
        if (!prefix.n || name.n <= prefix.n || !str_eq_nocase(str_range(name.p, prefix.n), prefix))
            continue;
        autostrbuf struct strbuf key = STRBUF_EMPTY;
        struct error err;
        if (url_decode(str_range(name.p + prefix.n, name.n - prefix.n), false, &key, &err) < 0)
            return NULL;
        char *text = arena_strdup(a, strbuf_str(&key));
        for (char *p = text; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        return text;
    }
    return NULL;
}

bool front_proxy_identity(const struct auth *auth, struct request *q)
{
    const struct auth_options *o = auth->config.options;
    if (!o || !q->peer_proxy_name || !lists_name(o->proxy_names, q->peer_proxy_name))
        return false;
    struct str user = first_header(q, o->proxy_user_headers);
    if (!user.n)
        return false;
    struct identity who = {.name = arena_strdup(q->arena, user),
        .uid = arena_strdup(q->arena, first_header(q, o->proxy_uid_headers))};
    for (size_t i = 0; i < q->header_count; i++) {
        const struct http1_header *h = &q->headers[i];
        const char *value = arena_strdup(q->arena, str_trim(h->value));
        const char *key = extra_key(q->arena, o->proxy_extra_prefixes, h->name);
        if (is_listed(o->proxy_group_headers, h->name))
            identity_add_group(&who, q->arena, value);
        else if (key)
            identity_add_extra(&who, q->arena, key, value);
    }
    identity_add_group(&who, q->arena,
        c_eq(who.name, "system:anonymous") ? "system:unauthenticated" : "system:authenticated");
    q->identity = who;
    return true;
}
