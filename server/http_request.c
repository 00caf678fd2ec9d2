/* http_request: from a request's headers to its handler: checks, body, idempotency, work off the loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "server/auth.h"
#include "server/hosts.h"
#include "server/http_internal.h"
#include "server/id.h"

/* ---- life ---- */

struct request *request_new(
	struct http *http, struct MHD_Connection *mhd, const char *path, const char *method)
{
	struct request *req = calloc(1, sizeof(*req));

	if (req == NULL)
		return NULL;
	req->http = http;
	req->mhd = mhd;
	req->path = path;
	req->method = method;
	req->started = uv_now(http->server->loop);
	id_new(req->id, sizeof(req->id), "req-");
	return req;
}

static void headers_free(struct header *header)
{
	while (header != NULL) {
		struct header *next = header->next;

		free(header->name);
		free(header->value);
		free(header);
		header = next;
	}
}

void answer_done(struct answer *answer)
{
	if (answer->response != NULL)
		MHD_destroy_response(answer->response);
	headers_free(answer->headers);
	buf_done(&answer->json);
	*answer = (struct answer){0};
}

/* An object on its way out, off the loop. */
struct disposal {
	uv_work_t work;
	void *object;
	void (*free_object)(void *object);
};

static void dispose(uv_work_t *item)
{
	struct disposal *disposal = item->data;

	disposal->free_object(disposal->object);
}

static void disposed(uv_work_t *item, int status)
{
	(void)status;
	free(item->data);
}

static void release_owned(struct request *req)
{
	struct disposal *disposal = req->disposal;

	sink_free(req->sink); /* it writes into what is owned */
	req->sink = NULL;
	if (disposal != NULL && req->free_owned != NULL) {
		*disposal = (struct disposal){.object = req->owned, .free_object = req->free_owned};
		disposal->work.data = disposal;
		uv_queue_work(req->http->server->loop, &disposal->work, dispose, disposed);
	} else if (req->free_owned != NULL) {
		req->free_owned(req->owned);
	}
	req->owned = NULL;
	req->free_owned = NULL;
	req->disposal = NULL;
}

void request_free(struct request *req)
{
	if (req->is_waiting)
		req->http->stats.streams--;
	release_owned(req);
	answer_done(&req->answer);
	headers_free(req->decoded);
	json_decref(req->json);
	buf_done(&req->body);
	multipart_done(&req->multipart);
	sha256_done(&req->fingerprint);
	free(req);
}

void request_own(struct request *req, void *object, void (*free_object)(void *object))
{
	req->owned = object;
	req->free_owned = free_object;
}

void request_own_blocking(struct request *req, void *object, void (*free_object)(void *object))
{
	request_own(req, object, free_object);
	req->disposal = calloc(1, sizeof(*req->disposal)); /* without memory it is freed on the loop */
}

/* ---- what handlers ask ---- */

struct server *request_server(const struct request *req)
{
	return req->http->server;
}

const struct route *request_route(const struct request *req)
{
	return req->route;
}

const char *request_id(const struct request *req)
{
	return req->id;
}

const char *request_param(const struct request *req)
{
	return req->param;
}

json_t *request_json(const struct request *req)
{
	return req->json;
}

const char *request_key(const struct request *req)
{
	return req->key;
}

void *request_owned(const struct request *req)
{
	return req->owned;
}

const char *request_header(const struct request *req, const char *name)
{
	return MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name);
}

const char *request_query(const struct request *req, const char *name)
{
	for (const struct header *argument = req->decoded; argument != NULL; argument = argument->next) {
		if (strcmp(argument->name, name) == 0)
			return argument->value;
	}
	return NULL;
}

int request_query_each(const struct request *req,
	int (*each)(void *arg, const char *name, const char *value, struct err *err), void *arg,
	struct err *err)
{
	for (const struct header *argument = req->decoded; argument != NULL; argument = argument->next) {
		int rc = each(arg, argument->name, argument->value, err);

		if (rc != 0)
			return rc;
	}
	return 0;
}

/* ---- percent decoding ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decode len bytes into out, which holds len + 1; false for a broken escape or a NUL. */
static bool decode(char *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = 0, low = 0;

		if (s[i] == '%') {
			if (i + 2 >= len)
				return false;
			high = digit(s[i + 1]);
			low = digit(s[i + 2]);
			if (high < 0 || low < 0 || high + low == 0)
				return false;
			i += 2;
		}
		*out++ = s[i] == '%' || high + low > 0 ? (char)(16 * high + low) : s[i];
	}
	*out = '\0';
	return true;
}

