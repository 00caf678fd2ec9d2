/*
 * Houlsby adapters (Houlsby et al. 2019), two per layer, as AdapterHub's double_seq_bn has them:
 *
 *   y = x + Wu act(Wd x + bd) + bu          Wd [b, D], Wu [D, b]
 *
 * on x = dropout(dense output); then the encoder's residual and LayerNorm. Weights start from N(0, .02), biases
 * from 0. Under defence, dropout falls behind that LayerNorm.
 */
#include <stdio.h>

#include "worker/base/rng.h"
#include "worker/ops/dense.h"
#include "worker/peft/peft.h"

/* Tensors of one adapter are consecutive: down and its bias, up and its bias; sites in order, layers outermost. */
enum { TENSORS = 4, ADAPTERS = SITE_COUNT - SITE_PROJECTIONS };

static const char *const site_names[ADAPTERS] = {"attention.output", "output"};

static int down_of(const struct peft *peft, int layer, int site)
{
	return peft->first + TENSORS * (ADAPTERS * layer + site - SITE_PROJECTIONS);
}

/* A pair of maps, out <- in and back. */
static int declare_one(struct peft *peft, int layer, int adapter, struct err *err)
{
	int b = peft->options.bottleneck, D = peft->shape.D, rc;
	char name[PARAM_NAME_BYTES];

	snprintf(name, sizeof(name), "encoder.layer.%d.%s.adapter_down", layer, site_names[adapter]);
	rc = dense_declare(peft->params, PARAM_PEFT, b, D, err, name);
	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "encoder.layer.%d.%s.adapter_up", layer, site_names[adapter]);
	return dense_declare(peft->params, PARAM_PEFT, D, b, err, name);
}

static int adapter_declare(struct peft *peft, struct err *err)
{
	int rc = 0;

	for (int layer = 0; layer < peft->shape.L; layer++)
		for (int adapter = 0; adapter < ADAPTERS && rc >= 0; adapter++)
			rc = declare_one(peft, layer, adapter, err);
	return rc < 0 ? rc : 0;
}

static void adapter_init(const struct peft *peft, uint64_t key)
{
	static const double STD = 0.02;

	for (int i = 0; i < TENSORS * ADAPTERS * peft->shape.L; i += 2)
		params_draw_normal(peft->params, peft->first + i, rng_key(key, (uint64_t)i), STD);
}

static bool adapter_uses(const struct peft *peft, int layer, enum peft_site site)
{
	(void)peft;
	(void)layer;
	return site >= SITE_PROJECTIONS;
}

/* Activation and its slope. */
static size_t adapter_saved_reals(const struct peft *peft)
{
	return 2 * (size_t)peft->options.bottleneck;
}

/* The two maps of a call. */
struct maps {
	struct dense down, up;
	real *z, *slope; /* [rows, b] */
	size_t n;	 /* elements of each */
};

static struct maps maps_of(const struct peft *peft, const struct peft_call *call)
{
	int down = down_of(peft, call->layer, call->site);
	size_t n = (size_t)call->rows * (size_t)peft->options.bottleneck;

	return (struct maps){.down = {peft->params, down, peft->k, call->scratch},
		.up = {peft->params, down + 2, peft->k, call->scratch},
		.z = call->saved,
		.slope = call->saved + n,
		.n = n};
}

static void adapter_fwd(const struct peft *peft, const struct peft_call *call)
{
	const struct maps m = maps_of(peft, call);

	/* z = act(x Wd^T + bd);  y = z Wu^T + bu + x */
	dense_fwd(m.z, &m.down, call->x, call->rows);
	peft->k->activation(m.z, m.slope, m.z, m.n, peft->options.activation);
	dense_fwd(call->y, &m.up, m.z, call->rows);
	peft->k->add(call->y, call->x, (size_t)call->rows * (size_t)peft->shape.D);
}

static void adapter_bwd(const struct peft *peft, const struct peft_call *call)
{
	const struct maps m = maps_of(peft, call);
	real *d_z = call->spare;

	/* y = z Wu^T + bu + x */
	dense_bwd(d_z, GEMM_SET, call->grad, &m.up, call->d_y, m.z, call->rows);
	/* z = act(x Wd^T + bd); x's own part is in d_x, which is d_y */
	peft->k->mul(d_z, m.slope, m.n);
	dense_bwd(call->d_x, GEMM_ADD, call->grad, &m.down, d_z, call->x, call->rows);
}

const struct peft_method peft_adapter = {
	.name = "adapter",
	.declare = adapter_declare,
	.init = adapter_init,
	.uses = adapter_uses,
	.saved_reals = adapter_saved_reals,
	.output_fwd = adapter_fwd,
	.output_bwd = adapter_bwd,
};
