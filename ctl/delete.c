/*
 * skiffctl delete: removes objects and waits until they are gone.
 */
#include "ctl/session.h"

#include "common/time.h"

struct delete_flags {
    struct common_flags common;
    struct flag_strings files;
    const char *selector, *cascade;
    int64_t grace_period, timeout_ns;
    bool all, ignore_not_found, force, no_wait;
};

struct doomed {
    const struct ctl_resource *resource;
    char *namespace_, *name, *uid;
};

struct doomed_list {
    struct doomed *all;
    size_t count;
};

static void doomed_done(struct doomed_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->all[i].namespace_);
        free(l->all[i].name);
        free(l->all[i].uid);
    }
    free(l->all);
}

static int delete_one(const struct delete_flags *f, struct session *s, const struct ctl_resource *r,
    const char *namespace_, const char *name, struct doomed_list *done, struct error *err)
{
    struct api_ref ref = resource_ref(r, namespace_, name);
    struct api_delete_options options = {
        .propagation = f->cascade, .grace_seconds = f->force ? 0 : f->grace_period};
    autojson cJSON *before = NULL;
    int result = api_get(s->client.api, &ref, &before, err);
    if (result == 0)
        result = api_delete(s->client.api, &ref, &options, NULL, err);
    if (result == -ERR_NOT_FOUND && f->ignore_not_found)
        return 0;
    if (result < 0)
        return result;
    autofree char *label = resource_label(r, name);
    char *slash = strchr(label, '/');
    *slash = '\0';
    printf("%s \"%s\"%s deleted%s%s%s\n", label, name, f->force ? " force" : "",
        r->namespaced ? " from " : "", r->namespaced ? namespace_ : "",
        r->namespaced ? " namespace" : "");
    const char *uid = json_string_at(before, "metadata.uid");
    done->all = xrealloc(done->all, (done->count + 1) * sizeof(*done->all));
    done->all[done->count++] =
        (struct doomed){r, xstrdup(namespace_), xstrdup(name), xstrdup(uid ? uid : "")};
    return 0;
}

/* A failure is said and counted; the other objects are deleted all the same. */
static void note(int result, const struct error *err, size_t *failed)
{
    if (result < 0) {
        fflush(stdout);
        session_fail(err);
        (*failed)++;
    }
}

static int delete_selected(const struct delete_flags *f, struct session *s,
    const struct ctl_resource *r, struct doomed_list *done, size_t *failed, struct error *err)
{
    struct api_ref ref = resource_ref(r, s->namespace_, NULL);
    autostrbuf struct strbuf query = STRBUF_EMPTY;
    autojson cJSON *list = NULL;
    strbuf_init(&query, 0);
    if (f->selector) {
        strbuf_addc(&query, "labelSelector=");
        url_encode(str_of(f->selector), &query);
    }
    if (api_list(s->client.api, &ref, query.n ? query.data : NULL, &list, err) < 0)
        return -err->code;
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(list, "items"))
    {
        int result = delete_one(
            f, s, r, session_namespace(s, item), json_string_at(item, "metadata.name"), done, err);
        if (result != -ERR_NOT_FOUND) /* else it went meanwhile */
            note(result, err, failed);
    }
    return 0;
}

static int check_target(const struct delete_flags *f, const struct target *t, struct error *err)
{
    bool several = f->all || f->selector;
    if (t->name && several)
        return error_set(err, ERR_USAGE, "give either names, or -l or --all");
    if (!t->name && !several)
        return error_set(err, ERR_USAGE,
            "resource(s) were provided, but no name was specified; give names, -l or --all");
    return 0;
}

static int delete_targets(const struct delete_flags *f, struct session *s, int argc, char **argv,
    struct doomed_list *done, size_t *failed, struct error *err)
{
    struct targets targets;
    int result = targets_parse(&s->map, argc, argv, &targets, err);
    if (result < 0)
        return result;
    for (size_t i = 0; result == 0 && i < targets.count; i++)
        result = check_target(f, &targets.all[i], err);
    for (size_t i = 0; result == 0 && i < targets.count; i++) {
        const struct target *t = &targets.all[i];
        note(t->name ? delete_one(f, s, t->resource, s->namespace_, t->name, done, err)
                     : delete_selected(f, s, t->resource, done, failed, err),
            err, failed);
    }
    if (result == 0 && done->count == 0 && *failed == 0 && (f->all || f->selector))
        printf("No resources found\n");
    targets_done(&targets);
    return result;
}

static int delete_manifest(const struct delete_flags *f, struct session *s, const cJSON *item,
    struct doomed_list *done, struct error *err)
{
    const struct ctl_resource *r;
    const char *name = json_string_at(item, "metadata.name"), *namespace_;
    if (!name || !*name) /* without one, the path would be that of the whole type */
        return error_set(
            err, ERR_BAD_REQUEST, "%s: metadata.name is missing", json_string(item, "kind"));
    if (resource_map_find_kind(
            &s->map, json_string(item, "apiVersion"), json_string(item, "kind"), &r, err) < 0 ||
        session_manifest_namespace(s, item, &namespace_, err) < 0)
        return error_wrap(err, "%s", name);
    return delete_one(f, s, r, namespace_, name, done, err);
}

static int delete_manifests(const struct delete_flags *f, struct session *s,
    struct doomed_list *done, size_t *failed, struct error *err)
{
    autojson cJSON *manifests = NULL;
    const cJSON *item;
    if (manifests_read(&f->files, &manifests, err) < 0)
        return -err->code;
    cJSON_ArrayForEach(item, manifests) note(delete_manifest(f, s, item, done, err), err, failed);
    return 0;
}

