/*
 * Every table of kernels that runs on this processor, against plain loops in double precision: shapes that
 * fit no vector, strides, aliases that the header promises, and values far from 0.
 */
#include <dlfcn.h>
#include <float.h>

#include "tests/unit/numbers.h"
#include "worker/ops/linear.h"

/* Largest relative error of one rounding, with room for sums whose order is not ours. */
static const double ULP = 4e-7;

static const char *const NAMES[] = {"avx512bf16", "avx512", "avx2", "plain"};

/* Calls check for each table that runs here, with the same numbers. */
static void each_table(void (*check)(const struct kernels *k))
{
	int tables = 0;

	for (size_t i = 0; i < NELEM(NAMES); i++) {
		const struct kernels *k = kernels_named(NAMES[i]);

		if (k == NULL)
			continue;
		check(k);
		numbers_free();
		tables++;
	}
	assert_true(tables > 0);
}

static const struct dropout NO_DROPOUT = {0};

static struct dropout dropout_of(double p, uint32_t key)
{
	return (struct dropout){
		.key = key, .threshold = (uint32_t)(p * 4294967296.0), .scale = (real)(1 / (1 - p))};
}

/* What dropout multiplies element `number` by. */
static double mask_of(struct dropout d, uint32_t number)
{
	if (d.threshold == 0)
		return 1;
	return rng_mask_u32(d.key, number) < d.threshold ? 0 : (double)d.scale;
}

/* --- the tables ---------------------------------------------------------------------------------- */

static void test_tables_have_the_names_they_are_asked_by(void **state)
{
	for (size_t i = 0; i < NELEM(NAMES); i++) {
		const struct kernels *k = kernels_named(NAMES[i]);

		if (k != NULL)
			assert_string_equal(k->name, NAMES[i]);
	}
	assert_non_null(kernels_named("plain"));
	assert_null(kernels_named("avx"));
	assert_null(kernels_named(""));
}

static void test_best_table_is_the_widest_that_runs_here(void **state)
{
	const struct kernels *widest = NULL;

	for (size_t i = NELEM(NAMES); i > 0; i--)
		if (kernels_named(NAMES[i - 1]) != NULL)
			widest = kernels_named(NAMES[i - 1]);
	assert_ptr_equal(kernels_best(), widest);
}

/* --- gemm ---------------------------------------------------------------------------------------- */

struct shape {
	int m, n, k;
};

static const struct shape SHAPES[] = {{1, 1, 1}, {1, 7, 3}, {13, 1, 5}, {5, 33, 1}, {12, 32, 8}, {13, 17, 19},
	{24, 64, 16}, {25, 64, 16}, {3, 48, 70}, {29, 31, 2}, {40, 16, 9}};

enum { PLAIN, BIAS, ACCUMULATE, MODES };

struct gemm_case {
	struct shape shape;
	bool a_transposed, b_transposed;
	int mode;
	int gap; /* between rows of C */
};

/* The product as its definition says it, and the sum of magnitudes, which its error is relative to. */
static double element(const struct gemm *g, const real *start, int m, int n, double *size)
{
	double sum = 0;

	if (g->accumulate)
		sum = (double)start[(size_t)m * g->ldc + (size_t)n];
	else if (g->bias != NULL)
		sum = (double)g->bias[n];
	*size = fabs(sum);
	for (int i = 0; i < g->k; i++) {
		double a = (double)g->a[(size_t)m * g->a_row + (size_t)i * g->a_col];
		double term = a * (double)g->b[(size_t)i * g->b_row + (size_t)n * g->b_col];

		sum += term;
		*size += fabs(term);
	}
	return sum;
}

static void check_product(const struct gemm *g, const real *start, int gap)
{
	for (int m = 0; m < g->m; m++) {
		const real *c_m = g->c + (size_t)m * g->ldc;

		for (int n = 0; n < g->n; n++) {
			double size, sum = element(g, start, m, n, &size);

			assert_near("c", (size_t)(m * g->n + n), (double)c_m[n], sum, ULP * size + 1e-30);
		}
		for (int n = g->n; n < g->n + gap && m + 1 < g->m; n++)
			assert_same_bits("gap", c_m + n, start + (size_t)m * g->ldc + (size_t)n, 1);
	}
}

