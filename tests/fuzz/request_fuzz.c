/* links: skiff-apiserver-lib */
/*
 * What a client writes around a body: path, query, Accept, continue tokens. The first line is the
 * target, each other one an Accept header or a token.
 */
#include "apiserver/registry/generic/token.h"
#include "apiserver/request/negotiate.h"
#include "apiserver/request/route.h"
#include "apiserver/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct server server;
    struct str rest = str_range((const char *)data, n), line, value;
    struct accept_clause clauses[ACCEPT_CLAUSES_MAX];
    struct continue_token token;
    struct error err;

    if (!server.env)
        server.env = env_new_real();
    if (!str_split(&rest, '\n', &line))
        return 0;
    struct request *q = request_new(&server);
    q->method = STR("GET");
    q->target = line;
    if (route_parse(q, &err) == 0) {
        request_query(q, "labelSelector", &value);
        query_bool(q, "watch", false);
    }
    while (str_split(&rest, '\n', &line)) {
        struct http1_header header = {STR("accept"), line};
        accept_parse(line, clauses, ARRAY_COUNT(clauses));
        q->headers = &header;
        q->header_count = 1;
        negotiate_stage(q);
        header.name = STR("content-type");
        body_type_of(q, false);
        header.name = STR("accept-encoding");
        accepts_gzip(q);
        q->header_count = 0;
        if (token_parse(q->arena, arena_strdup(q->arena, line), &token, &err) == 0)
            token_print(q->arena, &token);
    }
    request_free(q);
    return 0;
}
