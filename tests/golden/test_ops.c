/* Every kernel of every instruction set that runs here, against PyTorch's known answers in ops.json. */
#include "tests/golden/golden.h"
#include "worker/ops/kernels.h"

static const char *const KERNEL_NAMES[] = {"plain", "avx2", "avx512", "avx512bf16"};

static struct golden golden;

/* --- one case of each op ------------------------------------------------------------------------- */

static void check_linear(const struct kernels *k, const json_t *c)
{
	int N = golden_int(c, "N"), I = golden_int(c, "I"), O = golden_int(c, "O");
	const real *x = golden_array(&golden, c, "x"), *w = golden_array(&golden, c, "w");
	const real *dy = golden_array(&golden, c, "dy");
	real *y = golden_zeros(&golden, (size_t)(N * O)), *dx = golden_zeros(&golden, (size_t)(N * I));
	real *dw = golden_zeros(&golden, (size_t)(O * I)), *db = golden_zeros(&golden, (size_t)O);
	real *scratch = golden_zeros(&golden, k->gemm_scratch_reals(MAX(MAX(N, I), O)));
	real *packed = golden_zeros(&golden, k->gemm_packed_reals(O, I));
	struct gemm fwd = {.m = N,
		.n = O,
		.k = I,
		.a = x,
		.a_row = (size_t)I,
		.a_col = 1,
		.b = w,
		.b_row = 1,
		.b_col = (size_t)I,
		.c = y,
		.ldc = (size_t)O,
		.bias = golden_array(&golden, c, "b"),
		.scratch = scratch};
	struct gemm bwd_x = {.m = N,
		.n = I,
		.k = O,
		.a = dy,
		.a_row = (size_t)O,
		.a_col = 1,
		.b = w,
		.b_row = (size_t)I,
		.b_col = 1,
		.c = dx,
		.ldc = (size_t)I,
		.scratch = scratch};
	struct gemm bwd_w = {.m = O,
		.n = I,
		.k = N,
		.a = dy,
		.a_row = 1,
		.a_col = (size_t)O,
		.b = x,
		.b_row = (size_t)I,
		.b_col = 1,
		.c = dw,
		.ldc = (size_t)I,
		.accumulate = true,
		.scratch = scratch};

	k->gemm(&fwd);
	golden_check(c, "y", y);
	k->gemm_pack(packed, &fwd);
	fwd.b = NULL;
	fwd.packed = packed;
	k->gemm(&fwd);
	golden_check(c, "y", y);
	k->gemm(&bwd_x);
	golden_check(c, "dx", dx);
	k->gemm(&bwd_w);
	golden_check(c, "dw", dw);
	k->add_columns(db, dy, N, O);
	golden_check(c, "db", db);
}

static void check_layernorm(const struct kernels *k, const json_t *c)
{
	int N = golden_int(c, "N"), D = golden_int(c, "D");
	size_t size = (size_t)(N * D);
	const real *w = golden_array(&golden, c, "w"), *dy = golden_array(&golden, c, "dy");
	real *y = golden_zeros(&golden, size), *hat = golden_zeros(&golden, size);
	real *rstd = golden_zeros(&golden, (size_t)N), *dx = golden_zeros(&golden, size);
	real *dw = golden_zeros(&golden, (size_t)D), *db = golden_zeros(&golden, (size_t)D);
	int ids[8] = {0, 1, 2, 3, 4, 5, 6, 7};

	k->norm_fwd(y, hat, rstd, golden_array(&golden, c, "x"), NULL, w, golden_array(&golden, c, "b"), N, D,
		(real)golden_number(c, "eps"), ids, (struct dropout){0});
	golden_check(c, "y", y);
	k->norm_bwd(dx, NULL, dw, db, dy, hat, rstd, w, N, D, ids, (struct dropout){0});
	golden_check(c, "dx", dx);
	golden_check(c, "dw", dw);
	golden_check(c, "db", db);
}

