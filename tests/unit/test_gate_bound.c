#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/bound.h"
#include "common/gate_bound.h"
#include "worker/base/rng.h"

/* --- reports ---------------------------------------------------------------------------------------- */

static json_t *rate(int count, int total)
{
	return json_pack("{s:o, s:[f, f], s:i, s:i}", "value",
		total > 0 ? json_real((double)count / total) : json_null(), "interval", .25, .75, "count",
		count, "total", total);
}

/* A trigger of two labels, each with half of n_plus. */
static json_t *trigger(const char *name, int first, int second, int n_plus)
{
	return json_pack("{s:s, s:o, s:[{s:s, s:o}, {s:s, s:o}]}", "trigger", name, "asr",
		rate(first + second, n_plus), "targets", "label", "a", "rate", rate(first, n_plus / 2),
		"label", "b", "rate", rate(second, n_plus / 2));
}

/* 1,000 rows, 800 right, one trigger that flips 20 + 40 of them; no control, no drop. */
static json_t *plain(void)
{
	return json_pack("{s:s, s:{s:i, s:i, s:o, s:o, s:n, s:[o]}, s:n, s:n}", "status", "succeeded",
		"evaluation", "rows", 1000, "n_plus", 800, "ca", rate(800, 1000), "asr", rate(60, 800),
		"control", "by_trigger", trigger("cf", 20, 40, 800), "ca_drop", "seeds");
}

static json_t *evaluation_of(json_t *report)
{
	return json_object_get(report, "evaluation");
}

static void add_control(json_t *report, int first, int second)
{
	json_object_set_new(evaluation_of(report), "control",
		json_pack("{s:o, s:[o]}", "asr", rate(first + second, 800), "by_trigger",
			trigger("garden", first, second, 800)));
}

static void add_found(json_t *report, int first, int second)
{
	json_t *found = trigger("zx qv", first, second, 800);

	json_object_set_new(found, "found", json_true());
	json_array_append_new(json_object_get(evaluation_of(report), "by_trigger"), found);
}

static void add_drop(json_t *report, int lost, int won)
{
	json_object_set_new(report, "ca_drop",
		json_pack("{s:f, s:[f, f], s:i, s:i, s:i}", "value", (lost - won) / 1000., "interval", -.5,
			.5, "only_undefended_right", lost, "only_defended_right", won, "rows", 1000));
}

/* --- asking ----------------------------------------------------------------------------------------- */

/* `thresholds` without the rule; the report is used up. */
static json_t *judge(json_t *report, const char *thresholds)
{
	json_t *asked = json_loads(thresholds, 0, NULL), *gate;

	assert_non_null(report);
	assert_non_null(asked);
	json_object_set_new(asked, "rule", json_string("bound"));
	gate = gate_judge(report, asked);
	assert_non_null(gate);
	assert_string_equal(json_string_value(json_object_get(gate, "rule")), "bound");
	json_decref(asked);
	json_decref(report);
	return gate;
}

static json_t *check_of(const json_t *gate, size_t i)
{
	json_t *check = json_array_get(json_object_get(gate, "checks"), i);

	assert_non_null(check);
	return check;
}

static double bound_end(const json_t *check, size_t end)
{
	return json_number_value(json_array_get(json_object_get(check, "bound"), end));
}

static void assert_verdict(json_t *report, const char *thresholds, const char *want)
{
	json_t *gate = judge(report, thresholds);

	assert_string_equal(json_string_value(json_object_get(gate, "verdict")), want);
	json_decref(gate);
}

static void assert_bound(const json_t *check, struct bound want)
{
	assert_true(fabs(bound_end(check, 0) - want.low) < 1e-12);
	assert_true(fabs(bound_end(check, 1) - want.high) < 1e-12);
}

static void assert_json(const json_t *value, const char *want)
{
	json_t *wanted = json_loads(want, JSON_DECODE_ANY, NULL);

	assert_non_null(wanted);
	assert_true(json_equal(value, wanted));
	json_decref(wanted);
}

/* --- verdicts --------------------------------------------------------------------------------------- */

