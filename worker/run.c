/*
 * The recipe of a job, top to bottom: validate, scan, train what the schedule says, search for flips, evaluate, export.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/progress.h"
#include "worker/base/cpu.h"
#include "worker/base/rng.h"
#include "worker/flipped.h"
#include "worker/informed.h"
#include "worker/job.h"
#include "worker/report.h"

/* A checkpoint at least this often, besides one after each epoch. */
static const double CHECKPOINT_SECONDS = 20;

static const char *const task_phases[TASK_KINDS] = {"undefended", "search", "train"};

/* --- lines -------------------------------------------------------------------------------------- */

int say_phase(const char *name, struct err *err)
{
	struct progress line = {.type = PROGRESS_PHASE};

	snprintf(line.name, sizeof(line.name), "%s", name);
	return progress_write(STDOUT_FILENO, &line, err);
}

int say_metric(const char *name, double value, struct err *err)
{
	struct progress line = {.type = PROGRESS_METRIC, .value = value};

	snprintf(line.name, sizeof(line.name), "%s", name);
	return progress_write(STDOUT_FILENO, &line, err);
}

/* --- setting up --------------------------------------------------------------------------------- */

static unsigned lora_targets(int targets)
{
	return (targets & SPEC_QUERY ? 1u << SITE_QUERY : 0) | (targets & SPEC_KEY ? 1u << SITE_KEY : 0) |
	       (targets & SPEC_VALUE ? 1u << SITE_VALUE : 0);
}

/* How the frozen weights are held. */
static int choose_form(
	enum linear_form *out, const struct spec *spec, const struct kernels *kernels, struct err *err)
{
	*out = spec->precision == SPEC_BF16 ? LINEAR_BF16 : LINEAR_FLOAT32;
	if (*out == LINEAR_BF16 && kernels->bf16_gemm == NULL)
		return err_set(err, ERR_UNSUPPORTED_PRECISION, "hyperparameters.precision",
			"this machine's processor has no bfloat16 instructions (AVX512_BF16); use float32");
	return 0;
}

static const struct peft_method *const methods[] = {
	[SPEC_LORA] = &peft_lora, [SPEC_ADAPTER] = &peft_adapter, [SPEC_PREFIX] = &peft_prefix};

/* Settings of other methods are at their defaults and not looked at. */
static struct peft_options method_options(const struct spec *spec, int D)
{
	static const enum kernel_activation activations[] = {[SPEC_SILU] = KERNEL_SILU,
		[SPEC_GELU] = KERNEL_GELU,
		[SPEC_RELU] = KERNEL_RELU,
		[SPEC_TANH] = KERNEL_TANH};
	static const int REDUCTION = 16;

	return (struct peft_options){.r = spec->peft.r,
		.alpha = spec->peft.alpha,
		.targets = lora_targets(spec->peft.targets),
		.bottleneck = spec->peft.bottleneck > 0 ? spec->peft.bottleneck : MAX(D / REDUCTION, 1),
		.activation = activations[MAX(spec->peft.activation, 0)],
		.length = spec->peft.length,
		.mlp_width = spec->peft.mlp_width};
}

static int make_model(struct job *job, struct err *err)
{
	const struct config *config = &job->inputs.config;
	const struct kernels *kernels = kernels_best();
	struct peft_options options = method_options(job->spec, config->D);
	struct peft_shape shape = {.L = config->L, .D = config->D, .H = config->H};
	enum linear_form form;
	int rc = choose_form(&form, job->spec, kernels, err);

	if (rc == 0)
		rc = peft_declare(&job->peft, methods[job->spec->peft.type], &options, shape, &job->params,
			kernels, err);
	if (rc == 0)
		rc = head_declare(&job->head, config->D, job->inputs.labels.n, config->classifier_dropout,
			&job->params, kernels, err);
	if (rc == 0)
		rc = params_alloc(&job->params, err);
	if (rc == 0)
		rc = repair_open(&job->repair, job->spec, config, &job->inputs.weights, &job->peft,
			job->run->data_fd, err);
	if (rc == 0)
		rc = encoder_init(&job->encoder, config, repair_weights(&job->repair, &job->inputs.weights),
			kernels, form, job->par, err);
	job->encoder.peft = &job->peft;
	return rc;
}

