#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *buf_reserve(struct buf *buf, size_t len)
{
	size_t need, cap;
	char *data;

	if (buf->failed)
		return NULL;
	if (!size_add(&need, buf->len, len) || !size_add(&need, need, 1)) {
		buf->failed = true;
		return NULL;
	}
	if (need <= buf->cap)
		return buf->data + buf->len;
	cap = buf->cap < 64 ? 64 : buf->cap;
	while (cap < need && cap <= SIZE_MAX / 2)
		cap *= 2;
	if (cap < need)
		cap = need;
	data = realloc(buf->data, cap);
	if (data == NULL) {
		buf->failed = true;
		return NULL;
	}
	buf->data = data;
	buf->cap = cap;
	return data + buf->len;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
	char *end = buf_reserve(buf, len);

	if (end == NULL)
		return;
	if (len > 0)
		memcpy(end, data, len);
	end[len] = '\0';
	buf->len += len;
}

void buf_str(struct buf *buf, const char *s)
{
	buf_add(buf, s, strlen(s));
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list ap;
	char *end;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		buf->failed = true;
		return;
	}
	end = buf_reserve(buf, (size_t)n);
	if (end == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(end, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf->len += (size_t)n;
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
	if (buf->data != NULL)
		buf->data[0] = '\0';
}

void buf_done(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){0};
}

char *buf_take(struct buf *buf)
{
	char *data = buf->failed ? NULL : buf->data;

	if (buf->failed)
		free(buf->data);
	*buf = (struct buf){0};
	return data;
}
