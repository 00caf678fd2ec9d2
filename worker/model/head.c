#include "worker/model/head.h"

#include <string.h>

#include "worker/base/rng.h"
#include "worker/ops/linear.h"

int head_declare(struct head *head, int D, int K, double dropout, struct params *params,
	const struct kernels *kernels, struct err *err)
{
	*head = (struct head){.D = D, .K = K, .dropout = dropout, .params = params, .kernels = kernels};
	head->dense_w = params_add(params, PARAM_HEAD, D, D, err, "head.dense.weight");
	if (head->dense_w < 0)
		return head->dense_w;
	head->dense_b = params_add(params, PARAM_HEAD, 1, D, err, "head.dense.bias");
	if (head->dense_b < 0)
		return head->dense_b;
	head->out_w = params_add(params, PARAM_HEAD, K, D, err, "head.out.weight");
	if (head->out_w < 0)
		return head->out_w;
	head->out_b = params_add(params, PARAM_HEAD, 1, K, err, "head.out.bias");
	return head->out_b < 0 ? head->out_b : 0;
}

static void init_normal(const struct head *head, int number, uint64_t key)
{
	static const double STD = 0.02;
	real *w = param_w(head->params, number);
	size_t n = param_size(&head->params->param[number]);

	for (size_t i = 0; i < n; i++)
		w[i] = (real)(STD * rng_normal(key, i));
}

void head_init(const struct head *head, uint64_t key)
{
	init_normal(head, head->dense_w, rng_key(key, 0));
	init_normal(head, head->out_w, rng_key(key, 1));
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

/* y = x W^T + b, with the bias behind its weight in the table. */
static void dense_fwd(
	real *y, const real *x, const struct head *head, int weight, int rows, int out, int in, real *scratch)
{
	const struct linear linear = {.w = param_w(head->params, weight),
		.b = param_w(head->params, weight + 1),
		.out = out,
		.in = in};

	linear_fwd(&linear, head->kernels, y, x, rows, (struct linear_scratch){.panel = scratch});
}

void head_fwd(real *logits, struct head_state *state, const struct head *head, const real *h, int rows,
	const int *ids, struct head_dropouts dropouts)
{
	const struct kernels *k = head->kernels;
	int D = head->D, K = head->K;

	memcpy(state->in, h, (size_t)rows * (size_t)D * sizeof(real));
	k->dropout(state->in, rows, D, ids, dropouts.in);
	dense_fwd(state->mid, state->in, head, head->dense_w, rows, D, D, state->scratch);
	k->activation(state->mid, state->slope, state->mid, (size_t)rows * (size_t)D, KERNEL_TANH);
	k->dropout(state->mid, rows, D, ids, dropouts.mid);
	dense_fwd(logits, state->mid, head, head->out_w, rows, K, D, state->scratch);
}

void head_bwd(real *d_h, real *grad, struct head_state *state, const struct head *head, const real *d_logits,
	int rows, const int *ids, struct head_dropouts dropouts)
{
	const struct kernels *k = head->kernels;
	const struct params *p = head->params;
	int D = head->D, K = head->K;

	/* logits = mid Wo^T + bo */
	gemm_tn(k, grad + p->param[head->out_w].at, d_logits, state->mid, K, D, rows, state->scratch);
	k->add_columns(grad + p->param[head->out_b].at, d_logits, rows, K);
	gemm_nn(k, state->d_mid, d_logits, param_w(p, head->out_w), rows, D, K, GEMM_SET, state->scratch);
	/* mid = dropout(tanh(z)) */
	k->dropout(state->d_mid, rows, D, ids, dropouts.mid);
	k->mul(state->d_mid, state->slope, (size_t)rows * (size_t)D);
	/* z = in Wd^T + bd */
	gemm_tn(k, grad + p->param[head->dense_w].at, state->d_mid, state->in, D, D, rows, state->scratch);
	k->add_columns(grad + p->param[head->dense_b].at, state->d_mid, rows, D);
	gemm_nn(k, d_h, state->d_mid, param_w(p, head->dense_w), rows, D, D, GEMM_SET, state->scratch);
	/* in = dropout(h) */
	k->dropout(d_h, rows, D, ids, dropouts.in);
}