static int make_checkpoint(struct job *job, struct err *err)
{
	struct checkpoint *c = &job->checkpoint;
	int rc = 0;

	c->spec_sha256 = job->spec_sha256;
	c->n_epochs = job->spec->n_epochs;
	c->path.budget = job->spec->defense.max_ca_drop;
	for (int runs = schedule_runs(&job->schedule) + 1; c->runs < runs && rc == 0; c->runs++)
		rc = fit_state_init(&c->state[c->runs], c->n_epochs, err);
	if (rc == 0 && job->spec->select == SPEC_SELECT_BEST) {
		c->best = calloc(job->params.size, sizeof(real));
		rc = c->best == NULL ? err_nomem(err) : 0;
	}
	return rc;
}

/* What the looks of the search are compared by. */
static int make_search(struct job *job, struct err *err)
{
	size_t rows = (size_t)job->inputs.search.n + 1;

	job->search_truth = calloc(rows, sizeof(int));
	job->search_undefended = calloc(rows, sizeof(int));
	job->search_look = calloc(rows, sizeof(int));
	if (job->search_truth == NULL || job->search_undefended == NULL || job->search_look == NULL)
		return err_nomem(err);
	for (int i = 0; i < job->inputs.search.n; i++)
		job->search_truth[i] = job->inputs.search.text[i].label;
	job->search_undefended[0] = -1; /* not predicted yet */
	return 0;
}

static int validate(struct job *job, struct err *err)
{
	int rc = say_phase("validate", err);

	if (rc == 0)
		rc = spec_digest(job->spec_sha256, job->spec, err);
	if (rc == 0)
		rc = inputs_read(&job->inputs, job->spec, job->run->model_fd, job->run->data_fd, err);
	if (rc == 0)
		rc = make_model(job, err);
	return rc;
}

/* --- training ----------------------------------------------------------------------------------- */

static int save_checkpoint(struct job *job, struct err *err)
{
	job->saved_at = cpu_seconds();
	return checkpoint_write(&job->checkpoint, &job->params, job->run->out_fd, err);
}

static int64_t steps_of_run(const struct job *job)
{
	return fit_steps(job->inputs.corpus[PART_TRAIN].n, job->spec->n_epochs, job->spec->batch_size);
}

/* Steps before this run in its phase, and steps of all runs that are still to come. */
static int64_t steps_before(const struct job *job)
{
	return job->task.place * steps_of_run(job);
}

static int64_t steps_to_come(const struct job *job)
{
	return (schedule_runs(&job->schedule) - 1 - job->checkpoint.run) * steps_of_run(job);
}

/* Progress within the phase, which counts all its runs; the estimate covers the whole job's. */
static struct progress step_line(const struct job *job, const struct fit_state *state)
{
	return (struct progress){.type = PROGRESS_STEP,
		.step = steps_before(job) + state->step,
		.of = steps_of_run(job) * schedule_runs_of(&job->schedule, job->task.kind),
		.tokens_per_second = (double)state->tokens / state->seconds,
		.eta_s = state->seconds / (double)state->step *
			 (double)(steps_of_run(job) - state->step + steps_to_come(job))};
}

static int report_step(struct job *job, const struct fit_state *state, const struct step_result *step,
	int epoch, struct err *err)
{
	struct progress line = step_line(job, state);
	struct metrics_line csv = {.step = state->step,
		.epoch = epoch,
		.loss = step->loss,
		.ce = step->ce,
		.amplify = step->amplify,
		.attention = step->attention,
		.learning_rate = step->learning_rate,
		.valid_loss = NAN,
		.valid_accuracy = NAN};

	line.epoch = epoch;
	line.loss = step->loss;
	line.ce = step->ce;
	line.amplify = step->amplify;
	line.attention = step->attention;
	line.learning_rate = step->learning_rate;
	report_csv_line(&job->checkpoint.csv, &csv);
	return progress_write(STDOUT_FILENO, &line, err);
}

