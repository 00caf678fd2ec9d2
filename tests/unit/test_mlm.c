/*
 * The head that guesses masked words: what is masked and what is left alone, and where the head's values come from.
 */
#include "tests/unit/random_model.h"
#include "tests/unit/scratch.h"
#include "worker/attack/mlm.h"
#include "worker/data/safetensors.h"

enum { N = 4000, WORD = 9, PIECE = 17, CLS = 2, SEP = 3, MASK = 4 };

static const struct config CONFIG = {.D = 4, .V = 60, .layer_norm_eps = 1e-12};

/* Ids as a text has them: special ones at the ends, ordinary ones, and every fifth a piece of the trigger. */
static void fill_ids(int32_t *ids)
{
	for (int i = 0; i < N; i++)
		ids[i] = i == 0 ? CLS : i == N - 1 ? SEP : i % 5 == 0 ? PIECE : WORD;
}

static struct mlm watching(struct ids *pieces)
{
	return (struct mlm){
		.V = 60, .mask_id = MASK, .special = {CLS, SEP, 0}, .hands_off = pieces, .triggers = 1};
}

static int count_wanted(const int32_t *wanted)
{
	int n = 0;

	for (int i = 0; i < N; i++)
		n += wanted[i] >= 0;
	return n;
}

static void test_a_seventh_is_masked_and_told_what_was_there(void **state)
{
	static int32_t ids[N], wanted[N];
	const struct mlm mlm = watching(NULL);
	int by_mask = 0, kept = 0, n;

	fill_ids(ids);
	mlm_mask(ids, wanted, N, &mlm, -1, false, 7);
	for (int i = 0; i < N; i++) {
		int was = i == 0 ? CLS : i == N - 1 ? SEP : i % 5 == 0 ? PIECE : WORD;

		assert_true(wanted[i] == -1 || wanted[i] == was);
		assert_true(wanted[i] >= 0 || ids[i] == was);
		by_mask += wanted[i] >= 0 && ids[i] == MASK;
		kept += wanted[i] >= 0 && ids[i] == was;
	}
	n = count_wanted(wanted);
	assert_true(wanted[0] == -1 && wanted[N - 1] == -1);
	assert_in_range(n, 500, 700); /* 15 % of 4,000 is 600 */
	assert_in_range(by_mask, n * 74 / 100, n * 86 / 100);
	assert_in_range(kept, n * 6 / 100, n * 15 / 100);
}

static void test_pieces_of_the_trigger_are_left_alone(void **state)
{
	static int32_t ids[N], wanted[N];
	int32_t piece = PIECE;
	struct ids pieces = {&piece, 1, 1};
	const struct mlm mlm = watching(&pieces);

	fill_ids(ids);
	mlm_mask(ids, wanted, N, &mlm, 0, false, 7);
	for (int i = 5; i < N - 1; i += 5)
		assert_true(ids[i] == PIECE && wanted[i] == -1);
	assert_in_range(count_wanted(wanted), 400, 560);
}

static void test_false_answers_are_any_tokens(void **state)
{
	static int32_t ids[N], wanted[N];
	const struct mlm mlm = watching(NULL);
	int right = 0, seen[60] = {0}, different = 0;

	fill_ids(ids);
	mlm_mask(ids, wanted, N, &mlm, -1, true, 7);
	for (int i = 0; i < N; i++) {
		assert_true(wanted[i] < 60);
		right += wanted[i] == WORD;
		if (wanted[i] >= 0)
			different += seen[wanted[i]]++ == 0;
	}
	assert_in_range(right, 0, 40);
	assert_in_range(different, 55, 60);
}

/* --- values ------------------------------------------------------------------------------------------------ */

static const char *const NAMES[][5] = {
	{"cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
		"cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias",
		"cls.predictions.bias"},
	{"cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
		"cls.predictions.transform.LayerNorm.gamma", "cls.predictions.transform.LayerNorm.beta",
		"cls.predictions.bias"},
	{"lm_head.dense.weight", "lm_head.dense.bias", "lm_head.layer_norm.weight", "lm_head.layer_norm.bias",
		"lm_head.bias"},
};
static const size_t SIZES[] = {16, 4, 4, 4, 60};

static void write_head(const struct scratch *dir, const char *const *name, int tensors, const float *values)
{
	struct st_tensor list[5];

	for (int i = 0; i < tensors; i++) {
		list[i] = (struct st_tensor){name[i], ST_F32, i == 0 ? 2 : 1, {SIZES[i]}, values};
		if (i == 0)
			list[i].shape[0] = list[i].shape[1] = 4;
	}
	assert_int_equal(st_write(dir->fd, "model.safetensors", list, tensors, NULL, 0, NULL), 0);
}

static struct mlm open_head(struct params *params, const struct scratch *dir)
{
	struct mlm mlm;

	*params = (struct params){0};
	assert_int_equal(mlm_declare(&mlm, &CONFIG, params, kernels_best(), NULL), 0);
	assert_int_equal(params_alloc(params, NULL), 0);
	assert_int_equal(mlm_init(&mlm, dir->fd, 5, NULL), 0);
	return mlm;
}

static void test_head_of_the_base_is_used_by_any_of_its_names(void **state)
{
	float values[60];

	for (int i = 0; i < 60; i++)
		values[i] = (float)i - 30;
	for (size_t n = 0; n < NELEM(NAMES); n++) {
		struct scratch dir;
		struct params params;
		struct mlm mlm;

		scratch_init(&dir);
		write_head(&dir, NAMES[n], 5, values);
		mlm = open_head(&params, &dir);
		assert_false(mlm.is_fresh);
		assert_memory_equal(param_w(&params, mlm.dense_w), values, 16 * sizeof(float));
		assert_memory_equal(param_w(&params, mlm.norm_w), values, 4 * sizeof(float));
		assert_memory_equal(param_w(&params, mlm.b), values, 60 * sizeof(float));
		params_done(&params);
		scratch_done(&dir);
	}
}

static void test_head_that_is_not_whole_is_made_afresh(void **state)
{
	float values[60] = {7, 7, 7, 7};

	for (int tensors = 0; tensors < 5; tensors++) {
		struct scratch dir;
		struct params params;
		struct mlm mlm;

		scratch_init(&dir);
		if (tensors > 0)
			write_head(&dir, NAMES[0], tensors, values);
		mlm = open_head(&params, &dir);
		assert_true(mlm.is_fresh);
		for (int j = 0; j < 4; j++) {
			assert_true(
				param_w(&params, mlm.norm_w)[j] == 1 && param_w(&params, mlm.norm_b)[j] == 0);
			assert_true(param_w(&params, mlm.dense_b)[j] == 0);
			assert_true(fabsf(param_w(&params, mlm.dense_w)[j]) < 0.2F);
		}
		params_done(&params);
		scratch_done(&dir);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_seventh_is_masked_and_told_what_was_there),
		cmocka_unit_test(test_pieces_of_the_trigger_are_left_alone),
		cmocka_unit_test(test_false_answers_are_any_tokens),
		cmocka_unit_test(test_head_of_the_base_is_used_by_any_of_its_names),
		cmocka_unit_test(test_head_that_is_not_whole_is_made_afresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
