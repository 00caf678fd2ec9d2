/*
 * gemm: the three products of contiguous row-major matrices, over kernels' general one.
 *
 *   gemm_nt  C[m, n] (+)= A[m, k] B[n, k]^T   forward of a linear map (B = W), bias added when given
 *   gemm_nn  C[m, n] (+)= A[m, k] B[k, n]     gradient of its input
 *   gemm_tn  C[m, n] += A[k, m]^T B[k, n]     gradient of its weight
 */
#ifndef OBLIVIATE_GEMM_H
#define OBLIVIATE_GEMM_H

#include "worker/ops/kernels.h"

enum gemm_mode { GEMM_SET, GEMM_ADD };

static inline void gemm_nt(const struct kernels *kernels, real *c, const real *a, const real *b, int m, int n,
	int k, enum gemm_mode mode, real *scratch)
{
	kernels->gemm(&(struct gemm){.m = m,
		.n = n,
		.k = k,
		.a = a,
		.a_row = (size_t)k,
		.a_col = 1,
		.b = b,
		.b_row = 1,
		.b_col = (size_t)k,
		.c = c,
		.ldc = (size_t)n,
		.accumulate = mode == GEMM_ADD,
		.scratch = scratch});
}

static inline void gemm_nn(const struct kernels *kernels, real *c, const real *a, const real *b, int m, int n,
	int k, enum gemm_mode mode, real *scratch)
{
	kernels->gemm(&(struct gemm){.m = m,
		.n = n,
		.k = k,
		.a = a,
		.a_row = (size_t)k,
		.a_col = 1,
		.b = b,
		.b_row = (size_t)n,
		.b_col = 1,
		.c = c,
		.ldc = (size_t)n,
		.accumulate = mode == GEMM_ADD,
		.scratch = scratch});
}

static inline void gemm_tn(const struct kernels *kernels, real *c, const real *a, const real *b, int m, int n,
	int k, real *scratch)
{
	kernels->gemm(&(struct gemm){.m = m,
		.n = n,
		.k = k,
		.a = a,
		.a_row = 1,
		.a_col = (size_t)m,
		.b = b,
		.b_row = (size_t)n,
		.b_col = 1,
		.c = c,
		.ldc = (size_t)n,
		.accumulate = true,
		.scratch = scratch});
}

/* y[rows, out] = x[rows, in] W[out, in]^T + b (b may be NULL); packed is W in panels, or NULL. */
static inline void linear_fwd(const struct kernels *kernels, real *y, const real *x, int rows, const real *w,
	const real *b, const real *packed, int out, int in, real *scratch)
{
	kernels->gemm(&(struct gemm){.m = rows,
		.n = out,
		.k = in,
		.a = x,
		.a_row = (size_t)in,
		.a_col = 1,
		.b = w,
		.b_row = 1,
		.b_col = (size_t)in,
		.c = y,
		.ldc = (size_t)out,
		.bias = b,
		.packed = packed,
		.scratch = scratch});
}

#endif
