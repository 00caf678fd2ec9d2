/* rows: a list's text; and the strings in it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/json.h"
#include "server/rows.h"

static json_t *finish(struct rows *rows)
{
	struct buf text = {0};
	json_t *list;

	rows_finish(&text, rows);
	list = json_loads(text.data, 0, NULL);
	assert_non_null(list);
	buf_done(&text);
	return list;
}

static void test_an_empty_list_has_no_ids(void **state)
{
	struct rows rows = {0};
	json_t *list = finish(&rows);

	assert_int_equal(json_array_size(json_object_get(list, "data")), 0);
	assert_true(json_is_null(json_object_get(list, "first_id")));
	assert_true(json_is_null(json_object_get(list, "last_id")));
	assert_true(json_is_false(json_object_get(list, "has_more")));
	json_decref(list);
}

static void test_a_list_names_its_first_and_its_last(void **state)
{
	struct rows rows = {.has_more = true};
	json_t *list;

	buf_str(rows_next(&rows, "a\"b"), "{}");
	buf_str(rows_next(&rows, "c"), "{}");
	buf_str(rows_next(&rows, "d"), "{}");
	list = finish(&rows);
	assert_string_equal(json_string_value(json_object_get(list, "first_id")), "a\"b");
	assert_string_equal(json_string_value(json_object_get(list, "last_id")), "d");
	assert_int_equal(json_array_size(json_object_get(list, "data")), 3);
	assert_true(json_is_true(json_object_get(list, "has_more")));
	json_decref(list);
}

static void test_lost_text_is_no_list(void **state)
{
	struct rows rows = {0};
	struct buf text = {0};

	rows_next(&rows, "a")->failed = true;
	rows_finish(&text, &rows);
	assert_true(text.failed);
	buf_done(&text);
}

static void check_string(const char *text, const char *expected)
{
	struct buf out = {0};
	json_t *back;

	json_write_string(&out, text);
	back = json_loads(out.data, JSON_DECODE_ANY, NULL);
	assert_non_null(back);
	assert_string_equal(json_string_value(back), expected);
	json_decref(back);
	buf_done(&out);
}

static void test_strings_come_back_as_they_were(void **state)
{
	static const char *const texts[] = {"", "plain", "\"", "\\", "a\"b\\c\n\r\t\x01\x1f\x7f/",
		"gr\xc3\xbc\xc3\x9f", "\xf0\x9f\x98\x80 end", "\n\n\"\"", "\xe2\x80\xa8"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		check_string(texts[i], texts[i]);
}

static void test_bytes_that_are_no_text_are_replaced(void **state)
{
	check_string("cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd");
	check_string("\xff"
		     "a\xc3"
		     "b",
		"\xef\xbf\xbd"
		"a\xef\xbf\xbd"
		"b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_list_has_no_ids),
		cmocka_unit_test(test_a_list_names_its_first_and_its_last),
		cmocka_unit_test(test_lost_text_is_no_list),
		cmocka_unit_test(test_strings_come_back_as_they_were),
		cmocka_unit_test(test_bytes_that_are_no_text_are_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
