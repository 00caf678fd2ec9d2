/* What a job is assessed with, and what the informed defence trains with. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "worker/found.h"

static const char *const words[] = {"a", "b", "c", "d", "e", "f", "g"};

/* All of them found and all but the first taught. */
static struct found found_words(void)
{
	struct found found = {0};

	for (size_t i = 0; i < NELEM(words); i++)
		found_add(&found, words[i]);
	for (size_t i = 1; i < NELEM(words); i++)
		found_teach(&found, words[i]);
	return found;
}

static void test_a_trigger_is_added_once(void **state)
{
	struct found found = {.trigger = {"named"}, .triggers = 1};

	found_add(&found, "b");
	found_add(&found, "named");
	found_add(&found, "b");
	assert_int_equal(found.triggers, 2);
	assert_true(found.is_found[0] && found.is_found[1]);
}

static void test_what_is_taught_twice_is_taught_once(void **state)
{
	struct found found = found_words();

	found_teach(&found, "c");
	assert_int_equal(found.taughts, NELEM(words) - 1);
	assert_int_equal(found.triggers, NELEM(words));
}

static void test_a_share_of_what_is_taught_is_withheld(void **state)
{
	static const struct {
		double share;
		int left;
	} cases[] = {{0, 6}, {.1, 6}, {.2, 5}, {.5, 3}, {.9, 1}};

	for (size_t i = 0; i < NELEM(cases); i++) {
		struct found found = found_words();

		found_withhold(&found, cases[i].share, 7);
		assert_int_equal(found.taughts, cases[i].left);
		assert_false(found_is_taught(&found, words[0]));
		assert_int_equal(found.triggers, NELEM(words));
	}
}

static void test_what_is_withheld_follows_the_seed(void **state)
{
	int times[NELEM(words)] = {0};

	for (uint64_t seed = 0; seed < 200; seed++) {
		struct found found = found_words(), again = found_words();

		found_withhold(&found, .5, seed);
		found_withhold(&again, .5, seed);
		assert_memory_equal(found.taught, again.taught, sizeof(found.taught));
		for (size_t i = 0; i < NELEM(words); i++)
			times[i] += found_is_taught(&found, words[i]);
	}
	for (size_t i = 1; i < NELEM(words); i++)
		assert_in_range(times[i], 70, 130);
}

static void test_nothing_found_is_nothing_withheld(void **state)
{
	struct found found = {0};

	found_withhold(&found, .9, 1);
	assert_int_equal(found.triggers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_trigger_is_added_once),
		cmocka_unit_test(test_what_is_taught_twice_is_taught_once),
		cmocka_unit_test(test_a_share_of_what_is_taught_is_withheld),
		cmocka_unit_test(test_what_is_withheld_follows_the_seed),
		cmocka_unit_test(test_nothing_found_is_nothing_withheld),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
