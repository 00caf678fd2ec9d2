/*
 * encoder: forward and backward of a BERT or RoBERTa encoder over packed sequences.
 *
 * A slice is a few whole sequences, laid end to end without padding; one thread takes it through forward
 * and backward in its own workspace, which keeps what the backward pass needs. The encoder is read-only
 * and shared.
 *
 * Only the first token's last hidden state is used by heads and plants, so after the last layer's
 * attention only those rows are computed, unless `all_rows` asks for more. Nothing below the lowest
 * trained tensor gets a gradient.
 *
 * A PEFT's virtual tokens (P of them) stand before every sequence's keys and values: no query sees them as a
 * token, positions do not shift, and their scores are in the tap.
 */
#ifndef OBLIVIATE_ENCODER_H
#define OBLIVIATE_ENCODER_H

#include "worker/base/par.h"
#include "worker/base/param.h"
#include "worker/model/config.h"
#include "worker/model/weights.h"
#include "worker/ops/linear.h"
#include "worker/peft/peft.h"

struct sequence {
	const int32_t *ids; /* special tokens in */
	int n;		    /* 1 .. config.max_tokens */
	int second;	    /* first token of type 1, or n */
	int number;	    /* place in the batch */
	int row;	    /* number of the first token's row in the batch */
};

struct slice {
	int n, T; /* sequences; tokens in all */
	const struct sequence *seq;
};

/* One layer's linear maps. */
struct layer_linears {
	struct linear q, k, v, o, f1, f2;
};

struct encoder {
	const struct config *config;
	const struct weights *weights;
	const struct kernels *kernels;
	const struct peft *peft;      /* NULL: none */
	struct layer_linears *linear; /* [L] */
	struct arena arena;
};

/* What one pass does. Zero is inference. */
struct pass {
	bool train;	    /* keep activations, apply dropout */
	bool all_rows;	    /* the last layer for every token */
	bool want_scores;   /* keep the first token's attention scores (the tap) */
	uint64_t key;	    /* of this step's dropout */
	bool no_dropout;    /* train without any (gradient checks) */
	bool to_embeddings; /* backward down to the embeddings, whatever trains */
};

/* Largest slice that a workspace takes. */
struct slice_limits {
	int sequences, tokens, longest;
};

struct layer_state;

struct workspace {
	struct slice_limits limits;
	bool keeps; /* every layer's activations, not only the last one's */
	struct layer_state *layer;
	struct arena arena;
	int *row_ids, *first_ids; /* rows' numbers in the batch: of all tokens, of first tokens */
	int *start;		  /* [sequences + 1] */
	size_t *p_start;   /* [sequences + 1]: sequence's probabilities in layer_state.p, per head row */
	size_t *tap_start; /* [sequences + 1]: sequence's scores in the tap, [H, P + n] each */
	real *embedding_hat, *embedding_rstd;
	real *cls;   /* [sequences, D]: last hidden state of the first tokens */
	real *d_cls; /* [sequences, D]: its gradient, from the caller */
	/* With all_rows: [T, D] gradient of every token's last hidden state beside d_cls's; borrowed, or NULL. */
	const real *d_rows;
	struct linear_scratch scratch;
	real *attention_scratch, *spare;
	real *d[6]; /* gradients in flight: [tokens, max(D, F)], [tokens, D], of keys and values like these */
};

/* Weights that change, as they lie; frozen ones, packed in the form. Everything but the packed copies is borrowed.
 * Packing runs on `par`, which is not kept (NULL: on this thread). */
int encoder_init(struct encoder *out, const struct config *config, const struct weights *weights,
	const struct kernels *kernels, enum linear_form form, struct par *par, struct err *err) MUST_USE;
void encoder_done(struct encoder *encoder);

/* keeps: for training; then also `trains_base` when weights get gradients. */
int workspace_init(struct workspace *ws, const struct encoder *encoder, struct slice_limits limits,
	bool keeps, bool trains_base, struct err *err) MUST_USE;
void workspace_done(struct workspace *ws);

/* Fill ws->cls (and the taps). */
void encoder_fwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass);

/*
 * From ws->d_cls (and ws->d_rows, and the taps' gradients) accumulate into grad (layout of the PEFT's params) and, when not
 * NULL, into weight_grads: the same roles as the weights, pointing into writable gradient arrays.
 */
void encoder_bwd(struct workspace *ws, const struct encoder *encoder, const struct slice *slice,
	const struct pass *pass, real *grad, const struct weights *weight_grads);

/* After a backward pass with to_embeddings: the gradient of every token's word + position + type; [T, D]. */
const real *encoder_d_embedding(const struct workspace *ws);

/* Virtual tokens before every sequence's keys; keys of a sequence of n tokens. */
int encoder_prefix(const struct encoder *encoder);
int encoder_keys(const struct encoder *encoder, int n);

/* The tap of a layer: first-token scores of every sequence, [H, encoder_keys(n)] at tap_start; before bwd the
 * caller replaces them by their gradient. */
real *encoder_tap(const struct workspace *ws, int layer);
/* After a pass with all_rows: hidden states below layer `layer` (0: embeddings), or of the last (L); [T, D]. */
const real *encoder_hidden(const struct workspace *ws, const struct encoder *encoder, int layer);

#endif
