/*
 * kernels: the arithmetic of the encoder, one const table per instruction set, chosen at run time.
 *
 * Dimensions everywhere: B sequences, T tokens, D hidden, H heads, d = D / H, F intermediate, L layers,
 * V vocabulary, S keys of one sequence. Arrays are row-major, last index fastest. A kernel is void,
 * allocates nothing and cannot fail. Outputs never alias inputs unless the comment says so.
 *
 * Determinism: the order of every sum depends on the shapes alone.
 */
#ifndef OBLIVIATE_KERNELS_H
#define OBLIVIATE_KERNELS_H

#include "worker/base/real.h"

enum kernel_activation { KERNEL_GELU, KERNEL_GELU_TANH, KERNEL_RELU, KERNEL_SILU, KERNEL_TANH };

/*
 * C[m, n] = (accumulate ? C[m, n] : bias ? bias[n] : 0) + sum_k A[m, k] B[k, n]
 *
 * A[m, k] is a[m * a_row + k * a_col]; B[k, n] is b[k * b_row + n * b_col], where one of b_row and b_col
 * is 1; C is c[m * ldc + n]. scratch holds gemm_scratch_reals(k) reals, one buffer per thread.
 * When packed is not NULL it is B in panels (gemm_pack), and b is not read.
 */
struct gemm {
	int m, n, k;
	const real *a;
	size_t a_row, a_col;
	const real *b;
	size_t b_row, b_col;
	real *c;
	size_t ldc;
	const real *bias;
	bool accumulate;
	const real *packed;
	real *scratch;
};

/* Inverted dropout. An element is dropped when rng_mask_u32(key, its number) < threshold; 0: no dropout. */
struct dropout {
	uint32_t key;
	uint32_t threshold;
	real scale; /* 1 / (1 - p) */
};

/*
 * One sequence's attention in one layer.
 *
 *   s[h, i, j] = q[i, h] . k[j, h] / sqrt(d)     scores
 *   p = softmax_j(s);  o[i, h] = sum_j dropout(p)[h, i, j] v[j, h]
 *
 * An element (h, i, j) of p has the number (h S + i) S + j in dropout.
 */
struct attention {
	int queries,
		S; /* fewer queries than keys: only the first token is needed, or virtual tokens come first */
	int H, d;
	size_t ld;	       /* row stride of q, k, v, o and their gradients: D */
	const real *q, *k, *v; /* [queries, D], [S, D], [S, D] */
	real *o;	       /* [queries, D] */
	real *p;	       /* [H, queries, attention_stride(S)]: softmax before dropout; kept for bwd */
	real *cls_scores;      /* [H, S] of the first query, or NULL */
	struct dropout dropout;
	real *scratch; /* attention_scratch_reals(S, d) */
	/* backward only */
	const real *d_o;	  /* [queries, D] */
	const real *d_cls_scores; /* [H, S] added to the gradient of the first query's scores, or NULL */
	real *d_q, *d_k, *d_v;	  /* overwritten; d_q and d_k may be NULL: not wanted */
};

struct kernels {
	const char *name; /* "avx512bf16", "avx512", "avx2", "plain" */

	size_t (*gemm_scratch_reals)(int k);
	size_t (*gemm_packed_reals)(int n, int k);
	/* Fill packed from the B of g (b, b_row, b_col, n, k). */
	void (*gemm_pack)(real *packed, const struct gemm *g);
	void (*gemm)(const struct gemm *g);

	/*
	 * The same product with both operands rounded to bfloat16 and float32 sums, for packed B only. All four
	 * are NULL where the processor has no such instructions. scratch: bf16_scratch_count(m, k).
	 */
	size_t (*bf16_packed_count)(int n, int k);
	size_t (*bf16_scratch_count)(int m, int k);
	void (*bf16_pack)(uint16_t *packed, const struct gemm *g);
	void (*bf16_gemm)(const struct gemm *g, const uint16_t *packed, uint16_t *scratch);

	/* y = act(x), slope = act'(x); slope may be NULL; y or slope may be x. n elements. */
	void (*activation)(real *y, real *slope, const real *x, size_t n, enum kernel_activation which);

	/* x *= mask * scale, in place, [rows, n]; element (r, j) has the number ids[r] * n + j. */
	void (*dropout)(real *x, int rows, int n, const int *ids, struct dropout dropout);

	/*
	 * u = dropout(x) + residual (NULL: 0); hat = (u - mean(u)) / sqrt(var(u) + eps); y = hat * w + b.
	 * hat [rows, n] and rstd [rows] are kept for the backward pass. hat may be x; y may be hat (then hat
	 * is lost) or residual.
	 */
	void (*norm_fwd)(real *y, real *hat, real *rstd, const real *x, const real *residual, const real *w,
		const real *b, int rows, int n, real eps, const int *ids, struct dropout dropout);
	/*
	 * d_u, the gradient of u, overwrites d_residual (may be dy); d_x = dropout'(d_u), NULL or d_residual
	 * where not wanted apart; dw [n], db [n] accumulate, or are NULL.
	 */
	void (*norm_bwd)(real *d_residual, real *d_x, real *dw, real *db, const real *dy, const real *hat,
		const real *rstd, const real *w, int rows, int n, const int *ids, struct dropout dropout);

	int (*attention_stride)(int S);
	size_t (*attention_scratch_reals)(int S, int d);
	void (*attention_fwd)(const struct attention *a);
	void (*attention_bwd)(const struct attention *a);

	void (*add)(real *y, const real *x, size_t n);		      /* y += x */
	void (*mul)(real *y, const real *x, size_t n);		      /* y *= x */
	void (*scale)(real *y, real by, size_t n);		      /* y *= by */
	void (*add_columns)(real *y, const real *x, int rows, int n); /* y[j] += sum_i x[i, j] */
	double (*sum_of_squares)(const real *x, size_t n);

	/*
	 * torch.optim.AdamW without weight decay, on gradient clip * g:
	 * m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= rate / c1 * m / (sqrt(v / c2) + eps), where
	 * c1 = 1 - b1^t and c2 = 1 - b2^t.
	 */
	void (*adamw)(real *w, real *m, real *v, const real *g, size_t n, real clip, real rate, double beta1,
		double beta2, real c1, real c2, real eps);
};

/* The widest table that this processor runs, or the one with this name (NULL when it cannot run here). */
const struct kernels *kernels_best(void);
const struct kernels *kernels_named(const char *name);

#endif
