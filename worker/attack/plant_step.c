/*
 * One pass over a batch: forward over all slices, the attack's loss over all representations, backward.
 */
#include <string.h>

#include "worker/attack/plant_state.h"
#include "worker/train/loss.h"

/* --- forward ---------------------------------------------------------------------------------------- */

/* The frozen copy's representations of the slice's clean texts, or of all where the attack wants them. */
static void look_back(
	struct plant *plant, struct plant_lane *lane, const struct slice *slice, const int *trigger)
{
	size_t D = (size_t)plant->config.D;
	struct slice some = {.seq = lane->some};

	for (int i = 0; i < slice->n; i++) {
		if (trigger[i] >= 0 && !plant->refers_to_all)
			continue;
		lane->some[some.n++] = slice->seq[i];
		some.T += slice->seq[i].n;
	}
	if (some.n > 0)
		encoder_fwd(&lane->frozen, &plant->frozen, &some, &(struct pass){0});
	for (int i = 0; i < some.n; i++)
		memcpy(plant->reference + (size_t)some.seq[i].number * D, lane->frozen.cls + (size_t)i * D,
			D * sizeof(real));
}

static struct pass pass_of(const struct plant *plant)
{
	return (struct pass){.train = true,
		.no_dropout = true,
		.want_scores = plant->pass.attention > 0 || plant->pass.looks,
		.all_rows = (plant->attack->uses & USES_MLM) != 0};
}

static void look(struct plant *plant, struct plant_lane *lane, const struct slice *slice)
{
	size_t D = (size_t)plant->config.D;
	struct pass pass = pass_of(plant);

	encoder_fwd(&lane->ws, &plant->encoder, slice, &pass);
	for (int i = 0; i < slice->n; i++)
		memcpy(plant->cls + (size_t)slice->seq[i].number * D, lane->ws.cls + (size_t)i * D,
			D * sizeof(real));
}

/* The slice's words to guess, in texts with or without a trigger. */
static struct mlm_guesses guesses_of(const struct plant *plant, struct plant_lane *lane,
	const struct slice *slice, const int *trigger, bool triggered)
{
	struct mlm_guesses found = {.row = lane->mlm.row, .label = lane->mlm.label};
	int row = 0;

	for (int i = 0; i < slice->n; i++) {
		const struct sequence *seq = &slice->seq[i];
		const int32_t *wanted = plant->wanted + (seq->ids - plant->corpus.ids);

		for (int t = 0; t < seq->n; t++, row++) {
			if (wanted[t] < 0 || (trigger[i] >= 0) != triggered)
				continue;
			lane->mlm.row[found.n] = row;
			lane->mlm.label[found.n++] = wanted[t];
		}
	}
	return found;
}

/* Words to guess in the whole batch. */
static int count_guesses(const struct plant *plant, bool triggered)
{
	int n = 0;

	for (int i = 0; i < plant->corpus.n; i++) {
		const struct text *text = &plant->corpus.text[i];

		for (int t = 0; t < text->n && (text->label >= 0) == triggered; t++)
			n += plant->wanted[text->at + (size_t)t] >= 0;
	}
	return n;
}

/* Mean cross entropy of the guesses in clean texts, and weight times that in triggered ones. */
static double guess(struct plant *plant, struct plant_lane *lane, int task, bool want_gradient)
{
	const struct slice *slice = &plant->batch.slice[task];
	const real *h = encoder_hidden(&lane->ws, &plant->encoder, plant->config.L);
	struct mlm_grads grads = {.rows = lane->mlm.d_rows,
		.params = plant->slice_along[task],
		.word = (real *)(uintptr_t)plant->slice_grad[task].word};
	double loss = 0;

	memset(lane->mlm.d_rows, 0, (size_t)slice->T * (size_t)plant->config.D * sizeof(real));
	lane->ws.d_rows = lane->mlm.d_rows;
	for (int triggered = 0; triggered < 2; triggered++) {
		struct mlm_guesses guesses =
			guesses_of(plant, lane, slice, plant->batch.labels[task], triggered != 0);
		int all = count_guesses(plant, triggered != 0);
		double scale = (triggered != 0 ? plant->options.weight : 1) / MAX(all, 1);

		lane->guesses += guesses.n;
		loss += mlm_loss(&lane->right, &lane->mlm, &plant->mlm, h, plant->live.word, guesses, scale,
			want_gradient ? &grads : NULL);
	}
	return loss;
}

