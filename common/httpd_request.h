/*
 * Private to common/httpd*.c: one request on a connection, and the server's struct.
 */
#pragma once

#include "common/httpd.h"
#include "common/httpd_conn.h"

struct query_value {
    struct query_value *next;
    struct strbuf text;
};

enum answer_state {
    ANSWER_NONE,
    ANSWER_WHOLE,  /* sent as a whole */
    ANSWER_STREAM, /* begun, pieces follow */
    ANSWER_ENDED,
    ANSWER_UPGRADED, /* raw bytes from here on */
    ANSWER_BROKEN,   /* the connection can't be used any more */
};

struct httpd_request {
    struct conn *conn;
    struct http1_head head;
    struct strbuf head_text; /* what head's views point into */
    struct strbuf path;      /* decoded */
    struct str query;        /* as sent */
    struct query_value *values;
    enum answer_state state;
    bool chunked_answer;
    bool close_after;
    bool is_head;
    /* the request's body */
    bool body_done, continue_sent;
    int64_t body_left;
    struct http1_chunked chunked;
};

/* Serves requests on the connection until it ends. */
void httpd_serve(const struct httpd_config *config, struct conn *conn);
/* A bare answer of text/plain, for what happens before there is a request. */
void httpd_refuse(struct conn *conn, int status, const char *text);
