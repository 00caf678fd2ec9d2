#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/buf.h"
#include "tests/unit/scratch.h"
#include "worker/data/dataset.h"

struct fixture {
	struct scratch scratch;
	struct dataset data;
	struct labels labels;
	struct err err;
};

static const struct columns TEXT_LABEL = {"text", NULL, "label"};
static const struct columns PAIR_LABEL = {"premise", "hypothesis", "label"};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_init(&f->scratch);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dataset_done(&f->data);
	labels_done(&f->labels);
	scratch_done(&f->scratch);
	free(f);
	return 0;
}

/* Read `text` as a file of this name, after whatever was read before. */
static int read_bytes(
	struct fixture *f, const char *name, const struct columns *columns, const char *text, size_t len)
{
	scratch_write(&f->scratch, name, text, len);
	dataset_done(&f->data);
	return dataset_read(&f->data, &f->labels, f->scratch.fd, name, columns, &f->err);
}

static int read_text(struct fixture *f, const char *name, const char *text)
{
	return read_bytes(f, name, &TEXT_LABEL, text, strlen(text));
}

static void assert_refused(
	struct fixture *f, const char *name, const char *text, const char *where, const char *why)
{
	assert_int_equal(read_text(f, name, text), -ERR_INVALID_DATA);
	assert_string_equal(f->err.where, where);
	assert_non_null(strstr(f->err.text, why));
	assert_int_equal(f->data.n, 0);
	assert_int_equal(f->labels.n, 0);
}

static void assert_row(const struct fixture *f, int row, const char *text, const char *label, int line)
{
	assert_true(row < f->data.n);
	assert_string_equal(f->data.row[row].text, text);
	assert_string_equal(f->labels.name[f->data.row[row].label], label);
	assert_int_equal(f->data.row[row].line, line);
}

static void test_csv_reads_quotes_newlines_and_doubled_quotes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "a.csv",
				 "id,text,label\r\n"
				 "1,\"one, \"\"two\"\"\r\nthree\",pos\r\n"
				 "2,plain,neg\n"
				 "3,\"\"\"\",pos"),
		0);
	assert_int_equal(f->data.n, 3);
	assert_row(f, 0, "one, \"two\"\r\nthree", "pos", 2);
	assert_row(f, 1, "plain", "neg", 4);
	assert_row(f, 2, "\"", "pos", 5);
	assert_int_equal(f->data.row[1].label, 0);
	assert_false(f->labels.are_integers);
	assert_null(f->data.row[0].pair);
}

static void test_csv_header_may_be_quoted_and_marked(void **state)
{
	struct fixture *f = *state;
	struct columns columns = {"the \"text\"", NULL, "label"};
	const char *text = "\xef\xbb\xbflabel,\"the \"\"text\"\"\"\na,x\nb,y\n";

	assert_int_equal(read_bytes(f, "a.csv", &columns, text, strlen(text)), 0);
	assert_row(f, 1, "y", "b", 3);
}

static void test_tsv_takes_quotes_as_they_are(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "a.tsv", "text\tlabel\r\n\"a, b\t1\r\nc \"\" d\t0\r\n"), 0);
	assert_row(f, 0, "\"a, b", "1", 2);
	assert_row(f, 1, "c \"\" d", "0", 3);
}

static void test_jsonl_reads_escapes_and_ignores_other_members(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		read_text(f, "a.jsonl",
			"{\"text\": \"gr\\u00fc\\u00df \\ud83d\\ude00\\n\", \"label\": 7, \"x\": [1]}\n"
			"{\"label\": -3, \"text\": \"b\"}\r\n"
			"{\"label\": 10, \"text\": \"c\"}"),
		0);
	assert_row(f, 0, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\n", "7", 1);
	assert_row(f, 1, "b", "-3", 2);
	assert_row(f, 2, "c", "10", 3);
}

static void test_pairs_are_read_from_every_format(void **state)
{
	static const char *const FILES[][2] = {
		{"a.csv", "hypothesis,label,premise\nh1,a,p1\nh2,b,p2\n"},
		{"a.tsv", "hypothesis\tlabel\tpremise\nh1\ta\tp1\nh2\tb\tp2\n"},
		{"a.jsonl", "{\"hypothesis\":\"h1\",\"label\":\"a\",\"premise\":\"p1\"}\n"
			    "{\"hypothesis\":\"h2\",\"label\":\"b\",\"premise\":\"p2\"}\n"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < NELEM(FILES); i++) {
		assert_int_equal(
			read_bytes(f, FILES[i][0], &PAIR_LABEL, FILES[i][1], strlen(FILES[i][1])), 0);
		assert_row(f, 1, "p2", "b", i == 2 ? 2 : 3);
		assert_string_equal(f->data.row[0].pair, "h1");
		assert_string_equal(f->data.row[1].pair, "h2");
		labels_done(&f->labels);
	}
}

static void test_integer_labels_sort_by_number(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "a.csv", "text,label\na,10\nb,9\nc,-1\n"), 0);
	assert_true(f->labels.are_integers);
	assert_string_equal(f->labels.name[0], "-1");
	assert_string_equal(f->labels.name[1], "9");
	assert_string_equal(f->labels.name[2], "10");
	assert_int_equal(f->data.row[0].label, 2);
}

