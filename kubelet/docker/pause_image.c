/*
 * The pause image, made here and loaded into Docker: no registry is needed for a pod's sandbox.
 *
 * The tar is `docker save`'s format: manifest.json, a config and one layer that holds /pause.
 * Everything in it is a function of the binary (no times), so the image's id, the hash of its
 * config, is known before Docker has it, and a start that finds it there loads nothing.
 */
#include "kubelet/docker/docker.h"

#include <openssl/evp.h>

#include "common/base64.h"
#include "common/file.h"
#include "common/log.h"
#include "common/time.h"

#define BINARY_MAX (8u << 20)
#define BLOCK 512

struct tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct tar_header) == BLOCK, "a tar header is one block");

static void tar_add(struct strbuf *tar, const char *name, unsigned mode, struct str content)
{
    struct tar_header h = {0};
    unsigned sum = 0;
    static const char zeros[BLOCK];

    snprintf(h.name, sizeof(h.name), "%s", name);
    snprintf(h.mode, sizeof(h.mode), "%07o", mode);
    snprintf(h.uid, sizeof(h.uid), "%07o", 0);
    snprintf(h.gid, sizeof(h.gid), "%07o", 0);
    snprintf(h.size, sizeof(h.size), "%011o", (unsigned)content.n);
    snprintf(h.mtime, sizeof(h.mtime), "%011o", 0);
    h.type = '0';
    memcpy(h.magic, "ustar", 6);
    memcpy(h.version, "00", 2);
    memset(h.checksum, ' ', sizeof(h.checksum));
    for (size_t i = 0; i < sizeof(h); i++)
        sum += ((unsigned char *)&h)[i];
    snprintf(h.checksum, sizeof(h.checksum), "%06o", sum);
    strbuf_add(tar, str_range((char *)&h, sizeof(h)));
    strbuf_add(tar, content);
    if (content.n % BLOCK)
        strbuf_add(tar, str_range(zeros, BLOCK - content.n % BLOCK));
}

static void tar_end(struct strbuf *tar)
{
    static const char zeros[2 * BLOCK];

    strbuf_add(tar, str_range(zeros, sizeof(zeros)));
}

static char *sha256_hex(struct str bytes)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct strbuf hex;

    if (!EVP_Digest(bytes.p, bytes.n, digest, &n, EVP_sha256(), NULL))
        abort();
    strbuf_init(&hex, 0);
    hex_encode(str_range((char *)digest, n), &hex);
    return strbuf_steal(&hex);
}

static const char *architecture(void)
{
#if defined(__aarch64__)
    return "arm64";
#else
    return "amd64";
#endif
}

int pause_image_build(const char *binary, struct strbuf *ret_tar, char **ret_id, struct error *err)
{
    autostrbuf struct strbuf program = STRBUF_EMPTY, layer = STRBUF_EMPTY, config = STRBUF_EMPTY,
                             manifest = STRBUF_EMPTY;

    strbuf_init(&program, 0);
    strbuf_init(&layer, 0);
    strbuf_init(&config, 0);
    strbuf_init(&manifest, 0);
    if (file_read(binary, BINARY_MAX, &program, err) < 0)
        return error_wrap(err, "pause binary");
    tar_add(&layer, "pause", 0755, strbuf_str(&program));
    tar_end(&layer);
    autofree char *layer_hash = sha256_hex(strbuf_str(&layer));
    strbuf_addf(&config,
        "{\"architecture\":\"%s\",\"os\":\"linux\",\"created\":\"1970-01-01T00:00:00Z\","
        "\"config\":{\"Entrypoint\":[\"/pause\"],\"User\":\"65535:65535\"},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
        architecture(), layer_hash);
    autofree char *config_hash = sha256_hex(strbuf_str(&config));
    strbuf_addf(&manifest,
        "[{\"Config\":\"%s.json\",\"RepoTags\":[\"skiff/"
        "pause:%.12s\"],\"Layers\":[\"layer.tar\"]}]",
        config_hash, layer_hash);
    autofree char *config_name = str_format("%s.json", config_hash);
    tar_add(ret_tar, "manifest.json", 0644, strbuf_str(&manifest));
    tar_add(ret_tar, config_name, 0644, strbuf_str(&config));
    tar_add(ret_tar, "layer.tar", 0644, strbuf_str(&layer));
    tar_end(ret_tar);
    *ret_id = str_format("sha256:%s", config_hash);
    return 0;
}

static int load(struct docker *d, struct str tar, struct error *err)
{
    struct http_response response;
    autostrbuf struct strbuf path = STRBUF_EMPTY;

    strbuf_init(&path, 0);
    docker_path(d, &path, "/images/load?quiet=1");
    const struct http_header type = {"Content-Type", "application/x-tar"};
    struct http_request request = {.method = "POST",
        .path = path.data,
        .headers = &type,
        .header_count = 1,
        .body = tar,
        .timeout_ns = 120 * NS_PER_S};
    http_response_init(&response);
    int r = http_do(d->http, &request, &response, err);
    if (r == 0 && response.status >= 400)
        r = docker_error_of(response.status, strbuf_str(&response.body), err);
    http_response_done(&response);
    return r;
}

int docker_ensure_pause(struct docker *d, struct error *err)
{
    autostrbuf struct strbuf tar = STRBUF_EMPTY;
    autofree char *id = NULL;
    struct image_info image = {0};

    if (d->prepared)
        return 0;
    strbuf_init(&tar, 0);
    if (pause_image_build(d->pause_binary, &tar, &id, err) < 0)
        return -err->code;
    int r = docker_image_get(&d->base, id, &image, err);
    if (r == -ERR_NOT_FOUND) {
        r = load(d, strbuf_str(&tar), err);
        if (r == 0)
            log_info("pause image loaded", "image", "%s", id, NULL);
    }
    image_info_done(&image);
    if (r < 0)
        return error_wrap(err, "pause image");
    env_lock(d->base.env, &d->lock);
    if (!d->pause_image)
        d->pause_image = steal(&id);
    d->prepared = true;
    env_unlock(d->base.env, &d->lock);
    return 0;
}

void docker_remove_pause(struct docker *d)
{
    autostrbuf struct strbuf tar = STRBUF_EMPTY;
    autofree char *id = NULL;
    struct error err;

    strbuf_init(&tar, 0);
    if (pause_image_build(d->pause_binary, &tar, &id, &err) < 0)
        return;
    int r = docker_call(d, "DELETE", 0, NULL, NULL, &err, "/images/%s?force=1", id);
    if (r < 0 && r != -ERR_NOT_FOUND)
        log_warning("pause image is still in use, leaving it", "error", "%s", err.text, NULL);
}
