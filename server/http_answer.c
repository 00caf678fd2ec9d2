/* http_answer: from what a handler answered to MHD's responses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "server/http_internal.h"
#include "server/range.h"

enum { STREAM_PIECE = 16384 };

/* On every answer. The page loads nothing from elsewhere and nothing inline. */
static const char *const common_headers[][2] = {
	{"X-Content-Type-Options", "nosniff"},
	{"Content-Security-Policy",
		"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
};

void respond_header(struct request *req, const char *name, const char *value)
{
	struct header *header = calloc(1, sizeof(*header));

	if (header == NULL)
		return;
	header->name = strdup(name);
	header->value = strdup(value);
	header->next = req->answer.headers;
	req->answer.headers = header;
}

static void set_response(struct request *req, int status, struct MHD_Response *response)
{
	if (req->answer.response != NULL)
		MHD_destroy_response(req->answer.response);
	req->answer.status = status;
	req->answer.response = response;
}

static void respond_buffer(struct request *req, int status, const char *content_type, void *data, size_t len,
	enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(len, data, mode);

	if (response == NULL) { /* out of memory: the connection is closed */
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(data);
		return;
	}
	respond_header(req, "Content-Type", content_type);
	set_response(req, status, response);
	if (req->is_recording) {
		buf_reset(&req->answer.json);
		buf_add(&req->answer.json, data, len);
	}
}

void respond_bytes(struct request *req, int status, const char *content_type, const void *data, size_t len)
{
	/* MHD takes a plain pointer even where it copies. */
	respond_buffer(req, status, content_type, (void *)(uintptr_t)(len == 0 ? "" : data), len,
		MHD_RESPMEM_MUST_COPY);
}

void respond_text(struct request *req, int status, const char *content_type, struct buf *text)
{
	size_t len = text->len;
	char *data = buf_take(text);
	struct err err;

	if (data != NULL) {
		respond_buffer(req, status, content_type, data, len, MHD_RESPMEM_MUST_FREE);
		return;
	}
	err_nomem(&err);
	respond_err(req, &err);
}

void respond_json(struct request *req, int status, json_t *body)
{
	struct buf text = {0};

	json_write(&text, body);
	if (body == NULL)
		text.failed = true;
	json_decref(body);
	respond_text(req, status, "application/json", &text);
}

/* ---- errors ---- */

static const char *error_type(enum err_code code)
{
	int status = err_http(code);

	if (status == 429)
		return "rate_limit_error";
	return status >= 500 ? "server_error" : "invalid_request_error";
}

static void add_retry_headers(struct request *req, int status)
{
	if (status == 429 || status == 503)
		respond_header(req, "Retry-After", "1");
	/* A full disk does not empty itself in a second; nor does a fault of ours go away. */
	if (status == 507)
		respond_header(req, "X-Should-Retry", "false");
}

void respond_err(struct request *req, const struct err *err)
{
	int status = err_http(err->code);
	json_t *param = err->where[0] == '\0' ? json_null() : json_string(err->where);
	json_t *text = json_string(err->text);
	json_t *body = json_pack("{s:{s:o, s:s, s:o, s:s}}", "error", "message",
		text == NULL ? json_string("malformed text") : text, "type", error_type(err->code), "param",
		param == NULL ? json_null() : param, "code", err_name(err->code));

	if (status >= 500)
		log_err(LOG_ERROR, req->id, err);
	add_retry_headers(req, status);
	if (body == NULL)
		respond_bytes(req, 503, "application/json", "{\"error\":{}}", 12);
	else
		respond_json(req, status, body);
}

/* ---- files ---- */

static void base64_of_hex(char out[45], const char *hex)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char raw[33] = {0};

	for (int i = 0; i < 32; i++) {
		unsigned byte = 0;

		sscanf(hex + 2 * i, "%2x", &byte);
		raw[i] = (unsigned char)byte;
	}
	for (int i = 0; i < 11; i++) {
		unsigned group = (unsigned)raw[3 * i] << 16 | (unsigned)raw[3 * i + 1] << 8 | raw[3 * i + 2];

		for (int j = 0; j < 4; j++)
			out[4 * i + j] = digits[group >> (18 - 6 * j) & 63];
	}
	out[43] = '=';
	out[44] = '\0';
}

/* filename="..." with what could end the string or the header left out. */
static void add_disposition(struct request *req, const char *filename)
{
	char value[1200];
	size_t n = (size_t)snprintf(value, sizeof(value), "attachment; filename=\"");

	for (; *filename != '\0' && n < sizeof(value) - 2; filename++) {
		if ((unsigned char)*filename >= 0x20 && *filename != '"' && *filename != '\\' &&
			*filename != 0x7f)
			value[n++] = *filename == '/' ? '_' : *filename;
	}
	value[n++] = '"';
	value[n] = '\0';
	respond_header(req, "Content-Disposition", value);
}

static void respond_part(
	struct request *req, const struct file_answer *file, int status, uint64_t first, uint64_t len)
{
	struct MHD_Response *response = MHD_create_response_from_fd_at_offset64(len, file->fd, first);

