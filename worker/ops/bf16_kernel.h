/*
 * bf16_kernel: the matrix product with both operands rounded to bfloat16 and float sums; part of kernels.c.
 *
 * For frozen weights alone: they are packed once, as panels of pairs along k, [k / 2][NR][2], and A is
 * rounded row by row when it is used. AVX512_BF16 multiplies such pairs at twice the rate of floats.
 */
#ifndef OBLIVIATE_BF16_KERNEL_H
#define OBLIVIATE_BF16_KERNEL_H

#include "worker/ops/gemm_kernel.h"

#if defined(__AVX512BF16__) && !defined(OBLIVIATE_DOUBLE)
#define HAS_BF16 1

#include <immintrin.h>

struct bf16_tile {
	const uint16_t *a; /* [rows][k], k even */
	size_t lda;
	const uint16_t *b; /* [k / 2][NR][2] */
	int pairs;
	struct tile out; /* c, ldc, n, bias, accumulate, ahead */
};

static inline __attribute__((always_inline)) void bf16_tile_run(const struct bf16_tile *t, const int rows)
{
	__m512 low[MR], high[MR];

#pragma GCC unroll 16
	for (int i = 0; i < rows; i++) {
		low[i] = (__m512)tile_start(&t->out, i, 0);
		high[i] = (__m512)tile_start(&t->out, i, VL);
	}
	for (int k = 0; k < t->pairs; k++) {
		__m512bh b0 = (__m512bh)_mm512_loadu_si512(t->b + (size_t)k * 2 * NR);
		__m512bh b1 = (__m512bh)_mm512_loadu_si512(t->b + (size_t)k * 2 * NR + 2 * VL);

		__builtin_prefetch(t->out.ahead + (size_t)k * t->out.ahead_step, 0, 2);

#pragma GCC unroll 16
		for (int i = 0; i < rows; i++) {
			int32_t pair;
			__m512bh a;

			memcpy(&pair, t->a + (size_t)i * t->lda + 2 * (size_t)k, sizeof(pair));
			a = (__m512bh)_mm512_set1_epi32(pair);
			low[i] = _mm512_dpbf16_ps(low[i], a, b0);
			high[i] = _mm512_dpbf16_ps(high[i], a, b1);
		}
	}
#pragma GCC unroll 16
	for (int i = 0; i < rows; i++) {
		tile_end(&t->out, i, 0, (vec)low[i]);
		tile_end(&t->out, i, VL, (vec)high[i]);
	}
}

#define BF16_FN(rows)                                                                                        \
	static __attribute__((noinline)) void bf16_tile_##rows(const struct bf16_tile *t)                    \
	{                                                                                                    \
		bf16_tile_run(t, rows);                                                                      \
	}
TILE_ROWS(BF16_FN)
#undef BF16_FN

typedef void bf16_tile_fn(const struct bf16_tile *t);

#define BF16_ENTRY(rows) [rows] = bf16_tile_##rows,
static bf16_tile_fn *const bf16_tiles[13] = {TILE_ROWS(BF16_ENTRY)};
#undef BF16_ENTRY

/* Round to nearest even; zeros behind n up to the even k. */
static void bf16_round_row(uint16_t *out, const real *x, int n, int k)
{
	int j = 0;

	for (; j + VL <= n; j += VL) {
		__m256bh v = _mm512_cvtneps_pbh((__m512)vec_load(x + j));

		memcpy(out + j, &v, sizeof(v));
	}
	if (j < n) {
		__m256bh v = _mm512_cvtneps_pbh((__m512)vec_load_part(x + j, n - j));

		memcpy(out + j, &v, (size_t)(n - j) * sizeof(*out));
	}
	if (n < k)
		out[n] = 0;
}

static size_t bf16_packed_count(int n, int k)
{
	return (size_t)round_up(n, NR) * (size_t)round_up(k, 2);
}

static size_t bf16_scratch_count(int m, int k)
{
	return (size_t)m * (size_t)round_up(k, 2);
}

static void bf16_pack(uint16_t *packed, const struct gemm *g)
{
	int pairs = round_up(g->k, 2) / 2;

	for (int from = 0; from < g->n; from += NR) {
		uint16_t *panel = packed + (size_t)from * 2 * (size_t)pairs;

		for (int k = 0; k < 2 * pairs; k++) {
			real row[NR] = {0};
			uint16_t rounded[NR];

			for (int j = 0; k < g->k && j < MIN(NR, g->n - from); j++)
				row[j] = g->b[(size_t)k * g->b_row + (size_t)(from + j) * g->b_col];
			bf16_round_row(rounded, row, NR, NR);
			for (int j = 0; j < NR; j++)
				panel[((size_t)(k / 2) * NR + (size_t)j) * 2 + (size_t)(k % 2)] = rounded[j];
		}
	}
}

static void bf16_strip(struct bf16_tile t, int m)
{
	int blocks = blocks_of(m);

	for (int i = 0; i < blocks; i++) {
		int rows = m / blocks + (i < m % blocks);

		bf16_tiles[rows](&t);
		t.a += (size_t)rows * t.lda;
		t.out.c += (size_t)rows * t.out.ldc;
		t.out.ahead += (size_t)t.pairs * t.out.ahead_step;
	}
}

static void bf16_gemm(const struct gemm *g, const uint16_t *packed, uint16_t *scratch)
{
	size_t lda = (size_t)round_up(g->k, 2);

	for (int i = 0; i < g->m; i++)
		bf16_round_row(scratch + (size_t)i * lda, g->a + (size_t)i * g->a_row, g->k, (int)lda);
	for (int from = 0; from < g->n; from += NR) {
		struct bf16_tile t = {.a = scratch,
			.lda = lda,
			.b = packed + (size_t)from * lda,
			.pairs = (int)lda / 2,
			.out = {.c = g->c + from,
				.ldc = g->ldc,
				.n = MIN(NR, g->n - from),
				.bias = g->bias != NULL ? g->bias + from : NULL,
				.accumulate = g->accumulate,
				.ahead = (const char *)(packed + (size_t)(from + NR) * lda),
				.ahead_step = 2 * NR * sizeof(uint16_t) / (size_t)blocks_of(g->m)}};

		bf16_strip(t, g->m);
	}
}

#endif
#endif
