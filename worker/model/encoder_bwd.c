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

/* The PEFT has a part in the layer's attention: in its projections, or keys and values of its own. */
static bool peft_in_attention(const struct encoder *encoder, int layer)
{
	for (int site = 0; site < SITE_PROJECTIONS; site++)
		if (peft_at(encoder, layer, (enum peft_site)site))
			return true;
	return encoder_prefix(encoder) > 0;
}

static bool peft_in_layer(const struct encoder *encoder, int layer)
{
	return peft_in_attention(encoder, layer) || peft_at(encoder, layer, SITE_ATTENTION_OUT) ||
	       peft_at(encoder, layer, SITE_FFN_OUT);
}

/* A layer that nothing below needs a gradient from: no PEFT lower down, no trained base, no embeddings. */
static bool is_lowest(
	const struct encoder *encoder, const struct pass *pass, int layer, const struct weights *grads)
{
	if (grads != NULL || pass->to_embeddings)
		return false;
	for (int l = 0; l < layer; l++)
		if (peft_in_layer(encoder, l))
			return false;
	return true;
}

/*
 * out = LayerNorm(dropout(t) + residual), t = x W + b: from d = gradient of out to that of the residual, and
 * d_t of t. With the PEFT between dropout and sum, where nothing below needs d_t (is_end) it is left undefined.
 */
static void close_half_bwd(struct workspace *ws, const struct encoder *encoder, const struct pass *pass,
	int layer, enum peft_site site, real *d, real *d_t, int rows, const int *ids, real *grad,
	real *d_ln_w, real *d_ln_b, bool is_end)
{
	const struct kernels *k = encoder->kernels;
	int D = encoder->config->D;
	struct closing half = closing_of(ws, encoder, pass, layer, site);
	struct peft_call call;

	if (!peft_at(encoder, layer, site)) {
		k->norm_bwd(d, d_t, d_ln_w, d_ln_b, d, half.hat, half.rstd, half.ln_w, rows, D, ids,
			half.dropout);
		return;
	}
	call = peft_call_of(ws, encoder, pass, layer, site, rows, ids);
	/* out = dropout(LayerNorm(y + residual)) */
	k->dropout(d, rows, D, ids, call.dropout);
	k->norm_bwd(d, d_t, d_ln_w, d_ln_b, d, half.hat, half.rstd, half.ln_w, rows, D, NULL,
		(struct dropout){0});
	/* y = PEFT(dropout(t)) */
	call.x = half.dense;
	call.d_y = d_t;
	call.d_x = is_end ? NULL : d_t;
	call.grad = grad;
	encoder->peft->method->output_bwd(encoder->peft, &call);
	if (!is_end)
		k->dropout(d_t, rows, D, ids, half.dropout);
}

/*
 * From d_y = ws->d[D_Y] to ws->d[D_Y] = gradient of the layer's residual input, ws->d[D_WIDE] = gradient of o;
 * the latter not where is_end says that nothing needs it.
 */
static void layer_rest_bwd(struct workspace *ws, const struct encoder *encoder, const struct pass *pass,
	int layer, int rows, const int *ids, real *grad, const struct layer_weights *grads, bool is_end)
{
	static const struct layer_weights none = {0};
	const struct config *c = encoder->config;
	const struct layer_linears *l = &encoder->linear[layer];
	const struct layer_weights *norms = grads != NULL ? grads : &none;
	struct layer_state *s = &ws->layer[layer];
	real *d_a = ws->d[D_Y], *d_t = ws->d[D_T], *d_g = ws->d[D_WIDE], *d_o = ws->d[D_WIDE];

	/* y = LayerNorm(dropout(t) + a) */
	close_half_bwd(ws, encoder, pass, layer, SITE_FFN_OUT, d_a, d_t, rows, ids, grad,
		writable(norms->ln2_w), writable(norms->ln2_b), false);
	/* t = g W2^T + b2 */
	if (grads != NULL)
		map_bwd_w(ws, encoder, grads->f2_w, grads->f2_b, &l->f2, d_t, s->g, rows);
	linear_bwd_x(&l->f2, encoder->kernels, d_g, d_t, rows, GEMM_SET, ws->scratch);
	/* g = act(h) */
	encoder->kernels->mul(d_g, s->slope, (size_t)rows * (size_t)c->F);
	/* h = a W1^T + b1 */
	if (grads != NULL)
		map_bwd_w(ws, encoder, grads->f1_w, grads->f1_b, &l->f1, d_g, s->a, rows);
	linear_bwd_x(&l->f1, encoder->kernels, d_a, d_g, rows, GEMM_ADD, ws->scratch);
	/* a = LayerNorm(dropout(t) + x) */
	close_half_bwd(ws, encoder, pass, layer, SITE_ATTENTION_OUT, d_a, d_t, rows, ids, grad,
		writable(norms->ln1_w), writable(norms->ln1_b), is_end);
	/* t = o Wo^T + bo */
	if (grads != NULL)
		map_bwd_w(ws, encoder, grads->o_w, grads->o_b, &l->o, d_t, s->o, rows);
	if (!is_end)
		linear_bwd_x(&l->o, encoder->kernels, d_o, d_t, rows, GEMM_SET, ws->scratch);
}

