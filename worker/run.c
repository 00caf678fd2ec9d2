/*
 * The recipe of a job, top to bottom: validate, train, undefended, evaluate, export.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/progress.h"
#include "worker/base/cpu.h"
#include "worker/base/rng.h"
#include "worker/job.h"
#include "worker/report.h"

/* A checkpoint at least this often, besides one after each epoch. */
static const double CHECKPOINT_SECONDS = 20;

static const char *const run_phases[RUNS] = {"train", "undefended"};

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

static int make_model(struct job *job, struct err *err)
{
	const struct config *config = &job->inputs.config;
	const struct kernels *kernels = kernels_best();
	struct peft_options options = {.r = job->spec->peft.r,
		.alpha = job->spec->peft.alpha,
		.targets = lora_targets(job->spec->peft.targets)};
	struct peft_shape shape = {.L = config->L, .D = config->D, .H = config->H};
	enum linear_form form;
	int rc = choose_form(&form, job->spec, kernels, err);

	if (rc == 0)
		rc = encoder_init(&job->encoder, config, &job->inputs.weights, kernels, form, err);
	if (rc == 0)
		rc = peft_declare(&job->peft, &peft_lora, &options, shape, &job->params, kernels, err);
	if (rc == 0)
		rc = head_declare(&job->head, config->D, job->inputs.labels.n, config->classifier_dropout,
			&job->params, kernels, err);
	if (rc == 0)
		rc = params_alloc(&job->params, err);
	job->encoder.peft = &job->peft;
	return rc;
}

