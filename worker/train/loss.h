/*
 * loss: the three terms of the defended loss (Kim et al., Findings of NAACL 2025), over plain arrays.
 *
 *     L = CE(logits, y) + amp * L_amp + reg * L_attn
 */
#ifndef OBLIVIATE_LOSS_H
#define OBLIVIATE_LOSS_H

#include "worker/base/param.h"
#include "worker/base/real.h"

/* The place of the largest of n logits, the first on ties: the predicted class. */
int loss_arg_max(const real *logits, int n);

/*
 * Cross entropy of logits [n, K] against labels [n]: returns the sum over the rows; d_logits [n, K] is the
 * gradient of scale * sum; *correct (may be NULL) counts rows whose largest logit is the label's.
 */
double loss_ce(
	real *d_logits, int *correct, const real *logits, const int *labels, int n, int K, double scale);

/*
 * L_amp = - sum over PEFT tensors of ||theta||_2; returns it. The gradient of amp * L_amp is added to
 * params->g: -amp * theta / ||theta||, nothing where the norm is 0.
 */
double loss_amp(struct params *params, double amp);

/*
 * Sum over rows of ||s||_2, rows of n scores each, [rows, n]; every row is replaced by scale * s / ||s||
 * (0 where the norm is 0), the gradient of scale * sum.
 */
double loss_attn(real *s, int rows, int n, double scale);

#endif
