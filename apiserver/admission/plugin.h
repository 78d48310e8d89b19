/* What admission plugins share. */
#pragma once

#include "apiserver/admission/admission.h"
#include "apiserver/server.h"

/* ERR_FORBIDDEN in upstream's words: `pods "web" is forbidden: <text>`. */
int admission_refuse(const struct write_context *w, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *admission_name(
    const struct write_context *w); /* of the object written or deleted; "" when it has none */
/* Another object, referenced, or NULL. */
struct object *admission_get(const struct write_context *w, const char *group, const char *plural,
    const char *namespace_, const char *name);