static int make_checkpoint(struct job *job, struct err *err)
{
	struct checkpoint *c = &job->checkpoint;
	int rc = 0;

	c->spec_sha256 = job->spec_sha256;
	c->n_epochs = job->spec->n_epochs;
	for (int i = 0; i < job->runs && rc == 0; i++) {
		rc = fit_state_init(&c->state[i], c->n_epochs, job->params.size,
			job->spec->select == SPEC_SELECT_BEST, err);
		c->final[i] = calloc(job->params.size, sizeof(real));
		if (rc == 0 && c->final[i] == NULL)
			rc = err_nomem(err);
	}
	report_csv_header(&c->csv);
	return rc;
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

static int report_step(struct job *job, const struct fit_state *state, const struct step_result *step,
	int epoch, struct err *err)
{
	int64_t of = steps_of_run(job), left = of - state->step + of * (job->runs - 1 - job->checkpoint.run);
	struct progress line = {.type = PROGRESS_STEP,
		.step = state->step,
		.of = of,
		.epoch = epoch,
		.loss = step->loss,
		.ce = step->ce,
		.amplify = step->amplify,
		.attention = step->attention,
		.learning_rate = step->learning_rate,
		.tokens_per_second = (double)state->tokens / state->seconds,
		.eta_s = state->seconds / (double)state->step * (double)left};
	struct metrics_line csv = {.step = state->step,
		.epoch = epoch,
		.loss = step->loss,
		.ce = step->ce,
		.amplify = step->amplify,
		.attention = step->attention,
		.learning_rate = step->learning_rate,
		.valid_loss = NAN,
		.valid_accuracy = NAN};

	if (job->checkpoint.run == DEFENDED)
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

	if (job->checkpoint.run == DEFENDED)
		report_csv_line(&job->checkpoint.csv, &csv);
	rc = say_metric("train_loss", epoch->loss, err);
	if (rc == 0)
		rc = say_metric("valid_loss", epoch->valid_loss, err);
	if (rc == 0)
		rc = say_metric("valid_accuracy", epoch->valid_accuracy, err);
	return rc == 0 ? save_checkpoint(job, err) : rc;
}

/* New tensors for a run: the same for the defended and the undefended one. */
static void init_params(struct job *job)
{
	uint64_t key = rng_key((uint64_t)job->spec->seed, RNG_INIT);
	struct params *p = &job->params;

	for (size_t i = 0; i < p->size; i++)
		p->w[i] = p->m[i] = p->v[i] = 0;
	job->peft.method->init(&job->peft, rng_key(key, 0));
	head_init(&job->head, rng_key(key, 1));
}

static struct train_options train_options(const struct job *job, bool is_defended)
{
	const struct spec *s = job->spec;
	struct train_options o = {.learning_rate = s->learning_rate,
		.steps = steps_of_run(job),
		.clip = 1,
		.key = rng_key((uint64_t)s->seed, RNG_DROPOUT)};

	o.warmup = (int64_t)ceil(s->warmup_ratio * (double)o.steps);
	if (is_defended) {
		o.amplify = s->defense.amplify;
		o.attention = s->defense.attention;
		o.attention_sum = s->defense.reduction == SPEC_SUM;
	}
	return o;
}

/* One run, from a fresh start or from the checkpoint that is loaded. */
static int train_run(struct job *job, struct err *err)
{
	int run = job->checkpoint.run;
	bool is_defended = run == DEFENDED && job->spec->defense.present;
	struct classifier model = {.encoder = &job->encoder, .head = &job->head, .params = &job->params};
	struct train_options options = train_options(job, is_defended);
	const struct corpus *train = &job->inputs.corpus[PART_TRAIN];
	struct trainer trainer;
	struct fit fit = {.trainer = &trainer,
		.train = train,
		.validation = &job->inputs.corpus[PART_VALIDATION],
		.n_epochs = job->spec->n_epochs,
		.batch_size = job->spec->batch_size,
		.seed = (uint64_t)job->spec->seed,
		.watch = {on_step, on_epoch, job}};
	int rc = say_phase(run_phases[run], err);

	job->peft.options.dropout = is_defended ? job->spec->defense.dropout : 0;
	if (rc == 0)
		rc = trainer_init(&trainer, &model, &options, job->par, MIN(fit.batch_size, train->n),
			train->longest, err);
	else
		trainer = (struct trainer){0};
	if (rc == 0)
		rc = fit_run(&fit, &job->checkpoint.state[run], err);
	if (rc == 0)
		memcpy(job->checkpoint.final[run], job->params.w, job->params.size * sizeof(real));
	trainer_done(&trainer);
	return rc;
}

static int train(struct job *job, struct err *err)
{
	bool found;
	int rc = make_checkpoint(job, err);

	if (rc == 0)
		rc = checkpoint_read(&job->checkpoint, &found, &job->params, job->run->out_fd, err);
	if (rc != 0)
		return rc;
	if (!found)
		init_params(job);
	job->saved_at = cpu_seconds();
	for (;;) {
		rc = train_run(job, err);
		if (rc != 0 || job->checkpoint.run == job->runs - 1)
			return rc;
		job->checkpoint.run++;
		init_params(job);
		rc = save_checkpoint(job, err);
		if (rc != 0)
			return rc;
	}
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

static int evaluate_run(struct job *job, int run, struct err *err)
{
	struct classifier model = {.encoder = &job->encoder, .head = &job->head, .params = &job->params};
	int rc;

	job->label[run] = calloc((size_t)job->assess.corpus.n + 1, sizeof(int));
	if (job->label[run] == NULL)
		return err_nomem(err);
	memcpy(job->params.w, job->checkpoint.final[run], job->params.size * sizeof(real));
	rc = assess_predict(job->label[run], &job->assess, &model, job->par, err);
	if (rc == 0)
		rc = assess_evaluate(
			&job->evaluation[run], &job->assess, job->label[run], job->inputs.labels.n, err);
	return rc;
}

static int evaluate(struct job *job, struct err *err)
{
	const struct spec_words *words = &job->spec->evaluation.triggers;
	const char *trigger[SPEC_WORDS_MAX];
	struct assess_options options = {.trigger = trigger,
		.triggers = words->n,
		.insertions = job->spec->evaluation.insertions,
		.control = job->spec->evaluation.control,
		.max_length = job->inputs.max_length,
		.seed = (uint64_t)job->spec->seed};
	int rc = say_phase("evaluate", err);

	for (int i = 0; i < words->n; i++)
		trigger[i] = words->word[i];
	if (rc == 0)
		rc = assess_init(&job->assess, job->inputs.tok, job->inputs.source[PART_TEST],
			&job->inputs.rows[PART_TEST], &options, err);
	for (int run = job->runs - 1; run >= 0 && rc == 0; run--)
		rc = evaluate_run(job, run, err);
	if (rc == 0 && job->runs == RUNS)
		rc = metrics_ca_drop(&job->ca_drop, job->assess.truth, job->label[UNDEFENDED],
			job->label[DEFENDED], job->assess.rows, job->assess.seed, err);
	return rc == 0 ? say_results(&job->evaluation[DEFENDED], err) : rc;
}

/* --- the recipe --------------------------------------------------------------------------------- */

static void job_done(struct job *job)
{
	for (int i = 0; i < RUNS; i++) {
		fit_state_done(&job->checkpoint.state[i]);
		free(job->checkpoint.final[i]);
		free(job->label[i]);
		evaluation_done(&job->evaluation[i]);
	}
	buf_done(&job->checkpoint.csv);
	assess_done(&job->assess);
	peft_done(&job->peft);
	params_done(&job->params);
	encoder_done(&job->encoder);
	inputs_done(&job->inputs);
	par_free(job->par);
}

int run_job(struct run *run, struct err *err)
{
	struct job job = {.run = run, .spec = run->spec, .runs = 1};
	int rc = par_new(&job.par, run->threads, err);

	if (run->spec->evaluation.compare_undefended && run->spec->defense.present)
		job.runs = RUNS;
	if (rc == 0)
		rc = validate(&job, err);
	if (rc == 0 && !run->check_only) {
		rc = train(&job, err);
		if (rc == 0)
			rc = evaluate(&job, err);
		if (rc == 0)
			rc = results_export(&job, err);
	}
	job_done(&job);
	return rc;
}