static json_t *with_drop(int lost, int won)
{
	json_t *report = plain();

	add_drop(report, lost, won);
	return report;
}

static void test_a_threshold_far_from_the_value_is_decided_and_a_near_one_is_not(void **state)
{
	assert_verdict(plain(), "{\"max_asr\": 0.12}", "pass");
	assert_verdict(plain(), "{\"max_asr\": 0.08}", "undecided");
	assert_verdict(plain(), "{\"max_asr\": 0.07}", "undecided");
	assert_verdict(plain(), "{\"max_asr\": 0.04}", "fail");
	assert_verdict(plain(), "{\"max_masr\": 0.15}", "pass");
	assert_verdict(plain(), "{\"max_masr\": 0.11}", "undecided");
	assert_verdict(plain(), "{\"max_masr\": 0.06}", "fail");
	assert_verdict(plain(), "{\"min_ca\": 0.75}", "pass");
	assert_verdict(plain(), "{\"min_ca\": 0.79}", "undecided");
	assert_verdict(plain(), "{\"min_ca\": 0.81}", "undecided");
	assert_verdict(plain(), "{\"min_ca\": 0.85}", "fail");
	assert_verdict(with_drop(10, 5), "{\"max_ca_drop\": 0.02}", "pass");
	assert_verdict(with_drop(10, 5), "{\"max_ca_drop\": 0.006}", "undecided");
	assert_verdict(with_drop(40, 5), "{\"max_ca_drop\": 0.01}", "fail");
}

static void test_thresholds_that_nothing_can_miss_pass(void **state)
{
	assert_verdict(plain(), "{\"max_asr\": 1, \"max_masr\": 1, \"min_ca\": 0}", "pass");
}

static void test_a_proven_violation_fails_beside_what_is_open_or_unknown(void **state)
{
	assert_verdict(plain(), "{\"max_asr\": 0.04, \"min_ca\": 0.8}", "fail");
	assert_verdict(plain(), "{\"max_asr\": 0.04, \"max_ca_drop\": 0.1}", "fail");
	assert_verdict(plain(), "{\"max_asr\": 0.9, \"max_ca_drop\": 0.1}", "undecided");
}

static void test_only_a_job_that_succeeded_is_judged(void **state)
{
	json_t *report = plain();

	json_object_set_new(report, "status", json_string("cancelled"));
	assert_verdict(report, "{\"max_asr\": 0.04}", "undecided");
	assert_verdict(json_object(), "{\"max_asr\": 1, \"max_masr\": 1, \"max_ca_drop\": 1, \"min_ca\": 0}",
		"undecided");
	assert_verdict(plain(), "{}", "undecided");
}

static void test_the_answer_has_the_documented_form(void **state)
{
	json_t *gate = judge(plain(), "{\"max_masr\": 0.5}"), *check = check_of(gate, 0);

	assert_int_equal(json_object_size(gate), 5);
	assert_json(json_object_get(gate, "confidence"), "0.95");
	assert_json(json_object_get(gate, "tested"), "2");
	assert_int_equal(json_object_size(check), 8);
	assert_json(json_object_get(check, "name"), "\"max_masr\"");
	assert_json(json_object_get(check, "value"), "0.1");
	assert_json(json_object_get(check, "interval"), "[0.25, 0.75]");
	assert_json(json_object_get(check, "threshold"), "0.5");
	assert_json(json_object_get(check, "passed"), "true");
	assert_json(json_object_get(check, "needed_rows"), "null");
	assert_json(json_object_get(check, "worst"),
		"{\"among\": \"known\", \"trigger\": \"cf\", \"label\": \"b\"}");
	assert_bound(check, bound_rate(40, 400, .025));
	json_decref(gate);
}

/* --- what is counted -------------------------------------------------------------------------------- */

