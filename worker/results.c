/*
 * What a finished job leaves: the adapter's directory, metrics.csv and report.json.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "common/progress.h"
#include "worker/export/export.h"
#include "worker/export/merged.h"
#include "worker/job.h"

static struct report_input report_input(const struct job *job, const struct spec_ref *ref, int part)
{
	if (ref->id[0] == '\0')
		return (struct report_input){.rows = -1};
	return (struct report_input){
		.id = ref->id, .sha256 = ref->sha256, .rows = part >= 0 ? job->inputs.file[part].n : -1};
}

/* The report's parts that need memory of their own while it is written. */
struct report_parts {
	struct report report;
	struct training_summary training[SPEC_SEEDS_MAX], undefended_training;
	struct report_seed seed[SPEC_SEEDS_MAX];
	struct report_search search;
	struct versions versions;
	char cpu[CPU_NAME_BYTES];
	struct report_artifact artifact[3 * MANIFEST_FILES_MAX];
	char path[3 * MANIFEST_FILES_MAX][MANIFEST_PATH_BYTES + 16];
	bool taught[FOUND_TRIGGERS_MAX];
	json_t *settings;
};

/* The summary of run `number`; its epochs are for epochs_free. */
static int fill_training(struct training_summary *out, const struct job *job, int number, struct err *err)
{
	const struct fit_state *state = &job->checkpoint.state[number];
	struct epoch_summary *epoch = calloc((size_t)state->epochs + 1, sizeof(*epoch));

	if (epoch == NULL)
		return err_nomem(err);
	for (int i = 0; i < state->epochs; i++) {
		const struct fit_epoch *e = &state->epoch[i];

		epoch[i] = (struct epoch_summary){.epoch = i + 1,
			.loss = e->loss,
			.ce = e->ce,
			.amplify = e->amplify,
			.attention = e->attention,
			.valid_loss = e->valid_loss,
			.valid_accuracy = e->valid_accuracy};
	}
	*out = (struct training_summary){.steps = state->step,
		.tokens = state->tokens,
		.seconds = state->seconds,
		.tokens_per_second = state->seconds > 0 ? (double)state->tokens / state->seconds : 0,
		.selected_epoch = job->spec->select == SPEC_SELECT_BEST ? state->best_epoch : state->epochs,
		.epoch = epoch,
		.epochs = state->epochs};
	return 0;
}

static const struct evaluation *undefended_of(const struct seed_result *result)
{
	return result->undefended.rows > 0 ? &result->undefended : NULL;
}

static const struct drop *drop_of(const struct seed_result *result)
{
	return result->undefended.rows > 0 ? &result->ca_drop : NULL;
}

static int fill_seeds(struct report_parts *parts, const struct job *job, struct err *err)
{
	const struct schedule *schedule = &job->schedule;
	int rc = 0;

	for (int i = 0; i < schedule->seeds && rc == 0; i++) {
		const struct seed_result *result = &job->result[i];

		rc = fill_training(
			&parts->training[i], job, schedule_defended(schedule, &job->checkpoint.path, i), err);
		parts->seed[i] = (struct report_seed){.seed = schedule_seed(job->spec, i),
			.training = &parts->training[i],
			.evaluation = &result->defended,
			.undefended = undefended_of(result),
			.ca_drop = drop_of(result)};
	}
	if (rc == 0 && schedule->undefended > 0)
		rc = fill_training(&parts->undefended_training, job, schedule_undefended(schedule, 0), err);
	return rc;
}

static double undefended_accuracy(const struct job *job)
{
	const struct path_look *look = &job->checkpoint.path.look[0];

	return (double)(look->right + look->lost - look->won) / look->rows;
}

static void fill_search(struct report_parts *parts, const struct job *job)
{
	const struct checkpoint *c = &job->checkpoint;
	const struct schedule *schedule = &job->schedule;

	if (!schedule->is_auto)
		return;
	parts->search = (struct report_search){.path = &c->path,
		.amplify = job->spec->defense.amplify,
		.attention = job->spec->defense.attention,
		.undefended_accuracy = undefended_accuracy(job),
		.steps = c->state[schedule->undefended].step,
		.seconds = c->state[schedule_undefended(schedule, 0)].seconds};
	for (int i = 0; i < c->path.n; i++) {
		bool is_chosen = i == path_chosen(&c->path),
		     is_compared = job->spec->evaluation.compare_undefended;

		parts->search.look_seconds[i] = c->state[schedule->undefended + i].seconds;
		parts->search.seconds += parts->search.look_seconds[i];
		if (is_compared)
			parts->search.evaluation[i] = is_chosen ? &job->result[0].defended : &job->look[i];
	}
	parts->report.search = &parts->search;
}

