/*
 * RBAC: roles and bindings indexed by subject, so that a decision looks only at what concerns the
 * asker.
 *
 *   subject ("U:name", "G:name") and namespace ("": cluster-wide) -> bindings -> role -> rules
 *
 * A group that is bound in thousands of namespaces costs no more than one that is bound in one. One
 * lock guards the index; a decision holds it for about a microsecond. A task of its own follows
 * the four resources in the cache and changes what an event says, so a new binding counts within a
 * millisecond or so. A ServiceAccount subject is its user name system:serviceaccount:NS:NAME.
 * Upstream: plugin/pkg/auth/authorizer/rbac.
 */
#include "common/hash.h"

#include "apiserver/auth/internal.h"
#include "common/log.h"
#include "common/time.h"

/* Between two tries to follow a kind. */
#define RETRY_NS (100 * NS_PER_MS)

struct strings {
    char **values;
    size_t count;
};

struct rule {
    struct strings verbs, groups, resources, names, urls;
    unsigned verb_bits; /* of well_known_verbs, or OTHER_VERBS: most rules are passed over by it */
};

struct role {
    char *key; /* "NS/NAME", "/NAME" for ClusterRoles */
    struct rule *rules;
    size_t rule_count;
    unsigned round; /* of `rounds` when it was last seen */
    UT_hash_handle hh;
};

struct binding {
    char *key, *namespace_, *role_key;
    const struct role *role;  /* what role_key led to (NULL: nothing) when */
    unsigned role_generation; /* was the index's */
    struct strings subjects;
    unsigned round;
    UT_hash_handle hh;
};

/* What binds a subject in one namespace. */
struct subject {
    char *key; /* "U:name" NUL "namespace" */
    size_t key_bytes;
    struct binding **bindings;
    size_t count;
    UT_hash_handle hh;
};

enum { ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS, KINDS };
static const char *const plurals[KINDS] = {
    "roles", "clusterroles", "rolebindings", "clusterrolebindings"};

struct rbac {
    struct env *env;
    struct cache *cache;
    const struct resource *resources[KINDS];
    struct watcher *watchers[KINDS];
    struct task *task;
    bool pending_again;     /* the task's */
    unsigned rounds[KINDS]; /* how often a kind was taken anew; the task's */
    struct lock lock;       /* of everything below */
    struct cond woken;
    bool pending, stopping;
    struct role *roles;
    unsigned role_generation; /* how often a role came, changed or went */
    struct binding *bindings;
    struct subject *subjects;
};

/* --- building blocks --- */

static struct strings strings_of(const cJSON *array)
{
    struct strings s = {0};
    const cJSON *item;
    int n = cJSON_GetArraySize(array);
    if (n <= 0)
        return s;
    s.values = xcalloc((size_t)n, sizeof(*s.values));
    cJSON_ArrayForEach(item, array)
    {
        if (cJSON_IsString(item))
            s.values[s.count++] = xstrdup(item->valuestring);
    }
    return s;
}

static void strings_done(struct strings *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->values[i]);
    free(s->values);
}

static bool strings_have(const struct strings *s, const char *value)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->values[i], value) == 0)
            return true;
    return false;
}

static bool strings_have_or_all(const struct strings *s, const char *value)
{
    return strings_have(s, "*") || strings_have(s, value);
}

