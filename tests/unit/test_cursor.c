#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "worker/data/cursor.h"

static void test_numbers_are_little_endian(void **state)
{
	static const uint8_t DATA[] = {1, 2, 3, 4, 5, 6, 7, 0x88, 9};
	struct cursor cursor;

	cursor_init(&cursor, DATA, sizeof(DATA));
	assert_true(cursor_u64(&cursor) == 0x8807060504030201u);
	assert_int_equal(cursor_offset(&cursor), 8);
	assert_int_equal(cursor_left(&cursor), 1);
	assert_false(cursor.failed);
}

static void test_reading_past_the_end_fails_for_good(void **state)
{
	struct cursor cursor;

	cursor_init(&cursor, "abcdefg", 7);
	assert_true(cursor_u64(&cursor) == 0);
	assert_true(cursor.failed);
	assert_int_equal(cursor_offset(&cursor), 0);
	assert_null(cursor_bytes(&cursor, 1));
	cursor_init(&cursor, "abc", 3);
	assert_null(cursor_bytes(&cursor, SIZE_MAX));
	cursor_init(&cursor, "abc", 3);
	assert_non_null(cursor_bytes(&cursor, 3));
	assert_int_equal(cursor_peek(&cursor), -1);
	assert_false(cursor_accept(&cursor, '\0'));
}

static void test_nothing_is_empty(void **state)
{
	struct cursor cursor;
	size_t len;

	cursor_init(&cursor, NULL, 0);
	assert_int_equal(cursor_left(&cursor), 0);
	assert_int_equal(cursor_peek(&cursor), -1);
	assert_null(cursor_line(&len, &cursor));
	cursor_until(&len, &cursor, 'x');
	assert_int_equal(len, 0);
}

static void test_lines_end_in_lf_or_crlf_or_with_the_bytes(void **state)
{
	static const char *const WANT[] = {"a", "", "b", "c\rd", "e"};
	static const char TEXT[] = "a\n\nb\r\nc\rd\r\ne";
	struct cursor cursor;
	const char *line;
	size_t len;

	cursor_init(&cursor, TEXT, sizeof(TEXT) - 1);
	for (size_t i = 0; i < NELEM(WANT); i++) {
		line = cursor_line(&len, &cursor);
		assert_non_null(line);
		assert_int_equal(len, strlen(WANT[i]));
		assert_memory_equal(line, WANT[i], len);
	}
	assert_null(cursor_line(&len, &cursor));
}

static void test_until_stops_before_the_byte_or_at_the_end(void **state)
{
	struct cursor cursor;
	size_t len;

	cursor_init(&cursor, "ab,c", 4);
	assert_memory_equal(cursor_until(&len, &cursor, ','), "ab", 2);
	assert_int_equal(len, 2);
	assert_true(cursor_accept(&cursor, ','));
	assert_memory_equal(cursor_until(&len, &cursor, ','), "c", 1);
	assert_int_equal(len, 1);
	assert_int_equal(cursor_left(&cursor), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_are_little_endian),
		cmocka_unit_test(test_reading_past_the_end_fails_for_good),
		cmocka_unit_test(test_nothing_is_empty),
		cmocka_unit_test(test_lines_end_in_lf_or_crlf_or_with_the_bytes),
		cmocka_unit_test(test_until_stops_before_the_byte_or_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