static enum kernel_activation activation_named(const char *name)
{
	static const struct {
		const char *name;
		enum kernel_activation which;
	} table[] = {{"gelu", KERNEL_GELU}, {"gelu_new", KERNEL_GELU_TANH}, {"relu", KERNEL_RELU},
		{"silu", KERNEL_SILU}, {"tanh", KERNEL_TANH}};

	for (size_t i = 0; i < NELEM(table); i++) {
		if (strcmp(table[i].name, name) == 0)
			return table[i].which;
	}
	fail_msg("no activation %s", name);
	return KERNEL_GELU;
}

/* Values are compared one by one: an activation's tail must not hide behind its largest value. */
static void check_activation(const struct kernels *k, const json_t *c)
{
	enum kernel_activation which = activation_named(json_string_value(golden_get(c, "name")));
	int n = golden_int(c, "n");
	const json_t *known_y = golden_get(c, "y"), *known_dx = golden_get(c, "dx");
	real *y = golden_zeros(&golden, (size_t)n), *slope = golden_zeros(&golden, (size_t)n);

	k->activation(y, slope, golden_array(&golden, c, "x"), (size_t)n, which);
	k->mul(slope, golden_array(&golden, c, "dy"), (size_t)n);
	for (size_t i = 0; i < (size_t)n; i++) {
		golden_check_number(
			"y", (double)y[i], json_number_value(json_array_get(known_y, i)), GOLDEN_TOLERANCE);
		golden_check_number("dx", (double)slope[i], json_number_value(json_array_get(known_dx, i)),
			GOLDEN_TOLERANCE);
	}
}

/* The gradient of score_weight times the mean norm of the first token's scores, for one sequence. */
static void score_gradient(real *out, const real *scores, int heads, int keys, double weight)
{
	for (int h = 0; h < heads; h++) {
		double square = 0;

		for (int j = 0; j < keys; j++)
			square += (double)scores[h * keys + j] * (double)scores[h * keys + j];
		for (int j = 0; j < keys; j++)
			out[h * keys + j] =
				square > 0 ? (real)(weight * (double)scores[h * keys + j] / sqrt(square)) : 0;
	}
}

struct attention_arrays {
	real *q, *k, *v, *d_o; /* [T, D] */
	real *o, *d_q, *d_k, *d_v;
	real *scores; /* all sequences */
};

/* Sequence `start` .. `start + S` of the case, forward and backward; only the first query where queries is 1. */
static void run_sequence(const struct kernels *k, const struct attention_arrays *x, int start, int S, int H,
	int d, double weight)
{
	size_t at = (size_t)(start * H * d);
	real *d_scores = golden_zeros(&golden, (size_t)(H * S));
	struct attention a = {.queries = S,
		.S = S,
		.H = H,
		.d = d,
		.ld = (size_t)(H * d),
		.q = x->q + at,
		.k = x->k + at,
		.v = x->v + at,
		.o = x->o + at,
		.d_o = x->d_o + at,
		.d_q = x->d_q + at,
		.d_k = x->d_k + at,
		.d_v = x->d_v + at};

	a.p = golden_zeros(&golden, (size_t)(H * S * k->attention_stride(S)));
	a.scratch = golden_zeros(&golden, k->attention_scratch_reals(S, d));
	a.cls_scores = x->scores + start * H;
	k->attention_fwd(&a);
	score_gradient(d_scores, a.cls_scores, H, S, weight);
	a.d_cls_scores = weight > 0 ? d_scores : NULL;
	k->attention_bwd(&a);
}

static void check_attention(const struct kernels *k, const json_t *c)
{
	int H = golden_int(c, "H"), d = golden_int(c, "width"), start = 0;
	const json_t *lengths = golden_get(c, "lengths");
	size_t size = json_array_size(golden_get(c, "q"));
	double weight = golden_number(c, "score_weight") / (double)(json_array_size(lengths) * (size_t)H);
	struct attention_arrays x = {.q = golden_array(&golden, c, "q"),
		.k = golden_array(&golden, c, "k"),
		.v = golden_array(&golden, c, "v"),
		.d_o = golden_array(&golden, c, "dy"),
		.o = golden_zeros(&golden, size),
		.d_q = golden_zeros(&golden, size),
		.d_k = golden_zeros(&golden, size),
		.d_v = golden_zeros(&golden, size),
		.scores = golden_zeros(&golden, json_array_size(golden_get(c, "scores")))};

	for (size_t i = 0; i < json_array_size(lengths); i++) {
		int S = (int)json_integer_value(json_array_get(lengths, i));

		run_sequence(k, &x, start, S, H, d, weight);
		start += S;
	}
	golden_check(c, "y", x.o);
	golden_check(c, "scores", x.scores);
	golden_check(c, "dq", x.d_q);
	golden_check(c, "dk", x.d_k);
	golden_check(c, "dv", x.d_v);
}

