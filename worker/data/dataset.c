#include "worker/data/dataset.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"
#include "common/utf8.h"
#include "worker/data/cursor.h"

enum { LINE_VALUES_MAX = 1 << 16, SHOWN_BYTES = 60, COLUMN_NAME_BYTES = 256, INTEGER_DIGITS_MAX = 18 };

struct dataset_store {
	char *text; /* every text and pair, each with its NUL */
	size_t used, size;
};

enum role { ROLE_TEXT, ROLE_PAIR, ROLE_LABEL, ROLES };

/* What a label was written as; one file has one kind. */
enum label_kind { LABEL_UNKNOWN, LABEL_PLAIN, LABEL_JSON_STRING, LABEL_JSON_INTEGER };

struct reader {
	const char *file;
	const struct format *format;
	const char *column[ROLES]; /* names; NULL: not asked for */
	struct cursor cursor;
	int line; /* where the cursor is */
	struct dataset *out;
	int cap; /* of out->row */
	struct labels *labels;
	bool labels_are_given;
	enum label_kind kind;
};

/* A field as it lies in the file, without its quotes. */
struct field {
	const char *at; /* NULL: none */
	size_t len;
	bool is_doubled; /* every quote inside stands twice */
};

struct format {
	const char *suffix;
	int (*read)(struct reader *reader, struct err *err);
	int (*field)(struct field *out, struct reader *reader, struct err *err);
	char delimiter;
};

