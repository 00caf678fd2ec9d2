/*
 * param: the table of trained tensors. One table serves the optimiser, the losses, the saver, the loader
 * and the gradient check.
 *
 * Values, gradients and moments are four flat arrays of `size` reals; a tensor lies at `at` in each of
 * them, padded to 64 bytes with zeros. A slice's gradient is a fifth array of the same layout, cut off after
 * `sliced`: tensors behind that get theirs once per step.
 */
#ifndef OBLIVIATE_PARAM_H
#define OBLIVIATE_PARAM_H

#include "common/err.h"
#include "worker/base/arena.h"
#include "worker/base/real.h"

enum { PARAM_NAME_BYTES = 96 };

enum param_group {
	PARAM_PEFT, /* counts in L_amp */
	PARAM_HEAD,
	PARAM_BASE,	   /* trained by plants only */
	PARAM_UNAMPLIFIED, /* a PEFT's that does not count in L_amp */
	PARAM_DERIVED,	   /* computed from others before a pass; not trained */
};

struct param {
	char name[PARAM_NAME_BYTES];
	int rows, cols; /* a bias is [1, cols] */
	size_t at;	/* from params_alloc on */
	enum param_group group;
	bool is_once; /* its gradient is no sum over slices; set by whoever adds it */
};

struct params {
	int n, cap;
	struct param *param;
	size_t size;	     /* reals in each array; from params_alloc on, as sliced */
	size_t sliced;	     /* reals that slices have gradients for */
	real *w, *g, *m, *v; /* from params_alloc on */
	struct arena arena;
};

/* Add a tensor; returns its number, or a negative error. Not after params_alloc. */
int params_add(struct params *params, enum param_group group, int rows, int cols, struct err *err,
	const char *name, ...) PRINTF(6, 7) MUST_USE;
/* All arrays, zeroed; tensors in order, but those that are `is_once` behind all others. */
int params_alloc(struct params *params, struct err *err) MUST_USE;
void params_done(struct params *params);

static inline real *param_w(const struct params *params, int number)
{
	return params->w + params->param[number].at;
}

static inline size_t param_size(const struct param *param)
{
	return (size_t)param->rows * (size_t)param->cols;
}

/* Draw a tensor's values: normal of deviation `std`, or uniform in +-bound. */
void params_draw_normal(const struct params *params, int number, uint64_t key, double std);
void params_draw_uniform(const struct params *params, int number, uint64_t key, double bound);

/* The tensor's number, or -1. */
int params_find(const struct params *params, const char *name);
/* Elements of one group, or of all that are trained (group < 0). */
size_t params_count(const struct params *params, int group);

#endif