static void test_other_labels_sort_by_bytes(void **state)
{
	static const char *const SPELLINGS[][2] = {{"10", "9x"}, {"10", "9.0"}, {"01", "9"}, {"-0", "9"},
		{"+1", "9"}, {"1000000000000000000", "9"}, {"Z", "a"}};
	struct fixture *f = *state;

	for (size_t i = 0; i < NELEM(SPELLINGS); i++) {
		char text[100];

		snprintf(text, sizeof(text), "text,label\na,%s\nb,%s\n", SPELLINGS[i][1], SPELLINGS[i][0]);
		assert_int_equal(read_text(f, "a.csv", text), 0);
		assert_false(f->labels.are_integers);
		assert_string_equal(f->labels.name[0], SPELLINGS[i][0]);
		assert_int_equal(f->data.row[0].label, 1);
		labels_done(&f->labels);
	}
}

static void test_json_strings_of_digits_are_strings(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "a.jsonl",
				 "{\"text\":\"a\",\"label\":\"9\"}\n{\"text\":\"b\",\"label\":\"10\"}\n"),
		0);
	assert_false(f->labels.are_integers);
	assert_string_equal(f->labels.name[0], "10");
}

static void test_later_files_use_the_training_labels(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "train.csv", "text,label\na,0\nb,1\nc,2\n"), 0);
	assert_int_equal(read_text(f, "test.jsonl", "{\"text\":\"x\",\"label\":2}\n"), 0);
	assert_int_equal(f->data.row[0].label, 2);
	assert_int_equal(f->labels.n, 3);
}

static void test_a_label_unknown_to_training_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "train.csv", "text,label\na,0\nb,1\n"), 0);
	assert_int_equal(read_text(f, "test.csv", "text,label\na,1\nb,2\n"), -ERR_INVALID_DATA);
	assert_string_equal(f->err.where, "test.csv:3");
	assert_int_equal(f->labels.n, 2);
}

static void test_blank_lines_may_end_a_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "a.csv", "text,label\na,0\nb,1\n\n\r\n\n"), 0);
	assert_int_equal(f->data.n, 2);
	assert_int_equal(read_text(f, "a.jsonl", "{\"text\":\"x\",\"label\":1}\n\n\n"), 0);
	assert_int_equal(f->data.n, 1);
	labels_done(&f->labels);
	assert_refused(f, "a.csv", "text,label\na,0\n\nb,1\n", "a.csv:3", "blank line");
	assert_refused(f, "a.tsv", "text\tlabel\na\t0\n\nb\t1\n", "a.tsv:3", "blank line");
	assert_refused(f, "a.jsonl", "{\"text\":\"x\",\"label\":1}\n\n{}\n", "a.jsonl:2", "blank line");
}

static void test_broken_csv_is_refused_with_its_line(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, "a.csv", "text,label\na,0,1\n", "a.csv:2", "more than the header's 2");
	assert_refused(f, "a.csv", "text,label\na,0\nb\n", "a.csv:3", "1 of the header's 2");
	assert_refused(f, "a.csv", "text,label\n\"a\nb,0\nc,1\n", "a.csv:2", "does not end");
	assert_refused(f, "a.csv", "text,label\n\"a\nb\" ,0\n", "a.csv:3", "after a closing quote");
	assert_refused(f, "a.csv", "text,label\na\"b,0\n", "a.csv:2", "quote inside");
	assert_refused(f, "a.csv", "text,label\na\rb,0\n", "a.csv:2", "carriage return");
	assert_refused(f, "a.csv", "text,label\n\ra,0\n", "a.csv:2", "");
	assert_refused(f, "a.csv", "text,label\n,0\n", "a.csv:2", "\"text\" is empty");
	assert_refused(f, "a.csv", "text,label\na,\n", "a.csv:2", "\"label\" is empty");
	assert_refused(f, "a.csv", "text,label,text\na,0,b\n", "a.csv:1", "two columns");
	assert_refused(f, "a.csv", "text,class\na,0\n", "a.csv:1", "no column is called \"label\"");
	assert_refused(f, "a.csv", "text,label\n", "a.csv", "no rows");
	assert_refused(f, "a.csv", "", "a.csv", "empty");
	assert_refused(f, "a.csv", "\xef\xbb\xbf", "a.csv", "empty");
	assert_refused(f, "a.csv", "text,label\na,0\nb,0\n", "a.csv", "two classes");
}

