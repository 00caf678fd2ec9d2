/*
 * The forward pass. Per layer, post-LayerNorm as BERT and RoBERTa have it:
 *
 *   q, k, v = x W + b (and the PEFT's part);  o = attention(q, k, v)
 *   a = LayerNorm(dropout(o Wo + bo) + x)
 *   y = LayerNorm(dropout(act(a W1 + b1) W2 + b2) + a)
 *
 * A PEFT may act on what is dropped out in the last two lines, and put keys and values before k and v.
 */
#include <string.h>

#include "worker/model/encoder_state.h"

/* Where each sequence's rows, probabilities and scores begin; the rows' numbers in the batch. */
static void lay_out(struct workspace *ws, const struct encoder *encoder, const struct slice *slice)
{
	size_t H = (size_t)encoder->config->H;

	for (int i = 0; i < slice->n; i++) {
		const struct sequence *seq = &slice->seq[i];
		int keys = encoder_keys(encoder, seq->n);
		size_t stride = (size_t)encoder->kernels->attention_stride(keys);

		ws->start[i + 1] = ws->start[i] + seq->n;
		ws->p_start[i + 1] = ws->p_start[i] + H * (size_t)seq->n * stride;
		ws->tap_start[i + 1] = ws->tap_start[i] + H * (size_t)keys;
		ws->first_ids[i] = seq->row;
		for (int t = 0; t < seq->n; t++)
			ws->row_ids[ws->start[i] + t] = seq->row + t;
	}
}

int encoder_position(const struct config *config, const struct sequence *seq, int t, int *counted)
{
	if (config->family == FAMILY_BERT)
		return t;
	if (seq->ids[t] == config->pad_id)
		return config->pad_id;
	return config->position_offset + (*counted)++;
}

static void embed(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass)
{
	const struct config *c = encoder->config;
	const struct weights *w = encoder->weights;
	size_t D = (size_t)c->D;
	real *x = ws->layer[0].x;

	for (int i = 0; i < slice->n; i++) {
		const struct sequence *seq = &slice->seq[i];
		int counted = 0;

		for (int t = 0; t < seq->n; t++) {
			const real *word = w->word + (size_t)seq->ids[t] * D;
			const real *position =
				w->position + (size_t)encoder_position(c, seq, t, &counted) * D;
			const real *type = w->type + type_row(c, seq, t);
			real *u = ws->embedding_hat + (size_t)(ws->start[i] + t) * D;

#pragma omp simd
			for (size_t j = 0; j < D; j++)
				u[j] = word[j] + position[j] + type[j];
		}
	}
	encoder->kernels->norm_fwd(x, ws->embedding_hat, ws->embedding_rstd, ws->embedding_hat, NULL, w->ln_w,
		w->ln_b, slice->T, c->D, (real)c->layer_norm_eps, NULL, (struct dropout){0});
	encoder->kernels->dropout(
		x, slice->T, c->D, ws->row_ids, dropout_at(pass, c->hidden_dropout, c->L, DROP_EMBEDDING));
}

/* y = x W + b, and the PEFT's part where it has one. */
static void project(struct workspace *ws, const struct encoder *encoder, const struct pass *pass, int layer,
	enum peft_site site, real *y, const real *x, int rows, const int *ids)
{
	const struct layer_linears *l = &encoder->linear[layer];
	const struct linear *const linear[] = {
		[SITE_QUERY] = &l->q, [SITE_KEY] = &l->k, [SITE_VALUE] = &l->v};

	linear_fwd(linear[site], encoder->kernels, y, x, rows, ws->scratch);
	if (peft_at(encoder, layer, site)) {
		struct peft_call call = peft_call_of(ws, encoder, pass, layer, site, rows, ids);

		call.x = x;
		call.y = y;
		encoder->peft->method->linear_fwd(encoder->peft, &call);
	}
}

/* The first row of each sequence. */
static void gather_first(
	real *out, const struct workspace *ws, const struct slice *slice, const real *x, int D)
{
	for (int i = 0; i < slice->n; i++)
		memcpy(out + (size_t)i * (size_t)D, x + (size_t)ws->start[i] * (size_t)D,
			(size_t)D * sizeof(real));
}

static enum kernel_activation kernel_activation_of(enum activation activation)
{
	static const enum kernel_activation table[] = {
		[ACT_GELU] = KERNEL_GELU,
		[ACT_GELU_TANH] = KERNEL_GELU_TANH,
		[ACT_RELU] = KERNEL_RELU,
		[ACT_SILU] = KERNEL_SILU,
	};

	return table[activation];
}

/* One sequence's copy of the PEFT's keys or values of a layer, dropped out. */
static void copy_prefix(real *out, const struct encoder *encoder, const struct pass *pass, int layer,
	enum peft_site site, const struct sequence *seq)
{
	static const int only_row = 0;
	const struct peft *peft = encoder->peft;
	size_t D = (size_t)encoder->config->D;

