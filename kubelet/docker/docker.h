/*
 * Docker's side of struct runtime; private to this folder but for docker_runtime_new().
 *
 * docker_json.c and docker_frames.c are pure (tests and fuzz targets call them); the rest talks to
 * the daemon through one http_client on its Unix socket. The API version is negotiated: the smaller
 * of the daemon's and 1.44; only fields that exist since 1.41 are used.
 */
#pragma once

#include "common/http_client.h"
#include "kubelet/network/cni.h"
#include "kubelet/runtime.h"

struct docker_config {
    const char *endpoint; /* "unix:///var/run/docker.sock" */
    const char *cluster_id, *node_name;
    const char *pause_binary;
    const struct cni_options *cni;
};

int docker_runtime_new(
    struct env *env, const struct docker_config *config, struct runtime **ret, struct error *err);
/* A changed podCIDR, MTU or configuration folder: see network/cni.h. */
struct cni *docker_runtime_cni(struct runtime *rt);

struct docker {
    struct runtime base;
    struct http_client *http;
    char *socket_path;
    char *cluster_id, *node_name, *pause_binary;
    char version[16];              /* "v1.41", "" before the first answer */
    char *filters, *event_filters; /* encoded filters parameters that select our containers */
    struct cni *cni;
    struct lock lock; /* version, prepared, pause_image */
    bool prepared;
    char *pause_image; /* "sha256:..." */
    struct task *watcher;
    bool stopping;
    struct http_stream *stream; /* of the watcher, to cancel it */
    runtime_event_fn *on_event;
    runtime_lost_fn *on_lost;
    void *event_arg;
};

/* docker.c: a call; body may be NULL. Any status of 400 and above becomes an error with Docker's
 * message. ret may be NULL. timeout_ns 0: two minutes. */
int docker_call(struct docker *d, const char *method, int64_t timeout_ns, const cJSON *body,
    cJSON **ret, struct error *err, const char *path_format, ...)
    __attribute__((format(printf, 7, 8)));
void docker_path(struct docker *d, struct strbuf *out, const char *path);
int docker_negotiate(struct docker *d, struct error *err);
int docker_error_of(int status, struct str body, struct error *err);

/* docker_json.c */
struct container_info *docker_parse_inspect(const cJSON *tree);
struct container_info *docker_parse_listed(const cJSON *item);
void docker_parse_image(const cJSON *tree, const char *wanted, struct image_info *ret);
/* Of /images/json: see image_list in runtime.h. */
cJSON *docker_parse_images(const cJSON *tree);
void docker_complete_body(struct docker *d, const struct container_spec *spec, const char *image);
/* One line of /events; false when it says nothing about a container. Views into the tree. */
struct docker_event {
    const char *id, *uid, *action;
};
bool docker_parse_event(const cJSON *tree, struct docker_event *ret);

/* docker_frames.c: the multiplexed stream of logs, attach and exec. */
struct docker_frames {
    bool raw; /* tty: no frames */
    unsigned char head[8];
    size_t head_bytes; /* of head read so far */
    uint32_t left;     /* of the payload */
    bool begins;       /* the piece handed to the sink is the first of its frame */
};
/* Calls sink with each piece of payload (stream 1 or 2; raw is 1). 0, or the sink's negative
 * answer, or -ERR_BAD_REQUEST for an impossible header. */
typedef int frame_sink_fn(void *arg, int stream, struct str piece);
int docker_frames_feed(
    struct docker_frames *f, struct str bytes, frame_sink_fn *sink, void *arg, struct error *err);

/* containers.c, images.c, exec.c, streams.c, logs.c, watch.c: the table's functions. */
int docker_list(struct runtime *rt, struct container_list *ret, struct error *err);
int docker_inspect(
    struct runtime *rt, const char *id, struct container_info **ret, struct error *err);
int docker_create(
    struct runtime *rt, const struct container_spec *spec, char **ret_id, struct error *err);
int docker_start(struct runtime *rt, const char *id, struct error *err);
int docker_update(
    struct runtime *rt, const char *id, const struct container_limits *limits, struct error *err);
int docker_signal(struct runtime *rt, const char *id, const char *signal, struct error *err);
int docker_remove(struct runtime *rt, const char *id, struct error *err);
int docker_exec(struct runtime *rt, const char *id, const char *const *argv, int64_t timeout_ns,
    struct strbuf *output, int64_t *ret_exit_code, struct error *err);
int docker_logs(struct runtime *rt, const char *id, const struct log_options *options,
    log_sink_fn *sink, void *arg, bool (*gone)(void *arg), struct error *err);
int docker_open_stream(struct runtime *rt, const char *id, const struct stream_options *options,
    struct runtime_stream **ret, struct error *err);
int docker_read_stream(struct runtime *rt, struct runtime_stream *stream, stream_sink_fn *sink,
    void *arg, struct error *err);
int docker_resize_stream(struct runtime *rt, struct runtime_stream *stream, unsigned width,
    unsigned height, struct error *err);
int docker_stream_result(
    struct runtime *rt, struct runtime_stream *stream, int64_t *ret_exit_code, struct error *err);
void docker_close_stream(struct runtime *rt, struct runtime_stream *stream, bool hang_up);
int docker_usage(
    struct runtime *rt, const struct container_info *info, struct usage *ret, struct error *err);
int docker_interfaces(struct runtime *rt, const struct container_info *info,
    struct interface_list *ret, struct error *err);
int docker_image_get(
    struct runtime *rt, const char *image, struct image_info *ret, struct error *err);
int docker_image_list(struct runtime *rt, cJSON **ret, struct error *err);
int docker_image_pull(struct runtime *rt, const char *image, const char *auth, struct error *err);
void docker_watch_start(struct runtime *rt, runtime_event_fn *fn, runtime_lost_fn *lost, void *arg);
void docker_watch_stop(struct runtime *rt);

/* pause_image.c: the image as a tar for /images/load; *ret_id is its id, known before it is loaded.
 */
int pause_image_build(const char *binary, struct strbuf *ret_tar, char **ret_id, struct error *err);
int docker_ensure_pause(struct docker *d, struct error *err);
/* Removes our pause image unless something still uses it. */
void docker_remove_pause(struct docker *d);
