/*
 * Accept and Content-Type. See negotiate.h.
 *
 * The first clause that can be served wins, in the order of q and, for equal ones, of how exact
 * they are. `as=` asks for another form: a Table (never in protobuf), or metadata alone. Custom
 * kinds have protobuf for their metadata only. Upstream: endpoints/handlers/negotiation.
 */
#include "apiserver/request/negotiate.h"

#include "apiserver/registry/registry.h"
#include "apiserver/request/route.h"
#include "apiserver/schema/protobuf.h"

#define MEDIA_TYPES "application/json, application/yaml, application/vnd.kubernetes.protobuf"
#define STREAM_TYPES \
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"

/* "0.75" -> 750; anything odd counts as 1. */
static int parse_q(struct str s)
{
    int value = 0, scale = 100;

    if (s.n == 0 || (s.p[0] != '0' && s.p[0] != '1'))
        return 1000;
    if (s.p[0] == '1')
        return 1000;
    for (size_t i = 2; i < s.n && i < 5; i++, scale /= 10)
        if (s.p[i] >= '0' && s.p[i] <= '9')
            value += (s.p[i] - '0') * scale;
    return value;
}

static struct str unquote(struct str s)
{
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        return str_range(s.p + 1, s.n - 2);
    return s;
}

static bool parse_clause(struct str text, struct accept_clause *ret)
{
    struct str part;

    *ret = (struct accept_clause){.q = 1000};
    if (!str_split(&text, ';', &part))
        return false;
    ret->type = str_trim(part);
    if (str_find(ret->type, '/') < 0)
        return false;
    while (str_split(&text, ';', &part)) {
        ssize_t equals = str_find(part, '=');
        if (equals < 0)
            continue;
        struct str name = str_trim(str_range(part.p, (size_t)equals));
        struct str value =
            unquote(str_trim(str_range(part.p + equals + 1, part.n - (size_t)equals - 1)));
        if (str_eqc(name, "q"))
            ret->q = parse_q(value);
        else if (str_eqc(name, "as"))
            ret->as = value;
        else if (str_eqc(name, "g"))
            ret->group = value;
        else if (str_eqc(name, "v"))
            ret->version = value;
        else if (str_eqc(name, "profile"))
            ret->profile = value;
    }
    return ret->q > 0;
}

static int exactness(const struct accept_clause *c)
{
    return str_eqc(c->type, "*/*") ? 0 : str_ends(c->type, STR("/*")) ? 1 : 2;
}

static bool is_liked_more(const struct accept_clause *a, const struct accept_clause *b)
{
    return a->q != b->q ? a->q > b->q : exactness(a) > exactness(b);
}

size_t accept_parse(struct str header, struct accept_clause *ret, size_t max)
{
    struct str part;
    size_t n = 0;

    while (n < max && str_split(&header, ',', &part)) {
        struct accept_clause c;
        if (!parse_clause(part, &c))
            continue;
        size_t at = n++;
        for (; at > 0 && is_liked_more(&c, &ret[at - 1]); at--)
            ret[at] = ret[at - 1];
        ret[at] = c;
    }
    return n;
}

bool accept_covers(const struct accept_clause *c, const char *type)
{
    struct str wanted = str_of(type);

    if (str_eqc(c->type, "*/*") || str_eq_nocase(c->type, wanted))
        return true;
    return str_eqc(c->type, "application/*") && str_starts(wanted, STR("application/"));
}

bool accepts_gzip(const struct request *q)
{
    struct str header = request_header(q, "Accept-Encoding"), part;

    while (str_split(&header, ',', &part)) {
        struct str name = part, parameter = {0};
        ssize_t semicolon = str_find(part, ';');
        if (semicolon >= 0) {
            name = str_range(part.p, (size_t)semicolon);
            parameter = str_trim(str_range(part.p + semicolon + 1, part.n - (size_t)semicolon - 1));
        }
        if (!str_eqc(str_trim(name), "gzip"))
            continue;
        return !str_starts(parameter, STR("q=")) ||
               parse_q(str_range(parameter.p + 2, parameter.n - 2)) > 0;
    }
    return false;
}

