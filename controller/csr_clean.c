/*
 * Controller "certificatesigningrequest-cleaner": deletes requests that are over: answered ones
 * after an hour, pending ones after a day.
 *
 * Upstream: pkg/controller/certificates/cleaner.
 */
#include "common/time.h"
#include "controller/conditions.h"
#include "controller/controller.h"

#define ANSWERED_NS (3600 * NS_PER_S)
#define PENDING_NS (24 * ANSWERED_NS)

/* When it may go: an hour after the last of its conditions, or a day after its creation. */
static int64_t end_of(const struct csr *csr)
{
    const struct condition *conditions = csr->conditions.items;
    int64_t answered = 0;

    for (size_t i = 0; i < csr->conditions.count; i++) {
        int64_t at =
            conditions[i].update_ns ? conditions[i].update_ns : conditions[i].transition_ns;
        if (at > answered)
            answered = at;
    }
    return answered ? answered + ANSWERED_NS : csr->meta.creation_ns + PENDING_NS;
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct csr *csr = kind_get(c->m, KIND_CSR, "", key);

    if (!csr)
        return 0;
    int64_t left = end_of(csr) - env_wall_ns(manager_env(c->m));
    if (left <= 0)
        return object_delete(c->m, KIND_CSR, &csr->meta, NULL, err);
    *ret_again_ns = left;
    return 0;
}

const struct controller_info controller_csr_clean = {
    .name = "certificatesigningrequest-cleaner-controller",
    .component = "certificate-cleaner-controller",
    .workers = 1,
    .watch_count = 1,
    .watches = {{KIND_CSR, controller_on_object}},
    .reconcile = reconcile,
};
