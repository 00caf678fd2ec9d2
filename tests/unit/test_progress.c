#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/progress.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_every_type_survives_the_round_trip(void **state)
{
	const struct progress lines[] = {
		{.type = PROGRESS_PHASE, .name = "train"},
		{.type = PROGRESS_STEP,
			.step = 3,
			.of = 9,
			.epoch = 1,
			.loss = .5,
			.ce = .25,
			.amplify = NAN,
			.attention = 1e-300,
			.learning_rate = 1e-3,
			.tokens_per_second = 1e4,
			.eta_s = 0},
		{.type = PROGRESS_METRIC, .name = "valid_accuracy", .value = .1},
		{.type = PROGRESS_ARTIFACT, .path = "adapter/README.md", .bytes = 0, .sha256 = HASH},
		{.type = PROGRESS_ERROR,
			.fault = {ERR_INVALID_MODEL, "model.safetensors: byte 8", "too \"short\""}},
		{.type = PROGRESS_DONE},
	};

	for (size_t i = 0; i < NELEM(lines); i++) {
		struct buf text = {0}, again = {0};
		struct progress line;
		struct err err;

		assert_int_equal(progress_format(&text, &lines[i], &err), 0);
		assert_int_equal(progress_parse(&line, text.data, text.len - 1, &err), 0);
		assert_int_equal(line.type, lines[i].type);
		assert_int_equal(progress_format(&again, &line, &err), 0);
		assert_string_equal(text.data, again.data);
		buf_done(&text);
		buf_done(&again);
	}
}

static void test_refused_lines(void **state)
{
	static const char *const lines[] = {
		"",
		"x",
		"[]",
		"{}",
		"{\"type\":\"hello\"}",
		"{\"type\":\"done\",\"x\":1}",
		"{\"type\":\"done\",\"type\":\"done\"}",
		"{\"type\":\"phase\"}",
		"{\"type\":\"phase\",\"name\":\"\"}",
		"{\"type\":\"phase\",\"name\":\"a b\"}",
		"{\"type\":\"phase\",\"name\":7}",
		"{\"type\":\"metric\",\"name\":\"a\",\"value\":\"1\"}",
		"{\"type\":\"metric\",\"name\":\"a\",\"value\":1,\"unit\":\"s\"}",
		"{\"type\":\"artifact\",\"path\":\"../x\",\"bytes\":1,\"sha256\":\"" HASH "\"}",
		"{\"type\":\"artifact\",\"path\":\"x\",\"bytes\":-1,\"sha256\":\"" HASH "\"}",
		"{\"type\":\"artifact\",\"path\":\"x\",\"bytes\":1,\"sha256\":\"00\"}",
		"{\"type\":\"error\",\"code\":\"whatever\",\"where\":\"\",\"message\":\"\"}",
		"{\"type\":\"step\",\"step\":2,\"of\":1,\"epoch\":1,\"loss\":1,\"ce\":1,\"amplify\":1,"
		"\"attention\":1,"
		"\"learning_rate\":1,\"tokens_per_second\":1,\"eta_s\":1}",
		"{\"type\":\"step\",\"step\":0,\"of\":1,\"epoch\":1,\"loss\":1,\"ce\":1,\"amplify\":1,"
		"\"attention\":1,"
		"\"learning_rate\":1,\"tokens_per_second\":1,\"eta_s\":1}",
	};

	for (size_t i = 0; i < NELEM(lines); i++) {
		struct progress line;
		struct err err;

		assert_int_equal(progress_parse(&line, lines[i], strlen(lines[i]), &err), -ERR_INVALID_DATA);
	}
}

static void test_long_error_is_shortened_to_one_line(void **state)
{
	struct progress line = {.type = PROGRESS_ERROR}, back;
	struct buf text = {0};
	struct err err;

	line.fault.code = ERR_INVALID_DATA;
	memset(line.fault.where, '\\', sizeof(line.fault.where) - 1);
	memset(line.fault.text, 1, sizeof(line.fault.text) - 1);
	assert_int_equal(progress_format(&text, &line, &err), 0);
	assert_true(text.len <= PROGRESS_LINE_MAX);
	assert_int_equal(progress_parse(&back, text.data, text.len - 1, &err), 0);
	buf_done(&text);
}

static void test_error_with_foreign_bytes_is_still_written(void **state)
{
	struct progress line = {.type = PROGRESS_ERROR, .fault = {ERR_INVALID_DATA, "t\xff.csv", "bad"}},
			back;
	struct buf text = {0};
	struct err err;

	assert_int_equal(progress_format(&text, &line, &err), 0);
	assert_int_equal(progress_parse(&back, text.data, text.len - 1, &err), 0);
	assert_string_equal(back.fault.where, "t?.csv");
	buf_done(&text);
}

/* Feed text in pieces of n bytes; the number of lines, or the first error. */
static int feed(const char *text, size_t n, struct err *err)
{
	struct progress_reader reader = {0};
	struct progress line;
	int lines = 0, rc = 0;

	for (size_t at = 0; rc == 0 && at < strlen(text); at += n) {
		assert_int_equal(progress_reader_add(&reader, text + at, MIN(n, strlen(text) - at), err), 0);
		while ((rc = progress_reader_next(&line, &reader, err)) == 1)
			lines++;
	}
	if (rc == 0)
		rc = progress_reader_end(&reader, err);
	progress_reader_done(&reader);
	return rc != 0 ? rc : lines;
}

static void test_stream_is_cut_into_lines_whatever_the_reads(void **state)
{
	static const char text[] = "{\"type\":\"phase\",\"name\":\"a\"}\n{\"type\":\"phase\",\"name\":\"b\"}"
				   "\n{\"type\":\"done\"}\n";
	struct err err;

	for (size_t n = 1; n < sizeof(text); n++)
		assert_int_equal(feed(text, n, &err), 3);
}

static void test_stream_refuses_output_after_done(void **state)
{
	struct err err;

	assert_int_equal(feed("{\"type\":\"done\"}\n\n", 7, &err), -ERR_INVALID_DATA);
	assert_string_equal(err.where, "line 2");
}

static void test_stream_refuses_a_line_without_end(void **state)
{
	struct err err;

	assert_int_equal(feed("{\"type\":\"done\"}", 7, &err), -ERR_INVALID_DATA);
}

static void test_stream_refuses_a_long_line(void **state)
{
	char text[PROGRESS_LINE_MAX + 2];
	struct err err;

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"type\":\"done\"}", 15);
	text[PROGRESS_LINE_MAX - 1] = '\n';
	text[PROGRESS_LINE_MAX] = '\0';
	assert_int_equal(feed(text, 1000, &err), 1);
	text[PROGRESS_LINE_MAX - 1] = ' ';
	text[PROGRESS_LINE_MAX] = '\n';
	text[PROGRESS_LINE_MAX + 1] = '\0';
	assert_int_equal(feed(text, 1000, &err), -ERR_INVALID_DATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type_survives_the_round_trip),
		cmocka_unit_test(test_refused_lines),
		cmocka_unit_test(test_long_error_is_shortened_to_one_line),
		cmocka_unit_test(test_error_with_foreign_bytes_is_still_written),
		cmocka_unit_test(test_stream_is_cut_into_lines_whatever_the_reads),
		cmocka_unit_test(test_stream_refuses_output_after_done),
		cmocka_unit_test(test_stream_refuses_a_line_without_end),
		cmocka_unit_test(test_stream_refuses_a_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