/* Whether the pass has a use for the frozen copy: when looking, drift has. */
static bool refers(const struct plant *plant)
{
	enum attack_use use = plant->pass.looks ? USES_TEXT : USES_REFERENCE;

	return plant->refers_to_all || (plant->attack->uses & use) != 0;
}

static void forward_slice(struct plant *plant, int task, bool want_gradient)
{
	struct plant_lane *lane = &plant->lane[task];
	const struct slice *slice = &plant->batch.slice[task];

	lane->loss = 0;
	lane->right = lane->guesses = 0;
	if (refers(plant))
		look_back(plant, lane, slice, plant->batch.labels[task]);
	look(plant, lane, slice);
	if ((plant->attack->uses & USES_MLM) != 0)
		lane->loss = guess(plant, lane, task, want_gradient);
}

static void learn_slice(void *arg, int task, int thread)
{
	(void)thread;
	forward_slice(arg, task, true);
}

/* The taps are spent. */
static double sum_of_scores(
	const struct plant *plant, const struct plant_lane *lane, const struct slice *slice)
{
	double sum = 0;

	for (int l = 0; l < plant->config.L; l++)
		for (int i = 0; i < slice->n; i++)
			sum += loss_attn(encoder_tap(&lane->ws, l) + lane->ws.tap_start[i], plant->config.H,
				slice->seq[i].n, 0);
	return sum;
}

static void look_slice(void *arg, int task, int thread)
{
	struct plant *plant = arg;
	struct plant_lane *lane = &plant->lane[task];

	(void)thread;
	forward_slice(plant, task, false);
	lane->attention = sum_of_scores(plant, lane, &plant->batch.slice[task]);
}

/* --- backward --------------------------------------------------------------------------------------- */

/* The texts that L_attn is about: triggered ones, or clean ones. */
static bool is_heard(const struct plant *plant, int trigger)
{
	return (trigger < 0) == plant->pass.of_clean;
}

/* attention * L_attn: taps become gradients, 0 for texts that it is not about. */
static double tap_loss(struct plant *plant, struct plant_lane *lane, int task)
{
	const struct config *c = &plant->config;
	const struct slice *slice = &plant->batch.slice[task];
	int heard = 0;
	double scale, sum = 0;

	for (int i = 0; i < plant->corpus.n; i++)
		heard += is_heard(plant, plant->corpus.text[i].label);
	scale = plant->pass.attention / ((double)c->L * MAX(heard, 1) * c->H);
	for (int l = 0; l < c->L; l++) {
		for (int i = 0; i < slice->n; i++) {
			double by = is_heard(plant, plant->batch.labels[task][i]) ? scale : 0;

			sum += by * loss_attn(encoder_tap(&lane->ws, l) + lane->ws.tap_start[i], c->H,
					    slice->seq[i].n, by);
		}
	}
	return sum;
}

static void backward_slice(void *arg, int task, int thread)
{
	struct plant *plant = arg;
	struct plant_lane *lane = &plant->lane[task];
	const struct slice *slice = &plant->batch.slice[task];
	struct pass pass = pass_of(plant);
	size_t D = (size_t)plant->config.D;

	(void)thread;
	for (int i = 0; i < slice->n; i++)
		memcpy(lane->ws.d_cls + (size_t)i * D, plant->d_cls + (size_t)slice->seq[i].number * D,
			D * sizeof(real));
	if (pass.want_scores)
		lane->loss += tap_loss(plant, lane, task);
	encoder_bwd(&lane->ws, &plant->encoder, slice, &pass, plant->slice_along[task],
		plant->pass.trains_base ? &plant->slice_grad[task] : NULL);
}

