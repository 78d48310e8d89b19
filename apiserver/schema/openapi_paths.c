/*
 * The paths of a resource, with one operation a verb: parameters, bodies, answers, and the
 * extensions by which kubectl finds the kind and learns whether fieldValidation and dryRun are
 * understood.
 */
#include "apiserver/schema/openapi.h"

#include <ctype.h>

struct operation {
    unsigned verb;
    const char *method, *action;
    bool has_body, writes;
};

static const struct operation on_collection[] = {
    {VERB_LIST, "get", "list", false, false},
    {VERB_CREATE, "post", "post", true, true},
    {VERB_DELETECOLLECTION, "delete", "deletecollection", false, false},
};

static const struct operation on_object[] = {
    {VERB_GET, "get", "get", false, false},
    {VERB_UPDATE, "put", "put", true, true},
    {VERB_CREATE, "post", "post", true, true},
    {VERB_DELETE, "delete", "delete", false, false},
    {VERB_PATCH, "patch", "patch", true, true},
};

struct writer {
    struct openapi *o;
    struct strbuf *out;
    const struct resource *r;
    const struct subresource *sub; /* or NULL */
    const char *kind, *group_version;
    const struct schema *schema;
    bool all_namespaces;
};

static void query(struct writer *w, const char *name, const char *type, const char *help)
{
    if (w->o->version == 3)
        strbuf_addf(w->out,
            "{\"name\":\"%s\",\"in\":\"query\",\"description\":\"%s\",\"schema\":{\"type\":\"%s\","
            "\"uniqueItems\":true}}",
            name, help, type);
    else
        strbuf_addf(w->out,
            "{\"name\":\"%s\",\"in\":\"query\",\"description\":\"%s\",\"type\":\"%s\","
            "\"uniqueItems\":true}",
            name, help, type);
}

static void path_parameter(struct writer *w, const char *name, const char *help)
{
    if (w->o->version == 3)
        strbuf_addf(w->out,
            "{\"name\":\"%s\",\"in\":\"path\",\"description\":\"%s\",\"required\":true,"
            "\"schema\":{\"type\":\"string\",\"uniqueItems\":true}}",
            name, help);
    else
        strbuf_addf(w->out,
            "{\"name\":\"%s\",\"in\":\"path\",\"description\":\"%s\",\"required\":true,"
            "\"type\":\"string\",\"uniqueItems\":true}",
            name, help);
}

static void comma(struct writer *w)
{
    char last = w->out->data[w->out->n - 1];
    if (last != '[' && last != '{')
        strbuf_add_char(w->out, ',');
}

static const char *body_definition(const struct writer *w, const struct operation *op)
{
    return op->verb == VERB_PATCH ? DEFINITION_META ".Patch" : w->schema->definition;
}

static void body_v2(struct writer *w, const struct operation *op)
{
    comma(w);
    strbuf_addc(w->out, "{\"name\":\"body\",\"in\":\"body\",\"required\":true,\"schema\":");
    openapi_write_ref(w->o, body_definition(w, op));
    strbuf_addc(w->out, "}");
}

static const struct {
    const char *name, *type, *help;
} list_parameters[] = {
    {"allowWatchBookmarks", "boolean", "Ask for bookmark events while watching."},
    {"continue", "string", "The token of the next page, from the page before."},
    {"fieldSelector", "string", "Only objects whose fields match."},
    {"labelSelector", "string", "Only objects whose labels match."},
    {"limit", "integer", "The most objects to answer in one page."},
    {"resourceVersion", "string", "How new the answer has to be."},
    {"resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."},
    {"sendInitialEvents", "boolean", "Begin a watch with the objects there are."},
    {"timeoutSeconds", "integer", "End the call after this time."},
    {"watch", "boolean", "Stream changes instead of answering a list."},
};

