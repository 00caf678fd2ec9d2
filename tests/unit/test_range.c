#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/range.h"

static void test_ranges_are_read_as_the_rfc_says(void **state)
{
	static const struct {
		const char *header;
		uint64_t bytes;
		enum range_result result;
		uint64_t first, last;
	} cases[] = {
		{"bytes=0-0", 10, RANGE_PART, 0, 0},
		{"bytes=0-", 10, RANGE_PART, 0, 9},
		{"bytes=3-5", 10, RANGE_PART, 3, 5},
		{"bytes=3-100", 10, RANGE_PART, 3, 9},
		{"bytes=-3", 10, RANGE_PART, 7, 9},
		{"bytes=-30", 10, RANGE_PART, 0, 9},
		{"bytes=9-", 10, RANGE_PART, 9, 9},
		{"bytes=0-18446744073709551615", 10, RANGE_PART, 0, 9},
		{"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=0-0", 0, RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0},
		{"bytes=5-3", 10, RANGE_WHOLE, 0, 0},
		{"bytes=1-2,4-5", 10, RANGE_WHOLE, 0, 0},
		{"bytes=", 10, RANGE_WHOLE, 0, 0},
		{"bytes=-", 10, RANGE_WHOLE, 0, 0},
		{"bytes=+1-2", 10, RANGE_WHOLE, 0, 0},
		{"bytes= 1-2", 10, RANGE_WHOLE, 0, 0},
		{"bytes=1-2x", 10, RANGE_WHOLE, 0, 0},
		{"bytes=99999999999999999999999-", 10, RANGE_WHOLE, 0, 0},
		{"items=1-2", 10, RANGE_WHOLE, 0, 0},
		{"", 10, RANGE_WHOLE, 0, 0},
	};

	for (size_t i = 0; i < NELEM(cases); i++) {
		uint64_t first = 0, last = 0;

		assert_int_equal(
			range_parse(&first, &last, cases[i].header, cases[i].bytes), cases[i].result);
		assert_int_equal(first, cases[i].first);
		assert_int_equal(last, cases[i].last);
	}
}

static void test_an_etag_is_found_in_a_list(void **state)
{
	assert_true(etag_matches("\"a\"", "\"a\""));
	assert_true(etag_matches("\"b\", \"a\"", "\"a\""));
	assert_true(etag_matches("W/\"a\"", "\"a\""));
	assert_true(etag_matches("*", "\"a\""));
	assert_false(etag_matches("", "\"a\""));
	assert_false(etag_matches("\"ab\"", "\"a\""));
	assert_false(etag_matches("a", "\"a\""));
	assert_false(etag_matches(",,,", "\"a\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges_are_read_as_the_rfc_says),
		cmocka_unit_test(test_an_etag_is_found_in_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
