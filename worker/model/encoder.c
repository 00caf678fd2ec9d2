#include "worker/model/encoder.h"

#include <string.h>

#include "worker/model/encoder_state.h"
#include "worker/ops/gemm.h"

static void plan_panels(struct encoder *encoder)
{
	const struct kernels *k = encoder->kernels;
	int D = encoder->config->D, F = encoder->config->F, L = encoder->config->L;
	size_t square = k->gemm_packed_reals(D, D);

	encoder->panels = arena_take(&encoder->arena, (size_t)L, sizeof(*encoder->panels));
	for (int l = 0; l < L; l++) {
		struct layer_panels p = {
			.q = arena_take(&encoder->arena, square, sizeof(real)),
			.k = arena_take(&encoder->arena, square, sizeof(real)),
			.v = arena_take(&encoder->arena, square, sizeof(real)),
			.o = arena_take(&encoder->arena, square, sizeof(real)),
			.f1 = arena_take(&encoder->arena, k->gemm_packed_reals(F, D), sizeof(real)),
			.f2 = arena_take(&encoder->arena, k->gemm_packed_reals(D, F), sizeof(real)),
		};

		if (encoder->panels != NULL)
			encoder->panels[l] = p;
	}
}

static void pack(const struct encoder *encoder, real *panels, const real *w, int out, int in)
{
	encoder->kernels->gemm_pack(
		panels, &(struct gemm){.n = out, .k = in, .b = w, .b_row = 1, .b_col = (size_t)in});
}

int encoder_init(struct encoder *out, const struct config *config, const struct weights *weights,
	const struct kernels *kernels, bool is_frozen, struct err *err)
{
	int D = config->D, F = config->F, rc;

	*out = (struct encoder){.config = config, .weights = weights, .kernels = kernels};
	if (!is_frozen)
		return 0;
	plan_panels(out);
	rc = arena_alloc(&out->arena, err);
	if (rc != 0)
		return rc;
	plan_panels(out);
	for (int l = 0; l < config->L; l++) {
		const struct layer_weights *w = &weights->layer[l];
		struct layer_panels *p = &out->panels[l];

		pack(out, p->q, w->q_w, D, D);
		pack(out, p->k, w->k_w, D, D);
		pack(out, p->v, w->v_w, D, D);
		pack(out, p->o, w->o_w, D, D);
		pack(out, p->f1, w->f1_w, F, D);
		pack(out, p->f2, w->f2_w, D, F);
	}
	return 0;
}

void encoder_done(struct encoder *encoder)
{
	arena_done(&encoder->arena);
	*encoder = (struct encoder){0};
}

static real *take(struct workspace *ws, size_t rows, int cols)
{
	return arena_take(&ws->arena, rows * (size_t)cols, sizeof(real));
}

/* Reals that all sequences' probabilities of one layer need: sum over sequences of H n stride(n). */
static size_t probability_reals(const struct encoder *encoder, struct slice_limits limits)
{
	size_t stride = (size_t)encoder->kernels->attention_stride(limits.longest);

	return (size_t)encoder->config->H * (size_t)limits.tokens * stride;
}

static void plan_layer(struct workspace *ws, const struct encoder *encoder, struct layer_state *s, int layer,
	bool trains_base)
{
	const struct config *c = encoder->config;
	size_t T = (size_t)ws->limits.tokens;

	s->x_first = take(ws, (size_t)ws->limits.sequences, c->D);
	s->q = take(ws, T, c->D);
	s->k = take(ws, T, c->D);
	s->v = take(ws, T, c->D);
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
	s->tap = take(ws, T * (size_t)c->H, 1);
	for (int site = 0; site < SITE_COUNT; site++)
		if (peft_at(encoder, layer, (enum peft_site)site))
			s->saved[site] = take(ws, T, (int)encoder->peft->method->saved_reals(encoder->peft));
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
	ws->gemm_scratch = take(ws, k->gemm_scratch_reals(MAX(MAX(c->D, c->F), (int)MAX(T, peft))), 1);
	ws->attention_scratch = take(ws, k->attention_scratch_reals(ws->limits.longest, c->D / c->H), 1);
	ws->spare = take(ws, T * peft, 1);
	for (size_t i = 0; i < NELEM(ws->d) && ws->keeps; i++)
		ws->d[i] = take(ws, T, i == 0 ? MAX(c->D, c->F) : c->D);
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
