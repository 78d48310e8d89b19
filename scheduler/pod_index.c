/*
 * Pod index: classes, matchers and their counters. See pod_index.h.
 *
 * Invariants: class->matched lists exactly the matchers that match it; matcher->matched[row] is the
 * number of pods on the row whose class lists the matcher. A label anchor exists while a class
 * carries the label or a matcher insists on it.
 */
#include "scheduler/pod_index.h"

#include <assert.h>

#include "common/selector_build.h"
#include "scheduler/pod_info.h"

/* A label "key\0value" that classes carry and matchers insist on. */
struct label_anchor {
    char *text;
    size_t length;
    struct pod_class **classes;
    size_t class_count, class_capacity;
    struct matcher *matchers;
    UT_hash_handle hh;
};

struct known_namespace {
    char *name;
    struct string_pair *labels;
    size_t count;
    UT_hash_handle hh;
};

struct pod_index {
    struct pod_class *classes;
    struct matcher *matchers;
    struct matcher *anywhere; /* those without anchor */
    struct label_anchor *anchors;
    struct known_namespace *namespaces;
    size_t like_count; /* matchers with a namespace selector */
};

struct pod_index *pod_index_new(void)
{
    return xcalloc(1, sizeof(struct pod_index));
}

/* Namespaces */

static void namespace_free(struct pod_index *index, struct known_namespace *ns)
{
    HASH_DEL(index->namespaces, ns);
    for (size_t i = 0; i < ns->count; i++) {
        free((char *)ns->labels[i].key);
        free((char *)ns->labels[i].value);
    }
    free(ns->labels);
    free(ns->name);
    free(ns);
}

static const char *namespace_label(const void *arg, const char *key)
{
    const struct known_namespace *ns = arg;

    for (size_t i = 0; ns && i < ns->count; i++)
        if (c_eq(ns->labels[i].key, key))
            return ns->labels[i].value;
    return NULL;
}

static bool part_has_namespace(
    const struct pod_index *index, const struct matcher_part *part, const char *name)
{
    struct known_namespace *ns;

    for (size_t i = 0; i < part->namespace_count; i++)
        if (c_eq(part->namespaces[i], name))
            return true;
    if (!part->in_namespaces_like)
        return false;
    HASH_FIND_STR(index->namespaces, name, ns);
    return selector_matches(part->in_namespaces_like, namespace_label, ns);
}

/* Matching */

static const char *class_label(const void *arg, const char *key)
{
    const struct pod_class *c = arg;

    for (size_t i = 0; i < c->label_count; i++)
        if (c_eq(c->labels[i].key, key))
            return c->labels[i].value;
    return NULL;
}

static bool matches(
    const struct pod_index *index, const struct matcher *m, const struct pod_class *c)
{
    if (m->not_terminating && c->terminating)
        return false;
    for (size_t i = 0; i < m->part_count; i++)
        if (!part_has_namespace(index, &m->parts[i], c->namespace_) ||
            !selector_matches(m->parts[i].selector, class_label, c))
            return false;
    return true;
}

bool matcher_has(const struct matcher *m, const struct pod_class *c)
{
    for (size_t i = 0; i < c->matched_count; i++)
        if (c->matched[i] == m)
            return true;
    return false;
}

static void list_matcher(struct pod_class *c, struct matcher *m)
{
    if (c->matched_count == c->matched_capacity) {
        c->matched_capacity = c->matched_capacity ? c->matched_capacity * 2 : 2;
        c->matched = xrealloc(c->matched, c->matched_capacity * sizeof(struct matcher *));
    }
    c->matched[c->matched_count++] = m;
}

static bool unlist_matcher(struct pod_class *c, const struct matcher *m)
{
    for (size_t i = 0; i < c->matched_count; i++) {
        if (c->matched[i] != m)
            continue;
        c->matched[i] = c->matched[--c->matched_count];
        return true;
    }
    return false;
}

static void count_members(const struct pod_class *c, struct matcher *m, int32_t by)
{
    for (const struct pod_info *p = c->members; p; p = p->class_next)
        row_counts_add(&m->matched, p->row, by);
}

/* Anchors */

static struct label_anchor *anchor_find(
    const struct pod_index *index, const char *text, size_t length)
{
    struct label_anchor *a;

    HASH_FIND(hh, index->anchors, text, length, a);
    return a;
}

