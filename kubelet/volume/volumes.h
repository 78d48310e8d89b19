/*
 * Volumes of a pod: one file a kind, one descriptor each, listed in volumes.c.
 *
 * `up` makes the volume (or brings its content up to date) and says where it lies; it may be called
 * again at any time. What it made below the pod's folder is removed by volumes_down() for all kinds
 * alike: unmount, then delete.
 */
#pragma once

#include "kubelet/sync.h"
#include "kubelet/volume/writer.h"

struct volume_plugin {
    const char *field;  /* the member of the volume's object */
    const char *folder; /* "kubernetes.io~configmap"; NULL: lies elsewhere */
    bool in_memory;     /* tmpfs where the daemon sees our mounts */
    bool refreshes;
    /* dir: the volume's own folder (not made yet), or NULL. *ret_path, when it is elsewhere, is
     * arena memory. */
    int (*up)(struct sync *s, const char *name, const cJSON *source, const char *dir,
        const char **ret_path, bool *ret_read_only, struct error *err);
};

extern const struct volume_plugin volume_config_map, volume_secret, volume_downward,
    volume_projected;
extern const struct volume_plugin volume_empty_dir, volume_host_path, volume_claim;

/* fsGroup, or -1 */
int64_t volume_group(struct sync *s);

/* content.c: adds what one source says. */
int content_from_object(struct sync *s, const char *plural, const char *name, const cJSON *source,
    int64_t mode, struct volume_content *content, struct error *err);
int content_from_fields(struct sync *s, const cJSON *source, int64_t mode,
    struct volume_content *content, struct error *err);
/* token.c: a ServiceAccount token bound to the pod, asked for anew at 80 % of its life. */
int content_from_token(struct sync *s, const char *volume, const cJSON *source, int64_t mode,
    int64_t user, struct volume_content *content, struct error *err);