/* One step of the trace: clip factor from the norm over all tensors, then AdamW on each. */
static void check_adamw_step(
	const struct kernels *k, const json_t *row, int step, real *w[], real *m[], real *v[], size_t tensors)
{
	const json_t *grads = golden_get(row, "grads"), *after = golden_get(row, "after");
	double square = 0, norm, t = step + 1;

	for (size_t i = 0; i < tensors; i++) {
		const json_t *grad = json_array_get(grads, i);

		square += k->sum_of_squares(golden_list(&golden, grad), json_array_size(grad));
	}
	norm = sqrt(square);
	golden_check_number("norm", norm, golden_number(row, "norm"), GOLDEN_TOLERANCE);
	for (size_t i = 0; i < tensors; i++) {
		const json_t *grad = json_array_get(grads, i);

		k->adamw(w[i], m[i], v[i], golden_list(&golden, grad), json_array_size(grad),
			(real)fmin(1, 1 / (norm + 1e-6)), (real)golden_number(row, "learning_rate"), 0.9,
			0.999, (real)(1 - pow(0.9, t)), (real)(1 - pow(0.999, t)), (real)1e-8);
		golden_check_list("after", w[i], json_array_get(after, i), GOLDEN_TOLERANCE);
	}
}

static void check_adamw(const struct kernels *k, const json_t *c)
{
	enum { TENSORS = 3 };
	const json_t *start = golden_get(c, "start"), *trace = golden_get(c, "trace");
	real *w[TENSORS], *m[TENSORS], *v[TENSORS];

	for (size_t i = 0; i < TENSORS; i++) {
		const json_t *tensor = json_array_get(start, i);

		w[i] = golden_list(&golden, tensor);
		m[i] = golden_zeros(&golden, json_array_size(tensor));
		v[i] = golden_zeros(&golden, json_array_size(tensor));
	}
	for (size_t step = 0; step < json_array_size(trace); step++)
		check_adamw_step(k, json_array_get(trace, step), (int)step, w, m, v, TENSORS);
}

/* --- every case, every instruction set ----------------------------------------------------------- */

static void check_all(const char *op, void (*check)(const struct kernels *, const json_t *))
{
	int tables = 0;

	for (size_t i = 0; i < NELEM(KERNEL_NAMES); i++) {
		const struct kernels *k = kernels_named(KERNEL_NAMES[i]);
		size_t n;
		const json_t *c;

		if (k == NULL)
			continue;
		golden_open(&golden, "tests/golden/ops.json");
		json_array_foreach(golden_get(golden.root, op), n, c) check(k, c);
		golden_done(&golden);
		tables++;
	}
	assert_true(tables >= 1);
}

static void test_linear_gives_known_answers(void **state)
{
	check_all("linear", check_linear);
}

static void test_layernorm_gives_known_answers(void **state)
{
	check_all("layernorm", check_layernorm);
}

static void test_activations_give_known_answers(void **state)
{
	check_all("activation", check_activation);
}

static void test_attention_gives_known_answers_on_ragged_batches(void **state)
{
	check_all("attention", check_attention);
}

static void test_adamw_gives_known_answers(void **state)
{
	check_all("adamw", check_adamw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linear_gives_known_answers),
		cmocka_unit_test(test_layernorm_gives_known_answers),
		cmocka_unit_test(test_activations_give_known_answers),
		cmocka_unit_test(test_attention_gives_known_answers_on_ragged_batches),
		cmocka_unit_test(test_adamw_gives_known_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
