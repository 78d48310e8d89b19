/*
 * Objects: making the header and body from a tree or from a stored value, and sending them.
 *
 * One allocation holds, in this order: struct object, its labels, its selectable fields, the
 * strings that are not found verbatim in the body (escaped names; label values and fields, which
 * callers want NUL-terminated), and the body. Names and label keys point into the body. Frequent
 * field values ("Running", "default-scheduler") are constants.
 *
 * Both ways in (object_new, object_from_value) fill a `struct plan`, which assemble() turns into
 * the object. The stored form is
 *
 *     1 | flags | creation_ns (8) | fingerprint of the selectable paths (4) | spans | name pieces |
 * labels | fields | body
 *
 * with varints, where a piece is a place in the body or the bytes themselves. When the fingerprint
 * is another one (an upgrade added a selectable path) the body is parsed once more instead.
 */
#include "apiserver/cache/object.h"

#include <assert.h>

#include "common/limits.h"
#include "common/time.h"

#define VALUE_FORMAT 1
#define VALUE_DELETING 1
#define BODY_START "{\"metadata\":{"
#define PIECES_ON_STACK 48
#define FIELDS_MAX 16

struct piece {
    bool in_body;
    uint32_t offset, length; /* offset: in_body */
    const char *text;        /* otherwise */
};

struct plan {
    int64_t creation_ns;
    bool deleting;
    struct piece namespace_, name, uid;
    struct span metadata, spec, status;
    struct piece *labels; /* key, value, key, value ...; sorted by key */
    size_t label_count;
    struct piece *fields;
    size_t field_count;
    struct str body;
};

/* What a selectable path means when it is absent or not a path of the JSON form. */
static const struct {
    const char *path, *json_path, *absent;
} field_rules[] = {
    {"spec.hostNetwork", "spec.hostNetwork", "false"},
    {"spec.unschedulable", "spec.unschedulable", "false"},
    {"status.replicas", "status.replicas", "0"},
    {"status.successful", "status.succeeded", "0"},
    {"source", "source.component", ""},
};

#define FREQUENT(text)         \
    {                          \
        text, sizeof(text) - 1 \
    }
static const struct str frequent_values[] = {FREQUENT(""), FREQUENT("Running"), FREQUENT("Pending"),
    FREQUENT("Succeeded"), FREQUENT("Failed"), FREQUENT("Always"), FREQUENT("Never"),
    FREQUENT("OnFailure"), FREQUENT("default-scheduler"), FREQUENT("default"), FREQUENT("false"),
    FREQUENT("true"), FREQUENT("Active"), FREQUENT("0"), FREQUENT("Opaque"), FREQUENT("Normal"),
    FREQUENT("Warning")};

static const char *frequent_value(const char *text, size_t n)
{
    for (size_t i = 0; i < ARRAY_COUNT(frequent_values); i++)
        if (frequent_values[i].n == n && memcmp(frequent_values[i].p, text, n) == 0)
            return frequent_values[i].p;
    return NULL;
}

/* The fields in an object's header. */
static const char *const *carried_of(const struct resource *r)
{
    return r->custom ? r->carried : r->selectable;
}

static size_t selectable_count(const struct resource *r)
{
    const char *const *carried = carried_of(r);
    size_t n = 0;

    while (carried && carried[n])
        n++;
    return n;
}

/* Of what a stored value depends on: the fields in its header, and a custom kind's schema. */
static uint32_t value_fingerprint(const struct resource *r)
{
    uint32_t h = 2166136261u ^ r->fingerprint;

    const char *const *carried = carried_of(r);

    for (size_t i = 0; carried && carried[i]; i++)
        for (const char *p = carried[i];; p++) {
            h = (h ^ (uint8_t)*p) * 16777619u;
            if (!*p)
                break;
        }
    return h;
}

/* --- from a plan to an object --- */

static struct str place(const struct piece *p, char *body, char **extra, bool terminate)
{
    const char *from = p->in_body ? body + p->offset : p->text;
    const char *frequent;
    char *to = *extra;

