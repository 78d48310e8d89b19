/* links: skiff-apiserver-lib */
/*
 * AuthenticationConfiguration and AuthorizationConfiguration from anybody: what is wrong is an
 * error that says so, never a crash; what is right can be freed again. The first byte says which of
 * the two it is.
 */
#include "apiserver/auth/settings.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"

static char path[64];

static void prepare(void)
{
    snprintf(path, sizeof(path), "/tmp/skiff-auth-config-fuzz-%d", (int)getpid());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct env *env;
    struct auth_options options = {0};
    struct settings *settings;
    struct error err = {0};

    if (n == 0)
        return 0;
    if (!env) {
        env = env_new_real();
        prepare();
    }
    if (file_write(path, str_range((const char *)data + 1, n - 1), 0600, &err) < 0)
        return 0;
    if (data[0] & 1)
        options.authentication_config = path;
    else
        options.authorization_config = path;
    if (settings_load(env, &options, &settings, &err) == 0)
        settings_free(settings);
    else
        assert(err.text[0] != '\0');
    unlink(path);
    return 0;
}