static void run_gemm(const struct kernels *k, const struct gemm_case *c)
{
	size_t M = (size_t)c->shape.m, N = (size_t)c->shape.n, K = (size_t)c->shape.k;
	size_t ldc = N + (size_t)c->gap, size = (M - 1) * ldc + N;
	struct gemm g = {.m = c->shape.m,
		.n = c->shape.n,
		.k = c->shape.k,
		.a = normals(M * K, 1),
		.a_row = c->a_transposed ? 1 : K,
		.a_col = c->a_transposed ? M : 1,
		.b = normals(K * N, 1),
		.b_row = c->b_transposed ? 1 : N,
		.b_col = c->b_transposed ? K : 1,
		.c = normals(size, 1),
		.ldc = ldc,
		.bias = c->mode == BIAS ? normals(N, 1) : NULL,
		.accumulate = c->mode == ACCUMULATE,
		.scratch = zeros(k->gemm_scratch_reals(c->shape.k))};
	const real *start = copy_of(g.c, size), *first, *b = g.b;
	real *packed = zeros(k->gemm_packed_reals(g.n, g.k));

	k->gemm(&g);
	check_product(&g, start, c->gap);

	/* Packed weights give the same bits, and then B itself is not read. */
	first = copy_of(g.c, size);
	memcpy(g.c, start, size * sizeof(real));
	k->gemm_pack(packed, &g);
	g.packed = packed;
	g.b = NULL;
	g.scratch = NULL;
	k->gemm(&g);
	assert_same_bits("packed", g.c, first, size);
	g.b = b;
}

static void check_gemm(const struct kernels *k)
{
	for (size_t s = 0; s < NELEM(SHAPES); s++)
		for (int mode = 0; mode < MODES; mode++)
			for (int layout = 0; layout < 4; layout++) {
				run_gemm(k, &(struct gemm_case){.shape = SHAPES[s],
						    .a_transposed = layout & 1,
						    .b_transposed = layout & 2,
						    .mode = mode,
						    .gap = layout == 2 ? 3 : 0});
				numbers_free();
			}
}

static void test_gemm_multiplies_any_shape_and_layout(void **state)
{
	each_table(check_gemm);
}

/* What a text's prediction is must not depend on the texts beside it. */
static void check_rows_alone(const struct kernels *k)
{
	enum { M = 29, N = 37, K = 23 };
	const real *a = normals((size_t)M * K, 1), *b = normals((size_t)N * K, 1);
	real *all = zeros((size_t)M * N), *one = zeros(N), *scratch = zeros(k->gemm_scratch_reals(K));

	for (int layout = 0; layout < 2; layout++) {
		memset(all, 0, (size_t)M * N * sizeof(real));
		(layout == 0 ? gemm_nt : gemm_nn)(k, all, a, b, M, N, K, GEMM_SET, scratch);
		for (size_t m = 0; m < M; m++) {
			(layout == 0 ? gemm_nt : gemm_nn)(k, one, a + m * K, b, 1, N, K, GEMM_SET, scratch);
			assert_same_bits("row", one, all + m * N, N);
		}
	}
}

static void test_gemm_gives_a_row_the_same_bits_whatever_its_neighbours(void **state)
{
	each_table(check_rows_alone);
}

static void check_wrappers(const struct kernels *k)
{
	enum { M = 5, N = 9, K = 7 };
	const real *a = normals((size_t)M * K, 1), *bt = normals((size_t)N * K, 1),
		   *at = normals((size_t)K * M, 1);
	const real *b = normals((size_t)K * N, 1), *bias = normals(N, 1);
	real *scratch = zeros(k->gemm_scratch_reals(K)), *c = zeros((size_t)M * N),
	     *c0 = normals((size_t)M * N, 1);
	struct gemm nt = {.m = M,
		.n = N,
		.k = K,
		.a = a,
		.a_row = K,
		.a_col = 1,
		.b = bt,
		.b_row = 1,
		.b_col = K,
		.c = c,
		.ldc = N};
	struct gemm nn = nt, tn = nt, linear = nt;

	gemm_nt(k, c, a, bt, M, N, K, GEMM_SET, scratch);
	check_product(&nt, NULL, 0);
	nn.b = b;
	nn.b_row = N;
	nn.b_col = 1;
	nn.accumulate = true;
	memcpy(c, c0, (size_t)M * N * sizeof(real));
	gemm_nn(k, c, a, b, M, N, K, GEMM_ADD, scratch);
	check_product(&nn, c0, 0);
	tn = nn;
	tn.a = at;
	tn.a_row = 1;
	tn.a_col = M;
	memcpy(c, c0, (size_t)M * N * sizeof(real));
	gemm_tn(k, c, at, b, M, N, K, scratch);
	check_product(&tn, c0, 0);
	linear.bias = bias;
	linear_fwd(&(struct linear){.w = bt, .b = bias, .out = N, .in = K}, k, c, a, M,
		(struct linear_scratch){.panel = scratch});
	check_product(&linear, NULL, 0);
}

static void test_gemm_wrappers_name_the_products_they_say(void **state)
{
	each_table(check_wrappers);
}

/* An independent product where one is installed. Enumerators of cblas.h: row-major, (not) transposed. */
enum { BLAS_ROWS = 101, BLAS_AS_IS = 111, BLAS_TRANSPOSED = 112 };
typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a,
	int lda, const float *b, int ldb, float beta, float *c, int ldc);
static sgemm_fn *sgemm;