    if (p->in_body && !terminate)
        return str_range(from, p->length);
    if (terminate && (frequent = frequent_value(from, p->length)))
        return str_range(frequent, p->length);
    if (p->length)
        memcpy(to, from, p->length);
    to[p->length] = '\0';
    *extra += p->length + 1;
    return str_range(to, p->length);
}

static size_t place_bytes(const struct piece *p, const char *body, bool terminate)
{
    const char *from = p->in_body ? body + p->offset : p->text;

    if (terminate ? frequent_value(from, p->length) != NULL : p->in_body)
        return 0;
    return p->length + 1;
}

static struct object *assemble(const struct resource *r, const struct plan *plan)
{
    size_t extra_bytes = place_bytes(&plan->namespace_, plan->body.p, false) +
                         place_bytes(&plan->name, plan->body.p, false) +
                         place_bytes(&plan->uid, plan->body.p, false);
    size_t table_bytes =
        plan->label_count * sizeof(struct object_label) + plan->field_count * sizeof(struct str);

    for (size_t i = 0; i < 2 * plan->label_count; i++)
        extra_bytes += place_bytes(&plan->labels[i], plan->body.p, i % 2 == 1);
    for (size_t i = 0; i < plan->field_count; i++)
        extra_bytes += place_bytes(&plan->fields[i], plan->body.p, true);

    struct object *o =
        (struct object *)xmalloc(sizeof(*o) + table_bytes + extra_bytes + plan->body.n);
    struct object_label *labels = (struct object_label *)(o + 1);
    struct str *fields = (struct str *)(labels + plan->label_count);
    char *extra = (char *)(fields + plan->field_count);
    char *body = extra + extra_bytes;

    memcpy(body, plan->body.p, plan->body.n);
    resource_hold(r);
    *o = (struct object){
        .refs = 1,
        .label_count = (uint16_t)plan->label_count,
        .field_count = (uint16_t)plan->field_count,
        .resource = r,
        .creation_ns = plan->creation_ns,
        .deleting = plan->deleting,
        .metadata = plan->metadata,
        .spec = plan->spec,
        .status = plan->status,
        .labels = labels,
        .fields = fields,
        .body = str_range(body, plan->body.n),
    };
    o->namespace_ = place(&plan->namespace_, body, &extra, false);
    o->name = place(&plan->name, body, &extra, false);
    o->uid = place(&plan->uid, body, &extra, false);
    for (size_t i = 0; i < plan->label_count; i++) {
        labels[i].key = place(&plan->labels[2 * i], body, &extra, false);
        labels[i].value = place(&plan->labels[2 * i + 1], body, &extra, true);
    }
    for (size_t i = 0; i < plan->field_count; i++)
        fields[i] = place(&plan->fields[i], body, &extra, true);
    assert(extra == body);
    return o;
}

/* --- from a tree --- */

/* Prints a string and says where its text is: in the body unless it needed escapes. */
static struct piece print_string(struct strbuf *body, const char *text)
{
    size_t n = strlen(text), start = body->n;

    json_print_string(str_range(text, n), body);
    if (body->n == start + n + 2)
        return (struct piece){
            .in_body = true, .offset = (uint32_t)start + 1, .length = (uint32_t)n};
    return (struct piece){.text = text, .length = (uint32_t)n};
}

static void print_key(struct strbuf *body, const char *key, bool *first)
{
    if (!*first)
        strbuf_add_char(body, ',');
    *first = false;
    json_print_string(str_of(key), body);
    strbuf_add_char(body, ':');
}

static struct str piece_str(const struct piece *p, const struct strbuf *body)
{
    return str_range(p->in_body ? body->data + p->offset : p->text, p->length);
}