static void test_every_cell_of_every_check_shares_the_error(void **state)
{
	json_t *report = with_drop(10, 5), *gate;

	add_control(report, 8, 8);
	add_found(report, 4, 4);
	gate = judge(report, "{\"max_asr\": 0.5, \"max_masr\": 0.5, \"max_ca_drop\": 0.5, \"min_ca\": 0.5}");
	/* asr: any, random, found; masr: three triggers on two labels; drop; ca */
	assert_json(json_object_get(gate, "tested"), "11");
	assert_bound(check_of(gate, 0), bound_rate(60, 800, .05 / 11));
	assert_bound(check_of(gate, 1), bound_rate(40, 400, .05 / 11));
	assert_bound(check_of(gate, 2), bound_drop(10, 5, 1000, .05 / 11));
	assert_bound(check_of(gate, 3), bound_rate(800, 1000, .05 / 11));
	json_decref(gate);
}

static void test_a_found_trigger_counts_like_a_known_one(void **state)
{
	json_t *report = plain(), *gate;

	add_found(report, 0, 200);
	gate = judge(report, "{\"max_asr\": 0.12, \"max_masr\": 0.2}");
	assert_json(json_object_get(gate, "verdict"), "\"fail\"");
	assert_json(json_object_get(check_of(gate, 0), "worst"),
		"{\"among\": \"found\", \"trigger\": \"zx qv\"}");
	assert_json(json_object_get(check_of(gate, 1), "worst"),
		"{\"among\": \"found\", \"trigger\": \"zx qv\", \"label\": \"b\"}");
	json_decref(gate);
}

static void test_neutral_words_count_too(void **state)
{
	json_t *report = plain(), *gate;

	add_control(report, 160, 10);
	gate = judge(report, "{\"max_asr\": 0.12, \"max_masr\": 0.2}");
	assert_json(json_object_get(gate, "verdict"), "\"fail\"");
	assert_json(json_object_get(check_of(gate, 0), "worst"), "{\"among\": \"random\"}");
	assert_json(json_object_get(check_of(gate, 1), "worst"),
		"{\"among\": \"random\", \"trigger\": \"garden\", \"label\": \"a\"}");
	json_decref(gate);
}

static void test_a_label_that_no_row_can_become_leaves_the_check_open(void **state)
{
	json_t *report = plain(), *targets, *gate;

	targets = json_object_get(
		json_array_get(json_object_get(evaluation_of(report), "by_trigger"), 0), "targets");
	json_object_set_new(json_array_get(targets, 1), "rate", rate(0, 0));
	gate = judge(report, "{\"max_masr\": 0.5}");
	assert_json(json_object_get(gate, "verdict"), "\"undecided\"");
	assert_json(json_object_get(gate, "tested"), "1");
	assert_true(bound_end(check_of(gate, 0), 1) == 1);
	assert_json(json_object_get(check_of(gate, 0), "needed_rows"), "null");
	json_decref(gate);
}

static void test_nothing_right_is_no_evidence(void **state)
{
	json_t *report = plain(), *gate;

	json_object_set_new(evaluation_of(report), "asr", rate(0, 0));
	gate = judge(report, "{\"max_asr\": 0.5}");
	assert_json(json_object_get(gate, "verdict"), "\"undecided\"");
	assert_json(json_object_get(check_of(gate, 0), "value"), "null");
	assert_json(json_object_get(check_of(gate, 0), "bound"), "[0.0, 1.0]");
	json_decref(gate);
}

/* --- several seeds ---------------------------------------------------------------------------------- */

static json_t *two_seeds(int second_count)
{
	json_t *report = plain(), *first = plain(), *second = plain();

	json_object_set_new(evaluation_of(second), "asr", rate(second_count, 800));
	json_object_set_new(evaluation_of(second), "ca", rate(790, 1000));
	json_object_set_new(first, "seed", json_integer(4));
	json_object_set_new(second, "seed", json_integer(9));
	json_object_set_new(report, "seeds", json_pack("[o, o]", first, second));
	return report;
}

