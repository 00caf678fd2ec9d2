/* Any bytes as a multipart body, whole and in pieces whose size the first byte chooses: both must give the same. */
#include <stdlib.h>
#include <string.h>

#include "server/multipart.h"

static int on_part(void *arg, const char *name, const char *filename, struct err *err)
{
	(void)err;
	buf_printf(arg, "[%s|%s|", name, filename == NULL ? "" : filename);
	return 0;
}

static int on_data(void *arg, const void *data, size_t len, struct err *err)
{
	(void)err;
	buf_add(arg, data, len);
	return 0;
}

static int on_end(void *arg, struct err *err)
{
	(void)err;
	buf_str(arg, "]");
	return 0;
}

static const struct multipart_ops ops = {on_part, on_data, on_end};

static int parse(struct buf *out, const char *data, size_t len, size_t step)
{
	struct multipart parser;
	struct err err;
	int rc = multipart_init(&parser, "multipart/form-data; boundary=edge", &ops, out, &err);

	for (size_t at = 0; rc == 0 && at < len; at += step)
		rc = multipart_feed(&parser, data + at, MIN(step, len - at), &err);
	if (rc == 0)
		rc = multipart_finish(&parser, &err);
	multipart_done(&parser);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = {0}, pieces = {0};
	size_t step = size > 0 ? (size_t)data[0] + 1 : 1;
	int rc;

	if (size == 0)
		return 0;
	rc = parse(&whole, (const char *)data + 1, size - 1, size);
	if (parse(&pieces, (const char *)data + 1, size - 1, step) != rc)
		abort();
	if (whole.len != pieces.len || (whole.len > 0 && memcmp(whole.data, pieces.data, whole.len) != 0))
		abort();
	buf_done(&whole);
	buf_done(&pieces);
	return 0;
}
