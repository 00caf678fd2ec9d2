/*
 * buf: a growing byte string, always NUL-terminated once something was added.
 *
 * Errors are sticky: after a failed allocation every further call does nothing, and `failed` says so, so
 * that a writer checks once at the end. Zero is the empty state; buf_done accepts it.
 */
#ifndef OBLIVIATE_BUF_H
#define OBLIVIATE_BUF_H

#include "common/base.h"

struct buf {
	char *data;
	size_t len;
	size_t cap;
	bool failed;
};

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_str(struct buf *buf, const char *s);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF(2, 3);
/* Room for len more bytes at data + len; NULL when out of memory. The caller adds to len what it used. */
char *buf_reserve(struct buf *buf, size_t len);
void buf_reset(struct buf *buf);
void buf_done(struct buf *buf);
/* The string, now the caller's to free (NULL when failed or empty); the buf is empty again. */
char *buf_take(struct buf *buf);

#endif
