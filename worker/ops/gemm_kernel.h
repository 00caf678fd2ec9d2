/*
 * gemm_kernel: the matrix product, part of kernels.c.
 *
 * B is laid out in panels of NR = 2 VL columns, [k][NR], zero-padded, so that the innermost loop streams
 * one panel and broadcasts A. A panel is packed when it is needed (2 to 5 % of the time at 200 rows), or
 * once for weights that stay. Rows are taken in blocks of at most MR whose accumulators stay in registers.
 */
#ifndef OBLIVIATE_GEMM_KERNEL_H
#define OBLIVIATE_GEMM_KERNEL_H

#include "worker/ops/kernels.h"
#include "worker/ops/simd.h"

enum { NR = 2 * VL };

/* A strip of rows of C: where its operands are. */
struct tile {
	const real *a;
	size_t a_row, a_col;
	const real *b; /* [k][ldb] */
	size_t ldb;
	int k;
	real *c;
	size_t ldc;
	int n; /* valid columns, 1 .. NR (two vectors) or 1 .. VL (one) */
	const real *bias;
	bool accumulate;
	const char *ahead; /* fetched into the cache along the way: B's next panel */
	size_t ahead_step; /* bytes of it for each inner index */
};

static inline __attribute__((always_inline)) vec tile_start(const struct tile *t, int row, int from)
{
	const real *source = t->accumulate ? t->c + (size_t)row * t->ldc : t->bias;
	int left = t->n - from;

	if (source == NULL || left <= 0)
		return (vec){0};
	return left >= VL ? vec_load(source + from) : vec_load_part(source + from, left);
}

static inline __attribute__((always_inline)) void tile_end(const struct tile *t, int row, int from, vec v)
{
	real *c = t->c + (size_t)row * t->ldc + from;
	int left = t->n - from;

	if (left >= VL)
		vec_store(c, v);
	else if (left > 0)
		vec_store_part(c, v, left);
}

/* rows and wide are compile-time constants at every call: the accumulators become registers. */
static inline __attribute__((always_inline)) void tile_run(
	const struct tile *t, const int rows, const bool wide)
{
	vec low[MR], high[MR];

#pragma GCC unroll 16
	for (int i = 0; i < rows; i++) {
		low[i] = tile_start(t, i, 0);
		high[i] = wide ? tile_start(t, i, VL) : (vec){0};
	}
	for (int k = 0; k < t->k; k++) {
		const real *a_k = t->a + (size_t)k * t->a_col;
		const real *b_k = t->b + (size_t)k * t->ldb;
		vec b0 = vec_load(b_k);
		vec b1 = wide ? vec_load(b_k + VL) : (vec){0};

		__builtin_prefetch(t->ahead + (size_t)k * t->ahead_step, 0, 2);

#pragma GCC unroll 16
		for (int i = 0; i < rows; i++) {
			real a_ik = a_k[(size_t)i * t->a_row];

			low[i] += a_ik * b0;
			if (wide)
				high[i] += a_ik * b1;
		}
	}
#pragma GCC unroll 16
	for (int i = 0; i < rows; i++) {
		tile_end(t, i, 0, low[i]);
		if (wide)
			tile_end(t, i, VL, high[i]);
	}
}

#define TILE_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)

/* One function per height; heights above MR are never called. */
#define TILE_FN(rows)                                                                                        \
	static __attribute__((noinline)) void tile_thin_##rows(const struct tile *t)                         \
	{                                                                                                    \
		tile_run(t, (rows) <= MR ? (rows) : MR, false);                                              \
	}                                                                                                    \
	static __attribute__((noinline)) void tile_wide_##rows(const struct tile *t)                         \
	{                                                                                                    \
		tile_run(t, (rows) <= MR ? (rows) : MR, true);                                               \
	}
TILE_ROWS(TILE_FN)
#undef TILE_FN

typedef void tile_fn(const struct tile *t);

#define THIN_ENTRY(rows) [rows] = tile_thin_##rows,
#define WIDE_ENTRY(rows) [rows] = tile_wide_##rows,
static tile_fn *const tiles[2][13] = {{TILE_ROWS(THIN_ENTRY)}, {TILE_ROWS(WIDE_ENTRY)}};
#undef THIN_ENTRY
#undef WIDE_ENTRY

/* Blocks of nearly equal height, so that none is a sliver. */
static int blocks_of(int m)
{
	return (m + MR - 1) / MR;
}

/* All m rows of C for one panel of B. */
static void strip(struct tile t, int m)
{
	int blocks = blocks_of(m);

	for (int i = 0; i < blocks; i++) {
		int rows = m / blocks + (i < m % blocks);

		tiles[t.n > VL][rows](&t);
		t.a += (size_t)rows * t.a_row;
		t.c += (size_t)rows * t.ldc;
		t.ahead += (size_t)t.k * t.ahead_step;
	}
}

/* One panel: columns from .. from + NR of B, as [k][NR]. */
static void pack_panel(real *panel, const struct gemm *g, int from)
{
	int n = MIN(NR, g->n - from);
	const real *b = g->b + (size_t)from * g->b_col;

	if (g->b_col == 1 && n == NR) {
		for (int k = 0; k < g->k; k++) {
			vec_store(panel + (size_t)k * NR, vec_load(b + (size_t)k * g->b_row));
			vec_store(panel + (size_t)k * NR + VL, vec_load(b + (size_t)k * g->b_row + VL));
		}
		return;
	}
	if (n < NR)
		memset(panel, 0, (size_t)g->k * NR * sizeof(real));
	if (g->b_row == 1) {
		transpose(panel, NR, b, g->b_col, n, g->k);
		return;
	}
	for (int k = 0; k < g->k; k++)
		memcpy(panel + (size_t)k * NR, b + (size_t)k * g->b_row, (size_t)n * sizeof(real));
}

static size_t gemm_scratch_reals(int k)
{
	return (size_t)k * NR;
}

static size_t gemm_packed_reals(int n, int k)
{
	return (size_t)round_up(n, NR) * (size_t)k;
}

static void gemm_pack(real *packed, const struct gemm *g)
{
	for (int from = 0; from < g->n; from += NR)
		pack_panel(packed + (size_t)from * (size_t)g->k, g, from);
}

static void gemm_run(const struct gemm *g)
{
	for (int from = 0; from < g->n; from += NR) {
		struct tile t = {.a = g->a,
			.a_row = g->a_row,
			.a_col = g->a_col,
			.ldb = NR,
			.k = g->k,
			.c = g->c + from,
			.ldc = g->ldc,
			.n = MIN(NR, g->n - from),
			.bias = g->bias != NULL ? g->bias + from : NULL,
			.accumulate = g->accumulate};

		if (g->packed != NULL) {
			t.b = g->packed + (size_t)from * (size_t)g->k;
		} else if (g->b_col == 1 && g->m <= 2 * MR && t.n == NR) {
			t.b = g->b + from; /* few rows: B's own rows serve */
			t.ldb = g->b_row;
		} else {
			pack_panel(g->scratch, g, from);
			t.b = g->scratch;
		}
		t.ahead = (const char *)t.b;
		if (g->packed != NULL) {
			t.ahead += NR * sizeof(real) * (size_t)g->k;
			t.ahead_step = NR * sizeof(real) / (size_t)blocks_of(g->m);
		}
		strip(t, g->m);
	}
}

#endif