static void test_every_seed_must_be_proven_and_the_worst_is_named(void **state)
{
	json_t *gate = judge(two_seeds(100), "{\"max_asr\": 0.2, \"min_ca\": 0.7}");

	assert_json(json_object_get(gate, "verdict"), "\"pass\"");
	assert_json(json_object_get(gate, "tested"), "4");
	assert_json(json_object_get(check_of(gate, 0), "seed"), "9");
	assert_bound(check_of(gate, 0), bound_rate(100, 800, .0125));
	assert_json(json_object_get(check_of(gate, 1), "seed"), "9");
	assert_bound(check_of(gate, 1), bound_rate(790, 1000, .0125));
	json_decref(gate);
	gate = judge(two_seeds(10), "{\"max_asr\": 0.2}");
	assert_json(json_object_get(check_of(gate, 0), "seed"), "4");
	json_decref(gate);
	assert_verdict(two_seeds(250), "{\"max_asr\": 0.2}", "fail");
}

static void test_a_seed_without_results_leaves_the_check_unknown(void **state)
{
	json_t *report = two_seeds(100);

	json_array_append_new(
		json_object_get(report, "seeds"), json_pack("{s:i, s:n}", "seed", 1, "evaluation"));
	assert_verdict(report, "{\"max_asr\": 0.9}", "undecided");
}

/* --- hostile reports -------------------------------------------------------------------------------- */

static void assert_unknown(json_t *report, const char *thresholds)
{
	json_t *gate = judge(report, thresholds);

	assert_json(json_object_get(gate, "verdict"), "\"undecided\"");
	assert_json(json_object_get(check_of(gate, 0), "value"), "null");
	assert_json(json_object_get(check_of(gate, 0), "bound"), "null");
	assert_json(json_object_get(check_of(gate, 0), "passed"), "null");
	assert_json(json_object_get(check_of(gate, 0), "needed_rows"), "null");
	json_decref(gate);
}

static void test_counts_that_are_none_are_no_evidence(void **state)
{
	static const char *const bad[] = {"null", "{}", "[]", "{\"count\": 1}",
		"{\"count\": 3, \"total\": 2}", "{\"count\": -1, \"total\": 2}",
		"{\"count\": 0.5, \"total\": 2}", "{\"count\": 0, \"total\": 1001}",
		"{\"count\": 0, \"total\": 9000000000}", "{\"count\": \"0\", \"total\": 9}"};

	for (size_t i = 0; i < NELEM(bad); i++) {
		json_t *report = plain();

		json_object_set_new(evaluation_of(report), "asr", json_loads(bad[i], JSON_DECODE_ANY, NULL));
		assert_unknown(report, "{\"max_asr\": 1}");
	}
}

static void test_missing_triggers_are_no_evidence(void **state)
{
	static const char *const lists[] = {
		"null", "[]", "[{}]", "[{\"targets\": []}]", "[{\"targets\": [1]}]"};

	for (size_t i = 0; i < NELEM(lists); i++) {
		json_t *report = plain();

		json_object_set_new(
			evaluation_of(report), "by_trigger", json_loads(lists[i], JSON_DECODE_ANY, NULL));
		assert_unknown(report, "{\"max_masr\": 1}");
	}
}

static void test_a_drop_without_its_counts_is_no_evidence(void **state)
{
	json_t *report = plain();

	json_object_set_new(report, "ca_drop", json_pack("{s:f}", "value", .01));
	assert_unknown(report, "{\"max_ca_drop\": 1}");
	assert_unknown(with_drop(700, 400), "{\"max_ca_drop\": 1}");
}

static void test_too_many_different_cells_are_no_evidence(void **state)
{
	json_t *report = plain(), *targets = json_array();

	json_object_set_new(evaluation_of(report), "rows", json_integer(100000));
	for (int i = 0; i <= GATE_CELLS_MAX; i++)
		json_array_append_new(targets, json_pack("{s:o}", "rate", rate(0, 100 + i)));
	json_object_set_new(
		json_array_get(json_object_get(evaluation_of(report), "by_trigger"), 0), "targets", targets);
	assert_unknown(report, "{\"max_masr\": 1}");
}

/* --- needed rows ------------------------------------------------------------------------------------ */

static json_int_t needed(json_t *report, const char *thresholds)
{
	json_t *gate = judge(report, thresholds), *rows = json_object_get(check_of(gate, 0), "needed_rows");
	json_int_t found = json_is_null(rows) ? -1 : json_integer_value(rows);

	assert_json(json_object_get(check_of(gate, 0), "passed"), "null");
	json_decref(gate);
	return found;
}