/* 1 gone: absent, or another object of that name; 0 still there; <0 it can't be told. */
static int is_gone(struct session *s, const struct doomed *d, struct error *err)
{
    struct api_ref ref = resource_ref(d->resource, d->namespace_, d->name);
    autojson cJSON *now = NULL;
    int result = api_get(s->client.api, &ref, &now, err);
    if (result == -ERR_NOT_FOUND)
        return 1;
    return result < 0 ? result : !c_eq(json_string_at(now, "metadata.uid"), d->uid);
}

/* A server that is away is waited for, but not longer than this. */
#define SERVER_PATIENCE_NS (30 * NS_PER_S)

static int wait_one(
    struct session *s, const struct doomed *d, int64_t deadline_ns, struct error *err)
{
    int64_t pause_ns = 10 * NS_PER_MS, answered_ns = env_now_ns(s->client.env);
    for (;;) {
        int gone = is_gone(s, d, err);
        int64_t now_ns = env_now_ns(s->client.env);
        if (gone > 0)
            return 0;
        if (gone == 0)
            answered_ns = now_ns;
        else if (err->code == ERR_FORBIDDEN || err->code == ERR_UNAUTHORIZED ||
                 now_ns - answered_ns > SERVER_PATIENCE_NS)
            return error_wrap(err, "waiting until %s/%s is gone", d->resource->plural, d->name);
        if (now_ns > deadline_ns)
            return error_set(err, ERR_TIMEOUT, "timed out waiting for the condition on %s/%s",
                d->resource->plural, d->name);
        env_sleep_ns(s->client.env, pause_ns);
        if (pause_ns < 500 * NS_PER_MS)
            pause_ns *= 2;
    }
}

static int wait_gone(const struct delete_flags *f, struct session *s,
    const struct doomed_list *list, struct error *err)
{
    int64_t deadline_ns = f->timeout_ns ? env_now_ns(s->client.env) + f->timeout_ns : ENV_FOREVER;
    for (size_t i = 0; i < list->count; i++)
        if (wait_one(s, &list->all[i], deadline_ns, err) < 0)
            return -err->code;
    return 0;
}

static int check_cascade(struct delete_flags *f, struct error *err)
{
    static const char *const words[][2] = {
        {"background", "Background"}, {"foreground", "Foreground"}, {"orphan", "Orphan"}};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (!c_eq(f->cascade, words[i][0]))
            continue;
        f->cascade = words[i][1];
        return 0;
    }
    return error_set(
        err, ERR_USAGE, "--cascade is background, foreground or orphan, not \"%s\"", f->cascade);
}

static int delete_run(void *config, int argc, char **argv)
{
    struct delete_flags *f = config;
    struct session s;
    struct doomed_list done = {0};
    struct error err;
    if (check_cascade(f, &err) < 0)
        return session_fail(&err);
    if ((argc > 0) == (f->files.count > 0))
        return command_fail(EXIT_WRONG_USAGE, "delete needs either TYPE NAME... or -f FILE");
    if (f->files.count && (f->all || f->selector))
        return command_fail(EXIT_WRONG_USAGE, "-l and --all go with a TYPE, not with -f");
    if ((argc > 0 && targets_check(argc, argv, &err) < 0) || session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    size_t failed = 0;
    int result = f->files.count ? delete_manifests(f, &s, &done, &failed, &err)
                                : delete_targets(f, &s, argc, argv, &done, &failed, &err);
    fflush(stdout);
    if (result == 0 && !f->no_wait)
        result = wait_gone(f, &s, &done, &err);
    doomed_done(&done);
    session_close(&s);
    if (result < 0)
        return session_fail(&err);
    return failed ? EXIT_REQUEST_FAILED : EXIT_DONE;
}

#define DELETE(member) offsetof(struct delete_flags, member)

static const struct flag delete_flag_table[] = {
    {"filename,f", FLAG_STRINGS, DELETE(files), NULL, "FILE|FOLDER|-", "the objects of manifests"},
    {"selector,l", FLAG_STRING, DELETE(selector), NULL, "LABELS",
        "all of the type with these labels"},
    {"all", FLAG_BOOL, DELETE(all), NULL, NULL, "all of the type in the namespace"},
    {"cascade", FLAG_STRING, DELETE(cascade), "background", "HOW",
        "what happens to owned objects: background, foreground or orphan"},
    {"grace-period", FLAG_INT, DELETE(grace_period), "-1", "SECONDS",
        "time for pods to end (default: their own)"},
    {"force", FLAG_BOOL, DELETE(force), NULL, NULL, "do not wait for pods to end"},
    {"ignore-not-found", FLAG_BOOL, DELETE(ignore_not_found), NULL, NULL,
        "a missing object is no error"},
    {"no-wait", FLAG_BOOL, DELETE(no_wait), NULL, NULL, "return before the objects are gone"},
    {"timeout", FLAG_DURATION, DELETE(timeout_ns), "0s", "DURATION",
        "how long to wait (default: for ever)"},
    COMMON_FLAGS(struct delete_flags, common),
};

const struct command command_delete = {
    .name = "delete",
    .usage = "TYPE NAME... | TYPE/NAME... | -f FILE",
    .summary = "remove objects and wait until they are gone",
    .help = "Removes objects by name, by labels or by their manifests.\n\n"
            "Examples:\n  skiffctl delete pod web-0\n  skiffctl delete -f manifests/guestbook\n  "
            "skiffctl delete pods -l app=web",
    .flags = delete_flag_table,
    .flag_count = ARRAY_COUNT(delete_flag_table),
    .config_size = sizeof(struct delete_flags),
    .run = delete_run,
};
