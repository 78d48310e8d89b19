/*
 * Pods for the workload controllers: what counts as active, ready and available; claiming, creating
 * and deleting them.
 */
#pragma once

#include "common/selector.h"
#include "controller/controller.h"

/* --- looking --- */

bool pod_is_terminal(const struct pod *pod); /* Succeeded or Failed */
bool pod_is_active(const struct pod *pod);   /* neither terminal nor being deleted */
const struct pod_condition *pod_condition(const struct pod *pod, const char *type);
bool pod_is_ready(const struct pod *pod);
int64_t pod_ready_since_ns(const struct pod *pod); /* 0: not ready */
/* Ready for at least min_ready_seconds. *again_ns (may be NULL) is lowered to the time until it is.
 */
bool pod_is_available(
    const struct pod *pod, int64_t min_ready_seconds, int64_t now_ns, int64_t *again_ns);
int64_t pod_restarts(const struct pod *pod); /* the most of any container */

/* Orders pods by who goes first when some must: unassigned, pending, not ready, cheap to delete,
 * doubled up on a node (rank), ready for a short time, often restarted, young. qsort_r's shape;
 * elements are struct ranked_pod. */
struct ranked_pod {
    const struct pod *pod;
    int64_t rank; /* how many related pods share its node */
};
int pod_deletion_cmp(const void *a, const void *b, void *now_ns);

/* --- claiming --- */

struct pod_list {
    const struct pod **pods; /* referenced */
    size_t count;
};
void pod_list_done(struct pod_list *list);
#define auto_pods __attribute__((cleanup(pod_list_done)))

typedef bool claim_filter_fn(const struct object_meta *owner, const struct pod *pod);

/* The pods that owner controls: those it owns and whose labels match, after orphans that match were
 * adopted and owned ones that no longer match released. filter (or NULL) is a further condition on
 * both. Terminal pods are included. An owner that is being deleted adopts nothing. */
int pods_claim(struct controller *c, enum kind kind, const struct object_meta *owner,
    const struct selector *selector, claim_filter_fn *filter, struct pod_list *ret,
    struct error *err);

/* The same for other kinds (ReplicaSets, ControllerRevisions); ret holds references. */
int objects_claim(struct controller *c, enum kind kind, const struct object_meta *owner,
    enum kind of, const struct selector *selector, struct projected_array *ret, struct error *err);

/* Adds the owners that a pod's event concerns: its controller, or, for an orphan, every object of
 * `kind` in its namespace whose selector matches.
 */
typedef struct selector *selector_of_fn(const void *object); /* the caller frees it */
void controller_add_pod_owners(struct controller *c, enum kind kind, selector_of_fn *selector_of,
    const void *old_object, const void *new_object);

/* --- writing --- */

/* A pod from a template, with its labels, annotations and finalizers; generateName "base-". */
cJSON *pod_from_template(const cJSON *template, enum kind kind, const struct object_meta *owner);
/* Creates it and tells so by an event on the owner. *ret_version (may be NULL) is heap. A refusal
 * because the namespace is terminating is -ERR_FORBIDDEN without an event. */
int pod_create(struct controller *c, enum kind kind, const struct object_meta *owner,
    const cJSON *pod, char **ret_version, struct error *err);
int pod_delete(struct controller *c, enum kind kind, const struct object_meta *owner,
    const struct pod *pod, struct error *err);
/* `count` pods of one template in slow-start batches; deletes all of `pods` at once. Both return
 * when the informer shows the result; the number done is in *ret_done, also on an error. */
int pods_create(struct controller *c, enum kind kind, const struct object_meta *owner,
    const cJSON *template, size_t count, size_t *ret_done, struct error *err);
int pods_delete(struct controller *c, enum kind kind, const struct object_meta *owner,
    const struct pod *const *pods, size_t count, size_t *ret_done, struct error *err);

/* "25%" or "3" of total; 0 for an empty text. */
int64_t int_or_percent(const char *text, int64_t total, bool round_up);
/* The selector of a JSON text; NULL text selects nothing. Aborts on no memory, "nothing" on a bad
 * text. */
struct selector *selector_of_json(const char *text);
void cleanup_selector(struct selector **s);
#define auto_selector __attribute__((cleanup(cleanup_selector)))
