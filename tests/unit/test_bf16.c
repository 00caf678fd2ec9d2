/* The bfloat16 product against a double reference on operands that are rounded here, bit by bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/ops/linear.h"

/* Round to nearest, ties to even, and back. */
static float rounded(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	bits += 0x7fff + ((bits >> 16) & 1);
	bits &= 0xffff0000u;
	memcpy(&x, &bits, sizeof(bits));
	return x;
}

static real *random_reals(size_t n, uint64_t key)
{
	real *x = malloc(n * sizeof(*x));

	for (size_t i = 0; i < n; i++)
		x[i] = (real)rng_normal(key, i);
	return x;
}

struct shape {
	int rows, out, in;
};

static void check_shape(const struct kernels *k, struct shape s)
{
	size_t rows = (size_t)s.rows, out = (size_t)s.out, in = (size_t)s.in;
	real *w = random_reals(out * in, 1), *b = random_reals(out, 2), *x = random_reals(rows * in, 3);
	real *dy = random_reals(rows * out, 4), *y = calloc(rows * out, sizeof(real)),
	     *dx = random_reals(rows * in, 5);
	real *dx0 = malloc(rows * in * sizeof(real));
	struct linear linear = {.w = w, .b = b, .out = s.out, .in = s.in};
	struct arena arena = {0};
	struct err err;
	struct linear_scratch scratch = {.half = calloc(k->bf16_scratch_count(s.rows, MAX(s.out, s.in)), 2)};

	linear_plan(&linear, k, LINEAR_BF16, &arena);
	assert_int_equal(arena_alloc(&arena, &err), 0);
	linear_plan(&linear, k, LINEAR_BF16, &arena);
	linear_pack(&linear, k);
	memcpy(dx0, dx, rows * in * sizeof(real));
	linear_fwd(&linear, k, y, x, s.rows, scratch);
	linear_bwd_x(&linear, k, dx, dy, s.rows, GEMM_ADD, scratch);
	for (size_t r = 0; r < rows; r++) {
		for (size_t o = 0; o < out; o++) {
			double want = (double)b[o];

			for (size_t i = 0; i < in; i++)
				want += (double)rounded(x[r * in + i]) * (double)rounded(w[o * in + i]);
			assert_true(fabs((double)y[r * out + o] - want) < 1e-4 * (1 + sqrt((double)in)));
		}
		for (size_t i = 0; i < in; i++) {
			double want = (double)dx0[r * in + i];

			for (size_t o = 0; o < out; o++)
				want += (double)rounded(dy[r * out + o]) * (double)rounded(w[o * in + i]);
			assert_true(fabs((double)dx[r * in + i] - want) < 1e-4 * (1 + sqrt((double)out)));
		}
	}
	arena_done(&arena);
	free(w);
	free(b);
	free(x);
	free(dy);
	free(y);
	free(dx);
	free(dx0);
	free(scratch.half);
}

static void test_products_are_those_of_rounded_operands(void **state)
{
	static const struct shape shapes[] = {
		{1, 1, 1}, {1, 33, 2}, {13, 7, 31}, {25, 64, 48}, {12, 32, 33}, {5, 3, 17}};
	const struct kernels *k = kernels_best();

	if (k->bf16_gemm == NULL)
		skip(); /* the processor has no such instructions; the worker then refuses the precision */
	for (size_t i = 0; i < NELEM(shapes); i++)
		check_shape(k, shapes[i]);
}

static void test_other_tables_have_no_bfloat16(void **state)
{
	assert_null(kernels_named("plain")->bf16_gemm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_products_are_those_of_rounded_operands),
		cmocka_unit_test(test_other_tables_have_no_bfloat16),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
