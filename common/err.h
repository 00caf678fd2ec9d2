/*
 * err: the one error type. A function that can fail returns 0 or a negative enum err_code and fills the
 * caller's struct err, which lives on the caller's stack. The message is written once, where the fault is
 * found, and logged once, at the top.
 *
 * One table gives the code, its name on the wire, its HTTP status and the exit code of a worker or tool.
 */
#ifndef OBLIVIATE_ERR_H
#define OBLIVIATE_ERR_H

#include "common/base.h"

/*  code                    name on the wire          http exit */
#define ERR_TABLE(X)                                                                                         \
	X(ERR_INVALID_MODEL, "invalid_model", 400, 65)                                                       \
	X(ERR_UNSAFE_PICKLE, "unsafe_pickle", 400, 65)                                                       \
	X(ERR_UNSUPPORTED_FORMAT, "unsupported_format", 400, 65)                                             \
	X(ERR_UNSUPPORTED_MODEL, "unsupported_model", 400, 65)                                               \
	X(ERR_UNSUPPORTED_PRECISION, "unsupported_precision", 400, 65)                                       \
	X(ERR_INVALID_TOKENIZER, "invalid_tokenizer", 400, 65)                                               \
	X(ERR_INVALID_DATA, "invalid_data", 400, 65)                                                         \
	X(ERR_INVALID_VALUE, "invalid_value", 400, 65)                                                       \
	X(ERR_UNKNOWN_FIELD, "unknown_parameter", 400, 65)                                                   \
	X(ERR_MISSING_FIELD, "missing_required_parameter", 400, 65)                                          \
	X(ERR_UNSUPPORTED, "unsupported", 400, 65)                                                           \
	X(ERR_INVALID_JSON, "invalid_json", 400, 65)                                                         \
	X(ERR_IN_USE, "in_use", 400, 65)                                                                     \
	X(ERR_BAD_STATE, "invalid_state", 400, 65)                                                           \
	X(ERR_UNAUTHORIZED, "invalid_api_key", 401, 77)                                                      \
	X(ERR_FORBIDDEN, "forbidden", 403, 77)                                                               \
	X(ERR_NOT_FOUND, "not_found", 404, 66)                                                               \
	X(ERR_METHOD, "method_not_allowed", 405, 64)                                                         \
	X(ERR_TOO_LARGE, "payload_too_large", 413, 65)                                                       \
	X(ERR_MEDIA_TYPE, "unsupported_media_type", 415, 65)                                                 \
	X(ERR_RANGE, "range_not_satisfiable", 416, 65)                                                       \
	X(ERR_IDEMPOTENCY, "idempotency_mismatch", 422, 65)                                                  \
	X(ERR_BUSY, "queue_full", 429, 75)                                                                   \
	X(ERR_USAGE, "usage", 400, 64)                                                                       \
	X(ERR_INTERNAL, "internal_error", 500, 70)                                                           \
	X(ERR_IO, "io_error", 500, 74)                                                                       \
	X(ERR_NO_MEMORY, "out_of_memory", 503, 71)                                                           \
	X(ERR_UNAVAILABLE, "unavailable", 503, 75)                                                           \
	X(ERR_TIME_LIMIT, "time_limit", 500, 75)                                                             \
	X(ERR_STOPPED, "stopped", 500, 75)                                                                   \
	X(ERR_CRASHED, "worker_crashed", 500, 70)                                                            \
	X(ERR_DISK_FULL, "disk_full", 507, 73)                                                               \
	X(ERR_SANDBOX, "sandbox_unavailable", 500, 70)

enum err_code {
	ERR_NONE = 0,
#define X(code, name, http, exit) code,
	ERR_TABLE(X)
#undef X
		ERR_COUNT
};

struct err {
	enum err_code code;
	char where[512]; /* file and byte offset or line, or JSON path; "" when there is no place */
	char text[1024]; /* one sentence for a person */
};

/* Fill *err (may be NULL) and return -code. `where` may be NULL. */
int err_set(struct err *err, enum err_code code, const char *where, const char *fmt, ...) PRINTF(4, 5);

/* Put "prefix: " (or "prefix" when there is no place yet) before err->where, and return -err->code. */
int err_within(struct err *err, const char *fmt, ...) PRINTF(2, 3);

/* Call the error that *err (may be NULL) holds by another code; returns -code. */
int err_as(struct err *err, enum err_code code);

/* An errno as ERR_IO (or ERR_DISK_FULL, ERR_NO_MEMORY where it says so), text "what: strerror". */
int err_errno(struct err *err, int saved_errno, const char *where, const char *what);

/* Out of memory; returns -ERR_NO_MEMORY. */
int err_nomem(struct err *err);

const char *err_name(enum err_code code);
int err_http(enum err_code code);
int err_exit(enum err_code code);
/* The code with this wire name, or ERR_NONE. */
enum err_code err_from_name(const char *name);

#endif
