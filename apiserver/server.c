/*
 * Puts an API server together: store, cache, authentication, connections to the nodes, and the
 * objects that every cluster starts with.
 *
 * The order is that of need: the cache loads from the store, authentication indexes the cache, the
 * bootstrap writes through the pipeline. Connections come on top (apiserver/http), or a simulator
 * does.
 */
#include "apiserver/server.h"

#include "apiserver/admission/admission.h"
#include "apiserver/audit/audit.h"
#include "apiserver/auth/auth.h"
#include "apiserver/connect/connect.h"
#include "apiserver/custom/controller.h"
#include "apiserver/custom/definitions.h"
#include "apiserver/encryption/encryption.h"
#include "apiserver/registry/bootstrap.h"
#include "apiserver/registry/registry.h"
#include "apiserver/request/documents.h"
#include "apiserver/request/flow.h"
#include "apiserver/request/measure.h"
#include "apiserver/schema/field_memo.h"
#include "common/log.h"
#include "common/time.h"

static int open_store(const struct server_config *c, struct store **ret, struct error *err)
{
    if (c_eq(c->storage_backend, "embedded")) {
        struct store_embedded_config embedded = {.dir = c->data_dir, .vfs = c->sqlite_vfs};
        return store_embedded_new(c->env, &embedded, ret, err);
    }
    if (!c_eq(c->storage_backend, "etcd"))
        return error_set(err, ERR_USAGE, "--storage-backend: \"%s\" is none of embedded, etcd",
            c->storage_backend);
    struct store_etcd_config etcd = {
        .servers = c->etcd_servers,
        .prefix = c->etcd_prefix,
        .ca_file = c->etcd_cafile,
        .cert_file = c->etcd_certfile,
        .key_file = c->etcd_keyfile,
        .username = c->etcd_username,
        .password_file = c->etcd_password_file,
    };
    return store_etcd_new(c->env, &etcd, ret, err);
}

static int open_cache(struct server *s, struct error *err)
{
    struct store *store;

    if (encryption_new(s->env, s->config->encryption_config_file, &s->encryption, err) < 0 ||
        open_store(s->config, &store, err) < 0)
        return -(int)err->code;
    struct cache_config config = {
        .env = s->env,
        .api = s->api,
        .store = store,
        .encryption = s->encryption,
        .metrics = s->metrics,
        .event_ttl_ns = s->config->event_ttl_ns,
        .definitions = api_find_plural(s->api, "apiextensions.k8s.io", "customresourcedefinitions"),
        .define = definitions_define,
        .define_arg = s->definitions,
    };
    return cache_new(&config, &s->cache, err);
}

static int open_auth(struct server *s, struct error *err)
{
    const struct server_config *c = s->config;
    struct auth_config config = {
        .env = s->env,
        .cache = s->cache,
        .api = s->api,
        .token_auth_file = c->token_auth_file,
        .bootstrap_tokens = c->bootstrap_tokens,
        .issuer = c->issuer,
        .key_files = c->sa_key_files,
        .signing_key_file = c->sa_signing_key_file,
        .options = c->access,
    };

    return auth_new(&config, &s->auth, err);
}

static int start(struct server *s, struct error *err)
{
    if (api_new(&s->api, err) < 0)
        return -(int)err->code;
    api_set_strategies(s->api, strategies, strategy_count);
    s->definitions = definitions_new(s->env, s->api, &strategy_custom);
    if (admission_new(s->config->enable_admission, s->config->disable_admission,
            s->config->admission_config_file, &s->admission, err) < 0 ||
        audit_new(s->env, s->metrics, &s->config->audit, &s->audit, err) < 0 ||
        open_cache(s, err) < 0 || open_auth(s, err) < 0 || nodes_new(s, &s->nodes, err) < 0)
        return -(int)err->code;
    s->documents = documents_new(s);
    if (bootstrap_run(s, err) < 0)
        return error_wrap(err, "the objects every cluster starts with");
    s->definitions_controller = definitions_controller_new(s);
    return 0;
}

int server_new(const struct server_config *config, struct server **ret, struct error *err)
{
    struct server *s = xcalloc(1, sizeof(*s));
    int64_t start_ns = env_now_ns(config->env);

    s->env = config->env;
    s->config = config;
    s->metrics = metrics_new();
    s->flows = flows_new(config->loops);
    measure_start(s);
    s->field_memo = field_memo_new(config->env);
    if (start(s, err) < 0) {
        server_free(s);
        return -(int)err->code;
    }
    atomic_store(&s->ready, true);
    log_info("state loaded", "store", "%s", config->storage_backend, "version", "%lld",
        (long long)cache_version(s->cache), "took_ms", "%lld",
        (long long)((env_now_ns(s->env) - start_ns) / NS_PER_MS), NULL);
    *ret = s;
    return 0;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    atomic_store(&s->stopping, true);
    definitions_controller_free(s->definitions_controller);
    nodes_free(s->nodes);
    documents_free(s->documents);
    auth_free(s->auth);
    audit_free(s->audit);
    cache_free(s->cache);
    encryption_free(s->encryption);
    definitions_free(s->definitions);
    admission_free(s->admission);
    api_free(s->api);
    flows_free(s->flows);
    field_memo_free(s->field_memo);
    metrics_free(s->metrics);
    free(s);
}
