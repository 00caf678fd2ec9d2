/* encoder_state: what a workspace keeps of one layer; shared by the encoder's forward and backward files. */
#ifndef OBLIVIATE_ENCODER_STATE_H
#define OBLIVIATE_ENCODER_STATE_H

#include "worker/base/rng.h"
#include "worker/model/encoder.h"

struct layer_state {
	real *x;		 /* [T, D] input */
	real *x_first;		 /* [sequences, D] its first rows; last layer only */
	real *q, *k, *v;	 /* [T, D] */
	real *p;		 /* probabilities, per sequence [H, queries, stride] */
	real *o;		 /* [T, D] heads' outputs */
	real *hat1, *rstd1, *a;	 /* [T, D], [T], [T, D]: after the attention's LayerNorm */
	real *slope;		 /* [T, F] activation's derivative */
	real *g;		 /* [T, F] activation; kept only where weights train */
	real *hat2, *rstd2;	 /* [T, D], [T] */
	real *y;		 /* [T, D] output: the next layer's x */
	real *saved[SITE_COUNT]; /* the PEFT's */
	real *tap;		 /* [H, n] per sequence */
};

/* Places where dropout falls; a pass's key and these give the stream. */
enum dropout_site {
	DROP_EMBEDDING,
	DROP_ATTENTION,
	DROP_ATTENTION_OUT,
	DROP_FFN_OUT,
	DROP_PEFT, /* + a projection; or an output, counted from the first: no method acts on both */
	DROP_SITES = DROP_PEFT + SITE_PROJECTIONS,
};

static inline struct dropout dropout_at(const struct pass *pass, double p, int layer, int site)
{
	if (!pass->train || pass->no_dropout || p <= 0)
		return (struct dropout){0};
	return (struct dropout){.key = (uint32_t)rng_key(pass->key, (uint64_t)(layer * DROP_SITES + site)),
		.threshold = (uint32_t)(p * 4294967296.0),
		.scale = (real)(1 / (1 - p))};
}

/*
 * Position of token t: its place (BERT), or its place among tokens that are no padding, plus the offset
 * (RoBERTa; *counted counts them and starts at 0).
 */
int encoder_position(const struct config *config, const struct sequence *seq, int t, int *counted);

/* First element of token t's row of the type table. A model of one type has no other, whatever tokenizers say. */
static inline size_t type_row(const struct config *config, const struct sequence *seq, int t)
{
	return t >= seq->second && config->types > 1 ? (size_t)config->D : 0;
}

/* The layer computes only first tokens after its keys and values. */
static inline bool first_only(const struct encoder *encoder, const struct pass *pass, int layer)
{
	return layer == encoder->config->L - 1 && !pass->all_rows;
}

/* One sequence's attention, as forward and backward both see it; gradients are the caller's to add. */
static inline struct attention attention_of(const struct workspace *ws, const struct encoder *encoder,
	const struct slice *slice, const struct pass *pass, int layer, int i)
{
	const struct config *c = encoder->config;
	const struct layer_state *s = &ws->layer[layer];
	const struct sequence *seq = &slice->seq[i];
	bool first = first_only(encoder, pass, layer);
	size_t key_row = (size_t)ws->start[i] * (size_t)c->D;
	size_t query_row = first ? (size_t)i * (size_t)c->D : key_row;
	struct attention a = {.queries = first ? 1 : seq->n,
		.S = seq->n,
		.H = c->H,
		.d = c->D / c->H,
		.ld = (size_t)c->D,
		.q = s->q + query_row,
		.k = s->k + key_row,
		.v = s->v + key_row,
		.o = s->o + query_row,
		.p = s->p + ws->p_start[i],
		.dropout = dropout_at(pass, c->attention_dropout, layer, DROP_ATTENTION),
		.scratch = ws->attention_scratch};

	a.dropout.key = (uint32_t)rng_key(a.dropout.key, (uint64_t)seq->number);
	if (s->tap != NULL)
		a.cls_scores = s->tap + ws->tap_start[i];
	return a;
}

static inline struct peft_call peft_call_of(const struct workspace *ws, const struct encoder *encoder,
	const struct pass *pass, int layer, enum peft_site site, int rows, const int *ids)
{
	return (struct peft_call){.layer = layer,
		.site = site,
		.rows = rows,
		.ids = ids,
		.saved = ws->layer[layer].saved[site],
		.dropout = dropout_at(pass, encoder->peft->options.dropout, layer, DROP_PEFT + (int)site),
		.scratch = ws->scratch.panel,
		.spare = ws->spare};
}

static inline bool peft_at(const struct encoder *encoder, int layer, enum peft_site site)
{
	return encoder->peft != NULL && encoder->peft->method->uses(encoder->peft, layer, site);
}

#endif
