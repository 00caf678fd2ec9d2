/*
 * pointwise_kernel: activations, dropout, layer normalisation, sums and the optimiser; part of kernels.c.
 *
 * Plain loops that the compiler vectorises; where a reduction may be reassociated the loop says so.
 */
#ifndef OBLIVIATE_POINTWISE_KERNEL_H
#define OBLIVIATE_POINTWISE_KERNEL_H

#include "worker/base/rng.h"
#include "worker/ops/kernels.h"
#include "worker/ops/simd.h"

#ifdef OBLIVIATE_DOUBLE
#define R(x) x
#else
#define R(x) x##f
#endif

/* --- activations: y = f(x) and f'(x) ------------------------------------------------------------ */

#ifdef OBLIVIATE_DOUBLE

static inline void gelu_one(real *y, real *slope, real x)
{
	real cdf = 0.5 * erfc(-x * 0.70710678118654752440);

	*y = x * cdf;
	*slope = cdf + x * 0.39894228040143267794 * exp(-x * x / 2);
}

#else

/*
 * x Phi(x), with erf by formula 7.1.26 of Abramowitz and Stegun (absolute error at most 1.5e-7), whose
 * exp(-x^2 / 2) serves the derivative Phi(x) + x phi(x) as well.
 */
static inline void gelu_one(real *y, real *slope, real x)
{
	real z = fabsf(x) * 0.70710678118654752f;
	real e = real_exp(-z * z);
	real t = 1.0f / (1.0f + 0.3275911f * z);
	real tail = 1.061405429f;
	real cdf;

	tail = tail * t - 1.453152027f;
	tail = tail * t + 1.421413741f;
	tail = tail * t - 0.284496736f;
	tail = tail * t + 0.254829592f;
	tail = 0.5f * tail * t * e; /* Phi(-|x|) */
	cdf = x < 0 ? tail : 1.0f - tail;
	*y = x * cdf;
	*slope = cdf + x * 0.39894228040143268f * e;
}

#endif

static inline real tanh_real(real x)
{
#ifdef OBLIVIATE_DOUBLE
	return tanh(x);
#else
	/* 1 - 2 / (exp(2 |x|) + 1), and x - x^3 / 3 + 2 x^5 / 15 where that would cancel */
	real a = fabsf(x), square = x * x;
	real e = real_exp(a > 15.0f ? 30.0f : 2.0f * a);
	real large = 1.0f - 2.0f / (e + 1.0f);
	real small = a * (1.0f - square * (1.0f / 3 - square * (2.0f / 15 - square * (17.0f / 315))));
	real t = a < 0.15f ? small : large;

	return x < 0 ? -t : t;
#endif
}

/* 0.5 x (1 + tanh(c (x + .044715 x^3))) */
static inline void gelu_tanh_one(real *y, real *slope, real x)
{
	static const real C = R(0.79788456080286535588), CUBE = R(0.044715);
	real t = tanh_real(C * (x + CUBE * x * x * x));

	*y = R(0.5) * x * (1 + t);
	*slope = R(0.5) * (1 + t) + R(0.5) * x * (1 - t * t) * C * (1 + 3 * CUBE * x * x);
}

static inline void relu_one(real *y, real *slope, real x)
{
	*y = x > 0 ? x : 0;
	*slope = x > 0 ? 1 : 0;
}

static inline void silu_one(real *y, real *slope, real x)
{
	real sigmoid = 1 / (1 + real_exp(-(x < -80 ? -80 : x)));

	*y = x * sigmoid;
	*slope = sigmoid * (1 + x * (1 - sigmoid));
}

static inline void tanh_one(real *y, real *slope, real x)
{
	real t = tanh_real(x);

	*y = t;
	*slope = 1 - t * t;
}

