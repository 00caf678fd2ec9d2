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

enum { VL = SIMD_BYTES / (int)sizeof(real) };

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

#endif
