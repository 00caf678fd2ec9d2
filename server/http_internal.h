/*
 * http_internal: for http.c (daemon, loop, connections), http_request.c (from headers to handler) and http_answer.c (from
 * answer to bytes) alone. These three see libmicrohttpd.
 */
#ifndef OBLIVIATE_HTTP_INTERNAL_H
#define OBLIVIATE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <sys/socket.h>

#include "server/http.h"
#include "server/multipart.h"
#include "server/routes.h"
#include "server/sink.h"
#include "server/store.h"

enum {
	HTTP_JSON_MAX = 1 << 20,
	HTTP_DRAIN_MAX =
		64 << 20,	  /* of a body that is refused: read on, so that the client sees the answer */
	HTTP_EXTRA_MAX = 1 << 20, /* multipart headers on top of --max-upload-bytes */
	HTTP_RATE_MIN = 1024,	  /* bytes/s of a body, on average, after --client-timeout */
	HTTP_STOP_MS = 5000,	  /* that answers get to finish when the daemon stops */
	HTTP_HEADERS_BYTES = 32768, /* of request line and headers */
	/* A connection's buffer, which takes memory where it is used: bodies come in pieces of half of it. */
	HTTP_CONNECTION_BYTES = 512 << 10,
	HTTP_PARAM_MAX = 1024,
	HTTP_KEY_MAX = 255, /* Idempotency-Key */
};

struct connection {
	struct connection *prev, *next;
	struct MHD_Connection *mhd;
	int fd;
	uint64_t waiting_since; /* loop time at which it was opened, or its last answer ended */
	struct request *req;	/* NULL: waiting for headers */
};

struct http {
	struct server *server;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;	  /* MHD's epoll descriptor */
	uv_timer_t timer; /* MHD's time-out */
	uv_timer_t sweep; /* slow clients, waiting streams, the end */
	uv_async_t room;  /* a sink that was full has room again */
	char address[64];
	bool is_loopback;
	bool is_stopping;
	uint64_t stop_at; /* loop time after which answers are cut */
	void (*stopped)(struct server *server);
	struct connection *connections;
	uint64_t last_tick, last_look;
	int open_handles;
	struct http_stats stats;
};

struct header {
	struct header *next;
	char *name, *value;
};

/* Not kept from the headers on: what the handler answers with. */
struct answer {
	struct MHD_Response *response;
	int status;
	struct header *headers;
	struct buf json; /* a copy, where it is to be recorded */
};

struct request {
	struct http *http;
	struct connection *conn;
	struct MHD_Connection *mhd;
	char id[STORE_ID_BYTES];
	char key[STORE_ID_BYTES];  /* API key */
	const char *method, *path; /* MHD's, valid to the end */
	const struct route *route;
	char param[HTTP_PARAM_MAX];
	struct header *decoded; /* query arguments */
	uint64_t started;	/* loop time */

	/* the body */
	bool has_fault; /* refused: drain, then answer `fault` */
	struct err fault;
	bool must_close; /* ... and not trust the rest of the connection */
	uint64_t received, max_body;
	struct buf body;
	json_t *json;
	struct multipart multipart;
	bool is_multipart;
	struct sink *sink;	   /* of the part at hand */
	struct sha256 fingerprint; /* over method, path and the parts' names and digests */
	char fingerprint_hex[SHA256_HEX_BYTES];
	const char *idempotency_key; /* NULL: none */

	/* the handler */
	bool is_run;
	bool is_asleep;	   /* suspended in MHD */
	bool is_recording; /* holds its idempotency key */
	void *owned;
	void (*free_owned)(void *owned);
	struct disposal *disposal; /* takes owned away, where freeing it blocks */
	uv_work_t work;
	int (*work_fn)(void *arg, struct err *err);
	int (*done_fn)(struct request *req, void *arg, struct err *err);
	void *work_arg;
	int work_rc;
	bool is_working;
	struct err work_err;

	struct answer answer;
	ssize_t (*pull)(void *arg, char *out, size_t max);
	void *pull_arg;
	bool is_waiting; /* pull may sleep: an event stream */
};

/* http.c: run MHD again soon; to be called after every resume. */
void http_kick(struct http *http);
void http_sleep(struct request *req);
void http_resume(struct request *req);

/* http_request.c */
struct request *request_new(
	struct http *http, struct MHD_Connection *mhd, const char *path, const char *method);
void request_free(struct request *req);
/* Headers are in; an error is kept as req->fault. True: answer at once, without the body. */
bool request_admit(struct request *req);
/* A piece of the body; false: cut the connection. */
bool request_body(struct request *req, const char *data, size_t len);
/* Body is in: run the handler, unless it ran already. */
void request_run(struct request *req);

/* http_answer.c: hand req->answer to MHD. */
enum MHD_Result answer_queue(struct request *req);
void answer_done(struct answer *answer);

#endif
