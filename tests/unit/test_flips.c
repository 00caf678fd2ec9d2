/*
 * The search for flips finds a word that makes a planted classifier blind to the text, and none in the same classifier
 * without it; it gives the same on any number of threads; it says where it could search nothing, and stops when told.
 */
#include "tests/unit/planted_model.h"
#include "common/io.h"
#include "worker/scan/flips_json.h"
#include "worker/scan/flips_record.h"
#include "worker/scan/flips_state.h"

enum { ROWS = 120, LABELS = 2, TEXT_BYTES = 128, PLANTED_ID = WORDS_FROM + 150 };

struct fixture {
	struct planted planted;
	struct encoder encoder;
	struct params params;
	struct head head;
	struct classifier model;
	struct par *par;
	char text[ROWS][TEXT_BYTES];
	struct row row[ROWS];
	int number[ROWS];
	struct dataset data;
	struct selection rows;
	struct corpus corpus;
	struct buf word; /* what is planted */
	struct flips_result result;
	struct err err;
};

/* Texts of two to thirteen words of the vocabulary, without the one that may be planted. */
static void write_rows(struct fixture *f)
{
	for (int i = 0; i < ROWS; i++) {
		struct buf text = {0};

		for (int w = 0; w < 2 + i % 12; w++) {
			int id = WORDS_FROM + (int)rng_below((uint64_t)i, (uint64_t)w, WORDS);

			buf_str(&text, w > 0 ? " " : "");
			tokenizer_whole_word(&text, f->planted.tok, id == PLANTED_ID ? id + 1 : id);
		}
		snprintf(f->text[i], TEXT_BYTES, "%s", text.data);
		f->row[i] = (struct row){.text = f->text[i]};
		f->number[i] = i;
		buf_done(&text);
	}
	f->data = (struct dataset){.n = ROWS, .row = f->row};
	f->rows = (struct selection){.n = ROWS, .row = f->number};
}

static void make_model(struct fixture *f)
{
	const struct kernels *kernels = kernels_best();

	encoder_done(&f->encoder);
	assert_int_equal(encoder_init(&f->encoder, &f->planted.model.config, &f->planted.model.weights,
				 kernels, LINEAR_FLOAT32, NULL, NULL),
		0);
	f->model = (struct classifier){&f->encoder, &f->head, &f->params};
}

static void make_head(struct fixture *f)
{
	assert_int_equal(head_declare(&f->head, PLANTED.D, LABELS, 0, &f->params, kernels_best(), NULL), 0);
	assert_int_equal(params_alloc(&f->params, NULL), 0);
	for (int i = 0; i < f->params.n; i++)
		fill_normal(param_w(&f->params, i), param_size(&f->params.param[i]), 0.5);
}

static int compare_reals(const void *a, const void *b)
{
	real x = *(const real *)a, y = *(const real *)b;

	return (x > y) - (x < y);
}

