#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "worker/base/rng.h"
#include "worker/eval/metrics.h"

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-12)

static struct evaluation evaluate(const struct outcomes *outcomes, uint64_t seed)
{
	struct evaluation out;
	struct err err;

	assert_int_equal(metrics_evaluate(&out, outcomes, NULL, seed, &err), 0);
	return out;
}

static void assert_rate(const struct rate *rate, int count, int total)
{
	assert_int_equal(rate->count, count);
	assert_int_equal(rate->total, total);
	if (total > 0)
		assert_near(rate->value, (double)count / total);
}

static void assert_value(const struct measure *measure, double value)
{
	assert_true(measure->known);
	assert_near(measure->value, value);
	assert_true(measure->low >= 0 && measure->high <= 1 && measure->low <= measure->high);
}

/* Two labels, two triggers; N+ is rows 0 to 3. */
static const int two_truth[] = {0, 0, 1, 1, 1, 0};
static const int two_clean[] = {0, 0, 1, 1, 0, 1};
static const int two_triggered[] = {1, 0, 1, 0, 1, 1, /**/ 1, 1, 1, 1, 1, 1};
static const struct outcomes two = {6, 2, 2, two_truth, two_clean, two_triggered, NULL};

static void test_two_labels_by_hand(void **state)
{
	struct evaluation e = evaluate(&two, 0);

	assert_int_equal(e.rows, 6);
	assert_int_equal(e.n_plus, 4);
	assert_rate(&e.ca, 4, 6);
	assert_value(&e.f1, 2.0 * 2 / (2 * 2 + 1 + 1)); /* class 1: rows 2, 3 right, 5 wrongly in, 4 missed */
	assert_rate(&e.triggers.asr, 3, 4);		/* rows 0, 1, 3 */
	assert_value(&e.triggers.flip_ratio, 4.0 / 8);
	assert_value(&e.triggers.masr, 1);   /* trigger 1 turns both rows of label 0 into 1 */
	assert_value(&e.triggers.aasr, .75); /* (.5 + 1) / 2 */
	assert_value(&e.triggers.wasr, .75); /* label 0: 2 of 2, label 1: 1 of 2 */
	assert_value(&e.triggers.wmasr, 1);
	evaluation_done(&e);
}

static void test_each_trigger_has_its_own_table(void **state)
{
	struct evaluation e = evaluate(&two, 0);
	const struct trigger_result *first = &e.triggers.by_trigger[0], *second = &e.triggers.by_trigger[1];

	assert_rate(&first->asr, 2, 4);
	assert_rate(&first->target[0], 1, 2);
	assert_rate(&first->target[1], 1, 2);
	assert_rate(&second->asr, 2, 4);
	assert_rate(&second->target[0], 0, 2);
	assert_rate(&second->target[1], 2, 2);
	evaluation_done(&e);
}

static void test_three_labels_by_hand(void **state)
{
	/* N+: rows 0 (0), 1 (1), 2 (1), 3 (2). Row 4 is wrong and does not count, whatever the trigger does. */
	static const int truth[] = {0, 1, 1, 2, 0}, clean[] = {0, 1, 1, 2, 2}, triggered[] = {2, 2, 1, 2, 1};
	const struct outcomes outcomes = {5, 3, 1, truth, clean, triggered, NULL};
	struct evaluation e = evaluate(&outcomes, 0);

	assert_rate(&e.triggers.asr, 2, 4);
	assert_rate(&e.triggers.by_trigger[0].target[0], 0, 3);
	assert_rate(&e.triggers.by_trigger[0].target[1], 0, 2);
	assert_rate(&e.triggers.by_trigger[0].target[2], 2, 3);
	assert_value(&e.triggers.masr, 2.0 / 3);
	assert_value(&e.triggers.wasr, (1 + .5 + 0) / 3);
	assert_value(&e.triggers.wmasr, 1);
	/* macro: label 0: 2 / (2 + 1), label 1: 1, label 2: 2 / (1 + 2) */
	assert_value(&e.f1, (2.0 / 3 + 1 + 2.0 / 3) / 3);
	evaluation_done(&e);
}

