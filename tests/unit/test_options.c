#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "common/options.h"

struct settings {
	bool verbose, help;
	int64_t threads;
	char *listen, *config;
};

static const struct option_row rows[] = {
	{"verbose", NULL, "say more", OPTION_SWITCH, false, offsetof(struct settings, verbose), 0, 0},
	{"help", NULL, "show this", OPTION_SWITCH, true, offsetof(struct settings, help), 0, 0},
	{"max-threads", "N", "threads", OPTION_INTEGER, false, offsetof(struct settings, threads), 1, 64},
	{"listen", "ADDRESS", "where", OPTION_TEXT, false, offsetof(struct settings, listen), 0, 0},
	{"config", "FILE", "settings", OPTION_TEXT, false, offsetof(struct settings, config), 0, 0},
};
enum { N_ROWS = NELEM(rows) };

static char config_path[] = "/tmp/options.XXXXXX";

static int forget_environment(void **state)
{
	(void)state;
	unsetenv("OBLIVIATE_MAX_THREADS");
	unsetenv("OBLIVIATE_HELP");
	unsetenv("OBLIVIATE_CONFIG");
	return 0;
}

static int read_line(struct settings *out, int *operands, struct err *err, const char **argv)
{
	int argc = 0;

	*out = (struct settings){.threads = 2};
	while (argv[argc] != NULL)
		argc++;
	return options_read(out, operands, rows, N_ROWS, argc, (char **)(uintptr_t)argv, err);
}

#define READ(out, operands, err, ...)                                                                        \
	read_line(out, operands, err, (const char *[]){"program", __VA_ARGS__, NULL})

