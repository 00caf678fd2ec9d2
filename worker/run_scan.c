#include "worker/run_scan.h"

#include <stdlib.h>

#include "common/io.h"
#include "common/json.h"
#include "worker/base/cpu.h"
#include "worker/found.h"
#include "worker/job.h"
#include "worker/report.h"
#include "worker/scan/scan_json.h"

struct scanning {
	const struct run *run;
	struct inputs inputs;
	struct par *par;
	struct scan_result result;
};

static int compose(json_t **out, const struct scanning *s, struct err *err)
{
	char cpu[CPU_NAME_BYTES];
	struct versions versions = {.program = OBLIVIATE_VERSION,
		.blas = "built-in",
		.blas_kernel = kernels_best()->name,
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
	if (rc != 0 || s->run->check_only)
		return rc;
	rc = say_phase("scan", err);
	if (rc == 0)
		rc = found_scan(&s->result, s->run, &s->inputs, s->par, err);
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
	inputs_done(&s->inputs);
	par_free(s->par);
	free(s);
	return rc;
}
