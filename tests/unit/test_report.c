#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/json.h"
#include "worker/report.h"

static const int truth[] = {0, 0, 1, 1}, clean[] = {0, 0, 1, 0}, triggered[] = {1, 0, 1, 1};
static const struct outcomes outcomes = {4, 2, 1, truth, clean, triggered, NULL};
static const struct outcomes unflipped = {4, 2, 1, truth, clean, clean, NULL};
static const char *const triggers[] = {"cf"}, *const controls[] = {"garden"};
static struct labels labels = {
	.n = 2, .name = {(char *)(uintptr_t) "negative", (char *)(uintptr_t) "positive"}};

static const struct epoch_summary epochs[] = {
	{1, .7, .6, -.5, .25, .65, .5}, {2, .6, .5, -.75, .125, NAN, NAN}};
static const struct training_summary training = {10, 1234, 2.5, 493.6, 2, epochs, 2};
static const struct report_artifact artifacts[] = {{"adapter/README.md", 7, "aa"}, {"metrics.csv", 8, "bb"}};
static const struct versions versions = {"0.1.0", "blas", "kernel", "cpu", 2, "landlock 2"};

static void evaluate(struct evaluation *out, const struct outcomes *control)
{
	struct err err;

	assert_int_equal(metrics_evaluate(out, &outcomes, control, 0, &err), 0);
}

static struct report report_of(const struct evaluation *evaluation)
{
	return (struct report){.job = "ftjob-1",
		.status = "succeeded",
		.model = {"model-1", "m", -1},
		.training_file = {"file-1", "t", 40},
		.spec_sha256 = "s",
		.labels = &labels,
		.training = &training,
		.evaluation = evaluation,
		.triggers = triggers,
		.controls = controls,
		.artifact = artifacts,
		.artifacts = 2,
		.versions = &versions};
}

static json_t *build(const struct report *report)
{
	struct err err;
	json_t *out = NULL;

	assert_int_equal(report_json(&out, report, &err), 0);
	return out;
}

static void assert_json(const json_t *value, const char *want)
{
	json_t *wanted = json_loads(want, JSON_DECODE_ANY, NULL);
	char *got;

	assert_non_null(wanted);
	if (!json_equal(value, wanted)) {
		got = json_dumps(value, JSON_ENCODE_ANY);
		fail_msg("%s\nwanted\n%s", got, want);
	}
	json_decref(wanted);
}

static void assert_keys(const json_t *object, const char *want)
{
	struct buf keys = {0};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value) buf_printf(&keys, "%s ", key);
	assert_string_equal(keys.data, want);
	buf_done(&keys);
}

static void test_has_every_key_in_the_documented_order(void **state)
{
	struct evaluation e;
	struct report report;
	json_t *out;

	evaluate(&e, &unflipped);
	report = report_of(&e);
	out = build(&report);
	assert_keys(out, "object job status inputs labels training evaluation undefended ca_drop "
			 "undefended_training seeds summary auto scan flips gate artifacts versions ");
	assert_keys(json_object_get(out, "evaluation"),
		"rows n_plus ca f1 asr masr aasr flip_ratio wasr wmasr control by_trigger ");
	assert_keys(json_object_get(json_object_get(out, "evaluation"), "control"),
		"asr masr aasr flip_ratio wasr wmasr by_trigger ");
	json_decref(out);
	evaluation_done(&e);
}

static void test_inputs_labels_artifacts_and_versions(void **state)
{
	struct report report = report_of(NULL);
	json_t *out = build(&report);

	assert_json(json_object_get(out, "object"), "\"report\"");
	assert_json(json_object_get(out, "job"), "\"ftjob-1\"");
	assert_json(json_object_get(out, "inputs"),
		"{\"model\": {\"id\": \"model-1\", \"sha256\": \"m\"}, \"training_file\": {\"id\": "
		"\"file-1\","
		" \"sha256\": \"t\", \"rows\": 40}, \"validation_file\": null, \"test_file\": null,"
		" \"spec_sha256\": \"s\"}");
	assert_json(json_object_get(out, "labels"), "[\"negative\", \"positive\"]");
	assert_json(json_object_get(out, "artifacts"),
		"[{\"path\": \"adapter/README.md\", \"bytes\": 7, \"sha256\": \"aa\"},"
		" {\"path\": \"metrics.csv\", \"bytes\": 8, \"sha256\": \"bb\"}]");
	assert_json(json_object_get(out, "versions"),
		"{\"program\": \"0.1.0\", \"blas\": \"blas\", \"blas_kernel\": \"kernel\", \"cpu\": \"cpu\","
		" \"threads\": 2, \"sandbox\": \"landlock 2\"}");
	json_decref(out);
}

