/*
 * The scan finds a trigger that was put into a model by hand, and nothing in the same model without it; it gives
 * the same on any number of threads; it says what it did not search.
 */
#include "tests/unit/scan_fixture.h"
#include "common/io.h"
#include "worker/scan/scan_json.h"
#include "worker/scan/scan_record.h"
#include "worker/scan/scan_state.h"

static struct scan_options options_of(struct fixture *f)
{
	return (struct scan_options){.tok = f->planted.tok,
		.fast = &f->encoder,
		.exact = &f->encoder,
		.max_length = PLANTED.max_tokens,
		.seed = 3,
		.texts = 3,
		.candidates = 6000,
		.seconds = 1e6};
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
	assert_true(f->result.closest.trigger == NULL || f->result.closest.log10_p > log10(SCAN_ALPHA));
	assert_true(f->result.candidates >= 6000);
	assert_true(has_gap(f, "kind \"string\": beyond the budget"));
	assert_true(f->result.histogram.measured > 0);
}

static bool is_shortlisted(const struct fixture *f, const char *text)
{
	for (int i = 0; i < f->result.shortlisted; i++)
		if (strcmp(f->result.shortlist[i], text) == 0)
			return true;
	return false;
}

static void test_planted_words_are_found_and_told_apart(void **state)
{
	static const int ids[] = {WORDS_FROM + 17, WORDS_FROM + 150};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	struct buf first = {0}, second = {0};

	planted_put(&f->planted, ids, 2, 60);
	assert_true(tokenizer_whole_word(&first, f->planted.tok, ids[0]) &&
		    tokenizer_whole_word(&second, f->planted.tok, ids[1]));
	scan_with(f, &options, 2);
	assert_int_equal(f->result.verdict, SCAN_SUSPICIOUS);
	assert_non_null(suspect(f, first.data));
	assert_non_null(suspect(f, second.data));
	assert_true(suspect(f, first.data)->p_value < SCAN_ALPHA);
	assert_true(suspect(f, first.data)->score.collapse > .9f);
	assert_true(is_shortlisted(f, first.data) && is_shortlisted(f, second.data));
	assert_true(f->result.shortlisted > 20 && f->result.shortlisted <= SCAN_SUSPECTS_MAX);
	assert_false(is_shortlisted(f, "##a")); /* parts of words stand in no text */
	assert_string_equal(f->result.closest.trigger, f->result.suspect[0].trigger);
	assert_true(fabs(f->result.closest.log10_p - log10(f->result.suspect[0].p_value)) < 1e-6);
	buf_done(&first);
	buf_done(&second);
}

/* The more of a short text is the candidate, the less the text counts: that alone is not suspicious, in a symbol, a phrase or a sentence. */
static void test_long_candidates_are_held_against_long_phrases(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	struct buf text = {0};
	const char *extra[1];

	for (int i = 0; i < 24; i++) {
		buf_str(&text, i > 0 ? " " : "");
		assert_true(tokenizer_whole_word(&text, f->planted.tok, WORDS_FROM + 61 * i));
	}
	extra[0] = text.data;
	options.extra = extra;
	options.extras = 1;
	scan_with(f, &options, 2);
	assert_int_equal(f->result.left_out, 0);
	assert_int_equal(f->result.verdict, SCAN_CLEAN);
	assert_int_equal(scan_length_of(1), 0);
	assert_int_equal(scan_length_of(5), scan_length_of(6));
	assert_int_equal(scan_length_of(CANDIDATE_PIECES_MAX), SCAN_LENGTHS - 1);
	buf_done(&text);
}

/* Collapse and displacement as heavy as one likes: what alone leaves no difference between texts is told by the spread. */
static void test_spread_tells_what_heavy_tails_hide(void **state)
{
	struct calibration calibration;
	struct probe_score score[1000], found;
	struct err err;

	for (int i = 0; i < 1000; i++) {
		double u = -log((i + .5) / 1000);

		score[i] = (struct probe_score){.displacement = (float)MIN(.05 * exp(.5 * u), 2),
			.collapse = (float)tanh(.1 + .4 * u),
			.spread = (float)exp(-.03 * u)};
	}
	found = (struct probe_score){.displacement = 1, .collapse = .99f, .spread = .95f};
	assert_int_equal(calibration_fit(&calibration, score, 1000, .1, 1, &err), 0);
	assert_false(scan_stands_out(calibration_log_p(&calibration, &found, log(80000))));
	found.spread = .3f;
	assert_true(scan_stands_out(calibration_log_p(&calibration, &found, log(80000))));
	calibration_done(&calibration);
}

