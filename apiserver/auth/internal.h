/* What the files of auth/ share. */
#pragma once

#include "apiserver/auth/auth.h"
#include "apiserver/auth/jwt.h"
#include "apiserver/auth/settings.h"
#include "apiserver/auth/verified.h"

struct rbac;
struct logins;

struct auth {
    struct auth_config config;
    struct jwt_keys *keys;
    struct rbac *rbac;
    struct static_token *static_tokens;
    size_t static_token_count;
    struct token_cache *verified;
    struct logins *logins;
    struct lock lock; /* of the settings in force and those before */
    struct settings *settings, *retired;
    struct task *reloader;
    struct cond stopped;
    bool stopping;
    int64_t stamp; /* of the files; the reloader's */
};

/* --- rbac.c: the index of roles and bindings, kept current by watches on a task of its own --- */
int rbac_new(struct env *env, struct cache *cache, const struct api *api, struct rbac **ret,
    struct error *err);
void rbac_free(struct rbac *rbac);
bool rbac_allowed(struct rbac *rbac, const struct identity *who,
    const struct access_attributes *what, struct strbuf *reason);
cJSON *rbac_rules(struct rbac *rbac, const struct identity *who, const char *namespace_);

/* --- node.c: what a node may do with the objects its own pods use --- */
bool node_allowed(struct cache *cache, const struct api *api, const char *node_name,
    const struct access_attributes *what);

/* --- tokens.c --- */
int tokens_load_static(struct auth *auth, struct error *err);
void tokens_free_static(struct auth *auth);

/* Those of the wanted audiences that a token has; both NULL ended. */
const char **tokens_common_audiences(
    struct arena *a, const char *const *has, const char *const *wanted);

/* --- service_account.c --- */
/* What a token of our own issuer says. */
int service_account_verify(
    struct auth *auth, struct str token, struct verified **ret, struct error *err);

/* --- front_proxy.c --- */
/* Fills the identity from the headers of a proxy that may say who asks; false: it is none. */
bool front_proxy_identity(const struct auth *auth, struct request *q);

/* --- login.c: failures by source --- */
struct logins *logins_new(void);
void logins_free(struct logins *l);
bool login_may_try(struct auth *auth, const char *address);
void login_failed(struct auth *auth, const char *address);

/* --- reload.c --- */
int auth_settings_start(struct auth *auth, struct error *err);
void auth_settings_stop(struct auth *auth);
struct settings *auth_settings(struct auth *auth); /* those in force, held */
void auth_settings_done(struct auth *auth, struct settings *s);

/* With copies of all texts; node_name is not. */
void identity_copy(const struct identity *who, struct arena *a, struct identity *ret);
void identity_add_group(struct identity *who, struct arena *a, const char *group);
void identity_add_extra(struct identity *who, struct arena *a, const char *key, const char *value);