static void print_labels(struct plan *plan, const cJSON *labels, struct strbuf *body)
{
    bool first = true;
    size_t count = (size_t)cJSON_GetArraySize(labels), n = 0;

    plan->labels = (struct piece *)xcalloc(2 * count + 1, sizeof(struct piece));
    strbuf_add_char(body, '{');
    for (const cJSON *l = labels->child; l; l = l->next) {
        if (!first)
            strbuf_add_char(body, ',');
        first = false;
        struct piece key = print_string(body, l->string);

        strbuf_add_char(body, ':');
        if (!cJSON_IsString(l) || n >= UINT16_MAX) {
            json_print(l, body);
            continue;
        }
        struct piece value = print_string(body, l->valuestring);
        size_t i = n++;

        if (strbuf_overflowed(body)) /* offsets would lie; the object is refused anyway */
            continue;
        for (;
             i > 0 && str_cmp(piece_str(&plan->labels[2 * i - 2], body), piece_str(&key, body)) > 0;
             i--)
            memcpy(&plan->labels[2 * i], &plan->labels[2 * i - 2], 2 * sizeof(struct piece));
        plan->labels[2 * i] = key;
        plan->labels[2 * i + 1] = value;
    }
    strbuf_add_char(body, '}');
    plan->label_count = n;
}

static void print_metadata(struct plan *plan, const cJSON *metadata, struct strbuf *body)
{
    bool first = true;

    strbuf_add_char(body, '{');
    for (const cJSON *m = metadata ? metadata->child : NULL; m; m = m->next) {
        struct piece *piece = NULL;

        if (c_eq(m->string, "resourceVersion"))
            continue;
        print_key(body, m->string, &first);
        if (c_eq(m->string, "name"))
            piece = &plan->name;
        else if (c_eq(m->string, "namespace"))
            piece = &plan->namespace_;
        else if (c_eq(m->string, "uid"))
            piece = &plan->uid;
        if (piece && cJSON_IsString(m)) {
            *piece = print_string(body, m->valuestring);
            continue;
        }
        if (c_eq(m->string, "labels") && cJSON_IsObject(m) && !plan->labels) {
            print_labels(plan, m, body);
            continue;
        }
        if (c_eq(m->string, "deletionTimestamp") && cJSON_IsString(m))
            plan->deleting = true;
        if (c_eq(m->string, "creationTimestamp") && cJSON_IsString(m)) {
            struct error ignored;

            time_parse(str_of(m->valuestring), &plan->creation_ns, &ignored);
        }
        json_print(m, body);
    }
    strbuf_add_char(body, '}');
}

static struct span span_from(size_t start, const struct strbuf *body)
{
    return (struct span){.offset = (uint32_t)start, .length = (uint32_t)(body->n - start)};
}

static void print_body(struct plan *plan, const cJSON *tree, struct strbuf *body)
{
    bool first = false;

    strbuf_addc(body, "{\"metadata\":");
    size_t start = body->n;

    print_metadata(plan, json_get(tree, "metadata"), body);
    plan->metadata = span_from(start, body);
    for (const cJSON *m = tree->child; m; m = m->next) {
        if (c_eq(m->string, "metadata") || c_eq(m->string, "kind") || c_eq(m->string, "apiVersion"))
            continue;
        print_key(body, m->string, &first);
        start = body->n;
        json_print(m, body);
        if (c_eq(m->string, "spec"))
            plan->spec = span_from(start, body);
        else if (c_eq(m->string, "status"))
            plan->status = span_from(start, body);
    }
    strbuf_add_char(body, '}');
}

static struct piece constant_piece(const char *text)
{
    return (struct piece){.text = text, .length = (uint32_t)strlen(text)};
}

/* The value of one selectable path as text; numbers are printed into *numbers, which outlives the
 * plan. */
static struct piece field_piece(const cJSON *tree, const char *path, char number[24])
{
    const char *json = path, *absent = "";
    int64_t value;

    for (size_t i = 0; i < ARRAY_COUNT(field_rules); i++)
        if (c_eq(field_rules[i].path, path)) {
            json = field_rules[i].json_path;
            absent = field_rules[i].absent;
        }
    const cJSON *item = json_path(tree, json);

    if (c_eq(path, "source") && (!cJSON_IsString(item) || !item->valuestring[0]))
        item = json_path(tree, "reportingComponent");
    if (cJSON_IsString(item))
        return constant_piece(item->valuestring);
    if (cJSON_IsBool(item))
        return constant_piece(cJSON_IsTrue(item) ? "true" : "false");
    if (json_int64(item, &value)) {
        snprintf(number, 24, "%lld", (long long)value);
        return constant_piece(number);
    }
    return constant_piece(absent);
}