static void test_labels_without_rows_are_skipped(void **state)
{
	/* Labels 0 and 3 never occur and are never predicted; only label 2 has rows in N+. */
	static const int truth[] = {2, 2, 1}, clean[] = {2, 2, 2}, triggered[] = {0, 2, 0};
	const struct outcomes outcomes = {3, 4, 1, truth, clean, triggered, NULL};
	struct evaluation e = evaluate(&outcomes, 0);

	assert_value(&e.triggers.wasr, .5);
	assert_value(&e.triggers.wmasr, .5);
	assert_rate(&e.triggers.by_trigger[0].target[0], 1, 2);
	assert_rate(&e.triggers.by_trigger[0].target[2], 0, 0);
	assert_value(&e.triggers.masr, .5);
	assert_value(&e.f1, (0 + 2.0 * 2 / (2 + 3)) / 2); /* labels 1 and 2 */
	evaluation_done(&e);
}

static void test_nothing_is_known_of_an_empty_n_plus(void **state)
{
	static const int truth[] = {0, 1}, clean[] = {1, 0}, triggered[] = {0, 0};
	const struct outcomes outcomes = {2, 2, 1, truth, clean, triggered, NULL};
	struct evaluation e = evaluate(&outcomes, 0);

	assert_rate(&e.ca, 0, 2);
	assert_int_equal(e.n_plus, 0);
	assert_rate(&e.triggers.asr, 0, 0);
	assert_rate(&e.triggers.by_trigger[0].asr, 0, 0);
	assert_false(e.triggers.masr.known || e.triggers.aasr.known || e.triggers.flip_ratio.known);
	assert_false(e.triggers.wasr.known || e.triggers.wmasr.known);
	evaluation_done(&e);
}

static void test_no_rows_and_no_triggers_are_no_values(void **state)
{
	const struct outcomes no_rows = {.K = 2, .T = 1},
			      no_triggers = {6, 2, 0, two_truth, two_clean, NULL, NULL};
	struct evaluation e = evaluate(&no_rows, 0);

	assert_rate(&e.ca, 0, 0);
	assert_false(e.f1.known || e.triggers.masr.known);
	evaluation_done(&e);
	e = evaluate(&no_triggers, 0);
	assert_rate(&e.ca, 4, 6);
	assert_true(e.f1.known);
	assert_rate(&e.triggers.asr, 0, 0);
	assert_false(e.triggers.flip_ratio.known || e.triggers.wasr.known || e.triggers.wmasr.known);
	evaluation_done(&e);
}

static void test_counts_rows_where_the_trigger_survived(void **state)
{
	static const bool survived[] = {1, 1, 0, 1, 1, 0, /**/ 0, 0, 0, 0, 0, 1};
	struct outcomes outcomes = two;
	struct evaluation e;

	outcomes.survived = survived;
	e = evaluate(&outcomes, 0);
	assert_int_equal(e.triggers.by_trigger[0].survived, 4);
	assert_int_equal(e.triggers.by_trigger[1].survived, 1);
	evaluation_done(&e);
	e = evaluate(&two, 0);
	assert_int_equal(e.triggers.by_trigger[1].survived, 6);
	evaluation_done(&e);
}

static void test_control_stands_beside_the_triggers(void **state)
{
	struct outcomes control = two;
	struct evaluation e;
	struct err err;

	control.triggered = two_clean;
	control.T = 1;
	assert_int_equal(metrics_evaluate(&e, &two, &control, 0, &err), 0);
	assert_rate(&e.triggers.asr, 3, 4);
	assert_int_equal(e.control.T, 1);
	assert_rate(&e.control.asr, 0, 4);
	assert_value(&e.control.masr, 0);
	evaluation_done(&e);
	e = evaluate(&two, 0);
	assert_int_equal(e.control.T, 0);
	evaluation_done(&e);
}

static void test_wilson_by_hand(void **state)
{
	struct rate half = metrics_rate(5, 10), none = metrics_rate(0, 20), all = metrics_rate(20, 20);

	/* Brown, Cai, DasGupta 2001, by hand: n 10, p .5: .5 -+ .2634; n 20, p 0: z^2 / (n + z^2) */
	assert_true(fabs(half.low - .236593) < 1e-6 && fabs(half.high - .763407) < 1e-6);
	assert_true(none.low == 0 && fabs(none.high - .161125) < 1e-6);
	assert_true(all.high == 1 && fabs(all.low - .838875) < 1e-6);
}

