/*
 * The resource blocks of .api files: names, verbs, subresources, columns, selectable fields.
 */
#include <ctype.h>

#include "apiserver/schema/parse.h"

static const struct {
    const char *word;
    unsigned verb;
} verb_words[] = {
    {"get", VERB_GET},
    {"list", VERB_LIST},
    {"watch", VERB_WATCH},
    {"create", VERB_CREATE},
    {"update", VERB_UPDATE},
    {"patch", VERB_PATCH},
    {"delete", VERB_DELETE},
    {"deletecollection", VERB_DELETECOLLECTION},
};
#define ALL_VERBS 255u

static int fail(struct parser *p, const char *what, struct str token)
{
    return error_set(p->err, ERR_INTERNAL, "%s:%zu: %s \"%.*s\"", p->file->name, p->line_number,
        what, STR_FMT(token));
}

static unsigned verb_of(struct str word)
{
    for (size_t i = 0; i < ARRAY_COUNT(verb_words); i++)
        if (str_eqc(word, verb_words[i].word))
            return verb_words[i].verb;
    return 0;
}

static const char *lower(struct parser *p, const char *s)
{
    char text[128];
    size_t n = strlen(s);
    assert(n < sizeof(text));
    for (size_t i = 0; i < n; i++)
        text[i] = (char)tolower((unsigned char)s[i]);
    return parser_intern(p, str_range(text, n));
}

static int read_attribute(struct parser *p, struct resource *r, struct str token)
{
    struct str value;
    if (str_eqc(token, "namespaced"))
        r->namespaced = true;
    else if (str_eqc(token, "cluster"))
        r->namespaced = false;
    else if (str_eqc(token, "generation"))
        r->has_generation = true;
    else if (str_eqc(token, "answered"))
        r->stored = false;
    else if (str_eqc(token, "internal"))
        r->internal = true;
    else if (parser_value(token, "short", &value))
        r->short_names = parser_names(p, value, ',');
    else if (parser_value(token, "categories", &value))
        r->categories = parser_names(p, value, ',');
    else if (parser_value(token, "stored-as", &value))
        r->storage_group_version = parser_intern(p, value);
    else if (parser_value(token, "name", &value))
        r->name_format = parser_intern(p, value);
    else if (parser_value(token, "update", &value) && (r->update_rule = update_find(value)))
        return 0;
    else
        return fail(p, "unknown attribute of a resource", token);
    return 0;
}

static int set_group(struct parser *p, struct resource *r)
{
    struct str gv = str_of(p->group_version);
    if (gv.n == 0)
        return fail(p, "a resource needs a group/version in the package line", gv);
    ssize_t slash = str_find(gv, '/');
    r->group_version = p->group_version;
    r->group = slash < 0 ? "" : parser_intern(p, str_range(gv.p, (size_t)slash));
    r->version = slash < 0
                     ? r->group_version
                     : parser_intern(p, str_range(gv.p + slash + 1, gv.n - (size_t)slash - 1));
    r->storage_group_version = r->group_version;
    return 0;
}

int parse_resource(struct parser *p, struct str line)
{
    struct str token, plural, kind;
    parser_token(&line, &token);
    if (!parser_token(&line, &plural) || !parser_token(&line, &kind))
        return fail(p, "a resource needs a plural and a kind", line);
    struct resource *r = p->resource = &p->api->resources[p->api->resource_count++];
    r->plural = parser_intern(p, plural);
    r->kind = parser_intern(p, kind);
    r->singular = lower(p, r->kind);
    r->list_kind = arena_printf(p->api->arena, "%sList", r->kind);
    r->verbs = ALL_VERBS;
    r->stored = true;
    r->name_format = "dns-subdomain";
    if (set_group(p, r) < 0)
        return -p->err->code;
    r->schema = parser_schema(p, p->package, kind);
    if (!r->schema)
        return fail(p, "unknown kind", kind);
    while (parser_token(&line, &token))
        if (read_attribute(p, r, token) < 0)
            return -p->err->code;
    if (!r->stored)
        r->verbs = VERB_CREATE;
    return 0;
}

/* sub NAME [connect] VERB... [kind KIND GROUPVERSION] */
static int read_subresource(struct parser *p, struct resource *r, struct str line)
{
    struct str token;
    struct subresource *s = &p->subresources[r->subresource_count];
    if (r->subresource_count == ARRAY_COUNT(p->subresources) || !parser_token(&line, &token))
        return fail(p, "bad subresource", line);
    *s = (struct subresource){
        .name = parser_intern(p, token), .kind = r->kind, .group_version = r->group_version};
    while (parser_token(&line, &token)) {
        unsigned verb = verb_of(token);
        if (str_eqc(token, "connect")) {
            s->connect = true;
        } else if (verb) {
            s->verbs |= verb;
        } else if (str_eqc(token, "kind")) {
            struct str kind, gv;
            if (!parser_token(&line, &kind) || !parser_token(&line, &gv))
                return fail(p, "kind of a subresource needs a name and a group/version", line);
            s->kind = parser_intern(p, kind);
            s->group_version = parser_intern(p, gv);
        } else {
            return fail(p, "unknown verb", token);
        }
    }
    if (!strcmp(s->name, "status"))
        r->has_status = true;
    struct subresource *all =
        arena_new_array(p->api->arena, struct subresource, r->subresource_count + 1);
    memcpy(all, p->subresources, (r->subresource_count + 1) * sizeof(*all));
    r->subresources = all;
    r->subresource_count++;
    return 0;
}

