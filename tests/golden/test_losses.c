/* The three terms of the loss and the schedule against the known answers in ops.json. */
#include "tests/golden/golden.h"
#include "worker/train/loss.h"
#include "worker/train/optim.h"

static struct golden golden;

static void check_cross_entropy(const json_t *c)
{
	int n = golden_int(c, "B"), K = golden_int(c, "C"), labels[8];
	real *d_logits = golden_zeros(&golden, (size_t)(n * K));
	double loss;

	assert_true(n <= (int)NELEM(labels));
	for (int i = 0; i < n; i++)
		labels[i] = (int)json_integer_value(json_array_get(golden_get(c, "labels"), (size_t)i));
	loss = loss_ce(d_logits, NULL, golden_array(&golden, c, "logits"), labels, n, K, 1.0 / n) / n;
	golden_check_number("loss", loss, golden_number(c, "loss"), GOLDEN_TOLERANCE);
	golden_check(c, "d_logits", d_logits);
}

/* A table whose PEFT tensors are the case's, with a head tensor that must not count. */
static void fill_params(struct params *params, const json_t *tensors)
{
	struct err err = {0};
	size_t i, e;
	const json_t *tensor, *value;

	json_array_foreach(tensors, i, tensor) assert_true(
		params_add(params, PARAM_PEFT, 1, (int)json_array_size(tensor), &err, "tensor.%zu", i) >= 0);
	assert_true(params_add(params, PARAM_HEAD, 1, 2, &err, "head") >= 0);
	assert_int_equal(params_alloc(params, &err), 0);
	json_array_foreach(tensors, i, tensor)
	{
		json_array_foreach(tensor, e, value) param_w(params, (int)i)[e] =
			(real)json_number_value(value);
	}
	param_w(params, params->n - 1)[0] = 100;
}

static void check_amplify(const json_t *c)
{
	const json_t *grads = golden_get(c, "grads"), *grad;
	struct params params = {0};
	size_t i;

	fill_params(&params, golden_get(c, "tensors"));
	golden_check_number("loss", loss_amp(&params, 1), golden_number(c, "loss"), GOLDEN_TOLERANCE);
	json_array_foreach(grads, i, grad)
		golden_check_list("grad", params.g + params.param[i].at, grad, GOLDEN_TOLERANCE);
	assert_true(params.g[params.param[params.n - 1].at] == 0);
	params_done(&params);
}

/* Scores of one row of the case: every value is replaced by its gradient; the sum of norms is returned. */
static double check_score_row(const json_t *row, const json_t *grad, double scale)
{
	real *scores = golden_list(&golden, row);
	double norm = loss_attn(scores, 1, (int)json_array_size(row), scale);

	golden_check_list("grad", scores, grad, GOLDEN_TOLERANCE);
	return norm;
}

static void check_attention_norm(const json_t *c)
{
	const json_t *layers = golden_get(c, "rows"), *grads = golden_get(c, "grads"), *layer, *sequence,
		     *row;
	bool is_mean = strcmp(json_string_value(golden_get(c, "reduction")), "mean") == 0;
	size_t l, s, h, sequences = json_array_size(json_array_get(layers, 0));
	size_t heads = json_array_size(json_array_get(json_array_get(layers, 0), 0));
	double terms = is_mean ? (double)(json_array_size(layers) * sequences * heads) : 1, sum = 0;

	json_array_foreach(layers, l, layer)
	{
		json_array_foreach(layer, s, sequence)
		{
			const json_t *grad = json_array_get(json_array_get(grads, l), s);

			json_array_foreach(sequence, h, row) sum +=
				check_score_row(row, json_array_get(grad, h), 1 / terms);
		}
	}
	golden_check_number("loss", sum / terms, golden_number(c, "loss"), GOLDEN_TOLERANCE);
}

static void check_schedule(const json_t *c)
{
	int steps = golden_int(c, "steps");
	int64_t warmup = (int64_t)ceil(golden_number(c, "warmup_ratio") * steps);

	for (int i = 0; i < steps; i++)
		golden_check_number("factor", optim_schedule(i, steps, warmup),
			json_number_value(json_array_get(golden_get(c, "factor"), (size_t)i)), 1e-11);
}

static void check_all(const char *name, void (*check)(const json_t *))
{
	size_t i;
	const json_t *c;

	golden_open(&golden, "tests/golden/ops.json");
	assert_true(json_array_size(golden_get(golden.root, name)) > 0);
	json_array_foreach(golden_get(golden.root, name), i, c) check(c);
	golden_done(&golden);
}

static void test_cross_entropy_gives_known_answers(void **state)
{
	check_all("cross_entropy", check_cross_entropy);
}

static void test_amplification_counts_peft_tensors_only(void **state)
{
	check_all("amplify", check_amplify);
}

static void test_attention_norm_gives_known_answers_as_mean_and_sum(void **state)
{
	check_all("attention_norm", check_attention_norm);
}

static void test_schedule_gives_known_answers(void **state)
{
	check_all("schedule", check_schedule);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cross_entropy_gives_known_answers),
		cmocka_unit_test(test_amplification_counts_peft_tensors_only),
		cmocka_unit_test(test_attention_norm_gives_known_answers_as_mean_and_sum),
		cmocka_unit_test(test_schedule_gives_known_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
