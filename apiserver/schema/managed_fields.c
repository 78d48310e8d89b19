/*
 * The entries of managedFields: their JSON, their order, and what an update does to them. See
 * managed_fields.h; apply is in managed_apply.c.
 */
#include "apiserver/schema/managed.h"

#include "common/time.h"

/* Update managers beyond these are merged into one. */
#define UPDATERS_MAX 10
#define OLD_UPDATERS "ancient-changes"
/* Entries of a list that a client makes up: real objects have below 20. */
#define SENT_MAX 1000

/* What is nobody's: the identity of an object and what the server keeps of it. */
#define STRIPPED(text, n)                                                        \
    {                                                                            \
        .name = {text, sizeof(text) - 1}, .next = n, .member = true, .kind = 'f' \
    }
static const struct field_set stripped_metadata[] = {
    STRIPPED("clusterName", &stripped_metadata[1]),
    STRIPPED("creationTimestamp", &stripped_metadata[2]),
    STRIPPED("generation", &stripped_metadata[3]),
    STRIPPED("managedFields", &stripped_metadata[4]),
    STRIPPED("name", &stripped_metadata[5]),
    STRIPPED("namespace", &stripped_metadata[6]),
    STRIPPED("resourceVersion", &stripped_metadata[7]),
    STRIPPED("selfLink", &stripped_metadata[8]),
    STRIPPED("uid", NULL),
};
static const struct field_set stripped[] = {
    STRIPPED("apiVersion", &stripped[1]),
    STRIPPED("kind", &stripped[2]),
    {.name = {"metadata", 8}, .child = stripped_metadata, .member = true, .kind = 'f'},
};
static const struct field_set status_set = {.name = {"status", 6}, .member = true, .kind = 'f'};

struct managed *managed_new(struct arena *a)
{
    struct managed *m = arena_zalloc(a, sizeof(*m));
    m->arena = a;
    return m;
}

size_t managed_count(const struct managed *m)
{
    return m->count;
}

struct managed_entry *managed_add(struct managed *m)
{
    if (m->count == m->capacity) {
        size_t capacity = m->capacity ? 2 * m->capacity : 8;
        struct managed_entry *entries = arena_new_array(m->arena, struct managed_entry, capacity);
        if (m->count > 0)
            memcpy(entries, m->entries, m->count * sizeof(*entries));
        m->entries = entries;
        m->capacity = capacity;
    }
    struct managed_entry *e = &m->entries[m->count++];
    *e = (struct managed_entry){0};
    return e;
}

void managed_remove(struct managed *m, size_t i)
{
    memmove(&m->entries[i], &m->entries[i + 1], (m->count - i - 1) * sizeof(*m->entries));
    m->count--;
}

const struct field_set *managed_set(struct managed *m, struct managed_entry *e)
{
    struct error err;
    if (!e->parsed && field_set_parse(m->arena, e->text, true, &e->set, &err) < 0)
        e->set = NULL;
    e->parsed = true;
    return e->set;
}

void managed_replace(struct managed_entry *e, const struct field_set *set)
{
    e->set = set;
    e->parsed = true;
    e->text = (struct str){0};
}

/* The same entry: for appliers in whichever version. */
static bool is_same(const struct managed_entry *a, const struct managed_entry *b)
{
    return a->applied == b->applied && str_eq(a->manager, b->manager) &&
           str_eq(a->subresource, b->subresource) &&
           (a->applied || str_eq(a->api_version, b->api_version));
}

struct managed_entry *managed_find(struct managed *m, const struct managed_entry *like)
{
    for (size_t i = 0; i < m->count; i++)
        if (is_same(&m->entries[i], like))
            return &m->entries[i];
    return NULL;
}

struct managed_entry managed_identity(
    struct managed *m, const struct managed_writer *w, bool applied)
{
    char now[TIME_TEXT_BYTES];
    return (struct managed_entry){
        .manager = str_of(*w->manager ? w->manager : "unknown"),
        .api_version = str_of(w->resource->group_version),
        .subresource = str_of(w->subresource),
        .time = arena_str(m->arena, str_of(time_print_s(w->now_ns, now))),
        .applied = applied,
    };
}

const struct field_set *managed_strip(
    struct managed *m, const struct managed_writer *w, const struct field_set *set)
{
    set = field_set_without(m->arena, set, stripped);
    if (!*w->subresource && w->resource->has_status)
        set = field_set_without_deep(m->arena, set, &status_set);
    return set;
}

/* --- the list as JSON --- */

struct scanner {
    struct arena *arena;
    struct str rest;
    bool trusted;
    struct error *err;
};

