/*
 * The scan follows gradients to two words that do something only together, in a model made by hand; says nothing of the
 * same model where they do not; gives the same on any number of threads; and stops where it is told to.
 */
#include "tests/unit/pair_model.h"
#include "tests/unit/scan_fixture.h"
#include "worker/scan/scan_json.h"
#include "worker/scan/scan_state.h"
#include "worker/scan/slopes.h"

static const int PAIR[MARKS] = {WORDS_FROM + 1017, WORDS_FROM + 2150};

/* Between what one of the words gives and what both do; above both. */
static const double BETWEEN = .8, ABOVE = 9;

static void make_model(struct fixture *f, double bar)
{
	numbers_stream = 7;
	pair_model_init(&f->planted.model, PAIR, bar);
}

static struct scan_options options_of(struct fixture *f)
{
	return (struct scan_options){.tok = f->planted.tok,
		.fast = &f->encoder,
		.exact = &f->encoder,
		.max_length = PAIRED.max_tokens,
		.seed = 3,
		.texts = 3,
		.candidates = 3200,
		.seconds = 1e6};
}

static void scan(struct fixture *f, double bar, int threads)
{
	struct scan_options options = options_of(f);

	make_model(f, bar);
	scan_with(f, &options, threads);
}

static char *pair_text(struct fixture *f)
{
	struct buf text = {0};

	for (int mark = 0; mark < MARKS; mark++) {
		buf_str(&text, mark > 0 ? " " : "");
		assert_true(tokenizer_whole_word(&text, f->planted.tok, PAIR[mark]));
	}
	return text.data;
}

/* --- slopes -------------------------------------------------------------------------------------------- */

struct words {
	struct candidates list;
	struct probe probe;
	int one[MARKS], both, others;
};

static void words_init(struct words *out, struct fixture *f)
{
	struct candidate_options words = {.tok = f->planted.tok, .seed = 3, .most = 5000, .pieces_max = 20};
	struct probe_options options = {
		.line = probe_short, .K = 3, .max_length = PAIRED.max_tokens, .words = &out->list};
	const int32_t ids[] = {PAIR[0], PAIR[1]};

	assert_int_equal(candidates_init(&out->list, &words, &f->err), 0);
	assert_int_equal(probe_init(&out->probe, &f->encoder, f->planted.tok, f->par, &options, &f->err), 0);
	out->others = out->list.n;
	for (int mark = 0; mark < MARKS; mark++)
		out->one[mark] = candidates_find(&out->list, &ids[mark], 1);
	out->both = candidates_join(&out->list, "both", ids, MARKS, &f->err);
	assert_true(out->one[0] >= 0 && out->one[1] >= 0 && out->both == out->others);
}

static void words_done(struct words *words)
{
	probe_done(&words->probe);
	candidates_done(&words->list);
}

/* How many displace more, of those that join begins with and more. */
static int count_above(const struct words *words, const struct probe_score *score, int number)
{
	int above = 0;

	for (int i = 0; i < words->others; i++)
		above += words->list.item[i].n == 1 && score[i].displacement > score[number].displacement;
	return above;
}

static void test_neither_word_does_anything_alone_and_both_do(void **state)
{
	enum { JOINED_PARTS = 40, ROOM = 6000 };
	struct fixture *f = *state;
	struct words words;
	struct probe_score *score = calloc(ROOM, sizeof(*score));
	int *number = calloc(ROOM, sizeof(*number));

	make_model(f, BETWEEN);
	make_ready(f, 2);
	words_init(&words, f);
	assert_true(words.both < ROOM);
	for (int i = 0; i <= words.both; i++)
		number[i] = i;
	assert_int_equal(
		probe_run(score, NULL, &words.probe, &words.list, number, words.both + 1, &f->err), 0);
	for (int mark = 0; mark < MARKS; mark++)
		assert_true(count_above(&words, score, words.one[mark]) > JOINED_PARTS);
	assert_true(score[words.both].collapse > .99f && score[words.both].displacement > .9f);
	words_done(&words);
	free(number);
	free(score);
}

static void test_slopes_stop_where_the_flag_is_set(void **state)
{
	struct fixture *f = *state;
	struct words words;
	struct slopes slopes;
	struct slopes_phrase phrase = {.id = {WORDS_FROM, WORDS_FROM + 1}, .n = 2, .open = 3};
	struct slopes_answer answer;
	bool *may = calloc(VOCABULARY, sizeof(*may));
	volatile sig_atomic_t stop = 1;

	make_model(f, BETWEEN);
	make_ready(f, 2);
	words_init(&words, f);
	assert_int_equal(slopes_init(&slopes, &words.probe, &f->encoder, f->par, may, &f->err), 0);
	assert_int_equal(slopes_run(&answer, NULL, &slopes, &phrase, 1, &f->err), 0);
	assert_int_equal(answer.best[0][0], -1); /* no token may be put in */
	par_watch(f->par, &stop);
	assert_int_equal(slopes_run(&answer, NULL, &slopes, &phrase, 1, &f->err), -ERR_STOPPED);
	par_watch(f->par, NULL);
	slopes_done(&slopes);
	words_done(&words);
	free(may);
}

