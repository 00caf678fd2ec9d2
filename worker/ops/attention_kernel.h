/*
 * attention_kernel: one sequence's attention, all heads; part of kernels.c.
 *
 * Sequences are short (tens of tokens) and heads narrow, so the products run on the tiles of gemm_kernel.h
 * over copies of one head's K and V that fit the first-level cache.
 */
#ifndef OBLIVIATE_ATTENTION_KERNEL_H
#define OBLIVIATE_ATTENTION_KERNEL_H

#include "worker/ops/gemm_kernel.h"
#include "worker/ops/pointwise_kernel.h"

static int attention_stride(int S)
{
	return round_up(S, VL);
}

/* Buffers of one head: [S][dp], [d][Sp] and [S][Sp], each with a vector to spare for whole-tile loads. */
struct head_buffers {
	int Sp, dp;
	real *by_key;	/* [S][dp]: a head's rows, contiguous and zero-padded */
	real *by_query; /* [S][dp]: likewise, of q or d_o */
	real *by_dim;	/* [d][Sp]: a head's rows, transposed */
	real *scores;	/* [S][Sp] */
	real *dropped;	/* [S][Sp] */
};

static size_t attention_scratch_reals(int S, int d)
{
	size_t Sp = (size_t)round_up(S, NR), dp = (size_t)round_up(d, NR);

	return 2 * (size_t)S * dp + (size_t)d * Sp + 2 * (size_t)S * Sp + 5 * NR;
}

static struct head_buffers head_buffers(const struct attention *a)
{
	struct head_buffers h = {.Sp = attention_stride(a->S), .dp = round_up(a->d, VL)};
	size_t S = (size_t)a->S;

	h.by_key = a->scratch;
	h.by_query = h.by_key + S * (size_t)h.dp + NR;
	h.by_dim = h.by_query + S * (size_t)h.dp + NR;
	h.scores = h.by_dim + (size_t)a->d * (size_t)h.Sp + NR;
	h.dropped = h.scores + S * (size_t)h.Sp + NR;
	return h;
}

/* out[row][0 .. dp) = x[row][0 .. d), zeros behind. */
static void copy_head(real *restrict out, const real *restrict x, int rows, size_t ld, int d, int dp)
{
	for (int i = 0; i < rows; i++) {
		memcpy(out + (size_t)i * (size_t)dp, x + (size_t)i * ld, (size_t)d * sizeof(real));
		for (int j = d; j < dp; j++)
			out[(size_t)i * (size_t)dp + (size_t)j] = 0;
	}
}

/* C[m, n] = sum_k A[m, k] B[k, n] with B's rows zero-padded to whole vectors (ldb of them, n <= ldb). */
static void small_product(real *c, size_t ldc, const real *a, size_t a_row, size_t a_col, const real *b,
	int ldb, int m, int n, int k)
{
	for (int from = 0; from < n; from += NR) {
		struct tile t = {.a = a,
			.a_row = a_row,
			.a_col = a_col,
			.b = b + from,
			.ldb = (size_t)ldb,
			.k = k,
			.c = c + from,
			.ldc = ldc,
			.n = MIN(NR, n - from),
			.ahead = (const char *)b};

		strip(t, m);
	}
}

/* A row of one head's probabilities: where its elements' numbers begin, and its lengths. */
struct attention_row {
	int S, Sp; /* keys; keys and padding, whole vectors, which the loops below run over without a rest */
	uint32_t first;
	struct dropout dropout;
};

static struct attention_row row_of(const struct attention *a, int Sp, int head, int query)
{
	return (struct attention_row){.S = a->S,
		.Sp = Sp,
		.first = (uint32_t)(head * a->S + query) * (uint32_t)a->S,
		.dropout = a->dropout};
}

/* 0 or 1 / (1 - p): what dropout makes of element j. */
static inline real kept(const struct attention_row *row, int j)
{
	uint32_t draw = rng_mask_u32(row->dropout.key, row->first + (uint32_t)j);

	return draw < row->dropout.threshold ? 0 : row->dropout.scale;
}

/* p becomes softmax(scale p), 0 behind S. */
static inline void softmax_row(real *p, real scale, const struct attention_row *row)
{
	vec top = vec_all(-INFINITY), sum = {0}, inverse;

	for (int j = 0; j < row->Sp; j += VL) {
		vec s = vec_first(scale * vec_load(p + j), row->S - j, -INFINITY);

		top = vec_larger(s, top);
		vec_store(p + j, s);
	}
	top = vec_top(top);
	for (int j = 0; j < row->Sp; j += VL) {
		vec e = vec_exp(vec_load(p + j) - top);

		sum += e;
		vec_store(p + j, e);
	}
	inverse = 1 / vec_sum(sum);
	for (int j = 0; j < row->Sp; j += VL)
		vec_store(p + j, vec_load(p + j) * inverse);
}

/* out = dropout(p) */
static inline void drop_row(real *restrict out, const real *restrict p, const struct attention_row *row)
{
#pragma omp simd
	for (int j = 0; j < row->Sp; j++)
		out[j] = p[j] * kept(row, j);
}

