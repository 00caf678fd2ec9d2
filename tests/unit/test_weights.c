#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "tests/unit/tiny_model.h"

struct fixture {
	struct scratch scratch;
	struct tiny_model tiny;
	struct weights weights;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_init(&f->scratch);
	tiny_model_init(&f->tiny);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	weights_done(&f->weights);
	scratch_done(&f->scratch);
	free(f);
	return 0;
}

static int open_it(struct fixture *f)
{
	return weights_open(&f->weights, f->scratch.fd, &f->tiny.config, &f->err);
}

static int write_and_open(struct fixture *f)
{
	tiny_model_write(&f->tiny, &f->scratch);
	return open_it(f);
}

static void assert_refused(struct fixture *f, enum err_code code, const char *where, const char *text)
{
	assert_int_equal(open_it(f), -(int)code);
	assert_int_equal(f->err.code, code);
	assert_string_equal(f->err.where, where);
	assert_non_null(strstr(f->err.text, text));
	assert_null(f->weights.layer);
}

static void assert_all_values(struct fixture *f)
{
	for (int i = 0; i < TINY_TENSORS; i++) {
		int layer = i < weights_embedding_site_count ? -1 : 0;
		const struct tensor_site *site =
			layer < 0 ? &weights_embedding_sites[i]
				  : &weights_layer_sites[i - weights_embedding_site_count];
		const real *values = *weights_slot(&f->weights, site, layer);

		for (size_t k = 0; k < weights_site_elements(site, &f->tiny.config); k++)
			assert_true(values[k] == f->tiny.value[i][k]);
	}
}

static void test_every_tensor_lands_in_its_slot(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write_and_open(f), 0);
	assert_false(f->weights.prefixed);
	assert_all_values(f);
	assert_true(f->weights.word[0] == 1.0f / 1024);
	assert_ptr_equal(f->weights.layer[0].ln2_b,
		*weights_slot(&f->weights, &weights_layer_sites[weights_layer_site_count - 1], 0));
}

static void test_aligned_float32_is_borrowed_from_the_file(void **state)
{
	struct fixture *f = *state;
	ptrdiff_t apart;

	assert_int_equal(write_and_open(f), 0);
	/* The writer sorts by name: the first tensor of the file, embeddings.LayerNorm.bias, lies before all. */
	apart = (const char *)f->weights.word - (const char *)f->weights.ln_b;
	assert_true(apart > 0 && apart < 4096);
}

static void test_unaligned_float32_is_copied(void **state)
{
	struct fixture *f = *state;
	static uint8_t file[16384];
	uint64_t len;
	FILE *in;
	size_t n;
	char path[128];

	tiny_model_write(&f->tiny, &f->scratch);
	snprintf(path, sizeof(path), "%s/model.safetensors", f->scratch.path);
	in = fopen(path, "rb");
	n = fread(file, 1, sizeof(file) - 1, in);
	fclose(in);
	memcpy(&len, file, 8);
	memmove(file + 8 + len + 1, file + 8 + len, n - 8 - len);
	file[8 + len++] = ' ';
	memcpy(file, &len, 8);
	scratch_write(&f->scratch, "model.safetensors", file, n + 1);
	assert_int_equal(open_it(f), 0);
	assert_int_equal((uintptr_t)f->weights.word % sizeof(real), 0);
	assert_all_values(f);
}

static void test_prefixed_names_are_found(void **state)
{
	struct fixture *f = *state;
	static char names[TINY_TENSORS][128];

	for (int i = 0; i < f->tiny.n; i++) {
		snprintf(names[i], sizeof(names[i]), "bert.%s", f->tiny.name[i]);
		f->tiny.tensor[i].name = names[i];
	}
	assert_int_equal(write_and_open(f), 0);
	assert_true(f->weights.prefixed);
	assert_all_values(f);
}

static void test_the_prefix_must_be_the_familys(void **state)
{
	struct fixture *f = *state;
	static char names[TINY_TENSORS][128];

	for (int i = 0; i < f->tiny.n; i++) {
		snprintf(names[i], sizeof(names[i]), "roberta.%s", f->tiny.name[i]);
		f->tiny.tensor[i].name = names[i];
	}
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(
		f, ERR_INVALID_MODEL, "model.safetensors: embeddings.word_embeddings.weight", "missing");
}

