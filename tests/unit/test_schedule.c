/* Which runs a job consists of. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "worker/schedule.h"
#include "worker/train/checkpoint.h"

static struct spec spec_with(bool is_defended, int mode, bool compare, int seeds)
{
	struct spec spec = {.seed = 40};

	spec.defense.present = is_defended;
	spec.defense.mode = mode;
	spec.evaluation.compare_undefended = compare;
	for (spec.seeds.n = 0; spec.seeds.n < seeds; spec.seeds.n++)
		spec.seeds.seed[spec.seeds.n] = 40 + spec.seeds.n;
	return spec;
}

/* The runs as letters: undefended, search, defended, with the seed's number; looks end within the budget. */
static void assert_runs(const struct spec *spec, const char *want)
{
	struct schedule schedule = schedule_of(spec);
	struct path path = {.budget = 1};
	struct task task;
	struct buf text = {0};
	int run = 0, zero = 0;

	for (; schedule_task(&task, &schedule, &path, run); run++) {
		buf_printf(&text, "%c%d ", "usd"[task.kind], task.seed);
		if (task.kind == TASK_SEARCH)
			path_add(&path, &zero, &zero, &zero, 1);
	}
	assert_string_equal(text.data, want);
	assert_int_equal(run, schedule_runs(&schedule));
	buf_done(&text);
}

static void test_undefended_runs_come_first_then_the_defended_ones(void **state)
{
	struct spec spec = spec_with(true, SPEC_FIXED, false, 0);

	assert_runs(&spec, "d0 ");
	spec = spec_with(true, SPEC_FIXED, true, 0);
	assert_runs(&spec, "u0 d0 ");
	spec = spec_with(true, SPEC_FIXED, true, 3);
	assert_runs(&spec, "u0 u1 u2 d0 d1 d2 ");
}

static void test_plain_training_has_nothing_to_compare_with(void **state)
{
	struct spec spec = spec_with(false, SPEC_AUTO, true, 2);

	assert_runs(&spec, "d0 d1 ");
}

static void test_the_search_takes_the_place_of_the_first_defended_run(void **state)
{
	struct spec spec = spec_with(true, SPEC_AUTO, true, 3);

	assert_runs(&spec, "u0 u1 u2 s0 s0 s0 s0 d1 d2 ");
	spec = spec_with(true, SPEC_AUTO, false, 2);
	assert_runs(&spec, "u0 s0 s0 s0 s0 d1 ");
	spec = spec_with(true, SPEC_AUTO, true, 0);
	assert_runs(&spec, "u0 s0 s0 s0 s0 ");
}

/* Looks at 1 (within), 4 (beyond), 2 (within) and 2.8 (beyond): the third is the first seed's model, its strength everybody's. */
static void test_all_seeds_are_trained_at_the_strength_that_was_chosen(void **state)
{
	struct spec spec = spec_with(true, SPEC_AUTO, true, 2);
	struct schedule schedule = schedule_of(&spec);
	struct path path = {.budget = .1,
		.n = 4,
		.look = {{7, 100, 0, 0, 0}, {11, 100, 0, 50, 0}, {9, 100, 0, 5, 0}, {10, 100, 0, 20, 0}}};
	struct task task;

	assert_true(schedule_strength(&schedule, &path) == 2);
	assert_int_equal(schedule_defended(&schedule, &path, 0), 4);
	assert_int_equal(schedule_defended(&schedule, &path, 1), 6);
	assert_true(schedule_task(&task, &schedule, &path, 6));
	assert_true(task.strength == 2 && task.seed == 1 && task.place == 1);
	assert_int_equal(schedule_undefended(&schedule, 1), 1);
	assert_int_equal(schedule_runs_of(&schedule, TASK_DEFENDED), 2);
}

static void test_seeds_are_the_job_s(void **state)
{
	struct spec spec = spec_with(true, SPEC_FIXED, false, 2);

	assert_int_equal(schedule_seed(&spec, 1), 41);
	spec.seeds.n = 0;
	assert_int_equal(schedule_seed(&spec, 0), 40);
}

static void test_the_largest_job_has_a_place_in_the_checkpoint(void **state)
{
	struct spec spec = spec_with(true, SPEC_AUTO, true, SPEC_SEEDS_MAX);
	struct schedule schedule = schedule_of(&spec);

	assert_true(schedule_runs(&schedule) < CHECKPOINT_RUNS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_undefended_runs_come_first_then_the_defended_ones),
		cmocka_unit_test(test_plain_training_has_nothing_to_compare_with),
		cmocka_unit_test(test_the_search_takes_the_place_of_the_first_defended_run),
		cmocka_unit_test(test_all_seeds_are_trained_at_the_strength_that_was_chosen),
		cmocka_unit_test(test_seeds_are_the_job_s),
		cmocka_unit_test(test_the_largest_job_has_a_place_in_the_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
