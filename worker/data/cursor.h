/*
 * cursor: reads bytes that somebody else wrote, and cannot run past their end.
 *
 * The error is sticky: a read beyond the end gives zero or NULL, consumes nothing and sets `failed`, so a
 * parser asks once where it matters. The cursor borrows the bytes and allocates nothing.
 */
#ifndef OBLIVIATE_CURSOR_H
#define OBLIVIATE_CURSOR_H

#include "common/base.h"

struct cursor {
	const uint8_t *start, *at, *end;
	bool failed;
};

static inline void cursor_init(struct cursor *cursor, const void *data, size_t len)
{
	const uint8_t *start = data;

	*cursor = (struct cursor){start, start, len == 0 ? start : start + len, false};
}

static inline size_t cursor_left(const struct cursor *cursor)
{
	return (size_t)(cursor->end - cursor->at);
}

static inline size_t cursor_offset(const struct cursor *cursor)
{
	return (size_t)(cursor->at - cursor->start);
}

/* The next byte without taking it, or -1 at the end. */
static inline int cursor_peek(const struct cursor *cursor)
{
	return cursor->at < cursor->end ? *cursor->at : -1;
}

/* Take the next byte if it is this one. */
static inline bool cursor_accept(struct cursor *cursor, char byte)
{
	if (cursor_peek(cursor) != (unsigned char)byte)
		return false;
	cursor->at++;
	return true;
}

/* Take len bytes; NULL when fewer are left. */
const uint8_t *cursor_bytes(struct cursor *cursor, size_t len);

/* Take a little-endian number of eight bytes; 0 when fewer are left. */
uint64_t cursor_u64(struct cursor *cursor);

/* Take everything up to `byte` (or to the end), not the byte itself; *len may be 0. */
const char *cursor_until(size_t *len, struct cursor *cursor, char byte);

/* Take a line with its end ("\n", "\r\n", or the end of the bytes), which is not part of *len. NULL at the end. */
const char *cursor_line(size_t *len, struct cursor *cursor);

#endif
