#include "server/report.h"

#include "common/gate.h"

/* A member of the worker's report, or null. */
static json_t *member(json_t *worker, const char *name)
{
	json_t *value = json_object_get(worker, name);

	return value != NULL ? json_incref(value) : json_null();
}

/* An input: what the worker says of it (rows), and id and digest from the spec, where it was an upload. */
static json_t *input_json(const struct spec_ref *ref, json_t *said)
{
	json_t *input = json_is_object(said) ? json_deep_copy(said) : json_object();

	if (ref->id[0] != '\0') {
		json_object_set_new(input, "id", json_string(ref->id));
		json_object_set_new(input, "sha256", json_string(ref->sha256));
	}
	if (json_object_size(input) == 0) {
		json_decref(input);
		return json_null();
	}
	return input;
}

static json_t *inputs_json(const struct job_row *job, json_t *worker, const char *digest)
{
	json_t *said = json_object_get(worker, "inputs");
	const struct spec *spec = &job->spec;

	return json_pack("{s:o, s:o, s:o, s:o, s:s}", "model", input_json(&spec->model, NULL),
		"training_file", input_json(&spec->training_file, json_object_get(said, "training_file")),
		"validation_file",
		input_json(&spec->validation_file, json_object_get(said, "validation_file")), "test_file",
		input_json(&spec->test_file, json_object_get(said, "test_file")), "spec_sha256", digest);
}

static json_t *training_json(json_t *worker, json_t *epochs)
{
	json_t *training = json_object_get(worker, "training");

	if (training != NULL)
		return json_incref(training);
	return json_pack("{s:O}", "epochs", epochs);
}

/* What the worker says beside the members that we know, for those who write other workers. */
static void add_rest(json_t *report, json_t *worker)
{
	const char *name;
	json_t *value;

	json_object_foreach(worker, name, value) if (json_object_get(report, name) == NULL)
		json_object_set(report, name, value);
}

static bool has_thresholds(const json_t *asked)
{
	return json_object_size(asked) > (json_object_get(asked, "rule") != NULL ? 1u : 0u);
}

/* A gate with the thresholds of one side, and the rule that was asked for or else the job's. */
static json_t *judged_by(json_t *own, json_t *asked)
{
	json_t *thresholds = has_thresholds(asked) ? asked : own;
	json_t *rule = json_object_get(asked, "rule");
	json_t *gate = json_is_object(thresholds) ? json_copy(thresholds) : json_object();

	if (rule == NULL)
		rule = json_object_get(own, "rule");
	if (gate != NULL && rule != NULL)
		json_object_set(gate, "rule", rule);
	return gate;
}

json_t *report_verdict(const json_t *report, const struct job_row *job, json_t *asked)
{
	json_t *spec = spec_json(&job->spec, SPEC_API);
	json_t *gate = judged_by(json_object_get(spec, "gate"), asked);
	json_t *verdict = gate != NULL ? gate_judge(report, gate) : NULL;

	json_decref(gate);
	json_decref(spec);
	return verdict;
}

static int add_gate(json_t *report, const struct job_row *job, struct err *err)
{
	if (!job->spec.gate.present)
		return 0;
	return json_object_set_new(report, "gate", report_verdict(report, job, NULL)) == 0 ? 0
											   : err_nomem(err);
}

int report_compose(json_t **out, const struct job_row *job, enum job_status status, json_t *worker,
	json_t *epochs, json_t *artifacts, struct err *err)
{
	char digest[SHA256_HEX_BYTES];
	json_t *no_epochs = json_array(), *report;
	int rc = spec_digest(digest, &job->spec, err);

	if (rc == 0) {
		report = json_pack(
			"{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:n, "
			"s:o, s:o}",
			"object", "report", "job", job->id, "status", job_status_name(status), "inputs",
			inputs_json(job, worker, digest), "labels", member(worker, "labels"), "training",
			training_json(worker, epochs != NULL ? epochs : no_epochs), "evaluation",
			member(worker, "evaluation"), "undefended", member(worker, "undefended"), "ca_drop",
			member(worker, "ca_drop"), "undefended_training",
			member(worker, "undefended_training"), "seeds", member(worker, "seeds"), "summary",
			member(worker, "summary"), "auto", member(worker, "auto"), "scan",
			member(worker, "scan"), "flips", member(worker, "flips"), "gate", "artifacts",
			artifacts != NULL ? json_incref(artifacts) : json_array(), "versions",
			member(worker, "versions"));
		rc = report == NULL ? err_nomem(err) : add_gate(report, job, err);
		add_rest(report, worker);
		*out = report;
	}
	json_decref(no_epochs);
	return rc;
}

int report_compose_scan(
	json_t **out, const struct job_row *job, enum job_status status, json_t *worker, struct err *err)
{
	json_t *verdict = json_object_get(worker, "verdict"), *suspects = json_object_get(worker, "suspects");
	char digest[SHA256_HEX_BYTES];
	int rc = spec_digest(digest, &job->spec, err);

	if (rc != 0)
		return rc;
	*out = json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "object",
		"scan.report", "scan", job->id, "status", job_status_name(status), "model",
		input_json(&job->spec.model, NULL), "spec_sha256", digest, "verdict",
		verdict != NULL ? json_incref(verdict) : json_string("undecided"), "candidates",
		member(worker, "candidates"), "texts", member(worker, "texts"), "suspects",
		suspects != NULL ? json_incref(suspects) : json_array(), "not_searched",
		member(worker, "not_searched"), "seconds", member(worker, "seconds"), "histogram",
		member(worker, "histogram"));
	if (*out == NULL)
		return err_nomem(err);
	add_rest(*out, worker);
	return 0;
}