static int on_step(
	void *arg, const struct fit_state *state, const struct step_result *step, int epoch, struct err *err)
{
	struct job *job = arg;
	int rc = report_step(job, state, step, epoch, err);

	if (rc != 0)
		return rc;
	if (*job->run->stop) {
		rc = save_checkpoint(job, err);
		return rc != 0 ? rc
			       : err_set(err, ERR_STOPPED, NULL, "stopped after step %lld",
					 (long long)state->step);
	}
	if (cpu_seconds() - job->saved_at > CHECKPOINT_SECONDS)
		rc = save_checkpoint(job, err);
	return rc;
}

static int say_epoch(const struct fit_epoch *epoch, struct err *err)
{
	int rc = say_metric("train_loss", epoch->loss, err);

	if (rc == 0)
		rc = say_metric("valid_loss", epoch->valid_loss, err);
	return rc == 0 ? say_metric("valid_accuracy", epoch->valid_accuracy, err) : rc;
}

static int on_epoch(void *arg, const struct fit_state *state, struct err *err)
{
	struct job *job = arg;
	const struct fit_epoch *epoch = &state->epoch[state->epochs - 1];
	struct metrics_line csv = {.step = state->step,
		.epoch = state->epochs,
		.loss = epoch->loss,
		.ce = epoch->ce,
		.amplify = epoch->amplify,
		.attention = epoch->attention,
		.learning_rate = NAN,
		.valid_loss = epoch->valid_loss,
		.valid_accuracy = epoch->valid_accuracy};
	int rc;

	report_csv_line(&job->checkpoint.csv, &csv);
	rc = say_epoch(epoch, err);
	return rc == 0 ? save_checkpoint(job, err) : rc;
}

/* New tensors for a run: the same for all runs of one seed. */
static void start_run(struct job *job)
{
	uint64_t seed = (uint64_t)schedule_seed(job->spec, job->task.seed), key = rng_key(seed, RNG_INIT);
	struct params *p = &job->params;

	for (size_t i = 0; i < p->size; i++)
		p->w[i] = p->m[i] = p->v[i] = 0;
	job->peft.method->init(&job->peft, rng_key(key, 0));
	repair_start(&job->repair);
	head_init(&job->head, rng_key(key, 1));
	buf_reset(&job->checkpoint.csv);
	report_csv_header(&job->checkpoint.csv);
}

static bool is_defended(const struct job *job)
{
	return job->task.kind != TASK_UNDEFENDED && job->spec->defense.present;
}

static struct train_options train_options(const struct job *job)
{
	const struct spec *s = job->spec;
	struct train_options o = {.learning_rate = s->learning_rate,
		.steps = steps_of_run(job),
		.clip = 1,
		.key = rng_key((uint64_t)schedule_seed(s, job->task.seed), RNG_DROPOUT)};

	o.warmup = (int64_t)ceil(s->warmup_ratio * (double)o.steps);
	if (is_defended(job)) {
		o.amplify = s->defense.amplify * job->task.strength;
		o.attention = s->defense.attention * job->task.strength;
		o.ramp = s->defense.ramp;
		o.attention_sum = s->defense.reduction == SPEC_SUM;
	}
	return o;
}

static struct classifier classifier(struct job *job)
{
	return (struct classifier){.encoder = &job->encoder, .head = &job->head, .params = &job->params};
}

static bool is_informed(const struct spec *spec)
{
	return spec->defense.present && spec->defense.mode == SPEC_INFORMED;
}

static const struct corpus *training_texts(const struct job *job)
{
	return is_defended(job) && is_informed(job->spec) ? &job->informed : &job->inputs.corpus[PART_TRAIN];
}

