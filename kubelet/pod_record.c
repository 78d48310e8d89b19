/*
 * Pod records: what is remembered about a pod between two syncs. See agent.h for who may touch
 * what.
 *
 * Invariant: a record is in the table as long as its pod is in the API or anything of it is left on
 * the node; the table holds one reference.
 */
#include "kubelet/agent.h"

#include "kubelet/sync.h"

#include <stdarg.h>

struct pod_record *record_find(struct agent *agent, const char *uid)
{
    struct pod_record *record = NULL;

    env_lock(agent->env, &agent->lock);
    HASH_FIND_STR(agent->records, uid, record);
    if (record)
        __atomic_add_fetch(&record->references, 1, __ATOMIC_RELAXED);
    env_unlock(agent->env, &agent->lock);
    return record;
}

struct pod_record *record_of(struct agent *agent, struct kubelet *node, const char *uid,
    const char *namespace_, const char *name)
{
    struct pod_record *record = NULL;

    env_lock(agent->env, &agent->lock);
    HASH_FIND_STR(agent->records, uid, record);
    if (!record) {
        record = xcalloc(1, sizeof(*record));
        record->references = 1;
        record->agent = agent;
        record->node = node;
        record->uid = xstrdup(uid);
        record->namespace_ = xstrdup(namespace_);
        record->name = xstrdup(name);
        record->first_seen_ns = env_now_ns(agent->env);
        env_lock_init(&record->lock);
        HASH_ADD_KEYPTR(hh, agent->records, record->uid, strlen(record->uid), record);
    }
    __atomic_add_fetch(&record->references, 1, __ATOMIC_RELAXED);
    env_unlock(agent->env, &agent->lock);
    return record;
}

static void work_done(struct work *work)
{
    free(work->subject);
    free(work->message);
}

static void container_record_done(struct pod_record *record, struct container_record *c)
{
    probes_remove(record, c);
    work_done(&c->pull);
    work_done(&c->post_start);
    work_done(&c->pre_stop);
    free(c->name);
    free(c->waiting_reason);
    free(c->waiting_message);
    free(c->resize_message);
    free(c->resized_id);
    free(c->stop_id);
    free(c->trusted_id);
    free(c);
}

void record_unref(struct pod_record *record)
{
    if (!record || __atomic_sub_fetch(&record->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < record->container_count; i++)
        container_record_done(record, record->containers[i]);
    free(record->containers);
    for (size_t i = 0; i < record->token_count; i++) {
        free(record->tokens[i].key);
        free(record->tokens[i].token);
    }
    free(record->tokens);
    for (size_t i = 0; i < record->volume_count; i++) {
        free(record->volumes[i].name);
        free(record->volumes[i].path);
    }
    free(record->volumes);
    if (record->view)
        projected_unref(record->view);
    cJSON_Delete(record->wanted_status);
    free(record->written_status);
    free(record->written_version);
    free(record->fail_reason);
    free(record->fail_message);
    free(record->network_sandbox);
    free(record->uid);
    free(record->namespace_);
    free(record->name);
    env_lock_done(&record->lock);
    free(record);
}

void record_forget(struct pod_record *record)
{
    struct agent *agent = record->agent;
    struct pod_record *found = NULL;

    env_lock(agent->env, &agent->lock);
    HASH_FIND_STR(agent->records, record->uid, found);
    if (found == record)
        HASH_DEL(agent->records, record);
    env_unlock(agent->env, &agent->lock);
    if (found == record)
        record_unref(record);
}

struct container_record *record_container(struct pod_record *record, const char *name)
{
    for (size_t i = 0; i < record->container_count; i++)
        if (c_eq(record->containers[i]->name, name))
            return record->containers[i];
    struct container_record *c = xcalloc(1, sizeof(*c));
    c->name = xstrdup(name);
    env_lock(record->agent->env, &record->lock);
    record->containers =
        xrealloc(record->containers, (record->container_count + 1) * sizeof(record->containers[0]));
    record->containers[record->container_count++] = c;
    env_unlock(record->agent->env, &record->lock);
    return c;
}

const struct pod_view *record_view(struct pod_record *record, bool *ret_in_api)
{
    const struct pod_view *view = NULL;

    env_lock(record->agent->env, &record->lock);
    if (record->view)
        view = projected_ref(record->view);
    if (ret_in_api)
        *ret_in_api = record->in_api;
    env_unlock(record->agent->env, &record->lock);
    return view;
}

void record_wake(struct pod_record *record)
{
    workqueue_add(record->agent->pod_queue, record->uid);
}

void container_waiting(struct container_record *c, const char *reason, const char *message)
{
    free(c->waiting_reason);
    free(c->waiting_message);
    c->waiting_reason = reason && reason[0] ? xstrdup(reason) : NULL;
    c->waiting_message = message && message[0] ? xstrdup(message) : NULL;
}

void work_set(struct work *work, enum work_state state, const char *subject, const char *message)
{
    char *new_subject = subject ? xstrdup(subject) : NULL,
         *new_message = message ? xstrdup(message) : NULL;

    work_done(work);
    *work = (struct work){state, new_subject, new_message};
}

void pod_event(struct pod_record *record, const cJSON *spec, const char *container,
    const char *type, const char *reason, const char *format, ...)
{
    autofree char *path = NULL, *text = NULL;
    bool is_init = false;
    va_list args;

    if (!record->agent->events)
        return;
    if (container) {
        pod_container(spec, container, &is_init);
        path = str_format("spec.%s{%s}", is_init ? "initContainers" : "containers", container);
    }
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        abort();
    env_lock(record->agent->env, &record->lock);
    autofree char *version = record->view ? xstrdup(record->view->meta.resource_version) : NULL;
    env_unlock(record->agent->env, &record->lock);
    events_emit(record->agent->events,
        &(struct event_ref){.api_version = "v1",
            .kind = "Pod",
            .namespace_ = record->namespace_,
            .name = record->name,
            .uid = record->uid,
            .resource_version = version,
            .field_path = path},
        type, reason, "%s", text);
}
