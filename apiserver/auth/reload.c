/*
 * The settings in force, and the task that reads their files again when they change.
 *
 * A file that is wrong leaves the settings as they are. Old settings are freed by the task (their
 * calls are waited for), once nobody uses them. Threads: any.
 */
#include "apiserver/auth/internal.h"
#include "common/log.h"
#include "common/time.h"

#include <sys/stat.h>

#define LOOK_NS (2 * NS_PER_S)

struct settings *auth_settings(struct auth *auth)
{
    env_lock(auth->config.env, &auth->lock);
    struct settings *s = auth->settings;
    s->references++;
    env_unlock(auth->config.env, &auth->lock);
    return s;
}

void auth_settings_done(struct auth *auth, struct settings *s)
{
    env_lock(auth->config.env, &auth->lock);
    s->references--;
    env_unlock(auth->config.env, &auth->lock);
}

static void watched_files(const struct auth *auth, const char *ret[2])
{
    const struct auth_options *o = auth->config.options;
    ret[0] = o ? o->authentication_config : NULL;
    ret[1] = o ? o->authorization_config : NULL;
}

/* Changes with the file's content, near enough; 0: there is none. */
static int64_t stamp_of(const char *path)
{
    struct stat st;
    if (!path || stat(path, &st) < 0)
        return 0;
    return (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec + (int64_t)st.st_ino * 7 +
           st.st_size;
}

static int64_t stamp(const struct auth *auth)
{
    const char *files[2];
    watched_files(auth, files);
    return stamp_of(files[0]) * 31 + stamp_of(files[1]);
}

static void put_in_force(struct auth *auth, struct settings *fresh)
{
    env_lock(auth->config.env, &auth->lock);
    fresh->generation = auth->settings ? auth->settings->generation + 1 : 1;
    if (auth->settings) {
        auth->settings->references--;
        auth->settings->next = auth->retired;
        auth->retired = auth->settings;
    }
    auth->settings = fresh;
    env_unlock(auth->config.env, &auth->lock);
}

static void free_unused(struct auth *auth)
{
    struct settings *unused = NULL, **at = &auth->retired, *s;
    env_lock(auth->config.env, &auth->lock);
    while ((s = *at)) {
        if (s->references > 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        s->next = unused;
        unused = s;
    }
    env_unlock(auth->config.env, &auth->lock);
    while ((s = unused)) {
        unused = s->next;
        settings_free(s);
    }
}

static void load_again(struct auth *auth)
{
    struct settings *fresh;
    struct error err;
    if (settings_load(auth->config.env, auth->config.options, &fresh, &err) < 0) {
        log_error("configuration is wrong, keeping the old one", "error", "%s", err.text, NULL);
        return;
    }
    put_in_force(auth, fresh);
    log_info("authentication and authorization configured anew", NULL);
}

static void run(void *arg)
{
    struct auth *auth = arg;
    struct env *env = auth->config.env;
    env_lock(env, &auth->lock);
    while (!auth->stopping) {
        env_wait_until(env, &auth->stopped, &auth->lock, env_now_ns(env) + LOOK_NS);
        if (auth->stopping)
            break;
        env_unlock(env, &auth->lock);
        int64_t now = stamp(auth);
        if (now != auth->stamp) {
            auth->stamp = now;
            load_again(auth);
        }
        free_unused(auth);
        env_lock(env, &auth->lock);
    }
    env_unlock(env, &auth->lock);
}

int auth_settings_start(struct auth *auth, struct error *err)
{
    static const struct auth_options none;
    const char *files[2];
    struct settings *s;
    watched_files(auth, files);
    auth->stamp = stamp(auth);
    if (settings_load(
            auth->config.env, auth->config.options ? auth->config.options : &none, &s, err) < 0)
        return -(int)err->code;
    put_in_force(auth, s);
    if (files[0] || files[1])
        auth->reloader = env_spawn(auth->config.env, "auth-reload", run, auth);
    return 0;
}

void auth_settings_stop(struct auth *auth)
{
    struct settings *s;
    if (auth->reloader) {
        env_lock(auth->config.env, &auth->lock);
        auth->stopping = true;
        env_signal(auth->config.env, &auth->stopped);
        env_unlock(auth->config.env, &auth->lock);
        env_join(auth->config.env, auth->reloader);
    }
    while ((s = auth->retired)) {
        auth->retired = s->next;
        settings_free(s);
    }
    settings_free(auth->settings);
}
