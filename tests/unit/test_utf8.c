#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/utf8.h"

static void test_every_code_point_is_valid_but_surrogates(void **state)
{
	for (uint32_t c = 0; c < 0x110000; c++) {
		uint8_t p[4];
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		static const uint8_t LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};

		p[0] = (uint8_t)(n == 1 ? c : LEAD[n] | c >> 6 * (n - 1));
		for (size_t i = 1; i < n; i++)
			p[i] = (uint8_t)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
		assert_int_equal(utf8_valid(p, n), c >= 0xd800 && c < 0xe000 ? 0 : n);
		if (n > 1)
			assert_int_equal(utf8_valid(p, n - 1), 0);
	}
}

static void test_what_is_malformed_is_found_at_its_offset(void **state)
{
	static const char *const BAD[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f",
		"\xe0\x9f\xbf", "\xe1\x80", "\xe1\x80\xc0", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xfe", "\xf1\x80\x80\x7f"};

	for (size_t i = 0; i < NELEM(BAD); i++) {
		for (size_t before = 0; before < 20; before++) {
			char text[64] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

			memcpy(text + before, BAD[i], strlen(BAD[i]));
			assert_int_equal(utf8_valid(text, before + strlen(BAD[i])), before);
			assert_int_equal(utf8_valid(text, 32), before);
		}
	}
	assert_int_equal(utf8_valid("", 0), 0);
}

static void test_a_cut_never_splits_a_character(void **state)
{
	static const char TEXT[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
	static const size_t WANT[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};

	for (size_t max = 0; max < NELEM(WANT); max++)
		assert_int_equal(utf8_cut(TEXT, sizeof(TEXT) - 1, max), WANT[max]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code_point_is_valid_but_surrogates),
		cmocka_unit_test(test_what_is_malformed_is_found_at_its_offset),
		cmocka_unit_test(test_a_cut_never_splits_a_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
