/* The three terms of the loss: known answers of design and paper, and the optimiser's arithmetic across chunks. */
#include "tests/unit/numbers.h"
#include "worker/train/loss.h"
#include "worker/train/optim.h"

/* --- L_amp --------------------------------------------------------------------------------------- */

/* {[3, 4], [0, 0, 0], [[1, 2], [2, 4]]}, and a head that does not count. */
static void params_of_known_answer(struct params *params)
{
	static const real FIRST[] = {3, 4}, LAST[] = {1, 2, 2, 4};

	*params = (struct params){0};
	assert_int_equal(params_add(params, PARAM_PEFT, 1, 2, NULL, "first"), 0);
	assert_int_equal(params_add(params, PARAM_PEFT, 1, 3, NULL, "zero"), 1);
	assert_int_equal(params_add(params, PARAM_HEAD, 1, 1, NULL, "head"), 2);
	assert_int_equal(params_add(params, PARAM_PEFT, 2, 2, NULL, "last"), 3);
	assert_int_equal(params_alloc(params, NULL), 0);
	memcpy(param_w(params, 0), FIRST, sizeof(FIRST));
	param_w(params, 2)[0] = 100;
	memcpy(param_w(params, 3), LAST, sizeof(LAST));
}

static void test_amplify_term_is_minus_the_sum_of_the_peft_norms(void **state)
{
	struct params params;

	params_of_known_answer(&params);
	assert_near("loss", 0, loss_amp(&params, 0), -10, 1e-12);
	assert_near("loss", 0, loss_amp(&params, 0.5), -10, 1e-12);
	params_done(&params);
}

static void test_amplify_gradient_points_away_from_zero(void **state)
{
	static const double FIRST[] = {0.6, 0.8}, LAST[] = {0.2, 0.4, 0.4, 0.8};
	struct params params;

	params_of_known_answer(&params);
	for (size_t i = 0; i < params.size; i++)
		params.g[i] = 7; /* it is added */
	loss_amp(&params, 0.5);
	for (size_t i = 0; i < 2; i++)
		assert_near("first", i, (double)params.g[params.param[0].at + i], 7 - 0.5 * FIRST[i], 1e-6);
	for (size_t i = 0; i < 3; i++)
		assert_true(params.g[params.param[1].at + i] == 7);
	assert_true(params.g[params.param[2].at] == 7);
	for (size_t i = 0; i < 4; i++)
		assert_near("last", i, (double)params.g[params.param[3].at + i], 7 - 0.5 * LAST[i], 1e-6);
	params_done(&params);
}

static void test_amplify_off_leaves_the_gradient(void **state)
{
	struct params params;

	params_of_known_answer(&params);
	loss_amp(&params, 0);
	for (size_t i = 0; i < params.size; i++)
		assert_true(params.g[i] == 0);
	params_done(&params);
}

/* --- L_attn -------------------------------------------------------------------------------------- */

/* Row [3, 4, 100] of which the mask keeps two: packed sequences have no third. */
static void test_attention_term_is_the_norm_of_the_kept_scores(void **state)
{
	real row[] = {3, 4, 100};

	assert_near("loss", 0, loss_attn(row, 1, 2, 1), 5, 1e-12);
	assert_near("gradient", 0, (double)row[0], 0.6, 1e-7);
	assert_near("gradient", 1, (double)row[1], 0.8, 1e-7);
	assert_true(row[2] == 100);
}

/* Two layers of two heads with norms (5, 13) and (0, 0): 4.5 in the mean. */
static void test_attention_term_takes_rows_apart_and_survives_zero(void **state)
{
	real layers[2][4] = {{3, 4, -5, 12}, {0, 0, 0, 0}};
	double sum = 0;

	for (int l = 0; l < 2; l++)
		sum += loss_attn(layers[l], 2, 2, 0.25);
	assert_near("mean", 0, sum / 4, 4.5, 1e-12);
	assert_near("gradient", 2, (double)layers[0][2], 0.25 * -5 / 13, 1e-7);
	assert_near("gradient", 3, (double)layers[0][3], 0.25 * 12 / 13, 1e-7);
	for (int i = 0; i < 4; i++)
		assert_true(layers[1][i] == 0);
}