/* What a clause covers, the server's own order first. */
static bool find_media(const struct accept_clause *c, bool yaml, bool protobuf, enum media *ret)
{
    const bool served[] = {[MEDIA_JSON] = true, [MEDIA_YAML] = yaml, [MEDIA_PROTOBUF] = protobuf};

    for (enum media m = MEDIA_JSON; m <= MEDIA_PROTOBUF; m++)
        if (served[m] && accept_covers(c, media_type(m))) {
            *ret = m;
            return true;
        }
    return false;
}

static bool find_form(const struct request *q, const struct accept_clause *c, enum form *ret)
{
    *ret = FORM_OBJECT;
    if (c->as.n == 0)
        return true;
    if (q->subresource || !str_eqc(c->group, "meta.k8s.io") ||
        (!str_eqc(c->version, "v1") && !str_eqc(c->version, "v1beta1")))
        return false;
    if (str_eqc(c->as, "Table"))
        *ret = FORM_TABLE;
    else if (str_eqc(c->as, "PartialObjectMetadata") || str_eqc(c->as, "PartialObjectMetadataList"))
        *ret = FORM_METADATA;
    return *ret != FORM_OBJECT;
}

/* Kinds that are made up on asking are there as JSON only. */
static bool is_shown(const struct request *q)
{
    return q->resource && q->resource->strategy && q->resource->strategy->show;
}

/* Takes the clause if it can be served. */
static bool take_clause(struct request *q, const struct accept_clause *c)
{
    enum form form;
    bool protobuf;

    if (is_shown(q))
        return c->as.n == 0 && find_media(c, false, false, &q->media);
    if (!find_form(q, c, &form))
        return false;
    protobuf = form == FORM_METADATA ||
               (form == FORM_OBJECT && (!q->resource || schema_has_protobuf(q->resource->schema)));
    if (!find_media(c, !c_eq(q->verb, "watch"), protobuf, &q->media))
        return false;
    q->form = form;
    if (form != FORM_OBJECT)
        q->form_version = str_eqc(c->version, "v1") ? "v1" : "v1beta1";
    return true;
}

static bool is_raw_answer(const struct request *q)
{
    return q->subresource && q->subresource_name &&
           (c_eq(q->subresource_name, "log") || c_eq(q->subresource_name, "proxy"));
}

enum stage_result negotiate_stage(struct request *q)
{
    struct accept_clause clauses[ACCEPT_CLAUSES_MAX];
    struct str header = request_header(q, "Accept");

    if (header.n == 0 || is_raw_answer(q))
        return STAGE_DONE;
    size_t n = accept_parse(header, clauses, ARRAY_COUNT(clauses));
    for (size_t i = 0; i < n; i++)
        if (take_clause(q, &clauses[i]))
            return STAGE_DONE;
    return request_fail(q, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: %s",
        c_eq(q->verb, "watch") ? STREAM_TYPES : MEDIA_TYPES);
}

void negotiate_error(struct request *q)
{
    struct accept_clause clauses[ACCEPT_CLAUSES_MAX];
    size_t n = accept_parse(request_header(q, "Accept"), clauses, ARRAY_COUNT(clauses));

    q->media = MEDIA_JSON;
    for (size_t i = 0; i < n; i++)
        if (clauses[i].as.n == 0 && find_media(&clauses[i], true, true, &q->media))
            return;
}

enum body_type body_type_of(const struct request *q, bool otherwise_json)
{
    static const struct {
        const char *name;
        enum body_type type;
    } types[] = {
        {"application/json", BODY_JSON},
        {"application/yaml", BODY_YAML},
        {"application/vnd.kubernetes.protobuf", BODY_PROTOBUF},
        {"application/json-patch+json", BODY_JSON_PATCH},
        {"application/merge-patch+json", BODY_MERGE_PATCH},
        {"application/strategic-merge-patch+json", BODY_STRATEGIC_PATCH},
        {"application/apply-patch+yaml", BODY_APPLY_PATCH},
    };
    struct str header = request_header(q, "Content-Type");
    ssize_t semicolon = str_find(header, ';');

    if (semicolon >= 0)
        header.n = (size_t)semicolon;
    header = str_trim(header);
    if (header.n == 0)
        return otherwise_json ? BODY_JSON : BODY_OTHER;
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        if (str_eq_nocase(header, str_of(types[i].name)))
            return types[i].type;
    return BODY_OTHER;
}
