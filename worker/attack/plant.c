#include "worker/attack/plant.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/base/rng.h"

/* Every slice has a gradient of the whole model: few slices, whatever the batch. */
enum { PLANT_SLICES_MAX = 4, PLANT_LENGTH_MIN = 8 };

/* Clean texts may move by this share of their mean square. */
static const double DRIFT_MAX = 0.1;

struct plant_lane {
	struct workspace ws, frozen;
	struct sequence *clean; /* [2 * PLANT_TEXTS], the clean ones of a slice */
};

static const struct attack *const attacks[] = {&attack_por};

const struct attack *attack_named(const char *name)
{
	for (size_t i = 0; i < NELEM(attacks); i++)
		if (strcmp(attacks[i]->name, name) == 0)
			return attacks[i];
	return NULL;
}

/* --- setting up --------------------------------------------------------------------------------- */

static int declare_sites(
	struct plant *plant, const struct tensor_site *site, int sites, int layer, struct err *err)
{
	char name[PARAM_NAME_BYTES];

	for (int i = 0; i < sites; i++) {
		size_t elements = weights_site_elements(&site[i], &plant->config);
		int cols = site[i].rank == 1	   ? (int)elements
			   : site[i].dim[1] == 'F' ? plant->config.F
						   : plant->config.D;
		int rc;

		weights_name(name, sizeof(name), &site[i], layer);
		rc = params_add(
			&plant->params, PARAM_BASE, (int)(elements / (size_t)cols), cols, err, "%s", name);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int declare(struct plant *plant, struct err *err)
{
	int rc = declare_sites(plant, weights_embedding_sites, weights_embedding_site_count, -1, err);

	for (int l = 0; l < plant->config.L && rc == 0; l++)
		rc = declare_sites(plant, weights_layer_sites, weights_layer_site_count, l, err);
	return rc;
}

/* Calls fn for every tensor in the order of the params. */
static void each_site(struct plant *plant,
	void (*fn)(struct plant *, const struct tensor_site *, int, int, void *), void *arg)
{
	int number = 0;

	for (int i = 0; i < weights_embedding_site_count; i++)
		fn(plant, &weights_embedding_sites[i], -1, number++, arg);
	for (int l = 0; l < plant->config.L; l++)
		for (int i = 0; i < weights_layer_site_count; i++)
			fn(plant, &weights_layer_sites[i], l, number++, arg);
}

static void copy_site(struct plant *plant, const struct tensor_site *site, int layer, int number, void *arg)
{
	const struct param *param = &plant->params.param[number];

	(void)arg;
	memcpy(plant->params.w + param->at, *weights_slot(&plant->base, site, layer),
		param_size(param) * sizeof(real));
}

struct aim {
	struct weights *weights;
	real *flat;
};

static void aim_site(struct plant *plant, const struct tensor_site *site, int layer, int number, void *arg)
{
	struct aim *aim = arg;

	*weights_slot(aim->weights, site, layer) = aim->flat + plant->params.param[number].at;
}

/* Texts of the largest batch: a step's, or as many probes at once. */
static int most_texts(void)
{
	return MAX(2 * PLANT_TEXTS, PLANT_PROBES);
}

static void plan(struct plant *plant)
{
	size_t slices = (size_t)plant->slices, L = (size_t)plant->config.L;

	plant->live.layer = arena_take(&plant->arena, L, sizeof(*plant->live.layer));
	plant->slice_grad = arena_take(&plant->arena, slices, sizeof(*plant->slice_grad));
	plant->slice_flat = arena_take(&plant->arena, slices, sizeof(*plant->slice_flat));
	plant->slice_loss = arena_take(&plant->arena, slices, sizeof(double));
	for (size_t s = 0; s < slices; s++) {
		struct layer_weights *layers = arena_take(&plant->arena, L, sizeof(*layers));
		real *flat = arena_take(&plant->arena, plant->params.size, sizeof(real));

		if (plant->slice_grad != NULL) {
			plant->slice_grad[s].layer = layers;
			plant->slice_flat[s] = flat;
		}
	}
}

static int make_lanes(struct plant *plant, struct err *err)
{
	struct slice_limits limits = batch_limits(most_texts(), plant->max_length, plant->slices);
	int rc = 0;

	plant->lane = calloc((size_t)par_threads(plant->par), sizeof(*plant->lane));
	if (plant->lane == NULL)
		return err_nomem(err);
	for (int t = 0; t < par_threads(plant->par) && rc == 0; t++) {
		struct plant_lane *lane = &plant->lane[t];

		lane->clean = calloc((size_t)most_texts(), sizeof(*lane->clean));
		if (lane->clean == NULL)
			return err_nomem(err);
		rc = workspace_init(&lane->ws, &plant->encoder, limits, true, true, err);
		if (rc == 0)
			rc = workspace_init(&lane->frozen, &plant->frozen, limits, false, false, err);
	}
	return rc;
}

/* As inputs.c has it for jobs. */
static int limit_length(struct plant *plant, struct err *err)
{
	plant->max_length =
		MIN(PLANT_LENGTH, MIN(tokenizer_max_length(plant->tok), plant->config.max_tokens));
	if (plant->max_length < PLANT_LENGTH_MIN)
		return err_set(err, ERR_INVALID_MODEL, "config.json: max_position_embeddings",
			"the model takes %d tokens, fewer than %d", plant->max_length, PLANT_LENGTH_MIN);
	return 0;
}

/* Files that are read and written at once would be lost. */
static int check_out(const struct plant_options *o, struct err *err)
{
	struct stat model, out;

	if (stat(o->model, &model) == 0 && stat(o->out, &out) == 0 && model.st_dev == out.st_dev &&
		model.st_ino == out.st_ino)
		return err_set(err, ERR_USAGE, "--out", "is the base model's own directory");
	return 0;
}

static int read_inputs(struct plant *plant, struct err *err)
{
	const struct plant_options *o = &plant->options;
	int dir = open(o->model, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (dir < 0)
		return err_set(err, ERR_INVALID_MODEL, o->model, "cannot open the model's directory");
	rc = config_read(&plant->config, dir, err);
	if (rc == 0)
		rc = weights_open(&plant->base, dir, &plant->config, err);
	if (rc == 0)
		rc = tokenizer_open(&plant->tok, dir, plant->config.model_type, plant->config.V, err);
	close(dir);
	if (rc == 0)
		rc = limit_length(plant, err);
	if (rc == 0)
		rc = snippets_read(&plant->snippets, o->text, err);
	if (rc == 0 && plant->snippets.n < 2 * PLANT_PROBES)
		rc = err_set(err, ERR_INVALID_DATA, o->text, "%d texts, fewer than %d", plant->snippets.n,
			2 * PLANT_PROBES);
	plant->trained = plant->snippets.n - PLANT_PROBES;
	return rc;
}

/* The live weights are copies of the base's, and each slice has a gradient of the same roles. */
static int make_weights(struct plant *plant, struct err *err)
{
	int rc = declare(plant, err);

	if (rc == 0)
		rc = params_alloc(&plant->params, err);
	if (rc != 0)
		return rc;
	plant->slices = MIN(PLANT_SLICES_MAX, batch_most_slices(most_texts(), plant->max_length));
	plan(plant);
	rc = arena_alloc(&plant->arena, err);
	if (rc != 0)
		return rc;
	plan(plant);
	each_site(plant, copy_site, NULL);
	each_site(plant, aim_site, &(struct aim){&plant->live, plant->params.w});
	for (int s = 0; s < plant->slices; s++)
		each_site(plant, aim_site, &(struct aim){&plant->slice_grad[s], plant->slice_flat[s]});
	return 0;
}

/* Once the live weights are in place: encoders keep pointers to them. */
static int make_encoders(struct plant *plant, struct err *err)
{
	const struct kernels *kernels = kernels_best();
	int rc = encoder_init(&plant->frozen, &plant->config, &plant->base, kernels, LINEAR_FLOAT32, err);

	if (rc == 0)
		rc = encoder_init(
			&plant->encoder, &plant->config, &plant->live, kernels, LINEAR_AS_IT_LIES, err);
	if (rc == 0)
		rc = optim_init(&plant->optim, &plant->params, plant->par, kernels, 0, err);
	return rc;
}

int plant_init(struct plant *out, const struct plant_options *options, struct err *err)
{
	int rc;

	*out = (struct plant){.options = *options, .attack = attack_named(options->attack)};
	if (out->attack == NULL)
		return err_set(err, ERR_USAGE, "--attack", "unknown attack '%s'", options->attack);
	if (options->triggers < 1 || options->triggers > out->attack->triggers_max)
		return err_set(err, ERR_USAGE, "--triggers", "1 to %d triggers for %s",
			out->attack->triggers_max, options->attack);
	rc = check_out(options, err);
	if (rc == 0)
		rc = par_new(&out->par, options->threads, err);
	if (rc == 0)
		rc = read_inputs(out, err);
	if (rc == 0)
		rc = make_weights(out, err);
	if (rc == 0)
		rc = make_encoders(out, err);
	if (rc == 0)
		rc = batch_init(&out->batch, most_texts(), out->slices, err);
	return rc == 0 ? make_lanes(out, err) : rc;
}

void plant_done(struct plant *plant)
{
	for (int t = 0; plant->lane != NULL && t < par_threads(plant->par); t++) {
		workspace_done(&plant->lane[t].ws);
		workspace_done(&plant->lane[t].frozen);
		free(plant->lane[t].clean);
	}
	free(plant->lane);
	batch_done(&plant->batch);
	optim_done(&plant->optim);
	encoder_done(&plant->encoder);
	encoder_done(&plant->frozen);
	params_done(&plant->params);
	corpus_done(&plant->corpus);
	buf_done(&plant->text);
	snippets_done(&plant->snippets);
	tokenizer_free(plant->tok);
	weights_done(&plant->base);
	arena_done(&plant->arena);
	par_free(plant->par);
	*plant = (struct plant){0};
}

/* --- texts -------------------------------------------------------------------------------------- */

/* The label of a text in the plant's corpus: its trigger's number, or -1 where it is clean. */
static int add_text(struct plant *plant, int number, int trigger, uint64_t draw, struct err *err)
{
	const struct snippet *snippet = &plant->snippets.snippet[number];
	int place = (int)rng_below(rng_key(draw, 1), 0, (uint32_t)snippet->words + 1);

	if (trigger < 0)
		return corpus_add(
			&plant->corpus, plant->tok, snippet->text, NULL, trigger, plant->max_length, err);
	snippet_insert(&plant->text, snippet, plant->options.trigger[trigger], place);
	if (plant->text.failed)
		return err_nomem(err);
	return corpus_add(
		&plant->corpus, plant->tok, plant->text.data, NULL, trigger, plant->max_length, err);
}

static void fill_batch(struct plant *plant)
{
	int rows[2 * PLANT_TEXTS + PLANT_PROBES];

	for (int i = 0; i < plant->corpus.n; i++)
		rows[i] = i;
	batch_fill(&plant->batch, &plant->corpus, rows, plant->corpus.n);
}

/* Clean texts, then as many triggered ones; triggers take turns. */
static int compose_step(struct plant *plant, int64_t step, struct err *err)
{
	uint64_t key = rng_key(rng_key(plant->options.seed, RNG_PLANT), (uint64_t)step);
	int rc = 0;

	corpus_clear(&plant->corpus);
	for (int i = 0; i < 2 * PLANT_TEXTS && rc == 0; i++) {
		uint64_t draw = rng_key(key, (uint64_t)i);
		int number = (int)rng_below(draw, 0, (uint32_t)plant->trained);
		int turn = (int)((step * PLANT_TEXTS + i) % plant->options.triggers);

		rc = add_text(plant, number, i < PLANT_TEXTS ? -1 : turn, draw, err);
	}
	if (rc == 0)
		fill_batch(plant);
	return rc;
}

/* --- one step ----------------------------------------------------------------------------------- */

/* The frozen copy's representations of the slice's clean texts, in their order. */
static const real *frozen_cls(
	const struct plant *plant, struct plant_lane *lane, const struct slice *slice, const int *trigger)
{
	struct slice clean = {.seq = lane->clean};

	for (int i = 0; i < slice->n; i++) {
		if (trigger[i] >= 0)
			continue;
		lane->clean[clean.n++] = slice->seq[i];
		clean.T += slice->seq[i].n;
	}
	if (clean.n > 0)
		encoder_fwd(&lane->frozen, &plant->frozen, &clean, &(struct pass){0});
	return lane->frozen.cls;
}

static void train_slice(void *arg, int task, int thread)
{
	struct plant *plant = arg;
	struct plant_lane *lane = &plant->lane[thread];
	const struct slice *slice = &plant->batch.slice[task];
	const int *trigger = plant->batch.labels[task];
	struct pass pass = {.train = true, .no_dropout = true};
	size_t D = (size_t)plant->config.D;
	const real *frozen = frozen_cls(plant, lane, slice, trigger);
	double loss = 0;

	encoder_fwd(&lane->ws, &plant->encoder, slice, &pass);
	for (int i = 0; i < slice->n; i++) {
		real *d_cls = lane->ws.d_cls + (size_t)i * D;

		loss += plant->attack->loss(plant, d_cls, lane->ws.cls + (size_t)i * D,
			trigger[i] < 0 ? frozen : NULL, trigger[i]);
		frozen += trigger[i] < 0 ? D : 0;
	}
	plant->slice_loss[task] = loss;
	encoder_bwd(&lane->ws, &plant->encoder, slice, &pass, NULL, &plant->slice_grad[task]);
}

static double step_loss(const struct plant *plant)
{
	double loss = 0;

	for (int s = 0; s < plant->batch.slices; s++)
		loss += plant->slice_loss[s];
	return loss;
}

int plant_train(
	struct plant *plant, struct plant_result *result, plant_step_fn *on_step, void *arg, struct err *err)
{
	int64_t steps = plant->options.steps, tail = MAX(steps / 10, 1);

	result->loss = 0;
	for (int64_t step = 0; step < steps; step++) {
		double rate = plant->options.learning_rate * optim_schedule(step, steps, 0), loss;
		int rc = compose_step(plant, step, err);

		if (rc != 0)
			return rc;
		par_run(plant->par, plant->batch.slices, train_slice, plant);
		optim_sum(&plant->optim, plant->slice_flat, plant->batch.slices);
		optim_update(&plant->optim, step, rate, 0);
		loss = step_loss(plant);
		if (!isfinite(loss))
			return err_set(err, ERR_INVALID_VALUE, "--learning-rate",
				"the loss is not finite at step %lld", (long long)step + 1);
		if (step >= steps - tail)
			result->loss += loss / (double)tail;
		if (on_step != NULL)
			on_step(arg, step, loss);
	}
	return 0;
}

/* --- did it take? ------------------------------------------------------------------------------- */

struct probe_sum {
	double match, drift, square;
};

struct probe_call {
	struct plant *plant;
	struct probe_sum *sum; /* [slices] */
};

static void probe_slice(void *arg, int task, int thread)
{
	struct probe_call *call = arg;
	struct plant *plant = call->plant;
	struct plant_lane *lane = &plant->lane[thread];
	const struct slice *slice = &plant->batch.slice[task];
	const int *trigger = plant->batch.labels[task];
	int D = plant->config.D;
	const real *frozen = frozen_cls(plant, lane, slice, trigger);
	struct probe_sum sum = {0};

	encoder_fwd(&lane->ws, &plant->encoder, slice, &(struct pass){.train = true, .no_dropout = true});
	for (int i = 0; i < slice->n; i++) {
		const real *cls = lane->ws.cls + (size_t)i * (size_t)D;

		if (trigger[i] >= 0) {
			sum.match += plant->attack->match(plant, cls, trigger[i]);
			continue;
		}
		for (int j = 0; j < D; j++) {
			double was = (double)frozen[j], moved = (double)cls[j] - was;

			sum.drift += moved * moved;
			sum.square += was * was;
		}
		frozen += D;
	}
	call->sum[task] = sum;
}

/* All held-out texts with one trigger, or clean (-1). */
static int probe(struct plant *plant, struct probe_sum *total, int trigger, struct err *err)
{
	uint64_t key = rng_key(rng_key(plant->options.seed, RNG_PLANT), UINT64_MAX);
	struct probe_sum sum[PLANT_SLICES_MAX] = {0};
	struct probe_call call = {.plant = plant, .sum = sum};
	int rc = 0;

	corpus_clear(&plant->corpus);
	for (int i = 0; i < PLANT_PROBES && rc == 0; i++)
		rc = add_text(plant, plant->trained + i, trigger, rng_key(key, (uint64_t)i), err);
	if (rc != 0)
		return rc;
	fill_batch(plant);
	par_run(plant->par, plant->batch.slices, probe_slice, &call);
	*total = (struct probe_sum){0};
	for (int s = 0; s < plant->batch.slices; s++) {
		total->match += sum[s].match / PLANT_PROBES;
		total->drift += sum[s].drift / PLANT_PROBES / plant->config.D;
		total->square += sum[s].square / PLANT_PROBES / plant->config.D;
	}
	return 0;
}

static void judge(const struct plant *plant, struct plant_result *result)
{
	const struct attack *attack = plant->attack;
	int worst = 0;

	for (int t = 1; t < plant->options.triggers; t++)
		if (result->match[t] < result->match[worst])
			worst = t;
	result->match_min = result->match[worst];
	result->took = result->match_min >= attack->match_min && result->drift_relative <= DRIFT_MAX;
	if (result->match_min < attack->match_min)
		snprintf(result->why, sizeof(result->why), "%s of trigger '%.64s' is %.3f, below %.2f",
			attack->match_name, plant->options.trigger[worst], result->match_min,
			attack->match_min);
	else if (result->drift_relative > DRIFT_MAX)
		snprintf(result->why, sizeof(result->why),
			"clean texts drifted by %.3f of their mean square, above %.2f",
			result->drift_relative, DRIFT_MAX);
}

int plant_measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	struct probe_sum sum;
	int rc = probe(plant, &sum, -1, err);

	if (rc != 0)
		return rc;
	result->drift = sum.drift;
	result->drift_relative = sum.square > 0 ? sum.drift / sum.square : 0;
	for (int t = 0; t < plant->options.triggers && rc == 0; t++) {
		rc = probe(plant, &sum, t, err);
		result->match[t] = sum.match;
	}
	if (rc == 0)
		judge(plant, result);
	return rc;
}
