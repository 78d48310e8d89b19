/*
 * Diagnosis: the sentence in a pending pod's condition and event. See diagnosis.h.
 *
 * The part about preemption is left out where a pod of lower priority stands in the way: evicting
 * it is what upstream would do, so no claim is made. Upstream: framework/types.go FitError.Error(),
 * preemption.go.
 */
#include "scheduler/diagnosis.h"

#include <stdarg.h>

struct reason_count {
    char *text;
    size_t count;
    UT_hash_handle hh;
};

static void count_reason(struct reasons *reasons, const char *text, size_t count)
{
    struct reason_count *r;

    HASH_FIND_STR(reasons->first, text, r);
    if (!r) {
        r = arena_new_array(reasons->arena, struct reason_count, 1);
        r->text = arena_strdup(reasons->arena, str_of(text));
        HASH_ADD_KEYPTR(hh, reasons->first, r->text, strlen(r->text), r);
    }
    r->count += count;
}

void reasons_add(struct reasons *reasons, bool unresolvable, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    count_reason(reasons, text, 1);
    reasons->unresolvable = reasons->unresolvable || unresolvable;
}

void diagnosis_add_nodes(struct diagnosis *d, const char *reason, size_t count, bool unresolvable)
{
    if (!count)
        return;
    count_reason(&d->reasons, reason, count);
    if (!unresolvable)
        d->resolvable += count;
}

static bool has_lower_priority(const struct cycle *cycle, uint32_t row)
{
    for (const struct pod_info *p = cycle->nodes->rows[row]->pods; p; p = p->next)
        if (p->object->priority < cycle->pod->object->priority)
            return true;
    return false;
}

void diagnosis_add_node(
    struct diagnosis *d, const struct cycle *cycle, const struct plugin *plugin, uint32_t row)
{
    d->reasons.unresolvable = plugin->unresolvable;
    if (plugin->explain)
        plugin->explain(cycle, row, &d->reasons);
    else
        count_reason(&d->reasons, plugin->reason, 1);
    if (d->reasons.unresolvable)
        return;
    d->resolvable++;
    d->has_victims = d->has_victims || has_lower_priority(cycle, row);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* " 1 Insufficient cpu, 2 Too many pods." sorted as text, as upstream does. */
static void print_reasons(const struct reasons *reasons, struct strbuf *out)
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

static void print_preemption(const struct diagnosis *d, const struct pod *pod, struct strbuf *out)
{
    size_t unhelpful = d->nodes - d->resolvable;

    if (c_eq(pod->preemption_policy, "Never")) {
        strbuf_addc(out, " preemption: not eligible due to preemptionPolicy=Never.");
        return;
    }
    if (d->has_victims)
        return;
    struct reasons counts = {.arena = d->reasons.arena};
    if (d->resolvable)
        count_reason(&counts, "No preemption victims found for incoming pod", d->resolvable);
    if (unhelpful)
        count_reason(&counts, "Preemption is not helpful for scheduling", unhelpful);
    strbuf_addf(out, " preemption: 0/%zu nodes are available:", d->nodes);
    print_reasons(&counts, out);
    HASH_CLEAR(hh, counts.first);
}

void diagnosis_print(const struct diagnosis *d, const struct pod *pod, struct strbuf *out)
{
    if (!d->nodes) {
        strbuf_addc(out, "no nodes available to schedule pods");
        return;
    }
    strbuf_addf(out, "0/%zu nodes are available:", d->nodes);
    if (d->whole_pod)
        strbuf_addf(out, " %s.", d->whole_pod);
    else
        print_reasons(&d->reasons, out);
    print_preemption(d, pod, out);
}

void diagnosis_done(struct diagnosis *d)
{
    HASH_CLEAR(hh, d->reasons.first);
}