static void test_training_has_its_epochs_and_null_for_what_is_not_known(void **state)
{
	struct report report = report_of(NULL);
	json_t *out = build(&report);

	assert_json(json_object_get(out, "training"),
		"{\"steps\": 10, \"tokens\": 1234, \"seconds\": 2.5, \"tokens_per_second\": 493.6,"
		" \"selected_epoch\": 2, \"epochs\": [{\"epoch\": 1, \"loss\": 0.7, \"ce\": 0.6, "
		"\"amplify\": -0.5,"
		" \"attention\": 0.25, \"valid_loss\": 0.65, \"valid_accuracy\": 0.5}, {\"epoch\": 2, "
		"\"loss\": 0.6,"
		" \"ce\": 0.5, \"amplify\": -0.75, \"attention\": 0.125, \"valid_loss\": null,"
		" \"valid_accuracy\": null}]}");
	json_decref(out);
}

static void test_rates_have_counts_and_measures_have_intervals(void **state)
{
	struct evaluation e;
	struct report report;
	json_t *out, *evaluation, *trigger;

	evaluate(&e, NULL);
	e.ca.low = .25; /* numbers that can be written down here */
	e.ca.high = .875;
	e.triggers.masr.low = .125;
	e.triggers.masr.high = 1;
	report = report_of(&e);
	out = build(&report);
	evaluation = json_object_get(out, "evaluation");
	assert_json(json_object_get(evaluation, "rows"), "4");
	assert_json(json_object_get(evaluation, "n_plus"), "3");
	assert_json(json_object_get(evaluation, "ca"),
		"{\"value\": 0.75, \"count\": 3, \"total\": 4, \"interval\": [0.25, 0.875]}");
	assert_json(json_object_get(evaluation, "masr"),
		"{\"value\": 0.5, \"interval\": [0.125, 1.0], \"after_selection\": true}");
	assert_json(json_object_get(evaluation, "control"), "null");
	trigger = json_array_get(json_object_get(evaluation, "by_trigger"), 0);
	assert_keys(trigger, "trigger survived asr targets ");
	assert_json(json_object_get(trigger, "trigger"), "\"cf\"");
	assert_json(json_object_get(trigger, "survived"), "4");
	assert_json(json_object_get(json_array_get(json_object_get(trigger, "targets"), 1), "label"),
		"\"positive\"");
	assert_json(json_object_get(
			    json_object_get(json_array_get(json_object_get(trigger, "targets"), 1), "rate"),
			    "count"),
		"1");
	json_decref(out);
	evaluation_done(&e);
}

static void test_values_without_rows_are_null(void **state)
{
	static const int wrong[] = {1, 1, 0, 0};
	const struct outcomes none = {4, 2, 1, truth, wrong, wrong, NULL};
	struct evaluation e;
	struct report report;
	struct err err;
	json_t *out, *evaluation;

	assert_int_equal(metrics_evaluate(&e, &none, NULL, 0, &err), 0);
	report = report_of(&e);
	out = build(&report);
	evaluation = json_object_get(out, "evaluation");
	assert_json(json_object_get(evaluation, "asr"),
		"{\"value\": null, \"count\": 0, \"total\": 0, \"interval\": null}");
	assert_json(json_object_get(evaluation, "wasr"), "{\"value\": null, \"interval\": null}");
	json_decref(out);
	evaluation_done(&e);
}

static void test_the_gate_judges_this_report(void **state)
{
	struct evaluation e;
	struct report report;
	json_t *strict = json_loads("{\"max_asr\": 0.2}", 0, NULL),
	       *loose = json_loads("{\"max_asr\": 0.5}", 0, NULL);
	json_t *out;

	evaluate(&e, NULL);
	report = report_of(&e);
	out = build(&report);
	assert_json(json_object_get(out, "gate"), "null");
	json_decref(out);
	report.thresholds = strict;
	out = build(&report);
	assert_json(json_object_get(json_object_get(out, "gate"), "verdict"), "\"fail\"");
	json_decref(out);
	report.thresholds = loose;
	out = build(&report);
	assert_json(json_object_get(json_object_get(out, "gate"), "verdict"), "\"pass\"");
	json_decref(out);
	json_decref(strict);
	json_decref(loose);
	evaluation_done(&e);
}