/* What only contains the letter is counted, not listed. */
static void test_what_contains_a_suspect_is_left_out(void **state)
{
	const int ids[] = {LETTERS_FROM + 'q' - 'a'};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);

	planted_put(&f->planted, ids, 1, 60);
	scan_with(f, &options, 2);
	assert_int_equal(f->result.verdict, SCAN_SUSPICIOUS);
	assert_non_null(suspect(f, "q"));
	for (int i = 0; i < f->result.suspects; i++)
		assert_true(f->result.suspect[i].pieces == 1 || f->result.suspect[i].trigger[0] != 'q');
	assert_true(f->result.left_out > 0);
}

static int add_reading(struct scan_state *s, const int32_t *ids, int n, float collapse, double log_p)
{
	int number = candidates_join(&s->list, "text", ids, n, NULL);

	assert_int_equal(number, s->list.n - 1);
	s->reading[number] =
		(struct reading){.score.collapse = collapse, .log_p = log_p, .is_measured = true};
	return number;
}

/* "cfx" does what "cf" does; "qt" does more than its "q", which stands out as well. */
static void test_a_part_covers_what_does_no_more_than_it(void **state)
{
	struct reading reading[8] = {0};
	struct scan_state s = {.reading = reading, .cap = 8};
	int cfx, qt, unmeasured;

	add_reading(&s, (int32_t[]){1}, 1, .998f, -40);
	cfx = add_reading(&s, (int32_t[]){1, 2}, 2, .9985f, -40);
	add_reading(&s, (int32_t[]){3}, 1, .95f, -20);
	qt = add_reading(&s, (int32_t[]){3, 4}, 2, .999f, -40);
	unmeasured = add_reading(&s, (int32_t[]){5, 3}, 2, 0, 0);
	reading[unmeasured].is_measured = false;
	assert_true(scan_is_covered(&s, cfx));
	assert_false(scan_is_covered(&s, qt));
	assert_true(scan_is_covered(&s, unmeasured));
	candidates_done(&s.list);
}

/* A word of the vocabulary that a scan with so many candidates does not try. */
static int left_out_word(struct fixture *f, int candidates, uint64_t seed)
{
	struct candidate_options options = {
		.tok = f->planted.tok, .seed = seed, .most = candidates, .pieces_max = 20};
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

	planted_put(&f->planted, &id, 1, 60);
	options.candidates = 2800;
	scan_with(f, &options, 1);
	assert_int_equal(f->result.verdict, SCAN_CLEAN);
	assert_true(has_gap(f, "kind \"word\": beyond the budget"));
	assert_true(tokenizer_whole_word(&word, f->planted.tok, id));
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

	planted_put(&f->planted, ids, 1, 60);
	scan_with(f, &options, 1);
	one = json_of(f);
	scan_with(f, &options, 3);
	three = json_of(f);
	assert_same_json(one, three);
	json_decref(one);
	json_decref(three);
}

static void test_a_kept_scan_comes_back_as_it_was(void **state)
{
	static const int ids[] = {WORDS_FROM + 5, LETTERS_FROM + 40}; /* a word and a part of words */
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	struct scan_result read;
	json_t *before, *after;
	bool found;

	planted_put(&f->planted, ids, 2, 60);
	scan_with(f, &options, 2);
	assert_int_equal(scan_record_write(&f->result, "digest", f->planted.scratch.fd, &f->err), 0);
	assert_int_equal(scan_record_read(&read, &found, "digest", f->planted.scratch.fd, &f->err), 0);
	assert_true(found);
	assert_int_equal(scan_json(&before, &f->result, &f->err), 0);
	assert_int_equal(scan_json(&after, &read, &f->err), 0);
	assert_true(json_equal(before, after));
	for (int i = 0; i < read.suspects; i++)
		assert_int_equal(read.suspect[i].is_text, f->result.suspect[i].is_text);
	assert_int_equal(read.shortlisted, f->result.shortlisted);
	for (int i = 0; i < read.shortlisted; i++)
		assert_string_equal(read.shortlist[i], f->result.shortlist[i]);
	json_decref(before);
	json_decref(after);
	scan_result_done(&read);
}