static void parameters(struct writer *w, const struct operation *op)
{
    strbuf_addc(w->out, "\"parameters\":[");
    if (op->verb == VERB_LIST || op->verb == VERB_DELETECOLLECTION)
        for (size_t i = 0; i < ARRAY_COUNT(list_parameters); i++) {
            comma(w);
            query(w, list_parameters[i].name, list_parameters[i].type, list_parameters[i].help);
        }
    if (op->has_body && w->o->version == 2)
        body_v2(w, op);
    if (op->writes || op->verb == VERB_DELETE || op->verb == VERB_DELETECOLLECTION) {
        comma(w);
        query(w, "dryRun", "string", "All: do everything but keep nothing.");
    }
    if (op->writes) {
        comma(w);
        query(w, "fieldManager", "string", "Who makes the change.");
        comma(w);
        query(w, "fieldValidation", "string",
            "Strict, Warn or Ignore: what to do about unknown and duplicate fields.");
    }
    if (op->verb == VERB_PATCH) {
        comma(w);
        query(w, "force", "boolean", "Take over fields that others own (server-side apply).");
    }
    if (op->verb == VERB_DELETE || op->verb == VERB_DELETECOLLECTION) {
        comma(w);
        query(w, "gracePeriodSeconds", "integer", "How long the object may take to stop.");
        comma(w);
        query(w, "propagationPolicy", "string", "Orphan, Background or Foreground.");
    }
    strbuf_addc(w->out, "]");
}

static void response(struct writer *w, const struct operation *op)
{
    strbuf_addc(w->out, "\"responses\":{\"200\":{\"description\":\"OK\",");
    strbuf_addc(w->out,
        w->o->version == 3 ? "\"content\":{\"application/json\":{\"schema\":" : "\"schema\":");
    if (op->verb == VERB_LIST) {
        autofree char *list = str_format("%sList", w->schema->definition);
        openapi_write_ref(w->o, list);
    } else if (op->verb == VERB_DELETE || op->verb == VERB_DELETECOLLECTION) {
        openapi_write_ref(w->o, DEFINITION_META ".Status");
    } else {
        openapi_write_ref(w->o, w->schema->definition);
    }
    strbuf_addc(w->out, w->o->version == 3 ? "}}}}" : "}}");
}

static void request_body_v3(struct writer *w, const struct operation *op)
{
    static const char *const patches[] = {"application/apply-patch+yaml",
        "application/json-patch+json", "application/merge-patch+json",
        "application/strategic-merge-patch+json", NULL};
    static const char *const bodies[] = {"*/*", NULL};
    strbuf_addc(w->out, "\"requestBody\":{\"required\":true,\"content\":{");
    for (const char *const *t = op->verb == VERB_PATCH ? patches : bodies; *t; t++) {
        if (w->r->custom && strstr(*t, "strategic"))
            continue; /* clients look here for what a kind takes */
        comma(w);
        strbuf_addf(w->out, "\"%s\":{\"schema\":", *t);
        openapi_write_ref(w->o, body_definition(w, op));
        strbuf_addc(w->out, "}");
    }
    strbuf_addc(w->out, "}},");
}

/* "listCoreV1NamespacedPod" */
static void operation_id(struct writer *w, const struct operation *op, bool many)
{
    static const struct {
        const char *action, *word;
    } words[] = {{"get", "read"}, {"post", "create"}, {"put", "replace"},
        {"deletecollection", "deleteCollection"}};
    const char *verb = op->action, *group = *w->r->group ? w->r->group : "core";
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (!strcmp(words[i].action, op->action))
            verb = words[i].word;
    strbuf_addf(w->out, "\"operationId\":\"%s%c", verb, toupper((unsigned char)group[0]));
    for (const char *p = group + 1; *p && *p != '.'; p++)
        strbuf_add_char(w->out, *p);
    strbuf_addf(w->out, "%c%s%s%s", toupper((unsigned char)w->r->version[0]), w->r->version + 1,
        w->r->namespaced && !w->all_namespaces ? "Namespaced" : "", w->r->kind);
    if (w->sub)
        strbuf_addf(w->out, "%c%s", toupper((unsigned char)w->sub->name[0]), w->sub->name + 1);
    strbuf_addf(w->out, "%s\",", w->all_namespaces && many ? "ForAllNamespaces" : "");
}