static const char *const well_known_verbs[] = {
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"};
#define OTHER_VERBS (1u << ARRAY_COUNT(well_known_verbs))

static unsigned verb_bit(const char *verb)
{
    for (unsigned i = 0; i < ARRAY_COUNT(well_known_verbs); i++)
        if (strcmp(well_known_verbs[i], verb) == 0)
            return 1u << i;
    return OTHER_VERBS;
}

static unsigned verb_bits(const struct strings *verbs)
{
    unsigned bits = 0;
    for (size_t i = 0; i < verbs->count; i++)
        bits |= strcmp(verbs->values[i], "*") == 0 ? ~0u : verb_bit(verbs->values[i]);
    return bits;
}

static void role_free(struct role *r)
{
    for (size_t i = 0; i < r->rule_count; i++) {
        struct rule *rule = &r->rules[i];
        strings_done(&rule->verbs);
        strings_done(&rule->groups);
        strings_done(&rule->resources);
        strings_done(&rule->names);
        strings_done(&rule->urls);
    }
    free(r->rules);
    free(r->key);
    free(r);
}

static struct role *role_of(const char *key, const cJSON *tree)
{
    struct role *r = xcalloc(1, sizeof(*r));
    const cJSON *rules = json_get(tree, "rules"), *item;
    r->key = xstrdup(key);
    r->rules = xcalloc((size_t)cJSON_GetArraySize(rules) + 1, sizeof(*r->rules));
    cJSON_ArrayForEach(item, rules)
    {
        r->rules[r->rule_count++] = (struct rule){
            .verbs = strings_of(json_get(item, "verbs")),
            .groups = strings_of(json_get(item, "apiGroups")),
            .resources = strings_of(json_get(item, "resources")),
            .names = strings_of(json_get(item, "resourceNames")),
            .urls = strings_of(json_get(item, "nonResourceURLs")),
        };
        r->rules[r->rule_count - 1].verb_bits = verb_bits(&r->rules[r->rule_count - 1].verbs);
    }
    return r;
}

static void binding_free(struct binding *b)
{
    strings_done(&b->subjects);
    free(b->key);
    free(b->namespace_);
    free(b->role_key);
    free(b);
}

static char *subject_name(const cJSON *subject, const char *binding_namespace)
{
    const char *kind = json_string(subject, "kind"), *name = json_string(subject, "name");
    const char *namespace_ = json_string(subject, "namespace");
    if (!name || !kind)
        return NULL;
    if (c_eq(kind, "ServiceAccount"))
        return str_format(
            "U:system:serviceaccount:%s:%s", namespace_ ? namespace_ : binding_namespace, name);
    if (!c_eq(kind, "Group") && !c_eq(kind, "User"))
        return NULL;
    return str_format("%c:%s", c_eq(kind, "Group") ? 'G' : 'U', name);
}

static struct binding *binding_of(const char *key, const char *namespace_, const cJSON *tree)
{
    struct binding *b = xcalloc(1, sizeof(*b));
    const cJSON *subjects = json_get(tree, "subjects"), *item;
    const char *role = json_string_at(tree, "roleRef.name");
    bool is_cluster_role = c_eq(json_string_at(tree, "roleRef.kind"), "ClusterRole");
    b->key = xstrdup(key);
    b->namespace_ = xstrdup(namespace_);
    b->role_key = str_format("%s/%s", is_cluster_role ? "" : namespace_, role ? role : "");
    b->subjects.values = xcalloc((size_t)cJSON_GetArraySize(subjects) + 1, sizeof(char *));
    cJSON_ArrayForEach(item, subjects)
    {
        char *name = subject_name(item, namespace_);
        if (name && !strings_have(&b->subjects, name))
            b->subjects.values[b->subjects.count++] = name;
        else
            free(name);
    }
    return b;
}

/* --- the index; called with the lock held --- */

/* The key of a subject in a namespace; 0 when it does not fit, which is nobody then (cut, it would
 * be somebody else). */
#define SUBJECT_BYTES_MAX 2048
static size_t subject_key(char kind, const char *name, const char *namespace_, char *ret)
{
    size_t n = strlen(name), more = strlen(namespace_);
    if (n + more + 3 > SUBJECT_BYTES_MAX)
        return 0;
    ret[0] = kind;
    ret[1] = ':';
    memcpy(ret + 2, name, n + 1);
    memcpy(ret + 3 + n, namespace_, more);
    return n + more + 3;
}

static struct subject *subject_find(struct rbac *rbac, const char *key, size_t n)
{
    struct subject *s = NULL;
    if (n)
        HASH_FIND(hh, rbac->subjects, key, n, s);
    return s;
}

static void subject_add(struct rbac *rbac, const char *name, struct binding *b)
{
    char key[SUBJECT_BYTES_MAX];
    size_t n = subject_key(name[0], name + 2, b->namespace_, key);
    struct subject *s = subject_find(rbac, key, n);
    if (!n)
        return;
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        s->key = xcalloc(1, n);
        memcpy(s->key, key, n);
        s->key_bytes = n;
        HASH_ADD_KEYPTR(hh, rbac->subjects, s->key, s->key_bytes, s);
    }
    s->bindings = xrealloc(s->bindings, (s->count + 1) * sizeof(struct binding *));
    s->bindings[s->count++] = b;
}

