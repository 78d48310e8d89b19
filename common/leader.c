/*
 * Leader election: see leader.h.
 *
 * One task: look at the Lease; take it when it is free or was not renewed for its duration as seen
 * from here; renew it; give it up at the end. Every write carries the resourceVersion it was
 * decided on, so of two candidates one gets a conflict.
 */
#include "common/leader.h"

#include <unistd.h>

#include "common/log.h"
#include "common/metrics.h"
#include "common/names.h"
#include "common/time.h"

struct leader {
    struct api_client *client;
    struct env *env;
    struct leader_config config;
    char *namespace_, *name, *identity;
    struct lock lock;
    struct cond changed;
    bool leads, stopping;
    int64_t transitions;
    int64_t renewed_ns; /* last success, before the request was sent */
    char *seen_version; /* of the Lease */
    int64_t seen_ns;    /* when that version was first seen */
    struct task *task;
};

static task_fn leader_run;

static const struct metric_info metric_status = {"leader_election_master_status", METRIC_GAUGE,
    "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 "
    "indicates master. 'name' is the string used to identify the lease. Please make sure to group "
    "by name.",
    {"name"}};

int leader_flags_check(const struct leader_flags *f, struct error *err)
{
    if (!f->elect)
        return 0;
    if (f->lease_ns < NS_PER_S)
        return error_set(err, ERR_USAGE, "--leader-elect-lease-duration must be at least 1s");
    if (f->retry_ns <= 0)
        return error_set(err, ERR_USAGE, "--leader-elect-retry-period must be greater than zero");
    if (f->lease_ns <= f->renew_deadline_ns)
        return error_set(err, ERR_USAGE,
            "--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline");
    if (f->renew_deadline_ns <= f->retry_ns + f->retry_ns / 5)
        return error_set(err, ERR_USAGE,
            "--leader-elect-renew-deadline must be greater than 1.2 times "
            "--leader-elect-retry-period");
    return 0;
}

static char *default_identity(struct env *env)
{
    char host[256] = "", suffix[17] = "";

    gethostname(host, sizeof(host) - 1);
    name_random_suffix(env_random(env), suffix, 8);
    return str_format("%s_%s", host, suffix);
}

struct leader *leader_new(struct api_client *client, const struct leader_config *config)
{
    struct leader *l = xcalloc(1, sizeof(*l));

    l->client = client;
    l->env = api_client_env(client);
    l->config = *config;
    l->namespace_ = xstrdup(config->namespace_);
    l->name = xstrdup(config->name);
    l->identity = config->identity ? xstrdup(config->identity) : default_identity(l->env);
    if (!l->config.lease_ns)
        l->config.lease_ns = 15 * NS_PER_S;
    if (!l->config.renew_deadline_ns)
        l->config.renew_deadline_ns = 10 * NS_PER_S;
    if (!l->config.retry_ns)
        l->config.retry_ns = 2 * NS_PER_S;
    env_lock_init(&l->lock);
    env_cond_init(&l->changed);
    metric_set(metrics_default(), &metric_status, 0, l->name);
    l->task = env_spawn(l->env, "leader", leader_run, l);
    return l;
}

void leader_free(struct leader *l)
{
    if (!l)
        return;
    env_lock(l->env, &l->lock);
    l->stopping = true;
    env_broadcast(l->env, &l->changed);
    env_unlock(l->env, &l->lock);
    env_join(l->env, l->task);
    env_cond_done(&l->changed);
    env_lock_done(&l->lock);
    free(l->namespace_);
    free(l->name);
    free(l->identity);
    free(l->seen_version);
    free(l);
}

bool leader_wait(struct leader *l, int64_t deadline_ns)
{
    env_lock(l->env, &l->lock);
    while (!l->leads && env_wait_until(l->env, &l->changed, &l->lock, deadline_ns))
        ;
    bool leads = l->leads;
    env_unlock(l->env, &l->lock);
    return leads;
}

bool leader_leads(struct leader *l)
{
    env_lock(l->env, &l->lock);
    bool leads = l->leads;
    env_unlock(l->env, &l->lock);
    return leads;
}

int64_t leader_transitions(struct leader *l)
{
    env_lock(l->env, &l->lock);
    int64_t transitions = l->transitions;
    env_unlock(l->env, &l->lock);
    return transitions;
}

static struct api_ref lease_ref(const struct leader *l)
{
    return (struct api_ref){.group_version = "coordination.k8s.io/v1",
        .plural = "leases",
        .namespace_ = l->namespace_,
        .name = l->name};
}

/* Fills spec as the holder now. acquired_ns 0 keeps what stands there. */
static void fill_spec(const struct leader *l, cJSON *lease, bool acquire, int64_t transitions)
{
    char now[TIME_TEXT_BYTES];

    time_print_us(env_wall_ns(l->env), now);
    json_set_string_at(lease, "spec.holderIdentity", l->identity);
    json_set_at(lease, "spec.leaseDurationSeconds", json_new_int64(l->config.lease_ns / NS_PER_S));
    json_set_string_at(lease, "spec.renewTime", now);
    json_set_at(lease, "spec.leaseTransitions", json_new_int64(transitions));
    if (acquire)
        json_set_string_at(lease, "spec.acquireTime", now);
}