static struct label_anchor *anchor_get(struct pod_index *index, const char *key, const char *value)
{
    size_t k = strlen(key) + 1, length = k + strlen(value) + 1;
    char *text = xmalloc(length);

    memcpy(text, key, k);
    memcpy(text + k, value, length - k);
    struct label_anchor *a = anchor_find(index, text, length);
    if (a) {
        free(text);
        return a;
    }
    a = xcalloc(1, sizeof(*a));
    a->text = text;
    a->length = length;
    HASH_ADD_KEYPTR(hh, index->anchors, a->text, a->length, a);
    return a;
}

static void anchor_put(struct pod_index *index, struct label_anchor *a)
{
    if (a->class_count || a->matchers)
        return;
    HASH_DEL(index->anchors, a);
    free(a->classes);
    free(a->text);
    free(a);
}

static void anchor_add_class(struct label_anchor *a, struct pod_class *c)
{
    if (a->class_count == a->class_capacity) {
        a->class_capacity = a->class_capacity ? a->class_capacity * 2 : 1;
        a->classes = xrealloc(a->classes, a->class_capacity * sizeof(struct pod_class *));
    }
    a->classes[a->class_count++] = c;
}

static void anchor_remove_class(struct label_anchor *a, const struct pod_class *c)
{
    for (size_t i = 0; i < a->class_count; i++) {
        if (a->classes[i] != c)
            continue;
        a->classes[i] = a->classes[--a->class_count];
        return;
    }
}

/* Classes */

/* namespace \0 [T]\0 key \0 value \0 ... */
static char *class_key(const struct object_meta *meta, size_t *ret_length)
{
    size_t n = strlen(meta->namespace_) + 3;

    for (size_t i = 0; i < meta->labels.count; i++)
        n += strlen(meta->labels.pairs[i].key) + strlen(meta->labels.pairs[i].value) + 2;
    char *key = xmalloc(n), *at = key;
    at = stpcpy(at, meta->namespace_) + 1;
    *at++ = meta->deletion_ns ? 'T' : '-';
    *at++ = 0;
    for (size_t i = 0; i < meta->labels.count; i++) {
        at = stpcpy(at, meta->labels.pairs[i].key) + 1;
        at = stpcpy(at, meta->labels.pairs[i].value) + 1;
    }
    *ret_length = (size_t)(at - key);
    return key;
}

static void find_labels(struct pod_class *c, size_t count)
{
    const char *at = c->key + strlen(c->key) + 3;

    c->labels = xcalloc(count ? count : 1, sizeof(*c->labels));
    c->label_count = count;
    for (size_t i = 0; i < count; i++) {
        c->labels[i].key = at;
        at += strlen(at) + 1;
        c->labels[i].value = at;
        at += strlen(at) + 1;
    }
}

static void match_class(struct pod_index *index, struct pod_class *c)
{
    c->matched_count = 0;
    for (struct matcher *m = index->anywhere; m; m = m->next)
        if (matches(index, m, c))
            list_matcher(c, m);
    for (size_t i = 0; i < c->label_count; i++) {
        const struct label_anchor *a = anchor_find(
            index, c->labels[i].key, strlen(c->labels[i].key) + strlen(c->labels[i].value) + 2);
        for (struct matcher *m = a ? a->matchers : NULL; m; m = m->next)
            if (matches(index, m, c))
                list_matcher(c, m);
    }
}

struct pod_class *pod_class_get(struct pod_index *index, const struct object_meta *meta)
{
    size_t length;
    char *key = class_key(meta, &length);
    struct pod_class *c;

    HASH_FIND(hh, index->classes, key, length, c);
    if (c) {
        free(key);
        c->references++;
        return c;
    }
    c = xcalloc(1, sizeof(*c));
    c->key = key;
    c->key_length = length;
    c->namespace_ = key;
    c->terminating = meta->deletion_ns;
    c->references = 1;
    find_labels(c, meta->labels.count);
    HASH_ADD_KEYPTR(hh, index->classes, c->key, c->key_length, c);
    for (size_t i = 0; i < c->label_count; i++)
        anchor_add_class(anchor_get(index, c->labels[i].key, c->labels[i].value), c);
    match_class(index, c);
    return c;
}

static void class_free(struct pod_index *index, struct pod_class *c)
{
    for (size_t i = 0; i < c->label_count; i++) {
        struct label_anchor *a = anchor_get(index, c->labels[i].key, c->labels[i].value);
        anchor_remove_class(a, c);
        anchor_put(index, a);
    }
    HASH_DEL(index->classes, c);
    free(c->matched);
    free(c->labels);
    free(c->key);
    free(c);
}