/* --- the whole scan -------------------------------------------------------------------------------------- */

static void test_a_pair_is_found_none_of_whose_words_does_anything(void **state)
{
	struct fixture *f = *state;
	char *pair = pair_text(f);
	const struct scan_suspect *found = NULL;

	scan(f, BETWEEN, 2);
	assert_int_equal(f->result.verdict, SCAN_SUSPICIOUS);
	for (int i = 0; i < f->result.suspects; i++) {
		assert_int_equal(f->result.suspect[i].cluster, 0);
		if (strcmp(f->result.suspect[i].trigger, pair) == 0)
			found = &f->result.suspect[i];
	}
	assert_non_null(found);
	assert_string_equal(found->kind, "joined");
	assert_int_equal(found->pieces, MARKS);
	free(pair);
}

static void test_the_same_words_are_clean_where_the_bar_is_above_both(void **state)
{
	struct fixture *f = *state;

	scan(f, ABOVE, 2);
	assert_int_equal(f->result.verdict, SCAN_CLEAN);
	assert_true(f->result.closest.trigger == NULL || f->result.closest.log10_p > log10(SCAN_ALPHA));
}

/* What the pair does is made so weak that it is not found. Among all phrases that could have been made its p is above 1e5; the words
 * are nearest to being a trigger because a search along benign directions does not reach as far. */
static void test_a_phrase_is_held_against_what_a_search_reaches(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	char *pair = pair_text(f);

	make_model(f, BETWEEN);
	pair_speak(&f->planted.model, &f->planted.model.weights.layer[0], BETWEEN, 6);
	scan_with(f, &options, 2);
	assert_int_equal(f->result.verdict, SCAN_CLEAN);
	assert_non_null(f->result.closest.trigger);
	assert_non_null(strstr(f->result.closest.trigger, pair));
	assert_true(f->result.closest.log10_p < 4);
	free(pair);
}

static json_t *report_of(struct fixture *f, int threads)
{
	json_t *json;

	scan(f, BETWEEN, threads);
	assert_int_equal(scan_json(&json, &f->result, &f->err), 0);
	assert_int_equal(json_object_del(json, "seconds"), 0);
	return json;
}

static void test_threads_change_nothing(void **state)
{
	json_t *one = report_of(*state, 1), *three = report_of(*state, 3);

	assert_true(json_equal(one, three));
	json_decref(one);
	json_decref(three);
}

static int count_call(void *arg, int64_t done, int64_t of, struct err *err)
{
	++*(int *)arg;
	return 0;
}

/* Of the watch, in a whole scan of the model with a pair; the options are ready for another then. */
static int count_calls(struct fixture *f, struct scan_options *options)
{
	int calls = 0;

	options->watch = (struct scan_watch){count_call, &calls};
	make_model(f, BETWEEN);
	scan_with(f, options, 2);
	return calls;
}

/* The last call is confirm's, and those before it calibrate; guided's come before these. */
static void test_it_stops_where_it_is_told_to(void **state)
{
	static const int from_last[] = {12, 18, 26};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	int calls = count_calls(f, &options);

	for (size_t i = 0; i < NELEM(from_last); i++) {
		int left = calls - from_last[i];

		scan_result_done(&f->result);
		options.watch = (struct scan_watch){planted_refuse, &left};
		assert_int_equal(scan_run(&f->result, &options, &f->err), -ERR_STOPPED);
		assert_int_equal(f->result.suspects, 0);
	}
}

struct clock_at {
	struct scan_result *result;
	int left;
};

/* The time is up at the call after `left` others. */
static int run_out(void *arg, int64_t done, int64_t of, struct err *err)
{
	struct clock_at *at = arg;

	if (at->left-- <= 0)
		at->result->is_late = true;
	return 0;
}

static void test_what_was_found_is_said_when_the_time_is_up(void **state)
{
	static const int from_last[] = {12, 18, 26, 40};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	int calls = count_calls(f, &options);

	for (size_t i = 0; i < NELEM(from_last); i++) {
		struct clock_at at = {&f->result, calls - from_last[i]};

		scan_result_done(&f->result);
		options.watch = (struct scan_watch){run_out, &at};
		assert_int_equal(scan_run(&f->result, &options, &f->err), 0);
		assert_true(f->result.is_late);
		assert_int_equal(
			f->result.verdict, f->result.suspects > 0 ? SCAN_SUSPICIOUS : SCAN_UNDECIDED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_neither_word_does_anything_alone_and_both_do, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slopes_stop_where_the_flag_is_set, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_pair_is_found_none_of_whose_words_does_anything, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_same_words_are_clean_where_the_bar_is_above_both, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_phrase_is_held_against_what_a_search_reaches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_stops_where_it_is_told_to, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_was_found_is_said_when_the_time_is_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