static void check_against_blas(const struct kernels *k)
{
	enum { M = 61, N = 150, K = 130 };
	const real *a = normals((size_t)M * K, 1), *w = normals((size_t)N * K, 1);
	real *ours = zeros((size_t)M * N), *theirs = zeros((size_t)M * N),
	     *scratch = zeros(k->gemm_scratch_reals(K));

	gemm_nt(k, ours, a, w, M, N, K, GEMM_SET, scratch);
	sgemm(BLAS_ROWS, BLAS_AS_IS, BLAS_TRANSPOSED, M, N, K, 1, a, K, w, K, 0, theirs, N);
	for (size_t i = 0; i < (size_t)M * N; i++)
		assert_near("c", i, (double)ours[i], (double)theirs[i], 2e-5 * sqrt(K));
}

static void test_gemm_agrees_with_openblas_where_it_is_installed(void **state)
{
	void *library;

	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	library = dlopen("libopenblas.so.0", RTLD_NOW);
	if (library == NULL)
		skip();
	*(void **)&sgemm = dlsym(library, "cblas_sgemm");
	assert_non_null(sgemm);
	each_table(check_against_blas);
}

/* --- activations --------------------------------------------------------------------------------- */

static void reference_activation(double *y, double *slope, double x, enum kernel_activation which)
{
	double cdf, t, inner;

	switch (which) {
	case KERNEL_GELU:
		cdf = 0.5 * erfc(-x / sqrt(2));
		*y = x * cdf;
		*slope = cdf + x * exp(-x * x / 2) / sqrt(8 * atan(1));
		return;
	case KERNEL_GELU_TANH:
		inner = sqrt(2 / (4 * atan(1))) * (x + 0.044715 * x * x * x);
		t = tanh(inner);
		*y = 0.5 * x * (1 + t);
		*slope = 0.5 * (1 + t);
		if (fabs(t) < 1)
			*slope +=
				0.5 * x * (1 - t * t) * sqrt(2 / (4 * atan(1))) * (1 + 3 * 0.044715 * x * x);
		return;
	case KERNEL_RELU:
		*y = x > 0 ? x : 0;
		*slope = x > 0;
		return;
	case KERNEL_SILU:
		t = 1 / (1 + exp(-x));
		*y = x * t;
		*slope = t * (1 + x * (1 - t));
		return;
	case KERNEL_TANH:
		*y = tanh(x);
		*slope = 1 - *y * *y;
		return;
	}
}

/* -40 .. 40 densely, and magnitudes from 1e-30 to 1e4 on both sides. */
enum { DENSE = 1601, DECADES = 69, ACTIVATION_N = DENSE + DECADES };

static real *activation_inputs(void)
{
	real *x = zeros(ACTIVATION_N);

	for (int i = 0; i < DENSE; i++)
		x[i] = (real)(i - DENSE / 2) / 20;
	for (int i = 0; i < DECADES; i++)
		x[DENSE + i] = (real)((i % 2 ? -1 : 1) * pow(10, i / 2 - 30));
	return x;
}

static void check_activation(const struct kernels *k)
{
	const real *x = activation_inputs();
	real *y = zeros(ACTIVATION_N), *slope = zeros(ACTIVATION_N);

	for (int which = KERNEL_GELU; which <= KERNEL_TANH; which++) {
		k->activation(y, slope, x, ACTIVATION_N, (enum kernel_activation)which);
		for (size_t i = 0; i < ACTIVATION_N; i++) {
			double known_y, known_slope, size = fmax(1, fabs((double)x[i]));

			reference_activation(
				&known_y, &known_slope, (double)x[i], (enum kernel_activation)which);
			assert_near("y", i, (double)y[i], known_y, ULP * size);
			assert_near("slope", i, (double)slope[i], known_slope, 2e-6);
		}
	}
}

static void test_activations_are_right_far_from_zero_and_near(void **state)
{
	each_table(check_activation);
}

/* Small values keep their relative accuracy: tanh and the slopes at 0 must not cancel. */
static void check_small_activation(const struct kernels *k)
{
	real x[] = {(real)1e-30, (real)-1e-20, (real)1e-7, (real)-3e-4, (real)0.01, (real)-0.14, (real)0.16},
	     y[NELEM(x)];

	for (int which = KERNEL_GELU; which <= KERNEL_TANH; which++) {
		k->activation(y, NULL, x, NELEM(x), (enum kernel_activation)which);
		for (size_t i = 0; i < NELEM(x); i++) {
			double known_y, known_slope;

			reference_activation(
				&known_y, &known_slope, (double)x[i], (enum kernel_activation)which);
			assert_near("y", i, (double)y[i], known_y, 2e-6 * fabs((double)x[i]));
		}
	}
}

static void test_activations_keep_the_digits_of_small_values(void **state)
{
	each_table(check_small_activation);
}

