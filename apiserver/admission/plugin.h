/* What admission plugins share. */
#pragma once

#include "apiserver/admission/admission.h"
#include "apiserver/server.h"

/* ERR_FORBIDDEN in upstream's words: `pods "web" is forbidden: <text>`. */
int admission_refuse(const struct write_context *w, struct error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a text of any length. */
int admission_refuse_text(const struct write_context *w, struct error *err, const char *text);
/* What the configuration file says for a plugin, or NULL. */
const cJSON *admission_configuration(
    const struct write_context *w, const struct admission_plugin *plugin);
/* What its configure() made, or NULL. */
void *admission_state(const struct write_context *w, const struct admission_plugin *plugin);
/* Is this a write of the object itself: no subresource, no deletion? */
bool admission_is_main(const struct write_context *w);
const char *admission_name(
    const struct write_context *w); /* of the object written or deleted; "" when it has none */
/* Another object, referenced, or NULL. */
struct object *admission_get(const struct write_context *w, const char *group, const char *plural,
    const char *namespace_, const char *name);
/* Of the namespace of the object being written, referenced; NULL when it has none. */
struct object *admission_namespace(const struct write_context *w);

#define PLUGIN(name) extern const struct admission_plugin admission_##name;
#include "apiserver/admission/plugins.def"
#undef PLUGIN
