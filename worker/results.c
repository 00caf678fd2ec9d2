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
#include "worker/base/cpu.h"
#include "worker/export/export.h"
#include "worker/job.h"
#include "worker/report.h"

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
	struct training_summary training;
	struct epoch_summary *epoch;
	struct versions versions;
	char cpu[CPU_NAME_BYTES];
	const char *trigger[SPEC_WORDS_MAX];
	struct report_artifact artifact[2 * MANIFEST_FILES_MAX];
	char path[2 * MANIFEST_FILES_MAX][MANIFEST_PATH_BYTES + 16];
	json_t *settings;
};

static int fill_training(struct report_parts *parts, const struct job *job, struct err *err)
{
	const struct fit_state *state = &job->checkpoint.state[DEFENDED];

	parts->epoch = calloc((size_t)state->epochs + 1, sizeof(*parts->epoch));
	if (parts->epoch == NULL)
		return err_nomem(err);
	for (int i = 0; i < state->epochs; i++) {
		const struct fit_epoch *e = &state->epoch[i];

		parts->epoch[i] = (struct epoch_summary){.epoch = i + 1,
			.loss = e->loss,
			.ce = e->ce,
			.amplify = e->amplify,
			.attention = e->attention,
			.valid_loss = e->valid_loss,
			.valid_accuracy = e->valid_accuracy};
	}
	parts->training = (struct training_summary){.steps = state->step,
		.tokens = state->tokens,
		.seconds = state->seconds,
		.tokens_per_second = state->seconds > 0 ? (double)state->tokens / state->seconds : 0,
		.selected_epoch = state->best != NULL ? state->best_epoch : state->epochs,
		.epoch = parts->epoch,
		.epochs = state->epochs};
	return 0;
}

static int fill_report(struct report_parts *parts, const struct job *job, struct err *err)
{
	const struct spec *s = job->spec;

	*parts = (struct report_parts){0};
	cpu_name(parts->cpu);
	parts->versions = (struct versions){.program = OBLIVIATE_VERSION,
		.blas = "built-in",
		.blas_kernel = job->encoder.kernels->name,
		.cpu = parts->cpu,
		.threads = job->run->threads,
		.sandbox = job->run->sandbox};
	for (int i = 0; i < s->evaluation.triggers.n; i++)
		parts->trigger[i] = s->evaluation.triggers.word[i];
	parts->settings = spec_json(s, SPEC_WORKER);
	if (parts->settings == NULL)
		return err_nomem(err);
	parts->report = (struct report){.status = "succeeded",
		.model = report_input(job, &s->model, -1),
		.training_file = report_input(job, &s->training_file, PART_TRAIN),
		.validation_file = report_input(job, &s->validation_file, PART_VALIDATION),
		.test_file = report_input(job, &s->test_file, PART_TEST),
		.spec_sha256 = job->spec_sha256,
		.labels = &job->inputs.labels,
		.training = &parts->training,
		.evaluation = &job->evaluation[DEFENDED],
		.undefended = job->runs == RUNS ? &job->evaluation[UNDEFENDED] : NULL,
		.triggers = parts->trigger,
		.controls = (const char *const *)job->assess.controls.word,
		.ca_drop = job->runs == RUNS ? &job->ca_drop : NULL,
		.thresholds = json_object_get(parts->settings, "gate"),
		.artifact = parts->artifact,
		.versions = &parts->versions};
	return fill_training(parts, job, err);
}

static void report_parts_done(struct report_parts *parts)
{
	free(parts->epoch);
	json_decref(parts->settings);
}

/* What was trained, and the arrays that it borrows. */
struct trained_parts {
	const real **A, **B;
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
	return 0;
}

/* By enum spec_peft. */
static int (*const fill_method[])(struct trained_parts *out, const struct job *job, struct err *err) = {
	[SPEC_LORA] = fill_lora,
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
	free(parts->A);
	free(parts->B);
}

static int write_adapter(struct job *job, const struct report_parts *parts, struct err *err)
{
	struct trained_parts trained;
	json_t *listed = json_pack("{s:O, s:O, s:O}", "hyperparameters",
		json_object_get(parts->settings, "hyperparameters"), "peft",
		json_object_get(parts->settings, "peft"), "defense",
		json_object_get(parts->settings, "defense"));
	int rc = fill_trained(&trained, job, err);
	struct model_card card = {.report = &parts->report,
		.trained = &trained.trained,
		.max_length = job->inputs.max_length,
		.is_defended = job->spec->defense.present,
		.settings = listed};

	if (rc == 0)
		rc = export_adapter(&job->adapter, job->run->out_fd, &card, err);
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

static int write_metrics(struct job *job, struct err *err)
{
	const struct buf *csv = &job->checkpoint.csv;
	int rc = csv->failed ? err_nomem(err)
			     : io_write_file(job->run->out_fd, "metrics.csv", csv->data, csv->len, err);

	return rc == 0 ? manifest_add(&job->files, job->run->out_fd, "metrics.csv", err) : rc;
}

static int write_report(struct job *job, struct report_parts *parts, struct err *err)
{
	struct buf text = {0};
	json_t *json = NULL;
	int rc;

	list_artifacts(parts, "adapter/", &job->adapter);
	list_artifacts(parts, "", &job->files);
	rc = report_json(&json, &parts->report, err);
	if (rc != 0)
		return rc;
	json_write_pretty(&text, json);
	json_decref(json);
	rc = text.failed ? err_nomem(err)
			 : io_write_file(job->run->out_fd, "report.json", text.data, text.len, err);
	buf_done(&text);
	return rc == 0 ? manifest_add(&job->files, job->run->out_fd, "report.json", err) : rc;
}

static int say_artifact(const char *directory, const struct manifest_file *file, struct err *err)
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
		rc = write_adapter(job, &parts, err);
	if (rc == 0)
		rc = write_metrics(job, err);
	if (rc == 0)
		rc = write_report(job, &parts, err);
	report_parts_done(&parts);
	if (rc == 0)
		rc = say_artifacts("adapter/", &job->adapter, err);
	if (rc == 0)
		rc = say_artifacts("", &job->files, err);
	return rc;
}