static void check_activation_alias(const struct kernels *k)
{
	for (size_t n = 1; n <= 35; n += n < 18 ? 1 : 17)
		for (int which = KERNEL_GELU; which <= KERNEL_TANH; which++) {
			const real *x = normals(n, 3);
			real *y = zeros(n), *slope = zeros(n), *in_place = copy_of(x, n), *other = zeros(n);

			k->activation(y, slope, x, n, (enum kernel_activation)which);
			k->activation(in_place, other, in_place, n, (enum kernel_activation)which);
			assert_same_bits("y over x", in_place, y, n);
			assert_same_bits("slope", other, slope, n);
			memcpy(in_place, x, n * sizeof(real));
			k->activation(other, in_place, in_place, n, (enum kernel_activation)which);
			assert_same_bits("slope over x", in_place, slope, n);
			assert_same_bits("y", other, y, n);
			memcpy(in_place, x, n * sizeof(real));
			k->activation(in_place, NULL, in_place, n, (enum kernel_activation)which);
			assert_same_bits("y without slope", in_place, y, n);
		}
}

static void test_activations_may_overwrite_their_input(void **state)
{
	each_table(check_activation_alias);
}

/* --- dropout ------------------------------------------------------------------------------------- */

static void check_dropout(const struct kernels *k)
{
	enum { ROWS = 3, N = 37 };
	const int ids[ROWS] = {5, 0, 1000000};
	struct dropout d = dropout_of(0.3, 77);
	const real *x = normals((size_t)ROWS * N, 1);
	real *y = copy_of(x, (size_t)ROWS * N);

	k->dropout(y, ROWS, N, ids, d);
	for (size_t r = 0; r < ROWS; r++)
		for (size_t j = 0; j < N; j++)
			assert_near("y", r * N + j, (double)y[r * N + j],
				(double)x[r * N + j] * mask_of(d, (uint32_t)ids[r] * N + (uint32_t)j), 1e-6);
	memcpy(y, x, (size_t)ROWS * N * sizeof(real));
	k->dropout(y, ROWS, N, NULL, NO_DROPOUT);
	assert_same_bits("without dropout", y, x, (size_t)ROWS * N);
}

static void test_dropout_multiplies_by_the_mask_of_the_row_number(void **state)
{
	each_table(check_dropout);
}

static void check_dropout_rate(const struct kernels *k)
{
	enum { N = 40000 };
	static const double RATES[] = {0.01, 0.1, 0.5, 0.9};
	const int id = 3;

	for (size_t i = 0; i < NELEM(RATES); i++) {
		struct dropout d = dropout_of(RATES[i], 123 + (uint32_t)i);
		real *x = zeros(N);
		double sum = 0, neighbours = 0;
		int dropped = 0;

		for (int j = 0; j < N; j++)
			x[j] = 1;
		k->dropout(x, 1, N, &id, d);
		for (int j = 0; j < N; j++) {
			dropped += x[j] == 0;
			neighbours += j > 0 && x[j] == 0 && x[j - 1] == 0;
			sum += (double)x[j];
		}
		/* five standard deviations of a binomial */
		assert_near("rate", i, dropped, N * RATES[i], 5 * sqrt(N * RATES[i] * (1 - RATES[i])));
		assert_near("mean", i, sum / N, 1, 5 * sqrt(RATES[i] / (1 - RATES[i]) / N));
		assert_near("pairs", i, neighbours, N * RATES[i] * RATES[i], 5 * RATES[i] * sqrt(N) + 5);
	}
}

static void test_dropout_drops_its_rate_and_keeps_the_mean(void **state)
{
	each_table(check_dropout_rate);
}

/* --- layer normalisation ------------------------------------------------------------------------- */

struct norm_case {
	int rows, n;
	bool residual, hat_is_x, y_is_hat, y_is_residual;
	struct dropout dropout;
};

static const struct norm_case NORM_CASES[] = {
	{.rows = 1, .n = 5},
	{.rows = 3, .n = 5, .residual = true},
	{.rows = 2,
		.n = 37,
		.residual = true,
		.hat_is_x = true,
		.dropout = {.key = 9, .threshold = 1u << 30, .scale = (real)(4.0 / 3)}},
	{.rows = 2, .n = 37, .dropout = {.key = 8, .threshold = 1u << 31, .scale = 2}},
	{.rows = 2, .n = 64, .hat_is_x = true, .y_is_hat = true},
	{.rows = 2,
		.n = 64,
		.residual = true,
		.hat_is_x = true,
		.y_is_residual = true,
		.dropout = {.key = 7, .threshold = 1u << 29, .scale = (real)(8.0 / 7)}},
	{.rows = 2, .n = 33, .residual = true, .y_is_residual = true},
	{.rows = 1, .n = 768, .residual = true},
};

static const real NORM_EPS = (real)1e-5;
static const int NORM_IDS[] = {4, 0, 9};

/* hat, rstd and y in double. */
struct norm_known {
	double *hat, *rstd, *y;
};