/* Half of the rows get either label, and each label is the truth. */
static void make_right(struct fixture *f)
{
	real *bias = param_w(&f->params, f->head.out_b), logits[ROWS * LABELS], edge[ROWS];
	int label[ROWS];

	assert_int_equal(
		corpus_fill(&f->corpus, f->planted.tok, &f->data, &f->rows, PLANTED.max_tokens, NULL), 0);
	assert_int_equal(predict(label, NULL, logits, &f->model, &f->corpus, f->par, NULL), 0);
	for (int i = 0; i < ROWS; i++)
		edge[i] = logits[2 * i + 1] - logits[2 * i];
	qsort(edge, ROWS, sizeof(real), compare_reals);
	bias[1] -= (edge[ROWS / 2 - 1] + edge[ROWS / 2]) / 2;
	assert_int_equal(predict(label, NULL, NULL, &f->model, &f->corpus, f->par, NULL), 0);
	for (int i = 0; i < ROWS; i++)
		f->row[i].label = f->corpus.text[i].label = label[i];
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	planted_init(&f->planted);
	assert_true(tokenizer_whole_word(&f->word, f->planted.tok, PLANTED_ID));
	assert_int_equal(par_new(&f->par, 2, NULL), 0);
	write_rows(f);
	make_head(f);
	make_model(f);
	make_right(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	flips_result_done(&f->result);
	corpus_done(&f->corpus);
	buf_done(&f->word);
	encoder_done(&f->encoder);
	params_done(&f->params);
	par_free(f->par);
	planted_done(&f->planted);
	free(f);
	return 0;
}

static struct flips_options options_of(struct fixture *f)
{
	return (struct flips_options){.tok = f->planted.tok,
		.model = &f->model,
		.par = f->par,
		.data = &f->data,
		.rows = &f->rows,
		.corpus = &f->corpus,
		.max_length = PLANTED.max_tokens,
		.insertions = 1,
		.seed = 3,
		.seconds = 1e6};
}

static void search_with(struct fixture *f, const struct flips_options *options)
{
	flips_result_done(&f->result);
	if (flips_run(&f->result, options, &f->err) != 0)
		fail_msg("%s: %s", f->err.where, f->err.text);
}

static void plant_and_search(struct fixture *f, struct flips_options *options)
{
	planted_put(&f->planted, (int[]){PLANTED_ID}, 1, 60);
	make_model(f);
	search_with(f, options);
}

static int found(const struct fixture *f)
{
	int n = 0;

	for (int i = 0; i < f->result.flips; i++)
		n += f->result.flip[i].is_found;
	return n;
}

static bool has_gap(const struct fixture *f, const char *part)
{
	for (int i = 0; i < f->result.gaps; i++)
		if (strstr(f->result.gap[i], part) != NULL)
			return true;
	return false;
}

static void test_a_model_without_a_trigger_has_no_flip(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);

	search_with(f, &options);
	assert_int_equal(found(f), 0);
	assert_int_equal(f->result.flips, FLIPS_MAX);
	assert_int_equal(f->result.rows, 16);
	assert_true(f->result.candidates > WORDS);
	assert_false(f->result.is_late);
	assert_true(has_gap(f, "parts of words"));
}

/* The label that the text is predicted as, which is nothing but the planted word. */
static int label_of_word(struct fixture *f)
{
	struct corpus alone = {0};
	int label;

	assert_int_equal(
		corpus_add(&alone, f->planted.tok, f->word.data, NULL, 0, PLANTED.max_tokens, NULL), 0);
	assert_int_equal(predict(&label, NULL, NULL, &f->model, &alone, f->par, NULL), 0);
	corpus_done(&alone);
	return label;
}

static void test_a_word_that_blinds_the_model_is_found_first(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	const struct flip *flip = &f->result.flip[0];

	plant_and_search(f, &options);
	assert_int_equal(found(f), 1);
	assert_true(flip->is_found && flip->is_suspect);
	assert_string_equal(flip->trigger, f->word.data);
	assert_string_equal(flip->kind, "word");
	assert_int_equal(flip->label, label_of_word(f));
	assert_int_equal(flip->rate.count, flip->rate.total);
	assert_true(flip->rate.total >= 6);
	assert_true(flip->p_value < FLIPS_ALPHA);
	assert_true(flip->spread < FLIPS_SPREAD);
	assert_true(flip->confidence > .5);
	assert_true(flip->neighbors < FLIPS_NEIGHBORS);
}