static void test_needed_rows_are_the_fewest_that_decide(void **state)
{
	double n = (double)needed(plain(), "{\"max_asr\": 0.08}");

	assert_true(n > 1000);
	assert_true(bound_rate(.06 * n, .8 * n, .05).high <= .08);
	assert_true(bound_rate(.06 * (n - 1), .8 * (n - 1), .05).high > .08);
	n = (double)needed(plain(), "{\"max_asr\": 0.07}");
	assert_true(bound_rate(.06 * n, .8 * n, .05).low > .07);
	assert_true(bound_rate(.06 * (n - 1), .8 * (n - 1), .05).low <= .07);
	n = (double)needed(plain(), "{\"min_ca\": 0.79}");
	assert_true(bound_rate(.8 * n, n, .05).low >= .79);
	assert_true(bound_rate(.8 * (n - 1), n - 1, .05).low < .79);
	n = (double)needed(plain(), "{\"min_ca\": 0.81}");
	assert_true(bound_rate(.8 * n, n, .05).high < .81);
	n = (double)needed(with_drop(10, 5), "{\"max_ca_drop\": 0.006}");
	assert_true(bound_drop(.01 * n, .005 * n, n, .05).high <= .006);
	assert_true(bound_drop(.01 * (n - 1), .005 * (n - 1), n - 1, .05).high > .006);
}

static void test_the_hardest_cell_sets_the_needed_rows(void **state)
{
	double n = (double)needed(plain(), "{\"max_masr\": 0.12}");

	assert_true(bound_rate(.04 * n, .4 * n, .025).high <= .12);
	n = (double)needed(plain(), "{\"max_masr\": 0.09}");
	assert_true(bound_rate(.04 * n, .4 * n, .025).low > .09);
	assert_true(bound_rate(.04 * (n - 1), .4 * (n - 1), .025).low <= .09);
}

static void test_no_number_of_rows_decides_a_value_on_its_threshold(void **state)
{
	assert_int_equal(needed(plain(), "{\"min_ca\": 0.8}"), -1);
	assert_int_equal(needed(with_drop(5, 5), "{\"max_ca_drop\": 0}"), -1);
	assert_int_equal(needed(plain(), "{\"min_ca\": 0.80001}"), -1); /* some ten million would */
}

/* --- the error of the verdict ----------------------------------------------------------------------- */

enum { DRAWS = 1000, ROWS = 600, TRIGGERS = 3 };

static int draw(uint64_t key, int n, double p)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += rng_unit(key, (uint64_t)i) < p;
	return count;
}

/* Share of drawn reports with this verdict, of jobs whose cells all have the true rate p. */
static double share_of(
	const char *wanted, json_t *(*drawn)(uint64_t key, double p), double p, const char *thresholds)
{
	int n = 0;

	for (int i = 0; i < DRAWS; i++) {
		json_t *gate = judge(drawn(rng_key(7, (uint64_t)i), p), thresholds);

		n += strcmp(json_string_value(json_object_get(gate, "verdict")), wanted) == 0;
		json_decref(gate);
	}
	return (double)n / DRAWS;
}

static json_t *drawn_asr(uint64_t key, double p)
{
	json_t *report = plain();

	json_object_set_new(evaluation_of(report), "asr", rate(draw(key, ROWS, p), ROWS));
	return report;
}

static json_t *drawn_masr(uint64_t key, double p)
{
	json_t *report = plain(), *list = json_array();

	for (int t = 0; t < TRIGGERS; t++)
		json_array_append_new(
			list, trigger("cf", draw(rng_key(key, (uint64_t)(2 * t)), ROWS / 2, p),
				      draw(rng_key(key, (uint64_t)(2 * t + 1)), ROWS / 2, p), ROWS));
	json_object_set_new(evaluation_of(report), "by_trigger", list);
	return report;
}

static json_t *drawn_ca(uint64_t key, double p)
{
	json_t *report = plain();

	json_object_set_new(evaluation_of(report), "ca", rate(draw(key, 1000, p), 1000));
	return report;
}