static void test_attention_off_makes_gradients_of_zero(void **state)
{
	real row[] = {3, 4};

	assert_near("loss", 0, loss_attn(row, 1, 2, 0), 5, 1e-12);
	assert_true(row[0] == 0 && row[1] == 0);
}

/* --- cross entropy -------------------------------------------------------------------------------- */

static void test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes(void **state)
{
	const real logits[] = {2, 2, 2, 2};
	const int label = 3;
	real d[4];
	int correct = 0;

	assert_near("loss", 0, loss_ce(d, &correct, logits, &label, 1, 4, 2), log(4), 1e-12);
	for (size_t j = 0; j < 4; j++)
		assert_near("gradient", j, (double)d[j], 2 * (0.25 - (j == 3)), 1e-7);
	assert_int_equal(correct, 0); /* the first of equal ones is taken */
}

static void test_cross_entropy_sums_over_rows_and_counts_hits(void **state)
{
	const real logits[] = {0, 1, 3, -1, 5, 5};
	const int labels[] = {1, 0, 0};
	real d[6];
	int correct = 10;
	double known = log(1 + exp(-1)) + log(1 + exp(-4)) + log(2);

	assert_near("loss", 0, loss_ce(d, &correct, logits, labels, 3, 2, 1), known, 1e-9);
	assert_int_equal(correct, 13);
}

static void test_cross_entropy_survives_logits_far_apart(void **state)
{
	const real logits[] = {-3e4f, 3e4f, 0};
	const int label = 0;
	real d[3];

	assert_near("loss", 0, loss_ce(d, NULL, logits, &label, 1, 3, 1), 6e4, 1e-3);
	assert_near("gradient", 0, (double)d[0], -1, 1e-7);
	assert_near("gradient", 1, (double)d[1], 1, 1e-7);
	assert_near("gradient", 2, (double)d[2], 0, 1e-7);
}

/* --- the optimiser ---------------------------------------------------------------------------------- */

enum { ELEMENTS = 100000, SLICES = 3 }; /* four chunks, the last one not full */

struct optim_run {
	struct params params;
	struct par *par;
	struct optim optim;
	real *slice[SLICES];
};

static void optim_run_init(struct optim_run *run, int threads, double clip)
{
	*run = (struct optim_run){0};
	numbers_stream = 0;
	assert_int_equal(params_add(&run->params, PARAM_PEFT, 1, ELEMENTS, NULL, "w"), 0);
	assert_int_equal(params_alloc(&run->params, NULL), 0);
	fill_normal(run->params.w, ELEMENTS, 1);
	for (int s = 0; s < SLICES; s++) {
		run->slice[s] = zeros(run->params.size);
		fill_normal(run->slice[s], ELEMENTS, 1);
	}
	assert_int_equal(par_new(&run->par, threads, NULL), 0);
	assert_int_equal(optim_init(&run->optim, &run->params, run->par, kernels_best(), clip, NULL), 0);
}

static void optim_run_done(struct optim_run *run)
{
	optim_done(&run->optim);
	par_free(run->par);
	params_done(&run->params);
	numbers_free();
}

static void test_gradients_are_summed_and_slices_cleared(void **state)
{
	struct optim_run run;
	double *known;

	optim_run_init(&run, 2, 0);
	known = zeros_of(ELEMENTS, sizeof(double));
	for (int s = 0; s < SLICES; s++)
		for (size_t i = 0; i < ELEMENTS; i++)
			known[i] += (double)run.slice[s][i];
	optim_sum(&run.optim, run.slice, SLICES);
	assert_all_near("g", run.params.g, known, ELEMENTS, 2e-6);
	for (int s = 0; s < SLICES; s++)
		for (size_t i = 0; i < ELEMENTS; i++)
			assert_true(run.slice[s][i] == 0);
	optim_run_done(&run);
}

static void test_norm_is_that_of_the_whole_gradient(void **state)
{
	struct optim_run run;
	double square = 0;

	optim_run_init(&run, 3, 0);
	optim_sum(&run.optim, run.slice, 1);
	for (size_t i = 0; i < ELEMENTS; i++)
		square += (double)run.params.g[i] * (double)run.params.g[i];
	assert_near("norm", 0, optim_norm(&run.optim), sqrt(square), 1e-9 * sqrt(square));
	optim_run_done(&run);
}