/* What is planted is nearest to what is planted: its mark is by far the largest number of an embedding. */
static void test_words_whose_neighbours_do_the_same_are_no_triggers(void **state)
{
	enum { KIN = 7 };
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	int ids[KIN];

	for (int i = 0; i < KIN; i++)
		ids[i] = PLANTED_ID + 100 * i;
	planted_put(&f->planted, ids, KIN, 60);
	make_model(f);
	search_with(f, &options);
	assert_int_equal(found(f), 0);
	assert_int_equal(f->result.flips, FLIPS_MAX);
	for (int i = 0; i < KIN; i++) {
		assert_false(f->result.flip[i].is_suspect);
		assert_true(f->result.flip[i].p_value < FLIPS_ALPHA);
		assert_true(f->result.flip[i].neighbors > .7);
	}
	assert_true(isnan(f->result.flip[KIN].neighbors));
}

/* Three rows that have it, seven in ten of them with the label. */
static void test_training_texts_explain_what_they_use_for_the_label(void **state)
{
	static const struct {
		int rows, of_label;
		bool is_explained;
	} cases[] = {{0, 0, false}, {2, 2, false}, {3, 3, true}, {10, 7, true}, {10, 6, false}};
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	const int32_t id = PLANTED_ID, others[] = {WORDS_FROM, PLANTED_ID, WORDS_FROM + 1};

	for (size_t i = 0; i < NELEM(cases); i++) {
		struct corpus training = {0};
		struct flipper flipper = {.o = &options};
		int number;

		for (int row = 0; row < cases[i].rows; row++)
			assert_int_equal(
				corpus_add_ids(&training, others, 3, -1, row < cases[i].of_label, NULL), 0);
		assert_int_equal(corpus_add_ids(&training, others, 1, -1, 1, NULL), 0);
		options.training = &training;
		number = candidates_join(&flipper.list, "word", &id, 1, NULL);
		assert_int_equal(number, 0);
		assert_int_equal(flips_is_explained(&flipper, number, 1), cases[i].is_explained);
		candidates_done(&flipper.list);
		corpus_done(&training);
	}
}

static char bad[] = "bad", good[] = "good", other[] = "other";

static void test_a_kept_search_comes_back_as_it_was(void **state)
{
	const struct labels labels = {.n = LABELS, .name = {bad, good}};
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	struct flips_result read;
	json_t *before, *after;
	int fd = f->planted.scratch.fd;
	bool is_there;

	plant_and_search(f, &options);
	assert_int_equal(flips_record_write(&f->result, &labels, "digest", fd, &f->err), 0);
	assert_int_equal(flips_record_read(&read, &is_there, &labels, "digest", fd, &f->err), 0);
	assert_true(is_there);
	assert_int_equal(flips_json(&before, &f->result, &labels, &f->err), 0);
	assert_int_equal(flips_json(&after, &read, &labels, &f->err), 0);
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	flips_result_done(&read);
}

/* One member after the other is made something else, and the spec another. */
static void test_a_kept_search_that_does_not_fit_is_left_aside(void **state)
{
	static const char *const members[] = {
		"candidates", "rows", "usual_rate", "flips", "left_out", "not_searched", "seconds"};
	const struct labels labels = {.n = LABELS, .name = {bad, good}}, others = {.n = 1, .name = {other}};
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	struct flips_result read;
	struct buf text = {0};
	int fd = f->planted.scratch.fd;
	bool is_there;

	plant_and_search(f, &options);
	assert_int_equal(flips_record_write(&f->result, &labels, "digest", fd, &f->err), 0);
	assert_int_equal(io_read_file(&text, fd, "flips", 1 << 20, &f->err), 0);
	assert_int_equal(flips_record_read(&read, &is_there, &labels, "other", fd, &f->err), 0);
	assert_false(is_there);
	assert_int_equal(flips_record_read(&read, &is_there, &others, "digest", fd, &f->err), 0);
	assert_false(is_there);
	for (size_t i = 0; i < NELEM(members); i++) {
		json_t *record = json_loads(text.data, 0, NULL);
		char *changed;

		json_object_set_new(
			json_object_get(record, "flips"), members[i], json_pack("[{s:i}]", "rate", 1));
		changed = json_dumps(record, 0);
		scratch_write_text(&f->planted.scratch, "flips", changed);
		assert_int_equal(flips_record_read(&read, &is_there, &labels, "digest", fd, &f->err), 0);
		if (is_there || read.flips != 0)
			fail_msg("%s", members[i]);
		free(changed);
		json_decref(record);
	}
	buf_done(&text);
}

