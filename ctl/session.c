/*
 * Opening and closing what a command works with; see session.h.
 */
#include "ctl/session.h"

int session_open(const struct common_flags *f, struct session *ret, struct error *err)
{
    struct session s = {0};
    if (ctl_client_open(f->kubeconfig, f->context, &s.client, err) < 0)
        return -err->code;
    if (resource_map_load(&s.client, &s.map, err) < 0) {
        ctl_client_close(&s.client);
        return -err->code;
    }
    *ret = s;
    ret->namespace_given = f->namespace_ != NULL;
    ret->namespace_ = f->namespace_ ? f->namespace_ : ret->client.kubeconfig.namespace_;
    return 0;
}

void session_close(struct session *s)
{
    resource_map_done(&s->map);
    ctl_client_close(&s->client);
}

int session_fail(const struct error *err)
{
    return command_fail(
        err->code == ERR_USAGE ? EXIT_WRONG_USAGE : EXIT_REQUEST_FAILED, "%s", err->text);
}

const char *session_namespace(const struct session *s, const cJSON *object)
{
    const char *own = json_string_at(object, "metadata.namespace");
    return own && *own ? own : s->namespace_;
}

int session_manifest_namespace(
    const struct session *s, const cJSON *manifest, const char **ret, struct error *err)
{
    const char *namespace_ = session_namespace(s, manifest);
    if (s->namespace_given && !c_eq(namespace_, s->namespace_))
        return error_set(err, ERR_BAD_REQUEST,
            "the namespace from the provided object \"%s\" does not match the namespace "
            "\"%s\"; pass '--namespace=%s' to perform this operation",
            namespace_, s->namespace_, namespace_);
    *ret = namespace_;
    return 0;
}