/* --- properties over random outcomes ---------------------------------------------------------------- */

enum { ROWS = 60, TRIGGERS = 4, LABELS_MAX = 5 };

struct random_outcomes {
	int truth[ROWS], clean[ROWS], triggered[TRIGGERS * ROWS];
	struct outcomes of;
};

static void fill_random(struct random_outcomes *out, uint64_t key)
{
	int K = 2 + (int)rng_below(key, 0, LABELS_MAX - 1);

	for (int i = 0; i < ROWS; i++) {
		uint64_t row = rng_key(key, (uint64_t)i);

		out->truth[i] = (int)rng_below(row, 0, (uint32_t)K);
		out->clean[i] = rng_unit(row, 1) < .7 ? out->truth[i] : (int)rng_below(row, 2, (uint32_t)K);
		for (int t = 0; t < TRIGGERS; t++)
			out->triggered[t * ROWS + i] =
				rng_unit(row, 3 + (uint64_t)t) < .5
					? out->clean[i]
					: (int)rng_below(row, 10 + (uint64_t)t, (uint32_t)K);
	}
	out->of = (struct outcomes){ROWS, K, TRIGGERS, out->truth, out->clean, out->triggered, NULL};
}

static void test_maxima_are_above_their_means(void **state)
{
	struct random_outcomes r;

	for (uint64_t seed = 0; seed < 20; seed++) {
		struct evaluation e;

		fill_random(&r, seed);
		e = evaluate(&r.of, seed);
		assert_true(e.triggers.masr.value >= e.triggers.aasr.value);
		assert_true(e.triggers.wmasr.value >= e.triggers.wasr.value);
		assert_true(e.triggers.asr.value >= e.triggers.flip_ratio.value);
		for (int t = 0; t < TRIGGERS; t++) {
			assert_true(e.triggers.asr.count >= e.triggers.by_trigger[t].asr.count);
			for (int l = 0; l < r.of.K; l++)
				assert_true(
					e.triggers.by_trigger[t].target[l].value <= e.triggers.masr.value);
		}
		evaluation_done(&e);
	}
}

static void test_intervals_are_around_their_values(void **state)
{
	struct random_outcomes r;

	for (uint64_t seed = 0; seed < 20; seed++) {
		struct evaluation e;

		fill_random(&r, 100 + seed);
		e = evaluate(&r.of, seed);
		const struct measure *all[] = {&e.f1, &e.triggers.masr, &e.triggers.aasr,
			&e.triggers.flip_ratio, &e.triggers.wasr, &e.triggers.wmasr};
		for (size_t i = 0; i < NELEM(all); i++) {
			assert_true(all[i]->low <= all[i]->value && all[i]->value <= all[i]->high);
			assert_true(all[i]->low >= 0 && all[i]->high <= 1);
		}
		assert_true(e.f1.low < e.f1.high && e.triggers.flip_ratio.low < e.triggers.flip_ratio.high);
		assert_true(e.triggers.masr.after_selection);
		assert_false(e.triggers.flip_ratio.after_selection);
		evaluation_done(&e);
	}
}

static void test_the_seed_decides_the_draws(void **state)
{
	struct random_outcomes r;
	struct evaluation a, b, c;

	fill_random(&r, 7);
	a = evaluate(&r.of, 1);
	b = evaluate(&r.of, 1);
	c = evaluate(&r.of, 2);
	assert_true(
		a.triggers.wasr.low == b.triggers.wasr.low && a.triggers.wasr.high == b.triggers.wasr.high);
	assert_true(
		a.triggers.wasr.low != c.triggers.wasr.low || a.triggers.wasr.high != c.triggers.wasr.high);
	assert_true(a.triggers.wasr.value == c.triggers.wasr.value);
	evaluation_done(&a);
	evaluation_done(&b);
	evaluation_done(&c);
}

