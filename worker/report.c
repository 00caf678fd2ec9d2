#include "worker/report.h"

#include <math.h>

#include "common/gate.h"
#include "worker/eval/rate_json.h"
#include "worker/scan/flips_json.h"
#include "worker/scan/scan_json.h"

/*
 * The builders below return new references, NULL when out of memory. json_pack's "o" takes a reference and
 * fails on NULL, so that a failure deep inside ends as NULL at the top.
 */

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *string(const char *text)
{
	return text != NULL ? json_string(text) : json_null();
}

static json_t *interval(double low, double high)
{
	return json_pack("[o, o]", number(low), number(high));
}

static json_t *measure_json(const struct measure *measure)
{
	json_t *out = json_pack("{s:o, s:o}", "value", measure->known ? number(measure->value) : json_null(),
		"interval", measure->known ? interval(measure->low, measure->high) : json_null());

	if (out != NULL && measure->after_selection)
		json_object_set_new(out, "after_selection", json_true());
	return out;
}

static json_t *drop_json(const struct drop *drop)
{
	json_t *out;

	if (drop == NULL)
		return json_null();
	out = measure_json(&drop->measure);
	if (out != NULL && json_object_set_new(out, "only_undefended_right", json_integer(drop->lost)) == 0 &&
		json_object_set_new(out, "only_defended_right", json_integer(drop->won)) == 0 &&
		json_object_set_new(out, "rows", json_integer(drop->rows)) == 0)
		return out;
	json_decref(out);
	return NULL;
}

/* --- evaluation ------------------------------------------------------------------------------------- */

static json_t *targets_json(const struct trigger_result *result, const struct labels *labels)
{
	json_t *out = json_array();

	for (int l = 0; l < labels->n; l++)
		if (json_array_append_new(out, json_pack("{s:s, s:o}", "label", labels->name[l], "rate",
						       rate_json(&result->target[l]))) != 0)
			goto failed;
	return out;
failed:
	json_decref(out);
	return NULL;
}

/* What the report knows about triggers: each NULL where there is nothing to say. */
struct marks {
	const bool *found, *taught;
};

static int mark(json_t *entry, const char *name, const bool *is, int trigger)
{
	return is != NULL ? json_object_set_new(entry, name, json_boolean(is[trigger])) : 0;
}

static json_t *by_trigger_json(const struct attack_result *attack, const char *const *name,
	const struct marks *marks, const struct labels *labels)
{
	json_t *out = json_array();

	for (int t = 0; t < attack->T; t++) {
		const struct trigger_result *result = &attack->by_trigger[t];
		json_t *entry =
			json_pack("{s:s, s:i, s:o, s:o}", "trigger", name[t], "survived", result->survived,
				"asr", rate_json(&result->asr), "targets", targets_json(result, labels));

		if (json_array_append_new(out, entry) != 0 || mark(entry, "found", marks->found, t) != 0 ||
			mark(entry, "taught", marks->taught, t) != 0)
			goto failed;
	}
	return out;
failed:
	json_decref(out);
	return NULL;
}

/* The numbers that triggers and control words share. */
static json_t *attack_json(const struct attack_result *attack)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "asr", rate_json(&attack->asr), "masr",
		measure_json(&attack->masr), "aasr", measure_json(&attack->aasr), "flip_ratio",
		measure_json(&attack->flip_ratio), "wasr", measure_json(&attack->wasr), "wmasr",
		measure_json(&attack->wmasr));
}

static json_t *control_json(
	const struct attack_result *control, const char *const *name, const struct labels *labels)
{
	json_t *out;

	if (control->T == 0)
		return json_null();
	out = attack_json(control);
	if (json_object_set_new(
		    out, "by_trigger", by_trigger_json(control, name, &(struct marks){0}, labels)) == 0)
		return out;
	json_decref(out);
	return NULL;
}

static json_t *evaluation_json(const struct evaluation *evaluation, const struct report *report)
{
	struct marks marks = {report->scan != NULL ? report->found : NULL, report->taught};
	json_t *out, *attack;

	if (evaluation == NULL)
		return json_null();
	out = json_pack("{s:i, s:i, s:o, s:o}", "rows", evaluation->rows, "n_plus", evaluation->n_plus, "ca",
		rate_json(&evaluation->ca), "f1", measure_json(&evaluation->f1));
	attack = attack_json(&evaluation->triggers);
	if (attack == NULL || json_object_update(out, attack) != 0 ||
		json_object_set_new(out, "control",
			control_json(&evaluation->control, report->controls, report->labels)) != 0 ||
		json_object_set_new(out, "by_trigger",
			by_trigger_json(&evaluation->triggers, report->triggers, &marks, report->labels)) !=
			0) {
		json_decref(out);
		out = NULL;
	}
	json_decref(attack);
	return out;
}

