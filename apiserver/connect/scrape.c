/*
 * Parses Prometheus' text format as far as /metrics/resource needs it; see scrape.h.
 *
 * Each line of a container's figure becomes a row (three names, which figure, value, time); the
 * rows are sorted and those of the same container are merged. Linear but for the sort, whatever the
 * page says.
 */
#include "apiserver/connect/scrape.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/time.h"

#define CONTAINERS_MAX 20000
#define NAME_BYTES_MAX 253

enum figure { CPU, MEMORY, STARTED };

struct row {
    struct str namespace_, pod, container;
    enum figure figure;
    double value;
    int64_t time_ns;
};

struct page {
    struct row *rows;
    size_t count, capacity;
    int64_t now_ns;
    struct scrape *node;
};

static const struct {
    const char *name;
    enum figure figure;
    bool of_node;
} figures[] = {
    {"node_cpu_usage_seconds_total", CPU, true},
    {"node_memory_working_set_bytes", MEMORY, true},
    {"container_cpu_usage_seconds_total", CPU, false},
    {"container_memory_working_set_bytes", MEMORY, false},
    {"container_start_time_seconds", STARTED, false},
};

struct scrape *scrape_ref(struct scrape *s)
{
    __atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
    return s;
}

void scrape_unref(struct scrape *s)
{
    if (!s || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(s->containers);
    free(s->strings);
    free(s);
}

/* --- lines --- */

/* Letters, digits, "-" and ".": names of objects and containers have nothing else. */
static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '.')
            return false;
    return s.n > 0 && s.n <= NAME_BYTES_MAX;
}

/* A value with escapes is cut at the first quote, and is no name then. */
static bool take_label(struct str *rest, struct str *ret_name, struct str *ret_value)
{
    ssize_t equals = str_find(*rest, '=');

    if (equals <= 0 || (size_t)equals + 1 >= rest->n || rest->p[equals + 1] != '"')
        return false;
    *ret_name = str_range(rest->p, (size_t)equals);
    struct str after = str_range(rest->p + equals + 2, rest->n - (size_t)equals - 2);
    ssize_t end = str_find(after, '"');
    if (end < 0)
        return false;
    *ret_value = str_range(after.p, (size_t)end);
    *rest = str_range(after.p + end + 1, after.n - (size_t)end - 1);
    if (rest->n > 0 && rest->p[0] == ',')
        *rest = str_range(rest->p + 1, rest->n - 1);
    return true;
}

static bool read_labels(struct str labels, struct row *row)
{
    struct str name, value;

    while (labels.n > 0) {
        if (!take_label(&labels, &name, &value))
            return false;
        if (str_eqc(name, "namespace"))
            row->namespace_ = value;
        else if (str_eqc(name, "pod"))
            row->pod = value;
        else if (str_eqc(name, "container"))
            row->container = value;
    }
    return is_name(row->namespace_) && is_name(row->pod) && is_name(row->container);
}

/* " 12.5 1700000000000" */
static bool read_value(struct str text, int64_t now_ns, struct row *row)
{
    char number[64], *end;
    struct str word, rest = str_trim(text);
    struct error ignored;
    int64_t ms;

    if (!str_split(&rest, ' ', &word) || word.n == 0 || word.n >= sizeof(number))
        return false;
    memcpy(number, word.p, word.n);
    number[word.n] = '\0';
    row->value = strtod(number, &end);
    if (*end || !isfinite(row->value) || row->value < 0 || row->value > 1e18)
        return false;
    row->time_ns = now_ns;
    rest = str_trim(rest);
    if (rest.n > 0) {
        if (str_parse_int64(rest, &ms, &ignored) < 0 || ms < 0 || ms > INT64_MAX / NS_PER_MS)
            return false;
        row->time_ns = ms * NS_PER_MS;
    }
    return true;
}

static int64_t seconds_ns(double seconds)
{
    return seconds < 9e9 ? (int64_t)(seconds * 1e9) : INT64_MAX;
}

static void add_row(struct page *p, const struct row *row)
{
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 64;
        p->rows = xrealloc(p->rows, p->capacity * sizeof(p->rows[0]));
    }
    p->rows[p->count++] = *row;
}

