/*
 * Private to http_curl*.c: the production HTTP client's structures.
 */
#pragma once

#include <curl/curl.h>
#include <sys/stat.h>

#include "common/http_client.h"

/*
 * A connection cache of libcurl with its timer. Reads have one of their own, over HTTP/2: libcurl
 * shares no connection to a host that has spoken HTTP/1.1 in the same cache.
 */
struct curl_cache {
    struct curl_client *client;
    CURLM *multi;
    int64_t timer_at_ns;
    long active_count;
    bool is_reads;
};

struct transfer {
    struct http_stream base; /* what a stream's owner holds */
    struct curl_client *client;
    CURL *easy;
    struct curl_cache *cache;
    struct curl_slist *headers;
    struct http_response *response; /* the caller's, or own */
    struct http_response own;
    struct http_canceller *canceller;
    bool is_stream;
    bool repeatable; /* GET, HEAD */

    /* the I/O task's */
    bool active;
    struct transfer *active_prev, *active_next;
    bool sent;      /* a request went out */
    bool head_done; /* its final head came back */
    bool too_large;
    bool refused_repeat; /* libcurl wanted to send a write again */
    char curl_text[CURL_ERROR_SIZE];

    /* guarded by the client's lock */
    struct transfer *next; /* posted or idle */
    bool queued;
    bool want_start, want_cancel, want_resume;
    struct cond changed;
    bool opened, done, timed_out, abandoned, paused;
    CURLcode code;
    int os_errno;
    struct strbuf buffer; /* arrived and not yet taken */
};

struct curl_client {
    struct http_client base;
    struct http_client_config config; /* its strings are copies */
    char *base_url; /* as given to curl: no slash at the end, server name put in */
    bool is_https;
    struct curl_slist *connect_to;
    char *authorization; /* header line, or NULL; guarded by lock, as the three below */
    struct timespec token_mtime;
    ino_t token_inode;
    int64_t token_checked_ns;
    int idle_max;
    struct task *task;

    /* the I/O task's */
    struct curl_cache calls, reads;
    int epoll_fd, wake_fd;
    struct transfer *active;

    struct lock lock;
    size_t refs;
    struct transfer *first, *last; /* posted */
    struct transfer *idle;
    int idle_count;
    bool polling; /* the I/O task sleeps: write to wake_fd */
    bool stopping;
};

void transfer_release(struct transfer *t);

/* http_curl_io.c; the first two with the client's lock held */
void transfer_post(struct curl_client *c, struct transfer *t);
void transfer_unpost(struct curl_client *c, struct transfer *t);
void transfer_set_callbacks(struct transfer *t);
void client_io_setup(struct curl_client *c);
void client_io_run(void *client);

/* http_curl_config.c */

int client_configure(
    struct curl_client *c, const struct http_client_config *config, struct error *err);
void client_configure_done(struct curl_client *c);
/* "Authorization: Bearer ..." for the next request (heap), or NULL. */
char *client_authorization(struct curl_client *c);
