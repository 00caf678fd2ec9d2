/*
 * Each folder of tests/cases/tokenizer holds tokenizer files that must be refused, and expect.txt with four lines:
 * the model type, the error's name, its place, and words of its text. The model's vocabulary has 64 ids.
 */
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
#include <unistd.h>

#include "common/io.h"
#include "worker/data/tokenizer.h"

#define CASES "tests/cases/tokenizer"
enum { VOCAB_SIZE = 64, CASES_MAX = 256, LINES = 4 };

static void refuses_the_folder(void **state)
{
	struct tokenizer *tok = NULL;
	struct buf expect = {0};
	struct err err = {0};
	char *line[LINES], *rest = NULL, path[512];
	int dir;

	snprintf(path, sizeof(path), CASES "/%s", (const char *)*state);
	dir = open(path, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	assert_int_equal(io_read_file(&expect, dir, "expect.txt", 4096, &err), 0);
	for (int i = 0; i < LINES; i++) {
		line[i] = strtok_r(i == 0 ? expect.data : NULL, "\n", &rest);
		assert_non_null(line[i]);
	}
	assert_int_equal(tokenizer_open(&tok, dir, line[0], VOCAB_SIZE, &err), -(int)err_from_name(line[1]));
	assert_null(tok);
	assert_string_equal(err_name(err.code), line[1]);
	assert_string_equal(err.where, line[2]);
	if (strstr(err.text, line[3]) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", line[3], err.text);
	buf_done(&expect);
	close(dir);
}

int main(void)
{
	static struct CMUnitTest tests[CASES_MAX];
	struct dirent **entry;
	int n = scandir(CASES, &entry, NULL, alphasort), failed;
	size_t count = 0;

	for (int i = 0; i < n && count < CASES_MAX; i++)
		if (entry[i]->d_name[0] != '.')
			tests[count++] = (struct CMUnitTest){.name = entry[i]->d_name,
				.test_func = refuses_the_folder,
				.initial_state = entry[i]->d_name};
	failed = n < 0 || count == 0 ? 1
				     : _cmocka_run_group_tests("tokenizer cases", tests, count, NULL, NULL);
	for (int i = 0; i < n; i++)
		free(entry[i]);
	if (n >= 0)
		free(entry);
	return failed;
}