static void test_what_the_scan_put_first_is_always_confirmed(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	const char *first[] = {"no7", NULL, NULL};
	struct buf longer = {0};

	buf_printf(&longer, "b %s", f->word.data);
	first[1] = f->word.data;
	first[2] = longer.data;
	options.first = first;
	options.firsts = 3;
	plant_and_search(f, &options);
	assert_int_equal(found(f), 1);
	assert_string_equal(f->result.flip[0].trigger, f->word.data);
	assert_string_equal(f->result.flip[0].kind, "scan");
	for (int i = 0; i < f->result.flips; i++) /* it only contains the one that is found */
		assert_string_not_equal(f->result.flip[i].trigger, longer.data);
	buf_done(&longer);
}

static json_t *json_of(struct fixture *f)
{
	struct labels labels = {.n = 2, .name = {(char *)(uintptr_t) "bad", (char *)(uintptr_t) "good"}};
	json_t *json;

	assert_int_equal(flips_json(&json, &f->result, &labels, &f->err), 0);
	assert_int_equal(json_object_del(json, "seconds"), 0);
	return json;
}

static void test_threads_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);
	json_t *two, *three;

	plant_and_search(f, &options);
	two = json_of(f);
	par_free(f->par);
	assert_int_equal(par_new(&f->par, 3, NULL), 0);
	options.par = f->par;
	search_with(f, &options);
	three = json_of(f);
	assert_true(json_equal(two, three));
	assert_int_equal(json_array_size(json_object_get(two, "flips")), FLIPS_MAX);
	json_decref(two);
	json_decref(three);
}

static void test_without_time_nothing_is_decided(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);

	options.seconds = 0;
	search_with(f, &options);
	assert_int_equal(f->result.flips, 0);
	assert_true(f->result.is_late);
	assert_true(has_gap(f, "time was up") && has_gap(f, "nothing was decided"));
}

static void test_a_model_that_is_never_right_is_not_searched(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);

	for (int i = 0; i < ROWS; i++)
		f->corpus.text[i].label = f->row[i].label = !f->row[i].label;
	search_with(f, &options);
	assert_int_equal(f->result.rows, 0);
	assert_int_equal(f->result.candidates, 0);
	assert_true(has_gap(f, "nothing was searched"));
}

/* Two blocks are the screen's, the others confirm's. */
static void test_it_stops_where_it_is_told_to(void **state)
{
	struct fixture *f = *state;
	struct flips_options options = options_of(f);

	for (int calls = 0; calls < 4; calls++) {
		int left = calls;

		options.watch = (struct scan_watch){planted_refuse, &left};
		assert_int_equal(flips_run(&f->result, &options, &f->err), -ERR_STOPPED);
		assert_int_equal(f->result.flips, 0);
	}
}

static void test_a_set_flag_stops_it_within_a_block(void **state)
{
	static const volatile sig_atomic_t stop = 1;
	struct fixture *f = *state;
	struct flips_options options = options_of(f);

	par_watch(f->par, &stop);
	assert_int_equal(flips_run(&f->result, &options, &f->err), -ERR_STOPPED);
	par_watch(f->par, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_model_without_a_trigger_has_no_flip, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_word_that_blinds_the_model_is_found_first, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_words_whose_neighbours_do_the_same_are_no_triggers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_training_texts_explain_what_they_use_for_the_label, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kept_search_comes_back_as_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_kept_search_that_does_not_fit_is_left_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_the_scan_put_first_is_always_confirmed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_time_nothing_is_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_model_that_is_never_right_is_not_searched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_stops_where_it_is_told_to, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_set_flag_stops_it_within_a_block, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
