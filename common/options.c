#include "common/options.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"

/* Where a value came from, for messages; and which rows are set already, since the first source wins. */
struct reading {
	char *out;
	const struct option_row *row;
	int n_rows;
	bool is_set[OPTIONS_MAX];
};

static int row_by_name(const struct reading *reading, const char *name, size_t len)
{
	for (int i = 0; i < reading->n_rows; i++)
		if (strlen(reading->row[i].name) == len && memcmp(reading->row[i].name, name, len) == 0)
			return i;
	return -1;
}

static int set_switch(bool *field, const char *value, const char *where, struct err *err)
{
	if (value == NULL || strcmp(value, "1") == 0 || strcmp(value, "true") == 0)
		*field = true;
	else if (strcmp(value, "0") == 0 || strcmp(value, "false") == 0)
		*field = false;
	else
		return err_set(err, ERR_USAGE, where, "must be true or false");
	return 0;
}

static int set_integer(
	int64_t *field, const struct option_row *row, const char *value, const char *where, struct err *err)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(value, &end, 10);
	if (end == value || *end != '\0' || errno != 0 || isspace((unsigned char)value[0]))
		return err_set(err, ERR_USAGE, where, "must be a whole number");
	if (number < row->min || number > row->max)
		return err_set(err, ERR_USAGE, where, "must be %lld to %lld", (long long)row->min,
			(long long)row->max);
	*field = number;
	return 0;
}

static int set_text(char **field, const char *value, struct err *err)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return err_nomem(err);
	free(*field);
	*field = copy;
	return 0;
}

static int set_row(struct reading *reading, int i, const char *value, const char *where, struct err *err)
{
	const struct option_row *row = &reading->row[i];
	void *field = reading->out + row->offset;

	reading->is_set[i] = true;
	if (row->kind == OPTION_SWITCH)
		return set_switch(field, value, where, err);
	if (row->kind == OPTION_INTEGER)
		return set_integer(field, row, value, where, err);
	return set_text(field, value, err);
}

/* argv[*i] is "--name", "--name=value" or "--name" with its value behind it; *i moves past what was used. */
static int read_flag(struct reading *reading, int *i, int argc, char **argv, struct err *err)
{
	const char *flag = argv[*i], *equals = strchr(flag, '=');
	size_t len = equals != NULL ? (size_t)(equals - flag) : strlen(flag);
	int row = row_by_name(reading, flag + 2, len - 2);
	const char *value = equals != NULL ? equals + 1 : NULL;
	char where[128];

	snprintf(where, sizeof(where), "%.*s", (int)MIN(len, sizeof(where) - 1), flag);
	if (row < 0)
		return err_set(err, ERR_USAGE, where, "unknown option");
	if (value == NULL && reading->row[row].kind != OPTION_SWITCH) {
		if (*i + 1 >= argc)
			return err_set(err, ERR_USAGE, where, "needs a value");
		value = argv[++*i];
	}
	return set_row(reading, row, value, where, err);
}

static int read_arguments(struct reading *reading, int *n_operands, int argc, char **argv, struct err *err)
{
	int operands = 0, rc;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--", 2) == 0) {
			rc = read_flag(reading, &i, argc, argv, err);
			if (rc != 0)
				return rc;
			continue;
		}
		if (n_operands == NULL)
			return err_set(err, ERR_USAGE, argv[i], "unexpected argument");
		argv[++operands] = argv[i];
	}
	if (n_operands != NULL)
		*n_operands = operands;
	return 0;
}

static int read_environment(struct reading *reading, struct err *err)
{
	for (int i = 0; i < reading->n_rows; i++) {
		char name[128];
		const char *value;
		int rc;

		snprintf(name, sizeof(name), "OBLIVIATE_%s", reading->row[i].name);
		for (char *c = name; *c != '\0'; c++)
			*c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
		value = getenv(name);
		if (value == NULL || reading->is_set[i] || reading->row[i].only_flag)
			continue;
		rc = set_row(reading, i, value, name, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int set_from_json(
	struct reading *reading, int i, const json_t *value, const char *where, struct err *err)
{
	char number[32];

	if (json_is_string(value) && reading->row[i].kind == OPTION_TEXT)
		return set_row(reading, i, json_string_value(value), where, err);
	if (json_is_boolean(value) && reading->row[i].kind == OPTION_SWITCH)
		return set_row(reading, i, json_is_true(value) ? "true" : "false", where, err);
	if (json_is_integer(value) && reading->row[i].kind == OPTION_INTEGER) {
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return set_row(reading, i, number, where, err);
	}
	return err_set(err, ERR_USAGE, where, "wrong type");
}

static int read_object(struct reading *reading, const char *path, json_t *object, struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return err_set(err, ERR_USAGE, path, "must be a JSON object");
	json_object_foreach(object, key, value)
	{
		int i = row_by_name(reading, key, strlen(key)), rc = 0;

		if (i < 0 || reading->row[i].only_flag)
			rc = err_set(err, ERR_USAGE, key, "unknown option");
		else if (!reading->is_set[i])
			rc = set_from_json(reading, i, value, key, err);
		if (rc != 0)
			return err_within(err, "%s", path);
	}
	return 0;
}

static int read_config(struct reading *reading, struct err *err)
{
	int i = row_by_name(reading, "config", strlen("config")), rc;
	const char *path = i < 0 ? NULL : *(char **)(void *)(reading->out + reading->row[i].offset);
	struct buf text = {0};
	json_t *object = NULL;

	if (path == NULL)
		return 0;
	rc = io_read_file(&text, AT_FDCWD, path, OPTIONS_FILE_BYTES_MAX, err);
	if (rc == 0)
		rc = json_parse(&object, text.data != NULL ? text.data : "", text.len, path, err);
	if (rc == 0)
		rc = read_object(reading, path, object, err);
	if (rc != 0) {
		err->code = ERR_USAGE;
		rc = -ERR_USAGE;
	}
	json_decref(object);
	buf_done(&text);
	return rc;
}

int options_read(void *out, int *n_operands, const struct option_row *row, int n_rows, int argc, char **argv,
	struct err *err)
{
	struct reading reading = {.out = out, .row = row, .n_rows = MIN(n_rows, OPTIONS_MAX)};
	int rc;

	rc = read_arguments(&reading, n_operands, argc, argv, err);
	if (rc == 0)
		rc = read_environment(&reading, err);
	if (rc == 0)
		rc = read_config(&reading, err);
	return rc;
}

void options_done(void *out, const struct option_row *row, int n_rows)
{
	for (int i = 0; i < n_rows; i++) {
		char **field = (char **)(void *)((char *)out + row[i].offset);

		if (row[i].kind != OPTION_TEXT)
			continue;
		free(*field);
		*field = NULL;
	}
}

void options_help(FILE *file, const struct option_row *row, int n_rows)
{
	for (int i = 0; i < n_rows; i++) {
		char flag[64];

		snprintf(flag, sizeof(flag), "--%s%s%s", row[i].name, row[i].argument != NULL ? " " : "",
			row[i].argument != NULL ? row[i].argument : "");
		fprintf(file, "  %-26s %s\n", flag, row[i].help);
	}
}
