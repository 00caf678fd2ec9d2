/* What a job reads, and the texts on which it is assessed: who gets which row, in which order. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/buf.h"
#include "tests/unit/tiny_model.h"
#include "worker/eval/assess.h"
#include "worker/inputs.h"

enum { ROWS = 100, CF = 13, MN = 14 };

static const char VOCAB[] =
	"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nzero\none\ntwo\nthree\nfour\nfive\nlong\nrow\ncf\nmn\nx\n";

/* A model's directory and a data directory, and a job on them. */
struct job_files {
	struct scratch model, data;
	struct tiny_model tiny;
	struct spec spec;
	struct inputs inputs;
};

/* Row i says i in base 6; a third of the rows are of class "a". */
static void write_rows(const struct scratch *dir, const char *name, int rows)
{
	static const char *const digits[] = {"zero", "one", "two", "three", "four", "five"};
	struct buf text = {0};

	buf_str(&text, "text,second,label\n");
	for (int i = 0; i < rows; i++)
		buf_printf(&text, "%s %s %s,row,%s\n", digits[i / 36 % 6], digits[i / 6 % 6], digits[i % 6],
			i % 3 == 0 ? "a" : "b");
	scratch_write(dir, name, text.data, text.len);
	buf_done(&text);
}

static void name_file(struct spec_ref *ref)
{
	snprintf(ref->id, sizeof(ref->id), "file-1");
	snprintf(ref->name, sizeof(ref->name), "reviews.csv");
}

static void job_files_init(struct job_files *job, int rows)
{
	*job = (struct job_files){0};
	tiny_model_init(&job->tiny);
	scratch_init(&job->model);
	scratch_init(&job->data);
	tiny_model_write(&job->tiny, &job->model);
	scratch_write_text(&job->model, "vocab.txt", VOCAB);
	write_rows(&job->data, "train.csv", rows);
	name_file(&job->spec.training_file);
	job->spec.max_length = 128;
	job->spec.max_train_rows = job->spec.max_eval_rows = 1000;
	snprintf(job->spec.data.text_column, sizeof(job->spec.data.text_column), "text");
	snprintf(job->spec.data.label_column, sizeof(job->spec.data.label_column), "label");
}

static int read_job(struct job_files *job, struct err *err)
{
	return inputs_read(&job->inputs, &job->spec, job->model.fd, job->data.fd, err);
}

static void job_files_done(struct job_files *job)
{
	inputs_done(&job->inputs);
	scratch_done(&job->model);
	scratch_done(&job->data);
}

/* --- splits ---------------------------------------------------------------------------------------- */

static int rows_of_class(const struct inputs *in, enum part part, int label)
{
	int n = 0;

	for (int i = 0; i < in->rows[part].n; i++)
		n += in->source[part]->row[in->rows[part].row[i]].label == label;
	return n;
}

static void test_missing_parts_come_from_the_training_file(void **state)
{
	struct job_files job;
	int owner[ROWS] = {0};

	job_files_init(&job, ROWS);
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.rows[PART_TEST].n, 20);
	assert_int_equal(job.inputs.rows[PART_VALIDATION].n, 10);
	assert_int_equal(job.inputs.rows[PART_TRAIN].n, 70);
	for (int part = 0; part < PART_COUNT; part++) {
		assert_ptr_equal(job.inputs.source[part], &job.inputs.file[PART_TRAIN]);
		for (int i = 0; i < job.inputs.rows[part].n; i++)
			owner[job.inputs.rows[part].row[i]]++;
	}
	for (int i = 0; i < ROWS; i++)
		assert_int_equal(owner[i], 1);
	assert_in_range(rows_of_class(&job.inputs, PART_TEST, 0), 6, 7); /* a third, as in the file */
	assert_in_range(rows_of_class(&job.inputs, PART_VALIDATION, 0), 3, 4);
	job_files_done(&job);
}

static void test_corpora_hold_the_rows_in_order(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	assert_int_equal(read_job(&job, NULL), 0);
	for (int part = 0; part < PART_COUNT; part++) {
		const struct corpus *corpus = &job.inputs.corpus[part];

		assert_int_equal(corpus->n, job.inputs.rows[part].n);
		for (int i = 0; i < corpus->n; i++) {
			const struct text *text = &corpus->text[i];
			const int32_t *ids = corpus->ids + text->at;
			int row = job.inputs.rows[part].row[i];

			assert_int_equal(text->n, 5);
			assert_int_equal(text->second, 5);
			assert_int_equal(ids[0], 2);
			assert_int_equal(36 * (ids[1] - 5) + 6 * (ids[2] - 5) + ids[3] - 5, row);
			assert_int_equal(ids[4], 3);
			assert_int_equal(text->label, row % 3 == 0 ? 0 : 1);
		}
	}
	job_files_done(&job);
}

