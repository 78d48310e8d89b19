/*
 * Versions and cipher suites of a TLS server, named as in Kubernetes' flags.
 *
 * TLS 1.2 and up, and suites with forward secrecy and authenticated encryption, unless said
 * otherwise. The suites of TLS 1.3 can't be chosen, there as here. Threads: any.
 */
#pragma once

#include <openssl/ssl.h>

#include "common/str.h"

struct tls_settings {
    const char *min_version;   /* "VersionTLS12", "VersionTLS13"; NULL or "": the former */
    const char *cipher_suites; /* "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,..."; NULL or "": strong */
};

/* ERR_USAGE names the flag and the word. ctx NULL: only looks. */
int tls_settings_apply(SSL_CTX *ctx, const struct tls_settings *settings, struct error *err);

#define TLS_SETTINGS_FLAGS(type, member)                                                          \
    {"tls-min-version", FLAG_STRING, offsetof(type, member.min_version), "VersionTLS12",          \
        "VERSION", "lowest version of TLS that is spoken: VersionTLS12 or VersionTLS13"},         \
    {                                                                                             \
        "tls-cipher-suites", FLAG_STRING, offsetof(type, member.cipher_suites), NULL, "NAME,...", \
            "cipher suites of TLS 1.2, by default the strong ones; those of 1.3 are always on"    \
    }