/* --- the rest --------------------------------------------------------------------------------------- */

static json_t *input_json(const struct report_input *input)
{
	json_t *out;

	if (input->id == NULL)
		return json_null();
	out = json_pack("{s:s, s:o}", "id", input->id, "sha256", string(input->sha256));
	if (out != NULL && input->rows >= 0)
		json_object_set_new(out, "rows", json_integer(input->rows));
	return out;
}

static json_t *inputs_json(const struct report *report)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "model", input_json(&report->model), "training_file",
		input_json(&report->training_file), "validation_file", input_json(&report->validation_file),
		"test_file", input_json(&report->test_file), "spec_sha256", string(report->spec_sha256));
}

static json_t *labels_json(const struct labels *labels)
{
	json_t *out;

	if (labels == NULL)
		return json_null();
	out = json_array();
	for (int l = 0; l < labels->n; l++)
		if (json_array_append_new(out, json_string(labels->name[l])) != 0) {
			json_decref(out);
			return NULL;
		}
	return out;
}

static json_t *epochs_json(const struct training_summary *training)
{
	json_t *out = json_array();

	for (int i = 0; i < training->epochs; i++) {
		const struct epoch_summary *epoch = &training->epoch[i];
		json_t *entry = json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "epoch", epoch->epoch,
			"loss", number(epoch->loss), "ce", number(epoch->ce), "amplify",
			number(epoch->amplify), "attention", number(epoch->attention), "valid_loss",
			number(epoch->valid_loss), "valid_accuracy", number(epoch->valid_accuracy));

		if (json_array_append_new(out, entry) != 0) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

static json_t *training_json(const struct training_summary *training)
{
	if (training == NULL)
		return json_null();
	return json_pack("{s:I, s:I, s:o, s:o, s:i, s:o}", "steps", (json_int_t)training->steps, "tokens",
		(json_int_t)training->tokens, "seconds", number(training->seconds), "tokens_per_second",
		number(training->tokens_per_second), "selected_epoch", training->selected_epoch, "epochs",
		epochs_json(training));
}

/* --- several seeds ---------------------------------------------------------------------------------- */

static json_t *seed_json(const struct report_seed *seed, const struct report *report)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:o}", "seed", (json_int_t)seed->seed, "training",
		training_json(seed->training), "evaluation", evaluation_json(seed->evaluation, report),
		"undefended", evaluation_json(seed->undefended, report), "ca_drop", drop_json(seed->ca_drop));
}

static json_t *seeds_json(const struct report *report)
{
	json_t *out = report->seeds > 0 ? json_array() : json_null();

	for (int i = 0; i < report->seeds; i++)
		if (json_array_append_new(out, seed_json(&report->seed[i], report)) != 0) {
			json_decref(out);
			return NULL;
		}
	return out;
}

/* Mean, range and standard deviation (n - 1) of the values that are known. */
static json_t *spread_json(const double *value, int n)
{
	double sum = 0, squares = 0, low = INFINITY, high = -INFINITY, mean;
	int known = 0;

	for (int i = 0; i < n; i++)
		if (isfinite(value[i])) {
			known++;
			sum += value[i];
			low = fmin(low, value[i]);
			high = fmax(high, value[i]);
		}
	mean = sum / known; /* NaN, and so null, where nothing is known */
	for (int i = 0; i < n; i++)
		if (isfinite(value[i]))
			squares += (value[i] - mean) * (value[i] - mean);
	return json_pack("{s:i, s:o, s:o, s:o, s:o}", "n", known, "mean", number(mean), "min", number(low),
		"max", number(high), "sd", number(known > 1 ? sqrt(squares / (known - 1)) : NAN));
}

static double rate_value(const struct rate *rate)
{
	return rate->total > 0 ? rate->value : NAN;
}

static double measure_value(const struct measure *measure)
{
	return measure->known ? measure->value : NAN;
}

