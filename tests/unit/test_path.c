/* The search for the strongest defence within a budget of accuracy, on callbacks instead of training runs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "common/base.h"
#include "worker/train/path.h"

enum { ROWS = 1000 };

/* What a run at some strength loses of ROWS rows that the undefended run gets all right. */
typedef int lost_at(double strength, const void *arg);

static struct path search(lost_at *lost, const void *arg, double budget)
{
	static const int truth[ROWS], undefended[ROWS];
	struct path path = {.budget = budget};
	int point;

	while ((point = path_next(&path)) >= 0) {
		int defended[ROWS] = {0}, n = lost(path_strength(point), arg);

		assert_in_range(path.n, 0, PATH_LOOKS - 1);
		for (int i = 0; i < n; i++)
			defended[i] = 1;
		path_add(&path, truth, undefended, defended, ROWS);
	}
	assert_int_equal(path.n, PATH_LOOKS);
	return path;
}

static double chosen_strength(const struct path *path)
{
	return path_strength(path->look[path_chosen(path)].point);
}

/* A defence that costs nothing up to a limit and everything beyond. */
static int cliff(double strength, const void *limit)
{
	return strength <= *(const double *)limit ? 0 : ROWS;
}

static int linear(double strength, const void *per_unit)
{
	return (int)(strength * *(const int *)per_unit);
}

static void test_strengths_lie_around_the_job_s_own(void **state)
{
	assert_true(path_strength(7) == 1 && path_strength(5) == .5 && path_strength(9) == 2);
	assert_true(fabs(path_strength(8) - sqrt(2)) < 1e-15);
	assert_true(
		path_strength(1) == .125 && path_strength(13) == 8 && path_strength(PATH_POINTS - 1) > 11);
}

static void test_finds_every_limit_of_the_path(void **state)
{
	for (int point = 0; point < PATH_POINTS; point++) {
		double limit = path_strength(point) * 1.2;
		struct path path = search(cliff, &limit, .01);

		assert_true(chosen_strength(&path) == path_strength(point));
		assert_true(path_judge(&path, path_chosen(&path)).is_within);
	}
}

/* As if the undefended run had been lucky by 2 % of the rows: all looks lose these, and the more, the stronger they are. */
static int lucky(double strength, const void *per_unit)
{
	return ROWS / 50 + linear(strength, per_unit);
}

static void test_takes_the_strongest_near_the_cheapest_when_all_cost_too_much(void **state)
{
	int per_unit = ROWS / 50; /* looks at 1, 1/4, 1/8 and .09 lose .040, .025, .022 and .021 */
	struct path path = search(lucky, &per_unit, .01);

	assert_true(chosen_strength(&path) == .25);
	assert_false(path_judge(&path, path_chosen(&path)).is_within);
	path = search(lucky, &per_unit, .2);
	assert_true(path_judge(&path, path_chosen(&path)).is_within);
}

static void test_says_so_when_all_cost_everything(void **state)
{
	double limit = .01;
	struct path path = search(cliff, &limit, .01);

	assert_false(path_judge(&path, path_chosen(&path)).is_within);
}

/* A model that weak terms kill and stronger ones do not: seen with prefixes. */
static int dies_when_weak(double strength, const void *arg)
{
	return strength < .5 ? ROWS / 2 : ROWS / 20;
}

static void test_takes_the_smallest_drop_when_all_cost_too_much(void **state)
{
	struct path path = search(dies_when_weak, NULL, .01);
	struct path_verdict verdict = path_judge(&path, path_chosen(&path));

	assert_true(chosen_strength(&path) == 1);
	assert_true(verdict.drop == .05 && !verdict.is_within);
}

static void test_a_drop_of_just_the_budget_is_within(void **state)
{
	int per_unit = 10; /* 1 % at strength 1 */
	struct path path = search(linear, &per_unit, .01);

	assert_true(chosen_strength(&path) == 1);
	path = search(linear, &per_unit, .0099);
	assert_true(chosen_strength(&path) == path_strength(6));
	path = search(linear, &per_unit, .02);
	assert_true(chosen_strength(&path) == 2);
}

static void test_a_look_counts_both_ways_of_differing(void **state)
{
	const int truth[] = {0, 0, 0, 1, 1, 1}, undefended[] = {0, 1, 0, 1, 0, 0},
		  defended[] = {0, 0, 1, 0, 0, 1};
	struct path path = {.budget = .5};
	struct path_verdict verdict;

	path_add(&path, truth, undefended, defended, 6);
	assert_int_equal(path.look[0].point, 7);
	assert_int_equal(path.look[0].right, 3);
	assert_int_equal(path.look[0].lost, 2);
	assert_int_equal(path.look[0].won, 2);
	verdict = path_judge(&path, 0);
	assert_true(verdict.accuracy == .5 && verdict.drop == 0 && verdict.bound > 0);
}

static struct path_verdict verdict_of(int rows, int lost, int won, double budget)
{
	struct path path = {.budget = budget, .n = 1, .look = {{3, rows, rows / 2, lost, won}}};

	return path_judge(&path, 0);
}

/* 40 and 30 of 1,000: (40.5 - 30.5) / 1002 + 1.644854 sqrt((71 / 1002 - (10 / 1002)^2) / 1002). */
static void test_bound_is_that_of_agresti_and_min(void **state)
{
	assert_true(fabs(verdict_of(1000, 40, 30, .01).bound - .02380244) < 1e-7);
}

static void test_needed_rows_bring_the_bound_within_the_budget_of_the_drop(void **state)
{
	struct path_verdict few = verdict_of(1000, 40, 30, .01);
	int scale = (int)((few.needed_rows + 999) / 1000);
	struct path_verdict many = verdict_of(1000 * scale, 40 * scale, 30 * scale, .01);

	assert_int_equal(few.needed_rows, 1915);
	assert_true(few.bound - few.drop > .01);
	assert_true(many.bound - many.drop <= .01);
	assert_int_equal(verdict_of(1000, 40, 30, 0).needed_rows, -1);
}

static void test_runs_that_never_differ_are_not_certain_on_few_rows(void **state)
{
	assert_true(verdict_of(10, 0, 0, .01).needed_rows > 10);
	assert_true(verdict_of(10, 0, 0, .01).bound > .01);
	assert_true(verdict_of(5000, 0, 0, .01).needed_rows < 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strengths_lie_around_the_job_s_own),
		cmocka_unit_test(test_finds_every_limit_of_the_path),
		cmocka_unit_test(test_takes_the_strongest_near_the_cheapest_when_all_cost_too_much),
		cmocka_unit_test(test_says_so_when_all_cost_everything),
		cmocka_unit_test(test_takes_the_smallest_drop_when_all_cost_too_much),
		cmocka_unit_test(test_a_drop_of_just_the_budget_is_within),
		cmocka_unit_test(test_a_look_counts_both_ways_of_differing),
		cmocka_unit_test(test_bound_is_that_of_agresti_and_min),
		cmocka_unit_test(test_needed_rows_bring_the_bound_within_the_budget_of_the_drop),
		cmocka_unit_test(test_runs_that_never_differ_are_not_certain_on_few_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
