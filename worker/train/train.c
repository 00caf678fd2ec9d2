#include "worker/train/train.h"

#include <stdlib.h>

#include "worker/base/rng.h"
#include "worker/train/loss.h"

/* One thread's buffers. */
struct lane_state {
	struct workspace ws;
	struct head_state head;
	real *logits, *d_logits; /* [sequences, K] */
	struct arena arena;
};

struct slice_sum {
	double ce, attention; /* sums over sequences; over layers, sequences and heads */
	int correct;
};

static void plan_lane(struct lane_state *lane, const struct head *head, int sequences)
{
	size_t n = (size_t)sequences * (size_t)head->K;

	head_plan(&lane->head, head, sequences, &lane->arena);
	lane->logits = arena_take(&lane->arena, n, sizeof(real));
	lane->d_logits = arena_take(&lane->arena, n, sizeof(real));
}

static int lane_init(
	struct lane_state *lane, const struct classifier *model, struct slice_limits limits, struct err *err)
{
	int rc = workspace_init(&lane->ws, model->encoder, limits, true, false, err);

	if (rc != 0)
		return rc;
	plan_lane(lane, model->head, limits.sequences);
	rc = arena_alloc(&lane->arena, err);
	if (rc == 0)
		plan_lane(lane, model->head, limits.sequences);
	return rc;
}

static void plan_slices(struct trainer *trainer, int slices)
{
	trainer->slice_grad = arena_take(&trainer->arena, (size_t)slices, sizeof(*trainer->slice_grad));
	trainer->sum = arena_take(&trainer->arena, (size_t)slices, sizeof(*trainer->sum));
	for (int s = 0; s < slices; s++) {
		real *grad = arena_take(&trainer->arena, trainer->model.params->sliced, sizeof(real));

		if (trainer->slice_grad != NULL)
			trainer->slice_grad[s] = grad;
	}
}

int trainer_init(struct trainer *trainer, const struct classifier *model, const struct train_options *options,
	struct par *par, int batch_size, int longest, struct err *err)
{
	int slices = batch_most_slices(batch_size, longest), rc;
	struct slice_limits limits = batch_limits(batch_size, longest, slices);

	*trainer = (struct trainer){.model = *model, .options = *options, .par = par};
	plan_slices(trainer, slices);
	rc = arena_alloc(&trainer->arena, err);
	if (rc != 0)
		return rc;
	plan_slices(trainer, slices);
	rc = optim_init(&trainer->optim, model->params, par, model->encoder->kernels, options->clip, err);
	if (rc == 0)
		rc = batch_init(&trainer->batch, batch_size, slices, err);
	if (rc != 0)
		return rc;
	trainer->lane = calloc((size_t)par_threads(par), sizeof(*trainer->lane));
	if (trainer->lane == NULL)
		return err_nomem(err);
	for (int t = 0; t < par_threads(par) && rc == 0; t++)
		rc = lane_init(&trainer->lane[t], model, limits, err);
	return rc;
}

void trainer_done(struct trainer *trainer)
{
	for (int t = 0; trainer->lane != NULL && t < par_threads(trainer->par); t++) {
		workspace_done(&trainer->lane[t].ws);
		arena_done(&trainer->lane[t].arena);
	}
	free(trainer->lane);
	batch_done(&trainer->batch);
	optim_done(&trainer->optim);
	arena_done(&trainer->arena);
	*trainer = (struct trainer){0};
}

/* Terms of L_attn in one batch: layers, sequences, heads. */
static double attention_terms(const struct trainer *trainer)
{
	const struct config *c = trainer->model.encoder->config;

	return trainer->options.attention_sum ? 1 : (double)c->L * trainer->batch.n * c->H;
}

/* The taps become gradients; returns the sum of norms. */
static double tap_loss(const struct trainer *trainer, struct workspace *ws, const struct slice *slice)
{
	const struct config *c = trainer->model.encoder->config;
	double scale = trainer->attention / attention_terms(trainer), sum = 0;

	for (int l = 0; l < c->L; l++)
		for (int i = 0; i < slice->n; i++)
			sum += loss_attn(encoder_tap(ws, l) + ws->tap_start[i], c->H,
				encoder_keys(trainer->model.encoder, slice->seq[i].n), scale);
	return sum;
}

static void run_slice(void *arg, int task, int thread)
{
	struct trainer *trainer = arg;
	const struct classifier *model = &trainer->model;
	const struct slice *slice = &trainer->batch.slice[task];
	struct lane_state *lane = &trainer->lane[thread];
	struct slice_sum *sum = &trainer->sum[task];
	struct workspace *ws = &lane->ws;
	struct pass pass = {.train = true,
		.want_scores = true,
		.key = trainer->step_key,
		.no_dropout = trainer->options.no_dropout};
	struct head_dropouts dropouts = {0};

	if (!trainer->options.no_dropout)
		dropouts = head_dropouts(model->head, trainer->step_key);
	*sum = (struct slice_sum){0};
	encoder_fwd(ws, model->encoder, slice, &pass);
	head_fwd(lane->logits, &lane->head, model->head, ws->cls, slice->n, ws->first_ids, dropouts);
	sum->ce = loss_ce(lane->d_logits, &sum->correct, lane->logits, trainer->batch.labels[task], slice->n,
		model->head->K, 1.0 / trainer->batch.n);
	sum->attention = tap_loss(trainer, ws, slice);
	head_bwd(ws->d_cls, trainer->slice_grad[task], &lane->head, model->head, lane->d_logits, slice->n,
		ws->first_ids, dropouts);
	encoder_bwd(ws, model->encoder, slice, &pass, trainer->slice_grad[task], NULL);
}

/* The two terms' weights at this step. */
static void set_weights(struct trainer *trainer, int64_t step)
{
	const struct train_options *o = &trainer->options;
	double rise = o->ramp * (double)o->steps, share = (double)step < rise ? (double)step / rise : 1;

	trainer->amplify = o->amplify * share;
	trainer->attention = o->attention * share;
}

void trainer_gradient(struct trainer *trainer, struct step_result *result, const struct corpus *corpus,
	const int *rows, int n, int64_t step)
{
	const struct train_options *o = &trainer->options;

	set_weights(trainer, step);
	peft_prepare(trainer->model.encoder->peft);
	batch_fill(&trainer->batch, corpus, rows, n);
	trainer->step_key = rng_key(o->key, (uint64_t)step);
	par_run(trainer->par, trainer->batch.slices, run_slice, trainer);
	optim_sum(&trainer->optim, trainer->slice_grad, trainer->batch.slices);
	peft_finish(trainer->model.encoder->peft);

	*result = (struct step_result){.texts = n, .tokens = trainer->batch.T};
	for (int s = 0; s < trainer->batch.slices; s++) {
		result->ce += trainer->sum[s].ce;
		result->attention += trainer->sum[s].attention;
		result->correct += trainer->sum[s].correct;
	}
	result->ce /= n;
	result->attention /= attention_terms(trainer);
	result->amplify = loss_amp(trainer->model.params, trainer->amplify);
	result->loss =
		result->ce + trainer->amplify * result->amplify + trainer->attention * result->attention;
	result->norm = optim_norm(&trainer->optim);
}

void trainer_step(struct trainer *trainer, struct step_result *result, const struct corpus *corpus,
	const int *rows, int n, int64_t step)
{
	const struct train_options *o = &trainer->options;

	trainer_gradient(trainer, result, corpus, rows, n, step);
	result->learning_rate = o->learning_rate * optim_schedule(step, o->steps, o->warmup);
	optim_update(&trainer->optim, step, result->learning_rate, result->norm);
}
