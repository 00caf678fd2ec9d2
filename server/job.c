/* job: how a job looks to a client, and the names of its states. The rows are in store_job.c. */
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

static json_t *time_json(int64_t seconds)
{
	return seconds > 0 ? json_integer(seconds) : json_null();
}

static json_t *text_json(const char *text)
{
	return text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *error_json(const struct err *error)
{
	if (error->code == ERR_NONE)
		return json_null();
	return json_pack("{s:s, s:s, s:o}", "code", err_name(error->code), "message", error->text, "param",
		text_json(error->where));
}

/* The part that OpenAI's objects have. */
static json_t *base_object(const struct job_row *job, json_t *result_files)
{
	return json_pack("{s:s, s:s, s:I, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:[]}", "id", job->id,
		"object", "fine_tuning.job", "created_at", (json_int_t)job->created_at, "finished_at",
		time_json(job->finished_at), "fine_tuned_model", text_json(job->fine_tuned_model),
		"organization_id", "org-obliviate", "status", job_status_name(job->status), "result_files",
		result_files, "trained_tokens",
		job->trained_tokens >= 0 ? json_integer(job->trained_tokens) : json_null(),
		"estimated_finish", time_json(job->estimated_finish), "error", error_json(&job->error),
		"integrations");
}

/* OpenAI has the hyperparameters twice: by themselves and within the method. */
static json_t *method_object(json_t *spec)
{
	return json_pack("{s:s, s:{s:O}}", "type", "supervised", "supervised", "hyperparameters",
		json_object_get(spec, "hyperparameters"));
}

int job_object(json_t **out, struct store *store, const struct job_row *job, struct err *err)
{
	json_t *files = json_array(), *spec = spec_json(&job->spec, SPEC_API), *object;
	int rc = files == NULL || spec == NULL ? err_nomem(err) : 0;

	if (rc == 0)
		rc = store_file_ids_of_job(files, store, job->id, err);
	if (rc != 0) {
		json_decref(files);
		json_decref(spec);
		return rc;
	}
	object = base_object(job, files);
	if (object == NULL || json_object_update(object, spec) != 0 ||
		json_object_set_new(object, "method", method_object(spec)) != 0) {
		json_decref(object);
		object = NULL;
		rc = err_nomem(err);
	}
	json_decref(spec);
	*out = object;
	return rc;
}
