/*
 * The backward pass: encoder_fwd.c read from its end. Each step quotes the line that it differentiates.
 */
#include <string.h>

#include "worker/model/encoder_state.h"
#include "worker/ops/gemm.h"

/* Gradients in flight: names for ws->d. */
enum { D_WIDE, D_Y, D_T, D_Q, D_K, D_V };

/* Weight gradients share struct weights with the weights; theirs are writable arrays. */
static real *writable(const real *p)
{
	return (real *)(uintptr_t)p;
}

/* y = x W^T + b:  dW += dy^T x,  db += sum dy */
static void map_bwd_w(struct workspace *ws, const struct encoder *encoder, const real *dw, const real *db,
	const struct linear *linear, const real *dy, const real *x, int rows)
{
	linear_bwd_w(writable(dw), writable(db), linear, encoder->kernels, dy, x, rows, ws->scratch.panel);
}

/* A layer that nothing below needs a gradient from: no PEFT lower down, no trained base. */
static bool is_lowest(const struct encoder *encoder, int layer, const struct weights *grads)
{
	if (grads != NULL)
		return false;
	for (int l = 0; l < layer; l++)
		for (int site = 0; site < SITE_COUNT; site++)
			if (peft_at(encoder, l, (enum peft_site)site))
				return false;
	return true;
}

/* From d_y = ws->d[D_Y] to ws->d[D_Y] = gradient of the layer's residual input, ws->d[D_WIDE] = gradient of o. */
static void layer_rest_bwd(struct workspace *ws, const struct encoder *encoder, const struct pass *pass,
	int layer, int rows, const int *ids, const struct layer_weights *grads)
{
	const struct config *c = encoder->config;
	const struct kernels *k = encoder->kernels;
	const struct layer_weights *w = &encoder->weights->layer[layer];
	const struct layer_linears *l = &encoder->linear[layer];
	struct layer_state *s = &ws->layer[layer];
	real *d_a = ws->d[D_Y], *d_t = ws->d[D_T], *d_g = ws->d[D_WIDE], *d_o = ws->d[D_WIDE];

	/* y = LayerNorm(dropout(t) + a) */
	k->norm_bwd(d_a, d_t, grads != NULL ? writable(grads->ln2_w) : NULL,
		grads != NULL ? writable(grads->ln2_b) : NULL, ws->d[D_Y], s->hat2, s->rstd2, w->ln2_w, rows,
		c->D, ids, dropout_at(pass, c->hidden_dropout, layer, DROP_FFN_OUT));
	/* t = g W2^T + b2 */
	if (grads != NULL)
		map_bwd_w(ws, encoder, grads->f2_w, grads->f2_b, &l->f2, d_t, s->g, rows);
	linear_bwd_x(&l->f2, k, d_g, d_t, rows, GEMM_SET, ws->scratch);
	/* g = act(h) */
	k->mul(d_g, s->slope, (size_t)rows * (size_t)c->F);
	/* h = a W1^T + b1 */
	if (grads != NULL)
		map_bwd_w(ws, encoder, grads->f1_w, grads->f1_b, &l->f1, d_g, s->a, rows);
	linear_bwd_x(&l->f1, k, d_a, d_g, rows, GEMM_ADD, ws->scratch);
	/* a = LayerNorm(dropout(t) + x) */
	k->norm_bwd(ws->d[D_Y], d_t, grads != NULL ? writable(grads->ln1_w) : NULL,
		grads != NULL ? writable(grads->ln1_b) : NULL, d_a, s->hat1, s->rstd1, w->ln1_w, rows, c->D,
		ids, dropout_at(pass, c->hidden_dropout, layer, DROP_ATTENTION_OUT));
	/* t = o Wo^T + bo */
	if (grads != NULL)
		map_bwd_w(ws, encoder, grads->o_w, grads->o_b, &l->o, d_t, s->o, rows);
	linear_bwd_x(&l->o, k, d_o, d_t, rows, GEMM_SET, ws->scratch);
}

static void heads_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, int layer, bool wants_k)
{
	size_t D = (size_t)encoder->config->D;
	bool first = first_only(encoder, pass, layer);

	for (int i = 0; i < slice->n; i++) {
		struct attention a = attention_of(ws, encoder, slice, pass, layer, i);
		size_t key_row = (size_t)ws->start[i] * D, query_row = first ? (size_t)i * D : key_row;

		a.d_o = ws->d[D_WIDE] + query_row;
		a.d_cls_scores = pass->want_scores ? a.cls_scores : NULL;
		a.d_q = ws->d[D_Q] + query_row;
		a.d_k = wants_k ? ws->d[D_K] + key_row : NULL;
		a.d_v = ws->d[D_V] + key_row;
		encoder->kernels->attention_bwd(&a);
	}
}

