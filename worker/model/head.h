/*
 * head: the classification head on the first token's last hidden state h, as RoBERTa has it:
 *
 *   logits = dropout(tanh(dropout(h) Wd^T + bd)) Wo^T + bo        Wd [D, D], Wo [K, D]
 *
 * For BERT this is the pooler and the classifier of BertForSequenceClassification. N(0, .02), biases 0.
 */
#ifndef OBLIVIATE_HEAD_H
#define OBLIVIATE_HEAD_H

#include "worker/base/param.h"
#include "worker/ops/kernels.h"

struct head {
	int D, K;
	double dropout;
	struct params *params;		    /* borrowed */
	int dense_w, dense_b, out_w, out_b; /* numbers of tensors */
	const struct kernels *kernels;
};

/* Buffers for n rows, in one thread's hands. */
struct head_state {
	real *in;    /* [n, D] h after dropout */
	real *mid;   /* [n, D] tanh, then dropout */
	real *slope; /* [n, D] */
	real *d_mid; /* [n, D] */
	real *scratch;
};

/* Dropouts of one step: on h and on the tanh. */
struct head_dropouts {
	struct dropout in, mid;
};

int head_declare(struct head *head, int D, int K, double dropout, struct params *params,
	const struct kernels *kernels, struct err *err) MUST_USE;
void head_init(const struct head *head, uint64_t key);
struct head_dropouts head_dropouts(const struct head *head, uint64_t key);

void head_plan(struct head_state *state, const struct head *head, int rows, struct arena *arena);

/* logits [rows, K] of h [rows, D]; ids number the rows for dropout. */
void head_fwd(real *logits, struct head_state *state, const struct head *head, const real *h, int rows,
	const int *ids, struct head_dropouts dropouts);
/* From d_logits: gradients accumulate into grad (layout of params); d_h is overwritten. */
void head_bwd(real *d_h, real *grad, struct head_state *state, const struct head *head, const real *d_logits,
	int rows, const int *ids, struct head_dropouts dropouts);

#endif