static struct norm_known norm_reference(
	const struct norm_case *c, const real *x, const real *residual, const real *w, const real *b)
{
	size_t n = (size_t)c->n, size = (size_t)c->rows * n;
	struct norm_known known = {zeros_of(size, sizeof(double)), zeros_of((size_t)c->rows, sizeof(double)),
		zeros_of(size, sizeof(double))};

	for (size_t r = 0; r < (size_t)c->rows; r++) {
		double *u = known.hat + r * n, mean = 0, var = 0;

		for (size_t j = 0; j < n; j++) {
			u[j] = (double)x[r * n + j] *
			       mask_of(c->dropout, (uint32_t)NORM_IDS[r] * (uint32_t)n + (uint32_t)j);
			u[j] += residual != NULL ? (double)residual[r * n + j] : 0;
			mean += u[j] / c->n;
		}
		for (size_t j = 0; j < n; j++)
			var += (u[j] - mean) * (u[j] - mean) / c->n;
		known.rstd[r] = 1 / sqrt(var + (double)NORM_EPS);
		for (size_t j = 0; j < n; j++) {
			u[j] = (u[j] - mean) * known.rstd[r];
			known.y[r * n + j] = u[j] * (double)w[j] + (double)b[j];
		}
	}
	return known;
}

static void run_norm_fwd(const struct kernels *k, const struct norm_case *c)
{
	size_t n = (size_t)c->n, size = (size_t)c->rows * n;
	real *x = normals(size, 2), *residual = c->residual ? normals(size, 1) : NULL, *w = normals(n, 1),
	     *b = normals(n, 1);
	struct norm_known known = norm_reference(c, x, residual, w, b);
	real *hat = c->hat_is_x ? x : zeros(size), *rstd = zeros((size_t)c->rows);
	real *y = c->y_is_hat ? hat : c->y_is_residual ? residual : zeros(size);

	k->norm_fwd(y, hat, rstd, x, residual, w, b, c->rows, c->n, NORM_EPS, NORM_IDS, c->dropout);
	assert_all_near("y", y, known.y, size, 5e-6);
	assert_all_near("rstd", rstd, known.rstd, (size_t)c->rows, 1e-5);
	if (!c->y_is_hat)
		assert_all_near("hat", hat, known.hat, size, 5e-6);
}

static void check_norm_fwd(const struct kernels *k)
{
	for (size_t i = 0; i < NELEM(NORM_CASES); i++)
		run_norm_fwd(k, &NORM_CASES[i]);
}

static void test_norm_is_right_for_every_alias_and_size(void **state)
{
	each_table(check_norm_fwd);
}

static void check_norm_far_from_zero(const struct kernels *k)
{
	enum { N = 96 };
	real *x = normals(N, 1), *w = normals(N, 1), *b = normals(N, 1), *y = zeros(N), *hat = zeros(N), rstd;
	const struct norm_case c = {.rows = 1, .n = N};
	struct norm_known known;

	for (int j = 0; j < N; j++)
		x[j] += 1000;
	known = norm_reference(&c, x, NULL, w, b);
	k->norm_fwd(y, hat, &rstd, x, NULL, w, b, 1, N, NORM_EPS, NULL, NO_DROPOUT);
	assert_all_near("y", y, known.y, N, 2e-3); /* a variance by E[x^2] - E[x]^2 would be all wrong */
}

static void test_norm_survives_a_mean_far_from_zero(void **state)
{
	each_table(check_norm_far_from_zero);
}

/* d_u by its definition: the Jacobian of hat, row by row. */
static void norm_bwd_reference(double *d_u, double *dw, double *db, const real *dy, const real *hat,
	const real *rstd, const real *w, int rows, int n)
{
	for (int r = 0; r < rows; r++)
		for (int i = 0; i < n; i++) {
			size_t at = (size_t)(r * n);

			dw[i] += (double)dy[at + (size_t)i] * (double)hat[at + (size_t)i];
			db[i] += (double)dy[at + (size_t)i];
			for (int j = 0; j < n; j++) {
				double g = (double)dy[at + (size_t)j] * (double)w[j];
				double jacobian =
					(i == j) - 1.0 / n -
					(double)hat[at + (size_t)i] * (double)hat[at + (size_t)j] / n;

				d_u[at + (size_t)i] += (double)rstd[r] * g * jacobian;
			}
		}
}

enum { SEPARATE, NOT_WANTED, SAME_ARRAY, D_X_WAYS };

