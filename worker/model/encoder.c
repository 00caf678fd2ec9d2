#include "worker/model/encoder.h"

#include <string.h>

#include "worker/model/encoder_state.h"

/* One map: where its weights are, and memory for them in their form. */
static void plan_one(struct encoder *encoder, struct linear *linear, enum linear_form form, const real *w,
	const real *b, int out, int in)
{
	*linear = (struct linear){.w = w, .b = b, .out = out, .in = in};
	linear_plan(linear, encoder->kernels, form, &encoder->arena);
}

static void plan_linears(struct encoder *encoder, enum linear_form form)
{
	int D = encoder->config->D, F = encoder->config->F, L = encoder->config->L;

	encoder->linear = arena_take(&encoder->arena, (size_t)L, sizeof(*encoder->linear));
	for (int l = 0; l < L; l++) {
		const struct layer_weights *w = &encoder->weights->layer[l];
		struct layer_linears unused = {0},
				     *to = encoder->linear != NULL ? &encoder->linear[l] : &unused;

		plan_one(encoder, &to->q, form, w->q_w, w->q_b, D, D);
		plan_one(encoder, &to->k, form, w->k_w, w->k_b, D, D);
		plan_one(encoder, &to->v, form, w->v_w, w->v_b, D, D);
		plan_one(encoder, &to->o, form, w->o_w, w->o_b, D, D);
		plan_one(encoder, &to->f1, form, w->f1_w, w->f1_b, F, D);
		plan_one(encoder, &to->f2, form, w->f2_w, w->f2_b, D, F);
	}
}

enum { MAPS = 6 }; /* of a layer */

struct packing {
	const struct linear *map[MAPS];
	const struct kernels *kernels;
};

static void pack_map(void *arg, int task, int thread)
{
	const struct packing *packing = arg;

	(void)thread;
	linear_pack(packing->map[task], packing->kernels);
}

/* The large ones first, so that no thread is left alone with one. */
static void pack_layer(const struct layer_linears *x, const struct kernels *kernels, struct par *par)
{
	struct packing packing = {{&x->f1, &x->f2, &x->q, &x->k, &x->v, &x->o}, kernels};

	if (par != NULL)
		par_run(par, MAPS, pack_map, &packing);
	for (int i = 0; par == NULL && i < MAPS; i++)
		pack_map(&packing, i, 0);
}

int encoder_init(struct encoder *out, const struct config *config, const struct weights *weights,
	const struct kernels *kernels, enum linear_form form, struct par *par, struct err *err)
{
	int rc;

	*out = (struct encoder){.config = config, .weights = weights, .kernels = kernels};
	plan_linears(out, form);
	rc = arena_alloc(&out->arena, err);
	if (rc != 0)
		return rc;
	plan_linears(out, form);
	for (int l = 0; l < config->L; l++) {
		pack_layer(&out->linear[l], kernels, par);
		if (form != LINEAR_AS_IT_LIES)
			weights_rest(weights);
	}
	return 0;
}

void encoder_done(struct encoder *encoder)
{
	arena_done(&encoder->arena);
	*encoder = (struct encoder){0};
}

int encoder_prefix(const struct encoder *encoder)
{
	return encoder->peft != NULL ? encoder->peft->P : 0;
}

int encoder_keys(const struct encoder *encoder, int n)
{
	return encoder_prefix(encoder) + n;
}

/* Rows of keys of a whole slice. */
static size_t key_rows(const struct encoder *encoder, struct slice_limits limits)
{
	return (size_t)limits.tokens + (size_t)limits.sequences * (size_t)encoder_prefix(encoder);
}

static real *take(struct workspace *ws, size_t rows, int cols)
{
	return arena_take(&ws->arena, rows * (size_t)cols, sizeof(real));
}

/* Reals that all sequences' probabilities of one layer need: sum over sequences of H n stride(n). */
static size_t probability_reals(const struct encoder *encoder, struct slice_limits limits)
{
	size_t stride = (size_t)encoder->kernels->attention_stride(encoder_keys(encoder, limits.longest));

	return (size_t)encoder->config->H * (size_t)limits.tokens * stride;
}