static void subject_remove(struct rbac *rbac, const char *name, const struct binding *b)
{
    char key[SUBJECT_BYTES_MAX];
    size_t n = subject_key(name[0], name + 2, b->namespace_, key);
    struct subject *s = subject_find(rbac, key, n);
    for (size_t i = 0; s && i < s->count; i++) {
        if (s->bindings[i] != b)
            continue;
        s->bindings[i] = s->bindings[--s->count];
        break;
    }
    if (s && s->count == 0) {
        HASH_DEL(rbac->subjects, s);
        free(s->bindings);
        free(s->key);
        free(s);
    }
}

static void binding_set(struct rbac *rbac, const char *key, struct binding *fresh)
{
    struct binding *old;
    HASH_FIND_STR(rbac->bindings, key, old);
    if (old) {
        for (size_t i = 0; i < old->subjects.count; i++)
            subject_remove(rbac, old->subjects.values[i], old);
        HASH_DEL(rbac->bindings, old);
        binding_free(old);
    }
    if (!fresh)
        return;
    HASH_ADD_KEYPTR(hh, rbac->bindings, fresh->key, strlen(fresh->key), fresh);
    for (size_t i = 0; i < fresh->subjects.count; i++)
        subject_add(rbac, fresh->subjects.values[i], fresh);
}

static void role_set(struct rbac *rbac, const char *key, struct role *fresh)
{
    struct role *old;
    rbac->role_generation++;
    HASH_FIND_STR(rbac->roles, key, old);
    if (old) {
        HASH_DEL(rbac->roles, old);
        role_free(old);
    }
    if (fresh)
        HASH_ADD_KEYPTR(hh, rbac->roles, fresh->key, strlen(fresh->key), fresh);
}

/* --- following the cache --- */

static void apply(struct rbac *rbac, int kind, const struct object *o, bool deleted)
{
    autofree char *namespace_ = str_dup(o->namespace_);
    autofree char *key = str_format("%s/%.*s", namespace_, STR_FMT(o->name));
    autojson cJSON *tree = deleted ? NULL : object_tree(o);
    bool is_role = kind == ROLES || kind == CLUSTER_ROLES;
    struct role *role = tree && is_role ? role_of(key, tree) : NULL;
    struct binding *binding = tree && !is_role ? binding_of(key, namespace_, tree) : NULL;

    if (role)
        role->round = rbac->rounds[kind];
    if (binding)
        binding->round = rbac->rounds[kind];
    env_lock(rbac->env, &rbac->lock);
    if (is_role)
        role_set(rbac, key, role);
    else
        binding_set(rbac, key, binding);
    env_unlock(rbac->env, &rbac->lock);
}

static void on_wake(void *arg)
{
    struct rbac *rbac = arg;
    env_lock(rbac->env, &rbac->lock);
    rbac->pending = true;
    env_signal(rbac->env, &rbac->woken);
    env_unlock(rbac->env, &rbac->lock);
}

/* Takes every object of a kind as it is now and watches from there. */
static int follow(struct rbac *rbac, int kind, struct error *err)
{
    const struct resource *r = rbac->resources[kind];
    struct snapshot *s = snapshot_take(rbac->cache, r);
    struct str after_namespace = {0}, after_name = {0};
    const struct object *o;
    while ((o = snapshot_next(s, (struct str){0}, after_namespace, after_name))) {
        apply(rbac, kind, o, false);
        after_namespace = o->namespace_;
        after_name = o->name;
    }
    static const struct watch_filter all;
    int result = watcher_new(
        rbac->cache, r, snapshot_version(s), &all, on_wake, rbac, &rbac->watchers[kind], err);
    snapshot_free(s);
    return result;
}