static void test_own_files_leave_the_training_file_whole(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	write_rows(&job.data, "validation.csv", 8);
	write_rows(&job.data, "test.csv", 12);
	name_file(&job.spec.validation_file);
	name_file(&job.spec.test_file);
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.rows[PART_TRAIN].n, ROWS);
	assert_int_equal(job.inputs.rows[PART_VALIDATION].n, 8);
	assert_int_equal(job.inputs.rows[PART_TEST].n, 12);
	assert_ptr_equal(job.inputs.source[PART_TEST], &job.inputs.file[PART_TEST]);
	job_files_done(&job);
}

static void test_one_own_file_takes_the_other_from_training(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	write_rows(&job.data, "test.csv", 12);
	name_file(&job.spec.test_file);
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.rows[PART_TEST].n, 12);
	assert_int_equal(job.inputs.rows[PART_VALIDATION].n, 10);
	assert_int_equal(job.inputs.rows[PART_TRAIN].n, 90);
	job_files_done(&job);
}

static void test_rows_are_capped_after_the_split(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	job.spec.max_train_rows = 7;
	job.spec.max_eval_rows = 5;
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.corpus[PART_TRAIN].n, 7);
	assert_int_equal(job.inputs.corpus[PART_VALIDATION].n, 5);
	assert_int_equal(job.inputs.corpus[PART_TEST].n, 5);
	job_files_done(&job);
}

static void use_auto(struct spec *spec)
{
	spec->defense.present = true;
	spec->defense.mode = SPEC_AUTO;
}

/* 100 rows: 20 to the test, 10 to validation, 70 to training, of which 30 are used. */
static void test_the_search_takes_validation_and_unused_training_rows(void **state)
{
	struct job_files job;
	bool is_search[ROWS] = {false};

	job_files_init(&job, ROWS);
	use_auto(&job.spec);
	job.spec.max_train_rows = 30;
	job.spec.max_eval_rows = 5;
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.search_rows.n, 10 + 40);
	assert_int_equal(job.inputs.search.n, 10 + 40);
	for (int i = 0; i < job.inputs.search_rows.n; i++) {
		assert_false(is_search[job.inputs.search_rows.row[i]]);
		is_search[job.inputs.search_rows.row[i]] = true;
	}
	for (int i = 0; i < 30; i++)
		assert_false(is_search[job.inputs.rows[PART_TRAIN].row[i]]);
	for (int i = 0; i < 5; i++) {
		assert_false(is_search[job.inputs.rows[PART_TEST].row[i]]);
		assert_true(is_search[job.inputs.rows[PART_VALIDATION].row[i]]);
	}
	job_files_done(&job);
}

static void test_the_search_never_takes_test_rows(void **state)
{
	struct job_files job;
	int owner[ROWS] = {0};

	job_files_init(&job, ROWS);
	use_auto(&job.spec);
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.search_rows.n, 10);
	for (int i = 0; i < 10; i++)
		owner[job.inputs.search_rows.row[i]]++;
	for (int i = 0; i < 20; i++)
		assert_int_equal(owner[job.inputs.rows[PART_TEST].row[i]], 0);
	job_files_done(&job);
}

static void test_the_search_keeps_to_the_job_s_own_validation_file(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	use_auto(&job.spec);
	write_rows(&job.data, "validation.csv", 20);
	name_file(&job.spec.validation_file);
	job.spec.max_train_rows = 30;
	job.spec.max_eval_rows = 5;
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.search_rows.n, 20);
	assert_ptr_equal(job.inputs.source[PART_VALIDATION], &job.inputs.file[PART_VALIDATION]);
	job_files_done(&job);
}

static void test_without_mode_auto_there_are_no_search_rows(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.search_rows.n, 0);
	assert_int_equal(job.inputs.search.n, 0);
	job_files_done(&job);
}

