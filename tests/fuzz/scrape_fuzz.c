/*
 * Fuzz target of a kubelet's page of figures: whatever it says, containers come out sorted, each
 * once, and are found by their pod.
 */
/* links: skiff-apiserver-lib */
#include <assert.h>
#include <string.h>

#include "apiserver/connect/scrape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct scrape *s = NULL;
    struct error err;

    if (scrape_parse(str_range((const char *)data, n), 1, &s, &err) < 0)
        return 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct container_sample *c = &s->containers[i], *found;
        size_t count;
        assert(*c->namespace_ && *c->pod && *c->container && c->cpu_ns >= -1);
        found = scrape_pod(s, str_of(c->namespace_), str_of(c->pod), &count);
        assert(found <= c && c < found + count);
        assert(i == 0 || found < c || strcmp(c->namespace_, c[-1].namespace_) != 0 ||
               strcmp(c->pod, c[-1].pod) != 0);
    }
    scrape_unref(s);
    return 0;
}
