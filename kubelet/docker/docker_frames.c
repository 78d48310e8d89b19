/*
 * Docker's framing of container output: 8 bytes (stream, three zeros, big-endian length), then the
 * payload; the pieces in which it arrives may be cut anywhere. With a terminal there are no frames.
 *
 * Fuzzed by tests/fuzz/kubelet_frames_fuzz.c.
 */
#include "kubelet/docker/docker.h"

/* Docker writes at most 16 KiB a frame; this only bounds nonsense. */
#define FRAME_MAX (64u << 20)

static int frame_begin(struct docker_frames *f, struct error *err)
{
    const unsigned char *h = f->head;

    if (h[0] > 2 || h[1] || h[2] || h[3])
        return error_set(err, ERR_BAD_REQUEST, "docker: a stream frame with an unknown header");
    f->left = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
    if (f->left > FRAME_MAX)
        return error_set(err, ERR_BAD_REQUEST, "docker: a stream frame of %u bytes", f->left);
    return 0;
}

int docker_frames_feed(
    struct docker_frames *f, struct str bytes, frame_sink_fn *sink, void *arg, struct error *err)
{
    int r = 0;

    if (f->raw)
        return bytes.n ? sink(arg, 1, bytes) : 0;
    while (bytes.n > 0 && r >= 0) {
        if (f->head_bytes < sizeof(f->head)) {
            f->head[f->head_bytes++] = (unsigned char)bytes.p[0];
            bytes = str_range(bytes.p + 1, bytes.n - 1);
            if (f->head_bytes == sizeof(f->head)) {
                if (frame_begin(f, err) < 0)
                    return -ERR_BAD_REQUEST;
                f->begins = true;
                if (f->left == 0)
                    f->head_bytes = 0;
            }
            continue;
        }
        size_t n = bytes.n < f->left ? bytes.n : f->left;
        r = sink(arg, f->head[0] == 2 ? 2 : 1, str_range(bytes.p, n));
        bytes = str_range(bytes.p + n, bytes.n - n);
        f->begins = false;
        f->left -= (uint32_t)n;
        if (f->left == 0)
            f->head_bytes = 0;
    }
    return r;
}
