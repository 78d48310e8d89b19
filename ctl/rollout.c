/*
 * skiffctl rollout status|history|undo|restart|pause|resume of Deployments, StatefulSets and
 * DaemonSets.
 *
 * Texts of status are kubectl's, since scripts read them. undo puts the template of an earlier
 * revision back (of a ReplicaSet, or of a ControllerRevision).
 */
#include "ctl/session.h"

#include "common/time.h"

#define REVISION "deployment.kubernetes.io/revision"
#define CHANGE_CAUSE "kubernetes.io/change-cause"
#define RESTARTED_AT "kubectl.kubernetes.io/restartedAt"

struct rollout_flags {
    struct common_flags common;
    int64_t timeout_ns, to_revision;
    bool no_watch;
};

struct rollout {
    const struct rollout_flags *f;
    struct session *s;
    const struct ctl_resource *resource;
    const char *name;
};

static int64_t number(const cJSON *o, const char *path)
{
    return json_int64_at(o, path, 0);
}

/* --- status: 1 done, 0 not yet (text says what is awaited), <0 failed for good --- */

static int deployment_status(
    const struct rollout *r, const cJSON *o, char *text, size_t n, struct error *err)
{
    long long wanted = json_int64_at(o, "spec.replicas", 1),
              updated = number(o, "status.updatedReplicas");
    long long total = number(o, "status.replicas"),
              available = number(o, "status.availableReplicas");
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(o, "status.conditions"))
    {
        if (c_eq(json_string(c, "type"), "Progressing") &&
            c_eq(json_string(c, "reason"), "ProgressDeadlineExceeded"))
            return error_set(
                err, ERR_TIMEOUT, "deployment \"%s\" exceeded its progress deadline", r->name);
    }
    if (updated < wanted)
        snprintf(text, n,
            "Waiting for deployment \"%s\" rollout to finish: %lld out of %lld new replicas have "
            "been updated...",
            r->name, updated, wanted);
    else if (total > updated)
        snprintf(text, n,
            "Waiting for deployment \"%s\" rollout to finish: %lld old replicas are pending "
            "termination...",
            r->name, total - updated);
    else if (available < updated)
        snprintf(text, n,
            "Waiting for deployment \"%s\" rollout to finish: %lld of %lld updated replicas are "
            "available...",
            r->name, available, updated);
    else
        snprintf(text, n, "deployment \"%s\" successfully rolled out", r->name);
    return updated >= wanted && total <= updated && available >= updated;
}

static int stateful_set_status(
    const struct rollout *r, const cJSON *o, char *text, size_t n, struct error *err)
{
    long long wanted = json_int64_at(o, "spec.replicas", 1),
              ready = number(o, "status.readyReplicas");
    long long updated = number(o, "status.updatedReplicas"),
              partition = number(o, "spec.updateStrategy.rollingUpdate.partition");
    const char *current = json_string_at(o, "status.currentRevision"),
               *update = json_string_at(o, "status.updateRevision");
    if (c_eq(json_string_at(o, "spec.updateStrategy.type"), "OnDelete"))
        return error_set(err, ERR_BAD_REQUEST,
            "rollout status is only available for RollingUpdate strategy type");
    if (ready < wanted) {
        snprintf(text, n, "Waiting for %lld pods to be ready...", wanted - ready);
        return 0;
    }
    if (partition > 0) {
        bool done = updated >= wanted - partition;
        if (done)
            snprintf(text, n, "partitioned roll out complete: %lld new pods have been updated...",
                updated);
        else
            snprintf(text, n,
                "Waiting for partitioned roll out to finish: %lld out of %lld new pods have been "
                "updated...",
                updated, wanted - partition);
        return done;
    }
    if (!c_eq(current, update)) {
        snprintf(text, n,
            "waiting for statefulset rolling update to complete %lld pods at revision %s...",
            updated, update ? update : "");
        return 0;
    }
    snprintf(text, n, "statefulset rolling update complete %lld pods at revision %s...",
        (long long)number(o, "status.currentReplicas"), current ? current : "");
    return 1;
}

