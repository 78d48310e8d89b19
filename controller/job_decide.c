/* The arithmetic of a Job: see job.h. Upstream: pkg/controller/job (syncJob, manageJob,
 * backoff_utils). */
#include "controller/job.h"

#include "common/time.h"

#define BACKOFF_FIRST_NS (10 * NS_PER_S)
#define BACKOFF_MAX_NS (600 * NS_PER_S)
#define INDEXES_MAX 100000

int64_t job_backoff_ns(int64_t failures)
{
    int64_t backoff = BACKOFF_FIRST_NS;

    if (failures <= 0)
        return 0;
    while (--failures > 0 && backoff < BACKOFF_MAX_NS)
        backoff *= 2;
    return backoff < BACKOFF_MAX_NS ? backoff : BACKOFF_MAX_NS;
}

static bool exceeds_backoff_limit(const struct job_want *w, const struct job_facts *f)
{
    if (f->failed > w->backoff_limit)
        return true;
    if (!w->restarts_in_place || f->restarts == 0)
        return false;
    return w->backoff_limit == 0 || f->restarts >= w->backoff_limit;
}

static bool is_complete(const struct job_want *w, const struct job_facts *f)
{
    if (!w->completions.set)
        return f->succeeded > 0 && f->active == 0;
    return f->succeeded + f->failed_indexes >= w->completions.value && f->active == 0;
}

static int64_t wanted_active(const struct job_want *w, const struct job_facts *f)
{
    if (w->suspend)
        return 0;
    if (!w->completions.set) /* any success: no new pods, those that run may finish */
        return f->succeeded > 0 ? f->active : w->parallelism;
    int64_t left = w->completions.value - f->succeeded - f->failed_indexes;
    left = left < 0 ? 0 : left;
    return left < w->parallelism ? left : w->parallelism;
}

static struct job_decision end_as(const char *end, const char *reason, const char *message)
{
    return (struct job_decision){.end = end, .reason = reason, .message = message};
}

/* How the Job ends, if it does now. */
static struct job_decision decide_end(
    const struct job_want *w, const struct job_facts *f, int64_t deadline)
{
    if (f->policy_failure)
        return end_as("Failed", "PodFailurePolicy", f->policy_failure);
    if (exceeds_backoff_limit(w, f))
        return end_as(
            "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    if (deadline && !w->suspend && f->now_ns >= deadline)
        return end_as(
            "Failed", "DeadlineExceeded", "Job was active longer than specified deadline");
    if (w->per_index && w->max_failed_indexes.set &&
        f->failed_indexes > w->max_failed_indexes.value)
        return end_as("Failed", "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes");
    if (f->policy_success)
        return end_as("Complete", "SuccessPolicy", f->policy_success);
    if (!is_complete(w, f))
        return end_as(NULL, NULL, NULL);
    if (f->failed_indexes)
        return end_as("Failed", "FailedIndexes", "Job has failed indexes");
    return end_as("Complete", "CompletionsReached", "Reached expected number of succeeded pods");
}

struct job_decision job_decide(const struct job_want *w, const struct job_facts *f)
{
    int64_t deadline =
        w->active_deadline_ns && f->started_ns ? f->started_ns + w->active_deadline_ns : 0;
    struct job_decision d = decide_end(w, f, deadline);

    if (d.end)
        return d;
    if (deadline && !w->suspend)
        d.again_ns = deadline - f->now_ns;
    d.want_active = wanted_active(w, f);
    int64_t wait = f->last_failure_ns + job_backoff_ns(f->recent_failures) - f->now_ns;
    if (!w->per_index && d.want_active > f->active && f->recent_failures > 0 && wait > 0) {
        d.want_active = f->active;
        d.again_ns = !d.again_ns || wait < d.again_ns ? wait : d.again_ns;
    }
    if (w->only_replaces_failed && d.want_active > f->active) {
        int64_t room = d.want_active - f->terminating;
        d.want_active = room > f->active ? room : f->active;
    }
    return d;
}

/* --- indexes --- */

void index_set_parse(const char *text, int64_t size, struct index_set *ret)
{
    struct str rest = str_of(text), part, low;
    struct error err;

    size = size < 0 ? 0 : size > INDEXES_MAX ? INDEXES_MAX : size;
    *ret = (struct index_set){.bits = xcalloc((size_t)size + 1, 1), .size = size};
    while (rest.n && str_split(&rest, ',', &part)) {
        int64_t from, to;
        str_split(&part, '-', &low);
        if (str_parse_int64(low, &from, &err) < 0)
            continue;
        if (!part.n || str_parse_int64(part, &to, &err) < 0)
            to = from;
        for (int64_t i = from; i <= to && i < size; i++)
            index_set_add(ret, i);
    }
}

void index_set_done(struct index_set *s)
{
    free(s->bits);
}

bool index_set_has(const struct index_set *s, int64_t index)
{
    return index >= 0 && index < s->size && s->bits[index];
}

void index_set_add(struct index_set *s, int64_t index)
{
    if (index >= 0 && index < s->size)
        s->bits[index] = 1;
}

int64_t index_set_count(const struct index_set *s)
{
    int64_t n = 0;

    for (int64_t i = 0; i < s->size; i++)
        n += s->bits[i];
    return n;
}

char *index_set_print(const struct index_set *s)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    for (int64_t i = 0, end; i < s->size; i = end + 1) {
        end = i;
        if (!s->bits[i])
            continue;
        while (end + 1 < s->size && s->bits[end + 1])
            end++;
        strbuf_addf(&out, out.n ? ",%lld" : "%lld", (long long)i);
        if (end > i) /* upstream writes two neighbours as "3,4" */
            strbuf_addf(&out, end == i + 1 ? ",%lld" : "-%lld", (long long)end);
    }
    return strbuf_steal(&out);
}