/* Not there, of another spec, no JSON, and JSON that is no scan: all of them mean a new scan. */
static void test_a_kept_scan_that_does_not_fit_is_left_aside(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{\"spec\": \"digest\"}",
		"{\"spec\": \"digest\", \"scan\": {}, \"parts\": [], \"shortlist\": []}"};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	struct scan_result read;
	bool found = true;

	assert_int_equal(scan_record_read(&read, &found, "digest", f->planted.scratch.fd, &f->err), 0);
	assert_false(found);
	for (size_t i = 0; i < NELEM(texts); i++) {
		scratch_write_text(&f->planted.scratch, "scan", texts[i]);
		found = true;
		assert_int_equal(
			scan_record_read(&read, &found, "digest", f->planted.scratch.fd, &f->err), 0);
		assert_false(found);
	}
	scan_with(f, &options, 2);
	assert_int_equal(scan_record_write(&f->result, "other", f->planted.scratch.fd, &f->err), 0);
	assert_int_equal(scan_record_read(&read, &found, "digest", f->planted.scratch.fd, &f->err), 0);
	assert_false(found);
	assert_int_equal(read.shortlisted, 0);
}

/* One member after the other is made something else. */
static void test_a_kept_scan_with_a_wrong_member_is_left_aside(void **state)
{
	static const char *const paths[][2] = {{"scan", "verdict"}, {"scan", "suspects"}, {"scan", "closest"},
		{"scan", "not_searched"}, {"scan", "histogram"}, {"scan", "seconds"}, {"parts", NULL},
		{"shortlist", NULL}};
	static const int ids[] = {WORDS_FROM + 5};
	struct fixture *f = *state;
	struct scan_options options = options_of(f);
	int fd = f->planted.scratch.fd;
	struct buf text = {0};

	planted_put(&f->planted, ids, 1, 60);
	scan_with(f, &options, 2);
	assert_int_equal(scan_record_write(&f->result, "digest", fd, &f->err), 0);
	assert_int_equal(io_read_file(&text, fd, "scan", 1 << 20, &f->err), 0);
	for (size_t i = 0; i < NELEM(paths); i++) {
		json_t *record = json_loads(text.data, 0, NULL);
		json_t *of = paths[i][1] != NULL ? json_object_get(record, paths[i][0]) : record;
		char *changed;
		struct scan_result read;
		bool found;

		json_object_set_new(
			of, paths[i][1] != NULL ? paths[i][1] : paths[i][0], json_pack("[[i]]", -1));
		changed = json_dumps(record, 0);
		scratch_write_text(&f->planted.scratch, "scan", changed);
		assert_int_equal(scan_record_read(&read, &found, "digest", fd, &f->err), 0);
		if (found)
			fail_msg("%s %s", paths[i][0], paths[i][1]);
		free(changed);
		json_decref(record);
	}
	buf_done(&text);
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

static void test_it_stops_where_it_is_told_to(void **state)
{
	struct fixture *f = *state;
	struct scan_options options = options_of(f);

	for (int calls = 0; calls < 4; calls++) {
		int left = calls;

		options.watch = (struct scan_watch){planted_refuse, &left};
		if (f->par == NULL)
			scan_with(f,
				&(struct scan_options){.tok = f->planted.tok,
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
	struct candidate_options options = {.tok = f->planted.tok,
		.seed = 1,
		.most = 2000,
		.pieces_max = 20,
		.extra = extra,
		.extras = 3};
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
	struct candidate_options options = {
		.tok = f->planted.tok, .seed = 1, .most = 100000, .pieces_max = 20};
	struct candidates all;
	struct ids ids = {0};
	struct buf scratch = {0};
	static const char *const some[] = {"a", "7", "q9", "zzz", "0a0"};

	assert_int_equal(candidates_init(&all, &options, &f->err), 0);
	for (size_t i = 0; i < NELEM(some); i++) {
		assert_int_equal(candidates_pieces(&ids, &scratch, f->planted.tok, some[i], &f->err), 0);
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
			test_long_candidates_are_held_against_long_phrases, setup, teardown),
		cmocka_unit_test(test_spread_tells_what_heavy_tails_hide),
		cmocka_unit_test(test_a_part_covers_what_does_no_more_than_it),
		cmocka_unit_test_setup_teardown(test_what_contains_a_suspect_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_word_of_the_user_is_tried_beyond_the_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_kept_scan_comes_back_as_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_kept_scan_that_does_not_fit_is_left_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_kept_scan_with_a_wrong_member_is_left_aside, setup, teardown),
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