int object_new(const struct resource *r, const cJSON *tree, struct object **ret, struct error *err)
{
    struct plan plan = {.field_count = selectable_count(r)};
    autofree char *numbers = (char *)xcalloc(plan.field_count + 1, 24);
    autofree struct piece *fields = (struct piece *)xcalloc(plan.field_count + 1, sizeof(*fields));
    autostrbuf struct strbuf body;

    assert(plan.field_count <= FIELDS_MAX);
    strbuf_init(&body, LIMIT_OBJECT_BYTES);
    print_body(&plan, tree, &body);
    if (strbuf_overflowed(&body) || plan.label_count > UINT16_MAX) {
        free(plan.labels);
        return error_set(err, ERR_TOO_LARGE,
            "the object is larger than %u bytes as it would be stored", LIMIT_OBJECT_BYTES);
    }
    for (size_t i = 0; i < plan.field_count; i++)
        fields[i] = field_piece(tree, carried_of(r)[i], numbers + 24 * i);
    plan.fields = fields;
    plan.body = strbuf_str(&body);
    *ret = assemble(r, &plan);
    free(plan.labels);
    return 0;
}

/* --- references --- */

struct object *object_ref(const struct object *o)
{
    struct object *mine = (struct object *)o;

    if (mine)
        __atomic_fetch_add(&mine->refs, 1, __ATOMIC_RELAXED);
    return mine;
}

void object_unref(const struct object *o)
{
    struct object *mine = (struct object *)o;

    if (!mine || __atomic_fetch_sub(&mine->refs, 1, __ATOMIC_ACQ_REL) > 1)
        return;
    const struct resource *r = mine->resource;

    free(mine);
    resource_drop(r);
}

size_t object_bytes(const struct object *o)
{
    return (size_t)(o->body.p + o->body.n - (const char *)o);
}

static struct str moved(struct str s, const struct object *from, const struct object *to)
{
    const char *start = (const char *)from;

    if (s.p >= start && s.p <= start + object_bytes(from))
        s.p = (const char *)to + (s.p - start);
    return s;
}

struct object *object_at_revision(const struct object *o, int64_t revision)
{
    size_t bytes = object_bytes(o);
    struct object *copy = (struct object *)xmalloc(bytes);
    struct object_label *labels = (struct object_label *)(copy + 1);
    struct str *fields = (struct str *)(labels + o->label_count);

    memcpy(copy + 1, o + 1, bytes - sizeof(*o));
    resource_hold(o->resource);
    *copy = (struct object){
        .refs = 1,
        .label_count = o->label_count,
        .field_count = o->field_count,
        .resource = o->resource,
        .revision = revision,
        .creation_ns = o->creation_ns,
        .deleting = o->deleting,
        .metadata = o->metadata,
        .spec = o->spec,
        .status = o->status,
        .namespace_ = moved(o->namespace_, o, copy),
        .name = moved(o->name, o, copy),
        .uid = moved(o->uid, o, copy),
        .labels = labels,
        .fields = fields,
        .body = moved(o->body, o, copy),
    };
    for (size_t i = 0; i < o->label_count; i++)
        labels[i] = (struct object_label){
            moved(o->labels[i].key, o, copy), moved(o->labels[i].value, o, copy)};
    for (size_t i = 0; i < o->field_count; i++)
        fields[i] = moved(o->fields[i], o, copy);
    return copy;
}

/* --- sending --- */

/* "metadata":{ with the resourceVersion first, up to where the body's own members go on. */
static void splice_version(const struct object *o, struct strbuf *out)
{
    char text[24];
    int64_t revision = object_revision(o);
    bool empty = o->metadata.length == 2;

    if (!revision)
        return;
    int n = snprintf(text, sizeof(text), "%lld", (long long)revision);

    strbuf_add(out, STR("\"resourceVersion\":\""));
    strbuf_add(out, str_range(text, (size_t)n));
    strbuf_add(out, empty ? STR("\"") : STR("\","));
}

static void add_rest(const struct object *o, struct strbuf *out)
{
    size_t skip = sizeof(BODY_START) - 1;

    splice_version(o, out);
    strbuf_add(out, str_range(o->body.p + skip, o->body.n - skip));
}

