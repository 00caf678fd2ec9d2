#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/gate.h"

static const char *finished =
	"{\"status\": \"succeeded\", \"evaluation\": {\"asr\": {\"value\": 0.2, \"interval\": [0.1, 0.3]},"
	" \"masr\": {\"value\": 0.25, \"interval\": [0.2, 0.4]},"
	" \"ca\": {\"value\": 0.9, \"interval\": [0.8, 0.95]}},"
	" \"ca_drop\": {\"value\": 0.01, \"interval\": [-0.01, 0.03]}}";

static json_t *parse(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(value);
	return value;
}

static json_t *judge(const char *report, const char *thresholds)
{
	json_t *r = parse(report), *t = parse(thresholds), *gate = gate_judge(r, t);

	assert_non_null(gate);
	json_decref(r);
	json_decref(t);
	return gate;
}

static void assert_verdict(const char *report, const char *thresholds, const char *want)
{
	json_t *gate = judge(report, thresholds);

	assert_string_equal(json_string_value(json_object_get(gate, "verdict")), want);
	json_decref(gate);
}

static void assert_gate(const char *report, const char *thresholds, const char *want)
{
	json_t *gate = judge(report, thresholds), *wanted = parse(want);

	assert_true(json_equal(gate, wanted));
	json_decref(gate);
	json_decref(wanted);
}

static void test_passes_when_every_check_passes(void **state)
{
	assert_verdict(finished,
		"{\"max_asr\": 0.3, \"max_masr\": 0.3, \"max_ca_drop\": 0.02, \"min_ca\": 0.85}", "pass");
}

static void test_a_value_on_the_threshold_passes(void **state)
{
	assert_verdict(finished, "{\"max_asr\": 0.2, \"min_ca\": 0.9}", "pass");
}

static void test_each_check_can_fail_alone(void **state)
{
	assert_verdict(finished, "{\"max_asr\": 0.1999, \"min_ca\": 0.5}", "fail");
	assert_verdict(finished, "{\"max_masr\": 0.2499, \"min_ca\": 0.5}", "fail");
	assert_verdict(finished, "{\"max_ca_drop\": 0, \"min_ca\": 0.5}", "fail");
	assert_verdict(finished, "{\"min_ca\": 0.9001, \"max_asr\": 1}", "fail");
}

/* The second seed is worse by asr, the third by accuracy. */
#define SEEDS(third_asr)                                                                                     \
	"{\"status\": \"succeeded\", \"evaluation\": {\"asr\": {\"value\": 0.1}, \"ca\": {\"value\": "       \
	"0.9}}, \"seeds\": ["                                                                                \
	"{\"seed\": 4, \"evaluation\": {\"asr\": {\"value\": 0.1}, \"ca\": {\"value\": 0.9}}},"              \
	"{\"seed\": 5, \"evaluation\": {\"asr\": {\"value\": 0.3, \"interval\": [0.2, 0.4]}, \"ca\": "       \
	"{\"value\": 0.9}}},"                                                                                \
	"{\"seed\": 6, \"evaluation\": {\"asr\": {\"value\": " third_asr                                     \
	"}, \"ca\": {\"value\": 0.8, \"interval\": null}}}]}"

static void test_every_seed_must_pass(void **state)
{
	assert_verdict(SEEDS("0.2"), "{\"max_asr\": 0.3, \"min_ca\": 0.8}", "pass");
	assert_verdict(SEEDS("0.2"), "{\"max_asr\": 0.2999}", "fail");
	assert_verdict(SEEDS("0.2"), "{\"min_ca\": 0.85}", "fail");
	assert_verdict(SEEDS("null"), "{\"max_asr\": 0.3}", "undecided");
}

