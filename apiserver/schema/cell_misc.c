/*
 * Cells of the other kinds: jobs, autoscalers, budgets, quotas, access rules, certificates,
 * storage, admission.
 */
#include "apiserver/schema/cell.h"
#include "common/time.h"

static const cJSON *condition(const cJSON *o, const char *type)
{
    for (const cJSON *c = first_of(o, "status.conditions"); c; c = c->next)
        if (!strcmp(value_string(json_get(c, "type")), type) &&
            !strcmp(value_string(json_get(c, "status")), "True"))
            return c;
    return NULL;
}

/* A scalar at a path as text. */
static cJSON *scalar_or(const cJSON *o, const char *path, const char *otherwise)
{
    struct strbuf b;
    const cJSON *item = json_path(o, path);
    if (cJSON_IsString(item))
        return cell_text_or(item->valuestring, otherwise);
    if (!item || cJSON_IsNull(item))
        return cell_text(otherwise);
    strbuf_init(&b, 0);
    json_print(item, &b);
    return cell_buffer(&b);
}

static cJSON *flag(const cJSON *o, const char *path)
{
    return cJSON_CreateBool(cJSON_IsTrue(json_path(o, path)));
}

#define SCALAR_CELL(name, path, otherwise)             \
    cJSON *cell_##name(const cJSON *o, int64_t now_ns) \
    {                                                  \
        (void)now_ns;                                  \
        return scalar_or(o, path, otherwise);          \
    }
#define FLAG_CELL(name, path)                          \
    cJSON *cell_##name(const cJSON *o, int64_t now_ns) \
    {                                                  \
        (void)now_ns;                                  \
        return flag(o, path);                          \
    }
#define COUNT_CELL(name, path)                         \
    cJSON *cell_##name(const cJSON *o, int64_t now_ns) \
    {                                                  \
        (void)now_ns;                                  \
        return cell_number(count_of(o, path));         \
    }

SCALAR_CELL(cronjob_zone, "spec.timeZone", "<none>")
FLAG_CELL(cronjob_suspend, "spec.suspend")
COUNT_CELL(cronjob_active, "status.active")
SCALAR_CELL(hpa_min, "spec.minReplicas", "<unset>")
SCALAR_CELL(hpa_max, "spec.maxReplicas", "0")
SCALAR_CELL(hpa_replicas, "status.currentReplicas", "0")
SCALAR_CELL(pdb_min, "spec.minAvailable", "N/A")
SCALAR_CELL(pdb_max, "spec.maxUnavailable", "N/A")
SCALAR_CELL(class_reclaim, "reclaimPolicy", "Delete")
SCALAR_CELL(class_binding, "volumeBindingMode", "<unset>")
FLAG_CELL(class_expansion, "allowVolumeExpansion")
FLAG_CELL(global_default, "globalDefault")
FLAG_CELL(attached, "status.attached")
FLAG_CELL(driver_attach, "spec.attachRequired")
FLAG_CELL(driver_pod_info, "spec.podInfoOnMount")
FLAG_CELL(driver_capacity, "spec.storageCapacity")
FLAG_CELL(driver_republish, "spec.requiresRepublish")
COUNT_CELL(csinode_drivers, "spec.drivers")
COUNT_CELL(webhooks, "webhooks")
COUNT_CELL(validations, "spec.validations")
COUNT_CELL(mutations, "spec.mutations")
SCALAR_CELL(flow_precedence, "spec.matchingPrecedence", "0")
SCALAR_CELL(flow_method, "spec.distinguisherMethod.type", "<none>")
SCALAR_CELL(level_shares, "spec.limited.nominalConcurrencyShares", "<none>")
SCALAR_CELL(level_queues, "spec.limited.limitResponse.queuing.queues", "<none>")
SCALAR_CELL(level_hand, "spec.limited.limitResponse.queuing.handSize", "<none>")
SCALAR_CELL(level_limit, "spec.limited.limitResponse.queuing.queueLengthLimit", "<none>")
SCALAR_CELL(slice_node, "spec.nodeName", "<none>")

cJSON *cell_cronjob_last(const cJSON *o, int64_t now_ns)
{
    const char *last = json_string_at(o, "status.lastScheduleTime");
    return last ? cell_age_of(last, now_ns) : cell_text("<none>");
}

cJSON *cell_job_status(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    static const struct {
        const char *type, *text;
    } states[] = {{"Complete", "Complete"}, {"Failed", "Failed"}, {"Suspended", "Suspended"},
        {"FailureTarget", "FailureTarget"}, {"SuccessCriteriaMet", "SuccessCriteriaMet"}};
    for (size_t i = 0; i < 2; i++)
        if (condition(o, states[i].type))
            return cell_text(states[i].text);
    if (json_string_at(o, "metadata.deletionTimestamp"))
        return cell_text("Terminating");
    for (size_t i = 2; i < ARRAY_COUNT(states); i++)
        if (condition(o, states[i].type))
            return cell_text(states[i].text);
    return cell_text("Running");
}

