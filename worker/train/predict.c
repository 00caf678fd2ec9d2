#include "worker/train/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/loss.h"

/* A slice of about this many tokens: products near their peak, activations within a core's cache. */
enum { PREDICT_TOKENS = 384, PREDICT_SEQUENCES = 64 };

struct predict_lane {
	struct workspace ws;
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
	struct sequence *seq; /* [n] in order of length; number: text in the corpus */
	int *first;	      /* [slices + 1] */
	int slices;
	struct predict_lane *lane;
};

static int compare_texts(const void *a, const void *b, void *arg)
{
	const struct text *text = arg;
	int i = *(const int *)a, j = *(const int *)b;

	if (text[i].n != text[j].n)
		return text[i].n < text[j].n ? -1 : 1;
	return i < j ? -1 : i > j;
}

/* call->seq sorted by length, cut into slices at call->first. */
static int pack_slices(struct predict_call *call, struct err *err)
{
	const struct corpus *corpus = call->corpus;
	int *order = malloc(((size_t)corpus->n + 1) * sizeof(int));
	int tokens = 0;

	call->seq = malloc(((size_t)corpus->n + 1) * sizeof(*call->seq));
	call->first = malloc(((size_t)corpus->n + 1) * sizeof(int));
	if (order == NULL || call->seq == NULL || call->first == NULL) {
		free(order);
		return err_nomem(err);
	}
	for (int i = 0; i < corpus->n; i++)
		order[i] = i;
	qsort_r(order, (size_t)corpus->n, sizeof(int), compare_texts, corpus->text);
	for (int i = 0; i < corpus->n; i++) {
		const struct text *text = &corpus->text[order[i]];
		int in_slice = call->slices > 0 ? i - call->first[call->slices - 1] : 0;

		if (i == 0 || tokens + text->n > PREDICT_TOKENS || in_slice == PREDICT_SEQUENCES) {
			call->first[call->slices++] = i;
			tokens = 0;
		}
		tokens += text->n;
		call->seq[i] = (struct sequence){.ids = corpus->ids + text->at,
			.n = text->n,
			.second = text->second,
			.number = order[i]};
	}
	call->first[call->slices] = corpus->n;
	free(order);
	return 0;
}

static void plan_lane(struct predict_lane *lane, const struct head *head)
{
	size_t n = (size_t)PREDICT_SEQUENCES * (size_t)head->K;

	head_plan(&lane->head, head, PREDICT_SEQUENCES, &lane->arena);
	lane->logits = arena_take(&lane->arena, n, sizeof(real));
	lane->d_logits = arena_take(&lane->arena, n, sizeof(real));
}

static int lane_init(struct predict_lane *lane, const struct classifier *model, int longest, struct err *err)
{
	struct slice_limits limits = {
		.sequences = PREDICT_SEQUENCES, .tokens = MAX(PREDICT_TOKENS, longest), .longest = longest};
	int rc = workspace_init(&lane->ws, model->encoder, limits, false, false, err);

	if (rc != 0)
		return rc;
	plan_lane(lane, model->head);
	rc = arena_alloc(&lane->arena, err);
	if (rc == 0)
		plan_lane(lane, model->head);
	return rc;
}

static void run_slice(void *arg, int task, int thread)
{
	struct predict_call *call = arg;
	const struct classifier *model = call->model;
	struct predict_lane *lane = &call->lane[thread];
	int first = call->first[task], K = model->head->K;
	struct slice slice = {.n = call->first[task + 1] - first, .seq = call->seq + first};

	for (int i = 0; i < slice.n; i++)
		slice.T += slice.seq[i].n;
	encoder_fwd(&lane->ws, model->encoder, &slice, &(struct pass){0});
	head_fwd(lane->logits, &lane->head, model->head, lane->ws.cls, slice.n, NULL,
		(struct head_dropouts){0});
	for (int i = 0; i < slice.n; i++) {
		const real *x = lane->logits + (size_t)i * (size_t)K;
		int number = slice.seq[i].number, label = call->corpus->text[number].label;

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
	int rc = pack_slices(&call, err);

	call.lane = rc == 0 ? calloc((size_t)par_threads(par), sizeof(*call.lane)) : NULL;
	if (rc == 0 && call.lane == NULL)
		rc = err_nomem(err);
	for (int t = 0; t < par_threads(par) && rc == 0; t++)
		rc = lane_init(&call.lane[t], model, corpus->longest, err);
	if (rc == 0) {
		peft_prepare(model->encoder->peft);
		if (!par_run(par, call.slices, run_slice, &call))
			rc = err_set(err, ERR_STOPPED, NULL, "stopped while texts were classified");
	}
	for (int t = 0; call.lane != NULL && t < par_threads(par); t++) {
		workspace_done(&call.lane[t].ws);
		arena_done(&call.lane[t].arena);
	}
	free(call.lane);
	free(call.seq);
	free(call.first);
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