static bool scan_char(struct scanner *s, char c)
{
    s->rest = str_trim(s->rest);
    if (s->rest.n == 0 || s->rest.p[0] != c)
        return false;
    s->rest = str_range(s->rest.p + 1, s->rest.n - 1);
    return true;
}

/* The text of the next value. */
static int scan_value(struct scanner *s, struct str *ret)
{
    size_t end;
    s->rest = str_trim(s->rest);
    if (json_scan(s->rest, &end, s->err) < 0)
        return -(int)s->err->code;
    *ret = str_trim(str_range(s->rest.p, end));
    s->rest = str_range(s->rest.p + end, s->rest.n - end);
    return 0;
}

static int text_of(struct scanner *s, struct str value, struct str *ret)
{
    if (value.n < 2 || value.p[0] != '"')
        return error_set(s->err, ERR_BAD_REQUEST, "a string was expected in managedFields");
    *ret = str_range(value.p + 1, value.n - 2);
    if (!memchr(ret->p, '\\', ret->n))
        return 0;
    autojson cJSON *text = NULL;
    if (json_parse(value, &text, s->err) < 0)
        return -(int)s->err->code;
    *ret = arena_str(s->arena, str_of(text->valuestring));
    return 0;
}

/* What an entry says besides its set. */
struct entry_texts {
    struct str operation, fields_type, fields;
};

static int scan_member(struct scanner *s, struct managed_entry *e, struct entry_texts *t)
{
    struct str name, value;
    if (scan_value(s, &name) < 0 || !scan_char(s, ':') || scan_value(s, &value) < 0)
        return -1;
    if (str_eqc(value, "null"))
        return 0;
    const struct {
        const char *name;
        struct str *to;
    } members[] = {
        {"\"manager\"", &e->manager},
        {"\"operation\"", &t->operation},
        {"\"apiVersion\"", &e->api_version},
        {"\"time\"", &e->time},
        {"\"fieldsType\"", &t->fields_type},
        {"\"subresource\"", &e->subresource},
    };
    if (str_eqc(name, "\"fieldsV1\""))
        t->fields = value;
    for (size_t i = 0; i < ARRAY_COUNT(members); i++)
        if (str_eqc(name, members[i].name))
            return text_of(s, value, members[i].to);
    return 0;
}

/* Upstream decodes no list that has an entry like that. */
static int check_entry(struct scanner *s, struct managed_entry *e, const struct entry_texts *t)
{
    e->applied = str_eqc(t->operation, "Apply");
    e->text = t->fields;
    if (s->trusted)
        return 0;
    if (!e->applied && !str_eqc(t->operation, "Update"))
        return error_set(s->err, ERR_BAD_REQUEST, "operation must be `Apply` or `Update`");
    if (e->api_version.n == 0)
        return error_set(s->err, ERR_BAD_REQUEST, "apiVersion must not be empty");
    if (!str_eqc(t->fields_type, "FieldsV1"))
        return error_set(s->err, ERR_BAD_REQUEST, "fieldsType must be FieldsV1");
    int64_t at;
    char time[TIME_TEXT_BYTES];
    if (e->time.n > 0) {
        if (time_parse(e->time, &at, s->err) < 0)
            return -(int)s->err->code;
        e->time = arena_str(s->arena, str_of(time_print_s(at, time)));
    }
    e->parsed = true;
    if (t->fields.n == 0)
        return 0;
    if (field_set_parse(s->arena, t->fields, false, &e->set, s->err) < 0)
        return -(int)s->err->code;
    e->text = (struct str){0};
    return 0;
}

static int scan_entry(struct scanner *s, struct managed *m)
{
    struct managed_entry e = {0};
    struct entry_texts t = {0};
    if (!scan_char(s, '{'))
        return -1;
    if (!scan_char(s, '}')) {
        do {
            if (scan_member(s, &e, &t) < 0)
                return -1;
        } while (scan_char(s, ','));
        if (!scan_char(s, '}'))
            return -1;
    }
    if (check_entry(s, &e, &t) < 0)
        return -1;
    /* the later of two with one name; what was printed here names each once */
    struct managed_entry *old = s->trusted ? NULL : managed_find(m, &e);
    if (!s->trusted && m->count == SENT_MAX)
        return error_set(s->err, ERR_BAD_REQUEST, "more than %d managers", SENT_MAX);
    *(old ? old : managed_add(m)) = e;
    return 0;
}

int managed_parse(
    struct arena *a, struct str text, bool trusted, struct managed **ret, struct error *err)
{
    struct error why = {.code = ERR_BAD_REQUEST, .text = "managedFields is no list of entries"};
    struct scanner s = {.arena = a, .rest = text, .trusted = trusted, .err = &why};
    struct managed *m = managed_new(a);
    bool good = scan_char(&s, '[');
    if (good && !scan_char(&s, ']')) {
        do {
            good = scan_entry(&s, m) == 0;
        } while (good && scan_char(&s, ','));
        good = good && scan_char(&s, ']');
    }
    if (!good) {
        *err = why;
        return -(int)err->code;
    }
    *ret = m;
    return 0;
}

