/*
 * Who is it, and may they: authenticators and authorizers, run by two stages of the pipeline.
 *
 * authenticate: client certificate (CN, O), bearer token (static file, bootstrap token Secret,
 * ServiceAccount JWT, OpenID Connect issuers, a webhook), else system:anonymous. A wrong credential
 * is 401, never anonymous. Impersonation follows. authorize: a list, by default Node, then RBAC;
 * the first that has an opinion wins. RBAC is indexed by subject and kept current by watches.
 *
 * Threads: any loop may call; indexes are copy-on-write.
 */
#pragma once

#include "apiserver/cache/cache.h"
#include "apiserver/request/request.h"

struct auth;
struct auth_options; /* options.h */

struct auth_config {
    struct env *env;
    struct cache *cache;
    const struct api *api;
    const char *token_auth_file;
    bool bootstrap_tokens;
    const char *issuer;           /* https://kubernetes.default.svc.cluster.local */
    const char *const *key_files; /* ServiceAccount verification keys, NULL ended */
    const char *signing_key_file;
    const struct auth_options *options; /* NULL: none given */
};
int auth_new(const struct auth_config *config, struct auth **ret, struct error *err);
void auth_free(struct auth *auth);

stage_fn auth_authenticate_stage; /* fills q->identity */
stage_fn auth_authorize_stage;

/* On volumes of the built-in provisioner: whose folder it is (controller/volume.h). */
#define HOST_PATH_NODE_LABEL "skiff.io/host-path-node"

struct access_attributes {
    const char *verb, *group, *version, *resource, *subresource, *namespace_,
        *name;                   /* "" when absent */
    const char *path;            /* non-resource, else NULL */
    const char *only_folders_of, /* of a list or watch: the labelSelector says
                                    skiff.io/host-path-node=this; else NULL */
        *only_node; /* of a list or watch: the fieldSelector says spec.nodeName=this; else NULL */
};
enum auth_answer { AUTH_REFUSED, AUTH_ALLOWED, AUTH_WAIT };
/* `reason` (may be NULL) gets upstream's explanation. AUTH_WAIT: a webhook is asked; the request
 * will be woken, and asks again. */
enum auth_answer auth_decide(struct auth *auth, const struct identity *who,
    const struct access_attributes *what, struct request *waiter, struct strbuf *reason);
/* For those who can't wait: what a webhook was not asked yet is refused, and it is asked. */
bool auth_allowed(struct auth *auth, const struct identity *who,
    const struct access_attributes *what, struct strbuf *reason);
/* Checks a bearer token: 0 and the identity (in arena), 1 when the waiter (may be NULL) will be
 * woken to ask again, or -ERR_UNAUTHORIZED. audiences NULL: the API server's. *ret_audiences (may
 * be NULL) gets those of them that the token is for. */
int auth_token(struct auth *auth, struct arena *a, struct str token, const char *const *audiences,
    struct request *waiter, struct identity *ret, const char ***ret_audiences, struct error *err);
/* Signs a ServiceAccount token (TokenRequest). claims as JSON object. */
int auth_sign(struct auth *auth, const cJSON *claims, char **ret_token, struct error *err);
/* The rules that hold for somebody in a namespace, for SelfSubjectRulesReview: {resourceRules,
 * nonResourceRules}. */
cJSON *auth_rules(struct auth *auth, const struct identity *who, const char *namespace_);
cJSON *auth_jwks(struct auth *auth);
/* Are all these rules (of a role) covered by what somebody holds in a namespace ("": the whole
 * cluster)? Those that are not are appended to `missing`, one a line, in upstream's words. */
bool auth_holds(struct auth *auth, const struct identity *who, const char *namespace_,
    const cJSON *rules, struct strbuf *missing);
/* May the caller of a PUT also create what is missing? Upstream asks for both verbs. */
stage_fn auth_create_stage;
