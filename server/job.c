/* job: the names of its states, and the part of its object that never changes. The rows are in store_job.c. */
#include <stdio.h>
#include <string.h>

#include "server/store_job.h"

static const struct {
	const char *name;
	bool is_finished;
} statuses[JOB_STATUS_COUNT] = {
	[JOB_QUEUED] = {"queued", false},
	[JOB_VALIDATING] = {"validating_files", false},
	[JOB_RUNNING] = {"running", false},
	[JOB_PAUSED] = {"paused", false},
	[JOB_SUCCEEDED] = {"succeeded", true},
	[JOB_FAILED] = {"failed", true},
	[JOB_CANCELLED] = {"cancelled", true},
};

const char *job_status_name(enum job_status status)
{
	return statuses[status].name;
}

bool job_is_finished(enum job_status status)
{
	return statuses[status].is_finished;
}

void job_model_name(char out[STORE_NAME_BYTES], const struct job_row *job)
{
	snprintf(out, STORE_NAME_BYTES, "ft:%s:%s:%s", job->spec.model.id, job->spec.suffix, job->id);
}

/* OpenAI has the hyperparameters twice: by themselves and within the method. */
static json_t *method_object(json_t *spec)
{
	return json_pack("{s:s, s:{s:O}}", "type", "supervised", "supervised", "hyperparameters",
		json_object_get(spec, "hyperparameters"));
}

int job_view(struct buf *out, const struct spec *spec, struct err *err)
{
	json_t *view = spec_json(spec, SPEC_API);

	if (view == NULL || (spec->type == SPEC_FINE_TUNING &&
				    json_object_set_new(view, "method", method_object(view)) != 0))
		out->failed = true;
	else
		json_write(out, view);
	json_decref(view);
	return out->failed ? err_nomem(err) : 0;
}