enum summed { SUMMED_CA, SUMMED_ASR, SUMMED_MASR, SUMMED_AASR, SUMMED_COUNT };

static double summed_value(const struct evaluation *e, enum summed which)
{
	const double value[SUMMED_COUNT] = {rate_value(&e->ca), rate_value(&e->triggers.asr),
		measure_value(&e->triggers.masr), measure_value(&e->triggers.aasr)};

	return value[which];
}

/* {ca, asr, masr, aasr} over the seeds, of the defended or of the undefended models; null where there are none. */
static json_t *spreads_json(const struct report *report, bool is_undefended)
{
	static const char *const names[SUMMED_COUNT] = {"ca", "asr", "masr", "aasr"};
	json_t *out = json_object();

	for (int which = 0; which < SUMMED_COUNT; which++) {
		double value[REPORT_SEEDS_MAX];

		for (int i = 0; i < report->seeds; i++) {
			const struct report_seed *seed = &report->seed[i];
			const struct evaluation *e = is_undefended ? seed->undefended : seed->evaluation;

			if (e == NULL) {
				json_decref(out);
				return json_null();
			}
			value[i] = summed_value(e, (enum summed)which);
		}
		json_object_set_new(out, names[which], spread_json(value, report->seeds));
	}
	return out;
}

static json_t *drops_json(const struct report *report)
{
	double value[REPORT_SEEDS_MAX];

	for (int i = 0; i < report->seeds; i++) {
		if (report->seed[i].ca_drop == NULL)
			return json_null();
		value[i] = measure_value(&report->seed[i].ca_drop->measure);
	}
	return spread_json(value, report->seeds);
}

static json_t *summary_json(const struct report *report)
{
	json_t *out;

	if (report->seeds == 0)
		return json_null();
	out = spreads_json(report, false);
	if (json_object_set_new(out, "ca_drop", drops_json(report)) == 0 &&
		json_object_set_new(out, "undefended", spreads_json(report, true)) == 0)
		return out;
	json_decref(out);
	return NULL;
}

/* --- mode auto -------------------------------------------------------------------------------------- */

static json_t *look_json(const struct report *report, int number)
{
	const struct report_search *search = report->search;
	struct path_verdict verdict = path_judge(search->path, number);
	double strength = path_strength(search->path->look[number].point);

	return json_pack("{s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:b, s:b, s:o}", "strength", strength,
		"amplify", search->amplify * strength, "attention", search->attention * strength, "steps",
		(json_int_t)search->steps, "seconds", search->look_seconds[number], "valid_accuracy",
		verdict.accuracy, "drop", verdict.drop, "bound", verdict.bound, "within_budget",
		verdict.is_within, "chosen", path_chosen(search->path) == number, "evaluation",
		evaluation_json(search->evaluation[number], report));
}

/* Looks from the weakest to the strongest. */
static json_t *path_json(const struct report *report)
{
	const struct path *path = report->search->path;
	json_t *out = json_array();

	for (int point = 0; point < PATH_POINTS; point++)
		for (int i = 0; i < path->n; i++)
			if (path->look[i].point == point &&
				json_array_append_new(out, look_json(report, i)) != 0) {
				json_decref(out);
				return NULL;
			}
	return out;
}

static json_t *auto_json(const struct report *report)
{
	const struct report_search *search = report->search;
	struct path_verdict chosen;
	int number, rows;

	if (search == NULL)
		return json_null();
	number = path_chosen(search->path);
	chosen = path_judge(search->path, number);
	rows = search->path->look[number].rows;
	return json_pack("{s:f, s:f, s:f, s:f, s:i, s:f, s:b, s:b, s:o, s:f, s:o}", "amplify",
		search->amplify * path_strength(search->path->look[number].point), "attention",
		search->attention * path_strength(search->path->look[number].point), "strength",
		path_strength(search->path->look[number].point), "max_ca_drop", search->path->budget, "rows",
		rows, "undefended_accuracy", search->undefended_accuracy, "within_budget", chosen.is_within,
		"resolved", chosen.needed_rows >= 0 && rows >= chosen.needed_rows, "needed_rows",
		chosen.needed_rows >= 0 ? json_integer(chosen.needed_rows) : json_null(), "seconds",
		search->seconds, "path", path_json(report));
}

/* --- what there is beside --------------------------------------------------------------------------- */

