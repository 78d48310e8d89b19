/*
 * The list of built-in admission plugins, in upstream's order, which of them run, and the two walks
 * over it.
 */
#include "apiserver/admission/plugin.h"
#include "apiserver/request/status.h"
#include "common/file.h"
#include "common/yaml.h"

#include <stdarg.h>

#define CONFIG_BYTES_MAX (1u << 20)

static const struct admission_plugin *const plugins[] = {
#define PLUGIN(name) &admission_##name,
#include "apiserver/admission/plugins.def"
#undef PLUGIN
};
#define PLUGIN_COUNT ARRAY_COUNT(plugins)

struct admission {
    bool off[PLUGIN_COUNT];
    cJSON *configs[PLUGIN_COUNT]; /* owned; NULL: none */
    void *states[PLUGIN_COUNT];
};

/* --- which, and how --- */

static ssize_t find_plugin(struct str name)
{
    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        if (str_eqc(name, plugins[i]->name))
            return (ssize_t)i;
    return -1;
}

static int switch_plugins(
    struct admission *a, const char *flag, const char *list, bool off, struct error *err)
{
    struct str rest = str_of(list), name;

    while (str_split(&rest, ',', &name)) {
        name = str_trim(name);
        if (name.n == 0)
            continue;
        ssize_t i = find_plugin(name);
        if (i < 0)
            return error_set(
                err, ERR_USAGE, "%s: there is no plugin \"%.*s\"", flag, STR_FMT(name));
        a->off[i] = off;
    }
    return 0;
}

/* The configuration of one entry: inline, or in a file of its own. */
static int load_entry(const cJSON *entry, cJSON **ret, struct error *err)
{
    const char *path = json_string(entry, "path");
    const cJSON *inline_ = json_get(entry, "configuration");
    autostrbuf struct strbuf text = STRBUF_EMPTY;

    if (cJSON_IsObject(inline_)) {
        *ret = cJSON_Duplicate(inline_, true);
        return 0;
    }
    if (!path || !*path)
        return error_set(err, ERR_USAGE, "neither configuration nor path is given");
    if (file_read(path, CONFIG_BYTES_MAX, &text, err) < 0 ||
        yaml_parse(strbuf_str(&text), YAML_STRICT, ret, err) < 0)
        return error_wrap(err, "path: %s", path);
    return 0;
}

static int configure(struct admission *a, const cJSON *tree, struct error *err)
{
    const cJSON *entry;
    int index = 0;

    if (!c_eq(json_string(tree, "kind"), "AdmissionConfiguration"))
        return error_set(err, ERR_USAGE, "kind: must be AdmissionConfiguration");
    cJSON_ArrayForEach(entry, json_get(tree, "plugins"))
    {
        const char *name = json_string(entry, "name");
        ssize_t i = find_plugin(str_of(name));
        if (i < 0)
            return error_set(err, ERR_USAGE, "plugins[%d].name: there is no plugin \"%s\"", index,
                name ? name : "");
        if (!plugins[i]->configure)
            return error_set(err, ERR_USAGE, "plugins[%d]: %s takes no configuration", index, name);
        if (a->configs[i])
            return error_set(err, ERR_USAGE, "plugins[%d]: %s comes twice", index, name);
        if (load_entry(entry, &a->configs[i], err) < 0 ||
            plugins[i]->configure(a->configs[i], &a->states[i], err) < 0)
            return error_wrap(err, "plugins[%d] (%s)", index, name);
        index++;
    }
    return 0;
}

int admission_new(const char *enable, const char *disable, const char *config_file,
    struct admission **ret, struct error *err)
{
    struct admission *a = xcalloc(1, sizeof(*a));
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    autojson cJSON *tree = NULL;

    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        a->off[i] = plugins[i]->off;
    if (switch_plugins(a, "--enable-admission-plugins", enable, false, err) < 0 ||
        switch_plugins(a, "--disable-admission-plugins", disable, true, err) < 0)
        goto fail;
    if (config_file && *config_file &&
        (file_read(config_file, CONFIG_BYTES_MAX, &text, err) < 0 ||
            yaml_parse(strbuf_str(&text), YAML_STRICT, &tree, err) < 0 ||
            configure(a, tree, err) < 0)) {
        error_wrap(err, "--admission-control-config-file: %s", config_file);
        goto fail;
    }
    *ret = a;
    return 0;
fail:
    admission_free(a);
    return -(int)err->code;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < PLUGIN_COUNT; i++) {
        if (plugins[i]->release)
            plugins[i]->release(a->states[i]);
        cJSON_Delete(a->configs[i]);
    }
    free(a);
}

const cJSON *admission_configuration(
    const struct write_context *w, const struct admission_plugin *plugin)
{
    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        if (plugins[i] == plugin)
            return w->server->admission->configs[i];
    return NULL;
}

void *admission_state(const struct write_context *w, const struct admission_plugin *plugin)
{
    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        if (plugins[i] == plugin)
            return w->server->admission->states[i];
    return NULL;
}

/* --- the walks --- */

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

static bool runs(const struct write_context *w, size_t i)
{
    return !w->server->admission->off[i] && concerns(plugins[i], w->resource);
}

int admission_mutate(struct write_context *w, struct error *err)
{
    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        if (plugins[i]->mutate && runs(w, i) && plugins[i]->mutate(w, err) < 0)
            return -(int)err->code;
    return 0;
}

int admission_validate(const struct write_context *w, struct error *err)
{
    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        if (plugins[i]->validate && runs(w, i) && plugins[i]->validate(w, err) < 0)
            return -(int)err->code;
    return 0;
}

int admission_charge(struct write_context *w, struct extra_writes *extra, struct error *err)
{
    for (size_t i = 0; i < PLUGIN_COUNT; i++)
        if (plugins[i]->charge && runs(w, i) && plugins[i]->charge(w, extra, err) < 0)
            return -(int)err->code;
    return 0;
}

/* --- for plugins --- */

const char *admission_name(const struct write_context *w)
{
    const cJSON *tree = w->tree ? w->tree : w->old;
    const char *name = json_string_at(tree, "metadata.name");
    return name ? name : "";
}

bool admission_is_main(const struct write_context *w)
{
    return w->tree && w->kind != WRITE_DELETE && w->kind != WRITE_STATUS &&
           (!w->request || !*w->request->subresource_name);
}

int admission_refuse_text(const struct write_context *w, struct error *err, const char *text)
{
    const struct resource *r = w->resource;
    autofree char *whole = str_format("%s%s%s \"%s\" is forbidden: %s", r->plural,
        *r->group ? "." : "", r->group, admission_name(w), text);

    if (w->request && strlen(whole) >= sizeof(err->text)) {
        cJSON *status = status_new(ERR_FORBIDDEN, whole);
        json_set(status, "details", status_details(r, admission_name(w)));
        cJSON_Delete(w->request->error_status);
        w->request->error_status = status;
    }
    return error_set(err, ERR_FORBIDDEN, "%s", whole);
}

int admission_refuse(const struct write_context *w, struct error *err, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return admission_refuse_text(w, err, text);
}

struct object *admission_get(const struct write_context *w, const char *group, const char *plural,
    const char *namespace_, const char *name)
{
    const struct resource *r = api_find_plural(w->server->api, group, plural);
    return r ? cache_get(w->cache, r, str_of(namespace_), str_of(name)) : NULL;
}

struct object *admission_namespace(const struct write_context *w)
{
    const char *name = json_string_at(w->tree ? w->tree : w->old, "metadata.namespace");
    return name && *name ? admission_get(w, "", "namespaces", "", name) : NULL;
}