void object_encode(const struct object *o, struct strbuf *out)
{
    strbuf_add(out, STR("{\"kind\":\""));
    strbuf_addc(out, o->resource->kind);
    strbuf_add(out, STR("\",\"apiVersion\":\""));
    strbuf_addc(out, o->resource->group_version);
    strbuf_add(out, STR("\",\"metadata\":{"));
    add_rest(o, out);
}

void object_encode_item(const struct object *o, struct strbuf *out)
{
    strbuf_add(out, STR(BODY_START));
    add_rest(o, out);
}

void object_encode_metadata(const struct object *o, struct strbuf *out)
{
    strbuf_add_char(out, '{');
    splice_version(o, out);
    strbuf_add(out, str_range(o->body.p + o->metadata.offset + 1, o->metadata.length - 1));
}

/* The member is the last of metadata, and its name in quotes stands nowhere else: within strings
 * quotes are escaped. */
#define MANAGED_START ",\"managedFields\":"

struct str object_managed_fields(const struct object *o)
{
    const char *metadata = o->body.p + o->metadata.offset, *end = metadata + o->metadata.length - 1;
    size_t n = sizeof(MANAGED_START) - 1;
    const char *start = memmem(metadata, o->metadata.length, MANAGED_START "[", n + 1);

    return start ? str_range(start + n, (size_t)(end - start) - n) : (struct str){0};
}

static cJSON *parse_encoded(const struct strbuf *text)
{
    struct error err;
    cJSON *tree = NULL;
    int failed = json_parse(strbuf_str(text), &tree, &err);

    assert(!failed); /* it was printed from a tree that had passed the same limits */
    return tree;
}

cJSON *object_tree(const struct object *o)
{
    autostrbuf struct strbuf text;

    strbuf_init(&text, 0);
    object_encode(o, &text);
    return parse_encoded(&text);
}

cJSON *object_tree_bare(const struct object *o)
{
    struct str managed = object_managed_fields(o);
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (managed.n == 0)
        return object_tree(o);
    object_encode(o, &text);
    /* behind the list the encoded text is the body's */
    size_t behind = (size_t)(o->body.p + o->body.n - (managed.p + managed.n));
    size_t cut = managed.n + sizeof(MANAGED_START) - 1;
    char *end = text.data + text.n - behind;

    memmove(end - cut, end, behind);
    text.n -= cut;
    text.data[text.n] = '\0';
    return parse_encoded(&text);
}

/* --- the stored form --- */

static void put_varint(struct strbuf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        strbuf_add_char(out, (char)(v | 0x80));
    strbuf_add_char(out, (char)v);
}

static void put_fixed(struct strbuf *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        strbuf_add_char(out, (char)(v >> (8 * i)));
}

static void put_piece(struct strbuf *out, const struct object *o, struct str s)
{
    bool in_body = s.p >= o->body.p && s.p + s.n <= o->body.p + o->body.n;

    put_varint(out, (uint64_t)s.n << 1 | (in_body ? 0 : 1));
    if (in_body)
        put_varint(out, (uint64_t)(s.p - o->body.p));
    else
        strbuf_add(out, s);
}

static void put_span(struct strbuf *out, struct span s)
{
    put_varint(out, s.offset);
    put_varint(out, s.length);
}

void object_to_value(const struct object *o, struct strbuf *out)
{
    put_fixed(out, VALUE_FORMAT, 1);
    put_fixed(out, o->deleting ? VALUE_DELETING : 0, 1);
    put_fixed(out, (uint64_t)o->creation_ns, 8);
    put_fixed(out, value_fingerprint(o->resource), 4);
    put_span(out, o->metadata);
    put_span(out, o->spec);
    put_span(out, o->status);
    put_piece(out, o, o->namespace_);
    put_piece(out, o, o->name);
    put_piece(out, o, o->uid);
    put_varint(out, o->label_count);
    for (size_t i = 0; i < o->label_count; i++) {
        put_piece(out, o, o->labels[i].key);
        put_piece(out, o, o->labels[i].value);
    }
    put_varint(out, o->field_count);
    for (size_t i = 0; i < o->field_count; i++)
        put_piece(out, o, o->fields[i]);
    strbuf_add(out, o->body);
}

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static uint64_t get_fixed(struct reader *in, int bytes)
{
    uint64_t v = 0;

    if (in->end - in->p < bytes) {
        in->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)in->p[i] << (8 * i);
    in->p += bytes;
    return v;
}