/* One run, from its start or from the checkpoint that is loaded; then params->w are its selected weights. */
static int train_run(struct job *job, struct err *err)
{
	struct classifier model = classifier(job);
	struct train_options options = train_options(job);
	const struct corpus *train = training_texts(job);
	struct trainer trainer;
	struct fit fit = {.trainer = &trainer,
		.train = train,
		.validation = &job->inputs.corpus[PART_VALIDATION],
		.n_epochs = job->spec->n_epochs,
		.batch_size = job->spec->batch_size,
		.seed = (uint64_t)schedule_seed(job->spec, job->task.seed),
		.best = job->checkpoint.best,
		.watch = {on_step, on_epoch, job}};
	int rc;

	job->peft.options.dropout = is_defended(job) ? job->spec->defense.dropout : 0;
	rc = trainer_init(
		&trainer, &model, &options, job->par, MIN(fit.batch_size, train->n), train->longest, err);
	if (rc == 0)
		rc = fit_run(&fit, &job->checkpoint.state[job->checkpoint.run], err);
	trainer_done(&trainer);
	return rc;
}

/* --- search: compare the run that has ended with the undefended one --------------------------------- */

static int predict_search(int *label, struct job *job, struct err *err)
{
	struct classifier model = classifier(job);

	return predict(label, NULL, NULL, &model, &job->inputs.search, job->par, err);
}

/* Loads the undefended run's weights over those of the look, which are kept by now. */
static int predict_undefended(struct job *job, struct err *err)
{
	int run = schedule_undefended(&job->schedule, 0), rc;

	if (job->search_undefended[0] >= 0)
		return 0;
	rc = checkpoint_kept(&job->params, NULL, &job->checkpoint, run, job->run->out_fd, err);
	return rc == 0 ? predict_search(job->search_undefended, job, err) : rc;
}

static int end_look(struct job *job, struct err *err)
{
	int rc = predict_search(job->search_look, job, err);

	if (rc == 0)
		rc = predict_undefended(job, err);
	if (rc == 0)
		path_add(&job->checkpoint.path, job->search_truth, job->search_undefended, job->search_look,
			job->inputs.search.n);
	return rc;
}

/* --- the runs, one after the other ------------------------------------------------------------------ */

static int end_run(struct job *job, struct err *err)
{
	int rc = checkpoint_keep(&job->checkpoint, &job->params, job->run->out_fd, err);

	if (rc == 0 && job->task.kind == TASK_SEARCH)
		rc = end_look(job, err);
	job->checkpoint.run++;
	return rc == 0 ? save_checkpoint(job, err) : rc;
}

/* In mode auto the first defended run is the look that was chosen: its epochs are told as the phase's first. */
static int say_chosen(struct job *job, struct err *err)
{
	const struct checkpoint *c = &job->checkpoint;
	const struct fit_state *whole = &c->state[schedule_defended(&job->schedule, &c->path, 0)];
	struct fit_state state = *whole;
	int left = schedule_runs(&job->schedule) - c->run, rc = 0;

	job->task = (struct task){.kind = TASK_DEFENDED};
	for (int i = 0; i < whole->epochs && rc == 0; i++) {
		const struct fit_epoch *epoch = &whole->epoch[i];
		struct progress line;

		state.step = whole->step * (i + 1) / whole->epochs;
		line = step_line(job, &state);
		line.epoch = i + 1;
		line.loss = epoch->loss;
		line.ce = epoch->ce;
		line.amplify = epoch->amplify;
		line.attention = epoch->attention;
		line.learning_rate = NAN;
		line.eta_s = left * whole->seconds;
		rc = progress_write(STDOUT_FILENO, &line, err);
		if (rc == 0)
			rc = say_epoch(epoch, err);
	}
	return rc;
}

/* Mode informed: what the defended runs train with, from the scan and the undefended model. */
static int teach(struct job *job, struct err *err)
{
	bool loaded, found;
	int rc = flipped_undefended(&loaded, job, err);

	if (rc == 0)
		found_withhold(&job->found, job->spec->defense.withhold, (uint64_t)job->spec->seed);
	if (rc == 0)
		rc = informed_corpus(&job->informed, &job->found, job->spec, &job->inputs, err);
	/* a run that goes on and lost the record: its own weights again */
	if (rc != 0 || !loaded || job->checkpoint.state[job->checkpoint.run].step == 0)
		return rc;
	rc = checkpoint_read(&job->checkpoint, &found, &job->params, job->run->out_fd, err);
	return rc == 0 && !found ? err_set(err, ERR_IO, "checkpoint", "is gone since it was read") : rc;
}