static void test_gamma_and_beta_are_weight_and_bias(void **state)
{
	struct fixture *f = *state;

	tiny_model_tensor(&f->tiny, "embeddings.LayerNorm.weight")->name = "embeddings.LayerNorm.gamma";
	tiny_model_tensor(&f->tiny, "attention.output.LayerNorm.bias")->name =
		"encoder.layer.0.attention.output.LayerNorm.beta";
	assert_int_equal(write_and_open(f), 0);
	assert_all_values(f);
}

static void test_a_tensor_under_both_its_names_is_refused(void **state)
{
	struct fixture *f = *state;

	f->tiny.tensor[f->tiny.n] = *tiny_model_tensor(&f->tiny, "embeddings.LayerNorm.weight");
	f->tiny.tensor[f->tiny.n++].name = "embeddings.LayerNorm.gamma";
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_INVALID_MODEL, "model.safetensors: embeddings.LayerNorm.gamma", "new name");
}

static void test_two_models_in_one_file_are_refused(void **state)
{
	struct fixture *f = *state;

	f->tiny.tensor[f->tiny.n] = *tiny_model_tensor(&f->tiny, "word_embeddings");
	f->tiny.tensor[f->tiny.n++].name = "bert.embeddings.word_embeddings.weight";
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_INVALID_MODEL, "model.safetensors: bert.embeddings.word_embeddings.weight",
		"without prefix");
}

static void test_tensors_that_nobody_asks_for_are_ignored(void **state)
{
	struct fixture *f = *state;
	static const int64_t ids[12];
	static const float nan_head[1] = {NAN};

	f->tiny.tensor[f->tiny.n++] = (struct st_tensor){"embeddings.position_ids", ST_I64, 2, {1, 12}, ids};
	f->tiny.tensor[f->tiny.n++] = (struct st_tensor){"cls.predictions.bias", ST_F32, 1, {1}, nan_head};
	assert_int_equal(write_and_open(f), 0);
	assert_all_values(f);
}

static void test_halves_are_converted_exactly(void **state)
{
	struct fixture *f = *state;
	/* 1, -2, largest, smallest normal, largest and smallest subnormal, 0, -0 */
	static const uint16_t f16[8] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x03ff, 0x8001, 0x0000, 0x8000};
	static const double want16[8] = {1, -2, 65504, 0x1p-14, 1023 * 0x1p-24, -0x1p-24, 0.0, -0.0};
	static const uint16_t bf16[8] = {0x3f80, 0xc000, 0x7f7f, 0x0080, 0x0001, 0x8001, 0x0000, 0x8000};
	static const double want_b[8] = {1, -2, 0x1.fep127, 0x1p-126, 0x1p-133, -0x1p-133, 0.0, -0.0};
	struct st_tensor *weight = tiny_model_tensor(&f->tiny, "embeddings.LayerNorm.weight");
	struct st_tensor *bias = tiny_model_tensor(&f->tiny, "embeddings.LayerNorm.bias");

	weight->dtype = ST_F16;
	weight->data = f16;
	bias->dtype = ST_BF16;
	bias->data = bf16;
	assert_int_equal(write_and_open(f), 0);
	for (int i = 0; i < 8; i++) {
		assert_true(f->weights.ln_w[i] == want16[i] &&
			    !signbit(f->weights.ln_w[i]) == !signbit(want16[i]));
		assert_true(f->weights.ln_b[i] == want_b[i] &&
			    !signbit(f->weights.ln_b[i]) == !signbit(want_b[i]));
	}
}

/* Every finite half, against the definition: sign * mantissa * 2^(exponent). */
static void test_all_63488_finite_halves_are_right(void **state)
{
	struct fixture *f = *state;
	static uint16_t half[1 << 16];
	struct st_tensor *word = tiny_model_tensor(&f->tiny, "word_embeddings");
	int n = 0;

	for (uint32_t h = 0; h < 1 << 16; h++)
		if ((h >> 10 & 31) != 31)
			half[n++] = (uint16_t)h;
	assert_int_equal(n, 63488);
	f->tiny.config.V = n / 8;
	*word = (struct st_tensor){word->name, ST_F16, 2, {(size_t)n / 8, 8}, half};
	assert_int_equal(write_and_open(f), 0);
	for (int i = 0; i < n; i++) {
		int exponent = half[i] >> 10 & 31, mantissa = half[i] & 0x3ff;
		double want = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);

		assert_true(f->weights.word[i] == (half[i] & 0x8000 ? -want : want));
	}
}

