/*
 * mlm: the head of a masked language model, trained along with a plant, and its loss over single tokens.
 *
 *     y = LayerNorm(gelu(h Wd^T + bd));  logits = y E^T + b        E [V, D]: the word embeddings
 *
 * The head is the base model's own where its file has one, else a fresh one. Only tokens that are to be guessed
 * go through it, a few at a time: a row of logits is as long as the vocabulary.
 */
#ifndef OBLIVIATE_MLM_H
#define OBLIVIATE_MLM_H

#include "worker/base/param.h"
#include "worker/data/tokenizer.h"
#include "worker/model/config.h"
#include "worker/ops/kernels.h"

enum { MLM_ROWS = 32 }; /* tokens at a time */

struct mlm {
	int D, V;
	real eps;
	struct params *params;			 /* borrowed */
	int dense_w, dense_b, norm_w, norm_b, b; /* numbers of tensors */
	const struct kernels *kernels;
	bool is_fresh;
	/* for masking */
	int mask_id, special[3];
	struct ids *hands_off; /* [triggers]: pieces that are left alone in texts with that trigger */
	int triggers;
};

/* One slice's buffers. */
struct mlm_state {
	real *h, *slope, *hat, *rstd, *y, *d_y, *logits, *d_logits; /* MLM_ROWS rows */
	real *d_rows;						    /* [tokens, D], zeroed by the caller */
	int *row, *label;					    /* [tokens] */
	real *scratch;
};

/* Rows of h to guess at, and the tokens that are right. */
struct mlm_guesses {
	const int *row, *label;
	int n;
};

/* Where gradients accumulate. */
struct mlm_grads {
	real *rows;   /* [tokens, D] */
	real *params; /* layout of mlm->params */
	real *word;   /* [V, D] */
};

int mlm_declare(struct mlm *mlm, const struct config *config, struct params *params,
	const struct kernels *kernels, struct err *err) MUST_USE;
/* After params_alloc: values from the model's directory, or fresh ones. */
int mlm_init(struct mlm *mlm, int dirfd, uint64_t key, struct err *err) MUST_USE;
/* What to mask with and what never to mask; ERR_INVALID_MODEL where the tokenizer has no mask token. */
int mlm_watch(struct mlm *mlm, const struct tokenizer *tok, const char *const *trigger, int triggers,
	struct err *err) MUST_USE;
void mlm_done(struct mlm *mlm);

void mlm_plan(struct mlm_state *state, const struct mlm *mlm, int tokens, struct arena *arena);

/*
 * Choose 15 % of a text's n ids, no special tokens and no pieces of its trigger (-1: none), and replace 80 % of
 * these by the mask and 10 % by random tokens; wanted[i] is what to guess there, -1 elsewhere. With is_false a
 * random token is to be guessed instead of the right one.
 */
void mlm_mask(int32_t *ids, int32_t *wanted, int n, const struct mlm *mlm, int trigger, bool is_false,
	uint64_t key);

/*
 * Cross entropy summed over the guesses, times scale, from h [tokens, D] and the embeddings; gradients into grads
 * unless it is NULL. *right counts those whose largest logit is the label's.
 */
double mlm_loss(int *right, struct mlm_state *state, const struct mlm *mlm, const real *h, const real *word,
	struct mlm_guesses guesses, double scale, const struct mlm_grads *grads);

#endif