static void run_norm_bwd(const struct kernels *k, const struct norm_case *c, int way)
{
	size_t n = (size_t)c->n, size = (size_t)c->rows * n;
	real *dy = normals(size, 1), *hat = normals(size, 1), *rstd = normals((size_t)c->rows, 1),
	     *w = normals(n, 1);
	double *d_u = zeros_of(size, sizeof(double)), *dw_known = zeros_of(n, sizeof(double)),
	       *db_known = zeros_of(n, sizeof(double));
	real *dw = normals(n, 1), *db = copy_of(dw, n);
	real *d_residual = c->hat_is_x ? dy : zeros(size); /* half of the cases: over dy */
	real *d_x = way == SEPARATE ? zeros(size) : way == SAME_ARRAY ? d_residual : NULL;

	for (size_t j = 0; j < n; j++)
		dw_known[j] = db_known[j] = (double)dw[j];
	norm_bwd_reference(d_u, dw_known, db_known, dy, hat, rstd, w, c->rows, c->n);
	k->norm_bwd(d_residual, d_x, way == NOT_WANTED ? NULL : dw, way == NOT_WANTED ? NULL : db, dy, hat,
		rstd, w, c->rows, c->n, NORM_IDS, c->dropout);
	assert_all_near("d_residual", d_residual, d_u, size, 5e-5);
	if (way != NOT_WANTED) {
		assert_all_near("dw", dw, dw_known, n, 1e-5);
		assert_all_near("db", db, db_known, n, 1e-5);
	}
	for (size_t i = 0; i < size && way == SEPARATE; i++)
		assert_near("d_x", i, (double)d_x[i],
			d_u[i] * mask_of(c->dropout,
					 (uint32_t)NORM_IDS[i / n] * (uint32_t)n + (uint32_t)(i % n)),
			1e-4);
}

static void check_norm_bwd(const struct kernels *k)
{
	for (size_t i = 0; i < NELEM(NORM_CASES); i++)
		for (int way = 0; way < D_X_WAYS && NORM_CASES[i].n < 100; way++)
			run_norm_bwd(k, &NORM_CASES[i], way);
}

static void test_norm_gradients_are_those_of_its_jacobian(void **state)
{
	each_table(check_norm_bwd);
}

/* --- attention ----------------------------------------------------------------------------------- */

struct attention_case {
	int queries, S, H, d, gap;
	double dropout;
	bool tap, without_d_k, without_d_q;
};

static const struct attention_case ATTENTION_CASES[] = {
	{.queries = 1, .S = 1, .H = 2, .d = 20, .tap = true},
	{.queries = 17, .S = 17, .H = 2, .d = 20, .gap = 5, .dropout = 0.2, .tap = true},
	{.queries = 17, .S = 17, .H = 1, .d = 32},
	{.queries = 1, .S = 17, .H = 3, .d = 32, .dropout = 0.1, .tap = true},
	{.queries = 5, .S = 5, .H = 2, .d = 80, .tap = true, .without_d_k = true},
	{.queries = 1, .S = 33, .H = 1, .d = 80, .gap = 1, .dropout = 0.5},
	{.queries = 33, .S = 33, .H = 2, .d = 3, .tap = true},
	{.queries = 64, .S = 64, .H = 1, .d = 64, .dropout = 0.1, .tap = true},
	{.queries = 5, .S = 22, .H = 2, .d = 20, .dropout = 0.2, .tap = true},
	{.queries = 3, .S = 33, .H = 2, .d = 32, .without_d_q = true},
};

/* Everything of one case, ours and (in double) the known answers. */
struct attention_arrays {
	struct attention a;
	double *p, *masked, *scores, *o; /* [H, queries, S], likewise, likewise, [queries, ld] */
	double *d_q, *d_k, *d_v;
};

static double dot_heads(const real *x, const real *y, int d)
{
	double sum = 0;

	for (int j = 0; j < d; j++)
		sum += (double)x[j] * (double)y[j];
	return sum;
}

static void reference_row(struct attention_arrays *x, int h, int i)
{
	const struct attention *a = &x->a;
	size_t column = (size_t)(h * a->d), at = (size_t)((h * a->queries + i) * a->S);
	double top = -DBL_MAX, sum = 0;

	for (int j = 0; j < a->S; j++) {
		x->scores[at + (size_t)j] = dot_heads(a->q + (size_t)i * a->ld + column,
						    a->k + (size_t)j * a->ld + column, a->d) /
					    sqrt(a->d);
		top = fmax(top, x->scores[at + (size_t)j]);
	}
	for (int j = 0; j < a->S; j++)
		sum += exp(x->scores[at + (size_t)j] - top);
	for (int j = 0; j < a->S; j++) {
		double p = exp(x->scores[at + (size_t)j] - top) / sum;

		x->p[at + (size_t)j] = p;
		x->masked[at + (size_t)j] = p * mask_of(a->dropout, (uint32_t)((h * a->S + i) * a->S + j));
		for (int c = 0; c < a->d; c++)
			x->o[(size_t)i * a->ld + column + (size_t)c] +=
				x->masked[at + (size_t)j] *
				(double)a->v[(size_t)j * a->ld + column + (size_t)c];
	}
}