cJSON *cell_job_completions(const cJSON *o, int64_t now_ns)
{
    char text[64];
    (void)now_ns;
    long long done = json_int64_at(o, "status.succeeded", 0);
    long long wanted = json_int64_at(o, "spec.completions", -1);
    long long parallel = json_int64_at(o, "spec.parallelism", 0);
    if (wanted >= 0)
        snprintf(text, sizeof(text), "%lld/%lld", done, wanted);
    else if (parallel > 1)
        snprintf(text, sizeof(text), "%lld/1 of %lld", done, parallel);
    else
        snprintf(text, sizeof(text), "%lld/1", done);
    return cell_text(text);
}

cJSON *cell_job_duration(const cJSON *o, int64_t now_ns)
{
    struct error err;
    int64_t end;
    const char *start = json_string_at(o, "status.startTime");
    const char *completed = json_string_at(o, "status.completionTime");
    if (!start)
        return cell_text("");
    if (completed && time_parse(str_of(completed), &end, &err) == 0)
        return cell_age_of(start, end);
    return cell_age_of(start, now_ns);
}

cJSON *cell_hpa_reference(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    strbuf_addf(&b, "%s/%s", value_string(json_path(o, "spec.scaleTargetRef.kind")),
        value_string(json_path(o, "spec.scaleTargetRef.name")));
    return cell_buffer(&b);
}

static void print_target(
    const cJSON *spec, const cJSON *status, const char *member, struct strbuf *b)
{
    const cJSON *source = json_get(spec, member), *target = json_get(source, "target");
    const cJSON *current = json_get(json_get(status, member), "current");
    const cJSON *utilization = json_get(target, "averageUtilization");
    const char *average = value_string(json_get(target, "averageValue"));
    const char *now = value_string(json_get(current, "averageValue"));
    const char *name = value_string(json_get(source, "name"));
    if (!*average && !utilization) {
        average = value_string(json_get(target, "value"));
        now = value_string(json_get(current, "value"));
    }
    strbuf_addf(b, "%s%s%s", b->n ? ", " : "", name, *name ? ": " : "");
    if (!utilization) {
        strbuf_addf(b, "%s/%s", *now ? now : "<unknown>", *average ? average : "<auto>");
        return;
    }
    if (json_get(current, "averageUtilization"))
        strbuf_addf(b, "%lld%%", (long long)json_int64_at(current, "averageUtilization", 0));
    else
        strbuf_addc(b, "<unknown>");
    strbuf_addf(b, "/%lld%%", (long long)json_int64_at(target, "averageUtilization", 0));
}

cJSON *cell_hpa_targets(const cJSON *o, int64_t now_ns)
{
    static const struct {
        const char *type, *member;
    } sources[] = {{"Resource", "resource"}, {"ContainerResource", "containerResource"},
        {"Pods", "pods"}, {"Object", "object"}, {"External", "external"}};
    struct strbuf b;
    size_t shown = 0, total = 0;
    (void)now_ns;
    strbuf_init(&b, 0);
    const cJSON *status = first_of(o, "status.currentMetrics");
    for (const cJSON *m = first_of(o, "spec.metrics"); m; m = m->next, total++) {
        for (size_t i = 0; i < ARRAY_COUNT(sources); i++)
            if (shown < 2 && !strcmp(value_string(json_get(m, "type")), sources[i].type) && ++shown)
                print_target(m, status, sources[i].member, &b);
        status = status ? status->next : NULL;
    }
    if (total == 0)
        strbuf_addc(&b, "<none>");
    else if (total > shown)
        strbuf_addf(&b, " + %zu more...", total - shown);
    return cell_buffer(&b);
}

cJSON *cell_hpa_targets_v1(const cJSON *o, int64_t now_ns)
{
    char text[64];
    (void)now_ns;
    long long target = json_int64_at(o, "spec.targetCPUUtilizationPercentage", -1);
    long long current = json_int64_at(o, "status.currentCPUUtilizationPercentage", -1);
    if (target < 0)
        return cell_text("<none>");
    if (current < 0)
        snprintf(text, sizeof(text), "cpu: <unknown>/%lld%%", target);
    else
        snprintf(text, sizeof(text), "cpu: %lld%%/%lld%%", current, target);
    return cell_text(text);
}

/* limits: only the entries named limits.*, or only the others. */
static cJSON *quota(const cJSON *o, bool limits)
{
    struct strbuf b;
    strbuf_init(&b, 0);
    autojson cJSON *hard = cJSON_Duplicate(json_path(o, "status.hard"), true);
    automembers struct members all_used = members_of(json_path(o, "status.used"), 0);
    if (hard)
        json_sort(hard);
    for (const cJSON *h = hard ? hard->child : NULL; h; h = h->next) {
        if (limits != !strncmp(h->string, "limits.", 7))
            continue;
        const char *used = value_string(members_get(&all_used, h->string));
        strbuf_addf(
            &b, "%s%s: %s/%s", b.n ? ", " : "", h->string, *used ? used : "0", value_string(h));
    }
    return cell_buffer(&b);
}

cJSON *cell_quota_requests(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return quota(o, false);
}

cJSON *cell_quota_limits(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return quota(o, true);
}

