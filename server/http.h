/*
 * http: the one file that sees libmicrohttpd. Turns connections into requests, requests into calls of a
 * route's handler (routes.h), and what the handler answers into bytes.
 *
 * Life of a request, all on the loop's thread:
 *
 *   headers    route, Host, Origin, key, method, Content-Length are checked; a refusal is answered here
 *   body       JSON is collected (1 MiB at most); multipart is parsed as it comes and handed to route->upload and to
 *              a sink, and the connection sleeps while that is full;
 *              after an error the rest is drained, the error answered, the connection closed
 *   handler    route->handle(req, &err) runs once, with the whole body in. It calls one respond_*, or
 *              request_work, and returns 0; or it returns an error, which becomes the error object
 *   end        request_own's destructor runs when the last byte is out or the client is gone; after an error, before
 *              the error is answered
 *
 * A request lives until its end; while it sleeps (request_work) a client that leaves is noticed only after it
 * wakes, so `done` may always touch it. A POST with an Idempotency-Key runs its handler (and each `done`)
 * inside a store transaction in which the answer is recorded too.
 *
 * Handlers must not block: what can take 10 ms (fsync, hashing, zipping) goes through request_work.
 */
#ifndef OBLIVIATE_HTTP_H
#define OBLIVIATE_HTTP_H

#include <sys/types.h>

#include "common/err.h"
#include "common/json.h"
#include "common/sha256.h"
#include "server/server.h"

struct http;
struct request;
struct route;

enum { HTTP_TICK_MS = 15000 }; /* a waiting stream is pulled at least this often */

/* Bind options->listen and serve on server->loop. The port is known afterwards (--listen 127.0.0.1:0). */
int http_start(struct http **out, struct server *server, struct err *err) MUST_USE;
/* "127.0.0.1:8080", as bound; borrowed. */
const char *http_address(const struct http *http);
/* No new connections; streams end; requests at work finish; then `stopped` is called once. */
void http_stop(struct http *http, void (*stopped)(struct server *server));
/* After `stopped`. */
void http_free(struct http *http);

struct http_stats {
	uint64_t answers[6]; /* by hundreds of the status */
	uint64_t bytes_received;
	size_t connections;
	size_t streams;
};
void http_stats(struct http_stats *out, const struct http *http);

/* ---- the request ---- */

struct server *request_server(const struct request *req);
const struct route *request_route(const struct request *req);
const char *request_id(const struct request *req);
/* What stood for "{id}" in the route's pattern, percent-decoded; "" when the pattern has none. */
const char *request_param(const struct request *req);
/* Query argument or header, decoded; NULL when absent. Borrowed. */
const char *request_query(const struct request *req, const char *name);
const char *request_header(const struct request *req, const char *name);
/* Every query argument in order (metadata[k]=v); stops at the first non-zero return and returns it. */
int request_query_each(const struct request *req,
	int (*each)(void *arg, const char *name, const char *value, struct err *err), void *arg,
	struct err *err);
/* The body of a JSON route; NULL when it was empty and the route allows that. Borrowed. */
json_t *request_json(const struct request *req);
/* The API key that was used, "" when none is needed. */
const char *request_key(const struct request *req);

/* Give the request an object to keep until its end (upload state, event cursor). At most one. */
void request_own(struct request *req, void *object, void (*free_object)(void *object));
/* The same, with a destructor that may block (removes large files): it runs on the thread pool, soon. */
void request_own_blocking(struct request *req, void *object, void (*free_object)(void *object));
void *request_owned(const struct request *req);

/* In an upload's `part`: its bytes go into fd, which stays open until `end` or the destructor of what the request owns. */
void request_write_to(struct request *req, int fd);

/*
 * Let the connection sleep, run `work` on the thread pool, then `done` on the loop, as a second handler. Work may
 * touch `arg` alone. When work fails its error is answered and done not called. To be called from a handler or
 * a `done`, which then return 0 at once. `arg` stays the caller's (usually request_owned).
 */
void request_work(struct request *req, int (*work)(void *arg, struct err *err),
	int (*done)(struct request *req, void *arg, struct err *err), void *arg);

/* ---- the answer: one of these, once ---- */

/* Steals body. */
void respond_json(struct request *req, int status, json_t *body);
/* Takes the text, and answers with ERR_NO_MEMORY where it has failed. */
void respond_text(struct request *req, int status, const char *content_type, struct buf *text);
/* Copies. */
void respond_bytes(struct request *req, int status, const char *content_type, const void *data, size_t len);
/* {"error": {message, type, param, code}}; param is err->where. */
void respond_err(struct request *req, const struct err *err);
/* An additional header; before or after the respond_*, while in the handler. */
void respond_header(struct request *req, const char *name, const char *value);

struct file_answer {
	int fd;			  /* taken; closed in every case */
	size_t bytes;		  /* whole size */
	const char *sha256;	  /* hex; gives ETag and Repr-Digest */
	const char *content_type; /* */
	const char *filename;	  /* Content-Disposition, or NULL */
};
/* 200, 206, 304 or 416 as the request's headers want it. */
void respond_file(struct request *req, const struct file_answer *file);

/*
 * A body of unknown length. `pull` fills out with at most max bytes and returns their number, PULL_END, or PULL_FAULT,
 * which cuts the connection, so that the client does not take what it has for whole. `arg` is usually request_owned.
 */
enum { PULL_END = -1, PULL_FAULT = -2 };
void respond_pieces(struct request *req, const char *content_type,
	ssize_t (*pull)(void *arg, char *out, size_t max), void *arg);
/*
 * The same for a body that waits for news: `pull` may return 0, to sleep until request_wake or the tick (HTTP_TICK_MS; a
 * pull with nothing to say should then send a comment). When the daemon stops, the body ends.
 */
void respond_stream(struct request *req, const char *content_type,
	ssize_t (*pull)(void *arg, char *out, size_t max), void *arg);
/* Pull again soon. Accepts a request that is awake. */
void request_wake(struct request *req);

#endif