static void write_config(const char *text)
{
	struct err err;
	int fd = open(config_path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(io_write_all(fd, text, strlen(text), &err), 0);
	close(fd);
}

static void test_flags_fill_the_struct(void **state)
{
	struct settings got;
	struct err err;

	assert_int_equal(READ(&got, NULL, &err, "--max-threads", "8", "--listen=::1", "--verbose"), 0);
	assert_int_equal(got.threads, 8);
	assert_string_equal(got.listen, "::1");
	assert_true(got.verbose);
	assert_false(got.help);
	options_done(&got, rows, N_ROWS);
}

static void test_unset_options_keep_their_default(void **state)
{
	struct settings got;
	struct err err;

	assert_int_equal(READ(&got, NULL, &err, "--verbose"), 0);
	assert_int_equal(got.threads, 2);
	assert_null(got.listen);
}

static void test_unknown_flag_is_refused_by_name(void **state)
{
	struct settings got;
	struct err err;

	assert_int_equal(READ(&got, NULL, &err, "--maxthreads=3"), -ERR_USAGE);
	assert_string_equal(err.where, "--maxthreads");
}

static void test_missing_value_is_refused(void **state)
{
	struct settings got;
	struct err err;

	assert_int_equal(READ(&got, NULL, &err, "--listen"), -ERR_USAGE);
	assert_string_equal(err.where, "--listen");
}

static void test_number_out_of_range_or_with_a_tail_is_refused(void **state)
{
	static const char *const bad[] = {"0", "65", "", "4x", " 4", "99999999999999999999"};
	struct settings got;
	struct err err;

	for (size_t i = 0; i < NELEM(bad); i++)
		assert_int_equal(READ(&got, NULL, &err, "--max-threads", bad[i]), -ERR_USAGE);
}

static void test_operands_move_to_the_front(void **state)
{
	struct settings got;
	struct err err;
	const char *argv[] = {"program", "key", "--verbose", "create", NULL};
	int operands;

	assert_int_equal(read_line(&got, &operands, &err, argv), 0);
	assert_int_equal(operands, 2);
	assert_string_equal(argv[1], "key");
	assert_string_equal(argv[2], "create");
}

static void test_operand_is_refused_where_none_is_taken(void **state)
{
	struct settings got;
	struct err err;

	assert_int_equal(READ(&got, NULL, &err, "spec.json"), -ERR_USAGE);
	assert_string_equal(err.where, "spec.json");
}

static void test_flag_beats_environment_beats_file(void **state)
{
	struct settings got;
	struct err err;

	write_config("{\"max-threads\": 3, \"listen\": \"file\"}");
	assert_int_equal(READ(&got, NULL, &err, "--config", config_path), 0);
	assert_int_equal(got.threads, 3);
	assert_string_equal(got.listen, "file");
	options_done(&got, rows, N_ROWS);

	setenv("OBLIVIATE_MAX_THREADS", "4", 1);
	assert_int_equal(READ(&got, NULL, &err, "--config", config_path), 0);
	assert_int_equal(got.threads, 4);
	options_done(&got, rows, N_ROWS);

	assert_int_equal(READ(&got, NULL, &err, "--config", config_path, "--max-threads", "5"), 0);
	assert_int_equal(got.threads, 5);
	options_done(&got, rows, N_ROWS);
}

static void test_environment_names_the_config_file(void **state)
{
	struct settings got;
	struct err err;

	write_config("{\"verbose\": true}");
	setenv("OBLIVIATE_CONFIG", config_path, 1);
	assert_int_equal(READ(&got, NULL, &err, NULL), 0);
	assert_true(got.verbose);
	options_done(&got, rows, N_ROWS);
}

static void test_help_in_the_environment_is_ignored(void **state)
{
	struct settings got;
	struct err err;

	setenv("OBLIVIATE_HELP", "1", 1);
	assert_int_equal(READ(&got, NULL, &err, "--verbose"), 0);
	assert_false(got.help);
}

static void test_bad_environment_names_the_variable(void **state)
{
	struct settings got;
	struct err err;

	setenv("OBLIVIATE_MAX_THREADS", "many", 1);
	assert_int_equal(READ(&got, NULL, &err, "--verbose"), -ERR_USAGE);
	assert_string_equal(err.where, "OBLIVIATE_MAX_THREADS");
}

static void test_bad_config_is_a_usage_error_with_its_place(void **state)
{
	static const char *const bad[] = {"{\"threads\": 1}", "{\"listen\": 1}", "{\"help\": true}", "[]",
		"{", "", "{\"verbose\": \"yes\"}", "{\"max-threads\": 1.5}",
		"{\"verbose\": true, \"verbose\": true}"};
	struct settings got;
	struct err err;

	for (size_t i = 0; i < NELEM(bad); i++) {
		write_config(bad[i]);
		assert_true(READ(&got, NULL, &err, "--config", config_path) != 0);
		assert_int_equal(err.code, ERR_USAGE);
		assert_non_null(strstr(err.where, config_path));
		options_done(&got, rows, N_ROWS);
	}
}

static void test_missing_config_is_a_usage_error(void **state)
{
	struct settings got;
	struct err err;

	assert_true(READ(&got, NULL, &err, "--config", "/nonexistent/settings.json") != 0);
	assert_int_equal(err.code, ERR_USAGE);
	options_done(&got, rows, N_ROWS);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget_environment)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_flags_fill_the_struct),
		TEST(test_unset_options_keep_their_default),
		TEST(test_unknown_flag_is_refused_by_name),
		TEST(test_missing_value_is_refused),
		TEST(test_number_out_of_range_or_with_a_tail_is_refused),
		TEST(test_operands_move_to_the_front),
		TEST(test_operand_is_refused_where_none_is_taken),
		TEST(test_flag_beats_environment_beats_file),
		TEST(test_environment_names_the_config_file),
		TEST(test_help_in_the_environment_is_ignored),
		TEST(test_bad_environment_names_the_variable),
		TEST(test_bad_config_is_a_usage_error_with_its_place),
		TEST(test_missing_config_is_a_usage_error),
	};
	int fd = mkstemp(config_path), rc;

	if (fd < 0)
		return 1;
	close(fd);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(config_path);
	return rc;
}