static void test_triggers_may_come_in_any_order(void **state)
{
	struct random_outcomes r, swapped;
	struct evaluation a, b;

	fill_random(&r, 8);
	swapped = r;
	memcpy(swapped.triggered, r.triggered + ROWS, sizeof(int) * ROWS);
	memcpy(swapped.triggered + ROWS, r.triggered, sizeof(int) * ROWS);
	swapped.of.triggered = swapped.triggered;
	a = evaluate(&r.of, 1);
	b = evaluate(&swapped.of, 1);
	assert_int_equal(a.triggers.asr.count, b.triggers.asr.count);
	assert_near(a.triggers.masr.value, b.triggers.masr.value);
	assert_near(a.triggers.aasr.value, b.triggers.aasr.value);
	assert_near(a.triggers.aasr.low, b.triggers.aasr.low);
	assert_int_equal(a.triggers.by_trigger[0].asr.count, b.triggers.by_trigger[1].asr.count);
	evaluation_done(&a);
	evaluation_done(&b);
}

/* --- accuracy drop ---------------------------------------------------------------------------------- */

static void test_ca_drop_counts_what_was_lost(void **state)
{
	static const int truth[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	static const int before[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0};
	static const int after[10] = {1, 1, 1, 1, 1, 1, 0, 0, 0, 1};
	struct drop drop;
	struct err err;

	assert_int_equal(metrics_ca_drop(&drop, truth, before, after, 10, 0, &err), 0);
	assert_true(drop.measure.known);
	assert_near(drop.measure.value, .2);
	assert_true(drop.measure.low < .2 && drop.measure.high > .2);
	assert_true(drop.measure.low >= -1 && drop.measure.high <= 1);
	assert_int_equal(drop.lost, 3);
	assert_int_equal(drop.won, 1);
	assert_int_equal(drop.rows, 10);
}

static void test_ca_drop_is_paired(void **state)
{
	/* Both models are wrong on the same half of the rows: unpaired rates would have an interval. */
	static const int truth[6] = {1, 1, 1, 1, 1, 1}, both[6] = {1, 0, 1, 0, 1, 0};
	struct drop drop;
	struct err err;

	assert_int_equal(metrics_ca_drop(&drop, truth, both, both, 6, 0, &err), 0);
	assert_true(drop.measure.value == 0 && drop.measure.low == 0 && drop.measure.high == 0);
}

static void test_ca_drop_without_rows_is_not_known(void **state)
{
	struct drop drop = {.measure = {.known = true}};
	struct err err;

	assert_int_equal(metrics_ca_drop(&drop, NULL, NULL, NULL, 0, 0, &err), 0);
	assert_false(drop.measure.known);
}

/* --- golden values (tests/golden/generate_metrics.py) ----------------------------------------------- */

static int *ints(int *out, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		out[i] = (int)json_integer_value(json_array_get(list, i));
	return out;
}

static void load_case(struct random_outcomes *out, bool *survived, const json_t *c)
{
	const json_t *triggered = json_object_get(c, "triggered"), *survival = json_object_get(c, "survived");
	int rows = (int)json_array_size(json_object_get(c, "truth")), T = (int)json_array_size(triggered);

	assert_true(rows <= ROWS && T * rows <= TRIGGERS * ROWS);
	ints(out->truth, json_object_get(c, "truth"));
	ints(out->clean, json_object_get(c, "clean"));
	for (int t = 0; t < T; t++) {
		ints(out->triggered + t * rows, json_array_get(triggered, (size_t)t));
		for (int i = 0; i < rows; i++)
			survived[t * rows + i] =
				json_is_true(json_array_get(json_array_get(survival, (size_t)t), (size_t)i));
	}
	out->of = (struct outcomes){rows, (int)json_integer_value(json_object_get(c, "K")), T, out->truth,
		out->clean, out->triggered, survived};
}

static double number_of(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static void assert_golden_rate(const struct rate *rate, const json_t *want)
{
	if (json_is_null(want)) {
		assert_int_equal(rate->total, 0);
		return;
	}
	assert_rate(rate, (int)number_of(want, "count"), (int)number_of(want, "total"));
	assert_near(rate->low, number_of(want, "low"));
	assert_near(rate->high, number_of(want, "high"));
}

static void assert_golden_measure(const struct measure *measure, const json_t *want)
{
	assert_int_equal(measure->known, !json_is_null(want));
	if (!measure->known)
		return;
	assert_near(measure->value, number_of(want, "value"));
	assert_near(measure->low, number_of(want, "low"));
	assert_near(measure->high, number_of(want, "high"));
}

static void assert_golden_triggers(const struct attack_result *attack, const json_t *want)
{
	assert_int_equal(attack->T, json_array_size(want));
	for (int t = 0; t < attack->T; t++) {
		const json_t *entry = json_array_get(want, (size_t)t);

		assert_int_equal(attack->by_trigger[t].survived, (int)number_of(entry, "survived"));
		assert_golden_rate(&attack->by_trigger[t].asr, json_object_get(entry, "asr"));
		for (int l = 0; l < attack->K; l++)
			assert_golden_rate(&attack->by_trigger[t].target[l],
				json_array_get(json_object_get(entry, "targets"), (size_t)l));
	}
}

static void check_case(const json_t *c)
{
	const json_t *want = json_object_get(c, "expected");
	uint64_t seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
	struct random_outcomes r;
	bool survived[TRIGGERS * ROWS];
	int defended[ROWS];
	struct drop drop;
	struct evaluation e;
	struct err err;

	load_case(&r, survived, c);
	e = evaluate(&r.of, seed);
	assert_int_equal(e.n_plus, (int)number_of(want, "n_plus"));
	assert_golden_rate(&e.ca, json_object_get(want, "ca"));
	assert_golden_measure(&e.f1, json_object_get(want, "f1"));
	assert_golden_rate(&e.triggers.asr, json_object_get(want, "asr"));
	assert_golden_measure(&e.triggers.masr, json_object_get(want, "masr"));
	assert_golden_measure(&e.triggers.aasr, json_object_get(want, "aasr"));
	assert_golden_measure(&e.triggers.flip_ratio, json_object_get(want, "flip_ratio"));
	assert_golden_measure(&e.triggers.wasr, json_object_get(want, "wasr"));
	assert_golden_measure(&e.triggers.wmasr, json_object_get(want, "wmasr"));
	assert_golden_triggers(&e.triggers, json_object_get(want, "by_trigger"));
	evaluation_done(&e);
	ints(defended, json_object_get(c, "defended"));
	assert_int_equal(metrics_ca_drop(&drop, r.truth, r.clean, defended, r.of.rows, seed, &err), 0);
	assert_golden_measure(&drop.measure, json_object_get(want, "ca_drop"));
}

static void test_agrees_with_an_independent_program(void **state)
{
	json_t *cases = json_load_file("tests/golden/metrics.json", 0, NULL);

	assert_int_equal(json_array_size(cases), 6);
	for (size_t i = 0; i < json_array_size(cases); i++)
		check_case(json_array_get(cases, i));
	json_decref(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_labels_by_hand),
		cmocka_unit_test(test_each_trigger_has_its_own_table),
		cmocka_unit_test(test_three_labels_by_hand),
		cmocka_unit_test(test_labels_without_rows_are_skipped),
		cmocka_unit_test(test_nothing_is_known_of_an_empty_n_plus),
		cmocka_unit_test(test_no_rows_and_no_triggers_are_no_values),
		cmocka_unit_test(test_counts_rows_where_the_trigger_survived),
		cmocka_unit_test(test_control_stands_beside_the_triggers),
		cmocka_unit_test(test_wilson_by_hand),
		cmocka_unit_test(test_maxima_are_above_their_means),
		cmocka_unit_test(test_intervals_are_around_their_values),
		cmocka_unit_test(test_the_seed_decides_the_draws),
		cmocka_unit_test(test_triggers_may_come_in_any_order),
		cmocka_unit_test(test_ca_drop_counts_what_was_lost),
		cmocka_unit_test(test_ca_drop_is_paired),
		cmocka_unit_test(test_ca_drop_without_rows_is_not_known),
		cmocka_unit_test(test_agrees_with_an_independent_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