static char *decode_new(const char *s)
{
	size_t len = strlen(s);
	char *out = malloc(len + 1);

	if (out != NULL && !decode(out, s, len)) {
		free(out);
		out = NULL;
	}
	return out;
}

static enum MHD_Result add_argument(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header ***end = arg;
	struct header *argument = calloc(1, sizeof(*argument));

	(void)kind;
	if (argument == NULL)
		return MHD_NO;
	**end = argument;
	argument->name = decode_new(name);
	argument->value = decode_new(value == NULL ? "" : value);
	*end = &argument->next;
	return argument->name != NULL && argument->value != NULL ? MHD_YES : MHD_NO;
}

static int decode_query(struct request *req, struct err *err)
{
	struct header **end = &req->decoded;

	/* MHD counts all arguments, and stops counting what it walks when add_argument says no. */
	if (MHD_get_connection_values(req->mhd, MHD_GET_ARGUMENT_KIND, NULL, NULL) !=
		MHD_get_connection_values(req->mhd, MHD_GET_ARGUMENT_KIND, add_argument, &end))
		return err_set(err, ERR_INVALID_VALUE, NULL, "malformed percent escape in the query");
	for (const struct header *argument = req->decoded; argument != NULL; argument = argument->next) {
		if (argument->name == NULL || argument->value == NULL)
			return err_set(err, ERR_INVALID_VALUE, NULL, "malformed percent escape in the query");
	}
	return 0;
}

/* ---- headers ---- */

static int check_names(const struct request *req, struct err *err)
{
	const char *host = request_header(req, "Host"), *origin = request_header(req, "Origin");
	const char *allowed = req->http->server->config->allowed_hosts;
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (host == NULL)
		return err_set(err, ERR_INVALID_VALUE, "Host", "the Host header is missing");
	if (getsockname(req->conn->fd, (struct sockaddr *)&local, &len) != 0)
		return err_set(err, ERR_FORBIDDEN, NULL, "the connection is gone");
	if (!host_is_own(host, (struct sockaddr *)&local, allowed))
		return err_set(err, ERR_FORBIDDEN, NULL, "Host is not a name of this server");
	if (origin != NULL && !origin_is_own(origin, (struct sockaddr *)&local, allowed))
		return err_set(err, ERR_FORBIDDEN, NULL, "Origin is not this server");
	return 0;
}

static int find_route(struct request *req, struct err *err)
{
	char allow[64];
	size_t start = 0, len = 0;

	req->route = route_find(req->method, req->path, &start, &len, allow, sizeof(allow), err);
	if (req->route == NULL) {
		if (err->code == ERR_METHOD)
			respond_header(req, "Allow", allow);
		return -(int)err->code;
	}
	if (len >= sizeof(req->param) || !decode(req->param, req->path + start, len))
		return err_set(err, ERR_NOT_FOUND, NULL, "no such object");
	return 0;
}

static int check_key(struct request *req, struct err *err)
{
	int rc;

	if ((req->route->flags & ROUTE_KEY) == 0)
		return 0;
	rc = auth_check(req->key, req->http->server->store, request_header(req, "Authorization"),
		req->http->is_loopback, err);
	if (rc == -ERR_UNAUTHORIZED)
		respond_header(req, "WWW-Authenticate", "Bearer realm=\"obliviate\"");
	return rc;
}

static bool has_body(const struct request *req)
{
	const char *length = request_header(req, "Content-Length");

	return request_header(req, "Transfer-Encoding") != NULL ||
	       (length != NULL && strspn(length, "0") != strlen(length));
}

static int part_begin(void *arg, const char *name, const char *filename, struct err *err);
static int part_data(void *arg, const void *data, size_t len, struct err *err);
static int part_end(void *arg, struct err *err);

static const struct multipart_ops part_ops = {part_begin, part_data, part_end};

static bool type_is(const char *content_type, const char *wanted)
{
	size_t len = strlen(wanted);

	return strncasecmp(content_type, wanted, len) == 0 &&
	       (content_type[len] == '\0' || strchr("; \t", content_type[len]) != NULL);
}

