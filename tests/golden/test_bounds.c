/* bounds against tests/golden/bounds.json (generate_bounds.py). */
#include "tests/golden/golden.h"

#include "common/bound.h"

enum { CASES_MIN = 40 };

static const double tolerance = 1e-9;

static struct golden golden;

static int setup(void **state)
{
	golden_open(&golden, "tests/golden/bounds.json");
	return 0;
}

static int teardown(void **state)
{
	golden_done(&golden);
	return 0;
}

static void check(const json_t *c, struct bound ours)
{
	golden_check_number("low", ours.low, golden_number(c, "low"), tolerance);
	golden_check_number("high", ours.high, golden_number(c, "high"), tolerance);
}

static void test_rates_agree_with_the_binomial_sum(void **state)
{
	const json_t *list = golden_get(golden.root, "rates"), *c;
	size_t i;

	assert_true(json_array_size(list) >= CASES_MIN);
	json_array_foreach(list, i, c)
	{
		check(c, bound_rate(golden_number(c, "count"), golden_number(c, "total"),
				 golden_number(c, "alpha")));
	}
}

static void test_drops_agree_with_a_searched_likelihood(void **state)
{
	const json_t *list = golden_get(golden.root, "drops"), *c;
	size_t i;

	assert_true(json_array_size(list) >= CASES_MIN);
	json_array_foreach(list, i, c)
	{
		check(c, bound_drop(golden_number(c, "lost"), golden_number(c, "won"),
				 golden_number(c, "rows"), golden_number(c, "alpha")));
	}
}

/* Some are of the size of 1e-28. */
static void test_tails_agree_with_the_integral(void **state)
{
	const json_t *list = golden_get(golden.root, "tails"), *c;
	size_t i;

	assert_true(json_array_size(list) >= 8);
	json_array_foreach(list, i, c)
	{
		double p = golden_number(c, "p"),
		       ours = bound_student_tail(golden_number(c, "t"), golden_number(c, "freedom"));

		golden_check_number("p over the expected one", ours / p, 1, tolerance);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates_agree_with_the_binomial_sum),
		cmocka_unit_test(test_drops_agree_with_a_searched_likelihood),
		cmocka_unit_test(test_tails_agree_with_the_integral),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