static uint32_t get_varint(struct reader *in)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 35; shift += 7) {
        uint8_t byte = (uint8_t)get_fixed(in, 1);

        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            in->bad |= v > UINT32_MAX;
            return (uint32_t)v;
        }
    }
    in->bad = true;
    return 0;
}

static struct piece get_piece(struct reader *in)
{
    uint32_t head = get_varint(in);
    struct piece piece = {.length = head >> 1, .in_body = !(head & 1)};

    if (piece.in_body) {
        piece.offset = get_varint(in);
    } else if ((size_t)(in->end - in->p) < piece.length) {
        in->bad = true;
    } else {
        piece.text = (const char *)in->p;
        in->p += piece.length;
    }
    return piece;
}

static struct span get_span(struct reader *in)
{
    uint32_t offset = get_varint(in);

    return (struct span){.offset = offset, .length = get_varint(in)};
}

static bool span_fits(struct span s, struct str body)
{
    return (uint64_t)s.offset + s.length <= body.n;
}

static bool pieces_fit(const struct piece *pieces, size_t count, struct str body)
{
    for (size_t i = 0; i < count; i++)
        if (pieces[i].in_body && (uint64_t)pieces[i].offset + pieces[i].length > body.n)
            return false;
    return true;
}

static bool plan_fits(const struct plan *plan)
{
    return plan->body.n >= sizeof(BODY_START) &&
           memcmp(plan->body.p, BODY_START, sizeof(BODY_START) - 1) == 0 &&
           span_fits(plan->metadata, plan->body) && plan->metadata.length >= 2 &&
           span_fits(plan->spec, plan->body) && span_fits(plan->status, plan->body) &&
           pieces_fit(&plan->namespace_, 1, plan->body) && pieces_fit(&plan->name, 1, plan->body) &&
           pieces_fit(&plan->uid, 1, plan->body) &&
           pieces_fit(plan->labels, 2 * plan->label_count, plan->body) &&
           pieces_fit(plan->fields, plan->field_count, plan->body);
}

/* Labels and fields into `room`, or a bigger array that the caller frees. Counts are bounded by the
 * bytes that are left. */
static struct piece *read_pieces(struct reader *in, struct plan *plan, struct piece *room)
{
    struct piece *pieces = room;
    size_t left;

    plan->label_count = get_varint(in);
    left = (size_t)(in->end - in->p);
    if (in->bad || plan->label_count > UINT16_MAX || 4 * plan->label_count > left) {
        in->bad = true;
        return room;
    }
    if (2 * plan->label_count + FIELDS_MAX > PIECES_ON_STACK)
        pieces = (struct piece *)xcalloc(2 * plan->label_count + FIELDS_MAX, sizeof(*pieces));
    for (size_t i = 0; i < 2 * plan->label_count; i++)
        pieces[i] = get_piece(in);
    plan->labels = pieces;
    plan->field_count = get_varint(in);
    if (plan->field_count > FIELDS_MAX) {
        in->bad = true;
        return pieces;
    }
    plan->fields = pieces + 2 * plan->label_count;
    for (size_t i = 0; i < plan->field_count; i++)
        plan->fields[i] = get_piece(in);
    return pieces;
}

static int reparse(
    const struct resource *r, struct str body, struct object **ret, struct error *err)
{
    autojson cJSON *tree = NULL;

    if (json_parse(body, &tree, err) < 0)
        return error_wrap(err, "stored object");
    schema_refresh(r, tree);
    return object_new(r, tree, ret, err);
}

int object_from_value(const struct resource *r, struct str value, int64_t revision,
    struct object **ret, struct error *err)
{
    struct reader in = {.p = (const uint8_t *)value.p, .end = (const uint8_t *)value.p + value.n};
    struct piece room[PIECES_ON_STACK];
    struct plan plan = {0};
    struct object *o = NULL;
    int result = 0;

