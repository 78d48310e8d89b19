/*
 * The status of a pod, computed: from its spec, what the runtime shows, what probes say and what
 * stood there before.
 *
 * Pure: the same input gives the same output; tests/unit/kubelet/status_test.c feeds it. The
 * previous status supplies what must never be lost (restart counts, last states, start time,
 * addresses, foreign conditions, times of transitions that did not happen).
 *
 * Upstream: kubelet_pods.go generateAPIPodStatus, getPhase, convertToAPIContainerStatuses;
 * status/generate.go.
 */
#pragma once

#include "kubelet/pod.h"
#include "kubelet/runtime.h"

/* What the kubelet knows of a container besides the runtime. */
struct container_hint {
    const char *name;
    const char *waiting_reason, *waiting_message; /* or NULL */
    bool ready, started;                          /* of its running instance */
    const char
        *resize_pending; /* "Deferred", "Infeasible" or NULL: it has not what its spec says */
    bool resize_failed;
    const char *resize_message;
};

struct status_input {
    const struct pod_view *pod;
    const cJSON *spec, *old_status; /* old_status may be NULL */
    const struct container_list *containers;
    const struct container_hint *hints;
    size_t hint_count;
    const char *host_ip, *pod_ip, *pod_ip_other;
    bool sandbox_ready;     /* it runs and has its network */
    const char *sandbox_id; /* or NULL */
    bool will_not_restart;  /* terminating or ended: no container starts again */
    bool stopped;           /* of such a pod: nothing runs any more */
    bool rejected;          /* this node refused the pod: none of its containers ever was */
    const char *fail_reason, *fail_message; /* the pod as a whole failed, or NULL */
    int64_t now_ns;                         /* wall clock */
    /* Text of an ended container's termination message; heap or NULL. May be NULL. */
    char *(*termination_message)(
        void *arg, const cJSON *container, const struct container_info *info);
    void *arg;
};

cJSON *status_compute(const struct status_input *in);
/* What must be sent so that `from` becomes `to`: a strategic merge patch of the whole object with
 * the uid as precondition, or NULL when nothing differs. Conditions of `from` that `to` does not
 * name are left alone. */
cJSON *status_patch(const char *uid, const cJSON *from, const cJSON *to);

/* The newest instance of a container (and the one before it), or NULL. sandbox_id NULL: of any
 * sandbox. */
struct container_info *newest_instance(const struct container_list *list, const char *name,
    const char *sandbox_id, struct container_info **ret_before);
/* The terminal phase, "Failed" or "Succeeded", of a status; NULL for others. */
const char *status_terminal_phase(const cJSON *status);
/* Whether the container has to be started (again) by the pod's restart policy, given its newest
 * instance. */
bool container_should_run(
    const cJSON *spec, const cJSON *container, bool is_init, const struct container_info *newest);
/* Every container has ended and none will be started again. Phase in *ret ("Succeeded" or
 * "Failed"). */
bool pod_has_ended(const cJSON *spec, const struct container_list *list, const char **ret_phase);
