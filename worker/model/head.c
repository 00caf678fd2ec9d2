#include "worker/model/head.h"

#include <string.h>

#include "worker/base/rng.h"
#include "worker/ops/dense.h"

int head_declare(struct head *head, int D, int K, double dropout, struct params *params,
	const struct kernels *kernels, struct err *err)
{
	*head = (struct head){.D = D, .K = K, .dropout = dropout, .params = params, .kernels = kernels};
	head->dense_w = dense_declare(params, PARAM_HEAD, D, D, err, "head.dense");
	if (head->dense_w < 0)
		return head->dense_w;
	head->out_w = dense_declare(params, PARAM_HEAD, K, D, err, "head.out");
	if (head->out_w < 0)
		return head->out_w;
	head->dense_b = head->dense_w + 1;
	head->out_b = head->out_w + 1;
	return 0;
}

void head_init(const struct head *head, uint64_t key)
{
	static const double STD = 0.02;

	params_draw_normal(head->params, head->dense_w, rng_key(key, 0), STD);
	params_draw_normal(head->params, head->out_w, rng_key(key, 1), STD);
}

struct head_dropouts head_dropouts(const struct head *head, uint64_t key)
{
	struct dropout dropout = {.threshold = (uint32_t)(head->dropout * 4294967296.0),
		.scale = (real)(1 / (1 - head->dropout))};
	struct head_dropouts both = {.in = dropout, .mid = dropout};

	both.in.key = (uint32_t)rng_key(key, UINT32_MAX);
	both.mid.key = (uint32_t)rng_key(key, UINT32_MAX - 1);
	return both;
}

void head_plan(struct head_state *state, const struct head *head, int rows, struct arena *arena)
{
	size_t n = (size_t)rows * (size_t)head->D;

	state->in = arena_take(arena, n, sizeof(real));
	state->mid = arena_take(arena, n, sizeof(real));
	state->slope = arena_take(arena, n, sizeof(real));
	state->d_mid = arena_take(arena, n, sizeof(real));
	state->scratch = arena_take(
		arena, head->kernels->gemm_scratch_reals(MAX(MAX(head->D, rows), head->K)), sizeof(real));
}

/* One of the two maps, by its weight's number. */
static struct dense map_of(const struct head *head, const struct head_state *state, int weight)
{
	return (struct dense){head->params, weight, head->kernels, state->scratch};
}

void head_fwd(real *logits, struct head_state *state, const struct head *head, const real *h, int rows,
	const int *ids, struct head_dropouts dropouts)
{
	const struct kernels *k = head->kernels;
	const struct dense dense = map_of(head, state, head->dense_w);
	const struct dense out = map_of(head, state, head->out_w);
	int D = head->D;

	memcpy(state->in, h, (size_t)rows * (size_t)D * sizeof(real));
	k->dropout(state->in, rows, D, ids, dropouts.in);
	dense_fwd(state->mid, &dense, state->in, rows);
	k->activation(state->mid, state->slope, state->mid, (size_t)rows * (size_t)D, KERNEL_TANH);
	k->dropout(state->mid, rows, D, ids, dropouts.mid);
	dense_fwd(logits, &out, state->mid, rows);
}

void head_bwd(real *d_h, real *grad, struct head_state *state, const struct head *head, const real *d_logits,
	int rows, const int *ids, struct head_dropouts dropouts)
{
	const struct kernels *k = head->kernels;
	const struct dense dense = map_of(head, state, head->dense_w);
	const struct dense out = map_of(head, state, head->out_w);
	int D = head->D;

	/* logits = mid Wo^T + bo */
	dense_bwd(state->d_mid, GEMM_SET, grad, &out, d_logits, state->mid, rows);
	/* mid = dropout(tanh(z)) */
	k->dropout(state->d_mid, rows, D, ids, dropouts.mid);
	k->mul(state->d_mid, state->slope, (size_t)rows * (size_t)D);
	/* z = in Wd^T + bd */
	dense_bwd(d_h, GEMM_SET, grad, &dense, state->d_mid, state->in, rows);
	/* in = dropout(h) */
	k->dropout(d_h, rows, D, ids, dropouts.in);
}
