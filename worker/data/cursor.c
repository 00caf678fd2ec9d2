#include "worker/data/cursor.h"

#include <string.h>

const uint8_t *cursor_bytes(struct cursor *cursor, size_t len)
{
	const uint8_t *at = cursor->at;

	if (cursor->failed || len > cursor_left(cursor)) {
		cursor->failed = true;
		return NULL;
	}
	cursor->at += len;
	return at;
}

uint64_t cursor_u64(struct cursor *cursor)
{
	const uint8_t *at = cursor_bytes(cursor, 8);
	uint64_t value = 0;

	if (at == NULL)
		return 0;
	for (int i = 7; i >= 0; i--)
		value = value << 8 | at[i];
	return value;
}

const char *cursor_until(size_t *len, struct cursor *cursor, char byte)
{
	const uint8_t *at = cursor->at;
	const uint8_t *stop = at < cursor->end ? memchr(at, byte, cursor_left(cursor)) : NULL;

	cursor->at = stop == NULL ? cursor->end : stop;
	*len = (size_t)(cursor->at - at);
	return (const char *)at;
}

const char *cursor_line(size_t *len, struct cursor *cursor)
{
	const char *line;

	if (cursor_left(cursor) == 0)
		return NULL;
	line = cursor_until(len, cursor, '\n');
	cursor_accept(cursor, '\n');
	if (*len > 0 && line[*len - 1] == '\r')
		--*len;
	return line;
}
