#include "server/http.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "server/hosts.h"
#include "server/http_internal.h"

enum { SWEEP_MS = 250, LOOK_MS = 1000, LISTEN_BACKLOG = 256 };

/* ---- MHD on the loop ---- */

static void on_timer(uv_timer_t *timer);

/* Let MHD do what is to be done, then ask when it wants to be called without an event. */
static void pump(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	size_t before;

	if (http->daemon == NULL)
		return;
	/* At its limit MHD stops listening, and begins again only in the run after the one that closed a connection. */
	do {
		before = http->stats.connections;
		MHD_run(http->daemon);
	} while (http->stats.connections < before);
	if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
		uv_timer_start(&http->timer, on_timer, wait_ms, 0);
	else
		uv_timer_stop(&http->timer);
}

static void on_timer(uv_timer_t *timer)
{
	pump(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	pump(poll->data);
}

void http_kick(struct http *http)
{
	uv_timer_start(&http->timer, on_timer, 0, 0);
}

void http_sleep(struct request *req)
{
	if (!req->is_asleep)
		MHD_suspend_connection(req->mhd);
	req->is_asleep = true;
}

void http_resume(struct request *req)
{
	if (!req->is_asleep)
		return;
	req->is_asleep = false;
	MHD_resume_connection(req->mhd);
	http_kick(req->http);
}

/* Go on receiving what waited for a thread of the pool. */
static void on_room(uv_async_t *room)
{
	struct http *http = room->data;

	for (struct connection *conn = http->connections; conn != NULL; conn = conn->next) {
		if (conn->req != NULL && conn->req->sink != NULL && !sink_is_full(conn->req->sink))
			http_resume(conn->req);
	}
}

void request_wake(struct request *req)
{
	if (req->pull != NULL)
		http_resume(req);
}

/* ---- what MHD calls ---- */

static void on_connection(
	void *arg, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct http *http = arg;
	struct connection *conn = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn = calloc(1, sizeof(*conn));
		*context = conn;
		if (conn == NULL)
			return;
		conn->mhd = mhd;
		conn->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		conn->waiting_since = uv_now(http->server->loop);
		conn->next = http->connections;
		if (conn->next != NULL)
			conn->next->prev = conn;
		http->connections = conn;
		http->stats.connections++;
		return;
	}
	if (conn == NULL)
		return;
	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		http->connections = conn->next;
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	http->stats.connections--;
	free(conn);
}

static void on_completed(
	void *arg, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
	struct http *http = arg;
	struct request *req = *context;

	(void)mhd;
	(void)code;
	if (req == NULL)
		return;
	*context = NULL;
	if (req->conn != NULL) {
		req->conn->req = NULL;
		req->conn->waiting_since = uv_now(http->server->loop);
	}
	request_free(req);
}

/* First call: headers. */
static enum MHD_Result begin(
	struct http *http, struct MHD_Connection *mhd, const char *path, const char *method, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *conn = info->socket_context;
	struct request *req;

	if (conn == NULL)
		return MHD_NO;
	req = request_new(http, mhd, path, method);
	if (req == NULL)
		return MHD_NO;
	*context = req;
	req->conn = conn;
	conn->req = req;
	if (!request_admit(req))
		return MHD_YES;
	respond_err(req, &req->fault);
	return answer_queue(req);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *path, const char *method,
	const char *version, const char *data, size_t *len, void **context)
{
	struct request *req = *context;

	(void)version;
	if (req == NULL)
		return begin(arg, mhd, path, method, context);
	if (*len > 0) {
		bool go_on = request_body(req, data, *len);

		req->http->stats.bytes_received += *len;
		*len = 0;
		return go_on ? MHD_YES : MHD_NO;
	}
	request_run(req);
	if (req->answer.response == NULL)
		return req->is_asleep ? MHD_YES : MHD_NO;
	return answer_queue(req);
}

/* Arguments and path stay as they came; request.c decodes them, strictly. */
static size_t keep_escaped(void *arg, struct MHD_Connection *mhd, char *text)
{
	(void)arg;
	(void)mhd;
	return strlen(text);
}

static void PRINTF(2, 0) on_log(void *arg, const char *fmt, va_list ap)
{
	char text[512];

	(void)arg;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_write(LOG_DEBUG, "http", "%s", text);
}

/* ---- the sweep ---- */

/* Is this client too slow? Not while it is us who take the time. */
static bool is_crawling(const struct http *http, const struct connection *conn)
{
	uint64_t now = uv_now(http->server->loop);
	uint64_t grace_ms = (uint64_t)http->server->config->client_timeout * 1000;
	const struct request *req = conn->req;

	if (req == NULL)
		return now - conn->waiting_since > grace_ms;
	if (req->is_run || req->is_asleep || now - req->started <= grace_ms)
		return false;
	return req->received * 1000 / (now - req->started) < HTTP_RATE_MIN;
}

/*
 * Has the client of an unfinished request gone? MHD 0.9.75 waits for an edge of epoll, and misses the end of a stream that
 * comes together with the last bytes: without this look, what it was uploading would stay until --client-timeout.
 */