static int begin_body(struct request *req, struct err *err)
{
	const char *type = request_header(req, "Content-Type");
	unsigned flags = req->route->flags;
	int rc;

	req->max_body = HTTP_JSON_MAX;
	if (!has_body(req)) {
		if ((flags & (ROUTE_JSON | ROUTE_MULTIPART)) != 0 && (flags & ROUTE_EMPTY_OK) == 0)
			return err_set(err, ERR_INVALID_VALUE, NULL, "the request needs a body");
		return 0;
	}
	if ((flags & (ROUTE_JSON | ROUTE_MULTIPART)) == 0)
		return 0; /* a body that nobody asked for is drained */
	if ((flags & ROUTE_MULTIPART) != 0 && type != NULL && type_is(type, "multipart/form-data")) {
		req->max_body = (uint64_t)req->http->server->config->max_upload_bytes + HTTP_EXTRA_MAX;
		req->is_multipart = true;
		rc = multipart_init(&req->multipart, type, &part_ops, req, err);
		return rc == 0 ? req->route->upload->begin(req, err) : rc;
	}
	if ((flags & ROUTE_JSON) != 0 && type != NULL && type_is(type, "application/json"))
		return 0;
	if ((flags & ROUTE_EMPTY_OK) != 0)
		return 0; /* cancel, pause, resume read nothing from their body; json_finish looks at it */
	return err_set(err, ERR_MEDIA_TYPE, "Content-Type", "expected %s%s%s",
		flags & ROUTE_MULTIPART ? "multipart/form-data" : "",
		(flags & ROUTE_MULTIPART) && (flags & ROUTE_JSON) ? " or " : "",
		flags & ROUTE_JSON ? "application/json" : "");
}

static int begin_fingerprint(struct request *req, struct err *err)
{
	const char *key = request_header(req, "Idempotency-Key");
	int rc;

	if (key == NULL || strcmp(req->method, "POST") != 0)
		return 0;
	if (key[0] == '\0' || strlen(key) > HTTP_KEY_MAX)
		return err_set(
			err, ERR_INVALID_VALUE, "Idempotency-Key", "must have 1 to %d bytes", HTTP_KEY_MAX);
	rc = sha256_init(&req->fingerprint, err);
	if (rc != 0)
		return rc;
	req->idempotency_key = key;
	sha256_add(&req->fingerprint, req->method, strlen(req->method) + 1);
	sha256_add(&req->fingerprint, req->path, strlen(req->path) + 1);
	return 0;
}

static int check_headers(const struct request *req, struct err *err)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

	if (info != NULL && info->header_size > HTTP_HEADERS_BYTES)
		return err_set(err, ERR_TOO_LARGE, NULL,
			"request line and headers have %zu bytes, more than %d", info->header_size,
			HTTP_HEADERS_BYTES);
	return 0;
}

static int admit(struct request *req, struct err *err)
{
	int rc = check_headers(req, err);

	if (rc == 0)
		rc = check_names(req, err);
	if (rc == 0)
		rc = find_route(req, err);
	if (rc == 0)
		rc = check_key(req, err);
	if (rc == 0 && req->http->is_stopping)
		rc = err_set(err, ERR_UNAVAILABLE, NULL, "the server is stopping");
	if (rc == 0)
		rc = decode_query(req, err);
	if (rc == 0)
		rc = begin_fingerprint(req, err);
	if (rc == 0)
		rc = begin_body(req, err);
	return rc;
}

static void keep_fault(struct request *req)
{
	release_owned(req); /* what a refused upload left need not wait for the rest of the body */
	req->has_fault = true;
	req->must_close = has_body(req);
}

bool request_admit(struct request *req)
{
	const char *length = request_header(req, "Content-Length");
	uint64_t announced = length == NULL ? 0 : strtoull(length, NULL, 10);

	if (admit(req, &req->fault) != 0)
		keep_fault(req);
	else if (announced > req->max_body && has_body(req)) {
		err_set(&req->fault, ERR_TOO_LARGE, NULL, "the body has %llu bytes, more than %llu",
			(unsigned long long)announced, (unsigned long long)req->max_body);
		keep_fault(req);
	}
	/* A client that asks before it sends, or would send for long, is told at once; for the others it is safer to read
	 * what they are sending already, lest the answer is lost in a reset. */
	return req->has_fault && has_body(req) &&
	       (request_header(req, "Expect") != NULL || announced > HTTP_DRAIN_MAX);
}