static int refuse(struct err *err, const struct reader *reader, int line, const char *fmt, ...) PRINTF(4, 5);
static int refuse(struct err *err, const struct reader *reader, int line, const char *fmt, ...)
{
	char where[sizeof(err->where)], text[sizeof(err->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(where, sizeof(where), line > 0 ? "%s:%d" : "%s", reader->file, line);
	return err_set(err, ERR_INVALID_DATA, where, "%s", text);
}

/* How much of a string to show in a message. */
static int shown(const char *text)
{
	return (int)utf8_cut(text, strlen(text), SHOWN_BYTES);
}

/* --- fields ------------------------------------------------------------------------------------------- */

/* Write the field to out with its doubled quotes single; len + 1 bytes are enough. */
static size_t field_copy(char *out, const struct field *field)
{
	size_t len = 0;

	if (!field->is_doubled) {
		memcpy(out, field->at, field->len);
		len = field->len;
	}
	for (size_t i = 0; field->is_doubled && i < field->len; i++) {
		out[len++] = field->at[i];
		i += field->at[i] == '"';
	}
	out[len] = '\0';
	return len;
}

static bool field_is(const struct field *field, const char *name)
{
	char text[COLUMN_NAME_BYTES];

	if (field->len >= sizeof(text))
		return false;
	field_copy(text, field);
	return strcmp(text, name) == 0;
}

/* Copy into the store. It has as many bytes as the file, and each field cost its length and a separator. */
static const char *store_field(struct dataset_store *store, const struct field *field)
{
	char *out = store->text + store->used;

	if (field->at == NULL)
		return NULL;
	assert(field->len < store->size - store->used);
	store->used += field_copy(out, field) + 1;
	return out;
}

/* --- labels ------------------------------------------------------------------------------------------- */

static int find_label(const struct labels *labels, const char *name)
{
	for (int i = 0; i < labels->n; i++)
		if (strcmp(labels->name[i], name) == 0)
			return i;
	return -1;
}

/* The label's class, a new one when the classes are still being found. */
static int class_of_label(int *out, struct reader *reader, int line, const char *name, struct err *err)
{
	struct labels *labels = reader->labels;

	*out = find_label(labels, name);
	if (*out >= 0)
		return 0;
	if (reader->labels_are_given)
		return refuse(err, reader, line, "label \"%.*s\" does not occur in the training data",
			shown(name), name);
	if (labels->n == DATASET_CLASSES_MAX)
		return refuse(err, reader, line, "more than %d different labels", DATASET_CLASSES_MAX);
	labels->name[labels->n] = strdup(name);
	if (labels->name[labels->n] == NULL)
		return err_nomem(err);
	*out = labels->n++;
	return 0;
}

/* A decimal as we would print it, so that a class's name is the same text before and after. */
static bool is_plain_integer(const char *name)
{
	const char *digits = name + (name[0] == '-');
	size_t n = strspn(digits, "0123456789");

	if (n == 0 || n > INTEGER_DIGITS_MAX || digits[n] != '\0')
		return false;
	return digits[0] != '0' || (n == 1 && name[0] != '-');
}

static bool labels_are_integers(const struct reader *reader)
{
	if (reader->kind != LABEL_PLAIN)
		return reader->kind == LABEL_JSON_INTEGER;
	for (int i = 0; i < reader->labels->n; i++)
		if (!is_plain_integer(reader->labels->name[i]))
			return false;
	return true;
}

struct sortable {
	char *name;
	long long number; /* 0 for strings */
	int found;	  /* place in order of appearance */
};

static int by_label(const void *a, const void *b)
{
	const struct sortable *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* From order of appearance to the order of the classes. */
static void sort_labels(struct reader *reader)
{
	struct labels *labels = reader->labels;
	struct sortable list[DATASET_CLASSES_MAX];
	int class[DATASET_CLASSES_MAX];

	labels->are_integers = labels_are_integers(reader);
	for (int i = 0; i < labels->n; i++)
		list[i] = (struct sortable){
			labels->name[i], labels->are_integers ? strtoll(labels->name[i], NULL, 10) : 0, i};
	qsort(list, (size_t)labels->n, sizeof(list[0]), by_label);
	for (int i = 0; i < labels->n; i++) {
		labels->name[i] = list[i].name;
		class[list[i].found] = i;
	}
	for (int i = 0; i < reader->out->n; i++)
		reader->out->row[i].label = class[reader->out->row[i].label];
}

static int finish_labels(struct reader *reader, struct err *err)
{
	const struct labels *labels = reader->labels;

	if (reader->labels_are_given)
		return 0;
	if (labels->n < 2)
		return refuse(err, reader, 0, "every row has the label \"%.*s\"; two classes are needed",
			shown(labels->name[0]), labels->name[0]);
	sort_labels(reader);
	return 0;
}

/* --- rows --------------------------------------------------------------------------------------------- */

static int grow(struct reader *reader, struct err *err)
{
	int cap = reader->cap == 0 ? 256 : 2 * reader->cap;
	struct row *row = realloc(reader->out->row, (size_t)cap * sizeof(*row));

	if (row == NULL)
		return err_nomem(err);
	reader->out->row = row;
	reader->cap = cap;
	return 0;
}

static int check_field(const struct reader *reader, int line, const char *name, const struct field *field,
	size_t max, struct err *err)
{
	if (field->len == 0)
		return refuse(err, reader, line, "\"%.*s\" is empty", shown(name), name);
	if (field->len > max)
		return refuse(err, reader, line, "\"%.*s\" has more than %zu bytes", shown(name), name, max);
	return 0;
}

static int check_fields(
	const struct reader *reader, int line, const struct field field[ROLES], struct err *err)
{
	int rc = 0;

	for (int role = 0; role < ROLES && rc == 0; role++) {
		size_t max = role == ROLE_LABEL ? DATASET_LABEL_BYTES_MAX : DATASET_FIELD_BYTES_MAX;

		if (reader->column[role] != NULL)
			rc = check_field(reader, line, reader->column[role], &field[role], max, err);
	}
	return rc;
}

static int add_row(struct reader *reader, int line, const struct field field[ROLES], struct err *err)
{
	struct dataset *out = reader->out;
	char label[DATASET_LABEL_BYTES_MAX + 1];
	struct row row = {.line = line};
	int rc = check_fields(reader, line, field, err);

	if (rc != 0)
		return rc;
	if (out->n == DATASET_ROWS_MAX)
		return refuse(err, reader, line, "more than %d rows", DATASET_ROWS_MAX);
	if (out->n == reader->cap && (rc = grow(reader, err)) != 0)
		return rc;
	field_copy(label, &field[ROLE_LABEL]);
	rc = class_of_label(&row.label, reader, line, label, err);
	if (rc != 0)
		return rc;
	row.text = store_field(out->store, &field[ROLE_TEXT]);
	row.pair = store_field(out->store, &field[ROLE_PAIR]);
	out->row[out->n++] = row;
	return 0;
}

/* Take an end of line: LF, CRLF, or the CR that ends the file. */
static bool accept_line_end(struct reader *reader)
{
	struct cursor *cursor = &reader->cursor;

	if (cursor_peek(cursor) == '\r' && (cursor_left(cursor) == 1 || cursor->at[1] == '\n'))
		cursor->at++;
	else if (cursor_peek(cursor) != '\n')
		return false;
	reader->line += cursor_accept(cursor, '\n');
	return true;
}

/* Skip blank lines, which only the end of the file may have. */
static int skip_blank_end(struct reader *reader, struct err *err)
{
	int line = reader->line;
	bool is_blank = false;

	while (accept_line_end(reader))
		is_blank = true;
	if (is_blank && cursor_left(&reader->cursor) > 0)
		return refuse(err, reader, line, "blank line between rows");
	return 0;
}

/* --- .jsonl ------------------------------------------------------------------------------------------- */

static int json_text(struct field *out, const struct reader *reader, const char *name, const json_t *value,
	struct err *err)
{
	if (!json_is_string(value))
		return refuse(err, reader, reader->line, "\"%.*s\" is %s", shown(name), name,
			value == NULL ? "missing" : "not a string");
	*out = (struct field){json_string_value(value), json_string_length(value), false};
	return 0;
}

/* `digits` is where an integer is printed. */
static int json_label(
	struct field *out, char digits[24], struct reader *reader, const json_t *value, struct err *err)
{
	const char *name = reader->column[ROLE_LABEL];
	enum label_kind kind = json_is_integer(value) ? LABEL_JSON_INTEGER : LABEL_JSON_STRING;

	if (value == NULL || !(json_is_integer(value) || json_is_string(value)))
		return refuse(err, reader, reader->line, "\"%.*s\" is %s", shown(name), name,
			value == NULL ? "missing" : "neither a string nor an integer");
	if (reader->kind != LABEL_UNKNOWN && reader->kind != kind)
		return refuse(err, reader, reader->line, "\"%.*s\" is %s, unlike in the rows before",
			shown(name), name, kind == LABEL_JSON_INTEGER ? "an integer" : "a string");
	reader->kind = kind;
	if (kind == LABEL_JSON_STRING)
		return json_text(out, reader, name, value, err);
	snprintf(digits, 24, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	*out = (struct field){digits, strlen(digits), false};
	return 0;
}

static int add_object(struct reader *reader, const json_t *object, struct err *err)
{
	struct field field[ROLES] = {0};
	char digits[24];
	int rc = 0;

	if (!json_is_object(object))
		return refuse(err, reader, reader->line, "not a JSON object");
	for (int role = ROLE_TEXT; role <= ROLE_PAIR && rc == 0; role++) {
		const char *name = reader->column[role];

		if (name != NULL)
			rc = json_text(&field[role], reader, name, json_object_get(object, name), err);
	}
	if (rc == 0)
		rc = json_label(&field[ROLE_LABEL], digits, reader,
			json_object_get(object, reader->column[ROLE_LABEL]), err);
	return rc == 0 ? add_row(reader, reader->line, field, err) : rc;
}

static int read_json_line(struct reader *reader, const char *line, size_t len, struct err *err)
{
	struct err fault = {0};
	json_t *object = NULL;
	int rc;

	if (len > DATASET_LINE_BYTES_MAX || !json_is_bounded(line, len, LINE_VALUES_MAX))
		return refuse(err, reader, reader->line, "the line is too long");
	rc = json_parse(&object, line, len, "", &fault);
	if (rc == -ERR_INVALID_JSON)
		rc = refuse(err, reader, reader->line, "not JSON: %s", fault.text);
	else
		rc = add_object(reader, object, err);
	json_decref(object);
	return rc;
}

static int read_jsonl(struct reader *reader, struct err *err)
{
	int rc = 0;

	while (rc == 0 && cursor_left(&reader->cursor) > 0) {
		size_t len;
		const char *line;

		rc = skip_blank_end(reader, err);
		line = cursor_line(&len, &reader->cursor);
		if (rc == 0 && line != NULL)
			rc = read_json_line(reader, line, len, err);
		reader->line++;
	}
	return rc;
}

/* --- .csv and .tsv ------------------------------------------------------------------------------------ */

static bool is_csv_field_end(const struct cursor *cursor)
{
	int next = cursor_peek(cursor);

	if (next == '\r')
		return cursor_left(cursor) == 1 || cursor->at[1] == '\n';
	return next < 0 || next == ',' || next == '\n';
}

static int quoted_field(struct field *out, struct reader *reader, struct err *err)
{
	struct cursor *cursor = &reader->cursor;
	int line = reader->line;
	size_t len;

	cursor_accept(cursor, '"');
	out->at = (const char *)cursor->at;
	for (;;) {
		const char *part = cursor_until(&len, cursor, '"');

		for (size_t i = 0; i < len; i++)
			reader->line += part[i] == '\n';
		out->len = (size_t)((const char *)cursor->at - out->at);
		if (!cursor_accept(cursor, '"'))
			return refuse(err, reader, line, "a quoted field does not end");
		if (!cursor_accept(cursor, '"'))
			break;
		out->is_doubled = true;
	}
	if (!is_csv_field_end(cursor))
		return refuse(err, reader, reader->line, "text after a closing quote");
	return 0;
}

static int csv_field(struct field *out, struct reader *reader, struct err *err)
{
	struct cursor *cursor = &reader->cursor;
	int next = cursor_peek(cursor);

	*out = (struct field){.at = (const char *)cursor->at};
	if (next == '"')
		return quoted_field(out, reader, err);
	while (next >= 0 && next != ',' && next != '\r' && next != '\n' && next != '"') {
		cursor->at++;
		next = cursor_peek(cursor);
	}
	if (!is_csv_field_end(cursor))
		return refuse(err, reader, reader->line, "a %s inside a field that is not quoted",
			next == '"' ? "quote" : "carriage return");
	out->len = (size_t)((const char *)cursor->at - out->at);
	return 0;
}

static int tsv_field(struct field *out, struct reader *reader, struct err *err)
{
	struct cursor *cursor = &reader->cursor;
	int next = cursor_peek(cursor);

	(void)err;
	*out = (struct field){.at = (const char *)cursor->at};
	while (next >= 0 && next != '\t' && next != '\n') {
		cursor->at++;
		next = cursor_peek(cursor);
	}
	out->len = (size_t)((const char *)cursor->at - out->at);
	if (next != '\t' && out->len > 0 && out->at[out->len - 1] == '\r')
		out->len--;
	return 0;
}

/* column[role] becomes the column's number, or -1 where none was asked for; *columns how many there are. */
static int read_header(int column[ROLES], int *columns, struct reader *reader, struct err *err)
{
	struct field field;

	memset(column, -1, ROLES * sizeof(column[0]));
	*columns = 0;
	do {
		int rc = reader->format->field(&field, reader, err);

		if (rc != 0)
			return rc;
		for (int role = 0; role < ROLES; role++) {
			if (reader->column[role] == NULL || !field_is(&field, reader->column[role]))
				continue;
			if (column[role] >= 0)
				return refuse(err, reader, 1, "two columns are called \"%.*s\"",
					shown(reader->column[role]), reader->column[role]);
			column[role] = *columns;
		}
		if (++*columns > DATASET_COLUMNS_MAX)
			return refuse(err, reader, 1, "more than %d columns", DATASET_COLUMNS_MAX);
	} while (cursor_accept(&reader->cursor, reader->format->delimiter));
	for (int role = 0; role < ROLES; role++)
		if (reader->column[role] != NULL && column[role] < 0)
			return refuse(err, reader, 1, "no column is called \"%.*s\"",
				shown(reader->column[role]), reader->column[role]);
	accept_line_end(reader);
	return 0;
}

static int read_row(struct reader *reader, const int column[ROLES], int columns, struct err *err)
{
	struct field field, kept[ROLES] = {0};
	int line = reader->line, n = 0, rc;

	do {
		rc = reader->format->field(&field, reader, err);
		if (rc != 0)
			return rc;
		for (int role = 0; role < ROLES; role++)
			if (column[role] == n)
				kept[role] = field;
		n++;
	} while (n <= columns && cursor_accept(&reader->cursor, reader->format->delimiter));
	if (n < columns)
		return refuse(err, reader, line, "the row has %d of the header's %d columns", n, columns);
	if (n > columns)
		return refuse(err, reader, line, "the row has more than the header's %d columns", columns);
	accept_line_end(reader);
	return add_row(reader, line, kept, err);
}

static int read_table(struct reader *reader, struct err *err)
{
	int column[ROLES], columns;
	int rc = read_header(column, &columns, reader, err);

	reader->kind = LABEL_PLAIN;
	while (rc == 0 && cursor_left(&reader->cursor) > 0) {
		rc = skip_blank_end(reader, err);
		if (rc == 0 && cursor_left(&reader->cursor) > 0)
			rc = read_row(reader, column, columns, err);
	}
	return rc;
}

/* --- files -------------------------------------------------------------------------------------------- */

static const struct format FORMATS[] = {
	{".jsonl", read_jsonl, NULL, 0},
	{".csv", read_table, csv_field, ','},
	{".tsv", read_table, tsv_field, '\t'},
};

static const struct format *find_format(const char *file)
{
	const char *dot = strrchr(file, '.');

	for (size_t i = 0; dot != NULL && i < NELEM(FORMATS); i++)
		if (strcmp(dot, FORMATS[i].suffix) == 0)
			return &FORMATS[i];
	return NULL;
}

static int line_of(const struct io_map *map, size_t offset)
{
	int line = 1;

	for (size_t i = 0; i < offset; i++)
		line += map->data[i] == '\n';
	return line;
}

/* What no format allows: NUL and bytes that are not UTF-8. */
static int check_bytes(const struct reader *reader, const struct io_map *map, struct err *err)
{
	const uint8_t *nul = map->len == 0 ? NULL : memchr(map->data, 0, map->len);
	size_t valid;

	if (map->len > DATASET_FILE_BYTES_MAX)
		return refuse(err, reader, 0, "more than %d bytes", DATASET_FILE_BYTES_MAX);
	if (nul != NULL)
		return refuse(err, reader, line_of(map, (size_t)(nul - map->data)), "a NUL character");
	valid = utf8_valid(map->data, map->len);
	if (valid < map->len)
		return refuse(err, reader, line_of(map, valid), "not UTF-8 (byte %zu of the file)", valid);
	return 0;
}

static int read_file(struct reader *reader, const struct io_map *map, struct err *err)
{
	static const char BOM[] = "\xef\xbb\xbf";
	struct dataset_store *store = reader->out->store;
	int rc = check_bytes(reader, map, err);

	if (rc != 0)
		return rc;
	cursor_init(&reader->cursor, map->data, map->len);
	if (map->len >= 3 && memcmp(map->data, BOM, 3) == 0)
		cursor_bytes(&reader->cursor, 3);
	if (cursor_left(&reader->cursor) == 0)
		return refuse(err, reader, 0, "the file is empty");
	store->size = map->len + 1;
	store->text = malloc(store->size);
	if (store->text == NULL)
		return err_nomem(err);
	rc = reader->format->read(reader, err);
	if (rc == 0 && reader->out->n == 0)
		rc = refuse(err, reader, 0, "the file has no rows");
	return rc == 0 ? finish_labels(reader, err) : rc;
}

static int check_columns(const struct columns *columns, struct err *err)
{
	const char *name[] = {columns->text, columns->label, columns->pair};

	for (int i = 0; i < 3; i++)
		for (int k = 0; k < i; k++)
			if (name[i] != NULL && strcmp(name[i], name[k]) == 0)
				return err_set(err, ERR_INVALID_VALUE, NULL,
					"the columns of text, pair and label must differ");
	return 0;
}

int dataset_read(struct dataset *out, struct labels *labels, int dirfd, const char *name,
	const struct columns *columns, struct err *err)
{
	struct reader reader = {.file = name,
		.format = find_format(name),
		.column = {columns->text, columns->pair, columns->label},
		.line = 1,
		.out = out,
		.labels = labels,
		.labels_are_given = labels->n > 0};
	struct io_map map = {0};
	int rc = check_columns(columns, err);

	*out = (struct dataset){0};
	if (rc == 0 && reader.format == NULL)
		rc = err_set(err, ERR_UNSUPPORTED_FORMAT, name, "neither .jsonl nor .csv nor .tsv");
	if (rc == 0)
		rc = io_map_open(&map, dirfd, name, err);
	if (rc == 0 && (out->store = calloc(1, sizeof(*out->store))) == NULL)
		rc = err_nomem(err);
	if (rc == 0)
		rc = read_file(&reader, &map, err);
	io_map_done(&map);
	if (rc != 0)
		dataset_done(out);
	if (rc != 0 && !reader.labels_are_given)
		labels_done(labels);
	return rc;
}

void dataset_done(struct dataset *dataset)
{
	if (dataset->store != NULL)
		free(dataset->store->text);
	free(dataset->store);
	free(dataset->row);
	*dataset = (struct dataset){0};
}

void labels_done(struct labels *labels)
{
	for (int i = 0; i < labels->n; i++)
		free(labels->name[i]);
	*labels = (struct labels){0};
}
