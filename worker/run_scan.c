#include "worker/run_scan.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "common/progress.h"
#include "worker/base/cpu.h"
#include "worker/job.h"
#include "worker/report.h"
#include "worker/scan/scan_json.h"

struct scanning {
	const struct run *run;
	struct inputs inputs;
	struct par *par;
	struct encoder fast, exact; /* fast is empty where there is no bfloat16 */
	double started;
	struct scan_result result;
};

static int on_progress(void *arg, int64_t done, int64_t of, struct err *err)
{
	const struct scanning *s = arg;
	double seconds = cpu_seconds() - s->started;
	struct progress line = {.type = PROGRESS_STEP,
		.step = done,
		.of = of,
		.epoch = 1,
		.loss = NAN,
		.ce = NAN,
		.amplify = NAN,
		.attention = NAN,
		.learning_rate = NAN,
		.tokens_per_second = NAN,
		.eta_s = seconds / (double)done * (double)(of - done)};

	if (*s->run->stop)
		return err_set(err, ERR_STOPPED, NULL, "stopped after %lld of %lld texts", (long long)done,
			(long long)of);
	return progress_write(STDOUT_FILENO, &line, err);
}

static int make_encoders(struct scanning *s, struct err *err)
{
	const struct kernels *kernels = kernels_best();
	const struct inputs *in = &s->inputs;
	int rc = encoder_init(&s->exact, &in->config, &in->weights, kernels, LINEAR_FLOAT32, err);

	if (rc == 0 && kernels->bf16_gemm != NULL)
		rc = encoder_init(&s->fast, &in->config, &in->weights, kernels, LINEAR_BF16, err);
	return rc;
}

static int search(struct scanning *s, struct err *err)
{
	const struct spec *spec = s->run->spec;
	const char *extra[SPEC_WORDS_MAX];
	struct scan_options options = {.tok = s->inputs.tok,
		.fast = s->fast.linear != NULL ? &s->fast : &s->exact,
		.exact = &s->exact,
		.par = s->par,
		.max_length = s->inputs.max_length,
		.seed = (uint64_t)spec->seed,
		.texts = spec->scan.texts,
		.candidates = spec->scan.candidates,
		.seconds = spec->scan.seconds,
		.extra = extra,
		.extras = spec->scan.extra.n,
		.watch = {on_progress, s}};

	for (int i = 0; i < options.extras; i++)
		extra[i] = spec->scan.extra.word[i];
	s->started = cpu_seconds();
	return scan_run(&s->result, &options, err);
}

static int compose(json_t **out, const struct scanning *s, struct err *err)
{
	char cpu[CPU_NAME_BYTES];
	struct versions versions = {.program = OBLIVIATE_VERSION,
		.blas = "built-in",
		.blas_kernel = s->exact.kernels->name,
		.cpu = cpu,
		.threads = s->run->threads,
		.sandbox = s->run->sandbox};
	int rc = scan_json(out, &s->result, err);

	cpu_name(cpu);
	if (rc == 0 && json_object_set_new(*out, "versions", report_versions(&versions)) != 0) {
		json_decref(*out);
		rc = err_nomem(err);
	}
	return rc;
}

static int write_report(const struct scanning *s, struct err *err)
{
	struct manifest files = {0};
	struct buf text = {0};
	json_t *json = NULL;
	int rc = compose(&json, s, err);

	if (rc != 0)
		return rc;
	json_write_pretty(&text, json);
	json_decref(json);
	rc = text.failed ? err_nomem(err)
			 : io_write_file(s->run->out_fd, "report.json", text.data, text.len, err);
	buf_done(&text);
	if (rc == 0)
		rc = manifest_add(&files, s->run->out_fd, "report.json", err);
	return rc == 0 ? say_artifact("", &files.file[0], err) : rc;
}

static int scan(struct scanning *s, struct err *err)
{
	int rc = say_phase("validate", err);

	if (rc == 0)
		rc = par_new(&s->par, s->run->threads, err);
	if (rc == 0)
		rc = inputs_read_model(&s->inputs, s->run->spec, s->run->model_fd, err);
	if (rc == 0)
		rc = make_encoders(s, err);
	if (rc != 0 || s->run->check_only)
		return rc;
	rc = say_phase("scan", err);
	if (rc == 0)
		rc = search(s, err);
	return rc == 0 ? write_report(s, err) : rc;
}

int run_scan(struct run *run, struct err *err)
{
	struct scanning *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return err_nomem(err);
	s->run = run;
	rc = scan(s, err);
	scan_result_done(&s->result);
	encoder_done(&s->fast);
	encoder_done(&s->exact);
	inputs_done(&s->inputs);
	par_free(s->par);
	free(s);
	return rc;
}
