/*
 * Who is it, and may they: authenticators and authorizers, run by two stages of the pipeline.
 *
 * authenticate: client certificate (CN, O), bearer token (static file, bootstrap token Secret,
 * ServiceAccount JWT), else system:anonymous. A wrong credential is 401, never anonymous.
 * Impersonation follows. authorize: Node, then RBAC; the first that allows wins. RBAC is indexed by
 * subject and rebuilt from watches when a role or binding changes.
 *
 * Threads: any loop may call; indexes are copy-on-write.
 */
#pragma once

#include "apiserver/cache/cache.h"
#include "apiserver/request/request.h"

struct auth;

struct auth_config {
    struct env *env;
    struct cache *cache;
    const struct api *api;
    const char *token_auth_file;
    bool bootstrap_tokens;
    const char *issuer;           /* https://kubernetes.default.svc.cluster.local */
    const char *const *key_files; /* ServiceAccount verification keys, NULL ended */
    const char *signing_key_file;
    bool always_allow; /* --authorization-mode=AlwaysAllow */
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
/* Allowed? `reason` (may be NULL) gets upstream's explanation. */
bool auth_allowed(struct auth *auth, const struct identity *who,
    const struct access_attributes *what, struct strbuf *reason);
/* Checks a bearer token for TokenReview: 0 and the identity (in arena), or -ERR_UNAUTHORIZED.
 * audiences NULL: the API server's. *ret_audiences (may be NULL) gets those of them that the token
 * is for. */
int auth_token(struct auth *auth, struct arena *a, struct str token, const char *const *audiences,
    struct identity *ret, const char ***ret_audiences, struct error *err);
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