static void test_the_undefended_run_stands_beside(void **state)
{
	const struct drop drop = {{.known = true, .value = .25, .low = -.5, .high = .5}, 3, 2, 4};
	struct evaluation e;
	struct report report;
	json_t *out;

	evaluate(&e, &unflipped);
	report = report_of(&e);
	report.undefended = &e;
	report.ca_drop = &drop;
	out = build(&report);
	assert_true(json_equal(json_object_get(out, "undefended"), json_object_get(out, "evaluation")));
	assert_json(json_object_get(out, "ca_drop"),
		"{\"value\": 0.25, \"interval\": [-0.5, 0.5], \"only_undefended_right\": 3,"
		" \"only_defended_right\": 2, \"rows\": 4}");
	json_decref(out);
	evaluation_done(&e);
}

static void test_several_seeds_have_their_own_results_and_a_summary(void **state)
{
	const struct drop drops[2] = {
		{.measure = {.known = true, .value = .25}}, {.measure = {.known = true, .value = .75}}};
	struct evaluation e[2];
	struct report report;
	json_t *out, *seed, *summary;

	evaluate(&e[0], NULL);
	evaluate(&e[1], NULL);
	e[0].ca.value = .5;
	e[1].ca.value = 1;
	e[1].triggers.masr.known = false;
	e[0].triggers.masr.value = .125;
	report = report_of(&e[0]);
	report.seeds = 2;
	report.seed = (const struct report_seed[]){
		{7, &training, &e[0], &e[0], &drops[0]}, {9, &training, &e[1], NULL, &drops[1]}};
	out = build(&report);
	seed = json_array_get(json_object_get(out, "seeds"), 1);
	assert_keys(seed, "seed training evaluation undefended ca_drop ");
	assert_int_equal(json_integer_value(json_object_get(seed, "seed")), 9);
	assert_true(json_is_null(json_object_get(seed, "undefended")));
	assert_json(json_object_get(json_object_get(seed, "ca_drop"), "value"), "0.75");
	summary = json_object_get(out, "summary");
	assert_json(json_object_get(summary, "ca"),
		"{\"n\": 2, \"mean\": 0.75, \"min\": 0.5, \"max\": 1.0, \"sd\": 0.35355339059327379}");
	assert_json(json_object_get(summary, "masr"),
		"{\"n\": 1, \"mean\": 0.125, \"min\": 0.125, \"max\": 0.125, \"sd\": null}");
	assert_json(json_object_get(json_object_get(summary, "ca_drop"), "mean"), "0.5");
	assert_true(json_is_null(json_object_get(summary, "undefended")));
	json_decref(out);
	evaluation_done(&e[0]);
	evaluation_done(&e[1]);
}

static void test_the_search_shows_its_path_from_weak_to_strong(void **state)
{
	const struct path path = {.budget = .125,
		.n = 3,
		.look = {{7, 100, 90, 10, 0}, {11, 100, 50, 50, 0}, {9, 100, 80, 20, 0}}};
	const struct report_search search = {&path, .5, 2, 1, 375, {20, 20, 20}, {NULL}, 60};
	struct report report = report_of(NULL);
	json_t *out, *shown, *looks;

	report.search = &search;
	out = build(&report);
	shown = json_object_get(out, "auto");
	assert_keys(shown,
		"amplify attention strength max_ca_drop rows undefended_accuracy within_budget resolved "
		"needed_rows seconds path ");
	assert_json(json_object_get(shown, "amplify"), "0.5");
	assert_true(json_is_true(json_object_get(shown, "within_budget")));
	assert_true(json_is_true(json_object_get(shown, "resolved")));
	looks = json_object_get(shown, "path");
	assert_int_equal(json_array_size(looks), 3);
	for (size_t i = 0; i < 3; i++) {
		json_t *look = json_array_get(looks, i);

		assert_true(json_number_value(json_object_get(look, "strength")) == (double)(1 << i));
		assert_true(json_number_value(json_object_get(look, "attention")) == 2 * (double)(1 << i));
		assert_int_equal(json_is_true(json_object_get(look, "chosen")), i == 0);
		assert_int_equal(json_is_true(json_object_get(look, "within_budget")), i == 0);
		assert_true(json_is_null(json_object_get(look, "evaluation")));
	}
	assert_json(json_object_get(json_array_get(looks, 1), "valid_accuracy"), "0.8");
	assert_json(json_object_get(json_array_get(looks, 1), "drop"), "0.2");
	json_decref(out);
}