static void test_a_check_names_the_seed_that_it_goes_by(void **state)
{
	assert_gate(SEEDS("0.2"), "{\"max_asr\": 0.25, \"min_ca\": 0.8}",
		"{\"verdict\": \"fail\", \"rule\": \"point\", \"checks\": ["
		"{\"name\": \"max_asr\", \"value\": 0.3, \"interval\": [0.2, 0.4], \"threshold\": 0.25, "
		"\"passed\": false, \"seed\": 5},"
		"{\"name\": \"min_ca\", \"value\": 0.8, \"interval\": null, \"threshold\": 0.8, "
		"\"passed\": true, \"seed\": 6}]}");
}

static void test_is_undecided_without_checks(void **state)
{
	assert_verdict(finished, "{}", "undecided");
	assert_verdict(finished, "null", "undecided");
	assert_verdict(finished, "{\"max_asr\": null}", "undecided");
}

static void test_is_undecided_when_a_value_is_null(void **state)
{
	assert_verdict("{\"status\": \"succeeded\", \"evaluation\": {\"asr\": {\"value\": null, "
		       "\"interval\": null}, \"ca\": {\"value\": 0.1, \"interval\": [0, 0.2]}}}",
		"{\"max_asr\": 0.5, \"min_ca\": 0.0}", "undecided");
	assert_verdict(
		"{\"status\": \"succeeded\", \"ca_drop\": null}", "{\"max_ca_drop\": 0.5}", "undecided");
}

static void test_only_a_job_that_succeeded_is_judged(void **state)
{
	static const char *const states[] = {"queued", "running", "paused", "failed", "cancelled"};
	json_t *report = parse(finished), *thresholds = parse("{\"max_asr\": 1}");

	for (size_t i = 0; i < NELEM(states); i++) {
		json_t *gate;

		json_object_set_new(report, "status", json_string(states[i]));
		gate = gate_judge(report, thresholds);
		assert_string_equal(json_string_value(json_object_get(gate, "verdict")), "undecided");
		json_decref(gate);
	}
	json_decref(report);
	json_decref(thresholds);
	assert_verdict("{}", "{\"max_asr\": 1}", "undecided");
	assert_verdict("null", "{\"max_asr\": 1}", "undecided");
}

static void test_checks_have_the_documented_form_and_order(void **state)
{
	assert_gate(finished, "{\"min_ca\": 0.95, \"max_ca_drop\": 1}",
		"{\"verdict\": \"fail\", \"rule\": \"point\", \"checks\": ["
		"{\"name\": \"max_ca_drop\", \"value\": 0.01, \"interval\": [-0.01, 0.03], \"threshold\": 1,"
		" \"passed\": true}, {\"name\": \"min_ca\", \"value\": 0.9, \"interval\": [0.8, 0.95],"
		" \"threshold\": 0.95, \"passed\": false}]}");
}

static void test_a_check_without_value_shows_null(void **state)
{
	assert_gate("{\"status\": \"running\"}", "{\"max_masr\": 0.1}",
		"{\"verdict\": \"undecided\", \"rule\": \"point\", \"checks\": [{\"name\": \"max_masr\","
		" \"value\": null, \"interval\": null, \"threshold\": 0.1, \"passed\": null}]}");
}

static void test_finds_checks_by_name(void **state)
{
	assert_string_equal(gate_check_find("max_masr")->name, "max_masr");
	assert_null(gate_check_find("max_f1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passes_when_every_check_passes),
		cmocka_unit_test(test_a_value_on_the_threshold_passes),
		cmocka_unit_test(test_each_check_can_fail_alone),
		cmocka_unit_test(test_every_seed_must_pass),
		cmocka_unit_test(test_a_check_names_the_seed_that_it_goes_by),
		cmocka_unit_test(test_is_undecided_without_checks),
		cmocka_unit_test(test_is_undecided_when_a_value_is_null),
		cmocka_unit_test(test_only_a_job_that_succeeded_is_judged),
		cmocka_unit_test(test_checks_have_the_documented_form_and_order),
		cmocka_unit_test(test_a_check_without_value_shows_null),
		cmocka_unit_test(test_finds_checks_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
