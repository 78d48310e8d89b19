/*
 * What the flags and the two configuration files say: who else may vouch for a token, what
 * anonymous requests may reach, and who is asked whether a request is allowed.
 *
 * Files are checked whole before anything of them counts: unknown fields, missing ones, values out
 * of range and features that are not there are errors that name the field. A settings object is
 * immutable and counted; a changed file makes a new one, an error in it leaves the old one in
 * force. Upstream: apiserver/pkg/apis/apiserver, pkg/kubeapiserver/options.
 */
#pragma once

#include "apiserver/auth/auth.h"
#include "apiserver/auth/options.h"
#include "common/http_client.h"

struct oidc;
struct webhook;

#define ISSUERS_MAX 64
#define AUTHORIZERS_MAX 16

enum authorizer_kind { BY_NODE, BY_RBAC, BY_WEBHOOK, ALWAYS_ALLOW, ALWAYS_DENY };

struct authorizer {
    enum authorizer_kind kind;
    struct webhook *webhook;
};

enum anonymous { ANONYMOUS_HEALTH, ANONYMOUS_NOWHERE, ANONYMOUS_ANYWHERE, ANONYMOUS_PATHS };

struct settings {
    int references;      /* under the lock of auth */
    unsigned generation; /* from 1 */
    enum anonymous anonymous;
    cJSON *trees[2];              /* what the rest points into */
    const cJSON *anonymous_paths; /* list of {path} */
    struct oidc *issuers[ISSUERS_MAX];
    size_t issuer_count;
    struct webhook *token_webhook;
    struct authorizer authorizers[AUTHORIZERS_MAX];
    size_t authorizer_count;
    struct settings *next; /* that are not in force any more */
};

int settings_load(
    struct env *env, const struct auth_options *options, struct settings **ret, struct error *err);
void settings_free(struct settings *s);

/* --- config.c: fields of a configuration file; path is "jwt[0].issuer" --- */
/* No other fields than these (words). */
int conf_known(const cJSON *object, const char *path, const char *names, struct error *err);
/* A string; *ret NULL when it is absent and not required. */
int conf_text(const cJSON *object, const char *path, const char *name, bool required,
    const char **ret, struct error *err);
/* A list (*ret NULL: absent) of at most max. */
int conf_list(const cJSON *object, const char *path, const char *name, int max, const cJSON **ret,
    struct error *err);
int conf_duration(const cJSON *object, const char *path, const char *name, int64_t otherwise_ns,
    int64_t *ret, struct error *err);
/* "https://host[:port][/path]" without user, query and fragment. */
int conf_url(const char *url, const char *path, const char *name, struct error *err);
int conf_read(const char *flag, const char *file, const char *kind, cJSON **ret, struct error *err);

/* --- oidc.c --- */
/* One element of AuthenticationConfiguration.jwt, checked; borrowed for its life. */
int oidc_new(struct env *env, const cJSON *jwt, const char *path, const char *algorithms,
    struct oidc **ret, struct error *err);
void oidc_free(struct oidc *o);
const char *oidc_issuer(const struct oidc *o);
struct verified;
/* 0 and what the token says, 1: the request will be woken, or -ERR_UNAUTHORIZED. */
int oidc_verify(struct oidc *o, struct str token, struct request *waiter, struct verified **ret,
    struct error *err);

/* --- webhook.c --- */
struct webhook_config {
    const char *name;
    const char *kubeconfig; /* NULL: in the cluster */
    const char *version;    /* "v1" */
    int64_t timeout_ns, good_ttl_ns, bad_ttl_ns;
    bool fail_open; /* its failure is no opinion, not a refusal */
};
int webhook_new(
    struct env *env, const struct webhook_config *config, struct webhook **ret, struct error *err);
void webhook_free(struct webhook *w);
/* 0 and the identity (in the arena) with its audiences; 1 and -ERR_UNAUTHORIZED as above. */
int webhook_token(struct webhook *w, struct arena *a, struct str token,
    const char *const *audiences, struct request *waiter, struct identity *ret,
    const char ***ret_audiences, struct error *err);
enum opinion { OPINION_NONE, OPINION_ALLOW, OPINION_DENY, OPINION_LATER /* will be woken */ };
enum opinion webhook_access(struct webhook *w, const struct identity *who,
    const struct access_attributes *what, struct request *waiter, struct strbuf *reason);
