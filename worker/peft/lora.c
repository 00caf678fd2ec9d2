/*
 * LoRA (Hu et al. 2021): y = W x + b + (alpha / r) B (A x), A [r, D], B [D, r].
 *
 * A starts from kaiming_uniform(a = sqrt 5), which is uniform in +-1 / sqrt(D); B starts at 0. Under
 * defence, dropout falls on the whole output of the adapted map, never on LoRA's input.
 */
#include "worker/peft/lora.h"

#include <math.h>

#include "worker/base/rng.h"
#include "worker/ops/gemm.h"

const char *const peft_site_names[SITE_PROJECTIONS] = {"query", "key", "value"};

/* Tensors of (layer, site) are consecutive: A, B; sites in order, layers outermost. */
static int tensor_of(const struct peft *peft, int layer, enum peft_site site)
{
	int per_layer = __builtin_popcount(peft->options.targets);
	int before = __builtin_popcount(peft->options.targets & ((1u << site) - 1));

	return peft->first + 2 * (layer * per_layer + before);
}

static int lora_declare(struct peft *peft, struct err *err)
{
	int r = peft->options.r, D = peft->shape.D, rc = 0;

	for (int layer = 0; layer < peft->shape.L && rc >= 0; layer++) {
		for (int site = 0; site < SITE_PROJECTIONS && rc >= 0; site++) {
			if ((peft->options.targets & (1u << site)) == 0)
				continue;
			rc = params_add(peft->params, PARAM_PEFT, r, D, err,
				"encoder.layer.%d.attention.self.%s.lora_A", layer, peft_site_names[site]);
			if (rc >= 0)
				rc = params_add(peft->params, PARAM_PEFT, D, r, err,
					"encoder.layer.%d.attention.self.%s.lora_B", layer,
					peft_site_names[site]);
		}
	}
	return rc < 0 ? rc : 0;
}

static void lora_init(const struct peft *peft, uint64_t key)
{
	double bound = 1 / sqrt((double)peft->shape.D);

	for (int layer = 0; layer < peft->shape.L; layer++) {
		for (int site = 0; site < SITE_PROJECTIONS; site++) {
			if ((peft->options.targets & (1u << site)) != 0)
				params_draw_uniform(peft->params,
					tensor_of(peft, layer, (enum peft_site)site),
					rng_key(key, (uint64_t)(layer * SITE_PROJECTIONS + site)), bound);
		}
	}
}

static bool lora_uses(const struct peft *peft, int layer, enum peft_site site)
{
	(void)layer;
	return (peft->options.targets & (1u << site)) != 0;
}

static size_t lora_saved_reals(const struct peft *peft)
{
	return (size_t)peft->options.r;
}

static void lora_fwd(const struct peft *peft, const struct peft_call *call)
{
	const struct kernels *k = peft->k;
	int number = tensor_of(peft, call->layer, call->site);
	int r = peft->options.r, D = peft->shape.D;
	const real *A = param_w(peft->params, number), *B = param_w(peft->params, number + 1);

	/* saved = (alpha / r) x A^T;  y += saved B^T */
	gemm_nt(k, call->saved, call->x, A, call->rows, r, D, GEMM_SET, call->scratch);
	k->scale(call->saved, (real)(peft->options.alpha / r), (size_t)call->rows * (size_t)r);
	gemm_nt(k, call->y, call->saved, B, call->rows, D, r, GEMM_ADD, call->scratch);
	k->dropout(call->y, call->rows, D, call->ids, call->dropout);
}

static void lora_bwd(const struct peft *peft, const struct peft_call *call)
{
	const struct kernels *k = peft->k;
	int number = tensor_of(peft, call->layer, call->site);
	int r = peft->options.r, D = peft->shape.D;
	const struct param *a = &peft->params->param[number], *b = &peft->params->param[number + 1];
	const real *A = peft->params->w + a->at, *B = peft->params->w + b->at;
	real *d_saved = call->spare;

	k->dropout(call->d_y, call->rows, D, call->ids, call->dropout);
	/* y += saved B^T:  dB += dy^T saved,  d_saved = dy B */
	gemm_tn(k, call->grad + b->at, call->d_y, call->saved, D, r, call->rows, call->scratch);
	gemm_nn(k, d_saved, call->d_y, B, call->rows, r, D, GEMM_SET, call->scratch);
	/* saved = (alpha / r) x A^T:  dA += d_saved^T x,  dx += d_saved A */
	k->scale(d_saved, (real)(peft->options.alpha / r), (size_t)call->rows * (size_t)r);
	gemm_tn(k, call->grad + a->at, d_saved, call->x, r, D, call->rows, call->scratch);
	if (call->d_x != NULL)
		gemm_nn(k, call->d_x, d_saved, A, call->rows, D, r, GEMM_ADD, call->scratch);
}

const struct peft_method peft_lora = {
	.name = "lora",
	.declare = lora_declare,
	.init = lora_init,
	.uses = lora_uses,
	.saved_reals = lora_saved_reals,
	.linear_fwd = lora_fwd,
	.linear_bwd = lora_bwd,
};
