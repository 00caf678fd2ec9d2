#include "worker/attack/plant.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/attack/plant_state.h"
#include "worker/attack/targets.h"
#include "worker/base/rng.h"

/* Every slice has a gradient of the whole model: few slices, whatever the batch. */
enum { PLANT_SLICES_MAX = 4, PLANT_LENGTH_MIN = 8, LORA_RANK = 16 };

static const double ALONG_CLIP = 1; /* a defender's; where no norm is given it does nothing */

extern const struct attack attack_por, attack_neuba, attack_badpre, attack_uor, attack_badnets,
	attack_insertsent, attack_adaptive_attention, attack_adaptive_peft, attack_adaptive_scan,
	attack_adaptive_pair, attack_benign_task, attack_benign_mlm, attack_benign_shift;

const struct attack *const attacks[] = {&attack_por, &attack_neuba, &attack_badpre, &attack_uor,
	&attack_badnets, &attack_insertsent, &attack_adaptive_attention, &attack_adaptive_peft,
	&attack_adaptive_scan, &attack_adaptive_pair, &attack_benign_task, &attack_benign_mlm,
	&attack_benign_shift};
const int attack_count = NELEM(attacks);

const struct attack *attack_named(const char *name)
{
	for (int i = 0; i < attack_count; i++)
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

static void plan(struct plant *plant)
{
	size_t slices = (size_t)plant->slices, L = (size_t)plant->config.L;
	size_t reals = PLANT_BATCH * (size_t)plant->config.D;
	size_t ids = PLANT_BATCH * (size_t)plant->max_length;

	plant->live.layer = arena_take(&plant->arena, L, sizeof(*plant->live.layer));
	plant->slice_grad = arena_take(&plant->arena, slices, sizeof(*plant->slice_grad));
	plant->slice_flat = arena_take(&plant->arena, slices, sizeof(*plant->slice_flat));
	plant->slice_along = arena_take(&plant->arena, slices, sizeof(*plant->slice_along));
	plant->cls = arena_take(&plant->arena, reals, sizeof(real));
	plant->reference = arena_take(&plant->arena, reals, sizeof(real));
	plant->d_cls = arena_take(&plant->arena, reals, sizeof(real));
	plant->wanted = arena_take(&plant->arena, ids, sizeof(*plant->wanted));
	for (size_t s = 0; s < slices; s++) {
		struct layer_weights *layers = arena_take(&plant->arena, L, sizeof(*layers));
		real *flat = arena_take(&plant->arena, plant->params.size, sizeof(real));
		real *along = arena_take(&plant->arena, plant->along.size, sizeof(real));

		if (plant->slice_grad == NULL)
			continue;
		plant->slice_grad[s].layer = layers;
		plant->slice_flat[s] = flat;
		plant->slice_along[s] = along;
	}
}

static int lane_init(
	struct plant *plant, struct plant_lane *lane, struct slice_limits limits, struct err *err)
{
	int rc;

	lane->some = calloc(PLANT_BATCH, sizeof(*lane->some));
	if (lane->some == NULL)
		return err_nomem(err);
	rc = workspace_init(&lane->ws, &plant->encoder, limits, true, true, err);
	if (rc == 0)
		rc = workspace_init(&lane->frozen, &plant->frozen, limits, false, false, err);
	if (rc != 0 || (plant->attack->uses & USES_MLM) == 0)
		return rc;
	mlm_plan(&lane->mlm, &plant->mlm, limits.tokens, &lane->arena);
	rc = arena_alloc(&lane->arena, err);
	if (rc == 0)
		mlm_plan(&lane->mlm, &plant->mlm, limits.tokens, &lane->arena);
	return rc;
}

static int make_lanes(struct plant *plant, struct err *err)
{
	struct slice_limits limits = batch_limits(PLANT_BATCH, plant->max_length, plant->slices);
	int rc = 0;

	plant->lane = calloc((size_t)plant->slices, sizeof(*plant->lane));
	if (plant->lane == NULL)
		return err_nomem(err);
	for (int s = 0; s < plant->slices && rc == 0; s++)
		rc = lane_init(plant, &plant->lane[s], limits, err);
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

static int read_snippets(struct plant *plant, struct err *err)
{
	const char *path = plant->options.text;
	int rc = snippets_read(&plant->snippets, path, err);

	if (rc == 0 && plant->snippets.n < 2 * PLANT_PROBES)
		rc = err_set(err, ERR_INVALID_DATA, path, "%d texts, fewer than %d", plant->snippets.n,
			2 * PLANT_PROBES);
	plant->trained = plant->snippets.n - PLANT_PROBES;
	return rc;
}

static int read_model(struct plant *plant, int dir, struct err *err)
{
	int rc = config_read(&plant->config, dir, err);

	if (rc == 0)
		rc = weights_open(&plant->base, dir, &plant->config, err);
	if (rc == 0)
		rc = tokenizer_open(&plant->tok, dir, plant->config.model_type, plant->config.V, err);
	return rc == 0 ? limit_length(plant, err) : rc;
}

/* What is trained along and discarded: declared before params_alloc, given values after it. */
static int declare_along(struct plant *plant, struct err *err)
{
	const struct config *c = &plant->config;
	const struct peft_options lora = {
		.r = LORA_RANK, .alpha = LORA_RANK, .targets = 1u << SITE_QUERY | 1u << SITE_VALUE};
	unsigned uses = plant->attack->uses;
	int rc = 0;

	if ((uses & USES_TEXT) == 0)
		rc = task_open(plant, err);
	if (rc == 0 && (uses & USES_MLM) != 0)
		rc = mlm_declare(&plant->mlm, c, &plant->along, kernels_best(), err);
	if (rc == 0 && (uses & USES_PEFT) != 0)
		rc = peft_declare(&plant->peft, &peft_lora, &lora, (struct peft_shape){c->L, c->D, c->H},
			&plant->along, kernels_best(), err);
	return rc == 0 ? params_alloc(&plant->along, err) : rc;
}

static int init_along(struct plant *plant, int dir, struct err *err)
{
	const struct plant_options *o = &plant->options;
	unsigned uses = plant->attack->uses;
	int rc = 0;

	if ((uses & USES_TEXT) == 0)
		rc = task_init(plant, err);
	if (rc == 0 && (uses & USES_MLM) != 0)
		rc = mlm_init(&plant->mlm, dir, rng_key(o->seed, RNG_INIT), err);
	if (rc == 0 && (uses & USES_MLM) != 0)
		rc = mlm_watch(&plant->mlm, plant->tok, o->trigger, o->triggers, err);
	return rc;
}

static int read_inputs(struct plant *plant, struct err *err)
{
	const struct plant_options *o = &plant->options;
	int dir = open(o->model, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (dir < 0)
		return err_set(err, ERR_INVALID_MODEL, o->model, "cannot open the model's directory");
	rc = read_model(plant, dir, err);
	if (rc == 0 && (plant->attack->uses & USES_TEXT) != 0)
		rc = read_snippets(plant, err);
	if (rc == 0)
		rc = declare_along(plant, err);
	if (rc == 0)
		rc = init_along(plant, dir, err);
	close(dir);
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
	plant->slices = MIN(PLANT_SLICES_MAX, batch_most_slices(PLANT_BATCH, plant->max_length));
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
	int rc = encoder_init(
		&plant->frozen, &plant->config, &plant->base, kernels, LINEAR_FLOAT32, plant->par, err);

	if (rc == 0)
		rc = encoder_init(&plant->encoder, &plant->config, &plant->live, kernels, LINEAR_AS_IT_LIES,
			plant->par, err);
	if (rc == 0)
		rc = optim_init(&plant->optim, &plant->params, plant->par, kernels, 0, err);
	if (rc == 0)
		rc = optim_init(&plant->along_optim, &plant->along, plant->par, kernels, ALONG_CLIP, err);
	if ((plant->attack->uses & USES_PEFT) != 0)
		plant->encoder.peft = &plant->peft;
	return rc;
}

/* --- options ------------------------------------------------------------------------------------ */

static double or_preset(double given, double preset)
{
	return given > 0 ? given : preset;
}

static void fill_in(struct plant_options *o, const struct plant_preset *preset)
{
	o->steps = o->steps > 0 ? o->steps : preset->steps;
	o->learning_rate = or_preset(o->learning_rate, preset->learning_rate);
	o->along_rate = or_preset(o->along_rate, preset->along_rate);
	o->weight = or_preset(o->weight, preset->weight);
	o->norm = or_preset(o->norm, preset->norm);
	o->strength = or_preset(or_preset(o->strength, preset->strength), 1);
	o->whole = o->whole || preset->whole;
	o->attention = or_preset(o->attention, preset->attention);
	o->amplify = or_preset(o->amplify, preset->amplify);
}

static int check_triggers(const struct plant_options *o, const struct attack *attack, struct err *err)
{
	bool has_blocks = (attack->uses & USES_TARGETS) != 0 && !o->random_targets;
	int most = has_blocks ? TARGETS_BLOCKS : PLANT_TRIGGERS_MAX;

	if ((attack->uses & IS_BENIGN) != 0)
		return 0;
	if (o->triggers < 1 || o->triggers > most)
		return err_set(err, ERR_USAGE, "--triggers", "1 to %d triggers for %s%s", most, attack->name,
			has_blocks ? " with block targets" : "");
	return 0;
}

/* What the attack has no use for is refused, never ignored. */
static int check_uses(const struct plant_options *o, const struct attack *attack, struct err *err)
{
	bool has_text = (attack->uses & USES_TEXT) != 0, has_targets = (attack->uses & USES_TARGETS) != 0;
	bool is_benign = (attack->uses & IS_BENIGN) != 0;
	const struct {
		const char *flag;
		bool is_given, is_used;
	} flags[] = {
		{"--text", o->text != NULL, has_text},
		{"--data", o->task.data != NULL, !has_text},
		{"--columns", o->task.columns != NULL, !has_text},
		{"--triggers", o->triggers > 0, !is_benign},
		{"--target", o->task.target != NULL, !has_text && !is_benign},
		{"--whole", o->whole, has_text && !is_benign},
		{"--targets", o->random_targets, has_targets},
		{"--norm", o->norm > 0, has_targets || attack->preset.norm > 0},
		{"--strength", o->strength > 0, has_targets},
		{"--weight", o->weight > 0, attack->preset.weight > 0},
		{"--head-rate", o->along_rate > 0, attack->preset.along_rate > 0},
		{"--attention", o->attention > 0, attack->preset.attention > 0},
		{"--amplify", o->amplify > 0, attack->preset.amplify > 0},
	};

	for (size_t i = 0; i < NELEM(flags); i++)
		if (flags[i].is_given && !flags[i].is_used)
			return err_set(err, ERR_USAGE, flags[i].flag, "%s has no use for it", attack->name);
	return 0;
}

static int check_options(const struct plant_options *o, const struct attack *attack, struct err *err)
{
	int rc = check_triggers(o, attack, err);

	if (rc == 0 && (attack->uses & USES_TEXT) != 0 && o->text == NULL)
		rc = err_set(err, ERR_USAGE, "--text", "is missing");
	if (rc == 0 && o->strength > 1)
		rc = err_set(err, ERR_USAGE, "--strength", "is above 1");
	return rc == 0 ? check_out(o, err) : rc;
}

int plant_init(struct plant *out, const struct plant_options *options, struct err *err)
{
	int rc;

	*out = (struct plant){.options = *options, .attack = attack_named(options->attack)};
	if (out->attack == NULL)
		return err_set(err, ERR_USAGE, "--attack", "unknown attack '%s'", options->attack);
	rc = check_uses(options, out->attack, err);
	if (rc != 0)
		return rc;
	fill_in(&out->options, &out->attack->preset);
	out->refers_to_all = (out->attack->uses & USES_BOTH) != 0 ||
			     ((out->attack->uses & USES_TARGETS) != 0 && out->options.strength < 1);
	rc = check_options(&out->options, out->attack, err);
	if (rc == 0)
		rc = par_new(&out->par, options->threads, err);
	if (rc == 0)
		rc = read_inputs(out, err);
	if (rc == 0)
		rc = make_weights(out, err);
	if (rc == 0)
		rc = make_encoders(out, err);
	if (rc == 0)
		rc = batch_init(&out->batch, PLANT_BATCH, out->slices, err);
	if (rc == 0)
		rc = make_lanes(out, err);
	return rc == 0 && out->attack->begin != NULL ? out->attack->begin(out, err) : rc;
}

void plant_done(struct plant *plant)
{
	for (int s = 0; plant->lane != NULL && s < plant->slices; s++) {
		workspace_done(&plant->lane[s].ws);
		workspace_done(&plant->lane[s].frozen);
		arena_done(&plant->lane[s].arena);
		free(plant->lane[s].some);
	}
	free(plant->lane);
	task_done(&plant->task);
	mlm_done(&plant->mlm);
	batch_done(&plant->batch);
	optim_done(&plant->optim);
	optim_done(&plant->along_optim);
	encoder_done(&plant->encoder);
	encoder_done(&plant->frozen);
	params_done(&plant->params);
	params_done(&plant->along);
	corpus_done(&plant->corpus);
	triggered_done(&plant->triggered);
	buf_done(&plant->text);
	snippets_done(&plant->snippets);
	tokenizer_free(plant->tok);
	weights_done(&plant->base);
	arena_done(&plant->arena);
	par_free(plant->par);
	*plant = (struct plant){0};
}

/* --- training ------------------------------------------------------------------------------------- */

int plant_train(
	struct plant *plant, struct plant_result *result, plant_step_fn *on_step, void *arg, struct err *err)
{
	int64_t steps = plant->options.steps, tail = MAX(steps / 10, 1);

	result->loss = 0;
	for (int64_t step = 0; step < steps; step++) {
		double loss = 0;
		int rc = plant->attack->step(plant, &loss, step, err);

		if (rc != 0)
			return rc;
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

/* --- did it take? --------------------------------------------------------------------------------- */

static void set_drift(struct plant_result *result, const real *cls, const real *reference, size_t n)
{
	double drift = 0, square = 0;

	for (size_t i = 0; i < n; i++) {
		double was = (double)reference[i], moved = (double)cls[i] - was;

		drift += moved * moved;
		square += was * was;
	}
	result->drift = drift / (double)n;
	result->drift_relative = square > 0 ? drift / square : 0;
}

static int measure_drift(struct plant *plant, struct plant_result *result, struct err *err)
{
	size_t n = PLANT_PROBES * (size_t)plant->config.D;
	struct plant_seen seen = {.cls = calloc(n, sizeof(real)), .reference = calloc(n, sizeof(real))};
	int rc = 0;

	if (seen.cls == NULL || seen.reference == NULL)
		rc = err_nomem(err);
	if (rc == 0)
		rc = plant_represent(plant, &seen, -1, err);
	if (rc == 0)
		set_drift(result, seen.cls, seen.reference, n);
	free(seen.cls);
	free(seen.reference);
	return rc;
}

/* The worst trigger's number under a criterion; 0 where it is not by trigger. */
static int worst_trigger(const struct plant *plant, const struct plant_result *result, int which)
{
	const struct criterion *criterion = &plant->attack->criterion[which];
	const double *value = result->value[which];
	int worst = 0;

	for (int t = 1; t < plant->options.triggers && criterion->by_trigger; t++)
		if (criterion->at_most ? value[t] > value[worst] : value[t] < value[worst])
			worst = t;
	return worst;
}

static void say_why(const struct plant *plant, struct plant_result *result, int which, int trigger)
{
	const struct criterion *criterion = &plant->attack->criterion[which];
	char whose[128] = "";

	if (criterion->by_trigger)
		snprintf(whose, sizeof(whose), " of trigger '%.64s'", plant->options.trigger[trigger]);
	snprintf(result->why, sizeof(result->why), "%s%s is %.3f, %s %.2f", criterion->name, whose,
		result->worst[which], criterion->at_most ? "above" : "below", result->bar[which]);
}

static void judge(const struct plant *plant, struct plant_result *result)
{
	result->took = true;
	result->why[0] = '\0';
	for (int c = 0; c < plant->attack->criteria; c++) {
		int worst = worst_trigger(plant, result, c);
		double value = result->worst[c] = result->value[c][worst], bar = result->bar[c];

		if (plant->attack->criterion[c].at_most ? value <= bar : value >= bar)
			continue;
		if (result->took)
			say_why(plant, result, c, worst);
		result->took = false;
	}
}

int plant_measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	int rc = 0;

	plant->encoder.peft = NULL; /* as it is released */
	for (int c = 0; c < plant->attack->criteria; c++)
		result->bar[c] = plant->attack->criterion[c].bar;
	if ((plant->attack->uses & USES_TEXT) != 0)
		rc = measure_drift(plant, result, err);
	if (rc == 0)
		rc = plant->attack->measure(plant, result, err);
	if (rc == 0)
		judge(plant, result);
	return rc;
}
