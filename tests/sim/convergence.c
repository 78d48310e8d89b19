/*
 * Scenarios and end states; see convergence.h. Settled: the end state was the same for 40 simulated
 * seconds. Pods of Jobs end by a task that marks running ones as succeeded.
 */
#include "tests/sim/convergence.h"

#include "common/time.h"

#define SETTLED_NS (40 * NS_PER_S)
#define PATIENCE_NS (60 * 60 * NS_PER_S)
#define FAULTS 12
#define STEPS_MAX 6

const char *const fault_names[FAULT_PATTERNS] = {"no faults", "kills", "stale", "states"};

/* --- scenarios --- */

#define POD_SPEC(image)                                                        \
    "\"spec\":{\"terminationGracePeriodSeconds\":1,\"containers\":[{\"name\":" \
    "\"c\",\"image\":\"" image "\"}]}"
#define TEMPLATE(app, image) \
    "\"template\":{\"metadata\":{\"labels\":{\"app\":\"" app "\"}}," POD_SPEC(image) "}"
#define SELECTED(app) "\"selector\":{\"matchLabels\":{\"app\":\"" app "\"}}"
#define IMAGE(image)                                                                        \
    "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"" image \
    "\"}]}}}}"
#define JOB_SPEC                                                                     \
    "\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":" \
    "\"c\",\"image\":\"j:1\"}]}}"

enum op { CREATE, PATCH, DELETE };

struct step {
    enum op op;
    const char *group_version, *plural, *name, *body;
};

