#include "worker/train/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/cpu.h"
#include "worker/base/rng.h"
#include "worker/train/predict.h"

static int64_t steps_per_epoch(int rows, int batch_size)
{
	return (rows + batch_size - 1) / batch_size;
}

int64_t fit_steps(int rows, int n_epochs, int batch_size)
{
	return n_epochs * steps_per_epoch(rows, batch_size);
}

int fit_state_init(struct fit_state *state, int n_epochs, struct err *err)
{
	*state = (struct fit_state){.best_accuracy = -1};
	state->epoch = calloc((size_t)n_epochs, sizeof(*state->epoch));
	return state->epoch == NULL ? err_nomem(err) : 0;
}

void fit_state_done(struct fit_state *state)
{
	free(state->epoch);
	*state = (struct fit_state){0};
}

static void add_step(struct fit_state *state, const struct step_result *step)
{
	state->sum.loss += step->loss * step->texts;
	state->sum.ce += step->ce * step->texts;
	state->sum.amplify += step->amplify * step->texts;
	state->sum.attention += step->attention * step->texts;
	state->sum_texts += step->texts;
	state->tokens += step->tokens;
}

static int diverged(const struct fit_state *state, struct err *err)
{
	return err_set(err, ERR_INVALID_VALUE, "hyperparameters.learning_rate",
		"the loss is not a number at step %lld: lower learning_rate, amplify or attention",
		(long long)state->step);
}

/* Close the epoch: means, validation, selection (best accuracy, earliest on ties). */
static int end_epoch(const struct fit *fit, struct fit_state *state, struct err *err)
{
	const struct classifier *model = &fit->trainer->model;
	struct fit_epoch *epoch = &state->epoch[state->epochs];
	struct score score;
	int rc = predict_score(&score, model, fit->validation, fit->trainer->par, err);

	if (rc != 0)
		return rc;
	if (!isfinite(score.loss)) /* the epoch's last step did it */
		return diverged(state, err);
	*epoch = (struct fit_epoch){.loss = state->sum.loss / state->sum_texts,
		.ce = state->sum.ce / state->sum_texts,
		.amplify = state->sum.amplify / state->sum_texts,
		.attention = state->sum.attention / state->sum_texts,
		.valid_loss = score.loss,
		.valid_accuracy = score.accuracy};
	state->sum = (struct fit_epoch){0};
	state->sum_texts = 0;
	state->epochs++;
	if (fit->best != NULL && score.accuracy > state->best_accuracy) {
		state->best_accuracy = score.accuracy;
		state->best_epoch = state->epochs;
		memcpy(fit->best, model->params->w, model->params->size * sizeof(real));
	}
	return fit->watch.on_epoch != NULL ? fit->watch.on_epoch(fit->watch.arg, state, err) : 0;
}

static int one_step(
	const struct fit *fit, struct fit_state *state, const int *order, int64_t place, struct err *err)
{
	int from = (int)place * fit->batch_size;
	int n = MIN(fit->batch_size, fit->train->n - from);
	double start = cpu_seconds();
	struct step_result step;

	trainer_step(fit->trainer, &step, fit->train, order + from, n, state->step);
	state->step++;
	state->seconds += cpu_seconds() - start;
	if (!isfinite(step.loss) || !isfinite(step.norm))
		return diverged(state, err);
	add_step(state, &step);
	return fit->watch.on_step != NULL
		       ? fit->watch.on_step(fit->watch.arg, state, &step, state->epochs + 1, err)
		       : 0;
}

int fit_run(const struct fit *fit, struct fit_state *state, struct err *err)
{
	const struct params *params = fit->trainer->model.params;
	int64_t per_epoch = steps_per_epoch(fit->train->n, fit->batch_size);
	int *order = malloc((size_t)fit->train->n * sizeof(int)), rc = 0;

	if (order == NULL)
		return err_nomem(err);
	for (int epoch = state->epochs; epoch < fit->n_epochs && rc == 0; epoch++) {
		rng_shuffle(order, fit->train->n, rng_key(rng_key(fit->seed, RNG_ORDER), (uint64_t)epoch));
		while (state->step < (epoch + 1) * per_epoch && rc == 0)
			rc = one_step(fit, state, order, state->step - epoch * per_epoch, err);
		if (rc == 0)
			rc = end_epoch(fit, state, err);
	}
	free(order);
	if (rc == 0 && fit->best != NULL)
		memcpy(params->w, fit->best, params->size * sizeof(real));
	return rc;
}
