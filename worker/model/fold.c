#include "worker/model/fold.h"

#include <stdlib.h>
#include <string.h>

#include "worker/ops/gemm.h"

/* The matrix of a layer that a projection multiplies by. */
static const real **matrix_of(struct layer_weights *layer, int site)
{
	const real **const matrices[SITE_PROJECTIONS] = {
		[SITE_QUERY] = &layer->q_w, [SITE_KEY] = &layer->k_w, [SITE_VALUE] = &layer->v_w};

	return matrices[site];
}

static int allocate(struct fold *out, const struct config *config, const struct lora *lora, struct err *err)
{
	size_t D = (size_t)config->D, layers = (size_t)config->L;

	out->weights.layer = calloc(layers, sizeof(*out->weights.layer));
	out->changed = calloc((size_t)lora_maps(lora) * D * D + 1, sizeof(real));
	return out->weights.layer == NULL || out->changed == NULL ? err_nomem(err) : 0;
}

/* W + scale B A; scaled [D, r] is room for scale B. */
static void add_map(real *w, const real *base, const struct lora *lora, int map,
	const struct kernels *kernels, real *scaled, real *scratch)
{
	int D = lora->D, r = lora->r;
	size_t n = (size_t)D * (size_t)r;

	memcpy(w, base, (size_t)D * (size_t)D * sizeof(real));
	memcpy(scaled, lora->B[map], n * sizeof(real));
	kernels->scale(scaled, (real)(lora->alpha / r), n);
	gemm_nn(kernels, w, scaled, lora->A[map], D, D, r, GEMM_ADD, scratch);
}

static void add_lora(struct fold *fold, const struct lora *lora, const struct kernels *kernels, real *scaled,
	real *scratch)
{
	size_t D = (size_t)lora->D;
	int map = 0;

	for (int layer = 0; layer < lora->L; layer++)
		for (int site = 0; site < SITE_PROJECTIONS; site++) {
			const real **matrix = matrix_of(&fold->weights.layer[layer], site);
			real *w = fold->changed + (size_t)map * D * D;

			if ((lora->targets & (1u << site)) == 0)
				continue;
			add_map(w, *matrix, lora, map++, kernels, scaled, scratch);
			*matrix = w;
		}
}

int fold_init(struct fold *out, const struct weights *base, const struct config *config,
	const struct lora *lora, const struct kernels *kernels, struct err *err)
{
	real *scaled = calloc((size_t)lora->D * (size_t)lora->r + 1, sizeof(real));
	real *scratch = calloc(kernels->gemm_scratch_reals(lora->r) + 1, sizeof(real));
	struct layer_weights *layer;
	int rc;

	*out = (struct fold){0};
	rc = scaled == NULL || scratch == NULL ? err_nomem(err) : allocate(out, config, lora, err);
	if (rc == 0) {
		layer = out->weights.layer;
		memcpy(layer, base->layer, (size_t)config->L * sizeof(*layer));
		out->weights = *base;
		out->weights.layer = layer;
		out->weights.store = NULL; /* the base's */
		add_lora(out, lora, kernels, scaled, scratch);
	}
	free(scaled);
	free(scratch);
	return rc;
}

void fold_done(struct fold *fold)
{
	free(fold->weights.layer);
	free(fold->changed);
	*fold = (struct fold){0};
}