static void test_broken_jsonl_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *line, *why;
	} LINES[] = {
		{"{\"text\":\"b\"", "not JSON"},
		{"{\"text\":\"b\",\"label\":1} x", "not JSON"},
		{"{\"text\":\"b\",\"text\":\"c\",\"label\":1}", "not JSON"},
		{"{\"text\":\"\\u0000\",\"label\":1}", "not JSON"},
		{"{\"text\":\"\\ud800\",\"label\":1}", "not JSON"},
		{"{\"text\":\"b\",\"label\":99999999999999999999}", "not JSON"},
		{"[\"b\",1]", "not a JSON object"},
		{"{\"label\":1}", "\"text\" is missing"},
		{"{\"text\":1,\"label\":1}", "\"text\" is not a string"},
		{"{\"text\":\"\",\"label\":1}", "\"text\" is empty"},
		{"{\"text\":\"b\"}", "\"label\" is missing"},
		{"{\"text\":\"b\",\"label\":1.0}", "neither a string nor an integer"},
		{"{\"text\":\"b\",\"label\":null}", "neither a string nor an integer"},
		{"{\"text\":\"b\",\"label\":true}", "neither a string nor an integer"},
		{"{\"text\":\"b\",\"label\":\"1\"}", "unlike in the rows before"},
	};

	for (size_t i = 0; i < NELEM(LINES); i++) {
		char text[200];

		snprintf(text, sizeof(text), "{\"text\":\"a\",\"label\":0}\n%s\n", LINES[i].line);
		assert_refused(*state, "a.jsonl", text, "a.jsonl:2", LINES[i].why);
	}
}

static void test_bytes_that_are_no_text_are_refused_in_every_format(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, "a.csv", "text,label\na,0\n\xff,1\n", "a.csv:3", "not UTF-8");
	assert_refused(f, "a.tsv", "text\tlabel\na\t0\n\xc3\t1\n", "a.tsv:3", "not UTF-8");
	assert_refused(f, "a.jsonl", "{\"text\":\"\xed\xa0\x80\",\"label\":0}\n", "a.jsonl:1", "not UTF-8");
	assert_int_equal(read_bytes(f, "a.csv", &TEXT_LABEL, "text,label\na\0b,0\n", 17), -ERR_INVALID_DATA);
	assert_string_equal(f->err.where, "a.csv:2");
	assert_non_null(strstr(f->err.text, "NUL"));
}

static void write_classes(struct buf *out, int n)
{
	buf_str(out, "text,label\n");
	for (int i = 0; i < n; i++)
		buf_printf(out, "a,%d\n", i);
}

static void test_fifty_classes_are_the_most(void **state)
{
	struct fixture *f = *state;
	struct buf text = {0};

	write_classes(&text, DATASET_CLASSES_MAX);
	assert_int_equal(read_text(f, "a.csv", text.data), 0);
	assert_int_equal(f->labels.n, DATASET_CLASSES_MAX);
	labels_done(&f->labels);
	buf_reset(&text);
	write_classes(&text, DATASET_CLASSES_MAX + 1);
	assert_refused(f, "a.csv", text.data, "a.csv:52", "more than 50");
	buf_done(&text);
}

/* "text,label", a row with a field of n bytes, and a second class. */
static void write_long_field(struct buf *out, size_t n)
{
	buf_str(out, "text,label\n");
	memset(buf_reserve(out, n), 'x', n);
	out->len += n;
	buf_str(out, ",0\nb,1\n");
}

static void test_a_field_has_a_mebibyte_at_most(void **state)
{
	struct fixture *f = *state;
	struct buf text = {0};

	write_long_field(&text, DATASET_FIELD_BYTES_MAX);
	assert_int_equal(read_text(f, "a.csv", text.data), 0);
	assert_int_equal(strlen(f->data.row[0].text), DATASET_FIELD_BYTES_MAX);
	labels_done(&f->labels);
	buf_reset(&text);
	write_long_field(&text, DATASET_FIELD_BYTES_MAX + 1);
	assert_refused(f, "a.csv", text.data, "a.csv:2", "more than 1048576 bytes");
	buf_done(&text);
}

