/*
 * Volumes and claims: which fits which (pure), and the two halves of the binder.
 *
 * A volume and a claim are bound when volume.spec.claimRef names the claim by uid and
 * claim.spec.volumeName the volume. The volume's half is written first, so that a volume can't be
 * given away twice; whoever dies in between finds the claim's half missing and writes it.
 */
#pragma once

#include "controller/controller.h"

#define BOUND_BY_CONTROLLER "pv.kubernetes.io/bound-by-controller"
#define BIND_COMPLETED "pv.kubernetes.io/bind-completed"
#define PROVISIONED_BY "pv.kubernetes.io/provisioned-by"
#define SELECTED_NODE "volume.kubernetes.io/selected-node"
#define STORAGE_PROVISIONER "volume.kubernetes.io/storage-provisioner"
#define STORAGE_PROVISIONER_BETA "volume.beta.kubernetes.io/storage-provisioner"
#define CLASS_ANNOTATION "volume.beta.kubernetes.io/storage-class"

/* The built-in provisioner: a folder on the node that the scheduler chose. */
#define HOST_PATH_PROVISIONER "skiff.io/host-path"
#define HOST_PATH_NODE_LABEL "skiff.io/host-path-node" /* on its volumes: whose folder it is */
/* The node agent removes the folder of a deleted volume, then this finalizer. */
#define HOST_PATH_FINALIZER "skiff.io/host-path-data"
#define HOST_PATH_FOLDER "/var/lib/skiff/volumes" /* unless the class has parameters.path */

const char *claim_class(const struct claim *claim); /* "": none */
const char *volume_class(const struct volume *volume);

/* The reference names the claim: by uid, or, if it has none yet, by name. */
bool volume_is_claimed_by(const struct volume *volume, const struct claim *claim);

/* Why the volume can't serve the claim that asks for it by name; NULL: it can. */
const char *volume_mismatch(const struct volume *volume, const struct claim *claim);

/* The volume for a claim: one reserved for it, else the smallest that fits. With only_reserved just
 * the former. NULL: none. */
const struct volume *volume_find(
    const struct projected_array *volumes, const struct claim *claim, bool only_reserved);

/* Makes a volume for a claim by its class, or asks the external provisioner to. */
int volume_provision(struct controller *c, const struct claim *claim,
    const struct storage_class *class, struct error *err);
/* volume_provision's naming. */
void volume_provisioned_name(const struct claim *claim, char *buf, size_t size);