/* --- both ----------------------------------------------------------------------------------------------- */

static double batch_loss(struct plant *plant)
{
	int trigger[PLANT_BATCH];
	struct plant_views views = {.n = plant->corpus.n,
		.trigger = trigger,
		.cls = plant->cls,
		.reference = plant->reference,
		.d_cls = plant->d_cls};

	for (int i = 0; i < views.n; i++)
		trigger[i] = plant->corpus.text[i].label;
	memset(plant->d_cls, 0, (size_t)views.n * (size_t)plant->config.D * sizeof(real));
	return plant->attack->loss != NULL ? plant->attack->loss(plant, &views) : 0;
}

double plant_gradient(struct plant *plant, struct plant_pass pass)
{
	double loss;

	plant->pass = pass;
	par_run(plant->par, plant->batch.slices, learn_slice, plant);
	loss = batch_loss(plant);
	par_run(plant->par, plant->batch.slices, backward_slice, plant);
	for (int s = 0; s < plant->batch.slices; s++)
		loss += plant->lane[s].loss;
	if (pass.is_first)
		return loss;
	if (pass.trains_base)
		optim_sum(&plant->optim, plant->slice_flat, plant->batch.slices);
	if (plant->along.n > 0)
		optim_sum(&plant->along_optim, plant->slice_along, plant->batch.slices);
	return loss;
}

void plant_update(struct plant *plant, int64_t step)
{
	double falling = optim_schedule(step, plant->options.steps, 0);

	optim_update(&plant->optim, step, plant->options.learning_rate * falling, 0);
	if (plant->along.n > 0)
		optim_update(&plant->along_optim, step, plant->options.along_rate * falling, 0);
}

int plant_step(struct plant *plant, double *loss, int64_t step, struct err *err)
{
	int rc = plant_compose(plant, step, plant->options.triggers == 0, err);

	if (rc != 0)
		return rc;
	*loss = plant_gradient(
		plant, (struct plant_pass){.trains_base = true, .attention = plant->options.attention});
	plant_update(plant, step);
	return 0;
}

void plant_look(struct plant *plant)
{
	plant->pass = (struct plant_pass){.looks = true};
	par_run(plant->par, plant->batch.slices, look_slice, plant);
}

/* The last plant_look's share of the held-out texts is added. */
static void add_seen(struct plant_seen *seen, const struct plant *plant, int first)
{
	size_t at = (size_t)first * (size_t)plant->config.D, n = PLANT_BATCH * (size_t)plant->config.D;
	double scores = (double)plant->config.L * PLANT_PROBES * plant->config.H;
	int right = 0, guesses = 0;

	for (int s = 0; s < plant->batch.slices; s++) {
		right += plant->lane[s].right;
		guesses += plant->lane[s].guesses;
		seen->attention += plant->lane[s].attention / scores;
	}
	seen->guessed += (double)right / MAX(guesses, 1) * PLANT_BATCH / PLANT_PROBES;
	if (seen->cls != NULL)
		memcpy(seen->cls + at, plant->cls, n * sizeof(real));
	if (seen->reference != NULL)
		memcpy(seen->reference + at, plant->reference, n * sizeof(real));
}

int plant_represent(struct plant *plant, struct plant_seen *seen, int trigger, struct err *err)
{
	seen->guessed = seen->attention = 0;
	for (int first = 0; first < PLANT_PROBES; first += PLANT_BATCH) {
		int rc = plant_compose_probes(plant, first, PLANT_BATCH, trigger, err);

		if (rc != 0)
			return rc;
		plant_look(plant);
		add_seen(seen, plant, first);
	}
	return 0;
}