static int create_lease(struct leader *l, struct error *err)
{
    struct api_ref ref = lease_ref(l);
    autojson cJSON *lease =
        json_make("{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\","
                  "\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\"},\"spec\":{}}",
            l->name, l->namespace_);

    ref.name = NULL;
    fill_spec(l, lease, true, 0);
    return api_create(l->client, &ref, lease, NULL, err);
}

/* Whether another holder's term still runs, counted from when this version of the Lease was first
 * seen. */
static bool held_by_other(struct leader *l, const cJSON *lease)
{
    const char *holder = json_string_at(lease, "spec.holderIdentity");
    const char *version = json_string_at(lease, "metadata.resourceVersion");
    int64_t duration = json_int64_at(lease, "spec.leaseDurationSeconds", 0) * NS_PER_S;
    int64_t now = env_now_ns(l->env);

    if (!c_eq(version, l->seen_version)) {
        free(l->seen_version);
        l->seen_version = version ? xstrdup(version) : NULL;
        l->seen_ns = now;
    }
    if (!holder || !*holder || !strcmp(holder, l->identity))
        return false;
    return now < l->seen_ns + duration;
}

/* 0: this instance holds the Lease now; -ERR_CONFLICT: another does; else the failure. */
static int try_hold(struct leader *l, struct error *err)
{
    struct api_ref ref = lease_ref(l);
    autojson cJSON *lease = NULL;
    int r = api_get(l->client, &ref, &lease, err);

    if (r == -ERR_NOT_FOUND)
        return create_lease(l, err);
    if (r < 0)
        return r;
    if (held_by_other(l, lease))
        return error_set(
            err, ERR_CONFLICT, "held by %s", json_string_at(lease, "spec.holderIdentity"));
    const char *holder = json_string_at(lease, "spec.holderIdentity");
    bool mine = c_eq(holder, l->identity);
    int64_t transitions = json_int64_at(lease, "spec.leaseTransitions", 0) + (mine ? 0 : 1);
    fill_spec(l, lease, !mine, transitions);
    r = api_update(l->client, &ref, lease, NULL, err);
    if (r == 0) {
        env_lock(l->env, &l->lock);
        l->transitions = transitions;
        env_unlock(l->env, &l->lock);
    }
    return r;
}

static void release(struct leader *l)
{
    struct api_ref ref = lease_ref(l);
    struct error err;
    autojson cJSON *patch = NULL;
    autojson cJSON *lease = NULL;
    if (api_get(l->client, &ref, &lease, &err) < 0 ||
        !c_eq(json_string_at(lease, "spec.holderIdentity"), l->identity))
        return;
    patch = json_make("{\"metadata\":{\"resourceVersion\":\"%s\"},"
                      "\"spec\":{\"holderIdentity\":\"\",\"leaseDurationSeconds\":1}}",
        json_string_at(lease, "metadata.resourceVersion"));
    if (api_patch(l->client, &ref, PATCH_MERGE, patch, NULL, &err) < 0)
        log_warning("leader lease not given up, it will run out", "lease", "%s", l->name, "err",
            "%s", err.text, NULL);
}

static bool pause_or_stop(struct leader *l)
{
    int64_t deadline = env_now_ns(l->env) + env_jitter_ns(l->env, l->config.retry_ns, 0.2);

    env_lock(l->env, &l->lock);
    while (!l->stopping && env_wait_until(l->env, &l->changed, &l->lock, deadline))
        ;
    bool stopping = l->stopping;
    env_unlock(l->env, &l->lock);
    return stopping;
}

static void set_leads(struct leader *l, bool leads)
{
    env_lock(l->env, &l->lock);
    l->leads = leads;
    metric_set(metrics_default(), &metric_status, leads, l->name);
    env_broadcast(l->env, &l->changed);
    env_unlock(l->env, &l->lock);
}

/* One look at the Lease; false when office was lost. */
static bool step(struct leader *l, bool *leads)
{
    struct error err;
    int64_t before = env_now_ns(l->env);
    int r = try_hold(l, &err);

    if (r == 0) {
        l->renewed_ns = before;
        if (!*leads)
            log_info("became leader", "lease", "%s/%s", l->namespace_, l->name, "identity", "%s",
                l->identity, NULL);
        *leads = true;
        set_leads(l, true);
        return true;
    }
    if (!*leads) {
        log_debug("not leading yet", "lease", "%s", l->name, "why", "%s", err.text, NULL);
        return true;
    }
    if (env_now_ns(l->env) - l->renewed_ns < l->config.renew_deadline_ns) {
        log_warning("leader lease not renewed, retrying", "lease", "%s", l->name, "err", "%s",
            err.text, NULL);
        return true;
    }
    log_error("leader election lost", "lease", "%s", l->name, "err", "%s", err.text, NULL);
    return false;
}

static void leader_run(void *arg)
{
    struct leader *l = arg;
    bool leads = false;

    do {
        if (!step(l, &leads)) {
            set_leads(l, false);
            if (l->config.on_lost)
                l->config.on_lost(l->config.arg);
            return;
        }
    } while (!pause_or_stop(l));
    set_leads(l, false);
    if (leads)
        release(l);
}
