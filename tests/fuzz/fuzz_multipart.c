/* Any bytes as a multipart body, in pieces whose size the first byte chooses: parts come in order, or an error. */
#include "tests/fuzz/fuzz.h"

#include "server/multipart.h"

struct order {
	bool is_open;
};

static int part(void *arg, const char *name, const char *filename, struct err *err)
{
	struct order *order = arg;

	(void)filename;
	(void)err;
	if (order->is_open || name == NULL)
		abort();
	order->is_open = true;
	return 0;
}

static int data_of_part(void *arg, const void *data, size_t len, struct err *err)
{
	(void)err;
	if (!((struct order *)arg)->is_open || (len > 0 && data == NULL))
		abort();
	return 0;
}

static int end(void *arg, struct err *err)
{
	struct order *order = arg;

	(void)err;
	if (!order->is_open)
		abort();
	order->is_open = false;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct multipart_ops ops = {part, data_of_part, end};
	struct multipart parser;
	struct order order = {false};
	size_t step = size > 0 ? (size_t)data[0] + 1 : 1;
	struct err err;
	int rc;

	if (multipart_init(&parser, "multipart/form-data; boundary=b", &ops, &order, &err) != 0)
		abort();
	rc = 0;
	for (size_t at = 1; rc == 0 && at < size; at += step)
		rc = multipart_feed(&parser, (const char *)data + at, MIN(step, size - at), &err);
	if (rc == 0 && multipart_finish(&parser, &err) == 0 && order.is_open)
		abort();
	multipart_done(&parser);
	return 0;
}
