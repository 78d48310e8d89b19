/*
 * Gangs: pods that are placed together or not at all.
 *
 *     metadata.labels:  skiff.io/gang: NAME        pods of one namespace with the same name
 *                       skiff.io/gang-size: "N"    how many of them are of any use
 *
 * A gang is decided in one step of the loop: when N pods are there (waiting or placed), all that
 * wait get their nodes one after the other, each beside those before it; when one finds none, the
 * others give theirs back at once. So no gang ever holds nodes while it waits, two of them cannot
 * block each other, and no time limit is needed to release what a half-placed one holds. A gang
 * that does not fit waits as a whole and is tried again when a pod that it lacked would fit, or its
 * 5 minutes are over. Gangs evict nobody.
 *
 * Once N are placed, further pods of the name go one by one.
 *
 * Threads: the scheduler's loop only. Upstream: the Workload API (KEP-4671) has the same intent.
 */
#pragma once

#include "scheduler/pod_info.h"

struct cluster;
struct gangs;

/* No plugin: the queue wakes a pod that this refused only when its gang changes. */
#define REFUSED_BY_GANG (1ull << 63)

struct gangs *gangs_new(void);
void gangs_free(struct gangs *g);
/* Does the pod belong to a gang? gangs_add and gangs_remove do nothing for others. */
bool pod_has_gang(const struct pod *pod);
void gangs_add(struct gangs *g, struct pod_info *pod);
void gangs_remove(struct gangs *g, struct pod_info *pod);

struct gang_view {
    struct pod_info *const *members;
    size_t count;  /* members, waiting or placed */
    size_t placed; /* on a row, or assigned to a node that is not known */
    size_t size;   /* how many have to be placed */
};
struct gang_view gangs_view(const struct gangs *g, const struct pod_info *pod);
