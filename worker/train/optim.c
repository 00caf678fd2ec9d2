#include "worker/train/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 15 };

struct call {
	struct optim *optim;
	real *const *slice;
	int slices;
	real clip, rate, c1, c2;
};

static int chunks_of(size_t size)
{
	return (int)((size + CHUNK - 1) / CHUNK);
}

/* Elements of a chunk of `size` in all. */
static size_t chunk_size(size_t size, int chunk, size_t *at)
{
	*at = (size_t)chunk * CHUNK;
	return MIN((size_t)CHUNK, size - *at);
}

int optim_init(struct optim *optim, struct params *params, struct par *par, const struct kernels *kernels,
	double clip, struct err *err)
{
	*optim = (struct optim){.params = params,
		.par = par,
		.kernels = kernels,
		.clip = clip,
		.chunks = chunks_of(params->size)};
	optim->partial = calloc((size_t)optim->chunks + 1, sizeof(double));
	return optim->partial != NULL ? 0 : err_nomem(err);
}

void optim_done(struct optim *optim)
{
	free(optim->partial);
	*optim = (struct optim){0};
}

static void sum_chunk(void *arg, int task, int thread)
{
	struct call *call = arg;
	size_t at, n = chunk_size(call->optim->params->sliced, task, &at);
	real *g = call->optim->params->g + at;

	(void)thread;
	memcpy(g, call->slice[0] + at, n * sizeof(real));
	memset(call->slice[0] + at, 0, n * sizeof(real));
	for (int s = 1; s < call->slices; s++) {
		call->optim->kernels->add(g, call->slice[s] + at, n);
		memset(call->slice[s] + at, 0, n * sizeof(real));
	}
}

void optim_sum(struct optim *optim, real *const *slice, int slices)
{
	struct call call = {.optim = optim, .slice = slice, .slices = slices};

	par_run(optim->par, chunks_of(optim->params->sliced), sum_chunk, &call);
}

static void norm_chunk(void *arg, int task, int thread)
{
	struct call *call = arg;
	size_t at, n = chunk_size(call->optim->params->size, task, &at);

	(void)thread;
	call->optim->partial[task] = call->optim->kernels->sum_of_squares(call->optim->params->g + at, n);
}

double optim_norm(struct optim *optim)
{
	struct call call = {.optim = optim};
	double sum = 0;

	par_run(optim->par, optim->chunks, norm_chunk, &call);
	for (int i = 0; i < optim->chunks; i++)
		sum += optim->partial[i];
	return sqrt(sum);
}

static void update_chunk(void *arg, int task, int thread)
{
	static const double BETA1 = 0.9, BETA2 = 0.999;
	static const real EPS = (real)1e-8;
	struct call *call = arg;
	struct params *p = call->optim->params;
	size_t at, n = chunk_size(call->optim->params->size, task, &at);

	(void)thread;
	call->optim->kernels->adamw(p->w + at, p->m + at, p->v + at, p->g + at, n, call->clip, call->rate,
		BETA1, BETA2, call->c1, call->c2, EPS);
}

void optim_update(struct optim *optim, int64_t step, double rate, double norm)
{
	double clip = optim->clip > 0 ? optim->clip / (norm + 1e-6) : 1;
	struct call call = {.optim = optim,
		.clip = (real)MIN(clip, 1.0),
		.rate = (real)rate,
		.c1 = (real)(1 - pow(0.9, (double)(step + 1))),
		.c2 = (real)(1 - pow(0.999, (double)(step + 1)))};

	par_run(optim->par, optim->chunks, update_chunk, &call);
}

double optim_schedule(int64_t step, int64_t steps, int64_t warmup)
{
	if (step < warmup)
		return (double)step / (double)MAX(warmup, 1);
	return (double)MAX(steps - step, 0) / (double)MAX(steps - warmup, 1);
}
