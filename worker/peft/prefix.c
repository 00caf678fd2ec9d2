/*
 * Prefix tuning (Li and Liang 2021): P virtual keys and values per layer, in front of every sequence's own:
 *
 *   E = wte [P, D];  Z = act(E W0^T + b0) [P, M];  flat = Z W2^T + b2 (+ origin) [P, 2 L D]
 *
 * origin is a prefix that training starts from and does not change; mostly there is none.
 * flat[p] holds, for each layer, a key [D] and a value [D]. It is the same for all sequences, so it is computed
 * once per step, into a derived tensor of the params table: slices add to its gradient, which is taken back
 * through the MLP once. They take no positions, there is no padding. Under defence, dropout falls on flat, drawn
 * per sequence (as it would be were flat expanded to the batch first).
 *
 * wte starts from N(0, 1), both maps from uniform +-1 / sqrt(fan in), biases too. wte does not count in L_amp.
 */
#include <math.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/ops/dense.h"
#include "worker/peft/peft.h"

/* In the table, from peft->first on. */
enum { FLAT, WTE, W0, B0, W2, B2 };

/* peft->work */
struct work {
	real *z, *slope, *d_z; /* [P, M] */
	real *scratch;
};

static int flat_width(const struct peft *peft)
{
	return 2 * peft->shape.L * peft->shape.D;
}

/* What the MLP is made of gets its gradient once per step. */
static int declare_tensors(struct peft *peft, struct err *err)
{
	struct params *params = peft->params;
	int P = peft->options.length, M = peft->options.mlp_width, D = peft->shape.D,
	    width = flat_width(peft);
	int rc = params_add(params, PARAM_DERIVED, P, width, err, "prefix.flat");

	if (rc >= 0)
		rc = params_add(params, PARAM_UNAMPLIFIED, P, D, err, "prefix.wte.weight");
	if (rc >= 0)
		rc = dense_declare(params, PARAM_PEFT, M, D, err, "prefix.control_trans.0");
	if (rc >= 0)
		rc = dense_declare(params, PARAM_PEFT, width, M, err, "prefix.control_trans.2");
	if (rc < 0)
		return rc;
	for (int i = WTE; i <= B2; i++)
		params->param[peft->first + i].is_once = true;
	return 0;
}

static void plan(struct peft *peft)
{
	int P = peft->options.length, M = peft->options.mlp_width;
	size_t n = (size_t)P * (size_t)M;
	int longest = MAX(MAX(P, M), MAX(peft->shape.D, flat_width(peft)));
	struct work *work = arena_take(&peft->arena, 1, sizeof(*work));
	struct work taken = {.z = arena_take(&peft->arena, n, sizeof(real)),
		.slope = arena_take(&peft->arena, n, sizeof(real)),
		.d_z = arena_take(&peft->arena, n, sizeof(real)),
		.scratch = arena_take(&peft->arena, peft->k->gemm_scratch_reals(longest), sizeof(real))};

	if (work != NULL)
		*work = taken;
	peft->work = work;
}

static int prefix_declare(struct peft *peft, struct err *err)
{
	int rc = declare_tensors(peft, err);

	if (rc != 0)
		return rc;
	peft->P = peft->options.length;
	peft->flat = peft->first + FLAT;
	plan(peft);
	rc = arena_alloc(&peft->arena, err);
	if (rc == 0)
		plan(peft);
	return rc;
}

static void prefix_init(const struct peft *peft, uint64_t key)
{
	int fan_in[] = {[W0] = peft->shape.D,
		[B0] = peft->shape.D,
		[W2] = peft->options.mlp_width,
		[B2] = peft->options.mlp_width};

	params_draw_normal(peft->params, peft->first + WTE, rng_key(key, WTE), 1);
	for (int i = W0; i <= B2; i++)
		params_draw_uniform(
			peft->params, peft->first + i, rng_key(key, (uint64_t)i), 1 / sqrt(fan_in[i]));
}

static bool prefix_uses(const struct peft *peft, int layer, enum peft_site site)
{
	(void)peft;
	(void)layer;
	(void)site;
	return false;
}

static size_t prefix_saved_reals(const struct peft *peft)
{
	(void)peft;
	return 0;
}

static struct dense map_of(const struct peft *peft, int weight)
{
	const struct work *work = peft->work;

	return (struct dense){peft->params, peft->first + weight, peft->k, work->scratch};
}

static real *tensor_w(const struct peft *peft, int tensor)
{
	return param_w(peft->params, peft->first + tensor);
}

void prefix_flatten(real *out, const struct peft *peft)
{
	const struct work *work = peft->work;
	const struct dense first = map_of(peft, W0), second = map_of(peft, W2);

	dense_fwd(work->z, &first, tensor_w(peft, WTE), peft->P);
	peft->k->activation(work->z, work->slope, work->z, (size_t)peft->P * (size_t)peft->options.mlp_width,
		peft->options.activation);
	dense_fwd(out, &second, work->z, peft->P);
	if (peft->origin != NULL)
		peft->k->add(out, peft->origin, (size_t)peft->P * (size_t)flat_width(peft));
}

static void prefix_prepare(const struct peft *peft)
{
	prefix_flatten(tensor_w(peft, FLAT), peft);
}

/* Gradients of the MLP are set, not added to: nobody else has a part in them. */
static void prefix_finish(const struct peft *peft)
{
	const struct work *work = peft->work;
	const struct dense first = map_of(peft, W0), second = map_of(peft, W2);
	const struct param *param = &peft->params->param[peft->first];
	real *g = peft->params->g, *d_flat = g + param[FLAT].at;

	for (int i = WTE; i <= B2; i++)
		memset(g + param[i].at, 0, param_size(&param[i]) * sizeof(real));
	/* flat = Z W2^T + b2 */
	dense_bwd(work->d_z, GEMM_SET, g, &second, d_flat, work->z, peft->P);
	/* Z = act(E W0^T + b0) */
	peft->k->mul(work->d_z, work->slope, (size_t)peft->P * (size_t)peft->options.mlp_width);
	dense_bwd(g + param[WTE].at, GEMM_SET, g, &first, work->d_z, tensor_w(peft, WTE), peft->P);
	/* flat itself is not trained */
	memset(d_flat, 0, param_size(&param[FLAT]) * sizeof(real));
}

const struct peft_method peft_prefix = {
	.name = "prefix",
	.declare = prefix_declare,
	.init = prefix_init,
	.uses = prefix_uses,
	.saved_reals = prefix_saved_reals,
	.prepare = prefix_prepare,
	.finish = prefix_finish,
};
