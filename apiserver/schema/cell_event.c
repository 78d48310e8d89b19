/*
 * Cells of events, in both of their forms: core/v1 (involvedObject, message) and events.k8s.io/v1
 * (regarding, note).
 */
#include "apiserver/schema/cell.h"

static const char *first_text(const cJSON *o, const char *a, const char *b, const char *c)
{
    const char *const paths[] = {a, b, c};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        const char *text = paths[i] ? value_string(json_path(o, paths[i])) : "";
        if (*text)
            return text;
    }
    return "";
}

static int64_t count(const cJSON *o)
{
    int64_t n = json_int64_at(o, "series.count", 0);
    if (n == 0)
        n = json_int64_at(o, "count", 0);
    if (n == 0)
        n = json_int64_at(o, "deprecatedCount", 0);
    return n ? n : 1;
}

static const char *first_seen(const cJSON *o)
{
    return first_text(o, "firstTimestamp", "deprecatedFirstTimestamp", "eventTime");
}

static const char *last_seen(const cJSON *o)
{
    const char *last =
        first_text(o, "series.lastObservedTime", "lastTimestamp", "deprecatedLastTimestamp");
    return *last ? last : first_seen(o);
}

cJSON *cell_event_last_seen(const cJSON *o, int64_t now_ns)
{
    return cell_age_of(last_seen(o), now_ns);
}

cJSON *cell_event_first_seen(const cJSON *o, int64_t now_ns)
{
    return cell_age_of(first_seen(o), now_ns);
}

cJSON *cell_event_count(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    return cell_number(count(o));
}

cJSON *cell_event_object(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    const cJSON *ref = json_get(o, "involvedObject");
    (void)now_ns;
    if (!ref)
        ref = json_get(o, "regarding");
    strbuf_init(&b, 0);
    for (const char *k = value_string(json_get(ref, "kind")); *k; k++)
        strbuf_add_char(&b, *k >= 'A' && *k <= 'Z' ? (char)(*k - 'A' + 'a') : *k);
    strbuf_addf(&b, "/%s", value_string(json_get(ref, "name")));
    return cell_buffer(&b);
}

cJSON *cell_event_source(const cJSON *o, int64_t now_ns)
{
    struct strbuf b;
    (void)now_ns;
    const char *component = first_text(o, "source.component", "deprecatedSource.component", NULL);
    const char *host = first_text(o, "source.host", "deprecatedSource.host", NULL);
    if (!*component)
        component = first_text(o, "reportingComponent", "reportingController", NULL);
    strbuf_init(&b, 0);
    strbuf_addf(&b, "%s%s%s", component, *host ? ", " : "", host);
    return cell_buffer(&b);
}

cJSON *cell_event_message(const cJSON *o, int64_t now_ns)
{
    (void)now_ns;
    struct str text = str_trim(str_of(first_text(o, "message", "note", NULL)));
    struct strbuf b;
    strbuf_init(&b, 0);
    strbuf_add(&b, text);
    return cell_buffer(&b);
}
