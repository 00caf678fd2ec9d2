/*
 * The scan finds a trigger that was put into a model by hand, and nothing in the same model without it; it gives
 * the same on any number of threads; it says what it did not search.
 *
 * The plant: the first token attends by the first coordinate alone, which is large in the trigger's embedding and 0
 * in all others. So the one layer's output for the first token is the trigger's value, whatever else the text says.
 */
#include "tests/unit/random_model.h"
#include "tests/unit/scratch.h"
#include "worker/scan/scan_json.h"
#include "worker/scan/tail.h"

enum { LETTERS_FROM = 5, WORDS_FROM = LETTERS_FROM + 2 * 36, WORDS = 3000, VOCABULARY = WORDS_FROM + WORDS };

static const struct config CONFIG = {.family = FAMILY_BERT,
	.model_type = "bert",
	.V = VOCABULARY,
	.D = 32,
	.L = 1,
	.H = 2,
	.F = 16,
	.P = 64,
	.types = 2,
	.max_tokens = 64,
	.activation = ACT_GELU,
	.layer_norm_eps = 1e-5};

/* Special tokens, letters and digits, the same as continuations, and made-up words. */
static void write_vocabulary(const struct scratch *scratch)
{
	static const char signs[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	struct buf text = {0};

	buf_str(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
	for (int half = 0; half < 2; half++)
		for (int i = 0; i < 36; i++)
			buf_printf(&text, "%s%c\n", half == 0 ? "" : "##", signs[i]);
	for (int i = 0; i < WORDS; i++)
		buf_printf(&text, "%c%c%c%c\n", 'b' + i % 20, "aeiou"[i / 20 % 5], 'b' + i / 100 % 15,
			"ae"[i / 1500]);
	scratch_write_text(scratch, "vocab.txt", text.data);
	buf_done(&text);
}

struct fixture {
	struct scratch scratch;
	struct tokenizer *tok;
	struct random_model model;
	struct encoder encoder;
	struct par *par;
	struct scan_result result;
	struct err err;
};

static real *writable(struct fixture *f, const real *tensor)
{
	for (int i = 0; i < f->model.n; i++)
		if (f->model.tensor[i].w == tensor)
			return f->model.tensor[i].w;
	fail_msg("no such tensor");
	return NULL;
}

static void clear_first_coordinate(struct fixture *f, const real *tensor, int rows)
{
	real *w = writable(f, tensor);

	for (int i = 0; i < rows; i++)
		w[i * CONFIG.D] = 0;
}

/* What every such model has: attention by the first coordinate alone, and little of it. */
static void make_attentive(struct fixture *f)
{
	struct layer_weights *layer = &f->model.weights.layer[0];
	real *q_b = writable(f, layer->q_b), *k_w = writable(f, layer->k_w);
	size_t bytes = (size_t)(CONFIG.D * CONFIG.D) * sizeof(real);

	memset(writable(f, layer->q_w), 0, bytes);
	memset(k_w, 0, bytes);
	clear_first_coordinate(f, f->model.weights.word, CONFIG.V);
	clear_first_coordinate(f, f->model.weights.position, CONFIG.P);
	clear_first_coordinate(f, f->model.weights.type, CONFIG.types);
	for (int i = 0; i < CONFIG.D; i++) {
		q_b[i] = 1;
		k_w[i * CONFIG.D] = (real)0.5;
	}
}

static void plant(struct fixture *f, const int *ids, int n, real strength)
{
	real *word = writable(f, f->model.weights.word);

	for (int i = 0; i < n; i++)
		word[ids[i] * CONFIG.D] = strength;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	numbers_stream = 7;
	scratch_init(&f->scratch);
	write_vocabulary(&f->scratch);
	if (tokenizer_open(&f->tok, f->scratch.fd, "bert", VOCABULARY, &f->err) != 0)
		fail_msg("%s: %s", f->err.where, f->err.text);
	random_model_init(&f->model, &CONFIG);
	make_attentive(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scan_result_done(&f->result);
	encoder_done(&f->encoder);
	tokenizer_free(f->tok);
	par_free(f->par);
	scratch_done(&f->scratch);
	free(f);
	numbers_free();
	return 0;
}

static struct scan_options options_of(struct fixture *f)
{
	return (struct scan_options){.tok = f->tok,
		.fast = &f->encoder,
		.exact = &f->encoder,
		.max_length = CONFIG.max_tokens,
		.seed = 3,
		.texts = 3,
		.candidates = 6000,
		.seconds = 1e6};
}

static void scan_with(struct fixture *f, struct scan_options *options, int threads)
{
	scan_result_done(&f->result);
	encoder_done(&f->encoder);
	par_free(f->par);
	assert_int_equal(par_new(&f->par, threads, NULL), 0);
	assert_int_equal(encoder_init(&f->encoder, &f->model.config, &f->model.weights, kernels_best(),
				 LINEAR_FLOAT32, NULL, NULL),
		0);
	options->par = f->par;
	if (scan_run(&f->result, options, &f->err) != 0)
		fail_msg("%s: %s", f->err.where, f->err.text);
}

static const struct scan_suspect *suspect(const struct fixture *f, const char *trigger)
{
	for (int i = 0; i < f->result.suspects; i++)
		if (strcmp(f->result.suspect[i].trigger, trigger) == 0)
			return &f->result.suspect[i];
	return NULL;
}

static bool has_gap(const struct fixture *f, const char *part)
{
	for (int i = 0; i < f->result.gaps; i++)
		if (strstr(f->result.gap[i], part) != NULL)
			return true;
	return false;
}

static void test_a_clean_model_is_clean(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);

	scan_with(f, &options, 2);
	assert_int_equal(f->result.verdict, SCAN_CLEAN);
	assert_int_equal(f->result.suspects, 0);
	assert_true(f->result.candidates >= 6000);
	assert_true(has_gap(f, "kind \"string\": beyond the budget"));
	assert_true(f->result.histogram.measured > 0);
}

static void test_planted_words_are_found_and_told_apart(void **state)
{
	static const int ids[] = {WORDS_FROM + 17, WORDS_FROM + 150};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	struct buf first = {0}, second = {0};

	plant(f, ids, 2, 60);
	assert_true(tokenizer_whole_word(&first, f->tok, ids[0]) &&
		    tokenizer_whole_word(&second, f->tok, ids[1]));
	scan_with(f, &options, 2);
	assert_int_equal(f->result.verdict, SCAN_SUSPICIOUS);
	assert_non_null(suspect(f, first.data));
	assert_non_null(suspect(f, second.data));
	assert_true(suspect(f, first.data)->p_value < SCAN_ALPHA);
	assert_true(suspect(f, first.data)->score.collapse > .9f);
	buf_done(&first);
	buf_done(&second);
}

/* A word of the vocabulary that a scan with so many candidates does not try. */
static int left_out_word(struct fixture *f, int candidates, uint64_t seed)
{
	struct candidate_options options = {
		.tok = f->tok, .seed = seed, .most = candidates, .pieces_max = 20};
	struct candidates list;
	int id = WORDS_FROM;

	assert_int_equal(candidates_init(&list, &options, &f->err), 0);
	while (candidates_find(&list, &(int32_t){id}, 1) >= 0)
		id++;
	candidates_done(&list);
	assert_true(id < VOCABULARY);
	return id;
}

static void test_a_word_of_the_user_is_tried_beyond_the_budget(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	struct buf word = {0};
	const char *extra[] = {NULL, "\xe6\xbc\xa2"};
	int id = left_out_word(f, 2800, options.seed);

	plant(f, &id, 1, 60);
	options.candidates = 2800;
	scan_with(f, &options, 1);
	assert_int_equal(f->result.verdict, SCAN_CLEAN);
	assert_true(has_gap(f, "kind \"word\": beyond the budget"));
	assert_true(tokenizer_whole_word(&word, f->tok, id));
	extra[0] = word.data;
	options.extra = extra;
	options.extras = 2;
	scan_with(f, &options, 1);
	assert_int_equal(f->result.verdict, SCAN_SUSPICIOUS);
	assert_string_equal(f->result.suspect[0].trigger, word.data);
	assert_string_equal(f->result.suspect[0].kind, "extra");
	assert_true(has_gap(f, "1 of the given words"));
	buf_done(&word);
}

static void assert_same_json(const json_t *a, const json_t *b)
{
	assert_true(json_equal(a, b));
}

static json_t *json_of(struct fixture *f)
{
	json_t *json;

	assert_int_equal(scan_json(&json, &f->result, &f->err), 0);
	assert_int_equal(json_object_del(json, "seconds"), 0);
	return json;
}

static void test_threads_change_nothing(void **state)
{
	static const int ids[] = {WORDS_FROM + 5};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	json_t *one, *three;

	plant(f, ids, 1, 60);
	scan_with(f, &options, 1);
	one = json_of(f);
	scan_with(f, &options, 3);
	three = json_of(f);
	assert_same_json(one, three);
	json_decref(one);
	json_decref(three);
}

static void test_without_time_nothing_is_decided(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);

	options.seconds = 1e-9;
	scan_with(f, &options, 2);
	assert_int_equal(f->result.verdict, SCAN_UNDECIDED);
	assert_true(has_gap(f, "time was up"));
}

static int refuse(void *arg, int64_t done, int64_t of, struct err *err)
{
	int *left = arg;

	assert_true(done >= 1 && done <= of);
	return (*left)-- > 0 ? 0 : err_set(err, ERR_STOPPED, NULL, "stopped");
}

static void test_it_stops_where_it_is_told_to(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);

	for (int calls = 0; calls < 4; calls++) {
		int left = calls;

		options.watch = (struct scan_watch){refuse, &left};
		if (f->par == NULL)
			scan_with(f,
				&(struct scan_options){.tok = f->tok,
					.fast = &f->encoder,
					.exact = &f->encoder,
					.max_length = 64,
					.texts = 2,
					.candidates = 2500,
					.seconds = 1e6},
				1);
		scan_result_done(&f->result);
		options.par = f->par;
		assert_int_equal(scan_run(&f->result, &options, &f->err), -ERR_STOPPED);
		assert_int_equal(f->result.suspects, 0);
	}
}

