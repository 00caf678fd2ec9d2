/*
 * gemm: the three products of contiguous row-major matrices, over kernels' general one.
 *
 *   gemm_nt  C[m, n] (+)= A[m, k] B[n, k]^T   forward of a linear map (B = W)
 *   gemm_nn  C[m, n] (+)= A[m, k] B[k, n]     gradient of its input
 *   gemm_tn  C[m, n] += A[k, m]^T B[k, n]     gradient of its weight
 */
#ifndef OBLIVIATE_GEMM_H
#define OBLIVIATE_GEMM_H

#include "worker/ops/kernels.h"

enum gemm_mode { GEMM_SET, GEMM_ADD };

/* Row and column strides of a matrix with `columns` columns, as it lies or transposed. */
struct gemm_operand {
	const real *data;
	size_t row, col;
};

static inline struct gemm_operand gemm_plain(const real *data, int columns)
{
	return (struct gemm_operand){data, (size_t)columns, 1};
}

static inline struct gemm_operand gemm_transposed(const real *data, int columns)
{
	return (struct gemm_operand){data, 1, (size_t)columns};
}

static inline struct gemm gemm_of(
	real *c, struct gemm_operand a, struct gemm_operand b, int m, int n, int k, real *scratch)
{
	return (struct gemm){.m = m,
		.n = n,
		.k = k,
		.a = a.data,
		.a_row = a.row,
		.a_col = a.col,
		.b = b.data,
		.b_row = b.row,
		.b_col = b.col,
		.c = c,
		.ldc = (size_t)n,
		.scratch = scratch};
}

static inline void gemm_nt(const struct kernels *kernels, real *c, const real *a, const real *b, int m, int n,
	int k, enum gemm_mode mode, real *scratch)
{
	struct gemm g = gemm_of(c, gemm_plain(a, k), gemm_transposed(b, k), m, n, k, scratch);

	g.accumulate = mode == GEMM_ADD;
	kernels->gemm(&g);
}

static inline void gemm_nn(const struct kernels *kernels, real *c, const real *a, const real *b, int m, int n,
	int k, enum gemm_mode mode, real *scratch)
{
	struct gemm g = gemm_of(c, gemm_plain(a, k), gemm_plain(b, n), m, n, k, scratch);

	g.accumulate = mode == GEMM_ADD;
	kernels->gemm(&g);
}

static inline void gemm_tn(const struct kernels *kernels, real *c, const real *a, const real *b, int m, int n,
	int k, real *scratch)
{
	struct gemm g = gemm_of(c, gemm_transposed(a, m), gemm_plain(b, n), m, n, k, scratch);

	g.accumulate = true;
	kernels->gemm(&g);
}

#endif
