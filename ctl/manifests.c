/*
 * Reads the manifests of -f arguments into one array of objects; a List becomes its items.
 */
#include "ctl/resources.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/yaml.h"

#define MANIFEST_BYTES_MAX (64u << 20)

static int add_object(cJSON *out, cJSON *take, const char *path, int document, struct error *err)
{
    const char *kind = json_string(take, "kind");
    if (!cJSON_IsObject(take) || !kind || !json_string(take, "apiVersion")) {
        bool is_object = cJSON_IsObject(take);
        cJSON_Delete(take);
        return error_set(err, ERR_BAD_REQUEST, "%s: document %d: %s", path, document,
            !is_object ? "it is no object"
            : !kind    ? "Object 'Kind' is missing"
                       : "apiVersion is missing");
    }
    cJSON *items = json_get(take, "items"), *item;
    if (!c_eq(kind, "List") || !items) {
        cJSON_AddItemToArray(out, take);
        return 0;
    }
    int result = 0;
    while (result == 0 && (item = cJSON_DetachItemFromArray(items, 0)))
        result = add_object(out, item, path, document, err);
    cJSON_Delete(take);
    return result;
}

static int add_text(cJSON *out, const char *path, struct str text, struct error *err)
{
    struct yaml_stream stream = yaml_stream_of(text);
    cJSON *tree;
    int more;
    while ((more = yaml_next(&stream, YAML_STRICT, &tree, err)) > 0)
        if (add_object(out, tree, path, stream.document, err) < 0)
            return -err->code;
    return more < 0 ? error_wrap(err, "%s", path) : 0;
}

static int add_stdin(cJSON *out, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, MANIFEST_BYTES_MAX);
    for (;;) {
        char *room = strbuf_reserve(&text, 1 << 16);
        ssize_t n = room ? read(STDIN_FILENO, room, 1 << 16) : -1;
        if (!room)
            return error_set(
                err, ERR_TOO_LARGE, "standard input holds more than %u bytes", MANIFEST_BYTES_MAX);
        if (n < 0)
            return error_sys(err, errno, "standard input");
        if (n == 0)
            return add_text(out, "standard input", strbuf_str(&text), err);
        strbuf_commit(&text, (size_t)n);
    }
}

static int add_file(cJSON *out, const char *path, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    strbuf_init(&text, MANIFEST_BYTES_MAX);
    if (file_read(path, MANIFEST_BYTES_MAX, &text, err) < 0)
        return -err->code;
    return add_text(out, path, strbuf_str(&text), err);
}

static int is_manifest(const struct dirent *e)
{
    struct str name = str_of(e->d_name);
    return str_ends(name, STR(".yaml")) || str_ends(name, STR(".yml")) ||
           str_ends(name, STR(".json"));
}

static int add_folder(cJSON *out, const char *path, struct error *err)
{
    struct dirent **entries;
    int n = scandir(path, &entries, is_manifest, alphasort), result = 0;
    if (n < 0)
        return error_sys(err, errno, "%s", path);
    if (n == 0)
        result = error_set(err, ERR_NOT_FOUND, "%s holds no .yaml, .yml or .json file", path);
    for (int i = 0; i < n; i++) {
        autofree char *file = str_format("%s/%s", path, entries[i]->d_name);
        if (result == 0)
            result = add_file(out, file, err);
        free(entries[i]);
    }
    free(entries);
    return result;
}

int manifests_read(const struct flag_strings *files, cJSON **ret_array, struct error *err)
{
    autojson cJSON *out = cJSON_CreateArray();
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->values[i];
        struct stat st;
        bool is_stdin = c_eq(path, "-");
        if (!is_stdin && stat(path, &st) < 0)
            return error_set(err, ERR_NOT_FOUND, "the path \"%s\" does not exist", path);
        int result = is_stdin              ? add_stdin(out, err)
                     : S_ISDIR(st.st_mode) ? add_folder(out, path, err)
                                           : add_file(out, path, err);
        if (result < 0)
            return result;
    }
    if (!out->child)
        return error_set(err, ERR_NOT_FOUND, "no objects passed to work on: the files hold none");
    *ret_array = steal(&out);
    return 0;
}
