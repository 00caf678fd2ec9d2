/*
 * train: the defended training step of a classifier over a frozen encoder.
 *
 *     L = CE(logits, y) + amp * L_amp + reg * L_attn
 *
 * The two weights may rise from 0 first (ramp), so that the task is there before they press: docs/adr/0004.
 *
 * A step takes a batch of texts: slices go through forward and backward on whichever thread is free, each
 * into its own gradient; sums are taken in the slices' order, so the bits do not depend on the threads.
 * A step allocates nothing.
 */
#ifndef OBLIVIATE_TRAIN_H
#define OBLIVIATE_TRAIN_H

#include "worker/base/par.h"
#include "worker/model/encoder.h"
#include "worker/model/head.h"
#include "worker/train/batch.h"
#include "worker/train/optim.h"

/* What is trained: params holds the PEFT's and the head's tensors. All borrowed. */
struct classifier {
	const struct encoder *encoder; /* with its peft */
	const struct head *head;
	struct params *params;
};

struct train_options {
	double amplify, attention; /* amp, reg: >= 0 */
	double ramp;		   /* the weights rise evenly from 0 over this share of the steps, 0..1 */
	bool attention_sum;	   /* L_attn as a sum and not a mean over layers, sequences and heads */
	double learning_rate;
	int64_t steps, warmup;
	double clip; /* gradient norm; 0: none */
	bool no_dropout;
	uint64_t key; /* of dropout: rng_key(seed, RNG_DROPOUT) */
};

struct step_result {
	double loss, ce, amplify, attention; /* the terms unweighted; loss weighted */
	double learning_rate, norm;
	int correct, texts, tokens;
};

struct trainer {
	struct classifier model;
	struct train_options options;
	struct par *par;
	struct optim optim;
	struct batch batch;
	struct lane_state *lane; /* [threads] */
	real **slice_grad;	 /* [max slices] */
	struct slice_sum *sum;	 /* [max slices] */
	struct arena arena;
	uint64_t step_key;
	double amplify, attention; /* the weights at this step */
};

/* For batches of at most batch_size texts of at most `longest` tokens. */
int trainer_init(struct trainer *trainer, const struct classifier *model, const struct train_options *options,
	struct par *par, int batch_size, int longest, struct err *err) MUST_USE;
void trainer_done(struct trainer *trainer);

/* Loss and gradient (params->g) of the texts rows[0..n-1] with the current weights. */
void trainer_gradient(struct trainer *trainer, struct step_result *result, const struct corpus *corpus,
	const int *rows, int n, int64_t step);
/* The gradient, then one optimiser step. */
void trainer_step(struct trainer *trainer, struct step_result *result, const struct corpus *corpus,
	const int *rows, int n, int64_t step);

#endif