/* column NAME TYPE[:FORMAT] .path|=function [wide] */
static int read_column(struct parser *p, struct resource *r, struct str line)
{
    struct str name, type, source, token;
    struct column *c = &p->columns[r->column_count];
    if (r->column_count == ARRAY_COUNT(p->columns) || !parser_token(&line, &name) ||
        !parser_token(&line, &type) || !parser_token(&line, &source))
        return fail(p, "bad column", line);
    *c = (struct column){.name = parser_intern(p, name), .format = "", .help = ""};
    ssize_t colon = str_find(type, ':');
    if (colon > 0) {
        c->format = parser_intern(p, str_range(type.p + colon + 1, type.n - (size_t)colon - 1));
        type.n = (size_t)colon;
    }
    c->type = parser_intern(p, type);
    struct str rest = str_range(source.p + 1, source.n - 1);
    if (source.p[0] == '.')
        c->path = parser_intern(p, rest);
    else if (source.p[0] != '=' || !(c->cell = cell_find(rest)))
        return fail(p, "unknown column function", source);
    if (parser_token(&line, &token))
        c->priority = str_eqc(token, "wide");
    struct column *all = arena_new_array(p->api->arena, struct column, r->column_count + 1);
    memcpy(all, p->columns, (r->column_count + 1) * sizeof(*all));
    r->columns = all;
    r->column_count++;
    return 0;
}

/* fields NAME[=PATH]... */
static void read_selectable(struct parser *p, struct resource *r, struct str line)
{
    const char **names = arena_new_array(p->api->arena, const char *, 17);
    const char **paths = arena_new_array(p->api->arena, const char *, 17);
    struct str token;
    for (size_t n = 0; n < 16 && parser_token(&line, &token); n++) {
        ssize_t equals = str_find(token, '=');
        struct str name = equals < 0 ? token : str_range(token.p, (size_t)equals);
        struct str path =
            equals < 0 ? token : str_range(token.p + equals + 1, token.n - (size_t)equals - 1);
        names[n] = parser_intern(p, name);
        paths[n] = parser_intern(p, path);
    }
    r->selectable = names;
    r->selectable_paths = paths;
}

int parse_resource_line(struct parser *p, struct str line)
{
    struct resource *r = p->resource;
    struct str word, token;
    if (!r || !parser_token(&line, &word))
        return fail(p, "a line of no resource", line);
    if (str_eqc(word, "verbs")) {
        for (r->verbs = 0; parser_token(&line, &token); r->verbs |= verb_of(token))
            if (!verb_of(token))
                return fail(p, "unknown verb", token);
    } else if (str_eqc(word, "sub")) {
        return read_subresource(p, r, line);
    } else if (str_eqc(word, "column")) {
        return read_column(p, r, line);
    } else if (str_eqc(word, "fields")) {
        read_selectable(p, r, line);
    } else {
        return fail(p, "unknown line of a resource", word);
    }
    return 0;
}

static const struct schema *kind_schema(
    struct parser *p, const char *group_version, const char *kind)
{
    for (size_t i = 0; i < p->api->schema_count; i++) {
        const struct schema *s = &p->api->schemas[i];
        if (s->is_kind && s->group_version == group_version && !strcmp(s->name, kind))
            return s;
    }
    return NULL;
}

static const struct resource *storage_of(struct parser *p, const struct resource *r)
{
    for (size_t i = 0; i < p->api->resource_count; i++) {
        const struct resource *other = &p->api->resources[i];
        if (other->group_version == r->storage_group_version && other->plural == r->plural)
            return other;
    }
    return NULL;
}

int parse_link_resources(struct parser *p)
{
    struct api *api = p->api;
    for (size_t i = 0; i < api->resource_count; i++) {
        struct resource *r = &api->resources[i];
        r->storage = storage_of(p, r);
        if (!r->storage)
            return error_set(p->err, ERR_INTERNAL, "%s: no storage version", r->plural);
        for (size_t k = 0; k < r->subresource_count; k++) {
            struct subresource *s = (struct subresource *)&r->subresources[k];
            s->schema = kind_schema(p, s->group_version, s->kind);
            if (!s->schema)
                return error_set(p->err, ERR_INTERNAL, "%s/%s: unknown kind", r->plural, s->name);
        }
        if (r->stored && r->storage == r)
            r->id = (int)api->stored_count++;
    }
    for (size_t i = 0; i < api->resource_count; i++)
        if (api->resources[i].stored)
            api->resources[i].id = api->resources[i].storage->id;
    return 0;
}
