/*
 * Fields of a configuration file, each error with the path of the field.
 */
#include "apiserver/auth/settings.h"
#include "common/file.h"
#include "common/time.h"
#include "common/yaml.h"

#define FILE_BYTES_MAX (1u << 20)

static bool has_word(const char *words, const char *word)
{
    struct str rest = str_of(words), part;
    while (str_split(&rest, ' ', &part))
        if (str_eqc(part, word))
            return true;
    return false;
}

int conf_known(const cJSON *object, const char *path, const char *names, struct error *err)
{
    const cJSON *item;
    if (!cJSON_IsObject(object))
        return error_set(err, ERR_USAGE, "%s: must be an object", path);
    cJSON_ArrayForEach(item, object)
    {
        if (!has_word(names, item->string))
            return error_set(
                err, ERR_USAGE, "%s%s%s: unknown field", path, *path ? "." : "", item->string);
    }
    return 0;
}

int conf_text(const cJSON *object, const char *path, const char *name, bool required,
    const char **ret, struct error *err)
{
    const cJSON *item = json_get(object, name);
    const char *dot = *path ? "." : "";
    if (item && !cJSON_IsNull(item) && !cJSON_IsString(item))
        return error_set(err, ERR_USAGE, "%s%s%s: must be a string", path, dot, name);
    *ret = cJSON_IsString(item) ? item->valuestring : NULL;
    if (required && (!*ret || !**ret))
        return error_set(err, ERR_USAGE, "%s%s%s: Required value", path, dot, name);
    return 0;
}

int conf_list(const cJSON *object, const char *path, const char *name, int max, const cJSON **ret,
    struct error *err)
{
    const cJSON *item = json_get(object, name);
    const char *dot = *path ? "." : "";
    if (item && !cJSON_IsNull(item) && !cJSON_IsArray(item))
        return error_set(err, ERR_USAGE, "%s%s%s: must be a list", path, dot, name);
    *ret = cJSON_IsArray(item) ? item : NULL;
    if (cJSON_GetArraySize(*ret) > max)
        return error_set(
            err, ERR_USAGE, "%s%s%s: Too many: must have at most %d items", path, dot, name, max);
    return 0;
}

int conf_duration(const cJSON *object, const char *path, const char *name, int64_t otherwise_ns,
    int64_t *ret, struct error *err)
{
    const char *text;
    *ret = otherwise_ns;
    if (conf_text(object, path, name, false, &text, err) < 0)
        return -(int)err->code;
    if (text && (duration_parse(str_of(text), ret, err) < 0 || *ret < 0))
        return error_set(err, ERR_USAGE, "%s.%s: \"%s\" is no duration like 30s", path, name, text);
    return 0;
}

int conf_url(const char *url, const char *path, const char *name, struct error *err)
{
    const char *why = NULL;
    if (!str_starts(str_of(url), STR("https://")))
        why = "URL scheme must be https";
    else if (!url[8] || url[8] == '/' || strpbrk(url + 8, " \t\r\n\\\""))
        why = "URL must have a host";
    else if (strpbrk(url + 8, "@"))
        why = "URL must not contain a username or password";
    else if (strpbrk(url + 8, "?"))
        why = "URL must not contain a query";
    else if (strpbrk(url + 8, "#"))
        why = "URL must not contain a fragment";
    return why ? error_set(err, ERR_USAGE, "%s.%s: Invalid value: \"%s\": %s", path, name, url, why)
               : 0;
}

static int check_head(const cJSON *tree, const char *kind, struct error *err)
{
    static const char *const versions[] = {"v1", "v1beta1", "v1alpha1"};
    const char *version = json_string(tree, "apiVersion");
    for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
        autofree char *full = str_format("apiserver.config.k8s.io/%s", versions[i]);
        if (!c_eq(version, full))
            continue;
        return c_eq(json_string(tree, "kind"), kind)
                   ? 0
                   : error_set(err, ERR_USAGE, "kind: must be %s", kind);
    }
    return error_set(err, ERR_USAGE, "apiVersion: must be apiserver.config.k8s.io/v1 or v1beta1");
}

int conf_read(const char *flag, const char *file, const char *kind, cJSON **ret, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    cJSON *tree = NULL;
    strbuf_init(&text, FILE_BYTES_MAX);
    if (file_read(file, FILE_BYTES_MAX, &text, err) < 0 ||
        yaml_parse(strbuf_str(&text), YAML_STRICT, &tree, err) < 0 ||
        check_head(tree, kind, err) < 0) {
        cJSON_Delete(tree);
        return error_wrap(err, "%s: %s", flag, file);
    }
    *ret = tree;
    return 0;
}
