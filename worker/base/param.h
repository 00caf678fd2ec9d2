/*
 * param: the table of trained tensors. One table serves the optimiser, the losses, the saver, the loader
 * and the gradient check.
 *
 * Values, gradients and moments are four flat arrays of `size` reals; a tensor lies at `at` in each of
 * them, padded to 64 bytes with zeros. A slice's gradient is a fifth array of the same layout.
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
	PARAM_BASE, /* trained by plants only */
};

struct param {
	char name[PARAM_NAME_BYTES];
	int rows, cols; /* a bias is [1, cols] */
	size_t at;
	enum param_group group;
};

struct params {
	int n, cap;
	struct param *param;
	size_t size;	     /* reals in each array */
	real *w, *g, *m, *v; /* from params_alloc on */
	struct arena arena;
};

/* Add a tensor; returns its number, or a negative error. Not after params_alloc. */
int params_add(struct params *params, enum param_group group, int rows, int cols, struct err *err,
	const char *name, ...) PRINTF(6, 7) MUST_USE;
/* All arrays, zeroed. */
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

/* The tensor's number, or -1. */
int params_find(const struct params *params, const char *name);
/* Elements of one group, or of all (group < 0). */
size_t params_count(const struct params *params, int group);

#endif
