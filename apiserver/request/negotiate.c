/*
 * Accept and Content-Type. See negotiate.h.
 *
 * Objects are answered as JSON or YAML; protobuf is passed over, as every client that asks for it
 * also names JSON. `as=` asks for another form of get, list and watch: a Table, or metadata alone.
 */
#include "apiserver/request/negotiate.h"

#include "apiserver/request/route.h"

#define MEDIA_TYPES "application/json, application/yaml"

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

size_t accept_parse(struct str header, struct accept_clause *ret, size_t max)
{
    struct str part;
    size_t n = 0;

    while (n < max && str_split(&header, ',', &part)) {
        struct accept_clause c;
        if (!parse_clause(part, &c))
            continue;
        size_t at = n++;
        for (; at > 0 && ret[at - 1].q < c.q; at--)
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

/* Takes the clause if it can be served. */
static bool take_clause(struct request *q, const struct accept_clause *c)
{
    bool is_read = c_eq(q->verb, "get") || c_eq(q->verb, "list") || c_eq(q->verb, "watch");
    enum form form = FORM_OBJECT;

    if (c->as.n > 0) {
        if (!is_read || q->subresource || !str_eqc(c->group, "meta.k8s.io"))
            return false;
        if (str_eqc(c->as, "Table"))
            form = FORM_TABLE;
        else if (str_eqc(c->as, "PartialObjectMetadata") ||
                 str_eqc(c->as, "PartialObjectMetadataList"))
            form = FORM_METADATA;
        else
            return false;
        if (!str_eqc(c->version, "v1") && !str_eqc(c->version, "v1beta1"))
            return false;
    }
    if (accept_covers(c, "application/json"))
        q->media = MEDIA_JSON;
    else if (accept_covers(c, "application/yaml") && !c_eq(q->verb, "watch"))
        q->media = MEDIA_YAML;
    else
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
    return request_fail(
        q, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: " MEDIA_TYPES);
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
