/*
 * One task a watch: looks, compares, calls. Upstream: client-go's and apiserver's
 * dynamiccertificates, which use inotify and fall back to looking once a minute.
 */
#include "common/file_watch.h"

#include <string.h>

#include "common/str.h"
#include "common/time.h"

#define LOOK_EVERY_NS NS_PER_S

struct file_watch {
    struct env *env;
    task_fn *fn;
    void *arg;
    char **paths;
    struct file_look *seen;
    size_t count;
    struct lock lock;
    struct cond wake;
    bool stopping;
    struct task *task;
};

void file_look(const char *path, struct file_look *ret)
{
    struct stat st;

    memset(ret, 0, sizeof(*ret)); /* padding too */
    if (!path || stat(path, &st) < 0)
        return;
    ret->there = true;
    ret->dev = st.st_dev;
    ret->ino = st.st_ino;
    ret->size = st.st_size;
    ret->modified = st.st_mtim;
    ret->changed = st.st_ctim;
}

static bool look_again(struct file_watch *w)
{
    bool changed = false;

    for (size_t i = 0; i < w->count; i++) {
        struct file_look look;

        file_look(w->paths[i], &look);
        if (memcmp(&look, &w->seen[i], sizeof(look)) != 0) {
            memcpy(&w->seen[i], &look, sizeof(look));
            changed = true;
        }
    }
    return changed;
}

static bool wait_a_while(struct file_watch *w)
{
    int64_t until_ns = env_now_ns(w->env) + LOOK_EVERY_NS;

    env_lock(w->env, &w->lock);
    while (!w->stopping && env_wait_until(w->env, &w->wake, &w->lock, until_ns))
        ;
    bool stopping = w->stopping;

    env_unlock(w->env, &w->lock);
    return !stopping;
}

static void watch_run(void *arg)
{
    struct file_watch *w = (struct file_watch *)arg;
    bool due = false;

    while (wait_a_while(w)) {
        if (look_again(w)) {
            due = true;
        } else if (due) {
            due = false;
            w->fn(w->arg);
        }
    }
}

struct file_watch *file_watch_new(struct env *env, const char *const *paths, task_fn *fn, void *arg)
{
    struct file_watch *w = (struct file_watch *)xcalloc(1, sizeof(*w));

    while (paths[w->count])
        w->count++;
    w->env = env;
    w->fn = fn;
    w->arg = arg;
    w->paths = (char **)xcalloc(w->count + 1, sizeof(*w->paths));
    w->seen = (struct file_look *)xcalloc(w->count + 1, sizeof(*w->seen));
    for (size_t i = 0; i < w->count; i++)
        w->paths[i] = xstrdup(paths[i]);
    env_lock_init(&w->lock);
    env_cond_init(&w->wake);
    look_again(w);
    w->task = env_spawn(env, "file-watch", watch_run, w);
    return w;
}

void file_watch_free(struct file_watch *w)
{
    if (!w)
        return;
    env_lock(w->env, &w->lock);
    w->stopping = true;
    env_signal(w->env, &w->wake);
    env_unlock(w->env, &w->lock);
    env_join(w->env, w->task);
    for (size_t i = 0; i < w->count; i++)
        free(w->paths[i]);
    free(w->paths);
    free(w->seen);
    env_lock_done(&w->lock);
    env_cond_done(&w->wake);
    free(w);
}