static bool has_left(const struct connection *conn)
{
	char byte;

	if (conn->req != NULL && conn->req->is_run)
		return false;
	return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void finish_stop(struct http *http);

static bool is_working(const struct http *http)
{
	for (const struct connection *conn = http->connections; conn != NULL; conn = conn->next) {
		if (conn->req != NULL && conn->req->is_working)
			return true;
	}
	return false;
}

static bool is_idle(const struct http *http)
{
	for (const struct connection *conn = http->connections; conn != NULL; conn = conn->next) {
		if (conn->req != NULL)
			return false;
	}
	return true;
}

static void on_sweep(uv_timer_t *timer)
{
	struct http *http = timer->data;
	uint64_t now = uv_now(http->server->loop);
	bool is_tick = now - http->last_tick >= HTTP_TICK_MS;
	bool is_look = now - http->last_look >= LOOK_MS;

	if (is_tick)
		http->last_tick = now;
	if (is_look)
		http->last_look = now;
	for (struct connection *conn = http->connections; conn != NULL; conn = conn->next) {
		if (conn->req != NULL && (is_tick || http->is_stopping))
			request_wake(conn->req);
		/* MHD sees the end of the stream and cleans up. */
		if (is_crawling(http, conn) || (is_look && has_left(conn)))
			shutdown(conn->fd, SHUT_RDWR);
	}
	if (http->is_stopping && !is_working(http) && (is_idle(http) || now >= http->stop_at))
		finish_stop(http);
}

/* ---- start and stop ---- */

static int bind_one(const struct addrinfo *address, const char *listen_on, struct err *err)
{
	int on = 1, saved;
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_errno(err, errno, listen_on, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	return err_errno(err, saved, listen_on, "listen");
}

static int open_socket(const char *listen_on, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char host[256], port[8];
	int rc;

	if (!address_split(host, sizeof(host), port, sizeof(port), listen_on))
		return err_set(err, ERR_USAGE, "--listen", "'%s' is not an address and a port", listen_on);
	rc = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &found);
	if (rc != 0)
		return err_set(err, ERR_USAGE, "--listen", "'%s': %s", listen_on, gai_strerror(rc));
	rc = bind_one(found, listen_on, err);
	freeaddrinfo(found);
	return rc;
}

/* No key was ever made: loopback only. */
static int check_exposure(struct http *http, int fd, struct err *err)
{
	struct sockaddr_storage bound;
	socklen_t len = sizeof(bound);
	bool has_key = false;
	int rc;

	if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
		return err_errno(err, errno, "--listen", "getsockname");
	address_print(http->address, sizeof(http->address), (struct sockaddr *)&bound);
	http->is_loopback = address_is_loopback((struct sockaddr *)&bound);
	rc = store_key_exists(&has_key, http->server->store, err);
	if (rc == 0 && !has_key && !http->is_loopback)
		rc = err_set(err, ERR_USAGE, "--listen",
			"%s can be reached from other machines: make a key first (obliviated key create)",
			http->address);
	return rc;
}

/* sendfile may raise SIGPIPE, which main ignores: not told so, MHD reads and sends files in pieces of 4 KiB. */
static int start_daemon(struct http *http, int fd, struct err *err)
{
	const struct config *config = http->server->config;

	http->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
		NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
		fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)config->max_connections,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)config->client_timeout,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
		http, MHD_OPTION_UNESCAPE_CALLBACK, keep_escaped, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (http->daemon == NULL)
		return err_set(err, ERR_INTERNAL, "--listen", "the HTTP library did not start");
	return 0;
}

static void start_loop(struct http *http)
{
	uv_loop_t *loop = http->server->loop;
	int epoll_fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

	uv_poll_init(loop, &http->poll, epoll_fd);
	uv_timer_init(loop, &http->timer);
	uv_timer_init(loop, &http->sweep);
	uv_async_init(loop, &http->room, on_room);
	http->poll.data = http->timer.data = http->sweep.data = http->room.data = http;
	http->open_handles = 4;
	http->last_tick = uv_now(loop);
	uv_poll_start(&http->poll, UV_READABLE, on_poll);
	uv_timer_start(&http->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
	http_kick(http);
}

int http_start(struct http **out, struct server *server, struct err *err)
{
	struct http *http = calloc(1, sizeof(*http));
	int fd, rc;

	if (http == NULL)
		return err_nomem(err);
	http->server = server;
	fd = open_socket(server->config->listen, err);
	rc = fd < 0 ? fd : check_exposure(http, fd, err);
	if (rc == 0)
		rc = start_daemon(http, fd, err);
	if (rc != 0) {
		if (fd >= 0)
			close(fd);
		free(http);
		return rc;
	}
	start_loop(http);
	*out = http;
	return 0;
}

const char *http_address(const struct http *http)
{
	return http->address;
}

void http_stats(struct http_stats *out, const struct http *http)
{
	*out = http->stats;
}

void http_stop(struct http *http, void (*stopped)(struct server *server))
{
	MHD_socket fd;

	if (http->is_stopping)
		return;
	http->is_stopping = true;
	http->stopped = stopped;
	http->stop_at = uv_now(http->server->loop) + HTTP_STOP_MS;
	fd = MHD_quiesce_daemon(http->daemon);
	if (fd != MHD_INVALID_SOCKET)
		close(fd);
	on_sweep(&http->sweep);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct http *http = handle->data;

	if (--http->open_handles == 0)
		http->stopped(http->server);
}

static void finish_stop(struct http *http)
{
	if (http->daemon == NULL)
		return;
	/* MHD must not be stopped with a connection suspended; streams were woken and have pulled their end. */
	for (struct connection *conn = http->connections; conn != NULL; conn = conn->next) {
		if (conn->req != NULL)
			http_resume(conn->req);
	}
	uv_poll_stop(&http->poll);
	MHD_stop_daemon(http->daemon);
	http->daemon = NULL;
	uv_close((uv_handle_t *)&http->poll, on_handle_closed);
	uv_close((uv_handle_t *)&http->timer, on_handle_closed);
	uv_close((uv_handle_t *)&http->sweep, on_handle_closed);
	uv_close((uv_handle_t *)&http->room, on_handle_closed);
}

void http_free(struct http *http)
{
	free(http);
}