static void reference_row_bwd(struct attention_arrays *x, int h, int i)
{
	const struct attention *a = &x->a;
	size_t column = (size_t)(h * a->d), at = (size_t)((h * a->queries + i) * a->S),
	       q_i = (size_t)i * a->ld + column;
	double *d_p = zeros_of((size_t)a->S, sizeof(double)), dot = 0;

	for (int j = 0; j < a->S; j++) {
		size_t v_j = (size_t)j * a->ld + column;

		d_p[j] = dot_heads(a->d_o + q_i, a->v + v_j, a->d) *
			 mask_of(a->dropout, (uint32_t)((h * a->S + i) * a->S + j));
		dot += d_p[j] * x->p[at + (size_t)j];
		for (int c = 0; c < a->d; c++)
			x->d_v[v_j + (size_t)c] +=
				x->masked[at + (size_t)j] * (double)a->d_o[q_i + (size_t)c];
	}
	for (int j = 0; j < a->S; j++) {
		double d_s = x->p[at + (size_t)j] * (d_p[j] - dot);
		size_t k_j = (size_t)j * a->ld + column;

		if (i == 0 && a->d_cls_scores != NULL)
			d_s += (double)a->d_cls_scores[h * a->S + j];
		d_s /= sqrt(a->d);
		for (int c = 0; c < a->d; c++) {
			x->d_q[q_i + (size_t)c] += d_s * (double)a->k[k_j + (size_t)c];
			x->d_k[k_j + (size_t)c] += d_s * (double)a->q[q_i + (size_t)c];
		}
	}
}

static struct attention_arrays attention_arrays(const struct kernels *k, const struct attention_case *c)
{
	size_t ld = (size_t)(c->H * c->d + c->gap), queries = (size_t)c->queries * ld,
	       keys = (size_t)c->S * ld;
	size_t cells = (size_t)(c->H * c->queries * c->S), tap = (size_t)(c->H * c->S);
	struct attention_arrays x = {
		.a = {.queries = c->queries,
			.S = c->S,
			.H = c->H,
			.d = c->d,
			.ld = ld,
			.q = normals(queries, 1),
			.k = normals(keys, 1),
			.v = normals(keys, 1),
			.o = zeros(queries),
			.p = zeros((size_t)(c->H * c->queries * k->attention_stride(c->S))),
			.cls_scores = c->tap ? zeros(tap) : NULL,
			.dropout = dropout_of(c->dropout, 5),
			.scratch = normals(k->attention_scratch_reals(c->S, c->d), 1),
			.d_o = normals(queries, 1),
			.d_cls_scores = c->tap ? normals(tap, 1) : NULL,
			.d_q = c->without_d_q ? NULL : zeros(queries),
			.d_k = c->without_d_k ? NULL : zeros(keys),
			.d_v = zeros(keys)},
		.p = zeros_of(cells, sizeof(double)),
		.masked = zeros_of(cells, sizeof(double)),
		.scores = zeros_of(cells, sizeof(double)),
		.o = zeros_of(queries, sizeof(double)),
		.d_q = zeros_of(queries, sizeof(double)),
		.d_k = zeros_of(keys, sizeof(double)),
		.d_v = zeros_of(keys, sizeof(double))};

	return x;
}

static void run_attention(const struct kernels *k, const struct attention_case *c)
{
	struct attention_arrays x = attention_arrays(k, c);
	size_t queries = (size_t)c->queries * x.a.ld, keys = (size_t)c->S * x.a.ld;

	for (int h = 0; h < c->H; h++)
		for (int i = 0; i < c->queries; i++)
			reference_row(&x, h, i);
	for (int h = 0; h < c->H; h++)
		for (int i = 0; i < c->queries; i++)
			reference_row_bwd(&x, h, i);
	k->attention_fwd(&x.a);
	assert_all_near("o", x.a.o, x.o, queries, 1e-5);
	for (int h = 0; h < c->H && c->tap; h++)
		assert_all_near("scores", x.a.cls_scores + h * c->S, x.scores + h * c->queries * c->S,
			(size_t)c->S, 1e-5);
	k->attention_bwd(&x.a);
	if (x.a.d_q != NULL)
		assert_all_near("d_q", x.a.d_q, x.d_q, queries, 5e-5);
	if (x.a.d_k != NULL)
		assert_all_near("d_k", x.a.d_k, x.d_k, keys, 5e-5);
	assert_all_near("d_v", x.a.d_v, x.d_v, keys, 5e-5);
}

static void check_attention(const struct kernels *k)
{
	for (size_t i = 0; i < NELEM(ATTENTION_CASES); i++) {
		run_attention(k, &ATTENTION_CASES[i]);
		numbers_free();
	}
}

static void test_attention_is_right_for_any_length_and_width(void **state)
{
	each_table(check_attention);
}

/* Scores hundreds apart: softmax must neither overflow nor give what is no number. */
static void check_extreme_scores(const struct kernels *k)
{
	const struct attention_case c = {.queries = 7, .S = 7, .H = 1, .d = 8};
	struct attention_arrays x = attention_arrays(k, &c);
	real *q = normals(56, 60), *keys = normals(56, 60);

	x.a.q = q;
	x.a.k = keys;
	for (int i = 0; i < c.queries; i++)
		reference_row(&x, 0, i);
	k->attention_fwd(&x.a);
	assert_all_near("o", x.a.o, x.o, 56, 2e-3);
}

