/*
 * simd: vectors of real in GNU C, as wide as the instruction set that this file is compiled for.
 *
 * kernels.c is compiled once per instruction set with -DISA=name; the code is the same. VL reals fill a
 * register; MR x 2 registers of accumulators fit beside the operands.
 */
#ifndef OBLIVIATE_SIMD_H
#define OBLIVIATE_SIMD_H

#include <math.h>
#include <string.h>

#include "worker/base/real.h"

#if defined(__AVX512F__)
#define SIMD_BYTES 64
#define MR	   12
#elif defined(__AVX2__)
#define SIMD_BYTES 32
#define MR	   6
#else
#define SIMD_BYTES 16
#define MR	   4
#endif

/* sizeof(real), where the preprocessor must know. */
#ifdef OBLIVIATE_DOUBLE
#define LANES (SIMD_BYTES / 8)
#else
#define LANES (SIMD_BYTES / 4)
#endif

enum { VL = LANES };

typedef real vec __attribute__((vector_size(SIMD_BYTES)));
typedef real vec_unaligned __attribute__((vector_size(SIMD_BYTES), aligned(sizeof(real)), may_alias));

static inline vec vec_load(const real *p)
{
	return *(const vec_unaligned *)(const void *)p;
}

static inline void vec_store(real *p, vec v)
{
	*(vec_unaligned *)(void *)p = v;
}

/* The first n < VL elements only. */
static inline void vec_store_part(real *p, vec v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = v[i];
}

static inline vec vec_load_part(const real *p, int n)
{
	vec v = {0};

	for (int i = 0; i < n; i++)
		v[i] = p[i];
	return v;
}

static inline int round_up(int n, int to)
{
	return (n + to - 1) / to * to;
}

/* --- across lanes ------------------------------------------------------------------------------- */

/* SWAP: lane i is v's lane i ^ by. LOW, HIGH: the lower and upper halves of a and b, lane by lane in turn. */
#if LANES == 16
#define SWAP(v, by)                                                                                          \
	__builtin_shufflevector(v, v, 0 ^ (by), 1 ^ (by), 2 ^ (by), 3 ^ (by), 4 ^ (by), 5 ^ (by), 6 ^ (by),  \
		7 ^ (by), 8 ^ (by), 9 ^ (by), 10 ^ (by), 11 ^ (by), 12 ^ (by), 13 ^ (by), 14 ^ (by),         \
		15 ^ (by))
#define LOW(a, b)  __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif LANES == 8
#define SWAP(v, by)                                                                                          \
	__builtin_shufflevector(                                                                             \
		v, v, 0 ^ (by), 1 ^ (by), 2 ^ (by), 3 ^ (by), 4 ^ (by), 5 ^ (by), 6 ^ (by), 7 ^ (by))
#define LOW(a, b)  __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif LANES == 4
#define SWAP(v, by) __builtin_shufflevector(v, v, 0 ^ (by), 1 ^ (by), 2 ^ (by), 3 ^ (by))
#define LOW(a, b)   __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b)  __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define SWAP(v, by) __builtin_shufflevector(v, v, 0 ^ (by), 1 ^ (by))
#define LOW(a, b)   __builtin_shufflevector(a, b, 0, 2)
#define HIGH(a, b)  __builtin_shufflevector(a, b, 1, 3)
#endif

static inline vec vec_all(real x)
{
	return (vec){0} + x;
}

/* The first n lanes of v, `rest` in the others. */
static inline vec vec_first(vec v, int n, real rest)
{
#pragma omp simd
	for (int i = 0; i < VL; i++)
		v[i] = i < n ? v[i] : rest;
	return v;
}

static inline vec vec_larger(vec a, vec b)
{
#pragma omp simd
	for (int i = 0; i < VL; i++)
		a[i] = a[i] > b[i] ? a[i] : b[i];
	return a;
}

/* The sum, and the largest, of all lanes, in every lane. */
static inline vec vec_sum(vec v)
{
#if LANES >= 16
	v += SWAP(v, 8);
#endif
#if LANES >= 8
	v += SWAP(v, 4);
#endif
#if LANES >= 4
	v += SWAP(v, 2);
#endif
	return v + SWAP(v, 1);
}