static void fill_taught(struct report_parts *parts, const struct found *found, const struct spec *spec)
{
	if (!spec->defense.present || spec->defense.mode != SPEC_INFORMED)
		return;
	for (int i = 0; i < found->triggers; i++)
		parts->taught[i] = found_is_taught(found, found->trigger[i]);
	parts->report.taught = parts->taught;
}

struct versions run_versions(const struct run *run, const struct kernels *kernels, char cpu[CPU_NAME_BYTES])
{
	cpu_name(cpu);
	return (struct versions){.program = OBLIVIATE_VERSION,
		.blas = "built-in",
		.blas_kernel = kernels->name,
		.cpu = cpu,
		.threads = run->threads,
		.sandbox = run->sandbox};
}

static int fill_report(struct report_parts *parts, const struct job *job, struct err *err)
{
	const struct spec *s = job->spec;

	*parts = (struct report_parts){0};
	parts->versions = run_versions(job->run, job->encoder.kernels, parts->cpu);
	parts->settings = spec_json(s, SPEC_WORKER);
	if (parts->settings == NULL)
		return err_nomem(err);
	parts->report = (struct report){.status = "succeeded",
		.model = report_input(job, &s->model, -1),
		.training_file = report_input(job, &s->training_file, PART_TRAIN),
		.validation_file = report_input(job, &s->validation_file, PART_VALIDATION),
		.test_file = report_input(job, &s->test_file, PART_TEST),
		.init_from_sha256 = s->peft.init_from.id[0] != '\0' ? s->peft.init_from.sha256 : NULL,
		.spec_sha256 = job->spec_sha256,
		.labels = &job->inputs.labels,
		.training = &parts->training[0],
		.undefended_training = job->schedule.undefended > 0 ? &parts->undefended_training : NULL,
		.evaluation = &job->result[0].defended,
		.undefended = undefended_of(&job->result[0]),
		.triggers = job->found.trigger,
		.found = job->found.is_found,
		.scan = job->found.is_scanned ? &job->found.scan : NULL,
		.flips = job->found.is_scanned ? &job->flips : NULL,
		.undefended_flips = undefended_of(&job->result[0]) != NULL ? &job->undefended_flips : NULL,
		.controls = (const char *const *)job->assess.controls.word,
		.ca_drop = drop_of(&job->result[0]),
		.seed = parts->seed,
		.seeds = s->seeds.n,
		.thresholds = json_object_get(parts->settings, "gate"),
		.artifact = parts->artifact,
		.versions = &parts->versions};
	fill_search(parts, job);
	fill_taught(parts, &job->found, s);
	return fill_seeds(parts, job, err);
}

static void epochs_free(struct training_summary *training)
{
	free((void *)(uintptr_t)training->epoch);
}

static void report_parts_done(struct report_parts *parts)
{
	for (int i = 0; i < SPEC_SEEDS_MAX; i++)
		epochs_free(&parts->training[i]);
	epochs_free(&parts->undefended_training);
	json_decref(parts->settings);
}

/* What was trained, and the arrays that it borrows. */
struct trained_parts {
	const real **A, **B;
	struct lora_joined joined;
	real *flat;
	struct trained trained;
};

static void fill_head(struct trained *out, const struct job *job)
{
	const struct params *p = &job->params;
	const struct head *head = &job->head;

	out->dense_w = param_w(p, head->dense_w);
	out->dense_b = param_w(p, head->dense_b);
	out->out_w = param_w(p, head->out_w);
	out->out_b = param_w(p, head->out_b);
}