    if (get_fixed(&in, 1) != VALUE_FORMAT)
        return error_set(err, ERR_INTERNAL, "stored object of an unknown format");
    plan.deleting = get_fixed(&in, 1) & VALUE_DELETING;
    plan.creation_ns = (int64_t)get_fixed(&in, 8);
    uint32_t fingerprint = (uint32_t)get_fixed(&in, 4);

    plan.metadata = get_span(&in);
    plan.spec = get_span(&in);
    plan.status = get_span(&in);
    plan.namespace_ = get_piece(&in);
    plan.name = get_piece(&in);
    plan.uid = get_piece(&in);
    struct piece *pieces = read_pieces(&in, &plan, room);

    plan.body = str_range((const char *)in.p, (size_t)(in.end - in.p));
    if (in.bad || !plan_fits(&plan))
        result = error_set(err, ERR_INTERNAL, "stored object is damaged");
    else if (fingerprint != value_fingerprint(r))
        result = reparse(r, plan.body, &o, err);
    else
        o = assemble(r, &plan);
    if (pieces != room)
        free(pieces);
    if (result < 0)
        return result;
    o->revision = revision;
    *ret = o;
    return 0;
}

/* --- selectors --- */

/* What follows a JSON value that is known to be one. */
static const char *skip_value(const char *p, const char *end)
{
    int depth = 0;
    bool quoted = false;

    for (; p < end; p++) {
        if (quoted) {
            if (*p == '\\')
                p++;
            else if (*p == '"')
                quoted = false;
        } else if (*p == '"') {
            quoted = true;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if ((*p == '}' || *p == ']') && depth-- == 0) {
            return p;
        } else if (*p == ',' && depth == 0) {
            return p;
        }
    }
    return end;
}

/* The text of a member's value; empty when there is none. */
static struct str member_text(struct str object, struct str name)
{
    const char *p = object.p + 1, *end = object.p + object.n;

    while (p < end && *p == '"') {
        const char *colon = p + 2 + name.n, *close = p + 1 + name.n;
        bool mine = close < end && *close == '"' && !memcmp(p + 1, name.p, name.n);

        if (!mine) {
            const char *q = p + 1;

            while (q < end && *q != '"')
                q += *q == '\\' ? 2 : 1;
            colon = q + 1;
        }
        if (colon >= end)
            break;
        const char *after = skip_value(colon + 1, end);

        if (mine)
            return str_range(colon + 1, (size_t)(after - colon - 1));
        p = after + 1;
    }
    return STR("");
}

/* A field that the header does not carry, because the object was written before its definition
 * named it: read from the body. Strings with escapes are compared as they are written. */
static struct str field_in_body(const struct object *o, const char *path)
{
    struct str value = o->body, rest = str_of(path), part;

    while (str_split(&rest, '.', &part)) {
        if (value.n == 0 || value.p[0] != '{')
            return STR("");
        value = member_text(value, part);
    }
    if (value.n >= 2 && value.p[0] == '"')
        return str_range(value.p + 1, value.n - 2);
    return value.n && strchr("{[n", value.p[0]) ? STR("") : value;
}

const char *object_label_get(const void *object, const char *key)
{
    const struct object *o = (const struct object *)object;
    struct str wanted = str_of(key);

    for (size_t i = 0; i < o->label_count; i++)
        if (str_eq(o->labels[i].key, wanted))
            return o->labels[i].value.p;
    return NULL;
}

bool object_field_get(const struct object *o, const char *path, struct str *ret)
{
    if (c_eq(path, "metadata.name")) {
        *ret = o->name;
        return true;
    }
    if (c_eq(path, "metadata.namespace")) {
        *ret = o->namespace_;
        return true;
    }
    for (size_t i = 0; i < o->field_count; i++)
        if (c_eq(carried_of(o->resource)[i], path)) {
            *ret = o->fields[i];
            return true;
        }
    if (!o->resource->custom)
        return false;
    *ret = field_in_body(o, path);
    return true;
}
