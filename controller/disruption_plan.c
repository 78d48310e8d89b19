/* The arithmetic of disruption budgets: see disruption.h. Upstream: getExpectedPodCount and
 * updatePdbStatus of pkg/controller/disruption. */
#include "controller/disruption.h"

#include "controller/pods.h"

static bool is_percent(const char *text)
{
    size_t n = strlen(text);
    return n > 0 && text[n - 1] == '%';
}

bool budget_needs_scale(const struct budget *b)
{
    return *b->max_unavailable || is_percent(b->min_available);
}

struct budget_sum budget_sum(const struct budget *b, int64_t pods, int64_t scale, int64_t healthy)
{
    struct budget_sum s = {.expected = budget_needs_scale(b) ? scale : pods, .healthy = healthy};

    if (*b->max_unavailable)
        s.desired = s.expected - int_or_percent(b->max_unavailable, s.expected, true);
    else if (*b->min_available)
        s.desired = int_or_percent(b->min_available, s.expected, true);
    s.desired = s.desired < 0 ? 0 : s.desired;
    s.allowed = s.healthy - s.desired;
    if (s.expected <= 0 || s.allowed < 0)
        s.allowed = 0;
    return s;
}