static void take_line(struct page *p, struct str line)
{
    size_t n = 0;
    struct row row = {0};

    while (n < line.n && line.p[n] != '{' && line.p[n] != ' ')
        n++;
    struct str name = str_range(line.p, n), rest = str_range(line.p + n, line.n - n), labels = {0};
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++) {
        if (!str_eqc(name, figures[i].name))
            continue;
        if (rest.n > 0 && rest.p[0] == '{') {
            ssize_t end = str_find(rest, '}');
            if (end < 0)
                return;
            labels = str_range(rest.p + 1, (size_t)end - 1);
            rest = str_range(rest.p + end + 1, rest.n - (size_t)end - 1);
        }
        row.figure = figures[i].figure;
        if (!read_value(rest, p->now_ns, &row))
            return;
        if (!figures[i].of_node) {
            if (read_labels(labels, &row))
                add_row(p, &row);
        } else if (row.figure == CPU) {
            p->node->cpu_ns = seconds_ns(row.value);
            p->node->time_ns = row.time_ns;
        } else {
            p->node->memory_bytes = (int64_t)row.value;
        }
        return;
    }
}

/* --- containers --- */

static int compare_names(const struct row *a, const struct row *b)
{
    int r = str_cmp(a->namespace_, b->namespace_);

    r = r ? r : str_cmp(a->pod, b->pod);
    return r ? r : str_cmp(a->container, b->container);
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int r = compare_names(x, y);

    return r ? r : (int)x->figure - (int)y->figure;
}

static const char *keep(char **at, struct str s)
{
    char *begin = *at;

    memcpy(begin, s.p, s.n);
    begin[s.n] = '\0';
    *at += s.n + 1;
    return begin;
}

static void merge(struct page *p)
{
    struct scrape *s = p->node;
    size_t bytes = 1;

    if (p->count == 0)
        return;
    qsort(p->rows, p->count, sizeof(p->rows[0]), compare_rows);
    for (size_t i = 0; i < p->count; i++)
        bytes += p->rows[i].namespace_.n + p->rows[i].pod.n + p->rows[i].container.n + 3;
    s->strings = xmalloc(bytes);
    s->containers = xcalloc(p->count, sizeof(s->containers[0]));
    char *at = s->strings;
    for (size_t i = 0; i < p->count; i++) {
        const struct row *row = &p->rows[i];
        if (i == 0 || compare_names(row, &p->rows[i - 1]) != 0) {
            struct container_sample *c = &s->containers[s->count++];
            c->namespace_ = keep(&at, row->namespace_);
            c->pod = keep(&at, row->pod);
            c->container = keep(&at, row->container);
            c->cpu_ns = c->memory_bytes = -1;
        }
        struct container_sample *c = &s->containers[s->count - 1];
        if (row->figure == CPU) {
            c->cpu_ns = seconds_ns(row->value);
            c->time_ns = row->time_ns;
        } else if (row->figure == MEMORY) {
            c->memory_bytes = (int64_t)row->value;
        } else {
            c->started_ns = seconds_ns(row->value);
        }
    }
}

int scrape_parse(struct str text, int64_t now_ns, struct scrape **ret, struct error *err)
{
    struct page p = {.now_ns = now_ns, .node = xcalloc(1, sizeof(*p.node))};
    struct str line;

    p.node->references = 1;
    p.node->cpu_ns = p.node->memory_bytes = -1;
    while (str_split(&text, '\n', &line) && p.count <= 3 * CONTAINERS_MAX)
        if (line.n > 0 && line.p[0] != '#')
            take_line(&p, line);
    bool is_fine = p.node->cpu_ns >= 0 && p.node->memory_bytes >= 0;
    if (is_fine && p.count <= 3 * CONTAINERS_MAX)
        merge(&p);
    free(p.rows);
    if (!is_fine || p.count > 3 * CONTAINERS_MAX) {
        scrape_unref(p.node);
        return error_set(err, ERR_BAD_REQUEST,
            is_fine ? "the page has too many containers" : "the page has no figures of a node");
    }
    *ret = p.node;
    return 0;
}

const struct container_sample *scrape_pod(
    const struct scrape *s, struct str namespace_, struct str pod, size_t *ret_count)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct container_sample *c = &s->containers[middle];
        int r = str_cmp(str_of(c->namespace_), namespace_);
        if (r < 0 || (r == 0 && str_cmp(str_of(c->pod), pod) < 0))
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < s->count && str_eqc(namespace_, s->containers[end].namespace_) &&
           str_eqc(pod, s->containers[end].pod))
        end++;
    *ret_count = end - low;
    return &s->containers[low];
}
