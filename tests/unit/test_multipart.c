/* multipart: what comes out does not depend on how the input was cut. Malformed bodies are in tests/cases/multipart and
 * go through the daemon (tests/api/test_http.py); here the parser meets them in pieces of every size. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "server/multipart.h"

static int on_part(void *arg, const char *name, const char *filename, struct err *err)
{
	buf_printf(arg, "[%s|%s|", name, filename == NULL ? "-" : filename);
	return 0;
}

static int on_data(void *arg, const void *data, size_t len, struct err *err)
{
	buf_add(arg, data, len);
	return 0;
}

static int on_end(void *arg, struct err *err)
{
	buf_str(arg, "]");
	return 0;
}

static int refuse_part(void *arg, const char *name, const char *filename, struct err *err)
{
	return err_set(err, ERR_MEDIA_TYPE, "here", "no");
}

static const struct multipart_ops recorder = {on_part, on_data, on_end};
static const struct multipart_ops refuser = {refuse_part, on_data, on_end};

/* Feed in pieces; the record of what came out, then the result. */
static int parse(struct buf *out, const char *body, size_t len, size_t piece, struct err *err)
{
	struct multipart parser;
	int rc = multipart_init(&parser, "multipart/form-data; boundary=edge", &recorder, out, err);

	for (size_t at = 0; rc == 0 && at < len; at += piece)
		rc = multipart_feed(&parser, body + at, MIN(piece, len - at), err);
	if (rc == 0)
		rc = multipart_finish(&parser, err);
	multipart_done(&parser);
	return rc;
}

static const char two_parts[] = "--edge\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n"
				"--edge\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; "
				"name=b; filename=\"c/d.txt\"\r\n\r\n"
				"\r\n--edg\r\r\n--edgf--\r\n\r\n--edge--\r\nrest";

static void test_every_way_to_cut_the_input_gives_the_same(void **state)
{
	for (size_t piece = 1; piece < sizeof(two_parts); piece++) {
		struct buf out = {0};
		struct err err;

		assert_int_equal(parse(&out, two_parts, sizeof(two_parts) - 1, piece, &err), 0);
		assert_string_equal(out.data, "[a|-|one][b|c/d.txt|\r\n--edg\r\r\n--edgf--\r\n]");
		buf_done(&out);
	}
}

static int count_data(void *arg, const void *data, size_t len, struct err *err)
{
	++*(int *)arg;
	return 0;
}

static int ignore_part(void *arg, const char *name, const char *filename, struct err *err)
{
	return 0;
}

static int ignore_end(void *arg, struct err *err)
{
	return 0;
}

/* Each piece costs hashing and writing: a model's bytes, full of CRs, must not come in crumbs. */
static void test_line_ends_do_not_cut_the_data(void **state)
{
	static const struct multipart_ops counter = {ignore_part, count_data, ignore_end};
	static const char body[] = "--edge\r\nContent-Disposition: form-data; name=a\r\n\r\n"
				   "a\rb\r\nc\r\r\n-d\r\n--e\r\n--edg\r\n--edge--";
	struct multipart parser;
	struct err err;
	int pieces = 0;

	assert_int_equal(
		multipart_init(&parser, "multipart/form-data; boundary=edge", &counter, &pieces, &err), 0);
	assert_int_equal(multipart_feed(&parser, body, sizeof(body) - 1, &err), 0);
	assert_int_equal(multipart_finish(&parser, &err), 0);
	assert_int_equal(pieces, 1);
	multipart_done(&parser);
}

static void test_a_body_cut_anywhere_is_refused(void **state)
{
	const char *end = strstr(two_parts, "--edge--") + strlen("--edge--");

	for (size_t len = 0; len < (size_t)(end - two_parts); len++) {
		struct buf out = {0};
		struct err err;

		assert_int_equal(parse(&out, two_parts, len, 7, &err), -ERR_INVALID_VALUE);
		buf_done(&out);
	}
}

static void test_what_a_callback_refuses_ends_the_parser(void **state)
{
	struct multipart parser;
	struct err err;

	assert_int_equal(
		multipart_init(&parser, "multipart/form-data; boundary=edge", &refuser, NULL, &err), 0);
	assert_int_equal(multipart_feed(&parser, two_parts, sizeof(two_parts) - 1, &err), -ERR_MEDIA_TYPE);
	assert_string_equal(err.where, "here");
	multipart_done(&parser);
}

static void test_cases_have_the_expected_result_in_pieces_of_any_size(void **state)
{
	int dirfd = open("tests/cases/multipart", O_RDONLY | O_DIRECTORY), n = 0;
	DIR *dir = fdopendir(dirfd);
	const struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		struct buf body = {0}, expect = {0};
		char name[300];
		struct err err;
		size_t stem = strlen(entry->d_name);

		if (stem < 5 || strcmp(entry->d_name + stem - 5, ".body") != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s.expect", (int)stem - 5, entry->d_name);
		assert_int_equal(io_read_file(&body, dirfd, entry->d_name, 1 << 20, &err), 0);
		assert_int_equal(io_read_file(&expect, dirfd, name, 1 << 20, &err), 0);
		for (size_t piece = 1; piece < 40; piece++) {
			struct buf out = {0};
			bool is_good = parse(&out, body.data, body.len, piece, &err) == 0;

			/* What is wrong with the name, not the form, is found behind the parser. */
			if (strstr(expect.data, "UTF-8") == NULL)
				assert_int_equal(is_good, strncmp(expect.data, "200", 3) == 0);
			buf_done(&out);
		}
		buf_done(&body);
		buf_done(&expect);
		n++;
	}
	closedir(dir);
	assert_true(n > 20);
}

static void test_a_content_type_needs_a_boundary(void **state)
{
	static const struct {
		const char *type;
		bool is_good;
	} cases[] = {
		{"multipart/form-data; boundary=x", true},
		{"Multipart/Form-Data;charset=utf-8;BOUNDARY=\"a b\"", true},
		{"multipart/form-data", false},
		{"multipart/form-data; boundary", false},
		{"multipart/form-data; boundary=", false},
		{"multipart/form-data; boundary=\"\"", false},
		{"multipart/form-data; boundary=\"x ", false},
		{"multipart/form-data; boundary=\"x \"", false},
		{"multipart/form-data; boundary=\"\r\n\"", false},
		{"multipart/mixed; boundary=x", false},
		{"multipart/form-data; boundary="
		 "01234567890123456789012345678901234567890123456789012345678901234567890",
			false},
	};

	for (size_t i = 0; i < NELEM(cases); i++) {
		struct multipart parser;
		struct err err;
		int rc = multipart_init(&parser, cases[i].type, &recorder, NULL, &err);

		assert_int_equal(rc, cases[i].is_good ? 0 : -ERR_MEDIA_TYPE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_way_to_cut_the_input_gives_the_same),
		cmocka_unit_test(test_line_ends_do_not_cut_the_data),
		cmocka_unit_test(test_a_body_cut_anywhere_is_refused),
		cmocka_unit_test(test_what_a_callback_refuses_ends_the_parser),
		cmocka_unit_test(test_cases_have_the_expected_result_in_pieces_of_any_size),
		cmocka_unit_test(test_a_content_type_needs_a_boundary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
