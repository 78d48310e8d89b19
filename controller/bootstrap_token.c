/*
 * Controller "token-cleaner": deletes bootstrap tokens (Secrets of type
 * bootstrap.kubernetes.io/token in kube-system) when their expiration is over.
 *
 * Upstream: pkg/controller/bootstrap/tokencleaner.go.
 */
#include "common/base64.h"
#include "common/log.h"
#include "common/time.h"
#include "controller/controller.h"

#define EXPIRATION_BYTES_MAX 128

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct bootstrap_token *token = kind_get_key(c->m, KIND_BOOTSTRAP_TOKEN, key);
    autostrbuf struct strbuf text;
    int64_t end;

    strbuf_init(&text, EXPIRATION_BYTES_MAX);
    if (!token || !*token->expiration)
        return 0;
    if (base64_decode(str_of(token->expiration), &text, err) < 0 ||
        time_parse(strbuf_str(&text), &end, err) < 0) {
        log_warning("bootstrap token with an unreadable expiration, deleting it", "secret", "%s",
            key, NULL);
        end = 0;
    }
    int64_t left = end - env_wall_ns(manager_env(c->m));
    if (left <= 0)
        return object_delete(c->m, KIND_BOOTSTRAP_TOKEN, &token->meta, NULL, err);
    *ret_again_ns = left;
    return 0;
}

const struct controller_info controller_bootstrap_token = {
    .name = "token-cleaner-controller",
    .component = "token-cleaner",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_BOOTSTRAP_TOKEN, controller_on_object}},
    .reconcile = reconcile,
};
