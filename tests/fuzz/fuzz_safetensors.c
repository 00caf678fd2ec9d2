/* Any bytes as a safetensors file: refused with a place, or every tensor can be found and read to its end. */
#include "tests/fuzz/fuzz.h"

#include "worker/data/safetensors.h"

static volatile unsigned touched; /* so that the reads are not optimised away */

static void touch(const struct st *st, const struct st_tensor *tensor)
{
	static const struct {
		enum st_dtype dtype;
		size_t bytes;
	} SIZES[] = {{ST_U8, 1}, {ST_F16, 2}, {ST_BF16, 2}, {ST_F32, 4}, {ST_F64, 8}};
	const uint8_t *data = tensor->data;

	if (st_find(st, tensor->name) != tensor)
		abort();
	for (size_t i = 0; i < NELEM(SIZES); i++)
		for (size_t k = 0;
			tensor->dtype == SIZES[i].dtype && k < st_elements(tensor) * SIZES[i].bytes; k++)
			touched = data[k];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct st st;

	if (st_open(&st, fuzz_file("m", data, size), "m", &err) != 0) {
		if (err.code == ERR_NONE || err.where[0] == '\0' || err.text[0] == '\0')
			abort();
		return 0;
	}
	for (int i = 0; i < st.n; i++)
		touch(&st, &st.tensor[i]);
	st_done(&st);
	return 0;
}
