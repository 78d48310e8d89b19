/*
 * See json_pool.h. Tests: tests/unit/common/json_pool_test.c
 */
#include "common/json_pool.h"

#include <cjson/cJSON.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define STEP 16
#define CLASSES 8 /* up to 128 bytes */

/* A free block's first bytes. */
struct block {
    struct block *next;
};

struct pool {
    bool known; /* its end is asked for */
    struct list {
        struct block *first;
        size_t count;
    } lists[CLASSES]; /* [i]: blocks with room for (i + 1) * STEP bytes */
};

static __thread struct pool pool;
static pthread_key_t at_end;

static void drop(void *arg)
{
    struct pool *p = arg;

    for (size_t i = 0; i < CLASSES; i++)
        for (struct block *b; (b = p->lists[i].first);) {
            p->lists[i].first = b->next;
            free(b);
        }
    *p = (struct pool){0};
}

static void *take(size_t n)
{
    size_t class_ = n == 0 ? 0 : (n - 1) / STEP;

    if (class_ >= CLASSES)
        return malloc(n);
    struct list *l = &pool.lists[class_];
    struct block *b = l->first;
    if (!b) /* whole steps, so that it fits its class when it comes back */
        return malloc((class_ + 1) * STEP);
    l->first = b->next;
    l->count--;
    return b;
}

static void give(void *p)
{
    size_t room = p ? malloc_usable_size(p) : 0, class_ = room / STEP;

    if (class_ == 0 || class_ > CLASSES || pool.lists[class_ - 1].count >= JSON_POOL_BLOCKS) {
        free(p);
        return;
    }
    if (!pool.known) {
        pool.known = true;
        pthread_setspecific(at_end, &pool);
    }
    struct list *l = &pool.lists[class_ - 1];
    ((struct block *)p)->next = l->first;
    l->first = p;
    l->count++;
}

void json_pool_start(void)
{
    cJSON_Hooks hooks = {.malloc_fn = take, .free_fn = give};

    if (pthread_key_create(&at_end, drop) == 0)
        cJSON_InitHooks(&hooks);
}
