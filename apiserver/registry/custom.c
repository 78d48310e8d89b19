/*
 * Objects of custom kinds: validated against their schema, refused while their definition goes.
 *
 * An object is judged in the version that it was sent in, with that version's schema.
 *
 * Upstream: apiextensions-apiserver's registry/customresource and customresource_handler.go.
 */
#include "apiserver/custom/custom.h"
#include "apiserver/registry/generic/generic.h"

static int refuse_new(struct write_context *w, struct error *err)
{
    const struct custom *custom = w->resource->custom;

    if (w->kind != WRITE_CREATE || !__atomic_load_n(&custom->terminating, __ATOMIC_RELAXED))
        return 0;
    return error_set(err, ERR_METHOD_NOT_ALLOWED,
        "create not allowed while custom resource definition is terminating");
}

static void validate(const struct write_context *w, struct field_errors *errors)
{
    const struct resource *asked =
        w->request && w->request->write ? w->request->write->resource : NULL;

    if (!asked || asked == w->resource)
        custom_validate(w->resource->schema, w->tree, w->old, errors);
}

const struct strategy strategy_custom = {
    .admit = refuse_new,
    .validate = validate,
};
