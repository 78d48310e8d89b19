/*
 * Keys and values as the gateway has them: base64 inside JSON, 64-bit integers as strings, zero
 * values left out.
 */
#include "apiserver/store/etcd.h"

#include <inttypes.h>
#include <zstd.h>

#include "common/base64.h"
#include "common/limits.h"

#define FORMAT_RAW 1
#define FORMAT_ZSTD 2
#define WORTH_COMPRESSING 256
#define LEVEL 1

void etcd_put_bytes(struct str bytes, struct strbuf *out)
{
    strbuf_add_char(out, '"');
    base64_encode(bytes, out);
    strbuf_add_char(out, '"');
}

void etcd_put_key(struct etcd *e, struct str key, struct strbuf *out)
{
    char buf[2048];
    size_t n = strlen(e->prefix);

    if (n + key.n >
        sizeof(buf)) /* keys are bounded far below; an absent key is all that comes of it */
        key.n = 0;
    memcpy(buf, e->prefix, n);
    memcpy(buf + n, key.p, key.n);
    etcd_put_bytes(str_range(buf, n + key.n), out);
}

void etcd_put_value(
    void *zstd, struct str value, unsigned index, struct strbuf *scratch, struct strbuf *out)
{
    size_t room = ZSTD_compressBound(value.n), n = 0;

    strbuf_clear(scratch);
    if (value.n >= WORTH_COMPRESSING) {
        strbuf_add_char(scratch, FORMAT_ZSTD);
        strbuf_add_char(scratch, (char)index);
        char *to = strbuf_reserve(scratch, room);

        n = ZSTD_compressCCtx((ZSTD_CCtx *)zstd, to, room, value.p, value.n, LEVEL);
        if (!ZSTD_isError(n) && n < value.n)
            strbuf_commit(scratch, n);
        else
            strbuf_clear(scratch);
    }
    if (!scratch->n) {
        strbuf_add_char(scratch, FORMAT_RAW);
        strbuf_add_char(scratch, (char)index);
        strbuf_add(scratch, value);
    }
    etcd_put_bytes(strbuf_str(scratch), out);
}

int64_t etcd_int(const cJSON *object, const char *name)
{
    const cJSON *item = json_get(object, name);
    struct error ignored;
    int64_t value = 0;

    if (cJSON_IsString(item))
        str_parse_int64(str_of(item->valuestring), &value, &ignored);
    else if (item)
        json_int64(item, &value);
    return value;
}

int etcd_get_key(struct etcd *e, const cJSON *kv, struct strbuf *out, struct error *err)
{
    const char *text = json_string(kv, "key");
    size_t n = strlen(e->prefix);

    strbuf_clear(out);
    if (!text || base64_decode(str_of(text), out, err) < 0 || out->n < n ||
        memcmp(out->data, e->prefix, n) != 0)
        return error_set(err, ERR_INTERNAL, "etcd: a key that was not asked for");
    strbuf_remove_front(out, n);
    return 0;
}

static int decompress(ZSTD_DCtx *zstd, struct str packed, struct strbuf *out, struct error *err)
{
    unsigned long long n = ZSTD_getFrameContentSize(packed.p, packed.n);

    if (n == ZSTD_CONTENTSIZE_ERROR || n == ZSTD_CONTENTSIZE_UNKNOWN || n > LIMIT_BODY_BYTES)
        return error_set(err, ERR_INTERNAL, "etcd: damaged value");
    char *to = strbuf_reserve(out, (size_t)n);

    if (!to || ZSTD_decompressDCtx(zstd, to, (size_t)n, packed.p, packed.n) != n)
        return error_set(err, ERR_INTERNAL, "etcd: damaged value");
    strbuf_commit(out, (size_t)n);
    return 0;
}

static int add_value(void *zstd, struct str bytes, struct strbuf *out, struct error *err)
{
    struct str rest = str_range(bytes.p + 2, bytes.n - 2);

    if (bytes.p[0] == FORMAT_RAW) {
        strbuf_add(out, rest);
        return 0;
    }
    if (bytes.p[0] == FORMAT_ZSTD)
        return decompress((ZSTD_DCtx *)zstd, rest, out, err);
    return error_set(err, ERR_INTERNAL, "etcd: value of an unknown format %d", bytes.p[0]);
}

int etcd_get_value(void *zstd, const cJSON *kv, bool with_value, unsigned *ret_index,
    struct strbuf *out, struct error *err)
{
    const char *text = json_string(kv, "value");
    autostrbuf struct strbuf bytes;
    size_t n = text ? strlen(text) : 0;

    strbuf_init(&bytes, 0);
    if (n < 4 || base64_decode(str_range(text, with_value ? n : 4), &bytes, err) < 0 || bytes.n < 2)
        return error_set(err, ERR_INTERNAL, "etcd: a value that Skiff did not write");
    *ret_index = (uint8_t)bytes.data[1] % ETCD_INDEXES;
    return with_value ? add_value(zstd, strbuf_str(&bytes), out, err) : 0;
}

int etcd_head_parse(const cJSON *kv, struct etcd_head *ret, struct error *err)
{
    const char *text = json_string(kv, "value");
    autostrbuf struct strbuf bytes;
    cJSON *tree;

    strbuf_init(&bytes, 0);
    if (!text || base64_decode(str_of(text), &bytes, err) < 0 ||
        json_parse(strbuf_str(&bytes), &tree, err) < 0)
        return error_set(
            err, ERR_INTERNAL, "etcd: the head key holds something that Skiff did not write");
    const char *writer = json_string(tree, "writer");

    *ret = (struct etcd_head){.tree = tree, .removed = json_get(tree, "removed")};
    snprintf(ret->writer, sizeof(ret->writer), "%s", writer ? writer : "");
    ret->sequence = (uint64_t)etcd_int(tree, "sequence");
    return 0;
}
