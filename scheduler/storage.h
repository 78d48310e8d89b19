/*
 * Storage: persistent volumes, claims and storage classes, as scheduling needs them.
 *
 * Contract with the volume controller (upstream's): a claim whose class binds at once is left to
 * it. For WaitForFirstConsumer the scheduler decides with the pod's node: it writes the claim into
 * the claimRef of an existing volume, or names the node in the claim's annotation
 * volume.kubernetes.io/selected-node for a provisioner, and binds the pod when the claims are
 * bound.
 *
 * Volumes that were chosen for a claim are taken for everybody else until their object says so or
 * the bind fails.
 *
 * Threads: the scheduler's loop only. Upstream: plugins/volumebinding (binder.go), volumezone.
 */
#pragma once

#include "common/hash.h"

#include "scheduler/objects.h"

struct volume {
    struct object_meta meta;
    const char *class_name, *claim_namespace, *claim_name, *claim_uid, *phase, *mode;
    int64_t bytes;
    struct string_list access_modes;
    bool has_affinity;
    struct projected_list affinity; /* struct node_term */
};
struct claim {
    struct object_meta meta;
    const char *volume_name, *mode;
    const char *class_name;
    int64_t bytes;
    struct string_list access_modes;
    struct label_selector selector;
};
struct topology_term {
    struct projected_list expressions; /* struct node_requirement without operator: In */
};
struct storage_class {
    struct object_meta meta;
    const char *provisioner, *binding_mode;
    struct projected_list topologies; /* struct topology_term, any of them */
};
extern const struct projection volume_projection;
extern const struct projection claim_projection;
extern const struct projection storage_class_projection;

struct known_volume {
    const struct volume *object;
    char *assumed_for; /* namespace/name of the claim it was chosen for, or NULL */
    UT_hash_handle hh;
};
struct known_claim {
    char *key;
    const struct claim *object;
    UT_hash_handle hh;
};
struct known_class {
    const struct storage_class *object;
    UT_hash_handle hh;
};
struct storage {
    struct known_volume *volumes;
    struct known_claim *claims;
    struct known_class *classes;
};

struct storage *storage_new(void);
void storage_free(struct storage *s);
/* old or new_ is NULL for added and deleted objects. */
void storage_set_volume(struct storage *s, const struct volume *old, const struct volume *new_);
void storage_set_claim(struct storage *s, const struct claim *old, const struct claim *new_);
void storage_set_class(
    struct storage *s, const struct storage_class *old, const struct storage_class *new_);

const struct volume *storage_volume(const struct storage *s, const char *name);
const struct claim *storage_claim(
    const struct storage *s, const char *namespace_, const char *name);
const struct storage_class *storage_class_named(const struct storage *s, const char *name);
/* The claim a volume of the pod stands for, "" when it is none; in buffer for ephemeral ones. */
const char *pod_volume_claim(
    const struct pod *pod, const struct pod_volume *v, char *buffer, size_t size);

/* Might this volume be bound to the claim, looking at all but its nodes? */
bool volume_suits(const struct known_volume *v, const struct claim *claim);

/* What the scheduler decided for one claim of a pod. */
struct volume_choice {
    const struct claim *claim;
    const struct volume *volume; /* NULL: provision one for the node */
};
/* With references of its own. */
struct volume_choice *volume_choices_copy(const struct volume_choice *choices, size_t count);
void volume_choices_free(struct volume_choice *choices, size_t count);
/* Takes the volumes for the claims until their objects say so, or gives them back. */
void storage_assume(struct storage *s, const struct volume_choice *choices, size_t count);
void storage_forget(struct storage *s, const struct volume_choice *choices, size_t count);