static int daemon_set_status(
    const struct rollout *r, const cJSON *o, char *text, size_t n, struct error *err)
{
    long long wanted = number(o, "status.desiredNumberScheduled"),
              updated = number(o, "status.updatedNumberScheduled");
    long long available = number(o, "status.numberAvailable");
    if (c_eq(json_string_at(o, "spec.updateStrategy.type"), "OnDelete"))
        return error_set(err, ERR_BAD_REQUEST,
            "rollout status is only available for RollingUpdate strategy type");
    if (updated < wanted)
        snprintf(text, n,
            "Waiting for daemon set \"%s\" rollout to finish: %lld out of %lld new pods have been "
            "updated...",
            r->name, updated, wanted);
    else if (available < wanted)
        snprintf(text, n,
            "Waiting for daemon set \"%s\" rollout to finish: %lld of %lld updated pods are "
            "available...",
            r->name, available, wanted);
    else
        snprintf(text, n, "daemon set \"%s\" successfully rolled out", r->name);
    return updated >= wanted && available >= wanted;
}

static const struct kind {
    const char *kind;
    int (*status)(const struct rollout *, const cJSON *, char *, size_t, struct error *);
} kinds[] = {
    {"Deployment", deployment_status},
    {"StatefulSet", stateful_set_status},
    {"DaemonSet", daemon_set_status},
};

static const struct kind *kind_of(const struct ctl_resource *r)
{
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (c_eq(r->kind, kinds[i].kind))
            return &kinds[i];
    return NULL;
}

static int get_object(const struct rollout *r, cJSON **ret, struct error *err)
{
    struct api_ref ref = resource_ref(r->resource, r->s->namespace_, r->name);
    return api_get(r->s->client.api, &ref, ret, err);
}

static int status_once(const struct rollout *r, char *text, size_t n, struct error *err)
{
    autojson cJSON *o = NULL;
    if (get_object(r, &o, err) < 0)
        return -err->code;
    if (number(o, "metadata.generation") > number(o, "status.observedGeneration")) {
        snprintf(text, n, "Waiting for %s spec update to be observed...", r->resource->singular);
        return 0;
    }
    return kind_of(r->resource)->status(r, o, text, n, err);
}

static int rollout_status(const struct rollout *r, struct error *err)
{
    struct env *env = r->s->client.env;
    int64_t deadline_ns = r->f->timeout_ns ? env_now_ns(env) + r->f->timeout_ns : ENV_FOREVER;
    char text[400] = "", last[400] = "";
    for (;;) {
        int done = status_once(r, text, sizeof(text), err);
        if (done < 0)
            return done;
        if (strcmp(text, last) != 0) {
            printf("%s\n", text);
            fflush(stdout);
            snprintf(last, sizeof(last), "%s", text);
        }
        if (done || r->f->no_watch)
            return 0;
        if (env_now_ns(env) > deadline_ns)
            return error_set(err, ERR_TIMEOUT, "timed out waiting for the condition");
        env_sleep_ns(env, 100 * NS_PER_MS);
    }
}

/* --- revisions --- */

/* ReplicaSets or ControllerRevisions controlled by the object, as a List. */
static int owned_revisions(const struct rollout *r, const cJSON *o, cJSON **ret, struct error *err)
{
    bool is_deployment = c_eq(r->resource->kind, "Deployment");
    struct api_ref ref = {.group_version = "apps/v1",
        .plural = is_deployment ? "replicasets" : "controllerrevisions",
        .namespace_ = r->s->namespace_};
    autojson cJSON *list = NULL;
    cJSON *mine = cJSON_CreateArray(), *item, *next;
    if (api_list(r->s->client.api, &ref, NULL, &list, err) < 0) {
        cJSON_Delete(mine);
        return -err->code;
    }
    for (item = json_get(list, "items") ? json_get(list, "items")->child : NULL; item;
         item = next) {
        const cJSON *owner;
        bool owned = false;
        next = item->next;
        cJSON_ArrayForEach(owner, json_path(item, "metadata.ownerReferences")) owned =
            owned || c_eq(json_string(owner, "uid"), json_string_at(o, "metadata.uid"));
        if (owned)
            cJSON_AddItemToArray(mine, cJSON_DetachItemViaPointer(json_get(list, "items"), item));
    }
    *ret = mine;
    return 0;
}