	if (response == NULL) {
		close(file->fd);
		return;
	}
	respond_header(req, "Content-Type", file->content_type);
	if (file->filename != NULL)
		add_disposition(req, file->filename);
	set_response(req, status, response);
}

static void respond_range(struct request *req, const struct file_answer *file, const char *etag)
{
	const char *range = request_header(req, "Range"), *if_range = request_header(req, "If-Range");
	uint64_t first = 0, last = 0;
	enum range_result result = RANGE_WHOLE;
	char content_range[80];
	struct err err;

	if (range != NULL && (if_range == NULL || strcmp(if_range, etag) == 0))
		result = range_parse(&first, &last, range, file->bytes);
	if (result == RANGE_WHOLE) {
		respond_part(req, file, 200, 0, file->bytes);
	} else if (result == RANGE_PART) {
		snprintf(content_range, sizeof(content_range), "bytes %llu-%llu/%zu",
			(unsigned long long)first, (unsigned long long)last, file->bytes);
		respond_header(req, "Content-Range", content_range);
		respond_part(req, file, 206, first, last - first + 1);
	} else {
		close(file->fd);
		snprintf(content_range, sizeof(content_range), "bytes */%zu", file->bytes);
		respond_header(req, "Content-Range", content_range);
		err_set(&err, ERR_RANGE, NULL, "the range lies outside of %zu bytes", file->bytes);
		respond_err(req, &err);
	}
}

void respond_file(struct request *req, const struct file_answer *file)
{
	const char *if_none_match = request_header(req, "If-None-Match");
	char etag[SHA256_HEX_BYTES + 2], digest[64], base64[45];

	snprintf(etag, sizeof(etag), "\"%s\"", file->sha256);
	base64_of_hex(base64, file->sha256);
	snprintf(digest, sizeof(digest), "sha-256=:%s:", base64);
	respond_header(req, "ETag", etag);
	respond_header(req, "Accept-Ranges", "bytes");
	if (if_none_match != NULL && etag_matches(if_none_match, etag)) {
		close(file->fd);
		set_response(req, 304, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
		return;
	}
	respond_header(req, "Repr-Digest", digest);
	respond_range(req, file, etag);
}

/* ---- streams ---- */

static ssize_t pull_stream(void *arg, uint64_t pos, char *out, size_t max)
{
	struct request *req = arg;
	ssize_t n;

	(void)pos;
	if (req->is_waiting && req->http->is_stopping)
		return MHD_CONTENT_READER_END_OF_STREAM;
	n = req->pull(req->pull_arg, out, max);
	if (n < 0)
		return n == PULL_END ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0)
		http_sleep(req);
	return n;
}

void respond_pieces(struct request *req, const char *content_type,
	ssize_t (*pull)(void *arg, char *out, size_t max), void *arg)
{
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_PIECE, pull_stream, req, NULL);

	if (response == NULL)
		return;
	req->pull = pull;
	req->pull_arg = arg;
	respond_header(req, "Content-Type", content_type);
	set_response(req, 200, response);
}

void respond_stream(struct request *req, const char *content_type,
	ssize_t (*pull)(void *arg, char *out, size_t max), void *arg)
{
	respond_pieces(req, content_type, pull, arg);
	req->is_waiting = req->pull != NULL;
	if (req->is_waiting)
		req->http->stats.streams++;
}

/* ---- out ---- */

/* The path is what a stranger sent: only what prints goes into the log. */
static void printable(char *out, size_t len, const char *text)
{
	size_t n = 0;

	for (; text[n] != '\0' && n + 1 < len; n++)
		out[n] = text[n] > 0x20 && text[n] < 0x7f ? text[n] : '?';
	out[n] = '\0';
}

static void log_answer(const struct request *req)
{
	char method[32], path[256];
	bool is_routine = req->answer.status < 400 && strcmp(req->method, "POST") != 0 &&
			  strcmp(req->method, "DELETE") != 0;

	printable(method, sizeof(method), req->method);
	printable(path, sizeof(path), req->path);
	log_write(is_routine ? LOG_DEBUG : LOG_INFO, "request", "%s %s %d %llu ms %s", method, path,
		req->answer.status, (unsigned long long)(uv_now(req->http->server->loop) - req->started),
		req->id);
}

enum MHD_Result answer_queue(struct request *req)
{
	struct MHD_Response *response = req->answer.response;
	bool is_static = req->route != NULL && (req->route->flags & ROUTE_STATIC) != 0;

	if (response == NULL)
		return MHD_NO;
	for (size_t i = 0; i < NELEM(common_headers); i++)
		MHD_add_response_header(response, common_headers[i][0], common_headers[i][1]);
	MHD_add_response_header(response, "Cache-Control", is_static ? "no-cache" : "no-store");
	MHD_add_response_header(response, "X-Request-Id", req->id);
	if (req->must_close || req->http->is_stopping)
		MHD_add_response_header(response, "Connection", "close");
	for (const struct header *header = req->answer.headers; header != NULL; header = header->next) {
		if (header->name != NULL && header->value != NULL)
			MHD_add_response_header(response, header->name, header->value);
	}
	req->http->stats.answers[MIN(req->answer.status / 100, 5)]++;
	log_answer(req);
	return MHD_queue_response(req->mhd, (unsigned)req->answer.status, response);
}
