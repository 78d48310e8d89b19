/*
 * Kubernetes' (Go's) names of cipher suites and OpenSSL's; see tls_settings.h. Suites that Go calls
 * insecure are refused, but for those of RSA key exchange with AES, which old clients need.
 */
#include "common/tls_settings.h"

#define STRONG "ECDHE+AESGCM:ECDHE+CHACHA20"

static const struct {
    const char *name, *openssl; /* "": of TLS 1.3, always on */
} suites[] = {
    {"TLS_AES_128_GCM_SHA256", ""},
    {"TLS_AES_256_GCM_SHA384", ""},
    {"TLS_CHACHA20_POLY1305_SHA256", ""},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"},
    {"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
    {"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
    {"TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"},
    {"TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"},
};

static int add_suite(struct str name, struct strbuf *out, struct error *err)
{
    for (size_t i = 0; i < ARRAY_COUNT(suites); i++) {
        if (!str_eqc(name, suites[i].name))
            continue;
        if (*suites[i].openssl)
            strbuf_addf(out, "%s%s", out->n ? ":" : "", suites[i].openssl);
        return 0;
    }
    return error_set(err, ERR_USAGE,
        "--tls-cipher-suites: Cipher suite %.*s not supported or doesn't exist", STR_FMT(name));
}

static int apply_suites(SSL_CTX *ctx, const char *names, struct error *err)
{
    autostrbuf struct strbuf list = STRBUF_EMPTY;
    struct str rest = str_of(names), name;

    while (str_split(&rest, ',', &name))
        if (add_suite(str_trim(name), &list, err) < 0)
            return -(int)err->code;
    if (ctx && SSL_CTX_set_cipher_list(ctx, list.n ? list.data : STRONG) != 1)
        return error_set(err, ERR_SYSTEM, "--tls-cipher-suites: the library has none of them");
    return 0;
}

int tls_settings_apply(SSL_CTX *ctx, const struct tls_settings *settings, struct error *err)
{
    const char *version = settings->min_version ? settings->min_version : "";
    bool newest = c_eq(version, "VersionTLS13");

    if (!newest && *version && !c_eq(version, "VersionTLS12"))
        return error_set(err, ERR_USAGE,
            "--tls-min-version: \"%s\" is none of VersionTLS12 and VersionTLS13", version);
    if (ctx)
        SSL_CTX_set_min_proto_version(ctx, newest ? TLS1_3_VERSION : TLS1_2_VERSION);
    return apply_suites(ctx, settings->cipher_suites ? settings->cipher_suites : "", err);
}
