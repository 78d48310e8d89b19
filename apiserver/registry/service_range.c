/*
 * See service_range.h. Upstream: pkg/registry/core/service/ipallocator.
 */
#include "apiserver/registry/service_range.h"

static size_t bytes_of(int family)
{
    return family == AF_INET ? 4 : 16;
}

int ip_family(const char *text)
{
    unsigned char buf[16];

    return inet_pton(AF_INET, text, buf) == 1    ? AF_INET
           : inet_pton(AF_INET6, text, buf) == 1 ? AF_INET6
                                                 : 0;
}

const char *ip_family_name(int family)
{
    return family == AF_INET6 ? "IPv6" : "IPv4";
}

static int bad_range(struct str text, const char *why, struct error *err)
{
    return error_set(err, ERR_USAGE, "--service-cluster-ip-range: \"%.*s\" %s", STR_FMT(text), why);
}

int service_range_parse(struct str text, struct service_range *r, struct error *err)
{
    ssize_t slash = str_find(text, '/');
    int64_t bits;
    struct error ignored;

    if (slash < 0 || text.n >= sizeof(r->text))
        return bad_range(text, "is no range like 10.96.0.0/16", err);
    snprintf(r->text, sizeof(r->text), "%.*s", (int)slash, text.p);
    r->family = ip_family(r->text);
    int64_t most = r->family == AF_INET ? 32 : 128;
    if (!r->family || inet_pton(r->family, r->text, r->base) != 1 ||
        str_parse_int64(
            str_range(text.p + slash + 1, text.n - (size_t)slash - 1), &bits, &ignored) < 0)
        return bad_range(text, "is no range like 10.96.0.0/16", err);
    if (bits < 8 || bits > most - 2)
        return bad_range(text, "has too many or too few addresses", err);
    int64_t host_bits = most - bits;
    r->count = (1ull << (host_bits < 32 ? host_bits : 32)) - (r->family == AF_INET ? 2 : 1);
    for (int64_t bit = bits; bit < most; bit++)
        r->base[bit / 8] &= (unsigned char)~(0x80u >> (bit % 8));
    char network[IP_TEXT_BYTES];
    inet_ntop(r->family, r->base, network, sizeof(network));
    snprintf(r->text, sizeof(r->text), "%s/%d", network, (int)bits);
    return 0;
}

int service_ranges_parse(const char *text, struct service_ranges *ret, struct error *err)
{
    struct str rest = str_of(text), one;

    *ret = (struct service_ranges){0};
    while (str_split(&rest, ',', &one)) {
        if (ret->count == 2)
            return bad_range(str_of(text), "has more than two ranges", err);
        if (service_range_parse(str_trim(one), &ret->at[ret->count++], err) < 0)
            return -(int)err->code;
    }
    if (ret->count == 0)
        return bad_range(str_of(text), "is no range like 10.96.0.0/16", err);
    if (ret->count == 2 && ret->at[0].family == ret->at[1].family)
        return bad_range(str_of(text), "has two ranges of one family", err);
    return 0;
}

const struct service_range *service_range_of(const struct service_ranges *ranges, int family)
{
    for (size_t i = 0; i < ranges->count; i++)
        if (ranges->at[i].family == family)
            return &ranges->at[i];
    return NULL;
}

void service_range_print(const struct service_range *r, uint64_t offset, char text[IP_TEXT_BYTES])
{
    unsigned char address[16];

    memcpy(address, r->base, sizeof(address));
    for (size_t i = bytes_of(r->family); i-- > 0 && offset > 0; offset >>= 8) {
        offset += address[i];
        address[i] = (unsigned char)offset;
    }
    inet_ntop(r->family, address, text, IP_TEXT_BYTES);
}

bool service_range_has(const struct service_range *r, const char *ip)
{
    unsigned char address[16];
    size_t n = bytes_of(r->family);
    uint64_t offset = 0;

    if (inet_pton(r->family, ip, address) != 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (offset >> 32) /* a difference above the last 32 bits that count */
            return false;
        offset = offset << 8 | (unsigned char)(address[i] - r->base[i]);
        if (address[i] < r->base[i])
            return false;
    }
    return offset >= 1 && offset <= r->count;
}