static void test_attention_survives_extreme_scores(void **state)
{
	each_table(check_extreme_scores);
}

/* --- sums, products, optimiser ------------------------------------------------------------------- */

static void check_pointwise(const struct kernels *k)
{
	for (size_t n = 1; n <= 67; n += 11) {
		const real *x = normals(n, 1), *y = normals(n, 1), *rows = normals(3 * n, 1);
		real *sum = copy_of(y, n), *product = copy_of(y, n), *scaled = copy_of(y, n),
		     *columns = copy_of(y, n);
		double squares = 0;

		k->add(sum, x, n);
		k->mul(product, x, n);
		k->scale(scaled, (real)1.5, n);
		k->add_columns(columns, rows, 3, (int)n);
		for (size_t i = 0; i < n; i++) {
			double a = (double)x[i], b = (double)y[i];

			squares += a * a;
			assert_near("add", i, (double)sum[i], a + b, ULP * 4);
			assert_near("mul", i, (double)product[i], a * b, ULP * 8);
			assert_near("scale", i, (double)scaled[i], 1.5 * b, ULP * 8);
			assert_near("add_columns", i, (double)columns[i],
				b + (double)rows[i] + (double)rows[n + i] + (double)rows[2 * n + i],
				ULP * 16);
		}
		assert_near("sum_of_squares", n, k->sum_of_squares(x, n), squares, 1e-12 * squares);
	}
}

static void test_sums_and_products_cover_every_element(void **state)
{
	each_table(check_pointwise);
}

static void check_adamw(const struct kernels *k)
{
	enum { N = 37 };
	const double RATE = 0.01, CLIP = 0.5;
	real *w = normals(N, 1), *m = zeros(N), *v = zeros(N);
	double known_w[N], known_m[N] = {0}, known_v[N] = {0};

	for (int i = 0; i < N; i++)
		known_w[i] = (double)w[i];
	for (int t = 1; t <= 5; t++) {
		const real *g = normals(N, 1);
		double c1 = 1 - pow(0.9, t), c2 = 1 - pow(0.999, t);

		k->adamw(w, m, v, g, N, (real)CLIP, (real)RATE, 0.9, 0.999, (real)c1, (real)c2, (real)1e-8);
		for (int i = 0; i < N; i++) {
			double clipped = CLIP * (double)g[i];

			known_m[i] = 0.9 * known_m[i] + 0.1 * clipped;
			known_v[i] = 0.999 * known_v[i] + 0.001 * clipped * clipped;
			known_w[i] -= RATE * (known_m[i] / c1) / (sqrt(known_v[i] / c2) + 1e-8);
		}
		assert_all_near("w", w, known_w, N, 2e-6);
	}
	assert_all_near("m", m, known_m, N, 1e-6);
	assert_all_near("v", v, known_v, N, 1e-8);
}

static void test_adamw_follows_its_formula(void **state)
{
	each_table(check_adamw);
}

static void check_idle_elements(const struct kernels *k)
{
	real w[3] = {1, -2, 3}, m[3] = {0}, v[3] = {0}, g[3] = {0};
	const real before[3] = {1, -2, 3};

	k->adamw(w, m, v, g, 3, 1, (real)0.1, 0.9, 0.999, (real)0.1, (real)0.001, (real)1e-8);
	assert_same_bits("w", w, before, 3);
}

static void test_adamw_leaves_what_has_no_gradient(void **state)
{
	each_table(check_idle_elements);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_have_the_names_they_are_asked_by),
		cmocka_unit_test(test_best_table_is_the_widest_that_runs_here),
		cmocka_unit_test(test_gemm_multiplies_any_shape_and_layout),
		cmocka_unit_test(test_gemm_gives_a_row_the_same_bits_whatever_its_neighbours),
		cmocka_unit_test(test_gemm_wrappers_name_the_products_they_say),
		cmocka_unit_test(test_gemm_agrees_with_openblas_where_it_is_installed),
		cmocka_unit_test(test_activations_are_right_far_from_zero_and_near),
		cmocka_unit_test(test_activations_keep_the_digits_of_small_values),
		cmocka_unit_test(test_activations_may_overwrite_their_input),
		cmocka_unit_test(test_dropout_multiplies_by_the_mask_of_the_row_number),
		cmocka_unit_test(test_dropout_drops_its_rate_and_keeps_the_mean),
		cmocka_unit_test(test_norm_is_right_for_every_alias_and_size),
		cmocka_unit_test(test_norm_survives_a_mean_far_from_zero),
		cmocka_unit_test(test_norm_gradients_are_those_of_its_jacobian),
		cmocka_unit_test(test_attention_is_right_for_any_length_and_width),
		cmocka_unit_test(test_attention_survives_extreme_scores),
		cmocka_unit_test(test_sums_and_products_cover_every_element),
		cmocka_unit_test(test_adamw_follows_its_formula),
		cmocka_unit_test(test_adamw_leaves_what_has_no_gradient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
