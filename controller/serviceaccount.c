/*
 * Controller "serviceaccount": the ServiceAccount "default" in every namespace that is not being
 * deleted.
 *
 * Keys are namespace names. Upstream: pkg/controller/serviceaccount/serviceaccounts_controller.go.
 */
#include "controller/controller.h"

static void on_namespace(struct controller *c, const void *old_object, const void *new_object)
{
    if (new_object)
        controller_add(c, new_object);
}

/* Only the loss of one matters. */
static void on_account(struct controller *c, const void *old_object, const void *new_object)
{
    const struct object_meta *old_meta = old_object;

    if (!new_object && !strcmp(old_meta->name, "default"))
        workqueue_add(c->queue, old_meta->namespace_);
}

static int reconcile(
    struct controller *c, const char *key, int64_t *ret_again_ns, struct error *err)
{
    auto_object const struct namespace *ns = kind_get(c->m, KIND_NAMESPACE, "", key);
    auto_object const struct service_account *account =
        kind_get(c->m, KIND_SERVICE_ACCOUNT, key, "default");
    struct api_ref ref = {.group_version = "v1", .plural = "serviceaccounts", .namespace_ = key};

    if (!ns || account || ns->meta.deletion_ns || !strcmp(ns->phase, "Terminating"))
        return 0;
    autojson cJSON *object = json_make("{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\","
                                       "\"metadata\":{\"name\":\"default\",\"namespace\":\"%s\"}}",
        key);
    int r = api_create(manager_client(c->m), &ref, object, NULL, err);
    if (r == -ERR_ALREADY_EXISTS || r == -ERR_NOT_FOUND || (r < 0 && is_terminating_namespace(err)))
        return 0;
    return r;
}

const struct controller_info controller_serviceaccount = {
    .name = "serviceaccount-controller",
    .component = "service-account-controller",
    .workers = 1,
    .watch_count = 2,
    .watches = {{KIND_NAMESPACE, on_namespace}, {KIND_SERVICE_ACCOUNT, on_account}},
    .reconcile = reconcile,
};