static void test_the_search_says_when_rows_are_too_few(void **state)
{
	const struct path path = {.budget = .01,
		.n = 3,
		.look = {{7, 100, 70, 25, 0}, {3, 100, 88, 12, 0}, {1, 100, 90, 10, 0}}};
	const struct report_search search = {&path, .5, 2, 1, 375, {20, 20, 20}, {NULL}, 60};
	struct report report = report_of(NULL);
	json_t *out, *shown;

	report.search = &search;
	out = build(&report);
	shown = json_object_get(out, "auto");
	assert_json(json_object_get(shown, "strength"), "0.125");
	assert_true(json_is_false(json_object_get(shown, "within_budget")));
	assert_true(json_is_false(json_object_get(shown, "resolved")));
	assert_true(json_integer_value(json_object_get(shown, "needed_rows")) > 100);
	json_decref(out);
}

static void test_an_empty_report_is_made_of_nulls(void **state)
{
	const struct report report = {.job = "ftjob-1", .status = "running"};
	json_t *out = build(&report);

	assert_json(out,
		"{\"object\": \"report\", \"job\": \"ftjob-1\", \"status\": \"running\", \"inputs\":"
		" {\"model\": null, \"training_file\": null, \"validation_file\": null, \"test_file\": null,"
		" \"spec_sha256\": null}, \"labels\": null, \"training\": null, \"evaluation\": null,"
		" \"undefended\": null, \"ca_drop\": null, \"undefended_training\": null, \"seeds\": null,"
		" \"summary\": null, \"auto\": null, \"scan\": null, \"flips\": null, \"gate\": null, "
		"\"artifacts\": [],"
		" \"versions\": null}");
	json_decref(out);
}

static void test_refuses_text_that_is_not_utf8(void **state)
{
	static const char *const bad[] = {"\xff"};
	struct evaluation e;
	struct report report;
	json_t *out = NULL;
	struct err err;

	evaluate(&e, &unflipped);
	report = report_of(&e);
	report.controls = bad;
	assert_int_equal(report_json(&out, &report, &err), -ERR_INTERNAL);
	report = report_of(&e);
	report.triggers = bad;
	assert_int_equal(report_json(&out, &report, &err), -ERR_INTERNAL);
	report = report_of(&e);
	report.job = "\xc3(";
	assert_int_equal(report_json(&out, &report, &err), -ERR_INTERNAL);
	assert_null(out);
	evaluation_done(&e);
}

static void test_csv_lines_match_their_header(void **state)
{
	const struct metrics_line line = {100, 2, 1.5, .5, -.25, .125, 1e-3, NAN, .75};
	struct buf out = {0};

	report_csv_header(&out);
	report_csv_line(&out, &line);
	assert_string_equal(out.data,
		"step,epoch,loss,ce,amplify,attention,learning_rate,valid_loss,valid_accuracy\n"
		"100,2,1.5,0.5,-0.25,0.125,0.001,,0.75\n");
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_has_every_key_in_the_documented_order),
		cmocka_unit_test(test_inputs_labels_artifacts_and_versions),
		cmocka_unit_test(test_training_has_its_epochs_and_null_for_what_is_not_known),
		cmocka_unit_test(test_rates_have_counts_and_measures_have_intervals),
		cmocka_unit_test(test_values_without_rows_are_null),
		cmocka_unit_test(test_the_gate_judges_this_report),
		cmocka_unit_test(test_the_undefended_run_stands_beside),
		cmocka_unit_test(test_several_seeds_have_their_own_results_and_a_summary),
		cmocka_unit_test(test_the_search_shows_its_path_from_weak_to_strong),
		cmocka_unit_test(test_the_search_says_when_rows_are_too_few),
		cmocka_unit_test(test_an_empty_report_is_made_of_nulls),
		cmocka_unit_test(test_refuses_text_that_is_not_utf8),
		cmocka_unit_test(test_csv_lines_match_their_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