/* Drops what a kind that was taken anew does not have any more. */
static void sweep(struct rbac *rbac, int kind)
{
    bool cluster = kind == CLUSTER_ROLES || kind == CLUSTER_ROLE_BINDINGS;
    struct role *role, *next_role;
    struct binding *binding, *next_binding;
    env_lock(rbac->env, &rbac->lock);
    if (kind == ROLES || kind == CLUSTER_ROLES) {
        HASH_ITER(hh, rbac->roles, role, next_role)
        if ((role->key[0] == '/') == cluster && role->round != rbac->rounds[kind])
            role_set(rbac, role->key, NULL);
    } else {
        HASH_ITER(hh, rbac->bindings, binding, next_binding)
        if ((binding->key[0] == '/') == cluster && binding->round != rbac->rounds[kind])
            binding_set(rbac, binding->key, NULL);
    }
    env_unlock(rbac->env, &rbac->lock);
}

/* Fell behind the history (a burst of changes, a lost store): takes the kind anew. What still holds
 * is never missing in between. When that fails too, what is gone can't be told: it is tried again
 * soon. */
static void follow_again(struct rbac *rbac, int kind)
{
    struct error err;
    watcher_free(rbac->watchers[kind]);
    rbac->watchers[kind] = NULL;
    rbac->rounds[kind]++;
    if (follow(rbac, kind, &err) < 0)
        log_warning("roles are not followed, trying again", "resource", "%s", plurals[kind],
            "error", "%s", err.text, NULL);
    else
        sweep(rbac, kind);
}

static void drain(struct rbac *rbac)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const struct event *event;
        enum event_type as;
        struct error err;
        int result = 0;
        while (rbac->watchers[kind] &&
               (result = watcher_next(rbac->watchers[kind], &event, &as, &err)) > 0)
            apply(rbac, kind, event->object, as == EVENT_DELETED);
        if (result == 0 && rbac->watchers[kind])
            continue;
        follow_again(rbac, kind);
        rbac->pending_again =
            true; /* a watcher wakes only after it was asked once and had nothing */
    }
}

static bool follows_all(const struct rbac *rbac)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (!rbac->watchers[kind])
            return false;
    return true;
}

static void run(void *arg)
{
    struct rbac *rbac = arg;
    env_lock(rbac->env, &rbac->lock);
    while (!rbac->stopping) {
        if (!rbac->pending) {
            bool again = !follows_all(rbac);
            env_wait_until(rbac->env, &rbac->woken, &rbac->lock,
                again ? env_now_ns(rbac->env) + RETRY_NS : ENV_FOREVER);
            rbac->pending = rbac->pending || again;
            continue;
        }
        rbac->pending = false;
        env_unlock(rbac->env, &rbac->lock);
        rbac->pending_again = false;
        drain(rbac);
        bool again = rbac->pending_again && follows_all(rbac);
        env_lock(rbac->env, &rbac->lock);
        rbac->pending = rbac->pending || again;
    }
    env_unlock(rbac->env, &rbac->lock);
}

int rbac_new(struct env *env, struct cache *cache, const struct api *api, struct rbac **ret,
    struct error *err)
{
    struct rbac *rbac = xcalloc(1, sizeof(*rbac));
    rbac->env = env;
    rbac->cache = cache;
    env_lock_init(&rbac->lock);
    env_cond_init(&rbac->woken);
    int result = 0;
    for (int kind = 0; kind < KINDS && result == 0; kind++) {
        rbac->resources[kind] = api_find_plural(api, "rbac.authorization.k8s.io", plurals[kind]);
        result = follow(rbac, kind, err);
    }
    if (result < 0) {
        rbac_free(rbac);
        return result;
    }
    rbac->pending = true; /* what came between the snapshots and now */
    rbac->task = env_spawn(env, "rbac", run, rbac);
    *ret = rbac;
    return 0;
}