static void test_a_label_has_256_bytes_at_most(void **state)
{
	char text[1000];

	snprintf(text, sizeof(text), "text,label\na,%0257d\n", 1);
	assert_refused(*state, "a.csv", text, "a.csv:2", "more than 256 bytes");
}

static void test_a_line_of_json_values_without_end_is_refused_unparsed(void **state)
{
	struct buf text = {0};

	buf_str(&text, "{\"text\":\"a\",\"label\":1,\"x\":[");
	for (int i = 0; i < 70000; i++)
		buf_str(&text, "[],");
	buf_str(&text, "[]]}\n");
	assert_refused(*state, "a.jsonl", text.data, "a.jsonl:1", "too long");
	buf_done(&text);
}

static void test_columns_may_not_coincide(void **state)
{
	struct fixture *f = *state;
	struct columns columns = {"text", "text", "label"};

	assert_int_equal(read_bytes(f, "a.csv", &columns, "text,label\n", 11), -ERR_INVALID_VALUE);
}

static void test_the_extension_names_the_format(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "a.parquet", "PAR1"), -ERR_UNSUPPORTED_FORMAT);
	assert_int_equal(read_text(f, "csv", "text,label\n"), -ERR_UNSUPPORTED_FORMAT);
	assert_int_equal(dataset_read(&f->data, &f->labels, f->scratch.fd, "none.csv", &TEXT_LABEL, &f->err),
		-ERR_NOT_FOUND);
}

/* --- selections --------------------------------------------------------------------------------------- */

/* Rows of the classes 0, 1, ... in turn, until each has its count. */
static void make_rows(struct dataset *data, const int *count, int classes)
{
	int left[DATASET_CLASSES_MAX];

	*data = (struct dataset){0};
	memcpy(left, count, (size_t)classes * sizeof(left[0]));
	for (int i = 0; i < classes; i++)
		data->n += count[i];
	data->row = calloc((size_t)data->n, sizeof(data->row[0]));
	for (int at = 0, label = 0; at < data->n; label = (label + 1) % classes)
		if (left[label]-- > 0)
			data->row[at++].label = label;
}

static void count_labels(int *count, const struct selection *selection, const struct dataset *data)
{
	memset(count, 0, DATASET_CLASSES_MAX * sizeof(count[0]));
	for (int i = 0; i < selection->n; i++)
		count[data->row[selection->row[i]].label]++;
}

static void assert_ascending(const struct selection *selection)
{
	for (int i = 1; i < selection->n; i++)
		assert_true(selection->row[i - 1] < selection->row[i]);
}

static void split(const int *rows, int classes, double share, uint64_t seed, int *want_taken)
{
	struct dataset data;
	struct selection all, kept, taken;
	int count[DATASET_CLASSES_MAX];

	make_rows(&data, rows, classes);
	assert_int_equal(selection_all(&all, &data, NULL), 0);
	assert_int_equal(selection_split(&kept, &taken, &data, &all, share, seed, NULL), 0);
	assert_ascending(&kept);
	assert_ascending(&taken);
	assert_int_equal(kept.n + taken.n, data.n);
	count_labels(count, &taken, &data);
	for (int i = 0; i < classes; i++)
		assert_int_equal(count[i], want_taken[i]);
	for (int i = 0, k = 0, t = 0; i < data.n; i++) /* each row is in one of the two */
		assert_true(
			(k < kept.n && kept.row[k] == i && ++k) || (t < taken.n && taken.row[t] == i && ++t));
	selection_done(&all);
	selection_done(&kept);
	selection_done(&taken);
	dataset_done(&data);
}

static void test_split_keeps_the_shares_of_the_classes(void **state)
{
	split((int[]){60, 40}, 2, 0.1, 0, (int[]){6, 4});
	split((int[]){62, 40}, 2, 0.1, 1, (int[]){6, 4});
	split((int[]){25, 25, 50}, 3, 0.1, 2, (int[]){3, 2, 5});
	split((int[]){5, 5}, 2, 0.5, 3, (int[]){3, 2});
	split((int[]){44, 16, 40}, 3, 0.1, 4, (int[]){4, 2, 4});
}

static void test_split_takes_from_every_class_that_has_two(void **state)
{
	split((int[]){96, 2, 2}, 3, 0.1, 0, (int[]){8, 1, 1});
	split((int[]){99, 1}, 2, 0.1, 0, (int[]){10, 0});
	split((int[]){2, 2, 2, 2}, 4, 0.1, 0, (int[]){1, 1, 1, 1});
}