static void write_operation(struct writer *w, const struct operation *op, bool many)
{
    const char *slash = strchr(w->group_version, '/');
    comma(w);
    strbuf_addf(w->out, "\"%s\":{", op->method);
    strbuf_addf(w->out, "\"description\":\"%s %s\",", op->action, many ? w->r->plural : w->kind);
    operation_id(w, op, many);
    if (w->o->version == 2 && op->verb == VERB_PATCH)
        strbuf_addc(w->out,
            w->r->custom
                ? "\"consumes\":[\"application/json-patch+json\",\"application/merge-patch+json\","
                  "\"application/apply-patch+yaml\"],"
                : "\"consumes\":[\"application/json-patch+json\",\"application/merge-patch+json\","
                  "\"application/strategic-merge-patch+json\",\"application/apply-patch+yaml\"],");
    if (op->has_body && w->o->version == 3)
        request_body_v3(w, op);
    parameters(w, op);
    strbuf_addc(w->out, ",");
    response(w, op);
    strbuf_addf(w->out,
        ",\"x-kubernetes-action\":\"%s\",\"x-kubernetes-group-version-kind\":{\"group\":\"%.*s\","
        "\"kind\":\"%s\",\"version\":\"%s\"}}",
        op->action, slash ? (int)(slash - w->group_version) : 0, w->group_version, w->kind,
        slash ? slash + 1 : w->group_version);
}

static void write_item(
    struct writer *w, const char *path, unsigned verbs, bool many, openapi_path_fn *fn, void *arg)
{
    const struct operation *ops = many ? on_collection : on_object;
    size_t count = many ? ARRAY_COUNT(on_collection) : ARRAY_COUNT(on_object);
    struct strbuf *before = w->o->out, item;
    strbuf_init(&item, 0);
    w->o->out = w->out = &item;
    strbuf_addc(&item, "{");
    for (size_t i = 0; i < count; i++)
        if ((verbs & ops[i].verb) && !(w->all_namespaces && ops[i].verb != VERB_LIST))
            write_operation(w, &ops[i], many);
    comma(w);
    strbuf_addc(&item, "\"parameters\":[");
    if (strstr(path, "{name}"))
        path_parameter(w, "name", "The name of the object.");
    if (strstr(path, "{namespace}")) {
        comma(w);
        path_parameter(w, "namespace", "The namespace of the object.");
    }
    strbuf_addc(&item, "]}");
    fn(arg, path, strbuf_str(&item));
    strbuf_done(&item);
    w->o->out = before;
}

void openapi_each_path(struct openapi *o, const struct resource *r, openapi_path_fn *fn, void *arg)
{
    struct writer w = {
        .o = o, .r = r, .kind = r->kind, .group_version = r->group_version, .schema = r->schema};
    autofree char *root = str_format("/%s/%s", *r->group ? "apis" : "api", r->group_version);
    autofree char *many =
        str_format("%s%s/%s", root, r->namespaced ? "/namespaces/{namespace}" : "", r->plural);
    autofree char *one = str_format("%s/{name}", many);
    openapi_want(o, r->schema);
    write_item(&w, many, r->verbs, true, fn, arg);
    if (r->verbs & (VERB_GET | VERB_UPDATE | VERB_PATCH | VERB_DELETE))
        write_item(&w, one, r->verbs & ~(unsigned)VERB_CREATE, false, fn, arg);
    for (size_t i = 0; i < r->subresource_count; i++) {
        const struct subresource *s = &r->subresources[i];
        if (s->connect)
            continue;
        autofree char *path = str_format("%s/%s", one, s->name);
        struct writer sub = {.o = o,
            .r = r,
            .sub = s,
            .kind = s->kind,
            .group_version = s->group_version,
            .schema = s->schema};
        openapi_want(o, s->schema);
        write_item(&sub, path, s->verbs, false, fn, arg);
    }
    if (!r->namespaced || !(r->verbs & VERB_LIST))
        return;
    autofree char *everywhere = str_format("%s/%s", root, r->plural);
    w.all_namespaces = true;
    write_item(&w, everywhere, r->verbs, true, fn, arg);
}