static int by_upstream_order(const void *x, const void *y)
{
    const struct managed_entry *a = x, *b = y;
    int order = (int)b->applied - (int)a->applied;
    if (!order)
        order = str_cmp(a->time, b->time);
    if (!order)
        order = str_cmp(a->manager, b->manager);
    if (!order)
        order = str_cmp(a->api_version, b->api_version);
    return order ? order : str_cmp(a->subresource, b->subresource);
}

static void print_text(const char *name, struct str value, struct strbuf *out)
{
    if (value.n == 0)
        return;
    strbuf_addc(out, name);
    json_print_string(value, out);
}

void managed_print_entry(struct managed *m, struct managed_entry *e, struct strbuf *out)
{
    (void)m;
    print_text("{\"manager\":", e->manager, out);
    strbuf_addc(out, e->manager.n > 0 ? ",\"operation\":\"" : "{\"operation\":\"");
    strbuf_addc(out, e->applied ? "Apply\"" : "Update\"");
    print_text(",\"apiVersion\":", e->api_version, out);
    print_text(",\"time\":", e->time, out);
    strbuf_addc(out, ",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
    if (e->text.n > 0)
        strbuf_add(out, e->text);
    else
        field_set_print(e->set, out);
    print_text(",\"subresource\":", e->subresource, out);
    strbuf_add_char(out, '}');
}

void managed_print(struct managed *m, struct strbuf *out)
{
    if (m->count > 1)
        qsort(m->entries, m->count, sizeof(*m->entries), by_upstream_order);
    strbuf_add_char(out, '[');
    for (size_t i = 0; i < m->count; i++) {
        if (i > 0)
            strbuf_add_char(out, ',');
        managed_print_entry(m, &m->entries[i], out);
    }
    strbuf_add_char(out, ']');
}

/* --- changes, in whichever version an entry is --- */

static const struct managed_version *compare_in(
    struct managed_changes *c, const struct resource *r, const cJSON *old, const cJSON *tree)
{
    struct managed_version *v = &c->versions[c->count++];
    v->resource = r;
    v->diff = field_compare(c->arena, r->schema, old, tree);
    v->touched = field_set_union(c->arena, v->diff.set[DIFF_ADDED], v->diff.set[DIFF_MODIFIED]);
    return v;
}

void managed_changes_init(struct managed_changes *c, struct arena *a,
    const struct managed_writer *w, const cJSON *old, const cJSON *tree)
{
    *c = (struct managed_changes){.arena = a, .writer = w, .old = old, .tree = tree};
    compare_in(c, w->resource, old, tree);
}

static cJSON *converted(
    const struct managed_changes *c, const cJSON *tree, const struct resource *to)
{
    struct error err;
    cJSON *copy = cJSON_Duplicate(tree, true);
    if (schema_convert(c->writer->resource, to, &copy, &err) == 0)
        return copy;
    cJSON_Delete(copy);
    return NULL;
}

static void delete_tree(void *tree)
{
    cJSON_Delete(tree);
}

const struct managed_version *managed_changes_in(struct managed_changes *c, struct str api_version)
{
    for (size_t i = 0; i < c->count; i++)
        if (str_eqc(api_version, c->versions[i].resource->group_version))
            return &c->versions[i];
    const struct resource *mine = c->writer->resource;
    const struct resource *other =
        api_find_kind(c->writer->api, arena_strdup(c->arena, api_version), mine->kind);
    if (!other || other->storage != mine->storage || c->count == ARRAY_COUNT(c->versions))
        return NULL;
    cJSON *old = c->old ? converted(c, c->old, other) : NULL;
    cJSON *tree = converted(c, c->tree, other);
    if (old)
        arena_on_free(c->arena, delete_tree, old);
    if (tree)
        arena_on_free(c->arena, delete_tree, tree);
    if (!tree || (c->old && !old))
        return NULL;
    return compare_in(c, other, old, tree);
}

/* Takes from each entry what was changed or removed by somebody else. */
void managed_take(struct managed *m, struct managed_changes *c, const struct managed_entry *but)
{
    for (size_t i = 0; i < m->count; i++) {
        struct managed_entry *e = &m->entries[i];
        if (but && is_same(e, but))
            continue;
        const struct managed_version *v = managed_changes_in(c, e->api_version);
        const struct field_set *set = v ? managed_set(m, e) : NULL, *lost = NULL;
        if (v) {
            lost = field_set_common(m->arena, set, v->touched);
            lost = field_set_union(
                m->arena, lost, field_set_common(m->arena, set, v->diff.set[DIFF_REMOVED]));
        }
        if (lost)
            managed_replace(e, field_set_without(m->arena, set, lost));
        if (!v || !managed_set(m, e))
            managed_remove(m, i--);
    }
}

/* --- update --- */

static int by_age(const void *x, const void *y)
{
    const struct managed_entry *const *a = x, *const *b = y;
    int order = str_cmp((*a)->time, (*b)->time);
    if (!order)
        order = str_cmp((*a)->manager, (*b)->manager);
    if (!order)
        order = str_cmp((*a)->api_version, (*b)->api_version);
    return order ? order : str_cmp((*a)->subresource, (*b)->subresource);
}

static bool is_dead(const struct managed_entry *e)
{
    return e->manager.n == 0 && e->parsed && !e->set && e->text.n == 0;
}

/* Merges the oldest Update managers, one bucket a version, until few enough are left. */
static void cap_updaters(struct managed *m)
{
    struct managed_entry **all, *first[8] = {0};
    size_t n = 0, left;
    all = arena_alloc(m->arena, (m->count + 1) * sizeof(struct managed_entry *));
    for (size_t i = 0; i < m->count; i++)
        if (!m->entries[i].applied)
            all[n++] = &m->entries[i];
    left = n;
    if (left <= UPDATERS_MAX)
        return;
    qsort(all, n, sizeof(struct managed_entry *), by_age);
    for (size_t i = 0; i < n && left > UPDATERS_MAX; i++) {
        size_t k = 0;
        while (k < ARRAY_COUNT(first) && first[k] &&
               !str_eq(first[k]->api_version, all[i]->api_version))
            k++;
        if (k == ARRAY_COUNT(first))
            continue;
        if (!first[k]) {
            first[k] = all[i];
            continue;
        }
        const struct field_set *both =
            field_set_union(m->arena, managed_set(m, first[k]), managed_set(m, all[i]));
        first[k]->manager = STR(OLD_UPDATERS);
        first[k]->subresource = (struct str){0};
        first[k]->time = all[i]->time; /* the more recent of the two */
        managed_replace(first[k], both);
        *all[i] = (struct managed_entry){.parsed = true};
        left--;
    }
    for (size_t i = 0; i < m->count; i++)
        if (is_dead(&m->entries[i]))
            managed_remove(m, i--);
}

/* The fields of a new object, as text, by its shape. */
static struct str created_fields(
    struct managed *m, const struct managed_writer *w, struct field_memo *memo, const cJSON *tree)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    uint64_t hash = 0;
    if (memo) {
        hash = field_shape_hash(
            field_memo_seed(memo) + w->resource->has_status, w->resource->schema, tree);
        if (field_memo_get(memo, hash, &text))
            return arena_str(m->arena, strbuf_str(&text));
    }
    struct field_diff d = field_compare(m->arena, w->resource->schema, NULL, tree);
    const struct field_set *set =
        field_set_union(m->arena, d.set[DIFF_ADDED], d.set[DIFF_MODIFIED]);
    field_set_print(managed_strip(m, w, set), &text);
    if (memo)
        field_memo_put(memo, hash, strbuf_str(&text));
    return arena_str(m->arena, strbuf_str(&text));
}