void pod_class_put(struct pod_index *index, struct pod_class *c)
{
    if (!--c->references)
        class_free(index, c);
}

/* Matchers */

static void add_own_labels(struct selector *s, const struct string_map *labels,
    const struct string_list *keys, enum selector_op op)
{
    for (size_t i = 0; keys && i < keys->count; i++) {
        const char *value = string_map_get(labels, keys->strings[i]);
        if (!value)
            continue;
        struct requirement *r = selector_add_term(s, str_of(keys->strings[i]), op);
        requirement_add_value(r, str_of(value));
    }
}

static bool add_expression(struct selector *s, const struct node_requirement *from)
{
    static const struct {
        const char *name;
        enum selector_op op;
    } ops[] = {{"In", SEL_IN}, {"NotIn", SEL_NOT_IN}, {"Exists", SEL_EXISTS},
        {"DoesNotExist", SEL_NOT_EXISTS}};

    for (size_t i = 0; i < ARRAY_COUNT(ops); i++) {
        if (!c_eq(from->operator_, ops[i].name))
            continue;
        bool wants_values = ops[i].op == SEL_IN || ops[i].op == SEL_NOT_IN;
        if (wants_values != (from->values.count > 0))
            return false;
        struct requirement *r = selector_add_term(s, str_of(from->key), ops[i].op);
        for (size_t k = 0; k < from->values.count; k++)
            requirement_add_value(r, str_of(from->values.strings[k]));
        return true;
    }
    return false;
}

struct selector *pod_selector_new(const struct label_selector *from,
    const struct string_map *labels, const struct string_list *keys,
    const struct string_list *mismatch_keys)
{
    const struct node_requirement *expressions = from->expressions.items;
    struct selector *s = xcalloc(1, sizeof(*s));

    s->nothing = !from->present;
    for (size_t i = 0; i < from->labels.count; i++) {
        struct requirement *r = selector_add_term(s, str_of(from->labels.pairs[i].key), SEL_IN);
        requirement_add_value(r, str_of(from->labels.pairs[i].value));
    }
    for (size_t i = 0; i < from->expressions.count; i++)
        if (!add_expression(s, &expressions[i]))
            s->nothing = true;
    add_own_labels(s, labels, keys, SEL_IN);
    add_own_labels(s, labels, mismatch_keys, SEL_NOT_IN);
    selector_finish(s);
    return s;
}

static void part_done(struct matcher_part *p)
{
    for (size_t i = 0; i < p->namespace_count; i++)
        free(p->namespaces[i]);
    free(p->namespaces);
    selector_free(p->in_namespaces_like);
    selector_free(p->selector);
}

static void print_part(const struct matcher_part *p, struct strbuf *out)
{
    for (size_t i = 0; i < p->namespace_count; i++)
        strbuf_addf(out, "%s ", p->namespaces[i]);
    if (p->in_namespaces_like) {
        strbuf_addc(out, p->in_namespaces_like->nothing ? "| 0 " : "| ");
        selector_print(p->in_namespaces_like, out);
    }
    strbuf_addc(out, p->selector->nothing ? ": 0 " : ": ");
    selector_print(p->selector, out);
    strbuf_addc(out, "; ");
}

/* A label without which no pod matches, to look it up by; NULL: there is none. */
static struct label_anchor *find_anchor(struct pod_index *index, const struct matcher *m)
{
    for (size_t i = 0; i < m->part_count; i++) {
        const struct selector *s = m->parts[i].selector;
        for (size_t t = 0; t < s->term_count; t++)
            if (s->terms[t].op == SEL_IN && s->terms[t].value_count == 1)
                return anchor_get(index, s->terms[t].key, s->terms[t].values[0]);
    }
    return NULL;
}

static void consider(struct pod_index *index, struct matcher *m, struct pod_class *c)
{
    if (!matches(index, m, c))
        return;
    list_matcher(c, m);
    count_members(c, m, 1);
}

static void start_counting(struct pod_index *index, struct matcher *m)
{
    struct pod_class *c, *next;

    for (size_t i = 0; m->anchor && i < m->anchor->class_count; i++)
        consider(index, m, m->anchor->classes[i]);
    if (m->anchor)
        return;
    HASH_ITER(hh, index->classes, c, next)
    consider(index, m, c);
}