static const struct scenario {
    const char *name;
    struct step steps[STEPS_MAX]; /* until op CREATE without a body */
} scenarios[] = {
    {"deployment", {{CREATE, "apps/v1", "deployments", "web",
                        "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":3," SELECTED(
                            "web") "," TEMPLATE("web", "w:1") "}}"},
                       {PATCH, "apps/v1", "deployments", "web", "{\"spec\":{\"replicas\":5}}"},
                       {PATCH, "apps/v1", "deployments", "web", IMAGE("w:2")},
                       {PATCH, "apps/v1", "deployments", "web", IMAGE("w:1")}}},
    {"deployment deleted",
        {{CREATE, "apps/v1", "deployments", "web",
             "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":3," SELECTED(
                 "web") "," TEMPLATE("web", "w:1") "}}"},
            {DELETE, "apps/v1", "deployments", "web", "Background"}}},
    {"replicaset orphaned and adopted",
        {{CREATE, "apps/v1", "replicasets", "rs",
             "{\"metadata\":{\"name\":\"rs\"},\"spec\":{\"replicas\":3," SELECTED(
                 "rs") "," TEMPLATE("rs", "r:1") "}}"},
            {DELETE, "apps/v1", "replicasets", "rs", "Orphan"},
            {CREATE, "apps/v1", "replicasets", "again",
                "{\"metadata\":{\"name\":\"again\"},\"spec\":{\"replicas\":2," SELECTED(
                    "rs") "," TEMPLATE("rs", "r:1") "}}"}}},
    {"replicationcontroller",
        {{CREATE, "v1", "replicationcontrollers", "rc",
             "{\"metadata\":{\"name\":\"rc\"},\"spec\":{\"replicas\":4,\"selector\":{\"app\":"
             "\"rc\"}," TEMPLATE("rc", "r:1") "}}"},
            {PATCH, "v1", "replicationcontrollers", "rc", "{\"spec\":{\"replicas\":1}}"}}},
    {"statefulset", {{CREATE, "apps/v1", "statefulsets", "db",
                         "{\"metadata\":{\"name\":\"db\"},\"spec\":{\"replicas\":3,\"serviceName\":"
                         "\"db\"," SELECTED("db") "," TEMPLATE("db", "d:1") "}}"},
                        {PATCH, "apps/v1", "statefulsets", "db", IMAGE("d:2")},
                        {DELETE, "v1", "pods", "db-1", "Background"},
                        {PATCH, "apps/v1", "statefulsets", "db", "{\"spec\":{\"replicas\":1}}"}}},
    {"daemonset", {{CREATE, "apps/v1", "daemonsets", "agent",
                       "{\"metadata\":{\"name\":\"agent\"},\"spec\":{" SELECTED(
                           "agent") "," TEMPLATE("agent", "a:1") "}}"},
                      {PATCH, "apps/v1", "daemonsets", "agent", IMAGE("a:2")}}},
    {"job", {{CREATE, "batch/v1", "jobs", "sum",
                "{\"metadata\":{\"name\":\"sum\"},\"spec\":{\"completions\":5,\"parallelism\":"
                "2," JOB_SPEC "}}"}}},
    {"indexed job",
        {{CREATE, "batch/v1", "jobs", "each",
            "{\"metadata\":{\"name\":\"each\"},\"spec\":{\"completionMode\":\"Indexed\","
            "\"completions\":4,\"parallelism\":2," JOB_SPEC "}}"}}},
    {"job's time to live",
        {{CREATE, "batch/v1", "jobs", "brief",
            "{\"metadata\":{\"name\":\"brief\"},\"spec\":{\"ttlSecondsAfterFinished\":5," JOB_SPEC
            "}}"}}},
    {"cronjob", {{CREATE, "batch/v1", "cronjobs", "often",
                     "{\"metadata\":{\"name\":\"often\"},\"spec\":{\"schedule\":\"* * * * *\","
                     "\"successfulJobsHistoryLimit\":1,\"jobTemplate\":{\"spec\":{\"completions\":"
                     "1," JOB_SPEC "}}}}"},
                    {DELETE, "batch/v1", "cronjobs", "often", "Foreground"}}},
    {"services", {{CREATE, "v1", "services", "web",
                      "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"selector\":{\"app\":\"web\"},"
                      "\"ports\":[{"
                      "\"port\":80}]}}"},
                     {CREATE, "apps/v1", "replicasets", "web",
                         "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":4," SELECTED(
                             "web") "," TEMPLATE("web", "r:1") "}}"},
                     {PATCH, "apps/v1", "replicasets", "web", "{\"spec\":{\"replicas\":2}}"},
                     {DELETE, "v1", "services", "web", "Background"}}},
    {"disruption budget",
        {{CREATE, "policy/v1", "poddisruptionbudgets", "web",
             "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"minAvailable\":\"50%\"," SELECTED(
                 "web") "}}"},
            {CREATE, "apps/v1", "replicasets", "web",
                "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":4," SELECTED(
                    "web") "," TEMPLATE("web", "r:1") "}}"}}},
    {"resource quota",
        {{CREATE, "v1", "resourcequotas", "all",
             "{\"metadata\":{\"name\":\"all\"},\"spec\":{\"hard\":{\"pods\":\"10\",\"configmaps\":"
             "\"10\",\"count/replicasets.apps\":\"3\"}}}"},
            {CREATE, "apps/v1", "replicasets", "web",
                "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":4," SELECTED(
                    "web") "," TEMPLATE("web", "r:1") "}}"},
            {DELETE, "apps/v1", "replicasets", "web", "Foreground"}}},
    {"volumes",
        {{CREATE, "v1", "persistentvolumeclaims", "data",
             "{\"metadata\":{\"name\":\"data\",\"annotations\":{\"volume.kubernetes.io/"
             "selected-node\":"
             "\"node-a\"}},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{"
             "\"requests\":{"
             "\"storage\":\"1Gi\"}}}}"},
            {CREATE, "v1", "persistentvolumes", "static",
                "{\"metadata\":{\"name\":\"static\"},\"spec\":{\"capacity\":{\"storage\":\"2Gi\"},"
                "\"accessModes\":[\"ReadWriteOnce\"],\"persistentVolumeReclaimPolicy\":\"Retain\","
                "\"hostPath\":{\"path\":\"/x\"}}}"},
            {CREATE, "v1", "persistentvolumeclaims", "old",
                "{\"metadata\":{\"name\":\"old\"},\"spec\":{\"storageClassName\":\"\","
                "\"accessModes\":["
                "\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}"},
            {DELETE, "v1", "persistentvolumeclaims", "data", "Background"},
            {DELETE, "v1", "persistentvolumeclaims", "old", "Background"}}},
    {"namespace", {{CREATE, "v1", "namespaces", "team", "{\"metadata\":{\"name\":\"team\"}}"},
                      {DELETE, "v1", "namespaces", "team", "Background"}}},
};

size_t convergence_count(void)
{
    return ARRAY_COUNT(scenarios);
}

const char *convergence_name(size_t scenario)
{
    return scenarios[scenario].name;
}

/* --- the end state --- */

static const struct {
    const char *group_version, *plural;
} observed[] = {{"v1", "namespaces"}, {"v1", "pods"}, {"v1", "services"}, {"v1", "serviceaccounts"},
    {"v1", "endpoints"}, {"v1", "replicationcontrollers"}, {"v1", "resourcequotas"},
    {"v1", "persistentvolumes"}, {"v1", "persistentvolumeclaims"}, {"apps/v1", "deployments"},
    {"apps/v1", "replicasets"}, {"apps/v1", "statefulsets"}, {"apps/v1", "daemonsets"},
    {"apps/v1", "controllerrevisions"}, {"batch/v1", "jobs"}, {"batch/v1", "cronjobs"},
    {"policy/v1", "poddisruptionbudgets"}, {"discovery.k8s.io/v1", "endpointslices"}};

