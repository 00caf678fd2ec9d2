/*
 * Read every folder of tests/cases/model and tests/cases/data as a worker would, and compare the error with
 * the folder's `expected` (see tests/cases/generate.py). Runs from the root of the tree.
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
#include "worker/data/dataset.h"
#include "worker/model/weights.h"

enum { CASES_MAX = 500, CASE_NAME_MAX = 256 };

struct expected {
	char code[40], where[200], text[200];
	char column[3][40]; /* text, pair, label */
	bool has_pair;
};

struct suite {
	const char *path;
	int (*read)(int dirfd, const struct expected *expected, struct err *err);
	int least; /* so many cases there must be */
};

static int read_model(int dirfd, const struct expected *expected, struct err *err)
{
	struct config config;
	struct weights weights = {0};
	int rc = config_read(&config, dirfd, err);

	if (rc == 0)
		rc = weights_open(&weights, dirfd, &config, err);
	weights_done(&weights);
	return rc;
}

/* The case's file of this stem, whatever its extension; false when there is none. */
static bool find_file(char out[CASE_NAME_MAX], int dirfd, const char *stem)
{
	DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY));
	const struct dirent *entry;
	size_t len = strlen(stem);
	bool found = false;

	while ((entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, stem, len) != 0 || entry->d_name[len] != '.')
			continue;
		snprintf(out, CASE_NAME_MAX, "%s", entry->d_name);
		found = true;
	}
	closedir(dir);
	return found;
}

static int read_data(int dirfd, const struct expected *expected, struct err *err)
{
	struct columns columns = {
		expected->column[0], expected->has_pair ? expected->column[1] : NULL, expected->column[2]};
	struct labels labels = {0};
	struct dataset train = {0}, validation = {0};
	char file[CASE_NAME_MAX];
	int rc;

	assert_true(find_file(file, dirfd, "train"));
	rc = dataset_read(&train, &labels, dirfd, file, &columns, err);
	if (rc == 0 && find_file(file, dirfd, "validation"))
		rc = dataset_read(&validation, &labels, dirfd, file, &columns, err);
	dataset_done(&train);
	dataset_done(&validation);
	labels_done(&labels);
	return rc;
}

static void read_expected(struct expected *out, int dirfd)
{
	struct buf text = {0};
	char *rest, *line;

	*out = (struct expected){.column = {"text", "", "label"}};
	assert_int_equal(io_read_file(&text, dirfd, "expected", 4096, NULL), 0);
	for (line = strtok_r(text.data, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "columns: %39s %39s %39s", out->column[0], out->column[1], out->column[2]) ==
			3)
			out->has_pair = true;
		else if (strncmp(line, "where: ", 7) == 0)
			snprintf(out->where, sizeof(out->where), "%s", line + 7);
		else if (strncmp(line, "text: ", 6) == 0)
			snprintf(out->text, sizeof(out->text), "%s", line + 6);
		else
			assert_int_equal(sscanf(line, "code: %39s", out->code), 1);
	}
	buf_done(&text);
}

static void run_case(const struct suite *suite, const char *path)
{
	int dirfd = open(path, O_RDONLY | O_DIRECTORY);
	struct expected expected;
	struct err err = {0};
	int rc;

	assert_true(dirfd >= 0);
	read_expected(&expected, dirfd);
	rc = suite->read(dirfd, &expected, &err);
	close(dirfd);
	if (rc != 0)
		print_message("# %s: %s: %s: %s\n", path, err_name(err.code), err.where, err.text);
	assert_int_equal(rc, -(int)err.code);
	assert_string_equal(rc == 0 ? "ok" : err_name(err.code), expected.code);
	assert_non_null(strstr(err.where, expected.where));
	assert_non_null(strstr(err.text, expected.text));
}

static const struct suite SUITES[] = {
	{"tests/cases/model", read_model, 60},
	{"tests/cases/data", read_data, 50},
};

struct found {
	const struct suite *suite;
	char path[400];
};

static void test_case(void **state)
{
	const struct found *found = *state;

	run_case(found->suite, found->path);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct found *)a)->path, ((const struct found *)b)->path);
}

/* Append the suite's folders; what lies in the tree must not be fewer than what once was there. */
static int find_cases(struct found *out, int n, const struct suite *suite)
{
	DIR *dir = opendir(suite->path);
	const struct dirent *entry;
	int before = n;

	while (dir != NULL && (entry = readdir(dir)) != NULL && n < CASES_MAX) {
		if (entry->d_name[0] == '.')
			continue;
		out[n].suite = suite;
		snprintf(out[n].path, sizeof(out[n].path), "%s/%s", suite->path, entry->d_name);
		n++;
	}
	if (dir != NULL)
		closedir(dir);
	if (n - before < suite->least) {
		fprintf(stderr, "%s: %d cases, at least %d are expected\n", suite->path, n - before,
			suite->least);
		exit(1);
	}
	return n;
}

int main(void)
{
	static struct found found[CASES_MAX];
	static struct CMUnitTest tests[CASES_MAX];
	int n = 0;

	for (size_t i = 0; i < NELEM(SUITES); i++)
		n = find_cases(found, n, &SUITES[i]);
	qsort(found, (size_t)n, sizeof(found[0]), by_path);
	for (int i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){found[i].path, test_case, NULL, NULL, &found[i]};
	return _cmocka_run_group_tests("cases", tests, (size_t)n, NULL, NULL);
}