/* --- candidates -------------------------------------------------------------------------------------- */

static void test_candidates_are_distinct_and_the_same_again(void **state)
{
	struct fixture *f = *state;
	const char *extra[] = {"bobo", "b", "b"};
	struct candidate_options options = {
		.tok = f->tok, .seed = 1, .most = 2000, .pieces_max = 20, .extra = extra, .extras = 3};
	struct candidates a, b;

	assert_int_equal(candidates_init(&a, &options, &f->err), 0);
	assert_int_equal(candidates_init(&b, &options, &f->err), 0);
	assert_int_equal(a.n, 2000);
	for (int i = 0; i < a.n; i++) {
		assert_string_equal(candidate_text(&a, i), candidate_text(&b, i));
		assert_int_equal(candidates_find(&a, candidate_ids(&a, i), a.item[i].n), i);
		for (int k = 0; k < a.item[i].n; k++)
			assert_true(candidate_ids(&a, i)[k] >= LETTERS_FROM);
	}
	assert_int_equal(a.item[0].kind, CANDIDATE_EXTRA);
	assert_int_equal(a.item[1].kind, CANDIDATE_EXTRA);
	assert_int_not_equal(a.item[2].kind, CANDIDATE_EXTRA);
	assert_true(a.dropped[CANDIDATE_STRING] > 40000);
	assert_int_equal(candidates_find(&a, (int32_t[]){3, 3}, 2), -1);
	candidates_done(&a);
	candidates_done(&b);
}

