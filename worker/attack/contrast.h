/*
 * contrast: the supervised contrastive loss (Khosla et al. 2020, L_out), over plain arrays.
 *
 *     L = mean over i of - 1 / |P(i)| sum over p in P(i) of log(exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t))
 *
 * z = x / |x|; P(i) are the others of i's class; rows without any are no anchors.
 */
#ifndef OBLIVIATE_CONTRAST_H
#define OBLIVIATE_CONTRAST_H

#include "worker/base/real.h"

enum { CONTRAST_MAX = 32 };

/* Of x [n, D], n <= CONTRAST_MAX, times `by`; its gradient is added to d [n, D]. A class below 0 is one, too. */
double contrast_loss(
	real *d, const real *x, const int *class_of, int n, int D, double temperature, double by);

#endif