static void attention_head_fwd(const struct attention *a, const struct head_buffers *h, int head)
{
	size_t column = (size_t)head * (size_t)a->d, Sp = (size_t)h->Sp;
	real *p = a->p + (size_t)head * (size_t)a->queries * Sp;
	real scale = 1 / (real)sqrt((double)a->d);
	const real *weights = a->dropout.threshold != 0 ? h->dropped : p;

	transpose(h->by_dim, Sp, a->k + column, a->ld, a->S, a->d);
	small_product(p, Sp, a->q + column, a->ld, 1, h->by_dim, h->Sp, a->queries, h->Sp, a->d);
	if (a->cls_scores != NULL)
		for (int j = 0; j < a->S; j++)
			a->cls_scores[head * a->S + j] = scale * p[j];
	for (int i = 0; i < a->queries; i++) {
		struct attention_row row = row_of(a, h->Sp, head, i);

		softmax_row(p + (size_t)i * Sp, scale, &row);
		if (a->dropout.threshold != 0)
			drop_row(h->dropped + (size_t)i * Sp, p + (size_t)i * Sp, &row);
	}
	copy_head(h->by_key, a->v + column, a->S, a->ld, a->d, h->dp);
	small_product(a->o + column, a->ld, weights, Sp, 1, h->by_key, h->dp, a->queries, a->d, a->S);
}

static void attention_fwd(const struct attention *a)
{
	struct head_buffers h = head_buffers(a);

	for (int head = 0; head < a->H; head++)
		attention_head_fwd(a, &h, head);
}

/* Gradient of dropout: d_p of the dropped probabilities becomes that of p; out = dropout(p), drawn once for both. */
static inline void drop_row_bwd(
	real *restrict d, real *restrict out, const real *restrict p, const struct attention_row *row)
{
#pragma omp simd
	for (int j = 0; j < row->Sp; j++) {
		real keep = kept(row, j);

		d[j] *= keep;
		out[j] = p[j] * keep;
	}
}

/* p = softmax(s): d_s = p * (d_p - sum_j(d_p * p)); d_p and d_s share a row. */
static inline void softmax_row_bwd(real *restrict d, const real *restrict p, const struct attention_row *row)
{
	real dot = 0;

#pragma omp simd reduction(+ : dot)
	for (int j = 0; j < row->Sp; j++)
		dot += d[j] * p[j];
#pragma omp simd
	for (int j = 0; j < row->Sp; j++)
		d[j] = p[j] * (d[j] - dot);
}

/* d_scores of one head, scaled by 1 / sqrt(d), from d_o. Leaves dropout(p) in h->dropped when there is one. */
static void scores_bwd(const struct attention *a, const struct head_buffers *h, int head, const real *p)
{
	size_t column = (size_t)head * (size_t)a->d, Sp = (size_t)h->Sp;
	real scale = 1 / (real)sqrt((double)a->d);

	/* o = dropout(p) v:  d_p = dropout'(d_o v^T) */
	transpose(h->by_dim, Sp, a->v + column, a->ld, a->S, a->d);
	small_product(h->scores, Sp, a->d_o + column, a->ld, 1, h->by_dim, h->Sp, a->queries, h->Sp, a->d);
	for (int i = 0; i < a->queries; i++) {
		struct attention_row row = row_of(a, h->Sp, head, i);
		real *d = h->scores + (size_t)i * Sp;

		if (a->dropout.threshold != 0)
			drop_row_bwd(d, h->dropped + (size_t)i * Sp, p + (size_t)i * Sp, &row);
		softmax_row_bwd(d, p + (size_t)i * Sp, &row);
	}
	if (a->d_cls_scores != NULL)
		for (int j = 0; j < a->S; j++)
			h->scores[j] += a->d_cls_scores[(size_t)head * (size_t)a->S + (size_t)j];
	scale_by(h->scores, scale, (size_t)a->queries * Sp);
}

static void attention_head_bwd(const struct attention *a, const struct head_buffers *h, int head)
{
	size_t column = (size_t)head * (size_t)a->d, Sp = (size_t)h->Sp;
	const real *p = a->p + (size_t)head * (size_t)a->queries * Sp;
	const real *weights = a->dropout.threshold != 0 ? h->dropped : p;

	scores_bwd(a, h, head, p);

	/* o = dropout(p) v:  d_v = dropout(p)^T d_o */
	copy_head(h->by_query, a->d_o + column, a->queries, a->ld, a->d, h->dp);
	small_product(a->d_v + column, a->ld, weights, 1, Sp, h->by_query, h->dp, a->S, a->d, a->queries);

	/* s = q k^T / sqrt(d):  d_q = d_s k,  d_k = d_s^T q */
	if (a->d_q != NULL) {
		copy_head(h->by_key, a->k + column, a->S, a->ld, a->d, h->dp);
		small_product(
			a->d_q + column, a->ld, h->scores, Sp, 1, h->by_key, h->dp, a->queries, a->d, a->S);
	}
	if (a->d_k == NULL)
		return;
	copy_head(h->by_query, a->q + column, a->queries, a->ld, a->d, h->dp);
	small_product(a->d_k + column, a->ld, h->scores, 1, Sp, h->by_query, h->dp, a->S, a->d, a->queries);
}

static void attention_bwd(const struct attention *a)
{
	struct head_buffers h = head_buffers(a);

	for (int head = 0; head < a->H; head++)
		attention_head_bwd(a, &h, head);
}

#endif