/* Members that chance or time decides. */
static bool is_volatile(const char *name)
{
    static const char *const names[] = {"uid", "resourceVersion", "creationTimestamp", "generation",
        "observedGeneration", "managedFields", "generateName", "lastTransitionTime",
        "lastUpdateTime", "lastProbeTime", "lastPhaseTransitionTime", "lastHeartbeatTime",
        "startTime", "completionTime", "lastScheduleTime", "lastSuccessfulTime", "startedAt",
        "finishedAt", "podIP", "podIPs", "hostIP", "hostIPs", "nodeName", "clusterIP", "clusterIPs",
        "containerID", "targetRef", "addresses", "ip", "message", "volumeName", "path", "secrets",
        "endpoints.kubernetes.io/last-change-trigger-time", "controller-uid",
        "batch.kubernetes.io/controller-uid", "volumes", "volumeMounts", "nodeAffinity", "subsets",
        "tolerations", "affinity", "containerStatuses", "qosClass", "resourceClaimStatuses"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static void strip(cJSON *tree)
{
    cJSON *item = tree ? tree->child : NULL, *next;
    for (; item; item = next) {
        next = item->next;
        if (item->string && is_volatile(item->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(tree, item));
        else
            strip(item);
    }
}

struct line_list {
    char **lines;
    size_t count;
};

static void add_line(struct line_list *l, const char *plural, cJSON *object)
{
    struct strbuf text;
    cJSON *metadata = json_get(object, "metadata");
    const char *base = json_string(metadata, "generateName"), *name = json_string(metadata, "name");
    autofree char *shown =
        base ? str_format("%s*", base) : xstrdup(strncmp(name, "pvc-", 4) != 0 ? name : "pvc-*");
    json_set_string(metadata, "name", shown);
    strip(object);
    json_sort(object);
    strbuf_init(&text, 0);
    strbuf_addf(&text, "%s ", plural);
    json_print(object, &text);
    l->lines = xrealloc(l->lines, (l->count + 1) * sizeof(*l->lines));
    l->lines[l->count++] = strbuf_steal(&text);
}

static int cmp_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether an owner, named by an object that is not being deleted, is missing. */
static bool is_orphan(const cJSON *object, const struct strbuf *uids)
{
    const cJSON *owner;
    cJSON_ArrayForEach(owner, json_path(object, "metadata.ownerReferences"))
    {
        const char *uid = json_string(owner, "uid"), *kind = json_string(owner, "kind");
        if (uid && !strstr(uids->data, uid) && !c_eq(kind, "Node"))
            return true;
    }
    return false;
}

static bool read_all(struct api_client *api, cJSON **lists)
{
    struct error err;
    for (size_t i = 0; i < ARRAY_COUNT(observed); i++) {
        struct api_ref ref = {
            .group_version = observed[i].group_version, .plural = observed[i].plural};
        if (api_list(api, &ref, NULL, &lists[i], &err) < 0)
            return false;
    }
    return true;
}

/* *ret_orphans: names of objects whose owner is missing, "" when there are none. */
static char *state_of(cJSON **lists, struct strbuf *orphans)
{
    struct strbuf uids, text;
    struct line_list l = {0};
    cJSON *item;
    strbuf_init(&uids, 0);
    strbuf_init(&text, 0);
    for (size_t i = 0; i < ARRAY_COUNT(observed); i++)
        cJSON_ArrayForEach(item, json_get(lists[i], "items"))
            strbuf_addf(&uids, "%s ", json_string_at(item, "metadata.uid"));
    for (size_t i = 0; i < ARRAY_COUNT(observed); i++)
        cJSON_ArrayForEach(item, json_get(lists[i], "items"))
        {
            if (is_orphan(item, &uids))
                strbuf_addf(
                    orphans, "%s %s ", observed[i].plural, json_string_at(item, "metadata.name"));
            add_line(&l, observed[i].plural, item);
        }
    qsort(l.lines, l.count, sizeof(*l.lines), cmp_line);
    for (size_t i = 0; i < l.count; i++) {
        strbuf_addf(&text, "%s\n", l.lines[i]);
        free(l.lines[i]);
    }
    free(l.lines);
    strbuf_done(&uids);
    return strbuf_steal(&text);
}

static char *read_state(struct api_client *api, struct strbuf *orphans)
{
    cJSON *lists[ARRAY_COUNT(observed)] = {0};
    char *state = read_all(api, lists) ? state_of(lists, orphans) : NULL;
    for (size_t i = 0; i < ARRAY_COUNT(observed); i++)
        cJSON_Delete(lists[i]);
    return state;
}

/* --- the run --- */

struct convergence {
    struct cluster *cluster;
    struct sim *sim;
    struct env *env;
    int kills_left;
    bool done;
};

static void on_write(void *arg)
{
    struct convergence *v = arg;
    if (v->kills_left <= 0 || sim_below(v->sim, 1000) >= 120)
        return;
    v->kills_left--;
    cluster_kill(v->cluster, "controllers");
}

/* Pods of Jobs have done their work one to four seconds after they run. */
static void run_ender(void *arg)
{
    struct convergence *v = arg;
    struct api_client *api = cluster_client(v->cluster, "ender");
    struct api_ref ref = {.group_version = "v1", .plural = "pods", .namespace_ = "default"};
    while (!v->done) {
        autojson cJSON *list = NULL;
        struct error err;
        const cJSON *pod;
        env_sleep_ns(v->env, (int64_t)(1000 + sim_below(v->sim, 3000)) * NS_PER_MS);
        if (api_list(api, &ref, "labelSelector=job-name", &list, &err) < 0)
            continue;
        cJSON_ArrayForEach(pod, json_get(list, "items"))
        {
            struct api_ref one = ref;
            one.name = json_string_at(pod, "metadata.name");
            one.subresource = "status";
            if (!c_eq(json_string_at(pod, "status.phase"), "Running"))
                continue;
            autojson cJSON *patch = json_make("{\"status\":{\"phase\":\"Succeeded\"}}");
            (void)api_patch(api, &one, PATCH_MERGE, patch, NULL, &err);
        }
    }
}

static bool take_step(struct convergence *v, struct api_client *api, const struct step *s)
{
    bool cluster_scoped =
        !strcmp(s->plural, "namespaces") || !strcmp(s->plural, "persistentvolumes");
    struct api_ref ref = {.group_version = s->group_version,
        .plural = s->plural,
        .namespace_ = cluster_scoped ? NULL : "default",
        .name = s->op == CREATE ? NULL : s->name};
    struct error err = {0};
    for (int tries = 0; tries < 100; tries++) {
        autojson cJSON *body = s->op == DELETE ? NULL : json_make("%s", s->body);
        struct api_delete_options options = {.propagation = s->body, .grace_seconds = -1};
        int r = s->op == CREATE  ? api_create(api, &ref, body, NULL, &err)
                : s->op == PATCH ? api_patch(api, &ref, PATCH_STRATEGIC, body, NULL, &err)
                                 : api_delete(api, &ref, &options, NULL, &err);
        if (r == 0 || r == -ERR_ALREADY_EXISTS || (s->op == DELETE && r == -ERR_NOT_FOUND))
            return true;
        env_sleep_ns(v->env, 300 * NS_PER_MS);
    }
    fprintf(stderr, "sim: %s %s: %s\n", s->plural, s->name, err.text);
    return false;
}

/* The state when it has not changed for a while; NULL when it never rests. */
static char *settle(struct convergence *v, struct api_client *api)
{
    int64_t deadline_ns = sim_now_ns(v->sim) + PATIENCE_NS, since_ns = sim_now_ns(v->sim);
    autofree char *last = NULL;
    struct strbuf orphans;
    strbuf_init(&orphans, 0);
    while (sim_now_ns(v->sim) < deadline_ns) {
        strbuf_clear(&orphans);
        char *now = read_state(api, &orphans);
        if (!now || !last || strcmp(now, last) != 0 || orphans.n)
            since_ns = sim_now_ns(v->sim);
        if (now) {
            free(last);
            last = now;
        }
        if (last && sim_now_ns(v->sim) - since_ns >= SETTLED_NS)
            return steal(&last);
        env_sleep_ns(v->env, 5 * NS_PER_S);
    }
    fprintf(stderr, "sim: it does not come to rest%s%s\n", orphans.n ? "; orphans: " : "",
        orphans.data);
    return NULL;
}

static void set_faults(struct convergence *v, enum fault_pattern pattern)
{
    struct faults *f = &v->cluster->net.faults;
    *f = (struct faults){.victim = "system:kube-controller-manager", .per_mille = 100};
    v->kills_left = FAULTS / 2;
    f->arg = v;
    f->on_write = pattern == FAULTS_KILLS ? on_write : NULL;
    f->delays_left = pattern == FAULTS_STALE ? 3 * FAULTS : 0;
    f->losses_left = pattern == FAULTS_STATES ? FAULTS : 0;
}

char *convergence_run(struct cluster *c, size_t scenario, enum fault_pattern pattern)
{
    struct convergence v = {.cluster = c, .sim = c->sim, .env = &sim_root(c->sim)->env};
    struct api_client *api = cluster_client(c, "user");
    struct task *ender = env_spawn(v.env, "ender", run_ender, &v);
    char *state = settle(&v, api);
    for (size_t i = 0; state && i < STEPS_MAX && scenarios[scenario].steps[i].plural; i++) {
        free(state);
        set_faults(&v, pattern);
        state = take_step(&v, api, &scenarios[scenario].steps[i]) ? settle(&v, api) : NULL;
    }
    v.done = true;
    env_join(v.env, ender);
    return state;
}