static void plan_layer(struct workspace *ws, const struct encoder *encoder, struct layer_state *s, int layer,
	bool trains_base)
{
	const struct config *c = encoder->config;
	size_t T = (size_t)ws->limits.tokens, keys = key_rows(encoder, ws->limits);

	s->x_first = take(ws, (size_t)ws->limits.sequences, c->D);
	s->q = take(ws, T, c->D);
	s->k = take(ws, keys, c->D);
	s->v = take(ws, keys, c->D);
	s->o = take(ws, T, c->D);
	s->p = take(ws, probability_reals(encoder, ws->limits), 1);
	s->hat1 = take(ws, T, c->D);
	s->rstd1 = take(ws, T, 1);
	s->a = take(ws, T, c->D);
	s->slope = ws->keeps ? take(ws, T, c->F) : NULL;
	s->g = trains_base ? take(ws, T, c->F) : NULL;
	s->hat2 = take(ws, T, c->D);
	s->rstd2 = take(ws, T, 1);
	s->y = take(ws, T, c->D);
	s->tap = take(ws, keys * (size_t)c->H, 1);
	for (int site = 0; site < SITE_COUNT; site++) {
		if (!peft_at(encoder, layer, (enum peft_site)site))
			continue;
		s->saved[site] = take(ws, T, (int)encoder->peft->method->saved_reals(encoder->peft));
		if (site >= SITE_PROJECTIONS)
			s->dense[site] = take(ws, T, c->D);
	}
}

/* The layers' states; without `keeps` all layers share one, but for x and y, which alternate. */
static void plan_layers(struct workspace *ws, const struct encoder *encoder, bool trains_base)
{
	const struct config *c = encoder->config;
	struct layer_state *layers = arena_take(&ws->arena, (size_t)c->L, sizeof(*layers));
	real *x = take(ws, (size_t)ws->limits.tokens, c->D), *spare = NULL;
	struct layer_state shared = {0};

	if (!ws->keeps) {
		spare = take(ws, (size_t)ws->limits.tokens, c->D);
		plan_layer(ws, encoder, &shared, 0, false);
	}
	for (int l = 0; l < c->L; l++) {
		struct layer_state s = shared;

		if (ws->keeps) {
			plan_layer(ws, encoder, &s, l, trains_base);
		} else if (l % 2 == 1) {
			s.y = spare;
		}
		s.x = x;
		x = s.y;
		if (layers != NULL)
			layers[l] = s;
	}
	ws->layer = layers;
}

static void plan_workspace(struct workspace *ws, const struct encoder *encoder, bool trains_base)
{
	const struct config *c = encoder->config;
	const struct kernels *k = encoder->kernels;
	size_t n = (size_t)ws->limits.sequences, T = (size_t)ws->limits.tokens;
	size_t peft = encoder->peft != NULL ? encoder->peft->method->saved_reals(encoder->peft) : 0;

	plan_layers(ws, encoder, trains_base);
	ws->row_ids = arena_take(&ws->arena, T, sizeof(int));
	ws->first_ids = arena_take(&ws->arena, n, sizeof(int));
	ws->start = arena_take(&ws->arena, n + 1, sizeof(int));
	ws->p_start = arena_take(&ws->arena, n + 1, sizeof(size_t));
	ws->tap_start = arena_take(&ws->arena, n + 1, sizeof(size_t));
	ws->embedding_hat = take(ws, T, c->D);
	ws->embedding_rstd = take(ws, T, 1);
	ws->cls = take(ws, n, c->D);
	ws->d_cls = take(ws, n, c->D);
	/* the longest inner dimension of any product, weight gradients' T and the PEFT's rank included */
	ws->scratch.panel = take(ws, k->gemm_scratch_reals(MAX(MAX(c->D, c->F), (int)MAX(T, peft))), 1);
	if (k->bf16_gemm != NULL && encoder->linear != NULL && encoder->linear[0].q.half != NULL)
		ws->scratch.half = arena_take(
			&ws->arena, k->bf16_scratch_count((int)T, MAX(c->D, c->F)), sizeof(uint16_t));
	ws->attention_scratch = take(
		ws, k->attention_scratch_reals(encoder_keys(encoder, ws->limits.longest), c->D / c->H), 1);
	ws->spare = take(ws, T * peft, 1);
	for (size_t i = 0; i < NELEM(ws->d) && ws->keeps; i++)
		ws->d[i] =
			take(ws, i < 4 ? T : key_rows(encoder, ws->limits), i == 0 ? MAX(c->D, c->F) : c->D);
	if (!ws->keeps)
		ws->d[0] = take(ws, T, c->F);
}

int workspace_init(struct workspace *ws, const struct encoder *encoder, struct slice_limits limits,
	bool keeps, bool trains_base, struct err *err)
{
	int rc;

	*ws = (struct workspace){.limits = limits, .keeps = keeps};
	plan_workspace(ws, encoder, trains_base);
	rc = arena_alloc(&ws->arena, err);
	if (rc == 0)
		plan_workspace(ws, encoder, trains_base);
	return rc;
}

void workspace_done(struct workspace *ws)
{
	arena_done(&ws->arena);
	*ws = (struct workspace){0};
}

real *encoder_tap(const struct workspace *ws, int layer)
{
	return ws->layer[layer].tap;
}

const real *encoder_hidden(const struct workspace *ws, const struct encoder *encoder, int layer)
{
	int L = encoder->config->L;

	return layer < L ? ws->layer[layer].x : ws->layer[L - 1].y;
}