static struct matcher **matcher_list(struct pod_index *index, const struct matcher *m)
{
    return m->anchor ? &m->anchor->matchers : &index->anywhere;
}

static bool has_like(const struct matcher *m)
{
    for (size_t i = 0; i < m->part_count; i++)
        if (m->parts[i].in_namespaces_like)
            return true;
    return false;
}

struct matcher *matcher_get(struct pod_index *index, const struct matcher_plan *plan)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    struct matcher *m;

    if (plan->not_terminating)
        strbuf_addc(&text, "alive ");
    for (size_t i = 0; i < plan->part_count; i++)
        print_part(&plan->parts[i], &text);
    HASH_FIND(hh, index->matchers, text.data, text.n, m);
    if (m) {
        for (size_t i = 0; i < plan->part_count; i++)
            part_done(&plan->parts[i]);
        free(plan->parts);
        return matcher_ref(m);
    }
    m = xcalloc(1, sizeof(*m));
    m->text = xstrdup(text.data);
    m->part_count = plan->part_count;
    m->parts = plan->parts;
    m->not_terminating = plan->not_terminating;
    m->references = 1;
    m->anchor = find_anchor(index, m);
    index->like_count += has_like(m);
    HASH_ADD_KEYPTR(hh, index->matchers, m->text, text.n, m);
    struct matcher **list = matcher_list(index, m);
    m->next = *list;
    if (m->next)
        m->next->previous = m;
    *list = m;
    start_counting(index, m);
    return m;
}

struct matcher *matcher_ref(struct matcher *m)
{
    m->references++;
    return m;
}

static void unlist_everywhere(struct pod_index *index, const struct matcher *m)
{
    struct pod_class *c, *next;

    for (size_t i = 0; m->anchor && i < m->anchor->class_count; i++)
        unlist_matcher(m->anchor->classes[i], m);
    if (m->anchor)
        return;
    HASH_ITER(hh, index->classes, c, next)
    unlist_matcher(c, m);
}

void matcher_put(struct pod_index *index, struct matcher *m)
{
    if (!m || --m->references)
        return;
    assert(!m->groups);
    unlist_everywhere(index, m);
    if (m->next)
        m->next->previous = m->previous;
    if (m->previous)
        m->previous->next = m->next;
    else
        *matcher_list(index, m) = m->next;
    if (m->anchor)
        anchor_put(index, m->anchor);
    index->like_count -= has_like(m);
    HASH_DEL(index->matchers, m);
    for (size_t i = 0; i < m->part_count; i++)
        part_done(&m->parts[i]);
    row_counts_done(&m->matched);
    free(m->parts);
    free(m->text);
    free(m);
}

struct term_group *term_group_get(
    struct matcher *m, enum term_kind kind, const char *topology_key, int64_t weight)
{
    struct term_group *g = m->groups;

    while (g && !(g->kind == kind && g->weight == weight && c_eq(g->topology_key, topology_key)))
        g = g->next;
    if (!g) {
        g = xcalloc(1, sizeof(*g));
        g->matcher = m;
        g->kind = kind;
        g->weight = weight;
        g->topology_key = xstrdup(topology_key);
        g->next = m->groups;
        m->groups = g;
    }
    g->references++;
    return g;
}

void term_group_put(struct term_group *g)
{
    if (--g->references)
        return;
    struct term_group **at = &g->matcher->groups;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    row_counts_done(&g->owners);
    free(g->topology_key);
    free(g);
}

/* Pods on rows */

static void count_terms(const struct pod_info *pod, int32_t by)
{
    const struct pod_terms *t = pod->terms;

    for (uint32_t i = 0; t && i < t->term_count; i++)
        row_counts_add(&t->terms[i]->owners, pod->row, by);
}

void pod_index_add(struct pod_index *index, struct pod_info *pod)
{
    struct pod_class *c = pod->class_;

    (void)index;
    pod->class_previous = NULL;
    pod->class_next = c->members;
    if (c->members)
        c->members->class_previous = pod;
    c->members = pod;
    for (size_t i = 0; i < c->matched_count; i++)
        row_counts_add(&c->matched[i]->matched, pod->row, 1);
    count_terms(pod, 1);
}

void pod_index_remove(struct pod_index *index, struct pod_info *pod)
{
    struct pod_class *c = pod->class_;

    (void)index;
    if (pod->class_previous)
        pod->class_previous->class_next = pod->class_next;
    else
        c->members = pod->class_next;
    if (pod->class_next)
        pod->class_next->class_previous = pod->class_previous;
    pod->class_next = pod->class_previous = NULL;
    for (size_t i = 0; i < c->matched_count; i++)
        row_counts_add(&c->matched[i]->matched, pod->row, -1);
    count_terms(pod, -1);
}