/* ---- body ---- */

static bool is_utf8(const char *text)
{
	json_t *string = json_string(text);

	json_decref(string);
	return string != NULL;
}

static int part_begin(void *arg, const char *name, const char *filename, struct err *err)
{
	struct upload_part part = {name, filename};
	struct request *req = arg;
	int rc;

	if (!is_utf8(name) || (filename != NULL && !is_utf8(filename)))
		return err_set(err, ERR_INVALID_VALUE, NULL, "a part's name is not valid UTF-8");
	rc = sink_new(&req->sink, req->http->server->loop, &req->http->room, err);
	if (rc != 0)
		return rc;
	if (req->idempotency_key != NULL) {
		sha256_add(&req->fingerprint, name, strlen(name) + 1);
		if (filename != NULL)
			sha256_add(&req->fingerprint, filename, strlen(filename) + 1);
	}
	return req->route->upload->part(req, &part, err);
}

void request_write_to(struct request *req, int fd)
{
	sink_write_to(req->sink, fd);
}

static int part_data(void *arg, const void *data, size_t len, struct err *err)
{
	struct request *req = arg;
	int rc = req->route->upload->data(req, data, len, err);

	return rc == 0 ? sink_add(req->sink, data, len, err) : rc;
}

static int part_end(void *arg, struct err *err)
{
	struct request *req = arg;
	char hex[SHA256_HEX_BYTES];
	int rc = sink_end(req->sink, hex, err);

	sink_free(req->sink);
	req->sink = NULL;
	if (rc != 0)
		return rc;
	if (req->idempotency_key != NULL)
		sha256_add(&req->fingerprint, hex, sizeof(hex));
	return req->route->upload->end(req, hex, err);
}

static int take_body(struct request *req, const char *data, size_t len, struct err *err)
{
	if (req->received > req->max_body)
		return err_set(err, ERR_TOO_LARGE, NULL, "the body has more than %llu bytes",
			(unsigned long long)req->max_body);
	if (req->is_multipart)
		return multipart_feed(&req->multipart, data, len, err);
	if ((req->route->flags & ROUTE_JSON) == 0)
		return 0;
	buf_add(&req->body, data, len);
	return req->body.failed ? err_nomem(err) : 0;
}

bool request_body(struct request *req, const char *data, size_t len)
{
	req->received += len;
	if (!req->has_fault && take_body(req, data, len, &req->fault) != 0)
		keep_fault(req);
	if (req->sink != NULL && sink_is_full(req->sink))
		http_sleep(req);
	return !req->has_fault ||
	       req->received <= MAX(req->max_body, (uint64_t)HTTP_DRAIN_MAX) + HTTP_DRAIN_MAX;
}

static int finish_json(struct request *req, struct err *err)
{
	char hex[SHA256_HEX_BYTES];
	int rc;

	if (req->idempotency_key != NULL) {
		rc = sha256_of(hex, req->body.data == NULL ? "" : req->body.data, req->body.len, err);
		if (rc != 0)
			return rc;
		sha256_add(&req->fingerprint, hex, sizeof(hex));
	}
	if (req->body.len == 0)
		return 0;
	return json_parse(&req->json, req->body.data, req->body.len, "body", err);
}

static int finish_body(struct request *req, struct err *err)
{
	if (req->is_multipart)
		return multipart_finish(&req->multipart, err);
	if ((req->route->flags & ROUTE_JSON) != 0)
		return finish_json(req, err);
	return 0;
}

/* ---- idempotency ---- */

/* Another request with this key is at work; its answer is not known yet. */
static bool key_is_held(const struct request *req)
{
	for (const struct connection *conn = req->http->connections; conn != NULL; conn = conn->next) {
		const struct request *other = conn->req;

		if (other != NULL && other != req && other->is_recording &&
			strcmp(other->key, req->key) == 0 &&
			strcmp(other->idempotency_key, req->idempotency_key) == 0)
			return true;
	}
	return false;
}

