/* Diagnosis. See diagnosis.h. Upstream: framework/types.go FitError.Error(). */
#include "scheduler/diagnosis.h"

#include <stdarg.h>

struct reason_count {
    char *text;
    size_t count;
    UT_hash_handle hh;
};

struct reasons reasons_new(struct arena *arena, const struct node_set *like)
{
    return (struct reasons){.arena = arena, .unresolvable = node_set_new_like(arena, like)};
}

void reasons_done(struct reasons *reasons)
{
    HASH_CLEAR(hh, reasons->first);
}

void reasons_count(struct reasons *reasons, size_t count, const char *text)
{
    struct reason_count *r;

    if (!count)
        return;
    HASH_FIND_STR(reasons->first, text, r);
    if (!r) {
        r = arena_new_array(reasons->arena, struct reason_count, 1);
        r->text = arena_strdup(reasons->arena, str_of(text));
        HASH_ADD_KEYPTR(hh, reasons->first, r->text, strlen(r->text), r);
    }
    r->count += count;
}

void reasons_add(struct reasons *reasons, const struct node_set *rows, bool unresolvable,
    const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reasons_count(reasons, node_set_count(rows), text);
    if (unresolvable)
        node_set_or(&reasons->unresolvable, rows);
}

void reasons_of_plugin(struct reasons *reasons, const struct cycle *cycle,
    const struct plugin *plugin, const struct node_set *refused)
{
    if (node_set_is_empty(refused))
        return;
    if (plugin->explain)
        plugin->explain(cycle, refused, reasons);
    else
        reasons_add(reasons, refused, plugin->unresolvable, "%s", plugin->reason);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void reasons_print(const struct reasons *reasons, struct strbuf *out)
{
    size_t n = HASH_COUNT(reasons->first), i = 0;
    const char **lines = arena_new_array(reasons->arena, const char *, n + 1);

    for (const struct reason_count *r = reasons->first; r; r = r->hh.next)
        lines[i++] = arena_printf(reasons->arena, "%zu %s", r->count, r->text);
    qsort(lines, n, sizeof(*lines), compare_text);
    for (i = 0; i < n; i++)
        strbuf_addf(out, "%s%s", i ? ", " : " ", lines[i]);
    if (n)
        strbuf_add_char(out, '.');
}
