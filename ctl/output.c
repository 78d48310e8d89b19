/*
 * Columns and object forms; see output.h. jsonpath is in jsonpath.c.
 */
#include "ctl/output.h"

#include <errno.h>

#include "common/yaml.h"

void columns_add(struct columns *c, char **take_row)
{
    c->rows = xrealloc(c->rows, (c->count + 1) * sizeof(*c->rows));
    c->rows[c->count++] = take_row;
}

/* Characters, not bytes. */
static size_t text_width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_row(char *const *row, const size_t *widths, FILE *out)
{
    for (size_t i = 0; row[i]; i++) {
        size_t pad = row[i + 1] ? widths[i] + 3 - text_width(row[i]) : 0;
        fprintf(out, "%s%*s", row[i], (int)pad, "");
    }
    fputc('\n', out);
}

void columns_print(struct columns *c, FILE *out)
{
    for (size_t r = 0; r < c->count; r++)
        for (size_t i = 0; c->rows[r][i]; i++)
            if (text_width(c->rows[r][i]) > c->widths[i])
                c->widths[i] = text_width(c->rows[r][i]);
    for (size_t r = 0; r < c->count; r++) {
        print_row(c->rows[r], c->widths, out);
        for (size_t i = 0; c->rows[r][i]; i++)
            free(c->rows[r][i]);
        free(c->rows[r]);
    }
    free(c->rows);
    c->rows = NULL;
    c->count = 0;
}

/* Nothing in a cell steers the terminal or breaks the row: both as kubectl shows it. */
char *cell_line(const char *text)
{
    struct strbuf line;
    strbuf_init(&line, 0);
    for (const char *p = text; *p; p++) {
        if (strchr("\f\n\r\v", *p)) {
            strbuf_addc(&line, "...");
            break;
        }
        if (*p == '\033')
            strbuf_addc(&line, "^[");
        else
            strbuf_add_char(&line, *p);
    }
    return strbuf_steal(&line);
}

static char *cell_text(const cJSON *cell)
{
    struct strbuf text;
    if (cJSON_IsString(cell))
        return cell_line(cell->valuestring);
    if (!cell || cJSON_IsNull(cell))
        return xstrdup("<none>");
    strbuf_init(&text, 0);
    json_print(cell, &text);
    return strbuf_steal(&text);
}

static char *upper(const char *s)
{
    char *out = xstrdup(s);
    for (char *p = out; *p; p++)
        *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    return out;
}

static void add_row(struct columns *c, const cJSON *definitions, const cJSON *row, bool wide,
    bool namespaces, const struct ctl_resource *prefix)
{
    const cJSON *definition, *cells = json_get(row, "cells");
    char **out = xcalloc((size_t)cJSON_GetArraySize(definitions) + 2, sizeof(*out));
    size_t n = 0;
    int index = 0;
    if (namespaces) {
        const char *namespace_ = json_string_at(row, "object.metadata.namespace");
        out[n++] = row ? xstrdup(namespace_ ? namespace_ : "") : xstrdup("NAMESPACE");
    }
    cJSON_ArrayForEach(definition, definitions)
    {
        const cJSON *cell = cJSON_GetArrayItem(cells, index++);
        const char *name = json_string(definition, "name");
        if ((!wide && json_int64_at(definition, "priority", 0) > 0) || n == COLUMNS_MAX)
            continue;
        if (!row) {
            out[n++] = upper(name ? name : "");
        } else if (prefix && index == 1) {
            autofree char *text = cell_text(cell);
            out[n++] = resource_label(prefix, text);
        } else {
            out[n++] = cell_text(cell);
        }
    }
    columns_add(c, out);
}

void columns_add_table(struct columns *c, const cJSON *table, bool header, bool wide,
    bool namespaces, const struct ctl_resource *prefix)
{
    const cJSON *definitions = json_get(table, "columnDefinitions"), *row;
    if (header)
        add_row(c, definitions, NULL, wide, namespaces, prefix);
    cJSON_ArrayForEach(row, json_get(table, "rows"))
        add_row(c, definitions, row, wide, namespaces, prefix);
}

bool output_is_object_form(const char *output)
{
    return output && *output && !c_eq(output, "wide");
}

/* What is wrong with a template shows on an empty object, before anybody is asked. */
static int check_template(const char *template_, struct error *err)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    autojson cJSON *empty = cJSON_CreateObject();
    int result = out ? jsonpath_print(template_, empty, out, err) : error_sys(err, errno, "memory");
    if (out)
        fclose(out);
    free(text);
    if (result < 0)
        err->code = ERR_USAGE;
    return result < 0 ? -ERR_USAGE : 0;
}

int output_check(const char *output, struct error *err)
{
    static const char *const forms[] = {"wide", "yaml", "json", "name"};
    if (!output || !*output)
        return 0;
    if (str_starts(str_of(output), STR("jsonpath=")))
        return check_template(output + strlen("jsonpath="), err);
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++)
        if (c_eq(output, forms[i]))
            return 0;
    return error_set(
        err, ERR_USAGE, "-o is wide, yaml, json, name or jsonpath=TEMPLATE, not \"%s\"", output);
}

static void print_name(const cJSON *object)
{
    const char *version = json_string(object, "apiVersion"), *kind = json_string(object, "kind");
    const char *slash = version ? strchr(version, '/') : NULL;
    autofree char *lower = xstrdup(kind ? kind : "");
    for (char *p = lower; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    printf("%s%s%.*s/%s\n", lower, slash ? "." : "", slash ? (int)(slash - version) : 0, version,
        json_string_at(object, "metadata.name"));
}

int output_object(const char *output, const cJSON *tree, struct error *err)
{
    autostrbuf struct strbuf text = STRBUF_EMPTY;
    const cJSON *item, *items = json_get(tree, "items");
    strbuf_init(&text, 0);
    if (str_starts(str_of(output), STR("jsonpath=")))
        return jsonpath_print(output + strlen("jsonpath="), tree, stdout, err);
    if (c_eq(output, "name")) {
        if (!items)
            print_name(tree);
        cJSON_ArrayForEach(item, items) print_name(item);
        return 0;
    }
    if (c_eq(output, "yaml")) {
        yaml_print(tree, &text);
    } else {
        json_print_indented(tree, &text, 4);
        strbuf_add_char(&text, '\n');
    }
    fwrite(text.data, 1, text.n, stdout);
    return 0;
}
