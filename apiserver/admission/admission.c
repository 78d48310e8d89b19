/*
 * The list of built-in admission plugins, in upstream's order, and the two walks over it.
 */
#include "apiserver/admission/plugin.h"

#include <stdarg.h>

#define PLUGIN(name) extern const struct admission_plugin admission_##name;
#include "apiserver/admission/plugins.def"
#undef PLUGIN

const struct admission_plugin *const admission_plugins[] = {
#define PLUGIN(name) &admission_##name,
#include "apiserver/admission/plugins.def"
#undef PLUGIN
};
const size_t admission_plugin_count = ARRAY_COUNT(admission_plugins);

static bool concerns(const struct admission_plugin *p, const struct resource *r)
{
    if (!p->resources)
        return true;
    for (const char *const *name = p->resources; *name; name++) {
        size_t n = strlen(r->plural);
        bool same = strncmp(*name, r->plural, n) == 0;
        if (same &&
            (*r->group ? (*name)[n] == '.' && c_eq(*name + n + 1, r->group) : (*name)[n] == '\0'))
            return true;
    }
    return false;
}

int admission_mutate(struct write_context *w, struct error *err)
{
    for (size_t i = 0; i < admission_plugin_count; i++) {
        const struct admission_plugin *p = admission_plugins[i];
        if (p->mutate && concerns(p, w->resource) && p->mutate(w, err) < 0)
            return -err->code;
    }
    return 0;
}

int admission_validate(const struct write_context *w, struct error *err)
{
    for (size_t i = 0; i < admission_plugin_count; i++) {
        const struct admission_plugin *p = admission_plugins[i];
        if (p->validate && concerns(p, w->resource) && p->validate(w, err) < 0)
            return -err->code;
    }
    return 0;
}

const char *admission_name(const struct write_context *w)
{
    const cJSON *tree = w->tree ? w->tree : w->old;
    const char *name = json_string_at(tree, "metadata.name");
    return name ? name : "";
}

int admission_refuse(const struct write_context *w, struct error *err, const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(err, ERR_FORBIDDEN, "%s%s%s \"%s\" is forbidden: %s", w->resource->plural,
        *w->resource->group ? "." : "", w->resource->group, admission_name(w), text);
}

struct object *admission_get(const struct write_context *w, const char *group, const char *plural,
    const char *namespace_, const char *name)
{
    const struct resource *r = api_find_plural(w->server->api, group, plural);
    return r ? cache_get(w->cache, r, str_of(namespace_), str_of(name)) : NULL;
}
