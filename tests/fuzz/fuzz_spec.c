/* Any text as a job's specification: parsed or refused; what was parsed can be written and parsed again. */
#include "tests/fuzz/fuzz.h"

#include "common/json.h"
#include "common/spec.h"

static void parse_as(const uint8_t *data, size_t size, enum spec_mode mode)
{
	struct spec spec = {0}, again = {0};
	struct buf text = {0};
	json_t *json = NULL, *written = NULL;
	struct err err;

	if (json_parse(&json, (const char *)data, size, "spec", &err) == 0 &&
		spec_parse(&spec, json, mode, &err) == 0) {
		if (spec_write(&text, &spec, mode, &err) != 0 ||
			json_parse(&written, text.data, text.len, "again", &err) != 0 ||
			spec_parse(&again, written, mode, &err) != 0)
			abort();
	}
	spec_done(&again);
	spec_done(&spec);
	json_decref(written);
	json_decref(json);
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	parse_as(data, size, SPEC_API);
	parse_as(data, size, SPEC_WORKER);
	return 0;
}
