/*
 * Inside the etcd engine. etcd.c: the table of functions, loading, head, compaction; etcd_call.c:
 * one exchange with the gateway (endpoints, authentication, what an error means); etcd_commit.c:
 * batches; etcd_watch.c: the watch; etcd_value.c: values and keys on the wire.
 *
 * Keys in etcd are PREFIX/key; PREFIX/head is written by every transaction, PREFIX/~... are the
 * engine's other keys. A value is format (1: raw, 2: zstd), index of its change in the transaction,
 * and the object.
 *
 * An answer can get lost after the transaction was sent. So each transaction compares the writer's
 * fence key as well: writing it again makes sure that what was sent before can't happen any more,
 * and the history of PREFIX/head up to there says whether it did.
 *
 * Threads: two senders, the watch, the head reader and the compactor are tasks of their own. lock
 * guards the queues; completing guards the resolution of batches, so that their done functions have
 * returned when the watch goes on.
 */
#pragma once

#include "apiserver/store/store.h"
#include "common/http_client.h"
#include "common/json.h"

#define ETCD_ENDPOINTS_MAX 16
#define ETCD_SENDERS 2
#define ETCD_INDEXES 128 /* resourceVersions of one revision */

enum etcd_result {
    ETCD_OK,
    ETCD_REFUSED, /* it did not happen */
    ETCD_LOST,    /* it may have happened */
};

struct etcd_batch {
    uint64_t sequence;
    struct store_group *groups;
    size_t group_count, op_count;
    int64_t sent_after; /* revision that was known before it was first sent */
    bool nested;        /* as it was last sent */
    bool resolved;
};

struct head_call {
    void (*fn)(void *arg, int64_t version, const struct error *err);
    void *arg;
    struct head_call *next;
};

struct etcd {
    struct store base;
    struct env *env;
    char *prefix; /* "/skiff/" */
    char *username, *password_file;
    struct http_client *clients[ETCD_ENDPOINTS_MAX];
    char *urls[ETCD_ENDPOINTS_MAX];
    unsigned client_count;
    unsigned current; /* atomic: the endpoint in use */
    char writer[17];

    struct lock lock;
    struct cond wake_senders, wake_head, wake_compactor;
    struct store_group *queue, **queue_end;
    struct etcd_batch *in_flight[ETCD_SENDERS];
    uint64_t sequence;
    int64_t fence; /* mod_revision of the fence key, 0: not written yet */
    bool fencing;
    int64_t newest;        /* revision seen in any answer */
    int64_t committed;     /* newest revision that is known to have changed the prefix, so that the
                              watch must show it */
    int64_t down_since_ns; /* 0: the last exchange worked */
    struct error failure;
    struct strbuf token;
    struct head_call *heads;
    int64_t compact_to, compacted_at_ns;
    bool compact_due, stopping;
    unsigned senders_started; /* bits: their places in in_flight */
    struct task *senders[ETCD_SENDERS], *head_reader, *compactor;

    struct lock completing;

    /* the watch */
    struct task *watcher;
    struct http_stream *stream; /* under lock, for cancelling */
    int64_t watched;            /* revision shown so far */
    void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to);
    void (*on_lost)(void *arg, const struct error *err);
    void *watch_arg;
};

/* etcd_call.c */
enum etcd_result etcd_post(struct etcd *e, const char *path, struct str body, int64_t timeout_ns,
    cJSON **ret, struct error *err);
/* Opens the watch's stream on the current endpoint. */
int etcd_open_stream(
    struct etcd *e, const char *path, struct str body, struct http_stream **ret, struct error *err);
void etcd_forget_token(struct etcd *e); /* the next exchange asks for a new one */
void etcd_next_endpoint(struct etcd *e, unsigned was);
int64_t etcd_revision(const cJSON *answer); /* of its header */
/* Errors of the gateway as JSON ({"error":..,"code":..} or
 * {"error":{"message":..,"grpc_code":..}}). */
enum etcd_result etcd_explain(int http_status, const cJSON *answer, struct error *err);
void etcd_note_up(struct etcd *e, int64_t revision); /* an exchange worked */
bool etcd_is_down(struct etcd *e, int64_t for_ns);

/* etcd_value.c */
void etcd_put_key(struct etcd *e, struct str key, struct strbuf *out); /* base64 of prefix + key */
void etcd_put_bytes(struct str bytes, struct strbuf *out);
/* Format byte, index byte and the value, compressed where that helps; zstd is a ZSTD_CCtx. */
void etcd_put_value(
    void *zstd, struct str value, unsigned index, struct strbuf *scratch, struct strbuf *out);
int64_t etcd_int(
    const cJSON *object, const char *name); /* int64 as a JSON string or number, absent: 0 */
/* The key of a kv without the prefix, into out (cleared). */
int etcd_get_key(struct etcd *e, const cJSON *kv, struct strbuf *out, struct error *err);
/* Value of a kv into out (appended), its index to *ret_index. with_value false: the index only. */
int etcd_get_value(void *zstd, const cJSON *kv, bool with_value, unsigned *ret_index,
    struct strbuf *out, struct error *err);

/* etcd_commit.c */
void etcd_sender_run(void *arg);
void etcd_commit(struct store *s, struct store_group *group);
/* The watch saw a transaction of ours: resolves its batch, if that is still open. written(arg, key)
 * says whether the transaction changed a key. */
void etcd_resolve_seen(struct etcd *e, uint64_t sequence, int64_t revision,
    bool (*written)(void *arg, struct str key), void *arg);
void etcd_fail_queue(struct etcd *e, const struct error *err);

/* etcd_watch.c */
void etcd_watch_run(void *arg);
int etcd_watch_start(struct store *s, int64_t version,
    void (*on_events)(void *arg, const struct store_event *events, size_t count, int64_t up_to),
    void (*on_lost)(void *arg, const struct error *err), void *arg, struct error *err);
void etcd_watch_stop(struct etcd *e);

/* The value of PREFIX/head. */
struct etcd_head {
    char writer[17];
    uint64_t sequence;
    cJSON *removed; /* [[key, index], ...]; part of tree */
    cJSON *tree;
};
int etcd_head_parse(const cJSON *kv, struct etcd_head *ret, struct error *err);