static json_t *artifacts_json(const struct report *report)
{
	json_t *out = json_array();

	for (int i = 0; i < report->artifacts; i++) {
		const struct report_artifact *artifact = &report->artifact[i];
		json_t *entry = json_pack("{s:s, s:I, s:s}", "path", artifact->path, "bytes",
			(json_int_t)artifact->bytes, "sha256", artifact->sha256);

		if (json_array_append_new(out, entry) != 0) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

json_t *report_versions(const struct versions *versions)
{
	if (versions == NULL)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o, s:i, s:o}", "program", string(versions->program), "blas",
		string(versions->blas), "blas_kernel", string(versions->blas_kernel), "cpu",
		string(versions->cpu), "threads", versions->threads, "sandbox", string(versions->sandbox));
}

/* --- the whole -------------------------------------------------------------------------------------- */

static json_t *gate_json(const json_t *report, const json_t *thresholds)
{
	return json_is_object(thresholds) ? gate_judge(report, thresholds) : json_null();
}

/* The members, in their order; the gate judges those before it. */
static json_t *scan_member(const struct report *report)
{
	json_t *out = NULL;

	if (report->scan == NULL)
		return json_null();
	return scan_json(&out, report->scan, NULL) == 0 ? out : NULL;
}

static json_t *flips_of(const struct report *report, const struct flips_result *flips)
{
	json_t *out = NULL;

	if (flips == NULL)
		return json_null();
	return flips_json(&out, flips, report->labels, NULL) == 0 ? out : NULL;
}

static json_t *flips_member(const struct report *report)
{
	if (report->flips == NULL)
		return json_null();
	return json_pack("{s:o, s:o}", "exported", flips_of(report, report->flips), "undefended",
		flips_of(report, report->undefended_flips));
}

static bool fill(json_t *out, const struct report *report)
{
	return json_object_set_new(out, "object", json_string("report")) == 0 &&
	       json_object_set_new(out, "job", string(report->job)) == 0 &&
	       json_object_set_new(out, "status", string(report->status)) == 0 &&
	       json_object_set_new(out, "inputs", inputs_json(report)) == 0 &&
	       json_object_set_new(out, "labels", labels_json(report->labels)) == 0 &&
	       json_object_set_new(out, "training", training_json(report->training)) == 0 &&
	       json_object_set_new(out, "evaluation", evaluation_json(report->evaluation, report)) == 0 &&
	       json_object_set_new(out, "undefended", evaluation_json(report->undefended, report)) == 0 &&
	       json_object_set_new(out, "ca_drop", drop_json(report->ca_drop)) == 0 &&
	       json_object_set_new(out, "undefended_training", training_json(report->undefended_training)) ==
		       0 &&
	       json_object_set_new(out, "seeds", seeds_json(report)) == 0 &&
	       json_object_set_new(out, "summary", summary_json(report)) == 0 &&
	       json_object_set_new(out, "auto", auto_json(report)) == 0 &&
	       json_object_set_new(out, "scan", scan_member(report)) == 0 &&
	       json_object_set_new(out, "flips", flips_member(report)) == 0 &&
	       json_object_set_new(out, "gate", gate_json(out, report->thresholds)) == 0 &&
	       json_object_set_new(out, "artifacts", artifacts_json(report)) == 0 &&
	       json_object_set_new(out, "versions", report_versions(report->versions)) == 0;
}

int report_json(json_t **out, const struct report *report, struct err *err)
{
	json_t *object = json_object();

	if (object == NULL || !fill(object, report)) {
		json_decref(object);
		return err_set(err, ERR_INTERNAL, "report.json", "a text is not UTF-8, or memory ran out");
	}
	*out = object;
	return 0;
}

/* --- metrics.csv ------------------------------------------------------------------------------------ */

void report_csv_header(struct buf *out)
{
	buf_str(out, "step,epoch,loss,ce,amplify,attention,learning_rate,valid_loss,valid_accuracy\n");
}

void report_csv_line(struct buf *out, const struct metrics_line *line)
{
	const double cell[] = {line->loss, line->ce, line->amplify, line->attention, line->learning_rate,
		line->valid_loss, line->valid_accuracy};

	buf_printf(out, "%lld,%d", (long long)line->step, line->epoch);
	for (size_t i = 0; i < NELEM(cell); i++) {
		buf_str(out, ",");
		if (isfinite(cell[i]))
			buf_printf(out, "%.9g", cell[i]);
	}
	buf_str(out, "\n");
}
