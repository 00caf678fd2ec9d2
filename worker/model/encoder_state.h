/* encoder_state: what a workspace keeps of one layer; shared by the encoder's forward and backward files. */
#ifndef OBLIVIATE_ENCODER_STATE_H
#define OBLIVIATE_ENCODER_STATE_H

#include "worker/base/rng.h"
#include "worker/model/encoder.h"

struct layer_state {
	real *x;		 /* [T, D] input */
	real *x_first;		 /* [sequences, D] its first rows; last layer only */
	real *q;		 /* [T, D] */
	real *k, *v;		 /* [T + sequences P, D]: per sequence the PEFT's P rows, then its own */
	real *p;		 /* probabilities, per sequence [H, queries, stride] */
	real *o;		 /* [T, D] heads' outputs */
	real *hat1, *rstd1, *a;	 /* [T, D], [T], [T, D]: after the attention's LayerNorm */
	real *slope;		 /* [T, F] activation's derivative */
	real *g;		 /* [T, F] activation; kept only where weights train */
	real *hat2, *rstd2;	 /* [T, D], [T] */
	real *y;		 /* [T, D] output: the next layer's x */
	real *saved[SITE_COUNT]; /* the PEFT's */
	real *dense[SITE_COUNT]; /* [T, D] an output before the PEFT, where one acts on it */
	real *tap;		 /* [H, P + n] per sequence */
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

/* Rows of queries and of keys where a sequence's begin: with a prefix there are more keys. */
static inline size_t query_start(const struct workspace *ws, bool first, int i)
{
	return (size_t)(first ? i : ws->start[i]);
}

static inline size_t key_start(const struct workspace *ws, const struct encoder *encoder, int i)
{
	return (size_t)(ws->start[i] + i * encoder_prefix(encoder));
}

/* One sequence's attention, as forward and backward both see it; gradients are the caller's to add. */
static inline struct attention attention_of(const struct workspace *ws, const struct encoder *encoder,
	const struct slice *slice, const struct pass *pass, int layer, int i)
{
	const struct config *c = encoder->config;
	const struct layer_state *s = &ws->layer[layer];
	const struct sequence *seq = &slice->seq[i];
	bool first = first_only(encoder, pass, layer);
	size_t key_row = key_start(ws, encoder, i) * (size_t)c->D;
	size_t query_row = query_start(ws, first, i) * (size_t)c->D;
	struct attention a = {.queries = first ? 1 : seq->n,
		.S = encoder_keys(encoder, seq->n),
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

static inline struct dropout peft_dropout(
	const struct encoder *encoder, const struct pass *pass, int layer, enum peft_site site)
{
	int place = site < SITE_PROJECTIONS ? (int)site : (int)site - SITE_PROJECTIONS;

	return dropout_at(pass, encoder->peft->options.dropout, layer, DROP_PEFT + place);
}

/* Of a sequence's own copy of the prefix: one row of P D elements. */
static inline struct dropout prefix_dropout(const struct encoder *encoder, const struct pass *pass, int layer,
	enum peft_site site, const struct sequence *seq)
{
	struct dropout dropout = peft_dropout(encoder, pass, layer, site);

	dropout.key = (uint32_t)rng_key(dropout.key, (uint64_t)seq->number);
	return dropout;
}

static inline struct peft_call peft_call_of(const struct workspace *ws, const struct encoder *encoder,
	const struct pass *pass, int layer, enum peft_site site, int rows, const int *ids)
{
	return (struct peft_call){.layer = layer,
		.site = site,
		.rows = rows,
		.ids = ids,
		.saved = ws->layer[layer].saved[site],
		.dropout = peft_dropout(encoder, pass, layer, site),
		.scratch = ws->scratch.panel,
		.spare = ws->spare};
}

static inline bool peft_at(const struct encoder *encoder, int layer, enum peft_site site)
{
	return encoder->peft != NULL && encoder->peft->method->uses(encoder->peft, layer, site);
}

/* How one half of a layer closes: out = LayerNorm(dropout(x W + b) + residual), with the PEFT's part where it has one. */
struct closing {
	const struct linear *linear;
	const real *ln_w, *ln_b;
	real *dense, *hat, *rstd, *out;
	struct dropout dropout; /* on x W + b */
};

static inline struct closing closing_of(const struct workspace *ws, const struct encoder *encoder,
	const struct pass *pass, int layer, enum peft_site site)
{
	const struct layer_weights *w = &encoder->weights->layer[layer];
	const struct layer_linears *l = &encoder->linear[layer];
	const struct layer_state *s = &ws->layer[layer];
	double p = encoder->config->hidden_dropout;

	if (site == SITE_ATTENTION_OUT)
		return (struct closing){.linear = &l->o,
			.ln_w = w->ln1_w,
			.ln_b = w->ln1_b,
			.dense = s->dense[site],
			.hat = s->hat1,
			.rstd = s->rstd1,
			.out = s->a,
			.dropout = dropout_at(pass, p, layer, DROP_ATTENTION_OUT)};
	return (struct closing){.linear = &l->f2,
		.ln_w = w->ln2_w,
		.ln_b = w->ln2_b,
		.dense = s->dense[site],
		.hat = s->hat2,
		.rstd = s->rstd2,
		.out = s->y,
		.dropout = dropout_at(pass, p, layer, DROP_FFN_OUT)};
}

#endif
