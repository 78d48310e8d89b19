/*
 * managedFields in the generic write: who a writer is, what becomes of the list that is stored or
 * sent, and how it gets back into the tree.
 *
 * Trees of a write carry no managedFields: the stored list stays text until it is known that the
 * write touches something. It is tracked once, when the tree is defaulted and before admission:
 * what the server itself fills in belongs to nobody.
 *
 * Upstream: managedfields/fieldmanager.go (decodeLiveOrNew), handlers/fieldmanager/equality.go.
 */
#include "apiserver/schema/managed_fields.h"

#include "apiserver/registry/generic/change.h"
#include "apiserver/server.h"

#define MANAGER_BYTES_MAX 128

/* The client's name for itself: of its User-Agent what stands before the first slash. */
static const char *agent_name(struct request *q)
{
    struct str agent = request_header(q, "User-Agent"), name;
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (q->trusted)
        return "skiff-apiserver";
    if (!str_split(&agent, '/', &name))
        return "";
    for (size_t i = 0; i < name.n && text.n < MANAGER_BYTES_MAX; i++)
        if ((unsigned char)name.p[i] >= 0x20 && name.p[i] != 0x7f)
            strbuf_add_char(&text, name.p[i]);
    return arena_strdup(q->arena, strbuf_str(&text));
}

struct managed_writer write_writer(const struct object_write *o)
{
    struct request *q = o->request;

    return (struct managed_writer){
        .manager = *o->field_manager ? o->field_manager : agent_name(q),
        .subresource = q->subresource ? q->subresource_name : "",
        .resource = o->resource,
        .api = q->api,
        .now_ns = o->context.now_ns,
    };
}

static struct str stored_list(const struct object_write *o)
{
    return o->base ? object_managed_fields(o->base) : (struct str){0};
}

static struct managed *stored(const struct object_write *o)
{
    struct managed *m;
    struct error err;
    struct str list = stored_list(o);

    if (list.n == 0 || managed_parse(o->request->arena, list, true, &m, &err) < 0)
        return managed_new(o->request->arena);
    return m;
}

/* What the client sent takes the place of what is stored, when it makes sense. [{}] empties it. */
static struct managed *sent_or_stored(
    const struct object_write *o, const cJSON *sent, bool *ret_replaced)
{
    struct arena *a = o->request->arena;
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct managed *m;
    struct error err;

    *ret_replaced = false;
    if (!cJSON_IsArray(sent) || !sent->child || o->request->subresource)
        return stored(o);
    if (!sent->child->next && cJSON_IsObject(sent->child) && !sent->child->child) {
        *ret_replaced = true;
        return managed_new(a);
    }
    json_print(sent, &text);
    if (str_eq(strbuf_str(&text), stored_list(o)) ||
        managed_parse(a, arena_str(a, strbuf_str(&text)), false, &m, &err) < 0 ||
        managed_count(m) == 0)
        return stored(o);
    *ret_replaced = true;
    return m;
}

static void keep_printed(struct object_write *o, struct managed *m)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    managed_print(m, &text);
    o->managed = arena_str(o->request->arena, strbuf_str(&text));
    o->managed_set = true;
}

void write_track(struct object_write *o)
{
    struct write_context *w = &o->context;
    struct request *q = o->request;
    cJSON *metadata = json_get(w->tree, "metadata");
    autojson cJSON *sent =
        metadata ? cJSON_DetachItemFromObjectCaseSensitive(metadata, "managedFields") : NULL;
    bool replaced;

    /* binding, eviction and their like are the server's own doing */
    if (o->managed_set || (q->subresource && c_eq(q->verb, "create")))
        return;
    schema_normalise(o->resource->schema, w->tree);
    struct managed *m = sent_or_stored(o, sent, &replaced);
    struct managed_writer writer = write_writer(o);
    if (managed_update(m, &writer, q->server->field_memo, w->old, w->tree) || replaced)
        keep_printed(o, m);
}

void write_put_managed(const struct object_write *o, cJSON *tree)
{
    struct str list = o->managed_set ? o->managed : stored_list(o);
    cJSON *metadata = json_get(tree, "metadata");

    if (!metadata)
        return;
    json_remove(metadata, "managedFields");
    if (list.n <= 2) /* [] */
        return;
    char *text = str_dup(list);
    cJSON_AddItemToObject(metadata, "managedFields", cJSON_CreateRaw(text));
    free(text);
}

/* --- writes that change nothing --- */

#define TIME_MEMBER "\"time\":\""

/* Equal lists but for the times: members of that name are strings nowhere else. */
static bool is_same_list(struct str a, struct str b)
{
    size_t n = sizeof(TIME_MEMBER) - 1;

    while (a.n > 0 && b.n > 0) {
        if (str_starts(a, STR(TIME_MEMBER)) && str_starts(b, STR(TIME_MEMBER))) {
            const char *end_a = memchr(a.p + n, '"', a.n - n),
                       *end_b = memchr(b.p + n, '"', b.n - n);
            if (!end_a || !end_b)
                return false;
            a = str_range(end_a, (size_t)(a.p + a.n - end_a));
            b = str_range(end_b, (size_t)(b.p + b.n - end_b));
        }
        if (*a.p != *b.p)
            return false;
        a = str_range(a.p + 1, a.n - 1);
        b = str_range(b.p + 1, b.n - 1);
    }
    return a.n == 0 && b.n == 0;
}

bool write_is_noop(const struct object_write *o)
{
    struct str was = o->base->body, is = o->next->body;
    struct str old = object_managed_fields(o->base), new = object_managed_fields(o->next);

    if (str_eq(was, is))
        return true;
    if (old.n == 0 || new.n == 0)
        return false;
    size_t before = (size_t)(old.p - was.p), behind = was.n - before - old.n;
    return before == (size_t)(new.p - is.p) && behind == is.n - before - new.n &&
           !memcmp(was.p, is.p, before) && !memcmp(old.p + old.n, new.p + new.n, behind) &&
           is_same_list(old, new);
}