cJSON *cell_role_ref(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    strbuf_addf(&b, "%s/%s", value_string(json_path(o, "roleRef.kind")),
        value_string(json_path(o, "roleRef.name")));
    return cell_buffer(&b);
}

static cJSON *subjects(const cJSON *o, const char *kind)
{
    struct strbuf b;
    strbuf_init(&b, 0);
    for (const cJSON *s = first_of(o, "subjects"); s; s = s->next) {
        const char *ns = value_string(json_get(s, "namespace"));
        if (strcmp(value_string(json_get(s, "kind")), kind) != 0)
            continue;
        strbuf_addf(
            &b, "%s%s%s%s", b.n ? ", " : "", ns, *ns ? "/" : "", value_string(json_get(s, "name")));
    }
    return cell_buffer(&b);
}

cJSON *cell_subject_users(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return subjects(o, "User");
}

cJSON *cell_subject_groups(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return subjects(o, "Group");
}

cJSON *cell_subject_accounts(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return subjects(o, "ServiceAccount");
}

cJSON *cell_csr_duration(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    int64_t seconds = json_int64_at(o, "spec.expirationSeconds", 0);
    (void)now_ns;
    if (seconds == 0)
        return cell_text("<none>");
    strbuf_init(&b, 0);
    duration_print_human(seconds * NS_PER_S, &b);
    return cell_buffer(&b);
}

cJSON *cell_csr_condition(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    bool approved = condition(o, "Approved"), denied = condition(o, "Denied");
    strbuf_init(&b, 0);
    strbuf_addc(&b, denied ? "Denied" : approved ? "Approved" : "Pending");
    if (condition(o, "Failed"))
        strbuf_addc(&b, ",Failed");
    if (*value_string(json_path(o, "status.certificate")))
        strbuf_addc(&b, ",Issued");
    return cell_buffer(&b);
}

cJSON *cell_storage_class_name(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    const cJSON *notes = json_path(o, "metadata.annotations");
    bool is_default =
        !strcmp(
            value_string(json_get(notes, "storageclass.kubernetes.io/is-default-class")), "true") ||
        !strcmp(value_string(json_get(notes, "storageclass.beta.kubernetes.io/is-default-class")),
            "true");
    strbuf_init(&b, 0);
    strbuf_addf(
        &b, "%s%s", value_string(json_path(o, "metadata.name")), is_default ? " (default)" : "");
    return cell_buffer(&b);
}

static cJSON *join(const cJSON *o, const char *path, const char *member, const char *otherwise)
{
    struct strbuf b;
    strbuf_init(&b, 0);
    for (const cJSON *e = first_of(o, path); e; e = e->next)
        strbuf_addf(&b, "%s%s", b.n ? "," : "", value_string(member ? json_get(e, member) : e));
    if (b.n == 0)
        strbuf_addc(&b, otherwise);
    return cell_buffer(&b);
}

cJSON *cell_driver_tokens(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return join(o, "spec.tokenRequests", "audience", "<unset>");
}

cJSON *cell_driver_modes(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return join(o, "spec.volumeLifecycleModes", NULL, "<unset>");
}

cJSON *cell_flow_missing(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    for (const cJSON *c = first_of(o, "status.conditions"); c; c = c->next)
        if (!strcmp(value_string(json_get(c, "type")), "Dangling"))
            return cell_text_or(json_string(c, "status"), "?");
    return cell_text("?");
}

cJSON *cell_param_kind(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *k = json_path(o, "spec.paramKind");
    (void)now_ns;
    if (!k)
        return cell_text("<unset>");
    strbuf_init(&b, 0);
    strbuf_addf(
        &b, "%s/%s", value_string(json_get(k, "apiVersion")), value_string(json_get(k, "kind")));
    return cell_buffer(&b);
}

cJSON *cell_param_ref(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *r = json_path(o, "spec.paramRef");
    (void)now_ns;
    if (!r)
        return cell_text("<unset>");
    const char *ns = value_string(json_get(r, "namespace")),
               *name = value_string(json_get(r, "name"));
    strbuf_init(&b, 0);
    strbuf_addf(&b, "%s/%s", *ns ? ns : "*", *name ? name : "*");
    return cell_buffer(&b);
}

cJSON *cell_api_service(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *s = json_path(o, "spec.service");
    (void)now_ns;
    if (!s)
        return cell_text("Local");
    strbuf_init(&b, 0);
    strbuf_addf(
        &b, "%s/%s", value_string(json_get(s, "namespace")), value_string(json_get(s, "name")));
    return cell_buffer(&b);
}

cJSON *cell_api_available(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_text(condition(o, "Available") ? "True" : "False");
}

cJSON *cell_claim_state(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    strbuf_init(&b, 0);
    if (json_string_at(o, "metadata.deletionTimestamp"))
        strbuf_addc(&b, "deleted");
    if (json_path(o, "status.allocation"))
        strbuf_addc(&b, b.n ? ",allocated" : "allocated");
    if (first_of(o, "status.reservedFor"))
        strbuf_addc(&b, b.n ? ",reserved" : "reserved");
    if (b.n == 0)
        strbuf_addc(&b, "pending");
    return cell_buffer(&b);
}