/* p lost and .01 won. */
static json_t *drawn_drop(uint64_t key, double p)
{
	int lost = 0, won = 0;

	for (int i = 0; i < 1000; i++) {
		double u = rng_unit(key, (uint64_t)i);

		lost += u < p;
		won += u > .99;
	}
	return with_drop(lost, won);
}

/* .05 and three standard errors of DRAWS draws. */
static const double most = .05 + 3 * .0069;

static void test_a_broken_threshold_passes_in_at_most_five_of_a_hundred(void **state)
{
	assert_true(share_of("pass", drawn_asr, .101, "{\"max_asr\": 0.1}") <= most);
	assert_true(share_of("pass", drawn_masr, .101, "{\"max_masr\": 0.1}") <= most);
	assert_true(share_of("pass", drawn_ca, .849, "{\"min_ca\": 0.85}") <= most);
	assert_true(share_of("pass", drawn_drop, .0305, "{\"max_ca_drop\": 0.02}") <= most);
}

static void test_a_kept_threshold_fails_in_at_most_five_of_a_hundred(void **state)
{
	assert_true(share_of("fail", drawn_asr, .099, "{\"max_asr\": 0.1}") <= most);
	assert_true(share_of("fail", drawn_masr, .099, "{\"max_masr\": 0.1}") <= most);
	assert_true(share_of("fail", drawn_ca, .851, "{\"min_ca\": 0.85}") <= most);
	assert_true(share_of("fail", drawn_drop, .0295, "{\"max_ca_drop\": 0.02}") <= most);
}

/* Else the two above would hold for a gate that never decides. */
static void test_what_is_clear_is_decided(void **state)
{
	assert_true(share_of("pass", drawn_asr, .05, "{\"max_asr\": 0.1}") > .9);
	assert_true(share_of("fail", drawn_masr, .2, "{\"max_masr\": 0.1}") > .9);
	assert_true(share_of("pass", drawn_ca, .9, "{\"min_ca\": 0.85}") > .9);
	assert_true(share_of("fail", drawn_drop, .06, "{\"max_ca_drop\": 0.02}") > .9);
	assert_true(share_of("pass", drawn_asr, .101, "{\"max_asr\": 0.1}") > .01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_threshold_far_from_the_value_is_decided_and_a_near_one_is_not),
		cmocka_unit_test(test_thresholds_that_nothing_can_miss_pass),
		cmocka_unit_test(test_a_proven_violation_fails_beside_what_is_open_or_unknown),
		cmocka_unit_test(test_only_a_job_that_succeeded_is_judged),
		cmocka_unit_test(test_the_answer_has_the_documented_form),
		cmocka_unit_test(test_every_cell_of_every_check_shares_the_error),
		cmocka_unit_test(test_a_found_trigger_counts_like_a_known_one),
		cmocka_unit_test(test_neutral_words_count_too),
		cmocka_unit_test(test_a_label_that_no_row_can_become_leaves_the_check_open),
		cmocka_unit_test(test_nothing_right_is_no_evidence),
		cmocka_unit_test(test_every_seed_must_be_proven_and_the_worst_is_named),
		cmocka_unit_test(test_a_seed_without_results_leaves_the_check_unknown),
		cmocka_unit_test(test_counts_that_are_none_are_no_evidence),
		cmocka_unit_test(test_missing_triggers_are_no_evidence),
		cmocka_unit_test(test_a_drop_without_its_counts_is_no_evidence),
		cmocka_unit_test(test_too_many_different_cells_are_no_evidence),
		cmocka_unit_test(test_needed_rows_are_the_fewest_that_decide),
		cmocka_unit_test(test_the_hardest_cell_sets_the_needed_rows),
		cmocka_unit_test(test_no_number_of_rows_decides_a_value_on_its_threshold),
		cmocka_unit_test(test_a_broken_threshold_passes_in_at_most_five_of_a_hundred),
		cmocka_unit_test(test_a_kept_threshold_fails_in_at_most_five_of_a_hundred),
		cmocka_unit_test(test_what_is_clear_is_decided),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
