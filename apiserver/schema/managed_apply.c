/*
 * Server-side apply: the manager owns what its configuration names, the object gets it, and what
 * the manager named before and nobody else owns goes. See managed_fields.h.
 *
 * Conflicts: what the merge changes and another manager owns. kubectl may take over what its own
 * client-side apply had set: the fields of the last-applied annotation that still have the value
 * written there are no conflicts for the manager "kubectl".
 *
 * Upstream: structured-merge-diff's merge.Updater.Apply; managedfields' lastappliedmanager.go,
 * skipnonapplied.go, fieldmanager.go (NewConflictError).
 */
#include "apiserver/schema/managed.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define BEFORE_FIRST_APPLY "before-first-apply"
#define MIGRATING_MANAGER "kubectl"
/* Conflicts that an answer lists. */
#define CAUSES_MAX 1000

/* Top-level members that a write of this path leaves alone. */
static const struct field_set *reset(
    struct managed *m, const struct managed_writer *w, const struct field_set *set)
{
    const struct field_set *kept = NULL;
    if (c_eq(w->subresource, "status")) {
        for (; set; set = set->next)
            if (str_eqc(set->name, "metadata") || str_eqc(set->name, "status"))
                field_set_push(m->arena, &kept, 'f', set->name, set->member, set->child);
        field_set_sort(&kept);
        set = kept;
    }
    return managed_strip(m, w, set);
}

static int refuse(struct managed *m, enum err code, const struct strbuf *text,
    struct managed_refusal *why, struct error *err)
{
    why->message = arena_strdup(m->arena, strbuf_str(text));
    return error_set(err, code, "%s", why->message);
}

static int bad_config(struct managed *m, const struct managed_writer *w, const cJSON *config,
    const struct strbuf *errors, struct managed_refusal *why, struct error *err)
{
    const char *ns = json_string_at(config, "metadata.namespace");
    const char *name = json_string_at(config, "metadata.name");
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct str rest = strbuf_str(errors), line;
    bool several = memchr(errors->data, '\n', errors->n - 1);
    strbuf_addf(&text, "failed to create typed patch object (%s/%s; %s/%s, Kind=%s): %s",
        ns ? ns : "", name ? name : "", w->resource->group, w->resource->version, w->resource->kind,
        several ? "errors:" : "");
    while (str_split(&rest, '\n', &line))
        if (line.n > 0)
            strbuf_addf(&text, "%s%.*s", several ? "\n  " : "", STR_FMT(line));
    return refuse(m, ERR_INTERNAL, &text, why, err);
}

/* Whoever changed the object before anybody applied to it. */
static void own_the_past(struct managed *m, const struct managed_writer *w, const cJSON *live)
{
    struct managed_writer past = *w;
    past.manager = BEFORE_FIRST_APPLY;
    managed_create(m, &past, NULL, live);
}

/* The fields of the entries [from, to) but one; by halves, so that many cost n log n. */
static const struct field_set *owned_by(
    struct managed *m, size_t from, size_t to, const struct managed_entry *but)
{
    if (from == to)
        return NULL;
    if (to - from == 1)
        return &m->entries[from] == but ? NULL : managed_set(m, &m->entries[from]);
    size_t middle = from + (to - from) / 2;
    return field_set_union(m->arena, owned_by(m, from, middle, but), owned_by(m, middle, to, but));
}

int managed_merge(struct managed *m, const struct managed_writer *w, const cJSON *live, cJSON *tree,
    const cJSON *config, struct managed_refusal *why, struct error *err)
{
    autostrbuf struct strbuf errors = STRBUF_EMPTY;
    const struct schema *s = w->resource->schema;
    struct managed_entry self = managed_identity(m, w, true);
    const struct field_set *set = field_set_of_tree(m->arena, s, config, &errors);
    if (errors.n > 0)
        return bad_config(m, w, config, &errors, why, err);
    if (live && m->count == 0)
        own_the_past(m, w, live);
    struct managed_entry *had = managed_find(m, &self);
    const struct field_set *last = had ? managed_set(m, had) : NULL;
    m->applied = reset(m, w, set);
    m->config = config;
    apply_merge(m->arena, s, tree, config);
    if (!last)
        return 0;
    const struct field_set *others = owned_by(m, 0, m->count, had);
    apply_prune(m->arena, s, tree, last, field_set_union(m->arena, m->applied, others));
    return 0;
}

/* --- conflicts --- */

struct conflict {
    struct managed_entry *entry;
    const struct field_set *set;
};

static struct conflict *find_conflicts(
    struct managed *m, struct managed_changes *c, const struct managed_entry *self, size_t *ret_n)
{
    struct conflict *found = arena_new_array(m->arena, struct conflict, m->count + 1);
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct managed_entry *e = &m->entries[i];
        if (e->applied && str_eq(e->manager, self->manager) &&
            str_eq(e->subresource, self->subresource))
            continue;
        const struct managed_version *v = managed_changes_in(c, e->api_version);
        const struct field_set *set =
            v ? field_set_common(m->arena, managed_set(m, e), v->touched) : NULL;
        if (set)
            found[n++] = (struct conflict){e, set};
    }
    *ret_n = n;
    return found;
}

