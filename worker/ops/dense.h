/*
 * dense: y = x W^T + b with a W [out, in] and b [1, out] that are trained: two tensors of the params table, one
 * behind the other. Always in float32: they change with every step and are small.
 */
#ifndef OBLIVIATE_DENSE_H
#define OBLIVIATE_DENSE_H

#include "worker/base/param.h"
#include "worker/ops/gemm.h"

struct dense {
	const struct params *params;
	int weight; /* number of W; b's is the next one */
	const struct kernels *kernels;
	real *scratch; /* gemm_scratch_reals of the longest of in, out and rows */
};

/* Add both tensors to the table, as NAME.weight and NAME.bias; returns W's number, or a negative error. */
int dense_declare(struct params *params, enum param_group group, int out, int in, struct err *err,
	const char *name) MUST_USE;

/* y[rows, out] = x[rows, in] W^T + b */
void dense_fwd(real *y, const struct dense *dense, const real *x, int rows);
/*
 * dW += dy^T x and db += sum of dy's rows, at their places in grad (layout of params);
 * dx[rows, in] (+)= dy W, unless dx is NULL.
 */
void dense_bwd(real *dx, enum gemm_mode mode, real *grad, const struct dense *dense, const real *dy,
	const real *x, int rows);

#endif