static inline vec vec_top(vec v)
{
#if LANES >= 16
	v = vec_larger(v, SWAP(v, 8));
#endif
#if LANES >= 8
	v = vec_larger(v, SWAP(v, 4));
#endif
#if LANES >= 4
	v = vec_larger(v, SWAP(v, 2));
#endif
	return vec_larger(v, SWAP(v, 1));
}

#ifdef OBLIVIATE_DOUBLE

static inline real real_exp(real x)
{
	return exp(x);
}

#else

/*
 * exp(x) for x <= 88, relative error below 2e-7: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor's polynomial of
 * degree 6 in r, then 2^n through the exponent bits. Below -87 the result is 0 (softmax of masked scores).
 * Branch-free, so that loops over it vectorise.
 */
static inline real real_exp(real x)
{
	static const float LOG2E = 1.44269504088896341f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
	static const float ROUND = 12582912.0f; /* 1.5 * 2^23: adding and subtracting it rounds */
	float c = x < -87.0f ? -87.0f : x;
	float t = c * LOG2E + ROUND;
	float n = t - ROUND;
	float r = (c - n * LN2_HIGH) - n * LN2_LOW;
	float p = 1.0f / 720;
	uint32_t bits;
	float scale;

	p = p * r + 1.0f / 120;
	p = p * r + 1.0f / 24;
	p = p * r + 1.0f / 6;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	bits = (uint32_t)((int32_t)n + 127) << 23; /* unsigned: x may be no number */
	memcpy(&scale, &bits, sizeof(scale));
	return x < -87.0f ? 0.0f : p * scale;
}

#endif

static inline vec vec_exp(vec x)
{
#pragma omp simd
	for (int i = 0; i < VL; i++)
		x[i] = real_exp(x[i]);
	return x;
}

/* --- transposition ------------------------------------------------------------------------------ */

/* One step of a transposition: with the rows' and columns' bits as one number, it turns by one place. */
static inline void shuffle_rows(vec *restrict out, const vec *restrict in)
{
#pragma GCC unroll 8
	for (int i = 0; i < VL / 2; i++) {
		out[2 * i] = LOW(in[i], in[i + VL / 2]);
		out[2 * i + 1] = HIGH(in[i], in[i + VL / 2]);
	}
}

/* out[j][0 .. VL) = x[0 .. rows)[j] for j < columns, 0 behind the rows; at most VL of each. */
static __attribute__((noinline)) void transpose_block(
	real *out, size_t ldo, const real *x, size_t ldx, int rows, int columns)
{
	vec a[VL], b[VL];

#pragma GCC unroll 16
	for (int i = 0; i < VL; i++) {
		const real *x_i = x + (size_t)i * ldx;

		if (i >= rows)
			a[i] = (vec){0};
		else
			a[i] = columns == VL ? vec_load(x_i) : vec_load_part(x_i, columns);
	}
	shuffle_rows(b, a);
#if LANES >= 4
	shuffle_rows(a, b);
#endif
#if LANES >= 8
	shuffle_rows(b, a);
#endif
#if LANES >= 16
	shuffle_rows(a, b);
#endif
#pragma GCC unroll 16
	for (int j = 0; j < VL; j++)
		if (j < columns)
			vec_store(out + (size_t)j * ldo, LANES == 4 || LANES == 16 ? a[j] : b[j]);
}

/* out[j][0 .. rows) = x[0 .. rows)[j] for j < columns, 0 behind up to whole vectors. */
static inline void transpose(real *out, size_t ldo, const real *x, size_t ldx, int rows, int columns)
{
	for (int j = 0; j < columns; j += VL)
		for (int i = 0; i < rows; i += VL)
			transpose_block(out + (size_t)j * ldo + (size_t)i, ldo,
				x + (size_t)i * ldx + (size_t)j, ldx, MIN(VL, rows - i),
				MIN(VL, columns - j));
}

#endif
