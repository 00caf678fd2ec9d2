/*
 * progress: the lines that a worker writes to descriptor 1, one JSON object each, at most 4 KiB with the newline.
 *
 *   TYPE      MEMBERS (these and no others, each required)
 *   phase     name
 *   step      step of epoch loss ce amplify attention learning_rate tokens_per_second eta_s
 *   metric    name value
 *   artifact  path bytes sha256
 *   error     code where message
 *   done      -
 *
 * Numbers that do not exist (a loss term that is off, an infinite loss) are null here and NAN in C.
 * The reader trusts nothing: an unknown type or member, a wrong type, an unsafe path, a long line, a line without
 * end and anything after `done` are ERR_INVALID_DATA.
 */
#ifndef OBLIVIATE_PROGRESS_H
#define OBLIVIATE_PROGRESS_H

#include "common/buf.h"
#include "common/err.h"
#include "common/sha256.h"

enum { PROGRESS_LINE_MAX = 4096, PROGRESS_NAME_BYTES = 65, PROGRESS_PATH_BYTES = 513 };

enum progress_type {
	PROGRESS_PHASE,
	PROGRESS_STEP,
	PROGRESS_METRIC,
	PROGRESS_ARTIFACT,
	PROGRESS_ERROR,
	PROGRESS_DONE,
};

/* One line. Only the members of its type mean something; a writer may leave the others out. */
struct progress {
	enum progress_type type;
	char name[PROGRESS_NAME_BYTES]; /* phase, metric: letters, digits, "_", "." */
	double value;
	int64_t step, of, epoch; /* from 1; step <= of */
	double loss, ce, amplify, attention, learning_rate, tokens_per_second, eta_s;
	char path[PROGRESS_PATH_BYTES]; /* below the output directory; path_is_safe */
	int64_t bytes;
	char sha256[SHA256_HEX_BYTES];
	struct err fault; /* error */
};

/* Write one line to fd in one write. An error's message is shortened until the line fits. */
int progress_write(int fd, const struct progress *line, struct err *err) MUST_USE;

/* The line as text with its newline, for progress_write and tests. */
int progress_format(struct buf *out, const struct progress *line, struct err *err) MUST_USE;

/* One line of len bytes without its newline. */
int progress_parse(struct progress *out, const char *text, size_t len, struct err *err) MUST_USE;

/*
 * A stream of lines as it arrives. Zero is the start; progress_reader_done releases it.
 * Call progress_reader_add with every read, then progress_reader_next until it returns 0.
 */
struct progress_reader {
	struct buf pending;
	size_t used; /* bytes of pending that were handed out */
	int64_t lines;
	bool is_done; /* `done` was read */
};

int progress_reader_add(
	struct progress_reader *reader, const char *data, size_t len, struct err *err) MUST_USE;
/* 1: *out is the next line; 0: no whole line is there; negative: the worker broke the protocol. */
int progress_reader_next(struct progress *out, struct progress_reader *reader, struct err *err) MUST_USE;
/* At the end of the stream: an error when a line has no end. */
int progress_reader_end(const struct progress_reader *reader, struct err *err) MUST_USE;
void progress_reader_done(struct progress_reader *reader);

#endif