void managed_create(
    struct managed *m, const struct managed_writer *w, struct field_memo *memo, const cJSON *tree)
{
    struct managed_entry self = managed_identity(m, w, false);
    self.text = created_fields(m, w, memo, tree);
    if (!str_eqc(self.text, "{}"))
        *managed_add(m) = self;
}

bool managed_update(struct managed *m, const struct managed_writer *w, struct field_memo *memo,
    const cJSON *old, const cJSON *tree)
{
    struct managed_changes c;
    if (m->count == 0) {
        if (old)
            return false;
        managed_create(m, w, memo, tree);
        return true;
    }
    managed_changes_init(&c, m->arena, w, old, tree);
    const struct managed_version *mine = &c.versions[0];
    bool changed = false;
    for (int i = 0; i < DIFF_KINDS; i++)
        changed = changed || mine->diff.set[i];
    if (!changed)
        return false;
    managed_take(m, &c, NULL);
    struct managed_entry self = managed_identity(m, w, false);
    const struct field_set *set = managed_strip(m, w, mine->touched);
    if (set) {
        struct managed_entry *had = managed_find(m, &self);
        managed_replace(&self, set);
        if (had)
            managed_replace(&self, field_set_union(m->arena, managed_set(m, had), set));
        *(had ? had : managed_add(m)) = self;
    }
    cap_updaters(m);
    return true;
}