	for (int p = 0; p < peft->P; p++)
		memcpy(out + (size_t)p * D, peft->params->w + peft_prefix_at(peft, layer, site, p),
			D * sizeof(real));
	encoder->kernels->dropout(
		out, 1, peft->P * (int)D, &only_row, prefix_dropout(encoder, pass, layer, site, seq));
}

/*
 * Keys or values of all sequences, the prefix before each. Those of tokens are computed at y's end and moved
 * up: a sequence's place never lies behind where it was.
 */
static void project_keys(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, int layer, enum peft_site site, real *y)
{
	size_t P = (size_t)encoder_prefix(encoder), D = (size_t)encoder->config->D;
	real *tokens = y + (size_t)slice->n * P * D;

	project(ws, encoder, pass, layer, site, tokens, ws->layer[layer].x, slice->T, ws->row_ids);
	for (int i = 0; i < slice->n && P > 0; i++) {
		real *own = y + key_start(ws, encoder, i) * D;

		memmove(own + P * D, tokens + (size_t)ws->start[i] * D,
			(size_t)slice->seq[i].n * D * sizeof(real));
		copy_prefix(own, encoder, pass, layer, site, &slice->seq[i]);
	}
}

/* out = LayerNorm(dropout(x W + b) + residual), the PEFT on what is dropped out and its dropout on out. */
static void close_half(struct workspace *ws, const struct encoder *encoder, const struct pass *pass,
	int layer, enum peft_site site, const real *x, const real *residual, int rows, const int *ids)
{
	const struct config *c = encoder->config;
	const struct kernels *k = encoder->kernels;
	struct closing half = closing_of(ws, encoder, pass, layer, site);
	struct peft_call call = {0};

	if (peft_at(encoder, layer, site)) {
		linear_fwd(half.linear, k, half.dense, x, rows, ws->scratch);
		k->dropout(half.dense, rows, c->D, ids, half.dropout);
		half.dropout = (struct dropout){0};
		call = peft_call_of(ws, encoder, pass, layer, site, rows, ids);
		call.x = half.dense;
		call.y = half.hat;
		encoder->peft->method->output_fwd(encoder->peft, &call);
	} else {
		linear_fwd(half.linear, k, half.hat, x, rows, ws->scratch);
	}
	k->norm_fwd(half.out, half.hat, half.rstd, half.hat, residual, half.ln_w, half.ln_b, rows, c->D,
		(real)c->layer_norm_eps, ids, half.dropout);
	k->dropout(half.out, rows, c->D, ids, call.dropout);
}

/* s->y from s->a and its input: everything after the heads. */
static void layer_rest(struct workspace *ws, const struct encoder *encoder, const struct pass *pass,
	int layer, const real *residual, int rows, const int *ids)
{
	const struct config *c = encoder->config;
	struct layer_state *s = &ws->layer[layer];
	real *g = s->g != NULL ? s->g : ws->d[0];

	close_half(ws, encoder, pass, layer, SITE_ATTENTION_OUT, s->o, residual, rows, ids);
	linear_fwd(&encoder->linear[layer].f1, encoder->kernels, g, s->a, rows, ws->scratch);
	encoder->kernels->activation(g, pass->train ? s->slope : NULL, g, (size_t)rows * (size_t)c->F,
		kernel_activation_of(c->activation));
	close_half(ws, encoder, pass, layer, SITE_FFN_OUT, g, s->a, rows, ids);
}

static void layer_fwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, int layer)
{
	struct layer_state *s = &ws->layer[layer];
	bool first = first_only(encoder, pass, layer);
	int rows = first ? slice->n : slice->T;
	const int *ids = first ? ws->first_ids : ws->row_ids;
	const real *x = s->x;

	if (first) {
		gather_first(s->x_first, ws, slice, s->x, encoder->config->D);
		x = s->x_first;
	}
	project(ws, encoder, pass, layer, SITE_QUERY, s->q, x, rows, ids);
	project_keys(ws, encoder, slice, pass, layer, SITE_KEY, s->k);
	project_keys(ws, encoder, slice, pass, layer, SITE_VALUE, s->v);
	for (int i = 0; i < slice->n; i++) {
		struct attention a = attention_of(ws, encoder, slice, pass, layer, i);

		if (!pass->want_scores)
			a.cls_scores = NULL;
		encoder->kernels->attention_fwd(&a);
	}
	layer_rest(ws, encoder, pass, layer, x, rows, ids);
}

void encoder_fwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass)
{
	const struct config *c = encoder->config;
	const real *y = ws->layer[c->L - 1].y;

	lay_out(ws, encoder, slice);
	embed(ws, encoder, slice, pass);
	for (int l = 0; l < c->L; l++)
		layer_fwd(ws, encoder, slice, pass, l);
	if (pass->all_rows)
		gather_first(ws->cls, ws, slice, y, c->D);
	else
		memcpy(ws->cls, y, (size_t)slice->n * (size_t)c->D * sizeof(real));
}