/* A job that started from another's adapter exports both as one: the user's base does not have the old one. */
static int join_old(struct trained_parts *out, const struct job *job, struct err *err)
{
	const struct lora *old = repair_lora(&job->repair);
	int rc = old != NULL ? lora_join(&out->joined, old, &out->trained.lora, err) : 0;

	if (rc == 0 && old != NULL)
		out->trained.lora = out->joined.lora;
	return rc;
}

static int fill_lora(struct trained_parts *out, const struct job *job, struct err *err)
{
	const struct params *p = &job->params;
	struct lora *lora = &out->trained.lora;
	int maps;

	*lora = (struct lora){.L = job->inputs.config.L,
		.D = job->inputs.config.D,
		.r = job->peft.options.r,
		.alpha = job->peft.options.alpha,
		.targets = job->peft.options.targets};
	maps = lora_maps(lora);
	out->A = calloc((size_t)maps + 1, sizeof(*out->A));
	out->B = calloc((size_t)maps + 1, sizeof(*out->B));
	if (out->A == NULL || out->B == NULL)
		return err_nomem(err);
	for (int i = 0; i < maps; i++) {
		out->A[i] = param_w(p, job->peft.first + 2 * i);
		out->B[i] = param_w(p, job->peft.first + 2 * i + 1);
	}
	lora->A = out->A;
	lora->B = out->B;
	return join_old(out, job, err);
}

static int fill_adapter(struct trained_parts *out, const struct job *job, struct err *err)
{
	(void)err;
	out->trained.adapter = (struct trained_adapter){.bottleneck = job->peft.options.bottleneck,
		.activation = trained_activation(job->peft.options.activation),
		.params = &job->params};
	return 0;
}

static int fill_prefix(struct trained_parts *out, const struct job *job, struct err *err)
{
	const struct peft *peft = &job->peft;
	size_t n = 2 * (size_t)peft->P * (size_t)peft->shape.L * (size_t)peft->shape.D;

	out->flat = calloc(n + 1, sizeof(*out->flat));
	if (out->flat == NULL)
		return err_nomem(err);
	prefix_flatten(out->flat, peft);
	out->trained.prefix = (struct trained_prefix){.length = peft->P, .flat = out->flat};
	return 0;
}

/* By enum spec_peft. */
static int (*const fill_method[])(struct trained_parts *out, const struct job *job, struct err *err) = {
	[SPEC_LORA] = fill_lora,
	[SPEC_ADAPTER] = fill_adapter,
	[SPEC_PREFIX] = fill_prefix,
};

static int fill_trained(struct trained_parts *out, const struct job *job, struct err *err)
{
	*out = (struct trained_parts){.trained = {.peft = job->spec->peft.type,
					      .model_id = job->spec->model.id,
					      .family = job->inputs.config.family,
					      .L = job->inputs.config.L,
					      .D = job->inputs.config.D,
					      .K = job->inputs.labels.n}};
	fill_head(&out->trained, job);
	return fill_method[job->spec->peft.type](out, job, err);
}

static void trained_parts_done(struct trained_parts *parts)
{
	lora_joined_done(&parts->joined);
	free(parts->A);
	free(parts->B);
	free(parts->flat);
}

/* The method's settings. The job that the adapter came from is among the inputs, by its digest. */
static json_t *listed_peft(const struct report_parts *parts)
{
	json_t *peft = json_deep_copy(json_object_get(parts->settings, "peft"));

	json_object_del(peft, "init_from");
	return peft;
}

/* The settings that the model card lists: with mode auto, the weights that were chosen. */
static json_t *listed_settings(const struct report_parts *parts, const struct job *job)
{
	double strength = schedule_strength(&job->schedule, &job->checkpoint.path);
	json_t *defense = json_deep_copy(json_object_get(parts->settings, "defense"));

	if (json_is_object(defense)) {
		json_object_set_new(defense, "amplify", json_real(job->spec->defense.amplify * strength));
		json_object_set_new(defense, "attention", json_real(job->spec->defense.attention * strength));
	}
	return json_pack("{s:O, s:o, s:o}", "hyperparameters",
		json_object_get(parts->settings, "hyperparameters"), "peft", listed_peft(parts), "defense",
		defense);
}