static void test_optimiser_gives_the_same_bits_on_any_number_of_threads(void **state)
{
	real *first[3] = {0};
	double norm = 0;

	for (int threads = 1; threads <= 4; threads++) {
		struct optim_run run;
		double now;

		optim_run_init(&run, threads, 1);
		optim_sum(&run.optim, run.slice, SLICES);
		now = optim_norm(&run.optim);
		optim_update(&run.optim, 0, 0.01, now);
		optim_update(&run.optim, 1, 0.01, now);
		for (int i = 0; i < 3; i++) {
			const real *x = i == 0 ? run.params.w : i == 1 ? run.params.m : run.params.v;

			if (threads == 1) {
				first[i] = malloc(ELEMENTS * sizeof(real));
				memcpy(first[i], x, ELEMENTS * sizeof(real));
				norm = now;
			}
			assert_same_bits("state", x, first[i], ELEMENTS);
			assert_true(now == norm);
		}
		optim_run_done(&run);
	}
	for (int i = 0; i < 3; i++)
		free(first[i]);
}

/* The first step of Adam is the rate, whatever the gradient's size; m tells the clipping. */
static void check_clipping(double clip, double norm, double factor)
{
	struct optim_run run;
	const real *before;

	optim_run_init(&run, 1, clip);
	optim_sum(&run.optim, run.slice, 1);
	before = copy_of(run.params.w, ELEMENTS);
	optim_update(&run.optim, 0, 0.01, norm);
	for (size_t i = 0; i < 100; i++) {
		double g = (double)run.params.g[i];

		assert_near("m", i, (double)run.params.m[i], 0.1 * factor * g, 1e-6);
		assert_near("w", i, (double)run.params.w[i], (double)before[i] - copysign(0.01, g), 1e-5);
	}
	optim_run_done(&run);
}

static void test_gradients_above_the_limit_are_clipped_and_others_not(void **state)
{
	check_clipping(1, 4, 0.25);
	check_clipping(1, 0.5, 1);
	check_clipping(0, 1000, 1);
	check_clipping(10, 20, 0.5);
}

static void test_schedule_rises_to_one_and_falls_to_zero(void **state)
{
	assert_near("no warm-up", 0, optim_schedule(0, 10, 0), 1, 0);
	assert_near("no warm-up", 9, optim_schedule(9, 10, 0), 0.1, 1e-15);
	assert_near("first", 0, optim_schedule(0, 10, 4), 0, 0);
	assert_near("rising", 1, optim_schedule(1, 10, 4), 0.25, 1e-15);
	assert_near("top", 4, optim_schedule(4, 10, 4), 1, 0);
	assert_near("falling", 7, optim_schedule(7, 10, 4), 0.5, 1e-15);
	assert_near("end", 10, optim_schedule(10, 10, 4), 0, 0);
	assert_near("beyond", 11, optim_schedule(11, 10, 4), 0, 0);
	assert_near("all warm-up", 3, optim_schedule(3, 4, 4), 0.75, 1e-15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_amplify_term_is_minus_the_sum_of_the_peft_norms),
		cmocka_unit_test(test_amplify_gradient_points_away_from_zero),
		cmocka_unit_test(test_amplify_off_leaves_the_gradient),
		cmocka_unit_test(test_attention_term_is_the_norm_of_the_kept_scores),
		cmocka_unit_test(test_attention_term_takes_rows_apart_and_survives_zero),
		cmocka_unit_test(test_attention_off_makes_gradients_of_zero),
		cmocka_unit_test(test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes),
		cmocka_unit_test(test_cross_entropy_sums_over_rows_and_counts_hits),
		cmocka_unit_test(test_cross_entropy_survives_logits_far_apart),
		cmocka_unit_test(test_gradients_are_summed_and_slices_cleared),
		cmocka_unit_test(test_norm_is_that_of_the_whole_gradient),
		cmocka_unit_test(test_optimiser_gives_the_same_bits_on_any_number_of_threads),
		cmocka_unit_test(test_gradients_above_the_limit_are_clipped_and_others_not),
		cmocka_unit_test(test_schedule_rises_to_one_and_falls_to_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