static int64_t revision_of(const cJSON *item)
{
    const char *text = json_string(json_path(item, "metadata.annotations"), REVISION);
    int64_t n = number(item, "revision");
    struct error err;
    if (text)
        str_parse_int64(str_of(text), &n, &err);
    return n;
}

static const cJSON *find_revision(const cJSON *list, int64_t wanted)
{
    const cJSON *item, *best = NULL, *second = NULL;
    cJSON_ArrayForEach(item, list)
    {
        if (wanted && revision_of(item) == wanted)
            return item;
        if (!best || revision_of(item) > revision_of(best)) {
            second = best;
            best = item;
        } else if (!second || revision_of(item) > revision_of(second)) {
            second = item;
        }
    }
    return wanted ? NULL : second; /* the one before the newest */
}

static int rollout_history(const struct rollout *r, struct error *err)
{
    autojson cJSON *o = NULL;
    autojson cJSON *list = NULL;
    int64_t last = 0;
    if (get_object(r, &o, err) < 0 || owned_revisions(r, o, &list, err) < 0)
        return -err->code;
    printf("%s/%s\n%-10s%s\n", r->resource->plural, r->name, "REVISION", "CHANGE-CAUSE");
    for (;;) { /* ascending */
        const cJSON *item, *best = NULL;
        cJSON_ArrayForEach(item, list)
        {
            if (revision_of(item) > last && (!best || revision_of(item) < revision_of(best)))
                best = item;
        }
        if (!best)
            break;
        last = revision_of(best);
        const char *cause = json_string(json_path(best, "metadata.annotations"), CHANGE_CAUSE);
        printf("%-10lld%s\n", (long long)last, cause ? cause : "<none>");
    }
    return 0;
}

static int patch_object(
    const struct rollout *r, enum patch_type type, const cJSON *patch, struct error *err)
{
    struct api_ref ref = resource_ref(r->resource, r->s->namespace_, r->name);
    return api_patch(r->s->client.api, &ref, type, patch, NULL, err);
}

static int rollout_undo(const struct rollout *r, struct error *err)
{
    autojson cJSON *o = NULL;
    autojson cJSON *list = NULL;
    if (get_object(r, &o, err) < 0 || owned_revisions(r, o, &list, err) < 0)
        return -err->code;
    if (json_bool(json_get(o, "spec"), "paused", false))
        return error_set(err, ERR_CONFLICT,
            "you cannot rollback a paused %s; resume it first with 'skiffctl rollout resume' and "
            "try again",
            r->resource->singular);
    const cJSON *to = find_revision(list, r->f->to_revision);
    if (!to)
        return r->f->to_revision
                   ? error_set(err, ERR_NOT_FOUND,
                         "unable to find specified revision %lld in history",
                         (long long)r->f->to_revision)
                   : error_set(err, ERR_NOT_FOUND, "no rollout history found for %s \"%s\"",
                         r->resource->singular, r->name);
    int result;
    if (c_eq(r->resource->kind, "Deployment")) {
        cJSON *template_ = cJSON_Duplicate(json_path(to, "spec.template"), true);
        json_remove(json_path(template_, "metadata.labels"), "pod-template-hash");
        autojson cJSON *patch = json_make("[{\"op\":\"replace\",\"path\":\"/spec/template\"}]");
        json_set(patch->child, "value", template_);
        result = patch_object(r, PATCH_JSON, patch, err);
    } else { /* its data is the patch that makes the template */
        result = patch_object(r, PATCH_STRATEGIC, json_get(to, "data"), err);
    }
    if (result == 0)
        printf("%s.%s/%s rolled back\n", r->resource->singular, r->resource->group, r->name);
    return result;
}

static int rollout_restart(const struct rollout *r, struct error *err)
{
    char now[TIME_TEXT_BYTES];
    autojson cJSON *o = NULL;
    if (get_object(r, &o, err) < 0)
        return -err->code;
    if (json_bool(json_get(o, "spec"), "paused", false))
        return error_set(err, ERR_CONFLICT, "can't restart paused %s (run rollout resume first)",
            r->resource->singular);
    time_print_s(env_wall_ns(r->s->client.env), now);
    autojson cJSON *patch = json_make(
        "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"" RESTARTED_AT "\":\"%s\"}}}}}",
        now);
    int result = patch_object(r, PATCH_STRATEGIC, patch, err);
    if (result == 0)
        printf("%s.%s/%s restarted\n", r->resource->singular, r->resource->group, r->name);
    return result;
}

