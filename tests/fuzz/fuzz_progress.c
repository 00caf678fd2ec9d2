/* Any bytes as a worker's output, in reads whose size the first byte chooses. */
#include "tests/fuzz/fuzz.h"

#include "common/progress.h"

static bool take_lines(struct progress_reader *reader)
{
	struct progress line;
	struct err err;
	int rc;

	while ((rc = progress_reader_next(&line, reader, &err)) == 1)
		;
	return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct progress_reader reader = {0};
	size_t step = size > 0 ? (size_t)data[0] + 1 : 1;
	struct err err;
	bool is_sound = true;

	for (size_t at = 1; is_sound && at < size; at += step)
		is_sound = progress_reader_add(
				   &reader, (const char *)data + at, MIN(step, size - at), &err) == 0 &&
			   take_lines(&reader);
	if (is_sound)
		(void)!progress_reader_end(&reader, &err);
	progress_reader_done(&reader);
	return 0;
}