#define ACTIVATION_LOOP(name)                                                                                \
	static __attribute__((noinline)) void name##_loop(real *y, real *slope, const real *x, size_t n)     \
	{                                                                                                    \
		if (slope == NULL) {                                                                         \
			_Pragma("omp simd") for (size_t i = 0; i < n; i++)                                   \
			{                                                                                    \
				real unused;                                                                 \
				name##_one(&y[i], &unused, x[i]);                                            \
			}                                                                                    \
			return;                                                                              \
		}                                                                                            \
		_Pragma("omp simd") for (size_t i = 0; i < n; i++)                                           \
		{                                                                                            \
			real value, steep;                                                                   \
			name##_one(&value, &steep, x[i]);                                                    \
			y[i] = value;                                                                        \
			slope[i] = steep;                                                                    \
		}                                                                                            \
	}
ACTIVATION_LOOP(gelu)
ACTIVATION_LOOP(gelu_tanh)
ACTIVATION_LOOP(relu)
ACTIVATION_LOOP(silu)
ACTIVATION_LOOP(tanh)
#undef ACTIVATION_LOOP

static void activation(real *y, real *slope, const real *x, size_t n, enum kernel_activation which)
{
	static void (*const loops[])(real *, real *, const real *, size_t) = {
		[KERNEL_GELU] = gelu_loop,
		[KERNEL_GELU_TANH] = gelu_tanh_loop,
		[KERNEL_RELU] = relu_loop,
		[KERNEL_SILU] = silu_loop,
		[KERNEL_TANH] = tanh_loop,
	};

	loops[which](y, slope, x, n);
}

/* --- dropout ------------------------------------------------------------------------------------ */

static void dropout_row(
	real *restrict y, const real *restrict x, int n, uint32_t first, struct dropout dropout)
{
#pragma omp simd
	for (int j = 0; j < n; j++) {
		uint32_t draw = rng_mask_u32(dropout.key, first + (uint32_t)j);

		y[j] = draw < dropout.threshold ? 0 : x[j] * dropout.scale;
	}
}

static void dropout_in_place(real *x, int n, uint32_t first, struct dropout dropout)
{
#pragma omp simd
	for (int j = 0; j < n; j++) {
		uint32_t draw = rng_mask_u32(dropout.key, first + (uint32_t)j);

		x[j] = draw < dropout.threshold ? 0 : x[j] * dropout.scale;
	}
}

static void dropout_rows(real *x, int rows, int n, const int *ids, struct dropout dropout)
{
	if (dropout.threshold == 0)
		return;
	for (int r = 0; r < rows; r++)
		dropout_in_place(x + (size_t)r * (size_t)n, n, (uint32_t)ids[r] * (uint32_t)n, dropout);
}

/* --- layer normalisation ------------------------------------------------------------------------ */

/* u = dropout(x) + residual, into hat's row; returns the mean. */
static real norm_gather(
	real *u, const real *x, const real *residual, int n, uint32_t first, struct dropout dropout)
{
	real sum = 0;

	if (dropout.threshold != 0) {
		if (u == x)
			dropout_in_place(u, n, first, dropout);
		else
			dropout_row(u, x, n, first, dropout);
		x = u;
	}
	if (residual == NULL) {
#pragma omp simd reduction(+ : sum)
		for (int j = 0; j < n; j++) {
			u[j] = x[j];
			sum += u[j];
		}
	} else {
#pragma omp simd reduction(+ : sum)
		for (int j = 0; j < n; j++) {
			u[j] = x[j] + residual[j];
			sum += u[j];
		}
	}
	return sum / (real)n;
}