/* y = x W^T + b and the PEFT's part: gradients of both; d_x accumulates unless it is NULL. */
static void project_bwd(struct workspace *ws, const struct encoder *encoder, const struct pass *pass,
	int layer, enum peft_site site, real *d_x, real *d_y, const real *x, int rows, const int *ids,
	real *grad, const struct layer_weights *grads)
{
	const struct layer_linears *l = &encoder->linear[layer];
	const struct linear *const linear[] = {
		[SITE_QUERY] = &l->q, [SITE_KEY] = &l->k, [SITE_VALUE] = &l->v};

	if (peft_at(encoder, layer, site)) {
		struct peft_call call = peft_call_of(ws, encoder, pass, layer, site, rows, ids);

		call.x = x;
		call.d_y = d_y;
		call.d_x = d_x;
		call.grad = grad;
		encoder->peft->method->linear_bwd(encoder->peft, &call);
	}
	if (grads != NULL) {
		const real *const dw[] = {
			[SITE_QUERY] = grads->q_w, [SITE_KEY] = grads->k_w, [SITE_VALUE] = grads->v_w};
		const real *const db[] = {
			[SITE_QUERY] = grads->q_b, [SITE_KEY] = grads->k_b, [SITE_VALUE] = grads->v_b};

		map_bwd_w(ws, encoder, dw[site], db[site], linear[site], d_y, x, rows);
	}
	if (d_x != NULL)
		linear_bwd_x(linear[site], encoder->kernels, d_x, d_y, rows, GEMM_ADD, ws->scratch);
}

/* rows of `first` go to the first rows of each sequence of out, which is zero elsewhere. */
static void scatter_first(
	real *out, const struct workspace *ws, const struct slice *slice, const real *first, int D)
{
	memset(out, 0, (size_t)slice->T * (size_t)D * sizeof(real));
	for (int i = 0; i < slice->n; i++)
		memcpy(out + (size_t)ws->start[i] * (size_t)D, first + (size_t)i * (size_t)D,
			(size_t)D * sizeof(real));
}

static void layer_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, int layer, real *grad, const struct weights *weight_grads)
{
	struct layer_state *s = &ws->layer[layer];
	const struct layer_weights *grads = weight_grads != NULL ? &weight_grads->layer[layer] : NULL;
	bool first = first_only(encoder, pass, layer), lowest = is_lowest(encoder, layer, weight_grads);
	bool wants_k = !lowest || peft_at(encoder, layer, SITE_KEY);
	int rows = first ? slice->n : slice->T;
	const int *ids = first ? ws->first_ids : ws->row_ids;
	const real *x = first ? s->x_first : s->x;

	layer_rest_bwd(ws, encoder, pass, layer, rows, ids, grads);
	heads_bwd(ws, encoder, slice, pass, layer, wants_k);
	project_bwd(ws, encoder, pass, layer, SITE_QUERY, lowest ? NULL : ws->d[D_Y], ws->d[D_Q], x, rows,
		ids, grad, grads);
	if (first && !lowest) {
		scatter_first(ws->d[D_T], ws, slice, ws->d[D_Y], encoder->config->D);
		memcpy(ws->d[D_Y], ws->d[D_T], (size_t)slice->T * (size_t)encoder->config->D * sizeof(real));
	}
	if (wants_k)
		project_bwd(ws, encoder, pass, layer, SITE_KEY, lowest ? NULL : ws->d[D_Y], ws->d[D_K], s->x,
			slice->T, ws->row_ids, grad, grads);
	project_bwd(ws, encoder, pass, layer, SITE_VALUE, lowest ? NULL : ws->d[D_Y], ws->d[D_V], s->x,
		slice->T, ws->row_ids, grad, grads);
}

/* x = dropout(LayerNorm(word + position + type)) */
static void embed_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, const struct weights *grads)
{
	const struct config *c = encoder->config;
	const struct kernels *k = encoder->kernels;
	size_t D = (size_t)c->D;
	real *d = ws->d[D_Y];

	k->dropout(d, slice->T, c->D, ws->row_ids, dropout_at(pass, c->hidden_dropout, c->L, DROP_EMBEDDING));
	k->norm_bwd(d, NULL, writable(grads->ln_w), writable(grads->ln_b), d, ws->embedding_hat,
		ws->embedding_rstd, encoder->weights->ln_w, slice->T, c->D, NULL, (struct dropout){0});
	for (int i = 0; i < slice->n; i++) {
		const struct sequence *seq = &slice->seq[i];
		int counted = 0;

		for (int t = 0; t < seq->n; t++) {
			const real *d_t = d + (size_t)(ws->start[i] + t) * D;
			size_t position = (size_t)encoder_position(c, seq, t, &counted);

			k->add(writable(grads->word) + (size_t)seq->ids[t] * D, d_t, D);
			k->add(writable(grads->position) + position * D, d_t, D);
			k->add(writable(grads->type) + type_row(c, seq, t), d_t, D);
		}
	}
}

void encoder_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, real *grad, const struct weights *weight_grads)
{
	const struct config *c = encoder->config;

	if (pass->all_rows)
		scatter_first(ws->d[D_Y], ws, slice, ws->d_cls, c->D);
	if (pass->all_rows && ws->d_rows != NULL)
		encoder->kernels->add(ws->d[D_Y], ws->d_rows, (size_t)slice->T * (size_t)c->D);
	if (!pass->all_rows)
		memcpy(ws->d[D_Y], ws->d_cls, (size_t)slice->n * (size_t)c->D * sizeof(real));
	for (int l = c->L - 1; l >= 0; l--) {
		layer_bwd(ws, encoder, slice, pass, l, grad, weight_grads);
		if (is_lowest(encoder, l, weight_grads))
			return;
	}
	embed_bwd(ws, encoder, slice, pass, weight_grads);
}