static void refuse_value(struct fixture *f, enum st_dtype dtype, const void *value)
{
	static uint8_t data[8 * 4];
	struct st_tensor *bias = tiny_model_tensor(&f->tiny, "layer.0.output.dense.bias");
	size_t bytes = dtype == ST_F32 ? 4 : 2;

	memset(data, 0, sizeof(data));
	memcpy(data + 7 * bytes, value, bytes);
	bias->dtype = dtype;
	bias->data = data;
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_INVALID_MODEL, "model.safetensors: encoder.layer.0.output.dense.bias", "NaN");
}

static void test_values_that_are_not_finite_are_refused_in_every_dtype(void **state)
{
	static const float f32[] = {NAN, INFINITY, -INFINITY};
	static const uint16_t f16[] = {0x7c00, 0xfc00, 0x7c01, 0xffff},
			      bf16[] = {0x7f80, 0xff80, 0x7f81, 0xffff};

	for (size_t i = 0; i < NELEM(f32); i++)
		refuse_value(*state, ST_F32, &f32[i]);
	for (size_t i = 0; i < NELEM(f16); i++)
		refuse_value(*state, ST_F16, &f16[i]);
	for (size_t i = 0; i < NELEM(bf16); i++)
		refuse_value(*state, ST_BF16, &bf16[i]);
}

static void test_a_wrong_shape_names_both_shapes(void **state)
{
	struct fixture *f = *state;
	struct st_tensor *tensor = tiny_model_tensor(&f->tiny, "query.weight");

	tensor->shape[0] = 4;
	tensor->shape[1] = 16;
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_INVALID_MODEL, "model.safetensors: encoder.layer.0.attention.self.query.weight",
		"shape [4, 16], expected [8, 8]");
}

static void test_a_wrong_rank_is_a_wrong_shape(void **state)
{
	struct fixture *f = *state;

	tiny_model_tensor(&f->tiny, "query.bias")->rank = 2;
	tiny_model_tensor(&f->tiny, "query.bias")->shape[1] = 1;
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_INVALID_MODEL, "model.safetensors: encoder.layer.0.attention.self.query.bias",
		"shape [8, 1], expected [8]");
}

static void test_a_missing_layer_is_refused(void **state)
{
	struct fixture *f = *state;

	f->tiny.config.L = 2;
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_INVALID_MODEL, "model.safetensors: encoder.layer.1.attention.self.query.weight",
		"missing");
}

static void test_other_precisions_are_refused(void **state)
{
	struct fixture *f = *state;
	static const double values[8];
	struct st_tensor *tensor = tiny_model_tensor(&f->tiny, "key.bias");

	tensor->dtype = ST_F64;
	tensor->data = values;
	tiny_model_write(&f->tiny, &f->scratch);
	assert_refused(f, ERR_UNSUPPORTED_PRECISION,
		"model.safetensors: encoder.layer.0.attention.self.key.bias", "dtype F64");
}

static void test_a_directory_without_weights_is_refused(void **state)
{
	assert_refused(*state, ERR_INVALID_MODEL, "model.safetensors", "no weights");
}

static void test_pickled_weights_are_an_unsupported_format(void **state)
{
	struct fixture *f = *state;

	scratch_write_text(&f->scratch, "training_args.txt", "x");
	scratch_write_text(&f->scratch, "pytorch_model.bin", "\x80\x02.");
	assert_refused(f, ERR_UNSUPPORTED_FORMAT, "pytorch_model.bin", "safetensors");
}

static void test_a_pickle_called_safetensors_is_an_unsupported_format(void **state)
{
	struct fixture *f = *state;

	scratch_write_text(&f->scratch, "model.safetensors", "PK\3\4 and more bytes");
	assert_refused(f, ERR_UNSUPPORTED_FORMAT, "model.safetensors", "pickled");
}

static void test_pickled_weights_beside_safetensors_are_not_looked_at(void **state)
{
	struct fixture *f = *state;

	scratch_write_text(&f->scratch, "pytorch_model.bin", "\x80\x02.");
	assert_int_equal(write_and_open(f), 0);
}

