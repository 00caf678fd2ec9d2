/* Gradients of the kernels in double precision against central differences, for every table that runs here. */
#include "tests/unit/numbers.h"
#include "worker/ops/kernels.h"

static const double TOLERANCE = 1e-8;

static const char *const NAMES[] = {"avx512bf16", "avx512", "avx2", "plain"};

static void each_table(void (*check)(const struct kernels *k))
{
	for (size_t i = 0; i < NELEM(NAMES); i++)
		if (kernels_named(NAMES[i]) != NULL) {
			check(kernels_named(NAMES[i]));
			numbers_free();
		}
}

static double dot(const real *a, const real *b, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

static struct dropout third(uint32_t key)
{
	return (struct dropout){.key = key, .threshold = UINT32_MAX / 3, .scale = (real)1.5};
}

/* --- activations --------------------------------------------------------------------------------- */

struct activation_run {
	const struct kernels *k;
	enum kernel_activation which;
	size_t n;
	real *x, *y, *weight;
};

static double activation_loss(void *arg)
{
	struct activation_run *run = arg;

	run->k->activation(run->y, NULL, run->x, run->n, run->which);
	return dot(run->y, run->weight, run->n);
}

static void check_activation(const struct kernels *k)
{
	enum { N = 41 };

	for (int which = KERNEL_GELU; which <= KERNEL_TANH; which++) {
		struct activation_run run = {
			k, (enum kernel_activation)which, N, normals(N, 2), zeros(N), normals(N, 1)};
		real *slope = zeros(N);

		run.x[0] = -30;
		run.x[1] = 30;
		k->activation(run.y, slope, run.x, N, run.which);
		k->mul(slope, run.weight, N);
		check_gradient("slope", activation_loss, &run, run.x, slope, N, 1, TOLERANCE);
	}
}

static void test_activation_slopes_are_derivatives(void **state)
{
	each_table(check_activation);
}

/* --- layer normalisation ------------------------------------------------------------------------- */

enum { NORM_ROWS = 3 };
static const int NORM_IDS[NORM_ROWS] = {7, 0, 2};

struct norm_run {
	const struct kernels *k;
	int n;
	struct dropout dropout;
	real *x, *residual, *w, *b, *y, *hat, *rstd, *weight;
};

static double norm_loss(void *arg)
{
	struct norm_run *run = arg;

	run->k->norm_fwd(run->y, run->hat, run->rstd, run->x, run->residual, run->w, run->b, NORM_ROWS,
		run->n, (real)1e-3, NORM_IDS, run->dropout);
	return dot(run->y, run->weight, (size_t)(NORM_ROWS * run->n));
}

static void check_norm_of(const struct kernels *k, int n, struct dropout dropout)
{
	size_t width = (size_t)n, size = NORM_ROWS * width;
	struct norm_run run = {k, n, dropout, normals(size, 1), normals(size, 1), normals(width, 1),
		normals(width, 1), zeros(size), zeros(size), zeros(NORM_ROWS), normals(size, 1)};
	real *d_residual = zeros(size), *d_x = zeros(size), *dw = zeros(width), *db = zeros(width);

	norm_loss(&run);
	k->norm_bwd(d_residual, d_x, dw, db, run.weight, run.hat, run.rstd, run.w, NORM_ROWS, n, NORM_IDS,
		dropout);
	check_gradient("x", norm_loss, &run, run.x, d_x, size, 1, TOLERANCE);
	check_gradient("residual", norm_loss, &run, run.residual, d_residual, size, 1, TOLERANCE);
	check_gradient("w", norm_loss, &run, run.w, dw, width, 1, TOLERANCE);
	check_gradient("b", norm_loss, &run, run.b, db, width, 1, TOLERANCE);
}

static void check_norm(const struct kernels *k)
{
	check_norm_of(k, 5, third(4));
	check_norm_of(k, 19, third(5));
	check_norm_of(k, 8, (struct dropout){0});
}

static void test_norm_gradients_are_derivatives(void **state)
{
	each_table(check_norm);
}

/* --- attention ----------------------------------------------------------------------------------- */

struct attention_run {
	const struct kernels *k;
	struct attention a;
	real *q, *keys, *v;
	real *weight, *tap_weight; /* the loss: of o and, unless NULL, of the first query's scores */
};

static double attention_loss(void *arg)
{
	struct attention_run *run = arg;
	double loss;

	run->k->attention_fwd(&run->a);
	loss = dot(run->a.o, run->weight, (size_t)run->a.queries * run->a.ld);
	if (run->tap_weight != NULL)
		loss += dot(run->a.cls_scores, run->tap_weight, (size_t)(run->a.H * run->a.S));
	return loss;
}

static void check_attention_of(
	const struct kernels *k, int queries, int S, int H, int d, struct dropout dropout, bool tap)
{
	size_t ld = (size_t)(H * d), q_size = (size_t)queries * ld, k_size = (size_t)S * ld,
	       taps = (size_t)(H * S);
	struct attention_run run = {.k = k,
		.q = normals(q_size, 1),
		.keys = normals(k_size, 1),
		.v = normals(k_size, 1),
		.weight = normals(q_size, 1),
		.tap_weight = tap ? normals(taps, 1) : NULL};

	run.a = (struct attention){.queries = queries,
		.S = S,
		.H = H,
		.d = d,
		.ld = ld,
		.q = run.q,
		.k = run.keys,
		.v = run.v,
		.o = zeros(q_size),
		.p = zeros((size_t)(H * queries * k->attention_stride(S))),
		.cls_scores = tap ? zeros(taps) : NULL,
		.dropout = dropout,
		.scratch = zeros(k->attention_scratch_reals(S, d)),
		.d_o = run.weight,
		.d_cls_scores = run.tap_weight,
		.d_q = normals(q_size, 1),
		.d_k = normals(k_size, 1),
		.d_v = normals(k_size, 1)};
	attention_loss(&run);
	k->attention_bwd(&run.a);
	check_gradient("q", attention_loss, &run, run.q, run.a.d_q, q_size, 1, TOLERANCE);
	check_gradient("k", attention_loss, &run, run.keys, run.a.d_k, k_size, 1, TOLERANCE);
	check_gradient("v", attention_loss, &run, run.v, run.a.d_v, k_size, 1, TOLERANCE);
}

static void check_attention(const struct kernels *k)
{
	check_attention_of(k, 1, 1, 1, 3, (struct dropout){0}, true);
	check_attention_of(k, 6, 6, 2, 3, third(1), true);
	check_attention_of(k, 1, 9, 2, 5, third(2), true);
	check_attention_of(k, 9, 9, 1, 17, third(3), false);
	check_attention_of(k, 5, 5, 2, 2, (struct dropout){0}, false);
	check_attention_of(k, 4, 11, 2, 3, third(4), true);
}

static void test_attention_gradients_are_derivatives(void **state)
{
	each_table(check_attention);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_activation_slopes_are_derivatives),
		cmocka_unit_test(test_norm_gradients_are_derivatives),
		cmocka_unit_test(test_attention_gradients_are_derivatives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
