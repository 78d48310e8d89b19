/*
 * Flags of authentication and authorization, with upstream's names.
 */
#pragma once

#include <stddef.h>

#include "common/flags.h"

struct auth_options {
    const char *anonymous; /* "true", "false", or "health" */
    const char *authentication_config, *authorization_config, *authorization_mode;
    const char *oidc_issuer_url, *oidc_client_id, *oidc_ca_file, *oidc_signing_algs;
    const char *oidc_username_claim, *oidc_username_prefix, *oidc_groups_claim, *oidc_groups_prefix;
    struct flag_strings oidc_required_claims;
    const char *token_webhook_file, *token_webhook_version;
    int64_t token_webhook_ttl_ns;
    const char *access_webhook_file, *access_webhook_version;
    int64_t access_webhook_allowed_ttl_ns, access_webhook_refused_ttl_ns;
    const char *proxy_ca_file, *proxy_names, *proxy_user_headers, *proxy_uid_headers,
        *proxy_group_headers, *proxy_extra_prefixes;
};

#define AUTH_FLAG(name, type, T, member, field, otherwise, argument, help) \
    {                                                                      \
        name, type, offsetof(T, member.field), otherwise, argument, help   \
    }

#define AUTH_FLAGS(T, m)                                                                           \
    AUTH_FLAG("anonymous-auth", FLAG_STRING, T, m, anonymous, "health", "true|false|health",       \
        "requests without a credential: anonymous, refused, or anonymous on the health pages"),    \
        AUTH_FLAG("authentication-config", FLAG_STRING, T, m, authentication_config, NULL, "FILE", \
            "AuthenticationConfiguration: issuers of tokens, anonymous requests"),                 \
        AUTH_FLAG("authorization-mode", FLAG_STRING, T, m, authorization_mode, NULL, "MODE,...",   \
            "asked in this order: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny (Node,RBAC)"),      \
        AUTH_FLAG("authorization-config", FLAG_STRING, T, m, authorization_config, NULL, "FILE",   \
            "AuthorizationConfiguration: the same, with several webhooks"),                        \
        AUTH_FLAG("oidc-issuer-url", FLAG_STRING, T, m, oidc_issuer_url, NULL, "URL",              \
            "issuer of OpenID Connect tokens"),                                                    \
        AUTH_FLAG("oidc-client-id", FLAG_STRING, T, m, oidc_client_id, NULL, "ID",                 \
            "audience that its tokens must be for"),                                               \
        AUTH_FLAG("oidc-ca-file", FLAG_STRING, T, m, oidc_ca_file, NULL, "FILE",                   \
            "CA of its certificate; by default the system's"),                                     \
        AUTH_FLAG("oidc-signing-algs", FLAG_STRING, T, m, oidc_signing_algs, "RS256", "ALG,...",   \
            "algorithms that its tokens may be signed with"),                                      \
        AUTH_FLAG("oidc-username-claim", FLAG_STRING, T, m, oidc_username_claim, "sub", "CLAIM",   \
            "claim that is the user's name"),                                                      \
        AUTH_FLAG("oidc-username-prefix", FLAG_STRING, T, m, oidc_username_prefix, NULL, "PREFIX", \
            "before the name; \"-\" for none; by default the issuer and #, but none for email"),   \
        AUTH_FLAG("oidc-groups-claim", FLAG_STRING, T, m, oidc_groups_claim, NULL, "CLAIM",        \
            "claim that is the user's groups"),                                                    \
        AUTH_FLAG("oidc-groups-prefix", FLAG_STRING, T, m, oidc_groups_prefix, NULL, "PREFIX",     \
            "before each group"),                                                                  \
        AUTH_FLAG("oidc-required-claim", FLAG_STRINGS, T, m, oidc_required_claims, NULL,           \
            "CLAIM=VALUE", "claim that must have the value (may be given again)"),                 \
        AUTH_FLAG("authentication-token-webhook-config-file", FLAG_STRING, T, m,                   \
            token_webhook_file, NULL, "FILE", "kubeconfig of who reviews tokens"),                 \
        AUTH_FLAG("authentication-token-webhook-version", FLAG_STRING, T, m,                       \
            token_webhook_version, "v1beta1", "v1|v1beta1", "version of TokenReview to send"),     \
        AUTH_FLAG("authentication-token-webhook-cache-ttl", FLAG_DURATION, T, m,                   \
            token_webhook_ttl_ns, "2m", "DURATION", "how long its answers count"),                 \
        AUTH_FLAG("authorization-webhook-config-file", FLAG_STRING, T, m, access_webhook_file,     \
            NULL, "FILE", "kubeconfig of who reviews access"),                                     \
        AUTH_FLAG("authorization-webhook-version", FLAG_STRING, T, m, access_webhook_version,      \
            "v1beta1", "v1|v1beta1", "version of SubjectAccessReview to send"),                    \
        AUTH_FLAG("authorization-webhook-cache-authorized-ttl", FLAG_DURATION, T, m,               \
            access_webhook_allowed_ttl_ns, "5m", "DURATION", "how long what it allowed counts"),   \
        AUTH_FLAG("authorization-webhook-cache-unauthorized-ttl", FLAG_DURATION, T, m,             \
            access_webhook_refused_ttl_ns, "30s", "DURATION", "how long what it refused counts"),  \
        AUTH_FLAG("requestheader-client-ca-file", FLAG_STRING, T, m, proxy_ca_file, NULL, "FILE",  \
            "CA of proxies whose headers say who asks"),                                           \
        AUTH_FLAG("requestheader-allowed-names", FLAG_STRING, T, m, proxy_names, NULL, "NAME,...", \
            "common names of such proxies; by default any of the CA"),                             \
        AUTH_FLAG("requestheader-username-headers", FLAG_STRING, T, m, proxy_user_headers,         \
            "X-Remote-User", "HEADER,...", "their headers with the user's name"),                  \
        AUTH_FLAG("requestheader-uid-headers", FLAG_STRING, T, m, proxy_uid_headers,               \
            "X-Remote-Uid", "HEADER,...", "with the uid"),                                         \
        AUTH_FLAG("requestheader-group-headers", FLAG_STRING, T, m, proxy_group_headers,           \
            "X-Remote-Group", "HEADER,...", "with a group each"),                                  \
        AUTH_FLAG("requestheader-extra-headers-prefix", FLAG_STRING, T, m, proxy_extra_prefixes,   \
            "X-Remote-Extra-", "PREFIX,...", "with more about the user, by prefix")