/* Replay the first answer: 0 and an answer is there, or ERR_NOT_FOUND when this is the first. */
static int replay(struct request *req, struct err *err)
{
	struct answer_row kept = {0};
	int rc;

	sha256_hex(&req->fingerprint, req->fingerprint_hex);
	if (key_is_held(req))
		return err_set(
			err, ERR_UNAVAILABLE, "Idempotency-Key", "a request with this key is being answered");
	rc = store_answer_get(&kept, req->http->server->store, req->key, req->idempotency_key, err);
	if (rc != 0)
		return rc;
	if (strcmp(kept.fingerprint, req->fingerprint_hex) != 0)
		rc = err_set(err, ERR_IDEMPOTENCY, "Idempotency-Key",
			"this key was used with another request in the last 24 hours");
	else
		respond_bytes(req, kept.status, "application/json", kept.body.data, kept.body.len);
	if (rc == 0)
		respond_header(req, "Idempotent-Replayed", "true");
	buf_done(&kept.body);
	return rc;
}

/* Answers that a retry may turn into something better are not kept. */
static bool is_final(int status)
{
	return status < 500 && status != 429;
}

static int record(struct request *req, struct err *err)
{
	if (req->answer.response == NULL || !is_final(req->answer.status))
		return 0;
	return store_answer_put(req->http->server->store, req->key, req->idempotency_key,
		req->fingerprint_hex, req->answer.status, req->answer.json.data, req->answer.json.len, err);
}

typedef int stage(struct request *req, struct err *err);

static void refuse(struct request *req, const struct err *err)
{
	release_owned(req);
	answer_done(&req->answer);
	respond_err(req, err);
}

/* Run a handler or `done`, and keep its answer in the same transaction as what it did. */
static int run_recorded(struct request *req, stage *run, struct err *err)
{
	struct store *store = req->http->server->store;
	int rc = store_begin(store, err);

	if (rc != 0)
		return rc;
	rc = run(req, err);
	if (rc != 0) {
		store_rollback(store);
		refuse(req, err);
		return record(req, err);
	}
	rc = record(req, err);
	if (rc != 0) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, err);
}

static void run_stage(struct request *req, stage *run)
{
	struct err err = {0};
	int rc = req->is_recording ? run_recorded(req, run, &err) : run(req, &err);

	if (rc != 0)
		refuse(req, &err);
	if (req->answer.response != NULL)
		req->is_recording = false;
}

/* ---- handler ---- */

static int run_handler(struct request *req, struct err *err)
{
	return req->route->handle(req, err);
}

static int prepare(struct request *req, struct err *err)
{
	int rc;

	if (req->has_fault) {
		*err = req->fault;
		return -(int)err->code;
	}
	rc = finish_body(req, err);
	if (rc != 0 || req->idempotency_key == NULL)
		return rc;
	rc = replay(req, err);
	req->is_recording = rc == -ERR_NOT_FOUND;
	return req->is_recording ? 0 : rc;
}

void request_run(struct request *req)
{
	struct err err = {0};

	if (req->is_run)
		return;
	req->is_run = true;
	if (prepare(req, &err) != 0) {
		release_owned(req);
		respond_err(req, &err);
	} else if (req->answer.response == NULL) {
		run_stage(req, run_handler);
	}
	if (req->answer.response == NULL && !req->is_working) {
		err_set(&err, ERR_INTERNAL, NULL, "the handler gave no answer");
		respond_err(req, &err);
	}
}

/* ---- work off the loop ---- */

static void work(uv_work_t *item)
{
	struct request *req = item->data;

	req->work_rc = req->work_fn(req->work_arg, &req->work_err);
}

static int run_done(struct request *req, struct err *err)
{
	if (req->work_rc != 0) {
		*err = req->work_err;
		return req->work_rc;
	}
	return req->done_fn(req, req->work_arg, err);
}

static void after_work(uv_work_t *item, int status)
{
	struct request *req = item->data;

	(void)status; /* nobody cancels work */
	req->is_working = false;
	run_stage(req, run_done);
	if (!req->is_working)
		http_resume(req);
}

void request_work(struct request *req, int (*work_fn)(void *arg, struct err *err),
	int (*done)(struct request *req, void *arg, struct err *err), void *arg)
{
	req->work.data = req;
	req->work_fn = work_fn;
	req->done_fn = done;
	req->work_arg = arg;
	req->work_err = (struct err){0};
	req->is_working = true;
	http_sleep(req);
	uv_queue_work(req->http->server->loop, &req->work, work, after_work);
}