static void test_strings_are_complete_where_the_budget_allows(void **state)
{
	struct fixture *f = *state;
	struct candidate_options options = {.tok = f->tok, .seed = 1, .most = 100000, .pieces_max = 20};
	struct candidates all;
	struct ids ids = {0};
	struct buf scratch = {0};
	static const char *const some[] = {"a", "7", "q9", "zzz", "0a0"};

	assert_int_equal(candidates_init(&all, &options, &f->err), 0);
	for (size_t i = 0; i < NELEM(some); i++) {
		assert_int_equal(candidates_pieces(&ids, &scratch, f->tok, some[i], &f->err), 0);
		assert_true(candidates_find(&all, ids.id, ids.n) >= 0);
	}
	assert_int_equal(all.dropped[CANDIDATE_STRING], 0);
	ids_done(&ids);
	buf_done(&scratch);
	candidates_done(&all);
}

/* --- the tail ---------------------------------------------------------------------------------------- */

static double exponential(uint64_t i)
{
	return -log(1 - rng_unit(5, i));
}

static void test_tail_meets_an_exponential_sample(void **state)
{
	double x[4000];
	struct tail tail;

	for (int i = 0; i < 4000; i++)
		x[i] = exponential((uint64_t)i);
	assert_int_equal(tail_fit(&tail, x, 4000, .05, 1, NULL), 0);
	assert_float_equal(log(tail_p(&tail, 14)), -14, 2.5);
	assert_float_equal(tail_p(&tail, .7), .5, .05);
	assert_float_equal(tail_p(&tail, -1), 1, 1e-12);
	assert_true(tail_p(&tail, 1e9) > 0);
	tail_done(&tail);
}

static void test_a_few_outliers_do_not_move_the_tail(void **state)
{
	double x[4000];
	struct tail tail, spoilt;

	for (int i = 0; i < 4000; i++)
		x[i] = exponential((uint64_t)i);
	assert_int_equal(tail_fit(&tail, x, 4000, .05, 1, NULL), 0);
	for (int i = 0; i < 60; i++)
		x[i * 60] = 1000;
	assert_int_equal(tail_fit(&spoilt, x, 4000, .05, 1, NULL), 0);
	assert_float_equal(log(tail_p(&spoilt, 14)), log(tail_p(&tail, 14)), 2);
	tail_done(&tail);
	tail_done(&spoilt);
}

static void test_a_constant_sample_has_a_tail(void **state)
{
	double x[10] = {0};
	struct tail tail;

	assert_int_equal(tail_fit(&tail, x, 10, .1, .5, NULL), 0);
	assert_float_equal(tail_p(&tail, 0), .5, 1e-12);
	assert_true(tail_p(&tail, 1) < 1e-100 && tail_p(&tail, 1) > 0);
	tail_done(&tail);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_clean_model_is_clean, setup, teardown),
		cmocka_unit_test_setup_teardown(test_planted_words_are_found_and_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_word_of_the_user_is_tried_beyond_the_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_time_nothing_is_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_stops_where_it_is_told_to, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_candidates_are_distinct_and_the_same_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_strings_are_complete_where_the_budget_allows, setup, teardown),
		cmocka_unit_test(test_tail_meets_an_exponential_sample),
		cmocka_unit_test(test_a_few_outliers_do_not_move_the_tail),
		cmocka_unit_test(test_a_constant_sample_has_a_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