void rbac_free(struct rbac *rbac)
{
    struct role *role, *next_role;
    struct binding *binding, *next_binding;
    if (!rbac)
        return;
    if (rbac->task) {
        env_lock(rbac->env, &rbac->lock);
        rbac->stopping = true;
        env_signal(rbac->env, &rbac->woken);
        env_unlock(rbac->env, &rbac->lock);
        env_join(rbac->env, rbac->task);
    }
    for (int kind = 0; kind < KINDS; kind++)
        watcher_free(rbac->watchers[kind]);
    HASH_ITER(hh, rbac->bindings, binding, next_binding)
    binding_set(rbac, binding->key, NULL);
    HASH_ITER(hh, rbac->roles, role, next_role)
    role_set(rbac, role->key, NULL);
    env_cond_done(&rbac->woken);
    env_lock_done(&rbac->lock);
    free(rbac);
}

/* --- decisions --- */

static bool url_matches(const struct strings *urls, const char *path)
{
    for (size_t i = 0; i < urls->count; i++) {
        struct str url = str_of(urls->values[i]);
        if (url.n && url.p[url.n - 1] == '*' ? str_starts(str_of(path), str_range(url.p, url.n - 1))
                                             : str_eqc(url, path))
            return true;
    }
    return false;
}

static bool resource_matches(const struct strings *resources, const struct access_attributes *what)
{
    size_t n = strlen(what->resource);
    for (size_t i = 0; i < resources->count; i++) {
        const char *held = resources->values[i];
        if (held[0] == '*' && !held[1])
            return true;
        if (!*what->subresource) {
            if (strcmp(held, what->resource) == 0)
                return true;
            continue;
        }
        size_t skip = held[0] == '*' && held[1] == '/'                          ? 2
                      : strncmp(held, what->resource, n) == 0 && held[n] == '/' ? n + 1
                                                                                : 0;
        if (skip && strcmp(held + skip, what->subresource) == 0)
            return true;
    }
    return false;
}

static bool rule_allows(
    const struct rule *rule, const struct access_attributes *what, unsigned asked_bit)
{
    if (!(rule->verb_bits & asked_bit))
        return false;
    if (asked_bit == OTHER_VERBS && !strings_have_or_all(&rule->verbs, what->verb))
        return false;
    if (what->path)
        return url_matches(&rule->urls, what->path);
    return resource_matches(&rule->resources, what) &&
           strings_have_or_all(&rule->groups, what->group) &&
           (rule->names.count == 0 || strings_have(&rule->names, what->name));
}

typedef bool visit_fn(
    void *arg, const struct binding *binding, const struct role *role, const char *subject);

/* Calls visit for each binding of a subject in exactly this namespace, until it says true. */
static bool visit_bound(
    struct rbac *rbac, const char *key, size_t key_bytes, visit_fn *visit, void *arg)
{
    struct subject *s = subject_find(rbac, key, key_bytes);
    for (size_t i = 0; s && i < s->count; i++) {
        struct binding *b = s->bindings[i];
        if (b->role_generation != rbac->role_generation) {
            struct role *role;
            HASH_FIND_STR(rbac->roles, b->role_key, role);
            b->role = role;
            b->role_generation = rbac->role_generation;
        }
        if (b->role && visit(arg, b, b->role, key))
            return true;
    }
    return false;
}

/* The bindings that count in a namespace ("": cluster-wide ones only). */
static bool visit_subject(struct rbac *rbac, char kind, const char *name, const char *namespace_,
    visit_fn *visit, void *arg)
{
    char key[SUBJECT_BYTES_MAX];
    if (visit_bound(rbac, key, subject_key(kind, name, "", key), visit, arg))
        return true;
    return *namespace_ &&
           visit_bound(rbac, key, subject_key(kind, name, namespace_, key), visit, arg);
}