static void norm_fwd(real *y, real *hat, real *rstd, const real *x, const real *residual, const real *w,
	const real *b, int rows, int n, real eps, const int *ids, struct dropout dropout)
{
	for (int r = 0; r < rows; r++) {
		size_t at = (size_t)r * (size_t)n;
		real *u = hat + at;
		uint32_t first = dropout.threshold != 0 ? (uint32_t)ids[r] * (uint32_t)n : 0;
		real mean =
			norm_gather(u, x + at, residual != NULL ? residual + at : NULL, n, first, dropout);
		real var = 0, scale;

#pragma omp simd reduction(+ : var)
		for (int j = 0; j < n; j++) {
			real c = u[j] - mean;

			u[j] = c;
			var += c * c;
		}
		scale = 1 / (real)sqrt((double)(var / (real)n + eps));
		rstd[r] = scale;
		if (y == hat) {
#pragma omp simd
			for (int j = 0; j < n; j++)
				u[j] = u[j] * scale * w[j] + b[j];
			continue;
		}
#pragma omp simd
		for (int j = 0; j < n; j++) {
			real h = u[j] * scale;

			u[j] = h;
			y[at + (size_t)j] = h * w[j] + b[j];
		}
	}
}

/* y = hat * w + b;  hat = (u - mean) * rstd
 * d_u = rstd * (g - mean(g) - hat * mean(g * hat)), where g = dy * w */
static void norm_bwd(real *d_residual, real *d_x, real *dw, real *db, const real *dy, const real *hat,
	const real *rstd, const real *w, int rows, int n, const int *ids, struct dropout dropout)
{
	for (int r = 0; r < rows; r++) {
		size_t at = (size_t)r * (size_t)n;
		const real *hat_r = hat + at, *dy_r = dy + at;
		real *out = d_residual + at;
		real sum = 0, dot = 0, scale = rstd[r];

		if (dw != NULL) {
#pragma omp simd
			for (int j = 0; j < n; j++) {
				dw[j] += dy_r[j] * hat_r[j];
				db[j] += dy_r[j];
			}
		}
#pragma omp simd reduction(+ : sum, dot)
		for (int j = 0; j < n; j++) {
			real g = dy_r[j] * w[j];

			sum += g;
			dot += g * hat_r[j];
		}
		sum /= (real)n;
		dot /= (real)n;
#pragma omp simd
		for (int j = 0; j < n; j++)
			out[j] = scale * (dy_r[j] * w[j] - sum - hat_r[j] * dot);
		if (d_x == NULL || d_x == d_residual)
			continue;
		if (dropout.threshold != 0)
			dropout_row(d_x + at, out, n, (uint32_t)ids[r] * (uint32_t)n, dropout);
		else
			memcpy(d_x + at, out, (size_t)n * sizeof(real));
	}
}

/* --- sums and products -------------------------------------------------------------------------- */

static void add(real *restrict y, const real *restrict x, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void mul(real *restrict y, const real *restrict x, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++)
		y[i] *= x[i];
}

static void scale_by(real *y, real by, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++)
		y[i] *= by;
}

static void add_columns(real *restrict y, const real *restrict x, int rows, int n)
{
	for (int r = 0; r < rows; r++)
		add(y, x + (size_t)r * (size_t)n, (size_t)n);
}

static double sum_of_squares(const real *x, size_t n)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sum;
}

static void adamw(real *restrict w, real *restrict m, real *restrict v, const real *restrict g, size_t n,
	real clip, real rate, double beta1, double beta2, real c1, real c2, real eps)
{
	real keep1 = (real)beta1, keep2 = (real)beta2;
	real take1 = (real)(1 - beta1), take2 = (real)(1 - beta2); /* 1 - .999f would be off by 1e-5 */
	real step = rate / c1;
	real root = (real)sqrt((double)c2);

#pragma omp simd
	for (size_t i = 0; i < n; i++) {
		real gi = clip * g[i];

		m[i] = keep1 * m[i] + take1 * gi;
		v[i] = keep2 * v[i] + take2 * gi * gi;
#ifdef OBLIVIATE_DOUBLE
		w[i] -= step * m[i] / (sqrt(v[i]) / root + eps);
#else
		w[i] -= step * m[i] / (sqrtf(v[i]) / root + eps);
#endif
	}
}

#endif
