/*
 * linear: y = x W^T + b with a W that stays, packed once for the products that training needs.
 *
 * Three ways to hold W [out, in]: as it lies (weights that change: plants), in float32 panels or in
 * bfloat16 panels, both for the forward product and for the gradient of its input. bfloat16 rounds x or
 * dy as well; sums stay float32. Panels are the caller's memory, planned with linear_plan.
 */
#ifndef OBLIVIATE_LINEAR_H
#define OBLIVIATE_LINEAR_H

#include "worker/base/arena.h"
#include "worker/ops/gemm.h"

enum linear_form { LINEAR_AS_IT_LIES, LINEAR_FLOAT32, LINEAR_BF16 };

struct linear {
	const real *w, *b; /* [out, in], [out]; borrowed */
	int out, in;
	real *panels, *panels_input; /* float32, forward and for the gradient of the input */
	uint16_t *half, *half_input; /* bfloat16, likewise */
};

/* One thread's buffers: reals for the longest inner dimension, halves for the largest x or dy. */
struct linear_scratch {
	real *panel;
	uint16_t *half; /* NULL where nothing is bfloat16 */
};

/* Take the memory that the form needs (kernels->bf16_gemm must exist for LINEAR_BF16); then fill it. */
void linear_plan(
	struct linear *linear, const struct kernels *kernels, enum linear_form form, struct arena *arena);
void linear_pack(const struct linear *linear, const struct kernels *kernels);

/* y[rows, out] = x[rows, in] W^T + b */
void linear_fwd(const struct linear *linear, const struct kernels *kernels, real *y, const real *x, int rows,
	struct linear_scratch scratch);
/* dx[rows, in] (+)= dy[rows, out] W */
void linear_bwd_x(const struct linear *linear, const struct kernels *kernels, real *dx, const real *dy,
	int rows, enum gemm_mode mode, struct linear_scratch scratch);
/* dW[out, in] += dy[rows, out]^T x[rows, in], db[out] += sum of dy's rows */
void linear_bwd_w(real *dw, real *db, const struct linear *linear, const struct kernels *kernels,
	const real *dy, const real *x, int rows, real *scratch);

#endif