static bool visit_identity(struct rbac *rbac, const struct identity *who, const char *namespace_,
    visit_fn *visit, void *arg)
{
    if (visit_subject(rbac, 'U', who->name, namespace_, visit, arg))
        return true;
    for (const char **g = who->groups; g && *g; g++)
        if (visit_subject(rbac, 'G', *g, namespace_, visit, arg))
            return true;
    return false;
}

struct question {
    const struct access_attributes *what;
    unsigned verb_bit;
    struct strbuf *reason;
};

/* ServiceAccount "name/namespace", else Group or User with its name. */
static void print_subject(const char *subject, struct strbuf *out)
{
    static const char prefix[] = "U:system:serviceaccount:";
    struct str rest = str_of(subject), namespace_;
    if (str_starts(rest, str_range(prefix, sizeof(prefix) - 1))) {
        rest = str_range(rest.p + sizeof(prefix) - 1, rest.n - sizeof(prefix) + 1);
        str_split(&rest, ':', &namespace_);
        strbuf_addf(out, "ServiceAccount \"%.*s/%.*s\"", STR_FMT(rest), STR_FMT(namespace_));
        return;
    }
    strbuf_addf(out, "%s \"%s\"", *subject == 'G' ? "Group" : "User", subject + 2);
}

static bool visit_allows(
    void *arg, const struct binding *binding, const struct role *role, const char *subject)
{
    struct question *q = arg;
    for (size_t i = 0; i < role->rule_count; i++) {
        if (!rule_allows(&role->rules[i], q->what, q->verb_bit))
            continue;
        if (q->reason) {
            const char *name = strchr(binding->key, '/') + 1;
            bool cluster = !*binding->namespace_;
            strbuf_addf(q->reason, "RBAC: allowed by %s \"%s%s%s\" of %s \"%s\" to ",
                cluster ? "ClusterRoleBinding" : "RoleBinding", name, cluster ? "" : "/",
                binding->namespace_, *role->key == '/' ? "ClusterRole" : "Role",
                strchr(role->key, '/') + 1);
            print_subject(subject, q->reason);
        }
        return true;
    }
    return false;
}

bool rbac_allowed(struct rbac *rbac, const struct identity *who,
    const struct access_attributes *what, struct strbuf *reason)
{
    struct question q = {what, verb_bit(what->verb), reason};
    env_lock(rbac->env, &rbac->lock);
    bool allowed = visit_identity(rbac, who, what->path ? "" : what->namespace_, visit_allows, &q);
    env_unlock(rbac->env, &rbac->lock);
    return allowed;
}

static cJSON *strings_json(const struct strings *s)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < s->count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateString(s->values[i]));
    return array;
}

static bool visit_collect(
    void *arg, const struct binding *binding, const struct role *role, const char *subject)
{
    cJSON *out = arg;
    (void)binding;
    (void)subject;
    for (size_t i = 0; i < role->rule_count; i++) {
        const struct rule *rule = &role->rules[i];
        cJSON *item = cJSON_CreateObject();
        json_set(item, "verbs", strings_json(&rule->verbs));
        if (rule->urls.count) {
            json_set(item, "nonResourceURLs", strings_json(&rule->urls));
            cJSON_AddItemToArray(json_get(out, "nonResourceRules"), item);
            continue;
        }
        json_set(item, "apiGroups", strings_json(&rule->groups));
        json_set(item, "resources", strings_json(&rule->resources));
        if (rule->names.count)
            json_set(item, "resourceNames", strings_json(&rule->names));
        cJSON_AddItemToArray(json_get(out, "resourceRules"), item);
    }
    return false;
}

cJSON *rbac_rules(struct rbac *rbac, const struct identity *who, const char *namespace_)
{
    cJSON *out = json_make("{\"resourceRules\":[],\"nonResourceRules\":[],\"incomplete\":false}");
    env_lock(rbac->env, &rbac->lock);
    visit_identity(rbac, who, namespace_, visit_collect, out);
    env_unlock(rbac->env, &rbac->lock);
    return out;
}