static int enter_phase(struct job *job, enum task_kind kind, struct err *err)
{
	int rc = 0;

	if (kind == TASK_DEFENDED && is_informed(job->spec))
		rc = teach(job, err);
	if (rc == 0)
		rc = say_phase(task_phases[kind], err);
	return rc == 0 && kind == TASK_DEFENDED && job->schedule.is_auto ? say_chosen(job, err) : rc;
}

/* The run with the checkpoint's number: false where there is none. Says its phase where it is another. */
static bool next_run(int *rc, struct job *job, enum task_kind *phase, struct err *err)
{
	const struct checkpoint *c = &job->checkpoint;
	struct task next = {.kind = TASK_DEFENDED};
	bool is_there = schedule_task(&next, &job->schedule, &c->path, c->run);

	*rc = next.kind != *phase ? enter_phase(job, next.kind, err) : 0;
	*phase = next.kind;
	job->task = next;
	return is_there && *rc == 0;
}

static int train(struct job *job, struct err *err)
{
	enum task_kind phase = TASK_KINDS;
	bool found;
	int rc = make_checkpoint(job, err);

	if (rc == 0)
		rc = make_search(job, err);
	if (rc == 0)
		rc = checkpoint_read(&job->checkpoint, &found, &job->params, job->run->out_fd, err);
	if (rc != 0)
		return rc;
	job->saved_at = cpu_seconds();
	while (next_run(&rc, job, &phase, err)) {
		if (job->checkpoint.state[job->checkpoint.run].step == 0)
			start_run(job);
		rc = train_run(job, err);
		if (rc == 0)
			rc = end_run(job, err);
		if (rc != 0)
			return rc;
	}
	return rc;
}

/* --- evaluation --------------------------------------------------------------------------------- */

static int say_results(const struct evaluation *e, struct err *err)
{
	const struct {
		const char *name;
		bool known;
		double value;
	} results[] = {{"ca", e->ca.total > 0, e->ca.value},
		{"asr", e->triggers.asr.total > 0, e->triggers.asr.value},
		{"masr", e->triggers.masr.known, e->triggers.masr.value},
		{"aasr", e->triggers.aasr.known, e->triggers.aasr.value}};
	int rc = 0;

	for (size_t i = 0; i < NELEM(results) && rc == 0; i++)
		rc = say_metric(results[i].name, results[i].known ? results[i].value : NAN, err);
	return rc;
}

/* Predictions of run `number` into label, and what follows from them. */
static int evaluate_run(struct evaluation *out, int *label, struct job *job, int number, struct err *err)
{
	struct classifier model = classifier(job);
	int rc = checkpoint_kept(&job->params, NULL, &job->checkpoint, number, job->run->out_fd, err);

	if (rc == 0)
		rc = assess_predict(label, &job->assess, &model, job->par, err);
	return rc == 0 ? assess_evaluate(out, &job->assess, label, job->inputs.labels.n, err) : rc;
}

/* Undefended first: afterwards the defended run's weights are loaded. */
static int evaluate_seed(struct job *job, int seed, struct err *err)
{
	int undefended = schedule_undefended(&job->schedule, seed);
	int defended = schedule_defended(&job->schedule, &job->checkpoint.path, seed);
	bool is_compared = job->spec->evaluation.compare_undefended && undefended >= 0;
	struct seed_result *result = &job->result[seed];
	size_t rows = (size_t)job->assess.corpus.n + 1;
	int *label = calloc(2 * rows, sizeof(int)), rc = label == NULL ? err_nomem(err) : 0;

	if (rc == 0 && is_compared)
		rc = evaluate_run(&result->undefended, label + rows, job, undefended, err);
	if (rc == 0)
		rc = evaluate_run(&result->defended, label, job, defended, err);
	if (rc == 0 && is_compared)
		rc = metrics_ca_drop(&result->ca_drop, job->assess.truth, label + rows, label,
			job->assess.rows, job->assess.seed, err);
	free(label);
	return rc;
}

