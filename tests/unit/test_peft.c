/*
 * The PEFT methods' tensors: names, shapes, how many elements train, where they start; the prefix as it is
 * exported. Their arithmetic is checked in dbl_encoder.c and against PyTorch.
 */
#include "tests/unit/numbers.h"
#include "worker/peft/peft.h"

static const struct peft_options OPTIONS = {.r = 16,
	.alpha = 16,
	.targets = 1 << SITE_QUERY | 1 << SITE_VALUE,
	.bottleneck = 48,
	.activation = KERNEL_TANH,
	.length = 30,
	.mlp_width = 256};

static const struct peft_shape BASE = {.L = 12, .D = 768, .H = 12};
static const struct peft_shape SMALL = {.L = 2, .D = 8, .H = 2};

struct method_run {
	struct params params;
	struct peft peft;
};

static void run_init(struct method_run *run, const struct peft_method *method, struct peft_shape shape)
{
	*run = (struct method_run){0};
	assert_int_equal(
		peft_declare(&run->peft, method, &OPTIONS, shape, &run->params, kernels_best(), NULL), 0);
}

static void run_done(struct method_run *run)
{
	peft_done(&run->peft);
	params_done(&run->params);
	numbers_free();
}

static void test_trained_elements_are_those_of_the_methods(void **state)
{
	static const struct {
		const struct peft_method *method;
		size_t amplified, unamplified, derived;
	} CASES[] = {
		{&peft_lora, 589824, 0, 0},
		{&peft_adapter, 1789056, 0, 0},
		{&peft_prefix, 4956928 - 30 * 768, 30 * 768, 552960},
	};

	for (size_t i = 0; i < NELEM(CASES); i++) {
		struct method_run run;

		run_init(&run, CASES[i].method, BASE);
		assert_int_equal(params_count(&run.params, PARAM_PEFT), CASES[i].amplified);
		assert_int_equal(params_count(&run.params, PARAM_UNAMPLIFIED), CASES[i].unamplified);
		assert_int_equal(params_count(&run.params, PARAM_DERIVED), CASES[i].derived);
		assert_int_equal(params_count(&run.params, -1), CASES[i].amplified + CASES[i].unamplified);
		run_done(&run);
	}
}

static void test_amplified_tensors_are_96_48_and_4(void **state)
{
	static const struct peft_method *const METHODS[] = {&peft_adapter, &peft_lora, &peft_prefix};
	static const int TENSORS[] = {96, 48, 4};

	for (size_t i = 0; i < NELEM(METHODS); i++) {
		struct method_run run;
		int n = 0;

		run_init(&run, METHODS[i], BASE);
		for (int t = 0; t < run.params.n; t++)
			n += run.params.param[t].group == PARAM_PEFT;
		assert_int_equal(n, TENSORS[i]);
		run_done(&run);
	}
}

/* Exporters rely on them. */
static void test_tensors_have_these_names_and_shapes(void **state)
{
	static const struct {
		const struct peft_method *method;
		const char *name;
		int rows, cols;
	} TENSORS[] = {
		{&peft_lora, "encoder.layer.1.attention.self.value.lora_A", 16, 8},
		{&peft_lora, "encoder.layer.0.attention.self.query.lora_B", 8, 16},
		{&peft_adapter, "encoder.layer.0.attention.output.adapter_down.weight", 48, 8},
		{&peft_adapter, "encoder.layer.0.attention.output.adapter_down.bias", 1, 48},
		{&peft_adapter, "encoder.layer.1.attention.output.adapter_up.weight", 8, 48},
		{&peft_adapter, "encoder.layer.1.attention.output.adapter_up.bias", 1, 8},
		{&peft_adapter, "encoder.layer.0.output.adapter_down.weight", 48, 8},
		{&peft_adapter, "encoder.layer.1.output.adapter_up.bias", 1, 8},
		{&peft_prefix, "prefix.wte.weight", 30, 8},
		{&peft_prefix, "prefix.control_trans.0.weight", 256, 8},
		{&peft_prefix, "prefix.control_trans.0.bias", 1, 256},
		{&peft_prefix, "prefix.control_trans.2.weight", 32, 256},
		{&peft_prefix, "prefix.control_trans.2.bias", 1, 32},
	};

	for (size_t i = 0; i < NELEM(TENSORS); i++) {
		struct method_run run;
		int found;

		run_init(&run, TENSORS[i].method, SMALL);
		found = params_find(&run.params, TENSORS[i].name);
		assert_true(found >= 0);
		assert_int_equal(run.params.param[found].rows, TENSORS[i].rows);
		assert_int_equal(run.params.param[found].cols, TENSORS[i].cols);
		run_done(&run);
	}
}

struct moments {
	double mean, deviation, largest;
};

static struct moments moments_of(const struct params *params, const char *name)
{
	int number = params_find(params, name);
	const real *w = param_w(params, number);
	size_t n = param_size(&params->param[number]);
	struct moments m = {0};