/* What kubectl's client-side apply had set and nobody has changed since. */
static const struct field_set *migrated_fields(
    struct managed *m, const struct managed_writer *w, const cJSON *live)
{
    const cJSON *annotations = json_path(live, "metadata.annotations");
    const char *text = annotations ? json_string(annotations, LAST_APPLIED) : NULL;
    autostrbuf struct strbuf errors = STRBUF_EMPTY;
    struct error err;
    cJSON *last = NULL;
    if (!text || json_parse(str_of(text), &last, &err) < 0)
        return NULL;
    /* sets point into it */
    arena_on_free(m->arena, (void (*)(void *))cJSON_Delete, last);
    if (!c_eq(json_string(last, "apiVersion"), w->resource->group_version))
        return NULL;
    const struct field_set *set = field_set_of_tree(m->arena, w->resource->schema, last, &errors);
    if (errors.n > 0)
        return NULL;
    struct field_diff d = field_compare(m->arena, w->resource->schema, last, live);
    for (int i = 0; i < DIFF_KINDS; i++)
        set = field_set_without(m->arena, set, d.set[i]);
    return set;
}

/* A conflict's manager, as upstream names it. */
static char *manager_text(struct managed *m, const struct managed_entry *e)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    json_print_string(e->manager, &text);
    if (e->subresource.n > 0) {
        strbuf_addc(&text, " with subresource ");
        json_print_string(e->subresource, &text);
    }
    if (!e->applied)
        strbuf_addf(&text, " using %.*s", STR_FMT(e->api_version));
    return arena_strdup(m->arena, strbuf_str(&text));
}

struct listing {
    cJSON *causes;
    struct strbuf *paths;
    const char *manager;
    size_t count;
};

static void list_path(void *arg, const char *path)
{
    struct listing *l = arg;
    if (l->count++ >= CAUSES_MAX)
        return;
    cJSON *cause = cJSON_CreateObject();
    autofree char *message = str_format("conflict with %s", l->manager);
    json_set_string(cause, "reason", "FieldManagerConflict");
    json_set_string(cause, "message", message);
    json_set_string(cause, "field", path);
    cJSON_AddItemToArray(l->causes, cause);
    strbuf_addf(l->paths, "\n- %s", path);
}

static int by_manager(const void *x, const void *y)
{
    const struct conflict *a = x, *b = y;
    int order = str_cmp(a->entry->manager, b->entry->manager);
    return order ? order : str_cmp(a->entry->subresource, b->entry->subresource);
}

static int conflict_text(struct managed *m, struct conflict *list, size_t n,
    struct managed_refusal *why, struct error *err)
{
    autostrbuf struct strbuf paths = STRBUF_EMPTY, text = STRBUF_EMPTY;
    struct listing l = {.causes = cJSON_CreateArray(), .paths = &paths};
    qsort(list, n, sizeof(*list), by_manager);
    for (size_t i = 0; i < n; i++) {
        l.manager = manager_text(m, list[i].entry);
        strbuf_addf(&paths, "%sconflicts with %s:", i > 0 ? "\n" : "", l.manager);
        field_set_each(list[i].set, list_path, &l);
    }
    if (l.count == 1)
        strbuf_addf(&text, "Apply failed with 1 conflict: conflict with %s: %s", l.manager,
            json_string(l.causes->child, "field"));
    else
        strbuf_addf(&text, "Apply failed with %zu conflicts: %s", l.count, paths.data);
    why->causes = l.causes;
    return refuse(m, ERR_CONFLICT, &text, why, err);
}

static int check_conflicts(struct managed *m, const struct managed_writer *w,
    struct managed_changes *c, const struct managed_entry *self, struct managed_refusal *why,
    struct error *err)
{
    size_t n, left = 0;
    struct conflict *list = find_conflicts(m, c, self, &n);
    if (n > 0 && c_eq(w->manager, MIGRATING_MANAGER)) {
        const struct field_set *mine = migrated_fields(m, w, c->old);
        for (size_t i = 0; i < n; i++) {
            list[left] = list[i];
            list[left].set = field_set_without(m->arena, list[i].set, mine);
            left += list[left].set != NULL;
        }
        n = left;
    }
    return n > 0 ? conflict_text(m, list, n, why, err) : 0;
}

int managed_own(struct managed *m, const struct managed_writer *w, const cJSON *live,
    const cJSON *tree, bool force, struct managed_refusal *why, struct error *err)
{
    struct managed_entry self = managed_identity(m, w, true);
    struct managed_changes c;
    managed_changes_init(&c, m->arena, w, live, tree);
    if (!force && live && check_conflicts(m, w, &c, &self, why, err) < 0)
        return -(int)err->code;
    managed_take(m, &c, &self);
    struct managed_entry *had = managed_find(m, &self);
    if (!m->applied) {
        if (had)
            managed_remove(m, (size_t)(had - m->entries));
        return 0;
    }
    bool changed = !live || !had || !str_eq(had->api_version, self.api_version);
    for (int i = 0; i < DIFF_KINDS; i++)
        changed = changed || c.versions[0].diff.set[i];
    if (!changed) {
        autostrbuf struct strbuf was = STRBUF_EMPTY, is = STRBUF_EMPTY;
        field_set_print(managed_set(m, had), &was);
        field_set_print(m->applied, &is);
        changed = !str_eq(strbuf_str(&was), strbuf_str(&is));
    }
    if (!changed)
        self.time = had->time;
    managed_replace(&self, m->applied);
    *(had ? had : managed_add(m)) = self;
    return 0;
}

/* --- scale --- */

void managed_print_scale(struct managed *m, struct strbuf *out)
{
    const struct field_set *replicas = field_set_of_path(m->arena, "spec.replicas");
    struct managed *shown = managed_new(m->arena);
    for (size_t i = 0; i < m->count; i++) {
        struct managed_entry *e = &m->entries[i];
        const struct field_set *both = field_set_common(m->arena, managed_set(m, e), replicas);
        if (!both)
            continue;
        struct managed_entry as_scale = *e;
        as_scale.api_version = STR("autoscaling/v1");
        managed_replace(&as_scale, replicas);
        *managed_add(shown) = as_scale;
    }
    managed_print(shown, out);
}