static bool same_labels(const struct known_namespace *ns, const struct string_map *labels)
{
    if (ns->count != labels->count)
        return false;
    for (size_t i = 0; i < ns->count; i++)
        if (!c_eq(ns->labels[i].key, labels->pairs[i].key) ||
            !c_eq(ns->labels[i].value, labels->pairs[i].value))
            return false;
    return true;
}

static void rematch_namespace(struct pod_index *index, const char *name)
{
    struct pod_class *c, *next;

    HASH_ITER(hh, index->classes, c, next)
    {
        if (!c_eq(c->namespace_, name))
            continue;
        for (size_t i = 0; i < c->matched_count; i++)
            count_members(c, c->matched[i], -1);
        match_class(index, c);
        for (size_t i = 0; i < c->matched_count; i++)
            count_members(c, c->matched[i], 1);
    }
}

bool pod_index_set_namespace(
    struct pod_index *index, const char *name, const struct string_map *labels)
{
    struct known_namespace *ns;

    HASH_FIND_STR(index->namespaces, name, ns);
    if (ns && labels && same_labels(ns, labels))
        return false;
    if (ns)
        namespace_free(index, ns);
    if (labels) {
        ns = xcalloc(1, sizeof(*ns));
        ns->name = xstrdup(name);
        ns->count = labels->count;
        ns->labels = xcalloc(labels->count ? labels->count : 1, sizeof(*ns->labels));
        for (size_t i = 0; i < labels->count; i++)
            ns->labels[i] = (struct string_pair){
                xstrdup(labels->pairs[i].key), xstrdup(labels->pairs[i].value)};
        HASH_ADD_KEYPTR(hh, index->namespaces, ns->name, strlen(ns->name), ns);
    }
    if (index->like_count)
        rematch_namespace(index, name);
    return index->like_count;
}

void pod_index_free(struct pod_index *index)
{
    struct known_namespace *ns, *next_ns;

    if (!index)
        return;
    assert(!index->classes && !index->matchers && !index->anchors);
    HASH_ITER(hh, index->namespaces, ns, next_ns)
    namespace_free(index, ns);
    free(index);
}

/* Checks */

static bool check_counts(const struct row_counts *have, const struct row_counts *should,
    const char *what, struct strbuf *why)
{
    bool right = have->count == should->count;

    for (uint32_t i = 0; right && i < should->count; i++)
        right = row_counts_get(have, should->entries[i].row) == should->entries[i].count;
    if (!right)
        strbuf_addf(why, "the counter of \"%s\" is wrong; ", what);
    return right;
}

static bool check_matcher(
    const struct pod_index *index, const struct matcher *m, struct strbuf *why)
{
    struct row_counts counts = {0};
    struct pod_class *c, *next;

    HASH_ITER(hh, index->classes, c, next)
    {
        bool should = matches(index, m, c);
        if (should != matcher_has(m, c))
            strbuf_addf(why, "class %s is listed wrongly for \"%s\"; ", c->namespace_, m->text);
        for (const struct pod_info *p = should ? c->members : NULL; p; p = p->class_next)
            row_counts_add(&counts, p->row, 1);
    }
    bool right = check_counts(&m->matched, &counts, m->text, why);
    row_counts_done(&counts);
    return right;
}

static bool check_group(
    const struct pod_index *index, const struct term_group *g, struct strbuf *why)
{
    struct row_counts counts = {0};
    struct pod_class *c, *next;

    HASH_ITER(hh, index->classes, c, next)
    for (const struct pod_info *p = c->members; p; p = p->class_next)
        for (uint32_t i = 0; p->terms && i < p->terms->term_count; i++)
            if (p->terms->terms[i] == g)
                row_counts_add(&counts, p->row, 1);
    bool right = check_counts(&g->owners, &counts, g->topology_key, why);
    row_counts_done(&counts);
    return right;
}

bool pod_index_check(const struct pod_index *index, struct strbuf *why)
{
    struct matcher *m, *next;

    HASH_ITER(hh, index->matchers, m, next)
    {
        check_matcher(index, m, why);
        for (const struct term_group *g = m->groups; g; g = g->next)
            check_group(index, g, why);
    }
    return !why->n;
}
