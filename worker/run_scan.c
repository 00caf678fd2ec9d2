#include "worker/run_scan.h"

#include <stdlib.h>

#include "worker/job.h"
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
	struct versions versions = run_versions(s->run, kernels_best(), cpu);
	int rc = scan_json(out, &s->result, err);

	if (rc == 0 && json_object_set_new(*out, "versions", report_versions(&versions)) != 0) {
		json_decref(*out);
		rc = err_nomem(err);
	}
	return rc;
}

static int write_report(const struct scanning *s, struct err *err)
{
	struct manifest files = {0};
	json_t *json = NULL;
	int rc = compose(&json, s, err);

	if (rc == 0)
		rc = results_write_report(&files, s->run, json, err);
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
		rc = found_scan(&s->result,
			&(struct found_options){.run = s->run, .inputs = &s->inputs, .par = s->par}, err);
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