static int set_paused(const struct rollout *r, bool paused, struct error *err)
{
    autojson cJSON *patch = json_make("{\"spec\":{\"paused\":%s}}", paused ? "true" : "null");
    if (!c_eq(r->resource->kind, "Deployment"))
        return error_set(err, ERR_USAGE, "only Deployments can be paused and resumed");
    int result = patch_object(r, PATCH_STRATEGIC, patch, err);
    if (result == 0)
        printf("%s.%s/%s %s\n", r->resource->singular, r->resource->group, r->name,
            paused ? "paused" : "resumed");
    return result;
}

static int rollout_pause(const struct rollout *r, struct error *err)
{
    return set_paused(r, true, err);
}

static int rollout_resume(const struct rollout *r, struct error *err)
{
    return set_paused(r, false, err);
}

static const struct {
    const char *name;
    int (*run)(const struct rollout *r, struct error *err);
} verbs[] = {
    {"status", rollout_status},
    {"history", rollout_history},
    {"undo", rollout_undo},
    {"restart", rollout_restart},
    {"pause", rollout_pause},
    {"resume", rollout_resume},
};

static int run_verb(const struct rollout_flags *f, struct session *s, size_t verb, int argc,
    char **argv, struct error *err)
{
    struct targets targets;
    int result = targets_parse(&s->map, argc, argv, &targets, err);
    if (result < 0)
        return result;
    for (size_t i = 0; result == 0 && i < targets.count; i++) {
        struct rollout r = {f, s, targets.all[i].resource, targets.all[i].name};
        if (!kind_of(r.resource))
            result = error_set(err, ERR_USAGE,
                "rollout works on deployments, statefulsets and daemonsets, not on %s",
                r.resource->plural);
        else if (!r.name)
            result = error_set(err, ERR_USAGE, "rollout %s needs a name: %s/NAME", verbs[verb].name,
                r.resource->singular);
        else
            result = verbs[verb].run(&r, err);
    }
    targets_done(&targets);
    return result;
}

static int rollout_run(void *config, int argc, char **argv)
{
    struct rollout_flags *f = config;
    struct session s;
    struct error err;
    size_t verb = 0;
    while (argc > 0 && verb < ARRAY_COUNT(verbs) && !c_eq(argv[0], verbs[verb].name))
        verb++;
    if (argc < 2 || verb == ARRAY_COUNT(verbs))
        return command_fail(EXIT_WRONG_USAGE,
            "rollout needs one of status, history, undo, restart, pause, resume, and TYPE/NAME");
    if (targets_check(argc - 1, argv + 1, &err) < 0 || session_open(&f->common, &s, &err) < 0)
        return session_fail(&err);
    int result = run_verb(f, &s, verb, argc - 1, argv + 1, &err);
    session_close(&s);
    return result < 0 ? session_fail(&err) : EXIT_DONE;
}

static const struct flag rollout_flag_table[] = {
    {"timeout", FLAG_DURATION, offsetof(struct rollout_flags, timeout_ns), "0s", "DURATION",
        "status: how long to wait (default: for ever)"},
    {"no-watch", FLAG_BOOL, offsetof(struct rollout_flags, no_watch), NULL, NULL,
        "status: say how it stands and return"},
    {"to-revision", FLAG_INT, offsetof(struct rollout_flags, to_revision), "0", "N",
        "undo: the revision to go back to (default: the previous)"},
    COMMON_FLAGS(struct rollout_flags, common),
};

const struct command command_rollout = {
    .name = "rollout",
    .usage = "status|history|undo|restart|pause|resume TYPE/NAME",
    .summary = "follow, undo and steer the roll-out of a change",
    .help = "Works on Deployments, StatefulSets and DaemonSets.\n\n"
            "Examples:\n  skiffctl rollout status deployment/web\n  skiffctl rollout undo "
            "deployment/web\n"
            "  skiffctl rollout history deployment/web",
    .flags = rollout_flag_table,
    .flag_count = ARRAY_COUNT(rollout_flag_table),
    .config_size = sizeof(struct rollout_flags),
    .run = rollout_run,
};
