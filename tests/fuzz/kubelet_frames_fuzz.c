/*
 * Fuzz target of Docker's stream frames (logs, attach, exec): cut anywhere, the payload is the
 * same.
 *
 * The first byte chooses the size of the pieces; the rest is what Docker sent.
 */
/* links: skiff-kubelet-lib */
#include <assert.h>

#include "kubelet/docker/docker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int collect(void *arg, int stream, struct str piece)
{
    assert(stream == 1 || stream == 2);
    assert(piece.n > 0);
    strbuf_add_char(arg, (char)('0' + stream));
    strbuf_add(arg, piece);
    return 0;
}

/* The payload alone, whatever the pieces were. */
static int count(void *arg, int stream, struct str piece)
{
    size_t *total = arg;

    total[stream] += piece.n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct docker_frames whole = {0}, pieces = {0};
    size_t totals[3] = {0}, totals_pieces[3] = {0};
    struct error err;
    struct strbuf out;
    int r1, r2 = 0;

    if (n < 1)
        return 0;
    size_t step = 1 + data[0] % 32;
    struct str text = str_range((const char *)data + 1, n - 1);
    strbuf_init(&out, 1 << 20);
    struct docker_frames first = {0};
    docker_frames_feed(&first, text, collect, &out, &err);
    r1 = docker_frames_feed(&whole, text, count, totals, &err);
    for (size_t at = 0; at < text.n && r2 == 0; at += step) {
        size_t piece = text.n - at < step ? text.n - at : step;
        r2 = docker_frames_feed(&pieces, str_range(text.p + at, piece), count, totals_pieces, &err);
    }
    assert(r1 == r2);
    assert(totals[1] == totals_pieces[1] && totals[2] == totals_pieces[2]);
    strbuf_done(&out);
    return 0;
}
