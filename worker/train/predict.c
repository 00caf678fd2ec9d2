#include "worker/train/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/loss.h"
#include "worker/train/sweep.h"

struct predict_lane {
	struct head_state head;
	real *logits, *d_logits;
	struct arena arena;
};

struct predict_call {
	const struct classifier *model;
	const struct corpus *corpus;
	int *label;
	double *ce;
	real *logits;
	struct predict_lane *lane; /* per thread */
};

static void plan_lane(struct predict_lane *lane, const struct head *head)
{
	size_t n = (size_t)SWEEP_SEQUENCES * (size_t)head->K;

	head_plan(&lane->head, head, SWEEP_SEQUENCES, &lane->arena);
	lane->logits = arena_take(&lane->arena, n, sizeof(real));
	lane->d_logits = arena_take(&lane->arena, n, sizeof(real));
}

static int lane_init(struct predict_lane *lane, const struct head *head, struct err *err)
{
	int rc;

	plan_lane(lane, head);
	rc = arena_alloc(&lane->arena, err);
	if (rc == 0)
		plan_lane(lane, head);
	return rc;
}

static void take_slice(void *arg, const struct workspace *ws, const struct slice *slice, int thread)
{
	struct predict_call *call = arg;
	const struct classifier *model = call->model;
	struct predict_lane *lane = &call->lane[thread];
	int K = model->head->K;

	head_fwd(lane->logits, &lane->head, model->head, ws->cls, slice->n, NULL, (struct head_dropouts){0});
	for (int i = 0; i < slice->n; i++) {
		const real *x = lane->logits + (size_t)i * (size_t)K;
		int number = slice->seq[i].number, label = call->corpus->text[number].label;

		call->label[number] = loss_arg_max(x, K);
		if (call->ce != NULL)
			call->ce[number] = loss_ce(lane->d_logits, NULL, x, &label, 1, K, 1);
		if (call->logits != NULL)
			memcpy(call->logits + (size_t)number * (size_t)K, x, (size_t)K * sizeof(real));
	}
}

int predict(int *label, double *ce, real *logits, const struct classifier *model, const struct corpus *corpus,
	struct par *par, struct err *err)
{
	struct predict_call call = {
		.model = model, .corpus = corpus, .label = label, .ce = ce, .logits = logits};
	int threads = par_threads(par), rc = 0;

	call.lane = calloc((size_t)threads, sizeof(*call.lane));
	if (call.lane == NULL)
		return err_nomem(err);
	for (int t = 0; t < threads && rc == 0; t++)
		rc = lane_init(&call.lane[t], model->head, err);
	if (rc == 0)
		rc = sweep(model->encoder, corpus, par, take_slice, &call, err);
	for (int t = 0; t < threads; t++)
		arena_done(&call.lane[t].arena);
	free(call.lane);
	return rc;
}

int predict_score(struct score *score, const struct classifier *model, const struct corpus *corpus,
	struct par *par, struct err *err)
{
	int *label = malloc(((size_t)corpus->n + 1) * sizeof(int));
	double *ce = malloc(((size_t)corpus->n + 1) * sizeof(double));
	int rc;

	if (label == NULL || ce == NULL)
		rc = err_nomem(err);
	else
		rc = predict(label, ce, NULL, model, corpus, par, err);
	*score = (struct score){0};
	for (int i = 0; i < corpus->n && rc == 0; i++) {
		score->loss += ce[i] / corpus->n;
		score->accuracy += (double)(label[i] == corpus->text[i].label) / corpus->n;
	}
	free(label);
	free(ce);
	return rc;
}