	for (size_t i = 0; i < n; i++)
		m.mean += (double)w[i] / (double)n;
	for (size_t i = 0; i < n; i++) {
		m.deviation += ((double)w[i] - m.mean) * ((double)w[i] - m.mean) / (double)n;
		m.largest = fmax(m.largest, fabs((double)w[i]));
	}
	m.deviation = sqrt(m.deviation);
	return m;
}

static void test_adapters_start_small_and_without_bias(void **state)
{
	struct method_run run;
	struct moments down, up;

	run_init(&run, &peft_adapter, BASE);
	assert_int_equal(params_alloc(&run.params, NULL), 0);
	peft_adapter.init(&run.peft, 3);
	down = moments_of(&run.params, "encoder.layer.3.attention.output.adapter_down.weight");
	up = moments_of(&run.params, "encoder.layer.11.output.adapter_up.weight");
	assert_near("down", 0, down.deviation, 0.02, 1e-3);
	assert_near("up", 0, up.deviation, 0.02, 1e-3);
	assert_near("down mean", 0, down.mean, 0, 1e-3);
	assert_true(moments_of(&run.params, "encoder.layer.3.output.adapter_down.bias").largest == 0);
	assert_true(moments_of(&run.params, "encoder.layer.3.output.adapter_up.bias").largest == 0);
	run_done(&run);
}

static void test_prefix_starts_as_torch_starts_its_layers(void **state)
{
	struct method_run run;
	double root = sqrt(3.0);

	run_init(&run, &peft_prefix, BASE);
	assert_int_equal(params_alloc(&run.params, NULL), 0);
	peft_prefix.init(&run.peft, 3);
	assert_near("wte", 0, moments_of(&run.params, "prefix.wte.weight").deviation, 1, 0.02);
	for (int i = 0; i < 4; i++) {
		static const char *const NAMES[] = {"prefix.control_trans.0.weight",
			"prefix.control_trans.0.bias", "prefix.control_trans.2.weight",
			"prefix.control_trans.2.bias"};
		double bound = 1 / sqrt(i < 2 ? 768 : 256);
		struct moments m = moments_of(&run.params, NAMES[i]);

		assert_true(m.largest <= bound * (1 + 1e-6) && m.largest > 0.95 * bound);
		assert_near(NAMES[i], 0, m.deviation, bound / root, 0.1 * bound);
	}
	run_done(&run);
}

/* flat = act(E W0^T + b0) W2^T + b2, in plain loops. */
static double flat_at(const struct params *p, int token, int column)
{
	const real *e = param_w(p, params_find(p, "prefix.wte.weight")) + token * SMALL.D;
	const real *w0 = param_w(p, params_find(p, "prefix.control_trans.0.weight"));
	const real *b0 = param_w(p, params_find(p, "prefix.control_trans.0.bias"));
	const real *w2 = param_w(p, params_find(p, "prefix.control_trans.2.weight"));
	const real *b2 = param_w(p, params_find(p, "prefix.control_trans.2.bias"));
	double out = (double)b2[column];

	for (int m = 0; m < OPTIONS.mlp_width; m++) {
		double z = (double)b0[m];

		for (int d = 0; d < SMALL.D; d++)
			z += (double)e[d] * (double)w0[m * SMALL.D + d];
		out += tanh(z) * (double)w2[column * OPTIONS.mlp_width + m];
	}
	return out;
}

static void test_flat_prefix_is_what_the_mlp_gives(void **state)
{
	struct method_run run;
	int width = 2 * SMALL.L * SMALL.D;
	real *flat;

	run_init(&run, &peft_prefix, SMALL);
	assert_int_equal(params_alloc(&run.params, NULL), 0);
	peft_prefix.init(&run.peft, 9);
	flat = zeros((size_t)(OPTIONS.length * width));
	prefix_flatten(flat, &run.peft);
	for (int p = 0; p < OPTIONS.length; p++)
		for (int j = 0; j < width; j++)
			assert_near("flat", (size_t)(p * width + j), (double)flat[p * width + j],
				flat_at(&run.params, p, j), 1e-5);
	peft_prepare(&run.peft);
	assert_same_bits("value of layer 1, token 2",
		run.params.w + peft_prefix_at(&run.peft, 1, SITE_VALUE, 2), flat + 2 * width + 3 * SMALL.D,
		(size_t)SMALL.D);
	run_done(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trained_elements_are_those_of_the_methods),
		cmocka_unit_test(test_amplified_tensors_are_96_48_and_4),
		cmocka_unit_test(test_tensors_have_these_names_and_shapes),
		cmocka_unit_test(test_adapters_start_small_and_without_bias),
		cmocka_unit_test(test_prefix_starts_as_torch_starts_its_layers),
		cmocka_unit_test(test_flat_prefix_is_what_the_mlp_gives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