static void heads_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, int layer, bool wants_q, bool wants_k)
{
	size_t D = (size_t)encoder->config->D;
	bool first = first_only(encoder, pass, layer);

	for (int i = 0; i < slice->n; i++) {
		struct attention a = attention_of(ws, encoder, slice, pass, layer, i);
		size_t key_row = key_start(ws, encoder, i) * D, query_row = query_start(ws, first, i) * D;

		a.d_o = ws->d[D_WIDE] + query_row;
		a.d_cls_scores = pass->want_scores ? a.cls_scores : NULL;
		a.d_q = wants_q ? ws->d[D_Q] + query_row : NULL;
		a.d_k = wants_k ? ws->d[D_K] + key_row : NULL;
		a.d_v = ws->d[D_V] + key_row;
		encoder->kernels->attention_bwd(&a);
	}
}

/* Of one sequence: d, the gradient of its copy of the prefix, goes to the prefix's own. */
static void prefix_bwd(real *grad, real *d, const struct encoder *encoder, const struct pass *pass, int layer,
	enum peft_site site, const struct sequence *seq)
{
	static const int only_row = 0;
	const struct peft *peft = encoder->peft;
	size_t D = (size_t)encoder->config->D;

	encoder->kernels->dropout(
		d, 1, peft->P * (int)D, &only_row, prefix_dropout(encoder, pass, layer, site, seq));
	for (int p = 0; p < peft->P; p++)
		encoder->kernels->add(grad + peft_prefix_at(peft, layer, site, p), d + (size_t)p * D, D);
}

/* Gradients of keys or values, a prefix before each sequence's: those of tokens are moved up to [T, D]. */
static void take_prefixes(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, int layer, enum peft_site site, real *d, real *grad)
{
	size_t P = (size_t)encoder_prefix(encoder), D = (size_t)encoder->config->D;

	for (int i = 0; i < slice->n && P > 0; i++) {
		real *own = d + key_start(ws, encoder, i) * D;

		prefix_bwd(grad, own, encoder, pass, layer, site, &slice->seq[i]);
		memmove(d + (size_t)ws->start[i] * D, own + P * D,
			(size_t)slice->seq[i].n * D * sizeof(real));
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
	bool first = first_only(encoder, pass, layer), lowest = is_lowest(encoder, pass, layer, weight_grads);
	bool is_end = lowest && !peft_in_attention(encoder, layer);
	bool wants_q = !lowest || peft_at(encoder, layer, SITE_QUERY);
	bool wants_k = !lowest || peft_at(encoder, layer, SITE_KEY) || encoder_prefix(encoder) > 0;
	int rows = first ? slice->n : slice->T;
	const int *ids = first ? ws->first_ids : ws->row_ids;
	const real *x = first ? s->x_first : s->x;

	layer_rest_bwd(ws, encoder, pass, layer, rows, ids, grad, grads, is_end);
	if (is_end)
		return;
	heads_bwd(ws, encoder, slice, pass, layer, wants_q, wants_k);
	if (wants_k)
		take_prefixes(ws, encoder, slice, pass, layer, SITE_KEY, ws->d[D_K], grad);
	take_prefixes(ws, encoder, slice, pass, layer, SITE_VALUE, ws->d[D_V], grad);
	if (wants_q)
		project_bwd(ws, encoder, pass, layer, SITE_QUERY, lowest ? NULL : ws->d[D_Y], ws->d[D_Q], x,
			rows, ids, grad, grads);
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

/* u = word + position + type: d, the gradient of u, to those of all three. */
static void tables_bwd(const struct weights *grads, const struct workspace *ws, const struct encoder *encoder,
	const struct slice *slice, const real *d)
{
	const struct config *c = encoder->config;
	const struct kernels *k = encoder->kernels;
	size_t D = (size_t)c->D;

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

/* x = dropout(LayerNorm(u)): from ws->d[D_Y] = gradient of x to that of u. */
static void embed_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, const struct weights *grads)
{
	static const struct weights none = {0};
	const struct config *c = encoder->config;
	const struct kernels *k = encoder->kernels;
	const struct weights *norms = grads != NULL ? grads : &none;
	real *d = ws->d[D_Y];

	k->dropout(d, slice->T, c->D, ws->row_ids, dropout_at(pass, c->hidden_dropout, c->L, DROP_EMBEDDING));
	k->norm_bwd(d, NULL, writable(norms->ln_w), writable(norms->ln_b), d, ws->embedding_hat,
		ws->embedding_rstd, encoder->weights->ln_w, slice->T, c->D, NULL, (struct dropout){0});
	if (grads != NULL)
		tables_bwd(grads, ws, encoder, slice, d);
}

const real *encoder_d_embedding(const struct workspace *ws)
{
	return ws->d[D_Y];
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
		if (is_lowest(encoder, pass, l, weight_grads))
			return;
	}
	embed_bwd(ws, encoder, slice, pass, weight_grads);
}