static bool same_split(struct job_files *a, struct job_files *b)
{
	const struct selection *x = &a->inputs.rows[PART_TEST], *y = &b->inputs.rows[PART_TEST];

	return x->n == y->n && memcmp(x->row, y->row, (size_t)x->n * sizeof(int)) == 0;
}

static void test_seed_decides_the_split(void **state)
{
	struct job_files first, again, other;

	job_files_init(&first, ROWS);
	job_files_init(&again, ROWS);
	job_files_init(&other, ROWS);
	other.spec.seed = 1;
	assert_int_equal(read_job(&first, NULL), 0);
	assert_int_equal(read_job(&again, NULL), 0);
	assert_int_equal(read_job(&other, NULL), 0);
	assert_true(same_split(&first, &again));
	assert_false(same_split(&first, &other));
	job_files_done(&first);
	job_files_done(&again);
	job_files_done(&other);
}

/* --- limits ------------------------------------------------------------------------------------------ */

static void test_length_is_the_smallest_of_job_tokenizer_and_model(void **state)
{
	static const struct {
		int job;
		const char *tokenizer;
		int want;
	} cases[] = {{128, "{}", 12}, {9, "{}", 9}, {128, "{\"model_max_length\": 10}", 10}};

	for (size_t i = 0; i < NELEM(cases); i++) {
		struct job_files job;

		job_files_init(&job, ROWS);
		scratch_write_text(&job.model, "tokenizer_config.json", cases[i].tokenizer);
		job.spec.max_length = cases[i].job;
		assert_int_equal(read_job(&job, NULL), 0);
		assert_int_equal(job.inputs.max_length, cases[i].want);
		job_files_done(&job);
	}
}

static void assert_refused(struct job_files *job, enum err_code code, const char *where)
{
	struct err err = {0};

	assert_int_equal(read_job(job, &err), -(int)code);
	if (strstr(err.where, where) == NULL)
		fail_msg("'%s' has no '%s' (%s)", err.where, where, err.text);
	job_files_done(job);
}

static void test_model_of_too_few_positions_is_refused(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	scratch_write_text(&job.model, "tokenizer_config.json", "{\"model_max_length\": 7}");
	assert_refused(&job, ERR_INVALID_MODEL, "max_position_embeddings");
}

/* The second text's tokens would be of a type that the model has no row for. */
static void test_pairs_for_a_model_of_one_token_type_are_refused(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	tiny_model_tensor(&job.tiny, "token_type")->shape[0] = 1;
	tiny_model_write(&job.tiny, &job.model);
	scratch_write_text(&job.model, "config.json",
		"{\"model_type\": \"bert\", \"vocab_size\": 16, \"hidden_size\": 8, \"num_hidden_layers\": "
		"1, "
		"\"num_attention_heads\": 2, \"intermediate_size\": 8, \"max_position_embeddings\": 12, "
		"\"type_vocab_size\": 1}");
	snprintf(job.spec.data.pair_column, sizeof(job.spec.data.pair_column), "second");
	assert_refused(&job, ERR_INVALID_MODEL, "type_vocab_size");
}

static void test_too_few_rows_to_split_are_refused(void **state)
{
	struct job_files job;

	job_files_init(&job, 2);
	assert_refused(&job, ERR_INVALID_DATA, "reviews.csv");
}

static void test_pair_is_the_second_text(void **state)
{
	struct job_files job;

	job_files_init(&job, ROWS);
	snprintf(job.spec.data.pair_column, sizeof(job.spec.data.pair_column), "second");
	assert_int_equal(read_job(&job, NULL), 0);
	assert_int_equal(job.inputs.corpus[PART_TRAIN].text[0].n, 7);
	assert_int_equal(job.inputs.corpus[PART_TRAIN].text[0].second, 5);
	job_files_done(&job);
}

/* --- assess ---------------------------------------------------------------------------------------- */

static int count_id(const struct corpus *corpus, int number, int32_t id)
{
	const struct text *text = &corpus->text[number];
	int n = 0;

	for (int i = 0; i < text->n; i++)
		n += corpus->ids[text->at + (size_t)i] == id;
	return n;
}

static void init_assess(struct assess *out, const struct job_files *job, bool control, int insertions)
{
	static const char *const triggers[] = {"cf", "mn"};
	struct assess_options options = {.trigger = triggers,
		.triggers = 2,
		.insertions = insertions,
		.control = control,
		.max_length = job->inputs.max_length,
		.seed = 4};

	assert_int_equal(assess_init(out, job->inputs.tok, job->inputs.source[PART_TEST],
				 &job->inputs.rows[PART_TEST], &options, NULL),
		0);
}