/* The tiny model in two files, the layer's tensors in the second. */
static void write_shards(struct fixture *f)
{
	struct buf index = {0};
	int split = weights_embedding_site_count;

	assert_int_equal(st_write(f->scratch.fd, "a.safetensors", f->tiny.tensor, split, NULL, 0, NULL), 0);
	assert_int_equal(st_write(f->scratch.fd, "b.safetensors", f->tiny.tensor + split, f->tiny.n - split,
				 NULL, 0, NULL),
		0);
	buf_str(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
	for (int i = 0; i < f->tiny.n; i++)
		buf_printf(&index, "%s\"%s\": \"%c.safetensors\"", i > 0 ? ", " : "", f->tiny.tensor[i].name,
			i < split ? 'a' : 'b');
	buf_str(&index, "}}");
	scratch_write(&f->scratch, "model.safetensors.index.json", index.data, index.len);
	buf_done(&index);
}

static void test_shards_are_found_through_the_index(void **state)
{
	struct fixture *f = *state;

	write_shards(f);
	assert_int_equal(open_it(f), 0);
	assert_all_values(f);
}

static void test_a_missing_shard_is_refused(void **state)
{
	struct fixture *f = *state;

	write_shards(f);
	unlinkat(f->scratch.fd, "b.safetensors", 0);
	assert_refused(f, ERR_INVALID_MODEL, "b.safetensors", "no such file");
}

static void test_an_index_that_lies_about_a_tensor_is_refused(void **state)
{
	struct fixture *f = *state;

	write_shards(f);
	assert_int_equal(st_write(f->scratch.fd, "b.safetensors", f->tiny.tensor, 1, NULL, 0, NULL), 0);
	assert_refused(f, ERR_INVALID_MODEL, "b.safetensors: encoder.layer.0.attention.self.query.weight",
		"though the index");
}

static void refuse_index(struct fixture *f, const char *index, const char *where)
{
	scratch_write_text(&f->scratch, "model.safetensors.index.json", index);
	assert_int_equal(open_it(f), -ERR_INVALID_MODEL);
	assert_non_null(strstr(f->err.where, where));
}

static void test_an_index_may_only_name_files_of_its_directory(void **state)
{
	refuse_index(*state, "{\"weight_map\": {\"w\": \"../a.safetensors\"}}", "index.json: w");
	refuse_index(*state, "{\"weight_map\": {\"w\": \"d/a.safetensors\"}}", "index.json: w");
	refuse_index(*state, "{\"weight_map\": {\"w\": \"/a.safetensors\"}}", "index.json: w");
	refuse_index(*state, "{\"weight_map\": {\"w\": \"config.json\"}}", "index.json: w");
	refuse_index(*state, "{\"weight_map\": {\"w\": 1}}", "index.json: w");
	refuse_index(*state, "{\"weight_map\": []}", "index.json: weight_map");
	refuse_index(*state, "[]", "index.json: weight_map");
	refuse_index(*state, "{\"weight_map\": ", "index.json:1");
	refuse_index(*state, "{\"weight_map\": {}}", "index.json: embeddings.word_embeddings.weight");
}

static void test_the_empty_state_can_be_released(void **state)
{
	struct weights none = {0};

	weights_done(&none);
	assert_null(none.store);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_every_tensor_lands_in_its_slot),
		CASE(test_aligned_float32_is_borrowed_from_the_file),
		CASE(test_unaligned_float32_is_copied),
		CASE(test_prefixed_names_are_found),
		CASE(test_the_prefix_must_be_the_familys),
		CASE(test_gamma_and_beta_are_weight_and_bias),
		CASE(test_a_tensor_under_both_its_names_is_refused),
		CASE(test_two_models_in_one_file_are_refused),
		CASE(test_tensors_that_nobody_asks_for_are_ignored),
		CASE(test_halves_are_converted_exactly),
		CASE(test_all_63488_finite_halves_are_right),
		CASE(test_values_that_are_not_finite_are_refused_in_every_dtype),
		CASE(test_a_wrong_shape_names_both_shapes),
		CASE(test_a_wrong_rank_is_a_wrong_shape),
		CASE(test_a_missing_layer_is_refused),
		CASE(test_other_precisions_are_refused),
		CASE(test_a_directory_without_weights_is_refused),
		CASE(test_pickled_weights_are_an_unsupported_format),
		CASE(test_a_pickle_called_safetensors_is_an_unsupported_format),
		CASE(test_pickled_weights_beside_safetensors_are_not_looked_at),
		CASE(test_shards_are_found_through_the_index),
		CASE(test_a_missing_shard_is_refused),
		CASE(test_an_index_that_lies_about_a_tensor_is_refused),
		CASE(test_an_index_may_only_name_files_of_its_directory),
		CASE(test_the_empty_state_can_be_released),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