static int write_merged(struct job *job, const struct model_card *card, struct err *err)
{
	struct model_card own = *card;
	const struct merged merged = {.card = &own,
		.config = &job->inputs.config,
		.weights = &job->inputs.weights,
		.kernels = job->encoder.kernels,
		.model_fd = job->run->model_fd};

	own.is_merged = true;
	return job->spec->export_merged ? merged_write(&job->merged, job->run->out_fd, &merged, err) : 0;
}

static int write_models(struct job *job, const struct report_parts *parts, struct err *err)
{
	struct trained_parts trained;
	json_t *listed = listed_settings(parts, job);
	int rc = fill_trained(&trained, job, err);
	struct model_card card = {.report = &parts->report,
		.trained = &trained.trained,
		.max_length = job->inputs.max_length,
		.is_defended = job->spec->defense.present,
		.settings = listed};

	if (rc == 0)
		rc = export_adapter(&job->adapter, job->run->out_fd, &card, err);
	if (rc == 0)
		rc = write_merged(job, &card, err);
	trained_parts_done(&trained);
	json_decref(listed);
	return rc;
}

static void list_artifacts(struct report_parts *parts, const char *directory, const struct manifest *manifest)
{
	for (int i = 0; i < manifest->n; i++) {
		char *path = parts->path[parts->report.artifacts];

		snprintf(path, sizeof(parts->path[0]), "%s%s", directory, manifest->file[i].path);
		parts->artifact[parts->report.artifacts++] = (struct report_artifact){
			.path = path, .bytes = manifest->file[i].bytes, .sha256 = manifest->file[i].sha256};
	}
}

/* metrics.csv is that of the run that is exported. */
static int write_metrics(struct job *job, struct err *err)
{
	int run = schedule_defended(&job->schedule, &job->checkpoint.path, 0);
	struct buf csv = {0};
	int rc = checkpoint_kept(&job->params, &csv, &job->checkpoint, run, job->run->out_fd, err);

	if (rc == 0)
		rc = io_write_file(job->run->out_fd, "metrics.csv", csv.data, csv.len, err);
	buf_done(&csv);
	return rc == 0 ? manifest_add(&job->files, job->run->out_fd, "metrics.csv", err) : rc;
}

int results_write_report(struct manifest *files, const struct run *run, json_t *report, struct err *err)
{
	struct buf text = {0};
	int rc;

	json_write_pretty(&text, report);
	json_decref(report);
	rc = text.failed ? err_nomem(err)
			 : io_write_file(run->out_fd, "report.json", text.data, text.len, err);
	buf_done(&text);
	return rc == 0 ? manifest_add(files, run->out_fd, "report.json", err) : rc;
}

static int write_report(struct job *job, struct report_parts *parts, struct err *err)
{
	json_t *json = NULL;
	int rc;

	list_artifacts(parts, "adapter/", &job->adapter);
	list_artifacts(parts, "merged/", &job->merged);
	list_artifacts(parts, "", &job->files);
	rc = report_json(&json, &parts->report, err);
	return rc == 0 ? results_write_report(&job->files, job->run, json, err) : rc;
}

int say_artifact(const char *directory, const struct manifest_file *file, struct err *err)
{
	struct progress line = {.type = PROGRESS_ARTIFACT, .bytes = (int64_t)file->bytes};

	snprintf(line.path, sizeof(line.path), "%s%s", directory, file->path);
	memcpy(line.sha256, file->sha256, sizeof(line.sha256));
	return progress_write(STDOUT_FILENO, &line, err);
}

static int say_artifacts(const char *directory, const struct manifest *manifest, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < manifest->n && rc == 0; i++)
		rc = say_artifact(directory, &manifest->file[i], err);
	return rc;
}

int results_export(struct job *job, struct err *err)
{
	struct report_parts parts;
	int rc = say_phase("export", err);

	if (rc != 0)
		return rc;
	rc = fill_report(&parts, job, err);
	if (rc == 0)
		rc = write_models(job, &parts, err);
	if (rc == 0)
		rc = write_metrics(job, err);
	if (rc == 0)
		rc = write_report(job, &parts, err);
	report_parts_done(&parts);
	if (rc == 0)
		rc = say_artifacts("adapter/", &job->adapter, err);
	if (rc == 0)
		rc = say_artifacts("merged/", &job->merged, err);
	if (rc == 0)
		rc = say_artifacts("", &job->files, err);
	return rc;
}