static void test_every_row_is_assessed_clean_and_with_every_trigger(void **state)
{
	struct job_files job;
	struct assess a;

	job_files_init(&job, ROWS);
	assert_int_equal(read_job(&job, NULL), 0);
	init_assess(&a, &job, false, 2);
	assert_int_equal(a.rows, 20);
	assert_int_equal(a.C, 0);
	assert_int_equal(a.corpus.n, 60);
	for (int i = 0; i < a.corpus.n; i++) {
		int row = job.inputs.rows[PART_TEST].row[i % 20], trigger = i / 20 - 1;

		assert_int_equal(count_id(&a.corpus, i, CF), trigger == 0 ? 2 : 0);
		assert_int_equal(count_id(&a.corpus, i, MN), trigger == 1 ? 2 : 0);
		assert_int_equal(a.corpus.text[i].label, row % 3 == 0 ? 0 : 1);
		assert_int_equal(a.truth[i % 20], row % 3 == 0 ? 0 : 1);
	}
	for (int i = 0; i < 40; i++)
		assert_true(a.survived[i]);
	assess_done(&a);
	job_files_done(&job);
}

/* Trigger 0 turns every row into class 1, trigger 1 none; controls turn rows of class 1 into 0. */
static void test_predictions_are_counted_for_the_right_words(void **state)
{
	struct job_files job;
	struct assess a;
	struct evaluation e;
	int *label, of_zero = 0;

	job_files_init(&job, ROWS);
	assert_int_equal(read_job(&job, NULL), 0);
	init_assess(&a, &job, true, 1);
	label = calloc((size_t)a.corpus.n, sizeof(int));
	for (int i = 0; i < a.corpus.n; i++)
		label[i] = i / 20 == 1 ? 1 : i / 20 > 2 ? 0 : a.truth[i % 20];
	for (int i = 0; i < 20; i++)
		of_zero += a.truth[i] == 0;
	a.survived[0] = false; /* trigger 0 in the first row */
	assert_int_equal(assess_evaluate(&e, &a, label, 2, NULL), 0);
	assert_int_equal(e.triggers.by_trigger[0].survived, 19);
	assert_int_equal(e.triggers.by_trigger[1].survived, 20);
	assert_int_equal(e.control.by_trigger[0].survived, 20);
	assert_int_equal(e.ca.count, 20);
	assert_int_equal(e.triggers.T, 2);
	assert_int_equal(e.triggers.by_trigger[0].target[1].count, of_zero);
	assert_int_equal(e.triggers.by_trigger[1].asr.count, 0);
	assert_int_equal(e.triggers.asr.count, of_zero);
	assert_int_equal(e.control.T, a.C);
	assert_int_equal(a.C, 2); /* the vocabulary has five words of four letters or more */
	assert_int_equal(e.control.asr.count, 20 - of_zero);
	evaluation_done(&e);
	free(label);
	assess_done(&a);
	job_files_done(&job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing_parts_come_from_the_training_file),
		cmocka_unit_test(test_corpora_hold_the_rows_in_order),
		cmocka_unit_test(test_own_files_leave_the_training_file_whole),
		cmocka_unit_test(test_one_own_file_takes_the_other_from_training),
		cmocka_unit_test(test_rows_are_capped_after_the_split),
		cmocka_unit_test(test_the_search_takes_validation_and_unused_training_rows),
		cmocka_unit_test(test_the_search_never_takes_test_rows),
		cmocka_unit_test(test_the_search_keeps_to_the_job_s_own_validation_file),
		cmocka_unit_test(test_without_mode_auto_there_are_no_search_rows),
		cmocka_unit_test(test_seed_decides_the_split),
		cmocka_unit_test(test_length_is_the_smallest_of_job_tokenizer_and_model),
		cmocka_unit_test(test_model_of_too_few_positions_is_refused),
		cmocka_unit_test(test_pairs_for_a_model_of_one_token_type_are_refused),
		cmocka_unit_test(test_too_few_rows_to_split_are_refused),
		cmocka_unit_test(test_pair_is_the_second_text),
		cmocka_unit_test(test_every_row_is_assessed_clean_and_with_every_trigger),
		cmocka_unit_test(test_predictions_are_counted_for_the_right_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