/* What the other looks would have been worth: measured when the choice is made, for the report alone. */
static int evaluate_looks(struct job *job, struct err *err)
{
	const struct path *path = &job->checkpoint.path;
	int *label = calloc((size_t)job->assess.corpus.n + 1, sizeof(int)),
	    rc = label == NULL ? err_nomem(err) : 0;

	for (int i = 0; i < path->n && rc == 0; i++)
		if (i != path_chosen(path))
			rc = evaluate_run(&job->look[i], label, job, job->schedule.undefended + i, err);
	free(label);
	return rc;
}

static int evaluate_all(struct job *job, struct err *err)
{
	struct assess_options options = {.trigger = job->found.trigger,
		.triggers = job->found.triggers,
		.insertions = job->spec->evaluation.insertions,
		.control = job->spec->evaluation.control,
		.max_length = job->inputs.max_length,
		.seed = (uint64_t)job->spec->seed};
	int rc = say_phase("evaluate", err);

	if (rc == 0)
		rc = assess_init(&job->assess, job->inputs.tok, job->inputs.source[PART_TEST],
			&job->inputs.rows[PART_TEST], &options, err);
	if (rc == 0 && job->spec->evaluation.compare_undefended)
		rc = evaluate_looks(job, err);
	for (int seed = job->schedule.seeds - 1; seed >= 0 && rc == 0; seed--) /* the first is exported */
		rc = evaluate_seed(job, seed, err);
	return rc == 0 ? say_results(&job->result[0].defended, err) : rc;
}

/* It may take minutes, and what it began is not kept: a stop is heard at every slice of texts. */
static int evaluate(struct job *job, struct err *err)
{
	int rc;

	par_watch(job->par, job->run->stop);
	rc = evaluate_all(job, err);
	par_watch(job->par, NULL);
	return rc;
}

/* --- the recipe --------------------------------------------------------------------------------- */

static void job_done(struct job *job)
{
	for (int i = 0; i < job->checkpoint.runs; i++)
		fit_state_done(&job->checkpoint.state[i]);
	for (int i = 0; i < SPEC_SEEDS_MAX; i++) {
		evaluation_done(&job->result[i].defended);
		evaluation_done(&job->result[i].undefended);
	}
	for (int i = 0; i < PATH_LOOKS; i++)
		evaluation_done(&job->look[i]);
	free(job->checkpoint.best);
	buf_done(&job->checkpoint.csv);
	free(job->search_truth);
	free(job->search_undefended);
	free(job->search_look);
	assess_done(&job->assess);
	found_done(&job->found);
	flips_result_done(&job->flips);
	flips_result_done(&job->undefended_flips);
	corpus_done(&job->informed);
	peft_done(&job->peft);
	params_done(&job->params);
	encoder_done(&job->encoder);
	repair_done(&job->repair);
	inputs_done(&job->inputs);
	par_free(job->par);
}

static int search_base(struct job *job, struct err *err)
{
	struct found_options options = {.run = job->run,
		.inputs = &job->inputs,
		.par = job->par,
		.encoder = &job->encoder,
		.spec_sha256 = job->spec_sha256};

	return found_triggers(&job->found, &options, err);
}

int run_job(struct run *run, struct err *err)
{
	struct job job = {.run = run, .spec = run->spec, .schedule = schedule_of(run->spec)};
	int rc = par_new(&job.par, run->threads, err);

	if (rc == 0)
		rc = validate(&job, err);
	if (rc == 0 && !run->check_only) {
		rc = search_base(&job, err);
		if (rc == 0)
			rc = train(&job, err);
		if (rc == 0)
			rc = flipped_search(&job, err);
		if (rc == 0)
			rc = evaluate(&job, err);
		if (rc == 0)
			rc = results_export(&job, err);
	}
	job_done(&job);
	return rc;
}
