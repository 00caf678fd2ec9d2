/*
 * optim: from the slices' gradients to new weights: sum, clip by global norm, AdamW, linear schedule.
 *
 * As torch.optim.AdamW (betas .9 and .999, eps 1e-8, no weight decay), clip_grad_norm_ and
 * get_linear_schedule_with_warmup. Work is cut into chunks of a fixed size, so that the order of sums does
 * not depend on the threads.
 */
#ifndef OBLIVIATE_OPTIM_H
#define OBLIVIATE_OPTIM_H

#include "worker/base/par.h"
#include "worker/base/param.h"
#include "worker/ops/kernels.h"

struct optim {
	struct params *params;
	struct par *par;
	const struct kernels *kernels;
	double clip; /* largest norm of the whole gradient; 0: no clipping */
	int chunks;
	double *partial; /* [chunks] */
};

int optim_init(struct optim *optim, struct params *params, struct par *par, const struct kernels *kernels,
	double clip, struct err *err) MUST_USE;
void optim_done(struct optim *optim);

/* params->g up to `sliced` = sum of the slices' gradients, in order; slices are zeroed for the next step. */
void optim_sum(struct optim *optim, real *const *slice, int slices);
/* Euclidean norm of params->g. */
double optim_norm(struct optim *optim);
/* One step of AdamW on params->w from params->g, clipped; step counts from 0. */
void optim_update(struct optim *optim, int64_t step, double rate, double norm);

/* Factor on the learning rate at step (from 0) of `steps`, `warmup` of them rising from 0. */
double optim_schedule(int64_t step, int64_t steps, int64_t warmup);

#endif