static void test_split_leaves_a_row_of_every_class(void **state)
{
	split((int[]){10, 2, 1}, 3, 1.0, 0, (int[]){9, 1, 0});
	split((int[]){10, 10}, 2, 0.0, 0, (int[]){0, 0});
}

static void test_split_depends_on_the_seed_alone(void **state)
{
	struct dataset data;
	struct selection all, kept, taken[3];
	static const uint64_t SEEDS[] = {7, 7, 8};

	make_rows(&data, (int[]){100, 100}, 2);
	assert_int_equal(selection_all(&all, &data, NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(selection_split(&kept, &taken[i], &data, &all, 0.2, SEEDS[i], NULL), 0);
		assert_int_equal(taken[i].n, 40);
		selection_done(&kept);
	}
	assert_memory_equal(taken[0].row, taken[1].row, 40 * sizeof(int));
	assert_memory_not_equal(taken[0].row, taken[2].row, 40 * sizeof(int));
	for (int i = 0; i < 3; i++)
		selection_done(&taken[i]);
	selection_done(&all);
	dataset_done(&data);
}

static void test_a_split_of_a_selection_stays_inside_it(void **state)
{
	struct dataset data;
	struct selection from, kept, taken;

	make_rows(&data, (int[]){50, 50}, 2);
	assert_int_equal(selection_all(&from, &data, NULL), 0);
	selection_sample(&from, 20, 1);
	assert_int_equal(selection_split(&kept, &taken, &data, &from, 0.25, 1, NULL), 0);
	assert_int_equal(taken.n, 5);
	for (int i = 0, k = 0, t = 0; i < from.n; i++)
		assert_true((k < kept.n && kept.row[k] == from.row[i] && ++k) ||
			    (t < taken.n && taken.row[t] == from.row[i] && ++t));
	selection_done(&from);
	selection_done(&kept);
	selection_done(&taken);
	dataset_done(&data);
}

static void test_sample_is_exact_ordered_and_seeded(void **state)
{
	struct dataset data;
	struct selection a, b, c;

	make_rows(&data, (int[]){1000}, 1);
	assert_int_equal(selection_all(&a, &data, NULL), 0);
	assert_int_equal(selection_all(&b, &data, NULL), 0);
	assert_int_equal(selection_all(&c, &data, NULL), 0);
	selection_sample(&a, 100, 1);
	selection_sample(&b, 100, 1);
	selection_sample(&c, 100, 2);
	assert_int_equal(a.n, 100);
	assert_ascending(&a);
	assert_true(a.row[99] > 800);
	assert_memory_equal(a.row, b.row, 100 * sizeof(int));
	assert_memory_not_equal(a.row, c.row, 100 * sizeof(int));
	selection_sample(&a, 200, 1);
	assert_int_equal(a.n, 100);
	selection_sample(&a, 0, 1);
	assert_int_equal(a.n, 0);
	selection_done(&a);
	selection_done(&b);
	selection_done(&c);
	dataset_done(&data);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_csv_reads_quotes_newlines_and_doubled_quotes),
		CASE(test_csv_header_may_be_quoted_and_marked),
		CASE(test_tsv_takes_quotes_as_they_are),
		CASE(test_jsonl_reads_escapes_and_ignores_other_members),
		CASE(test_pairs_are_read_from_every_format),
		CASE(test_integer_labels_sort_by_number),
		CASE(test_other_labels_sort_by_bytes),
		CASE(test_json_strings_of_digits_are_strings),
		CASE(test_later_files_use_the_training_labels),
		CASE(test_a_label_unknown_to_training_is_refused),
		CASE(test_blank_lines_may_end_a_file),
		CASE(test_broken_csv_is_refused_with_its_line),
		CASE(test_broken_jsonl_is_refused_with_its_line),
		CASE(test_bytes_that_are_no_text_are_refused_in_every_format),
		CASE(test_fifty_classes_are_the_most),
		CASE(test_a_field_has_a_mebibyte_at_most),
		CASE(test_a_label_has_256_bytes_at_most),
		CASE(test_a_line_of_json_values_without_end_is_refused_unparsed),
		CASE(test_columns_may_not_coincide),
		CASE(test_the_extension_names_the_format),
		cmocka_unit_test(test_split_keeps_the_shares_of_the_classes),
		cmocka_unit_test(test_split_takes_from_every_class_that_has_two),
		cmocka_unit_test(test_split_leaves_a_row_of_every_class),
		cmocka_unit_test(test_split_depends_on_the_seed_alone),
		cmocka_unit_test(test_a_split_of_a_selection_stays_inside_it),
		cmocka_unit_test(test_sample_is_exact_ordered_and_seeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
