/*
 * Termination messages: what a container left in its message file, else, when it asks for that and
 * failed, the end of its log. The file is made before the container and mounted at
 * terminationMessagePath; an empty one is no message.
 */
#include "kubelet/sync.h"

#include "common/file.h"

#define MESSAGE_MAX 4096
#define LOG_MESSAGE_MAX 2048
#define LOG_MESSAGE_LINES 80

static int keep_end(void *arg, struct str piece)
{
    struct strbuf *out = arg;

    strbuf_add(out, piece);
    if (out->n > LOG_MESSAGE_MAX)
        strbuf_remove_front(out, out->n - LOG_MESSAGE_MAX);
    return 0;
}

static bool never_gone(void *arg)
{
    (void)arg;
    return false;
}

char *termination_message(void *arg, const cJSON *container, const struct container_info *info)
{
    struct sync *s = arg;
    struct strbuf text;
    struct error err;

    strbuf_init(&text, 0);
    if (info->message_path && file_read(info->message_path, 1u << 20, &text, &err) == 0 &&
        text.n > 0) {
        struct str message = strbuf_str(&text);
        char *result =
            str_dup(str_range(message.p, message.n < MESSAGE_MAX ? message.n : MESSAGE_MAX));
        strbuf_done(&text);
        return result;
    }
    strbuf_clear(&text);
    if (info->exit_code != 0 &&
        c_eq(json_string(container, "terminationMessagePolicy"), "FallbackToLogsOnError"))
        s->agent->runtime->ops->logs(s->agent->runtime, info->id,
            &(struct log_options){.tail_lines = LOG_MESSAGE_LINES, .limit_bytes = -1}, keep_end,
            &text, never_gone, &err);
    if (text.n == 0) {
        strbuf_done(&text);
        return NULL;
    }
    return strbuf_steal(&text);
}
